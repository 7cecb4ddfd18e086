"""The C client over TLS: with our server, and with servers of every kind that it must not trust or that do not speak TLS.
CEREUS_TALK is clients/c/test/talk, which has nothing of ours but the installed library."""
import os
import socket
import ssl
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'support'))
import cereus_wire as wire  # noqa: E402
from cereus_behaviour import BUSY_S, BehaviourTest, main, tls_args  # noqa: E402

FILES = os.environ['TEST_TLS']
ANSWER = b'{"code":200,"sys":{"dict":{},"heartbeat":30,"serializer":"json"}}'


def file(name):
    return os.path.join(FILES, name)


def talk(url, *args):
    done = subprocess.run([os.environ['CEREUS_TALK'], url, *map(str, args)], capture_output=True, text=True,
                          timeout=4 * BUSY_S, stdin=subprocess.DEVNULL)
    if done.stderr:
        raise AssertionError(done.stderr)
    return done.returncode, done.stdout.splitlines()


class WithOurServer(BehaviourTest):
    def test_bodies_come_back_over_tls_and_wss(self):
        self.serve(args=tls_args())
        for scheme in ('tls', 'wss'):
            host, port = self.server.addresses[scheme].rsplit(':', 1)
            for args in (['--ca', file('server.crt')], ['--insecure'], ['--ca', file('server.crt'), '--len', 0],
                         ['--ca', file('server.crt'), '--name', 'localhost', '--len', 3 << 20]):
                self.assertEqual(talk('%s://%s:%s' % (scheme, host, port), *args),
                                 (0, ['connecting', 'handshaking', 'connected', '3 of 3 echoes are right', 'closed']))
            self.assertEqual(talk('%s://localhost:%s' % (scheme, port), '--ca', file('server.crt'))[0], 0)

    def test_a_certificate_that_will_not_do_is_named_and_ends_it(self):
        self.serve(args=tls_args())
        for scheme in ('tls', 'wss'):
            address = self.server.addresses[scheme]
            for args, why in [
                    ([], 'self-signed certificate; is the right CA configured?'),
                    (['--ca', file('other.crt')], 'self-signed certificate; is the right CA configured?'),
                    (['--ca', file('server.crt'), '--name', 'elsewhere.example'],
                     'hostname mismatch; set the server name that it is made for'),
                    (['--ca', file('server.crt'), '--name', '127.0.0.2'],
                     'IP address mismatch; set the server name that it is made for'),
                    # a reconnect would end the same way
                    (['--again'], 'self-signed certificate; is the right CA configured?')]:
                self.assertEqual(talk('%s://%s' % (scheme, address), *args),
                                 (1, ['connecting', 'closed: %s: TLS: the certificate is not accepted: %s' %
                                      (address.replace(':', ' port '), why)]))
            self.assert_served()

    def test_the_plain_ports_are_said_not_to_speak_tls(self):
        self.serve()
        for scheme, transport in (('tls', 'tcp'), ('wss', 'ws')):
            code, said = talk('%s://%s' % (scheme, self.server.addresses[transport]), '--insecure')
            self.assertEqual((code, said[0], len(said)), (1, 'connecting', 2))
            self.assertRegex(said[1], 'closed: .*: TLS: the peer (does not speak it|hung up during the handshake.*)$')


class WithOtherServers(unittest.TestCase):
    def serve(self, serve_one, count=1):
        """Hand `count` connections to serve_one(socket, index), one after the other. Returns HOST:PORT."""
        listener = socket.create_server(('127.0.0.1', 0))
        listener.settimeout(BUSY_S)

        def run():
            for i in range(count):
                conn, _ = listener.accept()
                conn.settimeout(BUSY_S)
                with conn:
                    serve_one(conn, i)

        thread = threading.Thread(target=run)
        thread.start()
        self.addCleanup(listener.close)
        self.addCleanup(thread.join)
        return '127.0.0.1:%d' % listener.getsockname()[1]

    def context(self, name):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file(name + '.crt'), file(name + '.key'))
        return context

    def shake_hands(self, tls):
        head = tls.recv(4)
        self.assertEqual(head[0], wire.HANDSHAKE)
        tls.recv(int.from_bytes(head[1:], 'big'))
        tls.sendall(b'\x01\0\0' + bytes([len(ANSWER)]) + ANSWER)

    def test_an_expired_certificate_is_called_that(self):
        context = self.context('expired')

        def serve_one(conn, i):
            with self.assertRaises(ssl.SSLError):
                context.wrap_socket(conn, server_side=True)

        self.assertRegex(talk('tls://' + self.serve(serve_one), '--ca', file('expired.crt'))[1][1],
                         'certificate has expired; the server needs a new one$')

    def test_the_name_of_the_url_is_sent_and_an_address_is_not(self):
        names = []
        context = self.context('server')
        context.sni_callback = lambda _socket, name, _context: names.append(name) and None

        def serve_one(conn, i):
            with context.wrap_socket(conn, server_side=True) as tls:
                self.shake_hands(tls)

        address = self.serve(serve_one, 3)
        for url, args in (('tls://localhost:%s' % address.split(':')[1], []), ('tls://' + address, []),
                          ('tls://' + address, ['--name', 'localhost'])):
            self.assertEqual(talk(url, '--ca', file('server.crt'), *args)[1][:3],
                             ['connecting', 'handshaking', 'connected'])
        self.assertEqual(names, ['localhost', None, 'localhost'])

    def test_tls_1_1_is_not_spoken(self):
        context = self.context('server')
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers('ALL:@SECLEVEL=0')

        def serve_one(conn, i):
            with self.assertRaises(ssl.SSLError):
                context.wrap_socket(conn, server_side=True)

        code, said = talk('tls://' + self.serve(serve_one), '--insecure')
        self.assertEqual((code, len(said)), (1, 2))
        self.assertRegex(said[1], 'TLS: .*(version|protocol)')

    def test_a_server_that_hangs_up_is_tried_again_if_that_is_wanted(self):
        def serve_one(conn, i):
            conn.recv(1)

        said = talk('wss://' + self.serve(serve_one, 2), '--again', '--insecure')[1]
        self.assertEqual([line.split(':')[0] for line in said], ['connecting', 'backoff', 'connecting', 'closed'])
        self.assertIn('hung up during the handshake', said[1])

    def test_a_server_that_says_nothing_is_given_up(self):
        def serve_one(conn, i):
            while conn.recv(4096):
                pass

        address = self.serve(serve_one)
        self.assertEqual(talk('tls://' + address)[1],
                         ['connecting',
                          'closed: %s did not finish the TLS handshake in time' % address.replace(':', ' port ')])

    def test_the_end_is_told_apart_from_a_broken_stream(self):
        context = self.context('server')

        def serve_one(conn, i):
            tls = context.wrap_socket(conn, server_side=True)
            self.shake_hands(tls)
            if i == 0:
                tls.shutdown(socket.SHUT_WR)
            else:
                raw = socket.socket(fileno=tls.detach())
                raw.sendall(b'\x17\x03\x03\x00\x20' + b'x' * 32)  # a record that nobody has encrypted
                raw.recv(1 << 20)
                raw.close()

        address = self.serve(serve_one, 2)
        self.assertEqual(talk('tls://' + address, '--insecure')[1][3], 'closed: the server closed the connection')
        self.assertRegex(talk('tls://' + address, '--insecure')[1][3], 'closed: connection lost: TLS: .')

    def test_the_client_says_good_bye(self):
        context = self.context('server')
        ends = []

        def serve_one(conn, i):
            with context.wrap_socket(conn, server_side=True, suppress_ragged_eofs=False) as tls:
                self.shake_hands(tls)
                data = b''
                while True:
                    try:
                        got = tls.recv(65536)
                    except ssl.SSLEOFError as e:
                        got = str(e)
                    if not got or isinstance(got, str):
                        ends.append(got)
                        return
                    data += got
                    while len(data) >= 4 and len(data) >= 4 + int.from_bytes(data[1:4], 'big'):
                        length = 4 + int.from_bytes(data[1:4], 'big')
                        if data[0] == wire.DATA:  # a request without compression, its id in one byte
                            body = b'\x04' + data[5:6] + data[7 + data[6]:length]
                            tls.sendall(wire.packet(wire.DATA, body))
                        data = data[length:]

        self.assertEqual(talk('tls://' + self.serve(serve_one), '--insecure')[1][3:],
                         ['3 of 3 echoes are right', 'closed'])
        self.doCleanups()  # the server has ended
        self.assertEqual(ends, [b''])

    def test_records_in_pieces_are_put_together(self):
        context = self.context('server')

        def serve_one(conn, i):
            # TLS in memory, so that what goes out can be cut anywhere
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = context.wrap_bio(incoming, outgoing, server_side=True)
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def run(step, *args):
                while True:
                    try:
                        result = step(*args)
                    except ssl.SSLWantReadError:
                        result = None
                    for byte in outgoing.read():
                        conn.sendall(bytes([byte]))
                    if result is not None:
                        return result
                    incoming.write(conn.recv(1))

            run(lambda: tls.do_handshake() or True)
            self.assertEqual(run(tls.read, 4)[0], wire.HANDSHAKE)
            run(tls.write, b'\x01\0\0' + bytes([len(ANSWER)]) + ANSWER)

        self.assertEqual(talk('tls://' + self.serve(serve_one), '--insecure')[1][:3],
                         ['connecting', 'handshaking', 'connected'])

    def test_files_that_are_not_there_are_named(self):
        code, said = talk('tls://127.0.0.1:1', '--ca', '/nowhere/ca.pem')
        self.assertEqual((code, len(said)), (1, 1))
        self.assertIn('/nowhere/ca.pem', said[0])


if __name__ == '__main__':
    main()
