"""Whole packets with something nasty in them: bombs, broken texts, deep trees, long names."""
import json
import os
import sys
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'support'))
import cereus_wire as wire  # noqa: E402
from cereus_behaviour import BUSY_S, BehaviourTest, main  # noqa: E402

MIB = 1 << 20


def bomb(size, byte=b'\0'):
    packer = zlib.compressobj(9)
    out = b''.join(packer.compress(byte * MIB) for _ in range(size // MIB))
    return out + packer.flush()


class Bombs(BehaviourTest):
    def test_a_body_that_unpacks_beyond_the_limit_closes(self):
        self.serve(cereus__inflate__max='1MiB')
        before = self.server.memory_kib()
        packed = bomb(64 * MIB)
        for _ in range(20):
            conn = self.login()
            conn.send(wire.request(1, 'test.echo', packed, wire.FLAG_GZIP))
            self.assert_closed(conn)
        self.assert_memory_below(before + 16 * 1024)

    def test_the_default_limit_stops_two_hundred_megabytes(self):
        self.serve()
        before = self.server.memory_kib()
        conn = self.login()
        conn.send(wire.request(1, 'test.echo', bomb(200 * MIB), wire.FLAG_GZIP))
        self.assert_closed(conn)
        self.assert_memory_below(before + 48 * 1024)

    def test_what_unpacks_to_just_the_limit_is_served(self):
        self.serve(cereus__inflate__max='1MiB')
        conn = self.login()
        body = b'{"msg":"' + b'a' * (MIB - 10) + b'"}'
        conn.send(wire.request(1, 'test.typed', zlib.compress(body), wire.FLAG_GZIP))
        m = conn.wait_message(BUSY_S)
        self.assertEqual(len(json.loads(m.body)['msg']), MIB - 10)
        conn.close()

    def test_broken_streams_close(self):
        self.serve()
        good = zlib.compress(b'hello hello hello')
        for what, body in (('nothing', b''), ('cut off', good[:-1]), ('checksum', good[:-1] + bytes([good[-1] ^ 1])),
                           ('raw deflate', good[2:-4]), ('rubbish', b'\x78\x9c' + b'\xff' * 20)):
            conn = self.login()
            conn.send(wire.request(1, 'test.echo', body, wire.FLAG_GZIP))
            self.assert_closed(conn, what)


class Bodies(BehaviourTest):
    def setUp(self):
        self.serve()
        self.conn = self.login()

    def tearDown(self):
        self.assert_echo(self.conn)  # whatever was in the body, the connection stays
        self.conn.close()
        super().tearDown()

    def call(self, route, body):
        m = self.conn.call(route, body, timeout=BUSY_S)
        self.assertIsNotNone(m, 'no answer')
        return m.error, json.loads(m.body)

    def test_invalid_utf8_is_replaced(self):
        error, reply = self.call('test.typed', b'{"msg":"a\xff\xc0\x80\xed\xa0\x80z"}')
        self.assertFalse(error)
        self.assertEqual(reply['msg'], 'a' + '\ufffd' * 6 + 'z')

    def test_lone_surrogates_are_replaced(self):
        error, reply = self.call('test.typed', b'{"msg":"\\ud800 \\udc00\\ud83d\\ude00"}')
        self.assertEqual((error, reply['msg']), (False, '\ufffd \ufffd\U0001f600'))

    def test_ten_thousand_levels_of_json_are_answered(self):
        for opening, closing in ((b'[', b']'), (b'{"a":', b'}')):
            for depth in (100, 10000, 1000000 // len(opening)):
                for end in (b'1' + closing * depth, b''):
                    error, reply = self.call('test.typed', b'{"x":' + opening * depth + end + (b'}' if end else b''))
                    if error:
                        self.assertEqual(reply['code'], 'PIT-400')
                    else:
                        self.assertTrue(end, 'broken JSON was taken')

    def test_ten_thousand_levels_in_the_handshake_are_answered(self):
        for depth in (100, 10000, 200000):
            for body in (b'{"user":{"a":' + b'[' * depth + b']' * depth + b'}}', b'[' * depth):
                with self.server.connect() as conn:
                    conn.send(wire.packet(wire.HANDSHAKE, body))
                    item = conn.next(BUSY_S)
                    self.assertEqual(item.kind, 'packet')
                    code = json.loads(item.data[4:])['code']
                    self.assertIn(code, (200, 400))
                    if code == 400:
                        self.assert_closed(conn)

    def test_odd_numbers_are_answered(self):
        for number in (b'1e999', b'-1e999', b'9' * 5000, b'0.' + b'1' * 5000, b'1e' + b'9' * 5000, b'-', b'01', b'1.'):
            error, _ = self.call('test.typed', b'{"other":' + number + b'}')
            if number in (b'-', b'01', b'1.'):
                self.assertTrue(error, number)

    def test_routes_of_any_255_bytes_are_answered(self):
        for route in (b'r' * 255, b's.' + b'm' * 253, b'.' * 255, b'\xff' * 255, b'a.' + b'\x00' * 253,
                      b'connector.test.' + b'\xf0' * 240, b'test.echo'.ljust(255), bytes(range(1, 256)),
                      b'"\\' * 127 + b'.'):
            error, reply = self.call(route, b'')
            self.assertTrue(error)
            self.assertIn(reply['code'], ('PIT-400', 'PIT-404', 'PIT-500'))

    def test_a_handler_that_wants_too_much_memory_fails_alone(self):
        error, reply = self.call('test.big', b'a:1000000000000')
        self.assertTrue(error)
        self.assertEqual(reply['code'], 'PIT-500')

    def test_a_uid_of_any_length_is_answered(self):
        for size in (256, 70000):
            error, reply = self.call('test.bind', b'u' * size)
            self.assertTrue(error)
            self.assertEqual(reply['code'], 'PIT-000')


if __name__ == '__main__':
    main()
