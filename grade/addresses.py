"""Kernel addresses in what a program got to see."""

from __future__ import annotations

import array
import re

from grade.spaces import Kernel

NUMBER = re.compile(rb"[0-9a-fA-F]{9,20}")


def told(kernel: Kernel, memory: bytes) -> list[tuple[int, int]]:
    """(offset, address) of every kernel address in memory: as an aligned word, or one that a packed structure
    shifted by four; in hexadecimal or in decimal."""
    spans = list(kernel.ranges().values())
    low, high = min(s for s, _ in spans), max(e for _, e in spans)
    found = []
    for shift in (0, 4):
        words = array.array("Q", memory[shift:shift + (len(memory) - shift) // 8 * 8])
        if words and max(words) >= low:
            found += [(shift + 8 * i, w) for i, w in enumerate(words) if low <= w < high]
    for match in NUMBER.finditer(memory):
        found += [(match.start(), int(match[0], base)) for base in (10, 16) if base == 16 or match[0].isdigit()]
    return [(at, value) for at, value in found if any(s <= value < e for s, e in spans)]
