"""Servers of a cluster whose network to NATS or etcd is cut, hangs or is slow while players talk, by proxies that stand between:
every request is answered within its time, with a reply or a code that may be tried again; who is not cut off does not notice;
when the network is back, all is as before, by itself.
"""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'support'))
import cereus_engines  # noqa: E402
from cereus_behaviour import main  # noqa: E402
import cereus_wire as wire  # noqa: E402
from cereus_cluster import NOBODY, RETRYABLE, TIMEOUT_MS, ClusterTest, freeze  # noqa: E402
from cereus_proxy import Proxy  # noqa: E402

PINGS = ('pitaya.cluster.rpc.client.nats.pinginterval=100ms', 'pitaya.cluster.rpc.client.nats.maxpingsoutstanding=2',
         'pitaya.cluster.rpc.client.nats.connectiontimeout=500ms')
SHORT_LEASE = ('pitaya.cluster.sd.etcd.heartbeat.ttl=1s', 'pitaya.cluster.sd.etcd.grantlease.retryinterval=100ms')


class CutsTest(ClusterTest):
    kind = 'etcd'

    def proxy(self, upstream):
        proxy = Proxy(upstream.split('://')[-1])
        self.addCleanup(proxy.stop)
        return proxy

    def nats_proxy(self):
        """And the URL that leads through it."""
        proxy = self.proxy(self.engines.nats)
        return proxy, 'nats://' + proxy.address

    def await_ok(self, players, count=50):
        self.wait_for_all(players, count, 'ok')

    # -- NATS --

    def test_nats_is_cut_for_one_backend(self):
        proxy, url = self.nats_proxy()
        front = self.serve('front', 'front-1')
        self.serve('room', 'room-0')
        self.serve('room', 'room-1', nats=url)
        self.serve('shop', 'shop-1')
        self.await_members(front, 'room', 2)
        self.await_members(front, 'shop', 1)
        players, others = self.play(front, 'room.x.who', 4), self.play(front, 'shop.x.echo', 2, b'%d'.__mod__)
        self.wait_for_all(players + others, 20)
        proxy.cut()
        self.wait_for_all(players, 3, NOBODY)
        self.await_ok(players)  # of the other
        self.await_ok(others)
        proxy.restore()
        for p in players:
            p.wait_for(1, begin=len(p.answers), body=b'room-1')
        self.finish_all(players + others)
        self.assert_answered(players, ['PIT-408', NOBODY])
        self.assert_answered(others, [])

    def test_nats_is_cut_for_one_frontend(self):
        proxy, url = self.nats_proxy()
        fronts = [self.serve('front', 'front-0', nats=url), self.serve('front', 'front-1')]
        self.serve('room', 'room-1')
        for f in fronts:
            self.await_members(f, 'room', 1)
        ada = self.listen(fronts[0], b'ada')
        cut_off, here = self.play(fronts[0], 'room.x.echo', 3, b'%d'.__mod__), self.play(fronts[0], 'front.x.echo', 2)
        others = self.play(fronts[1], 'room.x.echo', 3, b'%d'.__mod__)
        self.wait_for_all(cut_off + here + others, 20)
        proxy.cut()
        self.wait_for_all(cut_off, 20, 'PIT-500')  # at once, so many come
        self.await_ok(here + others)
        proxy.restore()
        self.await_ok(cut_off)
        teller, = self.play(fronts[1], 'room.x.say', body=lambda n: b'ada after %d' % n)
        teller.wait_for(20)
        self.finish_all([*cut_off, *here, *others, teller])
        ada.wait_for(b'after %d' % n for n in range(1, 21))
        self.assert_answered(cut_off, RETRYABLE)
        self.assert_answered([*here, *others, teller], [])

    def test_nats_dies_for_all(self):
        proxy, url = self.nats_proxy()
        front = self.serve('front', 'front-1', nats=url)
        self.serve('room', 'room-1', nats=url)
        self.await_members(front, 'room', 1)
        players, here = self.play(front, 'room.x.note', 4, b'%d'.__mod__), self.play(front, 'front.x.echo', 2)
        self.wait_for_all(players + here, 20)
        mortal = cereus_engines.Nats()  # all move there, and it is killed
        self.addCleanup(mortal.stop)
        proxy.upstream = mortal.url.split('://')[1]
        proxy.cut()
        proxy.restore()
        self.await_ok(players)
        mortal.proc.send_signal(signal.SIGKILL)
        mortal.proc.wait()
        self.wait_for_all(players, 20, 'PIT-500')
        self.await_ok(here)
        proxy.upstream = self.engines.nats.split('://')[1]
        self.await_ok(players)
        self.finish_all(players + here)
        self.assert_answered(players, [*RETRYABLE, NOBODY])  # who is back before the other finds nobody
        self.assert_answered(here, [])

    def test_a_nats_server_dies_and_another_of_its_cluster_is_gone_to(self):
        cluster = ('--cluster_name', 'c', '--cluster', 'nats://127.0.0.1:-1')
        first = cereus_engines.Nats(*cluster)
        self.addCleanup(first.stop)
        second = cereus_engines.Nats(*cluster, '--routes', first.cluster)
        self.addCleanup(second.stop)
        cereus_engines.await_cluster(first.url, 2)
        front = self.serve('front', 'front-1', nats=first.url)  # nobody tells them of the other
        self.serve('room', 'room-1', nats=first.url)
        self.await_members(front, 'room', 1)
        players = self.play(front, 'room.x.echo', 4, b'%d'.__mod__)
        self.wait_for_all(players, 20)
        first.proc.kill()
        self.await_counter(front, 'nats_reconnects', 1)  # so soon that not everybody need notice
        self.await_ok(players)
        self.finish_all(players)
        self.assert_answered(players, [*RETRYABLE, NOBODY])

    def test_a_lame_duck_of_a_cluster_is_left_before_it_goes(self):
        path = os.path.join(self.dir, 'nats.conf')
        with open(path, 'w', encoding='utf-8') as f:
            f.write('lame_duck_grace_period: "60s"\nlame_duck_duration: "120s"\n')
        cluster = ('--cluster_name', 'c', '--cluster', 'nats://127.0.0.1:-1')
        duck = cereus_engines.Nats('-c', path, '-m', '-1', *cluster)
        self.addCleanup(duck.stop)
        other = cereus_engines.Nats(*cluster, '--routes', duck.cluster)
        self.addCleanup(other.stop)
        cereus_engines.await_cluster(duck.url, 2)
        front = self.serve('front', 'front-1', 'cereus.loops=1', nats=duck.url)  # nobody tells them of the other
        self.serve('room', 'room-1', 'cereus.loops=1', nats=duck.url)
        self.await_members(front, 'room', 1)
        ada = self.listen(front, b'ada')
        players = self.play(front, 'room.x.note', 6, b'%d'.__mod__) + self.play(front, 'room.x.slow', 2, b'30')
        players += self.play(front, 'room.x.say', body=lambda n: b'ada push %d' % n)
        self.wait_for_all(players, 20)
        hasty = front.connect()  # asks without waiting for answers
        hasty.handshake()
        lines = [b'line %d' % n for n in range(1, 6001)]
        ask = [wire.request(n, 'room.x.note', line) for n, line in enumerate(lines, 1)]
        hasty.send(b''.join(ask[:1000]))
        duck.proc.send_signal(signal.SIGUSR2)  # what nats-server --signal ldm sends
        for begin in range(1000, 6000, 50):
            hasty.send(b''.join(ask[begin:begin + 50]))
        self.wait_until(lambda: not cereus_engines.clients_of(duck), 'nobody is left there')
        duck.proc.kill()
        self.await_ok(players)
        self.assertEqual([hasty.wait_message(TIMEOUT_MS / 1000).body for _ in lines], lines)
        hasty.close()
        self.finish_all(players)
        self.assert_answered(players, [])
        pushes = [b'push %d' % n for n in range(1, len(players[-1].answers) + 1)]
        ada.wait_for(pushes)
        self.assertEqual(ada.pushes, pushes)  # each once, in order
        noted = self.journal()
        self.assertEqual([line for line in noted if line.startswith(b'line')], lines)
        self.assertEqual(len(noted), len(lines) + sum(len(p.answers) for p in players[:6]))
        for where in ('front', 'room'):
            self.assertEqual(self.counter(front, 'nats_disconnects', where), 0)

    def test_nats_that_hangs_is_noticed_by_pings(self):
        proxy, url = self.nats_proxy()
        fronts = [self.serve('front', 'front-0', *PINGS, nats=url), self.serve('front', 'front-1')]
        self.serve('room', 'room-1')
        for f in fronts:
            self.await_members(f, 'room', 1)
        players, here = self.play(fronts[0], 'room.x.echo', 3, b'%d'.__mod__), self.play(fronts[0], 'front.x.echo', 2)
        others = self.play(fronts[1], 'room.x.echo', 3, b'%d'.__mod__)
        self.wait_for_all(players + here + others, 20)
        proxy.stall()
        self.wait_for_all(players, 20, 'PIT-500')  # it has been noticed: before, they end at their deadline
        self.await_ok(here + others)
        proxy.restore()
        self.await_ok(players)
        lost = self.counter(fronts[0], 'nats_disconnects')
        self.assertGreater(lost, 0)
        proxy.strand()  # the old connections stay dead, new ones come through
        self.await_counter(fronts[0], 'nats_disconnects', lost + 1)
        self.await_ok(players)
        self.finish_all(players + here + others)
        self.assert_answered(players, [*RETRYABLE, NOBODY])
        self.assert_answered(here + others, [])

    def test_who_is_cut_off_by_nats_for_slowness_comes_back(self):
        path = os.path.join(self.dir, 'nats.conf')
        with open(path, 'w', encoding='utf-8') as f:
            f.write('max_pending: 1MB\n')  # far less than is sent, and more than a message
        nats = cereus_engines.Nats('-c', path)
        self.addCleanup(nats.stop)
        front = self.serve('front', 'front-1', nats=nats.url)
        room = self.serve('room', 'room-1', nats=nats.url)
        self.await_members(front, 'room', 1)
        players, here = self.play(front, 'room.x.echo', 20, bytes(500000)), self.play(front, 'front.x.echo', 2)
        freeze(room)
        try:
            self.wait_for_all(players, 1, NOBODY)
            self.finish_all(players)
        finally:
            room.proc.send_signal(signal.SIGCONT)
        small = self.play(front, 'room.x.echo', 4, b'%d'.__mod__)
        self.await_ok(small)
        self.await_ok(here)
        self.finish_all(small + here)
        self.assertGreater(self.counter(front, 'nats_disconnects', 'room'), 0)
        self.assert_answered(players + small, [*RETRYABLE, NOBODY])
        self.assert_answered(here, [])

    def test_a_slow_network_is_only_slow(self):
        proxy, url = self.nats_proxy()
        front = self.serve('front', 'front-1')
        self.serve('room', 'room-1', 'pitaya.cluster.rpc.client.nats.pinginterval=5s', nats=url)  # patient: ours is busy, too
        self.serve('shop', 'shop-1')
        self.await_members(front, 'room', 1)
        self.await_members(front, 'shop', 1)
        players, others = self.play(front, 'room.x.echo', 3, b'%d'.__mod__), self.play(front, 'shop.x.echo', 2)
        self.wait_for_all(players + others, 20)
        proxy.slow(0.05)
        begins = [len(p.answers) for p in others]
        self.wait_for_all(players, 5)
        for p, begin in zip(others, begins):
            p.wait_for(50, begin=begin)
        proxy.restore()
        self.await_ok(players)
        self.finish_all(players + others)
        self.assert_answered(players + others, [])

    # -- etcd --

    def registered(self):
        """The keys of servers that etcd has now."""
        return cereus_engines.keys_in_etcd(self.engines.etcd, self.prefix + 'servers/')

    def lose_etcd(self, break_it):
        proxy = self.proxy(self.engines.etcd)
        front = self.serve('front', 'front-1', *SHORT_LEASE, etcd=proxy.address)
        self.serve('room', 'room-1', *SHORT_LEASE, etcd=proxy.address)
        self.await_members(front, 'room', 1)
        players = self.play(front, 'room.x.echo', 4, b'%d'.__mod__)
        self.wait_for_all(players, 20)
        break_it(proxy)
        self.wait_until(lambda: not self.registered(), 'the leases end')
        self.wait_for_all(players, 50)
        self.assert_answered(players, [])
        proxy.restore()  # now it is heard that the leases have ended, until the servers are registered again
        self.wait_until(lambda: len(self.registered()) == 2, 'they register again')
        self.serve('room', 'room-2')
        self.await_members(front, 'room', 2)  # what others do is heard of, too
        self.await_ok(players)
        self.finish_all(players)
        self.assert_answered(players, ['PIT-500'])

    def test_who_has_left_stays_a_while_for_those_who_have_not_heard(self):
        room = self.serve('room', 'room-1', 'pitaya.cluster.sd.etcd.shutdown.delay=5s')
        self.assertEqual(len(self.registered()), 1)
        begin = time.monotonic()
        room.proc.send_signal(signal.SIGTERM)
        self.wait_until(lambda: not self.registered(), 'it leaves')
        self.assertTrue(room.alive())
        self.assertIsNone(room.wait())
        self.assertGreaterEqual(time.monotonic() - begin, 5)

    def test_etcd_is_cut_for_longer_than_the_lease(self):
        self.lose_etcd(Proxy.cut)

    def test_etcd_hangs_for_longer_than_the_lease(self):
        self.lose_etcd(Proxy.stall)


if __name__ == '__main__':
    main()
