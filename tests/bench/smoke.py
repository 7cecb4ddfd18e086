#!/usr/bin/env python3
"""Smoke test of the bench: every mode of `cereus bench` against rawecho, over TCP and WebSocket, and within TLS against
the bench server.

It asserts that things are counted and that nothing goes wrong; never how fast. usage: smoke.py CEREUS RAWECHO ALLOC_COUNT
plain|other BENCH_SERVER CERTIFICATES
"""
import json
import os
import re
import struct
import subprocess
import sys
import tempfile

CEREUS, RAWECHO, ALLOC_COUNT, BUILD_KIND, BENCH_SERVER, CERTIFICATES = sys.argv[1:7]


def start_server(env=None):
    server = subprocess.Popen([RAWECHO], stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
    line = server.stdout.readline()
    found = re.fullmatch(r"READY tcp=(\S+) ws=(\S+)\n", line)
    assert found, f"not ready: {line!r}"
    return server, {"tcp": "tcp://" + found[1], "ws": "ws://" + found[2]}


def start_tls_server():
    server = subprocess.Popen([BENCH_SERVER, "--tls-port", "0", "--wss-port", "0", "--cert",
                               os.path.join(CERTIFICATES, "server.crt"), "--key", os.path.join(CERTIFICATES, "server.key")],
                              stdout=subprocess.PIPE, text=True)
    line = server.stdout.readline()
    found = re.fullmatch(r"READY tcp=(\S+) ws=\S+ tls=(\S+) wss=(\S+)\n", line)
    assert found, f"not ready: {line!r}"
    return server, {"tcp": "tcp://" + found[1], "tls": "tls://" + found[2], "wss": "wss://" + found[3]}


def bench(*options, fails=False):
    done = subprocess.run([CEREUS, "bench", *map(str, options)], capture_output=True, text=True, timeout=30)
    assert (done.returncode != 0) == fails, f"{options}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    lines = done.stdout.splitlines()
    return json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}


def check_modes(addr, pid):
    """By number of requests wherever that is possible: on a busy machine a short while may pass without any."""
    short = ["--addr", addr, "--check", "--warmup", 0.01]
    raw = ["--route", "bench.echo.raw"]
    slow = ["--route", "bench.echo.slow"]
    runs = {
        "closed loop": [*raw, "--connections", 5, "--depth", 16, "--server-pid", pid, "--requests", 5000],
        "large bodies": [*raw, "--size", 100000, "--connections", 2, "--depth", 4, "--requests", 100],
        "empty body": [*raw, "--size", 0, "--requests", 100],
        "for a time": [*raw, "--connections", 2, "--duration", 0.5],
        "open loop": [*raw, "--connections", 5, "--rate", 1000, "--duration", 0.2],
        "notify": ["--route", "bench.echo.notify", "--notify", "--depth", 10, "--connections", 2, "--requests", 100],
        "slow": [*slow, "--connections", 20, "--requests", 60],
        "connect": ["--connect-rate", "--connections", 4, "--server-pid", pid, "--requests", 200],
        "idle": ["--idle", "--connections", 150, "--server-pid", pid, "--join", "bench.echo.raw", "--duration", 0.01],
        "broadcast": ["--route", "bench.room.broadcast", "--broadcast", 1, "--depth", 4, "--connections", 20,
                      "--join", "bench.room.join", "--size", 100, "--requests", 100],
        "background": [*slow, "--background", 5, "--background-route", "bench.echo.slow", "--requests", 5],
    }
    for name, options in runs.items():
        got = bench(*short, *options)
        assert got["errors"] == 0 and (got["ops"] > 0 or got["samples"] > 0), f"{name}: {got}"
        if name == "broadcast":
            assert got["pushes"] > 0, got
        if name == "background":
            assert got["background_ops_per_s"] > 0, got
        if name == "idle":
            assert got["ops"] == 150, got
        if name == "slow":
            assert got["p50_us"] >= 10000, got  # answered early would be a bug, late is only slow
    assert bench(*short, *raw, "--requests", 1000, "--warmup", 0)["ops"] == 1000


def check_failures(addr):
    plain = ["--addr", addr, "--route", "bench.echo.raw", "--requests", 50, "--warmup", 0]
    assert bench(*plain, "--compress", fails=True)["error_kinds"].keys() == {"compression"}
    got = bench(*plain[:2], "--route", "bench.room.join", "--requests", 50, "--warmup", 0, "--check", fails=True)
    assert got["error_kinds"].keys() == {"mismatch"}, got
    for options in (["--route", "x"], ["--addr", "udp://127.0.0.1:1", "--route", "x"], [*plain, "--depth", "-1"],
                    [*plain, "--idle", "--notify"], [*plain, "--rate", "0"], [*plain, "more"]):
        bench(*options, fails=True)


def check_wrong_transport(addrs):
    bench("--addr", addrs["tcp"].replace("tcp://", "ws://"), "--route", "x", "--duration", 0.05, fails=True)


def check_tls():
    server, addrs = start_tls_server()
    try:
        for scheme in ("tls", "wss"):
            check_modes(addrs[scheme], server.pid)
        wrong = ["--route", "bench.echo.raw", "--requests", 5]
        bench("--addr", addrs["tcp"].replace("tcp://", "tls://"), *wrong, fails=True)
        bench("--addr", addrs["tls"].replace("tls://", "tcp://"), *wrong, fails=True)
        assert server.poll() is None, "the server has ended"
    finally:
        server.terminate()
        server.wait()


def check_alloc_count():
    """Steady state: what a longer run allocates more than a shorter one."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "counts")
        server, addrs = start_server({"LD_PRELOAD": ALLOC_COUNT, "ALLOC_COUNT_FILE": path})
        try:
            counts = []
            for requests in (100, 100, 1100):
                bench("--addr", addrs["tcp"], "--route", "bench.echo.raw", "--warmup", 0, "--requests", requests)
                with open(path, "rb") as f:
                    counts.append(struct.unpack("=QQ", f.read(16))[0])
        finally:
            server.terminate()
            server.wait()
        assert counts[0] > 0, "nothing was counted"
        assert counts[2] - counts[1] == counts[1] - counts[0], f"the bare server allocates per request: {counts}"


def main():
    server, addrs = start_server()
    try:
        for addr in addrs.values():
            check_modes(addr, server.pid)
            check_failures(addr)
        check_wrong_transport(addrs)
        assert server.poll() is None, "the server has ended"
    finally:
        server.terminate()
        server.wait()
    check_tls()
    if BUILD_KIND == "plain":
        check_alloc_count()


main()
