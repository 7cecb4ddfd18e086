"""The acceptor and wrapper examples: players on a Unix socket; a quota of bytes, and the rate limit behind it."""
import os
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'support'))
import cereus_wire as wire  # noqa: E402
from cereus_behaviour import BUSY_S, main  # noqa: E402


class UnixConn(wire.Conn):
    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        self.buf, self.end = bytearray(), None


class Acceptors(unittest.TestCase):
    def serve(self, which, url, *args):
        """Returns where it listens, without the scheme."""
        self.server = wire.LoggedServer([os.environ[which], '--listen', url, *args])
        self.addCleanup(self.server.kill)
        address, = self.server.addresses.values()
        return address

    def stop(self):
        problem = self.server.stop(BUSY_S)
        self.assertIsNone(problem, problem)

    def test_players_connect_through_a_unix_socket(self):
        with tempfile.TemporaryDirectory() as folder:
            path = self.serve('ACCEPTOR_SERVER', 'unix://%s/game.sock' % folder, '--loops=2')
            conns = [UnixConn(path) for _ in range(20)]
            for i, conn in enumerate(conns):
                self.assertEqual(conn.handshake()['code'], 200)
                self.assertEqual(conn.call('acceptor.room.echo', b'hi %d' % i, 1, BUSY_S).body, b'hi %d' % i)
            self.stop()
            for conn in conns:
                self.assertTrue(conn.wait_close(BUSY_S))
                conn.close()
            self.assertFalse(os.path.exists(path))

    def test_a_socket_that_cannot_be_made_is_told(self):
        done = subprocess.run([os.environ['ACCEPTOR_SERVER'], '--listen', 'unix:///nowhere/at/all'],
                              capture_output=True, text=True, timeout=BUSY_S)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('unix:///nowhere/at/all', done.stderr)
        self.assertIn('No such file or directory', done.stderr)

    def test_the_quota_refuses_and_the_rate_limit_stands_behind_it(self):
        address = self.serve('WRAPPER_SERVER', 'tcp://127.0.0.1:0', '--set', 'pitaya.conn.ratelimiting.limit=5',
                             '--set', 'pitaya.conn.ratelimiting.interval=1h')
        with wire.Conn(address) as conn:
            conn.handshake()
            self.assertEqual(conn.call('wrapper.room.echo', b'x' * 9000, 1, BUSY_S).body, b'x' * 9000)
            refused = conn.call('wrapper.room.echo', b'x' * 9000, 2, BUSY_S)
            self.assertTrue(refused.error)
            self.assertIn(b'"QUOTA-1"', refused.body)
            for id_ in (3, 4):  # what the quota kept took no slot: handshake, ack, one, and these two
                self.assertEqual(conn.call('wrapper.room.echo', b'y', id_, BUSY_S).body, b'y')
            conn.send(wire.request(5, 'wrapper.room.echo', b'y'))
            conn.shutdown_write()  # which ends it: nothing more was said
            self.assertIsNone(conn.wait_message(BUSY_S))
        self.stop()


if __name__ == '__main__':
    main()
