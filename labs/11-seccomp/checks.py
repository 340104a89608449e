"""The checks of seccomp: which system calls reach the functions behind them, and with what they come back.

Two boots of programs/lab-seccomp.c, in phases: in each a worker of its own gives a call up and makes it all the same.
Between a phase's two checkpoints the grader stops wherever the kernel enters the function of that call, or of one that
nobody gave up. Which calls, which error and which CPU is drawn from the seed.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from grade.labs.grading import Guest, Run

PROGRAM = "lab-seccomp"
AT_GATES, AT_PHASE = 1, 10
R_STATUS, R_TRIES, R_WRONG, R_SIGNALS, R_ANSWERS = 0, 1, 2, 3, 8
SIGKILL, SIGSYS, SIGNALLED, EXITED = 9, 31, 1000, 7
SMP = 2

# As lab-seccomp.c has them.
CALLS = ["mkdirat", "symlinkat", "pipe2", "memfd_create", "epoll_create1", "sysinfo", "fchdir", "times", "getpriority",
         "setxattr"]
WAYS = ["a child", "a grandchild", "a child of vfork", "a thread", "a thread's child", "another program",
        "another program, of a thread"]
NUMBERS = ["bit 32", "the sign", "the sign and bit 32", "31 bits of the high half"]
OPERANDS = ["a load beyond the data", "a load of its last address", "a load across words", "a store to word 16",
            "a store of X to word 4294967295", "a load of word 16", "a load of word 65536 to X", "a division by 0",
            "a shift left by 32", "a shift right by 32", "a jump beyond the end", "a jump by 4294967295",
            "a branch beyond the end if equal", "a branch beyond the end if not greater", "a branch by 255",
            "a load of a byte", "an indexed load", "an instruction that does not exist",
            "the last words of data and scratch (legal)", "arithmetic with the largest operands (legal)",
            "jumps to the last instruction (legal)", "constants, the length, a return of A (legal)"]
SCRATCH = ["a load before any store", "a load to X before any store", "another word is stored",
           "one way jumps over the store", "the other way jumps over the store", "every way jumps over the store",
           "each way stores another word", "one way stores, the other loads to X", "one way of three stores nothing",
           "stores, then loads (legal)", "a store before the branch (legal)", "both ways store (legal)",
           "all three ways store (legal)"]


@dataclass(frozen=True)
class Drawn:
    """What a seed has chosen: places in CALLS, an error, a CPU."""

    call: int
    other: int
    second: int
    error: int
    cpu: int
    mask_fails: bool        # under a twist: with ENOSYS, and kills nobody
    oldest: bool            # under a twist: of equal answers the oldest counts

    def line(self, boot: str, first: int = 0) -> str:
        """The program's arguments, for the phases from one on."""
        return f"{boot} {self.call} {self.other} {self.second} {self.error} {self.cpu} {first}"


def drawn(run: Run) -> Drawn:
    """From the seed."""
    r = run.rng("calls")
    return Drawn(*r.sample(range(len(CALLS)), 3), r.randrange(1000, 4000), r.randrange(SMP),
                 run.twist("mask-enosys") is not None, run.twist("oldest-of-equals") is not None)


# ---- phases ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Saw:
    """What a phase showed: which calls reached their functions, how the worker ended, what it got."""

    reached: frozenset[str]
    status: int
    tries: int
    wrong: int
    signals: int
    answers: list[int]


Judge = Callable[[Drawn, Saw], str]


@dataclass(frozen=True)
class Phase:
    """One phase of the program: the check or gate that it belongs to, what happens in it, what is wrong with it."""

    check: str
    what: str
    judge: Judge


def through(d: Drawn, saw: Saw) -> str:
    """What is wrong if a call got to its function that was given up, or none did that was not."""
    if CALLS[d.call] in saw.reached:
        return f"{CALLS[d.call]} was carried out"
    if CALLS[d.second] in saw.reached:
        return f"{CALLS[d.second]}, given up later, was carried out"
    if CALLS[d.other] not in saw.reached:
        return f"{CALLS[d.other]}, which nobody gave up, was not carried out"
    return "" if saw.tries else "nothing was tried"


def ended(saw: Saw, wanted: int = 0) -> str:
    """What is wrong with the worker's end."""
    def words(status: int) -> str:
        return f"signal {status - SIGNALLED}" if status > SIGNALLED else f"exit code {status}"
    return "" if saw.status == wanted else f"the worker ended with {words(saw.status)}, not with {words(wanted)}"


def errors(*less: int) -> Judge:
    """Each try must come back with the drawn error, less so much."""
    def judge(d: Drawn, saw: Saw) -> str:
        wanted = [d.error - n for n in less]
        wrong = [got for got, want in zip(saw.answers, wanted) if got != want]
        return through(d, saw) or ended(saw) or (
            f"{saw.tries} tries, not {len(wanted)}" if saw.tries != len(wanted) else
            f"error {wrong[0]} came back, not what the filter says" if wrong else "")
    return judge


def masked(d: Drawn, saw: Saw) -> str:
    """Killed or refused: that is for the kernel's author to say."""
    return through(d, saw)


def masked_itself(d: Drawn, saw: Saw) -> str:
    """The same, of the process that has set the mask; a twist takes its author at his word."""
    failed = saw.status == 0 and set(saw.answers[:saw.tries]) == {errno.ENOSYS}
    return through(d, saw) or ("" if failed or not d.mask_fails else "it was not ENOSYS that came back")


def of_equals(d: Drawn, saw: Saw) -> str:
    """The newer of two errors, the second; or the older one, which is less by one."""
    return errors(1 if d.oldest else 0)(d, saw)


def killed(d: Drawn, saw: Saw) -> str:
    """By SIGSYS, at the first try."""
    return through(d, saw) or ended(saw, SIGNALLED + SIGSYS)


def free(d: Drawn, saw: Saw) -> str:
    """Nothing was given up."""
    if not {CALLS[d.call], CALLS[d.other]} <= saw.reached:
        return f"{CALLS[d.call]} does not reach its function, though nobody gave it up"
    return ended(saw)


def free_by_any_number(d: Drawn, saw: Saw) -> str:
    """The same; the second try has bit 32 set as well, and the third is of a number that is no call's."""
    if wrong := free(d, saw):
        return wrong
    first, second, third = saw.answers[:3]
    if first != second:
        return f"with bit 32 set, {CALLS[d.call]} is another call"
    return "" if third == errno.ENOSYS else f"a number beyond the table's end came back with error {third}, not ENOSYS"


def by_argument(d: Drawn, saw: Saw) -> str:
    """The first try is refused, the second, with another argument, is not."""
    if saw.answers[0] != d.error:
        return f"error {saw.answers[0]} came back, not what the filter says"
    return "with another argument it was refused, too" if CALLS[d.call] not in saw.reached else ended(saw)


def trapped(d: Drawn, saw: Saw) -> str:
    """A signal came, and the worker lives."""
    return through(d, saw) or ended(saw) or ("" if saw.signals else "no SIGSYS came")


def no_such_call(d: Drawn, saw: Saw) -> str:
    """It reaches nothing; what error it gets is not asked."""
    return through(d, saw) or ("" if saw.answers[0] else "a call that does not exist succeeded")


def strict_works(d: Drawn, saw: Saw) -> str:
    """It read, wrote, handled a signal and exited."""
    return ended(saw, EXITED) or ("" if saw.signals == 1 else "the signal's handler did not run")


def strict_kills(d: Drawn, saw: Saw) -> str:
    """At the first other call."""
    return f"{CALLS[d.call]} was carried out" if CALLS[d.call] in saw.reached else ended(saw, SIGNALLED + SIGKILL)


def programs(names: list[str]) -> Judge:
    """Legal ones are taken, the others refused with EINVAL."""
    def judge(_: Drawn, saw: Saw) -> str:
        wrong = [name for i, name in enumerate(names) if saw.wrong >> i & 1]
        return f"of {len(names)} programs {len(wrong)} were judged wrongly: {wrong[0]}" if wrong else ""
    return judge


def phases_of(boot: str) -> list[Phase]:
    """A boot's phases, in the program's order."""
    refused, twice = errors(0), errors(0, 1)
    if boot == "holds":
        return [
            *(Phase("free", f"on CPU {cpu}, with nothing given up", free_by_any_number) for cpu in range(SMP)),
            *(Phase("filter-holds", f"a filter's own thread on CPU {cpu}", errors(0, 0, 0)) for cpu in range(SMP)),
            Phase("filter-holds", "a filter's own thread, moved to the other CPU", errors(0, 0)),
            Phase("filter-holds", "a filter that asks for an argument", by_argument),
            *(Phase("inherited", f"{way} of a thread with a filter", refused) for way in WAYS),
            *(Phase("inherited", f"{way} of a process with a mask", masked) for way in WAYS),
            Phase("inherited", "a process whose children gave something up", free),
            *(Phase("masks", f"a process with a mask on CPU {cpu}", masked_itself) for cpu in range(SMP)),
            Phase("masks", "after a second and a third mask", masked_itself),
            Phase("masks", "a mask, and then a filter that allows all", masked_itself),
            *(Phase("running-threads", f"a thread that {does} while {what}", judge)
              for what, judge in (("a mask is set", masked), ("another synchronises its filters", twice))
              for does in ("runs on the other CPU", "sleeps in a system call")),
            *(Phase("running-threads", f"threads with a filter of their own, while another on CPU {cpu} synchronises one more",
                    errors(0, 1, 0, 1)) for cpu in range(SMP)),
        ]
    return [
        Phase("severest-answer", "a filter that refuses, then one that allows all", refused),
        Phase("severest-answer", "one that allows all, then one that refuses: a child", refused),
        Phase("severest-answer", "two errors: the newer counts", of_equals),
        Phase("severest-answer", "five filters, the third refuses: a grandchild and itself", errors(0, 0)),
        *(Phase("severest-answer", f"{first}, then {then}", killed) for first, then in (
            ("an error", "the thread's death"), ("an error", "the process's death"),
            ("the thread's death", "an error"), ("the process's death", "an error"))),
        Phase("severest-answer", "a trap, then an error", trapped),
        Phase("same-call", "its number with bits of the high half set, and a filter", errors(0, 0, 0, 0)),
        Phase("same-call", "its number with bit 30 set, and a filter", no_such_call),
        *(Phase("same-call", f"its number with {bits} set, and a mask", masked) for bits in NUMBERS),
        Phase("strict", "read, write, a signal and exit", strict_works),
        Phase("strict", "any other call", strict_kills),
        Phase("strict", "a child", strict_kills),
        Phase("programs-checked", "operands and jumps", programs(OPERANDS)),
        Phase("scratch", "scratch words", programs(SCRATCH)),
    ]


@dataclass(frozen=True)
class About:
    """What a check says: what it expects, where to look, and what was seen if all is well."""

    expected: str
    look: str
    good: str


ABOUT = {
    "filter-holds": About("what a filter refuses never reaches the call's function and comes back with the filter's "
                          "error, on each CPU; other calls go on", "syscall_dispatch() in kernel/sys/table.c: who gets to "
                          "seccomp_permits()?", "a thread that moves, one on each CPU, one argument of many: refused"),
    "inherited": About("whoever comes from a confined thread is confined as it is, and nobody else is",
                       "seccomp_inherit() in kernel/harden/seccomp.c: what has a thread, what has a process?",
                       f"{len(WAYS)} ways to another thread or program, by filter and by mask: none was a way out"),
    "masks": About("a call whose bit was ever clear is never carried out again; the rest is",
                   "mask_allows() and seccomp_permits() in kernel/harden/seccomp.c", "masks only shrink"),
    "running-threads": About("what is given up for a process holds for the threads that it has at that moment",
                             "who tells a thread that runs on another CPU: enforce() in kernel/harden/seccomp.c?",
                             "running or asleep, with filters or without: none escaped"),
    "severest-answer": About("all filters are asked; the severest answer counts, of equal ones the newest",
                             "severity() and ask_filters() in kernel/harden/seccomp.c",
                             "in any order, by children too: the severest"),
    "same-call": About("what is judged is the number that the table is indexed with",
                       "which number does syscall_dispatch() run, and which does it have judged?",
                       "no other number for the same call"),
    "strict": About("read, write, exit and rt_sigreturn; anything else kills the thread with SIGKILL",
                    "seccomp_permits() in kernel/harden/seccomp.c", "four calls, and no fifth"),
    "programs-checked": About("a program that jumps or reads out of itself is refused with EINVAL, a legal one taken",
                              "check_insn() in kernel/harden/bpf.c", f"{len(OPERANDS)} programs judged rightly"),
    "scratch": About("a program that may read a scratch word before it has written it is refused, a legal one taken",
                     "check_scratch() in kernel/harden/bpf.c: what is known where two paths meet?",
                     f"{len(SCRATCH)} programs judged rightly"),
}


def look(guest: Guest, number: int, d: Drawn) -> Saw:
    """Phase `number`, from its first checkpoint to its second."""
    names = {guest.image.sym(f"sys_{CALLS[i]}"): CALLS[i] for i in (d.call, d.other, d.second)}
    begin, end = AT_PHASE + 2 * number, AT_PHASE + 2 * number + 1
    guest.run_to(begin)
    reached = set()
    while (at := guest.run_to(end, extra=names)).extra:
        reached.add(names.pop(at.pc))       # once is enough to know
    status, tries, wrong, signals = (guest.result(i) for i in (R_STATUS, R_TRIES, R_WRONG, R_SIGNALS))
    return Saw(frozenset(reached), status, tries, wrong, signals, [guest.result(R_ANSWERS + i) for i in range(8)])


def first_wanted(run: Run, boot: str) -> int:
    """The first phase that decides something that is wanted; 0 if gates are, which come before it."""
    numbers = [i for i, p in enumerate(phases_of(boot)) if run.wants(p.check)]
    return 0 if run.wants("boots", "shell", "programs") else min(numbers, default=0)


def judge(run: Run, guest: Guest, boot: str, first: int) -> None:
    """A boot's phases from one on; each check is decided by its last one."""
    d = drawn(run)
    numbered = list(enumerate(phases_of(boot)))[first:]
    for check, group in itertools.groupby(numbered, key=lambda item: item[1].check):
        wrong = []
        for number, phase in group:
            saw = look(guest, number, d)
            if bad := phase.judge(d, saw):
                wrong.append(f"{phase.what}: {bad}")
        if check == "free":
            run.gate("free", not wrong, wrong[0] if wrong else "it reached the call's function on both CPUs")
            continue
        about = ABOUT[check]
        run.check(check, not wrong, (wrong[0] + (f"; {len(wrong)} such things in all" if len(wrong) > 1 else ""))
                  if wrong else about.good, about.expected, about.look)


# ---- where `why CHECK` stops ----


@contextlib.contextmanager
def stand(run: Run, check: str) -> Iterator[Guest]:
    """The guest of a check, stopped where its first phase begins."""
    boot = next(b for b in ("holds", "answers") if any(p.check == check for p in phases_of(b)))
    first = next(i for i, p in enumerate(phases_of(boot)) if p.check == check)
    with run.boot(PROGRAM, drawn(run).line(boot, first)) as guest:
        guest.run_to(AT_PHASE + 2 * first)
        yield guest


# ---- the two boots -------------------------------------------------------------------------------------------


def scenarios() -> list:
    """What may run side by side."""
    return [holds, answers]


def holds(run: Run) -> None:
    """Gates; what was given up, who has it from whom, who runs already."""
    first = first_wanted(run, "holds")
    with run.boot(PROGRAM, drawn(run).line("holds", first)) as guest:
        if first == 0:
            guest.run_to(AT_GATES)
            run.ordinary_gates(guest)
        judge(run, guest, "holds", first)


def answers(run: Run) -> None:
    """What filters say together, other numbers, strict mode, programs."""
    first = first_wanted(run, "answers")
    with run.boot(PROGRAM, drawn(run).line("answers", first)) as guest:
        judge(run, guest, "answers", first)
