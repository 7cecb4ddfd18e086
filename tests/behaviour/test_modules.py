"""The modules example: a match holds a stop back, and the program beside the server is started and ended with it."""
import json
import os
import re
import signal
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'support'))
import cereus_wire as wire  # noqa: E402
from cereus_behaviour import BUSY_S, main  # noqa: E402


class Modules(unittest.TestCase):
    def serve(self, *args):
        self.server = wire.LoggedServer(
            [os.environ['MODULES_SERVER'], '--listen=tcp://127.0.0.1:0', '--session.drain.period=10ms', *args])
        self.addCleanup(self.server.kill)
        said = re.search(r'the bell hangs, pid (\d+)', self.server.errors()) or self.await_line(r'the bell hangs, pid (\d+)')
        self.bell = int(said.group(1))
        return self.server.addresses['tcp']

    def await_line(self, pattern):
        found = self.server.await_line(pattern)
        self.assertTrue(found, 'no line with %s:\n%s' % (pattern, self.server.errors()))
        return found

    def ask_to_end(self, number=signal.SIGTERM):
        self.server.proc.send_signal(number)

    def expect_exit(self):
        problem = self.server.wait(BUSY_S)
        self.assertIsNone(problem, problem)
        self.assertIn('the bell is silent', self.server.errors())
        self.assertNotIn('the bell broke', self.server.errors())
        with self.assertRaises(ProcessLookupError):
            os.kill(self.bell, 0)

    def login(self, address):
        conn = wire.Conn(address)
        self.addCleanup(conn.close)
        self.assertEqual(conn.handshake(timeout=BUSY_S)['code'], 200)
        return conn

    def ask(self, conn, route):
        reply = conn.call(route, b'{}', timeout=BUSY_S)
        self.assertIsNotNone(reply, route)
        return reply.error, json.loads(reply.body)

    def test_a_stop_waits_for_the_match(self):
        conn = self.login(self.serve('--session.drain.enabled=true'))
        self.assertEqual(self.ask(conn, 'match.start'), (False, {'matches': 1}))
        self.assertEqual(self.ask(conn, 'match.start')[1]['code'], 'MATCH-409')
        self.ask_to_end()
        self.await_line(r'sessions remain" remaining=1')
        self.assertEqual(self.ask(conn, 'match.end'), (False, {'matches': 0}))
        self.assertEqual(self.ask(conn, 'match.end')[1]['code'], 'MATCH-404')
        self.assertEqual(self.ask(conn, 'match.start')[1]['code'], 'MATCH-503')
        conn.close()
        self.await_line('draining has ended')
        self.expect_exit()

    def test_a_match_goes_on_without_its_player(self):
        conn = self.login(self.serve('--session.drain.enabled=true'))
        self.ask(conn, 'match.start')
        conn.close()
        self.ask_to_end()
        for _ in range(3):
            self.await_line(r'sessions remain" remaining=1')
        self.ask_to_end(signal.SIGINT)
        self.await_line('asked to stop now')
        self.expect_exit()

    def test_without_draining_it_stops_at_once(self):
        conn = self.login(self.serve())
        self.ask(conn, 'match.start')
        self.ask_to_end()
        self.expect_exit()
        self.assertNotIn('draining', self.server.errors())


if __name__ == '__main__':
    main()
