"""The checks of canary: what threads have, what CPUs compare with, and where an overrun function goes.

Two scenarios of programs/lab-canary.c. In one, threads come, sleep and go on both CPUs, and the grader reads their
canaries; then the same machine starts again with other random numbers. In the other, processes overrun a frame of the
kernel's with what an attacker has guessed, which the grader writes into their memory. Moments, CPUs and the order of
guesses are drawn from the seed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from grade.canaries import canaries, compared_with, own, switches
from grade.cpus import CPUS
from grade.labs.grading import OWN, At, Ended, Guest, Run
from grade.spaces import Kernel

PROGRAM = "lab-canary"
AT_GATES, AT_WORK, AT_REST, AT_CROWD, AT_GUESS, AT_ACT, AT_KILLED, AT_END = range(1, 9)
R_LEGAL, R_GUESS, R_STATUS = range(OWN, 6)
CROWD = 64                      # threads of lab-canary.c that are there at once
DRAWN_BITS = range(8, 64)       # the byte that is lowest in memory may be 0

# Functions of start-up, in their order, which the boot CPU runs on its boot stack.
EARLY = ["heap_init", "vm_init", "time_init", "vfs_init", "procfs_init", "devices_init", "process_init"]
# While a CPU works: functions to stop at, and how often each is reached at least.
EVENTS = [("syscall_dispatch", 30), ("schedule", 10), ("vm_fork", 5), ("sched_thread_begin", 8)]
MOMENTS = 4                     # on each CPU
ARGUMENTS = {"x86_64": ("rdi", "rsi", "rdx", "rcx"), "aarch64": ("x0", "x1", "x2", "x3")}


def scenarios() -> list:
    """What may run side by side."""
    return [values, overflows]


# ---- values --------------------------------------------------------------------------------------------------


@dataclass
class Seen:
    """What was seen of canaries at the moments so far, and what was wrong, in words."""

    start: list[str] = field(default_factory=list)      # from-the-start
    shared: list[str] = field(default_factory=list)     # own-value
    others: list[str] = field(default_factory=list)     # follows-switch
    values: set[int] = field(default_factory=set)
    compared: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 0})
    looks: int = 0


def short(whose: str) -> str:
    """A thread without its address, which is of no use in a report."""
    return whose.partition(" at ")[0]


def begins(run: Run, guest: Guest, seen: Seen) -> None:
    """Start-up, to the first checkpoint: what each CPU compares with before it runs any program."""
    early = run.rng("early").choice(EARLY)
    names = [early, "cpu_main", "process_start_init"]
    reached: set[str] = set()
    while (at := guest.run_to(AT_GATES, extra={guest.image.sym(name) for name in names})).extra:
        name = next(n for n in names if guest.image.sym(n) == at.pc)
        kernel = Kernel(guest.machine, run.image)
        value = compared_with(kernel, at.cpu)
        where = f"CPU {at.cpu} in {name}()"
        if value == 0:
            seen.start.append(f"{where} compares with 0")
        elif value != own(kernel, at.cpu):
            seen.start.append(f"{where} compares with another canary than that of the thread that it runs")
        elif value in seen.values and name == "cpu_main":
            seen.start.append(f"{where} compares with the canary of another CPU")
        reached.add(name)
        seen.values.add(value)
    seen.start += [f"{name}() was not reached" for name in names if name not in reached]


def look(run: Run, guest: Guest, seen: Seen) -> None:
    """Every thread's canary, and what each CPU compares with, at this moment."""
    kernel = Kernel(guest.machine, run.image)
    found = canaries(kernel)
    owners: dict[int, list[str]] = {}
    for whose, value in found.items():
        owners.setdefault(value, []).append(short(whose))
    seen.shared += [f"{who[0]} has none: it is 0" if value == 0 else f"{who[0]} and {who[1]} have the same"
                    for value, who in owners.items() if value == 0 or len(who) > 1]
    for cpu in guest.machine.gdb.cpus():
        if switches(kernel, cpu):
            continue
        value = compared_with(kernel, cpu)
        if value == 0 or value != own(kernel, cpu):
            seen.others.append(f"CPU {cpu} compares with " + ("0" if value == 0 else "another canary than that of the "
                                                              "thread that it runs"))
        seen.compared[cpu] += 1
    seen.values |= set(found.values())
    seen.looks += 1


def works(run: Run, guest: Guest, seen: Seen, cpu: int) -> None:
    """From AT_WORK to AT_REST: looks at drawn moments."""
    r = run.rng(f"moments on CPU {cpu}")
    at: At = guest.run_to(AT_WORK)
    if at.cpu != cpu:
        raise Ended(f"the program runs on CPU {at.cpu} and not on CPU {cpu}: sched_setaffinity is broken")
    look(run, guest, seen)
    for _ in range(MOMENTS):
        name, most = r.choice(EVENTS)
        if not guest.run_to(AT_REST, extra=guest.image.sym(name), hits=r.randint(1, most // MOMENTS + 1)).extra:
            break
        look(run, guest, seen)
    else:
        guest.run_to(AT_REST)
    look(run, guest, seen)


def fixed_bits(found: set[int]) -> list[int]:
    """Bits, of those that must be drawn, that are the same in all of these values."""
    return [bit for bit in DRAWN_BITS if len({value >> bit & 1 for value in found}) < 2]


def values(run: Run) -> None:
    """Gates, start-up, two CPUs at work, a crowd; and a crowd in another start."""
    seen, again = Seen(), Seen()
    with run.boot(PROGRAM, "threads") as guest:
        begins(run, guest, seen)
        run.ordinary_gates(guest)
        run.check("from-the-start", not seen.start, seen.start[0] if seen.start else
                  "an unknown one in start-up and on the second CPU, each its own", "from kernel_main()'s second line "
                  "on, and in cpu_main(), a CPU compares with a value that is not 0 and is its thread's",
                  "canary_start() for the first CPU; for the second, what its first C function does")
        for cpu in (0, 1):
            works(run, guest, seen, cpu)
        guest.run_to(AT_CROWD)
        look(run, guest, seen)
        crowd = set(canaries(Kernel(guest.machine, run.image)).values())
        run.check("own-value", not seen.shared, seen.shared[0] if seen.shared else
                  f"{seen.looks} looks, {len(seen.values)} values, never two threads with the same",
                  "each thread, idle ones and forked ones included, has a canary that is not 0 and nobody else's",
                  "thread_create() in kernel/proc/thread.c: is the value drawn there, each time?")
        missing = [f"CPU {cpu} was never seen outside a switch" for cpu, n in seen.compared.items() if not n]
        run.check("follows-switch", not seen.others + missing, (seen.others + missing + [
            f"{sum(seen.compared.values())} looks at CPUs: each compares with its thread's"])[0],
            "at every moment each CPU compares with the canary, not 0, of the thread that it runs",
            "who changes what compiled code reads when another thread runs, and on which CPUs?")
        guest.run_to(AT_END)
    with run.boot(PROGRAM, "crowd", start="another start") as guest:
        guest.run_to(AT_CROWD)
        look(run, guest, again)
        guest.run_to(AT_END)
    wrong = [f"0x{value:016x} came in two starts" for value in sorted(seen.values & again.values)]
    wrong = [f"{len(found)} values for {CROWD} threads" for found in (crowd, again.values) if len(found) < CROWD] or wrong
    if not wrong and (fixed := fixed_bits(crowd)):
        wrong = [f"bit {fixed[0]} is the same in all of {len(crowd)} canaries, and so are {len(fixed) - 1} others"]
    run.check("unpredictable", not wrong, wrong[0] if wrong else
              f"{len(crowd)} values, each bit from 8 up differs; none of them in another start",
              "bits 8 to 63 are random in every thread's canary, and another start has others",
              "where does the value come from? Who else knows the time, or an address?")


# ---- overflows -----------------------------------------------------------------------------------------------


def plan(run: Run) -> list[tuple[int, str]]:
    """On which CPU which guess is tried, in drawn order."""
    r = run.rng("overflows")
    later = [(cpu, guess) for cpu in (0, 1) for guess in ("zeros", "the parent's canary", "the last child's canary")]
    r.shuffle(later)
    return [(r.randrange(2), "zeros"), *later]      # of the first nobody has been a child before


@dataclass
class Act:
    """What one overflow came to."""

    cpu: int
    guess: str
    caught: bool = False            # __stack_chk_fail was entered
    gadget: bool = False
    behind: bool = False            # the thread went on behind that call
    reports: list[tuple[str, str]] = field(default_factory=list)    # row and function of each oops
    status: int = 0
    strings: bool = False           # before it, those that fit were added up
    lost: str = ""

    def __str__(self) -> str:
        return f"CPU {self.cpu}, {self.guess}"


def reported(guest: Guest, kernel: Kernel, cpu: int) -> tuple[str, str]:
    """The row and the function that oops(), which is being entered, is told: by its trap frame, or in words."""
    gdb = guest.machine.gdb
    frame, row, _, word = (gdb.reg(cpu, name) for name in ARGUMENTS[guest.machine.arch.name])
    pc = "rip" if guest.machine.arch.name == "x86_64" else "pc"
    if frame:
        where = guest.image.where(kernel.member(frame, "struct trapframe", pc)).partition("+")[0]
    else:
        where = kernel.text(word, 32) if kernel.owns(word) else "-"
    return kernel.text(row, 16) if row else "-", where


def overflow(run: Run, guest: Guest, act: Act, previous: int) -> int:
    """One overflow, from AT_GUESS to AT_KILLED. The child's canary."""
    image, gdb = guest.image, guest.machine.gdb
    fail, gadget, report = (image.sym(n) for n in ("__stack_chk_fail", "vuln_stack_gadget", "oops"))
    at = guest.run_to(AT_GUESS)
    if at.cpu != act.cpu:
        raise Ended(f"the program runs on CPU {at.cpu} and not on CPU {act.cpu}: sched_setaffinity is broken")
    act.strings = guest.result(R_LEGAL) == 0
    guess = {"zeros": 0, "the parent's canary": own(Kernel(guest.machine, run.image), at.cpu),
             "the last child's canary": previous}[act.guess]
    gdb.write(guest.program.sym("results") + 8 * R_GUESS, guess.to_bytes(8, "little"), at.cpu)
    at = guest.run_to(AT_ACT)
    kernel = Kernel(guest.machine, run.image)
    thread, child = kernel.current(at.cpu), own(kernel, at.cpu)
    behind = 0
    while (at := guest.run_to(AT_KILLED, extra={fail, gadget, report, behind} - {0})).extra:
        kernel = Kernel(guest.machine, run.image)
        if at.pc == gadget:
            act.gadget = True
        if kernel.current(at.cpu) != thread:
            continue
        if at.pc == fail:
            act.caught, behind = True, back_of(guest, at.cpu)
        elif at.pc == report:
            act.reports.append(reported(guest, kernel, at.cpu))
        elif at.pc == behind:
            act.behind = True
    act.status = guest.result(R_STATUS)
    return child


def back_of(guest: Guest, cpu: int) -> int:
    """Where the function that is being entered would return to."""
    return CPUS[guest.machine.arch.name].returns_to(guest.machine, cpu)


def got_through(act: Act) -> str:
    """What is wrong with an overflow that should have been caught; empty if it was."""
    if act.lost:
        return f"{act}: {act.lost}"
    if act.gadget:
        return f"{act}: the return address was obeyed, the gadget ran"
    if not act.caught:
        return f"{act}: neither the gadget nor __stack_chk_fail() was reached"
    return "" if 1000 < act.status < 1065 else f"{act}: the process was not killed (it ended with {act.status})"


def bad_report(act: Act) -> str:
    """What is wrong with an overflow's report; empty if nothing is."""
    if act.lost:
        return f"{act}: {act.lost}"
    if not act.reports:
        return f"{act}: oops() was not called" if act.caught else f"{act}: nothing was caught"
    row, function = act.reports[0]
    if row != "canary":
        return f"{act}: the report's row is {row}"
    if function == "-":
        return f"{act}: oops() got no frame, and its words name no function; the backtrace does not count"
    return "" if function == "vuln_string_sum" else f"{act}: the report is of {function}, and vuln_string_sum was overrun"


def overflows(run: Run) -> None:
    """Overflows with what an attacker may know."""
    acts: list[Act] = []
    with run.boot(PROGRAM, "overflow " + " ".join(str(cpu) for cpu, _ in plan(run))) as guest:
        last = 0
        try:
            for cpu, guess in plan(run):
                acts.append(Act(cpu, guess))
                last = overflow(run, guest, acts[-1], last)
            guest.run_to(AT_END)
        except Ended as error:
            acts[-1].lost = str(error)
    strings = [a for a in acts if a.strings or not a.lost]
    good = bool(strings) and all(a.strings for a in strings)
    run.gate("strings", good, "added up" if good else "strings that fit are not added up")
    judge(run, acts)


def judge(run: Run, acts: list[Act]) -> None:
    """Decides the checks of overflows."""
    zeros = [a for a in acts if a.guess == "zeros"]
    leaks = [a for a in acts if a.guess != "zeros"]
    untried = [f"not tried: {acts[-1]}: {acts[-1].lost}"] if len(acts) < len(plan(run)) else []
    wrong = [w for a in zeros if (w := got_through(a))] or untried
    run.check("overflow-caught", not wrong, wrong[0] if wrong else f"{len(zeros)} overflows on both CPUs: each was caught, "
              "each process killed, the machine lives", "where the frame is overrun with zeros, __stack_chk_fail() is "
              "entered, the gadget is not, and the process dies of a signal",
              "which value has compiled code compared with? What does __stack_chk_fail() do then?")
    wrong = [w for a in leaks if (w := got_through(a))] or untried
    run.check("one-leak-one-thread", not wrong, wrong[0] if wrong else "the parent's and the last child's are of no use",
              "an overflow with the canary of a parent, or of a child that has died, is caught",
              "thread_create() in kernel/proc/thread.c; who else hands values from thread to thread?")
    wrong = [f"{a}: {a.lost}" for a in acts if a.lost]
    wrong += [f"{a}: nothing was caught" for a in acts if not a.caught]
    wrong += [f"{a}: it executed what lies behind the call" if a.behind else f"{a}: and yet the gadget ran"
              for a in acts if a.caught and (a.behind or a.gadget)]
    run.check("no-way-back", not wrong, wrong[0] if wrong else f"{len(acts)} reports, and nothing behind them",
              "a thread that has entered __stack_chk_fail() never comes to the instruction behind that call",
              "there is nothing behind the call but the next function: on which stack would that go on?")
    wrong = [w for a in acts if (w := bad_report(a))]
    run.check("report", not wrong, wrong[0] if wrong else f"{len(acts)} reports of vuln_string_sum, and the machine lives",
              'oops() is called with the row "canary" and a frame, or words, that name the overrun function; it ends '
              "one process", "__stack_chk_fail() in kernel/harden/canary.c: whose return address says where it happened?")


# ---- where `why CHECK` stops: the program's arguments, and the checkpoints to pass ----

WHERE = {
    "from-the-start": [], "own-value": [AT_GATES, AT_WORK], "follows-switch": [AT_GATES, AT_WORK, AT_REST, AT_WORK],
    "unpredictable": [AT_GATES, AT_WORK, AT_REST, AT_WORK, AT_REST, AT_CROWD],
    "overflow-caught": [AT_GUESS, AT_ACT], "one-leak-one-thread": [AT_GUESS, AT_ACT],
    "no-way-back": [AT_GUESS, AT_ACT], "report": [AT_GUESS, AT_ACT],
}


@contextlib.contextmanager
def stand(run: Run, check: str) -> Iterator[Guest]:
    """The guest of a check, stopped where it begins to look."""
    points = WHERE[check]
    arguments = "overflow " + " ".join(str(cpu) for cpu, _ in plan(run)) if AT_GUESS in points else "threads"
    with run.boot(PROGRAM, arguments) as guest:
        if not points:
            guest.run_to(AT_GATES, extra=guest.image.sym("cpu_main"))
        for point in points:
            guest.run_to(point)
        yield guest
