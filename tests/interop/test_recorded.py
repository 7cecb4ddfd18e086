"""The recorded clusters of Pitaya (tests/vectors/cluster), one server at a time: a peer of ours takes the place of one of the
servers, and this test plays all the others, with the bytes that were recorded: it is their clients, their NATS and etcd are real.
What the server then says to NATS (every subject, payload and answer), to etcd (every key and value) and to its clients must be
what was recorded of the one whose place it has. So each case is played once for each server in it, as producer and as consumer.

Every case is played here, or by the test that ELSEWHERE names, or is in NOT_APPLICABLE with the reason: test_every_case fails else.
Where another outcome than the recorded one is right, BETTER says which and why.

INTEROP_PEER: the program.
"""
import base64
import gzip
import json
import os
import re
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'support'))
import cereus_engines as engines  # noqa: E402
import cereus_recorder as record  # noqa: E402
import cereus_wire as wire  # noqa: E402

VECTORS = os.path.join(HERE, '..', 'vectors', 'cluster')
WAIT_S = 60

# Who is bound when a case begins, where no request of the recording tells.
BOUND = {
    'push-from-frontend-local': {'client-1': 'alice'}, 'push-outside-request': {'client-1': 'alice', 'client-2': 'bob'},
    'push-from-frontend-other-type': {'client-1': 'alice'}, 'push-to-users': {'client-2': 'bob'},
    'kick-users': {'client-1': 'alice'}, 'unique-other-frontend': {'client-1': 'alice'},
    'unique-same-frontend': {'client-2': 'alice'}, 'unique-off-same-frontend': {'client-4': 'alice'},
    'raw-kick': {'client-2': 'alice'}, 'raw-push': {'client-1': 'alice'}, 'raw-push-empty': {'client-1': 'alice'},
    'raw-push-garbage': {'client-1': 'alice'}, 'raw-push-other-uid': {'client-1': 'alice'},
    'raw-bindings-own': {'client-1': 'alice'}, 'raw-bindings-other-user': {'client-1': 'alice'},
    'raw-bindings-kick': {'client-1': 'alice'}, 'sys-bindsession-bound': {'client-1': 'alice'},
}
# Clients that are not on fe-1.
PLACES = {
    'unique-other-frontend': {'client-2': 'fe-2'},
    'unique-same-frontend': {'client-2': 'fe-2', 'client-3': 'fe-2'},
    'unique-off': {'client-4': 'fe-3'},
    'unique-off-same-frontend': {'client-4': 'fe-3', 'client-5': 'fe-3'},
}
LEAVES = {'close-bound', 'session-data-gone', 'drain-sigterm'}  # the client closes, not the server
LATER = {'drain-sigterm': {'client-2'}}  # clients that are not there from the beginning on


def load(name):
    with open(os.path.join(VECTORS, name + '.json')) as f:
        return json.load(f)


ALL = sorted(f[:-5] for f in os.listdir(VECTORS) if f.endswith('.json'))
FAMILIES = ('raw', 'sys', 'rpc', 'bind', 'session', 'push', 'kick', 'close', 'unique', 'local', 'protobuf', 'docs', 'tracing')


def is_of_messages(name):
    """Does class Messages play it?"""
    return name.split('-')[0] in FAMILIES or name.startswith('fault-no-responders')


def type_of(server):
    return 'connector' if server.startswith('fe-') else 'room'


# -- messages --

def say_of(data):
    return {'text': '', 'n': 0, **{{1: 'text', 2: 'n'}[k]: v.decode() if k == 1 else record.signed(v)
                                   for k, _, v in record.pb_raw(data) if k in (1, 2)}}


def field(fields, number, default=None):
    """The value of the last field with that number."""
    return next((v for k, _, v in reversed(fields) if k == number), default)


def with_field(fields, number, kind, value):
    """The same with another value there."""
    return [(k, t, value if k == number else v) for k, t, v in fields] if field(fields, number) is not None else \
        sorted(fields + [(number, kind, value)], key=lambda f: f[0])


REQUEST_ID = rb'("request\.id\\?":\\?")([^"\\]*)(\\?")'
START_TIME = rb'("req-start-time\\?":)(\d+)'
MASKED_ID, MASKED_TIME = re.compile(rb'REQ\d{19}'), re.compile(rb'17000000\d\d123456(789|800)')
DURATION = re.compile(rb'"reqTimeout":"([^"]*)"')


def seconds(text):
    """A duration of Go."""
    units = {'h': 3600, 'm': 60, 's': 1, 'ms': 1e-3, 'us': 1e-6, 'µs': 1e-6, 'ns': 1e-9}
    return sum(float(n) * units[u] for n, u in re.findall(r'([\d.]+)(ms|us|µs|ns|h|m|s)', text))


class Mismatch(Exception):
    pass


def until(ask, right):
    """What `ask` gives when it is `right`: it is asked again and again, as nobody tells when it changes."""
    deadline = time.monotonic() + WAIT_S
    while not right(got := ask()):
        if time.monotonic() > deadline:
            raise Mismatch('it stays %r' % (got,))
    return got


class Values:
    """What differs from run to run: each recorded value stands for one of ours, and the other way round."""

    def __init__(self):
        self.ours, self.theirs = {}, {}
        self.span_came = False  # with a request to our server

    def same(self, kind, recorded, ours):
        return self.ours.setdefault((kind, recorded), ours) == ours and self.theirs.setdefault((kind, ours), recorded) == recorded

    def known(self, kind, recorded, default=None):
        return self.ours.get((kind, recorded), default)


def unmask(values, text, want):
    """The context @text with the values of the recorded one where they may differ."""
    for pattern, shape, ours in ((REQUEST_ID, MASKED_ID, rb'[0-9A-Za-z]{22}'), (START_TIME, MASKED_TIME, rb'1\d{18}')):
        theirs = [m.group(2) for m in re.finditer(pattern, want)]
        found = [m.group(2) for m in re.finditer(pattern, text)]
        if len(theirs) != len(found):
            return text
        for t, f in zip(theirs, found):
            if t == f:
                continue
            if not shape.fullmatch(t) or not re.fullmatch(ours, f):
                raise Mismatch('%r in place of %r' % (f, t))
            if pattern is REQUEST_ID and not values.same('request id', t, f):
                raise Mismatch('request id %r is %r' % (t, f))
        rest = iter(theirs)
        text = re.sub(pattern, lambda m: m.group(0).replace(m.group(2), next(rest)), text)
    return text


def compare_request(values, got, want, hop):
    """A request of ours and the recorded one: the same bytes, but for our extension and what differs from run to run."""
    ours = [f for f in record.pb_raw(got) if f[0] < 15]
    theirs = record.pb_raw(want)
    session, session_want = field(ours, 2), field(theirs, 2)
    if session is not None and session_want is not None:  # session numbers
        number, number_want = field(record.pb_raw(session), 1, 0), field(record.pb_raw(session_want), 1, 0)
        if not values.same('session', number_want, number):
            raise Mismatch('session %d is %d' % (number_want, number))
        ours = with_field(ours, 2, 2, record.pb_write(with_field(record.pb_raw(session), 1, 0, number_want)))
        if field(record.pb_raw(session_want), 3) == b'null':  # no data are {}, never null
            theirs = with_field(theirs, 2, 2, record.pb_write(with_field(record.pb_raw(session_want), 3, 2, b'{}')))
    meta, meta_want = field(ours, 5, b''), field(theirs, 5, b'')
    meta = unmask(values, meta, meta_want)
    a, b = DURATION.search(meta), DURATION.search(meta_want)
    if hop and a and b and 0 < seconds(a.group(1).decode()) <= seconds(b.group(1).decode()):
        meta = meta.replace(a.group(0), b.group(0))  # F-52: the time that is left, not all of it again
    meta, meta_want = same_span(values, meta, meta_want)
    ours, theirs = with_field(ours, 5, 2, meta), with_field(theirs, 5, 2, meta_want)
    if record.pb_write(ours) != record.pb_write(theirs):
        raise Mismatch('request\n%r, recorded\n%r' % (ours, theirs))


SPAN = re.compile(rb'"otel-span":\{[^}]*\},?')


def same_span(values, got, want):
    """Our servers do not trace yet: they begin no span, and pass on what came as it is. So the trace and its state must be those
    of the recording, when a span came; spans of servers in between are not in it."""
    ours, theirs = SPAN.search(got), SPAN.search(want)
    if bool(ours) != values.span_came:
        raise Mismatch('a span came: %s, in %r' % (values.span_came, got))
    if ours and theirs:
        a, b = (json.loads(m.group(0).rstrip(b',').partition(b':')[2]) for m in (ours, theirs))
        mine, other = (x['traceparent'].split('-') for x in (a, b))
        begun = mine[1] == 'zz'  # that was none: a server that traces begins another
        if not begun and mine[:2] + mine[3:] != other[:2] + other[3:] or a.get('tracestate') != b.get('tracestate'):
            raise Mismatch('span %r, recorded %r' % (a, b))
        got = SPAN.sub(b'', got)
    return got, SPAN.sub(b'', want)


def number(value):
    return value if isinstance(value, (bool, str)) or value is None else float(value)


def same_json(values, got, want):
    """JSON values, but for what differs from run to run. All numbers are doubles to Go; where ours are exact, that is right, too."""
    if isinstance(got, dict) and isinstance(want, dict):
        if 'frontend' in want and 'uid' in want:  # of a session: its number is the backend's own, and no data are {}
            want = dict(want, id=got.get('id'), data=want.get('data') or {})
        if got.keys() != want.keys():
            return False
        for key in want:
            a, b = got[key], want[key]
            if key == 'request.id' and isinstance(a, str) and isinstance(b, str) and a != b:
                if not MASKED_ID.fullmatch(b.encode()) or len(a) != 22 or not values.same('request id', b.encode(), a.encode()):
                    return False
            elif key == 'req-start-time' and MASKED_TIME.fullmatch(str(b).encode()):
                if not 1.5e18 < a < 3e18:
                    return False
            elif key == 'otel-span':  # same_span()
                if a['traceparent'].split('-')[1] not in (b['traceparent'].split('-')[1], 'zz'):
                    return False
            elif not same_json(values, a, b):
                return False
        return True
    if isinstance(got, list) and isinstance(want, list):
        return len(got) == len(want) and all(same_json(values, a, b) for a, b in zip(got, want))
    if isinstance(got, str) and isinstance(want, str) and got.startswith('{') and want.startswith('{'):
        return same_json(values, json.loads(got), json.loads(want))  # a context as text
    if isinstance(got, (dict, list)) or isinstance(want, (dict, list)):
        return False
    return number(got) == number(want)


def as_json(data):
    """What an answer holds, if it is JSON, or peer.Say with a context in it."""
    body = field(record.pb_raw(data), 1)
    if not body:
        return None
    try:
        return json.loads(body)
    except ValueError:
        pass
    try:
        return json.loads(say_of(body)['text'])
    except (ValueError, KeyError, IndexError, TypeError):
        return None  # another message


def code_of(response):
    return field(record.pb_raw(field(record.pb_raw(response), 2, b'')), 1)


def compare_bytes(values, got, want):
    if got == want or unmask(values, got, want) == want:
        return
    a, b = as_json(got), as_json(want)
    if not isinstance(a, dict) or not isinstance(b, dict) or not same_json(values, a, b):
        raise Mismatch('%r, recorded %r' % (got, want))


# -- servers --

class Stage:
    """One server of ours, in the place of `server`, with real engines; everybody else is this test."""

    def __init__(self, server, config=(), flags=(), type_=None, ghosts=(), before=None, nats=None):
        """server: its id. ghosts: other servers that are there before it. before: called with this, before it starts. nats: a
        NATS of the test's own."""
        self.id, self.type = server, type_ or type_of(server)
        self.parts = []
        self.server = None
        self.ghosts = {}  # id -> engines.InEtcd
        self.serial = 0
        self.subscribed = set()
        try:
            etcd = engines.Etcd()
            self.parts.append(etcd)
            self.etcd = etcd.address
            nats = nats or engines.Nats()
            self.parts.append(nats)
            self.nats_server = nats
            self.raw = record.NatsClient(nats.url)
            self.nats = record.Recorder(nats.url.split('://')[1], record.NatsLines)
            self.etcd_lines = record.Recorder(etcd.address, record.EtcdRequests)
            for id_ in ghosts:
                self.ghosts[id_] = Ghost(self.etcd, id_)
            if before:
                before(self)
            self.start(config, flags)
        except BaseException:
            self.stop()
            raise

    def start(self, config=(), flags=()):
        args = ['--type', self.type, *(('--id', self.id) if self.id else ()), '--etcd', self.etcd_lines.address, '--nats',
                'nats://' + self.nats.address, '--set', 'cereus.loops=1']
        if self.type == 'connector':
            args += ['--frontend', '--port', '0']
        flags = list(flags)
        while flags:
            flag = flags.pop(0)
            if flag in ('-meta', '-groups'):
                args += ['-' + flag, flags.pop(0)]
        for pair in config:
            if pair == 'pitaya.serializertype=2':
                args += ['--serializer', 'protobuf']
            else:
                args += ['--set', pair]
        self.server = wire.Server([os.environ['INTEROP_PEER'], *args])

    def stop(self):
        wrong = None
        if self.server:
            wrong = self.server.stop()
        for part in ('raw', 'nats', 'etcd_lines'):
            if hasattr(self, part):
                getattr(self, part).close()
        for part in self.parts:
            part.stop()
        return wrong

    def kill(self):
        if self.server:
            self.server.kill()
            self.server = None
        self.stop()

    def replace_nats(self, nats, end):
        """Another NATS has the address of this one; end: what ends the first."""
        self.raw.close()
        self.parts.append(nats)
        self.nats.upstream = nats.url.split('://')[1]
        end()
        self.raw = record.NatsClient(nats.url)
        self.raw.subscribe(*self.subscribed)

    # -- what this test asks of it --

    def call(self, route, argument, metadata=b'{}'):
        """A user RPC by hand: the Response's fields."""
        self.serial += 1
        reply = '_TEST.%d' % self.serial
        msg = record.pb_write([(2, 2, route.encode()), (3, 2, argument)])
        self.raw.publish('pitaya/servers/%s/%s' % (self.type, self.id),
                         record.pb_write([(1, 0, 1), (3, 2, msg), (5, 2, metadata)]), reply)
        line = self.nats.wait(lambda e: e['op'] == 'PUB' and e['subject'] == reply, timeout=WAIT_S)
        if not line:
            raise Mismatch('%s was not answered' % route)
        return record.pb_raw(line['payload'])

    def reach(self):
        """It hears of requests: its subscriptions are seen before NATS has them."""
        for _ in range(WAIT_S * 10):
            self.serial += 1
            reply = '_TEST.%d' % self.serial
            self.raw.publish('pitaya/servers/%s/%s' % (self.type, self.id), record.pb_write([(3, 2, b'')]), reply)
            if self.nats.wait(lambda e: e['op'] == 'PUB' and e['subject'] == reply, timeout=0.1):
                return
        raise Mismatch('it hears nothing')

    def control(self, op, arguments):
        text = json.dumps({'op': op, 'arguments': arguments})
        response = self.call('%s.control.run' % self.type, record.pb_write([(1, 2, text.encode())]))
        if field(response, 2) is not None:
            raise Mismatch('control: %r' % response)
        return json.loads(say_of(field(response, 1))['text'])

    def meet(self, ghosts, silent=()):
        """Have these other servers, and no others, in etcd and on NATS; `silent`: only in etcd."""
        for id_ in set(self.ghosts) - set(ghosts):
            self.ghosts.pop(id_).stop()
        for id_ in set(ghosts) - set(self.ghosts):
            self.ghosts[id_] = Ghost(self.etcd, id_)
        subjects = {s for id_ in ghosts if id_ not in silent
                    for s in ('pitaya/servers/%s/%s' % (type_of(id_), id_), 'pitaya/%s/bindings' % type_of(id_))}
        self.raw.unsubscribe(*(self.subscribed - subjects))
        self.raw.subscribe(*(subjects - self.subscribed))
        self.subscribed = subjects
        want = sorted({self.id, *ghosts})
        until(lambda: sorted(s['id'] for s in self.control('servers', {})['info']), lambda ids: ids == want)


class Ghost(engines.InEtcd):
    """A Go server, as far as etcd tells."""

    def __init__(self, etcd, id_):
        value = '{"id":"%s","type":"%s","metadata":{},"frontend":%s,"hostname":"host-%s"}' % (
            id_, type_of(id_), 'true' if type_of(id_) == 'connector' else 'false', id_)
        self.etcd = etcd
        self.key = base64.b64encode(('pitaya/servers/%s/%s' % (type_of(id_), id_)).encode()).decode()
        engines.ask_etcd(etcd, 'kv/put', {'key': self.key, 'value': base64.b64encode(value.encode()).decode()})


class Play:
    """One case, with our server in the place of one of those in it."""

    def __init__(self, stage, name, case):
        self.stage, self.name, self.case = stage, name, case
        self.values = Values()
        self.clients = {}
        self.replies = {}   # recorded subject of an answer -> the one of this run
        self.expected = []  # recorded lines of our server that have not come
        self.serial = 0
        self.seen = 0       # lines of the record that have been looked at
        self.said = []      # (recorded line, which line it was in this run)
        self.extra = []     # those that were not expected, yet
        self.heard = {}     # client -> what it is to hear
        self.in_request = 0  # requests of others that we have

    # -- what is recorded of us --

    def ours(self, event):
        return event['peer'] == self.stage.id and event['via'] == 'nats' and event.get('direction') != 'from server'

    def place(self, client):
        return PLACES.get(self.name, {}).get(client, 'fe-1')

    def on_us(self, client):
        return self.stage.type == 'connector' and self.place(client) in (self.stage.id, )

    def matches(self, want, line):
        """Is a line of the record this one? Raises Mismatch when it is in all but its bytes."""
        if line['op'].replace('HPUB', 'PUB') != want['op']:
            return False
        if want['op'] != 'PUB':
            return line['subject'] == want['subject']
        subject = self.replies.get(want['subject'], want['subject'])
        if line['subject'] != subject:
            return False
        payload = bytes.fromhex(want['payload_hex'])
        other = BETTER.get((self.name, self.stage.id), {}).get(want['message'])
        if other:
            payload = other(payload)
        if want['message'] == 'protos.Response' and self.name in COMPARE:
            COMPARE[self.name](field(record.pb_raw(line['payload']), 1), field(record.pb_raw(payload), 1))
        elif want['message'] == 'protos.Response' and self.name in ONLY_CODE:
            if code_of(line['payload']) != code_of(payload):
                raise Mismatch('%r, recorded %r' % (line['payload'], payload))
        elif want['message'] == 'protos.Request':
            compare_request(self.values, line['payload'], payload, self.in_request > 0)
            if want.get('reply'):
                self.replies[want['reply']] = line['reply']
        elif want['message'] == 'protos.BindMsg':  # ours say when that was, too
            compare_bytes(self.values, record.pb_write([f for f in record.pb_raw(line['payload']) if f[0] < 15]), payload)
        else:
            compare_bytes(self.values, line['payload'], payload)
        return True

    def quiet(self, line):
        """Nothing that the recordings have: what our servers need for themselves, and what the test has asked for."""
        subject = line.get('subject', '')
        if line['op'] == 'PUB' and not line['payload'] and subject.startswith('pitaya/servers/'):
            return True  # it asks who did not hear a request, as nats.c does not tell
        if subject.startswith('_GHOST.'):  # late answers of the case before
            return not subject.startswith('_GHOST.%s.' % self.name)
        return line['op'] == 'CONNECT' or subject.startswith(('_INBOX.', '_TEST.')) and subject not in self.replies.values()

    def settle(self, timeout=WAIT_S):
        """All that is expected has come."""
        lines = self.stage.nats.lines
        problem = None
        while True:
            while self.seen < len(lines):
                line = lines[self.seen]
                self.seen += 1
                if not self.quiet(line):
                    self.extra.append(line)
            for line in list(self.extra):
                for want in self.expected:
                    try:
                        if self.matches(want, line):
                            self.expected.remove(want)
                            self.said.append((want, lines.index(line)))
                            self.extra.remove(line)
                            break
                    except Mismatch as e:
                        problem = '%s of %s: %s' % (want['op'], want.get('subject'), e)
            if not self.expected:
                return
            if problem or not self.stage.nats.wait(lambda e: True, self.seen, timeout):
                raise Mismatch(problem or 'not said: %r; but %r' % (
                    [(e['op'], e['subject']) for e in self.expected], self.extra))

    # -- the others --

    def client(self, name):
        if name not in self.clients:
            conn = self.stage.server.connect('tcp')
            conn.handshake(timeout=WAIT_S)
            conn.serial = 1 << 20
            self.clients[name] = conn
        return self.clients[name]

    def ask(self, name, route, act):
        conn = self.client(name)
        conn.serial += 1
        answer = conn.call(route, json.dumps(act).encode(), conn.serial, WAIT_S)
        if answer is None or answer.error:
            raise Mismatch('%s: %r' % (route, answer))
        return json.loads(answer.body)

    def prepare(self):
        """The sessions as they are when the case begins."""
        for e in self.case['events']:
            if e['via'] == 'client' and self.on_us(e['peer']) and e['peer'] not in LATER.get(self.name, ()):
                self.client(e['peer'])
        bound = dict(BOUND.get(self.name, {}))
        data = {}
        last = None
        for e in self.case['events']:
            if e['via'] == 'client' and e['op'] in ('request', 'notify'):
                last = e['peer']
            session = e.get('decoded', {}).get('session') if self.ours(e) else None
            if session:
                client = last or next((x['peer'] for x in self.case['events'] if x['via'] == 'client'), 'client-1')
                bound.setdefault(client, session['uid'])
                text = session.get('data', {}).get('text')
                if client not in data and text != '{"ipversion":"ipv4"}':
                    data[client] = text
                bound[client] = session['uid'] if client not in bound else bound[client]
        for client, uid in bound.items():
            if self.on_us(client) and uid:
                answer = self.ask(client, 'connector.bind', {'uid': uid})
                if answer != {'ok': True}:
                    raise Mismatch('bind of %s: %r' % (client, answer))
        for client, text in data.items():
            if self.on_us(client):
                self.ask(client, 'connector.setdata', {'data': json.loads(text or 'null') or {}})
        numbers = [e for e in self.case['events'] if e.get('arguments', {}).get('type') == 'session']
        if numbers and self.stage.type == 'connector':  # asked for by its number: that of client-1
            self.values.same('session', 1, self.session_number('client-1'))

    def session_number(self, client):
        return self.ask(client, 'connector.who', {})['info']['id']

    def publish(self, event):
        """What another server, or the injector, has said."""
        subject = event['subject']
        payload = bytes.fromhex(event['payload_hex'])
        if subject.startswith('_INBOX.'):
            if subject not in self.replies:
                return  # an answer to one of the others
            if self.name in LATE:
                self.hear()
            self.stage.raw.publish(self.replies[subject], payload)
            return
        reply = ''
        if event.get('reply'):
            self.serial += 1
            reply = self.replies[event['reply']] = '_GHOST.%s.%d' % (self.name, self.serial)
        if event.get('message') == 'protos.Request':
            payload = self.with_our_session(payload)
            for m in re.finditer(REQUEST_ID, payload):
                self.values.same('request id', m.group(2), m.group(2))
            if subject.endswith('/' + self.stage.id):
                self.in_request += 1
                self.values.span_came |= bool(SPAN.search(payload))
                if (self.name, self.stage.id) in ANSWERED:
                    self.expected.append({'op': 'PUB', 'subject': event['reply'], 'message': 'protos.Response',
                                          'payload_hex': ANSWERED[self.name, self.stage.id].hex()})
        self.stage.raw.publish(subject, payload, reply)

    def with_our_session(self, payload):
        """The argument of sys.bindsession and sys.pushsession names a session by its number."""
        try:
            fields = record.pb_raw(payload)
            msg = record.pb_raw(field(fields, 3, b''))
        except (IndexError, ValueError):
            return payload  # broken on purpose
        if field(msg, 2, b'').decode(errors='replace').split('.')[-1] not in ('bindsession', 'pushsession'):
            return payload
        session = record.pb_raw(field(msg, 3))
        number = self.values.known('session', field(session, 1, 0))
        if number is None:
            return payload
        msg = with_field(msg, 3, 2, record.pb_write(with_field(session, 1, 0, number)))
        return record.pb_write(with_field(fields, 3, 2, record.pb_write(msg)))

    def request_as_recorded(self, event, index):
        """A client's message; its id is that of the answer, or of the message that our server sent on."""
        data = bytes.fromhex(event.get('data', {}).get('hex', '')) or b'x' * event.get('data_length', 0)
        if event['op'] == 'notify':
            return wire.notify(event['route'], data)
        for e in self.case['events'][index + 1:]:
            if e['via'] == 'client' and e['peer'] == event['peer'] and e['op'] == 'got response':
                return wire.request(e['id'], event['route'], data)
            msg = e.get('decoded', {}).get('msg', {}) if self.ours(e) else {}
            if msg.get('route') == event['route'] and 'session' in e['decoded']:
                return wire.request(msg['id'], event['route'], data)
        return wire.request(1, event['route'], data)

    # -- the play --

    def input(self):
        """Something is about to be done to our server: what it said before must have come."""
        self.settle()
        self.stage.raw.flush()

    def run(self):
        self.prepare()
        self.stage.control('sessions', {})  # what it says comes behind what it said
        self.seen = len(self.stage.nats.lines)
        self.begin()
        asked = None
        for index, event in enumerate(self.case['events']):
            if event['via'] == 'client':
                if not self.on_us(event['peer']):
                    continue
                if event['op'] in ('request', 'notify'):
                    self.input()
                    if asked:
                        self.hear()
                    asked = event['peer']
                    self.client(event['peer']).send(self.request_as_recorded(event, index))
                else:
                    self.hear_later(event)
            elif event['via'] == 'nats':
                if self.ours(event):
                    self.say_later(event, index, asked)
                elif event.get('direction') != 'from server' and event['op'] == 'PUB':
                    self.input()
                    self.publish(event)
            elif event['via'] == 'step':
                self.step(event, index)
        self.settle()
        self.hear()
        self.finish()
        self.settle()
        if self.extra:
            raise Mismatch('said, too: %r' % self.extra)
        self.check_order()

    def check_order(self):
        """What Pitaya's server said on one connection is said in that order: whoever hears an answer finds what is subscribed to."""
        last = {}
        for want, at in sorted(self.said, key=lambda pair: pair[0].get('n', 0)):
            conn = want.get('conn')
            if conn in ('rpc-client', 'rpc-server') and want['op'] != 'UNSUB':
                if at < last.get(conn, (0, None))[0]:
                    raise Mismatch('%r was said before %r' % (want, last[conn][1]))
                last[conn] = at, want

    def finish(self):
        """What it says has been said."""
        self.stage.raw.flush()
        self.stage.control('sessions', {})

    def begin(self):
        """What else is done before the first event."""

    def say_later(self, event, index, asked):
        if event['op'] in ('SUB', 'UNSUB') and event['subject'].startswith('_INBOX.'):
            return  # our servers subscribe to their inbox when they connect
        if DROPPED.get((self.name, self.stage.id), lambda e: False)(event):
            return
        if event['op'] in ('SUB', 'UNSUB') and any(
                e['op'] == event['op'] and e['subject'] == event['subject'] for e in self.expected):
            return  # UNSUB twice: F-05
        self.expected.append(event)
        session = event.get('decoded', {}).get('session')
        if session is not None and not asked and event['message'] == 'protos.Request':  # its cause was not recorded
            msg = event['decoded']['msg']
            data = bytes.fromhex(msg.get('data', {}).get('hex', ''))
            client = next((e['peer'] for e in self.case['events'] if e['via'] == 'client'), 'client-1')
            self.client(client).send(wire.request(msg['id'], msg['route'], data))

    def hear_later(self, event):
        data = bytes.fromhex(event.get('data', {}).get('hex', ''))
        what = {'got response': ('response', event.get('id'), event.get('error_flag'), data),
                'got push': ('push', event.get('route', ''), data),
                'got kick': ('kick',), 'got closed': ('closed',)}.get(event['op'])
        if event['op'] == 'got closed' and self.name in LEAVES:
            self.input()
            self.hear()
            self.clients.pop(event['peer']).close()
        elif what:
            self.heard.setdefault(event['peer'], []).append(what)

    def hear(self):
        """The clients have heard what they were to hear."""
        heard, self.heard = self.heard, {}
        for client, want in heard.items():
            got = []
            while len(got) < len(want):
                item = self.clients[client].next(WAIT_S)
                if item is None:
                    raise Mismatch('%s heard only %r of %r' % (client, got, want))
                if item.kind == 'closed':
                    got.append(('closed',))
                    break
                if item.data[0] == wire.KICK:
                    got.append(('kick',))
                elif item.data[0] == wire.DATA:
                    m = wire.decode_message(item.data[4:])
                    got.append(('push', m.route.decode(), m.body) if m.type == wire.PUSH else
                               ('response', m.id, m.error, m.body))
            if sorted(self.plain(got), key=repr) != sorted(self.plain(want), key=repr):
                raise Mismatch('%s heard %r, recorded %r' % (client, got, want))

    def plain(self, heard):
        return [tuple(self.body(x) if isinstance(x, bytes) else x for x in h) for h in heard]

    @staticmethod
    def body(data):
        """JSON has no order; session numbers and what is masked differ."""
        data = re.sub(REQUEST_ID, rb'\1*\3', data)
        data = re.sub(START_TIME, rb'\g<1>0', data)
        try:
            value = json.loads(data)
        except ValueError:
            return data
        if isinstance(value, dict) and isinstance(value.get('info'), dict) and 'frontend' in value['info']:
            value['info'].pop('id')
        return json.dumps(value, sort_keys=True)

    def step(self, event, index):
        if event['op'] == 'control' and event['peer'] == self.stage.id:
            self.input()
            self.hear()
            result = next(e for e in self.case['events'][index:] if e['op'] == 'control result')
            self.started = Asked(self, event)
            self.started.result = result['result']
        elif event['op'] == 'control result' and event['peer'] == self.stage.id:
            self.settle()
            self.started.check()

    def close(self):
        """Leave nothing behind for the next case."""
        for conn in self.clients.values():
            conn.close()
        self.clients = {}
        until(lambda: self.stage.control('sessions', {})['info'], lambda count: count == 0)


def doubles(value):
    """What a Go program has read from JSON."""
    if isinstance(value, dict):
        return {k: doubles(v) for k, v in value.items()}
    return int(float(value)) if isinstance(value, int) and not isinstance(value, bool) else value


class Asked:
    """A control operation under way."""

    def __init__(self, play, event):
        self.play = play
        self.name = event['operation']
        act = dict(event['arguments'])
        op = self.name
        if op == 'rpc':
            act['ctx'] = doubles(act.get('ctx')) or act.pop('ints', None) or {}
            if 'tags' in act:
                act['ctx'] = {'metric-tags': act.pop('tags')}
        elif op == 'rpcraw':  # the argument as it was recorded
            request = next((e for e in play.case['events'] if e.get('message') == 'protos.Request'), None)
            act = {'route': act['route'], 'server': act.get('server', ''),
                   'hex': request['decoded']['msg'].get('data', {}).get('hex', '')}
        elif op.startswith('group/'):
            act['text'] = op.partition('/')[2]
            op = 'group'
        stage = play.stage
        stage.serial += 1
        self.reply = '_TEST.%d' % stage.serial
        text = json.dumps({'op': op, 'arguments': act}).encode()
        msg = record.pb_write([(2, 2, b'control.run'), (3, 2, record.pb_write([(1, 2, text)]))])
        stage.raw.publish('pitaya/servers/%s/%s' % (stage.type, stage.id),
                          record.pb_write([(1, 0, 1), (3, 2, msg), (5, 2, b'{}')]), self.reply)

    def answer(self):
        line = self.play.stage.nats.wait(lambda e: e['op'] == 'PUB' and e['subject'] == self.reply, timeout=WAIT_S)
        if not line:
            raise Mismatch('%s is not answered' % self.name)
        response = record.pb_raw(line['payload'])
        return json.loads(say_of(field(response, 1))['text'])

    def check(self):
        got, want = self.answer(), dict(self.result)
        other = CALLERS_SEE.get(self.play.name)
        if other:
            return other(self.play, got, want)
        if got['ok'] != want['ok'] or got.get('err') != want.get('err') and self.play.name not in ONLY_CODE:
            raise Mismatch('%r, recorded %r' % (got, want))
        if not want['ok']:
            code = want.get('info') and want['info']['json'].get('Code')
            if code and got['code'] != code:
                raise Mismatch('%r, recorded %r' % (got, want))
            return
        if self.name == 'rpcraw' or not want.get('info'):
            return  # its bytes were compared on the wire
        if not same_json(self.play.values, got.get('info'), want['info']):
            raise Mismatch('%r, recorded %r' % (got, want))


# -- where another outcome is right --

def failed(code, msg):
    return record.pb_write([(2, 2, record.pb_write([(1, 2, code), (2, 2, msg)]))])


def say(text, n):
    return record.pb_write([(1, 2, record.pb_write([(1, 2, text), (2, 0, n)]))])


def in_meta(old, new):
    """A change of the context of a request."""
    def change(payload):
        fields = record.pb_raw(payload)
        return record.pb_write(with_field(fields, 5, 2, re.sub(old, new, field(fields, 5))))
    return change


def empty_data(payload):
    """The session's data are {} in place of null."""
    fields = record.pb_raw(payload)
    msg = record.pb_raw(field(fields, 3))
    session = with_field(record.pb_raw(field(msg, 3)), 3, 2, b'{}')
    return record.pb_write(with_field(fields, 3, 2, record.pb_write(with_field(msg, 3, 2, record.pb_write(session)))))


# (case, server) -> {message: fn(recorded payload) -> the right one}
BETTER = {
    # DON'T COPY: a span that is none is not looked at
    ('raw-metadata-span-string', 'be-1'): {'protos.Response': lambda p: say(b'hello', 2)},
    # DON'T COPY: a timeout that is none means the default
    ('rpc-bad-timeout', 'fe-1'): {'protos.Request': in_meta(b'"soon"', b'"5s"')},
    # TOLERATE: there, what the first call noted goes out with the second
    ('rpc-same-context-twice', 'fe-1'): {'protos.Request': in_meta(b'"req-route".*?,"req-start-time":[0-9]+,', b'')},
    # DON'T COPY: uids that would be wildcards are refused
    ('bind-uid-wildcard', 'fe-1'): {'protos.Response': lambda p: failed(b'PIT-000', b'illegal uid')},
    # and others that are no subject, in the same words; Pitaya's are those of the NATS library
    ('bind-uid-with-space', 'fe-1'): {'protos.Response': lambda p: failed(b'PIT-000', b'illegal uid')},
    # DON'T COPY: no data are {}, never null
    ('session-null-data', 'be-1'): {'protos.Request': empty_data},
    # A JSON value is answered as JSON to clients of either serializer; Pitaya sends an error as if it were an answer
    ('protobuf-not-a-message', 'be-1'): {'protos.Response': lambda p: record.pb_write([(
        1, 2, b'{"ok":true,"info":{"data":{"ipversion":"ipv4"},"frontend":false,"id":0,"uid":""}}')])},
    # TOLERATE: an empty answer is an answer
    ('sys-request-empty', 'be-1'): {'protos.Response': lambda p: b''},
}
# (case, server) -> which recorded lines are not said
DROPPED = {
    ('bind-uid-wildcard', 'fe-1'): lambda e: e['op'] == 'SUB' or e['message'] == 'protos.BindMsg',
}
# A second session of a user on this frontend takes over the subscriptions of the first, which stay as they are.
for again in (('unique-same-frontend', 'fe-2'), ('unique-off-same-frontend', 'fe-3')):
    DROPPED[again] = lambda e: e['op'] in ('SUB', 'UNSUB')
# (case, server) -> an answer where Pitaya's server ends. DON'T COPY
ANSWERED = {
    ('raw-metadata-null', 'be-1'): failed(b'PIT-500', b'no context found'),
    ('raw-metadata-number-timeout', 'be-1'): failed(b'PIT-500', b'reqTimeout is no duration'),
}
# The text is that of a Go library.
ONLY_CODE = {
    'raw-arg-bad', 'raw-arg-bad-utf8', 'raw-metadata-array', 'raw-metadata-bad-json', 'raw-metadata-bad-timeout',
    'raw-sys-bad-session-data', 'rpc-bad-timeout', 'sys-error-bad-argument', 'sys-pushsession-bad-json', 'protobuf-bad-argument',
}


def bad_timeout_seen(play, got, want):
    """The call went out with the default, and what answered was recorded from a server that heard of "soon"."""
    if got['ok'] or got['code'] != 'PIT-500':
        raise Mismatch('%r' % got)


def sessions_seen(play, got, want):
    """F-05: there, a session that a rebind ends is counted off twice."""
    if got['info'] != (want['info'] or 1):
        raise Mismatch('%r' % got)


# case -> fn(play, got, recorded)
CALLERS_SEE = {'rpc-bad-timeout': bad_timeout_seen, 'unique-off-same-frontend': sessions_seen}


def same_descriptors(got, want):
    """Another compressor makes other bytes; what they hold is the same."""
    a, b = ([gzip.decompress(v) for _, _, v in record.pb_raw(x)] for x in (got, want))
    if a != b:
        raise Mismatch('%r, recorded %r' % (a, b))


def same_docs(got, want):
    """Every remote, and the handlers that have message types here, too; Go's name for the package is peerpb. JSON has no types."""
    a, b = (json.loads(field(record.pb_raw(x), 1).replace(b'peerpb.', b'peer.')) for x in (got, want))
    for route, types in b['remotes'].items():
        if a['remotes'].get(route) != types:
            raise Mismatch('%s: %r, recorded %r' % (route, a['remotes'].get(route), types))
    for route, types in b['handlers'].items():
        typed = route.rsplit('.')[2] in ('say', 'sayfail', 'saypush', 'protos', 'echo')
        if route not in a['handlers'] or typed and a['handlers'][route] != types:
            raise Mismatch('%s: %r, recorded %r' % (route, a['handlers'].get(route), types))


# case -> fn(got, recorded), of the data of answers
COMPARE = {'docs-descriptor': same_descriptors, 'docs-remote': same_docs, 'docs-remote-types': same_docs}
# The answer was too late there, which events in the order of their connections do not show.
LATE = {'sys-timeout'}
# Cases that another test plays from their files: prefix -> where.
ELSEWHERE = {
    'group-': 'interop/recorded_life: test_groups; interop/peer: GroupsInEtcd',
    **dict.fromkeys(('etcd-', 'nats-', 'fault-backend', 'fault-frontend', 'fault-dropped', 'drain-'), 'interop/recorded_life'),
}
# Prefix -> why.
NOT_APPLICABLE = {
    'grpc-': 'the gRPC transport is to come',
    'redis-': 'reliable RPC is to come',
}


def why_not(name, table):
    return next((why for prefix, why in table.items() if name.startswith(prefix)), None)


def servers_of(name, case):
    """Those in whose place ours is put."""
    out = {e['peer'] for e in case['events'] if e['peer'].startswith(('fe-', 'be-'))}
    for e in case['events']:
        if e['via'] == 'client':
            out.add(PLACES.get(name, {}).get(e['peer'], 'fe-1'))
        if e['via'] == 'nats' and e['peer'] == 'injector':  # whom does it speak to
            subject = e['subject']
            out.add(subject.rsplit('/', 1)[1] if subject.startswith('pitaya/servers/') else 'fe-1')
    return sorted(out)


class EveryCase(unittest.TestCase):
    def test_is_played_or_has_a_reason(self):
        for name in ALL:
            with self.subTest(name):
                places = [is_of_messages(name), bool(why_not(name, ELSEWHERE)), bool(why_not(name, NOT_APPLICABLE))]
                self.assertEqual(sum(places), 1, 'nobody plays it, and nobody says why' if not any(places) else places)
        for table in (BOUND, PLACES, LEAVES, ONLY_CODE, COMPARE, LATE, CALLERS_SEE, {k[0] for k in (*BETTER, *DROPPED, *ANSWERED)}):
            self.assertLessEqual(set(table), set(ALL))  # of cases that are there


class Messages(unittest.TestCase):
    maxDiff = None

    def test_between_servers_and_their_clients(self):
        plays = {}
        for name in ALL:
            if is_of_messages(name):
                case = load(name)
                for server in servers_of(name, case):
                    own = case['topology'].get(server, {})
                    plays.setdefault((server, tuple(own.get('config', ()))), []).append((name, case))
        only = os.environ.get('INTEROP_ONLY')
        for (server, config), cases in sorted(plays.items()):
            if only and not any(re.search(only, n) for n, _ in cases):
                continue
            stage = Stage(server, config)
            try:
                for name, case in cases:
                    if only and not re.search(only, name):
                        continue
                    with self.subTest('%s in the place of %s' % (name, server)):
                        self.play(stage, name, case)
            except BaseException:
                stage.kill()
                raise
            self.assertIsNone(stage.stop())

    def play(self, stage, name, case):
        silent = {'be-1'} if name.startswith('fault-no-responders') else ()  # dead, but in etcd
        stage.meet(sorted({s for s in case['topology'] if s != stage.id} | {'be-1', 'fe-1'} - {stage.id}), silent)
        play = Play(stage, name, case)
        try:
            play.run()
        except Mismatch as e:
            self.fail(str(e)[:3000])
        finally:
            play.close()


if __name__ == '__main__':
    unittest.main(verbosity=2)
