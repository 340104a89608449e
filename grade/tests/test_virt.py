"""QEMU's virt board: processors that lack some features, either interrupt controller, either exception level to
begin at; and device trees that are damaged, in the memory of the machine, before the kernel's first instruction."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

import pytest

from grade.image import Image
from grade.plugin import Boot
from grade.qemu import ARCHES, Machine
from grade.spaces import Kernel
from grade.tests.test_harden import PROMPT, told
from grade.tests.test_userland import LONG, assert_regressions_pass, said
from grade.walk import aliases_of
from grade.walk_aarch64 import PSTATE_PAN

pytestmark = [pytest.mark.guest, pytest.mark.arch("aarch64")]

# The rows that each model has no hardware for.
NOWHERE = {"stibp", "ibpb"}
MODELS = {"max,pauth-impdef=on": NOWHERE, "neoverse-n1": NOWHERE, "cortex-a72": NOWHERE | {"smap", "ibrs"}}
EL1, EL2 = 5, 9     # PSTATE.M, each with a stack pointer of its own
PSTATE_M = 15


# ---- processors, interrupt controllers, exception levels --------------------------------------------------


@pytest.mark.parametrize("level", [EL1, EL2], ids=["el1", "el2"])
@pytest.mark.parametrize("gic", [2, 3])
@pytest.mark.parametrize("cpu", MODELS)
def test_every_model_boots_with_all_mitigations_that_it_has(boot: Boot, image: Image, cpu: str, gic: int,
                                                            level: int) -> None:
    machine = f"gic-version={gic},virtualization={'on' if level == EL2 else 'off'}"
    m = boot(cpu=cpu, smp=8, paused=True, extra=["-machine", machine])
    assert m.gdb.reg(0, "cpsr") & PSTATE_M == level
    m.cont()
    m.wait_for(PROMPT, 60)
    states = told(m)
    assert {row for row, state in states.items() if state == "absent"} == MODELS[cpu]
    assert {row for row, state in states.items() if state != "on"} == MODELS[cpu]
    # Every CPU was asked for these, by an interrupt.
    assert re.search(r"^umip +on .* 0xff of 0xff", m.transcript, re.MULTILINE)
    m.stop()
    kernel = Kernel(m, image.at(m))
    firmware = kernel.image.sym("firmware_info")
    assert kernel.member(firmware, "struct firmware_info", "gic_version") == gic
    assert kernel.member(firmware, "struct firmware_info", "psci_smc") == (level == EL2)
    for number in m.gdb.cpus():
        state = m.gdb.reg(number, "cpsr")
        assert state & PSTATE_M in (0, EL1), f"CPU {number}: {state:#x}"
        if state & PSTATE_M == EL1:
            assert bool(state & PSTATE_PAN) == ("smap" not in MODELS[cpu]), f"CPU {number}: {state:#x}"


@pytest.mark.soak
@pytest.mark.timeout(LONG + 60)
@pytest.mark.parametrize("cpu", MODELS)
def test_every_regression_program_passes_on_every_model(boot: Boot, cpu: str) -> None:
    assert_regressions_pass(said(boot(run="/test/all.sh", cpu=cpu, smp=4, mem=256), LONG))


@pytest.mark.parametrize("hertz", [1_000_000_000, 62_500_000])
def test_who_sleeps_for_ever_leaves_the_processor_to_others(boot: Boot, hertz: int) -> None:
    """The counter's frequency is the board's to choose (Armv8.6: 1 GHz): its 64 bits end no later than the kernel's."""
    m = boot(cpu=f"max,pauth-impdef=on,cntfrq={hertz}", smp=1)
    m.wait_for(PROMPT, 60)
    # Longer than 2^64 ns: the last moment that there is.  Nobody else waits for the clock meanwhile.
    m.ask("sleep 99999999999 &", 20)
    assert m.ask("echo awake", 20).split() == ["awake"]


@pytest.mark.parametrize("at", ["vm_init", "process_start_init"])
def test_a_fault_of_start_up_is_reported_as_what_it_is(boot: Boot, image: Image, at: str) -> None:
    """The boot stack, too, must lie where the vectors look for stacks: else all is taken for an overflow."""
    m = boot(smp=1, paused=True)
    m.run_until(image.at(m).sym(at), timeout=20)
    m.gdb.set_reg(0, "pc", 8)
    m.cont()
    m.wait_for(r"^panic: .*\r?$", 20)
    assert "null-guard: the kernel used address 0000000000000008" in m.transcript


def test_a_processor_that_answers_too_late_finds_no_tables_of_anybodys(boot: Boot, image: Image) -> None:
    """The root that it walks when it turns translation on is nobody else's, and leads nowhere."""
    m = boot(smp=2)
    m.wait_for(PROMPT, 60)
    m.stop()
    kernel = Kernel(m, image.at(m))
    at = kernel.image.sym("a64_bringup")
    root = kernel.member(at, "struct a64_bringup", "low_root")
    assert root not in {space.root for space in kernel.spaces()}
    assert m.read_phys(root, 4096) == bytes(4096)


# ---- device trees -----------------------------------------------------------------------------------------

# Devicetree Specification 0.4, 5.2: offsets in the header; 5.4: tokens.
MAGIC, TOTAL, STRUCT, STRINGS, RESERVED, VERSION, OLDEST, STRINGS_SIZE, STRUCT_SIZE = 0, 4, 8, 12, 16, 20, 24, 32, 36
BEGIN_NODE, END_NODE, PROP, NOP = 1, 2, 3, 4


class Tree:
    """The device tree in the memory of a machine that stands before the kernel's first instruction."""

    def __init__(self, m: Machine) -> None:
        image = ARCHES["aarch64"].ram_base + (2 << 20)
        while m.gdb.pc(0) < image:      # QEMU's own few instructions, below it
            m.gdb.step(0)
        self.machine, self.base = m, m.gdb.reg(0, "x0")
        assert self.get(MAGIC) == 0xD00DFEED

    def get(self, at: int) -> int:
        """The 32 bits at an offset."""
        (value,) = struct.unpack(">I", self.machine.read_phys(self.base + at, 4))
        return int(value)

    def put(self, at: int, value: int) -> None:
        """Changes them."""
        self.machine.gdb.write_phys(self.base + at, struct.pack(">I", value))

    def text(self) -> bytes:
        """All of it."""
        return self.machine.read_phys(self.base, self.get(TOTAL))

    def insert(self, at: int, data: bytes) -> None:
        """More of the structure; what follows moves."""
        text = self.text()
        self.machine.gdb.write_phys(self.base, text[:at] + data + text[at:])
        for moved in (STRINGS, RESERVED):
            if self.get(moved) >= at:
                self.put(moved, self.get(moved) + len(data))
        self.put(STRUCT_SIZE, self.get(STRUCT_SIZE) + len(data))
        self.put(TOTAL, self.get(TOTAL) + len(data))

    def first(self, kind: int, name: bytes = b"", at: int = 0) -> int:
        """The offset of the first token of its kind; of the first property of that name. Looks from `at` on."""
        at = at or self.get(STRUCT)
        while (found := self.get(at)) != kind or (name and self.name_at(at) != name):
            at += 4
            if found == BEGIN_NODE:
                while self.get(at) & 0xFF:      # a name, with its end, fills words
                    at += 4
                at += 4
            elif found == PROP:
                at += 8 + (self.get(at) + 3 & ~3)
        return at

    def name_at(self, at: int) -> bytes:
        """A property's name."""
        text = self.machine.read_phys(self.base + self.get(STRINGS) + self.get(at + 8), 32)
        return text.partition(b"\0")[0]


Damage = Callable[[Tree], None]


def field(at: int, change: Callable[[Tree], int]) -> Damage:
    """Another value in the header."""
    return lambda tree: tree.put(at, change(tree))


def token(kind: int, value: int, skip: int = 0) -> Damage:
    """Another value in the structure, `skip` bytes behind the first token of its kind."""
    return lambda tree: tree.put(tree.first(kind) + skip, value)


DAMAGES: dict[str, Damage] = {
    "it has no magic number": field(MAGIC, lambda t: 0),
    "it is longer than may be": field(TOTAL, lambda t: 0xFFFF_FFFF),
    "it is shorter than its header": field(TOTAL, lambda t: 39),
    "it is of an older version": field(VERSION, lambda t: 16),
    "it is for newer readers": field(OLDEST, lambda t: 18),
    "its structure begins outside": field(STRUCT, lambda t: t.get(TOTAL) + 4),
    "its structure ends outside": field(STRUCT_SIZE, lambda t: 0xFFFF_FFF0),
    "its structure is empty": field(STRUCT_SIZE, lambda t: 0),
    "its structure has no end": field(STRUCT_SIZE, lambda t: t.get(STRUCT_SIZE) - 4),
    "its structure ends in a name": field(STRUCT_SIZE, lambda t: 5),
    "its names begin outside": field(STRINGS, lambda t: 0xFFFF_FFFF),
    "its names end outside": field(STRINGS_SIZE, lambda t: t.get(TOTAL)),
    "its names have no end": field(STRINGS_SIZE, lambda t: 3),
    "its reservations begin outside": field(RESERVED, lambda t: t.get(TOTAL) + 8),
    "a property ends outside": token(PROP, 0x1000_0000, 4),
    "a property's padding wraps": token(PROP, 0xFFFF_FFFF, 4),
    "a property's name lies outside": token(PROP, 0x1000_0000, 8),
    "a node has no end": token(END_NODE, NOP),
    "an end has no node": token(BEGIN_NODE, END_NODE),
    "a property has no node": token(BEGIN_NODE, PROP),
    "a token is none": token(PROP, 77),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_device_tree_is_refused(boot: Boot, damage: str) -> None:
    m = boot(paused=True)
    DAMAGES[damage](Tree(m))
    m.cont()
    m.wait_for(r"^panic: boot: the device tree is damaged\r?$", 20)


def test_a_device_tree_with_addresses_of_three_cells_names_no_memory(boot: Boot) -> None:
    m = boot(paused=True)
    tree = Tree(m)
    tree.put(tree.first(PROP, b"#address-cells") + 12, 3)
    m.cont()
    m.wait_for(r"^panic: boot: the device tree names no memory\r?$", 20)


def test_memory_in_banks_that_touch_is_one_memory(boot: Boot, image: Image) -> None:
    """What the loader puts across the border is found, and blocks of the page tables' may lie across, too."""
    m = boot(mem=256, paused=True)
    tree = Tree(m)
    reg = tree.first(PROP, b"reg", tree.text().index(b"memory@") + 16)
    base, size = struct.unpack(">2Q", tree.text()[reg + 12:reg + 28])
    first = (128 << 20) + 4096      # the initramfs lies from 128 MiB on
    tree.put(reg + 4, 32)
    tree.insert(reg + 28, struct.pack(">2Q", base + first, size - first))
    tree.put(reg + 24, first)
    m.cont()
    m.wait_for(PROMPT, 60)
    m.stop()
    kernel = Kernel(m, image.at(m))
    assert kernel.member(kernel.image.sym("boot_info"), "struct boot_info", "nram") == 1


def test_memory_that_the_firmware_reserves_is_left_alone(boot: Boot, image: Image) -> None:
    m = boot(mem=256, paused=True)
    tree = Tree(m)
    start, size = ARCHES["aarch64"].ram_base + (200 << 20), 4 << 20
    strings = tree.text()[tree.get(STRINGS):]

    def prop(name: bytes, *cells: int) -> bytes:
        at = strings.index(b"\0" + name + b"\0") + 1
        return struct.pack(f">{3 + len(cells)}I", PROP, 4 * len(cells), at, *cells)

    node = struct.pack(">I16s", BEGIN_NODE, b"reserved-memory")
    node += prop(b"#address-cells", 2) + prop(b"#size-cells", 2)
    node += struct.pack(">I16s", BEGIN_NODE, b"kept@4c800000") + prop(b"reg", 0, start, 0, size)
    node += struct.pack(">2I", END_NODE, END_NODE)
    tree.insert(tree.get(STRUCT) + tree.get(STRUCT_SIZE) - 8, node)     # the root's end, and the tree's
    m.cont()
    m.wait_for(PROMPT, 60)
    m.stop()
    kernel = Kernel(m, image.at(m))
    assert not aliases_of(kernel.spaces(), [(start, start + size)])


def test_a_device_tree_of_no_cells_names_no_memory(boot: Boot) -> None:
    """Addresses and sizes that take nothing of a list would never come to its end."""
    m = boot(paused=True)
    tree = Tree(m)
    for name in (b"#address-cells", b"#size-cells"):
        tree.put(tree.first(PROP, name) + 12, 0)
    m.cont()
    m.wait_for(r"^panic: boot: the device tree names no memory\r?$", 20)


def test_a_device_tree_right_behind_the_image_is_read(boot: Boot, image: Image) -> None:
    """Where the first tables map the image by pages, which end with it."""
    m = boot(paused=True)
    tree = Tree(m)
    linked = image.linked()
    behind = linked.phys(linked.sym("__data_end") - 1) + 1
    m.gdb.write_phys(behind, tree.text())
    m.gdb.set_reg(0, "x0", behind)
    m.cont()
    m.wait_for(PROMPT, 60)


def test_a_device_tree_with_gaps_is_read(boot: Boot) -> None:
    """Else the kernel would refuse whatever it is given: the first property becomes gaps."""
    m = boot(paused=True)
    tree = Tree(m)
    at = tree.first(PROP)
    for gap in range(at, at + 12 + (tree.get(at + 4) + 3 & ~3), 4):
        tree.put(gap, NOP)
    m.cont()
    m.wait_for(PROMPT, 60)
