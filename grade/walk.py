"""Address spaces seen from outside, whatever the architecture: their mappings, ranges and audits.

A walker (walk_x86_64.py, walk_aarch64.py) turns a root table into a Space; everything here only looks at
Spaces. No imports beyond the standard library: GDB loads this file too. All addresses and sizes are bytes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

ReadPhys = Callable[[int, int], bytes]
"""read_phys(paddr, size) -> exactly size bytes; raises PhysError where there is no memory."""


class PhysError(ValueError):
    """A physical address that no RAM backs was read."""


class WalkFlood(RuntimeError):
    """More leaf mappings than any honest address space has (tables that point at themselves, say)."""


class Mapping(NamedTuple):
    """One leaf entry: `size` bytes at virtual `va` stand for physical `pa`."""

    va: int
    pa: int
    size: int
    writable: bool      # stores are allowed (to the kernel: while CR0.WP or its like is on)
    user: bool          # user code can reach it
    exec_user: bool     # user code can execute it
    exec_kernel: bool   # the tables let the kernel execute it; SMEP and the like come on top
    global_: bool

    @property
    def executable(self) -> bool:
        """Executable by somebody."""
        return self.exec_user or self.exec_kernel

    @property
    def perms(self) -> str:
        """Five letters, for example "r-xu-": r, w, x (by anybody), u(ser) or k(ernel only), g(lobal)."""
        return ("r" + ("w" if self.writable else "-") + ("x" if self.executable else "-")
                + ("u" if self.user else "k") + ("g" if self.global_ else "-"))

    def __str__(self) -> str:
        return f"{self.va:#018x}+{self.size:#x} -> {self.pa:#x} {self.perms}"


class Range(NamedTuple):
    """Neighbouring mappings with equal permissions; `pa` is the first page's."""

    va: int
    size: int
    pa: int
    perms: str
    linear: bool        # physical addresses run along with the virtual ones
    pages: int          # leaf entries

    @property
    def end(self) -> int:
        """First address after the range."""
        return self.va + self.size

    def __str__(self) -> str:
        arrow = f"-> {self.pa:#x}" if self.linear else "-> scattered"
        return f"{self.va:#018x}-{self.end - 1:#018x} {self.perms} {self.size >> 10:>9} KiB {arrow}"


@dataclass
class Space:
    """One address space: everything that one root table maps, as it stood at one stopped moment.

    `parts` are sorted lists of leaves by rising address. Spaces walked by one Walker share the very list
    objects of the halves that they share, which is what makes audits of many spaces cheap.
    """

    root: int
    name: str = ""
    parts: list[list[Mapping]] = field(default_factory=list)
    tables: dict[int, int] = field(default_factory=dict)   # physical address of a table page -> its level
    problems: list[str] = field(default_factory=list)      # malformed entries, in words
    _keys: list[int] | None = None
    _flat: list[Mapping] | None = None

    @property
    def mappings(self) -> list[Mapping]:
        """Every leaf by rising virtual address."""
        if self._flat is None:
            self._flat = [m for part in self.parts for m in part]
        return self._flat

    def covers(self, va: int) -> Mapping | None:
        """The leaf that holds `va`, or None where nothing is mapped."""
        if self._keys is None:
            self._keys = [m.va for m in self.mappings]
        i = bisect_right(self._keys, va) - 1
        if i < 0:
            return None
        m = self.mappings[i]
        return m if va - m.va < m.size else None

    def between(self, start: int, end: int) -> list[Mapping]:
        """Leaves that overlap [start, end)."""
        if self._keys is None:
            self._keys = [m.va for m in self.mappings]
        i = max(0, bisect_right(self._keys, start) - 1)
        out = []
        for m in self.mappings[i:]:
            if m.va >= end:
                break
            if m.va + m.size > start:
                out.append(m)
        return out

    def translate(self, va: int) -> int | None:
        """The physical address of `va`, or None."""
        m = self.covers(va)
        return None if m is None else m.pa + (va - m.va)

    def ranges(self) -> list[Range]:
        """Mappings merged into ranges of equal permissions."""
        return merge(self.mappings)

    def __str__(self) -> str:
        return f"{self.name or 'space'} (root {self.root:#x})"


class Finding(NamedTuple):
    """What an audit found: a mapping, and the spaces that hold it."""

    mapping: Mapping
    spaces: tuple[Space, ...]

    def __str__(self) -> str:
        names = ", ".join(str(s) for s in self.spaces[:4])
        more = f" and {len(self.spaces) - 4} more" if len(self.spaces) > 4 else ""
        return f"{self.mapping} in {names}{more}"


def merge(mappings: Iterable[Mapping]) -> list[Range]:
    """Merges sorted leaves into ranges: virtually adjacent, and of the same permissions."""
    out: list[Range] = []
    start: Mapping | None = None
    end = pages = 0
    linear, perms = True, ""
    for m in mappings:
        p = m.perms
        if start is not None and m.va == end and p == perms:
            linear = linear and m.pa == start.pa + (m.va - start.va)
            end += m.size
            pages += 1
            continue
        if start is not None:
            out.append(Range(start.va, end - start.va, start.pa, perms, linear, pages))
        start, end, pages, linear, perms = m, m.va + m.size, 1, True, p
    if start is not None:
        out.append(Range(start.va, end - start.va, start.pa, perms, linear, pages))
    return out


def distinct(spaces: Iterable[Space]) -> Iterator[tuple[list[Mapping], tuple[Space, ...]]]:
    """Each part once, with the spaces that share it."""
    parts: dict[int, tuple[list[Mapping], list[Space]]] = {}
    for space in spaces:
        for part in space.parts:
            parts.setdefault(id(part), (part, []))[1].append(space)
    for part, owners in parts.values():
        yield part, tuple(owners)


def find(spaces: Iterable[Space], wanted: Callable[[Mapping], bool]) -> list[Finding]:
    """Every mapping of every space for which `wanted` holds; shared ones once, with all their owners."""
    return [Finding(m, owners) for part, owners in distinct(spaces) for m in part if wanted(m)]


def writable_and_executable(spaces: Iterable[Space]) -> list[Finding]:
    """Mappings that are both writable and executable (by user or kernel)."""
    return find(spaces, lambda m: m.writable and (m.exec_user or m.exec_kernel))


def user_accessible(spaces: Iterable[Space], start: int = 0, end: int = 1 << 64) -> list[Finding]:
    """Mappings that overlap [start, end) and that user code can reach."""
    return find(spaces, lambda m: m.user and m.va < end and m.va + m.size > start)


def mapped_between(spaces: Iterable[Space], start: int, end: int) -> list[Finding]:
    """Mappings that overlap [start, end), whatever their permissions."""
    return find(spaces, lambda m: m.va < end and m.va + m.size > start)


def aliases_of(spaces: Iterable[Space], frames: Iterable[tuple[int, int]]) -> list[Finding]:
    """Mappings that overlap any physical range (start, end) of `frames`."""
    wanted = sorted((s, e) for s, e in frames if s < e)
    joined: list[tuple[int, int]] = []
    for s, e in wanted:
        if joined and s <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(e, joined[-1][1]))
        else:
            joined.append((s, e))
    starts = [s for s, _ in joined]

    def overlaps(m: Mapping) -> bool:
        i = bisect_right(starts, m.pa + m.size - 1) - 1
        return i >= 0 and joined[i][1] > m.pa

    return find(spaces, overlaps)


def writable_aliases_of(spaces: Iterable[Space], frames: Iterable[tuple[int, int]]) -> list[Finding]:
    """Writable mappings that overlap any physical range (start, end) of `frames`."""
    return [f for f in aliases_of(spaces, frames) if f.mapping.writable]


def table_pages(spaces: Iterable[Space]) -> dict[int, int]:
    """Physical address -> level of every page-table page of every space."""
    out: dict[int, int] = {}
    for space in spaces:
        out.update(space.tables)
    return out


def physical_ranges(space: Space, start: int, end: int) -> list[tuple[int, int]]:
    """The physical ranges (start, end) behind the virtual range [start, end) of one space."""
    out = []
    for m in space.between(start, end):
        lo, hi = max(start, m.va), min(end, m.va + m.size)
        out.append((m.pa + lo - m.va, m.pa + hi - m.va))
    return out
