"""The page-table walker for x86_64: 4-level tables (and 5-level, should CR4.LA57 be on).

Reads tables through read_phys(paddr, size). Standard library only: GDB imports this file as well. Bits are
those of the Intel SDM volume 3A, section 4.5.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from grade.walk import Mapping, PhysError, ReadPhys, Space, WalkFlood

P, W, U = 1 << 0, 1 << 1, 1 << 2
PWT, PCD, A, D, PS, G = 1 << 3, 1 << 4, 1 << 5, 1 << 6, 1 << 7, 1 << 8
NX = 1 << 63
ADDR = 0x000F_FFFF_FFFF_F000

CR0_WP = 1 << 16
CR4_SMEP, CR4_SMAP, CR4_UMIP, CR4_LA57 = 1 << 20, 1 << 21, 1 << 11, 1 << 12
EFER_NXE = 1 << 11

MAX_LEAVES = 4 << 20    # 16 GiB of 4 KiB pages in one space: beyond any guest here

_TABLE = struct.Struct("<512Q")
_LEVEL_NAME = {5: "PML5", 4: "PML4", 3: "PDPT", 2: "PD", 1: "PT"}
_LEAF_NAME = {3: "1 GiB page", 2: "2 MiB page", 1: "4 KiB page"}


@dataclass(frozen=True)
class Modes:
    """The control bits that change what tables mean."""

    nxe: bool = True     # EFER.NXE: bit 63 forbids execution (else it is reserved)
    wp: bool = True      # CR0.WP: the kernel obeys read-only pages
    smep: bool = True    # CR4.SMEP: the kernel does not execute user pages
    smap: bool = True    # CR4.SMAP: the kernel does not touch user pages with AC clear
    la57: bool = False

    @classmethod
    def from_registers(cls, cr0: int, cr4: int, efer: int) -> Modes:
        """The modes of a CPU whose control registers these are."""
        return cls(nxe=bool(efer & EFER_NXE), wp=bool(cr0 & CR0_WP), smep=bool(cr4 & CR4_SMEP),
                   smap=bool(cr4 & CR4_SMAP), la57=bool(cr4 & CR4_LA57))


def canonical(va: int, levels: int = 4) -> int:
    """Sign-extends the low 12 + 9 * levels bits of `va` to 64."""
    bits = 12 + 9 * levels
    va &= (1 << bits) - 1
    return va | (((1 << 64) - 1) ^ ((1 << bits) - 1)) if va >> (bits - 1) else va


@dataclass(frozen=True)
class Step:
    """One level of one translation, for explaining it."""

    level: int
    table: int      # physical address of the table
    index: int
    entry: int
    leaf: bool

    def __str__(self) -> str:
        e = self.entry
        where = f"{_LEVEL_NAME[self.level]}[{self.index}] at {self.table + 8 * self.index:#x} = {e:#018x}"
        if not e & P:
            return where + ": not present" + (" (bits set: the kernel keeps a note here)" if e else "")
        rights = ", ".join((
            "writable" if e & W else "read-only", "user" if e & U else "kernel only",
            "not executable" if e & NX else "executable",
            *(("accessed",) if e & A else ()), *(("dirty",) if self.leaf and e & D else ()),
            *(("global",) if self.leaf and e & G else ()),
            *(("uncached",) if e & PCD else ()), *(("write-through",) if e & PWT else ())))
        if self.leaf:
            mask = (1 << (12 + 9 * (self.level - 1))) - 1
            return f"{where}: {_LEAF_NAME[self.level]} at {e & ADDR & ~mask:#x}, {rights}"
        return f"{where}: next table {e & ADDR:#x}, {rights}"


class Walker:
    """Walks address spaces of one stopped machine. Subtrees that spaces share are walked once, so use one
    Walker for all spaces of a moment, and a new one after the guest has run."""

    def __init__(self, read_phys: ReadPhys, modes: Modes = Modes()) -> None:
        self._read = read_phys
        self.modes = modes
        self.levels = 5 if modes.la57 else 4
        self._cache: dict[tuple[int, int], tuple[list[Mapping], dict[int, int], list[str]]] = {}

    def space(self, root: int, name: str = "") -> Space:
        """Everything that the table at CR3 value `root` maps (flag and PCID bits are ignored).

        PhysError if the root itself is not in RAM, WalkFlood beyond MAX_LEAVES. Entries that make no sense
        are skipped and named in `problems`.
        """
        root &= ADDR
        space = Space(root=root, name=name, tables={root: self.levels})
        shift = 12 + 9 * (self.levels - 1)
        count = 0
        for i, entry in enumerate(_TABLE.unpack(self._read(root, 4096))):
            if not entry & P:
                continue
            key = (i, entry & ~(A | D))
            sub = self._cache.get(key)
            if sub is None:
                leaves: list[Mapping] = []
                tables: dict[int, int] = {}
                problems: list[str] = []
                va = canonical(i << shift, self.levels)
                if entry & PS:
                    problems.append(f"{_LEVEL_NAME[self.levels]}[{i}] = {entry:#x}: reserved bit 7 set")
                else:
                    self._table(entry, self.levels - 1, va, bool(entry & W), bool(entry & U),
                                self._nx(entry), leaves, tables, problems)
                sub = (leaves, tables, problems)
                self._cache[key] = sub
            if sub[0]:
                space.parts.append(sub[0])
            space.tables.update(sub[1])
            space.problems.extend(sub[2])
            count += len(sub[0])
            if count > MAX_LEAVES:
                raise WalkFlood(f"root {root:#x}: more than {MAX_LEAVES} leaf mappings")
        return space

    def steps(self, root: int, va: int) -> list[Step]:
        """The entries that translate `va` from CR3 value `root`, from the top down to a leaf or a hole.
        PhysError if a table is not in RAM."""
        table = root & ADDR
        out = []
        for level in range(self.levels, 0, -1):
            index = (va >> (12 + 9 * (level - 1))) & 511
            (entry,) = struct.unpack("<Q", self._read(table + 8 * index, 8))
            leaf = level == 1 or (level <= 3 and bool(entry & PS))
            out.append(Step(level, table, index, entry, leaf))
            if leaf or not entry & P:
                break
            table = entry & ADDR
        return out

    def translate(self, root: int, va: int) -> Mapping | None:
        """The leaf that holds `va` (without walking the rest), or None."""
        if va != canonical(va, self.levels):
            return None
        steps = self.steps(root, va)
        last = steps[-1]
        if not last.entry & P:
            return None
        size = 1 << (12 + 9 * (last.level - 1))
        return self._leaf(va & ~(size - 1), last.entry & ADDR & ~(size - 1), size,
                          all(s.entry & W for s in steps), all(s.entry & U for s in steps),
                          any(self._nx(s.entry) for s in steps), bool(last.entry & G))

    def explain(self, root: int, va: int) -> list[str]:
        """One translation in words, a line a level and then the verdict."""
        va &= (1 << 64) - 1
        lines = [f"{va:#018x} from root {root & ADDR:#x}"]
        if va != canonical(va, self.levels):
            return [*lines, f"not canonical: bits {12 + 9 * self.levels - 1} and up must be equal; #GP, no walk"]
        try:
            steps = self.steps(root, va)
        except PhysError as error:
            return [*lines, f"a table lies outside RAM: {error}"]
        lines += [f"  {step}" for step in steps]
        m = self.translate(root, va)
        if m is None:
            return [*lines, "not mapped: any access raises #PF with P=0"]
        lines.append(f"maps to physical {m.pa + (va - m.va):#x} ({m.perms}); rights are the AND over all levels, "
                     "NX the OR")
        if not self.modes.nxe:
            lines.append("EFER.NXE is off: bit 63 is a reserved bit, every page is executable")
        if m.user:
            lines.append("user: " + ", ".join(("reads", *(("writes",) if m.writable else ()),
                                               *(("executes",) if m.exec_user else ()))))
            kernel = "only inside stac/clac" if self.modes.smap else "freely (SMAP is off)"
            fetch = ("never executes it (NX)" if not m.exec_kernel else
                     "never executes it (SMEP)" if self.modes.smep else "CAN EXECUTE IT (SMEP is off)")
            lines.append(f"kernel: touches it {kernel}, {fetch}")
        else:
            write = "writes" if m.writable else "does not write" if self.modes.wp else "WRITES (CR0.WP is off)"
            lines.append(f"user: no access. kernel: reads, {write}, "
                         + ("executes" if m.exec_kernel else "does not execute"))
        if m.writable and m.executable:
            lines.append("WRITABLE AND EXECUTABLE: this breaks W^X")
        return lines

    def _nx(self, entry: int) -> bool:
        return self.modes.nxe and bool(entry & NX)

    @staticmethod
    def _leaf(va: int, pa: int, size: int, w: bool, u: bool, nx: bool, g: bool) -> Mapping:
        return Mapping(va, pa, size, w, u, u and not nx, not nx, g)

    def _table(self, upper: int, level: int, va: int, w: bool, u: bool, nx: bool, leaves: list[Mapping],
               tables: dict[int, int], problems: list[str]) -> None:
        """Adds the leaves below the table that entry `upper` names; w, u, nx are the rights so far."""
        table = upper & ADDR
        try:
            entries = _TABLE.unpack(self._read(table, 4096))
        except PhysError:
            problems.append(f"{va:#x}: {_LEVEL_NAME[level]} table at {table:#x} is not in RAM")
            return
        tables[table] = level
        shift = 12 + 9 * (level - 1)
        size = 1 << shift
        if len(leaves) > MAX_LEAVES:
            raise WalkFlood(f"more than {MAX_LEAVES} leaf mappings")
        nxe = self.modes.nxe
        for i, e in enumerate(entries):
            if not e & 1:
                continue
            here = va + (i << shift)
            ew, eu = w and bool(e & W), u and bool(e & U)
            enx = nx or (nxe and e >> 63 == 1)
            if level == 1 or (e & PS and level <= 3):
                pa = e & ADDR & ~(size - 1)
                if level > 1 and e & ADDR & (size - 1) & ~0x1000:
                    problems.append(f"{here:#x}: {_LEAF_NAME[level]} with reserved address bits: {e:#x}")
                leaves.append(Mapping(here, pa, size, ew, eu, eu and not enx, not enx, bool(e & G)))
            elif e & PS:
                problems.append(f"{here:#x}: {_LEVEL_NAME[level]} entry {e:#x}: reserved bit 7 set")
            else:
                self._table(e, level - 1, here, ew, eu, enx, leaves, tables, problems)
