"""The checks of heap: where the notes of /dev/vuln lie, what is in those that are free, and what the kernel says when
somebody meddles with them.

Boots of programs/lab-heap.c, which makes and frees notes as scripts say; who frees what, and on which CPU, is drawn from
the seed. The grader knows from the script which notes are free, and reads where they are from /dev/vuln's own table. It
plays the attacker, too, who knows the kernel's addresses: it writes links, and pointers to be freed. How links are hidden,
or kept at all, and where it is written that an object is in use, is not asked.
"""

from __future__ import annotations

import contextlib
import string
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from grade.cpus import CPUS
from grade.depths import POINTER
from grade.heap import cache_of, caches, frames_of
from grade.labs.grading import Ended, GraderError, Guest, Run
from grade.spaces import Kernel

PROGRAM = "lab-heap"
AT_GATES, AT_STEP = 1, 2
R_ENDED, R_STATUS = range(2)
NAMES = string.ascii_lowercase + string.ascii_uppercase + string.digits     # of notes, as lab-heap.c has them
NOTE = 64
PAGE = 4096
SMP = 2
ROUNDS = 12
BATCH, LONGEST = 16, 32     # as kernel/mm/heap.c has them for notes: moved at once, and a CPU's list at most
HIGH = 32                   # bits of a word's upper half
# Two or three whole slabs are among 192 notes. Of fair orders one distance comes in more than 30 pairs of neighbours, two
# slabs agree in more than 20 of 64 places, or the places of more than 110 notes are in the quarter in which they come, less
# than once in 10^9.
MANY, DISTANCES, AGREE, QUARTERS = 192, 30, 20, 110
FEWEST_BITS = 6             # of 64 fair ones
SAMPLES = 3                 # of each cache, on each CPU
FREES_MAX = 400             # that are looked at
FEW_SIZES = 8               # caches of which something must have been freed
LARGE = 4096                # and one of their objects is at least so large


def scenarios() -> list:
    """What may run side by side."""
    return [objects, links, lists, twice, pointers, contents]


# ---- what the kernel has -------------------------------------------------------------------------------------


@dataclass
class Table:
    """The notes, as /dev/vuln has them at one moment."""

    kernel: Kernel
    at: list[int]

    def word(self, note: int) -> int:
        """A note's first word."""
        return self.kernel.u64(self.at[note])

    def set_word(self, va: int, value: int) -> None:
        """Writes to kernel memory."""
        self.kernel.machine.write_phys(self.kernel.phys(va), value.to_bytes(8, "little"))

    def set_pointer(self, note: int, va: int) -> None:
        """Has the kernel believe that a note lies there."""
        self.set_word(self.kernel.image.sym("vuln_notes") + 8 * note, va)

    @property
    def cache(self) -> int:
        """The notes' cache, of which the first note is."""
        found = cache_of(self.kernel, self.at[0])
        return found.address if found else 0

    def harm(self, live: Iterable[int]) -> str:
        """What is wrong with the notes that somebody has; empty if nothing is."""
        where = [self.at[note] for note in live]
        sizes = {page: cache.size if (cache := cache_of(self.kernel, page)) else 0 for page in {va & -PAGE for va in where}}
        for va in where:
            if sizes[va & -PAGE] != NOTE or va % NOTE:
                return f"a note was given out at {self.kernel.image.where(va)}, where no note can be"
        return "two notes have the same memory" if len(set(where)) < len(where) else ""


def table(run: Run, guest: Guest) -> Table:
    """As it is now."""
    kernel = Kernel(guest.machine, run.image)
    image = kernel.image
    count = kernel.i32(image.sym("vuln_note_count"))
    raw = kernel.read(image.sym("vuln_notes"), 8 * count)
    return Table(kernel, [int.from_bytes(raw[i:i + 8], "little") for i in range(0, len(raw), 8)])


# ---- scripts -------------------------------------------------------------------------------------------------


def frees(notes: Iterable[int]) -> str:
    """The step that frees notes."""
    return "f" + "".join(NAMES[n] for n in notes)


Meddle = Callable[[Table], None]


@dataclass
class Script:
    """What a child does, and what the grader does to the kernel's memory in the meantime."""

    what: str                       # in words
    steps: list[str]
    meddle: dict[int, Meddle] = field(default_factory=dict)     # at which stop of the script

    @property
    def word(self) -> str:
        """As the program reads it."""
        return ",".join(self.steps)


@dataclass
class Came:
    """What came of a script: how far it got, what the kernel said, what is wrong with the notes."""

    stops: int = 0
    report: str = ""        # the row that reported
    fault: bool = False     # the report is of a fault
    harm: str = ""
    status: int = -1


def live_at(script: Script, stop: int) -> set[int]:
    """The notes that are somebody's at a stop of a script."""
    made, live = 0, set()
    for step in script.steps:
        if step == "s":
            if stop == 0:
                break
            stop -= 1
        elif step[0] == "n":
            live |= set(range(made, made + int(step[1:])))
            made += int(step[1:])
        elif step[0] == "f":
            live -= {NAMES.index(c) for c in step[1:]}
    return live


def follow(run: Run, guest: Guest, script: Script) -> Came:
    """Plays one script from its first step until its child is gone, or until two owners have one note: then the guest
    stands there."""
    came = Came()
    oops, machine = guest.image.sym("oops"), guest.machine
    while True:
        at = guest.run_to(AT_STEP, extra=oops)
        if at.extra:
            first, second = (machine.gdb.reg(at.cpu, CPUS[machine.arch.name].arguments[i]) for i in range(2))
            came.fault = came.fault or first != 0
            came.report = came.report or (Kernel(machine, run.image).text(second, 16) if second else "nobody")
        elif guest.result(R_ENDED):
            came.status = guest.result(R_STATUS)
            return came
        else:
            now = table(run, guest)
            came.harm = now.harm(sorted(live_at(script, came.stops)))
            if came.harm:
                return came
            if came.stops in script.meddle:
                script.meddle[came.stops](now)
            came.stops += 1


def judged(run: Run, guest: Guest, check: str, scripts: list[Script], wrong: Callable[[Script, Came], str], good: str,
           expected: str, look: str) -> None:
    """Plays scripts until one goes wrong: after that the kernel's lists are not to be trusted."""
    bad = ""
    for script in scripts:
        try:
            bad = wrong(script, follow(run, guest, script))
        except Ended as error:
            run.check(check, False, f"{script.what}: {error}", expected, look)
            raise
        if bad:
            bad = f"{script.what}: {bad}"
            break
    run.check(check, not bad, bad or good, expected, look)


def said(came: Came) -> str:
    """What is wrong with how the kernel ended the script's child."""
    if came.fault:
        return "the kernel followed it, and faulted"
    if came.report and came.report != "heap":
        return f"it was reported as {came.report} and not as heap"
    return ""


def unharmed(_: Script, came: Came) -> str:
    """A damaged link may be reported, or be of no use."""
    if came.harm:
        return came.harm
    return said(came) or ("" if came.report or came.status == 0 else f"its process ended with {came.status}")


def refused(_: Script, came: Came) -> str:
    """What is between the first two stops must be refused there, by name."""
    if came.stops >= 2:
        return "it was taken" + (f", and then {came.harm}" if came.harm else "")
    if came.harm:
        return f"the heap is damaged from before: {came.harm}"
    return said(came) or ("" if came.report else "nobody was told")


# ---- gates ---------------------------------------------------------------------------------------------------


def objects(run: Run) -> None:
    """The gates: everything goes on working."""
    r = run.rng("objects")
    order = r.sample(range(60), 60)
    scripts = [Script(f"notes on CPU {cpu}", [f"c{cpu}", "n60", "w", "v", "s", frees(order[:30]), "n20", "w", f"c{1 - cpu}",
                                             frees(order[30:]), "v", "n30", "w", "v", "s"]) for cpu in range(SMP)]
    scripts += [Script("notes that are made and freed", [f"c{n % SMP}", "n60", frees(order), "s"]) for n in range(ROUNDS)]
    with run.boot(PROGRAM, f"gates {' '.join(s.word for s in scripts)}") as guest:
        guest.run_to(AT_GATES)
        run.ordinary_gates(guest)
        bad, held = "", []
        for i, script in enumerate(scripts):
            came = follow(run, guest, script)
            if bad := came.harm or ("" if came.status == 0 else f"the program ended with {came.status}"):
                bad = f"{script.what}: {bad}"
                break
            if i in (len(scripts) - ROUNDS // 2, len(scripts) - 1):
                now = table(run, guest)
                held.append(frames_of(now.kernel, now.cache))
        more = held[-1] - held[0] if not bad else 0
        if more > ROUNDS // 4:
            bad = f"{ROUNDS // 2} times 60 notes were made and freed, and hold {more} frames more: what is free does not come again"
        run.gate("objects", not bad, bad or "each note is its own, on both CPUs, and freed ones come again")


# ---- links ---------------------------------------------------------------------------------------------------


def hidden(now: Table, order: list[int]) -> str:
    """What an attacker learns who reads the notes that were freed in that order."""
    spans = now.kernel.ranges().values()
    for note in order:
        for i, word in enumerate(words_of(now.kernel.read(now.at[note], NOTE))):
            for how, value in (("", word), (", its bytes swapped", swapped(word)), (", its bits turned", ~word & (1 << 64) - 1)):
                if any(start <= value < end for start, end in spans):
                    return f"word {i} of a freed note is an address{how}: {now.kernel.image.where(value)}"
    links = [(now.word(note), now.at[before]) for before, note in zip(order, order[1:])]
    if len({word for word, _ in links}) == 1:
        return ""           # there is nothing in it
    if len({word ^ to for word, to in links}) == 1:
        return "bits of each link are turned, and the same for all: two links tell the difference of their addresses"
    if len({word - to & (1 << 64) - 1 for word, to in links}) == 1:
        return "to each address the same is added: two links tell the difference of their addresses"
    if len({word >> HIGH for word, _ in links}) == 1:
        return "the upper halves of all links are the same: the known half of an address hides nothing there"
    return ""


def words_of(data: bytes) -> list[int]:
    """As numbers."""
    return [int.from_bytes(data[i:i + 8], "little") for i in range(0, len(data), 8)]


def swapped(word: int) -> int:
    """A word with its bytes the other way round."""
    return int.from_bytes(word.to_bytes(8, "little"), "big")


def forged(now: Table, order: list[int], target: int) -> None:
    """Writes the link of the last note that was freed so that it leads to the target, if bits are turned to hide it."""
    last, before = order[-1], order[-2]
    now.set_word(now.at[last], now.word(last) ^ now.at[before] ^ target)


def links(run: Run) -> None:
    """What freed notes tell, and what happens when one is written to."""
    r = run.rng("links")
    orders = [r.sample(range(24), 12) for _ in range(SMP)]
    told: list[str] = []

    def listen(cpu: int) -> Meddle:
        return lambda now: told.extend(f"on CPU {cpu}: {bad}" for bad in [hidden(now, orders[cpu])] if bad)

    reads = [Script("reading", [f"c{cpu}", "n24", "w", frees(orders[cpu]), "s"], {0: listen(cpu)}) for cpu in range(SMP)]
    targets: list[tuple[str, Callable[[Table, list[int]], int]]] = [
        ("a note in use", lambda now, order: now.at[min(set(range(24)) - set(order))]),
        ("the middle of a free note", lambda now, order: now.at[order[0]] + 16 * r.randrange(1, 4)),
        ("a variable of the kernel", lambda now, order: now.kernel.image.sym("vuln_note_theirs")),
        ("an object of another cache", lambda now, order: now.cache),
        ("anywhere", lambda now, order: r.getrandbits(64) | 1 << 62 | 8),
    ]
    damage = []
    for what, where in targets:
        for cpu in r.sample(range(SMP), SMP):
            order = r.sample(range(24), 6)

            def meddle(now: Table, order: list[int] = order, where: Callable[[Table, list[int]], int] = where) -> None:
                forged(now, order, where(now, order))

            damage.append(Script(f"a freed note's link was made to lead to {what}, on CPU {cpu}",
                                 [f"c{cpu}", "n24", frees(order), "s", "n2", "s"], {0: meddle}))
    with run.boot(PROGRAM, " ".join(s.word for s in [*reads, *damage])) as guest:
        for script in reads:
            follow(run, guest, script)
        run.check("links-hidden", not told, told[0] if told else "twelve freed notes on each CPU tell nothing",
                  "from what lies in freed objects follows no address, and no distance of two",
                  "heap_link_set() in kernel/harden/heap.c: of what is known of a link, what cancels out in two of them?")
        judged(run, guest, "damaged", damage, unharmed, f"{len(damage)} links were written to, and none led anywhere",
               "a link that was changed is reported before it is followed, and the heap goes on without what was lost",
               "heap_link_get() and heap_take() in kernel/harden/heap.c: where may a link lead, and where not?")


# ---- the other lists -----------------------------------------------------------------------------------------


class Lists:
    """Where notes are that one CPU frees, as kernel/mm/heap.c moves them."""

    def __init__(self, length: int) -> None:
        self.cpu: list[int] = [-1] * length     # the newest last; what is not ours is -1
        self.slab: list[int] = []

    def free(self, notes: Iterable[int]) -> None:
        """Notes go to the list, and the newest of it to their slabs when it is too long."""
        for note in notes:
            self.cpu.append(note)
            if len(self.cpu) > LONGEST:
                self.slab += self.cpu[:-BATCH - 1:-1]
                del self.cpu[-BATCH:]


    def neighbours(self, at: list[int]) -> list[tuple[int, int]]:
        """Notes in the slabs' lists, each with the one that its link leads to."""
        last: dict[int, int] = {}
        out = []
        for note in self.slab:
            if note >= 0:
                page = at[note] & -PAGE
                if page in last:
                    out.append((note, last[page]))
                last[page] = note
        return out


def list_length(now: Table, cpu: int) -> int:
    """How many notes a CPU's list has."""
    image = now.kernel.image
    at = now.cache + image.offsetof("struct slab_cache", "cpu") + cpu * image.sizeof("struct cpu_list")
    return min(now.kernel.member(at, "struct cpu_list", "n"), LONGEST)


def lists(run: Run) -> None:
    """Links that are followed when a CPU's list is drained to the slabs, and filled from them."""
    r = run.rng("lists")
    scripts = []
    for drains in (True, False):
        for cpu in r.sample(range(SMP), SMP):
            early, late = (lambda order: (order[:24], order[24:]))(r.sample(range(60), 44))
            lengths: list[int] = []

            def measure(now: Table, cpu: int = cpu, lengths: list[int] = lengths) -> None:
                lengths.append(list_length(now, cpu))

            def meddle(now: Table, drains: bool = drains, early: list[int] = early, late: list[int] = late,
                       lengths: list[int] = lengths) -> None:
                where = Lists(lengths[0])
                where.free(early)
                if drains:
                    there = set(where.cpu)
                    where.free(late)
                    chosen = sorted(there & set(where.slab) - {-1}) or early
                    note = r.choice(chosen)
                    now.set_word(now.at[note], r.getrandbits(64) | 1 << 62 | 8)
                else:
                    where.free(late)
                    note, before = r.choice(where.neighbours(now.at))
                    target = now.at[min(set(range(60)) - set(early) - set(late))]
                    now.set_word(now.at[note], now.word(note) ^ now.at[before] ^ target)

            steps = [f"c{cpu}", "n60", "s", frees(early), *["s"] * drains, frees(late), *["s"] * (not drains), "n60", "s"]
            scripts.append(Script(f"a link was written to in a list that is {'drained' if drains else 'filled from'} on CPU {cpu}",
                                  steps, {0: measure, 1: meddle}))
    with run.boot(PROGRAM, " ".join(s.word for s in scripts)) as guest:
        judged(run, guest, "other-lists", scripts, unharmed, "drained or filled: none led anywhere",
               "a damaged link is noticed in the slabs' lists as in a CPU's",
               "slab_take() and cpu_list_drain() in kernel/mm/heap.c: who follows a link there, and asks whom?")


# ---- freeing -------------------------------------------------------------------------------------------------


def twice(run: Run) -> None:
    """What is free is freed again."""
    r = run.rng("twice")
    scripts = []
    for x in r.sample(range(SMP), SMP):
        a, b = r.sample(range(24), 2)
        many = r.sample([n for n in range(60) if n != a], 44)
        scripts += [
            Script(f"a note was freed twice in a row on CPU {x}", [f"c{x}", "n24", frees([a]), "s", frees([a]), "s", "n4", "s"]),
            Script(f"a note was freed again after another on CPU {x}",
                   [f"c{x}", "n24", frees([a, b]), "s", frees([a]), "s", "n4", "s"]),
            Script(f"a note was freed again after {len(many)} others on CPU {x}",
                   [f"c{x}", "n60", frees([a, *many]), "s", frees([a]), "s", "n60", "s"]),
            Script(f"a note was freed on CPU {x} and again on CPU {1 - x}",
                   [f"c{x}", "n24", frees([a]), "s", f"c{1 - x}", frees([a]), "s", "n4", "s"]),
        ]
    with run.boot(PROGRAM, " ".join(s.word for s in scripts)) as guest:
        judged(run, guest, "freed-twice", scripts, refused, "whatever came between: refused",
               "a second free of one object ends the process with a report, and the object has one owner at most",
               "heap_give() in kernel/harden/heap.c: what does it compare, and with how much of the past?")


def pointers(run: Run) -> None:
    """What is no object, or was never given out, is freed."""
    r = run.rng("pointers")
    scripts = []

    given: set[int] = set()     # forgotten ones are in use, too

    def never(now: Table) -> int:
        page = now.at[0] & -PAGE
        return r.choice([va for va in range(page, page + PAGE, NOTE) if va not in given])

    kinds: list[tuple[str, Callable[[Table, int], int]]] = [
        ("a note that was never given out", lambda now, a: never(now)),
        ("a pointer into a note", lambda now, a: now.at[a] + 16 * r.randrange(1, 4)),
        ("a pointer that no object can have", lambda now, a: now.at[a] + 8),
        ("an object of another cache", lambda now, a: now.cache),
        ("a variable of the kernel", lambda now, a: now.kernel.image.sym("vuln_note_theirs")),
    ]
    for what, where in kinds:
        for cpu in range(SMP):
            a = r.randrange(24)

            def meddle(now: Table, a: int = a, where: Callable[[Table, int], int] = where) -> None:
                given.update(now.at)
                now.set_pointer(a, where(now, a))

            scripts.append(Script(f"{what} was freed on CPU {cpu}", [f"c{cpu}", "n24", "w", "s", frees([a]), "s", "n4", "s"],
                                  {0: meddle}))
    with run.boot(PROGRAM, " ".join(s.word for s in scripts)) as guest:
        judged(run, guest, "no-object", scripts, refused, "nothing but objects in use is taken back",
               "to free what is not the start of an object in use ends the process with a report",
               "heap_give() in kernel/harden/heap.c: what does p have to be?")


# ---- order, secrets, contents --------------------------------------------------------------------------------


def slabs_of(addresses: list[int]) -> list[list[int]]:
    """Places in their slabs, of each whole slab, in the order in which notes came."""
    out: dict[int, list[int]] = {}
    for va in addresses:
        out.setdefault(va & -PAGE, []).append(va % PAGE // NOTE)
    return [places for places in out.values() if len(places) == PAGE // NOTE]


def foretold(one: list[list[int]], other: list[list[int]]) -> str:
    """How the order of notes can be foretold: from one another, or from another start's."""
    distances = Counter(b - a for places in one for a, b in zip(places, places[1:]))
    most = max(distances.values(), default=0)
    if most > DISTANCES:
        return f"from one note to the next it is {distances.most_common(1)[0][0] * NOTE} bytes, {most} times of {MANY}"
    if sum(4 * i // len(places) == 4 * place // len(places) for places in one for i, place in enumerate(places)) > QUARTERS:
        return "first come those of a slab's first quarter, then those of the second"
    for what, ones, others in (("two slabs have", one[:1], one[1:]), ("another start has", one, other)):
        if any(sum(a == b for a, b in zip(p, q)) > AGREE for p in ones for q in others):
            return f"{what} the same order"
    return ""


def kept(run: Run, guest: Guest, cpu: int) -> tuple[list[str], set[int]]:
    """Looks at objects when they are freed, and when they have been, until the next stop: what was left in some, and which
    sizes there were."""
    m, image = guest.machine, guest.image
    doors = {image.sym("kfree"): 0, image.sym("slab_free"): 1}
    seen: Counter[str] = Counter()
    wrong, sizes = [], set()
    for _ in range(FREES_MAX):
        if not (at := guest.run_to(AT_STEP, extra=doors)).extra:
            return wrong, sizes
        arch = CPUS[m.arch.name]
        p = m.gdb.reg(at.cpu, arch.arguments[doors[at.pc]])
        kernel = Kernel(m, run.image)
        cache = cache_of(kernel, p)
        if cache is None or seen[cache.name] == SAMPLES or at.cpu != cpu:
            continue
        before = words_of(kernel.read(p, cache.size))
        if not any(before[2:]):
            continue
        seen[cache.name] += 1
        sizes.add(cache.size)
        sp, back = m.gdb.reg(at.cpu, POINTER[m.arch.name]), arch.returns_to(m, at.cpu)
        while (end := guest.run_to(AT_STEP, extra=back)).extra:
            if end.cpu == at.cpu and m.gdb.reg(at.cpu, POINTER[m.arch.name]) in (sp, sp + 8):
                break
        after = words_of(kernel.read(p, cache.size))
        same = [i for i, (a, b) in enumerate(zip(before, after)) if a and a == b]
        if same:
            wrong.append(f"on CPU {cpu} {8 * len(same)} of {cache.size} bytes of a freed object of {cache.name} are as they were")
    raise Ended("the program frees without an end")


def secrets_of(run: Run, guest: Guest) -> Counter[int]:
    """The caches' secrets, and how many have each."""
    return Counter(c.secret for c in caches(Kernel(guest.machine, run.image)))


def weak(one: Counter[int], other: Counter[int]) -> str:
    """What is wrong with the caches' secrets, in two starts."""
    if max(one.values()) > 1:
        return f"{max(one.values())} caches of {sum(one.values())} have the same secret"
    if one.keys() & other.keys():
        return "two starts have the same secrets"
    return "a secret has hardly a bit set" if any(bin(s).count("1") < FEWEST_BITS for s in one) else ""


def repeated(first: dict[int, int], second: dict[int, int]) -> str:
    """What two starts have in common, of the bits that masks() has found."""
    same = [first[va] for va in first.keys() & second.keys() if first[va] == second[va]]
    return "the same bits hide the link of the same note in two starts" if any(same) else ""


def masks(now: Table, order: list[int]) -> dict[int, int]:
    """By which bits the links of notes differ from the addresses that they lead to, by where they are."""
    return {now.at[note]: now.word(note) ^ now.at[before] for before, note in zip(order, order[1:])}


def contents(run: Run) -> None:
    """In which order notes come; what hides their links in another start; what is left of objects."""
    r = run.rng("contents")
    order = r.sample(range(60), 28)
    tables: list[Table] = []
    came: list[dict[int, int]] = []
    many = [Script("order", [f"c{cpu}", f"n{MANY}", "s"], {0: tables.append}) for cpu in range(SMP)]
    hides = Script("links", ["c0", "n60", frees(order), "s"], {0: lambda now: came.append(masks(now, order))})
    work = Script("contents", ["c0", "s", "z", "s", "c1", "s", "z", "s"])
    line = "harden=-kaslr,-aslr"
    with run.boot(PROGRAM, " ".join(s.word for s in (hides, *many, work)), append=line) as guest:
        for script in (hides, *many):
            follow(run, guest, script)
        guest.run_to(AT_STEP)
        wrong: list[str] = []
        for cpu in range(SMP):
            bad, sizes = kept(run, guest, cpu)
            wrong += bad
            if not bad and (len(sizes) < FEW_SIZES or max(sizes) < LARGE):
                raise GraderError(f"on CPU {cpu} only objects of {sorted(sizes)} bytes were freed")
            if cpu < SMP - 1:
                guest.run_to(AT_STEP)
        run.check("zeroed", not wrong, wrong[0] if wrong else "of no object anything was left",
                  "whatever an object held is gone when it has been freed, on each CPU and of each size",
                  "heap_give() in kernel/harden/heap.c")
        here, secrets = [slabs_of(t.at) for t in tables], [secrets_of(run, guest)]
    tables.clear()
    with run.boot(PROGRAM, " ".join(s.word for s in (hides, many[0])), append=line, start="another start") as guest:
        for script in (hides, many[0]):
            follow(run, guest, script)
        there = slabs_of(tables[0].at)
        secrets.append(secrets_of(run, guest))
        bad = next((f"on CPU {cpu}: {bad}" for cpu in range(SMP) if (bad := foretold(here[cpu], there))), "")
        run.check("order", not bad, bad or f"{MANY} notes on each CPU, in no order",
                  "a new slab's objects come in an order that is drawn for it",
                  "heap_shuffle() in kernel/harden/heap.c: how many orders are there, and who draws?")
        bad = weak(*secrets) or repeated(*came)
        run.check("secrets", not bad, bad or "each cache's is its own, and another in each start",
                  "what hides links cannot be had from another cache, from another start, or by counting",
                  "heap_secret() in kernel/harden/heap.c: where do its bits come from?")


# ---- where `why CHECK` stops ----

WHERE = {"links-hidden": "heap_link_set", "secrets": "heap_link_set", "damaged": "heap_link_get", "other-lists": "cpu_list_drain",
         "freed-twice": "heap_give", "no-object": "heap_give", "order": "heap_shuffle", "zeroed": "heap_give"}


@contextlib.contextmanager
def stand(run: Run, check: str) -> Iterator[Guest]:
    """The guest of a check, stopped where the kernel is asked about a note."""
    with run.boot(PROGRAM, "c0,n24,s,fabc,n60,fdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRS,n60,s") as guest:
        if check not in ("order", "secrets"):
            guest.run_to(AT_STEP)
        guest.run_to(AT_STEP, extra=guest.image.sym(WHERE.get(check, "heap_give")))
        yield guest
