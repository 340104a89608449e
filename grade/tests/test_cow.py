"""Private memory is private, from outside: leaves, references and contents of frames while programs fork, protect,
write and drop what they share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from grade.attacks import current_name, harden_off
from grade.cpus import CPUS
from grade.frames import at_rest, wrong_references, wrongly_writable
from grade.image import Image
from grade.moments import Event, Moment, draw, qemu_seed, visit
from grade.plugin import Boot, Build
from grade.qemu import PROMPT, Machine
from grade.spaces import Kernel
from grade.tests.test_harden import told

ROOT = Path(__file__).resolve().parent.parent.parent
ROUNDS, LOOKS = 32, 250     # of test-cow: each round comes by cow_look eight times at least
MOMENTS = 16
PAGES, FILL = 4, 0x46       # user/test/cow.c

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def cow(arch: str, build: Build) -> Iterator[Image]:
    """The workload's symbols."""
    opened = Image(ROOT / "build" / arch / "user" / "test-cow")
    yield opened
    opened.close()


def quiet_moments(boot: Boot, image: Image, cow: Image, seed: int, smp: int) -> Iterator[tuple[str, Kernel]]:
    """Moments of a whole run that the seed draws, at which every CPU is idle or in user mode."""
    m = boot(run=f"/bin/test-cow {ROUNDS}", smp=smp, paused=True, icount=True, seed=qemu_seed(seed, f"cow-{smp}"),
             keep=True)
    placed = image.at(m)
    m.run_until(cow.sym("main"), timeout=60)
    moments = draw(seed, f"cow-{smp}", [Event("a look", cow.sym("cow_look"), LOOKS)], MOMENTS)
    seen = 0
    for moment, _ in visit(m, moments, 180):
        kernel = Kernel(m, placed)
        if at_rest(kernel):
            seen += 1
            yield str(moment), kernel
    assert seen >= MOMENTS // 4, f"the machine was at rest at {seen} of {MOMENTS} moments"


def test_an_address_space_that_changes_is_locked_a_forks_half_made_one_too(boot: Boot, image: Image, cow: Image,
                                                                           seed: int) -> None:
    """A file that shrinks loses its pages in all of them (kernel/mm/space.c): what it finds there must be whole."""
    m = boot(run="/bin/test-cow 8", paused=True, icount=True, seed=seed & 0xFFFFFFFF, keep=True)
    image = image.at(m)
    m.run_until(cow.sym("main"), timeout=60)
    rooms = [Moment(Event("room for areas", image.sym("vm_reserve")), n) for n in range(1, 21)]
    kernel, owner = Kernel(m, image), image.offsetof("struct vm", "lock") + image.offsetof("struct mutex", "owner")
    anothers = 0
    for moment, stop in visit(m, rooms, 60):
        space, thread = m.gdb.reg(stop.cpu, CPUS[m.arch.name].arguments[0]), kernel.current(stop.cpu)
        assert kernel.u64(space + owner) == thread, f"{moment}: {space:#x} is not locked"
        anothers += space != kernel.member(thread, "struct thread", "vm")
    assert anothers, "no fork came by"


@pytest.mark.parametrize("smp", [1, 2])
def test_no_private_page_is_writable_while_another_has_its_frame(boot: Boot, image: Image, cow: Image, seed: int,
                                                                 smp: int) -> None:
    for moment, kernel in quiet_moments(boot, image, cow, seed, smp):
        wrong = wrongly_writable(kernel)
        assert not wrong, "\n".join([moment, *wrong[:20]])


@pytest.mark.parametrize("smp", [1, 2])
def test_references_of_frames_are_their_mappings_over_a_whole_run(boot: Boot, image: Image, cow: Image, seed: int,
                                                                  smp: int) -> None:
    for moment, kernel in quiet_moments(boot, image, cow, seed + 1, smp):
        wrong = wrong_references(kernel)
        assert not wrong, "\n".join([moment, *map(str, wrong[:20])])


def file_in_memory(m: Machine, kernel: Kernel, cow: Image, cpu: int) -> bytes:
    """The page cache's frames of the workload's file, where its shared mapping leads."""
    root = kernel.cpu.root_of(m, cpu)
    at = int.from_bytes(m.gdb.read(cow.sym("cow_file"), 8, cpu), "little")
    out = b""
    for va in range(at, at + PAGES * 4096, 4096):
        page = kernel.walker.translate(root, va)
        assert page is not None and not page.writable
        out += m.read_phys(page.pa + va - page.va, 4096)
    return out


def to_the_last_look(m: Machine, placed: Image, cow: Image, timeout: float = 120) -> int:
    """Runs the program to its end; the CPU that stands there."""
    m.gdb.set_break(cow.sym("cow_look"))
    while True:
        m.cont()
        stop = m.wait_stop(timeout)
        assert stop.breakpoint, "the program ended before: a page had what it must not have"
        if current_name(Kernel(m, placed), stop.cpu) == "test-cow":
            return stop.cpu


def test_a_file_keeps_its_contents_while_private_pages_are_written_and_dropped(boot: Boot, image: Image,
                                                                               cow: Image) -> None:
    """The kernel writes to them by pread(2), another thread itself, and a third takes them away meanwhile."""
    m = boot(run="/bin/test-cow race 4000", smp=2, paused=True, keep=True)
    placed = image.at(m)
    m.run_until(cow.sym("main"), timeout=60)
    cpu = to_the_last_look(m, placed, cow)
    assert file_in_memory(m, Kernel(m, placed), cow, cpu) == bytes([FILL]) * PAGES * 4096


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("smp", [2, 4])
def test_a_file_keeps_its_contents_over_many_more_races(boot: Boot, image: Image, cow: Image, smp: int) -> None:
    m = boot(run="/bin/test-cow race 400000", smp=smp, paused=True, keep=True)
    placed = image.at(m)
    m.run_until(cow.sym("main"), timeout=60)
    cpu = to_the_last_look(m, placed, cow, 1000)
    assert file_in_memory(m, Kernel(m, placed), cow, cpu) == bytes([FILL]) * PAGES * 4096


@pytest.mark.parametrize("off", ["", "cow"])
def test_proc_harden_tells_whether_private_writes_are_private(boot: Boot, off: str) -> None:
    m = boot(append=harden_off([off] if off else []))
    m.wait_for(PROMPT, 30)
    for _ in range(3):
        assert told(m)["cow"] == ("off" if off else "on")
