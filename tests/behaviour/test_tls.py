"""TLS, the PROXY protocol and the rate limit from outside: certificates are renewed, heads are refused, too much is dropped."""
import os
import resource
import shutil
import signal
import socket
import ssl
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'support'))
import cereus_wire as wire  # noqa: E402
from cereus_behaviour import BUSY_S, BehaviourTest, main, tls_args  # noqa: E402

FILES = os.environ['TEST_TLS']
TRANSPORTS = ('tcp', 'ws', 'tls', 'wss')
IDLE_CONNECTIONS = 2000
IDLE_BYTES_MAX = 16 * 1024  # a connection, resident; the goal is 14.6 KiB


def file(name):
    return os.path.join(FILES, name)


class TlsTest(BehaviourTest):
    def serve_tls(self, settings=None, cert='server.crt', key='server.key', **options):
        self.serve(settings, args=tls_args(cert, key), **options)

    def raw(self, transport):
        """Plain bytes to any port."""
        host, port = self.server.addresses[transport].rsplit(':', 1)
        return socket.create_connection((host, int(port)), BUSY_S)

    def stop_early(self):
        """For a bystander that cannot go on asking."""
        self.bystander.close()
        problem = self.server.stop()
        del self.server
        self.assertIsNone(problem, problem)


class Messages(TlsTest):
    def test_requests_of_every_size_come_back_whole(self):
        self.serve_tls()
        for transport in ('tls', 'wss'):
            conn = self.login(transport)
            for size in (0, 1, 1000, 16383, 16384, 16385, 65536, 1 << 20, (1 << 24) - 100):
                self.assert_echo(conn, bytes(i * 7 & 0xff for i in range(251)) * (size // 251) + b'x' * (size % 251))
            conn.close()

    def test_a_session_in_pieces_is_answered_the_same(self):
        self.serve_tls()
        stream = b''.join([wire.H0, wire.ACK_PACKET, wire.request(1, 'test.echo', b'one'),
                           wire.notify('test.note', b'two')])
        for cut in range(1, len(stream), 9):
            with self.server.connect('tls') as conn:
                conn.write(stream[:cut])
                conn.write(stream[cut:])
                self.assertEqual(conn.next(BUSY_S).data[0], wire.HANDSHAKE)
                self.assertEqual([conn.wait_message(BUSY_S).body for _ in range(2)], [b'one', b'two'], cut)

    def test_rubbish_closes_its_own_connection_and_nothing_else(self):
        self.serve_tls()
        for transport in ('tls', 'wss'):
            for rubbish in (b'\x04\x00\x00\x02hi', wire.ws_upgrade(), b'\x16\x03\x01\x00\x05hello', b'\x00' * 100):
                with self.raw(transport) as raw:  # plain bytes to a TLS port
                    raw.sendall(rubbish)
                    raw.shutdown(socket.SHUT_WR)
                    self.assert_hung_up(raw)
            with self.server.connect(transport) as conn:
                conn.send(b'\xff\xff\xff\xff\xff')
                self.assert_closed(conn, silently=False)
            self.assert_served()

    def assert_hung_up(self, raw):
        try:
            while raw.recv(4096):
                pass
        except ConnectionError:
            pass

    def test_a_silent_peer_is_cut_off_at_the_deadline(self):
        self.serve_tls(cereus__handshake__timeout='300ms')
        for transport in ('tls', 'wss'):
            with self.raw(transport) as raw:
                self.assert_hung_up(raw)
            with self.raw(transport) as raw:
                raw.sendall(b'\x16\x03\x01\x02\x00\x01')
                self.assert_hung_up(raw)

    def test_one_that_reads_nothing_is_cut_off_and_one_that_is_slow_is_not(self):
        self.serve_tls({'write_timeout_s': 3})  # with less, a machine that is busy makes the slow one read nothing either
        for transport in ('tls', 'wss'):
            slow = self.login(transport, receive_buffer=4096)
            slow.send(wire.request(1, 'test.echo', b's' * (4 << 20)))
            lazy = self.login(transport, receive_buffer=4096)
            lazy.send(wire.request(1, 'test.echo', b'l' * (8 << 20)))
            deadline = time.monotonic() + BUSY_S
            while self.counters()['sessions'] > 2 and time.monotonic() < deadline:
                slow.fill(0.05)
            lazy.close()
            self.assertEqual(slow.wait_message(BUSY_S).body, b's' * (4 << 20))
            self.assert_echo(slow)
            slow.close()
            self.assert_sessions(1)

    def test_churn_leaves_nothing(self):
        self.serve_tls()

        def come_and_go():
            for i in range(30):
                conn = self.server.connect(('tls', 'wss')[i % 2])
                if i % 3:
                    conn.handshake()
                conn.close(reset=i % 5 == 0)
        threads = [threading.Thread(target=come_and_go) for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()


class Reload(TlsTest):
    def certificate_of(self, transport):
        with self.server.connect(transport) as conn:
            return ssl.DER_cert_to_PEM_cert(conn.sock.getpeercert(True))

    def wait_for_certificate(self, name, ask=False):
        with open(file(name + '.crt')) as f:
            want = f.read()
        deadline = time.monotonic() + BUSY_S
        while any(self.certificate_of(t) != want for t in ('tls', 'wss') for _ in range(4)):  # of every loop
            self.assertLess(time.monotonic(), deadline, 'the old certificate is still served')
            if ask:  # again: a server that is not quite up lets it pass
                os.kill(self.server.pid, signal.SIGHUP)

    def test_a_new_certificate_is_served_and_a_broken_one_leaves_the_old(self):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        cert, key = os.path.join(folder, 'a.crt'), os.path.join(folder, 'a.key')

        def put(crt, key_):
            shutil.copy(file(crt), cert)
            shutil.copy(file(key_), key)
        put('server.crt', 'server.key')
        self.serve_tls(cert=cert, key=key)
        self.wait_for_certificate('server')
        old = [self.login(t) for t in ('tls', 'wss')]
        put('other.crt', 'other.key')
        self.wait_for_certificate('other', ask=True)
        for broken, at_fault in ((('other.crt', 'server.key'), key), (('server.key', 'other.key'), cert),
                                 (('other.crt', 'locked.key'), key)):
            put(*broken)
            before = self.server.errors().count('reload failed')
            os.kill(self.server.pid, signal.SIGHUP)
            deadline = time.monotonic() + BUSY_S
            while self.server.errors().count('reload failed') == before:
                self.assertLess(time.monotonic(), deadline, self.server.errors()[-2000:])
                time.sleep(0.01)
            line = [li for li in self.server.errors().splitlines() if 'reload failed' in li][-1]
            self.assertIn(at_fault, line)
            self.assertEqual(self.server.errors().count('reload failed'), before + 1)
            self.wait_for_certificate('other')
        for conn in old:
            self.assert_echo(conn, b'since the first certificate')
            conn.close()


class Proxy(TlsTest):
    V1 = b'PROXY TCP4 192.168.0.1 10.0.0.1 56324 443\r\n'
    V2 = b'\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\1\2\3\4\5\6\7\10\4\127\10\256'

    def test_the_head_names_the_client_on_every_listener(self):
        self.serve_tls({'proxy_protocol': True}, bystander={'head': self.V1})
        for transport in TRANSPORTS:
            for head, name in ((self.V1, b'192.168.0.1:56324'), (self.V2, b'1.2.3.4:1111')):
                for piece in (1, 1000):
                    conn = self.login(transport, head=head, head_piece=piece)
                    self.assertEqual(conn.call('test.raddr', b'', 3, BUSY_S).body, name, (transport, piece))
                    conn.close()

    def test_bad_heads_are_refused_and_counted(self):
        self.serve_tls({'proxy_protocol': True}, bystander={'head': self.V1})
        bad = (b'PROXY TCP4 x y 1 2\r\n', b'GET / HTTP/1.1\r\n\r\n', wire.H0, b'\x16\x03\x01\x00\x05hello',
               b'PROXY UNKNOWN' + b'x' * 95, b'\r\n\r\n\0\r\nQUIT\n\x21\x11\x08\x01')
        for i, transport in enumerate(TRANSPORTS):
            for head in bad:
                with self.raw(transport) as raw:
                    raw.sendall(head)
                    try:
                        self.assertEqual(raw.recv(100), b'')
                    except ConnectionError:
                        pass
            self.assertEqual(self.counters('proxy_heads_refused')['proxy_heads_refused'], (i + 1) * len(bad))

    def test_one_that_waits_with_its_head_holds_up_nobody(self):
        self.serve_tls({'proxy_protocol': True}, bystander={'head': self.V1})
        for transport in TRANSPORTS:
            with self.raw(transport) as waits:
                waits.sendall(self.V1[:9])
                conn = self.login(transport, head=self.V1)
                self.assert_echo(conn)
                conn.close()


class RateLimit(TlsTest):
    def limited(self):
        return self.counters('rate_limited')['rate_limited']

    def ask(self, conn, count, id_=1):
        """So many requests in one write."""
        requests = [wire.request(id_ + i, 'test.echo', b'x') for i in range(count)]
        conn.write(b''.join(map(wire.ws_frame, requests) if isinstance(conn, wire.WsConn) else requests))

    def test_what_is_too_much_is_dropped_on_every_listener(self):
        keys = {'cereus__ratelimit__enabled': 'true', 'pitaya__conn__ratelimiting__limit': '10',
                'pitaya__conn__ratelimiting__interval': '1h'}
        for answer in ('false', 'true'):
            for count in ('all', 'data'):
                self.serve_tls(cereus__ratelimit__answer=answer, cereus__ratelimit__count=count, **keys)
                taken = 8 if count == 'all' else 10  # handshake and ack
                for transport in TRANSPORTS:
                    conn = self.login(transport)
                    self.ask(conn, 15)
                    heard = {}
                    for _ in range(15 if answer == 'true' else taken):
                        m = conn.wait_message(BUSY_S)
                        heard[m.id] = m
                    self.assertEqual([i for i in range(1, 16) if i in heard and not heard[i].error],
                                     list(range(1, taken + 1)), (transport, count))
                    for m in heard.values():
                        if m.error:
                            self.assertIn(b'"PIT-429"', m.body)
                    conn.shutdown_write()  # which ends it: nothing more was said
                    self.assertIsNone(conn.wait_message(BUSY_S))
                    conn.close()
                self.assertEqual(self.limited(), len(TRANSPORTS) * (15 - taken))
                self.stop_early()

    def test_heartbeats_that_are_dropped_are_no_sign_of_life(self):
        self.serve_tls({'heartbeat_s': 1}, cereus__ratelimit__enabled='true',
                       pitaya__conn__ratelimiting__limit='3', pitaya__conn__ratelimiting__interval='1h')
        conn = self.login('tls')
        start = time.monotonic()
        while not conn.end and time.monotonic() < start + BUSY_S:
            conn.send(wire.HEARTBEAT_PACKET)
            conn.fill(0.1)
        self.assertTrue(conn.end)
        self.assertGreater(time.monotonic() - start, 1.9)
        conn.close()
        self.stop_early()  # the limit is the bystander's, too


class Memory(TlsTest):
    def test_an_idle_connection_costs_less_than_16_kib(self):
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))  # the server's, too
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        self.serve_tls({'heartbeat_s': 600})
        warm = [self.login('tls') for _ in range(100)]
        before = self.server.memory_kib()
        conns = [self.login('tls') for _ in range(IDLE_CONNECTIONS)]
        each = (self.server.memory_kib() - before) * 1024 // IDLE_CONNECTIONS
        for conn in conns[::100]:
            self.assert_echo(conn)
        for conn in warm + conns:
            conn.close()
        if not os.environ.get('CEREUS_SANITIZED'):
            self.assertLess(each, IDLE_BYTES_MAX, 'bytes a connection')


if __name__ == '__main__':
    main()
