"""Servers of a cluster that are killed, frozen and restarted while players talk: every request is answered, with a reply or
with an error that has a code, within the request timeout; who does not need the broken one does not notice; nothing grows
without a bound. CEREUS_ENGINES says what the servers meet through: local, or etcd for etcd and NATS.
"""
import os
import random
import signal
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'support'))
import cereus_engines as engines  # noqa: E402
import cereus_wire as wire  # noqa: E402
from cereus_behaviour import BUSY_S, main  # noqa: E402
from cereus_cluster import NOBODY, RETRYABLE, SANITIZED, ClusterTest, freeze  # noqa: E402


MORTAL = 'pitaya.cluster.sd.etcd.heartbeat.ttl=3s'  # who is killed is soon off the list of etcd, too


class FaultsTest(ClusterTest):
    kind = os.environ['CEREUS_ENGINES']

    def test_a_backend_is_killed(self):
        front = self.serve('front', 'front-1')
        rooms = [self.serve('room', 'room-%d' % i, *[MORTAL] * (i == 1)) for i in range(3)]
        self.await_members(front, 'room', 3)
        players = self.play(front, 'room.x.who', 6)
        self.wait_for_all(players, 50)
        rooms[1].proc.kill()
        self.await_members(front, 'room', 2)  # local: at once, nobody waits for a lease to end
        gone = time.monotonic()
        self.wait_for_all(players, 100)
        self.finish_all(players)
        self.assert_answered(players, ['PIT-500'] if self.kind == 'local' else ['PIT-408', NOBODY])
        for p in players:
            self.assertEqual({a[2:] for a in p.since(gone)}, {('ok', b'room-0'), ('ok', b'room-2')})

    def test_a_backend_is_frozen(self):
        front = self.serve('front', 'front-1')
        room = self.serve('room', 'room-1')
        self.serve('shop', 'shop-1')
        self.await_members(front, 'room', 1)
        self.await_members(front, 'shop', 1)
        talkers = self.play(front, 'room.x.echo', 4)
        self.wait_for_all(talkers, 10)
        freeze(room)
        try:
            others = self.play(front, 'shop.x.echo', 2)
            deadline = time.monotonic() + 10 * BUSY_S
            while not all(p.answered_during_one_of(talkers) >= 30 for p in others):
                self.assertLess(time.monotonic(), deadline, 'nobody gets an answer while others wait for the frozen one')
                time.sleep(0.1)
            self.finish_all(others)
            self.assert_answered(others, [])
            self.wait_for_all(talkers, 2)
        finally:
            room.proc.send_signal(signal.SIGCONT)
        self.wait_for_all(talkers, 50)
        self.finish_all(talkers)
        self.assert_answered(talkers, ['PIT-408'])
        for p in talkers:
            self.assertIn('PIT-408', p.outcomes())
            self.assertEqual(p.answers[-1][2], 'ok')

    def test_what_waits_for_a_frozen_backend_is_bounded(self):
        front = self.serve('front', 'front-1', 'cereus.loops=1')
        room = self.serve('room', 'room-1')
        self.await_members(front, 'room', 1)
        freeze(room)
        try:
            full = ['PIT-500'] if self.kind == 'local' else ['PIT-500', NOBODY]  # 64 MiB may wait; NATS cuts the slow one
            players = self.play(front, 'room.x.echo', 60, bytes(1000000))  # kernels may hold 70 MB more
            self.wait_until(lambda: any(p.outcomes() & set(full) for p in players), 'some find no room')
            self.finish_all(players)
            self.assert_answered(players, ['PIT-408', *full])
            if not SANITIZED:
                self.assertLess(front.memory_kib(), 400 * 1024)
        finally:
            room.proc.send_signal(signal.SIGCONT)
        player, = self.play(front, 'room.x.who')
        player.wait_for(1, 'ok')  # behind all that waited
        player.finish()

    def test_a_backend_never_answers(self):
        front, room = self.serve('front', 'front-1'), self.serve('room', 'room-1')
        run = os.path.join(self.dir, 'run')
        if self.kind == 'local':
            parts = [engines.MuteInDirectory(run, 'mute-1'), engines.InDirectory(run, 'mute', 'mute-1')]
        else:
            parts = [engines.MuteOnNats(self.engines.nats, 'mute', 'mute-1'),
                     engines.InEtcd(self.engines.etcd, self.prefix, 'mute', 'mute-1')]
        for part in parts:
            self.addCleanup(part.stop)
        self.await_members(front, 'room', 1)
        self.await_members(front, 'mute', 1)
        patient, others = self.play(front, 'mute.x.echo', 20, bytes(100000)), self.play(front, 'room.x.echo', 2)
        self.wait_until(lambda: all(p.answered_during_one_of(patient) >= 30 for p in others), 'others are served meanwhile')
        self.wait_for_all(patient, 2)
        self.finish_all(patient + others)
        self.assert_answered(others, [])
        self.assert_answered(patient, ['PIT-408'])
        self.assertEqual(set().union(*(p.outcomes() for p in patient)), {'PIT-408'})
        if not SANITIZED:
            self.assertLess(front.memory_kib(), 128 * 1024)

    def throw_garbage(self, junk):
        if self.kind == 'local':
            run = os.path.join(self.dir, 'run')
            for id_ in ('room-1', 'front-1'):
                for data in junk:
                    with socket.socket(socket.AF_UNIX) as sock:
                        sock.connect(os.path.join(run, id_ + '.sock'))
                        try:
                            sock.sendall(data)
                        except OSError:
                            pass  # it has heard enough already
            for i, data in enumerate(junk):
                with open(os.path.join(run, 'junk-%d.json' % i), 'wb') as f:
                    f.write(data)
            return
        subjects = ('pitaya/servers/room/room-1', 'pitaya/servers/front/front-1', 'pitaya/front/bindings',
                    'pitaya/front/user/ada/push', 'pitaya/front/user/ada/kick')
        engines.publish(self.engines.nats, [(s, data) for s in subjects for data in junk])
        for i, data in enumerate(junk):
            for key in ('servers/room/junk-%d' % i, 'servers/%d' % i, 'servers/a/b/c/%d' % i, 'servers//'):
                engines.put_in_etcd(self.engines.etcd, self.prefix + key, data)

    def test_garbage_is_counted_logged_and_ignored(self):
        front, room = (self.serve(t, t + '-1', 'cereus.log.level=warn') for t in ('front', 'room'))
        self.await_members(front, 'room', 1)
        ada = self.listen(front, b'ada')
        players, teller = self.play(front, 'room.x.echo', 3, b'%d'.__mod__), self.play(front, 'room.x.say', body=b'ada %d'.__mod__)[0]
        self.wait_for_all([*players, teller], 20)
        chance = random.Random(7)
        junk = [b'\xff' * 64, b'{', b'\x0a\xff\xff\xff\xff\x7f', *(chance.randbytes(chance.randrange(1, 300)) for _ in range(30))]
        self.throw_garbage(junk)
        self.await_counter(front, 'rpc_garbage', 1)
        if self.kind == 'etcd':
            self.await_counter(front, 'discovery_entries_refused', len(junk))
        self.wait_for_all([*players, teller], 50)
        self.assertGreater(self.counter(front, 'rpc_garbage', 'room'), 0)
        self.await_members(front, 'room', 1)
        self.finish_all([*players, teller])
        self.assert_answered([*players, teller], [])
        ada.wait_for(a[3][4:] for a in teller.answers)
        for server in (front, room):
            self.assertRegex(self.log_of(server), 'sent garbage|makes no sense')

    def test_two_servers_with_one_id(self):
        front, room = self.serve('front', 'front-1'), self.serve('room', 'room-1', 'cereus.log.level=warn')
        self.await_members(front, 'room', 1)
        players = self.play(front, 'room.x.echo', 4, b'%d'.__mod__)
        self.wait_for_all(players, 20)
        if self.kind == 'local':
            with self.assertRaises(wire.Refused) as refused:
                self.serve('room', 'room-1')
            self.assertIn('room-1', str(refused.exception))
        else:  # nobody can know who of them is right: both hear each request, and the first answer counts
            self.servers['first'] = self.servers.pop('room-1')
            second = self.serve('room', 'room-1')
            self.wait_until(lambda: 'another server has registered with our id' in self.log_of(room), 'it is said')
            self.wait_for_all(players, 50)
            self.assertIsNone(second.stop())  # and the first is listed again
            self.wait_for_all(players, 20, 'ok')
            self.await_members(front, 'room', 1)
        self.wait_for_all(players, 50, 'ok')
        self.finish_all(players)
        self.assert_answered(players, RETRYABLE if self.kind == 'etcd' else [])

    def test_a_frontend_is_killed(self):
        fronts = [self.serve('front', 'front-0', MORTAL), self.serve('front', 'front-1')]
        self.serve('room', 'room-1')
        for f in fronts:
            self.await_members(f, 'room', 1)
            self.await_members(f, 'front', 2)
        lost, kept = self.play(fronts[0], 'room.x.slow', 3, b'5'), self.play(fronts[1], 'room.x.who', 3)
        self.wait_for_all(lost + kept, 20)
        fronts[0].killed = True
        fronts[0].proc.kill()
        for p in lost:
            p.join(BUSY_S)
            self.assertEqual(p.problem, 'closed')
        self.await_members(fronts[1], 'front', 1)
        self.wait_for_all(kept, 100)
        self.finish_all(kept)
        self.assert_answered(kept, [])
        again = self.serve('front', 'front-0')  # in its place
        self.await_members(again, 'room', 1)
        player, = self.play(again, 'room.x.who')
        player.wait_for(20)
        player.finish()
        self.assert_answered([player], [])

    def test_a_frontend_is_frozen(self):
        fronts = [self.serve('front', 'front-%d' % i) for i in range(2)]
        self.serve('room', 'room-1')
        conns = []
        for i, f in enumerate(fronts):
            self.await_members(f, 'room', 1)
            conn = f.connect()
            conn.handshake(timeout=BUSY_S)
            self.assertEqual(conn.call('front.x.bind', b'user-%d' % i, 1, BUSY_S).body, b'user-%d' % i)
            conns.append(conn)
        freeze(fronts[0])
        try:
            for i in range(50):  # pushes for both: the one who is awake gets them all the same
                conns[1].send(wire.request(10 + i, 'room.x.tell', b'user-0 user-1'))
                heard = {}
                while len(heard) < 2:
                    m = conns[1].wait_message(BUSY_S)
                    self.assertIsNotNone(m)
                    heard[m.type] = m
                self.assertEqual({bytes(m.body) for m in heard.values()}, {b'hello', b'told'})
        finally:
            fronts[0].proc.send_signal(signal.SIGCONT)
        for i in range(50):
            m = conns[0].wait_message(BUSY_S)
            self.assertEqual(m.body, b'hello')
        for conn in conns:
            conn.close()

    def test_a_stop_waits_for_a_frozen_backend_no_longer_than_it_may(self):
        self.stop_beside_a_frozen_backend('3s')

    def test_a_stop_that_is_late_sends_what_is_ready(self):
        self.stop_beside_a_frozen_backend('0s')

    def stop_beside_a_frozen_backend(self, timeout):
        front = self.serve('front', 'front-1', 'cereus.loops=1', 'cereus.shutdown.timeout=' + timeout,
                           'pitaya.cluster.rpc.client.nats.requesttimeout=1h')
        room = self.serve('room', 'room-1')
        self.await_members(front, 'room', 1)
        players = self.play(front, 'room.x.echo', 4)
        self.wait_for_all(players, 5)
        freeze(room)
        try:
            self.await_out(front, players)
            self.assertIsNone(front.stop())
        finally:
            room.proc.send_signal(signal.SIGCONT)
        for p in players:
            p.join()
            self.assertEqual(p.problem, 'closed')
            first, *more = [answer[2:] for answer in p.answers if answer[2] != 'ok']
            self.assertEqual(first, ('PIT-500', b'{"code":"PIT-500","msg":"the server is stopping"}'))
            for refused in more:  # who asks again before its session is closed
                self.assertEqual(refused, ('PIT-500', b'{"code":"PIT-500","msg":"cancelled, the server is stopping"}'))

    def test_who_drains_gets_nothing_new(self):
        fronts = [self.serve('front', 'front-0', 'pitaya.session.drain.enabled=true', 'pitaya.session.drain.period=20ms'),
                  self.serve('front', 'front-1')]
        self.serve('room', 'room-1')
        for f in fronts:
            self.await_members(f, 'room', 1)
        ada = self.listen(fronts[0], b'ada')
        kept, = self.play(fronts[0], 'room.x.echo', body=b'%d'.__mod__)
        asker, = self.play(fronts[1], 'room.x.front')
        asker.wait_for(1, body=b'front-0')
        fronts[0].proc.send_signal(signal.SIGTERM)
        self.wait_until(lambda: {a[3] for a in asker.answers[-50:]} == {b'front-1'}, 'the other one gets all calls')
        teller, = self.play(fronts[1], 'room.x.say', body=b'ada %d'.__mod__)
        teller.wait_for(20)  # who is there still, is there still
        kept.wait_for(20)
        self.finish_all([teller, kept, asker])
        ada.wait_for(a[3][4:] for a in teller.answers)
        ada.finish()
        self.assertIsNone(fronts[0].wait())
        self.assert_answered([teller, kept, asker], [])

    def test_all_servers_are_restarted_one_after_another(self):
        # Every request is answered, but those that a connection was closed on, and these were not handled: asked again
        # elsewhere they are handled once. What was acknowledged is there: notes in the journal, pushes with who listens.
        drain = ['pitaya.session.drain.enabled=true', 'pitaya.session.drain.period=20ms']
        fronts = {id_: self.serve('front', id_, *drain) for id_ in ('front-0', 'front-1')}
        rooms = {id_: self.serve('room', id_) for id_ in ('room-0', 'room-1')}
        for f in fronts.values():
            self.await_members(f, 'room', 2)
        listener = self.listen(fronts['front-0'], b'ada')
        names = iter(range(100))

        def some(front, route, text):
            home = [fronts[front]]
            made = []
            for _ in range(4):
                name = next(names)
                made += self.play(home[0], route, body=lambda n, name=name: text % (name, n),
                                  homes=lambda: next(f for f in fronts.values() if f.alive()))
            return made

        noters = some('front-0', 'room.x.note', b'note %d-%d') + some('front-1', 'room.x.note', b'note %d-%d')
        sayers = some('front-1', 'room.x.say', b'ada %d-%d')
        everyone = noters + sayers
        self.wait_for_all(everyone, 20)
        for id_, room in rooms.items():
            self.assertIsNone(room.stop())
            self.serve('room', id_)
            for f in fronts.values():
                self.await_members(f, 'room', 2)
            self.wait_for_all(everyone, 20)
        self.assertEqual([p for p in everyone if p.closed], [])

        # a frontend that drains: its players are told to go, as a game would tell them
        fronts['front-1'].proc.send_signal(signal.SIGTERM)
        for p in everyone:
            if p.home is fronts['front-1']:
                p.move(fronts['front-0'])
        self.assertIsNone(fronts['front-1'].wait())
        self.assertEqual([p for p in everyone if p.closed], [])
        fronts['front-1'] = self.serve('front', 'front-1')
        self.await_members(fronts['front-1'], 'room', 2)
        self.wait_for_all(everyone, 20)
        self.finish_all(sayers)
        listener.wait_for(a[3][4:] for p in sayers for a in p.answers if a[2] == 'ok')
        self.assertEqual(len(listener.pushes), len(set(listener.pushes)))
        listener.finish()

        # one that does not: a second signal ends the drain, its players are closed and come back by themselves
        fronts['front-0'].proc.send_signal(signal.SIGINT)
        self.assertIsNone(fronts['front-0'].wait())
        fronts['front-0'] = self.serve('front', 'front-0')
        self.await_members(fronts['front-0'], 'room', 2)
        self.wait_for_all(noters, 20)
        self.finish_all(noters)
        self.assert_answered(everyone, RETRYABLE)
        notes = self.journal()
        self.assertEqual(len(notes), len(set(notes)))  # none was handled twice, also of those that were asked again
        self.assertEqual({bytes(a[3]) for p in noters for a in p.answers if a[2] == 'ok'} - set(notes), set())


if __name__ == '__main__':
    main()
