"""x86_64's pair of roots: user mode runs on the one that has the entry area alone, the kernel on the other; seen on
every CPU and in every address space, at moments that the seed draws."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import pytest

from grade.attacks import harden_off
from grade.entry_area import BASE, CPUS_MAX, STRIDE, EntryArea
from grade.image import Image
from grade.moments import Event, draw, qemu_seed, visit
from grade.plugin import Boot
from grade.qemu import PROMPT
from grade.spaces import Kernel
from grade.tests.test_harden import load, told  # noqa: F401  (load is a fixture)

pytestmark = [pytest.mark.guest, pytest.mark.arch("x86_64")]

MOMENTS = 10
PAGE = 4096
GLOBAL_PAGES = 1 << 63
TRAP_FLAG = 1 << 8      # of RFLAGS: a #DB after the next instruction (SDM 3A 2.3)
ENTRY_END = BASE + (CPUS_MAX + 1) * STRIDE


@dataclass
class Seen:
    """What a look at many moments found."""

    user: list[str] = field(default_factory=list)       # wrong with what user mode's roots have
    running: list[str] = field(default_factory=list)    # wrong with the root that a CPU in user mode has loaded
    kernel: list[str] = field(default_factory=list)     # wrong with what the kernel runs on
    code: list[str] = field(default_factory=list)       # wrong with the trampoline's bytes
    halves: list[str] = field(default_factory=list)     # user halves that differ between the two roots
    tlb: list[str] = field(default_factory=list)        # kernel pages that outlive a change of CR3 in the TLB
    secrets: list[str] = field(default_factory=list)    # addresses of the kernel's in what user mode's roots have
    cpus: set[int] = field(default_factory=set)         # that were seen in user mode


def own_roots(kernel: Kernel) -> dict[int, str]:
    """Every address space's own root, from the kernel's lists alone: the kernel must not load another."""
    image = kernel.image
    at = image.offsetof("struct vm", "pt.root.v")
    vms = kernel.list_of(image.sym("vm_all"), "struct vm", "all")
    return {kernel.kernel_root(): "the kernel's tables"} | {kernel.u64(vm + at): f"vm at {vm:#x}" for vm in vms}


def look_at_cpus(kernel: Kernel, area: EntryArea, seen: Seen, when: str) -> None:
    """Adds what every CPU has loaded."""
    m = kernel.machine
    roots = own_roots(kernel)
    users = {root + PAGE for root in roots}
    for cpu in m.gdb.cpus():
        root, pc = kernel.cpu.root_of(m, cpu), m.gdb.pc(cpu)
        if kernel.cpu.in_user_mode(m, cpu):
            seen.cpus.add(cpu)
            if root not in users:
                seen.running.append(f"{when}: CPU {cpu}, user mode: CR3 is {root:#x}, no root for user mode")
            seen.running += [f"{when}: {w}" for w in area.problems(
                kernel.walker.space(root, f"CPU {cpu}'s live tables"))]
        elif kernel.windows(cpu):
            continue        # it writes tables: test_ro_pgtable.py
        elif not BASE <= pc < ENTRY_END and root not in roots:      # in there, roots change
            seen.kernel.append(f"{when}: CPU {cpu}, in the kernel at {kernel.image.where(pc)}: CR3 is {root:#x}")


def look_at_spaces(kernel: Kernel, area: EntryArea, seen: Seen, when: str) -> None:
    """Adds what every address space has for user mode."""
    m = kernel.machine
    for root, name in own_roots(kernel).items():
        seen.user += [f"{when}: {w}" for w in area.problems(
            kernel.walker.space(root + PAGE, f"{name}, for user mode"))]
        own, user = (struct.unpack("<256Q", m.read_phys(r, 2048)) for r in (root, root + PAGE))
        if [e & ~0x20 for e in own] != [e & ~0x20 for e in user]:    # but the accessed bit
            seen.halves.append(f"{when}: {name}: the user halves of its two roots differ")
    space = kernel.walker.space(kernel.kernel_root(), "kernel")
    seen.secrets += [f"{when}: {w}" for w in area.secrets(space)]
    seen.tlb = seen.tlb or [str(p) for part in space.parts for p in part if p.va >= GLOBAL_PAGES and p.global_]


def look(boot: Boot, image: Image, load: Image, seed: int, smp: int) -> Seen:  # noqa: F811
    """Runs the workload and looks at each moment."""
    m = boot(run="/bin/test-load 4000", smp=smp, paused=True, icount=True, seed=qemu_seed(seed, f"kpti-{smp}"), keep=True)
    m.run_until(load.sym("load_round"), timeout=60)
    placed = image.at(m)
    events = [Event("a round of the workload", load.sym("load_round"), 10), Event("memory", load.sym("memory"), 60),
              Event("a signal handler", load.sym("on_signal"), 8), Event("system call", placed.sym("syscall_dispatch"), 150),
              Event("trap", placed.sym("x86_trap"), 100), Event("switch", placed.sym("schedule"), 50)]
    seen = Seen()
    for moment, _ in visit(m, draw(seed, f"kpti-{smp}", events, MOMENTS), 120):
        kernel = Kernel(m, placed)
        area = EntryArea(kernel)
        look_at_cpus(kernel, area, seen, str(moment))
        look_at_spaces(kernel, area, seen, str(moment))
        seen.code = seen.code or area.code_problems()
    m.gdb.set_break(load.sym("load_moved"))     # whatever was drawn, no CPU goes unseen
    for _ in range(400):
        if seen.cpus == set(m.gdb.cpus()):
            break
        m.cont()
        m.wait_stop(30)
        kernel = Kernel(m, placed)
        look_at_cpus(kernel, EntryArea(kernel), seen, "memory")
    assert seen.cpus == set(m.gdb.cpus()), f"only {seen.cpus} were seen in user mode"
    return seen


SMP = pytest.mark.parametrize("smp", [1, 4])


@SMP
def test_no_root_for_user_mode_maps_anything_of_the_kernel_but_the_entry_area(
        boot: Boot, image: Image, load: Image, seed: int, smp: int) -> None:  # noqa: F811
    seen = look(boot, image, load, seed, smp)
    assert not seen.user + seen.code, "\n".join((seen.user + seen.code)[:20])
    assert not seen.halves, "\n".join(seen.halves[:20])
    assert not seen.tlb, "\n".join(seen.tlb[:20])


@SMP
def test_nothing_that_user_modes_roots_have_tells_where_the_kernel_is(
        boot: Boot, image: Image, load: Image, seed: int, smp: int) -> None:  # noqa: F811
    """Its addresses are kaslr's secret, and a Meltdown reads whatever the tables translate."""
    wrong = look(boot, image, load, seed + 3, smp).secrets
    assert not wrong, "\n".join(wrong[:20])


@pytest.mark.parametrize("event", ["an NMI", "a single step", "a double fault"])
def test_what_comes_on_a_short_stack_leaves_nothing_there_that_tells_where_the_kernel_is(
        boot: Boot, image: Image, load: Image, seed: int, event: str) -> None:  # noqa: F811
    """User mode's roots have the short stacks, too, and a program may step itself."""
    m = boot(run="/bin/attack stack-guard" if event == "a double fault" else "/bin/test-load 3", smp=1, paused=True,
             icount=True, seed=qemu_seed(seed, event), keep=True)
    placed = image.at(m)
    if event != "a double fault":
        m.run_until(load.sym("load_round"), timeout=60)
    if event == "an NMI":
        m.qmp.inject_nmi()
        m.run_until(placed.sym("x86_paranoid_trap"), timeout=30)
    elif event == "a double fault":     # of a kernel stack that runs over: what was saved is the kernel's
        m.run_until(placed.sym("stack_guard_report"), timeout=60)
    else:
        m.gdb.set_reg(0, "eflags", m.gdb.reg(0, "eflags") | TRAP_FLAG)
        m.run_until(placed.sym("signal_fault"), timeout=30)
    kernel = Kernel(m, placed)
    wrong = EntryArea(kernel).secrets(kernel.walker.space(kernel.kernel_root(), "kernel"))
    assert not wrong, "\n".join(wrong)


@SMP
def test_every_cpu_in_user_mode_has_a_root_for_user_mode_loaded(
        boot: Boot, image: Image, load: Image, seed: int, smp: int) -> None:  # noqa: F811
    wrong = look(boot, image, load, seed + 1, smp).running
    assert not wrong, "\n".join(wrong[:20])


@SMP
def test_the_kernel_runs_on_its_own_roots(
        boot: Boot, image: Image, load: Image, seed: int, smp: int) -> None:  # noqa: F811
    wrong = look(boot, image, load, seed + 2, smp).kernel
    assert not wrong, "\n".join(wrong[:20])


@pytest.mark.parametrize("off", ["", "kpti"])
def test_proc_harden_tells_what_cr3_is_in_user_mode(boot: Boot, image: Image, load: Image,  # noqa: F811
                                                    off: str) -> None:
    m = boot(append=harden_off([off] if off else []), smp=2)
    m.wait_for(PROMPT, 30)
    says = told(m)["kpti"]
    m.stop()
    m.gdb.set_break(load.sym("load_round"))
    m.cont()
    m.send("test-load 1\n")
    stop = m.wait_stop(30)
    kernel = Kernel(m, image)
    wrong = EntryArea(kernel).problems(kernel.walker.space(kernel.cpu.root_of(m, stop.cpu), "live"))
    assert says == ("off" if wrong else "on") == ("off" if off else "on")
