#!/usr/bin/env python3
"""Plays the Autobahn cases (kosoku's fuzzing client) against tests/conformance/ws-echo, and reads its report: every case
of the groups 1 to 7, 9 and 10 is OK, strictly, save the three that Autobahn itself calls informational; the groups 12 and
13 find extensions refused cleanly.

    autobahn.py --echo PROGRAM --venv FOLDER --transport ws|wss

The player is installed into FOLDER on the first run, by pip, in the version that requirements.txt names; a FOLDER that has
it is used as it is, without a network. It speaks no TLS: for wss a relay in this process does that for it.
"""
import argparse
import asyncio
import collections
import fcntl
import json
import pathlib
import ssl
import subprocess
import sys
import tempfile
import threading
import venv

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'support'))
import cereus_wire as wire  # noqa: E402

REQUIREMENTS = HERE / 'requirements.txt'
CASES = {1: 16, 2: 11, 3: 7, 4: 10, 5: 20, 6: 145, 7: 37, 9: 54, 10: 1, 12: 90, 13: 126}  # of each group
INFORMATIONAL = {'7.1.6', '7.13.1', '7.13.2'}
EXTENSIONS = {12, 13}
AT_ONCE = 4  # cases at a time
# The cases give a server half a second or one for its answer, then end the connection and complain; a busy machine may forget a
# process for longer.
PLAYER = '''
import kosoku._caseindex
kosoku._caseindex.initialize_shims()
import case, kosoku._cli

class Patient:
    def __init__(self, protocol):
        self.__dict__['protocol'] = protocol

    def __getattr__(self, name):
        return getattr(self.protocol, name)

    def __setattr__(self, name, value):
        setattr(self.protocol, name, value)

    def killAfter(self, seconds):
        self.protocol.killAfter(20 * seconds)

begin = case.Case.__init__
case.Case.__init__ = lambda self, protocol: begin(self, Patient(protocol))
kosoku._cli.main()
'''


def install(folder):
    """The player's Python. Several tests may want it at once."""
    folder.mkdir(parents=True, exist_ok=True)
    python, stamp = folder / 'bin' / 'python', folder / 'installed'
    with open(folder / 'lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = REQUIREMENTS.read_text()
        if not stamp.exists() or stamp.read_text() != wanted:
            stamp.unlink(missing_ok=True)
            venv.create(folder, with_pip=True, symlinks=True)
            subprocess.run([python, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', REQUIREMENTS],
                           check=True, stdin=subprocess.DEVNULL)
            stamp.write_text(wanted)
    return python


def make_certificate(folder):
    cert, key = str(pathlib.Path(folder) / 'cert.pem'), str(pathlib.Path(folder) / 'key.pem')
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
                    '-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert],
                   check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return cert, key


class TlsRelay:
    """Listens without TLS, and passes all bytes and both ends on to a server with it."""

    def __init__(self, target, cert):
        self.host, port = target.rsplit(':', 1)
        self.port = int(port)
        self.context = ssl.create_default_context(cafile=cert)
        self.loop = asyncio.new_event_loop()
        self.server = self.loop.run_until_complete(asyncio.start_server(self.serve, '127.0.0.1', 0))
        self.address = '%s:%d' % self.server.sockets[0].getsockname()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    async def serve(self, near_reader, near):
        far_reader, far = await asyncio.open_connection(self.host, self.port, ssl=self.context)
        await asyncio.gather(self.copy(near_reader, far), self.copy(far_reader, near))

    @staticmethod
    async def copy(reader, writer):
        try:
            while data := await reader.read(1 << 18):
                writer.write(data)
                await writer.drain()
        except (ConnectionError, ssl.SSLError):
            pass
        writer.close()

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.server.close()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(self.server.wait_closed())
        self.loop.close()


def play(python, url, out):
    """Case number: its entry in the report."""
    command = [python, '-c', PLAYER, '-p', str(AT_ONCE), '-o', out, url]
    # its status is no help: it counts what is not implemented as failed
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    report = pathlib.Path(out) / 'index.json'
    if not report.exists():
        sys.exit('the player wrote no report: %s' % done.stderr[-3000:])
    agents = json.loads(report.read_text())
    return {case: entry for cases in agents.values() for case, entry in cases.items()}


def group(case):
    return int(case.split('.')[0])


def wanted(case):
    """How its exchange and its close must be judged."""
    if group(case) in EXTENSIONS:
        return 'UNIMPLEMENTED', 'OK'
    return ('INFORMATIONAL',) * 2 if case in INFORMATIONAL else ('OK', 'OK')


def complaints(cases, out):
    counts = collections.Counter(map(group, cases))
    for number in sorted(set(CASES) | set(counts)):
        if counts[number] != CASES.get(number, 0):
            yield 'group %d has %d cases, not %d' % (number, counts[number], CASES.get(number, 0))
    for case, entry in cases.items():
        found = entry['behavior'], entry['behaviorClose']
        if found != wanted(case):
            report = json.loads((pathlib.Path(out) / entry['reportfile']).read_text())
            yield '%s: %s, closed %s: %s %s' % (case, *found, report.get('result'), report.get('resultClose'))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--echo', required=True)
    parser.add_argument('--venv', required=True, type=pathlib.Path)
    parser.add_argument('--transport', required=True, choices=['ws', 'wss'])
    args = parser.parse_args()
    python = install(args.venv)
    with tempfile.TemporaryDirectory() as folder:
        command, relay = [args.echo, '--listen', '127.0.0.1:0'], None
        if args.transport == 'wss':
            cert, key = make_certificate(folder)
            command = [args.echo, '--wss', '127.0.0.1:0', '--cert', cert, '--key', key]
        server = wire.Server(command)
        try:
            address = server.addresses[args.transport]
            if args.transport == 'wss':
                relay = TlsRelay(address, cert)
                address = relay.address
            cases = play(python, 'ws://' + address, folder)
            wrong = list(complaints(cases, folder))
            ended_badly = server.stop()
            if ended_badly:
                wrong.append('ws-echo ' + ended_badly)
        finally:
            server.kill()
            if relay:
                relay.stop()
    for line in wrong:
        print(line)
    print('%d cases over %s, %d complaints' % (len(cases), args.transport, len(wrong)))
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
