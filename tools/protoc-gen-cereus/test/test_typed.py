#!/usr/bin/env python3
"""Typed handlers serve clients of either serializer: each test runs once with JSON and once with Protobuf on the wire.

The server (typed_server.c) comes from TYPED_SERVER, cereus_wire.py is found through PYTHONPATH.
"""
import json
import os
import unittest

import cereus_wire as wire

BUSY_S = 20


def text_field(number, text):
    data = text.encode()
    return wire.varint(number << 3 | 2) + wire.varint(len(data)) + data


def number_field(number, value):
    return wire.varint(number << 3) + wire.varint(value)


class Json:
    serializer = '1'

    @staticmethod
    def write(**members):
        return json.dumps({name: value for name, (_, value) in members.items()}).encode()

    @staticmethod
    def read(body, **names):
        value = json.loads(body)
        return {name: value[name] for name in value}

    @staticmethod
    def error(body):
        return json.loads(body)


class Protobuf:
    serializer = '2'

    @staticmethod
    def write(**members):
        return b''.join(text_field(number, value) if isinstance(value, str) else number_field(number, value)
                        for number, value in members.values())

    @staticmethod
    def read(body, **names):
        by_number = {number: name for name, number in names.items()}
        return {by_number[number]: value.decode() for number, value in wire.pb_fields(body)}

    @staticmethod
    def error(body):
        return wire.pb_error(body)


class Cases:
    """What both classes below inherit."""

    def setUp(self):
        self.server = wire.Server([os.environ['TYPED_SERVER'], '--pitaya.serializertype', self.codec.serializer])
        self.addCleanup(self.server.kill)
        self.conns = []

    def stop(self):
        for conn in self.conns:  # it would wait for them a little
            conn.close()
        problem = self.server.stop()
        self.assertIsNone(problem, problem)

    def login(self):
        conn = self.server.connect()
        self.conns.append(conn)
        self.assertEqual(conn.handshake(timeout=BUSY_S)['code'], 200)
        return conn

    def call(self, conn, route, body=b'', id_=1):
        m = conn.call(route, body, id_, BUSY_S)
        self.assertIsNotNone(m, 'no answer from ' + route)
        return m

    def push(self, conn):
        m = conn.wait_message(BUSY_S)
        self.assertIsNotNone(m, 'no push')
        self.assertEqual(m.type, wire.PUSH)
        return m

    def join(self, conn, name):
        """Returns the reply's members; the joiner's own onNewUser comes first and is checked."""
        conn.send(wire.request(1, 'room.join', self.codec.write(name=(1, name))))
        hello = self.push(conn)
        self.assertEqual(hello.route, b'onNewUser')
        self.assertEqual(self.codec.read(hello.body, content=1), {'content': 'New user: ' + name})
        m = conn.wait_message(BUSY_S)
        self.assertEqual((m.type, m.id, m.error), (wire.RESPONSE, 1, False))
        return self.codec.read(m.body, result=1)

    def test_a_request_gets_its_typed_reply(self):
        self.assertEqual(self.join(self.login(), 'ada'), {'result': 'success'})
        self.stop()

    def test_the_games_own_failure_reaches_the_client(self):
        m = self.call(self.login(), 'room.join', self.codec.write(name=(1, '')))
        self.assertTrue(m.error)
        self.assertEqual(self.codec.error(m.body), {'code': 'RH-400', 'msg': 'who are you?'})
        self.stop()

    def test_pushes_go_to_a_group_a_session_and_users(self):
        ada, bob = self.login(), self.login()
        self.join(ada, 'ada')
        self.join(bob, 'bob')
        self.assertEqual(self.codec.read(self.push(ada).body, content=1), {'content': 'New user: bob'})
        body = self.codec.write(name=(1, 'ada'), content=(2, 'hi \u00e9'))
        ada.send(wire.notify('room.message', body))
        for conn in (ada, bob):
            m = self.push(conn)
            self.assertEqual(m.route, b'onMessage')
            self.assertEqual(self.codec.read(m.body, name=1, content=2), {'name': 'ada', 'content': 'hi \u00e9'})
        self.stop()

    def test_a_method_without_argument_ignores_the_body(self):
        conn = self.login()
        conn.send(wire.notify('gamehttplobby.leaveroom', b''))
        conn.send(wire.notify('game.gamehttplobby.leaveroom', b'\xff neither JSON nor Protobuf'))
        m = self.call(conn, 'gamehttplobby.close2dmap', self.codec.write(id=(1, 2)))
        self.assertFalse(m.error, m.body)
        self.assertEqual(self.codec.read(m.body), {})
        self.stop()

    def test_messages_of_other_files_and_routes_from_options_work(self):
        conn = self.login()
        m = self.call(conn, 'gamehttplobby.import*/ed', self.codec.write(text=(1, 'why')))
        self.assertEqual(self.codec.read(m.body, text=1), {'text': 'why?'})
        m = self.call(conn, 'opt.ack', self.codec.write(), 2)
        self.assertFalse(m.error, m.body)
        self.assertEqual(self.codec.read(m.body), {})
        self.stop()

    def test_a_handler_that_is_not_set_is_no_route(self):
        m = self.call(self.login(), 'gamehttplobby.joinroom', self.codec.write(id=(1, 2)))
        self.assertTrue(m.error)
        self.assertEqual(self.codec.error(m.body)['code'], 'PIT-404')
        self.stop()

    def test_a_body_that_is_no_such_message_is_refused(self):
        m = self.call(self.login(), 'room.join', b'\x0a\xff{')
        self.assertTrue(m.error)
        self.assertEqual(self.codec.error(m.body)['code'], 'PIT-400')
        self.stop()


class JsonTest(Cases, unittest.TestCase):
    codec = Json


class ProtobufTest(Cases, unittest.TestCase):
    codec = Protobuf


if __name__ == '__main__':
    unittest.main()
