"""Clients that shipped and cannot be changed: what they say of themselves, and what they must never get."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'support'))
import cereus_wire as wire  # noqa: E402
from cereus_behaviour import BUSY_S, BehaviourTest, main  # noqa: E402

DICTIONARY = {'test.echo': 1, 'onpush': 300, 'oncast': 301}
LIBPITAYA = wire.packet(wire.HANDSHAKE, b'{"sys":{"platform":"linux","libVersion":"4.6.2-","clientBuildNumber":"77",'
                        b'"clientVersion":"1.2.3"},"user":{"k":1}}')
JAVASCRIPT = wire.packet(wire.HANDSHAKE, b'{"sys":{"type":"js-websocket","version":"0.0.1","rsa":{}},"user":{}}')
LONG = b'a' * 300


class OldClients(BehaviourTest):
    def setUp(self):
        self.mine = []
        self.serve({'dictionary': DICTIONARY, 'data_compression': True}, cereus__compression__min='12')

    def connect(self, transport='tcp', **options):
        conn = super().connect(transport, **options)
        self.mine.append(conn)
        return conn

    def tearDown(self):
        for conn in self.mine[1:]:  # the first is the bystander
            conn.close()
        super().tearDown()

    def join(self, hello, uid, transport='tcp'):
        conn = self.connect(transport)
        answer = conn.handshake(hello, timeout=BUSY_S)
        self.assertEqual(answer['sys']['dict'], DICTIONARY)
        self.assertEqual(conn.call('test.bind', uid).body, b'bound')
        self.assertEqual(conn.call('test.gjoin', b'room').body, b'joined')
        return conn

    def test_libpitaya_gets_routes_as_text_whoever_pushes(self):
        old, new = self.join(LIBPITAYA, b'old'), self.join(wire.H0, b'new')
        old.send(wire.request(9, 'test.push', LONG))
        push = old.wait_message(BUSY_S)
        self.assertEqual((push.route, push.code, push.gzip, push.body), (b'onpush', None, True, LONG))
        self.assertEqual(old.wait_message(BUSY_S).body, b'pushed')
        new.send(wire.request(9, 'test.gcast', b'room|oncast|' + LONG))
        for conn, route, code in ((old, b'oncast', None), (new, None, 301)):
            push = conn.wait_message(BUSY_S)
            self.assertEqual((push.type, push.route, push.code, push.body), (wire.PUSH, route, code, LONG))

    def test_javascript_gets_nothing_compressed(self):
        conn = self.connect('ws')
        conn.send(JAVASCRIPT)
        body = conn.next(BUSY_S).data[4:]
        self.assertEqual(json.loads(body)['sys']['dict'], DICTIONARY)  # as it is: no zlib stream
        conn.send(wire.ACK_PACKET)
        reply = conn.call('test.echo', LONG)
        self.assertEqual((reply.gzip, reply.body), (False, LONG))
        other = self.join(wire.H0, b'other')
        self.assertEqual(conn.call('test.bind', b'js').body, b'bound')
        self.assertEqual(conn.call('test.gjoin', b'room').body, b'joined')
        other.send(wire.request(9, 'test.gcast', b'room|oncast|' + LONG))
        push = conn.wait_message(BUSY_S)
        self.assertEqual((push.code, push.gzip, push.body), (301, False, LONG))  # it does use the dictionary
        self.assertTrue(other.wait_message(BUSY_S).gzip)

    def test_the_go_client_is_not_taken_for_libpitaya(self):
        conn = self.join(wire.H0, b'go')
        conn.send(wire.request(9, 'test.push', b'x'))
        self.assertEqual(conn.wait_message(BUSY_S).code, 300)


if __name__ == '__main__':
    main()
