"""The page-table walker for aarch64: stage 1 of EL1 and EL0, 4 KiB pages, 3 or 4 levels.

Reads tables through read_phys(paddr, size). Standard library only: GDB imports this file as well. Bits are
those of the Arm ARM, section D8.3. An address space is two tables: a root of the low half (TTBR0_EL1), which
is what `root` means here, and the one of the high half (TTBR1_EL1), which every space shares.

A mapping's rights are what its descriptors grant. SCTLR_EL1.WXN, which takes execution away from writable
pages, is a second line of defence that each CPU has for itself: it is told in explanations and never hides a
writable and executable page from an audit.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from grade.walk import Mapping, PhysError, ReadPhys, Space, WalkFlood

VALID, TABLE = 1 << 0, 1 << 1           # TABLE: of a level-3 entry, "a page"; elsewhere, not a block
USER, RO = 1 << 6, 1 << 7               # AP[1], AP[2]
AF, NG = 1 << 10, 1 << 11
DBM, CONTIGUOUS, PXN, UXN = 1 << 51, 1 << 52, 1 << 53, 1 << 54
SOFTWARE = 15 << 55
PXN_TABLE, UXN_TABLE, USER_TABLE, RO_TABLE = 1 << 59, 1 << 60, 1 << 61, 1 << 62
ADDR = 0x0000_FFFF_FFFF_F000

SCTLR_M, SCTLR_WXN, SCTLR_SPAN, SCTLR_UMA = 1 << 0, 1 << 19, 1 << 23, 1 << 9
PSTATE_PAN = 1 << 22
MDSCR_TDCC = 1 << 12

MAX_LEAVES = 4 << 20    # 16 GiB of 4 KiB pages in one space: beyond any guest here

_TABLE = struct.Struct("<512Q")
# Levels count as everywhere in the harness, pages at 1; Arm counts from 0 at the top.
_LEVEL_NAME = {4: "L0", 3: "L1", 2: "L2", 1: "L3"}
_LEAF_NAME = {3: "1 GiB block", 2: "2 MiB block", 1: "4 KiB page"}


@dataclass(frozen=True)
class Modes:
    """The control registers that change what tables mean."""

    high_root: int | None = None    # TTBR1_EL1's table; None: the high half is not translated
    t0sz: int = 16                  # TCR_EL1: 64 less the number of address bits of a half
    t1sz: int = 16
    low: bool = True                # the low half is translated (TCR_EL1.EPD0 clear)
    hpd0: bool = False              # TCR_EL1.HPD0, HPD1: limits in table descriptors are ignored
    hpd1: bool = False
    wxn: bool = True                # SCTLR_EL1.WXN: whatever is writable is not executable
    pan: bool = True                # PSTATE.PAN: the kernel does not touch user pages but by LDTR and STTR
    problem: str = ""               # what of TCR_EL1 this walker does not know, in words

    @classmethod
    def from_registers(cls, tcr: int, ttbr1: int, sctlr: int, pstate: int = PSTATE_PAN) -> Modes:
        """The modes of a CPU whose system registers these are."""
        tg0, tg1 = tcr >> 14 & 3, tcr >> 30 & 3
        wrong = [f"TCR_EL1.TG{i} = {tg}: not pages of 4 KiB" for i, tg, k in ((0, tg0, 0), (1, tg1, 2)) if tg != k]
        high = bool(sctlr & SCTLR_M) and not tcr >> 23 & 1
        return cls(high_root=ttbr1 & ADDR if high else None, t0sz=tcr & 63, t1sz=tcr >> 16 & 63,
                   low=not tcr >> 7 & 1, hpd0=bool(tcr >> 41 & 1), hpd1=bool(tcr >> 42 & 1),
                   wxn=bool(sctlr & SCTLR_WXN), pan=bool(pstate & PSTATE_PAN),
                   problem="; ".join(wrong) if sctlr & SCTLR_M else "")


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
        if not e & VALID:
            return where + ": not valid" + (" (bits set: the kernel keeps a note here)" if e else "")
        if not self.leaf:
            limits = [word for bit, word in ((RO_TABLE, "read-only below"), (USER_TABLE, "no user below"),
                                             (PXN_TABLE, "PXN below"), (UXN_TABLE, "UXN below")) if e & bit]
            return f"{where}: next table {e & ADDR:#x}" + "".join(f", {w}" for w in limits)
        if malformed(e, self.level):
            return f"{where}: reserved form"
        size = 1 << (12 + 9 * (self.level - 1))
        rights = ", ".join((
            "read-only" if e & RO else "writable", "user" if e & USER else "kernel only",
            "user never executes (UXN)" if e & UXN else "user executes",
            "kernel never executes (PXN)" if e & PXN else "kernel executes",
            "accessed" if e & AF else "NOT ACCESSED (AF clear: any access faults)",
            "this ASID's (nG)" if e & NG else "global", f"memory type {e >> 2 & 7}",
            ("not shareable", "RESERVED SHAREABILITY", "outer shareable", "inner shareable")[e >> 8 & 3],
            *(("dirty-bit managed",) if e & DBM else ()), *(("contiguous",) if e & CONTIGUOUS else ()),
            *((f"software bits {e >> 55 & 15:#x}",) if e & SOFTWARE else ())))
        return f"{where}: {_LEAF_NAME[self.level]} at {e & ADDR & ~(size - 1):#x}, {rights}"


def malformed(entry: int, level: int) -> bool:
    """Whether a valid entry has a form that means nothing at its level: a block at the top, or bit 1 clear
    at the bottom."""
    return not entry & TABLE and level in (4, 1)


@dataclass(frozen=True)
class _Rights:
    """What the tables above allow."""

    w: bool = True
    u: bool = True
    xu: bool = True
    xk: bool = True

    def below(self, entry: int) -> _Rights:
        """The same below this table descriptor, whose limits only ever take away."""
        return _Rights(self.w and not entry & RO_TABLE, self.u and not entry & USER_TABLE,
                       self.xu and not entry & UXN_TABLE, self.xk and not entry & PXN_TABLE)


_TABLE_LIMITS = PXN_TABLE | UXN_TABLE | USER_TABLE | RO_TABLE


class Walker:
    """Walks address spaces of one stopped machine. The high half and subtrees that spaces share are walked
    once, so use one Walker for all spaces of a moment, and a new one after the guest has run."""

    def __init__(self, read_phys: ReadPhys, modes: Modes = Modes()) -> None:
        self._read = read_phys
        self.modes = modes
        self._cache: dict[tuple[int, int, int], tuple[list[Mapping], dict[int, int], list[str]]] = {}

    # ---- halves ---------------------------------------------------------------------------------------

    def _half(self, root: int, va: int) -> tuple[int, int, bool] | None:
        """The root table, the number of address bits and "limits are ignored" of the half that holds `va`;
        None where no table translates it."""
        m = self.modes
        if va >> 63:
            size, table, hpd = m.t1sz, m.high_root, m.hpd1
        else:
            # The kernel's own space has no low half.
            size, table, hpd = m.t0sz, root & ADDR if m.low and root & ADDR != m.high_root else None, m.hpd0
        bits = 64 - size
        top = va >> bits
        if table is None or (top != (1 << size) - 1 if va >> 63 else top != 0):
            return None
        return table, bits, hpd

    @staticmethod
    def _levels(bits: int) -> int:
        """How many levels translate that many bits."""
        return (bits - 12 + 8) // 9

    def _problems(self) -> list[str]:
        m = self.modes
        out = [m.problem] if m.problem else []
        return out + [f"TCR_EL1.T{i}SZ = {n}: this walker knows 16 to 39" for i, n in ((0, m.t0sz), (1, m.t1sz))
                      if not 16 <= n <= 39]

    # ---- the interface of every walker ----------------------------------------------------------------

    def space(self, root: int, name: str = "") -> Space:
        """Everything that TTBR0_EL1 value `root` (its ASID is ignored) and the high half's table map. The high
        half's own table as `root` is the kernel's space, without a low half.

        PhysError if a root itself is not in RAM, WalkFlood beyond MAX_LEAVES. Entries that make no sense
        are skipped and named in `problems`.
        """
        root &= ADDR
        space = Space(root=root, name=name, problems=self._problems())
        if space.problems:
            return space
        count = 0
        for first in (0, ((1 << 64) - 1) ^ ((1 << (64 - self.modes.t1sz)) - 1)):
            half = self._half(root, first)
            if half is None:
                continue
            table, bits, hpd = half
            levels = self._levels(bits)
            shift = 12 + 9 * (levels - 1)
            space.tables[table] = levels
            for i, entry in enumerate(_TABLE.unpack(self._read(table, 4096))[:1 << (bits - shift)]):
                if not entry & VALID:
                    continue
                # What one CPU marks accessed meanwhile is still the same subtree.
                key = (first + (i << shift), entry & ~AF, levels)
                sub = self._cache.get(key)
                if sub is None:
                    sub = ([], {}, [])
                    self._entry(entry, levels, key[0], _Rights(), hpd, *sub)
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
        """The entries that translate `va`, from the top down to a leaf or a hole; none where no table does.
        PhysError if a table is not in RAM."""
        va &= (1 << 64) - 1
        half = self._half(root, va)
        if half is None:
            return []
        table, bits, _ = half
        out = []
        for level in range(self._levels(bits), 0, -1):
            index = ((va & ((1 << bits) - 1)) >> (12 + 9 * (level - 1))) & 511
            (entry,) = struct.unpack("<Q", self._read(table + 8 * index, 8))
            leaf = level == 1 or not entry & TABLE
            out.append(Step(level, table, index, entry, leaf))
            if leaf or not entry & VALID:
                break
            table = entry & ADDR
        return out

    def translate(self, root: int, va: int) -> Mapping | None:
        """The leaf that holds `va` (without walking the rest), or None."""
        va &= (1 << 64) - 1
        half, steps = self._half(root, va), self.steps(root, va)
        if half is None or not steps:
            return None
        last = steps[-1]
        if not last.entry & VALID or malformed(last.entry, last.level):
            return None
        rights = _Rights()
        for step in steps[:-1]:
            rights = rights.below(0 if half[2] else step.entry)
        return self._leaf(last.entry, last.level, va & ~((1 << (12 + 9 * (last.level - 1))) - 1), rights)

    def explain(self, root: int, va: int) -> list[str]:
        """One translation in words, a line a level and then the verdict."""
        va &= (1 << 64) - 1
        half = self._half(root, va)
        name = f"TTBR{va >> 63}_EL1"
        if half is None:
            lines = [f"{va:#018x} in the half of {name}"]
            size = self.modes.t1sz if va >> 63 else self.modes.t0sz
            inside = va >> (64 - size) == ((1 << size) - 1 if va >> 63 else 0)
            why = "no table translates this half" if inside else \
                f"its upper {size} bits must be equal (TCR_EL1.T{va >> 63}SZ)"
            return [*lines, f"not mapped: {why}; translation fault at level 0, no walk"]
        lines = [f"{va:#018x} from {name}'s root {half[0]:#x}", *self._problems()]
        try:
            steps = self.steps(root, va)
        except PhysError as error:
            return [*lines, f"a table lies outside RAM: {error}"]
        lines += [f"  {step}" for step in steps]
        m, entry = self.translate(root, va), steps[-1].entry
        if m is None:
            return [*lines, f"not mapped: any access raises a translation fault at level {4 - steps[-1].level}"]
        lines.append(f"maps to physical {m.pa + (va - m.va):#x} ({m.perms}); tables above only take rights away")
        if not entry & AF:
            lines.append("AF is clear: the first access raises an access-flag fault")
        wxn = self.modes.wxn
        if m.user:
            data = bool(entry & USER)
            lines.append("user: " + (", ".join((
                *(("reads",) if data else ()), *(("writes",) if data and m.writable else ()),
                *(("executes" + (", but not while WXN is on" if m.writable and wxn else ""),)
                  if m.exec_user else ()))) or "nothing"))
            touch = "by LDTR and STTR only (PAN)" if self.modes.pan else "freely (PAN is off)"
            fetch = ("CAN EXECUTE IT (PXN is clear)" if m.exec_kernel else "never executes it (PXN)" if entry & PXN
                     else "never executes it (users may write it)" if data and m.writable
                     else "never executes it (PXN of a table above)")
            lines.append(f"kernel: touches it {touch if data else 'freely'}, {fetch}")
        else:
            execute = "does not execute" if not m.exec_kernel else \
                "executes, but not while WXN is on" if m.writable and wxn else "executes"
            lines.append(f"user: no access. kernel: reads, {'writes' if m.writable else 'does not write'}, {execute}")
        if m.writable and m.executable:
            lines.append("WRITABLE AND EXECUTABLE: this breaks W^X" + (" (WXN still refuses)" if wxn else ""))
        return lines

    # ---- the walk -------------------------------------------------------------------------------------

    @staticmethod
    def _leaf(entry: int, level: int, va: int, rights: _Rights) -> Mapping:
        size = 1 << (12 + 9 * (level - 1))
        w, data = rights.w and not entry & RO, rights.u and bool(entry & USER)
        exec_user = rights.xu and not entry & UXN
        # The architecture never lets EL1 execute what EL0 may write (D8.4.5).
        exec_kernel = rights.xk and not entry & PXN and not (w and data)
        # A page that EL0 may execute is within its reach, even if it cannot read it.
        return Mapping(va, entry & ADDR & ~(size - 1), size, w, data or exec_user, exec_user, exec_kernel,
                       not entry & NG)

    def _entry(self, entry: int, level: int, va: int, rights: _Rights, hpd: bool, leaves: list[Mapping],
               tables: dict[int, int], problems: list[str]) -> None:
        """Adds what one valid entry of a table of `level` maps at `va`."""
        if malformed(entry, level):
            problems.append(f"{va:#x}: {_LEVEL_NAME[level]} entry {entry:#x}: reserved form (bit 1 clear)")
            return
        if level > 1 and entry & TABLE:
            self._table(entry, level - 1, va, rights if hpd or not entry & _TABLE_LIMITS else rights.below(entry),
                        hpd, leaves, tables, problems)
            return
        if entry >> 8 & 3 == 1:
            problems.append(f"{va:#x}: {_LEAF_NAME[level]} with reserved shareability: {entry:#x}")
        # Bit 16 of a block is nT; the rest below its size is zero.
        if level > 1 and entry & ADDR & ((1 << (12 + 9 * (level - 1))) - 1) & ~(1 << 16):
            problems.append(f"{va:#x}: {_LEAF_NAME[level]} with reserved address bits: {entry:#x}")
        leaves.append(self._leaf(entry, level, va, rights))

    def _table(self, upper: int, level: int, va: int, rights: _Rights, hpd: bool, leaves: list[Mapping],
               tables: dict[int, int], problems: list[str]) -> None:
        """Adds the leaves below the table that entry `upper` names; `rights` are those so far."""
        table = upper & ADDR
        try:
            entries = _TABLE.unpack(self._read(table, 4096))
        except PhysError:
            problems.append(f"{va:#x}: {_LEVEL_NAME[level]} table at {table:#x} is not in RAM")
            return
        tables[table] = level
        if len(leaves) > MAX_LEAVES:
            raise WalkFlood(f"more than {MAX_LEAVES} leaf mappings")
        shift = 12 + 9 * (level - 1)
        for i, e in enumerate(entries):
            if e & VALID:
                self._entry(e, level, va + (i << shift), rights, hpd, leaves, tables, problems)
