"""No two address spaces have a translation's number in common, though numbers run out again and again."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from grade.attacks import harden_off
from grade.image import Image
from grade.moments import Event, draw, qemu_seed, visit
from grade.plugin import Boot, Build
from grade.qemu import PROMPT, Machine
from grade.spaces import Kernel
from grade.tests.test_harden import told

pytestmark = [pytest.mark.guest, pytest.mark.arch("aarch64")]    # x86_64 has no numbers, and says so

ROOT = Path(__file__).resolve().parent.parent.parent
GENERATION = 1 << 16        # arch_pt.asid: the generation from this bit on, and the number
FEW = 12                    # numbers that the kernel is left with: more than CPUs, fewer than processes
MOMENTS = 40
CHANGES = 20                # of generation, on all CPUs together
TLBI_VMALLE1 = bytes.fromhex("1f8708d5")


@pytest.fixture(scope="module")
def spaces(arch: str, build: Build) -> Iterator[Image]:
    """The symbols of a program that makes many address spaces."""
    opened = Image(ROOT / "build" / arch / "user" / "test-spaces")
    yield opened
    opened.close()


def leave_few_numbers(machine: Machine, image: Image) -> None:
    """Makes the numbers of a stopped machine run out soon: its kernel believes that there are no more."""
    machine.write_phys(image.phys(image.sym("asid_limit")), struct.pack("<Q", FEW))


def generation(kernel: Kernel) -> int:
    """The present one."""
    return kernel.u64(kernel.image.sym("generation")) // GENERATION


def number_problems(kernel: Kernel) -> list[str]:
    """Address spaces that share a number of the present generation, and CPUs that walk one under another's."""
    image, m, out = kernel.image, kernel.machine, []
    owners: dict[int, int] = {}     # number -> the address space that has it now
    for vm in kernel.list_of(image.sym("vm_all"), "struct vm", "all"):
        asid = kernel.u64(vm + image.offsetof("struct vm", "pt.asid"))
        if asid // GENERATION != generation(kernel):
            continue
        first = owners.setdefault(asid % GENERATION, vm)
        if first != vm:
            out.append(f"the address spaces at {first:#x} and {vm:#x} both have number {asid % GENERATION}")
    for cpu in m.gdb.cpus():
        # The first word of each: what the CPU runs under, 0 where a generation began since.
        active = kernel.u64(image.sym("asid_cpus") + 16 * cpu)
        if active and active // GENERATION != generation(kernel):
            out.append(f"CPU {cpu} took number {active % GENERATION} of an older generation")
    on_cpu: dict[int, int] = {}     # number -> the root that a CPU walks under it
    for cpu in m.gdb.cpus():
        if not kernel.cpu.in_user_mode(m, cpu):
            continue        # in the kernel a switch may be under way
        number = (m.gdb.reg(cpu, "TTBR1_EL1") >> 48) // 2
        root = kernel.cpu.root_of(m, cpu)
        if on_cpu.setdefault(number, root) != root:
            out.append(f"CPU {cpu} walks {root:#x} under number {number}, and another CPU {on_cpu[number]:#x}")
        vm = owners.get(number)
        if vm is not None and kernel.u64(vm + image.offsetof("struct vm", "pt.root.v")) != root:
            out.append(f"CPU {cpu} walks {root:#x} under number {number}, which is that of {vm:#x}")
    return out


@pytest.mark.parametrize("smp", [1, 4])
def test_no_two_address_spaces_have_a_number_in_common(boot: Boot, image: Image, spaces: Image, seed: int,
                                                       smp: int) -> None:
    m = boot(run="/bin/test-spaces 120", smp=smp, paused=True, icount=True, seed=qemu_seed(seed, f"asid-{smp}"),
             keep=True)
    placed = image.at(m)
    m.run_until(spaces.sym("main"), timeout=60)
    leave_few_numbers(m, placed)
    before = generation(Kernel(m, placed))
    events = [Event("switch", placed.sym("schedule"), 1000)]
    wrong = []
    for moment, _ in visit(m, draw(seed, f"asid-{smp}", events, MOMENTS), 120):
        wrong += [f"{moment}: {w}" for w in number_problems(Kernel(m, placed))]
    assert not wrong, "\n".join(wrong[:20])
    assert generation(Kernel(m, placed)) > before, "the numbers never ran out"


def flushes(image: Image) -> list[int]:
    """Where the kernel makes a CPU forget all that it remembers of address spaces."""
    text = image.section(".text")
    code = image.bytes_at(text.start, text.size)
    return [text.start + at for at in range(0, len(code), 4) if code[at:at + 4] == TLBI_VMALLE1]


def test_each_cpu_forgets_the_old_generation_before_it_uses_a_number_of_the_new(
        boot: Boot, image: Image, spaces: Image, seed: int) -> None:
    """What QEMU does not need, and hardware does."""
    m = boot(run="/bin/test-spaces 120", smp=2, paused=True, icount=True, seed=qemu_seed(seed, "asid-flush"), keep=True)
    placed = image.at(m)
    m.run_until(spaces.sym("main"), timeout=60)
    leave_few_numbers(m, placed)
    before = generation(Kernel(m, placed))
    switch, forgets = placed.sym("schedule"), flushes(placed)
    for address in (switch, *forgets):
        m.gdb.set_break(address)
    forgot: dict[int, int] = {}         # CPU -> the generation in which it did last
    used: set[tuple[int, int]] = set()  # (CPU, generation)
    while len(used) < CHANGES:
        m.cont()
        stop = m.wait_stop(60)
        assert stop.breakpoint, "the program ended too soon"
        kernel = Kernel(m, placed)
        if m.gdb.pc(stop.cpu) in forgets:
            forgot[stop.cpu] = generation(kernel)
            continue
        for cpu in m.gdb.cpus():
            now = kernel.u64(placed.sym("asid_cpus") + 16 * cpu) // GENERATION      # 0: none yet of the present one
            if now > before:
                assert forgot.get(cpu) == now, f"CPU {cpu} uses generation {now}, and forgot last in {forgot.get(cpu)}"
                used.add((cpu, now))
    assert {cpu for cpu, _ in used} == {0, 1}


@pytest.mark.parametrize("off", ["", "kpti"])
def test_processes_read_what_they_wrote_when_numbers_come_again(boot: Boot, image: Image, spaces: Image,
                                                                off: str) -> None:
    """Without kpti, too: under it QEMU's TLB is emptied at each entry of the kernel."""
    m = boot(append=harden_off([off] if off else []), smp=4)
    m.wait_for(PROMPT, 30)
    m.stop()
    placed = image.at(m)
    leave_few_numbers(m, placed)
    before = generation(Kernel(m, placed))
    m.cont()
    m.send("test-spaces 100; echo that was $?\n")
    m.wait_for(r"^that was \d+\r?$", 120)
    assert "\nthat was 0" in m.transcript.replace("\r", "")
    m.stop()
    assert generation(Kernel(m, placed)) > before + 40, "the numbers ran out too seldom"


@pytest.mark.parametrize("off", ["", "asid", "kpti"])
def test_proc_harden_tells_whether_numbers_that_come_again_are_clean(boot: Boot, image: Image, off: str) -> None:
    m = boot(append=harden_off([off] if off else []))
    m.wait_for(PROMPT, 30)
    for _ in range(3):
        assert told(m)["asid"] == ("off" if off == "asid" else "on")
    m.stop()
    limit = Kernel(m, image).u64(image.at(m).sym("asid_limit"))
    assert limit == (1 << 7 if off == "asid" else 1 << 15)
