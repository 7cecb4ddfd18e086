#!/usr/bin/env python3
"""`cereus repl` against the test application of the conformance tests: from a file, from a pipe, by hand on a terminal.

    test_repl.py CEREUS SERVER
"""
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

TOOL = SERVER = None
PATIENCE_S = 30
SETTINGS = {'server_type': 'connector', 'service': 'test', 'serializer': 'json', 'data_compression': True,
            'dictionary': {'test.echo': 1, 'onpush': 300}, 'heartbeat_s': 30, 'dispatch': 1,
            'agent_message_buffer': 100, 'write_timeout_s': 10, 'handshake_validator': None, 'hooks': False,
            'rate_limit': None, 'proxy_protocol': False, 'cluster': False}


class Repl(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.server = subprocess.Popen([SERVER, '--settings', json.dumps(SETTINGS), '--tcp', '127.0.0.1:0', '--ws',
                                       '127.0.0.1:0'], stdout=subprocess.PIPE, text=True)
        for line in cls.server.stdout:
            found = dict(re.findall(r'(tcp|ws)=(\S+)', line))
            if line.startswith('READY'):
                break
        cls.tcp, cls.ws = found['tcp'], found['ws']

    @classmethod
    def tearDownClass(cls):
        cls.server.send_signal(signal.SIGTERM)
        cls.server.wait(PATIENCE_S)
        cls.server.stdout.close()

    def from_file(self, text, *args):
        with tempfile.NamedTemporaryFile('w') as f:
            f.write(text)
            f.flush()
            done = subprocess.run([TOOL, 'repl', '-f', f.name, *args], capture_output=True, text=True,
                                  timeout=PATIENCE_S, stdin=subprocess.DEVNULL)
        self.assertEqual(done.stderr, '')
        return done.returncode, done.stdout

    def from_pipe(self, text, *args):
        done = subprocess.run([TOOL, 'repl', *args], input=text, capture_output=True, text=True, timeout=PATIENCE_S)
        self.assertEqual(done.stderr, '')
        return done.returncode, done.stdout

    def hello(self, url):
        return 'connected to %s, serializer json, heartbeat 30 s\n' % url

    def test_a_file_runs_to_its_end(self):
        for url in ('tcp://' + self.tcp, 'ws://' + self.ws):
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

    def test_an_address_alone_is_tried_as_websocket_then_as_tcp(self):
        self.assertEqual(self.from_file('connect %s\nexit\nnonsense\n' % self.ws), (0, self.hello('ws://' + self.ws)))
        self.assertEqual(self.from_file('connect %s\n' % self.tcp), (0, self.hello('tcp://' + self.tcp)))

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
                         (1, 'cannot connect: url ftp://127.0.0.1:1: only tcp:// and ws:// are supported\n'))
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
        for args in [('-f', '/does/not/exist'), ('--what',), ('file',), ('-d', 'docs.route')]:
            done = subprocess.run([TOOL, 'repl', *args], capture_output=True, stdin=subprocess.DEVNULL,
                                  timeout=PATIENCE_S)
            self.assertEqual((done.returncode, done.stdout), (2, b''))
        self.assertEqual(subprocess.run([TOOL, 'repl', '--help'], capture_output=True, timeout=PATIENCE_S).returncode, 0)

    def test_by_hand_there_is_a_prompt_and_a_history_and_errors_do_not_end_it(self):
        with tempfile.TemporaryDirectory() as home:
            history = os.path.join(home, 'kept')
            pid, fd = pty.fork()
            if pid == 0:
                os.environ['PITAYACLI_HISTORY_PATH'] = history
                os.execv(TOOL, [TOOL, 'repl'])
            seen = b''

            def until(text):
                nonlocal seen
                end = time.monotonic() + PATIENCE_S
                while text not in seen:
                    self.assertTrue(select.select([fd], [], [], max(0, end - time.monotonic()))[0], (text, seen))
                    seen += os.read(fd, 4096)
                seen = seen[seen.index(text) + len(text):]

            until(b'>>> ')
            os.write(fd, b'request test.echo x\n')
            until(b'not connected')
            until(b'>>> ')
            os.write(fd, b'connect tcp://%s\n' % self.tcp.encode())
            until(b'connected to tcp://')
            until(b'>>> ')
            os.write(fd, b'notify test.note shown at once\n')
            until(b'push onnote -> shown at once')
            until(b'>>> ')
            os.write(fd, b'request test.err\n')
            until(b'error PIT-555: somerror')
            os.write(fd, b'request test.echo y\n')
            until(b'sv->y')
            os.write(fd, b'\x04')
            _, status = os.waitpid(pid, 0)
            os.close(fd)
            self.assertEqual(status, 0)
            with open(history) as f:
                self.assertEqual(f.read().splitlines(), ['request test.echo x', 'connect tcp://' + self.tcp,
                                                         'notify test.note shown at once', 'request test.err',
                                                         'request test.echo y'])
            self.assertEqual(os.stat(history).st_mode & 0o777, 0o600)


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
    SERVER = os.path.abspath(sys.argv.pop(2))
    TOOL = os.path.abspath(sys.argv.pop(1))
    unittest.main()
