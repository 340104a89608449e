"""The checks of smep: what every CPU's registers say, where hijacked pointers lead, and what becomes of a write that would
take a defence off.

Three boots of programs/lab-smep.c. In one, processes, programs and signals come and go on both CPUs while the grader reads
registers and tables; in one, the kernel is led to pages of a program's; in one the grader itself is the attacker: a CPU
that serves a system call is made to go on at the instruction that writes a control register. CPUs and moments are drawn
from the seed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from grade.exclog import ArmException, Record, TripleFault, X86Exception
from grade.labs.grading import OWN, Ended, Guest, Run
from grade.pins import writes_of
from grade.spaces import Kernel
from grade.walk import aliases_of, user_accessible
from grade.walk_aarch64 import SCTLR_UMA
from grade.walk_x86_64 import CR4_SMEP, CR4_UMIP

PROGRAM = "lab-smep"
AT_GATES, AT_WORK, AT_REST, AT_LEAKS, AT_JUMP, AT_ACT, AT_KILLED, AT_END = range(1, 9)
R_HANDLED, R_READ = range(OWN, 5)
R_ENDED = 8
R_ADDRESS, R_STATUS = range(2)
SIGNALS = 4                     # of lab-smep.c's own, on each CPU
SIGILL, SIGSEGV, SIGNALLED = 4, 11, 1000
KINDS = ["its own code", "a private file's page", "a shared file's page"]
EVENTS = [("syscall_dispatch", 30), ("arch_signal_frame", 4), ("vm_fork", 4), ("schedule", 20)]
NO_STACK = 0x10000              # where no kernel has one


@dataclass(frozen=True)
class Machinery:
    """What one architecture has for it."""

    register: str                   # the gdbstub's name of the pinned register
    shown: str                      # the manual's
    set: dict[str, int]             # bits that must be 1 ...
    clear: dict[str, int]           # ... and 0, on each CPU
    exec_bit: str                   # of `set`, that which smep is; "": the tables have it
    leaks: list[str]
    stack: str
    pc: str
    status: tuple[str, int, int]    # interrupts off: register, bits to keep, bits to set
    look: str

    def wrong(self, value: int) -> list[str]:
        """What is wrong with a value of the register."""
        return [f"{n} is 0" for n, bit in self.set.items() if not value & bit] + [
            f"{n} is 1" for n, bit in self.clear.items() if value & bit]


MACHINERY = {
    "x86_64": Machinery("cr4", "CR4", {"CR4.SMEP": CR4_SMEP, "CR4.UMIP": CR4_UMIP}, {}, "CR4.SMEP",
                        ["SIDT", "SGDT", "SLDT", "STR", "SMSW"], "rsp", "rip", ("eflags", ~0x200, 0),
                        "smep_cpu_init() and umip_cpu_init(): who calls them, on which CPUs, and who writes CR4 later?"),
    "aarch64": Machinery("SCTLR", "SCTLR_EL1", {}, {"SCTLR_EL1.UMA": SCTLR_UMA}, "",
                         ["a read of DAIF", "a write to DAIFClr", "a read of CNTPCT_EL0", "a read of PMCCNTR_EL0"], "sp", "pc",
                         ("cpsr", ~0, 0x80), "a64_user_pxn in arch/aarch64/mmu.c, umip_cpu_init(): on which CPUs?"),
}


def machinery(guest: Guest) -> Machinery:
    """The architecture's."""
    return MACHINERY[guest.machine.arch.name]


def scenarios() -> list:
    """What may run side by side."""
    return [doors, jumps, writes]


def ours(guest: Guest, cpu: int) -> bool:
    """Whether a CPU runs the grader's program."""
    k = Kernel(guest.machine, guest.image)
    thread = k.current(cpu)
    return k.text(thread + k.image.offsetof("struct thread", "name"), 16) == guest.name[:15]


# ---- registers and tables ------------------------------------------------------------------------------------


@dataclass
class Seen:
    """What was wrong at the moments so far, in words."""

    execute: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    looks: int = 0


def look(guest: Guest, seen: Seen) -> None:
    """Every CPU, and where the tables say it every address space, at this moment."""
    m, gdb = machinery(guest), guest.machine.gdb
    for cpu in gdb.cpus():
        for what in m.wrong(gdb.reg(cpu, m.register)):
            (seen.execute if m.exec_bit and what.startswith(m.exec_bit) else seen.leaks).append(f"{what} on CPU {cpu}")
        if not m.exec_bit:
            for name, right in (("CNTKCTL", 2), ("PMUSERENR_EL0", 0)):      # the virtual counter alone
                if (value := gdb.reg(cpu, name)) != right:
                    seen.leaks.append(f"{name} is {value:#x} on CPU {cpu}")
    if not m.exec_bit:
        spaces = Kernel(guest.machine, guest.image).own_spaces()
        seen.execute += [f"the kernel may execute the user page {f.mapping} in {f.spaces[0].name}"
                         for f in user_accessible(spaces) if f.mapping.exec_kernel]
    seen.looks += 1


def doors(run: Run) -> None:
    """Gates, looks while both CPUs work, and what a program reads."""
    seen = Seen()
    with run.boot(PROGRAM, "doors") as guest:
        m = machinery(guest)
        guest.run_to(AT_GATES)
        run.ordinary_gates(guest)
        signals, legal, tried = [], [], 0
        for cpu in (0, 1):
            r = run.rng(f"moments on CPU {cpu}")
            at = guest.run_to(AT_WORK)
            if at.cpu != cpu:
                raise Ended(f"the program runs on CPU {at.cpu} and not on CPU {cpu}: sched_setaffinity is broken")
            look(guest, seen)
            for event, most in r.sample(EVENTS, len(EVENTS)):
                if not guest.run_to(AT_REST, extra=guest.image.sym(event), hits=r.randint(1, max(1, most // 4))).extra:
                    break
                look(guest, seen)
            else:
                guest.run_to(AT_REST)
            look(guest, seen)
            signals.append(guest.result(R_HANDLED))
            guest.run_to(AT_LEAKS)
            legal.append(guest.result(R_READ))
            for i, what in enumerate(m.leaks):
                ended = guest.result(R_ENDED + i)
                tried += 1
                if ended == 0:
                    seen.leaks.append(f"CPU {cpu}: {what} in user mode succeeded")
                elif ended not in (SIGNALLED + SIGILL, SIGNALLED + SIGSEGV):
                    seen.leaks.append(f"CPU {cpu}: {what} in user mode ended with {ended}")
        good = signals == [SIGNALS, SIGNALS] and legal == [0, 0]
        run.gate("signals", good, "handled and read" if good else f"{signals} of {SIGNALS} signals were handled; what may be "
                 f"read ended with {legal}")
        guest.run_to(AT_END)
    run.check("never-executes", not seen.execute, (seen.execute or [f"{seen.looks} looks at both CPUs"])[0],
              f"{m.exec_bit} is 1 on each CPU" if m.exec_bit else "no page that user mode reaches is the kernel's to execute, "
              "in any address space (PXN)", m.look)
    run.check("no-leaks", not seen.leaks, (seen.leaks or [f"{tried} tries on both CPUs, and {seen.looks} looks"])[0],
              f"{', '.join(m.leaks)} end in the program's death, on each CPU; what else it may read goes on", m.look)


# ---- hijacked pointers ---------------------------------------------------------------------------------------


def jump_plan(run: Run) -> tuple[int, list[int]]:
    """With which kind of page it begins, and on which CPU each jump is made."""
    r = run.rng("jumps")
    cpus = [0, 1, 0, 1, 0, 1]
    r.shuffle(cpus)
    return r.randrange(len(KINDS)), cpus


def fetches(r: Record, address: int) -> bool:
    """Whether a record is a refusal to the kernel of an instruction from a page that is there."""
    if isinstance(r, X86Exception):
        return r.fetch and r.cpl == 0 and bool(r.error & 1) and r.cr2 == address
    return isinstance(r, ArmException) and r.in_kernel and r.fetch and r.present and r.far == address


def jumps(run: Run) -> None:
    """A hijacked pointer, to pages of three kinds, on both CPUs."""
    first, cpus = jump_plan(run)
    wrong: list[str] = []
    with run.boot(PROGRAM, f"jumps {first} " + " ".join(map(str, cpus))) as guest:
        m = guest.machine
        for number, cpu in enumerate(cpus):
            what = KINDS[(first + number) % len(KINDS)]
            if guest.run_to(AT_JUMP).cpu != cpu:
                raise Ended("sched_setaffinity is broken")
            address = guest.result(R_ADDRESS)
            guest.run_to(AT_ACT)
            mark = m.log_exceptions()
            try:
                guest.run_to(AT_KILLED)
            except Ended as error:
                triple = any(isinstance(r, TripleFault) for r in m.exclog.since(mark))
                raise Ended(f"CPU {cpu}, {what}: " + ("a triple fault: the machine reset" if triple else str(error))) from None
            finally:
                if not m.exited:
                    m.log_exceptions(False)
            refused = [r for r in m.exclog.since(mark) if fetches(r, address)]
            status = guest.result(R_STATUS)
            if not refused:
                wrong.append(f"CPU {cpu}: the kernel was led to {what} at {address:#x}, and nothing refused")
            elif not SIGNALLED < status < SIGNALLED + 65:
                wrong.append(f"CPU {cpu}, {what}: the process was not killed (it ended with {status})")
        guest.run_to(AT_END)
    run.check("ret2usr", not wrong, (wrong or [f"{len(cpus)} jumps: refused, each process was killed, the machine lives"])[0],
              "the processor refuses the kernel an instruction of a user page, and the process dies of a signal",
              "on which CPU is the bit set, and in which page-table entries?")


# ---- writes to the register ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Try:
    """One jump to a write: on which CPU, which bit is changed, and whether there is a stack."""

    cpu: int
    name: str
    bit: int
    stack: bool

    def __str__(self) -> str:
        return f"CPU {self.cpu}, {self.name} changed {'by a call' if self.stack else 'by a jump without a stack'}"


def write_plan(run: Run) -> list[Try]:
    """In drawn order, each bit in each way on both CPUs."""
    m = MACHINERY[run.workshop.arch]
    out = [Try(cpu, name, bit, stack) for cpu in (0, 1) for name, bit in (m.set | m.clear).items() for stack in (True, False)]
    run.rng("writes").shuffle(out)
    return out


def executable(guest: Guest) -> dict[int, str]:
    """Instructions that write the register and that the kernel can execute now, with their operands."""
    k = Kernel(guest.machine, guest.image)
    spaces = k.own_spaces()
    return {at: operand for at, operand in writes_of(guest.image, guest.machine.arch.name, machinery(guest).register).items()
            if any(f.mapping.exec_kernel for f in aliases_of(spaces, k.frames((at, at + 3))))}


def attempt(run: Run, guest: Guest, t: Try) -> str:
    """From AT_JUMP to AT_KILLED: what is wrong, or nothing."""
    m, gdb = machinery(guest), guest.machine.gdb
    if guest.run_to(AT_JUMP).cpu != t.cpu:
        raise Ended("sched_setaffinity is broken")
    guest.run_to(AT_ACT)
    writers = executable(guest)
    if not writers:
        raise Ended(f"nothing that can be executed writes {m.shown}")
    call = guest.image.sym("vuln_ioctl")
    while (at := guest.run_to(AT_KILLED, extra=call)).extra and not (at.cpu == t.cpu and ours(guest, at.cpu)):
        pass
    if not at.extra:
        raise Ended("no call of /dev/vuln came")
    before = gdb.reg(t.cpu, m.register)
    if m.wrong(before):
        return f"CPU {t.cpu}: {m.wrong(before)[0]} before anybody tried anything"
    address, operand = run.rng(str(t)).choice(sorted(writers.items()))
    status, keep, add = m.status
    gdb.set_reg(t.cpu, status, gdb.reg(t.cpu, status) & keep | add)
    gdb.set_reg(t.cpu, operand, before ^ t.bit)
    if not t.stack:
        gdb.set_reg(t.cpu, m.stack, NO_STACK)
    gdb.set_reg(t.cpu, m.pc, address)
    where = f"{t}, at {guest.image.where(address)}"
    wrong = ""
    report = guest.image.sym("oops")
    try:
        while (at := guest.run_to(AT_KILLED, extra=report)).extra:
            if at.cpu == t.cpu and m.wrong(gdb.reg(t.cpu, m.register)):
                wrong = wrong or f"{where}: it stays so until the kernel ends the process"
    except Ended as error:
        raise Ended(f"{where}: {error}") from None
    return wrong or next((f"{where}: it stays so" for cpu in gdb.cpus() if m.wrong(gdb.reg(cpu, m.register))), "")


def writes(run: Run) -> None:
    """Jumps to the instruction that writes the register."""
    called: list[str] = []
    jumped: list[str] = []
    plan = write_plan(run)
    with run.boot(PROGRAM, "writes " + " ".join(str(t.cpu) for t in plan)) as guest:
        m = machinery(guest)
        guest.run_to(AT_JUMP, extra=guest.image.sym("vuln_ioctl"))      # of the program's, before it comes there
        found = executable(guest)
        names = sorted({guest.image.where(at).partition("+")[0] for at in found})
        lost = ""
        run.check("one-writer", len(found) == 1, f"{len(found)} in {', '.join(names)}" if found else "none",
                  f"once programs run, the kernel can execute one instruction that writes {m.shown}, wherever it looks for one",
                  f"arch/{run.workshop.arch}/start.S has others: retire_start_up() in mmu.c")
        try:
            for t in plan:
                if why := attempt(run, guest, t):
                    (called if t.stack else jumped).append(why)
            guest.run_to(AT_END)
        except Ended as error:
            lost = str(error)
    for name, wrong, how in (("call-undone", called, "called"), ("jump-undone", jumped, "jumped to, without a stack")):
        wrong += [lost] if lost else []
        run.check(name, not wrong, (wrong or ["each bit, on both CPUs: changed back, and the machine lives"])[0],
                  f"where the instruction that writes {m.shown} is {how}, with a bit of {', '.join(m.set | m.clear)} changed, the "
                  "bit is back before the kernel goes on, or reports",
                  f"arch/{run.workshop.arch}/pin.S: what is executed behind the write, and does it need a stack?")


# ---- where `why CHECK` stops: the program's arguments, and the checkpoints to pass ----

WHERE = {
    "never-executes": [AT_GATES, AT_WORK], "no-leaks": [AT_GATES, AT_WORK, AT_REST], "ret2usr": [AT_JUMP, AT_ACT],
    "call-undone": [AT_JUMP, AT_ACT], "jump-undone": [AT_JUMP, AT_ACT], "one-writer": [AT_JUMP],
}


@contextlib.contextmanager
def stand(run: Run, check: str) -> Iterator[Guest]:
    """The guest of a check, stopped where it begins to look."""
    points = WHERE[check]
    first, cpus = jump_plan(run)
    line = "doors" if AT_GATES in points else f"jumps {first} " + " ".join(map(str, cpus)) if check == "ret2usr" else \
        "writes " + " ".join(str(t.cpu) for t in write_plan(run))
    with run.boot(PROGRAM, line) as guest:
        for point in points:
            guest.run_to(point)
        yield guest
