"""What only Bochs's processors enforce, and the same kernel on a second emulator. `make test-bochs` runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from grade.bochs import Bochs
from grade.disasm import functions
from grade.image import Image
from grade.iso import make
from grade.plugin import Build
from grade.walk_x86_64 import CR0_WP, CR4_SMAP, CR4_SMEP, CR4_UMIP, EFER_NXE

pytestmark = [pytest.mark.bochs, pytest.mark.arch("x86_64"), pytest.mark.timeout(1800)]

SPEC_CTRL_IBRS, SPEC_CTRL_STIBP = 1, 2   # SDM 4 2.1
CR4_PCIDE = 1 << 17
PCID_KERNEL, PCID_USER = 1, 0x801       # arch/x86_64/asid.c

Start = Callable[..., Bochs]


@pytest.fixture
def start(build: Build, tmp_path: Path) -> Iterator[Start]:
    """A factory: start("words", smp=2) is a guest before its first instruction. Without kaslr: then
    breakpoints can be set before the kernel has chosen."""
    with ExitStack() as stack:

        def begin(words: str, smp: int = 2, off: str = "-kaslr") -> Bochs:
            iso = tmp_path / "rampart.iso"
            make(build.kernel, build.initrd, f"console=ttyS0 panic=-1 harden={off} -- {words}", iso)
            return stack.enter_context(Bochs(iso, smp))

        yield begin


def test_it_boots_from_an_iso_runs_programs_on_two_cpus_and_switches_off(start: Start) -> None:
    said = start("/bin/test-threads", off="all").run_to_end()
    assert "\n2 CPUs, " in said and "exited with 0" in said, said


def test_every_cpu_has_the_bits_of_the_defences(start: Start, image: Image) -> None:
    b = start("/bin/busybox true")
    b.break_at(image.linked().sym("syscall_dispatch"))
    b.cont()
    for cpu in range(b.smp):
        cr0, cr4, efer = (b.param(cpu, name) for name in ("CR0", "CR4", "MSR.EFER"))
        assert cr0 & CR0_WP and efer & EFER_NXE, f"CPU {cpu}: CR0 {cr0:#x}, EFER {efer:#x}"
        assert cr4 & (wanted := CR4_SMEP | CR4_SMAP | CR4_UMIP) == wanted, f"CPU {cpu}: CR4 {cr4:#x}"


def test_branch_prediction_is_restricted_on_every_cpu(start: Start, image: Image) -> None:
    b = start("/bin/busybox true")
    b.break_at(image.linked().sym("syscall_dispatch"))
    b.cont()
    for cpu in range(b.smp):
        spec_ctrl = b.param(cpu, "MSR.ia32_spec_ctrl")
        assert spec_ctrl == SPEC_CTRL_IBRS | SPEC_CTRL_STIBP, f"CPU {cpu}: SPEC_CTRL {spec_ctrl:#x}"


@pytest.mark.parametrize(("off", "expected"), [("-ibrs", SPEC_CTRL_STIBP), ("-stibp", SPEC_CTRL_IBRS)])
def test_each_restriction_has_its_switch(start: Start, image: Image, off: str, expected: int) -> None:
    b = start("/bin/busybox true", smp=1, off=f"-kaslr,{off}")
    b.break_at(image.linked().sym("syscall_dispatch"))
    b.cont()
    assert b.param(0, "MSR.ia32_spec_ctrl") == expected


def test_translations_are_numbered_on_every_cpu_otherwise_for_user_mode_than_for_the_kernel(
        start: Start, build: Build, image: Image) -> None:
    b = start("/bin/test-turns 0 0 40")
    program = Image(build.initrd.parent / "user" / "test-turns")
    try:
        b.break_at(image.linked().sym("syscall_dispatch"))
        cpu = b.cont()
        assert b.param(cpu, "CR3") & 0xFFF == PCID_KERNEL
        for n in range(b.smp):
            assert b.param(n, "CR4") & CR4_PCIDE, f"CPU {n}: CR4 {b.param(n, 'CR4'):#x}"
        b.command("d 1")
        b.break_at(program.sym("turns_turn"))
        cpu = b.cont()
        assert b.param(cpu, "CS.selector") & 3 == 3 and b.param(cpu, "CR3") & 0xFFF == PCID_USER
    finally:
        program.close()


@pytest.mark.parametrize(("off", "state"), [("all", "on"), ("-kpti", "on")])
def test_an_old_translation_is_never_used_under_a_number_that_comes_again(start: Start, off: str, state: str) -> None:
    said = start("/bin/busybox cat /proc/harden", off=off).run_to_end()
    assert f"\nasid           {state} " in said, said


TURNS = 20


def passes(b: Bochs, place: int, program: Image) -> int:
    """How often a CPU came to a place of the kernel in TURNS turns of two programs that have both begun."""
    turn = program.sym("turns_turn")
    b.break_at(turn)
    for _ in range(4):
        b.cont()
    b.break_at(place)
    seen = [0, 0]
    while seen[0] < TURNS:
        b.cont()
        seen[b.param(0, "RIP") == place] += 1
    return seen[1]


def barriers(b: Bochs, image: Image, program: Image) -> int:
    """How often the barrier was made."""
    return passes(b, image.linked().sym("arch_predictor_barrier"), program)


def test_what_the_program_before_left_under_the_one_number_is_forgotten_at_each_turn(start: Start, build: Build) -> None:
    """Bochs would forget it in any case: so it is looked whether the instruction runs."""
    b = start("/bin/test-turns 0 0 40", smp=1)
    switch = next(f for f in functions(build.symbols) if f.name == "x86_pcid_activate")
    forget = next(i for i in switch.code if i.name == "invpcid")
    program = Image(build.initrd.parent / "user" / "test-turns")
    try:
        assert passes(b, forget.address, program) >= TURNS
    finally:
        program.close()


@pytest.mark.parametrize(("users", "expected"), [("1000 1000", 0), ("1000 1001", TURNS), ("0 1000", TURNS)])
def test_a_barrier_stands_between_programs_of_different_users_alone(start: Start, build: Build, image: Image,
                                                                   users: str, expected: int) -> None:
    b = start(f"/bin/test-turns {users} 40", smp=1)
    program = Image(build.initrd.parent / "user" / "test-turns")
    try:
        assert barriers(b, image, program) == expected
    finally:
        program.close()


def test_without_its_row_no_barrier_is_made(start: Start, build: Build, image: Image) -> None:
    b = start("/bin/test-turns 1000 1001 40", smp=1, off="-kaslr,-ibpb")
    program = Image(build.initrd.parent / "user" / "test-turns")
    try:
        assert barriers(b, image, program) == 0
    finally:
        program.close()
