"""`cereus top` on servers of the cluster example.

    test_top.py CEREUS
"""
import json
import os
import pty
import select
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'support'))
import cereus_engines as engines  # noqa: E402
import cereus_wire as wire  # noqa: E402

TOOL = sys.argv[1]


def top(*args, **options):
    return subprocess.run([TOOL, 'top', *args], capture_output=True, text=True, timeout=60, check=False, **options)


class Screens:
    """What a terminal shows, one screen after the other."""

    def __init__(self, fd):
        self.fd, self.rest = fd, ''

    def until(self, wanted):
        """Screens until one that has a text, or that a function takes."""
        shown, deadline = [], time.monotonic() + 60
        takes = wanted if callable(wanted) else lambda screen: wanted in screen
        while not (shown and takes(shown[-1])):
            if not select.select([self.fd], [], [], max(0, deadline - time.monotonic()))[0]:
                raise AssertionError('not shown: %s' % (shown[-1:] or [self.rest]))
            self.rest += os.read(self.fd, 65536).decode()
            *whole, self.rest = self.rest.split('\033[H\033[J')
            shown += [screen for screen in whole if screen]
        return shown


class Top(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir, self.servers = folder.name, []

    def tearDown(self):
        for server in self.servers:
            problem = server.stop()
            self.assertIsNone(problem, problem)

    def start(self, kind, name, *args):
        server = wire.Server([os.path.join(os.environ['CLUSTER_BUILD'], 'examples/cluster', kind), '--id=' + name,
                              *(args or ['--cluster.dir=' + self.dir])])
        self.addCleanup(server.kill)
        self.servers.append(server)
        return server

    def test_servers_by_type_and_id(self):
        room = self.start('room', 'room-2', '--cluster.dir=' + self.dir, '--loops=3')
        self.start('room', 'room-1')
        connector = self.start('connector', 'front', '--cluster.dir=' + self.dir, '--listen=ws://127.0.0.1:0', '--set',
                               'chat.http=127.0.0.1:0')
        done = top('--once', '--every', '20', '--dir', self.dir)
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        lines = done.stdout.splitlines()
        self.assertEqual(lines[0], '3 servers in ' + self.dir)
        heads = lines[2].split()
        rows = [dict(zip(heads, line.split())) for line in lines[3:]]
        self.assertEqual([(row['TYPE'], row['ID']) for row in rows],
                         [('connector', 'front'), ('room', 'room-1'), ('room', 'room-2')])
        self.assertEqual((rows[2]['PID'], rows[2]['LOOPS'], rows[2]['SESSIONS']), (str(room.pid), '3', '0'))
        self.assertEqual(rows[0]['PID'], str(connector.pid))
        self.assertIn('local/local ready', lines[3])
        self.assertNotEqual(rows[1]['RPC/s'], '0')  # our own question, between the two looks

    def test_one_that_was_killed_is_not_shown(self):
        self.start('room', 'alive')
        dead = self.start('room', 'dead')
        dead.kill()
        self.servers.remove(dead)
        done = top('--once', '--every', '1', env=dict(os.environ, CEREUS_CLUSTER_DIR=self.dir))
        self.assertIn('alive', done.stdout)
        self.assertNotIn('dead', done.stdout)

    def test_a_terminal_is_kept_up_to_date(self):
        self.start('room', 'early')
        master, slave = pty.openpty()
        self.addCleanup(os.close, master)
        live = subprocess.Popen([TOOL, 'top', '--every', '20', '--dir', self.dir], stdin=slave, stdout=slave, stderr=slave)
        self.addCleanup(live.wait)
        self.addCleanup(live.kill)
        os.close(slave)
        screens = Screens(master)
        self.assertTrue(any('early' in s and 'late' not in s for s in screens.until('early')))
        late = self.start('room', 'late')
        screens.until('late')
        self.servers.remove(late)
        late.stop()
        screens.until(lambda s: 'early' in s and 'late' not in s)
        live.send_signal(signal.SIGINT)
        self.assertEqual(live.wait(timeout=30), -signal.SIGINT)

    def test_servers_in_etcd(self):
        there = engines.Engines('etcd')
        self.addCleanup(there.stop)
        settings = engines.settings(etcd=there.etcd, nats=there.nats)
        self.start('room', 'room-1', *['--set=' + s for s in settings])
        engines.InEtcd(there.etcd, 'pitaya/', 'game', 'deaf')
        with open(self.dir + '/server.json', 'w') as f:  # of a server that there is: it is not done as one
            json.dump(dict([s.split('=', 1) for s in settings], **{'cereus.id': 'room-1', 'cereus.listen': 'tcp://nowhere:1'}), f)
        done = top('--once', '--every', '20', '--config', self.dir + '/server.json')
        os.unlink(self.dir + '/server.json')
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        lines = done.stdout.splitlines()
        self.assertEqual(lines[0], '2 servers in etcd at ' + there.etcd)
        self.assertEqual(lines[3].split(), ['game', 'deaf', 'no', 'answer'])
        self.assertIn('etcd/nats ready', lines[4])
        self.assertEqual(len(engines.keys_in_etcd(there.etcd, 'pitaya/servers/')), 2)
        nowhere = engines.settings(etcd='127.0.0.1:1', nats=there.nats)
        done = top('--once', '--set=pitaya.cluster.sd.etcd.dialtimeout=10ms', *['--set=' + s for s in nowhere])
        self.assertEqual((done.returncode, done.stdout), (1, ''))
        self.assertIn('pitaya.cluster.sd.etcd.endpoints', done.stderr)

    def test_a_directory_that_comes_later(self):
        later = self.dir + '/later'
        live = subprocess.Popen([TOOL, 'top', '--every', '20', '--dir', later], stdout=subprocess.PIPE, text=True)
        self.addCleanup(live.stdout.close)
        self.addCleanup(live.wait)
        self.addCleanup(live.kill)
        self.assertIn('0 servers', live.stdout.readline())
        self.start('room', 'first', '--cluster.dir=' + later)
        for line in live.stdout:
            if 'first' in line:
                break
        else:
            self.fail('it is not shown')

    def test_nobody_is_there(self):
        done = top('--once', '--every', '1', '--dir', self.dir + '/none')
        self.assertEqual(done.returncode, 1)
        self.assertIn('0 servers in', done.stdout)

    def test_options(self):
        self.assertEqual(top('--help').returncode, 0)
        for args in (('--what',), ('--every', '0'), ('--dir',)):
            self.assertEqual(top(*args).returncode, 2)


if __name__ == '__main__':
    unittest.main(argv=sys.argv[:1])
