"""What players say stays out of the log."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'support'))
import cereus_wire as wire  # noqa: E402
from cereus_behaviour import BUSY_S, BehaviourTest, main  # noqa: E402

SECRET = b'my-secret-password'


class Logs(BehaviourTest):
    def whisper(self, transport):
        """The secret in every place where a client may put one, and the end of the connection in every way."""
        routes = ('test.echo', 'test.typed', 'test.err', 'test.errplain', 'test.nilraw', 'test.note', 'test.nowhere',
                  'test.badreturn', 'test.panicstr', 'other.test.echo', 'test.bind')
        bodies = (SECRET, b'{"msg":"' + SECRET + b'"}', b'{"msg":' + SECRET, b'{"' + SECRET + b'":1}', b'\xff' + SECRET)
        conn = self.login(transport)
        for i, route in enumerate(routes):
            for j, body in enumerate(bodies):
                self.assertIsNotNone(conn.call(route, body, 1 + i * len(bodies) + j, BUSY_S), route)
                conn.send(wire.notify(route, body))
        conn.close()
        hello = b'{"sys":{"clientVersion":"%s"},"user":{"token":"%s"}}' % (SECRET, SECRET)
        for last in (wire.packet(wire.DATA, b'\x0e' + SECRET),            # a message that does not decode
                     wire.packet(9, SECRET),                              # a packet of no type
                     wire.packet(wire.HANDSHAKE, b'{"sys":' + SECRET),    # a handshake that is refused
                     wire.packet(wire.DATA, b'\x10\x01\x09test.echo' + SECRET)):  # a body that does not inflate
            conn = self.connect(transport)
            conn.handshake(wire.packet(wire.HANDSHAKE, hello), timeout=BUSY_S)
            conn.send(last)
            self.assert_closed(conn, silently=False)

    def assert_secret(self):
        lines = [line for line in self.server.errors().splitlines() if SECRET.decode() in line]
        self.assertEqual(lines, [])

    def test_no_body_is_logged(self):
        self.serve()
        for transport in ('tcp', 'ws'):
            self.whisper(transport)
        self.assert_served()
        self.assertIn('level=info', self.server.errors())  # it does log
        self.assert_secret()

    def test_nor_one_that_the_rate_limit_drops(self):
        self.serve(cereus__ratelimit__enabled='true', pitaya__conn__ratelimiting__limit='10')
        conn = self.login()
        conn.send(b''.join(wire.request(i, 'test.echo', SECRET) for i in range(1, 50)))
        conn.send(b''.join(wire.notify('test.note', SECRET) for _ in range(50)))
        for _ in range(8):  # handshake and ack took two
            self.assertEqual(conn.wait_message(BUSY_S).body, SECRET)
        self.assertIn('rate limit exceeded', self.server.errors())
        self.assert_secret()
        conn.close()
        self.bystander.close()  # the limit is its, too
        self.assertIsNone(self.server.stop())
        del self.server


if __name__ == '__main__':
    main()
