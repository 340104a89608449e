"""Counters of references, driven from outside: those of a file, of its name and of a frame are set to the ends of
their range while a program takes references and drops them, and looked at after each step."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from grade.attacks import current_name, harden_off
from grade.frames import frames
from grade.heap import slabs
from grade.image import Image
from grade.plugin import Boot, Build
from grade.qemu import PROMPT, Machine
from grade.spaces import Kernel
from grade.tests.test_harden import told

ROOT = Path(__file__).resolve().parent.parent.parent
MAX, STUCK = (1 << 31) - 1, 0xC000_0000     # kernel/harden/refcount.h
FULL = (1 << 32) - 1
# user/test/refs.c's steps of a file, and then of a page.
OPEN, DUPLICATED, DUPLICATE_CLOSED, OPEN_TWICE, SECOND_CLOSED, CLOSED = range(6)
THERE, FORKED, UNMAPPED = range(3)
FIRST_OF_PAGE = CLOSED + 1

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def refs(arch: str, build: Build) -> Iterator[Image]:
    """The program's symbols."""
    opened = Image(ROOT / "build" / arch / "user" / "test-refs")
    yield opened
    opened.close()


@dataclass
class Driven:
    """One round: what a counter was after each step from the one at which it was set."""

    before: int                                     # as the step found it
    after: list[int] = field(default_factory=list)
    kept: bool = False                              # in the end its object was not free
    said: str = ""


class Program:
    """test-refs on one CPU, standing at its steps."""

    def __init__(self, machine: Machine, image: Image, refs: Image) -> None:
        self.m, self.refs = machine, refs
        self.image = image.at(machine)
        machine.run_until(refs.sym("main"), timeout=60)
        machine.gdb.set_break(refs.sym("refs_step"))
        self.cpu = 0

    def step(self, number: int) -> Kernel:
        """On to the next one, which is that number."""
        while True:
            self.m.cont()
            stop = self.m.wait_stop(60)
            assert stop.breakpoint, self.m.transcript[-2000:]
            kernel = Kernel(self.m, self.image)
            if current_name(kernel, stop.cpu) == "test-refs":
                self.cpu = stop.cpu
                there = self.m.gdb.pc(stop.cpu), self.m.gdb.reg(stop.cpu, kernel.cpu.arguments[0])
                assert there == (self.refs.sym("refs_step"), number), f"stopped at {there[0]:#x} with {there[1]:#x}"
                return kernel

    def file(self, kernel: Kernel) -> int:
        """The address of its open file."""
        (fd,) = struct.unpack("<i", self.m.gdb.read(self.refs.sym("refs_fd"), 4, self.cpu))
        process = kernel.member(kernel.current(self.cpu), "struct thread", "process")
        table = kernel.member(kernel.member(process, "struct process", "files"), "struct files", "fd")
        return kernel.u64(table + 8 * fd)

    def page(self, kernel: Kernel) -> tuple[int, int]:
        """The frame of its page: number, and where the kernel describes it."""
        at = int.from_bytes(self.m.gdb.read(self.refs.sym("refs_page"), 8, self.cpu), "little")
        m = kernel.walker.translate(kernel.cpu.root_of(self.m, self.cpu), at)
        assert m is not None
        number = (m.pa + at - m.va) >> 12
        return number, kernel.u64(self.image.sym("pages")) + number * self.image.sizeof("struct page")

    def drive(self, what: str, at: int, value: int | None) -> Driven:
        """One round of the program, in which the counter of its file, name or page is set at a step."""
        seen = Driven(0)
        address = counter = number = 0
        said = len(self.m.transcript)
        for step in range(CLOSED + 1):
            kernel = self.step(step)
            if what == "page":
                continue
            if step == 0:
                address, structure = self.file(kernel), "struct file"
                if what == "name":
                    address, structure = kernel.u64(address + self.image.offsetof("struct file", "path.dentry")), "struct dentry"
                counter = kernel.phys(address + self.image.offsetof(structure, "refs"))
            self._look(seen, step, at, counter, value)
        kept = any(s.base <= address < s.base + 4096 * (1 << s.cache.order)
                   and s.used[(address - s.base) // s.cache.size] for s in slabs(kernel)) if address else False
        for step in range(UNMAPPED + 1):
            kernel = self.step(FIRST_OF_PAGE + step)
            if what != "page":
                continue
            if step == 0:
                number, address = self.page(kernel)
                counter = kernel.phys(address + self.image.offsetof("struct page", "refs"))
            self._look(seen, step, at, counter, value)
        if what == "page":
            kept = any(f.number == number and f.type == "anon" for f in frames(kernel))
        seen.kept, seen.said = kept, self.m.transcript[said:]
        return seen

    def _look(self, seen: Driven, step: int, at: int, counter: int, value: int | None) -> None:
        (n,) = struct.unpack("<I", self.m.read_phys(counter, 4))
        if step == at:
            seen.before = n
            if value is not None:
                self.m.write_phys(counter, struct.pack("<I", value))
        elif step > at:
            seen.after.append(n)


def program(boot: Boot, image: Image, refs: Image, cpu: int, append: str = "quiet") -> Program:
    """The program, at its beginning."""
    m = boot(run=f"/bin/test-refs {cpu} 100", append=append, smp=2, paused=True, keep=True)
    return Program(m, image, refs)


@pytest.fixture(params=[0, 1])
def driver(request: pytest.FixtureRequest, boot: Boot, image: Image, refs: Image) -> Program:
    """On each of two CPUs."""
    return program(boot, image, refs, request.param)


def test_counters_count(driver: Program) -> None:
    """Nobody interferes, or sets them to where nothing is wrong yet."""
    file = driver.drive("file", OPEN, None)
    assert (file.before, file.after[:4], file.kept) == (1, [2, 1, 1, 1], False)
    page = driver.drive("page", THERE, None)
    assert (page.before, page.after[0], page.kept) == (1, 1, False)
    limit = driver.drive("file", OPEN, MAX - 1)
    assert limit.after == [MAX, MAX - 1, MAX - 1, MAX - 1, MAX - 2]
    assert "refcount" not in file.said + page.said + limit.said


STICKS = [("file", OPEN, MAX, "raised beyond its limit"), ("file", OPEN, 0, "raised from 0"),
          ("file", DUPLICATED, 0, "dropped below 0"), ("name", DUPLICATE_CLOSED, MAX, "raised beyond its limit"),
          ("name", OPEN_TWICE, 0, "dropped below 0"), ("page", THERE, MAX, "raised beyond its limit"),
          ("page", THERE, 0, "raised from 0"), ("page", FORKED, 0, "dropped below 0")]


@pytest.mark.parametrize(("what", "at", "value", "how"), STICKS)
def test_a_counter_that_leaves_its_range_sticks_and_its_object_is_kept(driver: Program, what: str, at: int, value: int,
                                                                       how: str) -> None:
    seen = driver.drive(what, at, value)
    assert seen.after and set(seen.after) == {STUCK}, [hex(n) for n in seen.after]
    assert seen.kept
    reports = re.findall(r"^harden: refcount: a counter was (.*) in \w+: its object is never freed\r?$", seen.said,
                         re.MULTILINE)
    assert reports == [how]


@pytest.mark.parametrize("value", [MAX + 1, STUCK - 5, STUCK + 5, FULL])
def test_a_counter_that_sticks_is_put_back_and_never_freed(driver: Program, value: int) -> None:
    """What other CPUs add meanwhile does not bring it out of there."""
    seen = driver.drive("file", OPEN, value)
    assert set(seen.after) == {STUCK} and seen.kept
    seen = driver.drive("page", THERE, value)
    assert set(seen.after) == {STUCK} and seen.kept


def test_without_the_row_a_counter_wraps(boot: Boot, image: Image, refs: Image) -> None:
    driven = program(boot, image, refs, 0, harden_off(["refcount"]))
    assert driven.drive("file", OPEN, MAX).after[:2] == [MAX + 1, MAX]
    assert driven.drive("file", OPEN, FULL).after[:2] == [0, FULL]


@pytest.mark.parametrize("off", ["", "refcount"])
def test_proc_harden_tells_whether_counters_stick(boot: Boot, off: str) -> None:
    m = boot(append=harden_off([off] if off else []))
    m.wait_for(PROMPT, 30)
    for _ in range(3):
        assert told(m)["refcount"] == ("off" if off else "on")
    assert "harden: refcount" not in m.transcript       # the probe's counter is no news
