"""Bits of control registers that harden stay set, from outside: the registers of every CPU at moments that the seed
draws, while attack pin hammers their writers; and after jumps straight to each instruction that writes them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from grade.attacks import current_name, harden_off
from grade.cpus import CPUS
from grade.image import Image
from grade.moments import Event, draw, visit
from grade.pins import writes_of
from grade.plugin import Boot
from grade.qemu import PROMPT, Machine
from grade.spaces import Kernel
from grade.tests.test_harden import told
from grade.walk import aliases_of, writable_aliases_of
from grade.walk_aarch64 import SCTLR_SPAN, SCTLR_UMA, SCTLR_WXN
from grade.walk_x86_64 import CR0_WP, CR4_SMAP, CR4_SMEP, CR4_UMIP

CR0_MP, CR4_PGE, CR4_FSGSBASE = 1 << 1, 1 << 7, 1 << 16     # SDM 3A 2.5
SCTLR_NTWE = 1 << 18        # ARM D17.2.118
MOMENTS, ROUNDS, SOAK_SEEDS = 12, 4, 6

pytestmark = pytest.mark.guest


@dataclass(frozen=True)
class Register:
    """A pinned register: bits that are set in the complete kernel, and that are clear."""

    name: str           # the gdbstub's
    writer: str         # the kernel's function
    pin: str            # the kernel's variable: the value, and which of its bits count
    set: int
    clear: int
    free: int           # a bit that may change

    @property
    def bits(self) -> list[int]:
        """Each pinned bit."""
        return [1 << n for n in range(64) if (self.set | self.clear) >> n & 1]

    def right(self, value: int) -> bool:
        """Whether a value has every bit as it should be."""
        return value & (self.set | self.clear) == self.set


REGISTERS = {
    "x86_64": [Register("cr0", "x86_write_cr0", "x86_cr0_pin", CR0_WP, 0, CR0_MP),
               Register("cr4", "x86_write_cr4", "x86_cr4_pin", CR4_SMEP | CR4_SMAP | CR4_UMIP, CR4_FSGSBASE,
                        CR4_PGE)],
    "aarch64": [Register("SCTLR", "a64_write_sctlr", "a64_sctlr_pin", SCTLR_WXN, SCTLR_SPAN | SCTLR_UMA,
                         SCTLR_NTWE)],
}


@pytest.fixture
def registers(arch: str) -> list[Register]:
    """Those of the architecture."""
    return REGISTERS[arch]


def in_writer(m: Machine, image: Image, cpu: int, register: Register) -> bool:
    """Whether a CPU may stand between a write and its check."""
    start = image.sym(register.writer)
    return start <= m.gdb.pc(cpu) < start + image.size(register.writer)


def wrong_bits(m: Machine, image: Image, registers: list[Register]) -> list[str]:
    """Registers of any CPU that lack a pinned bit."""
    return [f"CPU {cpu}: {r.name} is {value:#x}" for cpu in m.gdb.cpus() for r in registers
            if not r.right(value := m.gdb.reg(cpu, r.name)) and not in_writer(m, image, cpu, r)]


# ---- while they are attacked ------------------------------------------------------------------------------


def look(boot: Boot, image: Image, registers: list[Register], seed: int, smp: int) -> list[str]:
    """What was wrong at any moment of a run in which attack pin is made on every CPU, again and again."""
    m = boot(run=f"/bin/test-disarm {ROUNDS}", smp=smp, paused=True, icount=True, seed=seed & 0xFFFFFFFF, keep=True)
    image = image.at(m)
    m.run_until(image.sym("process_start_init"), timeout=60)
    # Two CPUs that arrive together count as one.
    events = [Event("an attack's end", image.sym("oops"), ROUNDS),
              Event("an attack's call", image.sym("vuln_ioctl"), ROUNDS),
              Event("a system call", image.sym("syscall_dispatch"), 50 * smp),
              Event("a switch", image.sym("schedule"), 10 * smp)]
    return [f"{moment}: {w}" for moment, _ in visit(m, draw(seed, f"pin-{smp}", events, MOMENTS), 240)
            for w in wrong_bits(m, image, registers)]


@pytest.mark.parametrize("smp", [1, 2])
def test_no_cpu_loses_a_pinned_bit_while_its_writer_is_attacked(boot: Boot, image: Image, registers: list[Register],
                                                                seed: int, smp: int) -> None:
    wrong = look(boot, image, registers, seed, smp)
    assert not wrong, "\n".join(wrong[:20])


@pytest.mark.soak
@pytest.mark.parametrize("step", range(SOAK_SEEDS))
def test_pinned_bits_stay_at_many_more_moments(boot: Boot, image: Image, registers: list[Register], seed: int,
                                               step: int) -> None:
    wrong = look(boot, image, registers, 1000 * seed + step, 1 + step % 4)
    assert not wrong, "\n".join(wrong[:20])


# ---- the instructions that write them ---------------------------------------------------------------------


def write_in(image: Image, arch: str, writer: str) -> tuple[int, str]:
    """The one in a writer."""
    start = image.sym(writer)
    (one,) = [w for w in writes_of(image, arch).items() if start <= w[0] < start + image.size(writer)]
    return one


def test_no_other_code_that_can_run_writes_them(boot: Boot, image: Image, arch: str, registers: list[Register]) -> None:
    """In no address space, once programs run: start-up's code does, and is not executable any more."""
    m = boot(run="/bin/true", smp=2, paused=True, keep=True)
    image = image.at(m)
    m.run_until(image.sym("process_exit"), timeout=60)
    kernel = Kernel(m, image)
    spaces, everywhere = kernel.spaces(), writes_of(image, arch)
    others = everywhere.keys() - {write_in(image, arch, r.writer)[0] for r in registers}
    assert others, "not even start-up?"
    for address in others:
        run = [f for f in aliases_of(spaces, kernel.frames((address, address + 3))) if f.mapping.executable]
        assert not run, f"{image.where(address)} writes a control register, and can be executed: {run[0]}"


def test_the_pins_are_read_only(boot: Boot, image: Image, registers: list[Register]) -> None:
    m = boot(run="/bin/true", smp=2, paused=True, keep=True)
    image = image.at(m)
    m.run_until(image.sym("process_exit"), timeout=60)
    kernel = Kernel(m, image)
    pins = [(image.sym(r.pin), image.sym(r.pin) + 16) for r in registers]
    assert not (found := writable_aliases_of(kernel.spaces(), kernel.frames(*pins))), found[0]


# What the instructions need from whoever jumps there, beside the value: interrupts off, and if he likes no stack.
STATUS = {"x86_64": ("eflags", ~0x200, 0), "aarch64": ("cpsr", ~0, 0x80)}
STACK, PC = {"x86_64": "rsp", "aarch64": "sp"}, {"x86_64": "rip", "aarch64": "pc"}
NO_STACK = 0x10000      # where no kernel has one


def stand_in_the_kernel(m: Machine, image: Image, cpu: int) -> None:
    """Stops where the kernel begins to serve an attack that is made on a CPU."""
    there = image.sym("vuln_ioctl")
    m.stop()
    m.gdb.set_break(there)
    m.cont()
    m.send(f"taskset -c {cpu} attack wp\n")
    while (stop := m.wait_stop(30)) and current_name(Kernel(m, image), stop.cpu) != "attack":
        m.cont()
    assert stop.cpu == cpu
    m.gdb.clear_break(there)


def jump(m: Machine, image: Image, cpu: int, register: Register, value: int, stack: bool) -> None:
    """Makes a CPU that stands in the kernel go on at the instruction that writes a register."""
    address, operand = write_in(image, m.arch.name, register.writer)
    status, keep, add = STATUS[m.arch.name]
    m.gdb.set_reg(cpu, status, m.gdb.reg(cpu, status) & keep | add)
    m.gdb.set_reg(cpu, operand, value)
    if not stack:
        m.gdb.set_reg(cpu, STACK[m.arch.name], NO_STACK)
    m.gdb.set_reg(cpu, PC[m.arch.name], address)


@pytest.mark.parametrize("stack", [True, False], ids=["with a stack", "without"])
def test_a_jump_straight_to_the_write_runs_into_the_check(boot: Boot, image: Image, registers: list[Register],
                                                          stack: bool) -> None:
    m = boot(smp=2)
    m.wait_for(PROMPT, 30)
    image = image.at(m)
    for cpu, register, bit in [(c, r, b) for c in (0, 1) for r in registers for b in r.bits]:
        stand_in_the_kernel(m, image, cpu)
        jump(m, image, cpu, register, m.gdb.reg(cpu, register.name) ^ bit, stack)
        m.run_until(image.sym("oops"), timeout=30)
        wrong = wrong_bits(m, image, registers)
        assert not wrong, f"after a jump with bit {bit:#x} of {register.name} changed: {wrong}"
        m.cont()
        m.wait_for(PROMPT, 30)
    reports = re.findall(r"^oops: pin: bits (0x[0-9a-f]+) of (\w+) were changed", m.transcript, re.MULTILINE)
    if stack:
        assert [int(b, 16) for b, _ in reports] == 2 * [b for r in registers for b in r.bits], reports


def test_a_bit_is_back_if_the_check_was_never_reached(boot: Boot, image: Image, registers: list[Register]) -> None:
    """As after an interrupt right behind the write, where there is no stack for it: the thread dies at once."""
    m = boot(smp=2)
    m.wait_for(PROMPT, 30)
    image = image.at(m)
    for cpu, register in [(c, r) for c in (0, 1) for r in registers]:
        stand_in_the_kernel(m, image, cpu)
        before = m.gdb.reg(cpu, register.name)
        jump(m, image, cpu, register, before ^ register.bits[-1] ^ register.free, stack=False)
        m.gdb.step(cpu)
        assert not register.right(m.gdb.reg(cpu, register.name)), "the write had no effect, and proves nothing"
        m.gdb.set_reg(cpu, PC[m.arch.name], NO_STACK)
        m.run_until(image.sym("process_exit"), timeout=30)
        wrong = wrong_bits(m, image, registers)
        assert not wrong, f"after a death on CPU {cpu}: {wrong}"
        assert m.gdb.reg(cpu, register.name) == before, "bits that are not pinned, but must not stay lost"
        m.cont()
        m.wait_for(PROMPT, 30)


def test_a_write_that_changes_no_pinned_bit_goes_through(boot: Boot, image: Image, arch: str,
                                                         registers: list[Register]) -> None:
    """As a flush of global translations does, for one."""
    m = boot(smp=2)
    m.wait_for(PROMPT, 30)
    image = image.at(m)
    for cpu, register in [(c, r) for c in (0, 1) for r in registers]:
        stand_in_the_kernel(m, image, cpu)
        value = m.gdb.reg(cpu, register.name) ^ register.free
        back = CPUS[arch].returns_to(m, cpu)
        m.gdb.set_reg(cpu, CPUS[arch].arguments[0], value)
        m.gdb.set_reg(cpu, PC[arch], image.sym(register.writer))
        m.run_until(back, timeout=30)
        assert m.gdb.reg(cpu, register.name) == value and not wrong_bits(m, image, registers)
        m.cont()
        m.wait_for(PROMPT, 30)
    assert "oops: pin" not in m.transcript


def runs_exempt(kernel: Kernel, cpu: int) -> bool:
    """Whether a CPU has the tables of a program that is exempt from W^X."""
    image = kernel.image
    pt = kernel.member(image.sym("cpus") + cpu * image.sizeof("struct cpu"), "struct cpu", "pt")
    return pt != image.sym("kernel_pt") and bool(
        kernel.member(pt - image.offsetof("struct vm", "pt"), "struct vm", "exempt"))


@pytest.mark.arch("aarch64")    # x86_64's bits are the same for all programs
def test_writable_pages_are_executable_for_exempt_programs_alone(boot: Boot, image: Image, seed: int) -> None:
    """WXN is clear on the CPU that runs one, as long as it does; no other bit ever is."""
    m = boot(run="/bin/test-exempt 60", smp=2, paused=True, icount=True, seed=seed & 0xFFFFFFFF, keep=True)
    image = image.at(m)
    m.run_until(image.sym("sys_prctl"), timeout=60)
    events = [Event("a system call", image.sym("syscall_dispatch"), 100)]
    seen = set()
    for moment, _ in visit(m, draw(seed, "pin-exempt", events, MOMENTS), 120):
        kernel = Kernel(m, image)
        for cpu in m.gdb.cpus():
            value, exempt = m.gdb.reg(cpu, "SCTLR"), runs_exempt(kernel, cpu)
            right = value & (SCTLR_WXN | SCTLR_SPAN | SCTLR_UMA) == (0 if exempt else SCTLR_WXN)
            assert right, f"{moment}: on CPU {cpu}, {'exempt' if exempt else 'as all'}, SCTLR is {value:#x}"
            seen.add(exempt)
    assert seen == {True, False}


# ---- /proc/harden -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("off", ["", "pin", "umip", "smap"])
def test_proc_harden_tells_whether_bits_stay(boot: Boot, off: str) -> None:
    """Bits of rows that are off are not there to be pinned, and the row holds for the others."""
    m = boot(append=harden_off([off] if off else []), smp=2)
    m.wait_for(PROMPT, 30)
    says = told(m)
    assert {row for row in ("pin", "umip", "smap") if says[row] == "off"} == {off} - {""}


def test_proc_harden_finds_out_that_pins_are_gone(boot: Boot, image: Image, registers: list[Register]) -> None:
    """The state is found by trying: so it is off as soon as one pin is taken out of memory."""
    for register in registers:
        m = boot(smp=2)
        m.wait_for(PROMPT, 30)
        here = image.at(m)
        m.stop()
        m.gdb.write_phys(Kernel(m, here).phys(here.sym(register.pin)), bytes(16))
        m.cont()
        assert told(m)["pin"] == "off"
        m.stop()
        assert not wrong_bits(m, here, registers), "what the probe changed it left so"
