#!/usr/bin/env python3
"""Manual pages of the public headers, made from their comments: cereus_app.h(3) of cereus/app.h, and for each function a
link of its name to the page.

    headers.py FOLDER DEPFILE VERSION DIR_OF_HEADERS...

A header begins with a comment "cereus/NAME.h: what it is for. ..."; one without ends this with its name.
"""
import pathlib
import re
import sys
import textwrap

NOISE = re.compile(r'\s*(#\s*(if|ifdef|ifndef|else|elif|endif|include|undef|define \w+_H$)\b|extern "C"|/\* clang-format)')
NOT_SHOWN = {"CEREUS_API", "CEREUS_PRINTF", "CEREUS_MUST_USE"}


def escape(text):
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    return re.sub(r"^([.])", r"\\&\1", text)


def inline(text):
    """Running text: @p name in italics, `code` and **terms** in bold. No line of it may begin with a dot."""
    parts = re.split(r"(@p \w+|`[^`\n]+`|\*\*[^*\n]+\*\*)", text)
    out = ""
    for part in parts:
        if part.startswith("@p "):
            out += f"\\fI{escape(part[3:])}\\fR"
        elif re.fullmatch(r"`[^`]+`", part):
            out += f"\\fB{escape(part[1:-1])}\\fR"
        elif part.startswith("**") and len(part) > 4:
            out += f"\\fB{escape(part[2:-2])}\\fR"
        else:
            out += escape(part)
    return re.sub(r"^\.", r"\\&.", out)


def prose(lines):
    """A comment's lines as roff: paragraphs, lists, @param and @return, and what is set in stays as it is."""
    out, code = [], False
    fresh = True  # at the start of a paragraph
    for line in lines:
        stripped = line.strip()
        drawn = stripped and (line.startswith("    ") and (fresh or code) or re.search(r"[─│▶▼┌└]", line))
        if code and not drawn and stripped:
            out += [".fi", ".RE"]
            code = False
        if drawn:
            if not code:
                out += [".PP", ".RS 4", ".nf"]
                code = True
            out.append(escape(line[4:] if line.startswith("    ") else line) or "\\&")
            fresh = False
        elif not stripped:
            if code:
                out.append("")
            else:
                out.append(".PP")
            fresh = True
        else:
            param = re.match(r"@param\s+((?:\w+, )*\w+)\s+(.*)", stripped)
            if param:
                out += [".TP", f"\\fI{param[1]}\\fR", inline(param[2])]
            elif stripped.startswith("@return"):
                out += [".PP", "Returns " + inline(stripped[7:].strip())]
            elif stripped.startswith("- "):
                out += [".IP \\(bu 2", inline(stripped[2:])]
            elif re.match(r"(Ownership|Thread):", stripped):
                out += [".PP", inline(stripped)]
            else:
                out.append(inline(stripped))
            fresh = False
    if code:
        out += [".fi", ".RE"]
    tidy = []
    for line in out:  # no empty paragraphs
        if line == ".PP" and (not tidy or tidy[-1] == ".PP"):
            continue
        tidy.append(line)
    while tidy and tidy[-1] == ".PP":
        tidy.pop()
    return tidy


def comment_lines(text):
    """A comment without its stars."""
    body = re.sub(r"\*/\s*$", "", re.sub(r"^/\*+ ?", "", text.strip()))
    return [re.sub(r"^\s*\* ?", "", line).rstrip() if i else line.rstrip() for i, line in enumerate(body.split("\n"))]


def declaration(text):
    """What a reader of the page needs of a piece of C, fitted to a terminal where that keeps its sense."""
    text = re.sub(r"\b(CEREUS_API|CEREUS_MUST_USE) ", "", text)
    inline_body = re.match(r"static inline (.*?\))\s*\{", text, re.S)
    if inline_body:
        text = inline_body[1] + ";"
    if re.match(r"[^{#]*\(.*;\s*$", text, re.S) and "{" not in text:
        flat = " ".join(re.sub(r"/\*.*?\*/", "", text, flags=re.S).split())
        return textwrap.wrap(flat, 76, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    if text.startswith("#define") and text.count("\n") and "X(" not in text:
        return [text.split("\n")[0].rstrip(" \\")]  # its body is nobody's business
    return [re.sub(r"\s*\\$", "", line) for line in text.split("\n")]


def complete(text):
    if text.startswith("#"):
        return not text.endswith("\\")
    bare = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    if "/*" in bare or bare.count("{") != bare.count("}") or bare.count("(") != bare.count(")"):
        return False
    return bare.rstrip().endswith((";", "}"))


def parse(path):
    """The header's first comment, and its items: ("section", title) or ("item", doc lines, declarations)."""
    source = path.read_text(encoding="utf-8").rstrip("\n")
    first = re.match(r"/\*(.*?)\*/", source, re.S)
    about = comment_lines(first[0]) if first else [""]
    title = re.match(rf"cereus/{re.escape(path.name)}: ", about[0])
    if not title:
        sys.exit(f"{path}: has no manual page: begin it with a comment /* cereus/{path.name}: what it is for. */")
    about[0] = about[0][title.end():]
    about[0] = about[0][:1].upper() + about[0][1:]
    items, open_item, piece, seen = [], False, "", set()
    for line in source[first.end():].split("\n"):
        if not piece and (NOISE.match(line) or line == "}"):
            continue
        if not piece and not line.strip():
            open_item = False
            continue
        piece = piece + "\n" + line if piece else line
        if piece.startswith("/*"):
            if "*/" not in piece:
                continue
            section = re.match(r"/\* -- (.*?)( --)?\s*\*/", piece, re.S)
            if section:
                items.append(("section", comment_lines("/* " + section[1] + " */"), []))
            else:
                items.append(("item", comment_lines(piece), []))
            open_item = not section
            piece = ""
        elif complete(piece):
            name = re.match(r"#\s*define (\w+)", piece)
            if not name or name[1] not in NOT_SHOWN | seen:
                if not open_item:
                    items.append(("item", [], []))
                items[-1][2].append(piece)
                open_item = True
                seen |= {name[1]} if name else set()
            piece = ""
    return about, items


def functions(items):
    """The names that a game calls: functions and the macros in front of them."""
    names = []
    for _, _, pieces in items:
        for piece in pieces:
            found = re.match(r"#define (cereus_\w+)\(", piece) or re.match(r"[^({#]*?\b(cereus_\w+)\(", piece)
            if found and not piece.startswith("typedef") and not found[1].endswith("_at"):
                names.append(found[1])
    return names


def page(path, version, others):
    about, items = parse(path)
    summary = re.split(r"\.(?:\s|$)", " ".join(about).strip())[0].rstrip(".:")
    summary = summary[:1].lower() + summary[1:]
    name = page_name(path)
    out = [f'.\\" Made from {path.name} by dist/man/headers.py.',
           f'.TH {escape(name)} 3 "" "Cereus {version}" "Cereus"', ".ad l", ".nh", ".SH NAME", f"{escape(name)} \\- {inline(summary)}",
           ".SH SYNOPSIS", f".B #include <cereus/{path.name}>", ".SH DESCRIPTION", *prose(about)]
    if any(pieces for _, _, pieces in items):
        out.append(".SH INTERFACE")
    for kind, doc, pieces in items:
        if kind == "section":
            title, _, more = " ".join(doc).partition(": ")
            out += [f".SS {inline(title.rstrip('.').capitalize())}", *([inline(more)] if more else [])]
            continue
        out += [".PP", ".nf", ".ft B"]
        out += [escape(line) or "\\&" for piece in pieces for line in declaration(piece)]
        out += [".ft R", ".fi"]
        if doc:
            out += [".RS 4", *prose(doc), ".RE"]
    out += [".SH SEE ALSO", ", ".join(f"\\fB{escape(o)}\\fR(3)" for o in others)
            + ",", "\\fBcereus\\fR(1), \\fBcereus.yaml\\fR(5), \\fBcereus\\fR(7)"]
    return "\n".join(out) + "\n", functions(items)


def page_name(path):
    return path.name if path.name == "cereus.h" else f"cereus_{path.name}"


def main():
    folder, depfile, version = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
    dirs = [pathlib.Path(d) for d in sys.argv[4:]]
    headers = sorted((h for d in dirs for h in d.glob("*.h")), key=lambda h: h.name)
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for header in headers:
        text, names = page(header, version, [page_name(h) for h in headers if h != header])
        (folder / f"{page_name(header)}.3").write_text(text, encoding="utf-8")
        for function in names:
            (folder / f"{function}.3").write_text(f".so man3/{page_name(header)}.3\n", encoding="utf-8")
    # the folders too, so that a new header is noticed
    depfile.write_text(f"{sys.argv[1]}: {' '.join(str(p) for p in [*headers, *dirs])}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
