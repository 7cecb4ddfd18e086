#!/usr/bin/env python3
"""`cereus repl` against the test application of the conformance tests: from a file, from a pipe, by hand on a terminal.

    test_repl.py CEREUS SERVER TYPED
"""
import gzip
import json
import os
import pty
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'support'))
import cereus_wire as wire  # noqa: E402
from cereus_behaviour import tls_args  # noqa: E402

TOOL = SERVER = TYPED = None
CERTIFICATES = os.environ['TEST_TLS']
PATIENCE_S = 30
SETTINGS = {'server_type': 'connector', 'service': 'test', 'serializer': 'json', 'data_compression': True,
            'dictionary': {'test.echo': 1, 'onpush': 300}, 'heartbeat_s': 30, 'dispatch': 1,
            'agent_message_buffer': 100, 'write_timeout_s': 10, 'handshake_validator': None, 'hooks': False,
            'rate_limit': None, 'proxy_protocol': False, 'cluster': False}


class Terminal:
    """The REPL by hand, on a terminal of its own."""

    def __init__(self, *args, **environment):
        self.seen = b''
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(environment)
            os.execv(TOOL, [TOOL, 'repl', *args])

    def type(self, keys):
        os.write(self.fd, keys)

    def until(self, text):
        end = time.monotonic() + PATIENCE_S
        while text not in self.seen:
            assert select.select([self.fd], [], [], max(0, end - time.monotonic()))[0], (text, self.seen)
            self.seen += os.read(self.fd, 4096)
        self.seen = self.seen[self.seen.index(text) + len(text):]

    def status(self):
        """Of its end."""
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return status


class Repl(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.server = wire.Server([SERVER, '--settings', json.dumps(SETTINGS), '--tcp', '127.0.0.1:0', '--ws',
                                  '127.0.0.1:0', *tls_args()])
        cls.tcp, cls.ws, cls.tls, cls.wss = (cls.server.addresses[kind] for kind in ('tcp', 'ws', 'tls', 'wss'))

    @classmethod
    def tearDownClass(cls):
        problem = cls.server.stop()
        if problem:
            raise AssertionError(problem)

    def from_file(self, text, *args, env=None):
        with tempfile.NamedTemporaryFile('w') as f:
            f.write(text)
            f.flush()
            done = subprocess.run([TOOL, 'repl', '-f', f.name, *args], capture_output=True, text=True,
                                  timeout=PATIENCE_S, stdin=subprocess.DEVNULL, env=env)
        self.assertEqual(done.stderr, '')
        return done.returncode, done.stdout

    def from_pipe(self, text, *args):
        done = subprocess.run([TOOL, 'repl', *args], input=text, capture_output=True, text=True, timeout=PATIENCE_S)
        self.assertEqual(done.stderr, '')
        return done.returncode, done.stdout

    def hello(self, url):
        return 'connected to %s, serializer json, heartbeat 30 s\n' % url

    def test_a_file_runs_to_its_end(self):
        for url in ('tcp://' + self.tcp, 'ws://' + self.ws, 'tls://' + self.tls, 'wss://' + self.wss):
            self.assertEqual(
                self.from_file('# comments and empty lines are fine\n\n'
                               'connect %s\n'
                               'request test.echo {"a": 1,  "b":[1, 2]} \n'
                               '  request   connector.test.push   hi\r\n'
                               'request test.emptyraw\n'
                               'request test.echo %s' % (url, 'x' * 5000)),
                (0, self.hello(url) + 'sv-> {"a": 1,  "b":[1, 2]}\n'
                                      'push onpush -> hi\n'
                                      'sv-> pushed\n'
                                      'sv-> \n'
                                      'sv-> %s\n' % ('x' * 5000)))

    def test_an_address_alone_is_tried_as_wss_ws_tls_and_tcp(self):
        self.assertEqual(self.from_file('connect %s\nexit\nnonsense\n' % self.ws), (0, self.hello('ws://' + self.ws)))
        self.assertEqual(self.from_file('connect %s\n' % self.tcp), (0, self.hello('tcp://' + self.tcp)))
        self.assertEqual(self.from_file('connect %s\n' % self.tls), (0, self.hello('tls://' + self.tls)))
        self.assertEqual(self.from_file('connect %s\n' % self.wss), (0, self.hello('wss://' + self.wss)))

    def test_certificates_are_checked_when_that_is_asked_for(self):
        trusting = {**os.environ, 'SSL_CERT_FILE': os.path.join(CERTIFICATES, 'server.crt')}
        for scheme, address in (('wss', self.wss), ('tls', self.tls)):
            for text in ('connect %s://%s\n' % (scheme, address), 'connect %s\n' % address):
                code, out = self.from_file(text, '--verify')
                self.assertEqual(code, 1)
                self.assertRegex(out, '^cannot connect: 127.0.0.1 port .*: TLS: the certificate is not accepted: '
                                      'self-signed certificate; is the right CA configured\\?\n$')
                self.assertEqual(self.from_file(text, '-v', env=trusting),
                                 (0, self.hello('%s://%s' % (scheme, address))))
        # and are not led around: an address alone is not tried without TLS then
        for address in (self.ws, self.tcp):
            code, out = self.from_file('connect %s\n' % address, '--verify')
            self.assertEqual(code, 1)
            self.assertRegex(out, '^cannot connect: .*: TLS: the peer ')
            self.assertNotIn('connected to', out)
        self.assertEqual(self.from_file('connect tcp://%s\n' % self.tcp, '-v'), (0, self.hello('tcp://' + self.tcp)))

    def test_a_file_stops_at_the_first_error(self):
        connect = 'connect tcp://%s\n' % self.tcp
        hello = self.hello('tcp://' + self.tcp)
        for line, want in [
                ('request test.errmeta', 'error PIT-433: test error some=meta\n'),
                ('request test.nothing', 'error PIT-404: pitaya/handler: connector.test.nothing not found\n'),
                ('request test.closeme', 'disconnected: the server closed the connection\n'
                                         'error PIT-499: the server closed the connection\n'),
                ('request test.kickme', 'kicked\ndisconnected\nerror PIT-499: kicked by the server\n'),
                ('connect tcp://' + self.tcp, 'already connected\n'),
                ('sethandshake version 2', 'use this command before connect\n'),
                ('request', 'usage: request ROUTE [BODY]\n'),
                ('request %s x' % ('r' * 256), 'cannot send: longer than the limit\n'),
                ('dance', 'command not found: dance\n'),
                ('wait x', 'usage: wait MILLISECONDS, at most an hour\n'),
        ]:
            self.assertEqual(self.from_file(connect + line + '\nrequest test.echo never\n'), (1, hello + want))
        self.assertEqual(self.from_file('request test.echo x\n'), (1, 'not connected\n'))
        self.assertEqual(self.from_file('notify test.echo x\n'), (1, 'not connected\n'))
        self.assertEqual(self.from_file('disconnect\n'), (1, 'not connected\n'))
        self.assertEqual(self.from_file('connect nowhere\n')[0], 1)
        self.assertEqual(self.from_file('connect ftp://127.0.0.1:1\n'),
                         (1, 'cannot connect: url ftp://127.0.0.1:1: does not begin with tcp://, tls://, ws:// or wss://\n'))
        self.assertEqual(self.from_file('connect 127.0.0.1:1\n'),
                         (1, 'cannot connect: cannot connect to 127.0.0.1 port 1: Connection refused\n'))

    def test_a_pipe_is_like_a_file(self):
        out = self.hello('tcp://' + self.tcp) + 'sv->one\ndisconnected\n'
        commands = 'connect tcp://%s\nrequest test.echo one\ndisconnect\n' % self.tcp
        self.assertEqual(self.from_pipe(commands), (0, out))
        self.assertEqual(self.from_pipe(commands + 'oh\nhelp\n'), (1, out + 'command not found: oh\n'))
        self.assertEqual(self.from_pipe(commands, '-f', '-')[0], 0)

    def test_notifies_are_sent_and_pushes_waited_for(self):
        code, out = self.from_file('connect tcp://%s\nnotify test.note a  b\nrequest test.echo x\n' % self.tcp)
        self.assertEqual((code, out), (0, self.hello('tcp://' + self.tcp) + 'push onnote -> a  b\nsv-> x\n'))

    def test_wait_shows_what_comes_until_the_connection_ends(self):
        listener = socket.create_server(('127.0.0.1', 0))
        self.addCleanup(listener.close)

        def serve():
            s, _ = listener.accept()
            with s:
                s.settimeout(PATIENCE_S)
                answer = b'{"code":200,"sys":{"dict":{},"heartbeat":30,"serializer":"json"}}'
                s.recv(4096)
                s.sendall(b'\x01\0\0' + bytes([len(answer)]) + answer)
                s.recv(4)
                s.sendall(b'\x04\0\0\x06\x06\x03\x1b[J!' + b'\x04\0\0\x05\x06\x01rhi' + b'\x05\0\0\0')
                s.recv(1)

        server = threading.Thread(target=serve)
        server.start()
        url = 'tcp://127.0.0.1:%d' % listener.getsockname()[1]
        out = self.from_file('connect %s\nwait 60000\n' % url)
        server.join()
        self.assertEqual(out, (0, self.hello(url) +
                               'push hex:1b5b4a -> !\npush r -> hi\nkicked\ndisconnected\n'))

    def test_the_handshake_can_be_set(self):
        ask = 'connect tcp://%s\nrequest test.hs\n' % self.tcp

        def sent(text):
            code, out = self.from_file(text + ask)
            self.assertEqual(code, 0, out)
            return json.loads(out.splitlines()[1][len('sv-> '):])

        first = sent('')
        self.assertEqual(first['user'], {'client': 'repl'})
        self.assertEqual((first['sys']['platform'], first['sys']['clientBuildNumber'], first['sys']['clientVersion']),
                         ('repl', '20', '1.0.0'))
        changed = sent('sethandshake {"sys":{"platform":"p","libVersion":"l"},"user":{"a":[1]}}\n'
                       'sethandshake buildNumber 7\nsethandshake version "x y"\n')
        self.assertEqual(changed, {'sys': {'platform': 'p', 'libVersion': 'l', 'clientBuildNumber': '7',
                                           'clientVersion': '"x y"'}, 'user': {'a': [1]}})
        for bad in ('', 'speed 9', 'version', '{', '{"sys":{"platform":1}}', '{"user":[]}'):
            code, out = self.from_file('sethandshake %s\n' % bad)
            self.assertEqual((code, out[:19]), (1, 'usage: sethandshake'))

    def test_json_can_be_laid_out_and_bodies_be_hex(self):
        url = 'tcp://' + self.tcp
        self.assertEqual(self.from_file('connect %s\nrequest test.echo {"b":1,"a":[]}\nrequest test.echo no json\n' %
                                        url, '-p'),
                         (0, self.hello(url) + 'sv-> {\n  "b": 1,\n  "a": []\n}\nsv-> no json\n'))
        self.assertEqual(self.from_file('connect %s\nrequest test.echo 00 ff 1b\nrequest test.echo 0g\n' % url, '-x'),
                         (1, self.hello(url) + 'sv-> 00ff1b\ncannot send: bytes that break the format\n'))
        self.assertEqual(self.from_file('connect %s\nrequest test.echo a\tb\n' % url)[1].splitlines()[1], 'sv-> a\tb')

    def test_old_scripts_and_small_commands_work(self):
        code, out = self.from_pipe('push onpush protos.X\nclear\nhistory\nhelp\n')
        self.assertEqual(code, 0)
        self.assertIn('    1  push onpush protos.X\n    2  clear\n    3  history\n', out)
        self.assertIn('sethandshake', out)

    def test_bad_options_end_with_2(self):
        for args in [('-f', '/does/not/exist'), ('--what',), ('file',), ('-d',)]:
            done = subprocess.run([TOOL, 'repl', *args], capture_output=True, stdin=subprocess.DEVNULL,
                                  timeout=PATIENCE_S)
            self.assertEqual((done.returncode, done.stdout), (2, b''))
        self.assertEqual(subprocess.run([TOOL, 'repl', '--help'], capture_output=True, timeout=PATIENCE_S).returncode, 0)

    def test_by_hand_there_is_a_prompt_and_a_history_and_errors_do_not_end_it(self):
        with tempfile.TemporaryDirectory() as home:
            history = os.path.join(home, 'kept')
            hand = Terminal(PITAYACLI_HISTORY_PATH=history)
            hand.until(b'>>> ')
            hand.type(b'request test.echo x\n')
            hand.until(b'not connected')
            hand.until(b'>>> ')
            hand.type(b'connect tcp://%s\n' % self.tcp.encode())
            hand.until(b'connected to tcp://')
            hand.until(b'>>> ')
            hand.type(b'notify test.note shown at once\n')
            hand.until(b'push onnote -> shown at once')
            hand.until(b'>>> ')
            hand.type(b'request test.err\n')
            hand.until(b'error PIT-555: somerror')
            hand.type(b'request test.echo y\n')
            hand.until(b'sv->y')
            hand.type(b'\x04')
            self.assertEqual(hand.status(), 0)
            with open(history) as f:
                self.assertEqual(f.read().splitlines(), ['request test.echo x', 'connect tcp://' + self.tcp,
                                                         'notify test.note shown at once', 'request test.err',
                                                         'request test.echo y'])
            self.assertEqual(os.stat(history).st_mode & 0o777, 0o600)


class Docs(unittest.TestCase):
    """--docs against the ptest service of the conformance server and against examples/typed."""
    maxDiff = None

    def start(self, server):
        def stop():
            problem = server.stop(PATIENCE_S)
            self.assertIsNone(problem, problem)
        self.addCleanup(stop)
        return server.addresses['tcp']

    def ptest(self, serializer):
        settings = dict(SETTINGS, service='ptest instead of test', serializer=serializer, dictionary={})
        return self.start(wire.Server([SERVER, '--settings', json.dumps(settings), '--tcp', '127.0.0.1:0']))

    def typed(self, *args):
        return self.start(wire.LoggedServer([TYPED, '--listen', 'tcp://127.0.0.1:0', *args]))

    def repl(self, address, text, *args):
        done = subprocess.run([TOOL, 'repl', '-f', '-', *args], input='connect tcp://%s\n%s' % (address, text),
                              capture_output=True, text=True, timeout=PATIENCE_S)
        self.assertEqual(done.stderr, '')
        first, _, rest = done.stdout.partition('\n')
        self.assertRegex(first, '^connected to ')
        return done.returncode, rest

    def test_routes_are_listed(self):
        routes = ''.join('connector.ptest.%s\n' % name for name in ('docs', 'echodoc', 'err', 'note', 'protos'))
        for serializer in ('json', 'protobuf'):
            self.assertEqual(self.repl(self.ptest(serializer), 'routes\n', '--docs', 'connector.ptest.docs'),
                             (0, routes))

    def test_json_becomes_protobuf_and_back(self):
        self.assertEqual(self.repl(self.ptest('protobuf'),
                                   'request connector.ptest.echodoc {"doc": "a  b"}\n'
                                   'request ptest.echodoc\n'
                                   'notify ptest.note {"doc":"x"}\n'
                                   'request ptest.protos {"name":[]}\n'
                                   'request ptest.err {"doc":"x"}\n'
                                   'request ptest.echodoc never\n', '-d', 'ptest.docs'),
                         (1, 'sv-> {"doc":"a  b"}\nsv-> {}\nsv-> {}\nerror PIT-433: test error some=meta\n'))

    def test_a_body_that_does_not_fit_is_not_sent(self):
        code, out = self.repl(self.ptest('protobuf'), 'request ptest.echodoc {"doc":1}\n', '-d', 'ptest.docs')
        self.assertEqual(code, 1)
        self.assertTrue(out.startswith('cannot send: json: field "doc": '), out)

    def test_json_servers_get_bodies_as_they_are(self):
        self.assertEqual(self.repl(self.ptest('json'), 'request ptest.echodoc {"doc" : "x"}\n', '-d', 'ptest.docs'),
                         (0, 'sv-> {"doc":"x"}\n'))

    def test_bodies_in_hex_are_not_translated(self):
        self.assertEqual(self.repl(self.ptest('protobuf'), 'request ptest.echodoc 0a0178\n', '-x', '-d', 'ptest.docs'),
                         (0, 'sv-> 0a0178\n'))

    def test_pushes_are_shown_once_their_type_is_told(self):
        address = self.typed('--serializertype', '2')
        for before, after in [('', ''), ('', 'push onWon guess.Won\n'), ('', 'push onWon *guess.Won\n')]:
            code, out = self.repl(address, before + after + 'request game.try {"number":42}\n', '-d', 'docs.docs')
            self.assertEqual(code, 0)
            push, _, reply = out.partition('\n')
            self.assertEqual(reply, 'sv-> {"text":"that is it","tries_left":4}\n')
            self.assertRegex(push, r'^push onWon -> \{"who":"127.0.0.1:\d+","number":42\}$' if after
                             else '^push onWon -> hex:')
        done = subprocess.run([TOOL, 'repl', '-d', 'docs.docs'], input='push onWon guess.Won\nconnect tcp://%s\n'
                              'request game.try {"number":42}\n' % address, capture_output=True, text=True,
                              timeout=PATIENCE_S)
        self.assertIn('push onWon -> {"who":', done.stdout)

    def test_what_cannot_be_read_ends_it(self):
        address = self.ptest('protobuf')
        code, out = self.repl(address, 'exit\n', '-d', 'ptest.nothing')
        self.assertEqual((code, out), (1, 'cannot read the documentation: PIT-404: '
                                          'pitaya/handler: connector.ptest.nothing not found\n'))
        code, out = self.repl(address, 'exit\n', '-d', 'ptest.protos')
        self.assertEqual(code, 1)
        self.assertTrue(out.startswith('cannot read the documentation: '), out)
        self.assertEqual(self.repl(address, 'routes\n'),
                         (1, 'the routes are not known: start with --docs ROUTE\n'))
        self.assertEqual(self.repl(address, 'push a b\n'),
                         (0, 'push is not needed without --docs: all pushes are shown as they come\n'))
        self.assertEqual(self.repl(address, 'push a\n', '-d', 'ptest.docs'), (1, 'usage: push ROUTE TYPE\n'))

    def test_types_without_descriptors_stay_bytes(self):
        """A server that knows only some of the types it documents, as one with types that are not Protobuf's."""
        doc = json.dumps({'handlers': {
            'g.s.known': {'input': {'*protos.Doc': {'doc': 'string'}}, 'output': [{'*main.Odd': {}}, 'error']},
            'g.s.protos': {'input': {'*protos.ProtoNames': {}}, 'output': [{'*protos.ProtoDescriptors': {}}, 'error']},
        }, 'remotes': {}}).encode()
        doc_file = gzip.compress(b'\x0a\x09doc.proto\x12\x06protos\x22\x17\x0a\x03Doc\x12\x10\x0a\x03doc\x18\x01\x20'
                                 b'\x01\x28\x09\x52\x03doc\x62\x06proto3')
        asked = []

        def answer(route, body):
            if route == b's.docs':
                return wire.varint(10) + wire.varint(len(doc)) + doc
            if route == b'g.s.protos':
                names = [name for _, name in wire.pb_fields(body)]
                asked.append(names)
                if names == [b'protos.Doc']:
                    return b'\x0a' + wire.varint(len(doc_file)) + doc_file
                return None
            return body + b'\xff'

        listener = socket.create_server(('127.0.0.1', 0))
        self.addCleanup(listener.close)

        def serve():
            s, _ = listener.accept()
            with s:
                s.settimeout(PATIENCE_S)
                hello = b'{"code":200,"sys":{"dict":{},"heartbeat":30,"serializer":"protobuf"}}'
                data = b''
                while True:
                    packets, data = wire.split_packets(data)
                    for kind, body in packets:
                        if kind == wire.HANDSHAKE:
                            s.sendall(wire.packet(wire.HANDSHAKE, hello))
                        elif kind == wire.DATA:
                            m = wire.decode_message(body)
                            reply = answer(m.route, m.body)
                            flags = 4 if reply is not None else 0x24
                            s.sendall(wire.packet(wire.DATA, bytes([flags]) + wire.varint(m.id) +
                                                  (reply if reply is not None else b'\x0a\x03NO!\x12\x01x')))
                    more = s.recv(4096)
                    if not more:
                        return
                    data += more
        thread = threading.Thread(target=serve)
        thread.start()
        code, out = self.repl('%s:%d' % listener.getsockname(), 'request s.known {"doc":"x"}\n', '-d', 's.docs')
        thread.join()
        self.assertEqual((code, out), (0, 'sv-> hex:0a0178ff\n'))
        self.assertGreater(len(asked), 2)
        self.assertEqual(len(asked[0]), 4)

    def test_by_hand_tab_completes_and_keys_move(self):
        address = self.typed('--serializertype', '2')
        with tempfile.TemporaryDirectory() as home:
            history = os.path.join(home, 'kept')
            with open(history, 'w') as f:
                f.write('request game.try {"number":1}\n\x1b[2Jnot shown\n')
            hand = Terminal('-d', 'docs.docs', PITAYACLI_HISTORY_PATH=history, TERM='xterm')
            hand.until(b'>>> ')
            hand.type(b'con\t')
            hand.until(b'>>> connect ')
            hand.type(b'tcp://%s\r' % address.encode())
            hand.until(b'connected to tcp://')
            hand.until(b'>>> ')
            hand.type(b'req\tgu\t\t')
            hand.until(b'guess.docs.docs   guess.docs.protos   guess.game.try')
            hand.type(b'ga\t{\t')
            hand.until(b'request guess.game.try {"number":')
            hand.type(b'7\x1b[D8\x1b[C}\x1b[H\x1b[F\r')  # 87: the 8 goes in front of the 7
            hand.until(b'sv->{"text":"lower","tries_left":4}')
            hand.until(b'>>> ')
            hand.type(b'\x1b[A\x7f\x7f\x7f41}\r')
            hand.until(b'sv->{"text":"higher","tries_left":3}')
            hand.until(b'>>> ')
            hand.type(b'half\x1b[A\x1b[A\x1b[A\x1b[A\x1b[A')  # the oldest that may be shown
            hand.until(b'request game.try {"number":1}')
            hand.type(b'\x1b[B\x1b[B\x1b[B\x1b[B\x1b[B')
            hand.until(b'half')
            hand.type(b'\x15\x04')
            self.assertEqual(hand.status(), 0)
            self.assertNotIn(b'not shown', hand.seen)


class Tool(unittest.TestCase):
    def test_commands_are_listed(self):
        run = lambda *args: subprocess.run([TOOL, *args], capture_output=True, text=True, timeout=PATIENCE_S)
        self.assertEqual(run('help').returncode, 0)
        for name in ('repl', 'wire', 'bench', 'version', 'help'):
            self.assertIn('  ' + name, run('--help').stdout)
        self.assertRegex(run('version').stdout, r'^cereus \d+\.\d+\.\d+\n$')
        self.assertEqual(run().returncode, 2)
        self.assertEqual(run('dance').returncode, 2)
        self.assertIn('no command called dance', run('dance').stderr)


if __name__ == '__main__':
    TYPED = os.path.abspath(sys.argv.pop(3))
    SERVER = os.path.abspath(sys.argv.pop(2))
    TOOL = os.path.abspath(sys.argv.pop(1))
    unittest.main()
