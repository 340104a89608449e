"""Where each system call begins on its kernel stack is drawn anew, from outside: stack pointers at a function that the
dispatcher calls."""

from __future__ import annotations

import pytest

from grade.attacks import current_name, harden_off
from grade.depths import POINTER, unfair
from grade.image import Image
from grade.plugin import Boot
from grade.qemu import PROMPT, Machine
from grade.spaces import Kernel
from grade.tests.test_harden import told

KSTACK_SIZE = 32768
STEP, PLACES = 16, 32
CALLS = 320
CHILDREN = 48

pytestmark = pytest.mark.guest


def depths(m: Machine, image: Image, function: str, program: str, count: int) -> list[tuple[int, int, int]]:
    """Which thread, on which CPU, and how deep its stack was, each time that a program's system call is entered."""
    out: list[tuple[int, int, int]] = []
    m.gdb.set_break(image.sym(function))
    while len(out) < count:
        m.cont()
        stop = m.wait_stop(60)
        assert stop.breakpoint, f"only {len(out)} calls"
        kernel = Kernel(m, image)
        if current_name(kernel, stop.cpu) != program:
            continue
        thread = kernel.current(stop.cpu)
        top = kernel.member(thread, "struct thread", "kstack") + KSTACK_SIZE
        out.append((thread, stop.cpu, top - m.gdb.reg(stop.cpu, POINTER[m.arch.name])))
    m.gdb.clear_break(image.sym(function))
    return out


def problems(draws: list[int]) -> list[str]:
    """What is wrong with depths in the order in which they came."""
    found = set(draws)
    odd = len(found) > PLACES or any((d - min(found)) % STEP for d in found)
    return ([f"{len(found)} places, not {PLACES} of {STEP} bytes"] if odd else []) + unfair(draws)


@pytest.mark.parametrize("smp", [1, 2])
def test_system_calls_begin_at_places_that_nothing_tells_from_one_another(boot: Boot, image: Image, smp: int) -> None:
    m = boot(run="/bin/bench null", smp=smp, paused=True, icount=True, keep=True)
    image = image.at(m)
    m.run_until(image.sym("process_start_init"), timeout=60)
    wrong = problems([depth for _, _, depth in depths(m, image, "sys_getppid", "bench", CALLS)])
    assert not wrong, "\n".join(wrong)


def test_forked_processes_do_not_follow_one_another(boot: Boot, image: Image) -> None:
    """One system call of each of many short-lived processes."""
    m = boot(run="/bin/bench fork+exit", smp=1, paused=True, icount=True, keep=True)
    image = image.at(m)
    m.run_until(image.sym("process_start_init"), timeout=60)
    found = [depth for _, _, depth in depths(m, image, "sys_exit_group", "bench", CHILDREN)]
    # Fewer than 14 of 32 places are seen by 48 fair draws less than once in 10^9.
    assert len(set(found)) >= 14, found


@pytest.mark.parametrize("off", ["", "kstack-offset"])
def test_proc_harden_tells_of_the_places_that_are_seen_from_outside(boot: Boot, image: Image, off: str) -> None:
    m = boot(append=harden_off([off] if off else []))
    m.wait_for(PROMPT, 30)
    says = told(m)["kstack-offset"]
    m.stop()
    m.cont()
    m.send("bench null\n")
    m.stop()
    found = [depth for _, _, depth in depths(m, image.at(m), "sys_getppid", "bench", CALLS)]
    assert bool(problems(found)) == bool(off) and (len(set(found)) == 1) == bool(off)
    assert says == ("off" if off else "on")
