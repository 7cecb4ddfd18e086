#!/usr/bin/env python3
"""Builds three times and runs all tests: plain, with address and undefined behaviour sanitizers, with the thread sanitizer.

    scripts/run_tests.py [plain] [asan] [tsan] [-- arguments for meson test]

Tests wait more than they compute. So twice as many run at once as there are processors, and the next build is compiled
meanwhile, with what processor time they leave. Ends with one line that counts every test of every build; a skipped test says
why in that build's log.
"""
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Sanitizers want to see the code, not the optimiser's idea of it, and of the debugger's information their reports need the
# lines: that takes half the time to compile. At -O1 GCC knows less of values and warns of what cannot be; these two kinds of
# warnings are the plain build's.
SANITIZED = ["-Db_lundef=false", "-Doptimization=1", "-Dcpp_args=-g1",
             "-Dc_args=-g1 -Wno-format-truncation -Wno-maybe-uninitialized"]
BUILDS = {
    "plain": ("build", []),
    "asan": ("build-asan", ["-Db_sanitize=address,undefined", *SANITIZED]),
    "tsan": ("build-tsan", ["-Db_sanitize=thread", *SANITIZED]),
}
# What looks at the sources, measures, or runs no code of ours but in the plain build.
ONLY_PLAIN = ["--no-suite", "lint", "--no-suite", "bench-smoke"]
ENV = {
    "ASAN_OPTIONS": "detect_stack_use_after_return=0:abort_on_error=0:quarantine_size_mb=48",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "LSAN_OPTIONS": f"suppressions={ROOT}/scripts/lsan.supp:print_suppressions=0",
    "TSAN_OPTIONS": f"halt_on_error=1:second_deadlock_stack=1:suppressions={ROOT}/scripts/tsan.supp",
}


def build(name, beside_tests, over):
    """Compile; a build whose folder is there stays set up as it is. Returns what it had to say and how long it took; `over` is
    set when nothing more is to be built."""
    folder, options = BUILDS[name]
    begin = time.monotonic()
    said = ""
    setup = ["meson", "setup", folder, *options]
    for command in ([] if (ROOT / folder / "build.ninja").exists() else [setup]) + [["ninja", "-C", folder, "--quiet"]]:
        if over.is_set():
            raise SystemExit(f"{name}: not built")
        done = subprocess.run(["nice", "-n", "19", *command] if beside_tests else command, cwd=ROOT, check=False, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said += "" if command == setup and done.returncode == 0 else done.stdout
        if done.returncode:
            over.set()
            raise SystemExit(f"{said}{name}: the build failed")
    return said, time.monotonic() - begin


def test(name, extra):
    """(passed, failed, skipped)"""
    folder = BUILDS[name][0]
    log = ROOT / folder / "meson-logs" / "testlog.json"
    log.unlink(missing_ok=True)
    command = ["meson", "test", "-C", folder, "--no-rebuild", "--print-errorlogs", "--num-processes", str(2 * os.cpu_count())]
    command += ["--timeout-multiplier", "2"] if name == "plain" else ONLY_PLAIN + ["--timeout-multiplier", "6"]
    subprocess.run([*command, *extra], cwd=ROOT, env={**os.environ, **ENV}, check=False)
    results = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    if not results:
        print(f"{name}: no test ran", flush=True)
        return 0, 1, 0
    passed = sum(r["result"] in ("OK", "EXPECTEDFAIL") for r in results)
    skipped = sum(r["result"] == "SKIP" for r in results)
    for r in results:
        if r["result"] == "SKIP":
            print(f"skipped in {name}: {r['name']}", flush=True)
    return passed, len(results) - passed - skipped, skipped


def main():
    args = sys.argv[1:]
    extra = args[args.index("--") + 1 :] if "--" in args else []
    names = (args[: args.index("--")] if "--" in args else args) or list(BUILDS)
    totals, times, over = [0, 0, 0], [], threading.Event()
    with concurrent.futures.ThreadPoolExecutor(max_workers=1) as compiler:  # one after the other
        builds = [compiler.submit(build, name, i > 0, over) for i, name in enumerate(names)]
        try:
            for name, built in zip(names, builds):
                print(f"== {name}", flush=True)
                said, build_s = built.result()
                print(said, end="", flush=True)
                begin = time.monotonic()
                totals = [a + b for a, b in zip(totals, test(name, extra))]
                times.append(f"{name}: built in {build_s:.0f} s, tests took {time.monotonic() - begin:.0f} s")
        finally:
            over.set()
    print("\n" + "\n".join(times))
    print(f"{totals[0]} passed, {totals[1]} failed, {totals[2]} skipped", flush=True)
    return 1 if totals[1] else 0


if __name__ == "__main__":
    sys.exit(main())
