"""The checks of nx: which pages of a program are executable, by the entries of its tables, and what happens to who jumps there.

Two boots of programs/lab-nx.c, in which only this row stands between data and the processor: wx is off; and so are kpti and
ro-pgtable, whose changes of tables make a processor forget what it should have been told to. In the one boot the program
has pages of every kind, changes them in every way, and says at each checkpoint where they are. In the other it jumps into
them. Which pages are touched, on which CPU, and in which order is drawn from the seed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from grade.cpus import CPUS
from grade.labs.grading import Guest, Run, picture
from grade.spaces import Kernel
from grade.walk import Space

PROGRAM, PAGE = "lab-nx", 0x1000
ALONE = "harden=-kstack-offset,-wx,-kpti,-ro-pgtable"
(AT_GATES, AT_DATA, AT_FILES, AT_SEGMENTS, AT_CHILD, AT_CHILD_WROTE, AT_PARENT, AT_PARENT_WROTE, AT_CHANGED, AT_MOVED,
 AT_READY, AT_JUMP, AT_OVER, AT_END) = range(1, 15)
R_SHELL, R_FORK, R_CODE, R_STATUS, R_PAGES = range(5)
DATA_THERE, CODE_THERE, NO_CODE = range(3)
KILLED = 1000 + 11              # SIGSEGV, as lab-nx.c has it
LOOKS = 4                       # at every address space, while the gates run
# When: at one of these system calls, of which all programs of the gates make a hundred; most make many more of others.
EVENTS, FAR = ("execve", "exit_group", "mmap", "mprotect"), 20


def scenarios() -> list:
    """What may run side by side."""
    return [tables, jumps]


# ---- entries ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Phase:
    """What the program has noted at a checkpoint: the check it decides, how much of it there is, and what it is."""

    check: str
    at: int
    noted: list[str]


BOTH = ["the stack", "zeroed data", "initialised data", "memory that was written", "memory that was only read",
        "copied pages of a file", "pages of a file that were only read", "shared memory", "memory under PROT_NONE before",
        "code"]
PHASES = [
    Phase("kinds", AT_DATA, ["the stack", "the stack, further down", "the heap", "zeroed data", "initialised data",
                             "memory that was written", "memory that was only read", "shared memory",
                             "populated memory"]),
    Phase("kinds", AT_FILES, ["a file's page", "its neighbours", "a file's page that may be written",
                              "its neighbours, to be written", "copied pages of a file", "a shared file",
                              "a shared file that is only read", "a program's file, mapped as data", "a program's code"]),
    Phase("segments", AT_SEGMENTS, ["the headers' segment", "the code's segment", "the constants' segment",
                                    "the data's segment"]),
    Phase("forked", AT_CHILD, [f"{what}, in a child" for what in BOTH]),
    Phase("forked", AT_CHILD_WROTE, [f"{what}, written in a child" for what in BOTH]),
    Phase("forked", AT_PARENT, [f"{what}, in the parent after a fork" for what in BOTH]),
    Phase("forked", AT_PARENT_WROTE, [f"{what}, written in the parent after a fork" for what in BOTH]),
    Phase("rewritten", AT_CHANGED, ["memory of which a page lost PROT_WRITE", "memory that got PROT_WRITE",
                                    "memory that was under PROT_NONE", "code that lost PROT_EXEC",
                                    "code beside it", "code that lost PROT_EXEC under PROT_NONE",
                                    "memory that got PROT_EXEC", "memory that got it and lost it",
                                    "shared memory that lost PROT_WRITE", "memory after MADV_DONTNEED"]),
    Phase("rewritten", AT_MOVED, ["memory that mremap moved", "memory that mremap moved under PROT_NONE",
                                  "copied pages of a file that mremap moved and grew", "where MREMAP_DONTUNMAP left nothing",
                                  "where MREMAP_DONTUNMAP led", "moved code that lost PROT_EXEC", "code that mremap moved"]),
]
EXPECTED = {
    "kinds": ("a page that nobody asked to be executable is not, on either CPU", "what does an entry get, and from which "
              "of its area's permissions? arch/*/entries.h, kernel/mm/fault.c"),
    "segments": ("of a program's segments those with PF_X are executable, and no other", "map_segment() in kernel/proc/elf.c"),
    "forked": ("data is no more executable in a child than it was in the parent, in either before and after a write",
               "who makes the child's entries, and what does pte_prot() say of the parent's?"),
    "rewritten": ("mprotect and mremap leave data as it should be, and take from code what they are told to",
                  "which functions write an entry that was there before? kernel/mm/remap.c"),
}


def wrong_pages(guest: Guest, cpu: int, space: Space, phase: Phase) -> tuple[str, tuple[int, int] | None]:
    """What is wrong, in words, with the pages that the standing program has noted; and where."""
    noted = guest.result(R_PAGES)
    if noted != len(phase.noted):
        return f"{noted} ranges of pages were noted and not {len(phase.noted)}", None
    words = guest.machine.gdb.read(guest.program.sym("pages"), 24 * noted, cpu)
    for i, name in enumerate(phase.noted):
        at, size, what = (int.from_bytes(words[o:o + 8], "little") for o in range(24 * i, 24 * i + 24, 8))
        for page in range(at, at + size, PAGE):
            m = space.covers(page)
            where = page, page + PAGE
            if m is None and what != NO_CODE:
                return f"{name}: a page that was used is not mapped", where
            if m and m.exec_user != (what == CODE_THERE):
                return f"{name}: a page is {'' if m.exec_user else 'not '}executable", where
    return "", None


def drawn(run: Run) -> str:
    """The program's arguments for its tables."""
    r = run.rng("pages")
    return f"tables {r.randrange(2)} {r.randrange(1, 1 << 32)}"


def everywhere(run: Run, guest: Guest) -> None:
    """To AT_GATES, with looks at all address spaces on the way."""
    r = run.rng("moments")
    wrong: list[str] = []
    looks = 0
    events = [guest.image.sym(f"sys_{name}") for name in EVENTS]
    for _ in range(LOOKS):
        if not guest.run_to(AT_GATES, extra=events, hits=r.randint(1, FAR)).extra:
            break
        kernel = Kernel(guest.machine, run.image)
        wrong += [f"{m} of {space.name}" for space in kernel.spaces()
                  for m in space.between(0, kernel.cpu.user_end) if m.user and m.writable and m.exec_user]
        looks += 1
    else:
        guest.run_to(AT_GATES)
    run.gate("boots", True, "the program runs")
    shell, fork, code = (guest.result(i) for i in (R_SHELL, R_FORK, R_CODE))
    run.gate("shell", shell == 0, f"the script ended with {shell}")
    run.gate("programs", fork == 0, f"test-fork_cow ended with {fork}")
    run.gate("code", code == 0, f"it ended with {code}" + (f", signal {code - 1000}" if code > 1000 else ""))
    run.check("everywhere", not wrong and looks == LOOKS, f"{len(wrong)} pages can be written and executed" if wrong else
              f"{looks} looks at every address space, and no such page",
              "while a shell, its children and a test of fork run, no page that user mode can write is executable",
              "which processes are these, and which function wrote the entry? `rp-pt ADDRESS` in `make gdb`")


def tables(run: Run) -> None:
    """Pages of every kind, changed in every way, on both CPUs in turn."""
    wrong: dict[str, tuple[str, dict | None]] = {}
    with run.boot(PROGRAM, drawn(run), append=ALONE) as guest:
        everywhere(run, guest)
        for phase in [*PHASES, *PHASES]:        # on one CPU, then on the other
            at = guest.run_to(phase.at)
            if phase.check in wrong:
                continue
            space = CPUS[guest.machine.arch.name].active(guest.machine, at.cpu)
            text, page = wrong_pages(guest, at.cpu, space, phase)
            if text:
                drawing = page and picture(space, page[0] - 4 * PAGE, page[1] + 4 * PAGE, {page: phase.check}, page, text)
                wrong[phase.check] = f"CPU {at.cpu}: {text}", drawing
        guest.run_to(AT_END)
        for check, (expected, look) in EXPECTED.items():
            ranges = 2 * sum(len(p.noted) for p in PHASES if p.check == check)
            text, drawing = wrong.get(check, (f"{ranges} ranges of pages, each as it was asked for", None))
            run.check(check, check not in wrong, text, expected, look, drawing)


# ---- jumps --------------------------------------------------------------------------------------------------

DATA = ["on the stack", "on the heap", "in zeroed data", "in a mapping", "in shared memory", "in a private page of a file",
        "in a page of its parent", "in a page that was under PROT_NONE"]
TAKEN = ["that mprotect made data", "that mprotect made writable data"]     # what other CPUs remember is lab 10's


def plan(run: Run) -> list[tuple[int, int]]:
    """Every place to jump to and on which CPU, in their order."""
    r = run.rng("jumps")
    out = [(place, r.randrange(2)) for place in range(len(DATA + TAKEN))]
    r.shuffle(out)
    return out


def arguments(jumps: list[tuple[int, int]]) -> str:
    """The program's."""
    return "jumps " + " ".join(f"{place} {cpu}" for place, cpu in jumps)


def one_jump(guest: Guest, place: int) -> str:
    """What is wrong with one jump; it begins at AT_READY and ends at AT_OVER."""
    payload = guest.program.sym("payload")
    if place >= len(DATA):
        if not guest.run_to(AT_JUMP, extra=payload).extra:
            return "what was executable before did not run"
    guest.run_to(AT_JUMP)
    ran = guest.run_to(AT_OVER, extra=payload).extra
    if ran:
        guest.run_to(AT_OVER)
    status = guest.result(R_STATUS)
    return "it ran" if ran else "" if status == KILLED else f"it did not run, but its process ended with {status}"


def jumps(run: Run) -> None:
    """Processes that jump to what they wrote, and to what was code a moment ago."""
    wrong: dict[str, list[str]] = {"shellcode": [], "processor-told": []}
    jumps = plan(run)
    with run.boot(PROGRAM, arguments(jumps), append=ALONE) as guest:
        for place, cpu in jumps:
            guest.run_to(AT_READY)
            name = (DATA + TAKEN)[place]
            if text := one_jump(guest, place):
                wrong["shellcode" if place < len(DATA) else "processor-told"].append(f"CPU {cpu}: code {name}: {text}")
        guest.run_to(AT_END)
        for check, good, expected, look in (
                ("shellcode", f"{len(DATA)} places, no code ran, each process died of SIGSEGV",
                 "a program that jumps to what it wrote executes none of it, and dies of SIGSEGV",
                 "`make attack`; which bit of the page's entry says no, and is it there?"),
                ("processor-told", "what was code a moment ago ran no more",
                 "once mprotect has returned, the CPU executes nothing of what it took PROT_EXEC from",
                 "the entry is right; who still has the old one? protect_pte() in kernel/mm/remap.c and who reads `changed`")):
            run.check(check, not wrong[check], wrong[check][0] if wrong[check] else good, expected, look)


# ---- where `why CHECK` stops: the program's arguments, and the checkpoints to pass ----


@contextlib.contextmanager
def stand(run: Run, check: str) -> Iterator[Guest]:
    """The guest of a check, stopped where it begins to look."""
    if check in ("shellcode", "processor-told"):
        first = next(i for i, (place, _) in enumerate(plan(run)) if (place < len(DATA)) == (check == "shellcode"))
        line, points = arguments(plan(run)[first:]), [AT_READY, AT_JUMP]
    else:
        last = next((p.at for p in PHASES if p.check == check), AT_GATES)
        line, points = drawn(run), [at for at in range(AT_GATES, AT_READY) if at <= last]
    with run.boot(PROGRAM, line, append=ALONE) as guest:
        for point in points:
            guest.run_to(point)
        yield guest
