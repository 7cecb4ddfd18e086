#!/usr/bin/env python3
"""Tests of scripts/bench.py: verdicts, the page it writes, and one short row with rawecho on both sides.

usage: test_bench_py.py BENCH_PY BUILD RAWECHO plain|other
"""
import importlib.util
import os
import subprocess
import sys
import tempfile
import unittest

SCRIPT, BUILD, RAWECHO, BUILD_KIND = sys.argv[1:5]
sys.dont_write_bytecode = True
spec = importlib.util.spec_from_file_location("bench", SCRIPT)
bench = importlib.util.module_from_spec(spec)
sys.modules["bench"] = bench
spec.loader.exec_module(bench)


def figure(name, ours, limit, **cpu):
    row = next(row for row in bench.ROWS if row.name == name)
    one = {bench.CEREUS: {"value": ours, "cpu_us": cpu.get("ours_cpu", 0)},
           bench.LIMIT: {"value": limit, "cpu_us": cpu.get("limit_cpu", 0)}}
    return bench.summarize(row, [one])


class Verdicts(unittest.TestCase):
    def test_a_rate_is_judged_by_its_ratio_to_the_limit(self):
        self.assertEqual(figure("tcp-50x1", 96, 100).verdict(), "goal")
        self.assertEqual(figure("tcp-50x1", 85, 100).verdict(), "floor")
        self.assertEqual(figure("tcp-50x1", 84, 100).verdict(), "BELOW")

    def test_by_cpu_a_disturbed_rate_does_not_count(self):
        self.assertEqual(figure("tcp-50x1", 10, 100, ours_cpu=1.0, limit_cpu=0.96).verdict(by_cpu=True), "goal")
        self.assertEqual(figure("tcp-50x1", 100, 100, ours_cpu=2.0, limit_cpu=1.0).verdict(by_cpu=True), "BELOW")

    def test_by_cpu_a_latency_is_still_a_latency(self):
        self.assertEqual(figure("p50-1x1", 90, 60, ours_cpu=1.0, limit_cpu=1.0).verdict(by_cpu=True), "BELOW")

    def test_a_time_is_better_when_smaller(self):
        self.assertEqual(figure("p50-1x1", 60, 60).verdict(), "goal")
        self.assertEqual(figure("p50-1x1", 65, 60).verdict(), "floor")
        self.assertEqual(figure("p50-1x1", 70, 60).verdict(), "BELOW")

    def test_an_absolute_row_does_not_look_at_the_limit(self):
        self.assertEqual(figure("idle-tcp", 500, 1).verdict(), "goal")
        self.assertEqual(figure("idle-tcp", 1025, 10000).verdict(), "BELOW")
        self.assertEqual(figure("allocations", 0, 0).verdict(), "goal")
        self.assertEqual(figure("allocations", 1, 0).verdict(), "BELOW")

    def test_a_row_without_a_floor_is_not_judged(self):
        tls = figure("tls-50x1", 1, 100)
        self.assertEqual(tls.verdict(), "")
        self.assertEqual(bench.cells(tls, False)[-3:], ["", "", ""])

    def test_the_ratio_is_the_median_of_the_rounds_ratios(self):
        rounds = [{bench.CEREUS: {"value": c}, bench.LIMIT: {"value": m}} for c, m in ((1, 2), (90, 100), (500, 500))]
        self.assertEqual(bench.summarize(bench.ROWS[0], rounds).ratio, 0.9)


class Page(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "page.md")

    def tearDown(self):
        self.folder.cleanup()

    def write(self, text):
        with open(self.path, "w", encoding="utf-8") as f:
            f.write(text)

    def test_only_what_is_between_the_markers_is_replaced(self):
        self.write(f"# Mine\n{bench.BEGIN}\nold\n{bench.END}\nalso mine\n")
        bench.write_page(self.path, "new\n")
        with open(self.path, encoding="utf-8") as f:
            self.assertEqual(f.read(), f"# Mine\n{bench.BEGIN}\nnew\n{bench.END}\nalso mine\n")

    def test_a_page_without_its_markers_is_left_alone(self):
        for text in ("# Mine\n", f"{bench.END}{bench.BEGIN}", f"{bench.BEGIN}{bench.BEGIN}{bench.END}"):
            self.write(text)
            with self.assertRaises(bench.Failed):
                bench.write_page(self.path, "new\n")
            with open(self.path, encoding="utf-8") as f:
                self.assertEqual(f.read(), text)


class Run(unittest.TestCase):
    def run_script(self, *options):
        return subprocess.run([sys.executable, SCRIPT, "--build", BUILD, "--server", RAWECHO, "--no-lock", *options],
                              capture_output=True, text=True, timeout=60, check=False)

    def test_a_row_that_is_not_there_is_named(self):
        done = self.run_script("--row", "no-such-row")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no-such-row", done.stderr)

    @unittest.skipIf(BUILD_KIND != "plain", "the script refuses to measure such a build")
    def test_rows_are_measured_on_both_sides(self):
        done = self.run_script("--rounds", "1", "--duration", "1", "--row", "ws-50x1", "--row", "memory")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("WebSocket raw echo", done.stdout)

    @unittest.skipIf(BUILD_KIND != "plain", "the script refuses to measure such a build")
    def test_a_run_with_errors_fails(self):
        done = self.run_script("--quick", "--rounds", "1", "--duration", "0.1", "--row", "compress-50x1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("FAILED compress-50x1", done.stdout)


unittest.main(argv=sys.argv[:1])
