"""What Pitaya's own end-to-end tests ask of their server, asked of ours: two frontends and two backends, both serializers.

INTEROP_E2E: the program. INTEROP_ENGINES: local, nats or etcd, tests/support/cereus_engines.py.
"""
import json
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'support'))
import cereus_engines as engines  # noqa: E402
import cereus_wire as wire  # noqa: E402

KIND = os.environ.get('INTEROP_ENGINES', 'local')
WAIT_S = 30


def text_field(number, text):
    return bytes([number << 3 | 2]) + wire.varint(len(text.encode())) + text.encode()


class Json:
    serializer = 'json'

    def request(self, msg):
        return json.dumps({'msg': msg}).encode()

    def response(self, body):
        value = json.loads(body)
        return value['code'], value['msg']

    def error(self, body):
        return json.loads(body)

    def text_of(self, body):
        return json.loads(body)['msg']


class Protobuf:
    serializer = 'protobuf'

    def request(self, msg):
        return text_field(1, msg)

    def response(self, body):
        value = dict(wire.pb_fields(body))
        return value[1], value[2].decode()

    def error(self, body):
        return wire.pb_error(body)

    def text_of(self, body):
        return dict(wire.pb_fields(body))[1].decode()


class E2e:
    """Run for each serializer; a test gets its clients anew."""

    @classmethod
    def setUpClass(cls):
        cls.engines = engines.Engines(KIND)
        cls.servers = {}
        try:
            for name, type_ in (('front', 'connector'), ('front2', 'connector'), ('back', 'game'), ('back2', 'game')):
                cls.servers[name] = cls.start(type_, name)
            for name in ('front', 'front2'):
                with cls.servers[name].connect('tcp') as conn:
                    conn.handshake(timeout=WAIT_S)
                    done = 0
                    while done < 20:  # both backends, most likely: one is picked at random
                        m = conn.call('game.testsvc.testrequestonlysessionreturnsptr', timeout=WAIT_S)
                        done += not m.error
        except BaseException:
            for server in cls.servers.values():
                server.kill()
            cls.engines.stop()
            raise

    @classmethod
    def start(cls, type_, id_):
        e = cls.engines
        env = ['env']
        keys = []
        if e.etcd:  # as the tests of Pitaya say where things are
            env.append('PITAYA_CLUSTER_SD_ETCD_ENDPOINTS=' + e.etcd)
        else:
            keys += engines.settings(e.dir)
        if e.nats:
            env += ['PITAYA_CLUSTER_RPC_%s_NATS_CONNECT=%s' % (side, e.nats) for side in ('CLIENT', 'SERVER')]
            keys.append('cereus.cluster.rpc=nats')
        server = wire.Server([*env, os.environ['INTEROP_E2E'], '-type', type_, '--port=0', '-id', id_,
                              '-frontend=' + ('true' if type_ == 'connector' else 'false'),
                              '--serializer', cls.serializer, '-sdprefix', 'pitaya/',
                              *(x for k in keys for x in ('-set', k))])
        return server

    @classmethod
    def tearDownClass(cls):
        wrong = ['%s %s' % (n, p) for n, s in reversed(cls.servers.items()) if (p := s.stop())]
        cls.engines.stop()
        if wrong:
            raise AssertionError('\n'.join(wrong))

    def login(self, server='front'):
        conn = self.servers[server].connect('tcp')
        self.addCleanup(conn.close)
        self.assertEqual(conn.handshake(timeout=WAIT_S)['code'], 200)
        conn.serial = 0
        return conn

    def ask(self, conn, route, body=b''):
        conn.serial += 1
        m = conn.call(route, body, conn.serial, WAIT_S)
        self.assertIsNotNone(m, 'no answer from ' + route)
        return m

    def pushed(self, conn):
        m = conn.wait_message(WAIT_S)
        self.assertIsNotNone(m, 'no push')
        return m.route, m.body

    def test_the_words_that_tests_wait_for(self):
        for server in self.servers.values():
            while 'all modules started!' not in server.errors():
                self.assertTrue(server.alive())

    def test_answers_of_frontend_and_backend(self):
        conn = self.login()
        for place in ('connector.testsvc.', 'game.testsvc.', 'testsvc.'):
            with self.subTest(place):
                m = self.ask(conn, place + 'testrequestonlysessionreturnsptr')
                self.assertEqual(self.response(m.body), (200, 'hello'))
                for route in ('testrequestonlysessionreturnsptrnil', 'testrequestonlysessionreturnsrawnil'):
                    m = self.ask(conn, place + route)
                    self.assertEqual((m.error, self.error(m.body)),
                                     (True, {'code': 'PIT-000', 'msg': 'reply must not be null'}))
                m = self.ask(conn, place + 'testrequestreturnsptr', self.request('good'))
                self.assertEqual(self.response(m.body), (200, 'good'))
                m = self.ask(conn, place + 'testrequestreturnsraw', self.request('good'))
                self.assertEqual(m.body, b'good')
                m = self.ask(conn, place + 'testrequestreceivereturnsraw', b'woow')
                self.assertEqual(m.body, b'woow')
                m = self.ask(conn, place + 'testrequestreturnserror', b'x')
                self.assertEqual((m.error, self.error(m.body)), (True, {'code': 'PIT-555', 'msg': 'somerror'}))

    def test_calls_between_servers(self):
        conn = self.login()
        route = 'connector.testsvc.'
        for remote in ('rpctestrawptrreturnsptr', 'rpctestptrreturnsptr'):
            m = self.ask(conn, route + 'testsendrpc',
                         json.dumps({'route': 'game.testremotesvc.' + remote, 'data': 'thisthis'}).encode())
            self.assertEqual(self.response(m.body), (200, 'got thisthis'))
        m = self.ask(conn, route + 'testsendrpc',
                     json.dumps({'route': 'game.testremotesvc.rpctestreturnserror', 'data': 'x'}).encode())
        self.assertEqual((m.error, self.error(m.body)),
                         (True, {'code': 'PIT-433', 'msg': 'test error', 'metadata': {'some': 'meta'}}))
        m = self.ask(conn, route + 'testsendrpcnoargs', b'{"route":"game.testremotesvc.rpctestnoargs"}')
        self.assertEqual(self.response(m.body), (200, 'got nothing'))
        m = self.ask(conn, route + 'testsendrpc', b'{"route":"bad"}')
        self.assertTrue(m.error)

    def test_kicks(self):
        one, two = self.login(), self.login()
        self.assertEqual(self.ask(one, 'connector.testsvc.testbindid', b'kick-me').body, b'ack')
        m = self.ask(two, 'connector.testsvc.testrequestkickuser', b'kick-me')
        self.assertEqual(self.response(m.body), (200, 'ok'))
        self.assertEqual(one.next(WAIT_S).data, wire.packet(wire.KICK))
        self.assertTrue(one.wait_close(WAIT_S))
        m = self.ask(two, 'connector.testsvc.testrequestkickuser', b'nobody')
        self.assertEqual((m.error, self.error(m.body)), (True, {'code': 'PIT-404', 'msg': 'session not found'}))
        two.send(wire.request(9, 'connector.testsvc.testrequestkickme'))
        self.assertTrue(two.wait_close(WAIT_S))
        self.assertIn(wire.packet(wire.KICK), bytes(two.buf))

    def test_binds(self):
        one = self.login()
        self.assertEqual(self.ask(one, 'game.testsvc.testbind').body, b'ack')
        m = self.ask(one, 'connector.testsvc.testbind')
        self.assertEqual((m.error, self.error(m.body)),
                         (True, {'code': 'PIT-444', 'msg': 'session is already bound to an uid'}))
        two, three = self.login(), self.login('front2')
        self.assertEqual(self.ask(two, 'connector.testsvc.testbindid', b'twice').body, b'ack')
        self.assertEqual(self.ask(three, 'connector.testsvc.testbindid', b'twice').body, b'ack')  # on another server
        self.assertEqual(two.next(WAIT_S).data, wire.packet(wire.KICK))
        four = self.login()
        m = self.ask(four, 'connector.testsvc.testbindid', b'twice')
        self.assertEqual((m.error, self.error(m.body)),
                         (True, {'code': 'PIT-441', 'msg': 'member already exists in group'}))

    def test_group_messages(self):
        conn = self.login()
        self.assertEqual(self.ask(conn, 'connector.testsvc.testbindid', b'grouped').body, b'ack')
        conn.send(wire.notify('connector.testsvc.testsendgroupmsg', b'testing group'))
        self.assertEqual(self.pushed(conn), (b'route.test', b'testing group'))
        conn.send(wire.notify('connector.testsvc.testsendgroupmsgptr', self.request('testing group')))
        route, body = self.pushed(conn)
        self.assertEqual((route, self.text_of(body)), (b'route.testptr', 'testing group'))

    def test_pushes_to_users(self):
        one, two = self.login(), self.login('front2')
        self.assertEqual(self.ask(one, 'connector.testsvc.testbindid', b'push-1').body, b'ack')
        self.assertEqual(self.ask(two, 'connector.testsvc.testbindid', b'push-2').body, b'ack')
        for place in ('connector', 'game'):
            one.send(wire.notify(place + '.testsvc.testsendtousers', b'{"uids":["push-1","push-2"],"msg":"hello"}'))
            for conn in (one, two):
                self.assertEqual(self.pushed(conn), (b'route.sendtousers', b'hello'))


class TestJson(Json, E2e, unittest.TestCase):
    pass


class TestProtobuf(Protobuf, E2e, unittest.TestCase):
    pass


class CommandLine(unittest.TestCase):
    def refused(self, code, *args):
        with self.assertRaises(wire.Refused) as refusal:
            wire.Server([os.environ['INTEROP_E2E'], *args]).kill()
        self.assertEqual(refusal.exception.code, code, refusal.exception)
        return str(refusal.exception)

    def test_mistakes_are_refused(self):
        self.assertIn('-colour', self.refused(2, '-colour=red'))
        self.assertIn('-port', self.refused(2, '-port'))
        self.assertIn('xml', self.refused(2, '--serializer', 'xml'))


if __name__ == '__main__':
    unittest.main(verbosity=2)
