#!/usr/bin/env python3
"""Runs the cluster of examples/cluster on this machine: two connectors, two rooms, one metagame. Whichever of them ends is
started again after a second, so try `kill -9`. Ctrl-C ends all.

    scripts/demo.py [--build BUILD] [--dir DIR] [--any-ports]

--dir is where they meet (`cereus.cluster.dir`); --any-ports is for tests: pages and connectors take whatever is free.
"""
import argparse
import ctypes
import os
import pathlib
import re
import selectors
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
AGAIN_AFTER_S = 1
END_WITHIN_S = 15
PR_SET_PDEATHSIG = 1
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def say(text):
    print(text, flush=True)


class Server:
    def __init__(self, kind, name, command, ws=None, http=None):
        self.kind, self.name, self.command, self.ws, self.http = kind, name, command, ws, http
        self.process = None
        self.ready = False  # since it was started last
        self.ready_once = False
        self.due = None  # when to start it again

    def start(self, selector):
        more = [f"--listen=ws://{self.ws}", "--set", f"chat.http={self.http}"] if self.ws else []
        # A session of its own: Ctrl-C is for us, who end the servers one by one. It dies with us, whatever ends us.
        self.process = subprocess.Popen(
            [*self.command, f"--id={self.name}", *more], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
            preexec_fn=lambda: ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL))
        self.ready, self.due, self.rest = False, None, b""
        selector.register(self.process.stdout, selectors.EVENT_READ, self)

    def read(self):
        """Passes on what it says. False: it has ended."""
        data = os.read(self.process.stdout.fileno(), 65536)
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.hear(line.decode(errors="replace"))
        return bool(data)

    def hear(self, line):
        if not line.startswith("READY"):
            say(f"{self.name} | {line}")
            return
        self.ready = self.ready_once = True
        found = re.search(r"ws=(\S+) http=http://([^/\s]+)/", line)
        if found:  # what it has got, it gets again
            self.ws, self.http = found.groups()

    def stop(self):
        if not self.process or self.process.returncode is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            say(f"{self.name} does not end: killed")
            self.process.kill()
            self.process.wait()


class Demo:
    def __init__(self, build, directory, any_ports):
        places = [("127.0.0.1:0", "127.0.0.1:0")] * 2 if any_ports else [
            (f"127.0.0.1:{3250 + i}", f"127.0.0.1:{8080 + i}") for i in range(2)]
        more = [f"--cluster.dir={directory}"] if directory else []
        programs = {kind: [str(build / "examples/cluster" / kind), *more] for kind in ("room", "metagame", "connector")}
        self.selector = selectors.DefaultSelector()
        # A signal that comes just before select() sleeps would be heard at the next event only.
        self.woken, self.waker = socket.socketpair()
        self.waker.setblocking(False)
        signal.set_wakeup_fd(self.waker.fileno())
        self.selector.register(self.woken, selectors.EVENT_READ)
        self.backends = [Server("room", f"room-{i}", programs["room"]) for i in (1, 2)]
        self.backends.append(Server("metagame", "metagame-1", programs["metagame"]))
        self.connectors = [Server("connector", f"connector-{i + 1}", programs["connector"], *places[i]) for i in (0, 1)]

    def ended(self, server):
        code = server.process.wait()
        self.selector.unregister(server.process.stdout)
        server.process.stdout.close()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        if not server.ready_once:
            sys.exit(f"{server.name} did not start ({how})")
        say(f"{server.name} (pid {server.process.pid}) ended with {how}: started again in {AGAIN_AFTER_S} s")
        server.due = time.monotonic() + AGAIN_AFTER_S

    def turn(self):
        servers = self.backends + self.connectors
        due = [s.due for s in servers if s.due]
        wait = max(0, min(due) - time.monotonic()) if due else None
        for key, _ in self.selector.select(wait):
            if key.fileobj is self.woken:
                continue  # what end() raises comes next
            was_ready = key.data.ready
            if not key.data.read():
                self.ended(key.data)
            elif key.data.ready and not was_ready:
                say(f"{key.data.name} is up, pid {key.data.process.pid}")
        for server in servers:
            if server.due and server.due <= time.monotonic():
                server.start(self.selector)

    def start(self, servers):
        for server in servers:
            server.start(self.selector)
        while not all(server.ready for server in servers):
            self.turn()

    def run(self):
        try:
            self.start(self.backends)  # first, so that no connector is there without a room
            self.start(self.connectors)
            pages = [f"http://{server.http}/" for server in self.connectors]
            say(f"READY {' '.join(f'{s.name}={s.ws},{s.http}' for s in self.connectors)}")
            say(f"\n    Open {pages[0]} and {pages[1]} in two windows and talk: two connectors, one room."
                "\n    Kill a server (kill -9 PID): it is started again, and the talk goes on."
                "\n    Ctrl-C ends them all.\n")
            while True:
                self.turn()
        finally:
            for number in ENDING_SIGNALS:  # once is enough
                signal.signal(number, signal.SIG_IGN)
            for server in self.connectors + self.backends:
                server.stop()


def end(*_):
    raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--dir")
    parser.add_argument("--any-ports", action="store_true")
    args = parser.parse_args()
    for number in ENDING_SIGNALS:
        signal.signal(number, end)
    os.environ.setdefault("CEREUS_LOG_LEVEL", "warn")
    try:
        Demo(args.build, args.dir, args.any_ports).run()
    except KeyboardInterrupt:
        say("ended")


if __name__ == "__main__":
    main()
