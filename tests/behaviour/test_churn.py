"""Crowds that come and go: what a connection held is given back, every time."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'support'))
import cereus_wire as wire  # noqa: E402
from cereus_behaviour import BUSY_S, BehaviourTest, main  # noqa: E402

BATCH = 200


class Churn(BehaviourTest):
    def churn(self, batches, leave, transport='tcp', **options):
        """Batches of connections; leave(conn, number) says goodbye."""
        if self.server.over_tls:
            batches = (batches + 4) // 5  # the clients' handshakes take the time
        for batch in range(batches):
            conns = [self.server.connect(transport, **options) for _ in range(BATCH)]
            for i, conn in enumerate(conns):
                leave(conn, i)
            if batch % 5 == 0:
                self.assert_served()
                self.assertLess(self.server.fds(), self.fds + 3 * BATCH)
        self.assert_sessions(1)
        self.assertLessEqual(self.server.fds(), self.fds + 2)

    def setUp(self):
        self.serve(cereus__handshake__timeout='100s')  # the first of a batch waits for all others to have connected
        self.churn_once()

    def churn_once(self):
        """What grows with the first crowd (pools, buffers of threads) has grown now."""
        self.fds = 1 << 20
        self.churn(1, lambda conn, i: conn.close())
        self.fds = self.server.fds()
        self.memory = self.server.memory_kib()

    def test_ten_thousand_connects_and_drops_leave_nothing(self):
        self.churn(50, lambda conn, i: conn.close(reset=i % 2 == 0))
        self.assert_memory_below(self.memory + 8 * 1024)

    def test_thousands_of_handshakes_and_drops_leave_nothing(self):
        def leave(conn, i):
            if i % 3:
                conn.handshake(timeout=BUSY_S)
            if i % 3 == 2:
                conn.send(wire.request(1, 'test.sessset', b'key=' + b'v' * 1000))
            conn.close(reset=i % 2 == 0)
        self.churn(10, leave)
        self.assert_memory_below(self.memory + 16 * 1024)

    def test_thousands_of_websockets_leave_nothing(self):
        def leave(conn, i):
            if i % 2:
                conn.handshake(timeout=BUSY_S)
            if i % 4 == 3:
                conn.send_frame(b'\x03\xe8', opcode=wire.WS_CLOSE)
            conn.close(reset=i % 3 == 0)
        self.churn(10, leave, 'ws')
        self.assert_memory_below(self.memory + 16 * 1024)

    def test_thousands_of_kicked_and_closed_sessions_leave_nothing(self):
        def leave(conn, i):
            conn.handshake(timeout=BUSY_S)
            conn.send(wire.request(1, 'test.bind', b'u%d' % i) +
                      wire.request(2, 'test.gjoin', b'crowd') * (i % 2) +
                      wire.request(3, ('test.kickme', 'test.closeme')[i % 2]))
            self.assertTrue(conn.wait_close(BUSY_S))
            conn.close()
        self.churn(5, leave)


class Limits(BehaviourTest):
    def test_a_crowd_beyond_the_limit_is_turned_away_until_there_is_room(self):
        self.serve(cereus__sessions__max='20', cereus__loops='1')
        conns = [self.login() for _ in range(19)]
        for _ in range(50):
            conn = self.connect()
            conn.send(wire.H0)
            self.assert_closed(conn)
        for conn in conns:
            self.assert_echo(conn)
            conn.close()
        self.assert_sessions(1)
        with self.login() as conn:
            self.assert_echo(conn)

    def newcomer(self):
        """Connected, and no word: not of TLS either, which would wait for an answer."""
        conn = wire.Conn(self.server.addresses['tls' if self.server.over_tls else 'tcp'])
        self.addCleanup(conn.close)
        return conn

    def test_running_out_of_descriptors_hurts_only_newcomers(self):
        start = time.monotonic()
        self.serve(before=['sh', '-c', 'ulimit -n 64; exec "$@"', 'sh'])
        conns = [self.newcomer() for _ in range(200)]
        for _ in range(5):
            self.assert_served()
        for conn in conns:
            conn.close()
        deadline = time.monotonic() + BUSY_S
        while True:  # those that wait in the backlog are accepted and found gone first
            try:
                with self.server.connect() as conn:
                    conn.handshake(timeout=BUSY_S)
                    self.assert_echo(conn)
                    break
            except (wire.Malformed, OSError):
                self.assertLess(time.monotonic(), deadline, 'nobody is let in any more')
        failed = self.counters('accept_errors')['accept_errors']
        lines = self.server.errors().count('cannot accept connections')
        seconds = time.monotonic() - start + 1
        self.assertGreater(failed, 0)
        self.assertLess(failed, 400 * seconds)  # it pauses: four listeners at most, on a few loops, ten times a second
        self.assertGreater(lines, 0)
        self.assertLessEqual(lines, 10 * (seconds + 1))  # and it does not fill the log


if __name__ == '__main__':
    main()
