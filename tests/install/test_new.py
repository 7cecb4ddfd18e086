#!/usr/bin/env python3
"""`cereus new` from the installed tree: the game builds without a warning, its tests pass, it runs and answers.

    test_new.py ROOT BUILD
"""
import pathlib
import re
import sys
import unittest

from installed import Installed, blocks


class New(Installed):
    def build_and_play(self, *options):
        said = self.run_shell(f"cereus new {' '.join(options)} chess2")
        commands = re.findall(r"^  ((?:cd|meson|build/).*)$", said, re.M)
        readme = "".join(blocks(self.folder / "chess2/README.md", "sh"))
        for command in commands[1:]:
            self.assertIn(command.split(" && ")[0], readme)
        built = self.run_shell(" && ".join(commands[:3]) + " --print-errorlogs")
        self.assertNotIn("warning:", built)
        self.assertRegex(built, r"Ok: +1 ")
        self.run_shell("cereus config check --strict chess2/game.yaml")
        self.assertNotIn("@NAME@", "".join(p.read_text() for p in (self.folder / "chess2").rglob("*")
                                           if p.is_file() and "build" not in p.parts))
        said = self.answers("chess2/build/chess2", 'request room.join {"name": "ada"}', CEREUS_WATCHDOG_THRESHOLD="0")
        self.assertIn('"greeting":"hello"', said)
        self.assertIn('"name":"ada"', said)  # the push

    def test_a_game_with_json(self):
        self.build_and_play()
        with self.subTest("its settings reach it"):
            (self.folder / "run").write_text('#!/bin/sh\nexec chess2/build/chess2 --config chess2/game.yaml "$@"\n')
            (self.folder / "run").chmod(0o755)
            self.assertIn('"greeting":"welcome"', self.answers("run", 'request room.join {"name": "ada"}'))
        with self.subTest("broken, it fails its test"):
            game = self.folder / "chess2/src/game.c"
            game.write_text(game.read_text().replace('"onSay"', '"onShout"'))
            self.assertIn("onSay", self.run_shell("cd chess2 && meson test -C build --print-errorlogs", code=1))

    def test_a_game_from_a_proto(self):
        self.build_and_play("--typed")

    def test_names_and_folders_that_will_not_do(self):
        (self.folder / "there").mkdir()
        for name, code, why in (
            ("there", 1, "there: exists already"), ("Chess", 2, "begins with one of a-z"), ("../x", 2, "begins with"),
            ("che-ss", 2, "made of a-z"), ("a/b", 2, "made of a-z"), ("x" * 33, 2, "at most 32"), ("test", 2, "choose"),
            ("cereus", 2, "choose"), ("''", 2, "begins with"), ("--what", 2, "not understood"),
            ("one two", 2, "two: is not understood"),
        ):
            with self.subTest(name=name):
                said = self.run_shell(f"cereus new {name}", code=code)
                self.assertRegex(said, rf"\Acereus new: .*{re.escape(why)}.*\n\Z")
        self.assertEqual([p.name for p in self.folder.rglob("*")], ["there"])

    def test_without_cereus_the_build_says_what_to_do(self):
        self.run_shell("cereus new chess")
        said = self.run_shell("cd chess && meson setup build", code=1, PKG_CONFIG_PATH="/nowhere")
        self.assertRegex(said, "pkg-config does not find Cereus. Install it .*libcereus-dev")


if __name__ == "__main__":
    Installed.root, Installed.build = (pathlib.Path(p).resolve() for p in sys.argv[1:3])
    unittest.main(argv=sys.argv[:1])
