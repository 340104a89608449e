"""The eight mitigations, looked at from outside at moments that the seed draws, while programs run."""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from grade.attacks import attacks, current_name, harden_off
from grade.cpus import CPUS
from grade.image import Image
from grade.moments import Event, draw, visit
from grade.plugin import Boot, Build
from grade.qemu import PROMPT, Machine
from grade.rows import rows
from grade.spaces import Kernel
from grade.walk import (Space, aliases_of, find, mapped_between, user_accessible, writable_aliases_of,
                        writable_and_executable)
from grade.walk_aarch64 import MDSCR_TDCC, PSTATE_PAN, SCTLR_SPAN, SCTLR_UMA
from grade.walk_x86_64 import CR0_WP, CR4_SMAP, CR4_SMEP, CR4_UMIP, EFER_NXE

ROOT = Path(__file__).resolve().parent.parent.parent
# The rows whose state this file sees from outside; the others have files of their own.
ROWS = ("nx", "wp", "wx", "null-guard", "stack-guard", "smep", "smap", "umip")

KSTACK_SIZE = 32768
KSTACK_AREA_SIZE, DIRECT_MAP_SIZE = 1 << 39, 48 << 40     # arch/*/machine.h
KERNEL_HALF = 1 << 63
TRAMPOLINE_VECTORS = 0xFFFF_FF00_0000_0800
MMAP_MIN_ADDR = 0x10000
USER_END = 1 << 47
PROT_EXEC = 4
EFLAGS_AC = 1 << 18

MOMENTS = 6
SOAK_SEEDS = 6
RIGHTS_CHANGED = 10     # as often as user/test/rights.c says so

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def load(arch: str, build: Build) -> Iterator[Image]:
    """The workload's symbols."""
    opened = Image(ROOT / "build" / arch / "user" / "test-load")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def rights(arch: str, build: Build) -> Iterator[Image]:
    """The symbols of a program that has entries written again."""
    opened = Image(ROOT / "build" / arch / "user" / "test-rights")
    yield opened
    opened.close()


# ---- what must hold at every moment: each returns what is wrong, in words ---------------------------------


Check = Callable[[Kernel, list[Space]], list[str]]


def _register(name: str, right: Callable[[int], bool]) -> Check:
    def check(kernel: Kernel, _spaces: list[Space]) -> list[str]:
        gdb = kernel.machine.gdb
        return [f"CPU {cpu}: {name} is {value:#x}" for cpu in gdb.cpus() if not right(value := gdb.reg(cpu, name))]
    return check


def _bit(register: str, bit: int) -> Check:
    return _register(register, lambda value: bool(value & bit))


def _together(*checks: Check) -> Check:
    return lambda kernel, spaces: [w for check in checks for w in check(kernel, spaces)]


def constant_frames(kernel: Kernel) -> list[tuple[int, int]]:
    """Where the kernel's constants lie in memory."""
    image = kernel.image
    return kernel.frames(image.span("__rodata_start", "__rodata_end"),
                         image.span("__ro_after_init_start", "__ro_after_init_end"))


def _constants_are_read_only(kernel: Kernel, spaces: list[Space]) -> list[str]:
    return _words(writable_aliases_of(spaces, constant_frames(kernel)))


def _user_pages_are_not_the_kernels_to_execute(_kernel: Kernel, spaces: list[Space]) -> list[str]:
    return _words([f for f in user_accessible(spaces) if f.mapping.exec_kernel])


def _pan_in_the_kernel(kernel: Kernel, _spaces: list[Space]) -> list[str]:
    m = kernel.machine
    return [f"CPU {cpu}: in the kernel with PSTATE {value:#x}" for cpu in m.gdb.cpus()
            if not kernel.cpu.in_user_mode(m, cpu) and not (value := m.gdb.reg(cpu, "cpsr")) & PSTATE_PAN]


# What each row is made of: bits of registers, or what the tables say where there is no such bit.
CHECKS: dict[str, dict[str, Check]] = {
    "x86_64": {
        "nx": _bit("efer", EFER_NXE),
        "wp": _bit("cr0", CR0_WP),
        "smep": _bit("cr4", CR4_SMEP),
        "smap": _bit("cr4", CR4_SMAP),
        "umip": _bit("cr4", CR4_UMIP),
    },
    "aarch64": {
        "nx": _together(),      # UXN needs no bit to work: nx_problems looks at the pages
        "wp": _constants_are_read_only,
        "smep": _user_pages_are_not_the_kernels_to_execute,
        "smap": _together(_register("SCTLR", lambda value: not value & SCTLR_SPAN), _pan_in_the_kernel),
        "umip": _together(_register("SCTLR", lambda value: not value & SCTLR_UMA),
                          _register("CNTKCTL", lambda value: value == 2),       # EL0VCTEN alone
                          _register("PMUSERENR_EL0", lambda value: value == 0),
                          _bit("MDSCR_EL1", MDSCR_TDCC)),
    },
}
# Rows that cannot be off alone. There, no bit makes the kernel ignore read-only pages, so without wp they are
# writable, text's second address too; and without wx every page is.
ALSO_OFF = {"aarch64": {"wp": {"wx"}, "wx": {"wp"}}}


def _words(findings: list) -> list[str]:    # type: ignore[type-arg]
    return [str(f) for f in findings[:20]]


def wx_problems(kernel: Kernel, spaces: list[Space], lowest: int = 0) -> list[str]:
    """Writable and executable pages from `lowest` up; writable aliases of text; writable or executable
    constants; an executable direct map."""
    text = kernel.frames(kernel.image.span("__text_start", "__text_end"))
    direct_map = kernel.u64(kernel.image.sym("direct_map_base"))
    constants = constant_frames(kernel)
    wrong = _words([f for f in writable_and_executable(spaces) if f.mapping.va >= lowest])
    wrong += ["text: " + w for w in _words(writable_aliases_of(spaces, text))]
    wrong += ["constant: " + w for w in _words(
        [f for f in aliases_of(spaces, constants) if f.mapping.writable or f.mapping.executable])]
    wrong += ["direct map: " + w for w in _words(find(
        spaces, lambda m: direct_map <= m.va < direct_map + DIRECT_MAP_SIZE and m.executable))]
    return wrong


def nx_problems(kernel: Kernel, spaces: list[Space]) -> list[str]:
    """User pages that are executable although their area is not."""
    image, out = kernel.image, []
    by_root = {s.root: s for s in spaces}
    root_at = image.offsetof("struct vm", "pt.root.v")
    for vm in kernel.list_of(image.sym("vm_all"), "struct vm", "all"):
        space = by_root[kernel.u64(vm + root_at) & ~0xFFF]
        areas = kernel.member(vm, "struct vm", "areas")
        for i in range(kernel.member(vm, "struct vm", "count")):
            area = kernel.u64(areas + 8 * i)
            if kernel.member(area, "struct vma", "prot") & PROT_EXEC:
                continue
            start, end = (kernel.member(area, "struct vma", w) for w in ("start", "end"))
            out += [f"{m} in {space}" for m in space.between(start, end) if m.exec_user]
    return out


def null_problems(spaces: list[Space]) -> list[str]:
    """Anything mapped where NULL pointers lead."""
    return _words(mapped_between(spaces, 0, MMAP_MIN_ADDR))


def _ist_stacks(kernel: Kernel, this: int, cpu: int) -> dict[int, str]:
    tops = {i: kernel.u64(this + kernel.image.offsetof("struct cpu", f"emergency_sp[{i}]")) for i in range(4)}
    return {top - KSTACK_SIZE: f"CPU {cpu}'s emergency stack {i + 1}" for i, top in tops.items() if top}


def _overflow_stack(kernel: Kernel, this: int, cpu: int) -> dict[int, str]:
    return {kernel.member(this, "struct cpu", "overflow_sp") - KSTACK_SIZE: f"CPU {cpu}'s overflow stack"}


EMERGENCY_STACKS = {"x86_64": _ist_stacks, "aarch64": _overflow_stack}


def kernel_stacks(kernel: Kernel) -> dict[int, str]:
    """The lowest address of every kernel stack: threads', idle threads', emergency ones."""
    image = kernel.image
    out = {t.kstack: f"thread {t.tid} {t.name}" for t in kernel.threads()}
    for cpu in kernel.machine.gdb.cpus():
        queue = image.sym("run_queues") + cpu * image.sizeof("struct run_queue")
        idle = kernel.member(queue, "struct run_queue", "idle")
        out[kernel.member(idle, "struct thread", "kstack")] = f"CPU {cpu}'s idle thread"
        this = image.sym("cpus") + cpu * image.sizeof("struct cpu")
        out |= EMERGENCY_STACKS[kernel.machine.arch.name](kernel, this, cpu)
    return out


def _double_fault_problems(kernel: Kernel) -> list[str]:
    """CPUs on which a double fault, which is what an overflow becomes, has no stack of its own."""
    image = kernel.image
    gate = image.sym("idt") + 8 * image.sizeof("struct gate")
    number = kernel.member(gate, "struct gate", "ist")
    if not number:
        return ["a double fault stays on the stack that overflowed"]
    at = image.offsetof("struct cpu", f"emergency_sp[{number - 1}]")
    return [f"CPU {cpu} has no emergency stack for a double fault" for cpu in kernel.machine.gdb.cpus()
            if not kernel.u64(image.sym("cpus") + cpu * image.sizeof("struct cpu") + at)]


def _vector_problems(kernel: Kernel) -> list[str]:
    """CPUs whose exceptions are taken without a look at the stack pointer."""
    image, out = kernel.image, []
    for cpu in kernel.machine.gdb.cpus():
        vbar = kernel.machine.gdb.reg(cpu, "VBAR")
        if vbar == TRAMPOLINE_VECTORS:      # user mode's, which lead to these
            vbar = kernel.member(image.sym("cpus") + cpu * image.sizeof("struct cpu"), "struct cpu", "vectors")
        if vbar != image.sym("a64_vectors"):
            out.append(f"CPU {cpu}: its vectors are at {vbar:#x}")
    return out


EMERGENCY = {"x86_64": _double_fault_problems, "aarch64": _vector_problems}


def stack_problems(kernel: Kernel, spaces: list[Space]) -> list[str]:
    """Kernel stacks outside their area, or with something mapped right below."""
    out = EMERGENCY[kernel.machine.arch.name](kernel)
    area = kernel.u64(kernel.image.sym("kstack_area_base"))
    for base, whose in kernel_stacks(kernel).items():
        if not area <= base < area + KSTACK_AREA_SIZE:
            out.append(f"{whose}: its stack at {base:#x} is not in the stack area")
        out += [f"below the stack of {whose}: {f}" for f in mapped_between(spaces, base - 4096, base)]
    return out


def problems(machine: Machine, image: Image) -> dict[str, list[str]]:
    """What is wrong with each row, in a machine that stands."""
    kernel = Kernel(machine, image)
    spaces = kernel.spaces()
    out = {row: check(kernel, spaces) for row, check in CHECKS[machine.arch.name].items()}
    out["nx"] = out["nx"] + nx_problems(kernel, spaces)
    out["wx"] = wx_problems(kernel, spaces)
    out["null-guard"] = null_problems(spaces)
    out["stack-guard"] = stack_problems(kernel, spaces)
    out["tables"] = [f"{s}: {p}" for s in spaces for p in s.problems]
    return out


# ---- at moments drawn from the seed -----------------------------------------------------------------------


def look(boot: Boot, image: Image, load: Image, seed: int, smp: int) -> dict[str, list[str]]:
    """Runs the workload and looks at each moment; what was wrong at any of them, by row."""
    m = boot(run="/bin/test-load 40", smp=smp, paused=True, icount=True, seed=seed & 0xFFFFFFFF, keep=True)
    image = image.at(m)
    m.run_until(load.sym("load_round"), timeout=60)
    events = [Event("a round of the workload", load.sym("load_round"), 10),
              Event("trap", image.sym(CPUS[m.arch.name].trap), 150),
              Event("system call", image.sym("syscall_dispatch"), 150), Event("fork", image.sym("vm_fork"), 10),
              Event("switch", image.sym("schedule"), 50)]
    out: dict[str, list[str]] = {}
    for moment, _ in visit(m, draw(seed, f"harden-{smp}", events, MOMENTS), 120):
        for row, wrong in problems(m, image).items():
            out.setdefault(row, []).extend(f"{moment}: {w}" for w in wrong)
    return out


@pytest.fixture
def looks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, arch: str) -> Path:
    """A folder in which one look serves every row's test, those of parallel workers too."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if hasattr(request.config, "workerinput") else base) / f"looks-{arch}"
    folder.mkdir(exist_ok=True)
    return folder


def check_row(row: str, smp: int, boot: Boot, image: Image, load: Image, seed: int, looks: Path) -> None:
    """Fails with what is wrong with a row."""
    with open(looks / f"{smp}.json", "a+") as kept:
        fcntl.flock(kept, fcntl.LOCK_EX)
        kept.seek(0)
        text = kept.read()
        found = json.loads(text) if text else look(boot, image, load, seed, smp)
        if not text:
            json.dump(found, kept)
    assert not found[row], "\n".join(found[row][:20])


SMP = pytest.mark.parametrize("smp", [1, 4])


@SMP
def test_user_data_is_never_executable(boot: Boot, image: Image, load: Image, seed: int, looks: Path,
                                       smp: int) -> None:
    check_row("nx", smp, boot, image, load, seed, looks)


def test_data_stays_data_when_its_entries_are_written_anew(boot: Boot, image: Image, rights: Image) -> None:
    m = boot(run="/bin/test-rights", smp=2, paused=True, icount=True, keep=True)
    image = image.at(m)
    changes = 0
    while changes < RIGHTS_CHANGED:
        stop = m.run_until(rights.sym("rights_changed"), timeout=60)
        kernel = Kernel(m, image)
        if current_name(kernel, stop.cpu) == "test-rights":     # another program may have code at this address
            changes += 1
            assert not nx_problems(kernel, kernel.spaces()), f"change {changes}"


@SMP
def test_every_cpu_obeys_read_only_pages(boot: Boot, image: Image, load: Image, seed: int, looks: Path,
                                         smp: int) -> None:
    check_row("wp", smp, boot, image, load, seed, looks)


@SMP
def test_nothing_is_writable_and_executable_in_any_address_space(boot: Boot, image: Image, load: Image, seed: int,
                                                                 looks: Path, smp: int) -> None:
    check_row("wx", smp, boot, image, load, seed, looks)


@SMP
def test_nothing_is_mapped_where_null_pointers_lead(boot: Boot, image: Image, load: Image, seed: int, looks: Path,
                                                    smp: int) -> None:
    check_row("null-guard", smp, boot, image, load, seed, looks)


@SMP
def test_an_unmapped_page_lies_below_every_kernel_stack(boot: Boot, image: Image, load: Image, seed: int,
                                                        looks: Path, smp: int) -> None:
    check_row("stack-guard", smp, boot, image, load, seed, looks)


@SMP
def test_no_cpu_executes_user_pages_in_the_kernel(boot: Boot, image: Image, load: Image, seed: int, looks: Path,
                                                  smp: int) -> None:
    check_row("smep", smp, boot, image, load, seed, looks)


@SMP
def test_no_cpu_reaches_user_data_outside_the_copy_routines(boot: Boot, image: Image, load: Image, seed: int,
                                                            looks: Path, smp: int) -> None:
    check_row("smap", smp, boot, image, load, seed, looks)


@SMP
def test_no_cpu_tells_user_mode_where_its_tables_are(boot: Boot, image: Image, load: Image, seed: int, looks: Path,
                                                     smp: int) -> None:
    check_row("umip", smp, boot, image, load, seed, looks)


@SMP
def test_page_tables_are_well_formed(boot: Boot, image: Image, load: Image, seed: int, looks: Path,
                                     smp: int) -> None:
    check_row("tables", smp, boot, image, load, seed, looks)


@pytest.mark.soak
@pytest.mark.parametrize("step", range(SOAK_SEEDS))
def test_mitigations_hold_at_many_more_moments(boot: Boot, image: Image, load: Image, seed: int, step: int) -> None:
    wrong = look(boot, image, load, 1000 * seed + step, 1 + step % 4)
    assert not any(wrong.values()), wrong


# ---- smap: the flag that opens user memory ----------------------------------------------------------------


@pytest.mark.arch("x86_64")     # on aarch64 user mode cannot reach PSTATE.PAN, and every exception sets it
def test_kernel_entry_clears_the_flag_that_opens_user_memory(boot: Boot, image: Image, load: Image) -> None:
    """User mode may set AC, which would switch SMAP off for the kernel: entries must clear it."""
    m = boot(run="/bin/test-load 10", smp=2, paused=True, icount=True, keep=True)
    image = image.at(m)
    m.run_until(load.sym("load_round"), timeout=60)
    entries = {image.sym("syscall_dispatch"): "system call", image.sym("x86_trap"): "trap"}
    with_ac = {(kind, cpu): 0 for kind in entries.values() for cpu in m.gdb.cpus()}
    for address in entries:
        m.gdb.set_break(address)
    for _ in range(1500):
        m.cont()
        stop = m.wait_stop(30)
        r = m.regs(stop.cpu, "rip", "rdi", "eflags")
        assert not r["eflags"] & EFLAGS_AC, f"AC is set at the kernel's entry for a {entries[r['rip']]}"
        frame = r["rdi"] + image.offsetof("struct trapframe", "rflags")
        if int.from_bytes(m.gdb.read(frame, 8, stop.cpu), "little") & EFLAGS_AC:
            with_ac[entries[r["rip"]], stop.cpu] += 1
        if all(with_ac.values()):
            break
    assert all(with_ac.values()), f"no entry from user mode with AC set was seen: {with_ac}"


@pytest.mark.arch("aarch64")
@pytest.mark.parametrize(("cpu", "csv2"), [("max", "on"), ("cortex-a72", "absent")])
def test_a_context_steers_no_others_branches_where_the_processor_says_so(boot: Boot, cpu: str, csv2: str) -> None:
    """QEMU shows no debugger ID_AA64PFR0_EL1; but its models differ in FEAT_CSV2 (target/arm/cpu64.c)."""
    m = boot(cpu=cpu)
    m.wait_for(PROMPT, 60)
    assert told(m)["ibrs"] == csv2


# ---- /proc/harden -----------------------------------------------------------------------------------------


def told(m: Machine) -> dict[str, str]:
    """Each row's state as /proc/harden tells it."""
    m.send("cat /proc/harden; echo that was all\n")
    m.wait_for(r"^that was all\r?$", 20)
    return dict(re.findall(r"^([a-z-]+) +(on|off|absent) ", m.transcript, re.MULTILINE))


def page_zero_can_be_mapped(m: Machine, image: Image, program: Image) -> bool:
    """Runs an attack that tries to, and walks its tables."""
    m.stop()
    there = program.sym("attack_page_zero")
    m.gdb.set_break(there)
    m.cont()
    m.send("attack null-guard\n")
    while True:
        stop = m.wait_stop(30)
        kernel = Kernel(m, image)
        if current_name(kernel, stop.cpu) == "attack":
            break
        m.cont()
    m.gdb.clear_break(there)
    return kernel.walker.translate(kernel.cpu.root_of(m, stop.cpu), 0) is not None


def seen(m: Machine, image: Image, program: Image) -> dict[str, bool]:
    """Each row's state as it is seen from outside."""
    mapped = page_zero_can_be_mapped(m, image, program)
    wrong = problems(m, image)
    wrong["null-guard"] = ["page 0 is mapped"] if mapped else []
    if wrong["nx"]:     # then user data is executable, which is no fault of wx
        kernel = Kernel(m, image)
        wrong["wx"] = wx_problems(kernel, kernel.spaces(), KERNEL_HALF)
    return {row: not wrong[row] for row in ROWS}


def test_every_row_of_proc_harden_says_how_it_is_proven(boot: Boot, arch: str) -> None:
    m = boot()
    m.wait_for(PROMPT, 30)
    proofs = {row.name: row for row in rows()}
    assert set(told(m)) == {name for name, row in proofs.items() if arch in row.architectures}
    here = attacks(ROOT / "user" / "attack", arch)
    assert {a for row in proofs.values() for a in row.attacks} >= set(here)
    for row in proofs.values():
        for test in (*row.checks, *(t for m in row.mutants for t in m.caught)):
            file, _, name = test.partition("::")
            assert f"\ndef {name}(" in (ROOT / "grade" / "tests" / file).read_text(), f"{row.name}: no {test}"


@pytest.mark.parametrize("off", ["", *ROWS])
def test_proc_harden_tells_what_is_seen_from_outside(boot: Boot, image: Image, arch: str, off: str) -> None:
    m = boot(append=harden_off([off] if off else []))
    m.wait_for(PROMPT, 30)
    says = told(m)
    program = Image(ROOT / "build" / arch / "user" / "attack")
    try:
        sees = seen(m, image, program)
    finally:
        program.close()
    expected = {off} | ALSO_OFF.get(arch, {}).get(off, set())
    assert {row for row, state in says.items() if state == "off"} == expected - {""}
    assert {row: says[row] == "on" for row in ROWS} == sees
