"""Vector registers belong to one process, from outside: those of every CPU in user mode, at moments that the seed
draws, while processes with patterns of their own make system calls, fork, exec, take signals and move."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from grade.attacks import current_name, harden_off
from grade.image import Image
from grade.moments import Event, draw, visit
from grade.plugin import Boot, Build
from grade.qemu import PROMPT, Machine
from grade.spaces import Kernel
from grade.tests.test_harden import told
from grade.vectors import SIZE, vectors, words

ROOT = Path(__file__).resolve().parent.parent.parent
TAG = 0xF1          # the top byte of every word of a pattern: user/test/hold.c
MOMENTS, SOAK_SEEDS = 40, 6
PROGRAMS = 8        # how many of the programs that begin are looked at

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def hold(arch: str, build: Build) -> Iterator[Image]:
    """The workload's symbols."""
    opened = Image(ROOT / "build" / arch / "user" / "test-hold")
    yield opened
    opened.close()


# What exec must leave: SDM 1 13.6, and the ABI's initial MXCSR and control word; all zero on aarch64.
CONTROLS = {"x86_64": {"mxcsr": 0x1F80, "fctrl": 0x37F}, "aarch64": {"fpcr": 0, "fpsr": 0}}


def cpu_problems(m: Machine, kernel: Kernel, hold: Image, cpu: int) -> list[str] | None:
    """What is wrong with the vector registers of one CPU; None: it runs no program."""
    if not kernel.cpu.in_user_mode(m, cpu):
        return None
    data, pc, name = vectors(m, cpu), m.gdb.pc(cpu), current_name(kernel, cpu)
    if name != "test-hold":
        return [f"CPU {cpu}: {name} has {w:#x} of a pattern" for w in words(data) if w >> 56 == TAG]
    mine = m.gdb.read(hold.sym("hold_pattern"), SIZE, cpu)
    spin = hold.sym("hold_spin")
    if spin <= pc < spin + hold.size("hold_spin"):
        return [f"CPU {cpu}: word {i} is {a:#x}, not {b:#x}" for i, (a, b) in enumerate(zip(words(data), words(mine)))
                if a != b]
    return [f"CPU {cpu}: {w:#x} is another's" for w in words(data) if w >> 56 == TAG and w not in words(mine)]


def look(boot: Boot, image: Image, hold: Image, seed: int, smp: int) -> tuple[list[str], int]:
    """What was wrong at any moment, and how many CPUs were seen in a program."""
    m = boot(run="/bin/test-hold 400", smp=smp, paused=True, icount=True, seed=seed & 0xFFFFFFFF, keep=True)
    image = image.at(m)
    m.run_until(hold.sym("hold_spin"), timeout=60)
    events = [Event("a while in user mode", hold.sym("hold_spin"), 300), Event("fork", image.sym("vm_fork"), 8),
              Event("a timer's signal", image.sym("arch_signal_frame"), 2), Event("switch", image.sym("schedule"), 150)]
    wrong, seen = [], 0
    for moment, _ in visit(m, draw(seed, f"fpu-{smp}", events, MOMENTS), 120):
        kernel = Kernel(m, image)
        for cpu in m.gdb.cpus():
            found = cpu_problems(m, kernel, hold, cpu)
            seen += found is not None
            wrong += [f"{moment}: {w}" for w in found or []]
    return wrong, seen


@pytest.mark.parametrize("smp", [1, 4])
def test_a_program_has_its_own_vector_registers_and_nobody_elses(boot: Boot, image: Image, hold: Image, seed: int,
                                                                 smp: int) -> None:
    wrong, seen = look(boot, image, hold, seed, smp)
    assert not wrong, "\n".join(wrong[:20])
    assert seen >= MOMENTS // 4, f"only {seen} CPUs were in a program at {MOMENTS} moments"


@pytest.mark.soak
@pytest.mark.parametrize("step", range(SOAK_SEEDS))
def test_vector_registers_are_ones_own_at_many_more_moments(boot: Boot, image: Image, hold: Image, seed: int,
                                                            step: int) -> None:
    wrong, _ = look(boot, image, hold, 1000 * seed + step, 1 + step % 4)
    assert not wrong, "\n".join(wrong[:20])


@pytest.mark.parametrize("smp", [1, 2])
def test_a_program_begins_with_clean_vector_registers(boot: Boot, image: Image, hold: Image, smp: int) -> None:
    """At the first instruction of programs that were started by processes with a pattern in every register."""
    m = boot(run="/bin/test-hold 400", smp=smp, paused=True, icount=True, keep=True)
    image = image.at(m)
    m.run_until(image.sym("process_start_init"), timeout=60)
    m.gdb.set_break(hold.sym("_start"))
    looked = 0
    while looked < PROGRAMS:
        m.cont()
        stop = m.wait_stop(60)
        assert stop.breakpoint, f"only {looked} programs began"
        if current_name(Kernel(m, image), stop.cpu) != "test-hold":
            continue
        looked += 1
        assert not any(vectors(m, stop.cpu)), f"program {looked} begins with something in its registers"
        controls = CONTROLS[m.arch.name]
        assert m.gdb.regs(stop.cpu, controls) == controls, f"program {looked}"


def test_forked_programs_hold_what_their_parents_held(boot: Boot) -> None:
    """The workload itself ends with 0 if no pattern was lost."""
    m = boot(smp=4)
    m.wait_for(PROMPT, 30)
    m.send("test-hold 40; echo held=$?\n")
    assert m.wait_for(r"^held=(\d+)\r?\n", 120)[1] == "0"


@pytest.mark.parametrize("off", ["", "fpu"])
def test_proc_harden_tells_whether_registers_come_back(boot: Boot, off: str) -> None:
    m = boot(append=harden_off([off] if off else []))
    m.wait_for(PROMPT, 30)
    assert told(m)["fpu"] == ("off" if off else "on")
