#!/usr/bin/env python3
"""`cereus config`: every mistake in a file with its place, and all settings with where they are from.

    test_config.py CEREUS
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

TOOL = None

WRONG = """\
cereus:
  loops: 99
  watchdog.threshold: 5
  sesions.max: 10
  listen: [http://0.0.0.0:3250, "ws://0.0.0.0"]
pitaya:
  heartbeat: {interval: [1, 2]}
  buffer.agent.messages: 5
  cluster.info.region: somewhere
  serializertype: 3
citrus.x: 1
ceruess.loops: 4
cereus.loops: 1
"""


class Config(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def write(self, name, text):
        (self.folder / name).write_text(text)
        return name

    def run_tool(self, *args, env=None):
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("CEREUS_", "PITAYA_"))}
        done = subprocess.run([TOOL, "config", *args], cwd=self.folder, capture_output=True, text=True, timeout=60,
                              env={**clean, **(env or {})})
        return done.returncode, done.stdout, done.stderr

    def test_a_good_file_is_ok(self):
        name = self.write("game.yaml", "cereus:\n  loops: 2\n  listen: [ws://127.0.0.1:3250]\ngame.motd: hello\n")
        self.assertEqual(self.run_tool("check", name), (0, "ok\n", ""))
        self.assertEqual(self.run_tool("check", "--strict", name), (0, "ok\n", ""))

    def test_all_mistakes_of_a_file_are_named_with_their_places(self):
        code, out, err = self.run_tool("check", self.write("game.yaml", WRONG))
        self.assertEqual(out.splitlines(), [
            'game.yaml:2:10: error: cereus.loops: "99" is out of range, 0 to 64',
            'game.yaml:3:23: error: cereus.watchdog.threshold: "5" needs a unit, like 5s',
            'game.yaml:4:16: warning: cereus.sesions.max: is not a known key, did you mean cereus.sessions.max?',
            'game.yaml:7:25: error: pitaya.heartbeat.interval: takes one duration, not a list',
            'game.yaml:8:26: warning: pitaya.buffer.agent.messages: has no effect: queues are bounded by bytes, see '
            'cereus.outbox.bytes',
            'game.yaml:9:24: warning: pitaya.cluster.info.region: is a key of Pitaya that this version does not '
            'read yet',
            'game.yaml:10:19: error: pitaya.serializertype: "3" is out of range, 1 to 2',
            "game.yaml:12:16: warning: ceruess.loops: is taken for a key of the game's own, did you mean "
            'cereus.loops?',
            'game.yaml:5:11: warning: unless the game has an acceptor for it: listener "http://0.0.0.0:3250": must begin with tcp://, tls://, ws:// or wss://',
            'game.yaml:5:11: error: listener "ws://0.0.0.0": needs a port from 0 to 65535, like tcp://0.0.0.0:3250',
            '5 errors, 5 warnings'])
        self.assertEqual((code, err), (1, ""))

    def test_certificates_are_looked_at(self):
        tls = os.environ["TEST_TLS"]
        for cert, key, want in (
                (f"{tls}/server.crt", f"{tls}/server.key", []),
                (f"{tls}/server.crt", "", ["game.yaml:1:18: warning: cereus.tls.key: is not set, and cereus.tls.cert does "
                                           "nothing without it"]),
                ("none.crt", f"{tls}/server.key", ["game.yaml:1:18: warning: none.crt: No such file or directory"]),
                (f"{tls}/server.crt", f"{tls}/other.key", [
                    f"game.yaml:1:18: warning: {tls}/other.key: this key does not belong to the certificate "
                    f"{tls}/server.crt"])):
            with self.subTest(cert=cert, key=key):
                name = self.write("game.yaml", f"cereus.tls.cert: {cert}\ncereus.tls.key: {key}\n")
                code, out, err = self.run_tool("check", name)
                self.assertEqual((code, err), (0, ""))
                self.assertEqual(out.splitlines()[:-1], want)

    def test_warnings_alone_fail_only_when_strict(self):
        name = self.write("game.yaml", "cereus.lops: 2\n")
        want = ("game.yaml:1:14: warning: cereus.lops: is not a known key, did you mean cereus.loops?\n"
                "0 errors, 1 warning\n")
        self.assertEqual(self.run_tool("check", name), (0, want, ""))
        self.assertEqual(self.run_tool("check", "--strict", name), (1, want, ""))

    def test_what_is_no_settings_at_all_is_one_error(self):
        for text, want in (
                ("a: b: c\n", "game.yaml:1:5: error: not YAML: mapping values are not allowed in this context"),
                ("- a\n", "game.yaml:1:1: error: not settings: KEY: VALUE lines are expected"),
                ("a: 1\na: 2\n", "game.yaml:2:4: error: a: is set twice, first at game.yaml:1:4"),
                ("x" * 300000, "game.yaml: error: larger than 262144 bytes")):
            with self.subTest(want):
                code, out, err = self.run_tool("check", self.write("game.yaml", text))
                self.assertEqual((code, out, err), (1, want + "\n1 error, 0 warnings\n", ""))
        self.assertEqual(self.run_tool("check", "none.yaml"),
                         (1, "none.yaml: error: cannot be opened: No such file or directory\n1 error, 0 warnings\n", ""))

    def test_a_later_file_overrides_and_mistakes_are_bounded(self):
        first = self.write("a.yaml", "cereus.listen: x\n")
        second = self.write("b.yaml", "cereus.listen: ws://127.0.0.1:1\n")
        self.assertEqual(self.run_tool("check", first, second), (0, "ok\n", ""))
        many = self.write("many.yaml", "".join(f"cereus.zzz{i}: 1\n" for i in range(1000)))
        code, out, _ = self.run_tool("check", many)
        self.assertEqual((code, len(out.splitlines())), (0, 202))
        self.assertEqual(out.splitlines()[-2:], ["... and more", "0 errors, 1000 warnings"])

    def test_options_that_are_not_understood(self):
        for args in (("check",), ("check", "--bad", "x"), ("nonsense",), ()):
            with self.subTest(args):
                code, out, err = self.run_tool(*args)
                self.assertEqual((code, out), (2, ""))
                self.assertIn("config", err)
        self.assertEqual(self.run_tool("--help")[0], 0)
        self.assertEqual(self.run_tool("check", "--help")[0], 0)
        self.assertEqual(self.run_tool("print", "--help")[0], 0)
        self.assertEqual(self.run_tool("print", "--lops=3"), (1, "", "--lops: is not a known flag, did you mean "
                                                              "--cereus.loops?\n"))

    def test_print_says_where_each_value_is_from(self):
        name = self.write("game.yaml", "cereus:\n  loops: 2\n  inbox.messages: 3\ngame.b: x\n")
        code, out, err = self.run_tool("print", name, "--set", "game.a=hi", "--log.level=warn",
                                       env={"CEREUS_LOOPS": "3"})
        self.assertEqual((code, err), (0, ""))
        rows = {line.split()[0]: line.split(maxsplit=2)[1:] for line in out.splitlines()}
        self.assertEqual(rows["KEY"], ["VALUE", "FROM"])
        self.assertEqual(rows["cereus.loops"], ["3", "environment CEREUS_LOOPS"])
        self.assertEqual(rows["cereus.inbox.messages"], ["3", "game.yaml:3:19"])
        self.assertEqual(rows["cereus.log.level"], ["warn", "flag --log.level"])
        self.assertEqual(rows["cereus.compression.level"], ["-1", "default"])
        self.assertEqual(rows["game.a"], ["hi", "flag --set game.a"])
        self.assertEqual(rows["game.b"], ["x", "game.yaml:4:9"])
        self.assertEqual(len({line.rfind("default") for line in out.splitlines() if line.endswith("default")}), 1)

    def test_print_for_machines(self):
        name = self.write("game.yaml", "cereus:\n  loops: 2\n  listen: [tcp://a:1, ws://b:2]\n\"odd key.x\": \"a\\nb\"\n")
        code, out, err = self.run_tool("print", "--json", name)
        self.assertEqual((code, err), (0, ""))
        got = json.loads(out)
        self.assertEqual(got["cereus.loops"], {"value": 2, "from": "game.yaml:2:10"})
        self.assertEqual(got["cereus.listen"]["value"], ["tcp://a:1", "ws://b:2"])
        self.assertEqual(got["pitaya.handler.messages.compression"], {"value": True, "from": "default"})
        self.assertEqual(got["odd key.x"]["value"], "a\nb")

        code, yaml, err = self.run_tool("print", "--yaml", name)
        self.assertEqual((code, err), (0, ""))
        self.assertIn("cereus.loops: 2  # game.yaml:2:10\n", yaml)
        self.assertEqual(self.run_tool("check", "--strict", self.write("again.yaml", yaml.replace("ws://b", "ws://127.0.0.1")
                                                                       .replace("tcp://a", "tcp://127.0.0.1"))),
                         (0, "ok\n", ""))
        again = json.loads(self.run_tool("print", "--json", self.write("again.yaml", yaml))[1])
        self.assertEqual({k: v["value"] for k, v in again.items()}, {k: v["value"] for k, v in got.items()})

    def test_secrets_are_not_shown(self):
        name = self.write("game.yaml", "pitaya.worker.redis.password: hunter2\ngame.api.token: hunter2\n"
                          "game.db: redis://me:hunter2@db:6379/0\n")
        for how in ((), ("--json",), ("--yaml",)):
            code, out, _ = self.run_tool("print", name, *how)
            self.assertEqual(code, 0)
            self.assertNotIn("hunter2", out)
            self.assertIn("redis://***@db:6379/0", out)

    def test_print_stops_at_what_a_server_would_not_take(self):
        name = self.write("game.yaml", "cereus.loops: 99\n")
        self.assertEqual(self.run_tool("print", name),
                         (1, "", 'cereus.loops: "99" is out of range, 0 to 64 (from game.yaml:1:15)\n'))


if __name__ == "__main__":
    TOOL = os.path.abspath(sys.argv.pop(1))
    unittest.main()
