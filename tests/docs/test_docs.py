"""The README's server and the guide's commands, done as a reader would: built, started, talked to.

    test_docs.py ROOT BUILD
"""
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import cereus_wire as wire  # noqa: E402

ROOT, BUILD = (pathlib.Path(p).resolve() for p in sys.argv[1:3])


def blocks(page, language):
    """The fenced blocks of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^```%s\n(.*?)^```" % language, text, re.M | re.S)


class Docs(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        for name, target in (("include", ROOT / "include"), ("build", BUILD)):
            (self.folder / name).symlink_to(target)

    def run_shell(self, command):
        done = subprocess.run(["sh", "-ec", command], cwd=self.folder, capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def build_first_server(self):
        """Returns the line that starts it."""
        (self.folder / "game.c").write_text(blocks("README.md", "c")[0])
        write = next(b for b in blocks("docs/guide/first-server.md", "sh") if "game.c" in b)
        lines = [line for line in write.replace("\\\n", " ").splitlines()]
        self.run_shell(next(line for line in lines if line.startswith("cc ")))
        return next(line for line in lines if line.startswith("./game "))

    def start(self, line):
        """The process and where it listens."""
        line = re.sub(r":\d+", ":0", line)  # any free port
        game = wire.LoggedServer(line.split(), cwd=self.folder)
        self.addCleanup(game.kill)
        (scheme, address), = game.addresses.items()
        return game, f"{scheme}://{address}"

    def stop(self, server):
        problem = server.stop()
        self.assertIsNone(problem, problem)

    def test_a_certificate_is_made_served_and_read_again(self):
        self.build_first_server()
        make, run = blocks("docs/guide/tls.md", "sh")
        self.run_shell(make)
        game, listening = self.start(run)
        self.assertTrue(listening.startswith("wss://"), listening)
        self.run_shell(make)
        game.proc.send_signal(signal.SIGHUP)
        self.assertEqual(game.await_line("msg=reloaded|reload failed").group(), "msg=reloaded")
        self.stop(game)

    def test_the_first_server_builds_runs_and_answers(self):
        run_line = self.build_first_server()
        game, listening = self.start(run_line)
        talk = next(b for b in blocks("docs/guide/first-server.md", "sh") if "repl" in b)
        commands = [line[2:] for line in talk.splitlines() if line.startswith("> ")]
        commands[0] = "connect " + listening
        (self.folder / "talk").write_text("\n".join(commands) + "\n")
        said = self.run_shell("HOME=. build/tools/cereus/cereus repl -f talk")
        self.assertIn('{"result":"success"}', said)
        self.stop(game)

    def test_the_servers_of_the_cluster_guide_find_one_another(self):
        os.environ["CEREUS_CLUSTER_DIR"] = str(self.folder / "run")
        self.addCleanup(os.environ.pop, "CEREUS_CLUSTER_DIR")
        room_line, connector_line, talk = (block.strip() for block in blocks("docs/guide/cluster.md", "sh"))
        room = wire.Server(room_line.split(), cwd=self.folder)
        self.addCleanup(room.kill)
        connector, listening = self.start(connector_line)
        commands = [line[2:] for line in talk.splitlines() if line.startswith("> ")]
        commands[0] = "connect " + listening
        (self.folder / "talk").write_text("\n".join(commands) + "\n")
        said = self.run_shell("HOME=. build/tools/cereus/cereus repl -f talk")
        self.assertIn('"result":"success"', said)
        for server in (connector, room):
            self.stop(server)

    def test_the_protobuf_guide_generates_by_hand(self):
        for name in ("examples", "proto"):
            (self.folder / name).symlink_to(ROOT / name)
        self.run_shell(next(b for b in blocks("docs/guide/protobuf.md", "sh") if "protoc " in b))
        self.assertIn("guess_push_on_won_group", (self.folder / "guess.cereus.h").read_text())

    def test_the_tested_game_of_the_guide_passes_its_test(self):
        game, test = blocks("docs/guide/testing.md", "c")[:2]
        (self.folder / "game.c").write_text(game)
        (self.folder / "test_game.c").write_text(test)
        self.run_shell(blocks("docs/guide/testing.md", "sh")[0])

    def test_every_page_that_is_linked_exists(self):
        pages = ["README.md", *(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))]
        for page in pages:
            for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text(encoding="utf-8")):
                target = (ROOT / page).parent / link
                self.assertTrue(target.exists(), f"{page} links to {link}")

    def test_what_the_readme_points_at_is_there(self):
        table = (ROOT / "README.md").read_text(encoding="utf-8").split("## Finding your way")[1]
        for path in re.findall(r"`([a-z]+/[a-z/_.]+)`", table):
            self.assertTrue((self.folder / path).exists() or (ROOT / path).exists(), path)


if __name__ == "__main__":
    os.environ.pop("CEREUS_LISTEN", None)
    unittest.main(argv=sys.argv[:1])
