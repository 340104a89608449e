"""No mapping that stands writes a page table: looked for in every address space, for the tables of all of them, at
moments that the seed draws; some of them while a CPU has its window on the tables open."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from grade.attacks import current_name, harden_off
from grade.image import Image
from grade.moments import Event, Moment, draw, qemu_seed, visit
from grade.plugin import Boot
from grade.qemu import PROMPT, Machine
from grade.spaces import Kernel
from grade.tests.test_harden import load, told  # noqa: F401  (load is a fixture)
from grade.walk import Space, table_pages, writable_aliases_of

pytestmark = pytest.mark.guest

ROOT = Path(__file__).resolve().parent.parent.parent
BLOCK = 2 << 20
MOMENTS, OPEN = 4, 3     # drawn anywhere; drawn among the ends of windows
WINDOWS = 4
# Three tables are cleared, or a pair of roots made, with one instruction a word at most.
LONGEST = 2500
# What may run in a window, wherever the compiler put it.
IN_WINDOWS = ("make_tables", "make_roots", "write_entry", "make_changes", "split_large", "protect_kernel", "arch_pt_",
              "arch_table_block", "table_window_", "a64_set_tables", "a64_image_phys", "x86_bringup_", "a64_bringup_",
              "window_entry", "memset", "memcpy", "arch_mem", "arch_irq_", "x86_entry_data_of", "x86_entry_area")
MASKED = {"x86_64": lambda m, cpu: not m.gdb.reg(cpu, "eflags") & 1 << 9,
          "aarch64": lambda m, cpu: bool(m.gdb.reg(cpu, "cpsr") & 1 << 7)}


def tables_of(kernel: Kernel) -> tuple[set[int], list[Space]]:
    """Every page-table page of the stopped guest, the window's own among them; and every address space that stands:
    all but the window's, unless a CPU that has none open runs on it."""
    m, window = kernel.machine, kernel.window_root()
    standing = kernel.spaces()
    hidden: list[Space] = [] if window is None else [kernel.walker.space(window, "the window")]
    for cpu in m.gdb.cpus():
        live = kernel.cpu.active(m, cpu)
        (hidden if kernel.windows(cpu) else standing).append(live)
    return set(table_pages(standing + hidden)), standing


def writable_tables(kernel: Kernel) -> list[str]:
    """Mappings that stand and write a table."""
    tables, standing = tables_of(kernel)
    assert len(tables) > 20, "that are not the tables of a running kernel"
    return [str(f) for f in writable_aliases_of(standing, [(t, t + 4096) for t in tables])]


def window_problems(kernel: Kernel) -> list[str]:
    """CPUs that have a window and should not, or say so wrongly; what a window has beside the pool."""
    m, image, out = kernel.machine, kernel.image, []
    window = kernel.window_root()
    for cpu in m.gdb.cpus():
        count, inside = kernel.windows(cpu), kernel.cpu.root_of(m, cpu) == window
        where = image.where(m.gdb.pc(cpu))
        queue = image.sym("run_queues") + cpu * image.sizeof("struct run_queue")
        idle = kernel.current(cpu) == kernel.member(queue, "struct run_queue", "idle")
        if count > 1 or inside and not count:
            out.append(f"CPU {cpu} at {where}: the window is loaded, the count is {count}")
        if count and (kernel.cpu.in_user_mode(m, cpu) or idle and "idle" in where):
            out.append(f"CPU {cpu} at {where}: a window is open in user mode, or idle")
        if count and not MASKED[m.arch.name](m, cpu):
            out.append(f"CPU {cpu} at {where}: a window is open, and interrupts are on")
    if window is not None:
        space = kernel.walker.space(window, "the window")
        out += [str(p) for p in space.between(0, kernel.cpu.user_end)
                if p.user or p.executable or p.global_ or p.size != BLOCK or p.va != p.pa]
    return out


@dataclass
class Seen:
    """What a look at many moments found."""

    writable: list[str] = field(default_factory=list)
    windows: list[str] = field(default_factory=list)
    open: int = 0           # moments at which a CPU had a window
    blocks: int = 0         # that the window had at the last moment


def look_now(kernel: Kernel, seen: Seen, when: str) -> None:
    """Adds one moment."""
    seen.writable += [f"{when}: {w}" for w in writable_tables(kernel)[:5]]
    seen.windows += [f"{when}: {w}" for w in window_problems(kernel)[:5]]
    seen.open += any(kernel.windows(cpu) for cpu in kernel.machine.gdb.cpus())
    window = kernel.window_root()
    if window is not None:
        seen.blocks = len(kernel.walker.space(window).between(0, kernel.cpu.user_end))


def moments_of(m: Machine, image: Image, seed: int, label: str) -> list[Moment]:
    """Moments of the kernel's, in windows and out of them."""
    ends = Event("a window's end", image.sym("table_window_close"), 40)
    others = [Event("a fork", image.sym("vm_fork"), 8), Event("switch", image.sym("schedule"), 30),
              Event("an address space's end", image.sym("arch_pt_destroy"), 6),
              Event("system call", image.sym("syscall_dispatch"), 40)]
    return draw(seed, label, others, MOMENTS) + draw(seed, label, [ends], OPEN)


def look(boot: Boot, image: Image, load: Image, seed: int, smp: int) -> Seen:  # noqa: F811
    """Runs the workload and looks at each moment."""
    m = boot(run="/bin/test-load 40", smp=smp, paused=True, icount=True, seed=qemu_seed(seed, f"ro-pgtable-{smp}"), keep=True)
    placed = image.at(m)
    m.run_until(load.sym("load_round"), timeout=60)
    seen = Seen()
    look_now(Kernel(m, placed), seen, "user mode")
    for moment, _ in visit(m, moments_of(m, placed, seed, f"ro-pgtable-{smp}"), 120):
        look_now(Kernel(m, placed), seen, str(moment))
    assert seen.open >= OPEN, "windows were not seen open"
    return seen


SMP = pytest.mark.parametrize("smp", [1, 4])


@SMP
def test_no_mapping_that_stands_writes_a_page_table(boot: Boot, image: Image, load: Image, seed: int,  # noqa: F811
                                                    smp: int) -> None:
    wrong = look(boot, image, load, seed, smp).writable
    assert not wrong, "\n".join(wrong[:20])


@SMP
def test_a_window_is_open_only_where_its_cpu_says_so_and_writes_tables(
        boot: Boot, image: Image, load: Image, seed: int, smp: int) -> None:  # noqa: F811
    wrong = look(boot, image, load, seed + 1, smp).windows
    assert not wrong, "\n".join(wrong[:20])


def follow(m: Machine, image: Image, cpu: int, when: str) -> None:
    """Goes through a window, at the beginning of which a CPU stands, instruction by instruction."""
    kernel = Kernel(m, image)
    count = kernel.phys(image.sym("cpus") + cpu * image.sizeof("struct cpu") + image.offsetof("struct cpu", "table_windows"))
    before, opened, where = kernel.cpu.root_of(m, cpu), False, ""
    for _ in range(LONGEST):
        now = bool(m.read_phys(count, 1)[0])
        if opened and not now:
            assert kernel.cpu.root_of(m, cpu) == before, f"{when}: CPU {cpu} has other tables than before the window"
            return
        opened |= now
        where = image.where(m.gdb.pc(cpu))
        assert not now or where.startswith(IN_WINDOWS), f"{when}: in a window, {where} runs"
        m.gdb.step(cpu)
    raise AssertionError(f"{when}: a window of CPU {cpu} is open after {LONGEST} instructions, at {where}")


def test_windows_are_short_and_leave_each_cpu_with_the_tables_that_it_had(
        boot: Boot, image: Image, load: Image, seed: int) -> None:  # noqa: F811
    m = boot(run="/bin/test-load 400", smp=2, paused=True, icount=True, seed=qemu_seed(seed, "windows"), keep=True)
    placed = image.at(m)
    m.run_until(load.sym("load_round"), timeout=60)
    opens = placed.sym("table_window_open")
    followed = set()
    for moment, stop in visit(m, draw(seed, "windows", [Event("a window", opens, 60)], WINDOWS), 120):
        follow(m, placed, stop.cpu, str(moment))
        followed.add(stop.cpu)
    for _ in range(20):     # whatever was drawn, each CPU is seen
        if followed == set(m.gdb.cpus()):
            break
        m.run_until(load.sym("load_moved"), timeout=60)
        stop = m.run_until(opens, timeout=60)
        follow(m, placed, stop.cpu, "a window")
        followed.add(stop.cpu)
    assert followed == set(m.gdb.cpus()), f"windows of {followed} alone were seen"


def test_blocks_that_join_the_pool_later_are_read_only_too(boot: Boot, image: Image, arch: str, seed: int) -> None:
    """A program that needs more tables than start-up set aside, twice: the second time they are there."""
    program = Image(ROOT / "build" / arch / "user" / "test-sparse")
    try:
        full = program.sym("sparse_full")
    finally:
        program.close()
    m = boot(run="/bin/test-sparse", smp=2, paused=True, icount=True, seed=qemu_seed(seed, "pool"), keep=True)
    placed = image.at(m)
    seen, blocks = Seen(), []
    while len(blocks) < 2:
        stop = m.run_until(full, timeout=120)
        kernel = Kernel(m, placed)
        if current_name(kernel, stop.cpu) != "test-sparse":
            continue        # another program has something at the same address
        look_now(kernel, seen, f"time {len(blocks) + 1}")
        blocks.append(seen.blocks)
    assert not seen.writable + seen.windows, "\n".join(seen.writable + seen.windows)
    assert 2 < blocks[0] == blocks[1]
    m.cont()
    m.wait_for(r"^init: /bin/test-sparse exited with 0", 60)


def test_no_cpu_writes_a_new_table_by_what_its_tlb_remembers(boot: Boot, image: Image, arch: str, seed: int) -> None:
    """CPU 1 has written to a block when CPU 0 makes it one of the pool's. Its translation must not outlive that; where
    each entry to the kernel loads other tables (row kpti) it would not anyway, so that is off."""
    program = Image(ROOT / "build" / arch / "user" / "test-stale")
    try:
        word = program.sym("stale_word")
    finally:
        program.close()
    m = boot(run="/bin/test-stale", append=harden_off(["kpti"]), smp=2, paused=True, icount=True,
             seed=qemu_seed(seed, "stale"), keep=True)
    placed = image.at(m)
    m.run_until(program.entry, timeout=60)
    stop = m.run_until(placed.sym("arch_table_block"), timeout=120)
    kernel = Kernel(m, placed)
    assert (stop.cpu, current_name(kernel, 1)) == (0, "test-stale")
    for _ in range(LONGEST):
        if kernel.cpu.in_user_mode(m, 1):
            break
        m.gdb.step(1)
    place = m.gdb.reg(0, kernel.cpu.arguments[0]) + 0x5678
    m.gdb.write(word, (kernel.u64(placed.sym("direct_map_base")) + place).to_bytes(8, "little"), cpu=1)

    def written() -> int:
        """What is there after CPU 1 alone had time to write more than once."""
        for _ in range(2 * LONGEST):
            m.gdb.step(1)
        return int.from_bytes(m.read_phys(place, 8), "little")

    first = written()
    assert written() > first > 0, "CPU 1 does not write"
    m.run_until(placed.sym("add_block"), timeout=60)
    last = int.from_bytes(m.read_phys(place, 8), "little")
    assert written() == last, "CPU 1 still writes to what is a table now"


@pytest.mark.arch("x86_64")
def test_an_nmi_in_a_window_goes_back_to_it(boot: Boot, image: Image, load: Image) -> None:  # noqa: F811
    m = boot(run="/bin/test-load 3", smp=1, paused=True, keep=True)
    placed = image.at(m)
    m.run_until(load.sym("load_round"), timeout=60)
    m.run_until(placed.sym("table_window_close"), timeout=30)
    window = Kernel(m, placed).window_root()
    assert Kernel(m, placed).cpu.root_of(m, 0) == window
    m.qmp.inject_nmi()
    m.run_until(placed.sym("x86_paranoid_trap"), timeout=30)
    kernel = Kernel(m, placed)
    assert (kernel.cpu.root_of(m, 0), kernel.windows(0)) == (window, 1)
    m.cont()
    m.wait_for(r"^init: /bin/test-load exited with 0", 60)


@pytest.mark.parametrize("off", ["", "ro-pgtable"])
def test_proc_harden_tells_whether_tables_are_writable(boot: Boot, image: Image, off: str) -> None:
    m = boot(append=harden_off([off] if off else []), smp=2)
    m.wait_for(PROMPT, 30)
    says = told(m)["ro-pgtable"]
    m.stop()
    wrong = writable_tables(Kernel(m, image))
    assert says == ("off" if wrong else "on") == ("off" if off else "on"), wrong[:5]
