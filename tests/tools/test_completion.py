#!/usr/bin/env python3
"""`cereus completion`: each shell offers every command and every flag that --help prints, and nothing more.

    test_completion.py CEREUS
"""
import os
import re
import subprocess
import sys
import tempfile
import unittest

TOOL = None
BASH = 'source "$1"; COMP_WORDS=("${@:2}"); COMP_CWORD=$(($# - 2)); _cereus; printf "%s\\n" "${COMPREPLY[@]}"'
ZSH = '''compdef() { : }
_describe() { print -l -- ${(P)2} }
_files() { print FILES }
script=$1; shift; words=("$@"); CURRENT=$#; source $script; _cereus'''


def run(*command):
    env = {k: v for k, v in os.environ.items() if k != "ENV"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env)
    if done.returncode or done.stderr:
        raise AssertionError(f"{command}: {done.returncode} {done.stderr}")
    return done.stdout


class Completion(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.scripts = {}
        for shell in ("bash", "zsh", "fish"):
            cls.scripts[shell] = os.path.join(cls.folder.name, shell)
            with open(cls.scripts[shell], "w", encoding="utf-8") as out:
                out.write(run(TOOL, "completion", shell))
        listed = run(TOOL, "help")
        cls.commands = re.findall(r"^  ([a-z]+) ", listed, re.M)

    def offers(self, shell, *words):
        """What Tab offers behind these words; the last is what was typed so far."""
        script = self.scripts[shell]
        if shell == "bash":
            found = run("bash", "--norc", "-uc", BASH, "bash", script, "cereus", *words).split()
        elif shell == "zsh":
            lines = run("zsh", "-fc", ZSH, "zsh", script, "cereus", *words).splitlines()
            found = [w for w in (line.split(":")[0] for line in lines) if w.startswith(words[-1])]
        else:
            line = " ".join(("cereus",) + words)
            found = [x.split("\t")[0] for x in
                     run("fish", "--no-config", "-c", f"source {script}; complete -C '{line}'").splitlines()]
        return {w for w in found if w != "FILES"}

    def test_commands(self):
        self.assertIn("repl", self.commands)
        for shell in self.scripts:
            self.assertTrue(self.offers(shell, "") >= set(self.commands), shell)
            self.assertEqual(self.offers(shell, "wi"), {"wire"}, shell)
            self.assertNotIn("completion", self.offers(shell, ""))

    def test_every_flag_of_every_help_text(self):
        for command in set(self.commands) - {"help", "version"}:
            shown = run(TOOL, command, "--help")
            lines = [x for x in shown.splitlines() if re.match(r"usage:| *cereus | *-", x)]
            flags = {f"--{w}" for x in lines for w in re.findall(r"(?<![\w-])--([a-z][a-z-]*)", x)} | {"--help"}
            for shell in self.scripts:
                with self.subTest(shell=shell, command=command):
                    found = {w for w in self.offers(shell, command, "--") if not w.endswith("=")}
                    self.assertEqual(found, flags)

    def test_words_and_settings(self):
        for shell in self.scripts:
            with self.subTest(shell=shell):
                self.assertTrue(self.offers(shell, "config", "") >= {"check", "print"})
                self.assertIn("--cereus.loops=", self.offers(shell, "config", "print", "--cereus.lo"))
                self.assertTrue(self.offers(shell, "completion", "") >= {"bash", "zsh", "fish"})

    def test_a_shell_that_is_none_is_refused(self):
        done = subprocess.run([TOOL, "completion", "tcsh"], capture_output=True, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("bash|zsh|fish", done.stderr)


if __name__ == "__main__":
    TOOL = os.path.abspath(sys.argv[1])
    unittest.main(argv=sys.argv[:1])
