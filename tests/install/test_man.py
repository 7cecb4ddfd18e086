#!/usr/bin/env python3
"""The manual pages as installed: complete, without a warning of the formatter, and their example builds.

    test_man.py ROOT BUILD
"""
import pathlib
import re
import sys
import unittest

from installed import Installed


class Man(Installed):
    def setUp(self):
        super().setUp()
        self.man = self.prefix / "share/man"

    def read(self, page, section):
        """A page as man shows it, found by name."""
        return self.run_shell(f"man -M {self.man} {section} {page} | col -bx", MANWIDTH="100", LC_ALL="C.UTF-8")

    def test_no_page_has_a_warning(self):
        pages = sorted(self.man.rglob("*.[1-8]"))
        self.assertGreater(len(pages), 100)
        real = [str(p) for p in pages if not p.read_text(encoding="utf-8").startswith(".so ")]
        said = self.run_shell(f"for p in {' '.join(real)}; do groff -K utf8 -mandoc -Tutf8 -ww -z $p 2>&1; done")
        self.assertEqual(said, "")

    def test_every_header_and_every_function_has_a_page(self):
        for header in (self.prefix / "include/cereus").glob("*.h"):
            page = header.name if header.name == "cereus.h" else f"cereus_{header.name}"
            self.assertTrue((self.man / f"man3/{page}.3").exists(), page)
        for library in self.libdir.glob("libcereus*.so"):
            for line in self.run_shell(f"nm -D --defined-only {library}").splitlines():
                name = line.split()[2].split("@")[0]
                if name.startswith("cereus_") and not name.startswith("cereus_private_"):  # between our own libraries
                    self.assertTrue((self.man / f"man3/{name}.3").exists(), f"{name} of {library.name} has no page")

    def test_a_function_leads_to_its_header(self):
        text = self.read("cereus_session_bind", 3)
        self.assertIn("#include <cereus/session.h>", text)
        self.assertRegex(text, r"cereus_status cereus_session_bind\(cereus_ctx \*ctx")
        self.assertIn("Ownership: borrows fd", self.read("cereus_loop_watch", 3))

    def test_the_tools_page_knows_every_command(self):
        text = self.read("cereus", 1)
        for command in re.findall(r"^  ([a-z]+) ", self.run_shell("cereus help"), re.M):
            self.assertRegex(text, rf"(?m)^       {command}\b")

    def test_the_settings_page_knows_every_key(self):
        text = self.read("cereus.yaml", 5)
        for key in re.findall(r"^\| `([a-z.]+)` \|", (self.root / "docs/reference/config.md").read_text(), re.M):
            self.assertIn(key, text)

    def test_the_example_of_the_first_page_is_a_server(self):
        text = self.read("cereus", 7)
        code = re.search(r"^       #include.*?^       }$.*?^       }$", text, re.M | re.S)[0]
        (self.folder / "game.c").write_text(code)
        self.run_shell(re.search(r"^ +(cc game\.c .*)$", text, re.M)[1])
        self.assertIn('hello', self.answers("game", 'request room.echo hello'))


if __name__ == "__main__":
    Installed.root, Installed.build = (pathlib.Path(p).resolve() for p in sys.argv[1:3])
    unittest.main(argv=sys.argv[:1])
