#!/usr/bin/env python3
"""For minutes: crowds that come and go over TCP, WebSocket, TLS and WSS while others flood, bind, push, kick and send rubbish,
against two conformance servers at once, one with the rate limit on. What must hold:

- each question of a client that stays is answered once, and nothing comes after a kick;
- when all have left, sessions and file descriptors are what they were before, and the counters agree with each other;
- the heap in use, with nobody there, is what it was after the first part of the run; and while the crowd is there, the last
  third of the run needs no more memory than the middle third;
- both servers end with 0, and the sanitizer they were built with, if any, has found nothing, leaks among it.

    CEREUS_SERVER=build-asan/tests/conformance/server TEST_TLS=build-asan/tests/support \\
        tests/stress/soak.py --minutes 10

Prints the figures. The tests run it for a few seconds. ASan keeps freed memory aside for a while; a small quarantine makes its
resident memory say something: ASAN_OPTIONS=quarantine_size_mb=8.
"""
import argparse
import json
import os
import random
import socket
import statistics
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'support'))
import cereus_wire as wire  # noqa: E402
from cereus_behaviour import tls_args  # noqa: E402

BUSY_S = 60  # how long anything may take on a machine that is busy with something else
TRANSPORTS = ('tcp', 'ws', 'tls', 'wss')
UIDS = ['player%d' % i for i in range(40)]
GROUPS = ['room%d' % i for i in range(8)]
THREADS = 10
SAMPLES = 600       # of a run, at most
FLAT_S = 60         # a run this long is asked to be flat; shorter ones still fill their pools
FLAT_RATIO = 1.03   # last third by middle third, resident
QUIET_KIB = 256     # heap at the end, with nobody there, over that of the first pause: tables that a larger crowd has grown
ROUNDS = 3          # at most, where it is more: on a busy machine the first crowd is a small one. A leak shows in each of them
SETTINGS = {'server_type': 'connector', 'service': 'test', 'serializer': 'json', 'data_compression': True,
            'dictionary': {'onpush': 1, 'test.echo': 2}, 'heartbeat_s': 30, 'dispatch': 1, 'write_timeout_s': 10}
COUNTERS = ('sessions_opened', 'sessions_closed', 'requests', 'notifies', 'responses', 'replies_dropped', 'pushes', 'binds',
            'kicks', 'rate_limited', 'malformed_packets', 'malformed_messages', 'handshake_timeouts', 'packets_in',
            'bytes_in', 'bytes_out', 'tls_handshakes', 'tls_failures', 'outbox_full_disconnects', 'accept_errors')


class Gone(Exception):
    """The server closed the connection, as others may have wanted."""


class Target:
    """A server under test, its observer, and what was measured of it."""

    def __init__(self, name, keys):
        command = [os.environ['CEREUS_SERVER'], '--settings', json.dumps(SETTINGS), '--loops', '2',
                   '--tcp', '127.0.0.1:0', '--ws', '127.0.0.1:0', *tls_args()]
        for key, value in dict(keys, **{'cereus.handshake.timeout': '5s', 'cereus.log.level': 'error'}).items():
            command += ['--set', '%s=%s' % (key, value)]
        self.name = name
        self.server = wire.Server(command)
        self.observer = self.server.connect('tcp')
        self.observer.handshake(timeout=BUSY_S)
        self.samples = []  # (seconds, resident KiB, heap KiB, sessions)
        self.lock = threading.Lock()  # the tallies'
        self.tally = {}

    def count(self, **more):
        with self.lock:
            for name, n in more.items():
                self.tally[name] = self.tally.get(name, 0) + n

    def ask(self, route, body=b''):
        """The observer asks; it is limited as everybody is, so it tries again."""
        deadline = time.monotonic() + BUSY_S
        while True:
            m = self.observer.call(route, body, 1, BUSY_S)
            assert m is not None, '%s: the observer gets no answer: %s' % (self.name, self.server.errors()[-3000:])
            if not m.error:
                return m.body
            assert time.monotonic() < deadline, m
            time.sleep(0.2)

    def counters(self):
        return json.loads(self.ask('probe.counters', ','.join(COUNTERS).encode()))

    def heap_kib(self):
        return int(self.ask('probe.heap')) / 1024

    def sample(self, seconds):
        self.samples.append((seconds, self.server.memory_kib(), self.heap_kib(), self.counters()['sessions']))

    def quiet(self):
        """Everybody has left: wait until the server has noticed. Its heap and file descriptors then."""
        deadline = time.monotonic() + BUSY_S
        while True:
            now = self.counters()
            fds = self.server.fds()
            if now['sessions'] == 1 and now['sessions_opened'] == now['sessions_closed'] + 1 and fds <= self.idle_fds:
                return {'heap': self.heap_kib(), 'fds': fds, 'rss': self.server.memory_kib()}
            assert time.monotonic() < deadline, '%s: %r, %d descriptors, %d before' % (self.name, now, fds, self.idle_fds)
            time.sleep(0.25)


# -- clients: each function is one life --

class Player:
    """A connection that knows which of its questions are open."""

    def __init__(self, target, dice):
        self.target, self.dice, self.asked, self.waiting, self.kicked = target, dice, 0, set(), False
        self.conn = target.server.connect(dice.choice(TRANSPORTS))
        answer = self.conn.handshake(timeout=BUSY_S)
        assert answer['code'] == 200, answer
        target.count(players=1)

    def packet(self, route, body=b''):
        self.asked += 1
        self.waiting.add(self.asked)
        return wire.request(self.asked, route, body)

    def say(self, packets):
        if isinstance(self.conn, wire.WsConn):
            packets = [wire.ws_frame(p) for p in packets]
        if not self.conn.write(b''.join(packets), BUSY_S):
            raise Gone

    def hear(self):
        """Until all is answered. Raises Gone."""
        deadline = time.monotonic() + BUSY_S
        answers = errors = pushes = 0
        try:
            while self.waiting:
                item = self.conn.next(max(deadline - time.monotonic(), 0))
                assert item is not None, '%s: no answer to %r' % (self.target.name, sorted(self.waiting)[:5])
                if item.kind in ('closed', 'ws'):
                    raise Gone
                if item.kind == 'junk' and self.conn.end:
                    raise Gone  # a part of a packet: the connection was cut
                assert item.kind == 'packet', item
                assert not self.kicked, 'after the kick came %r' % (item,)
                if item.data[0] == wire.KICK:
                    self.kicked = True
                if item.data[0] != wire.DATA:
                    continue
                m = wire.decode_message(item.data[4:])
                if m.type == wire.PUSH:
                    pushes += 1
                    continue
                assert m.type == wire.RESPONSE and m.id in self.waiting, m
                self.waiting.remove(m.id)
                answers += 1
                errors += m.error
        finally:
            self.target.count(answers=answers, errors=errors, pushes_heard=pushes)

    def leave(self):
        self.conn.close(reset=self.dice.random() < 0.3)


def flood(target, dice):
    player = Player(target, dice)
    try:
        for _ in range(dice.randrange(1, 12)):
            size = dice.choice((0, 10, 128, 128, 128, 1000, 20000))
            body = dice.randbytes(size)
            count = dice.randrange(1, 8) if size > 1000 else dice.randrange(1, 150)
            player.say([player.packet('test.echo', body) for _ in range(count)])
            player.hear()
        if dice.random() < 0.2:  # leaves with questions open
            player.say([player.packet('test.slow', b'3')] + [player.packet('test.echo', b'x' * 100) for _ in range(50)])
    finally:
        player.leave()


def live(target, dice):
    player = Player(target, dice)
    uid, group, other = dice.choice(UIDS), dice.choice(GROUPS), dice.choice(UIDS)
    text = dice.randbytes(dice.randrange(1, 300))
    deeds = (
        lambda: player.packet('test.bind', uid.encode()),
        lambda: player.packet('test.gjoin', group.encode()),
        lambda: player.packet('test.gcast', group.encode() + b'|onpush|' + text),
        lambda: player.packet('test.pushto', other.encode() + b'|onpush|' + text),
        lambda: player.packet('test.push', text),
        lambda: player.packet('test.sessset', b'key%d=' % dice.randrange(20) + b'v' * len(text)),
        lambda: player.packet('test.sessdata'),
        lambda: player.packet('test.errmeta'),
        lambda: player.packet('test.nowhere'),
        lambda: player.packet('test.typed', b'{"msg":"hello"}'),
        lambda: player.packet('test.typed', b'{"msg":'),
        lambda: player.packet('test.slow', b'2'),
        lambda: player.packet('test.big', b'r:%d' % dice.randrange(3, 40000)),
        lambda: wire.notify('test.note', text),
        lambda: wire.HEARTBEAT_PACKET,
    )
    rare = (lambda: player.packet('test.kickuid', other.encode()), lambda: player.packet('test.kickme'),
            lambda: player.packet('test.closeme'))
    try:
        player.say([deeds[0](), deeds[1]()])
        player.hear()
        for _ in range(dice.randrange(1, 10)):
            player.say([dice.choice(deeds)() for _ in range(dice.randrange(1, 10))])
            player.hear()
        if dice.random() < 0.5:
            player.say([dice.choice(rare)()])
            player.hear()
    finally:
        player.leave()


def churn(target, dice):
    """Connections that get nowhere."""
    for _ in range(20):
        transport = dice.choice(TRANSPORTS)
        host, port = target.server.addresses[transport].rsplit(':', 1)
        raw = socket.create_connection((host, int(port)), BUSY_S)
        start = {'ws': wire.ws_upgrade(), 'tls': b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + bytes(200),
                 'wss': b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + bytes(200)}.get(transport, wire.H0)
        if dice.random() < 0.7:
            raw.sendall(start[:dice.randrange(len(start) + 1)])
        raw.close()
        target.count(dropped=1)
    conn = target.server.connect(dice.choice(TRANSPORTS))
    how = dice.randrange(5)
    if how == 0:
        conn.send(wire.H0)  # and no ack
    elif how == 1:
        conn.send(wire.H0[:20])
    elif how == 2:
        conn.send(dice.randbytes(dice.randrange(1, 200)))
    elif how == 3:
        conn.handshake(timeout=BUSY_S)
        conn.send(wire.packet(wire.DATA, dice.randbytes(dice.randrange(1, 60))))
    else:
        conn.handshake(timeout=BUSY_S)
        conn.send(wire.packet(9, b'no such type'))
    target.count(dropped=1)
    if how > 2:
        conn.wait_close(0.05)
    conn.close(reset=dice.random() < 0.5)


def linger(target, dice):
    """Some that stay where they are, until the server has enough of them."""
    conns = []
    for transport in TRANSPORTS:
        conn = target.server.connect(transport)
        if dice.random() < 0.5:
            conn.send(wire.H0[:dice.randrange(len(wire.H0))])
        conns.append(conn)
    for conn in conns:
        assert conn.wait_close(BUSY_S), '%s: a connection without a handshake stays open' % target.name
        conn.close()
    target.count(dropped=len(conns))


def look_away(target, dice):
    """Asks for much and reads nothing of it."""
    player = Player(target, dice)
    try:
        player.say([player.packet('test.big', b'r:60000') for _ in range(60)])
        time.sleep(dice.random() / 2)
    finally:
        player.leave()


LIVES = (flood,) * 8 + (live,) * 16 + (churn,) * 8 + (look_away,) + (linger,)


class Crowd:
    def __init__(self, targets, seed):
        self.targets, self.seed, self.failures = targets, seed, []

    def run(self, seconds, begin, sample_every=0.0):
        """All threads live for so long; then everybody has left."""
        self.until = time.monotonic() + seconds
        self.seed += 1
        threads = [threading.Thread(target=self.work, args=(i,)) for i in range(THREADS)]
        for t in threads:
            t.start()
        while sample_every and time.monotonic() < self.until and not self.failures:
            time.sleep(sample_every)
            for target in self.targets:
                target.sample(time.monotonic() - begin)
        for t in threads:
            t.join()
        assert not self.failures, self.failures[0]

    def work(self, number):
        dice = random.Random(self.seed * 1000 + number)
        while time.monotonic() < self.until and not self.failures:
            target = dice.choice(self.targets)
            try:
                dice.choice(LIVES)(target, dice)
            except (Gone, OSError, wire.Malformed) as e:
                if not target.server.alive():
                    self.failures.append('%s died: %s' % (target.name, target.server.errors()[-3000:]))
                target.count(cut=1) if isinstance(e, Gone) else target.count(refused=1)
            except AssertionError as e:
                self.failures.append('seed %d: %s' % (self.seed, e))


def thirds(samples, column):
    """Medians of the middle and of the last third."""
    values = [s[column] for s in samples]
    third = len(values) // 3
    return statistics.median(values[third:2 * third]), statistics.median(values[2 * third:])


def has_grown(first, last):
    return last['heap'] > first['heap'] + QUIET_KIB


def check(target, first, last, seconds):
    c = target.counters()
    t = target.tally
    print('%s: %d players, %d dropped connections, %d answers (%d errors), %d pushes heard, %d cut by the server, %d refused'
          % (target.name, t['players'], t['dropped'], t['answers'], t['errors'], t['pushes_heard'], t.get('cut', 0),
             t.get('refused', 0)))
    print('  counters: ' + ', '.join('%s %d' % (name, c[name]) for name in COUNTERS if c[name]))
    print('  nobody there, at first and at the end: heap %.0f, %.0f KiB; resident %.1f, %.1f MiB; descriptors %d, %d'
          % (first['heap'], last['heap'], first['rss'] / 1024, last['rss'] / 1024, first['fds'], last['fds']))
    assert not has_grown(first, last), 'the heap has grown'
    assert last['fds'] <= target.idle_fds
    assert c['sessions_opened'] == c['sessions_closed'] + 1
    assert t['answers'] <= c['responses'] <= c['requests'] + c['rate_limited'], (t, c)
    assert c['responses'] + c['replies_dropped'] <= c['requests'] + c['rate_limited'], c
    assert t['pushes_heard'] <= c['pushes'], (t, c)
    assert c['accept_errors'] == 0, c
    if len(target.samples) >= 9:
        rss, heap = thirds(target.samples, 1), thirds(target.samples, 2)
        print('  under load, middle and last third of the run: resident %.1f, %.1f MiB; heap %.1f, %.1f MiB'
              % (rss[0] / 1024, rss[1] / 1024, heap[0] / 1024, heap[1] / 1024))
        if seconds >= FLAT_S:
            assert rss[1] <= rss[0] * FLAT_RATIO, 'resident memory grows'


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seconds', type=float, default=6)
    parser.add_argument('--minutes', type=float)
    parser.add_argument('--seed', type=int, default=random.randrange(1 << 20))
    args = parser.parse_args()
    seconds = args.minutes * 60 if args.minutes else args.seconds
    print('soak: %g s, seed %d' % (seconds, args.seed), flush=True)
    targets = [Target('free', {}),
               Target('limited', {'cereus.ratelimit.enabled': 'true', 'cereus.ratelimit.answer': 'true'})]
    crowd = Crowd(targets, args.seed)
    begin = time.monotonic()
    try:
        for target in targets:
            target.idle_fds = target.server.fds()
        warm = max(seconds * 0.1, 2)
        crowd.run(warm, begin)
        first = [target.quiet() for target in targets]
        for rounds_left in reversed(range(ROUNDS)):
            crowd.run(seconds - warm, begin, max(seconds / SAMPLES, 0.5))
            last = [target.quiet() for target in targets]
            if not rounds_left or not any(map(has_grown, first, last)):
                break
            first = last
        for i, target in enumerate(targets):
            check(target, first[i], last[i], seconds)
        for target in targets:
            target.observer.close()
            problem = target.server.stop(BUSY_S)
            assert problem is None, '%s: %s' % (target.name, problem)
        print('both servers ended with 0; %.0f s' % (time.monotonic() - begin))
    finally:
        for target in targets:
            target.server.kill()
    return 0


if __name__ == '__main__':
    sys.exit(main())
