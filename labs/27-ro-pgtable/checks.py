"""The checks of ro-pgtable: which mappings write a page table, in every address space, at moments that the seed draws.

Four boots of programs/lab-ro-pgtable.c. In one the grader stops the kernel while processes on both CPUs change their tables,
and looks at all that stands. In one it follows such changes instruction by instruction: by what a CPU has loaded it sees when
that CPU, and who else, could write a table, and what else it could write then; there it sends an NMI, too, where there is such
a thing. In one more tables are needed than there are, while the other CPU writes, by a bug, to the memory that becomes
some. How a kernel has a window, where, and what it is called is not asked: only what is loaded counts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from grade.cpus import CPUS
from grade.labs.grading import At, Ended, Guest, Run, picture
from grade.spaces import Kernel, KernelStateError
from grade.walk import Finding, Mapping, Space, aliases_of, table_pages, writable_aliases_of
from grade.walk_x86_64 import CR0_WP

PROGRAM = "lab-ro-pgtable"
AT_GATES, AT_NEXT, AT_READY, AT_FULL = range(1, 5)
R_NEXT = R_WORD = 0
PAGE = 4096
BLOCK_FRAMES = 512
LOOKS = 5               # moments at which all that stands is looked at
STEPS = 12000           # instructions, more than one change of tables has
TRIES = 400             # stops on the way to a place
PAGES = 620             # each in need of a table: more than start-up set aside
TOUCHES = 8             # pages that are touched while the writer may still write
NO_KPTI = "harden=-kpti"        # which has a CPU forget much whenever it enters the kernel
TABLE = 3               # of enum page_type
POOL = 1 << 14          # PAGE_POOL

# What lab-ro-pgtable.c does next, and the functions of arch/arch.h that change tables for it.
CHANGES = {"t": ("arch_pt_map",), "p": ("arch_pt_update_some",), "u": ("arch_pt_update_some",),
           "f": ("arch_pt_create", "arch_pt_map_all")}
WHAT = {"t": "a page fault", "p": "mprotect", "u": "munmap", "f": "fork"}
EVENTS = {"syscall_dispatch": 12, "schedule": 10, "vm_fork": 3, "arch_pt_destroy": 3, "page_put": 12}    # and how often, at most


@dataclass(frozen=True)
class Machinery:
    """One architecture's."""

    loaded: tuple[str, ...]         # registers that say what a CPU can write
    masked: Any                     # whether interrupts are held back, of the flags
    flags: str
    sp: str
    nmi: str                        # the kernel's function for what cannot be masked; "": there is nothing
    whole: tuple[str, ...]          # registers that an NMI must leave as they were
    marks: int                      # bits of an entry that a walk sets


MACHINERY = {
    "x86_64": Machinery(("cr3", "cr0"), lambda flags: not flags & 1 << 9, "eflags", "rsp", "x86_paranoid_trap",
                        ("cr3", "cr0", "rsp", "gs_base", "k_gs_base", "rax", "rcx", "rdx"), 3 << 5),
    "aarch64": Machinery(("TTBR0_EL1", "TTBR1_EL1"), lambda flags: bool(flags & 1 << 7), "cpsr", "sp", "", (), 1 << 10),
}

LOOK = {
    "processes": "arch_table_block() in mmu.c, and who calls it when",
    "start-up": "pgtable_seal_early(), where the window's own tables lie, and what a CPU has loaded that runs no process",
    "joins-later": "grow() in kernel/harden/ro_pgtable.c",
    "remembered": "what does grow() do between the new entry and add_block()?",
    "one-cpu": "the functions window_open and window_close of ro_pgtable.c: what do they load, and who else has that?",
    "narrow": "what does the window map beside the blocks of tables, or allow beside them?",
    "undisturbed": "interrupts, NMIs, and which translations are global, or under whose ASID",
}


def scenarios() -> list:
    """What may run side by side."""
    return [gates, standing, windows, growth]


def machinery(guest: Guest) -> Machinery:
    """The architecture's."""
    return MACHINERY[guest.machine.arch.name]


# ---- one moment ------------------------------------------------------------------------------------------------


def masked(guest: Guest, cpu: int) -> bool:
    """Whether a CPU holds interrupts back."""
    m = machinery(guest)
    return bool(m.masked(guest.machine.gdb.reg(cpu, m.flags)))


def obeys(guest: Guest, cpu: int) -> bool:
    """Whether a CPU's kernel obeys what entries say of writing."""
    return guest.machine.arch.name != "x86_64" or bool(guest.machine.gdb.reg(cpu, "cr0") & CR0_WP)


def writes(guest: Guest, cpu: int, space: Space, tables: Iterable[int]) -> list[Finding]:
    """The mappings of what a CPU has loaded by which it can write to some tables."""
    find = writable_aliases_of if obeys(guest, cpu) else aliases_of
    return find([space], [(t, t + PAGE) for t in tables])


class Moment:
    """A stopped guest: its address spaces, what each CPU has loaded, and where its tables lie. `more` are tables that are
    known from another moment."""

    def __init__(self, guest: Guest, more: Iterable[int] = ()) -> None:
        self.guest, self.machine = guest, guest.machine
        self.kernel = kernel = Kernel(guest.machine, guest.image)
        self.own = kernel.walker.space(kernel.kernel_root(), "the kernel's own tables")
        roots = self._processes()
        users = [(user, f"{name}, as user mode has them") for root, name in roots if (user := kernel.user_root(root)) is not None]
        self.processes = [kernel.walker.space(root, name) for root, name in roots + users]
        self.live = {cpu: kernel.cpu.active(self.machine, cpu) for cpu in self.machine.gdb.cpus()}
        mine = set(table_pages([self.own])) | set(more)
        theirs = set(table_pages(self.processes))
        # What is loaded and no process's is start-up's, too.
        self.start_up = mine | set(table_pages(self.live.values())) - theirs
        self.theirs = theirs - self.start_up

    def _processes(self) -> list[tuple[int, str]]:
        kernel, image = self.kernel, self.kernel.image
        root = image.offsetof("struct vm", "pt.root.v")
        return [(kernel.u64(vm + root) & kernel.cpu.address, f"the tables of process {i + 1}")
                for i, vm in enumerate(kernel.list_of(image.sym("vm_all"), "struct vm", "all"))]

    @property
    def tables(self) -> set[int]:
        """Every page of tables."""
        return self.start_up | self.theirs

    def barred(self, cpu: int) -> bool:
        """Whether a CPU must not be able to write tables now, whatever it is at: it is in user mode, or may be interrupted."""
        return self.kernel.cpu.in_user_mode(self.machine, cpu) or not masked(self.guest, cpu)

    def written_by(self, cpu: int, tables: Iterable[int]) -> list[Finding]:
        """The mappings by which a CPU can write to some of the tables, as it is now."""
        return writes(self.guest, cpu, self.live[cpu], tables)

    def leaf(self) -> int:
        """Where the entry is by which the kernel's tables map their own root: a physical address."""
        kernel = self.kernel
        last = kernel.walker.steps(self.own.root, kernel.u64(kernel.image.sym("direct_map_base")) + self.own.root)[-1]
        return last.table + 8 * last.index

    def wrong(self, at: int, tables: set[int]) -> list[Finding]:
        """Mappings that stand and write to some of the tables, CPU `at` being at a place where it changes none."""
        out = writable_aliases_of([self.own, *self.processes], [(t, t + PAGE) for t in tables])
        for cpu in self.live:
            if cpu == at or self.barred(cpu):
                out += self.written_by(cpu, tables)
        return out


def told(finding: Finding) -> str:
    """A finding in words."""
    m = finding.mapping
    return f"{m.va:#x}, in {finding.spaces[0].name}, writes to a page table"


def drawn(finding: Finding) -> dict[str, Any]:
    """A finding as a report draws it."""
    start = finding.mapping.va & -PAGE
    return picture(finding.spaces[0], start, start + 4 * PAGE, {(start, start + PAGE): "a page table"}, (start, start + PAGE),
                   "a mapping that writes page tables")


# ---- one change of tables, followed ----------------------------------------------------------------------------


@dataclass
class Windows:
    """What was seen of changes that were followed."""

    guest: Guest
    own: set[int] = field(default_factory=set)          # tables that are loaded in windows alone
    opened: int = 0
    leaf: int = 0           # physical: the entry by which all CPUs have the kernel's root table
    one: list[str] = field(default_factory=list)
    narrow: list[str] = field(default_factory=list)
    disturbed: list[str] = field(default_factory=list)

    def state(self, cpu: int) -> tuple[int, ...]:
        """What decides what a CPU can write: what it has loaded, and what all have."""
        machine, m = self.guest.machine, machinery(self.guest)
        entry = int.from_bytes(machine.read_phys(self.leaf, 8), "little") & ~m.marks
        return (*(machine.gdb.reg(cpu, name) for name in m.loaded), entry)

    def steps(self, cpu: int) -> Iterator[tuple[tuple[int, ...], bool]]:
        """Single steps from a function's beginning to its return; at each the state, and whether the CPU can write tables."""
        guest, gdb, role = self.guest, self.guest.machine.gdb, CPUS[self.guest.machine.arch.name]
        back, sp = role.returns_to(guest.machine, cpu), gdb.reg(cpu, machinery(guest).sp)
        moment = Moment(guest, self.own)
        self.leaf = moment.leaf()
        known: dict[tuple[int, ...], bool] = {}
        for _ in range(STEPS):
            now = self.state(cpu)
            if now not in known:
                space = role.active(guest.machine, cpu)
                known[now] = bool(writes(guest, cpu, space, moment.tables | set(space.tables)))
            yield now, known[now]
            gdb.step(cpu)
            if gdb.pc(cpu) == back and gdb.reg(cpu, machinery(guest).sp) >= sp:
                return
        raise Ended(f"a change of tables takes more than {STEPS} instructions")

    def follow(self, cpu: int, what: str) -> None:
        """Goes through one change of tables, at the beginning of which a CPU stands."""
        who = f"{what} on CPU {cpu}"
        seen: list[tuple[int, ...]] = []        # states: the first, and those in which tables can be written
        interruptible = False
        for now, can in self.steps(cpu):
            if not seen and can:
                self.one.append(f"{who}: it can write tables before it begins to change some")
                return
            if not seen or can and now not in seen:
                seen.append(now)
                if can:
                    self._look(cpu, who)
            interruptible |= can and not masked(self.guest, cpu)
        self.opened += len(seen) > 1
        if interruptible:
            self.disturbed.append(f"{who}: an interrupt may come while tables can be written")
        if self.state(cpu) != seen[0]:
            self.one.append(f"{who}: afterwards the CPU has other tables, or rights, than before")
        if len(seen) == 1:
            self.one.append(f"{who}: tables are changed, and at no moment this CPU has loaded anything by which it can")

    def _look(self, cpu: int, who: str) -> None:
        """A moment at which a CPU can write tables."""
        moment = Moment(self.guest, self.own)
        self.own |= set(table_pages([moment.live[cpu]])) - set(table_pages([moment.own, *moment.processes]))
        if standing := writable_aliases_of([moment.own, *moment.processes], [(t, t + PAGE) for t in moment.tables]):
            self.one.append(f"{who}: while it writes tables, {told(standing[0])}: every CPU has that")
        for other in moment.live:
            if other != cpu and moment.barred(other) and moment.written_by(other, moment.tables):
                self.one.append(f"{who}: CPU {other} can write tables meanwhile, and changes none")
        if bad := wider(moment, cpu):
            self.narrow.append(f"{who}: {bad}")
        if left := [f for f in moment.written_by(cpu, moment.tables) if f.mapping.global_]:
            self.disturbed.append(f"{who}: the translation of {left[0].mapping.va:#x}, which writes tables, is global")
        self.disturbed += [f"{who}: {bad}" for bad in [known_asid(moment, cpu)] if bad]

    def come(self, cpu: int, kind: str, name: str) -> None:
        """Runs to where a CPU begins to change tables for something."""
        guest, function = self.guest, self.guest.image.sym(name)
        for _ in range(TRIES):
            if guest.run_to(AT_NEXT).cpu != cpu or chr(guest.result(R_NEXT)) != kind:
                continue
            while (at := guest.run_to(AT_NEXT, extra=function)).extra or at.cpu != cpu:
                if at.extra and at.cpu == cpu:
                    return
        raise Ended(f"{WHAT[kind]} on CPU {cpu} does not come to {name}()")

    def interrupt(self, cpu: int, what: str) -> None:
        """An NMI at a moment, drawn by the caller, at which a CPU can write tables: it stands there."""
        guest, gdb, m = self.guest, self.guest.machine.gdb, machinery(self.guest)
        before = gdb.regs(cpu, m.whole)
        guest.machine.qmp.inject_nmi()
        try:
            self._until(cpu, guest.image.sym(m.nmi))
            kernel = Kernel(guest.machine, guest.image)
            frame = gdb.reg(cpu, CPUS[guest.machine.arch.name].arguments[0])
            back = kernel.member(frame, "struct trapframe", "rip")
            while True:
                self._until(cpu, back)
                if gdb.reg(cpu, m.sp) == before[m.sp]:
                    break
        except Ended as error:
            raise Ended(f"{what} on CPU {cpu}, with an NMI in between: {error}") from None
        changed = [name.upper() for name, value in gdb.regs(cpu, m.whole).items() if value != before[name]]
        if changed:
            self.disturbed.append(f"{what} on CPU {cpu}: an NMI that comes while tables can be written goes back with another "
                                  f"{changed[0]}")

    def _until(self, cpu: int, address: int) -> None:
        for _ in range(TRIES):
            at = self.guest.run_to(AT_NEXT, extra=address)
            if at.cpu == cpu and at.extra:
                return
            if at.cpu == cpu:
                break
        raise Ended("it does not come back")


def without(m: Mapping, spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The physical ranges of a mapping that are in none of the spans, which are sorted."""
    at = m.pa
    for low, high in spans:
        if high <= at:
            continue
        if low >= m.pa + m.size:
            break
        if low > at:
            yield at, low
        at = max(at, high)
    if at < m.pa + m.size:
        yield at, m.pa + m.size


def wider(moment: Moment, cpu: int) -> str:
    """What a CPU can write beside tables, and memory that is set aside for them, that no mapping that stands writes."""
    kernel, image = moment.kernel, moment.kernel.image
    free = sorted((m.pa, m.pa + m.size) for m in moment.own.mappings if m.writable)
    size, first = image.sizeof("struct page"), kernel.u64(image.sym("page_first"))
    at_type, at_flags = (image.offsetof("struct page", name) for name in ("type", "flags"))
    blocks: dict[int, bytes] = {}

    def of_tables(frame: int) -> bool:
        block = frame // BLOCK_FRAMES * BLOCK_FRAMES
        if block < first:
            return False
        if block not in blocks:
            blocks[block] = kernel.read(kernel.u64(image.sym("pages")) + block * size, BLOCK_FRAMES * size)
        entry = (frame - block) * size
        flags = int.from_bytes(blocks[block][entry + at_flags:entry + at_flags + 2], "little")
        return blocks[block][entry + at_type] == TABLE or bool(flags & POOL)

    for m in moment.live[cpu].mappings:
        if not m.writable and obeys(moment.guest, cpu):
            continue
        for low, high in without(m, free):
            others = [pa for pa in range(low & -PAGE, high, PAGE) if pa not in moment.tables and not of_tables(pa >> 12)]
            if others:
                where = kernel_name(moment, others[0])
                return f"it can write to {m.va + others[0] - m.pa:#x}, too{where}, which is read-only for everybody else"
            if m.user or m.executable:
                return f"it has page tables at {m.va:#x} where {'user mode may use' if m.user else 'one may execute'} them"
    return ""


def kernel_name(moment: Moment, pa: int) -> str:
    """What of the kernel's image is at a physical address, as ", NAME"."""
    image = moment.kernel.image
    for start, end, name in (("__text_start", "__text_end", "the kernel's text"),
                             ("__rodata_start", "__rodata_end", "the kernel's constants")):
        if any(low <= pa < high for low, high in moment.kernel.frames(image.span(start, end))):
            return f" ({name})"
    return ""


def known_asid(moment: Moment, cpu: int) -> str:
    """What is wrong with the ASID that a CPU has while it writes tables: it must be nobody's."""
    if moment.machine.arch.name != "aarch64":
        return ""
    kernel, image, gdb = moment.kernel, moment.kernel.image, moment.machine.gdb
    asid = gdb.reg(cpu, "TTBR1_EL1" if gdb.reg(cpu, "TCR_EL1") >> 22 & 1 else "TTBR0_EL1") >> 48
    offset = image.offsetof("struct vm", "pt.asid")
    numbers = {0, *(kernel.u64(vm + offset) & 0xFFFF for vm in kernel.list_of(image.sym("vm_all"), "struct vm", "all"))}
    of_processes = {2 * n + user for n in numbers for user in (0, 1) if n or not user}
    return f"what it has loaded is under ASID {asid}, which is not that of windows alone" if asid in of_processes else ""


# ---- the boots -------------------------------------------------------------------------------------------------


def gates(run: Run) -> None:
    """What must go on working."""
    with run.boot(PROGRAM, "gates") as guest:
        guest.run_to(AT_GATES)
        run.ordinary_gates(guest)


def bring_up(guest: Guest) -> At:
    """Runs to where the second CPU leaves the tables that it was started on."""
    activate = guest.image.sym("arch_pt_activate")
    while (at := guest.run_to(AT_NEXT, extra=activate)).cpu != 1:
        pass
    return at


def standing(run: Run) -> None:
    """All that stands, at many moments."""
    wrong: dict[str, list[str]] = {"processes": [], "start-up": []}
    pictures: dict[str, dict[str, Any]] = {}
    r = run.rng("standing")
    looks = 0

    def look(guest: Guest, cpu: int, when: str, more: set[int]) -> None:
        nonlocal looks
        try:
            moment = Moment(guest, more)
        except KernelStateError:
            return          # another CPU is changing the list of address spaces
        looks += 1
        for check, tables in (("processes", moment.theirs), ("start-up", moment.start_up)):
            if found := moment.wrong(cpu, tables):
                wrong[check].append(f"{when}: {told(found[0])}" + (f"; {len(found) - 1} more do" if found[1:] else ""))
                pictures.setdefault(check, drawn(found[0]))

    with run.boot(PROGRAM, "work 0") as guest:
        at = bring_up(guest)
        look(guest, at.cpu, "while the second CPU starts", set())
        vm_fork = guest.image.sym("vm_fork")
        guest.run_to(AT_NEXT, extra=vm_fork, hits=3)            # both processes are there
        w = Windows(guest)
        at = guest.run_to(AT_NEXT, extra=guest.image.sym("arch_pt_map"), hits=r.randrange(1, 4))
        w.follow(at.cpu, "a change")                            # shows the tables that windows have alone
        for name in r.sample(sorted(EVENTS), LOOKS):
            at = guest.run_to(AT_NEXT, extra=guest.image.sym(name), hits=r.randrange(1, EVENTS[name] + 1))
            look(guest, at.cpu, f"in {name}() on CPU {at.cpu}", w.own)
        if looks < LOOKS // 2:
            raise Ended("the list of address spaces is never whole")
    for check, expected in (("processes", "no mapping that stands writes a page of any process's tables"),
                            ("start-up", "no mapping that stands writes the kernel's own tables, those of windows, or what a CPU "
                             "has loaded that runs no process")):
        run.check(check, not wrong[check], (wrong[check] or [f"{looks} moments, every address space and both CPUs"])[0],
                  expected, LOOK[check], pictures.get(check))


def plan(run: Run) -> list[tuple[int, str, str]]:
    """Which changes are followed: CPU, what is done, in which function."""
    r = run.rng("windows")
    out = [(cpu, kind, r.choice(CHANGES[kind])) for cpu in (0, 1) for kind in ("t", r.choice("pu"), "f")]
    r.shuffle(out)
    return out


def windows(run: Run) -> None:
    """Changes of tables, followed."""
    todo = plan(run)
    lost = ""
    with run.boot(PROGRAM, "work 1") as guest:
        w = Windows(guest)
        try:
            for cpu, kind, name in todo:
                w.come(cpu, kind, name)
                w.follow(cpu, WHAT[kind])
        except Ended as error:
            lost = str(error)
        none = [] if w.opened else [*w.one, lost][:1]
        wrong = (w.one + [lost] * bool(lost), w.narrow or none)
        seen = f"{w.opened} changes, followed on both CPUs"
        run.check("one-cpu", not wrong[0], (wrong[0] or [seen])[0], "a CPU can write tables only while it changes some, no other "
                  "CPU can meanwhile, and afterwards it has what it had", LOOK["one-cpu"])
        run.check("narrow", not wrong[1], (wrong[1] or [seen])[0], "while a CPU can write tables, nothing else can be written that "
                  "is read-only otherwise", LOOK["narrow"])
        if machinery(guest).nmi and w.opened and not (lost or w.disturbed):
            try:
                shot(run, w)
                seen += ", one of them with an NMI"
            except Ended as error:
                lost = str(error)
    disturbed = w.disturbed + none + [lost] * bool(lost)
    run.check("undisturbed", not disturbed, (disturbed or [seen])[0], "what can wait does not come while tables can be written, what "
              "cannot goes back to it, and no translation of it is of use later", LOOK["undisturbed"])


def shot(run: Run, w: Windows) -> None:
    """One change more, with an NMI some instructions after the first at which tables can be written; where they can for
    fewer, at the first."""
    r = run.rng("nmi")
    cpu, kind = r.randrange(2), r.choice("tpu")
    for later in (r.randrange(1, 6), 1):
        w.come(cpu, kind, CHANGES[kind][0])
        number = 0
        for _, can in w.steps(cpu):
            number += can
            if number == later:
                w.interrupt(cpu, WHAT[kind])
                return
    raise Ended("this time no tables can be written")


def growth_plan(run: Run) -> tuple[int, int]:
    """The CPU that needs tables first, and where in the new block the other one writes: not where the first new tables
    will be."""
    r = run.rng("growth")
    return r.randrange(2), r.randrange(BLOCK_FRAMES // 8, BLOCK_FRAMES // 2) * PAGE + 8 * r.randrange(PAGE // 8)


@dataclass
class Growth:
    """One boot in which memory becomes tables, and a bug on the other CPU writes to it."""

    guest: Guest
    cpu: int
    word: int = 0           # physical: where the writer reads address and value

    def begin(self) -> None:
        """Runs to where both processes are there."""
        guest, role = self.guest, CPUS[self.guest.machine.arch.name]
        guest.run_to(AT_READY)
        kernel = Kernel(guest.machine, guest.image)
        va, writer = guest.result(R_WORD), 1 - self.cpu
        leaf = kernel.walker.translate(role.root_of(guest.machine, writer), va)
        if leaf is None:
            raise Ended(f"the writer does not run on CPU {writer}: sched_setaffinity is broken")
        self.word = leaf.pa + va - leaf.va

    def block(self) -> int:
        """Runs to where the kernel has taken memory for tables: its physical address."""
        guest, role = self.guest, CPUS[self.guest.machine.arch.name]
        gdb, takes = guest.machine.gdb, guest.image.sym("page_alloc_order")
        while (at := guest.run_to(AT_FULL, extra=takes)).extra:
            _, kind, out = (gdb.reg(at.cpu, name) for name in role.arguments)
            if at.cpu == self.cpu and kind == TABLE:
                break
        else:
            raise Ended(f"{PAGES} tables more are needed, and no memory is taken for them with page_alloc_order()")
        back = role.returns_to(guest.machine, self.cpu)
        while guest.run_to(AT_FULL, extra=back).cpu != self.cpu:
            pass
        kernel = Kernel(guest.machine, guest.image)
        page, pages = kernel.u64(out), kernel.u64(guest.image.sym("pages"))
        return (page - pages) // guest.image.sizeof("struct page") * PAGE

    def aim(self, address: int) -> int:
        """Has the writer write to another address; returns the old one."""
        machine = self.guest.machine
        old = int.from_bytes(machine.read_phys(self.word, 8), "little")
        machine.write_phys(self.word, address.to_bytes(8, "little"))
        return old

    def value(self, pa: int) -> int:
        """A word of memory."""
        return int.from_bytes(self.guest.machine.read_phys(pa, 8), "little")

    def writes(self, pa: int) -> None:
        """Has the writer's CPU, alone, go on until it has written to an address, which its TLB knows then."""
        before = self.value(pa)
        for number in range(STEPS):
            self.guest.machine.gdb.step(1 - self.cpu)
            if number % 50 == 49 and self.value(pa) != before:
                return
        raise Ended(f"a bug on CPU {1 - self.cpu} does not write where it should")


def growth(run: Run) -> None:
    """Memory that becomes tables."""
    cpu, offset = growth_plan(run)
    wrong: list[str] = []
    shown = None
    with run.boot(PROGRAM, f"grow {cpu} {PAGES}", append=NO_KPTI) as guest:
        g = Growth(guest, cpu)
        g.begin()
        place = g.block() + offset
        harmless = g.aim(Kernel(guest.machine, guest.image).u64(guest.image.sym("direct_map_base")) + place)
        g.writes(place)
        touched = guest.program.sym("touched")
        guest.run_to(AT_FULL, extra=touched)
        first = g.value(place)
        guest.run_to(AT_FULL, extra=touched, hits=TOUCHES)
        bad = g.value(place) != first
        g.aim(harmless)
        run.check("remembered", not bad, f"CPU {1 - cpu}, which wrote to the memory before it became tables, "
                  + ("still does" if bad else "does not any more"), "when memory becomes tables, no CPU's TLB says any more that it "
                  "may be written", LOOK["remembered"])
        for which in (cpu, 1 - cpu):
            at = guest.run_to(AT_FULL)
            moment = Moment(guest)
            if len(moment.tables) < PAGES:
                raise Ended(f"{PAGES} pages are mapped by {len(moment.tables)} tables")
            if found := moment.wrong(at.cpu, moment.tables):
                wrong.append(f"after CPU {which} needed {PAGES} tables more: {told(found[0])}")
                shown = shown or drawn(found[0])
    run.check("joins-later", not wrong, (wrong or [f"{2 * PAGES} tables, for which each CPU had to take memory"])[0],
              "no mapping that stands writes a table in memory that was something else before", LOOK["joins-later"], shown)


# ---- where `why CHECK` stops -----------------------------------------------------------------------------------


@contextlib.contextmanager
def stand(run: Run, check: str) -> Iterator[Guest]:
    """The guest of a check, stopped where it begins to look."""
    if check in ("joins-later", "remembered"):
        cpu, _ = growth_plan(run)
        with run.boot(PROGRAM, f"grow {cpu} {PAGES}", append=NO_KPTI) as guest:
            g = Growth(guest, cpu)
            g.begin()
            g.block()
            yield guest
        return
    with run.boot(PROGRAM, "work 1") as guest:
        if check in ("processes", "start-up"):
            guest.run_to(AT_NEXT)
        else:
            Windows(guest).come(*plan(run)[0])
        yield guest
