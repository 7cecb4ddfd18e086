#!/usr/bin/env python3
"""Which folder of src/ may use which: reads every include and names each arrow that points the wrong way.

    check_layers.py [ROOT]

A folder may use what its row names, and whatever those may use in turn. Public headers may show neither our own insides
nor a third party, save jansson's values and protobuf-c's messages, which games handle themselves.
"""
import pathlib
import re
import sys

LAYERS = {
    "base": "",
    "loop": "base",
    "fiber": "loop",
    "wire": "base",
    "serialize": "base",
    "route": "base",
    "transport": "loop wire",  # it cuts bytes into packets: wire/ is pure, so that costs nothing
    "acceptor": "transport",
    "session": "transport wire",
    "dispatch": "session serialize route fiber",
    "ext": "fiber",
    "cluster": "dispatch ext config",  # engines read their settings
    "job": "dispatch ext",
    "group": "cluster",
    "module": "cluster",
    "observe": "loop",
    "config": "base",
    "app": "acceptor module group job observe config",
}

STANDARD = set(
    "assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg stdatomic "
    "stdbool stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar wctype".split()
)
PUBLIC_ALLOWED = re.compile(r"cereus/[a-z0-9_]+\.h|jansson\.h|protobuf-c/[a-z0-9_/-]+\.h")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def reachable(layer, seen=None):
    """The folders that `layer` may include from, itself among them."""
    seen = set() if seen is None else seen
    if layer not in seen:
        seen.add(layer)
        for used in LAYERS[layer].split():
            reachable(used, seen)
    return seen


def includes(path):
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = INCLUDE.match(text)
        if match:
            yield number, match.group(1) == '"', match.group(2)


def check_sources(root):
    src = root / "src"
    for path in sorted(src.rglob("*")):
        if path.suffix not in (".c", ".h", ".def"):
            continue
        layer = path.relative_to(src).parts[0]
        if layer not in LAYERS:
            yield f"{path.relative_to(root)}: the folder {layer} has no row in scripts/check_layers.py"
            continue
        allowed = reachable(layer)
        for number, quoted, name in includes(path):
            where = f"{path.relative_to(root)}:{number}"
            if not quoted:
                continue
            folder = name.split("/")[0] if "/" in name else None
            if folder not in LAYERS:
                yield f'{where}: "{name}" does not start with a folder of src/'
            elif folder not in allowed:
                yield f'{where}: {layer} may not use {folder} ("{name}")'


def check_public(root):
    for path in sorted((root / "include" / "cereus").glob("*.h")):
        for number, quoted, name in includes(path):
            fine = name.removesuffix(".h") in STANDARD or PUBLIC_ALLOWED.fullmatch(name)
            if quoted or not fine:
                yield f"{path.relative_to(root)}:{number}: a public header may not include {name}"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__ + "/../..").resolve()
    found = [*check_sources(root), *check_public(root)]
    for complaint in found:
        print(complaint)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
