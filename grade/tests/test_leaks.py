"""What a program gets to see holds no kernel address, and nothing that the kernel left on its stack.

/bin/test-outputs takes everything that the kernel hands out and keeps it; its whole memory is then searched from
outside, with the addresses of this very start in hand.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import pytest

from grade.addresses import told
from grade.image import Image, ImageError
from grade.moments import rng
from grade.plugin import ROOT, Boot
from grade.qemu import Machine
from grade.spaces import Kernel
from grade.tests.test_harden import PROMPT
from grade.tests.test_harden import told as harden_states

pytestmark = pytest.mark.guest

POISON = bytes.fromhex("d15ea5ed")      # odd bytes, so that it does not come about by chance
LOOKS = 20
# What user mode can read. x86_64's k_gs_base and the control registers are the kernel's; aarch64's TPIDR_EL0 is
# the program's own.
REGISTERS = {
    "x86_64": ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "rip", "eflags", "fs_base", "gs_base",
               *(f"r{i}" for i in range(8, 16)), *(f"xmm{i}" for i in range(16))),
    "aarch64": (*(f"x{i}" for i in range(31)), "sp", "pc", "TPIDR_EL0", "TPIDRRO_EL0", *(f"z{i}" for i in range(32))),
}


@pytest.fixture
def outputs(arch: str) -> Iterator[Image]:
    """The program's symbols."""
    with contextlib.closing(Image(ROOT / "build" / arch / "user" / "test-outputs")) as program:
        yield program


def started(boot: Boot, image: Image, arguments: str, append: str = "quiet") -> tuple[Machine, Image]:
    """A machine that is about to run /bin/test-outputs, and its kernel's image."""
    m = boot(run=f"/bin/test-outputs {arguments}", append=append, smp=1, paused=True, icount=True, keep=True)
    placed = image.at(m)
    m.run_until(placed.sym("process_start_init"), timeout=60)
    return m, placed


def pages(kernel: Kernel, cpu: int) -> Iterator[tuple[int, bytes]]:
    """All memory that the running program can read."""
    space = kernel.walker.space(kernel.cpu.root_of(kernel.machine, cpu))
    for m in space.between(0, kernel.cpu.user_end):
        if m.user:
            yield m.va, kernel.machine.read_phys(m.pa, m.size)


def of_the_file(program: Image, va: int, data: bytes) -> bool:
    """Whether a page is as the program's file has it: code, whose bytes may look like anything."""
    try:
        return program.bytes_at(va, len(data)) == data
    except ImageError:
        return False


@pytest.mark.parametrize("uid", [0, 1000])
def test_no_file_or_system_call_tells_a_kernel_address(boot: Boot, image: Image, outputs: Image, uid: int) -> None:
    m, placed = started(boot, image, f"{uid} proc")
    stop = m.run_until(outputs.sym("outputs_done"), timeout=120)
    kernel = Kernel(m, placed)
    memory = list(pages(kernel, stop.cpu))
    # The program did its work, and this would be seen: the symbol table is there, without addresses.
    assert any(b"kernel_main\n" in text for _, text in memory)
    assert told(kernel, placed.sym("kernel_main").to_bytes(8, "little") + b"0x%x" % placed.sym("kernel_main"))
    found = [(hex(va + at), hex(value), outputs.where(va + at)) for va, text in memory
             if not of_the_file(outputs, va, text) for at, value in told(kernel, text)]
    assert not found, found[:20]


def test_no_user_register_holds_a_kernel_address(boot: Boot, image: Image, outputs: Image, arch: str,
                                                 seed: int) -> None:
    """Looks at the first instruction of user mode after system calls and traps that the seed draws."""
    m, placed = started(boot, image, "1000 proc")
    kernel = Kernel(m, placed)
    entries = [placed.sym("syscall_dispatch"), placed.sym(kernel.cpu.trap)]
    ip_at = placed.offsetof("struct trapframe", {"x86_64": "rip", "aarch64": "pc"}[arch])
    draw, seen = rng(seed, "user registers"), 0
    for _ in range(5 * LOOKS):
        for entry in entries:
            m.gdb.set_break(entry)
        for _ in range(draw.randrange(1, 5)):
            m.cont()
            stop = m.wait_stop(60)
            if not stop.breakpoint:
                break
        if not stop.breakpoint:
            break
        for entry in entries:
            m.gdb.clear_break(entry)
        frame = m.gdb.reg(stop.cpu, kernel.cpu.arguments[0])
        ip = int.from_bytes(m.gdb.read(frame + ip_at, 8, stop.cpu), "little")
        if ip >= kernel.cpu.user_end:
            continue        # a trap of the kernel itself
        # Straight back, or by way of a signal's handler, of another process, of the program's end.
        for address in (ip, outputs.sym("outputs_done")):
            m.gdb.set_break(address)
        m.cont()
        stop = m.wait_stop(60)
        for address in (ip, outputs.sym("outputs_done")):
            m.gdb.clear_break(address)
        if not stop.breakpoint:
            break
        for name in REGISTERS[arch]:
            value = m.gdb.reg(stop.cpu, name)
            size = max(8, m.gdb.registers()[name].bits // 8)
            assert not told(kernel, value.to_bytes(size, "little")), f"{name} is {value:#x} at {ip:#x}"
        seen += 1
        if seen == LOOKS:
            break
    assert seen == LOOKS, f"the program ended after {seen} looks"


def test_nothing_that_lay_on_the_kernels_stack_comes_back(boot: Boot, image: Image, outputs: Image) -> None:
    """Below the frame of each system call, as it begins, the stack is filled; nothing of that may reach the
    program: neither as the padding of a structure nor as the rest of a buffer."""
    m, placed = started(boot, image, "1000")
    done = outputs.sym("outputs_done")
    begins = [address for name, address in placed.symbols("sys_").items() if re.fullmatch(r"sys_\w+", name)]
    for address in (done, placed.sym("arch_signal_frame"), *begins):
        m.gdb.set_break(address)
    filled = 0
    while True:
        m.cont()
        stop = m.wait_stop(60)
        assert stop.breakpoint, "the guest ended"
        kernel = Kernel(m, placed)
        if m.gdb.pc(stop.cpu) == done:
            break
        base = kernel.member(kernel.current(stop.cpu), "struct thread", "kstack")
        sp = m.gdb.reg(stop.cpu, "rsp" if "rsp" in m.gdb.registers() else "sp")
        assert base < sp < base + 32768
        for va in range(base, sp & ~0xFFF, 4096):
            m.write_phys(kernel.phys(va), POISON * 1024)
        m.write_phys(kernel.phys(sp & ~0xFFF), POISON * ((sp & 0xFFF) // 4))
        filled += 1
    assert filled > 100
    found = [hex(va + at) for va, text in pages(kernel, stop.cpu) if (at := text.find(POISON)) >= 0]
    assert not found, found[:20]


@pytest.mark.parametrize("off", [False, True])
def test_the_log_is_roots(boot: Boot, image: Image, outputs: Image, off: bool) -> None:
    """The last 512 bytes of the log, asked for by an ordinary user, and by root."""
    for uid, allowed in ((1000, off), (0, True)):
        m, placed = started(boot, image, str(uid), "" if not off else "harden=-leaks")
        stop = m.run_until(outputs.sym("outputs_done"), timeout=120)
        shown = b"".join(text for _, text in pages(Kernel(m, placed), stop.cpu))
        assert (b"Run /init as init process" in shown) == allowed


@pytest.mark.parametrize("row", ["kaslr", "format", "leaks"])
def test_proc_harden_tells_which_of_these_rows_is_off(boot: Boot, row: str) -> None:
    m = boot(append=f"quiet harden=-{row}")
    m.wait_for(PROMPT, 30)
    assert {name for name, state in harden_states(m).items() if state == "off"} == {row}
