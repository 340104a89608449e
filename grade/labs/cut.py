"""Cutting by name: takes functions out of the complete kernel and puts a lab's stubs in their places.

The style makes it possible: a function's name and its opening brace start a line, the return type stands above,
and `}` alone ends it. Assembly has FUNC(name) and END(name). A definition includes the comment right above it.

A `cut` file has lines `PATH: NAME NAME ...`, where a NAME is
    kstack_alloc    a function, in .S files a FUNC
    macro=enter     a #define; in .S files and asm.h what stands between .macro enter and .endm
    struct=slot     a structure, union or enumeration (struct=, union=, enum=)
    var=nmapped     a variable at file level
    @head           the comment that opens the file
    *               the whole file
and `#` begins a comment. Replacements stand in stubs.c and stubs.S, in sections that begin with a line
`/* ==== PATH ==== */`; @head's is the comment with which the section begins. A missing name fails loudly.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

WHOLE, HEAD = "*", "@head"
_ASSEMBLY = (".S", "/asm.h")
_SECTION = re.compile(r"^/\* ==== (\S+) ==== \*/\n", re.MULTILINE)


class CutError(ValueError):
    """A name that is not there, is there twice, or has no stub; the text says which and where."""


class Span(NamedTuple):
    """A definition's place: text[start:end], its comment and last line's end included."""

    start: int
    end: int


@dataclass(frozen=True)
class Item:
    """One name to cut out of one file."""

    path: str
    name: str

    def __str__(self) -> str:
        return f"{self.path}: {self.name}"


def parse_cut(text: str, origin: str = "cut") -> list[Item]:
    """The items of a cut file, in its order."""
    items: list[Item] = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.partition("#")[0].strip()
        if not line:
            continue
        path, colon, names = line.partition(":")
        if not colon or not names.split():
            raise CutError(f"{origin}:{number}: expected PATH: NAME ..., got {line!r}")
        items += [Item(path.strip(), name) for name in names.split()]
    if len(set(items)) != len(items):
        raise CutError(f"{origin}: a name stands there twice")
    return items


def find(text: str, item: Item) -> Span:
    """Where the item is in the file's text. CutError unless exactly one definition is there."""
    name = item.name
    if name == WHOLE:
        return Span(len(text) - len(text.lstrip("\n")), len(text))
    if name == HEAD:
        match = re.match(r"\n*(/\*.*?\*/\n)", text, re.DOTALL)
        if match is None:
            raise CutError(f"{item.path}: does not begin with a comment")
        return Span(match.start(1), match.end())
    if item.path.endswith(_ASSEMBLY) and name.startswith("macro="):
        pattern = rf"^\.macro {re.escape(name[6:])}\b[^\n]*\n.*?^\.endm\n"
    elif item.path.endswith(".S"):
        pattern = rf"^FUNC\({re.escape(name)}\)\n.*?^END\({re.escape(name)}\)\n"
    elif "=" in name:
        pattern = _declaration(item, *name.split("=", 1))
    else:
        pattern = rf"^(?:[A-Za-z_][^\n;{{}}=]*\n){{1,3}}{re.escape(name)}\([^;{{]*?\)[^;{{]*?\n\{{\n.*?^\}}\n"
    found = list(re.finditer(pattern, text, re.DOTALL | re.MULTILINE))
    if len(found) != 1:
        raise CutError(f"{item}: {len(found)} definitions found, expected one")
    return Span(_comment_above(text, found[0].start()), found[0].end())


def _declaration(item: Item, kind: str, name: str) -> str:
    name = re.escape(name)
    if kind in ("struct", "union", "enum"):
        return rf"^{kind} {name} \{{\n.*?^\}}[^\n]*;\n"
    if kind == "var":
        return rf"^(?:static |extern )?[A-Za-z_][A-Za-z0-9_ *]*\b{name}\b[^\n(]*(?:aligned\(\w+\))?;[^\n]*\n"
    if kind == "macro":
        return rf"^#define {name}\b(?:[^\n]*\\\n)*[^\n]*\n"
    raise CutError(f"{item}: no such kind of declaration ({kind})")


def _comment_above(text: str, start: int) -> int:
    """The start of the comment that ends on the line above `start`, or `start`."""
    above = text[:start]
    if not above.endswith("*/\n"):
        return start
    opening = above.rfind("/*")
    line = above.rfind("\n", 0, opening) + 1
    # A file's opening comment and a comment at the end of a line of code are not the definition's.
    return start if line == 0 or above[line:opening].strip() else line


def sections(text: str, origin: str) -> dict[str, str]:
    """The sections of a stubs file by path."""
    parts = _SECTION.split(text)
    out: dict[str, str] = {}
    for path, body in zip(parts[1::2], parts[2::2]):
        if path in out:
            raise CutError(f"{origin}: two sections for {path}")
        out[path] = "\n" + body.lstrip("\n")      # its first comment is no file's opening one
    return out


def read_stubs(folder: Path) -> dict[str, str]:
    """The sections of stubs.c and stubs.S in a lab's folder."""
    out: dict[str, str] = {}
    for name in ("stubs.c", "stubs.S"):
        file = folder / name
        if file.is_file():
            for path, body in sections(file.read_text(), name).items():
                if path in out:
                    raise CutError(f"{name}: {path} has a section in the other stubs file, too")
                out[path] = body
    return out


def replacement(item: Item, stubs: dict[str, str]) -> str:
    """What takes the item's place. CutError if the stubs have none."""
    if item.path not in stubs:
        raise CutError(f"{item}: the stubs have no section for this file")
    body = stubs[item.path]
    try:
        span = find(body, item)
    except CutError as error:
        raise CutError(f"stubs: {error}") from None
    return body[span.start:span.end]


def swap(text: str, items: list[Item], source: str) -> str:
    """`text` with each item's definition replaced by the one that `source` has under that name."""
    return swap_each(text, [(item, source) for item in items])


def swap_each(text: str, pairs: list[tuple[Item, str]]) -> str:
    """The same, where each definition may come from another source."""
    edits: list[tuple[Span, str, Item]] = []
    for item, source in pairs:
        there = find(source, item)
        edits.append((find(text, item), source[there.start:there.end], item))
    edits.sort(key=lambda edit: edit[0])
    for (a, _, one), (b, _, other) in zip(edits, edits[1:]):
        if b.start < a.end:
            raise CutError(f"{one.path}: two cuts overlap: {one.name} and {other.name}")
    for span, new, _ in reversed(edits):
        text = text[:span.start] + new + text[span.end:]
    return text


def by_path(items: list[Item]) -> dict[str, list[Item]]:
    """Items grouped by file."""
    out: dict[str, list[Item]] = {}
    for item in items:
        out.setdefault(item.path, []).append(item)
    return out


def cut(root: Path, items: list[Item], stubs: dict[str, str]) -> dict[str, str]:
    """The new text of every file that the items touch, stubs in place. Nothing is written."""
    out: dict[str, str] = {}
    for path, group in by_path(items).items():
        file = root / path
        if not file.is_file():
            raise CutError(f"{path}: no such file")
        for item in group:
            replacement(item, stubs)        # complains in the stubs' name
        out[path] = swap(file.read_text(), group, stubs[path])
    return out


def cut_all(root: Path, labs: list[tuple[str, list[Item], dict[str, str]]]) -> dict[str, str]:
    """Several labs (name, items, stubs) cut on one base. What two of them cut must have the same stub in both."""
    first: dict[Item, tuple[str, str]] = {}
    pairs: dict[str, list[tuple[Item, str]]] = {}
    for lab, items, stubs in labs:
        for item in items:
            new = replacement(item, stubs)
            if item in first:
                if first[item][1] != new:
                    raise CutError(f"{item}: {first[item][0]} and {lab} put different stubs there")
                continue
            first[item] = lab, new
            pairs.setdefault(item.path, []).append((item, stubs[item.path]))
    for path in pairs:
        if not (root / path).is_file():
            raise CutError(f"{path}: no such file")
    return {path: swap_each((root / path).read_text(), group) for path, group in pairs.items()}


def restore(starter: dict[str, str], root: Path, items: list[Item]) -> dict[str, str]:
    """The inverse: starter texts with the complete tree's definitions back in the stubs' places."""
    return {path: swap(starter[path], group, (root / path).read_text()) for path, group in by_path(items).items()}
