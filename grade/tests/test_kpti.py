"""While user mode runs, the live tables have nothing of the kernel but the trampoline, and nothing that the TLB
remembers of the kernel is of use there. Seen on CPUs that stand in user mode, at moments that the seed draws."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from grade.attacks import harden_off
from grade.image import Image
from grade.moments import Event, draw, qemu_seed, visit
from grade.plugin import Boot
from grade.qemu import PROMPT, Machine
from grade.spaces import Kernel
from grade.tests.test_harden import load, told  # noqa: F401  (load is a fixture)
from grade.walk import Mapping

# aarch64's trampoline; x86_64's pair of roots has a file of its own.
pytestmark = [pytest.mark.guest, pytest.mark.arch("aarch64")]

MOMENTS = 12
KERNEL_HALF = 1 << 63
TRAMPOLINE = 0xFFFF_FF00_0000_0000
PAGE = 4096
# ARM D1.3.1: its second half are the vectors.
VECTORS = TRAMPOLINE + 0x800
TCR_A1 = 1 << 22


@dataclass
class Seen:
    """What a look at many moments found."""

    user: list[str] = field(default_factory=list)       # wrong with what user mode's tables have
    kernel: list[str] = field(default_factory=list)     # wrong with what the kernel runs on
    tlb: list[str] = field(default_factory=list)        # pages of the kernel that are not of an ASID
    user_asids: set[int] = field(default_factory=set)
    kernel_asids: set[int] = field(default_factory=set)
    cpus: set[int] = field(default_factory=set)         # that were seen with user mode's tables


def way_in(kernel: Kernel) -> Mapping:
    """The one page that user mode's tables may have of the kernel."""
    image = kernel.image
    at = kernel.phys(image.sym("a64_trampoline"))
    assert kernel.machine.read_phys(at, PAGE) == image.bytes_at(image.sym("a64_trampoline"), PAGE)
    return Mapping(TRAMPOLINE, at, PAGE, writable=False, user=False, exec_user=False, exec_kernel=True, global_=True)


def asid(machine: Machine, cpu: int) -> int:
    """The address-space identifier that a CPU walks with."""
    r = machine.regs(cpu, "TCR_EL1", "TTBR0_EL1", "TTBR1_EL1")
    return (r["TTBR1_EL1"] if r["TCR_EL1"] & TCR_A1 else r["TTBR0_EL1"]) >> 48


def hidden_problems(kernel: Kernel, cpu: int) -> list[str]:
    """What a CPU's live tables have of the kernel beside the way in."""
    allowed = way_in(kernel)
    there = [m for part in kernel.cpu.active(kernel.machine, cpu).parts for m in part if m.va >= KERNEL_HALF]
    out = [f"CPU {cpu}, user mode: {m}" for m in there if m != allowed]
    return out if allowed in there else [*out, f"CPU {cpu}: user mode has no way in at {allowed}"]


def look_at_cpu(kernel: Kernel, cpu: int, seen: Seen, when: str) -> None:
    """Adds what one CPU shows at one moment."""
    m = kernel.machine
    pc = m.gdb.pc(cpu)
    if kernel.cpu.in_user_mode(m, cpu):
        seen.cpus.add(cpu)
        seen.user_asids.add(asid(m, cpu))
        seen.user += [f"{when}: {w}" for w in hidden_problems(kernel, cpu)[:10]]
        if m.gdb.reg(cpu, "VBAR") != VECTORS:
            seen.user.append(f"{when}: CPU {cpu}: user mode's vectors are at {m.gdb.reg(cpu, 'VBAR'):#x}")
    elif pc & -PAGE != TRAMPOLINE:      # in there, tables change
        seen.kernel_asids.add(asid(m, cpu))
        root = m.gdb.reg(cpu, "TTBR1_EL1") & kernel.cpu.address
        if root != kernel.kernel_root():
            seen.kernel.append(f"{when}: CPU {cpu}, in the kernel: TTBR1 leads to {root:#x}")


def tlb_problems(kernel: Kernel) -> list[str]:
    """Pages of the kernel, other than the way in, that are of no address space: whatever the ASID, the TLB gives
    them."""
    allowed = way_in(kernel)
    space = kernel.walker.space(kernel.kernel_root(), "kernel")
    return [str(m) for part in space.parts for m in part if m.va >= KERNEL_HALF and m.global_ and m != allowed]


def look(boot: Boot, image: Image, load: Image, seed: int, smp: int) -> Seen:  # noqa: F811
    """Runs the workload and looks at every CPU at each moment."""
    m = boot(run="/bin/test-load 4000", smp=smp, paused=True, icount=True, seed=qemu_seed(seed, f"kpti-{smp}"), keep=True)
    m.run_until(load.sym("load_round"), timeout=60)
    placed = image.at(m)
    events = [Event("a round of the workload", load.sym("load_round"), 10), Event("memory", load.sym("memory"), 60),
              Event("a signal handler", load.sym("on_signal"), 8), Event("system call", placed.sym("syscall_dispatch"), 150),
              Event("switch", placed.sym("schedule"), 50)]
    seen = Seen()
    for moment, stop in visit(m, draw(seed, f"kpti-{smp}", events, MOMENTS), 120):
        kernel = Kernel(m, placed)
        for cpu in m.gdb.cpus():
            look_at_cpu(kernel, cpu, seen, str(moment))
        if not seen.tlb:
            seen.tlb = tlb_problems(kernel)
    m.gdb.set_break(load.sym("load_moved"))     # whatever was drawn, no CPU goes unseen
    for _ in range(400):
        if seen.cpus == set(m.gdb.cpus()):
            break
        m.cont()
        stop = m.wait_stop(30)
        look_at_cpu(Kernel(m, placed), stop.cpu, seen, "memory")
    assert seen.cpus == set(m.gdb.cpus()), f"only {seen.cpus} were seen in user mode"
    return seen


SMP = pytest.mark.parametrize("smp", [1, 4])


@SMP
def test_user_mode_has_nothing_of_the_kernel_but_the_trampoline(boot: Boot, image: Image, load: Image,  # noqa: F811
                                                                seed: int, smp: int) -> None:
    wrong = look(boot, image, load, seed, smp).user
    assert not wrong, "\n".join(wrong[:20])


@SMP
def test_no_page_of_the_kernel_is_in_the_tlb_for_user_mode(boot: Boot, image: Image, load: Image,  # noqa: F811
                                                           seed: int, smp: int) -> None:
    seen = look(boot, image, load, seed + 1, smp)
    assert not seen.tlb, "\n".join(seen.tlb[:20])
    assert seen.user_asids and seen.kernel_asids
    assert not seen.user_asids & seen.kernel_asids, "user mode has an identifier that the kernel has, too"


@SMP
def test_the_kernel_runs_on_its_own_tables(boot: Boot, image: Image, load: Image, seed: int,  # noqa: F811
                                           smp: int) -> None:
    wrong = look(boot, image, load, seed + 2, smp).kernel
    assert not wrong, "\n".join(wrong[:20])


@pytest.mark.parametrize("off", ["", "kpti"])
def test_proc_harden_tells_what_user_mode_has_of_the_kernel(boot: Boot, image: Image, load: Image,  # noqa: F811
                                                            off: str) -> None:
    m = boot(append=harden_off([off] if off else []), smp=4)
    m.wait_for(PROMPT, 30)
    says = told(m)["kpti"]
    m.stop()
    m.gdb.set_break(load.sym("load_round"))
    m.cont()
    m.send("test-load 3\n")
    stop = m.wait_stop(60)
    wrong = hidden_problems(Kernel(m, image), stop.cpu)
    assert says == ("off" if off else "on")
    assert bool(wrong) == bool(off), wrong[:10]
