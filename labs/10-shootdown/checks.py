"""The checks of shootdown: what a CPU reaches by what its TLB remembers, after another has taken it away.

A boot of programs/lab-shootdown.c, in cases: a thread touches a page on one CPU, and one on the other takes it away.
Where that is done, and where a frame is given back before, the machine stands, and the grader has the toucher's CPU go on
alone to its next access. A byte that the grader has put into the old frame says whether the access came there though the
tables lead there no more: so the TLB itself is asked. Which CPU, which pages and in which order is drawn from the seed.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from grade.cpus import CPUS
from grade.frames import wrong_references
from grade.labs.grading import Guest, Run
from grade.spaces import Kernel

PROGRAM = "lab-shootdown"
AT_GATES, AT_ACT, AT_DONE = 1, 2, 3
R_PAGE = 0
STEPS = 60              # of the toucher: more than two rounds
WRITTEN = ord("t")      # what it writes ...
MARK = 0xA5             # ... and what it reads, if it reaches the old frame
DELAYED = 16            # frames may wait for a later occasion to be given back
ONE, FEW, MANY = (1, 1), (3, 9), (40, 90)       # pages, below and above where all is forgotten instead of each
WHAT = {"m": "munmap", "n": "mprotect(PROT_NONE)", "r": "mprotect(PROT_READ)", "v": "mremap", "d": "madvise(MADV_DONTNEED)"}
NO_KPTI = "harden=-kpti"        # which has a CPU forget much whenever it enters the kernel


@dataclass(frozen=True)
class Case:
    """One case, and the check that it belongs to."""

    check: str
    cpu: int            # who takes
    what: str
    write: bool
    sleeps: bool        # while it is taken; it wakes and touches before the case is over
    pages: int
    which: int          # of them is touched

    @property
    def word(self) -> str:
        """As the program reads it."""
        return f"{self.cpu}{self.what}{'w' if self.write else 'r'}{'s' if self.sleeps else 'a'}{self.pages:x}.{self.which:x}"

    def __str__(self) -> str:
        return (f"{WHAT[self.what]} of {self.pages} page{'s' * (self.pages > 1)} on CPU {self.cpu}, of which a thread that "
                f"{'sleeps' if self.sleeps else 'runs'} on CPU {1 - self.cpu} {self.does} number {self.which + 1}")

    @property
    def does(self) -> str:
        """What the thread does to its page."""
        return "writes to" if self.write else "reads"


# What is taken, and how much, for each check: on either CPU, and of it the first page, the last, and a drawn one.
PLANS = {"munmap": ("md", [ONE, FEW]), "mprotect": ("nr", [FEW, MANY]), "mremap": ("v", [FEW]), "ranges": ("md", [MANY]),
         "frames-kept": ("md", [FEW]), "asleep": ("mr", [FEW])}


def cases(run: Run) -> list[Case]:
    """The boot's."""
    out = []
    for check, (whats, sizes) in PLANS.items():
        if not run.wants(check):
            continue
        r = run.rng(check)
        mine = []
        for cpu, what, size in itertools.product(range(2), whats, sizes):
            pages = r.randint(*size)
            mine += [Case(check, cpu, what, what == "r" or r.random() < 0.5, sleeps, pages, which)
                     for sleeps in ((False, True) if check == "asleep" else (False,))
                     for which in sorted({0, r.randrange(pages), pages - 1})]
        out += r.sample(mine, len(mine))
    return out


class Touched:
    """The page that a case's thread touches, seen before it is taken away."""

    def __init__(self, run: Run, guest: Guest, case: Case) -> None:
        self.case, self.cpu = case, 1 - case.cpu
        self.machine, self.role = guest.machine, CPUS[guest.machine.arch.name]
        self.access = guest.program.sym("at_write" if case.write else "at_read")
        self.va = guest.result(R_PAGE)
        self.kernel = Kernel(guest.machine, run.image)
        self.root = self.role.root_of(guest.machine, case.cpu)
        leaf = self.kernel.walker.translate(self.root, self.va)
        self.frame = leaf.pa & -0x1000 if leaf else None

    @property
    def page(self) -> int:
        """The frame's struct page."""
        image, frame = self.kernel.image, self.frame or 0
        return self.kernel.u64(image.sym("pages")) + (frame >> 12) * image.sizeof("struct page")

    def allowed(self) -> bool:
        """Whether the tables let the thread do there what it does."""
        leaf = self.kernel.walker.translate(self.root, self.va)
        return leaf is not None and leaf.user and leaf.pa & -0x1000 == self.frame and (leaf.writable or not self.case.write)

    def reached(self) -> bool:
        """Whether the toucher's CPU, going on alone, reaches the old frame against its tables. Interrupts are held, so that
        it is not told meanwhile."""
        machine, frame = self.machine, self.frame
        if frame is None or self.allowed():
            return False
        for _ in range(STEPS):
            if not self.role.in_user_mode(machine, self.cpu):
                return False            # it has faulted, or sleeps
            if machine.gdb.pc(self.cpu) == self.access:
                break
            machine.gdb.advance(self.cpu)
        else:
            return False
        before = machine.read_phys(frame, 1)
        machine.write_phys(frame, bytes([MARK]))
        machine.gdb.advance(self.cpu)
        (after,) = machine.read_phys(frame, 1)
        machine.write_phys(frame, before)
        if self.case.write:
            return after == WRITTEN
        return self.role.in_user_mode(machine, self.cpu) and machine.gdb.reg(self.cpu, self.role.arguments[0]) == MARK


def taken(run: Run, guest: Guest, case: Case) -> str:
    """One case; what is wrong with it, or nothing."""
    guest.run_to(AT_ACT)
    touched, bad = Touched(run, guest, case), ""
    if not touched.allowed():
        return "the page is not there before"
    if case.sleeps:                     # it wakes before the case is over
        if guest.run_to(AT_DONE, extra=touched.access).extra:
            bad = f"CPU {touched.cpu} wakes up and {case.does} the page" if touched.reached() else ""
            guest.run_to(AT_DONE)
    elif case.check == "frames-kept":   # at the moment at which the frame is given back
        put = guest.image.sym("page_put")
        while not bad and (at := guest.run_to(AT_DONE, extra=put)).extra:
            if touched.machine.gdb.reg(at.cpu, touched.role.arguments[0]) == touched.page and touched.reached():
                bad = f"CPU {touched.cpu} {case.does} the frame at the moment at which it is given back"
        if bad:
            guest.run_to(AT_DONE)
    else:
        guest.run_to(AT_DONE)
        bad = f"CPU {touched.cpu} still {case.does} the page" if touched.reached() else ""
    # After madvise there is a page again, and chance may have given it the same frame.
    return bad or ("by the tables, too, nothing was taken" if case.what != "d" and touched.allowed() else "")


def hoarded(run: Run, guest: Guest) -> str:
    """What is wrong if frames that were taken are not given back at all."""
    nobodys = sum(w.frame.type == "anon" and not w.fewer for w in wrong_references(Kernel(guest.machine, run.image)))
    return f"{nobodys} frames that were taken away are nobody's, and not free" if nobodys > DELAYED else ""


@dataclass(frozen=True)
class About:
    """What a check says."""

    expected: str
    look: str


ABOUT = {
    "munmap": About("once munmap or madvise has returned, no CPU reaches the frames that were there", "arch_tlb_flush(): whom "
                    "does it reach, and does it wait?"),
    "mprotect": About("once mprotect has returned, no CPU does what is forbidden", "protect_area() in kernel/mm/remap.c"),
    "mremap": About("once mremap has returned, no CPU reaches the frames at their old addresses", "move_area() in "
                    "kernel/mm/remap.c"),
    "ranges": About("all pages of a range are forgotten, however many", "arch_tlb_flush(): the first page, the last, and "
                    "where there are too many to forget one by one"),
    "frames-kept": About("a frame is given back when no CPU can reach it any more", "tlb_batch_flush() in kernel/mm/space.c"),
    "asleep": About("a CPU has forgotten what was taken, whether its thread runs or sleeps while it idles on the tables",
                    "whose bit is set in pt->cpus, and what does arch_pt_activate do where the tables are loaded already?"),
}


def gates(run: Run) -> None:
    """What must go on working."""
    with run.boot(PROGRAM, "1 -") as guest:
        guest.run_to(AT_GATES)
        run.ordinary_gates(guest)


def shots(run: Run) -> None:
    """All cases."""
    todo = cases(run)
    wrong: dict[str, list[str]] = {}
    with run.boot(PROGRAM, line(todo), append=NO_KPTI) as guest:
        for i, case in enumerate(todo):
            if bad := taken(run, guest, case):
                wrong.setdefault(case.check, []).append(f"{case}: {bad}")
            if i + 1 == len(todo) or todo[i + 1].check != case.check:
                if case.check == "frames-kept" and (bad := hoarded(run, guest)):
                    wrong.setdefault(case.check, []).append(bad)
                decide(run, case.check, wrong.get(case.check, []), sum(c.check == case.check for c in todo))


def line(todo: list[Case]) -> str:
    """The program's arguments."""
    return f"0 {','.join(c.word for c in todo)}"


def decide(run: Run, check: str, wrong: list[str], count: int) -> None:
    """Decides a check."""
    about = ABOUT[check]
    run.check(check, not wrong, (wrong[0] + (f"; {len(wrong)} of {count} went wrong" if len(wrong) > 1 else "")) if wrong else
              f"{count} cases: each CPU had forgotten in time", about.expected, about.look)


def scenarios() -> list:
    """What may run side by side."""
    return [gates, shots]


@contextlib.contextmanager
def stand(run: Run, check: str) -> Iterator[Guest]:
    """The guest of a check, stopped before its first case's act."""
    with run.boot(PROGRAM, line([c for c in cases(run) if c.check == check]), append=NO_KPTI) as guest:
        guest.run_to(AT_ACT)
        yield guest
