#!/usr/bin/env python3
"""Measure Cereus against the limit: a bare epoll server without a framework, in the same run on the same machine.

    scripts/bench.py                                  every row, 5 rounds
    scripts/bench.py --quick                          every row, 3 short rounds
    scripts/bench.py --row tcp-50x16 --rounds 9       one row, or several
    scripts/bench.py --write docs/performance.md      put the table into the page, between its markers

Each round starts a fresh limit server and a fresh Cereus server for each row and loads one after the other; the order
alternates. A row's figure is the median of the rounds' ratios, so that what else the machine does falls on both sides.
The server runs on the first CPU that we may use and the generator on the second. Exits with 1 when a run had errors, or
with --require when a row misses its floor or goal.
"""
import argparse
import contextlib
import dataclasses
import datetime
import fcntl
import functools
import json
import math
import os
import platform
import re
import resource
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
PAYLOADS = os.path.join(ROOT, "tests", "bench", "payloads")
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
LIMIT, CEREUS = "limit", "cereus"


class Failed(Exception):
    """A run that says nothing: the server did not start, or the generator met errors."""


# ---- servers and runs ----


@dataclasses.dataclass
class Server:
    process: subprocess.Popen
    addresses: dict  # by transport: tcp, ws, tls
    start_ms: float

    pids: tuple = ()  # of all processes whose CPU time is ours; the server's own when empty

    @property
    def pid(self):
        return self.process.pid


class Bench:
    """Where things are, on which CPUs they run, and how long each measurement takes."""

    def __init__(self, args):
        self.quick = args.quick
        self.duration = args.duration or (0.4 if args.quick else 1.0)
        self.warmup = 0.15 if args.quick else 0.3
        self.idle_count = 2000 if args.quick else 9000
        self.generator = os.path.join(args.build, "tools", "cereus", "cereus")
        self.alloc_count = os.path.join(args.build, "tests", "bench", "liballoc_count.so")
        self.programs = {
            LIMIT: os.path.join(args.build, "tests", "bench", "rawecho"),
            CEREUS: args.server or os.path.join(args.build, "examples", "bench"),
        }
        self.raw_nats = os.path.join(args.build, "tests", "bench", "rawnats")
        cpus = sorted(os.sched_getaffinity(0))
        self.all_cpus, self.server_cpu, self.generator_cpu = set(cpus), cpus[0], cpus[1 % len(cpus)]

    @functools.cached_property
    def certificates(self):
        folder = tempfile.TemporaryDirectory()
        subprocess.run([os.path.join(HERE, "make_certificates.sh"), folder.name], check=True)
        return folder

    @contextlib.contextmanager
    def process(self, command, env=None):
        """A process on the server's CPU that says READY; with the line it says that on, and the milliseconds until then."""
        command = [str(c) for c in command]
        with tempfile.TemporaryFile("w+") as log:
            os.sched_setaffinity(0, {self.server_cpu})  # inherited: no helper process between us and the server
            began = time.perf_counter()
            try:
                process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True,
                                           env={**os.environ, **(env or {})})
            finally:
                os.sched_setaffinity(0, self.all_cpus)

            def failed(what):
                log.seek(0)
                return Failed(f"{command[0]} {what} {log.read()[-500:]}")
            line = process.stdout.readline()
            start_ms = (time.perf_counter() - began) * 1000
            try:
                if not line.startswith("READY"):
                    raise failed(f"did not start: {line.strip()}")
                yield process, line, start_ms
                if process.poll() is not None:
                    raise failed(f"ended with {process.returncode}:")
            finally:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                process.stdout.close()

    @contextlib.contextmanager
    def server(self, side, serializer="json", compress=False, env=None, tls=False, options=("--mode", "standalone")):
        program = self.programs[side]
        command = [program, "--port", "0", "--ws-port", "0"]
        if os.path.basename(program) != "rawecho":
            command += ["--serializer", serializer, "--compress", str(compress).lower(), *options, "--loops", "1"]
        if tls:
            command += ["--tls-port", "0", "--cert", os.path.join(self.certificates.name, "server.crt"), "--key",
                        os.path.join(self.certificates.name, "server.key")]
        with self.process(command, env) as (process, line, start_ms):
            addresses = {name: f"{name}://{address}" for name, address in re.findall(r" (tcp|ws|tls)=(\S+)", line)}
            yield Server(process, addresses, start_ms)

    @contextlib.contextmanager
    def nats(self, folder):
        """A NATS server on the server's CPU. Its port stands in a file that is there when it listens."""
        program = shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin")
        if not program:
            raise Failed("nats-server is not installed")
        with tempfile.TemporaryFile("w+") as log:
            os.sched_setaffinity(0, {self.server_cpu})
            try:
                process = subprocess.Popen([program, "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", folder],
                                           stdout=log, stderr=log)
            finally:
                os.sched_setaffinity(0, self.all_cpus)
            try:
                yield process.pid, port_of_nats(process, folder)
            finally:
                process.terminate()
                process.wait()

    @contextlib.contextmanager
    def cluster(self, rpc, frontends=1):
        """Frontends, a backend and, with `rpc` nats, a NATS server, all on the server's CPU."""
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="crs"))
            options, pids = ["--set", f"cereus.cluster.dir={folder}", "--set", "cereus.cluster=local", "--rpc", rpc], []
            if rpc == "nats":
                pid, port = stack.enter_context(self.nats(folder))
                options += ["--nats", f"nats://127.0.0.1:{port}"]
                pids.append(pid)
            backend = [self.programs[CEREUS], "--mode", "backend", *options, "--loops", "1", "--compress", "false"]
            pids.append(stack.enter_context(self.process(backend))[0].pid)
            servers = [stack.enter_context(self.server(CEREUS, options=["--mode", "frontend", *options]))
                       for _ in range(frontends)]
            pids += [server.pid for server in servers]
            for server in servers:
                server.pids = tuple(pids)
                self.wait_for_backend(server)
            yield servers

    def wait_for_backend(self, server):
        """Until a request is forwarded: the servers have found one another."""
        deadline = time.monotonic() + 10
        while True:
            try:
                self.load(server, "--route", "backend.echo.raw", "--connections", 1, "--requests", 1, warmup=0)
                return
            except Failed:
                if time.monotonic() > deadline:
                    raise

    def load(self, server, *options, transport="tcp", duration=None, warmup=None):
        command = [self.generator, "bench", "--addr", server.addresses[transport], "--pin", self.generator_cpu]
        for pid in server.pids or (server.pid,):
            command += ["--server-pid", pid]
        command += ["--duration", duration or self.duration, "--warmup", self.warmup if warmup is None else warmup, *options]
        command = [str(c) for c in command]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120 + self.duration, check=False)
        if done.returncode:
            raise Failed(f"{' '.join(command[1:])}:\n{done.stdout[-800:]}{done.stderr[-400:]}")
        return json.loads(done.stdout.splitlines()[-1])


def port_of_nats(process, folder):
    path = os.path.join(folder, f"nats-server_{process.pid}.ports")
    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError), open(path, encoding="ascii") as f:
            return int(json.load(f)["nats"][0].rsplit(":", 1)[1])
        time.sleep(0.01)
    raise Failed("nats-server did not start")


# ---- the rows ----


@dataclasses.dataclass
class Row:
    """One figure. `measure(bench, side)` makes the runs of one side and returns {"value": v, ...}; "cpu_us" in it is
    the server's CPU per operation. `floor` and `goal` bound the ratio to the limit, or with `absolute` the value; None
    where nothing is asked."""
    name: str
    text: str
    unit: str
    floor: float | None
    goal: float | None
    measure: Callable
    higher_is_better: bool = True
    absolute: bool = False
    pitaya: str = ""  # Go Pitaya v3 on this kind of machine, as recorded before Cereus was written


def echo(route, connections, depth, *options, transport="tcp", serializer="json", compress=False, field="ops_per_s"):
    def measure(bench, side):
        with bench.server(side, serializer, compress) as server:
            compressed = ["--compress"] if compress and side == CEREUS else []
            got = bench.load(server, "--route", route, "--connections", connections, "--depth", depth, *options,
                             *compressed, transport=transport)
        return {"value": got[field], "cpu_us": got["server_cpu_us"]}
    return measure


def payload(name):
    return "--body-file", os.path.join(PAYLOADS, name)


def tls_echo(connections, depth):
    """What TLS costs: the limit is our own server without it."""
    def measure(bench, side):
        with bench.server(CEREUS, tls=True) as server:
            got = bench.load(server, "--route", RAW, "--connections", connections, "--depth", depth,
                             transport="tls" if side == CEREUS else "tcp")
        return {"value": got["ops_per_s"], "cpu_us": got["server_cpu_us"]}
    return measure


def open_loop(bench, side):
    with bench.server(side) as server:
        got = bench.load(server, "--route", "bench.echo.raw", "--connections", 50, "--rate", 20000)
    return {"value": got["p99_us"], "p50_us": got["p50_us"]}


def idle(transport):
    def measure(bench, side):
        with bench.server(side) as server:
            got = bench.load(server, "--idle", "--connections", bench.idle_count, "--join", "bench.echo.raw",
                             transport=transport, duration=0.3)
        return {"value": got["rss_per_connection"]}
    return measure


def idle_tls(bench, side):
    """The limit is what OpenSSL alone takes for a connection, recorded before Cereus was written."""
    if side == LIMIT:
        return {"value": 14.1 * 1024}
    with bench.server(side, tls=True) as server:
        got = bench.load(server, "--idle", "--connections", bench.idle_count // 3, "--join", RAW, transport="tls",
                         duration=0.3)
    return {"value": got["rss_per_connection"]}


def connects(transport):
    def measure(bench, side):
        with bench.server(side) as server:
            got = bench.load(server, "--connect-rate", "--connections", 32, transport=transport)
        return {"value": got["server_cpu_us"]}
    return measure


def fan_out(members, outstanding):
    def measure(bench, side):
        with bench.server(side) as server:
            got = bench.load(server, "--route", "bench.room.broadcast", "--connections", members, "--join",
                             "bench.room.join", "--broadcast", 1, "--depth", outstanding, "--size", 100)
        return {"value": got["pushes_per_s"], "cpu_us": got["push_server_cpu_us"]}
    return measure


def beside_waiting(bench, side):
    one = ["--route", "bench.echo.raw", "--connections", 1]
    with bench.server(side) as server:
        alone = bench.load(server, *one)
        beside = bench.load(server, *one, "--background", 50, "--background-route", "bench.echo.slow")
    return {"value": beside["p50_us"] / alone["p50_us"], "alone_us": alone["p50_us"], "beside_us": beside["p50_us"]}


def raw_nats(bench, outstanding):
    """Requests through a NATS server with nothing behind it: the limit of what goes over one."""
    with tempfile.TemporaryDirectory() as folder, bench.nats(folder) as (pid, port):
        command = ["taskset", "-c", str(bench.server_cpu), bench.raw_nats, str(port), str(outstanding), str(bench.duration)]
        before = cpu_seconds(pid)
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise Failed(f"rawnats: {done.stderr}")
        got = json.loads(done.stdout)
        cpu_us = (cpu_seconds(pid) - before + got["cpu_s"]) / got["replied"] * 1e6
    return {"ops_per_s": got["replied"] / got["seconds"], "server_cpu_us": cpu_us}


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def forward(rpc, route, connections, depth, *options, field="ops_per_s"):
    """Through a cluster; its limit is what the NATS server does alone, or over `local` the echo of the bare server."""
    def measure(bench, side):
        load = ["--connections", connections, "--depth", depth, *options]
        if side == CEREUS:
            with bench.cluster(rpc) as (frontend,):
                got = bench.load(frontend, "--route", route, *load)
        elif rpc == "nats":
            got = raw_nats(bench, connections * depth)
        else:
            with bench.server(LIMIT) as server:
                got = bench.load(server, "--route", route, *load)
        return {"value": got[field], "cpu_us": got["server_cpu_us"]}
    return measure


def fan_out_two_frontends(rpc):
    """A broadcast by the backend to 500 members on each of two frontends. The generator drives one of them and counts what
    arrives there; the same number arrives at the other."""
    def measure(bench, side):
        load = ["--route", "backend.room.broadcast", "--join", "backend.room.join", "--broadcast", 1, "--depth", 8,
                "--size", 100]
        if side == LIMIT:
            with bench.server(LIMIT) as server:
                got = bench.load(server, "--route", "bench.room.broadcast", "--join", "bench.room.join", "--broadcast", 1,
                                 "--depth", 8, "--size", 100, "--connections", 1000)
            return {"value": got["pushes_per_s"], "cpu_us": got["push_server_cpu_us"]}
        with bench.cluster(rpc, frontends=2) as (one, two):
            command = [bench.generator, "bench", "--addr", two.addresses["tcp"], "--pin", str(bench.generator_cpu), "--idle",
                       "--connections", "500", "--join", "backend.room.join", "--duration", str(bench.duration + bench.warmup + 2)]
            with subprocess.Popen(command, stdout=subprocess.DEVNULL) as members:
                got = bench.load(one, *load, "--connections", 500)
                members.terminate()
        return {"value": got["pushes_per_s"] * 2, "cpu_us": got["push_server_cpu_us"] / 2}
    return measure


def start_time(bench, side):
    with bench.server(side) as server:
        return {"value": server.start_ms}


def memory(bench, side):
    with bench.server(side) as server, open(f"/proc/{server.pid}/smaps_rollup", encoding="ascii") as f:
        kib = int(re.search(r"^Rss:\s+(\d+) kB", f.read(), re.M)[1])
    return {"value": kib / 1024}


def program_size(bench, side):
    with tempfile.TemporaryDirectory() as folder:
        stripped = shutil.copy(bench.programs[side], folder)
        subprocess.run(["strip", stripped], check=True)
        return {"value": os.path.getsize(stripped) / 1e6}


def allocations(bench, side):
    """What 20,000 requests more allocate more, per request."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "counts")

        def allocated_by(requests):
            bench.load(server, "--route", "bench.echo.raw", "--connections", 10, "--depth", 4, "--requests", requests,
                       warmup=0)
            time.sleep(0.05)  # the closes of the generator's connections are not part of the reply
            with open(path, "rb") as f:
                return struct.unpack("=QQ", f.read(16))[0]

        with bench.server(side, env={"LD_PRELOAD": bench.alloc_count, "ALLOC_COUNT_FILE": path}) as server:
            counts = [allocated_by(requests) for requests in (20000, 2000, 22000)]
    return {"value": ((counts[2] - counts[1]) - (counts[1] - counts[0])) / 20000}


RAW = "bench.echo.raw"
ROWS = [
    Row("tcp-50x1", "TCP raw echo, 50 connections, depth 1", "/s", 0.85, 0.95, echo(RAW, 50, 1), pitaya="37 k/s"),
    Row("tcp-50x16", "TCP raw echo, 50, depth 16", "/s", 0.45, 0.75, echo(RAW, 50, 16), pitaya="42 k/s"),
    Row("tcp-1000x1", "TCP raw echo, 1,000, depth 1", "/s", 0.85, 0.95, echo(RAW, 1000, 1), pitaya="27 k/s"),
    Row("tcp-1000x16", "TCP raw echo, 1,000, depth 16", "/s", 0.45, 0.75, echo(RAW, 1000, 16), pitaya="46 k/s"),
    Row("json-50x1", "typed JSON echo, 50, depth 1", "/s", 0.80, 0.90,
        echo("bench.echo.json", 50, 1, *payload("echo.json")), pitaya="26 k/s"),
    Row("json-50x16", "typed JSON echo, 50, depth 16", "/s", 0.30, 0.45,
        echo("bench.echo.json", 50, 16, *payload("echo.json")), pitaya="39 k/s"),
    Row("proto-50x1", "typed protobuf echo, 50, depth 1", "/s", 0.82, 0.92,
        echo("bench.echo.proto", 50, 1, *payload("echo.pb"), serializer="protobuf"), pitaya="31 k/s"),
    Row("proto-50x16", "typed protobuf echo, 50, depth 16", "/s", 0.33, 0.50,
        echo("bench.echo.proto", 50, 16, *payload("echo.pb"), serializer="protobuf"), pitaya="43 k/s"),
    Row("ws-50x1", "WebSocket raw echo, 50, depth 1", "/s", 0.85, 0.90, echo(RAW, 50, 1, transport="ws"),
        pitaya="41 k/s"),
    Row("ws-50x16", "WebSocket raw echo, 50, depth 16", "/s", 0.45, 0.85, echo(RAW, 50, 16, transport="ws"),
        pitaya="54 k/s"),
    Row("compress-50x1", "compression on, raw, 50, depth 1 (limit: off)", "/s", 0.50, 0.80,
        echo(RAW, 50, 1, *payload("echo.json"), compress=True), pitaya="2.8 k/s"),
    Row("p50-1x1", "one connection, depth 1, p50", "us", 1.10, 1.05, echo(RAW, 1, 1, field="p50_us"),
        higher_is_better=False, pitaya="97 us"),
    Row("idle-tcp", "memory per idle connection, TCP", "B", 1024, 512, idle("tcp"), higher_is_better=False,
        absolute=True, pitaya="27 KiB"),
    Row("idle-ws", "memory per idle connection, WebSocket", "B", 1024, 512, idle("ws"), higher_is_better=False,
        absolute=True, pitaya="38 KiB"),
    Row("tls-50x1", "TLS raw echo, 50 connections, depth 1 (limit: our TCP)", "/s", None, None, tls_echo(50, 1)),
    Row("tls-50x16", "TLS raw echo, 50, depth 16 (limit: our TCP)", "/s", None, None, tls_echo(50, 16)),
    Row("idle-tls", "memory per idle TLS connection (limit: OpenSSL)", "B", 16 * 1024, 14.6 * 1024, idle_tls,
        higher_is_better=False, absolute=True),
    Row("connect-tcp", "connect + handshake, server CPU, TCP", "us", 1.15, 1.05, connects("tcp"),
        higher_is_better=False, pitaya="86 us"),
    Row("connect-ws", "connect + handshake, server CPU, WebSocket", "us", 1.15, 1.05, connects("ws"),
        higher_is_better=False, pitaya="129 us"),
    Row("fanout-1000x1", "fan-out, 1,000 members, 1 broadcast at a time, pushes", "/s", 0.90, 0.95, fan_out(1000, 1),
        pitaya="72 k/s"),
    Row("fanout-1000x8", "fan-out, 1,000 members, 8 outstanding, pushes", "/s", 0.65, 0.90, fan_out(1000, 8),
        pitaya="90 k/s"),
    Row("fanout-5000x8", "fan-out, 5,000 members, 8 outstanding, pushes", "/s", 0.65, 0.90, fan_out(5000, 8),
        pitaya="76 k/s"),
    Row("wait-500", "handler waits 10 ms, 500 connections", "/s", 45000, 49000, echo("bench.echo.slow", 500, 1),
        absolute=True, pitaya="2.3 k/s"),
    Row("beside-waiting", "plain echo while 50 others wait 10 ms each: p50 over p50 alone", "x", 2.0, 1.2,
        beside_waiting, higher_is_better=False, absolute=True, pitaya="110 x"),
    Row("open-loop", "open loop, 20 k requests/s over 50 connections, p99", "us", 1.5, 1.2, open_loop,
        higher_is_better=False, pitaya="7.4 ms"),
    Row("forward-local-50x1", "forward over local, 50 connections, depth 1, CPU of all servers", "us", 45, 30,
        forward("local", "backend.echo.raw", 50, 1, field="server_cpu_us"), higher_is_better=False, absolute=True),
    Row("forward-local-50x16", "forward over local, 50, depth 16", "/s", 175000, 280000,
        forward("local", "backend.echo.raw", 50, 16), absolute=True),
    Row("rpc-local-50x1", "user RPC over local, 50, depth 1, CPU of all servers", "us", 45, 36,
        forward("local", "bench.rpc.echo", 50, 1, field="server_cpu_us"), higher_is_better=False, absolute=True),
    Row("wait-local-500", "backend waits 10 ms, forwarded over local, 500 connections", "/s", 18000, 25000,
        forward("local", "backend.echo.slow", 500, 1), absolute=True),
    Row("fanout-local", "fan-out, 500 members on each of two frontends, 8 outstanding, over local, pushes", "/s", 0.5, 0.7,
        fan_out_two_frontends("local")),
    Row("forward-nats-50x1", "forward over NATS, 50, depth 1, CPU of all servers", "us", 45, 36,
        forward("nats", "backend.echo.raw", 50, 1, field="server_cpu_us"), higher_is_better=False, absolute=True,
        pitaya="155 us"),
    Row("forward-nats-50x16", "forward over NATS, 50, depth 16", "/s", 56000, 84000,
        forward("nats", "backend.echo.raw", 50, 16), absolute=True, pitaya="7.0 k/s"),
    Row("rpc-nats-50x1", "user RPC over NATS, 50, depth 1, CPU of all servers", "us", 45, 36,
        forward("nats", "bench.rpc.echo", 50, 1, field="server_cpu_us"), higher_is_better=False, absolute=True,
        pitaya="129 us"),
    Row("wait-nats-500", "backend waits 10 ms, forwarded over NATS, 500 connections", "/s", 18000, 25000,
        forward("nats", "backend.echo.slow", 500, 1), absolute=True, pitaya="1.9 k/s"),
    Row("start", "start to listening", "ms", 5, 3, start_time, higher_is_better=False, absolute=True, pitaya="22 ms"),
    Row("memory", "resident memory after the start", "MiB", 4, 3, memory, higher_is_better=False, absolute=True,
        pitaya="24 MiB"),
    Row("size", "program size, stripped", "MB", 2, 1, program_size, higher_is_better=False, absolute=True,
        pitaya="21 MB"),
    Row("allocations", "heap allocations per raw echo, steady state", "", 0, 0, allocations, higher_is_better=False,
        absolute=True, pitaya="75"),
]


# ---- rounds ----


@contextlib.contextmanager
def machine_lock():
    """One benchmark at a time on this machine, whoever starts it. Held for one row of one round, so that two take turns."""
    with open(os.path.join(tempfile.gettempdir(), "bench.lock"), "w", encoding="ascii") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


@dataclasses.dataclass
class Figure:
    """What came of one row: medians of the rounds."""
    row: Row
    value: float
    limit: float
    ratio: float       # cereus / limit, by the median of the rounds' ratios; nan when the limit is 0
    ratio_min: float
    ratio_max: float
    cpu_ratio: float   # limit's CPU per operation / ours; nan when not known
    rounds: list

    def verdict(self, by_cpu=False):
        row = self.row
        if row.floor is None:
            return ""
        got = self.value if row.absolute else self.ratio
        if by_cpu and not row.absolute and row.higher_is_better and not math.isnan(self.cpu_ratio):
            got = self.cpu_ratio
        def reaches(want):
            if row.higher_is_better:
                return got >= want
            return got <= want + 1e-3  # a start-up allocation more or less among 20,000 requests is not one per request
        return "goal" if reaches(row.goal) else "floor" if reaches(row.floor) else "BELOW"


def divide(a, b):
    return a / b if b else float("nan")


def summarize(row, rounds):
    ratios = [divide(r[CEREUS]["value"], r[LIMIT]["value"]) for r in rounds]
    cpu = [divide(r[LIMIT].get("cpu_us", 0), r[CEREUS].get("cpu_us", 0)) for r in rounds]
    return Figure(row=row, value=statistics.median(r[CEREUS]["value"] for r in rounds),
                  limit=statistics.median(r[LIMIT]["value"] for r in rounds), ratio=statistics.median(ratios),
                  ratio_min=min(ratios), ratio_max=max(ratios), cpu_ratio=statistics.median(cpu), rounds=rounds)


def show_progress(text):
    if sys.stderr.isatty():
        print(f"\r{text:40s}\r", end="", file=sys.stderr, flush=True)


def measure_rows(bench, rows, round_count, lock):
    rounds, failures = {row.name: [] for row in rows}, {}
    for number in range(round_count):
        order = (LIMIT, CEREUS) if number % 2 == 0 else (CEREUS, LIMIT)
        for row in rows:
            if row.name in failures:
                continue
            show_progress(f"round {number + 1}/{round_count}: {row.name}")
            try:
                with lock():
                    got = {side: row.measure(bench, side) for side in order}
            except (Failed, OSError, subprocess.SubprocessError) as e:
                failures[row.name] = str(e)
            else:
                rounds[row.name].append(got)
    show_progress("")
    return [summarize(row, rounds[row.name]) for row in rows if row.name not in failures], failures


# ---- report ----


def amount(value, unit):
    if value >= 1e6 and unit.endswith("/s"):
        text = f"{value / 1e6:.2f} M"
    elif value >= 1e4 and unit.endswith("/s"):
        text = f"{value / 1e3:.0f} k"
    else:
        text = f"{value:.0f} " if value >= 100 else f"{value:.3g} "
    return (text + unit).replace(" /s", "/s").strip()


def bound(row, value):
    if value is None:
        return ""
    if row.absolute:
        return amount(value, row.unit)
    return f"{value * 100:.0f} %" if row.higher_is_better else f"{value:g} x"


def cells(figure, by_cpu):
    def ratio(value):
        return "" if math.isnan(value) else f"{value:.2f}"
    spread = "" if math.isnan(figure.ratio) else f"{figure.ratio_min:.2f}..{figure.ratio_max:.2f}"
    row = figure.row
    return [row.text, row.pitaya, amount(figure.limit, row.unit), amount(figure.value, row.unit), ratio(figure.ratio),
            spread, ratio(figure.cpu_ratio), bound(row, row.floor), bound(row, row.goal), figure.verdict(by_cpu)]


HEAD = ["row", "Go Pitaya", "limit", "Cereus", "ratio", "spread", "CPU ratio", "floor", "goal", "verdict"]


def text_table(figures, by_cpu):
    lines = [HEAD] + [cells(f, by_cpu) for f in figures]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    return "\n".join("  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths)))
                     for line in lines)


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        found = re.search(r"^model name\s*:\s*(.*)$", f.read(), re.M)
    return found[1] if found else platform.machine()


def markdown(figures, bench, round_count, by_cpu):
    lines = [HEAD, ["---"] + ["--:"] * (len(HEAD) - 1)] + [cells(f, by_cpu) for f in figures]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                            check=False).stdout.strip()
    return (f"Measured on {datetime.date.today()} at {commit or 'an unknown commit'}: {os.cpu_count()} CPUs ({cpu_model()}), "
            f"Linux {platform.release().split('-')[0]}, {round_count} rounds of {bench.duration:g} s, "
            f"throughput judged by {'server CPU per operation' if by_cpu else 'rate'}.\n\n{table}\n")


def write_page(path, text):
    with open(path, encoding="utf-8") as f:
        page = f.read()
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise Failed(f"{path}: needs the markers {BEGIN} and {END}, once each")
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"{before}{BEGIN}\n{text}{END}{after}")


# ---- main ----


def check_build(args, bench):
    for program in [bench.generator, bench.alloc_count, bench.raw_nats, *bench.programs.values()]:
        if not os.access(program, os.R_OK):
            raise Failed(f"{program} is not there: build first (ninja -C {args.build}), or name it with --build, --server")
    options_file = os.path.join(args.build, "meson-info", "intro-buildoptions.json")
    if not os.path.exists(options_file):
        return
    with open(options_file, encoding="utf-8") as f:
        options = {o["name"]: o["value"] for o in json.load(f)}
    if options.get("b_sanitize", "none") != "none" or options.get("optimization", "2") in ("0", "g"):
        raise Failed(f"{args.build} is built with a sanitizer or without optimization: its figures say nothing")


def parse_arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--build", default=os.path.join(ROOT, "build"), help="build folder (default: build)")
    p.add_argument("--server", help="the Cereus server (default: BUILD/examples/bench)")
    p.add_argument("--row", action="append", metavar="NAME", help="only this row; may be given more than once")
    p.add_argument("--list", action="store_true", help="print the names of the rows")
    p.add_argument("--quick", action="store_true", help="3 rounds of 0.4 s: a first impression")
    p.add_argument("--rounds", type=int, help="rounds (default 5)")
    p.add_argument("--duration", type=float, help="seconds of each run (default 1)")
    p.add_argument("--by", choices=["rate", "cpu"], default="rate",
                   help="judge throughput by the rate, or, where other work disturbs, by server CPU per operation")
    p.add_argument("--require", choices=["floor", "goal"], help="exit with 1 when a row misses it")
    p.add_argument("--no-lock", action="store_true", help="do not wait for other benchmarks on this machine")
    p.add_argument("--json", metavar="FILE", help="write every round's figures there")
    p.add_argument("--write", metavar="PAGE", help=f"replace what is between {BEGIN} and {END} in that page")
    return p.parse_args()


def main():
    args = parse_arguments()
    names = [row.name for row in ROWS]
    if args.list:
        print("\n".join(names))
        return 0
    unknown = set(args.row or []) - set(names)
    if unknown:
        raise Failed(f"no such row: {', '.join(sorted(unknown))}; --list names them")
    rows = [row for row in ROWS if not args.row or row.name in args.row]
    if args.write and args.row:
        raise Failed("--write needs all rows")
    bench = Bench(args)
    check_build(args, bench)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY:
        bench.idle_count = min(bench.idle_count, hard - 200)
    round_count = args.rounds or (3 if args.quick else 5)

    figures, failures = measure_rows(bench, rows, round_count, contextlib.nullcontext if args.no_lock else machine_lock)
    by_cpu = args.by == "cpu"
    print(text_table(figures, by_cpu))
    for name, why in failures.items():
        print(f"FAILED {name}: {why}")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump({f.row.name: f.rounds for f in figures}, f, indent=1)
    if args.write and not failures:
        write_page(args.write, markdown(figures, bench, round_count, by_cpu))
    accepted = {"floor": ("floor", "goal", ""), "goal": ("goal", "")}.get(args.require, ("floor", "goal", "BELOW", ""))
    missed = [f.row.name for f in figures if f.verdict(by_cpu) not in accepted]
    if missed:
        print(f"missed the {args.require}: {', '.join(missed)}")
    return 1 if failures or missed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as e:
        sys.exit(f"bench.py: {e}")
    except KeyboardInterrupt:
        sys.exit("bench.py: interrupted")
