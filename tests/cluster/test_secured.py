"""etcd and NATS with certificates, with passwords, and several of them, set as an operator does, by a file of settings. A mistake in
one ends the start with one line that names the key.
"""
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'support'))
import cereus_engines  # noqa: E402
import cereus_wire as wire  # noqa: E402
from cereus_behaviour import main  # noqa: E402
from cereus_cluster import NOBODY, RETRYABLE, TIMEOUT_MS, ClusterTest  # noqa: E402

CERT, KEY, OTHER = (os.path.join(os.environ['TEST_TLS'], name) for name in ('server.crt', 'server.key', 'other.crt'))

ETCD_TLS = """
pitaya: {{cluster: {{sd: {{etcd: {{endpoints: ["https://{address}"]}}}}}}}}
cereus:
  cluster:
    sd:
      etcd:
        tls: {{ca: {ca}, cert: {cert}, key: {key}}}
"""
ETCD_PASSWORD = """
pitaya:
  cluster:
    sd:
      etcd: {{endpoints: ["127.0.0.1:{dead}", "{address}"], user: root, pass: {password}}}
"""
NATS_TLS = """
pitaya: {{cluster: {{rpc: {{client: {{nats: {{connect: "tls://localhost:{port}"}}}}}}}}}}
cereus:
  cluster:
    rpc:
      nats:
        tls: {{ca: {ca}, cert: {cert}, key: {key}, name: "{name}"}}
"""
NATS = """
pitaya:
  cluster:
    rpc:
      client:
        nats: {{connect: "{urls}", reconnectwait: 50ms}}
"""


class SecuredTest(ClusterTest):
    kind = 'etcd'

    def places(self, etcd=None, nats=None):
        """But those that are in the file."""
        return [s for s in super().places() if s.split('=')[0].rsplit('.', 2)[1:] not in self.in_file]

    def file(self, text):
        path = os.path.join(self.dir, 'settings-%d.yaml' % next(self.serial))
        with open(path, 'w') as f:
            f.write(text)
        self.in_file = [['nats', 'connect']] if 'nats' in text else [['etcd', 'endpoints']]
        return path

    def nats(self, text):
        """A NATS with such settings."""
        nats = cereus_engines.Nats('-c', self.file(text))
        self.addCleanup(nats.stop)
        return nats

    def etcd(self, **options):
        etcd = cereus_engines.Etcd(**options)
        self.addCleanup(etcd.stop)
        return etcd

    def start_pair(self, text):
        """Two servers with that file of settings, and players who need both."""
        path = self.file(text)
        front = self.serve('front', 'front-1', path)
        self.serve('room', 'room-1', path)
        self.await_members(front, 'room', 1)
        players = self.play(front, 'room.x.echo', 2, b'%d'.__mod__)
        self.wait_for_all(players, 20)
        return front, players

    def assert_plays(self, text):
        _, players = self.start_pair(text)
        self.finish_all(players)
        self.assert_answered(players, [])

    def assert_refused(self, text, *words):
        with self.assertRaises(wire.Refused) as refused:
            self.serve('room', 'room-9', self.file(text), 'pitaya.cluster.rpc.client.nats.maxreconnectionretries=0',
                       'pitaya.cluster.sd.etcd.dialtimeout=%dms' % TIMEOUT_MS)
        line = str(refused.exception).splitlines()[-1]
        for word in words:
            self.assertIn(word, line)

    def test_etcd_over_tls(self):
        good = dict(address=self.etcd(tls=(CERT, CERT, KEY)).address, ca=CERT, cert=CERT, key=KEY)
        self.assert_plays(ETCD_TLS.format(**good))
        for change, *words in (({'ca': OTHER}, 'cereus.cluster.sd.etcd.tls.ca', 'certificate is not accepted'),
                               ({'ca': '/nowhere.pem'}, 'cereus.cluster.sd.etcd.tls.ca: ', '/nowhere.pem'),
                               ({'cert': OTHER}, 'cereus.cluster.sd.etcd.tls.cert: ', KEY),
                               ({'key': '""'}, 'cereus.cluster.sd.etcd.tls.key: ', 'both or neither')):
            self.assert_refused(ETCD_TLS.format(**dict(good, **change)), *words)

    def test_etcd_with_a_password_and_an_endpoint_that_is_down(self):
        etcd = self.etcd()
        for what, question in (('auth/user/add', {'name': 'root', 'password': 'sesame'}), ('auth/role/add', {'name': 'root'}),
                               ('auth/user/grant', {'user': 'root', 'role': 'root'}), ('auth/enable', {})):
            cereus_engines.ask_etcd(etcd.address, what, question)
        good = dict(address=etcd.address, dead=cereus_engines.free_port(), password='sesame')
        self.assert_plays(ETCD_PASSWORD.format(**good))
        self.assert_refused(ETCD_PASSWORD.format(**dict(good, password='simsalabim')), 'pitaya.cluster.sd.etcd.endpoints, .user, .pass: ',
                            'authentication failed')

    def test_nats_over_tls(self):
        nats = self.nats('tls {cert_file: "%s", key_file: "%s", ca_file: "%s", verify: true}' % (CERT, KEY, CERT))
        good = dict(port=nats.url.rsplit(':', 1)[1], ca=CERT, cert=CERT, key=KEY, name='')
        self.assert_plays(NATS_TLS.format(**good))
        connect, ca = 'pitaya.cluster.rpc.client.nats.connect', 'cereus.cluster.rpc.nats.tls.ca'
        for change, *words in (({'ca': OTHER}, connect, ca, 'SSL'), ({'name': 'elsewhere.example'}, connect, 'SSL'),
                               ({'ca': '/nowhere.pem'}, ca + ': ', '/nowhere.pem'),
                               ({'cert': OTHER}, 'cereus.cluster.rpc.nats.tls.cert: ', KEY)):
            self.assert_refused(NATS_TLS.format(**dict(good, **change)), *words)

    def test_nats_with_a_password(self):
        address = self.nats('authorization {user: game, password: sesame}').url.split('://')[1]
        self.assert_plays(NATS.format(urls='nats://game:sesame@' + address))
        self.assert_refused(NATS.format(urls='nats://game:simsalabim@' + address), 'pitaya.cluster.rpc.client.nats.connect',
                            'Authorization Violation')

    def test_several_nats_servers_of_which_some_are_down(self):
        ports = [cereus_engines.free_port() for _ in range(2)]
        routes = ', '.join('"nats://127.0.0.1:%d"' % p for p in ports)
        servers = [self.nats('cluster {listen: "127.0.0.1:%d", routes: [%s]}' % (p, routes)) for p in ports]
        dead = 'nats://127.0.0.1:%d' % cereus_engines.free_port()
        front, players = self.start_pair(NATS.format(urls=','.join([dead, *(n.url for n in servers)])))
        servers[0].proc.send_signal(signal.SIGKILL)  # who was there moves
        servers[0].proc.wait()
        self.wait_for_all(players, 50, 'ok')
        self.wait_until(lambda: self.ready(front), 'ready on the other')
        self.finish_all(players)
        self.assert_answered(players, [*RETRYABLE, NOBODY])

    def ready(self, server):
        conn = server.connect()
        conn.handshake()
        m = conn.call('front.x.ready')
        conn.close()
        return m.body == b'yes'


if __name__ == '__main__':
    main()
