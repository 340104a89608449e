"""The page-table walker and the audits, on tables made here."""

from __future__ import annotations

import struct

import pytest

from grade.walk import (PhysError, WalkFlood, aliases_of, mapped_between, physical_ranges, table_pages,
                        user_accessible, writable_aliases_of, writable_and_executable)
from grade.walk_x86_64 import G, NX, PS, P, U, W, Modes, Walker, canonical

ROOT = 0x1000
TEXT = 0xFFFFFFFF80200000
DIRECT = 0xFFFF888000000000


class Memory:
    """16 MiB of physical memory with a table allocator at its bottom."""

    def __init__(self) -> None:
        self.ram = bytearray(16 << 20)
        self.free = ROOT + 0x1000
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

    def map(self, va: int, pa: int, flags: int, leaf: int = 1, upper: int = P | W | U, root: int = ROOT) -> None:
        """Maps one page whose leaf stands at level `leaf`."""
        table = root
        for level in range(4, leaf, -1):
            slot = table + 8 * ((va >> (12 + 9 * (level - 1))) & 511)
            if not self.get(slot) & P:
                self.put(slot, self.new() | upper)
            table = self.get(slot) & 0x000FFFFFFFFFF000
        self.put(table + 8 * ((va >> (12 + 9 * (leaf - 1))) & 511), pa | flags | (PS if leaf > 1 else 0))


@pytest.fixture
def memory() -> Memory:
    return Memory()


def test_a_4k_page_is_found_with_its_address_and_rights(memory: Memory) -> None:
    memory.map(0x400000, 0x5000, P | U)
    (m,) = Walker(memory.read).space(ROOT).mappings
    assert (m.va, m.pa, m.size) == (0x400000, 0x5000, 0x1000)
    assert m.user and m.exec_user and not m.writable and not m.global_


def test_2m_and_1g_pages_are_leaves_of_their_size(memory: Memory) -> None:
    memory.map(DIRECT, 0, P | W | G | NX, leaf=3)
    memory.map(TEXT, 0x200000, P | G, leaf=2)
    big, text = Walker(memory.read).space(ROOT).mappings
    assert (big.va, big.size, big.global_, big.executable) == (DIRECT, 1 << 30, True, False)
    assert (text.va, text.pa, text.size, text.exec_kernel) == (TEXT, 0x200000, 2 << 20, True)


def test_the_pat_bit_of_a_large_page_is_no_part_of_its_address(memory: Memory) -> None:
    memory.map(TEXT, 0x200000 | 0x1000, P, leaf=2)
    space = Walker(memory.read).space(ROOT)
    assert space.mappings[0].pa == 0x200000 and not space.problems


def test_rights_are_the_and_over_all_levels_and_nx_the_or(memory: Memory) -> None:
    memory.map(0x400000, 0x5000, P | W | U, upper=P | W)          # upper levels are kernel only
    memory.map(0x8000400000, 0x6000, P | W | U, upper=P | U)      # ... read-only
    memory.map(0x10000400000, 0x7000, P | W | U, upper=P | W | U | NX)
    kernel, readonly, nx = Walker(memory.read).space(ROOT).mappings
    assert not kernel.user and kernel.writable and kernel.exec_kernel and not kernel.exec_user
    assert readonly.user and not readonly.writable
    assert nx.user and nx.writable and not nx.executable


def test_bit_63_means_nothing_while_nxe_is_off(memory: Memory) -> None:
    memory.map(0x400000, 0x5000, P | W | U | NX)
    assert not writable_and_executable([Walker(memory.read).space(ROOT)])
    assert writable_and_executable([Walker(memory.read, Modes(nxe=False)).space(ROOT)])


def test_the_high_half_has_canonical_addresses(memory: Memory) -> None:
    memory.map(TEXT, 0x5000, P)
    assert Walker(memory.read).space(ROOT).mappings[0].va == TEXT
    assert canonical(0x0000800000000000) == 0xFFFF800000000000
    assert canonical(0x00007FFFFFFFF000) == 0x00007FFFFFFFF000


def test_five_levels_are_walked_with_la57(memory: Memory) -> None:
    memory.map(0x400000, 0x5000, P | U)
    top = memory.new()
    memory.put(top, ROOT | P | W | U)
    memory.put(top + 8 * 511, ROOT | P | W | U)
    low, high = Walker(memory.read, Modes(la57=True)).space(top).mappings
    assert low.va == 0x400000 and high.va == 0xFFFF000000400000


def test_table_pages_are_listed_with_their_levels(memory: Memory) -> None:
    memory.map(0x400000, 0x5000, P | U)
    space = Walker(memory.read).space(ROOT)
    assert sorted(space.tables.values()) == [1, 2, 3, 4] and space.tables[ROOT] == 4
    assert table_pages([space]) == space.tables


def test_equal_neighbours_merge_and_others_do_not(memory: Memory) -> None:
    for i in range(4):
        memory.map(0x400000 + 0x1000 * i, 0x5000 + 0x1000 * i, P | U)
    memory.map(0x404000, 0x9000, P | W | U | NX)
    memory.map(0x405000, 0x20000, P | W | U | NX)
    memory.map(0x407000, 0x21000, P | W | U | NX)
    text, data, later = Walker(memory.read).space(ROOT).ranges()
    assert (text.va, text.end, text.perms, text.linear, text.pages) == (0x400000, 0x404000, "r-xu-", True, 4)
    assert (data.va, data.end, data.perms, data.linear) == (0x404000, 0x406000, "rw-u-", False)
    assert later.va == 0x407000


def test_covers_finds_the_page_of_an_address_and_nothing_in_a_hole(memory: Memory) -> None:
    memory.map(0x400000, 0x5000, P | U)
    memory.map(TEXT, 0x200000, P, leaf=2)
    space = Walker(memory.read).space(ROOT)
    assert space.covers(0x400FFF) is space.mappings[0]
    assert space.translate(TEXT + 0x12345) == 0x212345
    for hole in (0, 0x3FFFFF, 0x401000, TEXT - 1, TEXT + (2 << 20)):
        assert space.covers(hole) is None


def test_translate_agrees_with_the_whole_walk(memory: Memory) -> None:
    memory.map(0x400000, 0x5000, P | U)
    memory.map(TEXT, 0x200000, P | G, leaf=2, upper=P | W)
    memory.map(DIRECT, 0, P | W | NX, leaf=3)
    walker = Walker(memory.read)
    for m in walker.space(ROOT).mappings:
        assert walker.translate(ROOT, m.va + m.size // 2) == m
    assert walker.translate(ROOT, 0x1000) is None
    assert walker.translate(ROOT, 0x0000900000000000) is None


def test_a_page_that_is_writable_and_executable_is_found_in_every_space_that_has_it(memory: Memory) -> None:
    memory.map(TEXT, 0x5000, P | W)
    other = memory.new()
    memory.put(other + 8 * 511, memory.get(ROOT + 8 * 511))
    walker = Walker(memory.read)
    a, b = walker.space(ROOT, "a"), walker.space(other, "b")
    (finding,) = writable_and_executable([a, b])
    assert finding.mapping.va == TEXT and finding.spaces == (a, b)
    assert "a (root" in str(finding) and "b (root" in str(finding)


def test_shared_halves_are_walked_once(memory: Memory) -> None:
    for i in range(64):
        memory.map(DIRECT + (i << 12), i << 12, P | W | NX)
    walker = Walker(memory.read)
    walker.space(ROOT)
    before = memory.reads
    other = memory.new()
    memory.put(other + 8 * 273, memory.get(ROOT + 8 * 273))
    assert len(walker.space(other).mappings) == 64
    assert memory.reads == before + 1


def test_a_writable_alias_of_text_is_found_through_a_large_page(memory: Memory) -> None:
    memory.map(TEXT, 0x201000, P)
    memory.map(DIRECT, 0x200000, P | W | NX, leaf=2)
    space = Walker(memory.read).space(ROOT)
    frames = physical_ranges(space, TEXT, TEXT + 0x1000)
    assert frames == [(0x201000, 0x202000)]
    assert {f.mapping.va for f in aliases_of([space], frames)} == {TEXT, DIRECT}
    assert [f.mapping.va for f in writable_aliases_of([space], frames)] == [DIRECT]
    assert not aliases_of([space], [(0x400000, 0x401000)])


def test_user_accessible_kernel_pages_and_a_mapped_page_zero_are_found(memory: Memory) -> None:
    memory.map(0, 0x7000, P)
    memory.map(TEXT, 0x5000, P | U)
    spaces = [Walker(memory.read).space(ROOT)]
    assert [f.mapping.va for f in user_accessible(spaces, 1 << 63)] == [TEXT]
    assert [f.mapping.va for f in mapped_between(spaces, 0, 0x10000)] == [0]


def test_a_table_outside_ram_and_reserved_bits_are_named_and_do_not_stop_the_walk(memory: Memory) -> None:
    memory.put(ROOT, 0x40000000 | P | W | U)
    memory.put(ROOT + 8, 0x5000 | P | PS)
    memory.map(TEXT, 0x5000, P)
    space = Walker(memory.read).space(ROOT)
    assert [m.va for m in space.mappings] == [TEXT]
    assert len(space.problems) == 2 and "not in RAM" in space.problems[0] and "reserved" in space.problems[1]


def test_tables_that_point_at_themselves_end_as_a_flood_and_not_as_a_hang(
        memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grade.walk_x86_64.MAX_LEAVES", 100_000)
    for i in range(512):
        memory.put(ROOT + 8 * i, ROOT | P | W | U)
    with pytest.raises(WalkFlood):
        Walker(memory.read).space(ROOT)


def test_an_explanation_names_each_level_and_the_verdict(memory: Memory) -> None:
    memory.map(0x400000, 0x5000, P | W | U)
    lines = Walker(memory.read, Modes(smep=False)).explain(ROOT, 0x400123)
    text = "\n".join(lines)
    for word in ("PML4[0]", "PDPT[0]", "PD[2]", "PT[0]", "0x5123", "WRITABLE AND EXECUTABLE", "SMEP is off"):
        assert word in text
    assert "not mapped" in Walker(memory.read).explain(ROOT, 0x7000)[-1]
    assert "not canonical" in Walker(memory.read).explain(ROOT, 0x0000900000000000)[-1]
