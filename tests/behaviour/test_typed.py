"""A handler generated from a .proto, for clients that speak JSON and for clients that speak Protobuf."""
import base64
import json
import os
import sys
import unittest
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'support'))
import cereus_wire as wire  # noqa: E402
from cereus_behaviour import BUSY_S, main  # noqa: E402


class Typed(unittest.TestCase):
    def serve(self, *args):
        self.server = wire.LoggedServer([os.environ['TYPED_SERVER'], '--listen', 'tcp://127.0.0.1:0', *args])
        self.addCleanup(self.stop)
        conn = self.server.connect()
        self.addCleanup(conn.close)
        self.assertEqual(conn.handshake(timeout=BUSY_S)['sys']['serializer'], self.serializer)
        return conn

    def stop(self):
        problem = self.server.stop()
        self.assertIsNone(problem, problem)

    def test_json_clients_are_served(self):
        self.serializer = 'json'
        conn = self.serve()
        reply = conn.call('game.try', b'{"number":7}')
        self.assertEqual((reply.error, reply.body), (False, b'{"text":"higher","tries_left":4}'))
        conn.send(wire.request(2, 'guess.game.try', b'{"number":42}'))
        push, reply = conn.wait_message(BUSY_S), conn.wait_message(BUSY_S)
        self.assertEqual((push.route, json.loads(push.body)['number']), (b'onWon', 42))
        self.assertEqual(json.loads(reply.body), {'text': 'that is it', 'tries_left': 3})

    def test_it_describes_itself(self):
        self.serializer = 'json'
        conn = self.serve()
        handlers = json.loads(json.loads(conn.call('docs.docs').body)['doc'])['handlers']
        self.assertEqual(sorted(handlers), ['guess.docs.docs', 'guess.docs.protos', 'guess.game.try'])
        self.assertEqual(handlers['guess.game.try'], {
            'input': {'*guess.Attempt': {'number': 'int32'}},
            'output': [{'*guess.Hint': {'text': 'string', 'tries_left': 'int32'}}, 'error']})
        files = json.loads(conn.call('guess.docs.protos', b'{"name":["guess.Won"]}').body)['desc']
        plain = zlib.decompress(base64.b64decode(files[0]), 31)
        self.assertEqual(wire.pb_fields(plain)[:2], [(1, b'guess.proto'), (2, b'guess')])

    def test_a_broken_rule_is_told_in_pitayas_words(self):
        self.serializer = 'json'
        reply = self.serve().call('game.try', b'{"number":101}')
        self.assertEqual((reply.error, json.loads(reply.body)), (True, {
            'code': 'PIT-000',
            'msg': "Key: 'Attempt.Number' Error:Field validation for 'Number' failed on the 'lte' tag"}))

    def test_a_wrong_body_is_refused_with_the_field_named(self):
        self.serializer = 'json'
        conn = self.serve()
        reply = conn.call('game.try', b'{"number":"seven"}')
        error = json.loads(reply.body)
        self.assertEqual((reply.error, error['code']), (True, 'PIT-400'))
        self.assertIn('number', error['msg'])

    def test_protobuf_clients_are_served_by_the_same_handler(self):
        self.serializer = 'protobuf'
        conn = self.serve('--serializertype', '2')
        reply = conn.call('game.try', b'\x08\x64')
        self.assertEqual(wire.pb_fields(reply.body), [(1, b'lower'), (2, 4)])
        for _ in range(4):
            conn.call('game.try', b'\x08\x01')
        reply = conn.call('game.try', b'\x08\x2a')
        self.assertEqual((reply.error, wire.pb_error(reply.body)['code']), (True, 'GAME-403'))


if __name__ == '__main__':
    main()
