"""The kernel's own symbol table: `nm -n` of the image in, assembly out.

A panic prints names, so the image carries its text symbols: sorted offsets from __text_start, and
for each the place of its name in one block of strings. kernel/lib reads them by binary search.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable


def text_symbols(lines: Iterable[str]) -> list[tuple[int, str]]:
    """(offset, name) of every function, sorted; the first name at an address wins."""
    table: dict[int, str] = {}
    start = end = None
    for line in lines:
        value, kind, name = line.split()[-3:] if len(line.split()) == 3 else ("", "", "")
        if name == "__text_start":
            start = int(value, 16)
        elif name == "__text_end":
            end = int(value, 16)
        elif kind in ("t", "T", "w", "W") and not name.startswith("."):
            table.setdefault(int(value, 16), name)
    if not table:
        return []
    if start is None:
        raise SystemExit("ksyms: the linker script defines no __text_start")
    return sorted(
        (address - start, name)
        for address, name in table.items()
        if address >= start and (end is None or address < end)
    )


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
    sys.stdout.write(assembly(text_symbols(sys.stdin)))
