#!/usr/bin/env python3
"""Is every test that docs/checklist.md names there? Each line of its tables must name one, or say to which issue it belongs
or why it does not apply.

    check_checklist.py BUILD [ROOT]

`suite/test: case` is a test that `meson test` knows in BUILD, and in its sources or vectors a function, or a quoted text, of
the case's name. Without a case the test is enough.
"""
import json
import pathlib
import re
import sys

ROW = re.compile(r"^\| (?P<id>[A-Z]{2}\d\d)\b[^|]*\|[^|]*\|.*\| (?P<shown>[^|]*) \|$")
NAMED = re.compile(r"`(?P<test>[a-z]\w*(?:/[\w /-]+)?)(?:: (?P<case>[^`]+))?`")
REASON = re.compile(r"\*later\*|not applicable in C|^gap: ")


def sources_of(build):
    """{test: [files whose text has its cases]}"""
    targets = {}
    for target in json.loads((build / "meson-info/intro-targets.json").read_text()):
        files = [f for group in target["target_sources"] for f in group.get("sources", [])]
        targets.update((name, files) for name in target["filename"])
    tests = {}
    for test in json.loads((build / "meson-info/intro-tests.json").read_text()):
        files = list(targets.get(test["cmd"][0], []))
        for argument in test["cmd"][1:]:
            path = pathlib.Path(build, argument)
            if path.suffix in (".py", ".mjs"):
                files.append(path)
            elif path.is_dir() and "vectors" in path.parts:
                files += sorted(path.glob("*.json"))
        tests[test["name"]] = files
    return tests


def has_case(files, case):
    function = re.compile(r"(?:^static void|^ *def) %s\(" % re.escape(case), re.MULTILINE)
    quoted = ('"%s"' % case, "'%s'" % case)
    texts = (pathlib.Path(f).read_text(encoding="utf-8") for f in files)
    return any(function.search(text) or any(q in text for q in quoted) for text in texts)


def check(page, tests):
    """(rows, named tests, what is wrong)"""
    rows, named, wrong = 0, 0, []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        row = ROW.match(line)
        if not row:
            if re.match(r"\| [A-Z]{2}\d\d\b", line):
                wrong.append(f"{page.name}:{number}: not a row of four columns")
            continue
        rows += 1
        found = list(NAMED.finditer(row["shown"]))
        named += len(found)
        if not found and not REASON.search(row["shown"]):
            wrong.append(f"{page.name}:{number}: {row['id']} names no test and no reason")
        for match in found:
            if match["test"] not in tests:
                wrong.append(f"{page.name}:{number}: {row['id']}: meson knows no test {match['test']!r}")
            elif match["case"] and not has_case(tests[match["test"]], match["case"]):
                wrong.append(f"{page.name}:{number}: {row['id']}: {match['test']} has no case {match['case']!r}")
    return rows, named, wrong


def main():
    build = pathlib.Path(sys.argv[1])
    root = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else ".")
    rows, named, wrong = check(root / "docs/checklist.md", sources_of(build))
    for what in wrong:
        print(what)
    print(f"{rows} lines, {named} tests named, {len(wrong)} wrong")
    return 1 if wrong or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
