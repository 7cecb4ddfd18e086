"""What a server says to NATS and to etcd: proxies that stand before the real ones and keep what they carry, in the form of the
recordings in tests/vectors/cluster. A line of a recording is a dict with 'op', 'conn', a number here, and 'at', when that was.
"""
import ctypes
import json
import re
import socket
import threading
import time

from cereus_wire import pb_raw


class Recorder:
    """A TCP proxy on a free port. Each connection has a parser of its own for what the client sends; `lines` is the record."""

    def __init__(self, upstream, parser):
        self.upstream, self.parser = upstream, parser
        self.lines = []
        self.changed = threading.Condition()
        self.socks = set()
        self.conn_count = self.refused = 0
        self.listener = socket.create_server(('127.0.0.1', 0), backlog=64)
        self.address = '127.0.0.1:%d' % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return  # closed
            host, port = self.upstream.rsplit(':', 1)
            try:
                server = socket.create_connection((host, int(port)), 20)
            except OSError:
                client.close()  # as if the port were dead
                with self.changed:
                    self.refused += 1
                    self.changed.notify_all()
                continue
            server.settimeout(None)
            for s in (client, server):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.changed:
                self.socks |= {client, server}
                self.conn_count += 1
                parser = self.parser(self, self.conn_count)
            threading.Thread(target=self.carry, args=(client, server, parser.feed), daemon=True).start()
            threading.Thread(target=self.carry, args=(server, client, parser.answer), daemon=True).start()

    def carry(self, source, to, tap):
        try:
            while data := source.recv(1 << 16):
                if tap:
                    tap(data)  # before it goes on: what is recorded comes before what it causes
                to.sendall(data)
        except OSError:
            pass
        for s in (source, to):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the other direction did it
        with self.changed:
            self.socks -= {source}
        source.close()

    def add(self, **line):
        with self.changed:
            self.lines.append({**line, 'at': time.monotonic()})
            self.changed.notify_all()

    def wait(self, wanted, since=0, timeout=30):
        """The first line from `since` on that is `wanted`, or None."""
        deadline = time.monotonic() + timeout
        at = since
        with self.changed:
            while True:
                while at < len(self.lines):
                    if wanted(self.lines[at]):
                        return self.lines[at]
                    at += 1
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self.changed.wait(left)

    def close(self):
        self.listener.close()
        with self.changed:
            socks, self.socks = self.socks, set()
        for s in socks:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


# -- NATS --

class NatsLines:
    """CONNECT, SUB, UNSUB and PUB of one connection."""
    answer = None

    def __init__(self, recorder, conn):
        self.recorder, self.conn = recorder, conn
        self.buf = bytearray()
        self.subjects = {}

    def feed(self, data):
        self.buf += data
        while self.take():
            pass

    def take(self):
        end = self.buf.find(b'\r\n')
        if end < 0:
            return False
        words = self.buf[:end].decode().split(' ')
        op, rest, used = words[0].upper(), [w for w in words[1:] if w], end + 2
        if op in ('PUB', 'HPUB'):
            size = int(rest[-1])
            if len(self.buf) < used + size + 2:
                return False
            payload = bytes(self.buf[used:used + size])
            used += size + 2
            numbers = 2 if op == 'HPUB' else 1
            reply = rest[1] if len(rest) > 1 + numbers else ''
            self.recorder.add(conn=self.conn, op=op, subject=rest[0], reply=reply, payload=payload)
        elif op == 'SUB':
            self.subjects[rest[-1]] = rest[0]
            self.recorder.add(conn=self.conn, op=op, subject=rest[0])
        elif op == 'UNSUB':
            self.recorder.add(conn=self.conn, op=op, subject=self.subjects.get(rest[0], ''))
        elif op == 'CONNECT':
            self.recorder.add(conn=self.conn, op=op, json=json.loads(' '.join(words[1:])))
        del self.buf[:used]
        return True


class NatsClient:
    """A raw client: it publishes what it is told, and hears what it has subscribed to without a word."""

    def __init__(self, url):
        host, port = url.split('://', 1)[1].rsplit(':', 1)
        self.sock = socket.create_connection((host, int(port)), 20)
        self.sock.settimeout(None)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.sendall(b'CONNECT {"verbose":false,"pedantic":false,"echo":false}\r\n')
        self.lock = threading.Lock()
        self.sids = {}
        self.next_sid = 0
        self.pongs = threading.Semaphore(0)
        threading.Thread(target=self.stay, daemon=True).start()

    def stay(self):
        tail = b''
        try:
            while data := self.sock.recv(1 << 16):
                text = tail + data
                for word in re.findall(rb'(?:^|\n)(PING|PONG)\r(?=\n)', text):
                    if word == b'PING':
                        self.send(b'PONG\r\n')
                    else:
                        self.pongs.release()
                tail = text[-5:] if not text.endswith(b'\r\n') else b''
        except OSError:
            pass  # closed

    def send(self, data):
        with self.lock:
            self.sock.sendall(data)

    def flush(self):
        """What was sent has been seen by the server."""
        self.send(b'PING\r\n')
        if not self.pongs.acquire(timeout=30):
            raise RuntimeError('NATS does not answer')

    def subscribe(self, *subjects):
        for subject in subjects:
            if subject not in self.sids:
                self.next_sid += 1
                self.sids[subject] = self.next_sid
                self.send(b'SUB %s %d\r\n' % (subject.encode(), self.next_sid))
        self.flush()

    def unsubscribe(self, *subjects):
        for subject in subjects:
            sid = self.sids.pop(subject, None)
            if sid:
                self.send(b'UNSUB %d\r\n' % sid)
        self.flush()

    def publish(self, subject, payload, reply=''):
        self.send(b'PUB %s %s%d\r\n%s\r\n' % (subject.encode(), (reply + ' ').encode() if reply else b'', len(payload), payload))

    def close(self):
        self.sock.close()


# -- etcd --

class Nv(ctypes.Structure):
    _fields_ = [('name', ctypes.c_void_p), ('value', ctypes.c_void_p), ('name_len', ctypes.c_size_t),
                ('value_len', ctypes.c_size_t), ('flags', ctypes.c_uint8)]


class Hpack:
    """Header blocks, read by the library that our servers use, too."""
    lib = None

    def __init__(self):
        if Hpack.lib is None:
            Hpack.lib = ctypes.CDLL('libnghttp2.so.14')
            Hpack.lib.nghttp2_hd_inflate_hd2.restype = ctypes.c_ssize_t
        self.inflater = ctypes.c_void_p()
        if self.lib.nghttp2_hd_inflate_new(ctypes.byref(self.inflater)):
            raise MemoryError

    def __del__(self):
        if self.inflater:
            self.lib.nghttp2_hd_inflate_del(self.inflater)

    def headers(self, block):
        out, nv, flags = {}, Nv(), ctypes.c_int(0)
        data = ctypes.create_string_buffer(block, len(block))
        at = 0
        while True:
            flags.value = 0
            used = self.lib.nghttp2_hd_inflate_hd2(self.inflater, ctypes.byref(nv), ctypes.byref(flags),
                                                   ctypes.byref(data, at), ctypes.c_size_t(len(block) - at), 1)
            if used < 0:
                raise ValueError('headers that are none: %d' % used)
            at += used
            if flags.value & 2:  # one was emitted
                out[ctypes.string_at(nv.name, nv.name_len).decode()] = ctypes.string_at(nv.value, nv.value_len).decode()
            if flags.value & 1:  # the end
                self.lib.nghttp2_hd_inflate_end_headers(self.inflater)
                return out
            if not flags.value and at == len(block):
                return out


def pb_varint(value):
    out = bytearray()
    value &= (1 << 64) - 1
    while value > 0x7f:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def pb_write(fields):
    out = bytearray()
    for number, kind, value in fields:
        out += pb_varint(number << 3 | kind)
        out += pb_varint(value) if kind == 0 else pb_varint(len(value)) + value
    return bytes(out)


def signed(value):
    return value - (1 << 64) if value >> 63 else value


def plain(data, names):
    """Fields by their names: {number: (name, default)}; a default that is a dict is a message of such names, in a list many."""
    out = {}
    for number, (name, default) in names.items():
        out[name] = {} if isinstance(default, dict) else [] if isinstance(default, list) else default
    present = set()
    for number, _, value in pb_raw(data):
        name, default = names[number]
        present.add(name)
        if isinstance(default, dict):
            out[name] = plain(value, default)
        elif isinstance(default, list):
            out[name].append(plain(value, default[0]))
        elif isinstance(default, str):
            out[name] = value.decode()
        elif isinstance(default, bool):
            out[name] = bool(value)
        else:
            out[name] = signed(value)
    return {k: v for k, v in out.items() if k in present or not isinstance(v, (dict, list))}


KEYS = {1: ('key', ''), 2: ('range_end', '')}
RANGE = {**KEYS, 3: ('limit', 0), 4: ('revision', 0), 5: ('sort_order', 0), 6: ('sort_target', 0), 7: ('serializable', False),
         8: ('keys_only', False), 9: ('count_only', False)}
PUT = {1: ('key', ''), 2: ('value', ''), 3: ('lease', 0)}
COMPARE = {1: ('op', 0), 2: ('target', 0), 3: ('key', ''), 4: ('version', 0), 5: ('create_revision', 0)}
REQUEST_OP = {1: ('range', RANGE), 2: ('put', PUT), 3: ('delete', {**KEYS, 3: ('prev_kv', False)})}
MESSAGES = {
    '/etcdserverpb.KV/Range': RANGE,
    '/etcdserverpb.KV/Put': PUT,
    '/etcdserverpb.KV/Txn': {1: ('if', [COMPARE]), 2: ('then', [REQUEST_OP]), 3: ('else', [REQUEST_OP])},
    '/etcdserverpb.Lease/LeaseGrant': {1: ('ttl_seconds', 0), 2: ('id', 0)},
    '/etcdserverpb.Lease/LeaseRevoke': {1: ('id', 0)},
    '/etcdserverpb.Lease/LeaseKeepAlive': {1: ('id', 0)},
    '/etcdserverpb.Lease/LeaseTimeToLive': {1: ('id', 0), 2: ('keys', False)},
    '/etcdserverpb.Watch/Watch': {
        1: ('create', {**KEYS, 3: ('start_revision', 0), 4: ('progress_notify', False), 5: ('filters', 0),
                       6: ('prev_kv', False), 7: ('watch_id', 0), 8: ('fragment', False)}),
        2: ('cancel', {1: ('watch_id', 0)}), 3: ('progress', {})},
    '/etcdserverpb.Auth/Authenticate': {1: ('name', ''), 2: ('password', '')},
}
OPS = {0: 'EQUAL', 1: 'GREATER', 2: 'LESS', 3: 'NOT_EQUAL'}
TARGETS = {0: 'VERSION', 1: 'CREATE', 2: 'MOD', 3: 'VALUE', 4: 'LEASE'}


def bare(value):
    """Without what has its zero value: recordings differ in which of these they name."""
    if isinstance(value, dict):
        return {k: bare(v) for k, v in value.items() if v not in (0, '', False, None, [], {}) or k == 'create_revision'}
    return [bare(v) for v in value] if isinstance(value, list) else value


def etcd_request(method, data):
    request = plain(data, MESSAGES[method])
    for compare in request.get('if', []):
        compare['op'], compare['target'] = OPS[compare['op']], TARGETS[compare['target']]
    return bare(request)


class EtcdRequests:
    """The gRPC requests of one connection."""
    answer = None

    def __init__(self, recorder, conn):
        self.recorder, self.conn = recorder, conn
        self.buf = bytearray()
        self.preface = False
        self.hpack = Hpack()
        self.block, self.block_stream = b'', 0
        self.streams = {}  # id -> [method, bytes of messages]

    def feed(self, data):
        self.buf += data
        if not self.preface:
            if len(self.buf) < 24:
                return
            del self.buf[:24]
            self.preface = True
        while len(self.buf) >= 9:
            size = int.from_bytes(self.buf[:3], 'big')
            if len(self.buf) < 9 + size:
                return
            kind, flags, stream = self.buf[3], self.buf[4], int.from_bytes(self.buf[5:9], 'big') & 0x7fffffff
            body = bytes(self.buf[9:9 + size])
            del self.buf[:9 + size]
            self.frame(kind, flags, stream, body)

    def frame(self, kind, flags, stream, body):
        if kind in (0, 1) and flags & 8:  # padded
            body = body[1:len(body) - body[0]]
        if kind == 1:
            self.block, self.block_stream = body[5:] if flags & 0x20 else body, stream
        elif kind == 9:
            self.block += body
        elif kind == 0 and stream in self.streams:
            self.streams[stream][1] += body
            self.messages(self.streams[stream])
        if kind in (1, 9) and flags & 4:  # the headers are whole
            path = self.hpack.headers(self.block).get(':path')
            if path:
                self.streams[self.block_stream] = [path, bytearray()]

    def messages(self, stream):
        method, data = stream
        while len(data) >= 5:
            size = int.from_bytes(data[1:5], 'big')
            if len(data) < 5 + size:
                return
            message = bytes(data[5:5 + size])
            del data[:5 + size]
            if method in MESSAGES:
                self.recorder.add(conn=self.conn, op='request', method=method, request=etcd_request(method, message))
            else:
                self.recorder.add(conn=self.conn, op='request', method=method, request={'hex': message.hex()})
