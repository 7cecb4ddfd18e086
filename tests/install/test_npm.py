#!/usr/bin/env python3
"""The package of the TypeScript client, packed and installed without a network as a game would: Node plays on a server,
and a game in TypeScript is checked against the types in the package.

    test_npm.py ROOT BUILD
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

from installed import Installed, blocks

PLAY = """\
import { connect, CereusError } from 'cereus-client/node';

const client = await connect(process.argv[2]);
console.log(JSON.stringify(await client.request('room.join', { name: 'ada' })));
await client.request('room.nothing', {}).catch((e) => console.log(e instanceof CereusError, e.code));
client.close();
"""
GAME = """\
import { Client, type ClientOptions, type StateInfo } from 'cereus-client';
import { connect } from 'cereus-client/node';

const options: ClientOptions = { requestTimeoutMs: 5000 };
const client: Client = await connect('tcp://127.0.0.1:3250', options);
client.onState((info: StateInfo) => { const text: string = info.state; void text; });
client.onPush('onNewUser', (body: { content: string }) => { void body.content; });
"""


class Npm(Installed):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        holder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(holder.cleanup)
        cls.game = pathlib.Path(holder.name)
        subprocess.run([str(cls.root / "scripts/build_client.sh")], check=True)
        packed = json.loads(subprocess.run(
            ["npm", "pack", "--json", "--offline", "--pack-destination", str(cls.game)],
            cwd=cls.root / "clients/typescript", check=True, capture_output=True, text=True, env=cls.env).stdout)[0]
        cls.files = {f["path"] for f in packed["files"]}
        (cls.game / "package.json").write_text('{"name": "game", "private": true, "type": "module"}')
        subprocess.run(["npm", "install", "--offline", "--no-audit", "--no-fund", f"./{packed['filename']}"],
                       cwd=cls.game, check=True, capture_output=True, env=cls.env)

    def setUp(self):
        super().setUp()
        self.folder = self.game

    def test_only_what_users_need_is_packed(self):
        self.assertTrue({"package.json", "README.md", "dist/index.js", "dist/index.d.ts", "dist/node.js",
                         "dist/node.d.ts"} <= self.files)
        self.assertFalse([f for f in self.files if not f.startswith("dist/") and f not in ("package.json", "README.md")
                          or f.split("/")[-1].startswith(".")])

    def test_node_plays_on_a_server(self):
        (self.folder / "play.mjs").write_text(PLAY)
        (self.folder / "game.c").write_text(blocks(self.root / "README.md", "c")[0])
        self.run_shell("cc game.c $(pkg-config --cflags --libs cereus) -o game")
        with self.serving("game") as address:
            said = self.run_shell(f"node play.mjs {address}")
        self.assertEqual(said.splitlines(), ['{"result":"success"}', "true PIT-404"])

    def test_a_game_is_checked_against_its_types(self):
        modules = self.root / "clients/typescript/node_modules"
        tsc = (f"{modules}/.bin/tsc --noEmit --strict --target es2022 --module nodenext --moduleResolution nodenext "
               f"--typeRoots {modules}/@types --types node game.ts")
        (self.folder / "game.ts").write_text(GAME)
        self.run_shell(tsc)
        (self.folder / "game.ts").write_text(GAME.replace("5000", "'soon'"))
        self.assertIn("game.ts(4,34): error TS2322", self.run_shell(tsc, code=2))


if __name__ == "__main__":
    Installed.root, Installed.build = (pathlib.Path(p).resolve() for p in sys.argv[1:3])
    unittest.main(argv=sys.argv[:1])
