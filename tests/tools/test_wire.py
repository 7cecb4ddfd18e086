#!/usr/bin/env python3
"""`cereus wire`: what it prints for given bytes.

    test_wire.py CEREUS
"""
import os
import subprocess
import sys
import tempfile
import unittest
import zlib

TOOL = None
REQUEST = bytes.fromhex('00ac02') + b'\x09room.join' + b'{"n":1}'


def packet(type_, body=b''):
    return bytes([type_]) + len(body).to_bytes(3, 'big') + body


def run(*args, stdin=b''):
    done = subprocess.run([TOOL, 'wire', *args], input=stdin, capture_output=True, timeout=30)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


class Wire(unittest.TestCase):
    maxDiff = None

    def explains(self, data, code, *lines, args=()):
        """All ways to give the bytes come to the same."""
        want = (code, ''.join(line + '\n' for line in lines), '')
        self.assertEqual(run(*args, data.hex()), want)
        self.assertEqual(run(*args, '-', stdin=data.hex(' ').upper().encode() + b'\n'), want)
        with tempfile.NamedTemporaryFile() as f:
            f.write(data)
            f.flush()
            self.assertEqual(run(*args, '--raw', f.name), want)

    def test_one_line_a_packet(self):
        self.explains(
            packet(1, b'{}') + packet(2) + packet(3) + packet(4, REQUEST) + packet(5), 0,
            '0        handshake     2 body 2 {}',
            '6        handshake ack 0',
            '10       heartbeat     0',
            '14       data          20 flags 00 request id 300 route room.join body 7 {"n":1}',
            '38       kick          0')

    def test_every_type_of_message(self):
        self.explains(
            packet(4, b'\x02\x03a.bx') + packet(4, b'\x04\x05') + packet(4, b'\x24\x05{}') + packet(4, b'\x06\x00'), 0,
            '0        data          6 flags 02 notify route a.b body 1 x',
            '10       data          2 flags 04 response id 5',
            '16       data          4 flags 24 error response id 5 body 2 {}',
            '24       data          2 flags 06 push route ')

    def test_routes_by_code(self):
        data = packet(4, b'\x07\x01\x02!') + packet(4, b'\x01\x05\x00\x03')
        self.explains(data, 0, '0        data          4 flags 07 push route code 258 body 1 !',
                      '8        data          4 flags 01 request id 5 route code 3')
        self.explains(data, 0, '0        data          4 flags 07 push route a.b (code 258) body 1 !',
                      '8        data          4 flags 01 request id 5 route c=d (code 3)', args=['--dict', 'a.b=258,c=d=3'])
        answer = b'{"code":200,"sys":{"dict":{"on":258,"bad":-1}}}'
        self.explains(packet(1, answer) + data[:8], 0,
                      '0        handshake     %d body %d %s' % (len(answer), len(answer), answer.decode()),
                      '%-8d data          4 flags 07 push route on (code 258) body 1 !' % (len(answer) + 4))

    def test_compressed_bodies_are_inflated(self):
        answer = b'{"code":200,"sys":{"dict":{"on":1}}}'
        z, body = zlib.compress(answer), zlib.compress(b'ho ho ho ho ho ho')
        self.explains(
            packet(1, z) + packet(4, b'\x17\x00\x01' + body), 0,
            '0        handshake     %d body %d inflates to %d %s' % (len(z), len(z), len(answer), answer.decode()),
            '%-8d data          %d flags 17 push route on (code 1) body %d inflates to 17 ho ho ho ho ho ho' %
            (len(z) + 4, len(body) + 3, len(body)))

    def test_what_is_not_text_is_hex(self):
        self.explains(packet(4, b'\x06\x01r\x1b[2J') + packet(4, b'\x06\x01r\xff') + packet(4, b'\x06\x01r\xc2\x9b') +
                      packet(4, b'\x06\x01ra\n\tb\xc3\xbc'), 0,
                      '0        data          7 flags 06 push route r body 4 hex:1b5b324a',
                      '11       data          4 flags 06 push route r body 1 hex:ff',
                      '19       data          5 flags 06 push route r body 2 hex:c29b',
                      '28       data          9 flags 06 push route r body 6 a\\n\\tbü')

    def test_long_bodies_are_cut_unless_told_otherwise(self):
        data = packet(3, b'x' * 300)
        self.explains(data, 0, '0        heartbeat     300 body 300 ' + 'x' * 256 + '... (300 bytes)')
        self.explains(data, 0, '0        heartbeat     300 body 300 ' + 'x' * 300, args=['--full'])
        umlauts = 'x' + 'ü' * 200
        self.explains(packet(3, umlauts.encode()), 0,
                      '0        heartbeat     401 body 401 x' + 'ü' * 127 + '... (401 bytes)')

    def test_broken_packets_end_the_list(self):
        self.explains(packet(3) + b'\x00\x00\x00\x01x', 1, '0        heartbeat     0',
                      '4        error: packet type 0, not 1 to 5')
        self.explains(packet(3) + b'\x04\x00', 1, '0        heartbeat     0',
                      '4        error: packet ends inside its head, after 2 of 4 bytes')
        self.explains(packet(4, b'abc')[:-1], 1, '0        error: data packet ends after 2 of 3 bytes')
        self.explains(b'GET / HTTP/1.1\r\n', 1, '0        error: packet type 71, not 1 to 5')

    def test_broken_messages_name_the_byte(self):
        for body, at, what in [
                (b'', 0, 'a message has at least 2 bytes'),
                (b'\x06', 0, 'a message has at least 2 bytes'),
                (b'\x08\x00', 0, 'message type is not request, notify, response or push'),
                (b'\x00\x80', 2, 'message ends inside its id'),
                (b'\x04' + b'\xff' * 9 + b'\x02', 10, 'id is over 64 bits'),
                (b'\x00\x01', 2, 'message ends before its route'),
                (b'\x02\x05ab', 1, 'message ends inside its route'),
                (b'\x01\x01\x00', 2, 'message ends inside its route code'),
        ]:
            self.explains(packet(3) + packet(4, body) + packet(3), 1, '0        heartbeat     0',
                          '4        data          %d' % len(body), '%-8d error: %s' % (8 + at, what),
                          '%-8d heartbeat     0' % (8 + len(body)))
        self.explains(packet(4, b'\x16\x01rnozip'), 1, '0        data          8 flags 16 push route r',
                      '7        error: body does not inflate')

    def test_every_prefix_and_every_changed_byte_is_survived(self):
        data = packet(1, zlib.compress(b'{"code":200,"sys":{"dict":{"on":1}}}')) + packet(4, REQUEST) + packet(
            4, b'\x17\x00\x01' + zlib.compress(b'ho ho ho ho'))
        for at in range(0, len(data), 3):
            self.assertIn(run('--raw', '-', stdin=data[:at])[0], (0, 1))
            changed = bytearray(data)
            changed[at] ^= 0xff
            self.assertIn(run('--raw', '-', stdin=bytes(changed))[0], (0, 1))

    def test_digits_may_be_written_in_many_ways(self):
        want = (0, '0        heartbeat     0\n', '')
        for args in [('03000000',), ('0x03', '0x00', '0x00', '0x00'), ('03:00:00', ':00'), ('0300', '0', '000'),
                     ('03, 00, 00, 00',)]:
            self.assertEqual(run(*args), want)

    def test_bad_arguments_end_with_2(self):
        for args in [(), ('0',), ('0g',), ('--raw', '/does/not/exist'), ('--raw', '-', '00'), ('--dict', 'a', '00'),
                     ('--dict', 'a=65536', '00'), ('--dict', 'a=1,b=1', '00'), ('--what',)]:
            code, out, err = run(*args)
            self.assertEqual((code, out), (2, ''), args)
            self.assertTrue(err)
        self.assertEqual(run('030g')[2], 'cereus wire: not a pair of hex digits, at character 3\n')
        self.assertEqual(run('--help')[0], 0)


if __name__ == '__main__':
    TOOL = os.path.abspath(sys.argv.pop(1))
    unittest.main()
