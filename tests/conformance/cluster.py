#!/usr/bin/env python3
"""The cluster that the client vectors speak to (tests/vectors/client/README.md, last paragraphs): two frontends of type
connector, a room behind them, a server of type ghost that is listed but dead, and one of type mute that never answers.

    cluster [--etcd HOST:PORT | --local DIR] [--nats URL] [--settings JSON] [--tcp HOST:PORT] [--tcpb HOST:PORT]
            [--prefix pitaya/] [--server PATH] [--set KEY=VALUE]...

When every server knows what it needs to know of the others it prints `READY tcp=HOST:PORT tcpb=HOST:PORT`, and it ends on
SIGTERM with 0 when all of them did. --local DIR: the engines of one machine, which need nothing else; with --nats, the run
directory and NATS.
"""
import argparse
import json
import os
import signal
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, '..', 'support'), '@support@']  # beside its source, or in a build directory
import cereus_engines as engines  # noqa: E402
import cereus_wire as wire  # noqa: E402

SETTINGS = {'server_type': 'connector', 'service': 'test', 'serializer': 'json', 'data_compression': False,
            'dictionary': {}, 'heartbeat_s': 30, 'dispatch': 1, 'write_timeout_s': 10, 'cluster': True}
KNOWN_S = 60  # how long servers may take to hear of one another


def wait_until_known(server, conns):
    """The room answers the clients of this server."""
    conn = server.connect('tcp')
    conns.append(conn)
    conn.handshake()
    deadline = time.monotonic() + KNOWN_S
    while True:
        m = conn.call('room.test.echo', b'there?', timeout=KNOWN_S)
        if m and not m.error and m.body == b'there?':
            return
        if time.monotonic() > deadline:
            raise RuntimeError('the room does not answer: %r' % (m,))
        time.sleep(0.02)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--etcd', default='127.0.0.1:2379')
    parser.add_argument('--nats', help='default: nats://127.0.0.1:4222, with --local none')
    parser.add_argument('--local', metavar='DIR')
    parser.add_argument('--settings', default=json.dumps(SETTINGS))
    parser.add_argument('--tcp', default='127.0.0.1:0')
    parser.add_argument('--tcpb', default='127.0.0.1:0')
    parser.add_argument('--prefix', default='pitaya/')
    parser.add_argument('--server', default=os.path.join(HERE, 'server'))
    parser.add_argument('--set', action='append', default=[], metavar='KEY=VALUE')
    parser.add_argument('--home')
    parser.add_argument('--loops')
    args = parser.parse_args()
    if not args.local and not args.nats:
        args.nats = 'nats://127.0.0.1:4222'
    for s in (signal.SIGTERM, signal.SIGINT):
        signal.signal(s, lambda *_: sys.exit(0))  # also before everything is up: what is gets stopped

    settings = json.loads(args.settings)
    keys = ['pitaya.cluster.rpc.client.nats.requesttimeout=1s', 'pitaya.session.unique=true']
    keys += engines.settings(args.local, args.etcd, args.nats, args.prefix)
    common = [x for k in keys + args.set for x in ('--set', k)]
    for flag in ('home', 'loops'):
        if getattr(args, flag):
            common += ['--' + flag, getattr(args, flag)]
    running, fakes, conns, wrong = [], [], [], []

    def fake(type_, mute):
        id_ = type_ + '-1'
        if mute:
            fakes.append(engines.MuteOnNats(args.nats, type_, id_) if args.nats else
                         engines.MuteInDirectory(args.local, id_))
        fakes.append(engines.InDirectory(args.local, type_, id_) if args.local else
                     engines.InEtcd(args.etcd, args.prefix, type_, id_))

    def start(type_, id_, *more):
        server = wire.Server([args.server, '--settings', json.dumps(dict(settings, server_type=type_)), *common,
                              '--set', 'cereus.id=' + id_, *more])
        running.append(server)
        return server

    try:
        if args.local:
            os.makedirs(args.local, 0o700, exist_ok=True)
        fake('ghost', mute=False)
        fake('mute', mute=True)
        # Each finds those before it when it starts; that the room has come the frontends hear a moment later.
        fronts = {'tcp': start('connector', 'conn-a', '--tcp', args.tcp),
                  'tcpb': start('connector', 'conn-b', '--tcp', args.tcpb)}
        start('room', 'room-1', '--backend', 'yes')
        for server in fronts.values():
            wait_until_known(server, conns)
        print('READY ' + ' '.join('%s=%s' % (k, s.addresses['tcp']) for k, s in fronts.items()), flush=True)
        while True:
            signal.pause()
    except wire.Refused as e:
        wrong.append('a server did not start: %s' % e)
    finally:
        for s in (signal.SIGTERM, signal.SIGINT):
            signal.signal(s, signal.SIG_IGN)
        for conn in conns:
            conn.close()
        for server in reversed(running):
            problem = server.stop()
            if problem:
                wrong.append('%s %s' % (' '.join(server.command), problem))
        for f in fakes:
            f.stop()
        for text in wrong:
            print('cluster: ' + text, file=sys.stderr)
        if wrong:
            sys.exit(1)


if __name__ == '__main__':
    main()
