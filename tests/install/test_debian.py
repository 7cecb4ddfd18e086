#!/usr/bin/env python3
"""The Debian source package: it builds source and binary packages from what git tracks, and a game builds against what
the binary packages unpack to.

    test_debian.py ROOT BUILD
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

from installed import FOREIGN, Installed, blocks

PACKAGES = ("libcereus0", "libcereus-dev", "cereus-tools")


class Debian(Installed):
    @classmethod
    def install(cls, stage):
        cls.work = cls.build / "debian-package"  # the same path each time, for ccache
        shutil.rmtree(cls.work, ignore_errors=True)
        tree = cls.work / "cereus"
        tree.mkdir(parents=True)
        listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=cls.root, check=True,
                                capture_output=True).stdout.split(b"\0")
        for name in (os.fsdecode(n) for n in listed if n):
            if (cls.root / name).exists():
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(cls.root / name, tree / name)
        cache = pathlib.Path(os.environ.get("CCACHE_DIR", pathlib.Path.home() / ".cache/ccache"))
        env = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
        # /usr/bin first: debhelper's own Python and Meson
        env |= {"DEB_BUILD_OPTIONS": "nocheck noautodbgsym parallel=2", "CCACHE_DIR": str(cache),
                "PATH": f"/usr/lib/ccache:/usr/sbin:/usr/bin:/sbin:/bin:{env['PATH']}"}
        with open(cls.work / "log", "w", encoding="utf-8") as log:
            done = subprocess.run(["dpkg-buildpackage", "-us", "-uc", "-F"], cwd=tree, env=env, stdout=log,
                                  stderr=subprocess.STDOUT)
        if done.returncode:
            raise AssertionError("dpkg-buildpackage failed:\n" + (cls.work / "log").read_text()[-4000:])
        cls.debs = {name: next(cls.work.glob(f"{name}_*.deb")) for name in PACKAGES}
        for deb in cls.debs.values():
            subprocess.run(["dpkg-deb", "-x", str(deb), str(stage)], check=True)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.work)

    def field(self, package, name):
        return self.run_shell(f"dpkg-deb -f {self.debs[package]} {name}").strip()

    def test_there_is_a_source_package(self):
        (dsc,) = self.work.glob("*.dsc")
        self.assertEqual(re.search(r"^Binary: (.*)$", dsc.read_text(), re.M)[1], ", ".join(PACKAGES))

    def test_each_file_is_where_it_belongs(self):
        def files(package):
            return self.run_shell(f"dpkg-deb --fsys-tarfile {self.debs[package]} | tar -t")
        where = {"libcereus0": ("libcereus.so.0.1.0", "libcereus-client.so.0"),
                 "libcereus-dev": ("include/cereus/cereus.h", "libcereus.so", "libcereus.a", "pkgconfig/cereus.pc",
                                   "libcereus-test.a", "cmake/Cereus/CereusConfig.cmake", "bin/protoc-gen-cereus",
                                   "proto/cereus/options.proto", "man3/cereus_app.h.3.gz"),
                 "cereus-tools": ("bin/cereus", "man1/cereus.1.gz", "man5/cereus.yaml.5.gz", "man7/cereus.7.gz",
                                  "bash-completion/completions/cereus", "zsh/vendor-completions/_cereus",
                                  "vendor_completions.d/cereus.fish", "lib/systemd/system/cereus@.service")}
        for package, names in where.items():
            listed = files(package)
            for name in names:
                self.assertRegex(listed, rf"(?m)/{re.escape(name)}$", package)

    def test_packages_depend_on_what_they_need(self):
        self.assertRegex(self.field("libcereus0", "Depends"), r"libuv1 .*")
        self.assertNotIn("boost", self.field("libcereus0", "Depends"))
        needs = self.field("libcereus-dev", "Depends")
        for header in ("libcereus0 (= 0.1.0)", "libjansson-dev", "libprotobuf-c-dev", "libuv1-dev"):
            self.assertIn(header, needs)

    def test_a_game_builds_and_answers(self):
        (self.folder / "game.c").write_text(blocks(self.root / "README.md", "c")[0])
        self.run_shell(next(b for b in blocks(self.root / "docs/guide/install.md", "sh") if b.startswith("cc ")))
        self.assertIn('{"result":"success"}', self.answers("game", 'request room.join {"name": "ada"}'))


if __name__ == "__main__":
    Installed.root, Installed.build = (pathlib.Path(p).resolve() for p in sys.argv[1:3])
    unittest.main(argv=sys.argv[:1])
