"""The cluster example as `make demo` runs it: two connectors, two rooms, a metagame, and players who talk while servers are
killed, started again and added.
"""
import json
import os
import pathlib
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'support'))
import cereus_engines  # noqa: E402
import cereus_wire as wire  # noqa: E402
from cereus_behaviour import BUSY_S, main  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = os.environ['CLUSTER_BUILD']


class Lines:
    """The lines of a pipe, with patience."""

    def __init__(self, pipe):
        self.pipe, self.rest, self.log = pipe, b'', ''

    def wait(self, pattern):
        """The next line with @p pattern, as a match."""
        deadline = time.monotonic() + BUSY_S
        while True:
            while b'\n' in self.rest:
                line, self.rest = self.rest.split(b'\n', 1)
                self.log += line.decode() + '\n'
                found = re.search(pattern, line.decode())
                if found:
                    return found
            if not select.select([self.pipe], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise AssertionError('no line with %s:\n%s' % (pattern, self.log))
            data = os.read(self.pipe.fileno(), 65536)
            if not data:
                raise AssertionError('the demo ended before %s:\n%s' % (pattern, self.log))
            self.rest += data


class Player:
    def __init__(self, test, address, name, room='lobby'):
        self.name, self.room, self.serial = name, room, 0
        self.conn = wire.WsConn(address)
        test.addCleanup(self.conn.close)
        test.assertEqual(self.conn.handshake(timeout=BUSY_S)['code'], 200)

    def send(self, method, **body):
        self.conn.send(wire.notify('room.room.' + method, json.dumps(dict(body, room=self.room)).encode()))

    def ask(self, method, **body):
        """The answer, an error's too; pushes before it are passed over."""
        self.serial += 1
        m = self.conn.call('room.room.' + method, json.dumps(dict(body, room=self.room)).encode(), self.serial, BUSY_S)
        if m is None:
            raise AssertionError('%s: no answer to %s' % (self.name, method))
        return json.loads(m.body)

    def join(self, until=lambda answer: not str(answer['code']).startswith('PIT-')):
        """The answer to it; servers that have not heard of each other yet make it worth another try."""
        deadline = time.monotonic() + BUSY_S
        while True:
            answer = self.ask('join', name=self.name)
            if until(answer) or time.monotonic() > deadline:
                return answer
            time.sleep(0.05)

    def wait_push(self, route, wanted=lambda body: True, timeout=BUSY_S):
        """The next push of that route that is wanted; None: there is none in time."""
        deadline = time.monotonic() + timeout
        while True:
            m = self.conn.wait_message(max(deadline - time.monotonic(), 0))
            if m is None:
                return None
            if m.type == wire.PUSH and m.route.decode() == route and wanted(json.loads(m.body)):
                return json.loads(m.body)


class DemoTest(unittest.TestCase):
    kind = 'local'  # of the engines

    def setUp(self):
        engines = cereus_engines.Engines(self.kind)
        self.addCleanup(engines.stop)
        keys = cereus_engines.settings(engines.dir, engines.etcd, engines.nats)
        env = dict(os.environ, **{pair.split('=', 1)[0].upper().replace('.', '_'): pair.split('=', 1)[1] for pair in keys})
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = folder.name
        self.demo = subprocess.Popen(
            [sys.executable, ROOT / 'scripts/demo.py', '--build', BUILD, '--any-ports', '--dir', self.dir],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env)
        self.addCleanup(self.end)
        self.lines, self.pids = Lines(self.demo.stdout), {}
        for _ in range(5):
            self.wait_up()
        ready = self.lines.wait(r'READY connector-1=([0-9.:]+),\S+ connector-2=([0-9.:]+),')
        self.connectors = ready.groups()

    def end(self):
        if self.demo.poll() is None:
            self.demo.send_signal(signal.SIGINT)
            try:
                self.demo.wait(2 * BUSY_S)
            except subprocess.TimeoutExpired:
                self.demo.kill()
                self.demo.wait()
        self.demo.stdout.close()

    def tearDown(self):
        """All end when asked, and leave nothing behind; no sanitizer has said anything."""
        self.demo.send_signal(signal.SIGINT)
        try:
            rest, _ = self.demo.communicate(timeout=5 * BUSY_S)  # it gives up on five servers, one after another
        except subprocess.TimeoutExpired as e:
            self.fail('does not end:\n' + self.lines.log + (self.lines.rest + (e.stdout or b'')).decode())
        log = self.lines.log + self.lines.rest.decode() + rest.decode()
        self.assertEqual(self.demo.returncode, 0, log)
        for word in ('Sanitizer', 'runtime error', 'assertion', 'Traceback', 'does not end'):
            self.assertNotIn(word, log)
        for pid in self.pids.values():
            with self.assertRaises(ProcessLookupError):
                os.kill(pid, 0)
        self.assertEqual(os.listdir(self.dir), [], log)

    def wait_up(self):
        name, pid = self.lines.wait(r'^(\S+) is up, pid (\d+)').groups()
        self.pids[name] = int(pid)
        return name

    def kill(self, name):
        os.kill(self.pids[name], signal.SIGKILL)
        self.lines.wait('%s \\(pid %d\\) ended with signal 9: started again' % (name, self.pids[name]))

    def come_in(self, name, connector, **options):
        player = Player(self, self.connectors[connector], name, **options)
        self.assertEqual(player.join(), {'code': 0, 'result': 'success'})
        return player

    def assert_members(self, player, *names):
        self.assertIsNotNone(player.wait_push('onMembers', lambda b: sorted(b['members']) == sorted(names)),
                             '%s does not see %s' % (player.name, names))

    def say_until_heard(self, speaker, text, *listeners):
        """What is said while a server dies may be lost, so it is said again until one hears it; then all have."""
        deadline = time.monotonic() + BUSY_S
        while True:
            speaker.send('message', content=text)
            if listeners[0].wait_push('onMessage', lambda b: b['content'] == text, 0.3):
                break
            self.assertLess(time.monotonic(), deadline, 'nobody hears %s' % text)
        for player in listeners[1:]:
            self.assertIsNotNone(player.wait_push('onMessage', lambda b: b['content'] == text), player.name)

    def server_of(self, watcher, newcomer):
        """The room server that greets @p newcomer, as @p watcher is told; and what it says."""
        hello = watcher.wait_push('onNewUser', lambda b: newcomer in b['content'])['content']
        return re.search(r'served by (\S+)', hello).group(1), hello

    def talk(self):
        ada = self.come_in('Ada', 0)
        linus = self.come_in('Linus', 1)
        self.assert_members(ada, 'Ada', 'Linus')
        ada.send('message', content='hello')
        self.assertEqual(linus.wait_push('onMessage'), {'name': 'Ada', 'content': 'hello'})
        self.assertEqual(ada.wait_push('onMessage'), {'name': 'Ada', 'content': 'hello'})
        self.assertEqual(linus.ask('ping'), {'room': 'lobby'})
        return ada, linus


class Cluster(DemoTest):
    def test_two_connectors_one_room(self):
        ada, linus = self.talk()
        other = Player(self, self.connectors[0], 'Linus')
        self.assertEqual(other.join()['code'], 'CHAT-409')  # wherever he is connected
        other.conn.close()
        self.assertEqual(linus.join(), {'code': 0, 'result': 'success'})  # asked again, by the same
        self.assertEqual(linus.ask('join', name='Else')['code'], 'CHAT-409')
        self.assertEqual(ada.ask('kick', name='Nobody')['code'], 'CHAT-404')
        self.assertEqual(ada.ask('kick', name='Linus'), {'code': 0})
        self.assertTrue(linus.conn.wait_close(BUSY_S))
        self.assert_members(ada, 'Ada')

    def test_rooms_do_not_hear_one_another(self):
        here = [self.come_in('Ada%d' % i, i % 2, room='room %d' % (i // 2)) for i in range(8)]
        for i, player in enumerate(here):
            player.send('message', content='in %d' % (i // 2))
        for i, player in enumerate(here):
            for _ in range(2):
                self.assertEqual(player.wait_push('onMessage')['content'], 'in %d' % (i // 2))

    def test_strangers_are_refused(self):
        ada = self.come_in('Ada', 0)
        eve = Player(self, self.connectors[1], 'Eve')
        eve.send('message', content='not in')
        self.assertEqual(eve.ask('kick', name='Ada')['code'], 'PIT-000')
        for name, room in (('', 'lobby'), ('x' * 33, 'lobby'), ('Eve', ''), ('Eve', 'r' * 33)):
            eve.room = room
            self.assertEqual(eve.ask('join', name=name)['code'], 'CHAT-400')
        self.assertEqual(eve.ask('join', name='Eve', room=7)['code'], 'CHAT-400')
        eve.send('message', content='x' * 3000)
        ada.send('message', content='only this')
        self.assertEqual(ada.wait_push('onMessage')['content'], 'only this')

    def test_a_killed_room_is_taken_over(self):
        ada, linus = self.come_in('Ada', 0), self.come_in('Linus', 1)
        server, _ = self.server_of(ada, 'Linus')
        self.kill(server)
        self.say_until_heard(ada, 'who is there?', linus, ada)  # by the other server, which had never heard of us
        grace = self.come_in('Grace', 1)
        now, _ = self.server_of(ada, 'Grace')
        self.assertNotEqual(now, server)
        self.assert_members(linus, 'Ada', 'Grace', 'Linus')
        self.assertEqual(self.wait_up(), server)
        self.say_until_heard(grace, 'back at the first', ada, linus, grace)

    def test_a_killed_connector_takes_its_players_along_until_they_come_back(self):
        ada, linus = self.come_in('Ada', 0), self.come_in('Linus', 1)
        self.assert_members(ada, 'Ada', 'Linus')
        self.kill('connector-2')
        self.assertTrue(linus.conn.wait_close(BUSY_S))
        self.assert_members(ada, 'Ada')
        self.assertEqual(self.wait_up(), 'connector-2')
        linus = self.come_in('Linus', 1)  # at the same address
        self.assert_members(ada, 'Ada', 'Linus')
        self.say_until_heard(ada, 'welcome back', linus)

    def test_one_who_comes_back_elsewhere_gets_his_name_at_once(self):
        ada = self.come_in('Ada', 0)
        self.come_in('Linus', 1)
        self.kill('connector-2')
        linus = Player(self, self.connectors[0], 'Linus')
        self.assertEqual(linus.join(until=lambda answer: answer['code'] == 0), {'code': 0, 'result': 'success'})
        self.say_until_heard(ada, 'there you are', linus)
        self.assertEqual(self.wait_up(), 'connector-2')

    def test_the_metagame_counts_and_may_be_away(self):
        ada = self.come_in('Ada', 0)
        for visit in (1, 2):
            linus = self.come_in('Linus', 1)
            self.assertIn(', visit %d,' % visit, self.server_of(ada, 'Linus')[1])
            linus.conn.close()
            self.assert_members(ada, 'Ada')
        self.kill('metagame-1')
        self.come_in('Grace', 1)
        self.assertIn('Grace', self.server_of(ada, 'Grace')[1])
        self.assertEqual(self.wait_up(), 'metagame-1')

    def test_a_third_room_server_takes_its_share(self):
        players = [self.come_in('p%d' % i, i % 2, room='room %d' % i) for i in range(12)]
        third = wire.Server([os.path.join(BUILD, 'examples/cluster/room'), '--id=room-3', '--cluster.dir=' + self.dir])
        self.addCleanup(third.kill)
        served_by, deadline = set(), time.monotonic() + BUSY_S
        while 'room-3' not in served_by and time.monotonic() < deadline:
            for i, player in enumerate(players):
                guest = self.come_in('guest', i % 2, room=player.room)
                served_by.add(self.server_of(player, 'guest')[0])
                guest.conn.close()
                self.assert_members(player, player.name)
        self.assertEqual(served_by, {'room-1', 'room-2', 'room-3'})
        for player in players:
            self.say_until_heard(player, 'with three', player)
        problem = third.stop(BUSY_S)
        self.assertIsNone(problem, problem)
        for player in players:
            self.say_until_heard(player, 'with two again', player)


class OnEtcdAndNats(DemoTest):
    """The same programs, two settings."""
    kind = 'etcd'

    def test_two_connectors_one_room(self):
        ada, linus = self.talk()
        linus.conn.close()
        self.assert_members(ada, 'Ada')


if __name__ == '__main__':
    main()
