"""Where each system call begins on its kernel stack is drawn anew, from outside: stack pointers at a function that the
dispatcher calls."""

from __future__ import annotations

from collections import Counter

import pytest

from grade.attacks import current_name, harden_off
from grade.image import Image
from grade.plugin import Boot
from grade.qemu import Machine
from grade.spaces import Kernel
from grade.tests.test_harden import told

KSTACK_SIZE = 32768
STEP, PLACES = 16, 32
CALLS = 320
# Of 320 fair draws from 32 places fewer than 24 places are seen, or one of them 40 times, less than once in 10^9;
# so it is with the differences of neighbours, and with two equal neighbours.
SEEN, OFTEN = 24, 40
CHILDREN = 48
PROMPT = r"[#$] (?:\x1b\[6n)?\Z"
POINTER = {"x86_64": "rsp", "aarch64": "sp"}

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
    places = Counter(draws)
    steps = Counter((b - a) % (STEP * PLACES) for a, b in zip(draws, draws[1:]))
    out = []
    if len(places) > PLACES or any((d - min(draws)) % STEP for d in draws):
        out.append(f"{len(places)} places, not {PLACES} of {STEP} bytes")
    if len(places) < SEEN:
        out.append(f"only {len(places)} places")
    if max(places.values()) >= OFTEN:
        out.append(f"one place {max(places.values())} times of {len(draws)}")
    if len(steps) < SEEN or max(steps.values()) >= OFTEN:
        out.append(f"from one to the next there are {len(steps)} steps, one of them {max(steps.values())} times")
    return out


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
