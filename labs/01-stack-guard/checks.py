"""The checks of stack-guard: what the tables, the registers and QEMU's exception log say.

Two boots. In each, a program of ours (programs/lab-stack-guard.c) overflows kernel stacks through /dev/vuln and
stops where we look. Which name the victim has, and how deep it goes, is drawn from the seed.
"""

from __future__ import annotations

import contextlib
import re
import string
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from grade.exclog import ArmException, Record, TripleFault, X86Exception
from grade.labs.grading import OWN, Ended, Guest, Run, picture
from grade.spaces import Kernel
from grade.walk import Space

PAGE, KSTACK = 0x1000, 0x8000
AT_GATES, AT_TABLES, AT_REUSE, AT_BEFORE, AT_AFTER, AT_ALIVE, AT_AGAIN, AT_LEAK, AT_LEAKED, AT_END = range(1, 11)
R_DEPTH0, R_DEPTH1, R_STATUS, R_ALIVE, R_AGAIN, R_AGAIN_ALIVE = range(OWN, 9)
SLEEPERS, NOT_KILLED = 80, 77
CHURN, LOOKS = 150, 3       # rounds of forks, and in how many of them we look
VEC_DF, VEC_PF = 8, 14
EMERGENCY_MAX = 0x10000     # an emergency stack ends, in a guard, within this many bytes
LEAK_MAX = 40               # frames; fifty stacks would be four hundred

PROGRAM = "lab-stack-guard"


def scenarios() -> list:
    """What may run side by side."""
    return [first_cpu, second_cpu]


# ---- stacks -------------------------------------------------------------------------------------------------


def stacks(k: Kernel) -> dict[str, int]:
    """Every kernel stack that can be found from outside: what it belongs to -> its lowest byte."""
    out = {f'thread {t.tid} "{t.name}"': t.kstack for t in k.threads()}
    size = k.image.sizeof("struct run_queue")
    for cpu in k.machine.gdb.cpus():
        idle = k.member(k.image.sym("run_queues") + cpu * size, "struct run_queue", "idle")
        out[f"idle thread of CPU {cpu}"] = k.member(idle, "struct thread", "kstack")
    return out


def around(space: Space, va: int) -> str:
    """The neighbourhood of an address in words."""
    seen = [str(m) for m in space.between(va - 2 * PAGE, va + PAGE)]
    return "; ".join(seen) or "nothing mapped"


@dataclass(frozen=True)
class Wrong:
    """What is wrong with one stack: in words, in which address space, and at which page."""

    text: str
    owner: str
    low: int
    space: Space
    page: int


def draw(space: Space, owner: str, low: int, page: int, says: str) -> dict:
    """A stack and what lies below it, one page marked."""
    return picture(space, low - 3 * PAGE, low + KSTACK + PAGE, {(low, low + KSTACK): f"stack of {owner}"},
                   (page, page + PAGE), says)


def unguarded(k: Kernel) -> list[Wrong]:
    """What is wrong below each stack; empty if every one is guarded in every address space."""
    out = []
    spaces = k.own_spaces()     # not user mode's: no stack is there (row kpti)
    for owner, low in stacks(k).items():
        if low % PAGE:
            out.append(Wrong(f"the stack of {owner} begins at {low:#x}, in the middle of a page", owner, low & -PAGE,
                             spaces[0], low & -PAGE))
            continue
        for space in spaces:
            below = space.covers(low - PAGE)
            if below is not None:
                out.append(Wrong(f"below the stack of {owner} ({low:#x}) a page is mapped: {below} in {space.name}; "
                                 f"around it: {around(space, low)}", owner, low, space, low - PAGE))
                break
            bad = [va for va in range(low, low + KSTACK, PAGE)
                   if (m := space.covers(va)) is None or not m.writable or m.user or m.executable]
            if bad:
                out.append(Wrong(f"the stack of {owner} is not {KSTACK >> 10} KiB of kernel RW- memory at {bad[0]:#x} "
                                 f"in {space.name}", owner, low, space, bad[0]))
                break
    return out


def too_narrow(k: Kernel, pages: int) -> list[Wrong]:
    """What is mapped in the pages below each stack (twist wide-guard)."""
    found = ((owner, low, space, next(iter(space.between(low - pages * PAGE, low)), None))
             for owner, low in stacks(k).items() for space in k.own_spaces())
    return [Wrong(f"within {pages} pages below the stack of {owner} ({low:#x}) there is {m} in {space.name}", owner, low,
                  space, low - PAGE) for owner, low, space, m in found if m is not None]


def judge_guards(run: Run, name: str, k: Kernel) -> None:
    """Decides a check over all stacks there are now."""
    pages = run.twist("wide-guard")
    wrong = unguarded(k) or (too_narrow(k, pages) if pages else [])
    all_stacks = stacks(k)
    count = len(all_stacks)
    owner, low = next(iter(all_stacks.items()))
    shown = draw(wrong[0].space, wrong[0].owner, wrong[0].low, wrong[0].page, "this page is wrong") if wrong else \
        draw(k.own_spaces()[0], owner, low, low - PAGE, "the guard: a store here faults")
    run.check(name, not wrong, seen=f"{len(wrong)} of {count} stacks lack their guard: {wrong[0].text}" if wrong else
              f"{count} stacks, each with an unmapped page below, in {len(k.roots())} address spaces",
              expected=f"{f'{pages} pages' if pages else 'the page'} below the lowest byte of each kernel stack: not mapped "
              "in any address space",
              look="kstack_alloc() in kernel/harden/stack_guard.c; `rp-pt ADDR` in `make gdb` explains a page",
              picture=shown)


# ---- how a processor comes to an emergency stack ------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """One architecture's way from the guard to the emergency stack, and how it is seen."""

    fault: str                                              # what the overflow is recorded as
    address_of: Callable[[Record], int | None]              # of such a record: the address; None for other records
    handler: Callable[[Guest, Kernel, int], int]            # where that stack must be in use
    top: Callable[[Guest, Kernel, int], int | None]         # where it begins on a CPU; None if there is none
    wrong: Callable[[Guest, Kernel, int], str | None]       # what else would be a mistake, in words
    address: str                                            # the register that holds the address
    sp: str
    emergency_expected: str
    emergency_look: str
    overflow_expected: str
    overflow_look: str


def _table_base(guest: Guest, cpu: int, name: str) -> int:
    """The base of a CPU's IDT or TR, from QEMU."""
    text = guest.machine.qmp.hmp("info registers", cpu=cpu)
    match = re.search(rf"^{name}\s*=\s*(?:[0-9a-f]{{4}} )?\s*([0-9a-f]{{16}})", text, re.MULTILINE)
    if match is None:
        raise Ended(f"CPU {cpu} shows no {name}")
    return int(match[1], 16)


def _gate(guest: Guest, k: Kernel, cpu: int, vector: int) -> tuple[int, int]:
    """(entry address, IST number) of one IDT gate of a CPU (SDM 3A 6.14.1)."""
    low, _, ist, kind, mid, high = struct.unpack("<HHBBHI", k.read(_table_base(guest, cpu, "IDT") + 16 * vector, 12))
    if not kind & 0x80:
        raise Ended(f"CPU {cpu}: the gate of vector {vector} is not present")
    return low | mid << 16 | high << 32, ist & 7


def _ist_top(guest: Guest, k: Kernel, cpu: int) -> int | None:
    """Where the handler of #DF finds its stack on a CPU, or None if gate 8 names no short stack of its own to begin
    on (SDM 3A 6.14.5)."""
    ist = _gate(guest, k, cpu, VEC_DF)[1]
    this = k.image.sym("cpus") + cpu * k.image.sizeof("struct cpu")
    return k.u64(this + k.image.offsetof("struct cpu", f"emergency_sp[{ist - 1}]")) or None if 0 < ist <= 4 else None


def _double_fault(r: Record) -> int | None:
    return r.regs.get("CR2", 0) if isinstance(r, X86Exception) and r.vector == VEC_DF else None


def _overflow_top(guest: Guest, k: Kernel, cpu: int) -> int | None:
    """What entry code moves SP to; the stack that the machine started on is nobody's own."""
    top = k.member(k.image.sym("cpus") + cpu * k.image.sizeof("struct cpu"), "struct cpu", "overflow_sp")
    return None if top == k.image.sym("boot_stack_top") else top or None


def _kernel_abort(r: Record) -> int | None:
    kernels = isinstance(r, ArmException) and r.data and r.from_el == 1 and (r.far or 0) >> 63
    return r.far if kernels else None


WAYS = {
    "x86_64": Way(
        "double fault", _double_fault, lambda guest, k, cpu: guest.image.sym("oops"), _ist_top,
        lambda guest, k, cpu: f"CPU {cpu} takes page faults on an IST stack: a second one inside the first would "
        "overwrite its frame" if _gate(guest, k, cpu, VEC_PF)[1] else None, "cr2", "rsp",
        "gate 8 of the IDT names an IST entry; emergency_sp of each CPU has a stack of its own for it, with an unmapped "
        "page below; #PF stays on the thread's stack",
        "ist_of() and x86_cpu_stacks() in arch/x86_64/trap.c; SDM 3A 6.14.5",
        "one #DF (v=08) whose CR2 lies in the page below the victim's stack, on its emergency stack; its process dies "
        "of a signal; the others go on",
        "x86_double_fault() and double_fault_entry: does the CPU get there, on which stack, and what then?"),
    # No gate tells the processor where to go, so the stack is looked at where the report begins.
    "aarch64": Way(
        "data abort in a guard", _kernel_abort, lambda guest, k, cpu: guest.image.sym("oops"), _overflow_top,
        lambda guest, k, cpu: None, "FAR_EL1", "sp",
        "overflow_sp of each CPU is the top of a stack of its own, with an unmapped page below",
        "a64_cpu_stacks() in arch/aarch64/trap.c",
        "one data abort from EL1 whose FAR lies in the page below the victim's stack; oops() is called on the emergency "
        "stack of the same CPU; the process dies of a signal; the others go on",
        "kernel_vector and overflow in arch/aarch64/entry.S: is SP looked at before anything is stored, and where "
        "does it go?"),
}


def way(run: Run) -> Way:
    """That of the architecture that is graded."""
    return WAYS[run.lab.arch]


def judge_emergency(run: Run, guest: Guest, k: Kernel) -> None:
    """Decides the check of emergency stacks."""
    w = way(run)
    wrong: list[str] = []
    ranges: dict[int, tuple[int, int]] = {}
    spaces = k.own_spaces()     # not user mode's: no stack is there (row kpti)
    for cpu in guest.machine.gdb.cpus():
        mistake = w.wrong(guest, k, cpu)
        if mistake:
            wrong.append(mistake)
        top = w.top(guest, k, cpu)
        if top is None:
            wrong.append(f"CPU {cpu} has no emergency stack of its own")
            continue
        for space in spaces:
            low = top
            while low > top - EMERGENCY_MAX - PAGE and (m := space.covers(low - 1)) is not None \
                    and m.writable and not m.user and not m.executable:
                low -= PAGE
            if low == top:
                wrong.append(f"CPU {cpu}: below the top of its emergency stack ({top:#x}) is no writable kernel page in "
                             f"{space.name}")
            elif low <= top - EMERGENCY_MAX or space.covers(low - 1) is not None:
                wrong.append(f"CPU {cpu}: its emergency stack (top {top:#x}) does not end in an unmapped page: "
                             f"{around(space, low)}")
            else:
                ranges[cpu] = (low, top)
                continue
            break
    others = {owner: (low, low + KSTACK) for owner, low in stacks(k).items()}
    for cpu, (low, top) in ranges.items():
        shared = [f"CPU {c}'s" for c, r in ranges.items() if c < cpu and r[0] < top and low < r[1]]
        shared += [f"that of {owner}" for owner, r in others.items() if r[0] < top and low < r[1]]
        wrong += [f"the emergency stack of CPU {cpu} ({low:#x}) is also {s}" for s in shared[:1]]
    run.check("emergency-stacks", not wrong, seen=wrong[0] if wrong else "; ".join(
        f"CPU {cpu}: {low:#x}-{top:#x}" for cpu, (low, top) in sorted(ranges.items())),
        expected=w.emergency_expected, look=w.emergency_look)


# ---- overflows ----------------------------------------------------------------------------------------------


def sleepers(guest: Guest, k: Kernel, but: int) -> dict[str, bytes]:
    """The whole stacks of the processes that wait (all of our program's but the first and the victim)."""
    ours = [t for t in k.threads() if t.name == guest.name[:15] and t.kstack != but]
    return {f"thread {t.tid}": k.read(t.kstack, KSTACK) for t in ours[1:]}


def overflows(run: Run, records: list[Record]) -> list[int]:
    """The addresses of the overflows among exception records."""
    addresses = (way(run).address_of(r) for r in records)
    return [a for a in addresses if a is not None]


def overflow(run: Run, guest: Guest, cpu: int, name: str) -> None:
    """From before the victim's overflow until the others have answered: decides overflow-on-cpuN, and on CPU 0
    the report and the neighbours."""
    check = f"overflow-on-cpu{cpu}"
    w = way(run)
    expected, look = w.overflow_expected, w.overflow_look
    at = guest.run_to(AT_BEFORE)
    m = guest.machine
    k = Kernel(m, run.image)
    me = k.current(at.cpu)
    low = k.member(me, "struct thread", "kstack")
    tid = k.member(me, "struct thread", "tid")
    if at.cpu != cpu:
        raise Ended(f"the victim runs on CPU {at.cpu} and not on CPU {cpu}: sched_setaffinity is broken")
    before = sleepers(guest, k, low)
    entry = w.handler(guest, k, cpu)
    mark = m.log_exceptions()
    guard = f"{low - PAGE:#x}-{low - 1:#x}"
    address = sp = None
    try:
        stop = guest.run_to(AT_AFTER, extra=entry)
        if stop.extra:
            address, sp = m.gdb.reg(stop.cpu, w.address), m.gdb.reg(stop.cpu, w.sp)
            top = w.top(guest, k, stop.cpu)
            guest.run_to(AT_AFTER)
        else:
            top = None
    except Ended as error:
        records = m.exclog.since(mark)
        triple = any(isinstance(r, TripleFault) for r in records)
        run.check(check, False, "a triple fault: the machine reset" if triple else f"{error}", expected, look)
        raise
    finally:
        if not m.exited:
            m.log_exceptions(False)
    k = Kernel(m, run.image)
    status = guest.result(R_STATUS)
    faults = overflows(run, m.exclog.since(mark))
    after = sleepers(guest, k, low)
    problems = []
    hit = faults[0] & -PAGE if faults else low - PAGE
    shown = draw(k.own_spaces()[0], f'thread {tid} "{name}"', low, hit if low - 3 * PAGE <= hit < low + KSTACK else
                 low - PAGE, "where the overflow was caught" if faults else "nothing was caught here")
    lost: Ended | None = None
    alive = 0
    try:
        guest.run_to(AT_ALIVE)
        alive = guest.result(R_ALIVE)
    except Ended as error:      # the others run on what is left of their stacks
        lost = error
    if not faults:
        problems.append(f"no {w.fault} was raised" + ("; the system call returned as if nothing had happened"
                                                       if status == NOT_KILLED else ""))
    elif len(faults) > 1:
        problems.append(f"{len(faults)} times a {w.fault}")
    else:
        if not low - PAGE <= faults[0] < low or faults[0] != address:
            problems.append(f"the {w.fault} came from {faults[0]:#x}, outside the guard page {guard}")
        if top is None or sp is None or not top - EMERGENCY_MAX < sp < top:
            problems.append(f"the handler began with {w.sp.upper()} {sp or 0:#x}, not on the emergency stack")
    if not 1000 < status < 1065:
        problems.append(f"the victim was not killed (it ended with {status})")
    if lost:
        problems.append(f"when the other processes went on: {lost}")
    elif alive != SLEEPERS:
        problems.append(f"{alive} of {SLEEPERS} other processes still answer")
    run.check(check, not problems, "; ".join(problems) or f"{w.fault} at {address or 0:#x} in the guard {guard} on CPU "
              f"{cpu}, handler on the emergency stack; victim killed by signal {status - 1000}, {alive} others "
              "answered", expected, look, shown)
    if cpu == 0:
        judge_neighbours(run, before, after, bool(faults) and not problems)
        judge_report(run, guest, tid, name, address if faults and address and low - PAGE <= address < low else None)
    if lost:
        raise lost


def judge_neighbours(run: Run, before: dict[str, bytes], after: dict[str, bytes], caught: bool) -> None:
    """Decides neighbours-untouched."""
    changed = [owner for owner, data in before.items() if after.get(owner) != data]
    seen = f"{len(before)} stacks, no byte changed"
    if changed:
        old, new = before[changed[0]], after.get(changed[0])
        bytes_ = sum(a != b for a, b in zip(old, new)) if new is not None else len(old)
        seen = f"the stack of {changed[0]} changed in {bytes_} bytes" + (" (it is gone)" if new is None else "")
    elif not caught:
        seen += ", but the overflow itself was not caught (see overflow-on-cpu0)"
    run.check("neighbours-untouched", not changed and caught and len(before) >= SLEEPERS, seen,
              f"the stacks of {SLEEPERS} waiting processes are the same, byte by byte, before and after an overflow "
              "that is caught", "what lies below the victim's stack in kernel_pt? `rp-pt ADDR`")


def judge_report(run: Run, guest: Guest, tid: int, name: str, address: int | None) -> None:
    """Decides report-names-the-thread: what the line says must be what we saw ourselves."""
    wanted = [r"stack-guard", rf"\b{tid}\b", re.escape(name), rf"{address:016x}" if address else "nothing"]
    expected = f'one console line with "stack-guard", the thread\'s number {tid}, its name {name} and the address'
    if address and run.twist("report-cpu") is not None:
        wanted.append(r"\bon cpu 0\b")
    if address and run.twist("report-offset") is not None:
        wanted.append(rf"\boffset {address % PAGE}\b")
    lines = guest.console_lines() if address else []
    told = [line for line in lines if all(re.search(w, line, re.IGNORECASE) for w in wanted)]
    near = [line for line in lines if re.search("stack-guard|double fault|oops", line)]
    if not address:
        seen = "no fault in the guard, so there is nothing to report"
    else:
        seen = told[0] if told else f"no such line for the fault at {address:016x}; the nearest: {near[0] if near else '-'}"
    run.check("report-names-the-thread", bool(told), seen, expected + (f" {address:016x}" if address else " of the fault"),
              "stack_guard_report(), stack_guard_name() and whoever calls them")


def frames_in_use(k: Kernel) -> int:
    """Frames that the kernel's allocator has given away, counted by its own books on every CPU."""
    size = k.image.sizeof("struct frame_cache")
    where = k.image.offsetof("struct frame_cache", "in_use")
    count = k.image.sizeof("struct frame_cache", "in_use") // 8
    cpus = k.image.size("caches") // size
    total = 0
    for cpu in range(cpus):
        total += sum(struct.unpack(f"<{count}q", k.read(k.image.sym("caches") + cpu * size + where, 8 * count)))
    return total


def again(run: Run, guest: Guest) -> None:
    """Decides overflow-again."""
    mark = guest.machine.log_exceptions()
    try:
        guest.run_to(AT_AGAIN)
    finally:
        if not guest.machine.exited:
            guest.machine.log_exceptions(False)
    faults = overflows(run, guest.machine.exclog.since(mark))
    killed, alive = guest.result(R_AGAIN), guest.result(R_AGAIN_ALIVE)
    run.check("overflow-again", len(faults) == killed == 4 and alive == SLEEPERS,
              f"{len(faults)} times a {way(run).fault}, {killed} of 4 victims killed, {alive} of {SLEEPERS} others answered",
              f"4 times a {way(run).fault}, 4 victims killed, everybody else answers",
              "is a lock still held, is the emergency stack still in use, is a flag still set after the first?")


def leak(run: Run, guest: Guest) -> None:
    """Decides nothing-leaks."""
    guest.run_to(AT_LEAK)
    before = frames_in_use(Kernel(guest.machine, run.image))
    guest.run_to(AT_LEAKED)
    k = Kernel(guest.machine, run.image)
    grown = frames_in_use(k) - before
    alive = len(overflows(run, guest.machine.exclog.since(0)))
    run.check("nothing-leaks", grown <= LEAK_MAX and alive > 0,
              f"{grown} frames more in use after fifty overflows" if grown > LEAK_MAX else "no stack is lost"
              if alive else "no overflow was ever caught",
              f"at most {LEAK_MAX} frames more than before them", "who frees the stack of a thread that overflowed?")


# ---- where `why CHECK` stops: the boot, and the checkpoints to pass ----

WHERE = {
    "guard-below-every-stack": (0, "t", [AT_TABLES]),
    "guard-survives-reuse": (0, "t", [AT_TABLES, AT_REUSE]),
    "emergency-stacks": (0, "t", [AT_TABLES]),
    "overflow-on-cpu0": (0, "-", [AT_BEFORE]),
    "overflow-on-cpu1": (1, "-", [AT_BEFORE]),
    "report-names-the-thread": (0, "-", [AT_BEFORE]),
    "neighbours-untouched": (0, "-", [AT_BEFORE]),
    "overflow-again": (0, "m", [AT_BEFORE, AT_AFTER, AT_ALIVE]),
    "nothing-leaks": (0, "m", [AT_BEFORE, AT_AFTER, AT_ALIVE, AT_AGAIN, AT_LEAK]),
}


@contextlib.contextmanager
def stand(run: Run, check: str) -> Iterator[Guest]:
    """The guest of a check, stopped where it begins to look."""
    cpu, phases, points = WHERE[check]
    name, depth = drawn(run, f"cpu{cpu}")
    with run.boot(PROGRAM, f"{cpu} {name} {depth} {phases}") as guest:
        for point in points:
            guest.run_to(point)
        yield guest


# ---- the two boots ------------------------------------------------------------------------------------------


def drawn(run: Run, label: str) -> tuple[str, int]:
    """The victim's name and how deep it goes."""
    r = run.rng(label)
    return "".join(r.choice(string.ascii_lowercase) for _ in range(9)), r.randrange(38, 52)


def first_cpu(run: Run) -> None:
    """Gates, tables, and overflows on CPU 0; of these what is wanted."""
    name, depth = drawn(run, "cpu0")
    gates = run.wants(*run.lab.gates)
    tables = run.wants("guard-below-every-stack", "guard-survives-reuse", "emergency-stacks")
    many = run.wants("overflow-again", "nothing-leaks")
    phases = "g" * gates + "t" * tables + "m" * many
    with run.boot(PROGRAM, f"0 {name} {depth} {phases or '-'}") as guest:
        if gates:
            guest.run_to(AT_GATES)
            run.ordinary_gates(guest)
            deep = [guest.result(i) for i in (R_DEPTH0, R_DEPTH1)]
            run.gate("fits", deep == [0, 0], f"22 KiB of frames on CPU 0 and 1: {'succeeded' if deep == [0, 0] else deep}")
        if tables:
            guest.run_to(AT_TABLES)
            k = Kernel(guest.machine, run.image)
            judge_guards(run, "guard-below-every-stack", k)
            judge_emergency(run, guest, k)
            for now in sorted(run.rng("churn").sample(range(CHURN), LOOKS)):
                guest.run_to(AT_REUSE, extra=guest.program.sym("churned") + 4 * now)
                if unguarded(k := Kernel(guest.machine, run.image)):
                    judge_guards(run, "guard-survives-reuse", k)
                    break
            guest.run_to(AT_REUSE)
            if not run.checks["guard-survives-reuse"].decided:
                judge_guards(run, "guard-survives-reuse", Kernel(guest.machine, run.image))
        overflow(run, guest, 0, name)
        if many:
            again(run, guest)
            leak(run, guest)


def second_cpu(run: Run) -> None:
    """An overflow on CPU 1."""
    name, depth = drawn(run, "cpu1")
    with run.boot(PROGRAM, f"1 {name} {depth} -") as guest:
        overflow(run, guest, 1, name)
