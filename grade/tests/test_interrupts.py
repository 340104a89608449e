"""Interrupts: non-maskable ones at the worst moments, and none at all when nobody has anything to do."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable

import capstone
import pytest

from grade.deadline import DeadlineError
from grade.entry_area import EntryArea
from grade.exclog import TripleFault
from grade.image import Image
from grade.plugin import Boot
from grade.qemu import Machine
from grade.spaces import Kernel

pytestmark = pytest.mark.guest

# The trampoline's, which run at addresses of their own, and the kernel's.
TRAMPOLINE = ("x86_syscall_entry", "trap_entry", "x86_exit_sysret", "x86_exit_iret")
WAYS = (*TRAMPOLINE, "x86_syscall", "x86_trap_from_user", "x86_user_return")
CRITICAL = ("swapgs", "sysret", "iret")
# The frame that the processor and the vector's stub have pushed when paranoid_entry begins.
VECTOR, ERROR, RIP = 0, 1, 2


def instructions(image: Image, area: EntryArea) -> dict[int, str]:
    """Address -> mnemonic of every instruction of the entry and exit code."""
    decode = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    out = {}
    for name in WAYS:
        start = image.sym(name)
        for insn in decode.disasm(image.bytes_at(start, image.size(name)), start):
            if insn.mnemonic != "int3":     # behind what always leaves
                out[area.alias(insn.address) if name in TRAMPOLINE else insn.address] = insn.mnemonic
    return out


@pytest.mark.arch("x86_64")     # on aarch64 the kernel has no interrupts that it cannot mask
@pytest.mark.timeout(240)
def test_an_nmi_between_any_two_instructions_of_entry_and_exit_finds_and_leaves_the_right_gs_and_root(
        boot: Boot, image: Image, kernel_of: Callable[[Machine], Kernel]) -> None:
    m = boot(run="/bin/test-hammer 10000 mix", append="", smp=2, mem=256)
    m.wait_for("^Run ", 30)
    m.stop()
    image = image.at(m)
    m.run_until(image.sym("sys_clone"), hits=8, timeout=60)
    area = EntryArea(kernel_of(m))
    entry, handler = area.alias(image.sym("paranoid_entry")), image.sym("x86_paranoid_trap")
    survived, unreached = {}, []
    for addr, mnemonic in instructions(image, area).items():
        try:
            stop = m.run_until(addr, timeout=2)
        except DeadlineError:
            unreached.append((hex(addr), mnemonic))
            continue
        cpu = stop.cpu
        before = m.gdb.regs(cpu, ("rsp", "gs_base", "k_gs_base", "rax", "rcx", "cr3"))
        mine = image.sym("cpus") + cpu * image.sizeof("struct cpu")
        assert mine in (before["gs_base"], before["k_gs_base"])
        m.qmp.inject_nmi()
        frame: tuple[int, ...] = ()
        for _ in range(8):      # the other CPU gets one, too
            stop = m.run_until(entry, timeout=20)
            frame = struct.unpack("<7Q", m.gdb.read(m.gdb.reg(stop.cpu, "rsp"), 56, cpu=stop.cpu))
            if stop.cpu == cpu:
                break
        assert stop.cpu == cpu and frame[VECTOR] == 2
        assert frame[RIP] == addr, f"{image.where(frame[RIP])} and not {image.where(addr)}"
        for _ in range(8):
            stop = m.run_until(handler, timeout=20)
            assert m.gdb.reg(stop.cpu, "gs_base") == image.sym("cpus") + stop.cpu * image.sizeof("struct cpu")
            assert not m.gdb.reg(stop.cpu, "cr3") & 4096
            if stop.cpu == cpu:
                break
        assert stop.cpu == cpu
        for _ in range(50):     # back at the same instruction, as if nothing had been
            stop = m.run_until(addr, timeout=20)
            if stop.cpu == cpu:
                break
        assert m.gdb.regs(cpu, tuple(before)) == before, image.where(addr)
        survived[addr] = mnemonic
    m.cont()
    print(f"{len(survived)} places; not reached: {unreached}")
    for critical in CRITICAL:
        assert any(name.startswith(critical) for name in survived.values()), critical
    assert len(unreached) < 8, unreached    # the path of addresses that no honest program returns to
    m.stop()
    kernel = kernel_of(m)
    taken = sum(kernel.member(image.sym("cpus") + c * image.sizeof("struct cpu"), "struct cpu", "nmis") for c in (0, 1))
    assert taken >= len(survived)
    assert "anic" not in m.transcript and "not ok" not in m.transcript


def test_four_idle_cpus_take_hardly_any_interrupts(boot: Boot) -> None:
    m = boot(smp=4)
    m.wait_for(r"[#$] (?:\x1b\[6n)?\Z", 30)
    m.ask("sleep 0.5", 20)      # what start-up and the shell have left to do
    time.sleep(1)
    mark = m.log_exceptions()
    time.sleep(3)
    m.log_exceptions(False)
    taken = [e for e in m.exclog.since(mark) if not isinstance(e, TripleFault) and e.is_interrupt]
    # A tick of 100 Hz would be 1200; a timer that is set a second ahead at most, at most 3 a CPU.
    assert len(taken) <= 16, [str(e) for e in taken[:20]]
    assert m.ask("echo awake", 20).split() == ["awake"]


def counted(boot: Boot, smp: int, program: str, seconds: int) -> None:
    """A CPU that spun without `pause` would spin for its whole turn of 100 ms of guest time each time."""
    m = boot(run=program, smp=smp, icount=True)
    m.wait_for("^init: .* exited with 0", seconds)
    assert m.wait_exit(20) == 0


@pytest.mark.parametrize("smp", [2, 8])
def test_cpus_that_wait_for_one_another_give_way_under_a_counted_clock(boot: Boot, smp: int) -> None:
    counted(boot, smp, "/bin/test-forkexec 20", 30)


@pytest.mark.soak
@pytest.mark.parametrize("smp", [2, 8])
def test_cpus_under_load_give_way_under_a_counted_clock(boot: Boot, smp: int) -> None:
    counted(boot, smp, "/bin/test-hammer 2 mix futexes", 240)


@pytest.mark.arch("x86_64")     # aarch64's counter says its own frequency
def test_the_clock_runs_at_one_rate_however_busy_the_host_is(boot: Boot,
                                                             kernel_of: Callable[[Machine], Kernel]) -> None:
    rates = []
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3 * (os.cpu_count() or 1))]
    try:
        for _ in range(5):
            m = boot(run="/bin/true", smp=1, keep=True)
            m.wait_for("^init: .* exited with 0", 60)
            m.stop()
            kernel = kernel_of(m)
            rates.append(kernel.u64(kernel.image.sym("tsc_mult")))
            m.qmp.quit()
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    assert max(rates) < min(rates) * 1.005, rates
