"""A TCP proxy that stands between a server under test and one that it needs, and is broken in the ways of networks: cut (what
is open is reset, what is new is reset, too), stalled (nothing passes and nothing is closed, as when a cable is out or a host
is gone), slow. Each of these holds when the call returns, and the bytes that had come before have been passed on or never are.
"""
import selectors
import socket
import struct
import threading
import time

WAITING_MAX = 1 << 20  # bytes that one direction keeps before it reads no more


class Pipe:
    """One direction of a connection."""

    def __init__(self, source, target):
        self.source, self.target = source, target
        self.chunks = []  # (when it is due, bytes); b'': the end
        self.waiting = 0
        self.read_all = False


class Proxy:
    """upstream: HOST:PORT, may be changed at any time; counts from the next connection on."""

    def __init__(self, upstream):
        self.upstream = upstream
        self.listener = socket.create_server(('127.0.0.1', 0), backlog=128)
        self.listener.setblocking(False)
        self.address = '127.0.0.1:%d' % self.listener.getsockname()[1]
        self.mode, self.delay_s = 'pass', 0
        self.accepted = 0
        self.pairs, self.stranded = [], []
        self.orders = []
        self.wake_reader, self.wake_writer = socket.socketpair()
        self.wake_reader.setblocking(False)
        self.lock = threading.Lock()
        self.ended = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    # -- what tests ask for --

    def cut(self):
        """Reset what is open and whatever comes."""
        self.order(self.do_cut)

    def stall(self):
        """Nothing passes, in either direction; who connects is not heard."""
        self.order(self.do_mode, 'stall', 0)

    def strand(self):
        """What is open now is never heard of again, and not closed; new connections pass."""
        self.order(self.do_strand)

    def slow(self, delay_s):
        """All that passes takes so long, each way."""
        self.order(self.do_mode, 'pass', delay_s)

    def restore(self):
        """What was stalled goes on where it was."""
        self.order(self.do_mode, 'pass', 0)

    def connections(self):
        """How many are open."""
        found = []
        self.order(lambda: found.append(len(self.pairs)))
        return found[0]

    def stop(self):
        if self.ended:
            return
        self.order(self.do_end)
        self.thread.join()
        for sock in (self.listener, self.wake_reader, self.wake_writer):
            sock.close()

    # -- the thread --

    def order(self, what, *args):
        done = threading.Event()
        with self.lock:
            self.orders.append((what, args, done))
        self.wake_writer.send(b'x')
        if not done.wait(60):
            raise RuntimeError('the proxy does not answer')

    def do_mode(self, mode, delay_s):
        self.mode, self.delay_s = mode, delay_s

    def do_cut(self):
        self.mode = 'cut'
        for pair in self.pairs + self.stranded:
            self.drop(pair)
        self.stranded = []

    def do_strand(self):
        self.stranded += self.pairs
        self.pairs = []

    def do_end(self):
        self.do_cut()
        self.ended = True

    def drop(self, pair):
        """Both ends are reset."""
        if pair in self.pairs:
            self.pairs.remove(pair)
        for pipe in pair:
            reset(pipe.source)

    def accept(self):
        try:
            client, _ = self.listener.accept()
        except OSError:
            return
        self.accepted += 1
        if self.mode == 'cut':
            reset(client)
            return
        host, port = self.upstream.rsplit(':', 1)
        try:
            server = socket.create_connection((host, int(port)), 5)
        except OSError:
            reset(client)
            return
        for sock in (client, server):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pairs.append((Pipe(client, server), Pipe(server, client)))

    def read(self, pair, pipe):
        try:
            data = pipe.source.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            self.drop(pair)
            return
        pipe.read_all = not data
        pipe.chunks.append((time.monotonic() + self.delay_s, data))
        pipe.waiting += len(data)

    def write(self, pair, pipe):
        """What is due; False: the pair is gone."""
        while pipe.chunks and pipe.chunks[0][0] <= time.monotonic():
            due, data = pipe.chunks[0]
            try:
                if not data:
                    pipe.target.shutdown(socket.SHUT_WR)
                    pipe.chunks.pop(0)
                    continue
                sent = pipe.target.send(data)
            except BlockingIOError:
                return True
            except OSError:
                self.drop(pair)
                return False
            pipe.waiting -= sent
            if sent < len(data):
                pipe.chunks[0] = (due, data[sent:])
                return True
            pipe.chunks.pop(0)
        if all(p.read_all and not p.chunks for p in pair):
            self.pairs.remove(pair)
            for p in pair:
                p.source.close()
            return False
        return True

    def interests(self):
        """What each socket is waited for, and the seconds until something is due."""
        wanted, wait = {}, None
        for pair in self.pairs:
            for pipe in pair:
                if not pipe.read_all and pipe.waiting < WAITING_MAX:
                    wanted.setdefault(pipe.source, [0, None, None])[0] |= selectors.EVENT_READ
                    wanted[pipe.source][1] = (pair, pipe)
                if not pipe.chunks:
                    continue
                left = pipe.chunks[0][0] - time.monotonic()
                if left > 0:
                    wait = left if wait is None else min(wait, left)
                else:
                    wanted.setdefault(pipe.target, [0, None, None])[0] |= selectors.EVENT_WRITE
                    wanted[pipe.target][2] = (pair, pipe)
        return wanted, wait

    def turn(self):
        wanted, wait = self.interests() if self.mode != 'stall' else ({}, None)
        with selectors.PollSelector() as selector:
            selector.register(self.wake_reader, selectors.EVENT_READ)
            if self.mode != 'stall':
                selector.register(self.listener, selectors.EVENT_READ)
            for sock, (events, reading, writing) in wanted.items():
                selector.register(sock, events, (reading, writing))
            ready = selector.select(wait)
        if any(key.fileobj is self.wake_reader for key, _ in ready):
            self.take_orders()
            return  # what was ready may have been closed
        for key, events in ready:
            if key.fileobj is self.listener:
                self.accept()
                continue
            reading, writing = key.data
            if writing and events & selectors.EVENT_WRITE and writing[0] in self.pairs:
                self.write(*writing)
            if reading and events & selectors.EVENT_READ and reading[0] in self.pairs:
                self.read(*reading)
                if reading[0] in self.pairs:
                    self.write(*reading)

    def take_orders(self):
        try:
            self.wake_reader.recv(4096)
        except BlockingIOError:
            pass
        with self.lock:
            orders, self.orders = self.orders, []
        for what, args, done in orders:
            what(*args)
            done.set()

    def run(self):
        while not self.ended:
            self.turn()


def reset(sock):
    """Close it as one who is gone does: the peer gets a reset."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    except OSError:
        pass  # it has gone already
    sock.close()
