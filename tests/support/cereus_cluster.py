"""The frame of the tests of clusters under load: servers (tests/cluster/server.c, its path is in CEREUS_CLUSTER_SERVER) that meet
through engines of the test's own, and players who ask one thing after another and keep what came. At the end of each test all
servers that were not killed end on SIGTERM with 0 and without a word from a sanitizer.
"""
import itertools
import json
import os
import shutil
import signal
import tempfile
import threading
import time
import unittest

import cereus_engines
import cereus_wire as wire
from cereus_behaviour import BUSY_S

SANITIZED = bool(os.environ.get('CEREUS_SANITIZED'))
TIMEOUT_MS = 6000 if SANITIZED else 3000  # of requests between servers; a busy machine may forget a process for seconds
RETRYABLE = ('PIT-408', 'PIT-500')  # what a client may try again
NOBODY = 'PIT-000'  # over NATS, in the words of Pitaya: nobody hears that server


class Player(threading.Thread):
    """Asks one thing after another, until told to stop, and keeps what came. body: bytes, or a function of the request's
    number. homes: a function that names the server to go to when the connection was closed; None: that is its end. Who goes
    there asks again what was not answered."""

    def __init__(self, server, route, body=b'hello', homes=None):
        super().__init__()
        self.route, self.body, self.homes = route, body, homes
        self.ended = threading.Event()
        self.answers = []  # (when, seconds, 'ok' or the error's code, body)
        self.closed = []  # bodies of requests that were out when the connection was closed
        self.next_home = None
        self.problem = None
        self.go_to(server)
        self.start()

    def go_to(self, server):
        self.conn = server.connect()
        self.conn.handshake(timeout=BUSY_S)
        self.home = server

    def move(self, server):
        """Go to @p server when the next answer has come."""
        self.next_home = server

    def run(self):
        for id_ in itertools.count(1):
            if self.ended.is_set():
                return
            if self.next_home:
                self.conn.close()
                self.go_to(self.next_home)
                self.next_home = None
            body = self.body(id_) if callable(self.body) else self.body
            if not self.ask(id_, body):
                return

    def ask(self, id_, body):
        while True:
            begin = time.monotonic()
            m = self.conn.call(self.route, body, id_, TIMEOUT_MS / 1000 + BUSY_S)
            now = time.monotonic()
            if m:
                break
            if not self.conn.end:
                self.problem = 'request %d was never answered' % id_
                return False
            self.closed.append(body)
            if not self.homes or self.ended.is_set():
                self.problem = 'closed'
                return False
            self.conn.close()
            self.come_back()
        if m.error:
            self.answers.append((now, now - begin, json.loads(m.body).get('code'), bytes(m.body)))
            return True
        self.answers.append((now, now - begin, 'ok', bytes(m.body)))
        if callable(self.body) and m.body != body:
            self.problem = 'request %d got the answer %r' % (id_, bytes(m.body))
            return False
        return True

    def come_back(self):
        deadline = time.monotonic() + BUSY_S
        while True:
            try:
                self.go_to(self.homes())
                return
            except (OSError, wire.Malformed):  # it is not up yet, or is on its way down
                assert time.monotonic() < deadline, 'nobody takes this player'
                time.sleep(0.002)

    def finish(self):
        self.ended.set()
        self.join()
        self.conn.close()

    def outcomes(self):
        return {a[2] for a in self.answers}

    def since(self, when):
        """Answers to what was asked after that."""
        return [a for a in self.answers if a[0] - a[1] > when]

    def answered_during_one_of(self, others):
        """How many requests were asked and answered while one of @p others waited for its answer, at best."""
        calls = [(a[0] - a[1], a[0]) for p in others for a in p.answers if a[2] != 'ok']
        return max((sum(begin < a[0] - a[1] and a[0] < end for a in self.answers) for begin, end in calls), default=0)

    def wait_for(self, count, outcome=None, begin=None, body=None):
        """So many answers more, of that outcome and with that body if they are named; or its end. begin: count from that answer
        on, not from now."""
        begin = len(self.answers) if begin is None else begin
        deadline = time.monotonic() + 10 * BUSY_S
        while self.is_alive():
            new = self.answers[begin:]
            if sum(outcome in (None, a[2]) and body in (None, a[3]) for a in new) >= count:
                return
            assert time.monotonic() < deadline, 'only %d of %d answers came' % (len(new), count)
            time.sleep(0.002)


class Listener(threading.Thread):
    """Is bound to a uid, and keeps what is pushed to it."""

    def __init__(self, server, uid):
        super().__init__()
        self.uid, self.pushes = uid, []
        self.conn = server.connect()
        self.conn.handshake(timeout=BUSY_S)
        m = self.conn.call('front.x.bind', uid, 1, BUSY_S)
        assert m and m.body == uid, m
        self.start()

    def run(self):
        while m := self.conn.wait_message(10 * BUSY_S):
            self.pushes.append(bytes(m.body))

    def wait_for(self, texts):
        """All of them have come."""
        deadline = time.monotonic() + BUSY_S
        while missing := set(texts) - set(self.pushes):
            assert time.monotonic() < deadline, 'never came: %r' % sorted(missing)[:10]
            time.sleep(0.002)

    def finish(self):
        if self.is_alive():
            self.conn.shutdown_write()
        self.join()
        self.conn.close()


def freeze(server):
    """It does nothing any more when this returns; SIGCONT lets it go on."""
    server.proc.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, server.proc.pid, os.WSTOPPED)


class ClusterTest(unittest.TestCase):
    kind = 'local'  # of the engines; 'etcd': etcd and NATS
    maxDiff = 2000
    serial = itertools.count()

    @classmethod
    def setUpClass(cls):
        cls.engines = cereus_engines.Engines(cls.kind)
        cls.addClassCleanup(cls.engines.stop)

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='cereus-test-')
        self.addCleanup(shutil.rmtree, self.dir)
        self.servers, self.players, self.listeners = {}, [], []
        self.prefix = 'test-%d/' % next(self.serial)  # in etcd: a world of its own

    def tearDown(self):
        self.finish_all(self.players + self.listeners)
        problems = []
        alive = {id_: s for id_, s in self.servers.items() if s.alive() and not getattr(s, 'killed', False)}
        for server in alive.values():
            server.proc.send_signal(signal.SIGTERM)
        for id_, server in alive.items():
            problem = server.wait()
            if problem:
                problems.append('%s: %s' % (id_, problem))
        self.assertEqual(problems, [])

    def places(self, etcd=None, nats=None):
        """The settings of where servers meet; other addresses may be named, such as those of proxies."""
        if self.kind == 'local':
            return cereus_engines.settings(directory=os.path.join(self.dir, 'run'))
        return cereus_engines.settings(etcd=etcd or self.engines.etcd, nats=nats or self.engines.nats, prefix=self.prefix)

    def serve(self, type_, id_, *settings, etcd=None, nats=None):
        """A server. Its lease outlasts any pause of this machine."""
        server = wire.Server([os.environ['CEREUS_CLUSTER_SERVER'], type_, id_, self.dir, 'cereus.log.level=error',
                              'pitaya.cluster.rpc.client.nats.requesttimeout=%dms' % TIMEOUT_MS,
                              'pitaya.cluster.rpc.client.nats.reconnectwait=20ms',
                              'pitaya.cluster.rpc.client.nats.reconnectjitter=10ms',
                              'pitaya.cluster.sd.etcd.heartbeat.ttl=60s', *self.places(etcd, nats), *settings])
        self.addCleanup(server.kill)
        self.addCleanup(server.stderr.close)
        self.servers[id_] = server
        return server

    def play(self, server, route, count=1, body=b'hello', homes=None):
        players = [Player(server, route, body, homes) for _ in range(count)]
        self.players += players
        return players

    def wait_for_all(self, players, count, outcome=None):
        """Player.wait_for() of all of them."""
        begins = [len(p.answers) for p in players]
        for p, begin in zip(players, begins):
            p.wait_for(count, outcome, begin)

    def finish_all(self, players):
        for p in players:
            if isinstance(p, Player):
                p.ended.set()
        for p in players:
            p.finish()

    def journal(self):
        """What servers have written down."""
        with open(os.path.join(self.dir, 'journal'), 'rb') as f:
            return f.read().splitlines()

    def wait_until(self, holds, what):
        deadline = time.monotonic() + 2 * BUSY_S
        while not holds():
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.01)

    def listen(self, server, uid):
        self.listeners.append(Listener(server, uid))
        return self.listeners[-1]

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

    def counter(self, server, name, type_='front'):
        """A counter of a frontend, or of the one server of another type that it knows."""
        conn = server.connect()
        conn.handshake(timeout=BUSY_S)
        m = conn.call(type_ + '.x.counter', name.encode(), 1, BUSY_S)
        conn.close()
        return int(m.body)

    def await_counter(self, server, name, least):
        deadline = time.monotonic() + BUSY_S
        while self.counter(server, name) < least:
            self.assertLess(time.monotonic(), deadline, '%s stays below %d' % (name, least))
            time.sleep(0.005)

    def await_out(self, front, players):
        """Each of them, the only ones of @p front, has a message out that its server does not answer. @p front has one loop, so
        it has read what was answered before."""
        deadline = time.monotonic() + BUSY_S
        conn = front.connect()
        conn.handshake(timeout=BUSY_S)
        while True:
            # Asked in this order, the second has the first one's answer in it, and answers meanwhile make the difference too small.
            came, answered = (int(conn.call('front.x.counter', name, 1, BUSY_S).body) for name in (b'requests', b'responses'))
            if came - answered == len(players):
                break
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.005)
        conn.close()

    def log_of(self, server):
        """What it has written, while it goes on writing."""
        return os.pread(server.stderr.fileno(), 1 << 20, 0).decode(errors='replace')

    def assert_answered(self, players, allowed):
        for p in players:
            self.assertIsNone(p.problem)
            wrong = [a for a in p.answers if a[2] not in ('ok', *allowed)]
            self.assertEqual(wrong, [])
            self.assertLess(max(a[1] for a in p.answers), TIMEOUT_MS / 1000 + BUSY_S)
