"""A crowd of thousands, over TCP and WebSocket, that asks and asks while the server is told to stop: it ends with 0 and in
time, all connections are closed in an orderly way (no reset), what handlers answered has arrived, and each session's close
callback has run once.

The server's path comes from SHUTDOWN_SERVER, the size of the crowd from SHUTDOWN_CLIENTS.
"""
import os
import re
import resource
import select
import socket
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'support'))
import cereus_wire as wire  # noqa: E402

TIMEOUT_S = 60  # the server's own, and how long the crowd may take for anything
ROUTES = ('here.echo', 'here.nap', 'one.echo', 'one.nap')


class Peer:
    """Asks again whenever it has been answered, until the server closes."""
    __slots__ = ('sock', 'ws', 'ask', 'buf', 'upgraded', 'answers')

    def __init__(self, address, ws, route):
        self.sock = socket.create_connection(address)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.ws, self.upgraded, self.buf, self.answers = ws, not ws, b'', 0
        wrap = wire.ws_frame if ws else bytes
        self.ask = wrap(wire.request(1, route, b'x'))
        self.sock.sendall((wire.ws_upgrade() if ws else b'') + wrap(wire.H0) + wrap(wire.ACK_PACKET) + self.ask)
        self.sock.setblocking(False)

    def packets(self, data):
        """The types of the whole packets in what has come."""
        data, at, types = self.buf + data, 0, []
        if not self.upgraded:
            at = data.find(b'\r\n\r\n') + 4
            if at < 4:
                self.buf = data
                return types
            assert data.startswith(b'HTTP/1.1 101 '), data
            self.upgraded = True
        while True:
            head = at
            if self.ws:
                if len(data) < at + 4:
                    break
                if data[at] != 0x82:  # a close frame
                    break
                head += 2 if data[at + 1] < 126 else 4
            if len(data) < head + 4:
                break
            end = head + 4 + int.from_bytes(data[head + 1:head + 4], 'big')
            if len(data) < end:
                break
            types.append(data[head])
            at = end
        self.buf = data[at:]
        return types


class Crowd:
    def __init__(self, server, count):
        self.poll = select.epoll()
        self.peers = {}
        self.resets = 0
        self.answers = 0
        addresses = [(host, int(port)) for host, port in
                     (server.addresses[kind].rsplit(':', 1) for kind in ('tcp', 'ws'))]
        for i in range(count):
            ws = i % 2
            peer = Peer(addresses[ws], ws, ROUTES[i // 2 % len(ROUTES)])
            self.peers[peer.sock.fileno()] = peer
            self.poll.register(peer.sock.fileno(), select.EPOLLIN)

    def turn(self):
        for fd, _ in self.poll.poll(1, 1000):
            peer = self.peers[fd]
            try:
                data = peer.sock.recv(65536)
            except ConnectionResetError:
                self.resets += 1
                data = b''
            if not data:
                self.leave(fd)
                continue
            answered = peer.packets(data).count(wire.DATA)
            peer.answers += answered
            self.answers += answered
            if answered:
                try:
                    peer.sock.send(peer.ask)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # it is closing: reading tells how

    def leave(self, fd):
        self.poll.unregister(fd)
        self.peers.pop(fd).sock.close()

    def until(self, done, what):
        deadline = time.monotonic() + TIMEOUT_S
        while not done():
            assert time.monotonic() < deadline, 'waited too long for ' + what
            self.turn()

    def close(self):
        for fd in list(self.peers):
            self.leave(fd)
        self.poll.close()


class Shutdown(unittest.TestCase):
    def test_a_talking_crowd_is_closed_in_an_orderly_way(self):
        count = int(os.environ['SHUTDOWN_CLIENTS'])
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.assertGreater(hard, count + 200, 'too few file descriptors: raise ulimit -Hn')
        server = wire.Server([os.environ['SHUTDOWN_SERVER'], '--cereus.shutdown.timeout=%ds' % TIMEOUT_S,
                              '--cereus.handshake.timeout=%ds' % TIMEOUT_S, '--cereus.watchdog.threshold=0s',
                              '--pitaya.handler.messages.compression=false'])
        self.addCleanup(server.stderr.close)
        self.addCleanup(server.kill)
        crowd = Crowd(server, count)
        self.addCleanup(crowd.close)
        crowd.until(lambda: all(p.answers > 1 for p in crowd.peers.values()), 'two answers for everybody')
        self.assertEqual(len(crowd.peers), count)
        server.proc.terminate()
        crowd.until(lambda: not crowd.peers, 'the end of all connections')
        self.assertEqual(server.proc.wait(TIMEOUT_S), 0, server.errors()[-3000:])
        said = server.proc.stdout.read().decode()
        errors = server.errors()
        self.assertNotIn('connections are cut', errors)
        self.assertIsNone(wire.SANITIZER.search(errors), errors[-3000:])
        end = {key: int(value) for key, value in re.findall(r'(\w+)=(\d+)', said)}
        print('%d clients, %d answers, %s' % (count, crowd.answers, said.strip()))
        self.assertEqual(end['opened'], count)
        self.assertEqual(end['closed'], count)
        self.assertEqual(crowd.resets, 0)
        self.assertEqual(crowd.answers, end['replied'])  # all that was said has arrived
        self.assertEqual((end['replied'], end['dropped']), (end['answered'], 0))


if __name__ == '__main__':
    unittest.main(verbosity=2)
