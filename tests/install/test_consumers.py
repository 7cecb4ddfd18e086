#!/usr/bin/env python3
"""Games built against the installed tree, with the commands and files of docs/guide/install.md: by hand through
pkg-config, with CMake, with Meson; each shared and static, each answers a request.

    test_consumers.py ROOT BUILD
"""
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

from installed import Installed, blocks


class Consumers(Installed):
    def setUp(self):
        super().setUp()
        self.page = self.root / "docs/guide/install.md"

    def take_typed_game(self):
        for name in ("main.c", "guess.proto"):
            shutil.copy(self.root / "examples/typed" / name, self.folder)

    def needed(self, program):
        """The shared libraries that a program names."""
        out = self.run_shell(f"objdump -p {program}")
        return re.findall(r"NEEDED +(\S+)", out)

    def check_guess(self, program):
        said = self.answers(program, 'request game.try {"number": 7}')
        self.assertIn('"text":"higher"', said)

    def test_by_hand_through_pkg_config(self):
        (self.folder / "game.c").write_text(blocks(self.root / "README.md", "c")[0])
        shared, static = (next(b for b in blocks(self.page, "sh") if b.startswith("cc ") and ("static" in b) == want)
                          for want in (False, True))
        for command, is_shared in ((shared, True), (static, False)):
            with self.subTest(shared=is_shared):
                self.run_shell(command)
                self.assertEqual("libcereus.so.0" in self.needed("game"), is_shared)
                self.assertNotIn("libboost_context", " ".join(self.needed("game")))
                self.assertIn('{"result":"success"}', self.answers("game", 'request room.join {"name": "ada"}'))

    def test_protoc_by_hand(self):
        self.take_typed_game()
        self.run_shell(next(b for b in blocks(self.page, "sh") if "--cereus_out" in b))
        self.run_shell("cc -I. main.c guess.pb-c.c $(pkg-config --cflags --libs cereus) -o guess")
        self.check_guess("guess")

    def test_the_client_through_pkg_config(self):
        shutil.copy(self.root / "clients/c/test/alone.c", self.folder)
        for flags in ("--libs", "--static --libs cereus-client | sed 's/-lcereus-client /-l:libcereus-client.a /' #"):
            self.run_shell(f"cc alone.c $(pkg-config --cflags {flags} cereus-client\n) -o alone && ./alone")
        self.assertFalse([n for n in self.needed("alone") if n.startswith("libcereus")])

    def test_meson(self):
        self.take_typed_game()
        text = blocks(self.page, "meson")[0]
        for kind, dependency in (("shared", "dependency('cereus')"), ("static", "dependency('cereus', static: true)")):
            with self.subTest(kind=kind):
                (self.folder / "meson.build").write_text(text.replace("dependency('cereus')", dependency))
                self.run_shell(f"meson setup {kind} && ninja -C {kind}")
                self.assertEqual("libcereus.so.0" in self.needed(f"{kind}/guess"), kind == "shared")
                self.check_guess(f"{kind}/guess")

    def test_cmake(self):
        self.take_typed_game()
        text = blocks(self.page, "cmake")[0]
        for kind, target in (("shared", "Cereus::cereus"), ("static", "Cereus::cereus_static")):
            with self.subTest(kind=kind):
                (self.folder / "CMakeLists.txt").write_text(text.replace("Cereus::cereus)", target + ")"))
                self.run_shell(f"cmake -G Ninja -B {kind} && cmake --build {kind}")
                self.assertEqual("libcereus.so.0" in self.needed(f"{kind}/guess"), kind == "shared")
                self.check_guess(f"{kind}/guess")

    def test_cmake_refuses_a_version_that_is_not_there(self):
        for wanted, code in (("0.1", 0), ("0.1.0", 0), ("0.9", 1), ("1", 1), ("0.1.99", 1)):
            (self.folder / "CMakeLists.txt").write_text(
                f"cmake_minimum_required(VERSION 3.20)\nproject(x C)\n"
                f"find_package(Cereus {wanted} QUIET)\n"
                f"if(NOT Cereus_FOUND)\n  message(FATAL_ERROR no)\nendif()\n")
            with self.subTest(wanted=wanted):
                self.run_shell("rm -rf b && cmake -B b", code=code)

    def test_the_two_libraries_get_along_in_one_program(self):
        (self.folder / "both.c").write_text(
            "#include <cereus/cereus.h>\n#include <cereus/client.h>\n"
            "int main(void)\n{\n    cereus_client *c;\n    cereus_error err;\n"
            "    cereus_app *app = cereus_app_new(NULL);\n"
            "    int bad = !app || cereus_client_new(NULL, NULL, NULL, &c, &err);\n"
            "    if (!bad)\n        cereus_client_free(c);\n    cereus_app_free(app);\n    return bad;\n}\n")
        libs = "$(pkg-config --cflags --static --libs cereus cereus-client | sed 's/-l\\(cereus[a-z-]*\\) /-l:lib\\1.a /g')"
        self.run_shell(f"cc both.c {libs} -o both && ./both")
        self.assertFalse([n for n in self.needed("both") if n.startswith("libcereus")])

    def test_make_install_passes_on_where_to(self):
        said = self.run_shell(f"make -C {self.root} -n install BUILD={self.build} prefix=/opt/x DESTDIR=stage")
        self.assertIn(f"meson configure {self.build} --prefix=/opt/x", said)
        self.assertIn(f"meson install -C {self.build} --quiet --destdir={self.root}/stage", said)

    def test_every_public_header_is_installed(self):
        ours = {p.name for d in ("include/cereus", "clients/c/include/cereus") for p in (self.root / d).glob("*.h")}
        self.assertEqual({p.name for p in (self.prefix / "include/cereus").iterdir()}, ours)

    def test_the_unit_is_where_systemd_looks_and_its_page_is_there(self):
        unit = (self.prefix / "lib/systemd/system/cereus@.service").read_text()
        self.assertIn("Documentation=file:///usr/share/doc/cereus/operation.md\n", unit)
        self.assertTrue((self.prefix / "share/doc/cereus/operation.md").is_file())


if __name__ == "__main__":
    Installed.root, Installed.build = (pathlib.Path(p).resolve() for p in sys.argv[1:3])
    unittest.main(argv=sys.argv[:1])
