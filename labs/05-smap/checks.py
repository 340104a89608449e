"""The checks of smap: what flags, control registers and QEMU's exception log say.

Two boots of programs/lab-smap.c. One comes into the kernel by every way there is and takes every user copy, into
faults too; the grader stops at each and looks whether user memory is shut. The other forges objects in user memory
and has the kernel follow them. Where they lie, which CPU copies and what is stepped through is drawn from the seed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from grade.cpus import CPUS
from grade.exclog import ArmException, Record, TripleFault, X86Exception
from grade.labs.grading import OWN, At, Ended, Guest, Run
from grade.spaces import Kernel
from grade.walk_aarch64 import PSTATE_PAN
from grade.walk_x86_64 import CR4_SMAP

PROGRAM = "lab-smap"
AT_GATES, AT_CALLS, AT_TRAPS, AT_NMI, AT_NESTED, AT_SIGNAL, AT_REST, AT_FORGED, AT_KILLED, AT_STEP = range(1, 11)
AT_ACT = 20
R_HANDLERS, R_COPIES, R_SIGNAL, R_NESTED, R_ADDRESS, R_STATUS, R_STORED = range(OWN, 10)
USER_END = 1 << 47
STEPS_MAX = 6000        # instructions of one system call
CALLS = 6               # of lab-smap.c

# lab-smap.c's acts: the copy that each takes, and whether it ends in a fault.
ACTS = [("arch_copy_from_user", False), ("arch_copy_to_user", False), ("arch_clear_user", False),
        ("arch_strncpy_from_user", False), ("arch_user_cmpxchg32", False), ("arch_strncpy_from_user", False),
        ("arch_copy_from_user", True), ("arch_copy_to_user", True), ("arch_clear_user", True),
        ("arch_strncpy_from_user", True), ("arch_user_cmpxchg32", True)]
SHORT = [0, 1, 2, 3]    # those to step through
COPIES = sorted({name for name, _ in ACTS})
# The user copies: what arch.h and kernel/mm/uaccess.h say, and what their authors add under such names (the chapter
# says so).
COPY_NAMES = ("arch_copy_", "arch_clear_user", "arch_strncpy_", "arch_user_cmpxchg", "uaccess_", "clear_user",
              "user_range_ok")
SIGNED = ("arch_strncpy_from_user", "arch_user_cmpxchg32")      # these return an errno, the others what is left


def scenarios() -> list:
    """What may run side by side."""
    return [doors, forged]


# ---- how a processor guards user memory, and what a trap frame says ------------------------------------------


@dataclass(frozen=True)
class Way:
    """One architecture's."""

    traps: tuple[str, ...]          # the kernel's functions for exceptions and interrupts
    ways: tuple[str, ...]           # what must be seen of user mode, on each CPU
    back: str                       # returned value ...
    pc: str
    arguments: tuple[str, str, str]     # ... and the first three arguments
    frame_pointer: str
    enter: str                      # where each exception is told to set things right
    on: str                         # what turns the guard on


WAYS = {
    "x86_64": Way(("x86_trap", "x86_paranoid_trap"), ("page fault", "debug exception", "interrupt"), "rax", "rip",
                  ("rdi", "rsi", "rdx"), "rbp",
                  "what do entries of arch/x86_64/entry.S do with the flags that they find?", "CR4.SMAP"),
    "aarch64": Way(("a64_trap", "timer_interrupt"), ("page fault", "interrupt"), "x0", "pc", ("x0", "x1", "x2"), "x29",
                   "what is PSTATE.PAN after an exception (SCTLR_EL1.SPAN)?", "PSTATE.PAN"),
}


def way(guest: Guest) -> Way:
    """That of the architecture that is graded."""
    return WAYS[guest.machine.arch.name]


def door(guest: Guest, cpu: int) -> str:
    """Why a CPU in kernel mode would let the kernel at user memory; empty if it would not."""
    if guest.machine.arch.name == "x86_64":
        r = guest.machine.regs(cpu, "cr4", "eflags")
        if not r["cr4"] & CR4_SMAP:
            return "CR4.SMAP is 0"
        return "EFLAGS.AC is 1" if r["eflags"] & 1 << 18 else ""
    return "" if guest.machine.gdb.reg(cpu, "cpsr") & PSTATE_PAN else "PSTATE.PAN is 0"


def word(guest: Guest, va: int, cpu: int) -> int:
    """Eight bytes of the guest's memory, as a CPU sees it."""
    return int.from_bytes(guest.machine.gdb.read(va, 8, cpu), "little")


def ours(guest: Guest, cpu: int) -> bool:
    """Whether a CPU runs a thread of the grader's program."""
    image = guest.image
    this = image.sym("cpus") + cpu * image.sizeof("struct cpu")
    thread = word(guest, this + image.offsetof("struct cpu", "thread"), cpu)
    name = guest.machine.gdb.read(thread + image.offsetof("struct thread", "name"), 16, cpu)
    return name.split(b"\0")[0].decode(errors="replace") == guest.name[:15]


@dataclass(frozen=True)
class Frame:
    """What a trap frame says of the moment that was interrupted."""

    user: bool
    open: bool          # user mode had the flag set that opens its memory
    kind: str
    ip: int

    @property
    def named(self) -> str:
        """The kind with its article."""
        return f"{'an' if self.kind[0] in 'eiN' else 'a'} {self.kind}"


def frame_at(guest: Guest, cpu: int) -> Frame:
    """The frame that a function of Way.traps has got."""
    image = guest.image
    at = guest.machine.gdb.reg(cpu, way(guest).arguments[0])

    def member(name: str) -> int:
        return word(guest, at + image.offsetof("struct trapframe", name), cpu)

    if guest.machine.arch.name == "x86_64":
        vector, flags = member("vector"), member("rflags")
        other = "interrupt" if vector >= 32 else "exception"
        kind = {1: "debug exception", 2: "NMI", 14: "page fault"}.get(vector, other)
        return Frame(member("cs") & 3 == 3, bool(flags & 1 << 18), kind, member("rip"))
    if guest.machine.gdb.pc(cpu) == image.sym("timer_interrupt"):     # it gets no frame, but knows whose time it was
        return Frame(bool(at & 0xFF), True, "interrupt", 0)
    kind = {0x24: "page fault", 0x25: "page fault"}.get(member("esr") >> 26 & 63, "exception")
    return Frame(member("pstate") & 15 == 0, True, kind, member("pc"))


def function(guest: Guest, pc: int) -> str:
    """The function that an address lies in."""
    return guest.image.where(pc).partition("+")[0]


def in_copy(guest: Guest, pc: int) -> bool:
    """Whether an address lies in a user copy, whatever labels that has inside."""
    image = guest.image
    return any(start <= pc < start + image.size(name) for name, start in image.symbols().items()
               if name.startswith(COPY_NAMES))


# ---- every way into the kernel -------------------------------------------------------------------------------


@dataclass
class Seen:
    """What one boot has shown so far."""

    cpus: dict[int, list[str]] = field(default_factory=lambda: {0: [], 1: []})
    looked: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 0})
    calls: list[str] = field(default_factory=list)
    called: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 0})
    traps: list[str] = field(default_factory=list)
    trapped: dict[int, set[str]] = field(default_factory=lambda: {0: set(), 1: set()})
    nested: list[str] = field(default_factory=list)
    inside: dict[int, set[str]] = field(default_factory=lambda: {0: set(), 1: set()})
    signals: list[str] = field(default_factory=list)
    frames: int = 0


def look(guest: Guest, seen: Seen) -> None:
    """Looks at every CPU at a checkpoint: the one that runs the program is in user mode, the other idles."""
    cpus = CPUS[guest.machine.arch.name]
    for cpu in guest.machine.gdb.cpus():
        why = door(guest, cpu)
        if cpus.in_user_mode(guest.machine, cpu):
            # Its flags are the program's own; its control registers are not.
            why = why if "CR4" in why else ""
            if guest.machine.arch.name == "aarch64":
                continue
        elif in_copy(guest, guest.machine.gdb.pc(cpu)):
            continue
        seen.looked[cpu] += 1
        if why:
            seen.cpus[cpu].append(why)


def calls(guest: Guest, seen: Seen, cpu: int) -> None:
    """From AT_CALLS to AT_TRAPS: the program makes system calls with its flags set."""
    enter = guest.image.sym("syscall_dispatch")
    while (at := guest.run_to(AT_TRAPS, extra=enter)).extra:
        if not ours(guest, at.cpu):
            continue
        if guest.machine.arch.name == "x86_64":
            f = guest.machine.gdb.reg(at.cpu, "rdi") + guest.image.offsetof("struct trapframe", "rflags")
            if not word(guest, f, at.cpu) & 1 << 18:
                continue
        seen.called[cpu] += 1
        if why := door(guest, at.cpu):
            seen.calls.append(f"{why} where a system call of CPU {at.cpu} begins")


def traps(guest: Guest, seen: Seen, cpu: int) -> None:
    """From AT_TRAPS to AT_NMI: page faults, debug exceptions and interrupts of the program, its flags set."""
    enter = [guest.image.sym(name) for name in way(guest).traps]
    while (at := guest.run_to(AT_NMI, extra=enter)).extra:
        f = frame_at(guest, at.cpu)
        why = door(guest, at.cpu)
        if f.user and f.open:
            seen.trapped[at.cpu].add(f.kind)
            if why:
                seen.traps.append(f"{why} where CPU {at.cpu} handles {f.named} of user mode")
        elif not f.user and not in_copy(guest, f.ip):
            seen.looked[at.cpu] += 1
            if why:
                seen.cpus[at.cpu].append(why)


def nmi(guest: Guest, seen: Seen, cpu: int, then: int, where: str) -> None:
    """An NMI at this very moment; goes on to the checkpoint `then`, or stays in the handler if it is 0."""
    handler = guest.image.sym("x86_paranoid_trap")
    guest.machine.qmp.inject_nmi()
    for _ in range(4):      # the other CPU gets one, too
        at = guest.run_to(then, extra=handler)
        if not at.extra:
            raise Ended(f"an NMI {where} does not arrive")
        if at.cpu == cpu:
            break
    f = frame_at(guest, cpu)
    why = door(guest, cpu)
    if f.user:
        seen.trapped[cpu].add(f.kind)
    else:
        seen.inside[cpu].add(f.kind)
    if why:
        (seen.traps if f.user else seen.nested).append(f"{why} where CPU {cpu} handles an NMI {where}")


def nested(guest: Guest, seen: Seen, cpu: int) -> None:
    """From AT_NESTED to AT_SIGNAL: user copies have to fetch pages."""
    image = guest.image
    x86 = guest.machine.arch.name == "x86_64"
    enter = [image.sym(name) for name in way(guest).traps]
    if x86:     # and an NMI comes into the first one while user memory is open
        at = guest.run_to(AT_SIGNAL, extra=image.sym("arch_copy_to_user"))
        while at.extra and not ours(guest, at.cpu):
            at = guest.run_to(AT_SIGNAL, extra=image.sym("arch_copy_to_user"))
        for _ in range(24):
            if not at.extra or guest.machine.gdb.reg(at.cpu, "eflags") & 1 << 18:
                break
            guest.machine.gdb.step(at.cpu)
        if at.extra and guest.machine.gdb.reg(at.cpu, "eflags") & 1 << 18:
            nmi(guest, seen, at.cpu, AT_SIGNAL, "in the middle of a user copy")
    while (at := guest.run_to(AT_SIGNAL, extra=enter)).extra:
        f = frame_at(guest, at.cpu)
        if f.user or not in_copy(guest, f.ip):
            continue
        seen.inside[at.cpu].add(f"{f.kind} in {function(guest, f.ip)}")
        if why := door(guest, at.cpu):
            seen.nested.append(f"{why} where CPU {at.cpu} handles {f.named} in {function(guest, f.ip)}")
    if not guest.result(R_NESTED):
        seen.nested.append(f"after faults in them, user copies on CPU {cpu} did not bring what they should")


def signals(guest: Guest, seen: Seen, cpu: int) -> None:
    """From AT_SIGNAL to AT_REST: a handler on a stack of which no page is there yet."""
    image, gdb, w = guest.image, guest.machine.gdb, way(guest)
    enter, copy = image.sym("arch_signal_frame"), image.sym("arch_copy_to_user")
    written: list[tuple[int, int]] = []
    frame = back = 0
    while (at := guest.run_to(AT_REST, extra={enter, copy, back} - {0})).extra:
        if not ours(guest, at.cpu):
            continue
        if at.pc == enter:
            frame, back = gdb.reg(at.cpu, w.arguments[0]), return_address(guest, at.cpu)
            written = []
        elif at.pc == copy:
            to, size = gdb.reg(at.cpu, w.arguments[0]), gdb.reg(at.cpu, w.arguments[2])
            written.append((to, size))
        elif at.pc == back:
            sp = word(guest, frame + image.offsetof("struct trapframe", "rsp" if w.pc == "rip" else "sp"), at.cpu)
            why = door(guest, at.cpu)
            if why:
                seen.signals.append(f"{why} on CPU {at.cpu} when a signal frame is written")
            elif not any(to <= sp < to + size for to, size in written):
                seen.signals.append(f"the signal frame at {sp:#x} was not written by arch_copy_to_user")
            seen.frames += 1
            back = 0
    if not guest.result(R_SIGNAL):
        seen.signals.append(f"CPU {cpu}: the handler did not run, or the program's flags were not its own afterwards")


def return_address(guest: Guest, cpu: int) -> int:
    """Where the function that is being entered returns to."""
    return CPUS[guest.machine.arch.name].returns_to(guest.machine, cpu)


# ---- user copies, one by one ---------------------------------------------------------------------------------


def outermost(guest: Guest, cpu: int) -> tuple[int, int]:
    """Of the copy that is being entered: where it returns to, and where the last user copy around it does."""
    first = back = return_address(guest, cpu)
    fp = guest.machine.gdb.reg(cpu, way(guest).frame_pointer)
    for _ in range(4):
        if not in_copy(guest, back):
            break
        fp, back = word(guest, fp, cpu), word(guest, fp + 8, cpu)
    return first, back


def memory(guest: Guest, at: int, size: int, cpu: int) -> bytes:
    """The guest's memory, as a CPU sees it."""
    return guest.machine.gdb.read(at, size, cpu) if size else b""


@dataclass
class Twisted:
    """What a student's own twist asks of each user copy, and what was wrong with that, in words."""

    piece: int | None       # user memory is open for so many bytes at most
    zeros: bool             # what a fault keeps from the kernel's buffer is zero there
    empty: bool             # a string that fails is empty
    buffer: int = 0         # of the copy that is being looked at, and its size
    size: int = 0

    def begin(self, guest: Guest, cpu: int, name: str) -> None:
        """At the entry of a copy: its buffer is filled, so that one sees what becomes of it."""
        where, _, size = (guest.machine.gdb.reg(cpu, r) for r in way(guest).arguments)
        self.buffer = 0
        if where < USER_END:        # on x86_64 the copies to the user and from it are one
            return
        if self.zeros and name == "arch_copy_from_user" or self.empty and name == "arch_strncpy_from_user":
            self.buffer, self.size = where, size
            guest.machine.gdb.write(where, b"\xa5" * (size if self.zeros else 1), cpu)

    def too_long(self, guest: Guest, cpu: int, name: str) -> list[str]:
        """At an entry: whether it is for more than a piece."""
        if self.piece is None or name == "arch_user_cmpxchg32":
            return []
        size = guest.machine.gdb.reg(cpu, way(guest).arguments[1 if name == "arch_clear_user" else 2])
        return [f"{name} was asked for {size} bytes at once"] if size > self.piece else []

    def end(self, guest: Guest, cpu: int, left: int) -> list[str]:
        """Where the outermost copy has failed; `left` is what arch_copy_from_user did not copy."""
        if not self.buffer:
            return []
        if self.empty:
            there = memory(guest, self.buffer, 1, cpu)
            return [] if there == b"\0" else ["a string that failed was not empty in the kernel's buffer"]
        rest = memory(guest, self.buffer + self.size - left, left, cpu)
        return ["after a fault the rest of the kernel's buffer was not zero"] if rest.strip(b"\0") else []


def copy(guest: Guest, number: int, then: int, wrong: dict[bool, list[str]], twisted: Twisted) -> bool:
    """Act `number`, to the checkpoint `then`: whether the copy that it is for was seen, ending as it should. What
    leaves user memory open goes to wrong[whether there was a fault]."""
    name, faults = ACTS[number]
    entries = {guest.image.sym(n): n for n in COPIES}
    found = False
    while (at := guest.run_to(then, extra=entries)).extra:
        if not ours(guest, at.cpu):
            continue
        entered = {n for n in COPIES if guest.image.sym(n) == at.pc}
        inner, outer = outermost(guest, at.cpu)
        fault = False
        left = 0
        if name in entered:
            twisted.begin(guest, at.cpu, name)
        wrong[False] += twisted.too_long(guest, at.cpu, name if name in entered else entries[at.pc])
        while True:
            at = guest.run_to(then, extra={inner, outer, *(entries if twisted.piece else ())})
            if not at.extra:
                raise Ended(f"{name} does not return to {guest.image.where(outer)}")
            if not ours(guest, at.cpu):
                continue
            if at.pc in entries:
                wrong[False] += twisted.too_long(guest, at.cpu, entries[at.pc])
            if at.pc == inner:
                value = left = guest.machine.gdb.reg(at.cpu, way(guest).back)
                fault = bool(value & 1 << 31) if entered & set(SIGNED) else value != 0
            if at.pc == outer:
                break
        if name in entered and fault:
            wrong[True] += twisted.end(guest, at.cpu, left)
        found = found or name in entered and fault == faults
        if why := door(guest, at.cpu):
            wrong[fault].append(f"{why} after {name}" + (", which met a fault" if fault else ""))
    return found


def stepped(guest: Guest, then: int) -> tuple[int, list[str]]:
    """From AT_STEP: the next system call of ours, instruction by instruction: how many, and the functions, no user
    copies, in which user memory was open."""
    gdb = guest.machine.gdb
    at = guest.run_to(then, extra=guest.image.sym("syscall_dispatch"))
    while at.extra and not ours(guest, at.cpu):
        at = guest.run_to(then, extra=guest.image.sym("syscall_dispatch"))
    if not at.extra:
        return 0, ["no system call came"]
    cpu, back, sp = at.cpu, return_address(guest, at.cpu), gdb.reg(at.cpu, "rsp" if way(guest).pc == "rip" else "sp")
    opened: list[str] = []
    for count in range(STEPS_MAX):
        pc = gdb.pc(cpu)
        if pc == back and gdb.reg(cpu, "rsp" if way(guest).pc == "rip" else "sp") >= sp:
            return count, opened
        why = door(guest, cpu)
        if why and not in_copy(guest, pc) and function(guest, pc) not in opened:
            opened.append(function(guest, pc))
        gdb.step(cpu)
    return STEPS_MAX, opened


# ---- verdicts ------------------------------------------------------------------------------------------------


def first_of(found: list[str], good: str) -> str:
    """The first of what was wrong, or what was seen instead."""
    return found[0] if found else good


def judge_ways(run: Run, guest: Guest, seen: Seen) -> None:
    """Decides the checks of entries."""
    w = way(guest)
    bad = [f"CPU {cpu}: {why[0]} in the kernel" for cpu, why in sorted(seen.cpus.items()) if why]
    bad += [f"CPU {cpu} was never seen in the kernel" for cpu, n in sorted(seen.looked.items()) if not n]
    run.check("every-cpu", not bad, first_of(bad, f"{w.on} is 1 on both CPUs, each time"),
              f"{w.on} is 1 in the kernel on every CPU, and user memory shut, whatever ran there before",
              "the ways in: entry.S, and what SYSCALL clears" if bad and "EFLAGS.AC" in bad[0] else
              "smap_cpu_init() in kernel/harden/smap.c and what it calls in arch/; who calls it, and where?")
    missing = [f"no system call of CPU {cpu} was seen" for cpu, n in sorted(seen.called.items()) if n < CALLS]
    run.check("system-calls", not seen.calls + missing, first_of(
        seen.calls + missing, f"{sum(seen.called.values())} system calls, none with user memory open"),
        "where syscall_dispatch() begins, kernel loads from user pages are refused, whatever the program's flags are",
        "SYSCALL_CLEARS in arch/x86_64/cpu.c" if w.pc == "rip" else w.enter)
    wanted = {*w.ways, *({"NMI"} if w.pc == "rip" else ())}
    missing = [f"no {kind} of user mode was seen on CPU {cpu}" for cpu, kinds in sorted(seen.trapped.items())
               for kind in sorted(wanted - kinds)]
    run.check("traps", not seen.traps + missing, first_of(
        seen.traps + missing, f"{', '.join(sorted(wanted))} on both CPUs, none with user memory open"),
        "where exceptions and interrupts of user mode are handled, kernel loads from user pages are refused", w.enter)
    missing = [f"no page fault in a user copy was seen on CPU {cpu}" for cpu, kinds in sorted(seen.inside.items())
               if not any(kind.startswith("page fault") for kind in kinds)]
    if w.pc == "rip":
        missing += [f"no NMI in the middle of a user copy on CPU {cpu}: user memory is never open to copies"
                    for cpu, kinds in sorted(seen.inside.items()) if "NMI" not in kinds]
    on = [f"{w.on} is 0 on CPU {cpu}" for cpu, why in sorted(seen.cpus.items()) if why]
    run.check("nested", not seen.nested + missing + on, first_of(
        seen.nested + missing + on, "shut in the handlers, and each copy went on: " + ", ".join(
            sorted(kind for kind in set.union(*seen.inside.values()) if not kind.startswith("interrupt")))),
        "a handler that comes in the middle of a user copy finds user memory shut, and the copy goes on afterwards",
        w.enter)
    missing = [] if seen.frames >= 2 else [f"{seen.frames} of 2 signal frames were seen"]
    run.check("signal-frames", not seen.signals + missing, first_of(
        seen.signals + missing, f"{seen.frames} frames, written by user copies on stacks that were not there"),
        "arch_signal_frame() writes by user copies, leaves user memory shut, and the program's flags survive",
        f"frame_to_user() in arch/{guest.machine.arch.name}/signal.c")


def judge_copies(run: Run, guest: Guest) -> None:
    """Decides the checks of user copies, from the first AT_ACT on."""
    wrong: dict[bool, list[str]] = {False: [], True: []}
    missing: dict[bool, list[str]] = {False: [], True: []}
    twisted = Twisted(run.twist("pieces"), run.twist("zero-rest") is not None, run.twist("empty-string") is not None)
    for number, (name, faults) in enumerate(ACTS):
        last = number == len(ACTS) - 1
        if not copy(guest, number, 40 if last else AT_ACT + number + 1, wrong, twisted):
            missing[faults].append(f"{name} was not seen " + ("to meet a fault" if faults else "to succeed"))
    for check, faults in (("copies-shut", False), ("faults-shut", True)):
        bad = wrong[faults] + missing[faults]
        run.check(check, not bad, first_of(bad, f"{', '.join(n for n, f in ACTS if f == faults)}: shut after each"),
                  "user memory is shut again where the kernel goes on after a user copy"
                  + (" that met a fault" if faults else ""),
                  f"arch/{guest.machine.arch.name}/uaccess.S: which ways out has each routine"
                  + (", those of the exception table included?" if faults else "?"))


# ---- forged objects ------------------------------------------------------------------------------------------


def violation(r: Record, address: int) -> bool:
    """Whether a record is a refusal of a kernel access to a user page that is there."""
    if isinstance(r, X86Exception):
        return r.vector == 14 and r.cpl == 0 and r.present and not r.error & 4 and r.cr2 == address
    return isinstance(r, ArmException) and r.data and r.in_kernel and r.present and r.far == address


def judge_forged(run: Run, guest: Guest, value: int) -> None:
    """Decides forged-object: a load and a store, on either CPU."""
    m = guest.machine
    wrong: list[str] = []
    for cpu, what in ((0, "load"), (0, "store"), (1, "load"), (1, "store")):
        at = guest.run_to(AT_FORGED)
        if at.cpu != cpu:
            raise Ended(f"the program runs on CPU {at.cpu} and not on CPU {cpu}: sched_setaffinity is broken")
        address = guest.result(R_ADDRESS)
        mark = m.log_exceptions()
        try:
            guest.run_to(AT_KILLED)
        except Ended as error:
            triple = any(isinstance(r, TripleFault) for r in m.exclog.since(mark))
            wrong.append(f"CPU {cpu}, {what}: " + ("a triple fault: the machine reset" if triple else f"{error}"))
            break
        finally:
            if not m.exited:
                m.log_exceptions(False)
        refused = [r for r in m.exclog.since(mark) if violation(r, address)]
        status, stored = guest.result(R_STATUS), guest.result(R_STORED)
        vuln_mark = Kernel(m, run.image).u64(guest.image.sym("vuln_mark"))
        where = f"CPU {cpu}: the kernel's {what} at user address {address:#x}"
        if vuln_mark == value or stored == value:
            wrong.append(f"{where} succeeded" + (": the forged object was obeyed" if what == "load" else ""))
        elif len(refused) != 1:
            wrong.append(f"{where}: refused {len(refused)} times")
        elif not 1000 < status < 1065:
            wrong.append(f"{where}: the program was not killed (it ended with {status})")
    run.check("forged-object", not wrong, first_of(wrong, "a load and a store on each CPU: one page fault on a page "
                                                   "that is there, and the program was killed"),
              "the processor refuses the kernel's load or store once, nothing is written, the program dies of a "
              "signal, the machine goes on",
              "is the guard on on this CPU, and is it shut there, whatever the program's flags are?")


# ---- where `why CHECK` stops: the boot, and the checkpoints to pass ----

UP_TO_REST = [AT_GATES, AT_CALLS]
WHERE = {
    "every-cpu": ("doors", UP_TO_REST), "system-calls": ("doors", UP_TO_REST),
    "traps": ("doors", [*UP_TO_REST, AT_TRAPS]), "nested": ("doors", [*UP_TO_REST, AT_TRAPS, AT_NMI, AT_NESTED]),
    "signal-frames": ("doors", [*UP_TO_REST, AT_TRAPS, AT_NMI, AT_NESTED, AT_SIGNAL]),
    "copies-shut": ("copies", [AT_ACT]), "faults-shut": ("copies", [AT_ACT + n for n in range(7)]),
    "windows-short": ("copies", []), "forged-object": ("forged", [AT_FORGED]),
}
BOTH_CPUS = [AT_CALLS, AT_TRAPS, AT_NMI, AT_NESTED, AT_SIGNAL, AT_REST]


def arguments(run: Run, scenario: str) -> str:
    """The program's arguments, drawn from the seed."""
    r = run.rng(scenario)
    if scenario == "forged":
        return f"forged {r.choice(['data', 'stack', 'heap', 'mapping'])} {r.getrandbits(62):x}"
    return f"doors {r.randrange(2)} " + " ".join(map(str, r.sample(SHORT, 2)))


@contextlib.contextmanager
def stand(run: Run, check: str) -> Iterator[Guest]:
    """The guest of a check, stopped where it begins to look."""
    scenario, points = WHERE[check]
    before = [AT_GATES, *BOTH_CPUS, *BOTH_CPUS, AT_STEP, AT_STEP] if scenario == "copies" else []
    with run.boot(PROGRAM, arguments(run, "forged" if scenario == "forged" else "doors")) as guest:
        for point in [*before, *points]:
            guest.run_to(point)
        yield guest


# ---- the two boots -------------------------------------------------------------------------------------------


def doors(run: Run) -> None:
    """Gates, every way in on both CPUs, user copies on one."""
    seen = Seen()
    with run.boot(PROGRAM, arguments(run, "doors")) as guest:
        guest.run_to(AT_GATES)
        run.ordinary_gates(guest, "signal handlers do not run as they should" if guest.result(R_HANDLERS) else "")
        wrong = [n for n in range(len(ACTS)) if guest.result(R_COPIES) >> n & 1]
        run.gate("copies", not wrong, "all as it should be" if not wrong else
                 "wrong: " + ", ".join(ACTS[n][0] + (" into a fault" if ACTS[n][1] else "") for n in wrong))
        for cpu in (0, 1):
            at: At = guest.run_to(AT_CALLS)
            if at.cpu != cpu:
                raise Ended(f"the program runs on CPU {at.cpu} and not on CPU {cpu}: sched_setaffinity is broken")
            look(guest, seen)
            calls(guest, seen, cpu)
            traps(guest, seen, cpu)
            look(guest, seen)
            if guest.machine.arch.name == "x86_64":
                nmi(guest, seen, cpu, AT_NESTED, "in user mode")
            guest.run_to(AT_NESTED)
            nested(guest, seen, cpu)
            signals(guest, seen, cpu)
            look(guest, seen)
        judge_ways(run, guest, seen)
        count, opened = 0, []
        for then in (AT_STEP, AT_ACT):
            guest.run_to(AT_STEP)
            steps, found = stepped(guest, AT_ACT)
            count += steps
            opened += found
            if then == AT_ACT:
                guest.run_to(AT_ACT)
        run.check("windows-short", not opened, f"user memory was open in {opened[0]}" if opened else
                  f"{count} instructions of two system calls: open in user copies alone",
                  "user memory is open to the kernel only inside the routines that arch.h and kernel/mm/uaccess.h list",
                  "where is it opened, and what else runs until it is shut?")
        judge_copies(run, guest)


def forged(run: Run) -> None:
    """Kernel pointers that lead into user memory."""
    line = arguments(run, "forged")
    with run.boot(PROGRAM, line) as guest:
        judge_forged(run, guest, int(line.split()[2], 16))
