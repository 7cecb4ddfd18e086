#!/usr/bin/env python3
"""Hold a server against what was recorded from Pitaya: every exchange, transcript and poison vector of
tests/vectors/client, compared by the rules of the README there. Which outcome of a vector marked may-fix or must-fix
this server has chosen stands in the table of tests/vectors/README.md, and that one is required.

    replay.py --server PATH [--vectors DIR] [--only tcp,bytes,ws,upgrade,transcripts,poison] [--filter REGEX] [-v]
              [--server-arg ARG]... [--cluster PATH --engines local|nats|etcd]

With --cluster it is the vectors of the configuration `cluster`, and no others, against what that command puts together.
One line and the two outcomes for each failure, then the count and the reasons of what was skipped. A server that exits
with 3 says that it does not know that setting; the vectors that need it are skipped.
"""
import argparse
import collections
import concurrent.futures
import functools
import itertools
import json
import os
import re
import sys
import threading
import time
import traceback
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'support'))
import cereus_engines as engines  # noqa: E402
import cereus_wire as wire  # noqa: E402

EXCHANGES = ['handshake', 'state', 'framing', 'requests_json', 'requests_json_z', 'requests_pb', 'dictionary', 'sizes',
             'docs', 'clients', 'proxy', 'cluster']
MODES = ['tcp', 'bytes', 'ws', 'upgrade', 'transcripts', 'poison']
QUIET_S = 0.25      # the line is quiet: nothing for this long
PATIENCE_S = 20.0   # how long a wrong or missing outcome may still become the right one
LATE_S = 0.4        # what a busy machine may add to the recorded limits
BYTE_MODE_MAX = 400  # longer inputs are not sent byte by byte

Result = collections.namedtuple('Result', 'name mode verdict text')  # verdict: ok, fail, skip


# -- vectors --

class Vectors:
    def __init__(self, root):
        self.root = root
        self.configs = self.load('configs')
        self.choices, self.local = {}, set()
        row = re.compile(r'^\| `([^`]+)` \| (recorded|better|either|skip|local) \|')
        with open(os.path.join(root, '..', 'README.md')) as f:
            for line in f:
                m = row.match(line)
                if m and m.group(2) == 'local':
                    self.local.add(m.group(1))
                elif m:
                    self.choices[m.group(1)] = m.group(2)

    def load(self, name):
        with open(os.path.join(self.root, name + '.json')) as f:
            return json.load(f)

    def each(self, name):
        data = self.load(name)
        yield from data.get('vectors') or data['transcripts']

    def choice(self, key, vector):
        """What is required of this vector: 'recorded', 'better', 'either' or 'skip'."""
        if vector.get('compat', 'copy') == 'copy':
            return 'recorded'
        if key not in self.choices:
            raise KeyError('%s is marked %s: choose in the table of tests/vectors/README.md' % (key, vector['compat']))
        return self.choices[key]

    def settings(self, config):
        return self.configs[config] if isinstance(config, str) else dict(self.configs['json'], **config)


@functools.lru_cache(maxsize=4)
def lcg(seed, size):
    out = bytearray(size)
    for i in range(size):
        seed = (seed * 1664525 + 1013904223) & 0xffffffff
        out[i] = seed >> 24
    return bytes(out)


def generate(segments):
    out = bytearray()
    for s in segments:
        if 'hex' in s:
            out += bytes.fromhex(s['hex'])
        elif 'repeat' in s:
            out += bytes.fromhex(s['repeat']['byte']) * s['repeat']['len']
        else:
            out += lcg(s['lcg']['seed'], s['lcg']['len'])
    return bytes(out)


def data_of(vector, side):
    value = vector.get(side)
    return generate(vector[side + '_gen']) if value is None else bytes.fromhex(value)


# -- showing bytes to people --

def show(data, limit=600):
    """Packets taken apart, one a line."""
    packets, rest = wire.split_packets(data)
    lines = []
    for type_, body in packets:
        try:
            if type_ == wire.DATA:
                m = wire.decode_message(body)
                what = '%s %s%s%s%s' % (wire.TYPE_NAMES[m.type], 'id %d' % m.id if m.type in (0, 2) else '',
                                        '' if m.type == wire.RESPONSE else ' route %r' % (m.route or m.code),
                                        ' error' if m.error else '', ' gzip' if m.gzip else '')
                lines.append('%s: %r' % (what, m.body[:300]))
                continue
            if type_ == wire.HANDSHAKE:
                lines.append('handshake: %r' % (wire.inflate(body) if body[:2] == b'\x78\x9c' else body))
                continue
        except wire.Malformed as e:
            lines.append('malformed (%s)' % e)
        lines.append('packet %d: %s' % (type_, body[:100].hex()))
    if rest:
        lines.append('%d more bytes: %r' % (len(rest), rest[:200]))
    text = '\n      '.join(lines) or '(nothing)'
    return text if len(text) <= limit * 4 else text[:limit * 4] + '...'


# -- comparing --

class Differs(Exception):
    pass


def as_json(data):
    """A JSON value that compares as the protocol's users see it: numbers are doubles."""
    return json.loads(data.decode(), parse_int=float)


def drop(value, paths):
    for path in paths:
        *parents, last = path.strip('/').split('/')
        at = value
        for p in parents:
            at = at.get(p, {}) if isinstance(at, dict) else {}
        if isinstance(at, dict):
            at.pop(last, None)
    return value


def body_value(compare, body, error, mask):
    paths = [m for m in mask if m.startswith('/')]
    try:
        if compare == 'json':
            return drop(as_json(body), paths)
        if compare == 'pb-error' and error is not None:
            return drop(wire.pb_error(body), paths)
        if compare == 'pb-doc-json' and not error:
            return as_json(dict(wire.pb_fields(body))[1])
        if compare == 'pb-descriptors' and not error:
            return [descriptor(zlib.decompress(d, 31)) for _, d in wire.pb_fields(body)] or body
    except (ValueError, KeyError, TypeError, AttributeError, zlib.error, wire.Malformed):
        pass
    return body


def descriptor(data):
    """What a client reads of a FileDescriptorProto: package, messages, their fields."""
    fields = wire.pb_fields(data)
    messages = []
    for number, value in fields:
        if number == 4:
            parts = wire.pb_fields(value)
            messages.append((dict(parts).get(1), [sorted((n, v) for n, v in wire.pb_fields(f) if n in (1, 3, 4, 5, 6))
                                                  for n, f in parts if n == 2]))
    return dict(fields).get(2), sorted(messages)


def compare_messages(want, got, compare, gzip, mask):
    w, g = wire.decode_message(want), wire.decode_message(got)
    same = ['type', 'id', 'route', 'code'] + ([] if 'flag:error' in mask else ['error'])
    for field in same:
        if getattr(w, field) != getattr(g, field):
            raise Differs('%s is %r, not %r' % (field, getattr(g, field), getattr(w, field)))
    if gzip != 'any' and g.gzip != {'must': True, 'mustnot': False}.get(gzip, w.gzip):
        raise Differs('compressed' if g.gzip else 'not compressed')
    a, b = body_value(compare, w.body, w.error, mask), body_value(compare, g.body, g.error, mask)
    if a != b:
        raise Differs('bodies differ')


def compare_packet(want, got, compare, gzip=None, mask=()):
    """Whole packets, header included. Raises Differs."""
    if want[0] != got[0]:
        raise Differs('packet type %d, not %d' % (got[0], want[0]))
    if compare == 'bytes' or want[0] not in (wire.DATA, wire.HANDSHAKE):
        if want != got:
            raise Differs('bytes differ')
    elif want[0] == wire.HANDSHAKE:
        w, g = [wire.inflate(p[4:]) if p[4:6] == b'\x78\x9c' else p[4:] for p in (want, got)]
        if w != g:
            raise Differs('handshake JSON differs')
    elif compare == 'handshake':
        if want != got:
            raise Differs('bytes differ')
    else:
        compare_messages(want[4:], got[4:], compare, gzip, mask)


def compare_stream(want, got, compare, gzip, mask):
    if compare == 'bytes':
        if want != got:
            raise Differs('bytes differ')
        return
    w, w_rest = wire.split_packets(want)
    g, g_rest = wire.split_packets(got)
    if len(w) != len(g) or w_rest != g_rest:
        raise Differs('%d packets, not %d' % (len(g), len(w)))
    for i, (a, b) in enumerate(zip(w, g)):
        try:
            compare_packet(wire.packet(*a), wire.packet(*b), compare, gzip, mask)
        except (Differs, wire.Malformed) as e:
            raise Differs('packet %d: %s' % (i + 1, e)) from e


def http_head(data):
    head, _, body = data.partition(b'\r\n\r\n')
    lines = head.decode('latin1').split('\r\n')
    return lines[0], {k.strip().lower(): v.strip() for k, _, v in (x.partition(':') for x in lines[1:])}, body


def compare_http(want, got, mask):
    status, headers, _ = http_head(got)
    if status != want['status_line']:
        raise Differs('status %r, not %r' % (status, want['status_line']))
    for name, value in want['headers'].items():
        if 'header:' + name not in mask and headers.get(name.lower()) != value:
            raise Differs('%s: %r, not %r' % (name, headers.get(name.lower()), value))


# -- outcomes: a judge takes (received, closed) and raises Differs --

def after_is(after, closed):
    if after == 'closed' and not closed:
        raise Differs('still open')
    if after == 'open' and closed:
        raise Differs('closed')


def recorded_judge(vector):
    compare, gzip, mask = vector['compare'], vector.get('gzip'), vector.get('mask', [])
    outs = [bytes.fromhex(o) for o in vector['out_alternatives']] if 'out_alternatives' in vector else [
        data_of(vector, 'out')]

    def judge(got, closed):
        after_is(vector['after'], closed)
        if compare == 'http-status':
            return compare_http(vector['http'], got, mask)
        failure = None
        for want in outs:
            try:
                return compare_stream(want, got, compare, gzip, mask)
            except Differs as e:
                failure = failure or e
        raise failure
    judge.text = '%s, then %s' % (' or '.join(vector['http']['status_line'] if compare == 'http-status' else show(o)
                                              for o in outs), vector['after'])
    return judge


def one_error(got, id_, codes=None, serializer='json'):
    """Exactly one error response, to id_, with one of the codes."""
    packets, rest = wire.split_packets(got)
    if rest or len(packets) != 1 or packets[0][0] != wire.DATA:
        raise Differs('not exactly one response')
    m = wire.decode_message(packets[0][1])
    if m.type != wire.RESPONSE or not m.error or m.id != int(id_):
        raise Differs('not an error response to id %s' % id_)
    error = as_json(m.body) if serializer == 'json' else wire.pb_error(m.body)
    if not error.get('msg') or codes and error.get('code') not in codes:
        raise Differs('the error is %r' % error)


def without_pushes(data):
    packets, _ = wire.split_packets(data)
    return b''.join(wire.packet(t, b) for t, b in packets if t != wire.DATA or b[0] >> 1 & 7 != wire.PUSH)


def better_judge(vector, settings, conn_address):
    """The outcome that compat_expect describes."""
    hope = vector.get('compat_expect', {})
    note = hope.get('note', '')
    after = hope.get('after', 'open' if note.startswith('upgrade answered') else vector['after'])
    recorded = data_of(vector, 'out')
    compare, mask = vector['compare'], vector.get('mask', [])

    def judge(got, closed):
        after_is(after, closed)
        if 'out' in hope:
            compare_stream(bytes.fromhex(hope['out']), got, compare, vector.get('gzip'), mask)
        elif 'error_code_one_of' in hope or 'error_code' in hope:
            one_error(got, hope['id'], hope.get('error_code_one_of') or [hope['error_code']], settings['serializer'])
        elif 'error_bit' in hope and recorded:
            compare_stream(recorded, got, compare, vector.get('gzip'), mask)
            if not wire.decode_message(got[4:]).error:
                raise Differs('the error bit is clear')
        elif 'error_bit' in hope:
            one_error(got, hope['id'], None, settings['serializer'])
        elif 'error_answer_or_silence' in hope:
            if got:
                one_error(got, 1, None, settings['serializer'])
        elif hope.get('push') == 'refused' or note.startswith('no push'):
            compare_stream(without_pushes(recorded), got, 'bytes', None, [])
        elif note.startswith('handshake answered, remote address'):
            packets, rest = wire.split_packets(got)
            if rest or [t for t, _ in packets] != [wire.HANDSHAKE, wire.DATA]:
                raise Differs('not a handshake answer and a response')
            if wire.decode_message(packets[1][1]).body.decode() != conn_address:
                raise Differs('remote address is not %s' % conn_address)
        elif note.startswith('upgrade answered'):
            status, headers, frame = http_head(got)
            taken = wire.take_ws_frame(frame)
            if not status.startswith('HTTP/1.1 101 ') or headers.get('sec-websocket-accept') != wire.ws_accept():
                raise Differs('not upgraded')
            if not taken or taken[1] != wire.WS_BINARY or taken[2][:1] != b'\x01' or b'"code":200' not in taken[2]:
                raise Differs('no handshake answer in a frame')
        elif note.startswith('101 as in wss-upgrade'):
            if not got.startswith(b'HTTP/1.1 101 '):
                raise Differs('not upgraded')
        else:
            raise Differs('compat_expect %r is not understood' % hope)
    judge.text = 'the better outcome: %s' % json.dumps(hope)
    return judge


def local_judge(got, closed):
    """The local engines have words of their own for a server that is listed and dead."""
    after_is('open', closed)
    one_error(got, 1, ['PIT-500'])


local_judge.text = 'an error PIT-500'


# -- servers, one a configuration --

class Pool:
    def __init__(self, command, vectors, server_args, cluster=None, kind='local'):
        self.command, self.vectors, self.server_args = command, vectors, server_args
        self.cluster, self.kind = cluster, kind
        self.engines = engines.Engines(kind) if cluster else None
        self.lock = threading.Lock()
        self.servers = {}  # key -> Server, or the reason why there is none

    def start_cluster(self, settings):
        e = self.engines
        where = ['--local', e.dir] if e.dir else ['--etcd', e.etcd]
        where += ['--nats', e.nats] if e.nats else []
        return wire.Server([self.cluster, '--server', self.command, '--settings', json.dumps(settings), *where,
                            *self.server_args], start_s=120)

    def start(self, config, transports=('tcp', 'ws')):
        if self.cluster:
            return self.start_cluster(self.vectors.settings(config))
        args = [self.command, '--settings', json.dumps(self.vectors.settings(config))]
        for t in transports:
            args += ['--' + t, '127.0.0.1:0']
        if 'tls' in transports or 'wss' in transports:
            root = os.environ['TEST_TLS']
            args += ['--cert', os.path.join(root, 'server.crt'), '--key', os.path.join(root, 'server.key')]
        return wire.Server(args + self.server_args)

    def get(self, config, transport):
        """The shared server of this configuration. Raises wire.Refused."""
        transports = ('tcp', 'ws') if transport in ('tcp', 'ws') else (transport,)
        key = json.dumps([config, transports])
        with self.lock:
            if key not in self.servers:
                try:
                    self.servers[key] = self.start(config, transports)
                except wire.Refused as e:
                    self.servers[key] = e
            server = self.servers[key]
        if isinstance(server, wire.Refused):
            raise server
        return server

    def stop(self):
        """What went wrong, a list of texts."""
        wrong = []
        for key, server in self.servers.items():
            if isinstance(server, wire.Server):
                problem = server.stop()
                if problem:
                    wrong.append('server %s %s' % (key, problem))
        if self.engines:
            self.engines.stop()
        return wrong


# -- exchanges --

def whole_packets(data):
    """The packets of data, or None when it is not made of whole packets of known types."""
    packets, rest = wire.split_packets(data)
    if rest or not packets or any(t not in (1, 2, 3, 4, 5) for t, _ in packets):
        return None
    return [wire.packet(t, b) for t, b in packets]


def collect(conn, judge, settings, received=b'', patience=PATIENCE_S):
    """Read until the judge is content and the line quiet, or patience ends. Returns (failure or None, bytes)."""
    got, closed, failure = bytearray(received), False, None
    deadline = time.monotonic() + patience
    fast = settings['heartbeat_s'] < 2
    while True:
        data = None if closed else conn.read_some(QUIET_S)
        if data:
            got += data
            deadline = max(deadline, time.monotonic() + 1)
            continue
        closed = closed or data == b''
        heard = bytes(got)
        if fast:  # heartbeats come when they come
            packets, rest = wire.split_packets(heard)
            heard = b''.join(wire.packet(t, b) for t, b in packets if t != wire.HEARTBEAT) + rest
        try:
            judge(heard, closed)
            return None, heard
        except (Differs, wire.Malformed, ValueError) as e:
            failure = e
        if closed or time.monotonic() > deadline:
            return failure, heard


def run_exchange(pool, vectors, key, vector, mode):
    settings = vectors.settings(vector['config'])
    choice = vectors.choice(key, vector)
    if choice == 'skip':
        return 'skip', 'n/a: only exists in Go'
    transport = vector.get('transport') or ('ws' if mode == 'ws' else 'tcp')
    data = data_of(vector, 'in')
    chunks = None
    if mode == 'bytes':
        chunks = [1] * len(data)
    elif 'in_chunks' in vector:
        chunks = vector['in_chunks']
    elif 'chunk_size' in vector:
        chunks = [vector['chunk_size']] * (len(data) // vector['chunk_size'])
    try:
        server = pool.get(vector['config'], transport)
    except wire.Refused as e:
        return ('skip' if e.code == 3 else 'fail'), str(e).splitlines()[-1]

    patience = PATIENCE_S * (4 if 'out_gen' in vector or 'in_gen' in vector else 1)
    with server.connect(transport, **({'upgrade': False} if mode == 'upgrade' and transport != 'tcp' else {})) as conn:
        if vector['prelude'] == 'handshake':
            conn.handshake()
        judges = [recorded_judge(vector)] if choice in ('recorded', 'either') else []
        if pool.cluster and pool.kind == 'local' and key in vectors.local:
            judges = [local_judge]
        if choice in ('better', 'either') and vector.get('compat'):
            judges.append(better_judge(vector, settings, '%s:%d' % conn.sock.getsockname()[:2]))

        def judge(got, closed):
            failure = None
            for j in judges:
                try:
                    return j(got, closed)
                except (Differs, wire.Malformed, ValueError) as e:
                    failure = failure or e
            raise Differs(str(failure))
        if mode == 'upgrade':
            conn.write(data)
            conn.read_some = functools.partial(wire.Conn.read_some, conn)
        elif mode == 'ws':
            for whole in whole_packets(data):
                conn.send(whole)
        else:
            conn.send(data, chunks)
        failure, got = collect(conn, judge, settings, patience=patience)
    if failure is None:
        return 'ok', ''
    return 'fail', '%s\n  want %s\n  got  %s' % (
        failure, '\n    or '.join(j.text for j in judges),
        repr(got[:600]) if mode == 'upgrade' else show(got) + (', then closed' if conn.end else ', still open'))


# -- transcripts --

def expected_bytes(p):
    return bytes.fromhex(p['hex'])


def check_item(p, item):
    """One expected packet of a transcript against one Item. Raises Differs."""
    if 'ws_opcode' in p:
        if item.kind != 'ws' or item.data[0] != p['ws_opcode']:
            raise Differs('not the control frame')
        want, got = bytes.fromhex(p['payload']), item.data[1]
        if want != got and not (p['compare'] == 'ws-close-code' and want[:2] == got[:2]):
            raise Differs('payload %s' % got.hex())
        return
    if item.kind != 'packet':
        raise Differs('not a packet')
    compare_packet(expected_bytes(p), item.data, p['compare'], p.get('gzip'), p.get('mask', []))


def show_item(item):
    if item is None:
        return '(nothing in time)'
    return show(item.data) if item.kind == 'packet' else '%s %r' % (item.kind, item.data)


def show_expected(p):
    return 'frame %d %s' % (p['ws_opcode'], p['payload']) if 'ws_opcode' in p else show(expected_bytes(p))


def expect(conn, step, back):
    """The step's packets arrive. back: items given back to the connection by an optional step."""
    window = step.get('window_ms')
    limit = (step.get('within_ms') or 2000) / 1000
    deadline = time.monotonic() + limit + LATE_S + (0 if window else 2 * limit)
    if window:
        deadline = max(deadline, conn.born + window[1] / 1000 + LATE_S)
    waiting = list(step['packets'])
    while waiting:
        item = back.pop(0) if back else conn.next(max(deadline - time.monotonic(), 0.001))
        found, why = None, None
        if item is not None:
            for p in waiting if step.get('order') == 'any' else waiting[:1]:
                try:
                    check_item(p, item)
                    found = p
                    break
                except (Differs, wire.Malformed) as e:
                    why = why or e
        if found is None:
            if step.get('optional'):
                if item is not None:
                    back.insert(0, item)
                return
            raise Differs('%swant %s\n  got  %s' % ('%s\n  ' % why if why else '', show_expected(waiting[0]),
                                                    show_item(item)))
        waiting.remove(found)
        if window and not window[0] / 1000 <= item.at - conn.born <= window[1] / 1000 + LATE_S:
            raise Differs('came %d ms after the connect, not within %s' % ((item.at - conn.born) * 1000, window))


def expect_close(conn, step, back, answer_first, heartbeat_s):
    window = step.get('window_ms')
    late_s = LATE_S
    deadline = time.monotonic() + step['within_ms'] / 1000 * (1 if window else 3) + LATE_S
    while True:
        item = back.pop(0) if back else conn.next(max(deadline - time.monotonic(), 0.001))
        if item is None:
            raise Differs('still open')
        if item.kind == 'closed':
            break
        if item.kind == 'packet' and item.data[0] == wire.HEARTBEAT and heartbeat_s < 5 and late_s == LATE_S:
            late_s += heartbeat_s  # see wait_for_a_young_second(): on a busy machine the handshake took the rest of it
        elif not (answer_first and item.kind == 'packet' and item.data[0] == wire.DATA):
            raise Differs('before the close came %s' % show_item(item))
    if window and not window[0] / 1000 <= item.at - conn.born <= window[1] / 1000 + late_s:
        raise Differs('closed %d ms after the connect, not within %s' % ((item.at - conn.born) * 1000, window))


def wait_for_a_young_second():
    """Life signs count in whole seconds of the clock: a handshake that is finished in the second after its connect gets
    one heartbeat more before the close. The recordings show the usual case."""
    late = time.time() % 1
    if late > 0.3:
        time.sleep(1 - late)


def play(server, vector, choice, settings):
    if settings['heartbeat_s'] < 5:
        wait_for_a_young_second()
    conns, backs = {}, collections.defaultdict(list)
    transport = vector['transport']
    # A half-closed client may still be answered before the close.
    answer_first = choice == 'either' and any(s['op'] == 'shutdown_write' for s in vector['steps'])
    steps = vector['steps']
    if choice == 'better' and vector['name'] == 'proxy-head-of-line':
        steps = [s for s in steps if s['op'] != 'expect_silence']
        a_close = next(i for i, s in enumerate(steps) if s['op'] == 'close' and s['conn'] == 'a')
        steps.append(steps.pop(a_close))
    try:
        for number, step in enumerate(steps):
            op, conn = step['op'], conns.get(step.get('conn'))
            try:
                if op == 'connect':
                    options = {'receive_buffer': step['receive_buffer']} if 'receive_buffer' in step else {}
                    conns[step['conn']] = server.connect(step.get('listener', transport), **options)
                elif op == 'send':
                    conn.send(bytes.fromhex(step['hex']), step.get('chunks'), step.get('gap_ms', 0))
                elif op == 'ws_send':
                    conn.send_frame(bytes.fromhex(step['hex']), opcode=step['opcode'], fin=step['fin'],
                                    masked=step.get('masked', True), rsv=step.get('rsv', 0))
                elif op == 'expect':
                    expect(conn, step, backs[step['conn']])
                elif op == 'expect_close':
                    expect_close(conn, step, backs[step['conn']], answer_first, settings['heartbeat_s'])
                elif op == 'expect_silence':
                    item = conn.next(step['ms'] / 1000)
                    if item is not None:
                        raise Differs('not silent: %s' % show_item(item))
                elif op == 'sleep':
                    time.sleep(step['ms'] / 1000)
                elif op == 'close':
                    conn.close()
                elif op == 'shutdown_write':
                    conn.shutdown_write()
                else:
                    raise Differs('unknown step')
            except (Differs, wire.Malformed, OSError) as e:
                raise Differs('step %d, %s %s: %s' % (number + 1, op, step.get('conn', ''), e)) from e
    finally:
        for conn in conns.values():
            conn.close()


def serves(server, settings):
    """A fresh connection gets a handshake answer. Raises Differs."""
    try:
        with server.connect('tcp') as conn:
            conn.handshake()
    except (wire.Malformed, OSError) as e:
        raise Differs('no longer serves: %s' % e) from e


def run_transcript(pool, vectors, key, vector, fresh):
    choice = vectors.choice(key, vector)
    if choice == 'skip':
        return 'skip', 'n/a: only exists in Go'
    stops = any('746573742e61707073746f70' in s.get('hex', '') for s in vector['steps'])  # test.appstop
    server = None
    try:
        try:
            server = pool.start(vector['config']) if fresh or stops else pool.get(vector['config'], vector['transport'])
        except wire.Refused as e:
            if e.code == 3:
                return 'skip', str(e).splitlines()[-1]
            if not isinstance(vector['config'], str) and e.code > 0:
                return 'ok', ''  # a setting without sense may be refused at the start
            return 'fail', 'the server did not start: %s' % e
        play(server, vector, choice, vectors.settings(vector['config']))
        if fresh and not stops:
            serves(server, vectors.settings(vector['config']))
        if fresh or stops:
            problem = server.wait() if stops else server.stop()
            server = None
            if problem:
                return 'fail', 'the server ' + problem
        return 'ok', ''
    except Differs as e:
        return 'fail', str(e)
    finally:
        if server is not None and (fresh or stops):
            server.kill()


# -- all of it --

def plan(vectors, modes, pattern, cluster):
    """(key, mode, function of the pool) of everything to run."""
    def wanted(key, vector):
        return (not pattern or pattern.search(key)) and (vector['config'] == 'cluster') == cluster
    for file in EXCHANGES:
        for v in vectors.each(file):
            key = '%s/%s' % (file, v['name'])
            if not wanted(key, v):
                continue
            # What keeps state under a fixed name (a uid) must not meet itself: one after the other.
            todo = []
            if 'tcp' in modes:
                todo.append('tcp')
            if 'bytes' in modes and v.get('in') and len(v['in']) <= 2 * BYTE_MODE_MAX and 'in_chunks' not in v:
                todo.append('bytes')
            if 'ws' in modes and file not in ('proxy', 'cluster') and whole_packets(data_of(v, 'in')):
                todo.append('ws')
            if todo:
                yield key, todo, functools.partial(run_exchange, vectors=vectors, key=key, vector=v)
    if 'upgrade' in modes:
        for v in vectors.each('websocket'):
            key = 'websocket/' + v['name']
            if wanted(key, v):
                yield key, ['upgrade'], functools.partial(run_exchange, vectors=vectors, key=key, vector=v)
    for mode, file in (('transcripts', 'transcripts'), ('poison', 'poison')):
        if mode in modes:
            for v in vectors.each(file):
                key = '%s/%s' % (file, v['name'])
                if wanted(key, v):
                    f = functools.partial(run_transcript, vectors=vectors, key=key, vector=v, fresh=file == 'poison')
                    yield key, [mode], lambda pool, mode, f=f: f(pool)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--server', required=True)
    parser.add_argument('--vectors', default=os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'vectors',
                                                          'client'))
    parser.add_argument('--only', default=','.join(MODES), help='modes, comma separated (default: all)')
    parser.add_argument('--filter', help='regular expression on file/name')
    parser.add_argument('--jobs', type=int, default=48, help='vectors at once')
    parser.add_argument('--server-arg', action='append', default=[], help='handed to every server')
    parser.add_argument('--cluster', help='the command that puts the cluster together')
    parser.add_argument('--engines', choices=engines.KINDS, default='local', help='what its servers meet through')
    parser.add_argument('-v', '--verbose', action='store_true')
    args = parser.parse_args()
    modes = args.only.split(',')
    if set(modes) - set(MODES):
        parser.error('--only takes %s' % ', '.join(MODES))
    vectors = Vectors(args.vectors)
    pool = Pool(args.server, vectors, args.server_arg, args.cluster, args.engines)
    results = []

    def run(key, todo, function):
        out = []
        for mode in todo:
            try:
                verdict, text = function(pool, mode=mode)
            except Exception as e:  # the harness or a peer that does the unthinkable: a failure with its trace
                trace = traceback.format_exc() if not isinstance(e, (OSError, wire.Malformed)) else ''
                verdict, text = 'fail', '%s: %s %s' % (type(e).__name__, e, trace)
            out.append(Result(key, mode, verdict, text))
        return out

    jobs = list(plan(vectors, modes, args.filter and re.compile(args.filter), bool(args.cluster)))
    # The big ones first, alone with the slow transcripts: they take longest.
    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as executor:
        slow = sorted(jobs, key=lambda j: not j[0].startswith(('transcripts/heartbeat', 'sizes/')))
        results = list(itertools.chain.from_iterable(executor.map(lambda j: run(*j), slow)))
    # What depends on the clock gets a second chance with the machine to itself.
    for i, r in enumerate(results):
        if r.verdict == 'fail' and r.mode == 'transcripts' and 'window_ms' in json.dumps(
                next(v for v in vectors.each('transcripts') if 'transcripts/' + v['name'] == r.name)):
            job = next(j for j in jobs if j[0] == r.name)
            results[i] = run(*job)[0]
    wrong = pool.stop()

    skipped = collections.Counter()
    for r in sorted(results):
        if r.verdict == 'fail':
            print('FAIL %s [%s]: %s' % (r.name, r.mode, r.text))
        elif r.verdict == 'skip':
            skipped[r.text] += 1
            if args.verbose:
                print('skip %s [%s]: %s' % (r.name, r.mode, r.text))
        elif args.verbose:
            print('ok   %s [%s]' % (r.name, r.mode))
    for text in wrong:
        print('FAIL ' + text)
    count = collections.Counter(r.verdict for r in results)
    print('%d passed, %d failed, %d skipped in %.1f s' % (count['ok'], count['fail'] + len(wrong), count['skip'],
                                                        time.monotonic() - started))
    for text, n in skipped.most_common():
        print('  skipped %d: %s' % (n, text))
    return 1 if count['fail'] or wrong or not count['ok'] else 0


if __name__ == '__main__':
    sys.exit(main())
