"""The engine example: servers that find one another in a text file and speak over TCP, with a discovery and an rpc engine of the
game's own; and peers on that port that are no servers.
"""
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'support'))
import cereus_wire as wire  # noqa: E402
from cereus_behaviour import BUSY_S, main  # noqa: E402

ENGINE = os.environ['ENGINE_SERVER']
NOBODY = 'PIT-500'  # the server cannot be reached


def frame(data):
    return struct.pack('>I', len(data)) + data


class Player:
    def __init__(self, test, server):
        address, = server.addresses.values()
        self.conn, self.serial, self.pushes = wire.Conn(address), 0, []
        test.addCleanup(self.conn.close)
        test.assertEqual(self.conn.handshake(timeout=BUSY_S)['code'], 200)

    def send(self, method, body=b''):
        self.serial += 1
        self.conn.send(wire.request(self.serial, 'room.table.' + method, body))

    def next(self):
        m = self.conn.wait_message(BUSY_S)
        if m is None:
            raise AssertionError('nothing comes')
        return m

    def answer(self):
        """The answer to the last request; pushes before it are kept."""
        while (m := self.next()).type == wire.PUSH:
            self.pushes.append(m)
        assert m.id == self.serial, m
        return m

    def ask(self, method, body=b''):
        self.send(method, body)
        return self.answer()

    def push(self):
        while not self.pushes:
            m = self.next()
            assert m.type == wire.PUSH, m
            self.pushes.append(m)
        m = self.pushes.pop(0)
        return m.route, m.body

    def code(self, method, body=b''):
        m = self.ask(method, body)
        return json.loads(m.body)['code'] if m.error else 'ok'


class Engine(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='cereus-test-')
        self.addCleanup(shutil.rmtree, self.dir)
        self.hosts = os.path.join(self.dir, 'hosts')
        self.running = []

    def tearDown(self):
        """Who is alive ends when asked and leaves no line and no lock behind; no sanitizer has said anything."""
        for server in self.running:
            problem = server.stop(BUSY_S)
            self.assertIsNone(problem, problem)
        if os.path.exists(self.hosts):
            self.assertEqual(self.lines(), {})
        self.assertLessEqual(set(os.listdir(self.dir)), {'hosts', 'hosts.lock'})

    def command(self, type_, id_, *args):
        listen = ['--listen', 'tcp://127.0.0.1:0'] if type_ == 'front' else []
        return [ENGINE, type_, '--id', id_, *listen, '--set', 'hostfile.path=' + self.hosts, '--loops', '2', *args]

    def serve(self, type_, id_, *args):
        server = wire.LoggedServer(self.command(type_, id_, *args))
        self.addCleanup(server.kill)
        self.running.append(server)
        return server

    def kill(self, server):
        self.running.remove(server)
        server.proc.kill()
        server.proc.wait()

    def lines(self):
        """Whom the file lists: id -> the rest of the line."""
        with open(self.hosts) as f:
            return dict(line.split(maxsplit=1) for line in f if line.strip() and line[0] != '#')

    def address_of(self, id_):
        host, port = self.lines()[id_].split()[-1].split(':')
        return host, int(port)

    def join(self, player, room, name=b'ada'):
        """Join the table of that room; servers that have not heard of each other yet make it worth another try."""
        deadline = time.monotonic() + BUSY_S
        while (answer := player.ask('join', name).body) != b'welcome to ' + room.encode():
            self.assertLess(time.monotonic(), deadline, answer)

    def test_a_player_reaches_the_room_and_the_room_all_players(self):
        self.serve('room', 'room-1')
        gates = [self.serve('front', 'gate-%d' % i) for i in range(2)]
        self.assertEqual({id_: rest.split()[:2] for id_, rest in self.lines().items()},
                         {'room-1': ['room', 'backend'], 'gate-0': ['front', 'frontend'], 'gate-1': ['front', 'frontend']})
        players = [Player(self, gates[i % 2]) for i in range(8)]
        for i, p in enumerate(players):
            self.assertEqual(p.code('roll'), 'DICE-1')
            self.join(p, 'room-1', b'player-%d' % i)
        for i, p in enumerate(players):
            eyes = p.ask('roll').body
            for other in players:
                self.assertEqual(other.push(), (b'onRoll', b'player-%d rolls %s' % (i, eyes)))
        big = b'x' * 900000  # many reads
        self.assertFalse(players[0].ask('roll', big).error)

    def test_a_killed_room_is_an_error_at_once_and_who_comes_in_its_place_takes_over(self):
        room, gate = self.serve('room', 'room-1'), self.serve('front', 'gate-1', '--set', 'pitaya.cluster.rpc.client.nats.'
                                                              'requesttimeout=1h')
        player = Player(self, gate)
        self.join(player, 'room-1')
        os.kill(room.pid, signal.SIGSTOP)  # what is asked now is out when it dies
        os.waitpid(room.pid, os.WUNTRACED)
        player.send('roll')
        self.kill(room)
        self.assertEqual(json.loads(player.answer().body)['code'], NOBODY)  # by its deadline, an hour would pass
        self.assertEqual(player.code('roll'), NOBODY)
        self.assertIn('room-1', self.lines())
        self.serve('room', 'room-1')
        self.join(player, 'room-1')  # the gate has to hear of the new address
        eyes = player.ask('roll').body
        self.assertEqual(player.push(), (b'onRoll', b'ada rolls ' + eyes))

    def test_a_killed_gate_can_be_started_again_and_the_room_reaches_its_players(self):
        self.serve('room', 'room-1')
        gate = self.serve('front', 'gate-1')
        self.join(Player(self, gate), 'room-1')
        self.kill(gate)
        player = Player(self, self.serve('front', 'gate-1'))
        self.join(player, 'room-1', b'eve')
        deadline = time.monotonic() + BUSY_S  # what the room sends first may still go to where the old gate was
        while not player.pushes:
            player.ask('roll')
            self.assertLess(time.monotonic(), deadline)

    def test_a_room_that_ends_answers_what_it_was_asked(self):
        gate, oldest = self.serve('front', 'gate-1'), self.serve('room', 'room-2')
        player = Player(self, gate)
        for i in range(3, 8):  # one comes, another goes, and meanwhile the player plays
            self.join(player, 'room-%d' % (i - 1))  # who is known waits for those who know it
            newcomer = self.serve('room', 'room-%d' % i)
            player.conn.send(b''.join(wire.request(n, 'room.table.join', b'ada') for n in range(1000, 1050)))
            self.running.remove(oldest)
            problem = oldest.stop(BUSY_S)
            self.assertIsNone(problem, problem)
            for n in range(1000, 1050):
                m = player.next()
                self.assertEqual((m.id, m.error), (n, False), m.body)
            oldest = newcomer

    def test_people_may_edit_the_file(self):
        gate = self.serve('front', 'gate-1')
        player = Player(self, gate)
        with open(self.hosts, 'a') as f:  # one that is not there, one that makes no sense
            f.write('# a room\n\nroom-9 room backend 127.0.0.1:1\nroom-8 room perhaps 127.0.0.1:1\nbad/name room backend '
                    '127.0.0.1:1\n')
        self.assertTrue(gate.await_line('server joined.*room-9', BUSY_S))
        self.assertEqual(player.code('join', b'ada'), NOBODY)  # refused, by the port
        room = self.serve('room', 'room-1')
        self.assertTrue(gate.await_line('server joined.*room-1', BUSY_S))
        with open(self.hosts) as f:
            text = f.read()
        self.assertIn('# a room', text)
        with open(self.hosts + '.mine', 'w') as f:  # as an editor does it
            f.write(''.join(line for line in text.splitlines(True) if 'room-9' not in line and 'room-8' not in line
                            and 'bad' not in line))
        os.rename(self.hosts + '.mine', self.hosts)
        self.assertTrue(gate.await_line('server left.*room-9', BUSY_S))
        self.join(player, 'room-1')
        self.assertTrue(room.alive())

    def test_who_is_no_server_is_hung_up_on_and_the_others_go_on(self):
        self.serve('room', 'room-1')
        gate = self.serve('front', 'gate-1')
        player = Player(self, gate)
        self.join(player, 'room-1')
        garbage = [
            b'GET / HTTP/1.1\r\n\r\n',  # a length of 1195725856
            struct.pack('>I', (18 << 20) + 1),
            frame(b''), frame(b'hello'), frame(b'hello localhost:1'), frame(b' 127.0.0.1:1'), frame(b'x' * 256 + b' 127.0.0.1:1'),
            frame(b'a\0b 127.0.0.1:1'), frame(b'x 127.0.0.1:65536'), frame(b'x' * 5000),
            frame(b'room-7 127.0.0.1:1') + frame(b'') + frame(b'nonsense') + struct.pack('>I', 0xffffffff),
        ]
        for data in garbage:
            for id_ in ('room-1', 'gate-1'):
                with socket.create_connection(self.address_of(id_), BUSY_S) as s:
                    s.sendall(data)
                    try:
                        self.assertEqual(s.recv(1), b'')  # hung up on
                    except ConnectionResetError:
                        pass
        half = socket.create_connection(self.address_of('room-1'), BUSY_S)  # never says the rest
        self.addCleanup(half.close)
        half.sendall(struct.pack('>I', 1000) + b'x')
        self.assertEqual(player.code('roll'), 'ok')
        half.close()  # else the room would wait for it at its end

    def test_what_is_wrong_is_told_in_a_line(self):
        self.serve('room', 'room-1')
        cases = [
            (self.command('room', 'room-1'), 'discovery "hostfile": hostfile.path: %s.room-1.lock: a server with this cereus.id '
             'runs already; give each its own' % self.hosts),
            (self.command('room', 'room-2', '--set', 'hostfile.path=/nowhere/hosts'),
             'discovery "hostfile": hostfile.path: /nowhere/hosts.room-2.lock: No such file or directory'),
            (self.command('room', 'room-2', '--set', 'tcp.listen=localhost:1'),
             'rpc engine "tcp": tcp.listen: localhost:1: it is HOST:PORT in numbers, as 10.0.0.1:7001'),
            (self.command('room', 'room-2', '--set', 'tcp.listen=0.0.0.0:0'),
             'rpc engine "tcp": tcp.listen: 0.0.0.0:0: name the address at which the other servers reach this one'),
            (self.command('room', 'room-2', '--set', 'tcp.listen=%s:%d' % self.address_of('room-1')),
             'rpc engine "tcp": tcp.listen: %s:%d: Address already in use' % self.address_of('room-1')),
        ]
        long_file = self.hosts + '.long'
        with open(long_file, 'wb') as f:
            f.write(b'#' * ((1 << 20) + 1))
        cases.append((self.command('room', 'room-2', '--set', 'hostfile.path=' + long_file),
                      'discovery "hostfile": hostfile.path: %s: longer than the limit' % long_file))
        for command, text in cases:
            done = subprocess.run(command, capture_output=True, text=True, timeout=BUSY_S)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn(text, done.stderr)
        self.assertEqual(list(self.lines()), ['room-1'])
        os.unlink(long_file)
        os.unlink(long_file + '.lock')


if __name__ == '__main__':
    main()
