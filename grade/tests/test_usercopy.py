"""The gate of user copies, asked from outside: a real call is stopped at its door and given other arguments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from grade.cpus import CPUS
from grade.frames import frames
from grade.heap import slabs
from grade.image import Image
from grade.plugin import Boot, Build
from grade.qemu import Machine
from grade.spaces import Kernel

ROOT = Path(__file__).resolve().parent.parent.parent
STEPS = 400
# Arguments, stack, frame record and program counter; what a function that is called leaves to its caller.
SAVED = {"x86_64": ("rdi", "rsi", "rdx", "rcx", "rax", "rbx", "rbp", "rsp", "r12", "r13", "r14", "r15", "rip"),
         "aarch64": ("x0", "x1", "x2", "x19", "x20", "x21", "x22", "x23", "x24", "x29", "x30", "sp", "pc")}
STACK = {"x86_64": ("rsp", "rbp"), "aarch64": ("sp", "x29")}

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def load(arch: str, build: Build) -> Iterator[Image]:
    """The workload's symbols."""
    opened = Image(ROOT / "build" / arch / "user" / "test-load")
    yield opened
    opened.close()


class Gate:
    """A machine of one CPU that stands at the first instruction of usercopy_check."""

    def __init__(self, machine: Machine, image: Image) -> None:
        self.machine, self.gdb, self.arch = machine, machine.gdb, machine.arch.name
        self.kernel = Kernel(machine, image)
        self.saved = {r: self.gdb.reg(0, r) for r in SAVED[self.arch]}
        self.back = self.kernel.u64(self.saved["rsp"]) if self.arch == "x86_64" else self.saved["x30"]
        self.refused = image.sym("usercopy_report")
        for place in (self.back, self.refused):
            self.gdb.set_break(place)

    def refuses(self, address: int, size: int, to_user: bool) -> bool:
        """Whether the gate would report this copy; the machine is then back where it stood."""
        for register, value in zip(CPUS[self.arch].arguments, (address, size, int(to_user))):
            self.gdb.set_reg(0, register, value)
        self.machine.cont()
        self.machine.wait_stop(30)
        at = self.gdb.pc(0)
        assert at in (self.back, self.refused), hex(at)
        for register, value in self.saved.items():
            self.gdb.set_reg(0, register, value)
        return at == self.refused


@pytest.fixture
def gate(boot: Boot, image: Image, load: Image) -> Gate:
    """The gate, in the middle of a workload."""
    m = boot(run="/bin/test-load 40", smp=1, paused=True, icount=True, keep=True)
    m.run_until(load.sym("load_round"), timeout=60)
    placed = image.at(m)
    m.run_until(placed.sym("usercopy_check"), timeout=60)
    return Gate(m, placed)


def cases(gate: Gate) -> Iterator[tuple[str, int, int, bool, bool]]:
    """What is copied, from where, how much; whether it may be read by user mode, and written."""
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
        o = one(f"kmalloc-{size}")
        yield f"an object of {size}", o, size, True, True
        yield f"its last byte, of {size}", o + size - 1, 1, True, True
        yield f"a byte more than an object of {size}", o, size + 1, False, False
        yield f"an object of {size} and the byte after", o + 1, size, False, False
    for name in sorted({"dentry", "vma", "file"} & there):
        yield f"a byte of a {name}", one(name) + 8, 1, False, False
    stack, frame = (gate.saved[r] for r in STACK[gate.arch])
    above = kernel.u64(frame)
    yield "a frame's variables", frame + 16, above - frame - 16, True, True
    yield "a frame's variables, and a byte of the record above", frame + 16, above - frame - 15, False, False
    yield "a return address", frame + 8, 8, False, False
    yield "the stack below what is in use", stack - 2048, 8, False, False
    yield "two frames", frame + 16, kernel.u64(above) - frame - 16, False, False
    text, end = image.span("__text_start", "__text_end")
    yield "text", text, 8, False, False
    yield "text's end and what follows", end - 4, 8, False, False
    yield "text at its other address", direct + image.phys(text), 8, False, False
    yield "a constant", image.sym("__rodata_start"), 8, True, False
    yield "a variable", image.sym("cpus_online"), 8, True, True
    yield "what follows the kernel", image.sym("__data_end") - 4, 8, False, False
    yield "a user address", 0x400000, 8, False, False
    known = list(frames(kernel))
    for kind, allowed in (("file", True), ("anon", True), ("table", False), ("free", False)):
        base = direct + next(f.number for f in known if f.type == kind) * 4096
        yield f"a frame ({kind})", base, 4096, allowed, allowed
        yield f"a frame ({kind}) and a byte", base + 1, 4096, False, False


def test_the_gate_refuses_what_is_not_one_object(gate: Gate) -> None:
    wrong = []
    for what, address, size, readable, writable in list(cases(gate)):
        for to_user, allowed in ((True, readable), (False, writable)):
            if gate.refuses(address, size, to_user) == allowed:
                way = "to" if to_user else "from"
                wrong.append(f"{what}: {size} bytes at {address:#x} {way} user mode: {'refused' if allowed else 'copied'}")
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
