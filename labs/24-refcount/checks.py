"""The checks of refcount: what becomes of a counter of references that leaves its range.

Boots of programs/lab-refcount.c, whose children take references and give them back as scripts say: of an open file, of its
name, of a page of it, of an address space, of a note of /dev/vuln. Between two steps the grader sets the counter; to what, and
on which CPU, is drawn from the seed. What the counter says next is read from memory, what is freed is seen where the heap takes
it back, and what another CPU does in between the grader does itself, at the moment when an operation has looked. How an
operation finds out, and where a counter sticks, is not asked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from random import Random

from grade.cpus import CPUS
from grade.frames import TYPES
from grade.gdbstub import READ, WRITE
from grade.labs.grading import At, Ended, Guest, Run
from grade.spaces import Kernel

PROGRAM = "lab-refcount"
AT_READY, AT_STEP = 1, 2
R_ENDED, R_STATUS, R_FD, R_PAGE, R_NOTE = range(3, 8)
MAX, FULL = (1 << 31) - 1, (1 << 32) - 1    # the most references that there may be, and the most that fits
SIZE = 4                                    # bytes of a counter
SMP = 2
HOLDERS = 8                                 # that a note has from the beginning
FILE_FRAME = TYPES.index("file")


def scenarios() -> list:
    """What may run side by side."""
    return [counts, overflow, many, dead, stays, meanwhile, frames, told]


# ---- what is counted -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """Something that has a counter, and how a script gets it, and takes and drops references."""

    name: str
    what: str           # in words
    ready: str
    up: str
    down: str
    tail: str = ""      # before its child ends

    @property
    def one_step(self) -> bool:
        """Whether its reference is taken and dropped in one."""
        return self.up == self.down


FILE = Kind("file", "an open file's counter", "fg", "g", "c", "d")
NAME = Kind("name", "a name's counter", "fn", "n", "c", "d")
SPACE = Kind("space", "an address space's counter", "fm", "t", "t", "d")
NOTE = Kind("note", "a note's counter", f"ah{HOLDERS}", "h1", "p")
FRAME = Kind("frame", "a frame's counter", "fmm", "m", "u", "d")
OBJECTS = (FILE, NAME, SPACE, NOTE)


@dataclass(frozen=True)
class Thing:
    """One that is there: its address, and its counter's."""

    at: int
    counter: int
    frame: bool = False


def thing_of(kernel: Kernel, guest: Guest, kind: Kind, cpu: int) -> Thing:
    """What the script of a guest has that stands at a stop of it."""
    image, thread = kernel.image, kernel.current(cpu)

    def one(struct: str, at: int, frame: bool = False) -> Thing:
        return Thing(at, at + image.offsetof(struct, "refs"), frame)

    if kind.name == "note":
        note = guest.result(R_NOTE)
        return Thing(kernel.u64(image.sym("vuln_notes") + 8 * note), image.sym("vuln_note_refs") + SIZE * note)
    if kind.name == "space":
        return one("struct vm", kernel.member(thread, "struct thread", "vm"))
    if kind.name == "frame":
        va = guest.result(R_PAGE)
        leaf = kernel.walker.translate(kernel.cpu.root_of(guest.machine, cpu), va)
        if leaf is None:
            raise Ended("a page that was read is not mapped")
        number = leaf.pa + va - leaf.va >> 12
        return one("struct page", kernel.u64(image.sym("pages")) + number * image.sizeof("struct page"), True)
    process = kernel.member(thread, "struct thread", "process")
    table = kernel.member(kernel.member(process, "struct process", "files"), "struct files", "fd")
    file = kernel.u64(table + 8 * guest.result(R_FD))
    if kind.name == "file":
        return one("struct file", file)
    return one("struct dentry", kernel.u64(file + image.offsetof("struct file", "path.dentry")))


# ---- one script ----------------------------------------------------------------------------------------------


class Driver:
    """The child that plays one script, from stop to stop; what the kernel frees and reports on the way, where that is asked."""

    def __init__(self, guest: Guest, kernel: Kernel) -> None:
        self.guest, self.kernel = guest, kernel
        self.freed: set[int] = set()
        self.reports: list[str] = []        # the row that each names
        self.over = False
        sym = guest.image.sym
        # Where the argument is that matters: what is freed, and the name of a row.
        self._frees = {sym("kfree"): 0, sym("slab_free"): 1}
        self._tells = {sym("harden_report"): 0, sym("oops"): 1}

    def next(self, frees: bool = False, tells: bool = False, watch: tuple[int, int, int] | None = None) -> At:
        """On to the script's next stop, or to its end (`over`); or to a use of what is watched. To listen to what is freed,
        or told, takes its time."""
        m = self.guest.machine
        doors = (self._frees if frees else {}) | (self._tells if tells else {})
        while True:
            at = self.guest.run_to(AT_STEP, extra=doors, watch=watch)
            if at.watched:
                return at
            if not at.extra:
                self.over = bool(self.guest.result(R_ENDED))
                return at
            value = m.gdb.reg(at.cpu, CPUS[m.arch.name].arguments[doors[at.pc]])
            if at.pc in self._frees:
                self.freed.add(value)
            else:
                self.reports.append(self.kernel.text(value, 16) if value else "nobody")

    def get(self, thing: Thing) -> int:
        """What its counter says."""
        return int.from_bytes(self.guest.machine.read_phys(self.kernel.phys(thing.counter), SIZE), "little")

    def set(self, thing: Thing, value: int) -> None:
        """Has its counter say something else."""
        self.guest.machine.write_phys(self.kernel.phys(thing.counter), value.to_bytes(SIZE, "little"))

    def is_freed(self, thing: Thing) -> bool:
        """Whether it is free, as far as somebody listened."""
        if thing.frame:
            return self.kernel.member(thing.at, "struct page", "type") != FILE_FRAME
        return thing.at in self.freed


@dataclass
class Seen:
    """What came of a counter that was set: at each stop after that what it said, and what was reported."""

    driver: Driver
    thing: Thing
    was: int                    # before it was set
    values: list[int] = field(default_factory=list)
    reports: list[list[str]] = field(default_factory=list)
    freed: bool = False


@dataclass(frozen=True)
class Rule:
    """What must come of it: wrong(value, seen) says what did instead; and what is listened to."""

    wrong: Callable[[int, Seen], str]
    frees: bool = False
    tells: bool = False


@dataclass
class Round:
    """One script, and who plays it and says what is wrong; empty if nothing is."""

    what: str
    script: str
    judge: Callable[[Driver], str]


def begin(driver: Driver, kind: Kind, value: int) -> Seen:
    """Runs to a script's first stop, and sets its counter."""
    at = driver.next()
    if driver.over:
        raise Ended(f"a program that has done nothing yet ended with {driver.guest.result(R_STATUS)}")
    thing = thing_of(driver.kernel, driver.guest, kind, at.cpu)
    seen = Seen(driver, thing, driver.get(thing))
    driver.set(thing, value)
    return seen


def drive(cpu: int, kind: Kind, value: int, steps: list[str], rule: Rule) -> Round:
    """A round in which a counter is set, and then references are taken and dropped, step by step. If the kernel ends the
    program on the way, what the counter says then is the last that is seen."""
    def judge(driver: Driver) -> str:
        seen = begin(driver, kind, value)
        for _ in steps:
            told = len(driver.reports)
            driver.next(rule.frees and not seen.thing.frame, rule.tells)
            seen.reports.append(driver.reports[told:])
            seen.values.append(driver.get(seen.thing))
            seen.freed = driver.is_freed(seen.thing)
            if driver.over or seen.freed:
                break
        return rule.wrong(value, seen)

    script = f"@{cpu}{kind.ready}s" + "".join(f"{step}s" for step in steps) + kind.tail
    return Round(f"{kind.what} is {named(value)} on CPU {cpu}, {', then '.join(words(step) for step in steps)}", script, judge)


def named(value: int) -> str:
    """A counter's value in words."""
    return {MAX: "at its limit", MAX + 1: "just beyond its limit", FULL: "at the top of its 32 bits"}.get(value, f"{value:#x}")


def words(step: str) -> str:
    """A step of a script."""
    if step[0] == "h" and step != "h1":
        return f"{int(step[1:]):#x} are taken"
    return {"t": "one is taken and dropped", "c": "one is dropped", "u": "one is dropped", "p": "one is dropped"}.get(step, "one is taken")


def judged(guest: Guest, kernel: Kernel, rounds: list[Round]) -> str:
    """What is wrong with the first round that goes wrong: after that nothing in the kernel is to be trusted."""
    for r in rounds:
        driver = Driver(guest, kernel)
        try:
            if bad := r.judge(driver):
                return f"{r.what}: {bad}"
            while not driver.over:
                driver.next()
        except Ended as error:
            return f"{r.what}: {error}"
    return ""


def scripts(rounds: list[Round]) -> str:
    """What the program is told: one word, for of words an init gets 32."""
    return ",".join(r.script for r in rounds)


def decide(run: Run, check: str, rounds: list[Round], expected: str, look: str) -> None:
    """Boots, plays, and decides a check."""
    with run.boot(PROGRAM, scripts(rounds)) as guest:
        guest.run_to(AT_READY)
        bad = judged(guest, Kernel(guest.machine, run.image), rounds)
    run.check(check, not bad, bad or f"{len(rounds)} counters, and none went wrong", expected, look)


# ---- rules ---------------------------------------------------------------------------------------------------


def counts_again(_: int, seen: Seen) -> str:
    """Nothing that was freed is beyond: whoever frees has found a 1."""
    return next((f"it is {v:#x}, and counts again" for v in seen.values if v <= MAX), "")


def comes_back(_: int, seen: Seen) -> str:
    """0 and what is beyond are as good as each other; what counts is not."""
    if seen.freed:
        return "what it counts is freed a second time"
    return next((f"it is {v:#x}: what was dead has come back" for v in seen.values if 0 < v <= MAX), "")


def stays_in_use(_: int, seen: Seen) -> str:
    """Who never frees has no use after free, either."""
    if not seen.freed:
        return "the last reference is dropped, and what it counts is not freed"
    return f"{seen.reports[-1][0]} is reported" if seen.reports[-1] else ""


def not_told_once(_: int, seen: Seen) -> str:
    """The first step leads out of the range."""
    first, *later = seen.reports
    if first != ["refcount"]:
        return f"it is reported as {first[0]}'s" if first else "nobody is told"
    return "the same counter is reported again: so the log can be filled" if any(later) else ""


BEYOND = Rule(counts_again)                         # once it has left its range it never counts again
LIFELESS = Rule(comes_back, frees=True)             # what is dead stays dead: 0, or beyond
AT_LAST = Rule(stays_in_use, frees=True, tells=True)    # the last reference goes, and what it counts with it
TOLD = Rule(not_told_once, tells=True)              # one report when it leaves its range, and none later


def exactly(*changes: int) -> Rule:
    """It counts, and nobody is told."""
    def wrong(value: int, seen: Seen) -> str:
        expected = [value + change for change in changes]
        if seen.driver.over:
            return f"its program is ended ({seen.driver.guest.result(R_STATUS)})"
        if seen.values != expected:
            return f"it is {listed(seen.values)}, and should be {listed(expected)}"
        seen.driver.set(seen.thing, seen.was + changes[-1])
        return f"{seen.driver.reports[0]} is reported" if seen.driver.reports else ""
    return Rule(wrong, tells=True)


def listed(values: list[int]) -> str:
    """Numbers in words."""
    return ", then ".join(f"{v:#x}" for v in values)


# ---- the checks ----------------------------------------------------------------------------------------------


def legal(r: Random) -> int:
    """A number of references that there may be, to which some may be added, and from which some may be taken."""
    return r.randrange(4, MAX - 4)


def counts(run: Run) -> None:
    """The gates: everything goes on working, and counters count."""
    r = run.rng("counts")
    rounds = []
    for cpu in r.sample(range(SMP), SMP):
        c, n = legal(r), r.randrange(2, 1 << 16)
        rounds += [drive(cpu, SPACE, value, ["t"], exactly(0)) for value in (legal(r), MAX - 1)]
        for kind in (FILE, NAME, NOTE, FRAME):
            rounds += [drive(cpu, kind, legal(r), [kind.up, kind.down, kind.down], exactly(1, 0, -1)),
                       drive(cpu, kind, MAX - 1, [kind.up, kind.down], exactly(1, 0))]
        rounds += [drive(cpu, NOTE, c, [f"h{MAX - c}", "p"], exactly(MAX - c, MAX - c - 1)),
                   drive(cpu, NOTE, n, [f"h{n}"], exactly(n)),
                   drive(cpu, NOTE, 1, ["p"], AT_LAST), drive(cpu, FILE, 2, ["c", "c"], AT_LAST),
                   # Their names are gone, so that nothing is left of them: a name, and a file with its page.
                   drive(cpu, replace(NAME, ready="fd", tail=""), 1, ["c"], AT_LAST),
                   drive(cpu, replace(FRAME, ready="fmd", tail=""), 2, ["c", "u"], AT_LAST)]
    with run.boot(PROGRAM, f"{scripts(rounds)} gates") as guest:
        guest.run_to(AT_READY)
        run.ordinary_gates(guest)
        bad = judged(guest, Kernel(guest.machine, run.image), rounds)
        run.gate("counts", not bad, bad or "every reference is counted, up to the limit, and the last put frees")


def overflow(run: Run) -> None:
    """One reference more than there may be."""
    r = run.rng("overflow")
    rounds = [drive(cpu, kind, MAX, ["t", "t"] if kind.one_step else [kind.up, kind.down, kind.down, kind.up], BEYOND)
              for cpu in range(SMP) for kind in OBJECTS]
    decide(run, "overflow", r.sample(rounds, len(rounds)),
           f"a counter of {MAX:#x} to which one more is added never counts again, on any CPU, by whatever operation",
           "each operation of kernel/harden/refcount.h that adds: which values may it find, and what happens at any other?")


def many(run: Run) -> None:
    """As many references at once as one likes."""
    r = run.rng("many")
    rounds = []
    for cpu in r.sample(range(SMP), SMP):
        c = legal(r)
        rounds += [drive(cpu, NOTE, c, [f"h{n}", "p", "p"], BEYOND) for n in (
            FULL + 1 - c, FULL + 2 - c, r.randrange(MAX - c + 1, MAX + 1), r.randrange(MAX + 1, FULL - c))]
        rounds += [drive(cpu, NOTE, 1, [f"h{n}", "p"], BEYOND) for n in (FULL, MAX, r.randrange(MAX + 1, FULL))]
        rounds += [drive(cpu, NOTE, MAX, [f"h{n}", "p"], BEYOND) for n in (FULL, MAX, MAX + 2)]
    decide(run, "many", rounds, f"whoever takes so many that there would be more than {MAX:#x} finds the counter beyond its limit, "
           "and never round its end", "refcount_add() in kernel/harden/refcount.h: its own sum, and those of your test")


def dead(run: Run) -> None:
    """What is being freed comes back, or is freed again."""
    r = run.rng("dead")
    rounds = []
    for cpu in r.sample(range(SMP), SMP):
        rounds += [drive(cpu, kind, 0, steps, LIFELESS) for kind, steps in (
            (FILE, ["c", "g", "g"]), (FILE, ["g", "c"]), (NAME, ["n", "c"]), (NAME, ["c", "n", "n"]), (NOTE, ["p", "h1", "p"]),
            (NOTE, [f"h{legal(r)}", "p"]))]
        rounds.append(Round(f"an address space is dead on CPU {cpu}, and somebody goes through all of them", f"@{cpu}fmstsd", left_alone))
    decide(run, "dead", rounds, "a counter of 0 never counts again: whoever raises it gets nothing, and whoever drops it frees nothing",
           "the comparisons with 0 in kernel/harden/refcount.h: are there any, and in which operation is 0 no mistake?")


def left_alone(driver: Driver) -> str:
    """A dead address space, which the kernel must pass by: nothing else is ever seen in its counter."""
    seen = begin(driver, SPACE, 0)
    while driver.next(tells=True, watch=(seen.thing.counter, WRITE, SIZE)).watched:
        if driver.get(seen.thing) != 0:
            return "its counter is raised"
    driver.set(seen.thing, seen.was)
    return f"{driver.reports[0]} is reported, and nothing is wrong" if driver.reports else ""


def stays(run: Run) -> None:
    """Counters beyond their limit, to which things go on being done."""
    r = run.rng("stays")
    rounds = []
    for cpu in r.sample(range(SMP), SMP):
        for kind in OBJECTS:
            rounds += stuck_rounds(r, cpu, kind)
        c = r.randrange(MAX + 2, FULL - (1 << 20))
        rounds.append(drive(cpu, NOTE, c, [f"h{FULL + 1 - c + r.randrange(1, 1 << 20)}", "p"], BEYOND))
    decide(run, "stays", r.sample(rounds, len(rounds)), "from beyond its limit nothing brings a counter back, and where one sticks no "
           "operation has it count for a moment, either", "what each operation does with a counter that sticks; and where yours stick: "
           "how far is it from there to the next number that counts, up and down?")


def stuck_rounds(r: Random, cpu: int, kind: Kind) -> list[Round]:
    """One kind's counters, from the first number that does not count to the last."""
    up, down = kind.up, kind.down
    drawn = r.randrange(MAX + 2, FULL)
    if kind.one_step:
        plans = [(MAX + 1, [up]), (drawn, [up]), (FULL, [up, up])]
    else:
        plans = [(MAX + 1, [down, up]), (drawn, r.sample([up, down], 2)), (FULL, [up, down])]
    steps = [up, up] if kind.one_step else [up, down, up, down, down]
    return [*(drive(cpu, kind, value, plan, BEYOND) for value, plan in plans),
            Round(f"{kind.what} is at its limit on CPU {cpu}, more are taken and dropped, and every value is looked at",
                  f"@{cpu}{kind.ready}s{''.join(steps)}s{kind.tail}", lambda driver: for_a_moment(driver, kind))]


def for_a_moment(driver: Driver, kind: Kind) -> str:
    """What another CPU may see of a counter that leaves its range and then sticks: each value that it ever has."""
    seen = begin(driver, kind, MAX)
    values = [MAX]
    while driver.next(watch=(seen.thing.counter, WRITE, SIZE)).watched:
        values.append(driver.get(seen.thing))
        if max(values) > MAX >= values[-1]:
            return f"having stuck, it is {values[-1]:#x} for a moment: what another CPU does then counts"
    return "" if driver.get(seen.thing) > MAX else "it does not stick"


def frames(run: Run) -> None:
    """The same of frames, whose counters are driven by mappings."""
    r = run.rng("frames")
    rounds = []
    for cpu in r.sample(range(SMP), SMP):
        rounds += [drive(cpu, FRAME, MAX, ["m", "u", "u", "m"], BEYOND), drive(cpu, FRAME, 0, ["u", "m"], LIFELESS),
                   drive(cpu, FRAME, 0, ["m", "u", "u"], LIFELESS), *stuck_rounds(r, cpu, FRAME)]
    decide(run, "frames", rounds, "a frame's references are user mode's to take, by mapping it: its counter sticks as any other does",
           "page_get() and page_put() in kernel/mm/page.c, and who else changes the refs of struct page")


def told(run: Run) -> None:
    """Who is told."""
    r = run.rng("told")
    rounds = [drive(cpu, kind, value, steps, TOLD) for cpu in range(SMP) for kind, value, steps in (
        (FILE, MAX, ["g", "c", "g"]), (NAME, MAX, ["n", "c"]), (SPACE, MAX, ["t", "t"]), (NOTE, MAX - 3, ["h9", "p", "h9"]),
        (FRAME, MAX, ["m", "u"]), (FILE, 0, ["g"]), (NOTE, 0, ["p"]), (FRAME, 0, ["u"]))]
    decide(run, "told", r.sample(rounds, len(rounds)), "one report for each counter that leaves its range, by harden_report() and under "
           "the row's name", "harden_report() in kernel/harden/harden.c: who calls it, and how often for one counter?")


# ---- what another CPU does meanwhile -------------------------------------------------------------------------


def overtake(seen: Seen, value: int) -> bool:
    """Another CPU changes a counter when the operation that comes has looked at it, and not changed it yet. False: that one
    looks and changes in one."""
    driver, before = seen.driver, seen.driver.get(seen.thing)
    if not driver.next(watch=(seen.thing.counter, READ, SIZE)).watched:
        raise Ended("a reference is taken or dropped, and nobody looks at the counter")
    if driver.get(seen.thing) != before:
        return False
    driver.set(seen.thing, value)
    return True


def dies(driver: Driver) -> str:
    """The last reference of an address space goes while somebody who goes through all of them looks at it."""
    seen = begin(driver, SPACE, 1)
    overtaken = overtake(seen, 0)
    while driver.next(watch=(seen.thing.counter, WRITE, SIZE)).watched:
        if overtaken and driver.get(seen.thing) != 0:
            return "its counter is raised, and it was dead"
    driver.set(seen.thing, seen.was)
    return ""


def becomes_last(driver: Driver, kind: Kind) -> str:
    """One of two references is dropped while another CPU drops the other."""
    seen = begin(driver, kind, 2)
    overtaken = overtake(seen, 1)
    driver.next(frees=True)
    return "" if not overtaken or driver.is_freed(seen.thing) else "both references are dropped, and what they were of is not freed"


def is_lost(driver: Driver, before: int, others: int, mine: int) -> str:
    """So many are taken, while another CPU takes some."""
    seen = begin(driver, NOTE, before)
    overtaken = overtake(seen, before + others)
    driver.next()
    value = driver.get(seen.thing)
    return "" if not overtaken or value == before + others + mine else f"of {before}, {others} and {mine} more make {value:#x}"


def stuck_meanwhile(driver: Driver, before: int, sticks: list[int]) -> str:
    """Another CPU has a counter stick, where those of this kernel do, while many are taken."""
    seen = begin(driver, NOTE, before)
    overtaken = overtake(seen, sticks[-1])
    driver.next()
    value = driver.get(seen.thing)
    return "" if not overtaken or value > MAX else f"it stuck at {sticks[-1]:#x}, and is {value:#x} now"


def where_it_sticks(driver: Driver, sticks: list[int]) -> str:
    """To know that."""
    seen = begin(driver, NOTE, MAX)
    driver.next()
    sticks.append(driver.get(seen.thing))
    return "" if sticks[-1] > MAX else "it does not stick"


def meanwhile(run: Run) -> None:
    """An operation has looked at a counter, and another CPU is faster."""
    r = run.rng("meanwhile")
    rounds: list[Round] = []
    sticks: list[int] = []
    note = NOTE.ready
    for cpu in r.sample(range(SMP), SMP):
        before, others, mine = (r.randrange(2, 1 << 20) for _ in range(3))
        rounds += [
            Round(f"an address space dies while somebody on CPU {cpu} goes through all of them", f"@{cpu}fmstsd", dies),
            Round(f"a name is let go by two CPUs at once, CPU {cpu} and another", f"@{cpu}fdscs", lambda d: becomes_last(d, NAME)),
            Round(f"a note is let go by two CPUs at once, CPU {cpu} and another", f"@{cpu}{note}sps", lambda d: becomes_last(d, NOTE)),
            Round(f"two CPUs take references, CPU {cpu} and another", f"@{cpu}{note}sh{mine}s",
                  lambda d, b=before, o=others, m=mine: is_lost(d, b, o, m)),
            Round(f"a note's counter is at its limit on CPU {cpu}, one is taken", f"@{cpu}{note}sh1s", lambda d: where_it_sticks(d, sticks)),
            Round(f"a counter sticks while many references are taken on CPU {cpu}", f"@{cpu}{note}sh{MAX - before}s",
                  lambda d, b=before: stuck_meanwhile(d, b, sticks)),
        ]
    decide(run, "meanwhile", rounds, "between the look at a counter and its change nothing can happen that the change does not know",
           "the operations of kernel/harden/refcount.h that look before they change: what may have become of the counter in between?")


# ---- where `why CHECK` stops ----

WHERE = {"many": ("note_hold", NOTE, MAX, "h2"), "dead": ("file_put", FILE, 0, "c"), "stays": ("file_put", FILE, MAX + 1, "c"),
         "meanwhile": ("vm_next", SPACE, 1, "t"), "frames": ("page_get", FRAME, MAX, "m")}


@contextlib.contextmanager
def stand(run: Run, check: str) -> Iterator[Guest]:
    """The guest of a check, where its program is about to do something with a counter that was set."""
    function, kind, value, step = WHERE.get(check, ("file_get", FILE, MAX, "g"))
    with run.boot(PROGRAM, f"@0{kind.ready}s{step}s{kind.tail}") as guest:
        guest.run_to(AT_READY)
        begin(Driver(guest, Kernel(guest.machine, run.image)), kind, value)
        guest.run_to(AT_STEP, extra=guest.image.sym(function))
        yield guest
