"""Where programs lie: what /bin/layout wrote down in many runs, and whether chance had a hand in it."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

PARTS = ("stack", "mmap", "interpreter", "vdso", "program", "heap")     # user/layout/layout.h
SIZE = 8 * len(PARTS)

Layout = dict[str, int]
Bits = dict[str, tuple[int, int]]

# Images are aligned as their linker says.
IMAGE = {"x86_64": (12, 40), "aarch64": (16, 44)}


def drawn_bits(arch: str) -> Bits:
    """Which bits of each part must be drawn: from, to (exclusive). The heap's are those of its distance from the
    program."""
    return {"stack": (4, 40), "mmap": (12, 40), "interpreter": IMAGE[arch], "vdso": (12, 40), "program": IMAGE[arch],
            "heap": (12, 30)}


def unpack(data: bytes) -> list[Layout]:
    """Layouts from a table of struct layout."""
    return [dict(zip(PARTS, words)) for words in struct.iter_unpack(f"<{len(PARTS)}Q", data)]


@dataclass(frozen=True)
class Look:
    """A question to some layouts: how many times, of so many, a bit was set; or it differed from what it was an exec
    before, or from another bit."""

    kind: str               # "even", "before", "pair"
    parts: tuple[str, ...]
    what: str
    ones: int
    of: int

    def __str__(self) -> str:
        return f"{self.what}: {self.ones} of {self.of}"


def looks(layouts: list[Layout], bits: Bits) -> Iterator[Look]:
    """Every question that unlikely() asks."""
    n = len(layouts)
    columns: dict[tuple[str, int], int] = {}    # a bit's values in all layouts, as the bits of one number
    for part, (low, high) in bits.items():
        values = [one[part] - (one["program"] if part == "heap" else 0) for one in layouts]
        for bit in range(low, high):
            columns[part, bit] = sum((v >> bit & 1) << i for i, v in enumerate(values))
    for (part, bit), column in columns.items():
        yield Look("even", (part,), f"{part} bit {bit}", column.bit_count(), n)
        changes = (column ^ column >> 1) & (1 << n - 1) - 1
        yield Look("before", (part,), f"{part} bit {bit} after an exec", changes.bit_count(), n - 1)
    for a, b in combinations(columns, 2):
        yield Look("pair", (a[0], b[0]), f"{a[0]} bit {a[1]} and {b[0]} bit {b[1]}",
                   (columns[a] ^ columns[b]).bit_count(), n)


def unlikely(layouts: list[Layout], bits: Bits, wrongly: float) -> list[Look]:
    """Bits that are not drawn evenly, that follow from the exec before, or that say something of another bit, of
    the same part or of another. Of fair draws some is found with a probability below `wrongly`: Hoeffding's bound on
    each, divided among all."""
    asked = list(looks(layouts, bits))
    n = len(layouts)
    allowed = math.sqrt(n / 2 * math.log(2 * len(asked) / wrongly))
    assert allowed < n / 2 - 1, "too few layouts to see a bit that never changes"
    return [look for look in asked if abs(look.ones - look.of / 2) > allowed]
