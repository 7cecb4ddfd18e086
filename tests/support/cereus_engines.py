"""What servers of a cluster meet through, for the Python tests: etcd and NATS of the test's own on free ports, or a run
directory of the local engines. And servers that are listed but only seem to be there.
"""
import base64
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
import urllib.request

START_S = 60


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Etcd:
    """etcd with an empty store. address: HOST:PORT. tls: files of a CA, a certificate and its key; then clients need one, too."""

    def __init__(self, tls=None):
        self.tls = tls
        self.dir = tempfile.mkdtemp(prefix='cereus-etcd-')
        self.proc = None
        try:
            self.start()
        except BaseException:
            self.stop()
            raise

    def start(self):
        for _ in range(10):  # somebody else may take a port that was free a moment ago
            client, peer = free_port(), free_port()
            self.address = '127.0.0.1:%d' % client
            urls = ['http://127.0.0.1:%d' % p for p in (client, peer)]
            health, extra = urls[0], []
            if self.tls:
                urls[0], health = 'https://' + self.address, 'http://127.0.0.1:%d' % free_port()
                extra = ['--trusted-ca-file', self.tls[0], '--cert-file', self.tls[1], '--key-file', self.tls[2],
                         '--client-cert-auth', '--listen-metrics-urls', health]
            with open(os.path.join(self.dir, 'log'), 'ab') as log:
                self.proc = subprocess.Popen(
                    ['etcd', '--name', 'test', '--data-dir', os.path.join(self.dir, 'data'), '--unsafe-no-fsync',
                     '--listen-client-urls', urls[0], '--advertise-client-urls', urls[0], '--listen-peer-urls', urls[1],
                     '--initial-advertise-peer-urls', urls[1], '--initial-cluster', 'test=' + urls[1], *extra],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            deadline = time.monotonic() + START_S
            while self.proc.poll() is None and time.monotonic() < deadline:
                try:
                    with urllib.request.urlopen(health + '/health', timeout=5) as answer:
                        if b'true' in answer.read():
                            return
                except OSError:
                    pass
                time.sleep(0.02)
            self.proc.kill()
            self.proc.wait()
            shutil.rmtree(os.path.join(self.dir, 'data'), ignore_errors=True)
        with open(os.path.join(self.dir, 'log'), errors='replace') as log:
            raise RuntimeError('etcd did not start: ' + log.read()[-2000:])

    def stop(self):
        if self.proc and self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


class Nats:
    """nats-server, with more arguments for it. url: nats://HOST:PORT; cluster: where others of a cluster connect; monitoring:
    with '-m', '-1', where it tells of itself."""

    def __init__(self, *args):
        self.dir = tempfile.mkdtemp(prefix='cereus-nats-')
        log = os.path.join(self.dir, 'log')
        self.proc = subprocess.Popen(
            ['nats-server', '--addr', '127.0.0.1', '--port', '-1', '--ports_file_dir', self.dir, '--log', log,
             *args],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ports = os.path.join(self.dir, 'nats-server_%d.ports' % self.proc.pid)
        deadline = time.monotonic() + START_S
        while True:
            try:
                with open(ports) as f:
                    places = json.load(f)
                self.url = places['nats'][0]
                self.cluster = places.get('cluster', [None])[0]
                self.monitoring = places.get('monitoring', [None])[0]
                return
            except (OSError, ValueError):
                if self.proc.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise RuntimeError('nats-server did not start') from None
            time.sleep(0.01)

    def stop(self):
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


KINDS = ('local', 'nats', 'etcd')


class Engines:
    """Engines of a test's own. kind: 'local', a run directory; 'nats', one and NATS; 'etcd', etcd and NATS."""

    def __init__(self, kind):
        self.dir = self.nats = self.etcd = None
        self.parts = []
        try:
            if kind == 'etcd':
                self.parts.append(Etcd())
                self.etcd = self.parts[-1].address
            else:
                self.dir = tempfile.mkdtemp(prefix='cereus-run-')
            if kind != 'local':
                self.parts.append(Nats())
                self.nats = self.parts[-1].url
        except BaseException:
            self.stop()
            raise

    def stop(self):
        for part in self.parts:
            part.stop()
        if self.dir:
            shutil.rmtree(self.dir, ignore_errors=True)


def settings(directory=None, etcd=None, nats=None, prefix='pitaya/'):
    """The settings, KEY=VALUE, of servers that meet there."""
    if directory:
        keys = ['cereus.cluster=local', 'cereus.cluster.dir=' + directory]
    else:
        keys = ['cereus.cluster=etcd', 'pitaya.cluster.sd.etcd.endpoints=' + etcd,
                'pitaya.cluster.sd.etcd.prefix=' + prefix]
    if nats:
        keys += ['cereus.cluster.rpc=nats', 'pitaya.cluster.rpc.client.nats.connect=' + nats,
                 'pitaya.cluster.rpc.server.nats.connect=' + nats]
    return keys


# -- listed, but not there --

def server_value(type_, id_):
    return json.dumps({'id': id_, 'type': type_, 'metadata': {}, 'frontend': False, 'hostname': 'nowhere'},
                      separators=(',', ':')).encode()


class InDirectory:
    """A server that is listed in a run directory."""

    def __init__(self, directory, type_, id_):
        self.path = os.path.join(directory, id_ + '.json')
        self.file = open(self.path + '.new', 'w+b')  # what has its name and no lock is dead to others
        lock = struct.pack('hhqqi4x', fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)  # struct flock
        fcntl.fcntl(self.file, fcntl.F_OFD_SETLK, lock)
        self.file.write(server_value(type_, id_))
        self.file.flush()
        os.rename(self.file.name, self.path)

    def stop(self):
        os.unlink(self.path)
        self.file.close()


def ask_etcd(address, what, question):
    """What etcd answers to a call of its JSON gateway, such as 'kv/put'; keys and values are base64 there."""
    request = urllib.request.Request('http://%s/v3/%s' % (address, what), json.dumps(question).encode())
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


def keys_in_etcd(address, prefix):
    """The keys that begin with it."""
    begin = prefix.encode()
    end = begin[:-1] + bytes([begin[-1] + 1])
    question = {'key': base64.b64encode(begin).decode(), 'range_end': base64.b64encode(end).decode(), 'keys_only': True}
    return [base64.b64decode(kv['key']).decode() for kv in ask_etcd(address, 'kv/range', question).get('kvs', [])]


def put_in_etcd(address, key, value):
    ask_etcd(address, 'kv/put', {'key': base64.b64encode(key.encode()).decode(), 'value': base64.b64encode(value).decode()})


class InEtcd:
    """A server that is listed in etcd."""

    def __init__(self, etcd, prefix, type_, id_):
        self.etcd = etcd
        self.key = base64.b64encode(('%sservers/%s/%s' % (prefix, type_, id_)).encode()).decode()
        ask_etcd(etcd, 'kv/put', {'key': self.key, 'value': base64.b64encode(server_value(type_, id_)).decode()})

    def stop(self):
        try:
            ask_etcd(self.etcd, 'kv/deleterange', {'key': self.key})
        except OSError:
            pass  # etcd has gone before


class MuteInDirectory:
    """Takes the connections of others and never says a word."""

    def __init__(self, directory, id_):
        self.path = os.path.join(directory, id_ + '.sock')
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(self.path)
        self.sock.listen(64)

    def stop(self):
        self.sock.close()
        os.unlink(self.path)


def await_cluster(nats, count):
    """Until that server tells clients of @p count servers."""
    host, port = nats.split('://', 1)[1].rsplit(':', 1)
    deadline = time.monotonic() + START_S
    while True:
        with socket.create_connection((host, int(port)), 20) as sock, sock.makefile('rb') as lines:
            info = json.loads(lines.readline().split(b' ', 1)[1])
        if len(info.get('connect_urls', ())) >= count:
            return
        if time.monotonic() > deadline:
            raise RuntimeError('NATS knows of %r only' % info.get('connect_urls'))
        time.sleep(0.02)


def clients_of(nats):
    """The names of those who are connected to it."""
    with urllib.request.urlopen(nats.monitoring + '/connz', timeout=20) as answer:
        return [c.get('name') for c in json.load(answer)['connections']]


def publish(nats, messages):
    """Publish (subject, bytes) as somebody who is no server; NATS has them all when this returns."""
    host, port = nats.split('://', 1)[1].rsplit(':', 1)
    with socket.create_connection((host, int(port)), 20) as sock:
        sock.sendall(b'CONNECT {"verbose":false}\r\n')
        for subject, data in messages:
            sock.sendall(b'PUB %s %d\r\n%s\r\n' % (subject.encode(), len(data), data))
        sock.sendall(b'PING\r\n')
        heard = b''
        while b'PONG' not in heard:
            more = sock.recv(4096)
            if not more:
                raise RuntimeError('NATS closed the connection: %r' % heard)
            heard += more


class MuteOnNats:
    """Has subscribed to its subject and never says a word."""

    def __init__(self, nats, type_, id_):
        host, port = nats.split('://', 1)[1].rsplit(':', 1)
        self.sock = socket.create_connection((host, int(port)), 20)
        self.sock.sendall(b'CONNECT {"verbose":false}\r\nSUB pitaya/servers/%s/%s 1\r\nPING\r\n'
                          % (type_.encode(), id_.encode()))
        heard = b''
        while b'PONG' not in heard:  # the subscription is there then
            more = self.sock.recv(4096)
            if not more:
                raise RuntimeError('NATS closed the connection: %r' % heard)
            heard += more
        self.sock.settimeout(None)
        threading.Thread(target=self.stay, daemon=True).start()

    def stay(self):
        """Answer pings, and nothing else."""
        try:
            while data := self.sock.recv(65536):
                if b'PING\r\n' in data:
                    self.sock.sendall(b'PONG\r\n')
        except OSError:
            pass  # it was closed

    def stop(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # NATS has gone before
        self.sock.close()
