"""The recorded lives of Pitaya's servers (tests/vectors/cluster): how they register in etcd and leave it, what they say to NATS when
they connect and when it goes away, what is lost when one of them stops. A peer of ours does the same, with what test_recorded.py
has: real engines, proxies before them, and this test as all other servers. One test for each case, named after it.

INTEROP_PEER: the program.
"""
import base64
import json
import os
import re
import signal
import socket
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, '..', 'support'))
import cereus_engines as engines  # noqa: E402
import cereus_recorder as record  # noqa: E402
import cereus_wire as wire  # noqa: E402
import test_peer  # noqa: E402
import test_recorded as recorded  # noqa: E402
from test_recorded import WAIT_S, Play, Stage, load  # noqa: E402

# Cases of these families without a test.
NOT_APPLICABLE = {'etcd-metadata-nil': 'C has no nil map: no metadata are {}'}
HOST = socket.gethostname()


def value_of(text):
    """A server as it registers, on this machine."""
    return re.sub(r'"hostname":"(host-[\w-]+|HOSTNAME)"', '"hostname":"%s"' % HOST, text)


def code64(text):
    return base64.b64encode(text.encode()).decode()


class Leases:
    """Names in order of appearance."""

    def __init__(self):
        self.names = {}

    def name(self, value):
        if not isinstance(value, int) or value == 0:
            return value
        return self.names.setdefault(value, 'LEASE%d' % (len(self.names) + 1))

    def named(self, request):
        if isinstance(request, list):
            return [self.named(x) for x in request]
        if not isinstance(request, dict):
            return request
        return {k: self.name(v) if k in ('lease', 'id') else self.named(v) for k, v in request.items()}


class Life(unittest.TestCase):
    maxDiff = 4000

    def stage(self, server, case=None, config=(), ghosts=None, **more):
        own = (case or {}).get('topology', {}).get(server, {})
        if ghosts is None:
            ghosts = sorted(set((case or {}).get('topology', {})) - {server})
        stage = Stage(server if server != 'uuid' else '', (*own.get('config', ()), *config), own.get('flags', ()), ghosts=ghosts, **more)
        self.addCleanup(stage.kill)
        return stage

    # -- etcd --

    def kept(self, stage, prefix):
        """{key: (value, the time to live its lease was granted with)}."""
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else '\0'
        found = engines.ask_etcd(stage.etcd, 'kv/range', {'key': code64(prefix or '\0'), 'range_end': code64(end)})
        out = {}
        for kv in found.get('kvs', []):
            ttl = int(kv['lease']) and engines.ask_etcd(stage.etcd, 'lease/timetolive', {'ID': kv['lease']}).get('grantedTTL', 0) \
                if kv.get('lease') else 0
            out[base64.b64decode(kv['key']).decode()] = (base64.b64decode(kv.get('value', '')).decode(), int(ttl))
        return out

    def same_dump(self, stage, case, when, got=None):
        """What etcd has of our server is what was recorded; entries of others are there, too."""
        dump = next(d for d in case['dumps'] if d['when'] == when)
        got = self.kept(stage, dump['prefix']) if got is None else got
        want = {k['key']: (value_of(k['value']), k.get('lease_granted_ttl', 0)) for k in dump['keys'] or []}
        others = {'pitaya/servers/%s/%s' % (recorded.type_of(g), g) for g in stage.ghosts}
        self.assertEqual(set(got), set(want))
        for key in set(want) - others:
            self.assertEqual(got[key], want[key])

    def said(self, stage, since=0):
        """(method, request) of all requests, leases by name. How our watch is asked for differs: it begins behind a snapshot, and
        hears of progress."""
        return self.named(list(stage.etcd_lines.lines)[since:])

    @staticmethod
    def named(lines):
        leases, out = Leases(), []
        for line in lines:
            request = leases.named(line['request'])
            if 'create' in request:
                request['create'] = {k: v for k, v in request['create'].items() if k in ('key', 'range_end', 'prev_kv')}
            out.append((line['method'].rsplit('/', 1)[1], request))
        return out

    def recorded(self, case, server):
        return [(e['method'].rsplit('/', 1)[1], self.hosted(record.bare(e['request'])))
                for e in case['events'] if e['via'] == 'etcd' and e['peer'] == server]

    @staticmethod
    def hosted(request):
        return {k: value_of(v) if isinstance(v, str) else v for k, v in request.items()}

    def same_start(self, stage, case, server):
        """The requests of a start. Ours are in another order: the snapshot comes first, and the watch goes on behind it, so that
        nothing is missed between them; and the lease is kept alive from a third of its life on, not at once."""
        want = self.recorded(case, server)
        got = self.said(stage)
        for request in want:
            if request[0] != 'LeaseKeepAlive':
                self.assertIn(request, got)
        allowed = {'LeaseKeepAlive', 'Authenticate'}
        self.assertEqual([r for r in got if r not in want and r[0] not in allowed], [])
        order = [method for method, _ in got if method in ('LeaseGrant', 'Put')]
        self.assertEqual(order, ['LeaseGrant', 'Put'])

    def stop(self, stage):
        wrong = stage.stop()
        stage.server = None
        self.assertIsNone(wrong, wrong)

    @staticmethod
    def servers(stage):
        """Whom it lists, in the order of ids."""
        return sorted(stage.control('servers', {})['info'], key=lambda s: s['id'])

    def await_servers(self, stage, want):
        recorded.until(lambda: self.servers(stage), lambda got: got == want)

    def test_etcd_register_backend(self):
        case = load('etcd-register-backend')
        stage = self.stage('be-1', case)
        self.same_start(stage, case, 'be-1')
        self.same_dump(stage, case, 'after start')
        self.stop(stage)

    def test_etcd_register_frontend(self):
        case = load('etcd-register-frontend')
        results = {e['peer']: e['result']['info'] for e in case['events'] if e['op'] == 'control result'}
        stage = self.stage('fe-1', case)
        self.same_start(stage, case, 'fe-1')
        self.same_dump(stage, case, 'after start')
        self.await_servers(stage, self.listed(results['fe-1'], 'fe-1'))
        self.stop(stage)
        stage = self.stage('be-1', ghosts=())  # and the other way round: it hears of the frontend
        stage.meet(['fe-1'])
        self.await_servers(stage, self.listed(results['be-1'], 'be-1'))
        self.stop(stage)

    @staticmethod
    def listed(texts, server):
        """The same, from a recording; our server is on this machine, and has no nil maps."""
        out = [json.loads(value_of(t) if '"id":"%s"' % server in t else t) for t in texts]
        return [dict(s, metadata=s['metadata'] or {}) for s in out]

    def test_etcd_prefix(self):
        case = load('etcd-prefix')
        stage = self.stage('be-p', case)
        self.same_dump(stage, case, 'after start')
        self.stop(stage)

    def test_etcd_metadata(self):
        case = load('etcd-metadata')
        stage = self.stage('be-meta', case)
        self.same_dump(stage, case, 'after start')
        self.stop(stage)

    def test_etcd_default_id(self):
        case = load('etcd-default-id')
        stage = self.stage('uuid', case, type_=case['topology']['uuid']['type'])
        (key, (value, ttl)), = self.kept(stage, 'pitaya/servers/game/').items()
        id_ = key.rsplit('/', 1)[1]
        self.assertRegex(id_, r'^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$')
        want, = case['dumps'][0]['keys']
        masked = want['key'].rsplit('/', 1)[1]
        self.assertEqual((key, value, ttl), (want['key'].replace(masked, id_), value_of(want['value'].replace(masked, id_)),
                                             want['lease_granted_ttl']))
        self.stop(stage)

    def test_etcd_shutdown(self):
        case = load('etcd-shutdown')
        stage = self.stage('be-1', case)
        self.same_dump(stage, case, 'before')
        since = len(stage.etcd_lines.lines)
        stage.server.proc.send_signal(signal.SIGINT)
        self.assertIsNone(stage.server.wait())
        self.same_dump(stage, case, 'after')
        self.assertEqual([m for m, _ in self.said(stage, since)], ['LeaseRevoke'])

    def test_etcd_ttl(self):
        case = load('etcd-ttl')
        stage = self.stage('be-ttl', case)
        self.same_dump(stage, case, 'after start')
        alive = [e for e in case['events'] if e['method'].endswith('KeepAlive')]
        for n in range(len(alive) - 1):  # the first was at once
            self.wait_etcd(stage, 'LeaseKeepAlive', n + 1)
        for request in self.recorded(case, 'be-ttl'):
            self.assertIn(request, self.said(stage))
        self.stop(stage)

    def wait_etcd(self, stage, method, count=1, since=0):
        """The last of so many requests."""
        for _ in range(count):
            line = stage.etcd_lines.wait(lambda e: e['method'].endswith('/' + method), since, WAIT_S)
            self.assertIsNotNone(line, method)
            since = next(i for i, x in enumerate(stage.etcd_lines.lines) if x is line) + 1
        return line

    def test_etcd_resync(self):
        case = load('etcd-resync')
        stage = self.stage('be-sync', case)
        want, = self.recorded(case, 'be-sync')
        self.assertIsNotNone(stage.etcd_lines.wait(lambda e: e['request'] == want[1], timeout=WAIT_S), self.said(stage))
        self.stop(stage)

    def test_etcd_auth(self):
        case = load('etcd-auth')
        config = dict(c.rsplit('=', 1) for c in case['topology']['be-auth']['config'])
        user, password = config['pitaya.cluster.sd.etcd.user'], config['pitaya.cluster.sd.etcd.pass']

        def guard(stage):
            for what, question in (('auth/role/add', {'name': 'root'}), ('auth/user/add', {'name': 'root', 'password': 'r'}),
                                   ('auth/user/grant', {'user': 'root', 'role': 'root'}),
                                   ('auth/user/add', {'name': user, 'password': password}),
                                   ('auth/user/grant', {'user': user, 'role': 'root'}), ('auth/enable', {})):
                engines.ask_etcd(stage.etcd, what, question)

        stage = self.stage('be-auth', case, before=guard)
        self.same_start(stage, case, 'be-auth')
        self.stop(stage)

    def test_etcd_lease_lost(self):
        case = load('etcd-lease-lost')
        stage = self.stage('be-lost', case)
        self.same_dump(stage, case, 'before')
        key = case['dumps'][0]['keys'][0]['key']
        kv, = engines.ask_etcd(stage.etcd, 'kv/range', {'key': code64(key)})['kvs']
        since = len(stage.etcd_lines.lines)
        engines.ask_etcd(stage.etcd, 'lease/revoke', {'ID': kv['lease']})
        self.wait_etcd(stage, 'Put', since=since)
        self.wait_etcd(stage, 'Range', since=since)
        want, got = self.recorded(case, 'be-lost'), self.said(stage, since)
        self.assertIn(want[0], got)
        # its lease is the first or, if a keep-alive of the old one was under way, the second of these lines
        self.assertIn((want[1][0], {**want[1][1], 'lease': '*'}), [(m, {**r, 'lease': '*'}) for m, r in got])
        # ours compares keys, and reads what it does not know, where Pitaya's reads all
        self.assertIn((want[2][0], {**want[2][1], 'keys_only': True}), got)
        recorded.until(lambda: self.kept(stage, key), bool)  # the proxy is ahead of etcd
        self.same_dump(stage, case, 'after the server registered again')
        self.stop(stage)

    def blacklisting(self, name, server):
        case = load(name)
        stage = self.stage(server, case)
        want = next(e for e in case['events'] if e['op'] == 'control result')['result']['info']
        self.await_servers(stage, self.listed(want, server))
        self.stop(stage)

    def test_etcd_blacklist(self):
        self.blacklisting('etcd-blacklist', 'fe-bl')

    def test_etcd_blacklist_documented_key(self):
        self.blacklisting('etcd-blacklist-documented-key', 'fe-bl2')

    def test_etcd_foreign_entries(self):
        case = load('etcd-foreign-entries')
        stage = self.stage('fe-1', case)
        keys, updated = [], None
        marker = {'key': code64('pitaya/servers/zoo/z'), 'value': code64('{"id":"z","type":"zoo"}')}

        def settled():
            """All that was done before has been heard of, when the marker has come and gone."""
            engines.ask_etcd(stage.etcd, 'kv/put', marker)
            recorded.until(lambda: self.servers(stage), lambda got: any(s['id'] == 'z' for s in got))
            engines.ask_etcd(stage.etcd, 'kv/deleterange', {'key': marker['key']})
            return recorded.until(lambda: self.servers(stage), lambda got: not any(s['id'] == 'z' for s in got))

        for e in case['events']:
            if e['op'] == 'put':
                keys.append(e['key'])
                if 'never updated' in e['what']:  # better: it is
                    updated = json.loads(e['value'])
                engines.ask_etcd(stage.etcd, 'kv/put', {'key': code64(e['key']), 'value': code64(e['value'])})
                continue
            if e['op'] != 'servers':
                for key in keys:
                    engines.ask_etcd(stage.etcd, 'kv/deleterange', {'key': code64(key)})
            want = [updated if updated and s['id'] == 'c-1' else s for s in self.listed(e['servers'], 'fe-1')]
            with self.subTest(e['n']):
                self.assertEqual(settled(), want)
        self.stop(stage)

    # -- NATS --

    def connecting(self, name, server):
        case = load(name)
        stage = self.stage(server, case)
        mine = [e for e in case['events'] if e['peer'] == server]
        lines = stage.nats.lines
        connects = [e['json'] for e in lines if e['op'] == 'CONNECT']
        self.assertEqual(len(connects), 1)  # of each loop; Pitaya's have two
        options = ('verbose', 'pedantic', 'tls_required', 'protocol', 'echo', 'headers', 'no_responders')
        want = next(e['json'] for e in mine if e['op'] == 'CONNECT')
        self.assertEqual({k: connects[0].get(k) for k in options}, {k: want[k] for k in options})
        self.assertEqual([e['subject'] for e in lines if e['op'] == 'SUB' and not e['subject'].startswith('_INBOX.')],
                         [e['subject'] for e in mine if e['op'] == 'SUB'])
        self.stop(stage)

    def test_nats_connect_backend(self):
        self.connecting('nats-connect-backend', 'be-1')

    def test_nats_connect_frontend(self):
        self.connecting('nats-connect-frontend', 'fe-1')

    def moving(self, name, nats, end):
        """NATS goes away in some way, and another one is there."""
        case = load(name)
        left = [e for e in case['events'] if e['op'] == 'UNSUB']
        case['events'] = [e for e in case['events'] if e['op'] not in ('CONNECT', 'UNSUB') and e['via'] != 'step']
        for server in ('fe-1', 'be-1'):
            with self.subTest(server):
                stage = self.stage(server, case, ghosts=(), nats=nats())
                stage.meet({'fe-1', 'be-1'} - {server})
                play = Moving(stage, name, case)
                play.begin = lambda: self.move(stage, play, end, left)
                try:
                    play.run()
                except recorded.Mismatch as e:
                    self.fail(str(e))
                play.close()
                self.stop(stage)

    def move(self, stage, play, end, left):
        """To another NATS, with all subscriptions; some of them are given back at the first one."""
        first = stage.nats_server
        stage.replace_nats(engines.Nats(), lambda: end(first))
        for e in play.case['events'] + left:
            if e['peer'] == stage.id and e['op'] in ('SUB', 'UNSUB') and not e['subject'].startswith('_INBOX.'):
                self.assertIsNotNone(stage.nats.wait(lambda x: x['op'] == e['op'] and x['subject'] == e['subject'], play.seen, WAIT_S),
                                     e['subject'])
        stage.reach()

    def test_nats_restart(self):
        self.moving('nats-restart', engines.Nats, lambda nats: nats.stop())

    def test_nats_lame_duck(self):
        self.moving('nats-lame-duck', PatientNats, lambda nats: nats.proc.send_signal(signal.SIGUSR2))

    def test_nats_gone(self):
        """F-19. Pitaya's ends itself; ours goes on, registered, and is there again with NATS."""
        case = load('nats-gone')
        stage = self.stage('be-2', config=('pitaya.cluster.rpc.client.nats.maxreconnectionretries=2',
                                           'pitaya.cluster.rpc.client.nats.reconnectwait=10ms',
                                           'pitaya.cluster.rpc.client.nats.reconnectjitter=10ms'), ghosts=())
        before = self.kept(stage, case['dumps'][0]['prefix'])
        self.assertEqual(len(before), 1)
        stage.raw.close()
        stage.nats_server.stop()
        with stage.nats.changed:  # far more than its retries
            self.assertTrue(stage.nats.changed.wait_for(lambda: stage.nats.refused > 10, WAIT_S))
        self.assertTrue(stage.server.alive())
        self.assertEqual(self.kept(stage, case['dumps'][0]['prefix']), before)
        since = len(stage.nats.lines)
        stage.replace_nats(engines.Nats(), lambda: None)
        self.assertIsNotNone(stage.nats.wait(lambda e: e['op'] == 'SUB' and e['subject'] == 'pitaya/room/bindings', since, WAIT_S))
        stage.reach()
        self.assertEqual(stage.control('sessions', {}), {'ok': True, 'info': 0})
        self.stop(stage)

    # -- ends --

    def ending(self, name, server, config=()):
        """Play a case in which a server is told to end. Returns the stage and the play."""
        case = load(name)
        stage = self.stage(server, case, config, ghosts=())
        stage.meet({'fe-1', 'be-1'} - {server})
        play = Ending(self, stage, name, case)
        try:
            play.run()
        except recorded.Mismatch as e:
            self.fail(str(e))
        if play.told:
            self.assertIsNone(stage.server.wait())
            revoked = [e for e in stage.etcd_lines.lines if e['method'].endswith('LeaseRevoke')]
            self.assertEqual(len(revoked), 1)
            self.assertEqual(self.kept(stage, 'pitaya/servers/%s/%s' % (stage.type, stage.id)), {})
            return play, revoked[0]['at']
        play.close()
        self.stop(stage)
        return play, None

    def test_fault_backend_stopped_in_flight(self):
        """F-24. Pitaya's backend does not wait for what it does; ours leaves etcd, answers, and then ends."""
        play, revoked = self.ending('fault-backend-stopped-in-flight', 'be-1')
        answer = next(e for e in play.stage.nats.lines if e['op'] == 'PUB' and e['subject'] in play.replies.values())
        self.assertLess(revoked, answer['at'])
        self.ending('fault-backend-stopped-in-flight', 'fe-1')

    def test_fault_frontend_stopped_in_flight(self):
        self.ending('fault-frontend-stopped-in-flight', 'fe-1')
        self.ending('fault-frontend-stopped-in-flight', 'be-1')

    def test_drain_sigterm(self):
        """With cereus.drain.refuse=false; its default turns newcomers away, as F-21 wants."""
        self.ending('drain-sigterm', 'fe-1', ('pitaya.session.drain.enabled=true', 'cereus.drain.refuse=false'))
        self.ending('drain-sigterm', 'be-1')

    def test_fault_dropped(self):
        """F-18. Of more requests than Pitaya's buffers hold some are dropped; ours answers all of them."""
        case = load('fault-dropped')
        result = case['events'][0]
        stage = self.stage('be-1', case, ghosts=())
        request = record.pb_write([(3, 2, record.pb_write([(1, 0, 1), (2, 2, b'room.room.sleep'), (3, 2, b'{"ms":50}')])),
                                   (4, 2, b'fe-1'), (5, 2, b'{"reqTimeout":"20s"}')])
        for n in range(result['sent']):
            stage.raw.publish('pitaya/servers/room/be-1', request, '_GHOST.%d' % n)
        for n in range(result['sent']):
            line = stage.nats.wait(lambda e: e['op'] == 'PUB' and e['subject'] == '_GHOST.%d' % n, timeout=WAIT_S)
            self.assertEqual(json.loads(recorded.field(record.pb_raw(line['payload']), 1)), {'ok': True, 'info': 50})
        self.stop(stage)

        stage = self.stage('fe-1', case, ghosts=())  # and before a Pitaya backend, its players hear of what was dropped
        stage.meet(['be-1'])
        conns = []
        for n in range(result['sent']):
            conns.append(stage.server.connect('tcp'))
            conns[-1].handshake(timeout=WAIT_S)
            since = len(stage.nats.lines)
            conns[-1].send(wire.request(1, 'room.room.sleep', b'{"ms":50}'))
            line = stage.nats.wait(lambda e: e['op'] == 'PUB' and e['subject'] == 'pitaya/servers/room/be-1', since, WAIT_S)
            if n < result['answered']:
                stage.raw.publish(line['reply'], record.pb_write([(1, 2, b'{"ok":true,"info":50}')]))
        heard = [conn.wait_message(WAIT_S) for conn in conns]
        self.assertEqual([m.error for m in heard], [n >= result['answered'] for n in range(result['sent'])])
        for m in heard[result['answered']:]:
            self.assertEqual(json.loads(m.body), {'code': 'PIT-408', 'msg': 'rpc client: request timeout', 'metadata': {
                'peer.id': 'be-1', 'route': 'room.room.sleep', 'server': 'fe-1', 'timeout': '2s'}})
        for conn in conns:
            conn.close()
        self.stop(stage)


    # -- groups --

    def test_groups(self):
        """The cases of groups in the order in which they were recorded: what is asked of etcd, what callers see, what is pushed;
        what etcd has then is looked at in test_peer.py."""
        self.assertEqual({'group-' + name for name in test_peer.GROUPS}, {n for n in recorded.ALL if n.startswith('group-')})
        stage = self.stage('be-1', load('group-create'), ghosts=())
        stage.meet(['fe-1'])
        for name in test_peer.GROUPS:
            case = load('group-' + name)
            with self.subTest(case['name']):
                if name == 'slash-members':  # as a Pitaya server would have made it
                    engines.ask_etcd(stage.etcd, 'kv/put', {'key': code64('pitaya/groups/party-ttl/uids/ghost')})
                since = len(stage.etcd_lines.lines)
                play = Play(stage, case['name'], case)
                try:
                    play.run()
                except recorded.Mismatch as e:
                    if case['name'] not in test_peer.OTHERWISE:
                        self.fail(str(e))
                want = self.recorded(case, 'be-1') if case['name'] not in test_peer.OTHERWISE else []
                self.assertEqual(self.grouped(stage, since), want)
        self.stop(stage)

    def grouped(self, stage, since):
        """The requests about groups: discovery asks on a connection of its own."""
        lines = list(stage.etcd_lines.lines)
        mine = {x['conn'] for x in lines if 'groups' in json.dumps(x['request'])}
        return self.named([x for x in lines[since:] if x['conn'] in mine])


class Ending(Play):
    """A server is told to end; recorded lines of etcd are looked at by the test."""

    def __init__(self, test, *args):
        super().__init__(*args)
        self.test = test
        self.told = False  # ours was

    def step(self, event, index):
        if event['op'] not in ('SIGINT', 'SIGTERM'):
            return super().step(event, index)
        self.input()
        if event['peer'] == self.stage.id:
            self.stage.control('sessions', {})  # it has what was sent before
            self.stage.server.proc.send_signal(getattr(signal, event['op']))
            self.told = True
            for reply in self.replies if self.stage.id == 'be-1' else ():  # what is under way is finished before the end
                self.expected.append({'op': 'PUB', 'subject': reply, 'message': 'protos.Response', 'payload_hex': record.pb_write(
                    [(1, 2, b'{"info":1500,"ok":true}')]).hex()})
        elif event['op'] == 'SIGINT':
            self.stage.ghosts.pop(event['peer']).stop()

    def hear_later(self, event):
        dump = next((d for d in self.case.get('dumps') or [] if d['when'] == 'while draining'), None)
        if dump and event['op'] == 'got closed' and len(self.clients) == 2:
            self.input()
            self.hear()
            self.test.same_dump(self.stage, self.case, dump['when'])
        super().hear_later(event)

    def quiet(self, line):
        return super().quiet(line) or self.told and line['op'] == 'UNSUB'  # Pitaya's lets the connection end them

    def finish(self):
        if not self.told:
            super().finish()


class Moving(Play):
    def quiet(self, line):
        return super().quiet(line) or line['op'] == 'UNSUB'  # the test has waited for these


class PatientNats(engines.Nats):
    """As a lame duck it leaves everybody the time to go."""

    def __init__(self):
        self.config = tempfile.NamedTemporaryFile('w', suffix='.conf')
        self.config.write('lame_duck_grace_period: "60s"\nlame_duck_duration: "120s"\n')
        self.config.flush()
        super().__init__('-c', self.config.name)


class Every(unittest.TestCase):
    def test_case_has_a_test(self):
        for name, where in ((n, recorded.why_not(n, recorded.ELSEWHERE)) for n in recorded.ALL):
            if where == 'interop/recorded_life':
                with self.subTest(name):
                    self.assertNotEqual(hasattr(Life, 'test_' + name.replace('-', '_')), name in NOT_APPLICABLE)


if __name__ == '__main__':
    unittest.main(verbosity=2)
