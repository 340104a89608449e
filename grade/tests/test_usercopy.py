"""The gate of user copies, asked from outside: a real call is stopped at its door and given other arguments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from grade.cpus import CPUS
from grade.frames import frames
from grade.gate import Case, Gate, image_cases, object_cases, stack_cases
from grade.heap import slabs
from grade.image import Image
from grade.plugin import Boot, Build
from grade.spaces import Kernel

ROOT = Path(__file__).resolve().parent.parent.parent
STEPS = 400

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def load(arch: str, build: Build) -> Iterator[Image]:
    """The workload's symbols."""
    opened = Image(ROOT / "build" / arch / "user" / "test-load")
    yield opened
    opened.close()


@pytest.fixture
def gate(boot: Boot, image: Image, load: Image) -> Gate:
    """The gate, in the middle of a workload."""
    m = boot(run="/bin/test-load 40", smp=1, paused=True, icount=True, keep=True)
    m.run_until(load.sym("load_round"), timeout=60)
    placed = image.at(m)
    m.run_until(placed.sym("usercopy_check"), timeout=60)

    there: set[int] = set()

    def run(points: set[int]) -> int:
        for point in points - there:
            m.gdb.set_break(point)
        there.update(points)
        m.cont()
        m.wait_stop(30)
        at = m.gdb.pc(0)
        assert at in points, hex(at)
        return at

    return Gate(m, Kernel(m, placed), placed.sym("usercopy_report"), run)


def cases(gate: Gate) -> Iterator[Case]:
    """Everything that a kernel has, by what it is."""
    kernel, image = gate.kernel, gate.kernel.image
    direct = kernel.u64(image.sym("direct_map_base"))
    every = slabs(kernel)

    def one(name: str) -> int:
        slab = next(s for s in every if s.cache.name == name and any(s.used))
        return slab.base + slab.used.index(True) * slab.cache.size

    there = {s.cache.name for s in every if any(s.used)}
    sizes = [size for size in (32, 64, 96, 128, 256, 512, 1024) if f"kmalloc-{size}" in there]
    assert len(sizes) >= 3, there
    for size in sizes:
        yield from object_cases("an object", one(f"kmalloc-{size}"), size)
    for name in sorted({"dentry", "vma", "file"} & there):
        yield f"a byte of a {name}", one(name) + 8, 1, False, False
    yield from stack_cases(gate)
    yield from image_cases(gate)
    yield "a user address", 0x400000, 8, False, False
    known = frames(kernel)
    for kind, allowed in (("file", True), ("anon", True), ("table", False), ("free", False)):
        base = direct + next(f.number for f in known if f.type == kind) * 4096
        yield f"a frame ({kind})", base, 4096, allowed, allowed
        yield f"a frame ({kind}) and a byte", base + 1, 4096, False, False


def test_the_gate_refuses_what_is_not_one_object(gate: Gate) -> None:
    wrong = gate.wrong(list(cases(gate)))
    assert not wrong, "\n".join(wrong)


def test_every_copy_of_variable_size_asks_the_gate(boot: Boot, image: Image, load: Image, arch: str) -> None:
    """Reads and writes: the copy that follows is the one that was asked for."""
    m = boot(run="/bin/test-load 40", smp=1, paused=True, icount=True, keep=True)
    m.run_until(load.sym("load_round"), timeout=60)
    placed = image.at(m)
    check, to, some = (placed.sym(n) for n in ("usercopy_check", "uaccess_to_some", "uaccess_from_some"))
    for place in (check, to, some):
        m.gdb.set_break(place)
    asked: tuple[int, int] | None = None
    copies = {to: 0, some: 0}
    for _ in range(STEPS):
        m.cont()
        m.wait_stop(30)
        at, (a, b, c) = m.gdb.pc(0), (m.gdb.reg(0, r) for r in CPUS[arch].arguments)
        if at == check:
            asked = (a, b)
            continue
        caller = CPUS[arch].returns_to(m, 0)
        if not placed.where(caller).startswith(("uio_", "move_some")):
            continue        # others may copy what has a constant size
        here = (b, c) if at == to else (a, c)
        assert asked == here, f"{placed.where(at)}: {here[1]} bytes at {here[0]:#x}, asked for {asked}"
        copies[at] += 1
        asked = None
    assert sum(copies.values()) > 10, copies
