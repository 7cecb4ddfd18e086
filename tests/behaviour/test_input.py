"""Peers that send badly: in pieces, too slowly, too early, rubbish, or more than they should."""
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'support'))
import cereus_wire as wire  # noqa: E402
from cereus_behaviour import BUSY_S, BehaviourTest, main  # noqa: E402

LOGIN = wire.H0 + wire.ACK_PACKET
MIB = 1 << 20


class Pieces(BehaviourTest):
    def test_a_session_cut_in_two_at_every_byte_is_answered_the_same(self):
        self.serve()
        stream = b''.join([LOGIN, wire.request(1, 'test.echo', b'one'), wire.notify('test.note', b'two'),
                           wire.HEARTBEAT_PACKET, wire.request(300, 'test.push', b'three')])
        for cut in range(1, len(stream)):
            with self.server.connect() as conn:
                conn.send(stream, [cut], 1)
                heard = []
                self.assertEqual(conn.next(BUSY_S).data[0], wire.HANDSHAKE)
                for _ in range(4):
                    m = conn.wait_message(BUSY_S)
                    self.assertIsNotNone(m, 'cut at %d' % cut)
                    heard.append((m.type, m.id, m.route, m.body))
                self.assertEqual(heard, [(wire.RESPONSE, 1, None, b'one'), (wire.PUSH, 0, b'onnote', b'two'),
                                         (wire.PUSH, 0, b'onpush', b'three'), (wire.RESPONSE, 300, None, b'pushed')])

    def test_a_websocket_session_cut_in_two_at_every_byte_is_answered_the_same(self):
        self.serve()
        stream = wire.ws_upgrade() + b''.join(map(wire.ws_frame, [
            wire.H0, wire.ACK_PACKET, wire.request(1, 'test.echo', b'x' * 130)]))
        for cut in range(1, len(stream)):
            with self.server.connect('ws', upgrade=False) as conn:
                conn.write(stream[:cut])
                time.sleep(0.001)
                conn.write(stream[cut:])
                while b'\r\n\r\n' not in conn.buf:
                    self.assertTrue(conn.fill(BUSY_S) and not conn.end, 'cut at %d' % cut)
                del conn.buf[:conn.buf.index(b'\r\n\r\n') + 4]
                self.assertEqual(conn.next(BUSY_S).data[0], wire.HANDSHAKE)
                self.assertEqual(conn.wait_message(BUSY_S).body, b'x' * 130, 'cut at %d' % cut)

    def test_sixteen_mebibytes_announced_and_trickled_hold_only_what_came(self):
        self.serve(cereus__handshake__timeout='60s')
        before = self.server.memory_kib()
        conns = []
        for i in range(64):
            conn = self.login() if i % 2 else self.connect()
            conn.send(bytes([wire.DATA if i % 2 else wire.HANDSHAKE, 0xff, 0xff, 0xff]))
            conns.append(conn)
        for _ in range(8):
            for conn in conns:
                conn.send(b'z' * 1024)
            self.assert_served()
        self.assert_memory_below(before + 24 * 1024)  # 64 * 16 MiB were announced, 512 KiB came
        for conn in conns:
            conn.close()

    def test_half_a_packet_is_no_life_sign(self):
        self.serve({'heartbeat_s': 1})
        conn = self.login()
        conn.send(b'\x04\xff\xff\xff')
        start = time.monotonic()
        while not conn.end and time.monotonic() < start + BUSY_S:
            conn.send(b'z')
            conn.fill(0.1)
            self.bystander.send(wire.HEARTBEAT_PACKET)
        self.assertTrue(conn.end, 'a peer that trickled was never cut off')
        self.assertGreater(time.monotonic() - start, 1.9)

    def test_more_than_the_limit_is_refused_from_the_header_alone(self):
        self.serve(cereus__packet__max='4KiB')
        conn = self.login()
        self.assert_echo(conn, b'x' * 4000)
        conn.send(wire.packet(wire.DATA, b'x' * 4097)[:4])
        self.assert_closed(conn)


class Refusals(BehaviourTest):
    def test_rubbish_closes_its_own_connection_and_nothing_else(self):
        self.serve()
        dice = random.Random(1)
        for i in range(200):
            with self.server.connect() as conn:
                if i % 2:
                    conn.handshake()
                rubbish = b'\xff' * 3 + dice.randbytes(dice.randrange(1, 300))
                conn.write(bytes([dice.choice([0, 6, 7, 71, 128, 255])]) + rubbish)
                self.assert_closed(conn, 'after %s' % rubbish.hex())
            if i % 20 == 0:
                self.assert_served()

    def test_rubbish_in_place_of_an_upgrade_or_a_frame_closes(self):
        self.serve()
        dice = random.Random(3)
        for i in range(200):
            with self.server.connect('ws', upgrade=i % 2 == 1) as conn:
                conn.write(dice.randbytes(dice.randrange(1, 300)))
                conn.shutdown_write()  # a part of an upgrade or a frame is waited for
                self.assert_closed(conn, silently=False)
            if i % 20 == 0:
                self.assert_served()

    def test_packets_of_known_types_with_rubbish_inside_never_hurt_others(self):
        self.serve()
        dice = random.Random(2)
        for i in range(300):
            with self.server.connect() as conn:
                conn.handshake()
                conn.write(b''.join(wire.packet(dice.choice([1, 2, 3, 4, 4, 4, 5]), dice.randbytes(dice.randrange(40)))
                                    for _ in range(5)))
                conn.shutdown_write()
                self.assertTrue(conn.wait_close(BUSY_S))
            if i % 30 == 0:
                self.assert_served()

    def test_data_before_the_ack_closes(self):
        self.serve()
        for transport in ('tcp', 'ws'):
            for hello in (None, wire.H0):
                conn = self.connect(transport)
                if hello:
                    conn.send(hello)
                    self.assertEqual(conn.next(BUSY_S).data[0], wire.HANDSHAKE)
                conn.send(wire.request(1, 'test.echo', b'early'))
                self.assert_closed(conn)

    def test_an_ack_without_a_handshake_opens_nothing(self):
        self.serve()
        for transport in ('tcp', 'ws'):
            conn = self.connect(transport)
            conn.send(wire.ACK_PACKET)
            conn.send(wire.request(1, 'test.echo', b'no'))
            self.assert_closed(conn)
            conn = self.connect(transport)
            conn.send(wire.ACK_PACKET)
            conn.handshake(timeout=BUSY_S)
            self.assert_echo(conn)
            conn.close()

    def test_what_only_servers_send_closes(self):
        self.serve()
        for type_ in (wire.RESPONSE, wire.PUSH):
            conn = self.login()
            conn.send(wire.packet(wire.DATA, wire.message(type_, 1, 'test.echo', b'x')))
            self.assert_closed(conn)

    def test_other_protocols_are_closed(self):
        self.serve()
        for start in (b'GET / HTTP/1.1\r\nHost: x\r\n\r\n', b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + bytes(32),
                      b'PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n', b'SSH-2.0-OpenSSH_9.2\r\n'):
            conn = self.connect()
            conn.write(start)
            self.assert_closed(conn)


class Deadlines(BehaviourTest):
    def assert_cut(self, conn, start, what):
        self.assert_closed(conn, what, silently=False)
        self.assertGreater(time.monotonic() - start, 0.25, what)

    def test_a_handshake_that_is_never_finished_ends_at_its_deadline(self):
        self.serve(cereus__handshake__timeout='300ms')
        for what, sent in (('nothing', b''), ('half a header', b'\x01\x00'), ('half a handshake', wire.H0[:50]),
                           ('heartbeats', wire.HEARTBEAT_PACKET * 3), ('an ack', wire.ACK_PACKET),
                           ('no ack', wire.H0)):
            start = time.monotonic()
            conn = self.connect()
            conn.write(sent)
            self.assert_cut(conn, start, what)
        for what, sent in (('no upgrade', b''), ('half an upgrade', wire.ws_upgrade()[:40]),
                           ('no handshake', wire.ws_upgrade()),
                           ('half a frame', wire.ws_upgrade() + wire.ws_frame(wire.H0)[:9])):
            start = time.monotonic()
            conn = self.connect('ws', upgrade=False)
            conn.write(sent)
            self.assert_cut(conn, start, what)

    def test_a_finished_handshake_has_no_deadline_any_more(self):
        self.serve(cereus__handshake__timeout='300ms')
        conn = self.login()
        self.assertIsNone(conn.next(0.8))
        self.assert_echo(conn)
        conn.close()

    def test_one_byte_at_a_time_does_not_win_time(self):
        self.serve(cereus__handshake__timeout='500ms')
        for transport, stream in (('tcp', wire.H0), ('ws', wire.ws_upgrade())):
            start = time.monotonic()
            conn = self.connect(transport, **({'upgrade': False} if transport == 'ws' else {}))
            for at in range(len(stream) - 1):
                conn.write(stream[at:at + 1])
                conn.fill(0.05)
                if conn.end:
                    break
            self.assertTrue(conn.end, 'a slow peer was never cut off')
            self.assertGreater(time.monotonic() - start, 0.4)

    def test_a_silent_peer_is_cut_off_after_two_to_three_heartbeats(self):
        self.serve({'heartbeat_s': 1})
        start = time.monotonic()
        conn = self.login()
        while not conn.end and time.monotonic() < start + BUSY_S:
            conn.fill(0.2)
            self.bystander.send(wire.HEARTBEAT_PACKET)
        self.assertTrue(conn.end)
        self.assertGreater(time.monotonic() - start, 1.9)


class WebSocketAbuse(BehaviourTest):
    def test_a_frame_longer_than_a_packet_is_refused_from_its_header(self):
        self.serve()
        before = self.server.memory_kib()
        for size in (17 * MIB, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1):
            conn = self.login('ws')
            conn.write(b'\x82\xff' + size.to_bytes(8, 'big') + b'\x01\x02\x03\x04' + b'x' * 100)
            self.assert_closed(conn, '%d bytes announced' % size, silently=False)
        self.assert_memory_below(before + 16 * 1024)

    def test_fragments_without_end_are_cut_off(self):
        self.serve(cereus__packet__max='1MiB')
        before = self.server.memory_kib()
        conn = self.login('ws')
        conn.send_frame(b'\x04\x0f\xff\xff', fin=False)
        piece = wire.ws_frame(b'x' * 65536, opcode=wire.WS_CONT, fin=False)
        for _ in range(256):
            if not conn.write(piece):
                break
        self.assert_closed(conn, silently=False)
        self.assert_memory_below(before + 24 * 1024)

    def test_empty_fragments_cost_nothing(self):
        self.serve()
        before = self.server.memory_kib()
        conn = self.login('ws')
        conn.send_frame(wire.HEARTBEAT_PACKET[:2], fin=False)
        empty = wire.ws_frame(b'', opcode=wire.WS_CONT, fin=False) * 1000
        for _ in range(50):
            if not conn.write(empty):
                break
        conn.send_frame(wire.HEARTBEAT_PACKET[2:], opcode=wire.WS_CONT)
        if not conn.end:
            conn.call('test.echo', b'x', timeout=BUSY_S)
        self.assert_memory_below(before + 8 * 1024)
        conn.close()

    def test_pings_whose_answers_nobody_reads_are_bounded(self):
        self.serve({'write_timeout_s': 1}, cereus__outbox__bytes='64KiB')
        before = self.server.memory_kib()
        conn = self.login('ws', receive_buffer=4096)
        pings = wire.ws_frame(b'p' * 125, opcode=wire.WS_PING) * 500
        start = time.monotonic()
        try:
            for _ in range(200):
                if not conn.write(pings, timeout=3):
                    break
        except TimeoutError:
            pass  # it stopped reading from us
        self.assert_served()
        self.assert_memory_below(before + 16 * 1024)
        self.assertLess(time.monotonic() - start, BUSY_S)
        conn.close()

    def test_an_upgrade_without_end_is_cut_off(self):
        self.serve()
        before = self.server.memory_kib()
        conn = self.connect('ws', upgrade=False)
        conn.write(b'GET / HTTP/1.1\r\n')
        for _ in range(200):
            if not conn.write(b'X-Filler: ' + b'y' * 5000 + b'\r\n'):
                break
        self.assert_closed(conn, silently=False)
        self.assert_memory_below(before + 8 * 1024)


if __name__ == '__main__':
    main()
