#!/usr/bin/env python3
"""Builds three times and runs all tests: plain, with address and undefined behaviour sanitizers, with the thread sanitizer.

    scripts/run_tests.py [plain] [asan] [tsan] [-- arguments for meson test]

Ends with one line that counts every test of every build; a skipped test says why in that build's log.
"""
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILDS = {
    "plain": ("build", []),
    "asan": ("build-asan", ["-Db_sanitize=address,undefined", "-Db_lundef=false"]),
    "tsan": ("build-tsan", ["-Db_sanitize=thread", "-Db_lundef=false"]),
}
# What looks at the sources, measures, or runs no code of ours but in the plain build.
ONLY_PLAIN = ["--no-suite", "lint", "--no-suite", "bench-smoke"]
ENV = {
    "ASAN_OPTIONS": "detect_stack_use_after_return=0:abort_on_error=0:quarantine_size_mb=48",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": f"halt_on_error=1:second_deadlock_stack=1:suppressions={ROOT}/scripts/tsan.supp",
}


def build_and_test(name, extra):
    folder, options = BUILDS[name]
    print(f"== {name}", flush=True)
    if not (ROOT / folder / "build.ninja").exists():
        subprocess.run(["meson", "setup", folder, *options], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", folder, "--quiet"], cwd=ROOT, check=True)
    log = ROOT / folder / "meson-logs" / "testlog.json"
    log.unlink(missing_ok=True)
    command = ["meson", "test", "-C", folder, "--no-rebuild", "--print-errorlogs"]
    command += [] if name == "plain" else ONLY_PLAIN + ["--timeout-multiplier", "5"]
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
    totals = [0, 0, 0]
    for name in names:
        totals = [a + b for a, b in zip(totals, build_and_test(name, extra))]
    print(f"\n{totals[0]} passed, {totals[1]} failed, {totals[2]} skipped", flush=True)
    return 1 if totals[1] else 0


if __name__ == "__main__":
    sys.exit(main())
