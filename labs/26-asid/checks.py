"""The checks of asid: what a TLB could hold, and who runs under the number that leads to it.

QEMU empties its TLB whenever the number changes, so that a translation of another's is used there only where two address
spaces with one number follow each other directly: the check `reused` has 300 do so. For the others the grader keeps the TLB
that a processor may have. It sees what each CPU has loaded in user mode, that is what the CPU may remember from then on; and
it stops at each TLBI of the image, which says what is forgotten, by whom. A number that a CPU has loaded while it may remember
another address space under it is a hole, whatever numbers are called, and whoever hands them out.

So that numbers run out soon, the machine says that it has 8 bits of them: who reads ID_AA64MMFR0_EL1 reads that. Which CPU,
and how many processes is drawn from the seed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from grade.cpus import CPUS
from grade.labs.grading import At, Ended, Guest, Run

PROGRAM = "lab-asid"
AT_GATES, AT_TURN, AT_TAKE, AT_TAKEN, AT_CALLED, AT_END = range(1, 7)
R_WHO = R_PAGE = R_STRANGE = 0
R_ODD = 1
CALLS, OWN_TURN = 3, 8  # of lab-asid.c
ENOUGH = (138, 146)     # address spaces: more than 127
ROLES = {0: "the process that starts the others", 1: "the process on both CPUs"}      # of lab-asid.c's R_WHO; else one of many
NARROW, WIDE = 8, 16    # bits that the machine says it has
NO_KPTI = "harden=-kpti"        # which changes the number at each entry of the kernel: QEMU's TLB holds nothing that long

# MRS Xt, ID_AA64MMFR0_EL1, and its ASIDBits (Arm ARM D17.2): 0 is 8.
READS_BITS, ANY_REGISTER, ASID_BITS = 0xD5380700, ~31, 0xF0
# TLBI of EL1: SYS #0, C8, Cm, #op2, Xt (Arm ARM C5.5).
TLBI, TLBI_MASK = 0xD5088000, 0xFFFFF000
HERE, RANGE_HERE, RANGES = 7, 6, (2, 5, 6)      # of Cm: this CPU alone; the others reach all
ALL, BY_NUMBER, ANY_NUMBER = 0, 2, (3, 7)       # of op2; else by address and number
PAGE_BITS = (1 << 44) - 1


# ---- what the image can do -------------------------------------------------------------------------------------


def words(guest: Guest) -> Iterator[tuple[int, int]]:
    """Each instruction of the kernel's code, with its address."""
    image = guest.image
    start, end = image.span("__text_start", "__text_end")
    data = image.bytes_at(start, end - start)
    for at in range(0, len(data), 4):
        yield start + at, int.from_bytes(data[at:at + 4], "little")


@dataclass(frozen=True)
class Tlbi:
    """What one execution of a TLBI forgets."""

    everywhere: bool
    number: int | None = None                   # under this number alone
    pages: tuple[int, int] | None = None        # these alone: first, and one more than the last

    @staticmethod
    def decode(word: int, operand: int, mask: int) -> Tlbi:
        """An instruction, and what is in its register."""
        cm, op2 = word >> 8 & 15, word >> 5 & 7
        everywhere, number = cm not in (HERE, RANGE_HERE), operand >> 48 & mask
        if cm not in RANGES and op2 == ALL:
            return Tlbi(everywhere)
        if cm not in RANGES and op2 == BY_NUMBER:
            return Tlbi(everywhere, number)
        first, count = operand & PAGE_BITS, 1
        if cm in RANGES:
            first, count = operand & (1 << 37) - 1, ((operand >> 39 & 31) + 1) << 5 * (operand >> 44 & 3) + 1
        return Tlbi(everywhere, None if op2 in ANY_NUMBER else number, (first, first + count))

    def forgets(self, number: int) -> bool:
        """Whether translations under a number are among what is forgotten."""
        return self.number in (None, number)


# ---- what a CPU may remember -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Loaded:
    """What a CPU walks: a user's root, and the numbers under which it remembers that."""

    root: int
    numbers: frozenset[int]


@dataclass
class Watch:
    """A guest whose TLBs the grader keeps."""

    guest: Guest
    bits: int
    held: dict[int, dict[tuple[int, int], str]] = field(default_factory=dict)   # CPU -> number and root -> whose
    names: dict[int, str] = field(default_factory=dict)                     # root -> whose it is
    holes: dict[int, list[str]] = field(default_factory=dict)               # CPU -> what was wrong there
    seen: dict[int, list[int]] = field(default_factory=dict)                # CPU -> the number at each turn of another process
    lies: dict[int, int] = field(default_factory=dict)                      # address -> the register that is written
    sites: dict[int, int] = field(default_factory=dict)                     # address -> TLBI
    paired: bool = False        # user mode has been seen under an odd number
    stands: At = field(default_factory=lambda: At(0))       # where the last run ended

    def __post_init__(self) -> None:
        for address, word in words(self.guest):
            if word & TLBI_MASK == TLBI:
                self.sites[address] = word
            elif word & ANY_REGISTER == READS_BITS and self.bits == NARROW:
                self.lies[address] = word & 31

    @property
    def mask(self) -> int:
        """The bits of a number that the machine looks at."""
        return (1 << self.bits) - 1

    def loaded(self, cpu: int) -> Loaded:
        """What a CPU has loaded. With a number of its own for user mode, user copies go by the other one of the pair."""
        machine, role = self.guest.machine, CPUS[self.guest.machine.arch.name]
        high, tcr = machine.gdb.reg(cpu, "TTBR1_EL1"), machine.gdb.reg(cpu, "TCR_EL1")
        root = role.root_of(machine, cpu) & ~1
        number = (high if tcr >> 22 & 1 else machine.gdb.reg(cpu, role.root)) >> 48 & self.mask
        self.paired |= role.in_user_mode(machine, cpu) and bool(number & 1)
        return Loaded(root, frozenset({number & ~1, number | 1} if self.paired else {number}))

    def user_mode(self, cpu: int) -> bool:
        """Whether a CPU is in user mode."""
        return CPUS[self.guest.machine.arch.name].in_user_mode(self.guest.machine, cpu)

    def look(self) -> None:
        """What CPUs in user mode have loaded: is any of it wrong? From now on they may remember it."""
        for cpu in self.guest.machine.gdb.cpus():
            if not self.user_mode(cpu):
                continue
            now, held = self.loaded(cpu), self.held.setdefault(cpu, {})
            who = self.names.get(now.root, "a process")
            for number, root in sorted((n, r) for n, r in held if n in now.numbers and r != now.root):
                self.holes.setdefault(cpu, []).append(
                    f"on CPU {cpu} {who} runs under number {number}, under which {held.pop((number, root))} ran before; the CPU "
                    "has not forgotten that since")
            held.update({(number, now.root): who for number in now.numbers})

    def forget(self, cpu: int, what: Tlbi) -> None:
        """A CPU is about to execute a TLBI. What it has loaded then it may walk again right behind it."""
        here = self.loaded(cpu)
        for other, held in self.held.items():
            if what.pages is None and (what.everywhere or other == cpu):
                self.held[other] = {(n, root): who for (n, root), who in held.items() if not what.forgets(n)
                                    or other == cpu and root == here.root and n in here.numbers}

    def run_to(self, which: int, pages: bool = False) -> Iterator[tuple[At, Tlbi]]:
        """Runs to a checkpoint of the program, and yields on the way what is forgotten, where; also single pages, if they are
        asked for."""
        guest, gdb = self.guest, self.guest.machine.gdb
        wanted = {address: word for address, word in self.sites.items() if pages or Tlbi.decode(word, 0, 0).pages is None}
        while (at := guest.run_to(which, extra=[*wanted, *self.lies])).extra:
            if at.pc in self.lies:
                register = f"x{self.lies[at.pc]}"
                gdb.advance(at.cpu)
                gdb.set_reg(at.cpu, register, gdb.reg(at.cpu, register) & ~ASID_BITS)
                continue
            register = wanted[at.pc] & 31
            what = Tlbi.decode(wanted[at.pc], gdb.reg(at.cpu, f"x{register}") if register < 31 else 0, self.mask)
            self.look()
            self.forget(at.cpu, what)
            self.look()         # who is in user mode goes on meanwhile
            yield at, what
        gdb.set_reg(at.cpu, "pc", gdb.reg(at.cpu, "x30"))       # checkpoint() does nothing but return
        self.stands = at

    def turn(self) -> None:
        """Runs to where the next process says that it runs: it has a name before anything is said of it."""
        for _ in self.run_to(AT_TURN):
            pass
        now, who = self.loaded(self.stands.cpu), self.guest.result(R_WHO)
        self.names[now.root] = ROLES.get(who, f"process {who}")
        self.look()
        if who:
            self.seen.setdefault(self.stands.cpu, []).append(min(now.numbers))


# ---- the boots -------------------------------------------------------------------------------------------------


def gates(run: Run) -> None:
    """What must go on working."""
    with run.boot(PROGRAM, "gates") as guest:
        guest.run_to(AT_GATES)
        run.ordinary_gates(guest)


def reuse(run: Run) -> None:
    """QEMU's own TLB, asked by one process after the other."""
    with run.boot(PROGRAM, f"reuse {run.rng('reuse').randrange(2)}", append=NO_KPTI) as guest:
        w = Watch(guest, NARROW)
        w.sites = {}
        for _ in w.run_to(AT_END):
            pass
        strange, odd = guest.result(R_STRANGE), guest.result(R_ODD)
        decide(run, "reused", not strange and not odd, f"{strange} of 300 processes read what another one had written"
               + (f", and {odd} fell over what they found" if odd else ""))


@dataclass(frozen=True)
class Plan:
    """Of the boot in which processes take turns."""

    cpu: int
    spaces: int

    @staticmethod
    def of(run: Run, label: str) -> Plan:
        """Drawn."""
        r = run.rng(label)
        return Plan(r.randrange(2), r.randint(*ENOUGH))

    @property
    def turns(self) -> int:
        """How many there are: each process's on both CPUs, and those of who starts them."""
        return 2 + 2 * self.spaces + (self.spaces + OWN_TURN - 1) // OWN_TURN


def turns(run: Run) -> None:
    """Numbers run out while a process stays on the other CPU."""
    plan = Plan.of(run, "turns")
    with run.boot(PROGRAM, f"turns {plan.cpu} {plan.spaces}") as guest:
        w = Watch(guest, NARROW)
        checks = {plan.cpu: "forgotten", 1 - plan.cpu: "elsewhere"}
        for _ in range(plan.turns):
            w.turn()
            for cpu in [c for c in checks if w.holes.get(c)]:
                decide(run, checks.pop(cpu), False, w.holes[cpu][0])
        # Numbers that the machine does not have would never come again.
        fresh = [cpu for cpu, numbers in w.seen.items() if len(set(numbers)) == len(numbers)]
        for cpu, check in checks.items():
            decide(run, check, not fresh, f"{len(w.seen.get(cpu, []))} processes on CPU {cpu}" + (
                ", each under a number of its own: a machine with 8 bits has not so many" if fresh else ""))
        bad = next((holes[0] for holes in w.holes.values()), "") or taken(w)
        decide(run, "page", not bad, bad or "both CPUs have forgotten it")


def decide(run: Run, check: str, passed: bool, seen: str) -> None:
    """Decides a check."""
    run.check(check, passed, seen, ABOUT[check].expected, ABOUT[check].look)


def taken(w: Watch) -> str:
    """What is wrong with a page that is taken away, after numbers have run out twice, from a process that has been running on
    the other CPU meanwhile."""
    w.guest.run_to(AT_TAKE)
    page, cpus = w.guest.result(R_PAGE) >> 12, w.guest.machine.gdb.cpus()
    before = {cpu: w.loaded(cpu) for cpu in cpus}
    if len({now.root for now in before.values()}) > 1:
        raise Ended("the process does not run on both CPUs: sched_setaffinity is broken")
    left = {cpu: set(now.numbers) for cpu, now in before.items()}
    for there, what in w.run_to(AT_TAKEN, pages=True):
        if what.pages is None or what.pages[0] <= page < what.pages[1]:
            for cpu in cpus:
                left[cpu] -= {n for n in left[cpu] if what.forgets(n) and (what.everywhere or cpu == there.cpu)}
    for cpu in cpus:
        now = w.loaded(cpu)
        if now.root == before[cpu].root and (numbers := sorted(now.numbers & left[cpu])):
            return f"CPU {cpu} goes on under number {numbers[0]}, and has not forgotten the page under that"
    return ""


def keep(run: Run) -> None:
    """A process comes back, on a machine with numbers enough."""
    plan = Plan.of(run, "keep")
    with run.boot(PROGRAM, f"keep {plan.cpu} {plan.spaces}") as guest:
        w = Watch(guest, WIDE)
        lost = ""
        for call in range(CALLS + 1):
            for _ in range(plan.spaces if call == CALLS else 0):
                w.turn()
            for _ in w.run_to(AT_CALLED):
                pass
            now = w.loaded(w.stands.cpu)
            w.names[now.root] = "the process that is called"
            kept = {number for number, root in w.held.get(w.stands.cpu, {}) if root == now.root}
            others = plan.spaces if call == CALLS else 1
            if call and not now.numbers <= kept:
                lost = lost or f"a process came back after {others} others: forgotten, or it has another number now"
            w.look()
        wrong = next((holes[0] for holes in w.holes.values()), lost)
        decide(run, "kept", not wrong, wrong or f"a process found its translations again after {plan.spaces} others")


@dataclass(frozen=True)
class About:
    """What a check says."""

    expected: str
    look: str


CLEAN = "a CPU loads a number only when it has forgotten what it may hold of others under that"
ABOUT = {
    "reused": About("each process reads its own page, though numbers come again",
                    "asid_activate(): when numbers run out, what is in this CPU's TLB under the next one?"),
    "forgotten": About(CLEAN, "asid_activate(): who had this number before, what has this CPU forgotten since, and what did it "
                       "have loaded while it forgot?"),
    "elsewhere": About(CLEAN, "how does a CPU hear that numbers came again, and what happens to the number under which it is "
                       "running?"),
    "page": About("once munmap has returned, no CPU has the page under the number with which it goes on, that of user mode and "
                  "that of the kernel; and the number is nobody else's",
                  "arch_tlb_flush(): under which number, or numbers, does each CPU hold the process's translations?"),
    "kept": About("with numbers of 16 bits nothing has to be forgotten so soon, and no number comes twice",
                  "how many numbers has the machine, and how often do you forget everything?"),
}


def scenarios() -> list:
    """What may run side by side."""
    return [gates, reuse, turns, keep]


@contextlib.contextmanager
def stand(run: Run, check: str) -> Iterator[Guest]:
    """The guest of a check, stopped where it begins to look."""
    if check == "kept":
        plan = Plan.of(run, "keep")
        with run.boot(PROGRAM, f"keep {plan.cpu} {plan.spaces}") as guest:
            guest.run_to(AT_CALLED)
            yield guest
        return
    plan = Plan.of(run, "turns")
    with run.boot(PROGRAM, f"turns {plan.cpu} {plan.spaces}") as guest:
        w = Watch(guest, NARROW)
        for _ in range(plan.turns if check == "page" else 1):
            w.turn()
        if check == "page":
            guest.run_to(AT_TAKE)
        yield guest
