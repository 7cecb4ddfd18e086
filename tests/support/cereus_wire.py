"""What the Python tests share: packets, messages and WebSocket frames of the client protocol, connections that speak
them, and servers under test. Standard library only. Blocking sockets with a time limit on every wait; a test that wants
many connections at once uses threads.

Everything here sends what it is told to, right or wrong: these are the clumsy and the hostile peers.
"""
import base64
import collections
import hashlib
import json
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time
import zlib

HANDSHAKE, ACK, HEARTBEAT, DATA, KICK = 1, 2, 3, 4, 5
REQUEST, NOTIFY, RESPONSE, PUSH = 0, 1, 2, 3
TYPE_NAMES = {REQUEST: 'request', NOTIFY: 'notify', RESPONSE: 'response', PUSH: 'push'}
FLAG_CODE, FLAG_GZIP, FLAG_ERROR = 0x01, 0x10, 0x20
BODY_MAX = 0xffffff


class Malformed(ValueError):
    """Bytes that break the protocol."""


# -- packets --

def packet(type_, body=b''):
    return bytes([type_]) + len(body).to_bytes(3, 'big') + body


H0_JSON = (b'{"sys":{"platform":"mac","libVersion":"0.3.5-release","clientBuildNumber":"20","clientVersion":"2.1"},'
           b'"user":{"age":30}}')
H0 = packet(HANDSHAKE, H0_JSON)
ACK_PACKET = packet(ACK)
HEARTBEAT_PACKET = packet(HEARTBEAT)


def take_packet(buf):
    """The first packet's bytes in buf, header included, or None when more is needed."""
    if len(buf) < 4:
        return None
    end = 4 + int.from_bytes(buf[1:4], 'big')
    return bytes(buf[:end]) if len(buf) >= end else None


def split_packets(data):
    """(list of (type, body), rest that is no whole packet)."""
    packets, at = [], 0
    while len(data) - at >= 4:
        end = at + 4 + int.from_bytes(data[at + 1:at + 4], 'big')
        if end > len(data):
            break
        packets.append((data[at], data[at + 4:end]))
        at = end
    return packets, data[at:]


# -- messages --

Message = collections.namedtuple('Message', 'type id route code error gzip body')


def varint(value):
    out = bytearray()
    while value > 0x7f:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def message(type_, id_, route, body=b'', flags=0):
    out = bytearray([type_ << 1 | flags])
    if type_ in (REQUEST, RESPONSE):
        out += varint(id_)
    if type_ != RESPONSE:
        if isinstance(route, int):
            out[0] |= FLAG_CODE
            out += route.to_bytes(2, 'big')
        else:
            text = route if isinstance(route, bytes) else route.encode()
            out += bytes([len(text)]) + text
    return bytes(out) + body


def request(id_, route, body=b'', flags=0):
    return packet(DATA, message(REQUEST, id_, route, body, flags))


def notify(route, body=b'', flags=0):
    return packet(DATA, message(NOTIFY, 0, route, body, flags))


def inflate(data):
    d = zlib.decompressobj()
    out = d.decompress(data)
    if not d.eof:
        raise Malformed('zlib stream is cut off')
    return out


def decode_message(data):
    """A message as a server sends it. Raises Malformed."""
    try:
        flags, at = data[0], 1
        type_ = flags >> 1 & 7
        if type_ > PUSH:
            raise Malformed('message type %d' % type_)
        id_, route, code = 0, None, None
        if type_ in (REQUEST, RESPONSE):
            shift = 0
            while True:
                byte = data[at]
                at += 1
                id_ |= (byte & 0x7f) << shift
                shift += 7
                if byte < 0x80:
                    break
        if type_ != RESPONSE:
            if flags & FLAG_CODE:
                code = int.from_bytes(data[at:at + 2], 'big')
                at += 2
            else:
                end = at + 1 + data[at]
                route = bytes(data[at + 1:end])
                at = end
        if at > len(data):
            raise Malformed('message is cut off')
        body = bytes(data[at:])
        if flags & FLAG_GZIP:
            body = inflate(body)
        return Message(type_, id_, route, code, bool(flags & FLAG_ERROR), bool(flags & FLAG_GZIP), body)
    except (IndexError, zlib.error) as e:
        raise Malformed(str(e)) from e


# -- just enough Protobuf --

def pb_raw(data):
    """[(number, wire type, value)]: int for varints and fixed, bytes for length-delimited."""
    def number(at):
        value = shift = 0
        while True:
            if at >= len(data):
                raise Malformed('protobuf is cut off')
            value |= (data[at] & 0x7f) << shift
            shift += 7
            at += 1
            if data[at - 1] < 0x80:
                return value, at
    fields, at = [], 0
    while at < len(data):
        key, at = number(at)
        if key & 7 == 0:
            value, at = number(at)
        elif key & 7 == 2:
            size, at = number(at)
            value = bytes(data[at:at + size])
            at += size
        elif key & 7 in (1, 5):
            size = 8 if key & 7 == 1 else 4
            value = int.from_bytes(data[at:at + size], 'little')
            at += size
        else:
            raise Malformed('wire type %d' % (key & 7))
        if at > len(data):
            raise Malformed('protobuf is cut off')
        fields.append((key >> 3, key & 7, value))
    return fields


def pb_fields(data):
    """[(number, value)] of it."""
    return [(number, value) for number, _, value in pb_raw(data)]


def pb_error(data):
    """Protobuf Error as the dict that its JSON form would be."""
    out, metadata = {}, {}
    for number, value in pb_fields(data):
        if number in (1, 2):
            out['code' if number == 1 else 'msg'] = value.decode()
        elif number == 3:
            entry = dict(pb_fields(value))
            metadata[entry.get(1, b'').decode()] = entry.get(2, b'').decode()
    if metadata:
        out['metadata'] = metadata
    return out


# -- WebSocket --

WS_CONT, WS_TEXT, WS_BINARY, WS_CLOSE, WS_PING, WS_PONG = 0, 1, 2, 8, 9, 10
WS_KEY = 'dGhlIHNhbXBsZSBub25jZQ=='


def ws_upgrade(host='localhost', key=WS_KEY, more=''):
    return ('GET / HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: %s\r\n'
            'Sec-WebSocket-Version: 13\r\n%s\r\n' % (host, key, more)).encode()


def ws_accept(key=WS_KEY):
    return base64.b64encode(hashlib.sha1((key + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').encode()).digest()).decode()


def ws_frame(payload, opcode=WS_BINARY, fin=True, masked=True, rsv=0, mask=b'\x01\x02\x03\x04'):
    out = bytearray([(0x80 if fin else 0) | rsv | opcode])
    size = len(payload)
    bit = 0x80 if masked else 0
    if size < 126:
        out.append(bit | size)
    elif size < 65536:
        out += struct.pack('>BH', bit | 126, size)
    else:
        out += struct.pack('>BQ', bit | 127, size)
    if not masked:
        return bytes(out) + payload
    whole = (size + 3) // 4
    key = int.from_bytes(mask * whole, 'big') if size else 0
    body = int.from_bytes(payload + b'\0' * (whole * 4 - size), 'big') ^ key
    return bytes(out) + mask + body.to_bytes(whole * 4, 'big')[:size]


def take_ws_frame(buf):
    """(fin, opcode, payload, bytes used) of the first frame a server sent, or None. Raises Malformed."""
    if len(buf) < 2:
        return None
    head, size, at = buf[0], buf[1], 2
    if head & 0x70:
        raise Malformed('reserved bits in a frame')
    if size & 0x80:
        raise Malformed('a masked frame from the server')
    if size == 126:
        if len(buf) < 4:
            return None
        size, at = int.from_bytes(buf[2:4], 'big'), 4
        if size < 126:
            raise Malformed('frame length not minimal')
    elif size == 127:
        if len(buf) < 10:
            return None
        size, at = int.from_bytes(buf[2:10], 'big'), 10
        if size < 65536:
            raise Malformed('frame length not minimal')
    if len(buf) < at + size:
        return None
    return bool(head & 0x80), head & 0x0f, bytes(buf[at:at + size]), at + size


# -- connections --

Item = collections.namedtuple('Item', 'kind data at')
"""What a connection heard. kind: 'packet' (data: its bytes), 'ws' (data: (opcode, payload) of a control frame), 'junk'
(data: bytes that are no packet, or text), 'closed' (data: 'fin' or 'rst'). at: time.monotonic()."""


class Conn:
    """A client of a TCP (or TLS) listener."""

    def __init__(self, address, receive_buffer=0, tls=None, timeout=20, head=b'', head_piece=0):
        """head: what goes before everything else, a PROXY head for one; head_piece: bytes of it at a time."""
        host, port = address.rsplit(':', 1)
        self.born = time.monotonic()
        self.sock = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(timeout)
        self.sock.connect((host.strip('[]'), int(port)))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head_piece = head_piece or len(head) or 1
        for at in range(0, len(head), head_piece):
            self.sock.sendall(head[at:at + head_piece])
        if tls:
            self.sock = tls.wrap_socket(self.sock, server_hostname='localhost')
        self.buf = bytearray()
        self.end = None  # 'fin' or 'rst' once the peer has closed

    def fill(self, timeout):
        """Read once. True: something (or the end) came."""
        if self.end:
            return True
        self.sock.settimeout(max(timeout, 0.0005))
        try:
            data = self.sock.recv(1 << 20)
        except (TimeoutError, ssl.SSLWantReadError):
            return False
        except OSError:
            self.end = 'rst'
            return True
        if data:
            self.buf += data
        else:
            self.end = 'fin'
        return True

    def write(self, data, timeout=20):
        """Bytes as they are. A peer that has closed is no failure of the sender: what it said shows on reading."""
        self.sock.settimeout(timeout)
        try:
            self.sock.sendall(data)
            return True
        except TimeoutError:
            raise
        except OSError:
            return False

    def send(self, data, chunks=None, gap_ms=0):
        if not chunks:
            return self.write(data)
        at = 0
        for size in chunks:
            if not self.write(data[at:at + size]):
                return False
            at += size
            if gap_ms:
                time.sleep(gap_ms / 1000)
        return at >= len(data) or self.write(data[at:])

    def take(self):
        """An Item that lies in the buffer, or None."""
        whole = take_packet(self.buf)
        if whole is None:
            return None
        del self.buf[:len(whole)]
        return Item('packet', whole, time.monotonic())

    def next(self, timeout):
        """The next Item, or None when the line stays quiet for that long."""
        deadline = time.monotonic() + timeout
        while True:
            item = self.take()
            if item:
                return item
            if self.end:
                if self.buf:
                    junk = bytes(self.buf)
                    self.buf.clear()
                    return Item('junk', junk, time.monotonic())
                return Item('closed', self.end, time.monotonic())
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self.fill(left)

    def read_some(self, timeout):
        """Bytes as they come, b'' at the end, None when the line stays quiet for that long."""
        if not self.buf:
            if not self.fill(timeout):
                return None
        data = bytes(self.buf)
        self.buf.clear()
        return data

    def handshake(self, hello=H0, timeout=20):
        """Handshake and ack. Returns the answer's JSON. Raises Malformed."""
        self.send(hello)
        item = self.next(timeout)
        if item is None or item.kind != 'packet' or item.data[0] != HANDSHAKE:
            raise Malformed('no handshake answer: %r' % (item,))
        body = item.data[4:]
        answer = json.loads(inflate(body) if body[:2] == b'\x78\x9c' else body)
        self.send(ACK_PACKET)
        return answer

    def wait_message(self, timeout=10):
        """The next message; heartbeats are passed over. None: closed or nothing came in time."""
        deadline = time.monotonic() + timeout
        while True:
            item = self.next(max(deadline - time.monotonic(), 0))
            if item is None or item.kind == 'closed':
                return None
            if item.kind != 'packet':
                raise Malformed('%r' % (item,))
            if item.data[0] == DATA:
                return decode_message(item.data[4:])

    def call(self, route, body=b'', id_=1, timeout=20):
        """A request and its response; pushes are passed over. None: closed or nothing came in time."""
        self.send(request(id_, route, body))
        while True:
            m = self.wait_message(timeout)
            if m is None or m.type == RESPONSE and m.id == id_:
                return m

    def wait_close(self, timeout=10):
        """Read until the peer closes: True, or False when it does not."""
        deadline = time.monotonic() + timeout
        while not self.end:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.fill(left)
        return True

    def shutdown_write(self):
        try:
            socket.socket.shutdown(self.sock, socket.SHUT_WR)  # the socket's; an SSLSocket's own forgets TLS
        except OSError:
            pass  # it has closed already

    def close(self, reset=False):
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class WsConn(Conn):
    """A client of a WebSocket listener: send() makes one masked binary frame of what it gets."""

    def __init__(self, address, upgrade=True, **options):
        super().__init__(address, **options)
        self.message = bytearray()
        if upgrade:
            self.upgrade()

    def upgrade(self):
        self.write(ws_upgrade())
        deadline = time.monotonic() + 20
        while b'\r\n\r\n' not in self.buf:
            if self.end or time.monotonic() > deadline:
                raise Malformed('no answer to the upgrade: %r' % bytes(self.buf))
            self.fill(deadline - time.monotonic())
        head, _, rest = bytes(self.buf).partition(b'\r\n\r\n')
        if not head.startswith(b'HTTP/1.1 101 ') or ws_accept().encode() not in head:
            raise Malformed('upgrade refused: %r' % head)
        self.buf = bytearray(rest)

    def send(self, data, chunks=None, gap_ms=0):
        frame = ws_frame(data)
        return super().send(frame, chunks, gap_ms)

    def send_frame(self, payload, **options):
        return self.write(ws_frame(payload, **options))

    def take(self):
        try:
            frame = take_ws_frame(self.buf)
        except Malformed as e:
            self.buf.clear()
            return Item('junk', str(e), time.monotonic())
        if frame is None:
            return None
        fin, opcode, payload, used = frame
        del self.buf[:used]
        now = time.monotonic()
        if opcode >= 8:
            return Item('ws', (opcode, payload), now)
        if not fin or opcode != WS_BINARY:
            return Item('junk', 'a frame with opcode %d, fin %d' % (opcode, fin), now)
        if take_packet(payload) != payload:
            return Item('junk', 'a frame that is not one packet: %s' % payload[:40].hex(), now)
        return Item('packet', payload, now)

    def read_some(self, timeout):
        item = self.next(timeout)
        if item is None:
            return None
        if item.kind == 'packet':
            return item.data
        return b'' if item.kind == 'closed' else ('<%s %r>' % (item.kind, item.data)).encode()


# -- servers under test --

class Refused(Exception):
    """The server did not start. code: its exit status; the text: what it said."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


SANITIZER = re.compile(r'ERROR: \w*Sanitizer|WARNING: ThreadSanitizer|runtime error:')


class Server:
    """A process that prints READY and where it listens, and ends on SIGTERM with 0."""

    def __init__(self, command, start_s=60, **options):
        self.over_tls = False  # connect() takes tls for tcp, wss for ws
        self.stderr = tempfile.TemporaryFile()
        self.command = command
        self.proc = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.stderr,
                                     **options)
        guard = threading.Timer(start_s, self.proc.kill)
        guard.start()
        line = self.proc.stdout.readline().decode().strip()
        guard.cancel()
        if not line.startswith('READY'):
            self.proc.kill()
            code = self.proc.wait()
            raise Refused(code, self.errors().strip() or 'it said %r' % line)
        self.addresses = dict(word.split('=', 1) for word in line.split()[1:])
        self.pid = self.proc.pid

    def errors(self):
        self.stderr.seek(0)
        return self.stderr.read().decode(errors='replace')

    def alive(self):
        return self.proc.poll() is None

    def connect(self, transport='tcp', **options):
        if self.over_tls:
            transport = {'tcp': 'tls', 'ws': 'wss'}.get(transport, transport)
        kind = WsConn if transport in ('ws', 'wss') else Conn
        if transport in ('tls', 'wss'):
            options['tls'] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            options['tls'].check_hostname = False
            options['tls'].verify_mode = ssl.CERT_NONE  # the certificate is the test's own
        return kind(self.addresses[transport], **options)

    def memory_kib(self):
        """Resident now."""
        with open('/proc/%d/status' % self.pid) as f:
            return int(re.search(r'VmRSS:\s+(\d+)', f.read()).group(1))

    def fds(self):
        return len(os.listdir('/proc/%d/fd' % self.pid))

    def stop(self, timeout=30):
        """End it. Returns what went wrong, or None."""
        early = self.proc.poll()
        if early is None:
            self.proc.send_signal(signal.SIGTERM)
        return self.wait(timeout) if early in (None, 0) else 'died with status %s: %s' % (early, self.errors()[-3000:])

    def wait(self, timeout=30):
        """Wait for its end. Returns what is wrong with it, or None."""
        try:
            code = self.proc.wait(timeout)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
            return 'did not end within %d s' % timeout
        finally:
            self.proc.stdout.close()
        text = self.errors()
        if code != 0:
            return 'ended with status %d: %s' % (code, text[-3000:])
        if SANITIZER.search(text):
            return 'the sanitizer says: ' + text[-3000:]
        return None

    def kill(self):
        if self.alive():
            self.proc.kill()
            self.proc.wait()
        self.proc.stdout.close()


class LoggedServer(Server):
    """A server that says in its log, on stderr, where it listens and that it is up."""

    def __init__(self, command, start_s=60, **options):
        self.over_tls = False
        self.command = command
        self.lines, self.seen, self.more = [], 0, threading.Condition()
        self.proc = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                     **options)
        self.pid = self.proc.pid
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        if not self.await_line('all modules started!', start_s):
            self.proc.kill()
            raise Refused(self.proc.wait(), self.errors().strip())
        self.addresses = dict(re.findall(r'msg=listening address="?(\w+)://([^"\s]+)', ''.join(self.lines)))

    def read(self):
        with self.proc.stderr:
            for line in self.proc.stderr:
                with self.more:
                    self.lines.append(line.decode(errors='replace'))
                    self.more.notify_all()
        with self.more:
            self.lines.append('')  # there is nothing more
            self.more.notify_all()

    def await_line(self, pattern, timeout=60):
        """The next line with the pattern, as a match, behind the one that was found last. None: there is none in time."""
        deadline = time.monotonic() + timeout
        with self.more:
            while True:
                while self.seen < len(self.lines):
                    line = self.lines[self.seen]
                    if not line:
                        return None
                    self.seen += 1
                    found = re.search(pattern, line)
                    if found:
                        return found
                if not self.more.wait(deadline - time.monotonic()):
                    return None

    def errors(self):
        """What it has said; all of it when it has ended."""
        if not self.alive():
            self.reader.join(10)
        return ''.join(self.lines)
