"""The frame of the behaviour tests: each has its own server (tests/conformance/server) and a bystander, a well-behaved
client that must be served all the while. At the end of each test the bystander still gets its echo, every other session
is gone, and the server ends on SIGTERM with 0 and without a word from a sanitizer.

The server's path comes from CEREUS_SERVER, more arguments for it from CEREUS_SERVER_ARGS. With CEREUS_OVER_TLS all clients
speak tls for tcp and wss for ws, with the certificate in TEST_TLS.
"""
import json
import os
import shlex
import time
import unittest

import cereus_wire as wire

BUSY_S = 20  # how long anything may take on a machine that is busy with something else

SANITIZED_SLACK_KIB = 96 * 1024  # quarantined (scripts/run_tests.py bounds it) and shadow memory of a sanitized server


def tls_args(cert='server.crt', key='server.key'):
    """Listeners for tls and wss; cert and key: paths, or names of the tests' own."""
    files = os.environ['TEST_TLS']
    return ['--tls', '127.0.0.1:0', '--wss', '127.0.0.1:0', '--cert', os.path.join(files, cert), '--key',
            os.path.join(files, key)]


class BehaviourTest(unittest.TestCase):
    maxDiff = 2000
    settings = {'server_type': 'connector', 'service': 'test', 'serializer': 'json', 'data_compression': False,
                'dictionary': {}, 'heartbeat_s': 30, 'dispatch': 1, 'write_timeout_s': 10}

    def serve(self, settings=None, before=(), args=(), bystander=None, **keys):
        """Start the server; keys are settings of cereus with __ for dots: cereus__outbox__bytes='64KiB'. before: words
        that the command line begins with; args: more of them. bystander: how to connect it, options of connect()."""
        command = [*before, os.environ['CEREUS_SERVER'], '--settings', json.dumps(dict(self.settings, **(settings or {}))),
                   '--tcp', '127.0.0.1:0', '--ws', '127.0.0.1:0']
        command += shlex.split(os.environ.get('CEREUS_SERVER_ARGS', ''))
        over_tls = bool(os.environ.get('CEREUS_OVER_TLS'))
        if over_tls:
            command += tls_args()
        for key, value in keys.items():
            command += ['--set', '%s=%s' % (key.replace('__', '.'), value)]
        self.server = wire.Server(command + list(args))
        self.addCleanup(self.server.kill)
        self.server.over_tls = over_tls
        self.bystander = self.login(**(bystander or {}))
        self.serial = 0

    def tearDown(self):
        if not hasattr(self, 'server'):
            return
        self.assert_served()
        self.assert_sessions(1)
        self.bystander.close()
        problem = self.server.stop()
        self.assertIsNone(problem, problem)

    # -- clients --

    def connect(self, transport='tcp', **options):
        conn = self.server.connect(transport, **options)
        self.addCleanup(conn.close)
        return conn

    def login(self, transport='tcp', **options):
        conn = self.connect(transport, **options)
        self.assertEqual(conn.handshake(timeout=BUSY_S)['code'], 200)
        return conn

    # -- what must hold --

    def assert_served(self):
        """The bystander gets its echo."""
        self.assertTrue(self.server.alive(), 'the server died: ' + self.server.errors()[-3000:])
        self.serial += 1
        text = b'still here %d' % self.serial
        m = self.bystander.call('test.echo', text, self.serial, BUSY_S)
        self.assertIsNotNone(m, 'the bystander got no echo')
        self.assertEqual(m.body, text)

    def counters(self, *names):
        self.serial += 1
        m = self.bystander.call('probe.counters', ','.join(names).encode(), self.serial, BUSY_S)
        self.assertIsNotNone(m, 'the bystander got no counters')
        return json.loads(m.body)

    def assert_sessions(self, count):
        """So many sessions are connected, at the latest soon."""
        deadline = time.monotonic() + BUSY_S
        while True:
            sessions = self.counters()['sessions']
            if sessions == count:
                return
            self.assertLess(time.monotonic(), deadline, '%d sessions, not %d' % (sessions, count))
            time.sleep(0.01)

    def assert_closed(self, conn, what='', silently=True):
        """The peer closes; silently: without sending anything before."""
        self.assertTrue(conn.wait_close(BUSY_S), 'still open %s' % what)
        if silently:
            self.assertEqual(bytes(conn.buf), b'', what)
        conn.close()

    def assert_echo(self, conn, text=b'echo', id_=7):
        m = conn.call('test.echo', text, id_, BUSY_S)
        self.assertIsNotNone(m, 'no echo')
        self.assertEqual((m.id, m.error, m.body), (id_, False, text))

    def assert_memory_below(self, kib):
        limit = kib + (SANITIZED_SLACK_KIB if os.environ.get('CEREUS_SANITIZED') else 0)
        self.assertLess(self.server.memory_kib(), limit)


def main():
    unittest.main(verbosity=2)
