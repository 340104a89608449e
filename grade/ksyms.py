"""The kernel's own symbol table, written into the linked image.

A panic prints names, so the image carries those of its functions, in the space that its linker script leaves for them
(__ksyms_start to __ksyms_end): a count, their offsets from __text_start in order, the place of each one's name, and the
names; numbers of 32 bits. kernel/oops.c reads it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from struct import iter_unpack, pack, unpack_from
from typing import NamedTuple

# elf(5). Structures by hand: each build does this, and elftools takes longer to load than this does to run.
SECTION, SYMBOL = "<IIQQQQIIQQ", "<IBBHQQ"
SHT_SYMTAB, SHF_EXECINSTR, STT_NOTYPE, STT_FUNC = 2, 4, 0, 2
BEGIN, END = "__ksyms_start", "__ksyms_end"


class Label(NamedTuple):
    """A symbol that names a place in a section."""

    address: int
    name: str
    code: bool      # a label or function in code, and not one of the assembler's and the ABI's own ($x, .L)
    place: int      # in the file


def labels(elf: bytes) -> Iterator[Label]:
    """Every function and label of a linked image."""
    at, = unpack_from("<Q", elf, 0x28)
    size, count = unpack_from("<HH", elf, 0x3a)
    sections = list(iter_unpack(SECTION, elf[at:at + size * count]))
    for _, kind, _, _, start, length, strings, *_ in sections:
        if kind != SHT_SYMTAB:
            continue
        names = sections[strings][4]
        for name, info, _, section, value, _ in iter_unpack(SYMBOL, elf[start:start + length]):
            if info & 15 in (STT_NOTYPE, STT_FUNC) and section < count:
                text = elf[names + name:elf.index(b"\0", names + name)].decode()
                _, _, flags, address, offset, *_ = sections[section]
                yield Label(value, text, bool(flags & SHF_EXECINSTR) and not text.startswith((".", "$")),
                            value - address + offset)


def text_symbols(elf: bytes) -> list[tuple[int, str]]:
    """(offset, name) of every function, sorted; the first name at an address wins."""
    table: dict[int, str] = {}
    start = end = None
    for address, name in sorted((label.address, label.name) for label in labels(elf) if label.code):
        if name == "__text_start":
            start = address
        elif name == "__text_end":
            end = address
        else:
            table.setdefault(address, name)
    if start is None:
        raise SystemExit("ksyms: the linker script defines no __text_start")
    return [(address - start, name) for address, name in table.items() if address >= start and (end is None or address < end)]


def packed(symbols: list[tuple[int, str]]) -> bytes:
    """The table as the kernel reads it."""
    places, strings = [], b""
    for _, name in symbols:
        places.append(len(strings))
        strings += name.encode() + b"\0"
    count = len(symbols)
    return pack(f"<{1 + 2 * count}I", count, *(offset for offset, _ in symbols), *places) + strings


def write(image: Path) -> None:
    """Fills the table of a linked image. SystemExit if its linker script leaves no space, or too little."""
    elf = image.read_bytes()
    there = {label.name: label.place for label in labels(elf) if label.name in (BEGIN, END)}
    if len(there) != 2:
        raise SystemExit(f"ksyms: the linker script defines no {BEGIN} and {END}")
    table, space = packed(text_symbols(elf)), there[END] - there[BEGIN]
    if len(table) > space:
        raise SystemExit(f"ksyms: the names take {len(table)} bytes, and the linker script leaves {space} for them")
    with image.open("r+b") as out:
        out.seek(there[BEGIN])
        out.write(table)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
