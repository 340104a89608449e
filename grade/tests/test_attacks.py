"""Every attack wins where its mitigations are off, and loses to the complete kernel, seen from outside."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from grade.attacks import MAGIC, VERDICTS, attacks, harden_off, text_changed, won
from grade.entry_area import KERNEL_HALF
from grade.exclog import ArmException, ExcLog, X86Exception
from grade.image import Image
from grade.make import make
from grade.plugin import Boot, Build
from grade.qemu import ARCHES, PROMPT, Machine
from grade.spaces import Kernel

ROOT = Path(__file__).resolve().parent.parent.parent
ATTACKS = {arch: attacks(ROOT / "user" / "attack", arch) for arch in ARCHES}
USER_END = 1 << 47
PROGRAMS = {"x86_64": 0x5555_5555_4000, "aarch64": 0xAAAA_AAAA_0000}    # position-independent ones lie from there up
STACKS = (0xFFFF_C900_0000_0000, 0xFFFF_D980_0000_0000)    # wherever kaslr puts their area

pytestmark = pytest.mark.guest


def where(tried: Callable[[str], Iterable[Any]], *names: str) -> pytest.MarkDecorator:
    """Parametrizes a test with what is tried on each architecture, there alone."""
    places: dict[Any, list[str]] = {}
    for arch in ARCHES:
        for values in tried(arch):
            places.setdefault(values, []).append(arch)
    return pytest.mark.parametrize(names, [
        pytest.param(*([values] if len(names) == 1 else values), marks=pytest.mark.arch(*arches))
        for values, arches in places.items()])


EACH_ATTACK = where(lambda arch: ATTACKS[arch], "name")
# With one of its mitigations kept.
EACH_KEPT = where(lambda arch: [(a.name, row) for a in ATTACKS[arch].values() if len(a.needs_off) > 1
                                for row in a.needs_off], "name", "kept")


@pytest.fixture(scope="module")
def program(arch: str, build: Build) -> Iterator[Image]:
    """The attacks' symbols."""
    opened = Image(ROOT / "build" / arch / "user" / "attack")
    yield opened
    opened.close()


def test_every_attack_has_a_verdict() -> None:
    assert sorted({name for here in ATTACKS.values() for name in here}) == sorted(VERDICTS)


def test_release_kernel_has_no_broken_device() -> None:
    done = make("-n", "-B", "V=1", "RELEASE=1", "kernel", cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert "kernel/dev/mem.c" in done.stdout
    assert "vuln" not in done.stdout and "-DVULN" not in done.stdout


# ---- where they win ---------------------------------------------------------------------------------------


@EACH_ATTACK
def test_attack_wins_where_its_mitigations_are_off(boot: Boot, image: Image, program: Image, arch: str,
                                                   name: str) -> None:
    m = boot(run=f"/bin/attack {name}", append=harden_off(ATTACKS[arch][name].needs_off), paused=True, keep=True)
    assert won(m, image, program, name)


@EACH_KEPT
def test_attack_loses_if_one_of_its_mitigations_stays_on(boot: Boot, image: Image, program: Image, arch: str,
                                                         name: str, kept: str) -> None:
    rows = [row for row in ATTACKS[arch][name].needs_off if row != kept]
    m = boot(run=f"/bin/attack {name}", append=harden_off(rows), paused=True, keep=True)
    assert not won(m, image, program, name)


# ---- where they lose --------------------------------------------------------------------------------------


@dataclass
class Lost:
    """What was seen of one attack on the complete kernel."""

    status: int                     # as the shell tells it: 128 + the signal
    console: str
    faults: list[X86Exception] | list[ArmException]
    alive: bool                     # a command ran afterwards
    unchanged: bool                 # nothing in the kernel that an attack aims at changed
    image: Image                    # placed where the kernel ran


def _run_all(m: Machine, image: Image) -> Iterator[tuple[str, Lost]]:
    m.wait_for(PROMPT, 30)
    image = image.at(m)
    for name in ATTACKS[m.arch.name]:
        mark, before = m.log_exceptions(), len(m.transcript)
        m.send(f"attack {name}; echo status=$?\n")
        status = int(m.wait_for(r"^status=(\d+)\r?\n", 60)[1])
        m.log_exceptions(False)
        said = m.transcript[before:]
        m.send("echo still | sed s/$/-here/\n")
        alive = bool(m.wait_for(r"^still-here\r?$", 20))
        m.stop()
        kernel = Kernel(m, image)
        unchanged = not text_changed(m, image, "vuln_victim") and MAGIC not in (
            kernel.u64(image.sym(name)) for name in ("vuln_mark", "vuln_readonly", "vuln_gadget_ran", "vuln_stack_mark", "vuln_door"))
        m.cont()
        yield name, Lost(status, said, FAULTS[m.arch.name](m.exclog, mark), alive, unchanged, image)


# QEMU writes an aarch64 exception in several lines, which two CPUs may mix.
LOGGED_CPUS = {"x86_64": 2, "aarch64": 1}


@pytest.fixture(scope="module")
def lost(build: Build, image: Image) -> dict[str, Lost]:
    """Every attack, one after the other, on one boot of the complete kernel."""
    line = f"console={ARCHES[build.arch].console}"
    with Machine(build.kernel, build.initrd, line, arch=build.arch, smp=LOGGED_CPUS[build.arch], mem=128, exc_records=1 << 20) as m:
        return dict(_run_all(m, image))


FREE_PLACE = 300    # the entry that attack ro-pgtable makes
FAULTS = {"x86_64": ExcLog.faults, "aarch64": ExcLog.arm_faults}


def free_place(address: int | None) -> bool:
    """Whether it is the entry's in some table (and not a user's page that is copied as the kernel writes there)."""
    return address is not None and address >= KERNEL_HALF and address % 4096 == 8 * FREE_PLACE


# The exception that stops each attack: vector, error code, privilege level, address. An attack that is not
# here is stopped by the kernel's own check, which raises none.
def _where_the_copys_function_was(address: int, arch: str) -> bool:
    """Whether an address is one that a copy of attack aslr's victim may have had for its secret function."""
    victim = Image(ROOT / "build" / arch / "user" / "victim")
    try:
        return PROGRAMS[arch] <= address < PROGRAMS[arch] + (16 << 40) and \
            (address - victim.sym("open_safe")) % 4096 == 0
    finally:
        victim.close()


X86_64: dict[str, Callable[[X86Exception, Image, Image], bool]] = {
    "nx": lambda e, k, p: (e.vector, e.error, e.cpl) == (14, 0x15, 3) and e.cr2 == e.rip,
    "umip": lambda e, k, p: (e.vector, e.error, e.cpl, e.rip) == (13, 0, 3, p.sym("attack_sidt")),
    "smep": lambda e, k, p: (e.vector, e.error, e.cpl) == (14, 0x11, 0)
    and e.cr2 == e.rip == p.sym("attack_payload"),
    "smap": lambda e, k, p: (e.vector, e.error, e.cpl, e.cr2) == (14, 0x1, 0, p.sym("attack_fake")),
    "wp": lambda e, k, p: (e.vector, e.error, e.cpl, e.cr2) == (14, 0x3, 0, k.sym("vuln_readonly")),
    "wp-cow": lambda e, k, p: (e.vector, e.error, e.cpl) == (14, 0x3, 0) and (e.cr2 or 0) < USER_END
    and k.where(e.rip).startswith("vuln_ioctl"),
    "wx": lambda e, k, p: (e.vector, e.error, e.cpl) == (14, 0x3, 0)
    and (e.cr2 or 0) & 0xFFF == k.sym("vuln_victim") & 0xFFF and e.cr2 != k.sym("vuln_victim"),
    "wx-data": lambda e, k, p: (e.vector, e.error, e.cpl) == (14, 0x11, 0) and e.cr2 == e.rip == k.sym("vuln_buffer"),
    "null-guard": lambda e, k, p: (e.vector, e.error, e.cpl) == (14, 0x10, 0) and e.cr2 == e.rip == 0,
    "null-object": lambda e, k, p: (e.vector, e.error, e.cpl) == (14, 0x0, 0) and (e.cr2 or 0) < 0x1000,
    "stack-guard": lambda e, k, p: e.vector == 8 and e.cpl == 0,
    "ro-pgtable": lambda e, k, p: (e.vector, e.error, e.cpl) == (14, 0x3, 0) and free_place(e.cr2),
    # The plain load at the end: not even present.
    "kpti": lambda e, k, p: (e.vector, e.error, e.cpl, e.cr2) == (14, 0x4, 3, k.sym("vuln_secret")),
    "aslr": lambda e, k, p: (e.vector, e.error, e.cpl) == (14, 0x14, 3) and e.cr2 == e.rip
    and _where_the_copys_function_was(e.rip, "x86_64"),
    "kaslr": lambda e, k, p: (e.vector, e.error, e.cpl) == (14, 0x10, 0)
    and e.cr2 == e.rip == k.linked().sym("vuln_gadget"),
}


def fetch_of(e: ArmException, level: int, address: int | None, present: bool) -> bool:
    """An abort of the instruction at an address, by what its page forbids or because there is none."""
    return e.fetch and (e.from_el, e.far, e.elr, e.present) == (level, address, address, present)


AARCH64: dict[str, Callable[[ArmException, Image, Image], bool]] = {
    "nx": lambda e, k, p: fetch_of(e, 0, e.elr, True),
    "umip": lambda e, k, p: (e.ec, e.from_el, e.elr) == (0x18, 0, p.sym("attack_sidt")),    # MRS, trapped
    "smep": lambda e, k, p: fetch_of(e, 1, p.sym("attack_payload"), True),
    "smap": lambda e, k, p: e.data and (e.from_el, e.present, e.write, e.far) == (1, True, False, p.sym("attack_fake")),
    "wp": lambda e, k, p: (e.from_el, e.present, e.write, e.far) == (1, True, True, k.sym("vuln_readonly")),
    "wx": lambda e, k, p: (e.from_el, e.present, e.write) == (1, True, True)
    and (e.far or 0) & 0xFFF == k.sym("vuln_victim") & 0xFFF and e.far != k.sym("vuln_victim"),
    "wx-data": lambda e, k, p: fetch_of(e, 1, k.sym("vuln_buffer"), True),
    "null-guard": lambda e, k, p: fetch_of(e, 1, 0, False),
    "null-object": lambda e, k, p: e.data and (e.from_el, e.present) == (1, False) and (e.far or 0) < 0x1000,
    "ro-pgtable": lambda e, k, p: (e.from_el, e.present, e.write) == (1, True, True) and free_place(e.far),
    "kpti": lambda e, k, p: e.data and (e.from_el, e.present, e.far) == (0, False, k.sym("vuln_secret")),
    # There is no double fault: the guard page's own abort finds another stack.
    "stack-guard": lambda e, k, p: e.data and (e.from_el, e.present) == (1, False)
    and STACKS[0] <= (e.far or 0) < STACKS[1],
    "aslr": lambda e, k, p: fetch_of(e, 0, e.elr, False) and _where_the_copys_function_was(e.elr or 0, "aarch64"),
    "kaslr": lambda e, k, p: fetch_of(e, 1, k.linked().sym("vuln_gadget"), False),
}
STOPPED_BY = {"x86_64": X86_64, "aarch64": AARCH64}
# The row that the console names, if it is not the attack's own name; None: there is nothing to report.
REPORTS: dict[str, str | None] = {"wp-cow": "smap", "wx-data": "wx", "null-object": "null-guard", "leaks": None,
                                  "fpu": None, "asid": None, "aslr": None, "kstack-offset": None, "kpti": None,
                                  "heap-double": "heap", "usercopy-write": "usercopy", "seccomp-mask": "seccomp",
                                  "refcount-frame": "refcount", "cow": None}
# How those end that are stopped in user mode, as the shell tells it; where the kernel was stopped, the
# process is killed.
KILLED = 128 + 9
# They are told nothing, or get nothing, and end by themselves.
GOES_ON = {"format": 0, "leaks": 1, "kstack-offset": 1, "fpu": 1, "asid": 1, "cow": 1, "refcount": 1, "refcount-frame": 1}
SIGSYS = {"seccomp": 128 + 31, "seccomp-mask": 128 + 31}
STATUS = {"x86_64": {"nx": 128 + 11, "umip": 128 + 11, "aslr": 128 + 11, "kpti": 128 + 11, **GOES_ON, **SIGSYS},
          "aarch64": {"nx": 128 + 11, "umip": 128 + 4, "aslr": 128 + 11, "kpti": 128 + 11, **GOES_ON, **SIGSYS}}


@where(lambda arch: STOPPED_BY[arch], "by_hardware")
def test_attack_is_stopped_by_the_processor_where_it_should_be(lost: dict[str, Lost], program: Image, arch: str,
                                                               by_hardware: str) -> None:
    expected, faults, image = STOPPED_BY[arch][by_hardware], lost[by_hardware].faults, lost[by_hardware].image
    stopped = [e for e in faults if expected(e, image, program)]     # type: ignore[operator]
    assert len(stopped) == (3 if by_hardware == "nx" else 1), "\n".join(str(e) for e in faults[-10:])


@EACH_ATTACK
def test_attack_on_the_complete_kernel_changes_nothing(lost: dict[str, Lost], name: str) -> None:
    assert lost[name].unchanged


@EACH_ATTACK
def test_blocked_attack_ends_with_its_process_killed(lost: dict[str, Lost], arch: str, name: str) -> None:
    assert lost[name].status == STATUS[arch].get(name, KILLED), lost[name].console


@EACH_ATTACK
def test_blocked_attack_is_reported_by_the_mitigations_name(lost: dict[str, Lost], name: str) -> None:
    row = REPORTS.get(name, name)
    assert row is None or re.search(rf"^(oops|harden): {row}: ", lost[name].console, re.MULTILINE), lost[name].console


@EACH_ATTACK
def test_kernel_lives_on_after_a_blocked_attack(lost: dict[str, Lost], name: str) -> None:
    assert lost[name].alive


def test_overflow_of_a_kernel_stack_is_no_triple_fault(lost: dict[str, Lost]) -> None:
    assert "stack-guard: the kernel stack of thread" in lost["stack-guard"].console
    assert lost["stack-guard"].alive


# EFLAGS.IF lets interrupts in; PSTATE.I keeps them out.
LETS_INTERRUPTS_IN: dict[str, Callable[[Machine, int], bool]] = {
    "x86_64": lambda m, cpu: bool(m.gdb.reg(cpu, "eflags") & 1 << 9),
    "aarch64": lambda m, cpu: not m.gdb.reg(cpu, "cpsr") & 1 << 7,
}


def test_the_deep_recursion_of_dev_vuln_keeps_interrupts_out(boot: Boot, image: Image) -> None:
    """Else it were now and then an interrupt that finds no stack, in the last frame. An oops in an interrupt is a panic
    by design, and no verdict on a guard page."""
    m = boot(run="/bin/attack stack-guard", paused=True, keep=True)
    image = image.at(m)
    m.run_until(image.sym("process_start_init"), timeout=60)
    m.gdb.set_break(image.sym("recurse"))
    levels, lets_in = 0, LETS_INTERRUPTS_IN[m.arch.name]
    while True:
        m.cont()
        stop = m.wait_stop(60)
        if not stop.breakpoint:
            break
        levels += 1
        assert not lets_in(m, stop.cpu), f"at level {levels}"
    assert levels > 30 and "oops: stack-guard" in m.transcript
