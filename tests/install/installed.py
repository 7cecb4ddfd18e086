"""What the tests of an installed tree share: an installation, an environment that knows nothing else, a page's code."""
import contextlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import cereus_wire as wire  # noqa: E402

# nothing of ours but what is installed may be found
FOREIGN = ("CEREUS_", "PITAYA_", "MESON_", "LD_", "PKG_CONFIG", "CMAKE_", "CFLAGS", "LDFLAGS", "DESTDIR", "MAKE")


def blocks(page, language):
    """The fenced blocks of a page, in order."""
    return re.findall(r"^```%s\n(.*?)^```" % language, page.read_text(encoding="utf-8"), re.M | re.S)


class Installed(unittest.TestCase):
    """A test with the tree installed once in cls.prefix, a folder of its own in self.folder."""
    root = build = None

    @classmethod
    def install(cls, stage):
        """Put the tree below a folder."""
        subprocess.run(["meson", "install", "-C", str(cls.build), "--no-rebuild", "--quiet", "--destdir", str(stage)],
                       check=True, stdout=subprocess.DEVNULL)

    @classmethod
    def setUpClass(cls):
        holder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(holder.cleanup)
        stage = pathlib.Path(holder.name) / "stage"
        env = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
        cls.install(stage)
        cls.prefix = next(p for p in stage.rglob("include/cereus") if p.is_dir()).parent.parent
        cls.libdir = next(cls.prefix.rglob("pkgconfig")).parent
        for pc in (cls.libdir / "pkgconfig").iterdir():  # it stands below DESTDIR, not at its prefix
            pc.write_text(re.sub(r"^prefix=.*", f"prefix={cls.prefix}", pc.read_text(), flags=re.M))
        cls.env = {**env, "PKG_CONFIG_PATH": f"{cls.libdir}/pkgconfig", "CMAKE_PREFIX_PATH": str(cls.prefix),
                   "LD_LIBRARY_PATH": str(cls.libdir), "PATH": f"{cls.prefix}/bin:{env['PATH']}", "HOME": holder.name,
                   "LC_ALL": "C.UTF-8"}

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def run_shell(self, command, code=0, **env):
        done = subprocess.run(["sh", "-ec", command], cwd=self.folder, capture_output=True, text=True, timeout=240,
                              env={**self.env, **env})
        self.assertEqual(done.returncode, code, f"{command}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    @contextlib.contextmanager
    def serving(self, program, **env):
        """A server on a free port: its address. Stopped at the end."""
        server = wire.LoggedServer([str(self.folder / program), "--listen", "tcp://127.0.0.1:0"], cwd=self.folder,
                                   env={**self.env, **env})
        try:
            yield "tcp://" + server.addresses["tcp"]
        finally:
            problem = server.stop()
            self.assertIsNone(problem, problem)

    def answers(self, program, *commands, **env):
        """Have the installed REPL say these to a server. Returns what was answered."""
        with self.serving(program, **env) as address:
            (self.folder / "talk").write_text("\n".join([f"connect {address}", *commands]) + "\n")
            return self.run_shell("cereus repl -f talk")
