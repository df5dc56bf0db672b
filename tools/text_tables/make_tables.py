#!/usr/bin/env python3
"""Writes src/text/html_entities.inc and src/text/byte_encodings.inc from the tables of Python's standard library.

usage: make_tables.py SOURCE_FOLDER
"""
import html
import pathlib
import sys

# Name in the table, Python's codec, how it treats the substitute character and bytes without a meaning.
ENCODINGS = [
    ("latin-1", "latin-1", "kStrict"),
    ("windows-1252", "windows-1252", "kSloppy"),
    ("windows-1251", "windows-1251", "kSloppy"),
    ("windows-1250", "windows-1250", "kSloppy"),
    ("windows-1253", "windows-1253", "kSloppy"),
    ("windows-1254", "windows-1254", "kSloppy"),
    ("windows-1257", "windows-1257", "kSloppy"),
    ("iso-8859-2", "iso-8859-2", "kStrict"),
    ("macroman", "macroman", "kStrict"),
    ("cp437", "cp437", "kStrict"),
]


def literal(text):
    """A C++ string literal in UTF-8 escapes; a split literal keeps hex escapes apart from digits that follow."""
    parts = []
    for byte in text.encode():
        char = chr(byte)
        if char in '"\\':
            parts.append("\\" + char)
        elif 0x20 <= byte < 0x7F:
            parts.append(char)
        else:
            parts.append(f"\\{byte:03o}")
    return '"' + "".join(parts) + '"'


def write(path, heading, items):
    lines, line = [heading], ""
    for item in items:
        if len(line) + len(item) + 1 > 119:
            lines.append(line.rstrip())
            line = ""
        line += item + " "
    path.write_text("\n".join(lines + [line.rstrip()]) + "\n")


def capitals(name):
    """What NAME; stands for in capitals when only name; is defined, or nothing."""
    if not name.endswith(";") or name != name.lower() or name.upper() == name:
        return None
    entity = "&" + name.upper()
    return html.entities.html5[name].upper() if html.unescape(entity) == entity else None


def main():
    folder = pathlib.Path(sys.argv[1]) / "text"
    entities = html.entities.html5
    rows = [f"{{{literal(name)}, {literal(entities[name])}}}," for name in sorted(entities)]
    shouted = [f"{{{literal(name.upper())}, {literal(value)}}},"
               for name in sorted(entities, key=str.upper) if (value := capitals(name)) is not None]
    write(folder / "html_entities.inc", "// Made by tools/text_tables/make_tables.py: HTML5's named characters.", rows)
    write(folder / "html_capitals.inc", "// Made by tools/text_tables/make_tables.py: names in capitals.", shouted)
    blocks = []
    for name, codec, kind in ENCODINGS:
        codes = []
        for byte in range(0x80, 0x100):
            try:
                codes.append(ord(bytes([byte]).decode(codec)))
            except UnicodeDecodeError:
                codes.append(byte)
        blocks += [f'{{"{name}", ByteEncoding::Kind::{kind}, {{'] + [f"0x{code:x}," for code in codes] + ["}},"]
    write(folder / "byte_encodings.inc", "// Made by tools/text_tables/make_tables.py: bytes 0x80 to 0xff.", blocks)


if __name__ == "__main__":
    main()
