"""Where clients come from: a server that listens on both families tells them apart, on every transport."""
import json
import os
import socket
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'support'))
from cereus_behaviour import BUSY_S, BehaviourTest, main, tls_args  # noqa: E402

TRANSPORTS = ('tcp', 'ws', 'tls', 'wss')


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(('::1', 0))
        return True
    except OSError:
        return False


class Families(BehaviourTest):
    def listen(self, host, **options):
        args = tls_args()
        for transport in TRANSPORTS:
            args += ['--' + transport, host + ':0']  # the last of a flag counts
        self.serve(args=args, **options)

    def assert_comes_from(self, conn, family, address):
        data = json.loads(conn.call('test.sessdata', b'', 3, BUSY_S).body)
        self.assertEqual(data, {'ipversion': family})
        self.assertEqual(conn.call('test.raddr', b'', 4, BUSY_S).body.decode().rsplit(':', 1)[0], address)
        conn.close()

    @unittest.skipUnless(has_ipv6(), 'this machine has no IPv6')
    def test_each_family_has_its_listener(self):
        for host, family in (('[::1]', 'ipv6'), ('127.0.0.1', 'ipv4')):
            self.listen(host)
            for transport in TRANSPORTS:
                self.assert_comes_from(self.login(transport), family, host)
            self.tearDown()
        del self.server  # ended, and looked at

    @unittest.skipUnless(has_ipv6(), 'this machine has no IPv6')
    def test_a_listener_of_both_families_tells_them_apart(self):
        self.listen('[::]')
        listening = dict(self.server.addresses)
        for transport in TRANSPORTS:
            port = listening[transport].rsplit(':', 1)[1]
            for host, family in (('[::1]', 'ipv6'), ('127.0.0.1', 'ipv4')):
                self.server.addresses[transport] = host + ':' + port
                self.assert_comes_from(self.login(transport), family, host)

    def test_behind_a_load_balancer_the_clients_family_counts(self):
        v6 = b'PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n'
        v4 = b'PROXY TCP4 192.168.0.1 10.0.0.1 56324 443\r\n'
        self.listen('127.0.0.1', settings={'proxy_protocol': True}, bystander={'head': v4})
        for transport in TRANSPORTS:
            self.assert_comes_from(self.login(transport, head=v6), 'ipv6', '[2001:db8::7]')
            self.assert_comes_from(self.login(transport, head=v4), 'ipv4', '192.168.0.1')


if __name__ == '__main__':
    main()
