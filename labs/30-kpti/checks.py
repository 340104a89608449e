"""The checks of kpti: what a CPU in user mode could read, if it did not ask for permission.

Three boots of programs/lab-kpti.c. In one, processes stand in user mode on both CPUs, and map memory while others run; in
one, user mode is come back to in every way there is; in one the grader follows an entry and an exit instruction by
instruction, and interrupts it. Which tables are user mode's is nowhere looked up: they are those that a CPU has loaded
when it stands in user mode. Processes, CPUs, addresses, moments and instructions are drawn from the seed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from grade.cpus import CPUS
from grade.labs.grading import OWN, At, Ended, Guest, Run, picture
from grade.spaces import Kernel
from grade.walk import Mapping, Space

PROGRAM = "lab-kpti"
AT_GATES, AT_LOOK, AT_ALL, AT_FAR, AT_OTHER, AT_RETURN, AT_CALL, AT_FAULT, AT_COPY, AT_END = range(1, 11)
R_HANDLED = OWN
R_WHO, R_FAR = range(2)
SIGNALS = 4                     # of lab-kpti.c's own
PROCESSES = 6
PAGE = 4096
KERNEL_HALF = 1 << 63
FAR = range(2, 120)             # of 512 GiB each: user memory that no program has tables for
STEPS = 4000                    # more than any honest way in or out has
OTHERS = 6                      # places beside those on user mode's tables
PSTATE_I = 1 << 7

# Ways back to user mode, as lab-kpti.c has them.
KINDS = {"c": "a system call", "p": "a page fault", "s": "the kernel, into a signal handler", "r": "a signal handler's return",
         "f": "fork, as the child", "x": "exec", "t": "a debug exception", "i": "an interrupt"}


@dataclass(frozen=True)
class Machinery:
    """What one architecture has for it."""

    shown: str                          # what leads to the tables
    frames: tuple[str, ...]             # of the image: what user mode's tables may lead to
    interrupt: str                      # the kernel's function for interrupts of user mode
    ip: str                             # of struct trapframe
    nmi: str                            # the kernel's function for what cannot be masked; "": there is nothing
    whole: tuple[str, ...]              # registers that an interruption must leave as they were
    look: str


MACHINERY = {
    "x86_64": Machinery("CR3", ("idt", "__entry_text_start", "x86_entry_data"), "x86_trap", "rip", "x86_paranoid_trap",
                        ("rsp", "gs_base", "k_gs_base", "rax", "rcx", "rdx", "cr3"),
                        "make_roots() and user_root() in arch/x86_64/mmu.c, and who loads CR3 in trampoline.S"),
    "aarch64": Machinery("TTBR1_EL1", ("a64_trampoline",), "a64_irq", "pc", "", (),
                         "make_user_mode_root() in arch/aarch64/mmu.c, and who writes TTBR1_EL1 in trampoline.S"),
}


def machinery(guest: Guest) -> Machinery:
    """The architecture's."""
    return MACHINERY[guest.machine.arch.name]


def scenarios() -> list:
    """What may run side by side."""
    return [tables, returns, ways]


# ---- what a CPU could read -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Loaded:
    """The tables that a CPU has: the root of the lower half, that of the upper, and what the TLB is asked for."""

    low: int
    high: int
    asid: int

    def __str__(self) -> str:
        return f"{self.high:#x}"


def loaded(guest: Guest, cpu: int) -> Loaded:
    """What a CPU has loaded now."""
    gdb = guest.machine.gdb
    if guest.machine.arch.name == "x86_64":
        root = gdb.reg(cpu, "cr3") & CPUS["x86_64"].address
        return Loaded(root, root, 0)
    low, high = gdb.reg(cpu, "TTBR0_EL1"), gdb.reg(cpu, "TTBR1_EL1")
    address = CPUS["aarch64"].address & ~1
    return Loaded(low & address, high & address, (high if gdb.reg(cpu, "TCR_EL1") >> 22 & 1 else low) >> 48)


def space_of(kernel: Kernel, cpu: int, what: Loaded, name: str) -> Space:
    """Everything that tables lead to, whatever the permissions; `cpu` says how tables are read."""
    return kernel.cpu.walker(kernel.machine, cpu, what.high).space(what.low, name)


def halves(space: Space) -> tuple[list[Mapping], list[Mapping]]:
    """A space's leaves below and above."""
    leaves = [m for part in space.parts for m in part]
    return [m for m in leaves if m.va < KERNEL_HALF], [m for m in leaves if m.va >= KERNEL_HALF]


def way_in(kernel: Kernel) -> set[int]:
    """The frames that user mode's tables may lead to."""
    image, out = kernel.image, set()
    for name in MACHINERY[kernel.machine.arch.name].frames:
        start = image.sym(name)
        end = image.sym("__entry_text_end") if name == "__entry_text_start" else start + max(PAGE, image.size(name))
        out |= {f for low, high in kernel.frames((start & -PAGE, (end + PAGE - 1) & -PAGE)) for f in range(low, high, PAGE)}
    return out


def foreign(kernel: Kernel, leaves: list[Mapping], allowed: set[int]) -> list[Mapping]:
    """Leaves that lead somewhere else."""
    return [m for m in leaves if m.size > PAGE * len(allowed) or any(m.pa + at not in allowed for at in range(0, m.size, PAGE))]


def named(kernel: Kernel, m: Mapping) -> str:
    """A leaf in words."""
    area = next((f" (the {n.replace('_', ' ')})" for n, (low, high) in kernel.ranges().items()
                 if low < m.va + m.size and m.va < high), "")
    return f"{m.va:#x}{area}"


@dataclass
class Seen:
    """What was wrong so far, in words, and the first of it drawn."""

    hidden: list[str] = field(default_factory=list)
    drawn: dict[str, Any] | None = None
    looks: int = 0

    def look(self, guest: Guest, kernel: Kernel, cpu: int, what: Loaded, who: str) -> bool:
        """Reads through tables that user mode has, and says whether they are clean."""
        self.looks += 1
        space = space_of(kernel, cpu, what, who)
        low, high = halves(space)
        bad = foreign(kernel, high, way_in(kernel)) + [m for m in low if not m.user] + [m for m in high if m.user]
        if bad:
            self.hidden.append(f"{who}: user mode's tables lead to {named(kernel, bad[0])}"
                               + (f", and to {len(bad) - 1} more places" if bad[1:] else ""))
            start = bad[0].va & -PAGE
            self.drawn = self.drawn or picture(space, start, start + 4 * PAGE, {(start, start + PAGE): "the kernel's"},
                                               (start, start + PAGE), "what user mode's tables lead to")
        return not bad


def in_user_mode(guest: Guest, cpu: int) -> bool:
    """Whether a CPU is."""
    return CPUS[guest.machine.arch.name].in_user_mode(guest.machine, cpu)


def owner(kernel: Kernel, cpu: int) -> tuple[int, int]:
    """The process that a CPU runs, and its address space, as the kernel has them."""
    process = kernel.member(kernel.current(cpu), "struct thread", "process")
    return process, kernel.member(process, "struct process", "vm") if process else 0


def alive(kernel: Kernel) -> set[tuple[int, int]]:
    """Every process with its address space."""
    image = kernel.image
    return {(p, kernel.member(p, "struct process", "vm"))
            for p in kernel.list_of(image.sym("process_all"), "struct process", "all")}


def into_kernel(guest: Guest, cpu: int, whose: tuple[int, int], which: int) -> Loaded:
    """Runs to the next system call of one process (its owner()) on a CPU, and says what that has loaded then."""
    dispatch = guest.image.sym("syscall_dispatch")
    while (at := guest.run_to(which, extra=dispatch)).extra:
        if at.cpu == cpu and owner(Kernel(guest.machine, guest.image), cpu) == whose:
            return loaded(guest, cpu)
    raise Ended("no system call came")


# ---- processes, and memory that is mapped later --------------------------------------------------------------


def table_plan(run: Run) -> tuple[list[int], list[int]]:
    """Each process's CPU, and where it maps memory later."""
    r = run.rng("tables")
    cpus = [0, 1] * (PROCESSES // 2)
    r.shuffle(cpus)
    return cpus, [n << 39 | r.randrange(1, 1 << 27) << 12 for n in r.sample(FAR, PROCESSES)]


def table_line(run: Run, gates: bool) -> str:
    """The program's arguments."""
    cpus, far = table_plan(run)
    return f"tables {int(gates)} {''.join(map(str, cpus))} " + " ".join(f"{a:x}" for a in far)


@dataclass
class Family:
    """The processes of one boot: what each has in user mode, and in the kernel."""

    guest: Guest
    seen: Seen
    user: dict[tuple[int, int], tuple[str, Loaded, Loaded]] = field(default_factory=dict)   # of (process, vm)

    def everyone(self, kernel: Kernel) -> None:
        """Looks at the tables of all that were seen and are still there, and at CPUs that are in user mode."""
        there = alive(kernel)
        for key, (name, user, _) in self.user.items():
            if key in there:
                self.seen.look(self.guest, kernel, 0, user, name)
        for cpu in self.guest.machine.gdb.cpus():
            if in_user_mode(self.guest, cpu):
                self.seen.look(self.guest, kernel, cpu, loaded(self.guest, cpu), f"CPU {cpu}")


def tlb_wrong(kernel: Kernel, cpu: int, user: list[Loaded], own: list[Loaded]) -> list[str]:
    """Translations of the kernel's that user mode may find in the TLB."""
    space = space_of(kernel, cpu, own[0], "the kernel")
    left = foreign(kernel, [m for m in halves(space)[1] if m.global_], way_in(kernel))
    out = [f"the kernel's page {named(kernel, left[0])} is global" + (f", and {len(left) - 1} more places are" if left[1:] else "")
           ] if left else []
    shared = {u.asid for u in user} & {k.asid for k in own}
    if kernel.machine.arch.name == "aarch64" and shared:
        out.append(f"user mode and the kernel have the same ASID ({min(shared)})")
    return out or ["user mode runs on the kernel's own tables"] * any(u.high == k.high for u, k in zip(user, own))


def step_wrong(kernel: Kernel, cpu: int, user: Loaded, own: Loaded, page: int) -> str:
    """What is wrong with a process's own memory in one of its two views: nothing but the root may differ."""
    if user.high == own.high:
        return "user mode runs on the kernel's own tables"
    views = [{(m.va, m.pa, m.size, m.writable, m.user, m.exec_user) for m in halves(space_of(kernel, cpu, v, n))[0] if m.user}
             for v, n in ((user, "user mode's"), (own, "the kernel's"))]
    for there, elsewhere, who in ((0, 1, "the kernel's"), (1, 0, "user mode's")):
        if missing := sorted(views[there] - views[elsewhere]):
            return f"user memory at {missing[0][0]:#x} is not there, or allows something else, in {who} tables"
    return "" if not page or any(va == page for va, *_ in views[0]) else f"the page at {page:#x} is not mapped"


def tables(run: Run) -> None:
    """Gates; processes on both CPUs; memory that comes later."""
    cpus, far = table_plan(run)
    seen, steps, tlb = Seen(), [], []
    r = run.rng("moments")
    wanted = run.wants("boots", "shell", "programs")
    with run.boot(PROGRAM, table_line(run, wanted)) as guest:
        if wanted:
            guest.run_to(AT_GATES)
            gates(run, guest)
        family = Family(guest, seen)
        dispatch = guest.image.sym("syscall_dispatch")
        for who, cpu in enumerate(cpus):
            if guest.run_to(AT_LOOK, extra=dispatch, hits=r.randrange(1, 6)).extra:
                family.everyone(Kernel(guest.machine, guest.image))
                guest.run_to(AT_LOOK)
            kernel = Kernel(guest.machine, guest.image)
            if not in_user_mode(guest, cpu):
                raise Ended(f"process {who + 1} does not run on CPU {cpu}: sched_setaffinity is broken")
            name, user, key = f"process {who + 1}, on CPU {cpu}", loaded(guest, cpu), owner(kernel, cpu)
            seen.look(guest, kernel, cpu, user, name)
            own = into_kernel(guest, cpu, key, AT_ALL)
            kernel = Kernel(guest.machine, guest.image)
            family.user[key] = name, user, own
            steps += [f"{name}: {why}" for why in [step_wrong(kernel, cpu, user, own, 0)] if why]
        at = guest.run_to(AT_ALL)
        kernel = Kernel(guest.machine, guest.image)
        family.everyone(kernel)
        both = list(family.user.values())
        tlb = tlb_wrong(kernel, at.cpu, [u for _, u, _ in both], [k for _, _, k in both])
        run.check("tlb", not tlb, (tlb or ["every leaf of the kernel's tables, and what the TLB is asked for"])[0],
                  "what the TLB remembers of the kernel is of no use in user mode", "which bit of an entry makes a "
                  "translation everybody's? kernel_global() or kernel_ng() in mmu.c")
        try:
            for who, (cpu, (name, user, own)) in enumerate(zip(cpus, both)):
                later(guest, family, who, cpu, (name, user, own), far[who], steps)
            guest.run_to(AT_END)
        except Ended as error:
            steps.append(str(error))
    m = MACHINERY[run.workshop.arch]
    run.check("hidden", not seen.hidden, (seen.hidden or [f"{seen.looks} looks, at {PROCESSES} processes on both CPUs"])[0],
              "while a process is in user mode, on any CPU, its live tables lead to nothing of the kernel but the way in",
              m.look, seen.drawn)
    run.check("in-step", not steps, (steps or [f"{PROCESSES} processes mapped memory while their threads ran on both CPUs"])[0],
              "a process's own memory is the same on user mode's tables and on the kernel's, whenever it was mapped",
              "where do entries of a root come from that are made later? link_tables() in arch/x86_64/mmu.c")


def gates(run: Run, guest: Guest) -> None:
    """What every kernel must do."""
    signals = guest.result(R_HANDLED)
    run.ordinary_gates(guest, "" if signals == SIGNALS else f"{signals} of {SIGNALS} signals were handled")


def later(guest: Guest, family: Family, who: int, cpu: int, views: tuple[str, Loaded, Loaded], page: int,
          steps: list[str]) -> None:
    """One process maps memory where it has no tables yet; a thread of it is in user mode on the other CPU."""
    name, _, own = views
    for point, on in ((AT_FAR, cpu), (AT_OTHER, 1 - cpu)):
        if guest.run_to(point).cpu != on:
            raise Ended(f"{name}: its threads are not where they were sent")
        kernel = Kernel(guest.machine, guest.image)
        user = loaded(guest, on)
        family.seen.look(guest, kernel, on, user, f"{name}, a thread on CPU {on}" if on != cpu else name)
        if why := step_wrong(kernel, on, user, own, page & -PAGE):
            steps.append(f"{name}, on CPU {on}: {why}")
    family.everyone(kernel)
    guest.run_to(AT_LOOK)
    family.seen.look(guest, Kernel(guest.machine, guest.image), cpu, loaded(guest, cpu), f"{name}, after exec")


# ---- ways back -----------------------------------------------------------------------------------------------


def kinds_of(run: Run) -> str:
    """In which order."""
    kinds = list(KINDS)
    run.rng("returns").shuffle(kinds)
    return "".join(kinds)


def interrupted(guest: Guest, cpu: int) -> At:
    """Runs to the first instruction of user mode after an interrupt of spin()."""
    m, program = machinery(guest), guest.program
    start, kernel = program.sym("spin"), guest.image.sym(m.interrupt)
    frame = CPUS[guest.machine.arch.name].arguments[0]
    while (at := guest.run_to(AT_RETURN, extra=kernel)).extra:
        k = Kernel(guest.machine, guest.image)
        ip = k.member(guest.machine.gdb.reg(at.cpu, frame), "struct trapframe", m.ip)
        if at.cpu == cpu and start <= ip < start + program.size("spin"):
            break
    while at.extra and (at := guest.run_to(AT_RETURN, extra=start)).extra:
        if at.cpu == cpu:
            return at
    raise Ended("no interrupt came")


def returns(run: Run) -> None:
    """Each way back to user mode, on both CPUs."""
    seen, kinds = Seen(), kinds_of(run)
    with run.boot(PROGRAM, f"returns {kinds}") as guest:
        for cpu in (0, 1):
            for kind in kinds:
                if kind == "x":
                    at = guest.run_to(AT_LOOK, extra=guest.program.sym("_start"))
                elif kind == "i":
                    at = interrupted(guest, cpu)
                else:
                    at = guest.run_to(AT_RETURN)
                if at.cpu != cpu:
                    raise Ended(f"the program runs on CPU {at.cpu} and not on CPU {cpu}: sched_setaffinity is broken")
                seen.look(guest, Kernel(guest.machine, guest.image), cpu, loaded(guest, cpu),
                          f"CPU {cpu}, back from {KINDS[kind]}")
                if kind in "xi":
                    guest.run_to(AT_LOOK if kind == "x" else AT_RETURN)
        guest.run_to(AT_END)
    run.check("returns", not seen.hidden, (seen.hidden or [f"{len(KINDS)} ways back, on both CPUs"])[0],
              "whichever way user mode is come back to, its tables lead to nothing of the kernel but the way in",
              "the last instructions of each way out: trampoline.S", seen.drawn)


# ---- in the middle of an entry, or an exit -------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """One instruction of a way in or out, and whether it is executed on user mode's tables."""

    pc: int
    where: str
    user_tables: bool


@dataclass
class Ways:
    """One boot in which entries and exits are followed, and interrupted."""

    guest: Guest
    cpu: int
    user: Loaded = Loaded(0, 0, 0)
    own: Loaded = Loaded(0, 0, 0)
    wrong: list[str] = field(default_factory=list)
    tried: int = 0

    def on_user_tables(self) -> bool:
        """Whether the CPU has user mode's tables, or a part of them."""
        now = loaded(self.guest, self.cpu)
        return now.high == self.user.high or now.asid == self.user.asid != self.own.asid

    def step(self, what: str) -> Place:
        """One instruction on: the next, and the tables that it has."""
        gdb = self.guest.machine.gdb
        gdb.step(self.cpu)
        pc = gdb.pc(self.cpu)
        return Place(pc, f"{what}, at {pc:#x}", self.on_user_tables())

    def followed(self, at: int, name: str, next_point: int, what: str) -> list[Place]:
        """From a checkpoint into the kernel, by single steps, to a function of it; then from where that returns to user
        mode. Every instruction of the kernel's on the two ways."""
        guest, gdb, out = self.guest, self.guest.machine.gdb, []
        function = guest.image.sym(name)
        self.guest.run_to(at)
        self.user = loaded(guest, self.cpu)
        self._steps(f"the entry by {what}", lambda p: p.pc == function, out)
        self.own = loaded(guest, self.cpu)
        back = self._return_address()
        while (stop := guest.run_to(next_point, extra=back)).extra and stop.cpu != self.cpu:
            pass
        if not stop.extra:
            raise Ended(f"{what}: {name} does not return")
        self._steps(f"the exit from {what}", lambda p: p.pc < KERNEL_HALF, out)
        if not gdb.pc(self.cpu) < KERNEL_HALF:
            raise Ended(f"{what}: no way out")
        return [p for p in out if p.pc >= KERNEL_HALF]

    def _steps(self, what: str, end: Any, out: list[Place]) -> None:
        for _ in range(STEPS):
            place = self.step(what)
            if end(place):
                return
            out.append(place)
            if place.pc >= KERNEL_HALF and not machinery(self.guest).nmi and place.user_tables and not \
                    self.guest.machine.gdb.reg(self.cpu, "cpsr") & PSTATE_I:
                self.wrong.append(f"{place.where}: an interrupt may come, and user mode's tables are loaded")
        raise Ended(f"{what} takes more than {STEPS} instructions")

    def _return_address(self) -> int:
        return CPUS[self.guest.machine.arch.name].returns_to(self.guest.machine, self.cpu)

    def interrupt(self, place: Place, next_point: int) -> bool:
        """An NMI at one instruction. False if the CPU did not come there, and stands at the next checkpoint."""
        guest, m, gdb = self.guest, machinery(self.guest), self.guest.machine.gdb
        if not self._here(place.pc, next_point):
            return False
        before = gdb.regs(self.cpu, m.whole)
        guest.machine.qmp.inject_nmi()
        try:
            if not self._here(guest.image.sym(m.nmi), next_point):
                raise Ended("no NMI came")
            now = loaded(guest, self.cpu)
            block = guest.image.sym("cpus") + self.cpu * guest.image.sizeof("struct cpu")
            if now.high != self.own.high:
                self.wrong.append(f"an NMI in {place.where}: the kernel handles it on other tables than its own")
            if gdb.reg(self.cpu, "gs_base") != block:
                self.wrong.append(f"an NMI in {place.where}: GS is not the kernel's in the handler")
            while self._here(place.pc, next_point):     # the handler's own exit may have instructions of this one's
                if gdb.reg(self.cpu, "rsp") == before["rsp"]:
                    break
            else:
                raise Ended("it does not come back")
        except Ended as error:
            raise Ended(f"an NMI in {place.where}: {error}") from None
        changed = [name for name, value in gdb.regs(self.cpu, m.whole).items() if value != before[name]]
        if changed:
            self.wrong.append(f"an NMI in {place.where} goes back with another {changed[-1].upper()}")
        self.tried += 1
        return True

    def _here(self, pc: int, next_point: int) -> bool:
        while (at := self.guest.run_to(next_point, extra=pc)).extra:
            if at.cpu == self.cpu:
                return True
        return False

    def copy(self) -> None:
        """A fault of the kernel's own, in a user copy: before and after it the kernel's tables are loaded."""
        guest, image = self.guest, self.guest.image
        trap = image.sym(CPUS[guest.machine.arch.name].trap)
        frame = CPUS[guest.machine.arch.name].arguments[0]
        while self._here(trap, AT_CALL):
            k = Kernel(guest.machine, image)
            ip = k.member(guest.machine.gdb.reg(self.cpu, frame), "struct trapframe", machinery(guest).ip)
            if ip >= KERNEL_HALF:
                break
        else:
            raise Ended("a user copy to a new page takes no fault")
        for when in ("in the handler of a fault of the kernel's own", "after it"):
            now = loaded(guest, self.cpu)
            if now.high != self.own.high or now.asid != self.own.asid:
                self.wrong.append(f"{when} other tables are loaded than the kernel's")
            if when != "after it" and not self._here(self._return_address(), AT_CALL):
                raise Ended("a fault of the kernel's own does not return")
        guest.run_to(AT_CALL)


def chosen(run: Run, places: list[Place], what: str) -> list[Place]:
    """Where to interrupt: everywhere on user mode's tables, and at some other instructions near by."""
    first = {p.pc: p for p in reversed(places)}
    on = [p for p in first.values() if p.user_tables]
    others = [p for p in first.values() if not p.user_tables]
    out = on + run.rng(what).sample(others, min(OTHERS, len(others)))
    run.rng(f"order of {what}").shuffle(out)
    return out


def ways(run: Run) -> None:
    """Entries and exits, followed and interrupted."""
    cpu = run.rng("ways").randrange(2)
    with run.boot(PROGRAM, f"ways {cpu}") as guest:
        w = Ways(guest, cpu)
        lost = ""
        try:
            calls = w.followed(AT_CALL, "syscall_dispatch", AT_FAULT, "a system call")
            faults = w.followed(AT_FAULT, CPUS[guest.machine.arch.name].trap, AT_COPY, "a page fault")
            user = [p for p in calls + faults if p.user_tables]
            if w.user.high == w.own.high or not user:
                w.wrong.insert(0, "user mode runs on the kernel's own tables: no entry has anything to change")
            guest.run_to(AT_COPY)
            w.copy()
            pairs = zip_longest(chosen(run, calls, "calls"), chosen(run, faults, "faults")) if machinery(guest).nmi else []
            for call, fault in pairs:
                if w.wrong:
                    break
                if not call or w.interrupt(call, AT_FAULT):
                    guest.run_to(AT_FAULT)
                if not fault or w.interrupt(fault, AT_COPY):
                    guest.run_to(AT_COPY)
                guest.run_to(AT_CALL)
        except Ended as error:
            lost = str(error)
    wrong = w.wrong + [lost] * bool(lost)
    what = f"{w.tried} NMIs, {sum(p.user_tables for p in calls + faults)} places on user mode's tables" if w.tried else \
        "every instruction of an entry and an exit, and a fault of the kernel's own" if not wrong else ""
    run.check("nested", not wrong, (wrong or [what])[0], "what interrupts an entry or an exit runs on the kernel's tables, and "
              "goes back with those that it found; where tables are user mode's, nothing else may interrupt",
              "paranoid_entry and x86_exit_paranoid in arch/x86_64/trampoline.S" if run.workshop.arch == "x86_64" else
              "which instruction of trampoline.S is the last on user mode's tables, and the first?")


# ---- where `why CHECK` stops: the program's arguments, and the checkpoints to pass ----

WHERE = {"hidden": [AT_LOOK], "in-step": [AT_LOOK], "tlb": [AT_LOOK], "returns": [], "nested": [AT_CALL]}


@contextlib.contextmanager
def stand(run: Run, check: str) -> Iterator[Guest]:
    """The guest of a check, stopped where it begins to look."""
    line = f"returns {kinds_of(run)}" if check == "returns" else \
        f"ways {run.rng('ways').randrange(2)}" if check == "nested" else table_line(run, False)
    with run.boot(PROGRAM, line) as guest:
        for point in WHERE[check]:
            guest.run_to(point)
        if check == "returns":
            guest.run_to(AT_LOOK if kinds_of(run)[0] == "x" else AT_RETURN)
        yield guest
