"""Peers that do not take what they are sent, and peers that go away in the middle of it. Nobody else may notice."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'support'))
import cereus_wire as wire  # noqa: E402
from cereus_behaviour import BUSY_S, BehaviourTest, main  # noqa: E402


class SlowReaders(BehaviourTest):
    def bound(self, uid, transport='tcp'):
        """A peer that is known as uid and will not read."""
        conn = self.login(transport, receive_buffer=4096)
        self.assertEqual(conn.call('test.bind', uid).body, b'bound')
        return conn

    def push_until_refused(self, uid, count, body=b'p' * 32768):
        """Push to uid, looking after the bystander in between. Returns how many were taken before one was not."""
        sender = self.login()
        for i in range(count):
            m = sender.call('test.pushto', uid + b'|onbig|' + body, i + 1, BUSY_S)
            self.assertIsNotNone(m, 'the sender got no answer')
            if m.error:
                sender.close()
                return i
            if i % 10 == 0:
                self.assert_served()
        sender.close()
        return count

    def disconnected_when_full(self, transport):
        self.serve(cereus__outbox__bytes='256KiB', cereus__outbox__policy='disconnect')
        before = self.server.memory_kib()
        slow = self.bound(b'slow', transport)
        # what the kernel takes on both sides comes on top of the outbox
        self.assertLess(self.push_until_refused(b'slow', 1000), 1000, 'the outbox has no limit')
        self.assert_sessions(1)
        self.assert_memory_below(before + 16 * 1024)
        slow.close()

    def test_a_peer_that_stops_reading_is_disconnected_when_its_outbox_is_full(self):
        self.disconnected_when_full('tcp')

    def test_a_websocket_that_stops_reading_is_disconnected_when_its_outbox_is_full(self):
        self.disconnected_when_full('ws')

    def test_a_peer_that_stops_reading_can_lose_pushes_instead(self):
        self.serve({'write_timeout_s': 60}, cereus__outbox__bytes='256KiB', cereus__outbox__policy='drop')
        slow = self.bound(b'slow')
        self.push_until_refused(b'slow', 600)
        self.assert_sessions(2)
        # It reads again: whole packets only, and it is served.
        slow.send(wire.request(99, 'test.echo', b'back'))
        pushes = 0
        while True:
            m = slow.wait_message(BUSY_S)
            self.assertIsNotNone(m, 'the stream broke off')
            if m.type == wire.RESPONSE:
                break
            self.assertEqual((m.route, len(m.body)), (b'onbig', 32768))
            pushes += 1
        self.assertEqual((m.id, m.body), (99, b'back'))
        self.assertGreater(pushes, 0)
        self.assertLess(pushes, 600, 'nothing was dropped')
        slow.close()

    def test_a_peer_that_takes_no_byte_is_disconnected_after_the_write_timeout(self):
        self.serve({'write_timeout_s': 0.5}, cereus__outbox__bytes='64MiB')
        slow = self.login(receive_buffer=4096)
        start = time.monotonic()
        slow.send(wire.request(1, 'test.big', b'a:16000000'))
        self.assert_sessions(1)
        self.assertGreater(time.monotonic() - start, 0.4)
        self.assertLess(time.monotonic() - start, BUSY_S)
        slow.close()

    def test_requests_whose_answers_nobody_reads_are_bounded(self):
        self.serve({'write_timeout_s': 2}, cereus__outbox__bytes='256KiB')
        before = self.server.memory_kib()
        slow = self.login(receive_buffer=4096)
        flood = b''.join(wire.request(i, 'test.echo', b'e' * 1000) for i in range(1, 201))
        try:
            for _ in range(150):  # 30 MB
                if not slow.write(flood, timeout=4):
                    break
        except TimeoutError:
            pass  # it stopped reading from us
        self.assert_served()
        self.assert_memory_below(before + 24 * 1024)
        self.assert_sessions(1)
        slow.close()

    def test_few_bytes_asking_for_much_are_bounded(self):
        self.serve({'write_timeout_s': 2}, cereus__outbox__bytes='256KiB')
        before = self.server.memory_kib()
        slow = self.login(receive_buffer=4096)
        slow.send(b''.join(wire.request(i, 'test.big', b'a:1000000') for i in range(1, 301)))  # 300 MB asked for
        self.assert_served()
        self.assert_sessions(1)
        self.assert_memory_below(before + 32 * 1024)
        slow.close()

    def test_large_replies_to_a_peer_that_reads_all_arrive(self):
        self.serve(cereus__outbox__bytes='256KiB')
        conn = self.login()
        for size in (100000, 200000, 1000000):  # below half of the outbox, above it, above all of it
            conn.send(b''.join(wire.request(i, 'test.big', b'a:%d' % size) for i in range(1, 101)))
            for i in range(1, 101):
                m = conn.wait_message(BUSY_S)
                self.assertIsNotNone(m, 'answer %d of %d bytes is missing' % (i, size))
                self.assertEqual((m.id, len(m.body)), (i, size))
        conn.close()

    def test_a_slow_handler_holds_up_only_its_own_session(self):
        self.serve()
        conn = self.login()
        conn.send(wire.request(1, 'test.slow', b'3000') + wire.request(2, 'test.echo', b'after'))
        for _ in range(20):
            self.assert_served()
        self.assertIsNone(conn.wait_message(0.01), 'the others were served when the slow one was done')
        self.assertEqual([conn.wait_message(BUSY_S).body for _ in range(2)], [b'slept', b'after'])
        conn.close()


class Goodbyes(BehaviourTest):
    def test_a_half_closed_peer_is_closed_in_the_end(self):
        self.serve()
        for route, arg in (('test.echo', b'x'), ('test.slow', b'200')):
            conn = self.login()
            conn.send(wire.request(1, route, arg))
            conn.shutdown_write()
            self.assert_closed(conn, route, silently=False)
            packets, rest = wire.split_packets(bytes(conn.buf))
            self.assertEqual(rest, b'', 'a torn packet')
            self.assertLessEqual(len(packets), 1)

    def test_a_peer_half_closed_from_the_start_is_closed(self):
        self.serve()
        for sent in (b'', wire.H0[:30], wire.H0):
            conn = self.connect()
            conn.write(sent)
            conn.shutdown_write()
            self.assert_closed(conn, silently=False)

    def test_peers_that_reset_in_the_middle_of_anything_leave_nothing(self):
        self.serve()
        for i in range(100):
            conn = self.login()
            conn.send((b'', wire.request(1, 'test.slow', b'50'), wire.request(1, 'test.big', b'a:8000000'),
                       b'\x04\x10\x00\x00half', wire.request(1, 'test.bind', b'same') * 2)[i % 5])
            conn.close(reset=True)
        self.assert_served()
        self.assert_sessions(1)

    def test_a_uid_is_free_again_when_its_peer_is_gone(self):
        self.serve()
        for _ in range(50):
            conn = self.login()
            self.assertEqual(conn.call('test.bind', b'again').body, b'bound')
            conn.close(reset=True)

    def test_peers_that_take_a_uid_from_each_other_leave_one(self):
        self.serve()
        conns = [self.login() for _ in range(20)]
        for conn in conns:
            conn.send(wire.request(1, 'test.bind', b'wanted'))
        self.assert_sessions(2)
        alive = []
        for conn in conns:
            m = conn.call('test.uid', b'', 2, BUSY_S)
            if m is not None and not m.error:
                alive.append(m.body)
        self.assertEqual(alive, [b'wanted'])
        for conn in conns:
            conn.close()

    def test_a_server_that_ends_closes_everybody_and_waits_for_nobody(self):
        self.serve()
        conns = [self.login('ws' if i % 2 else 'tcp') for i in range(20)]
        conns[0].send(wire.request(1, 'test.slow', b'60000'))
        start = time.monotonic()
        problem = self.server.stop()
        self.assertIsNone(problem, problem)
        self.assertLess(time.monotonic() - start, BUSY_S)
        for conn in conns:
            self.assertTrue(conn.wait_close(BUSY_S))
        del self.server  # it has ended: nothing more to look at


if __name__ == '__main__':
    main()
