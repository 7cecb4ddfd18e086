"""Servers of a cluster that are killed, frozen and restarted while players talk: every request is answered, with a reply or
with an error that has a code, within the request timeout; who does not need the broken one does not notice; nothing grows
without a bound. The server is tests/cluster/server.c, its path is in CEREUS_CLUSTER_SERVER.
"""
import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'support'))
import cereus_wire as wire  # noqa: E402
from cereus_behaviour import BUSY_S, main  # noqa: E402

SANITIZED = bool(os.environ.get('CEREUS_SANITIZED'))
TIMEOUT_MS = 1000  # of requests between servers


class Player(threading.Thread):
    """Asks one thing after another, until told to stop, and keeps what came."""

    def __init__(self, server, route, body=b'hello'):
        super().__init__()
        self.conn = server.connect()
        self.conn.handshake(timeout=BUSY_S)
        self.route, self.body = route, body
        self.ended = threading.Event()
        self.answers = []  # (when, seconds, 'ok' or the error's code, body)
        self.problem = None
        self.start()

    def run(self):
        id_ = 0
        while not self.ended.is_set():
            id_ += 1
            begin = time.monotonic()
            m = self.conn.call(self.route, self.body, id_, TIMEOUT_MS / 1000 + BUSY_S)
            now = time.monotonic()
            if m is None:
                self.problem = 'closed' if self.conn.end else 'request %d was never answered' % id_
                return
            self.answers.append((now, now - begin, json.loads(m.body).get('code') if m.error else 'ok', bytes(m.body)))

    def finish(self):
        self.ended.set()
        self.join()
        self.conn.close()

    def outcomes(self):
        return {a[2] for a in self.answers}

    def latency(self):
        return statistics.median(a[1] for a in self.answers)

    def wait_for(self, count):
        """So many answers more, or its end."""
        want = len(self.answers) + count
        deadline = time.monotonic() + 10 * BUSY_S
        while len(self.answers) < want and self.is_alive():
            assert time.monotonic() < deadline, 'only %d of %d answers came' % (len(self.answers), want)
            time.sleep(0.002)


class FaultsTest(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='cereus-test-')
        self.addCleanup(shutil.rmtree, self.dir)
        self.servers, self.players = {}, []

    def tearDown(self):
        for player in self.players:
            player.finish()
        problems = []
        for id_, server in self.servers.items():
            if server.alive() and not getattr(server, 'killed', False):
                problem = server.stop()
                if problem:
                    problems.append('%s: %s' % (id_, problem))
        self.assertEqual(problems, [])

    def serve(self, type_, id_, *settings):
        server = wire.Server([os.environ['CEREUS_CLUSTER_SERVER'], type_, id_, self.dir, 'cereus.log.level=error',
                              'pitaya.cluster.rpc.client.nats.requesttimeout=%dms' % TIMEOUT_MS, *settings])
        self.addCleanup(server.kill)
        self.servers[id_] = server
        return server

    def play(self, server, route, count=1, body=b'hello'):
        players = [Player(server, route, body) for _ in range(count)]
        self.players += players
        return players

    def await_members(self, server, type_, count):
        """All loops of a frontend know of so many servers."""
        for _ in range(4):
            conn = server.connect()
            conn.handshake(timeout=BUSY_S)
            deadline = time.monotonic() + BUSY_S
            while conn.call('front.x.members', type_.encode()).body != b'%d' % count:
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.002)
            conn.close()

    def assert_answered(self, players, allowed):
        for p in players:
            self.assertIsNone(p.problem)
            wrong = [a for a in p.answers if a[2] not in ('ok', *allowed)]
            self.assertEqual(wrong, [])
            self.assertLess(max(a[1] for a in p.answers), TIMEOUT_MS / 1000 + BUSY_S)

    def test_a_backend_is_killed(self):
        front = self.serve('front', 'front-1')
        rooms = [self.serve('room', 'room-%d' % i) for i in range(3)]
        self.await_members(front, 'room', 3)
        players = self.play(front, 'room.x.who', 6)
        for p in players:
            p.wait_for(50)
        rooms[1].proc.kill()
        self.await_members(front, 'room', 2)  # at once: nobody waits for a lease to end
        gone = time.monotonic()
        for p in players:
            p.wait_for(100)
            p.finish()
        self.assert_answered(players, ['PIT-500'])
        for p in players:
            later = [a for a in p.answers if a[0] - a[1] > gone]
            self.assertEqual({a[2] for a in later}, {'ok'})
            self.assertEqual({a[3] for a in later}, {b'room-0', b'room-2'})

    def test_a_backend_is_frozen(self):
        front = self.serve('front', 'front-1')
        room = self.serve('room', 'room-1')
        self.serve('shop', 'shop-1')
        self.await_members(front, 'room', 1)
        self.await_members(front, 'shop', 1)
        before = self.play(front, 'shop.x.echo', 2)
        for p in before:
            p.wait_for(300)
            p.finish()
        talkers = self.play(front, 'room.x.echo', 4)
        for p in talkers:
            p.wait_for(10)
        room.proc.send_signal(signal.SIGSTOP)
        try:
            others = self.play(front, 'shop.x.echo', 2)
            for p in others:
                p.wait_for(300)
                p.finish()
            self.assert_answered(others, [])
            usual, now = max(p.latency() for p in before), max(p.latency() for p in others)
            self.assertLess(now, 5 * usual + 0.02)
            for p in talkers:
                p.wait_for(2)
        finally:
            room.proc.send_signal(signal.SIGCONT)
        for p in talkers:
            p.wait_for(50)
            p.finish()
        self.assert_answered(talkers, ['PIT-408'])
        for p in talkers:
            self.assertIn('PIT-408', p.outcomes())
            self.assertEqual(p.answers[-1][2], 'ok')

    def test_what_waits_for_a_frozen_backend_is_bounded(self):
        front = self.serve('front', 'front-1', 'cereus.loops=1')
        room = self.serve('room', 'room-1')
        self.await_members(front, 'room', 1)
        room.proc.send_signal(signal.SIGSTOP)
        try:
            body = bytes(1 << 20)
            players = self.play(front, 'room.x.echo', 30, body)
            for p in players:
                p.wait_for(6)  # 180 MiB in all, and 64 MiB may wait
                p.finish()
            self.assert_answered(players, ['PIT-408', 'PIT-500'])
            codes = set().union(*(p.outcomes() for p in players))
            self.assertIn('PIT-500', codes)  # those that found no room
            if not SANITIZED:
                self.assertLess(front.memory_kib(), 400 * 1024)
        finally:
            room.proc.send_signal(signal.SIGCONT)
        player, = self.play(front, 'room.x.who')
        deadline = time.monotonic() + BUSY_S
        while not player.answers or player.answers[-1][2] != 'ok':
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        player.finish()

    def test_a_frontend_is_killed(self):
        fronts = [self.serve('front', 'front-%d' % i) for i in range(2)]
        self.serve('room', 'room-1')
        for f in fronts:
            self.await_members(f, 'room', 1)
            self.await_members(f, 'front', 2)
        lost, kept = self.play(fronts[0], 'room.x.slow', 3, b'5'), self.play(fronts[1], 'room.x.who', 3)
        for p in lost + kept:
            p.wait_for(20)
        fronts[0].killed = True
        fronts[0].proc.kill()
        for p in lost:
            p.join(BUSY_S)
            self.assertEqual(p.problem, 'closed')
        self.await_members(fronts[1], 'front', 1)
        for p in kept:
            p.wait_for(100)
            p.finish()
        self.assert_answered(kept, [])
        again = self.serve('front', 'front-0')  # in its place
        self.await_members(again, 'room', 1)
        player, = self.play(again, 'room.x.who')
        player.wait_for(20)
        player.finish()
        self.assert_answered([player], [])

    def test_a_frontend_is_frozen(self):
        fronts = [self.serve('front', 'front-%d' % i) for i in range(2)]
        self.serve('room', 'room-1')
        conns = []
        for i, f in enumerate(fronts):
            self.await_members(f, 'room', 1)
            conn = f.connect()
            conn.handshake(timeout=BUSY_S)
            self.assertEqual(conn.call('front.x.bind', b'user-%d' % i, 1, BUSY_S).body, b'user-%d' % i)
            conns.append(conn)
        fronts[0].proc.send_signal(signal.SIGSTOP)
        try:
            for i in range(50):  # pushes for both: the one who is awake gets them all the same
                conns[1].send(wire.request(10 + i, 'room.x.tell', b'user-0 user-1'))
                heard = {}
                while len(heard) < 2:
                    m = conns[1].wait_message(BUSY_S)
                    self.assertIsNotNone(m)
                    heard[m.type] = m
                self.assertEqual({bytes(m.body) for m in heard.values()}, {b'hello', b'told'})
        finally:
            fronts[0].proc.send_signal(signal.SIGCONT)
        for i in range(50):
            m = conns[0].wait_message(BUSY_S)
            self.assertEqual(m.body, b'hello')
        for conn in conns:
            conn.close()

    def test_backends_are_restarted_one_after_another(self):
        fronts = [self.serve('front', 'front-%d' % i) for i in range(2)]
        rooms = [self.serve('room', 'room-%d' % i) for i in range(3)]
        for f in fronts:
            self.await_members(f, 'room', 3)
        players = [p for f in fronts for p in self.play(f, 'room.x.slow', 12, b'0')]
        for p in players:
            p.wait_for(20)
        for i, room in enumerate(rooms):
            problem = room.stop()
            self.assertIsNone(problem, problem)
            self.serve('room', 'room-%d' % i)
            for f in fronts:
                self.await_members(f, 'room', 3)
            for p in players:
                p.wait_for(20)
        for p in players:
            p.finish()
        self.assert_answered(players, [])


if __name__ == '__main__':
    main()
