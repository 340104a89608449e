"""The kernel's own symbol table: the linked image in, assembly out; without an image, an empty table.

A panic prints names, so the image carries its text symbols: sorted offsets from __text_start, and
for each the place of its name in one block of strings. kernel/lib reads them by binary search.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from struct import iter_unpack, unpack_from

# elf(5). Structures by hand: each build does this twice, and elftools takes longer to load than this does to run.
SECTION, SYMBOL = "<IIQQQQIIQQ", "<IBBHQQ"
SHT_SYMTAB, SHF_EXECINSTR, STT_NOTYPE, STT_FUNC = 2, 4, 0, 2


def code_symbols(elf: bytes) -> Iterator[tuple[int, str]]:
    """(address, name) of every label and function in code, but for the assembler's and the ABI's own ($x, .L)."""
    at, = unpack_from("<Q", elf, 0x28)
    size, count = unpack_from("<HH", elf, 0x3a)
    sections = list(iter_unpack(SECTION, elf[at:at + size * count]))
    for _, kind, _, _, start, length, strings, *_ in sections:
        if kind != SHT_SYMTAB:
            continue
        names = sections[strings][4]
        for name, info, _, section, value, _ in iter_unpack(SYMBOL, elf[start:start + length]):
            if info & 15 in (STT_NOTYPE, STT_FUNC) and section < count and sections[section][2] & SHF_EXECINSTR:
                text = elf[names + name:elf.index(b"\0", names + name)].decode()
                if not text.startswith((".", "$")):
                    yield value, text


def text_symbols(elf: bytes) -> list[tuple[int, str]]:
    """(offset, name) of every function, sorted; the first name at an address wins."""
    table: dict[int, str] = {}
    start = end = None
    for value, name in sorted(code_symbols(elf)):
        if name == "__text_start":
            start = value
        elif name == "__text_end":
            end = value
        else:
            table.setdefault(value, name)
    if start is None:
        raise SystemExit("ksyms: the linker script defines no __text_start")
    return [(address - start, name) for address, name in table.items() if address >= start and (end is None or address < end)]


def assembly(symbols: list[tuple[int, str]]) -> str:
    """The table as source for the assembler."""
    out = ["/* Made by grade/ksyms.py. */", '\t.section .rodata.ksyms, "a"', "\t.balign 4"]

    def label(name: str) -> None:
        out.extend([f"\t.globl {name}", f"\t.hidden {name}", f"{name}:"])

    label("ksyms_count")
    out.append(f"\t.long {len(symbols)}")
    label("ksyms_offsets")
    out.extend(f"\t.long {offset:#x}" for offset, _ in symbols)
    label("ksyms_names")
    place = 0
    for _, name in symbols:
        out.append(f"\t.long {place}")
        place += len(name) + 1
    label("ksyms_strings")
    out.extend(f'\t.asciz "{name}"' for _, name in symbols)
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    sys.stdout.write(assembly(text_symbols(Path(sys.argv[1]).read_bytes()) if sys.argv[1:] else []))
