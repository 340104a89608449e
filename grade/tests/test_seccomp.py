"""seccomp from outside: what a program has given up never reaches the call's function, and filters lie where
no user reaches them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from grade.attacks import current_name
from grade.gdbstub import GdbClosed
from grade.image import Image
from grade.plugin import Boot, Build
from grade.qemu import Machine
from grade.spaces import Kernel
from grade.walk import user_accessible

ROOT = Path(__file__).resolve().parent.parent.parent
SMP = 2
ROUNDS = 8      # user/test/confined.c: each free process opens as many files

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def program(arch: str, build: Build) -> Iterator[Image]:
    """The confined processes' symbols."""
    opened = Image(ROOT / "build" / arch / "user" / "test-confined")
    yield opened
    opened.close()


def openers(m: Machine, image: Image) -> Counter[tuple[str, int]]:
    """Who reached the function behind openat, and on which CPU, until the guest ended."""
    image, seen = image.at(m), Counter[tuple[str, int]]()
    last: dict[int, int] = {}       # thread -> the CPU of its last call; each goes to another CPU for the next
    m.run_until(image.sym("process_start_init"), timeout=60)
    m.gdb.set_break(image.sym("sys_openat"))
    while True:
        m.cont()
        try:
            stop = m.wait_stop(60)
        except GdbClosed:
            return seen
        if not stop.breakpoint:
            return seen
        kernel = Kernel(m, image)
        name, thread = current_name(kernel, stop.cpu), kernel.current(stop.cpu)
        if name == "free" and last.get(thread) == stop.cpu:
            continue                # the same call, stopped at twice
        last[thread] = stop.cpu
        seen[name, stop.cpu] += 1


@pytest.fixture(scope="module")
def reached(request: pytest.FixtureRequest, build: Build, image: Image) -> Counter[tuple[str, int]]:
    """The complete kernel's."""
    with machine(build) as m:
        return openers(m, image)


def machine(build: Build, harden: str = "") -> Machine:
    """A paused machine that will run the confined processes."""
    console = {"x86_64": "ttyS0", "aarch64": "ttyAMA0"}[build.arch]
    line = f"console={console} quiet {harden} -- /bin/test-confined"
    return Machine(build.kernel, build.initrd, line, arch=build.arch, smp=SMP, mem=128, paused=True, keep=True)


def test_a_confined_thread_never_reaches_the_call_that_it_gave_up(reached: Counter[tuple[str, int]]) -> None:
    """On no CPU, nor do its children, its threads and the programs that it becomes."""
    assert not {who: n for who, n in reached.items() if who[0] == "confined"}


def test_a_free_process_reaches_the_same_call_on_every_cpu(reached: Counter[tuple[str, int]]) -> None:
    assert [reached["free", cpu] for cpu in range(SMP)] == [2 * ROUNDS // SMP] * SMP


def test_without_the_row_confined_threads_reach_every_call(build: Build, image: Image) -> None:
    """Else the test above would prove nothing."""
    with machine(build, "harden=-seccomp") as m:
        seen = openers(m, image)
    assert all(seen["confined", cpu] > ROUNDS for cpu in range(SMP)), seen


def confined_at_work(m: Machine, image: Image, program: Image) -> Kernel:
    """The kernel, stopped while a confined child runs and its parent waits."""
    image = image.at(m)
    m.run_until(image.sym("process_start_init"), timeout=60)
    m.gdb.set_break(program.sym("confined_round"))
    while True:
        m.cont()
        stop = m.wait_stop(60)
        assert stop.breakpoint, "the guest ended before a confined process was seen"
        kernel = Kernel(m, image)
        if current_name(kernel, stop.cpu) == "confined":
            return kernel


def filters_of(kernel: Kernel, thread: int) -> list[int]:
    """The addresses of the filters that a thread has."""
    out, offset = [], kernel.image.offsetof("struct seccomp_filter", "older")
    at = kernel.member(thread, "struct thread", "seccomp.newest")
    while at:
        out.append(at)
        at = kernel.u64(at + offset)
    return out


def test_filters_lie_in_memory_that_no_user_reaches(boot: Boot, image: Image, program: Image) -> None:
    m = boot(run="/bin/test-confined", smp=SMP, paused=True, keep=True)
    kernel = confined_at_work(m, image, program)
    filters = {f for t in kernel.threads() for f in filters_of(kernel, t.address)}
    assert len(filters) == 2
    frames = kernel.frames(*((f, f + 64) for f in filters))
    exposed = [str(f) for f in user_accessible(kernel.spaces())
               if any(f.mapping.pa < end and start < f.mapping.pa + f.mapping.size for start, end in frames)]
    assert not exposed


def test_a_child_has_every_filter_of_its_parent(boot: Boot, image: Image, program: Image) -> None:
    m = boot(run="/bin/test-confined", smp=SMP, paused=True, keep=True)
    kernel = confined_at_work(m, image, program)
    confined = {t.tid: t.address for t in kernel.threads() if t.name == "confined"}
    assert len(confined) == 2
    parents, children = (filters_of(kernel, confined[tid]) for tid in sorted(confined))
    assert parents == children and len(parents) == 2
    assert {kernel.member(t, "struct thread", "syscall_limit") for t in confined.values()} == {0}
