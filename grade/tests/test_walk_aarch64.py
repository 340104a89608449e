"""The aarch64 page-table walker, on tables made here."""

from __future__ import annotations

import struct

import pytest

from grade.walk import (PhysError, WalkFlood, mapped_between, table_pages, user_accessible,
                        writable_and_executable)
from grade.walk_aarch64 import (AF, NG, PXN, PXN_TABLE, RO, RO_TABLE, SCTLR_M, SCTLR_WXN, TABLE, USER, USER_TABLE,
                                UXN, UXN_TABLE, VALID, Modes, Walker)

LOW, HIGH = 0x1000, 0x2000      # the two roots
TEXT = 0xFFFF_FFFF_8020_0000
DIRECT = 0xFFFF_8880_0000_0000
SHARED = 3 << 8
KERNEL_DATA, KERNEL_TEXT = AF | SHARED | PXN | UXN, AF | SHARED | RO | UXN
USER_TEXT, USER_DATA = AF | SHARED | NG | USER | RO | PXN, AF | SHARED | NG | USER | PXN | UXN
MODES = Modes(high_root=HIGH)
# T0SZ and T1SZ 16, 4 KiB pages in both halves.
TCR = 16 | 16 << 16 | 2 << 30


class Memory:
    """16 MiB of physical memory with a table allocator at its bottom."""

    def __init__(self) -> None:
        self.ram = bytearray(16 << 20)
        self.free = HIGH + 0x1000
        self.reads = 0

    def read(self, pa: int, size: int) -> bytes:
        self.reads += 1
        if pa + size > len(self.ram):
            raise PhysError(f"{pa:#x}")
        return bytes(self.ram[pa:pa + size])

    def get(self, pa: int) -> int:
        return int(struct.unpack_from("<Q", self.ram, pa)[0])

    def put(self, pa: int, value: int) -> None:
        struct.pack_into("<Q", self.ram, pa, value)

    def new(self) -> int:
        self.free += 0x1000
        return self.free - 0x1000

    def map(self, va: int, pa: int, flags: int, leaf: int = 1, limits: int = 0, root: int | None = None,
            levels: int = 4) -> int:
        """Maps one page or block whose entry stands at level `leaf`; the address of that entry."""
        table = root if root is not None else HIGH if va >> 63 else LOW
        for level in range(levels, leaf, -1):
            slot = table + 8 * ((va >> (12 + 9 * (level - 1))) & 511)
            if not self.get(slot) & VALID:
                self.put(slot, self.new() | VALID | TABLE | limits)
            table = self.get(slot) & 0x0000FFFFFFFFF000
        slot = table + 8 * ((va >> (12 + 9 * (leaf - 1))) & 511)
        self.put(slot, pa | flags | VALID | (TABLE if leaf == 1 else 0))
        return slot


@pytest.fixture
def memory() -> Memory:
    return Memory()


def walker(memory: Memory, modes: Modes = MODES) -> Walker:
    return Walker(memory.read, modes)


def test_a_user_page_is_found_with_its_address_and_rights(memory: Memory) -> None:
    memory.map(0x400000, 0x5000, USER_TEXT)
    memory.map(0x401000, 0x6000, USER_DATA)
    text, data = walker(memory).space(LOW).mappings
    assert (text.va, text.pa, text.size, text.perms) == (0x400000, 0x5000, 0x1000, "r-xu-")
    assert text.exec_user and not text.exec_kernel
    assert (data.va, data.perms) == (0x401000, "rw-u-")


def test_the_two_halves_come_from_their_own_roots(memory: Memory) -> None:
    memory.map(0x400000, 0x5000, USER_TEXT)
    memory.map(TEXT, 0x6000, KERNEL_TEXT)
    low, high = walker(memory).space(LOW).mappings
    assert (low.va, high.va) == (0x400000, TEXT)
    assert high.exec_kernel and not high.exec_user and not high.user and high.global_ and not low.global_


def test_the_kernels_own_space_has_no_low_half(memory: Memory) -> None:
    memory.map(TEXT, 0x6000, KERNEL_TEXT)
    w = walker(memory)
    (only,) = w.space(HIGH).mappings
    assert only.va == TEXT and w.translate(HIGH, TEXT & (1 << 48) - 1) is None


def test_an_asid_and_the_common_bit_are_no_part_of_a_root(memory: Memory) -> None:
    memory.map(0x400000, 0x5000, USER_TEXT)
    w = walker(memory)
    assert w.translate(LOW | 7 << 48 | 1, 0x400000) == w.space(LOW | 9 << 48).mappings[0]


def test_blocks_of_2m_and_1g_are_leaves_of_their_size(memory: Memory) -> None:
    memory.map(DIRECT, 0, KERNEL_DATA, leaf=3)
    memory.map(TEXT, 0x200000, KERNEL_TEXT, leaf=2)
    big, text = walker(memory).space(HIGH).mappings
    assert (big.va, big.size, big.perms) == (DIRECT, 1 << 30, "rw-kg")
    assert (text.va, text.pa, text.size, text.perms) == (TEXT, 0x200000, 2 << 20, "r-xkg")


def test_limits_in_tables_above_only_take_rights_away(memory: Memory) -> None:
    loose = AF | SHARED | USER
    memory.map(0x0000400000, 0x5000, loose | RO, limits=USER_TABLE)
    memory.map(0x8000400000, 0x6000, loose, limits=RO_TABLE)
    memory.map(0x10000400000, 0x7000, loose | RO, limits=PXN_TABLE | UXN_TABLE)
    space = walker(memory).space(LOW)
    hidden, readonly, nx = space.mappings
    assert hidden.exec_kernel and hidden.user      # ... through its UXN bit, which is clear
    assert readonly.user and not readonly.writable and readonly.exec_user
    assert nx.user and not nx.executable
    ignored = walker(memory, Modes(high_root=HIGH, hpd0=True)).space(LOW).mappings
    assert ignored[1].writable and ignored[2].exec_user and ignored[2].exec_kernel


def test_a_kernel_page_that_users_may_execute_is_within_their_reach(memory: Memory) -> None:
    memory.map(TEXT, 0x5000, AF | SHARED | RO)
    (finding,) = user_accessible([walker(memory).space(LOW)], 1 << 63)
    assert finding.mapping.exec_user and finding.mapping.perms == "r-xug"


def test_what_users_may_write_the_kernel_never_executes(memory: Memory) -> None:
    memory.map(0x400000, 0x5000, AF | SHARED | NG | USER | UXN)
    (m,) = walker(memory).space(LOW).mappings
    assert m.writable and not m.exec_kernel and not writable_and_executable([walker(memory).space(LOW)])


@pytest.mark.parametrize("wxn", [False, True])
def test_a_writable_and_executable_page_is_found_whether_or_not_wxn_refuses_it(memory: Memory, wxn: bool) -> None:
    memory.map(0x400000, 0x5000, AF | SHARED | NG | USER | PXN)
    memory.map(TEXT, 0x6000, AF | SHARED | UXN)
    space = walker(memory, Modes(high_root=HIGH, wxn=wxn)).space(LOW)
    assert [f.mapping.va for f in writable_and_executable([space])] == [0x400000, TEXT]


def test_addresses_between_the_halves_translate_to_nothing(memory: Memory) -> None:
    memory.map(0x400000, 0x5000, USER_TEXT)
    w = walker(memory)
    for va in (0x0001_0000_0040_0000, 0xFFFE_FFFF_8020_0000, 0x8000_0000_0000_0000):
        assert w.translate(LOW, va) is None and w.steps(LOW, va) == []
        assert "upper 16 bits" in w.explain(LOW, va)[-1]


def test_halves_of_39_bits_start_one_level_lower(memory: Memory) -> None:
    memory.map(0x7FFFFFF000, 0x5000, USER_TEXT, levels=3)
    memory.map(0xFFFF_FFFF_8020_0000, 0x6000, KERNEL_TEXT, levels=3)
    w = walker(memory, Modes(high_root=HIGH, t0sz=25, t1sz=25))
    space = w.space(LOW)
    assert [m.va for m in space.mappings] == [0x7FFFFFF000, 0xFFFF_FFFF_8020_0000]
    assert space.tables[LOW] == 3 and w.translate(LOW, 0x8000000000) is None
    assert all(w.translate(LOW, m.va) == m for m in space.mappings)


def test_modes_come_from_the_system_registers() -> None:
    modes = Modes.from_registers(TCR, HIGH | 5 << 48 | 1, SCTLR_M | SCTLR_WXN)
    assert (modes.high_root, modes.t0sz, modes.t1sz, modes.wxn, modes.problem) == (HIGH, 16, 16, True, "")
    assert Modes.from_registers(TCR, HIGH, 0).high_root is None
    assert Modes.from_registers(TCR | 1 << 23, HIGH, SCTLR_M).high_root is None
    assert not Modes.from_registers(TCR | 1 << 7, HIGH, SCTLR_M).low


def test_other_granules_are_named_and_not_walked(memory: Memory) -> None:
    memory.map(0x400000, 0x5000, USER_TEXT)
    space = walker(memory, Modes.from_registers(TCR | 1 << 14, HIGH, SCTLR_M)).space(LOW)
    assert not space.mappings and "TG0 = 1" in space.problems[0]


def test_without_translation_by_one_root_the_other_half_still_stands(memory: Memory) -> None:
    memory.map(0x400000, 0x5000, USER_TEXT)
    memory.map(TEXT, 0x6000, KERNEL_TEXT)
    assert [m.va for m in walker(memory, Modes()).space(LOW).mappings] == [0x400000]
    assert [m.va for m in walker(memory, Modes(high_root=HIGH, low=False)).space(LOW).mappings] == [TEXT]


def test_tables_of_both_halves_are_listed_with_their_levels(memory: Memory) -> None:
    memory.map(0x400000, 0x5000, USER_TEXT)
    memory.map(TEXT, 0x6000, KERNEL_TEXT)
    space = walker(memory).space(LOW)
    assert sorted(space.tables.values()) == [1, 1, 2, 2, 3, 3, 4, 4]
    assert space.tables[LOW] == space.tables[HIGH] == 4 and table_pages([space]) == space.tables


def test_translate_agrees_with_the_whole_walk(memory: Memory) -> None:
    memory.map(0x400000, 0x5000, USER_TEXT)
    memory.map(0xFFFF_FFFF_F000, 0x6000, USER_DATA)
    memory.map(TEXT, 0x200000, KERNEL_TEXT, leaf=2)
    memory.map(DIRECT, 0, KERNEL_DATA, leaf=3, limits=UXN_TABLE)
    w = walker(memory)
    space = w.space(LOW)
    assert len(space.mappings) == 4
    for m in space.mappings:
        assert w.translate(LOW, m.va + m.size // 2) == m == space.covers(m.va + m.size // 2)
    assert w.translate(LOW, 0x1000) is None
    assert mapped_between([space], 0, 0x10000) == []


def test_the_high_half_is_walked_once_for_all_spaces(memory: Memory) -> None:
    for i in range(64):
        memory.map(DIRECT + (i << 12), i << 12, KERNEL_DATA)
    w = walker(memory)
    first = w.space(LOW)
    before, other = memory.reads, memory.new()
    second = w.space(other)
    assert second.parts[0] is first.parts[0] and len(second.mappings) == 64
    assert memory.reads == before + 2       # its two roots


def test_malformed_entries_are_named_and_do_not_stop_the_walk(memory: Memory) -> None:
    memory.put(LOW, 0x40000000 | VALID | TABLE)                     # not in RAM
    memory.put(LOW + 8, 0x5000 | VALID)                             # a block at the top
    slot = memory.map(TEXT, 0x5000, KERNEL_TEXT)
    memory.put(slot + 8, 0x6000 | VALID | KERNEL_TEXT)              # bit 1 clear at the bottom
    memory.map(DIRECT, 0x201000, KERNEL_DATA, leaf=2)               # a block that is not aligned
    memory.map(DIRECT + (2 << 20), 0x400000, AF | PXN | UXN | 1 << 8, leaf=2)
    space = walker(memory).space(LOW)
    assert [m.va for m in space.mappings] == [DIRECT, DIRECT + (2 << 20), TEXT]
    for word in ("not in RAM", "L0 entry", "L3 entry", "reserved address bits", "reserved shareability"):
        assert len([p for p in space.problems if word in p]) == 1, space.problems
    assert walker(memory).translate(LOW, TEXT + 0x1000) is None


def test_tables_that_point_at_themselves_end_as_a_flood_and_not_as_a_hang(
        memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grade.walk_aarch64.MAX_LEAVES", 100_000)
    for i in range(512):
        memory.put(LOW + 8 * i, LOW | VALID | TABLE)
    with pytest.raises(WalkFlood):
        walker(memory).space(LOW)


def test_an_explanation_names_each_level_and_the_verdict(memory: Memory) -> None:
    memory.map(0x400000, 0x5000, AF | SHARED | NG | USER | 5 << 55)
    text = "\n".join(walker(memory, Modes(high_root=HIGH, wxn=False, pan=False)).explain(LOW, 0x400123))
    for word in ("TTBR0_EL1", "L0[0]", "L1[0]", "L2[2]", "L3[0]", "0x5123", "WRITABLE AND EXECUTABLE",
                 "PAN is off", "software bits 0x5", "user executes", "(nG)", "users may write it"):
        assert word in text
    assert "WXN still refuses" in walker(memory).explain(LOW, 0x400123)[-1]
    assert "translation fault at level 3" in walker(memory).explain(LOW, 0x407000)[-1]
    memory.map(TEXT, 0x6000, SHARED | RO | UXN)
    text = "\n".join(walker(memory).explain(LOW, TEXT))
    assert "TTBR1_EL1" in text and "AF is clear" in text and "kernel: reads, does not write, executes" in text
    memory.map(0x500000, 0x8000, AF | SHARED | NG | USER | RO | UXN)
    assert "CAN EXECUTE IT" in "\n".join(walker(memory).explain(LOW, 0x500000))
