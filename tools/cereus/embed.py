#!/usr/bin/env python3
"""Print files as rows of a C table: {"FOLDER", "PATH IN IT", BYTES, LENGTH}, for templates.h's struct.

    embed.py ROOT FILE...
"""
import pathlib
import sys

root = pathlib.Path(sys.argv[1]).resolve()
for name in sys.argv[2:]:
    folder, _, path = pathlib.Path(name).resolve().relative_to(root).as_posix().partition("/")
    data = pathlib.Path(name).read_bytes()
    text = data.decode("ascii").replace("\\", "\\\\").replace('"', '\\"').replace("\n", '\\n"\n"')
    print(f'{{"{folder}", "{path}", "{text}", {len(data)}}},')
