"""The checks of fpu: what a program finds in its vector registers after something has happened to it, and what it could find.

A boot of programs/lab-fpu.c, in cases: a process loads numbers into all registers, then it waits, forks, moves to another
CPU, is signalled, or starts a program; what its own instructions store afterwards is compared. The numbers are drawn from the
seed and written by the grader before each case, and the order of cases is drawn, too. Another boot has processes that hold
numbers, and the grader looks into the registers of both CPUs at drawn moments: what is there must be the running program's,
or its next use must trap. When registers are loaded, and where they are kept, is not asked.
"""

from __future__ import annotations

import contextlib
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from grade.attacks import current_name
from grade.labs.grading import OWN, Guest, Run
from grade.spaces import Kernel
from grade.vectors import SIZE, trapped, vectors, words

PROGRAM = "lab-fpu"
AT_GATES, AT_CASE, AT_DONE, AT_BORN, AT_HOLD, AT_HELD = range(1, 7)
R_WIDE, R_STATES, R_WHO = range(OWN, 6)
MINE, SECOND, THEIRS, HANDLERS, SEEN, SEEN_TOO, HOLD = range(7)     # the program's states
NAMES = {MINE: "its own", SECOND: "older numbers of its own", THEIRS: "the other process's", HANDLERS: "its handler's"}
HOLDERS = 4
STATE = 640                 # bytes of one, of which these are in use: vectors, controls, x87
LAYOUT = struct.Struct(f"<{SIZE}s2I108s")
X87_REGISTERS = 28          # where they begin in what FNSAVE writes; before them the control word
MOMENTS, FAR = 30, 25       # how often both CPUs are looked at, and at most so many turns or switches apart
# Bits of control words that are drawn: rounding, denormals as zero, NaNs; and flags that no instruction here raises.
MXCSR, MXCSR_DRAWN = 0x1F80, 0xE000
FCW, FCW_DRAWN = 0x37F, 0x0C00
FPCR_DRAWN, FPSR_DRAWN = 0x03C00000, 0x0800001F


# ---- what registers hold -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class State:
    """A processor's registers: vectors, control words, and what x86_64 has from the 8087."""

    vectors: bytes
    controls: tuple[int, int]       # MXCSR and the x87 control word; FPCR and FPSR
    x87: bytes

    def pack(self, arch: str) -> bytes:
        """As lab-fpu.c has it."""
        if arch == "x86_64":
            return LAYOUT.pack(self.vectors, self.controls[0], 0, struct.pack("<7I", self.controls[1], *[0] * 6) + self.x87)
        return LAYOUT.pack(self.vectors, *self.controls, bytes(108))

    @classmethod
    def parse(cls, arch: str, raw: bytes) -> State:
        """The inverse; of control words what is drawn, and what must not change."""
        found, first, second, x87 = LAYOUT.unpack(raw[:LAYOUT.size])
        if arch == "x86_64":
            (word,) = struct.unpack_from("<H", x87)
            return cls(found, (first & ~0x3F, word), x87[X87_REGISTERS:])
        return cls(found, (first, second & FPSR_DRAWN), b"")


def drawn(r: random.Random, arch: str) -> State:
    """Numbers that nobody else has."""
    if arch == "x86_64":
        return State(r.randbytes(SIZE), (MXCSR | r.getrandbits(16) & MXCSR_DRAWN, FCW | r.getrandbits(16) & FCW_DRAWN),
                     r.randbytes(80))
    return State(r.randbytes(SIZE), (r.getrandbits(32) & FPCR_DRAWN, r.getrandbits(32) & FPSR_DRAWN), b"")


CLEAN = {"x86_64": State(bytes(SIZE), (MXCSR, FCW), bytes(80)), "aarch64": State(bytes(SIZE), (0, 0), b"")}
REGISTERS = {"x86_64": (32, "ymm", ("MXCSR", "the x87 control word")), "aarch64": (16, "v", ("FPCR", "FPSR"))}


def wrong_vectors(arch: str, seen: State, expected: State, known: dict[int, State]) -> str:
    """Which register is the first that does not hold what it should, and what it holds; empty if none is."""
    size, name, _ = REGISTERS[arch]
    for i in range(0, SIZE, 8):
        found = seen.vectors[i:i + 8]
        if found != expected.vectors[i:i + 8]:
            whose = next((NAMES[k] for k, state in known.items() if found == state.vectors[i:i + 8]),
                         "something else" if any(found) else "0")
            return f"{name}{i // size} holds {whose} in bytes {i % size} to {i % size + 7}"
    for i in range(0, len(seen.x87), 10):
        if seen.x87[i:i + 10] != expected.x87[i:i + 10]:
            return f"st({i // 10}) does not hold what it should"
    return ""


def wrong_controls(arch: str, seen: State, expected: State) -> str:
    """The same of control words."""
    return next((f"{name} is {a:#x}, not {b:#x}" for name, a, b in zip(REGISTERS[arch][2], seen.controls, expected.controls)
                 if a != b), "")


# ---- cases ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """Something that happens to a process, and the check that it belongs to."""

    check: str
    what: str
    cpu: int

    @property
    def word(self) -> str:
        """As the program reads it."""
        return f"{self.what}{self.cpu}"

    def __str__(self) -> str:
        return f"on CPU {self.cpu} {WHAT[self.what]}"


WHAT = {
    "i": "a process is interrupted while it computes, and another computes",
    "w": "a process waits in a system call, and another computes",
    "x": "a process that has computed starts a program",
    "f": "a process that has computed forks, and its child begins there",
    "F": "a process that has computed forks, and its child goes to the other CPU",
    "m": "a process goes to the other CPU, computes, and comes back",
    "M": "a process goes to the other CPU, computes, waits, and comes back",
    "r": "a process sends itself a signal",
    "s": "a process gets a signal while it waits, and its handler waits, too",
}
# What each program's state must be that the case has stored: SEEN, or both.
AFTER = {"i": [MINE], "w": [MINE], "f": [MINE], "F": [MINE], "m": [MINE, SECOND], "M": [MINE, SECOND], "r": [MINE],
         "s": [MINE, HANDLERS]}
PLANS = {"computes": "i", "waits": "wwww", "controls": "wwww", "exec": "xx", "fork": "fF", "moves": "mM", "signals": "rs"}
TOGETHER = {"controls": "waits"}        # is seen in the other's cases


def cases(run: Run) -> list[Case]:
    """The boot's, those of each check together."""
    out = []
    for check, plan in PLANS.items():
        if check in TOGETHER or not run.wants(check, *(c for c, other in TOGETHER.items() if other == check)):
            continue
        mine = [Case(check, what, cpu) for what in plan for cpu in range(2)]
        out += run.rng(check).sample(mine, len(mine))
    return out


class Happens:
    """One case as it is played: what was wrong with vectors, and with control words."""

    def __init__(self, run: Run, guest: Guest, case: Case) -> None:
        self.guest, self.case, self.arch = guest, case, guest.machine.arch.name
        r = run.rng(f"numbers {case} {guest.machine.arch.name}")
        self.states = {index: drawn(r, self.arch) for index in NAMES}
        self.vectors = self.controls = ""

    def play(self) -> None:
        """From before the case to after it."""
        self.begin()
        if self.case.what == "x":
            self._compare(self._born(), CLEAN[self.arch], True)
            self.guest.run_to(AT_DONE)
            return
        at = self.guest.run_to(AT_DONE)
        for seen, expected in zip((SEEN, SEEN_TOO), AFTER[self.case.what]):
            raw = self.guest.machine.gdb.read(self.where + STATE * seen, STATE, at.cpu)
            self._compare(State.parse(self.arch, raw), self.states[expected])

    def begin(self) -> None:
        """Writes the case's numbers."""
        at = self.guest.run_to(AT_CASE)
        self.where = self.guest.result(R_STATES)
        for index, state in self.states.items():
            self.guest.machine.gdb.write(self.where + STATE * index, state.pack(self.arch), at.cpu)

    def _born(self) -> State:
        """What a program finds at its first instruction: it goes on in born() instead, which stores it."""
        guest, machine = self.guest, self.guest.machine
        at = guest.run_to(AT_DONE, extra=guest.program.sym("_start"))
        if not at.extra:
            return State(b"?" * SIZE, (0, 0), b"")
        machine.gdb.set_reg(at.cpu, "rip" if self.arch == "x86_64" else "pc", guest.program.sym("born"))
        at = guest.run_to(AT_BORN)
        return State.parse(self.arch, machine.gdb.read(guest.program.sym("born_state"), STATE, at.cpu))

    def _compare(self, seen: State, expected: State, both: bool = False) -> None:
        self.vectors = self.vectors or wrong_vectors(self.arch, seen, expected, self.states)
        self.controls = self.controls or wrong_controls(self.arch, seen, expected)
        if both:
            self.vectors = self.vectors or self.controls


@dataclass(frozen=True)
class About:
    """What a check says."""

    expected: str
    look: str


ABOUT = {
    "waits": About("what a thread left in its registers is there when its system call returns", "fpu_leave() and fpu_enter() "
                   "in your architecture's cpu.c, and fpu_must_load(): for whom are registers saved and loaded?"),
    "controls": About("so are the words that say how it rounds", "what does your code save beside the vectors? On each CPU?"),
    "exec": About("a program begins with zeros, and with the control words that the ABI promises", "arch_thread_fpu_init(): "
                  "where does the new program's state have to be when exec returns?"),
    "fork": About("a child begins with what its parent's registers held at the fork", "arch_thread_fork(): where is the "
                  "parent's newest state at that moment?"),
    "moves": About("its numbers go with a thread from CPU to CPU, and its newest ones come back", "what does a CPU believe of "
                   "the registers that it has not touched for a while?"),
    "signals": About("after a handler a thread has its own numbers again, whoever has run meanwhile", "what goes into the "
                     "signal frame, and whose is it at that moment?"),
    "reach": About("a program in user mode has its own numbers in the registers, or none that it can reach",
                   "after a switch: what may the next program find before anything is loaded?"),
}


def decide(run: Run, check: str, wrong: list[str], count: int) -> None:
    """Decides a check."""
    if check == "computes":
        run.gate(check, not wrong, wrong[0] if wrong else f"{count} processes that were interrupted went on rightly")
        return
    about = ABOUT[check]
    run.check(check, not wrong, (wrong[0] + (f"; {len(wrong)} of {count} went wrong" if len(wrong) > 1 else "")) if wrong else
              f"{count} cases: each found its own", about.expected, about.look)


def gates(run: Run) -> None:
    """What must go on working."""
    with run.boot(PROGRAM, "cases 1 w0") as guest:
        guest.run_to(AT_GATES)
        run.ordinary_gates(guest)
        wide = guest.result(R_WIDE)
        run.gate("registers", wide == 1, "programs have the whole of each register" if wide == 1 else
                 "programs have lost the upper halves of their registers (AVX)")


def happenings(run: Run) -> None:
    """All cases."""
    todo = cases(run)
    wrong: dict[str, list[str]] = {}
    with run.boot(PROGRAM, line(todo)) as guest:
        for i, case in enumerate(todo):
            happens = Happens(run, guest, case)
            happens.play()
            if happens.vectors:
                wrong.setdefault(case.check, []).append(f"{case}: {happens.vectors}")
            if happens.controls and case.check == "waits":
                wrong.setdefault("controls", []).append(f"{case}: {happens.controls}")
            if i + 1 < len(todo) and todo[i + 1].check == case.check:
                continue
            for check in (case.check, *(c for c, other in TOGETHER.items() if other == case.check)):
                decide(run, check, wrong.get(check, []), sum(c.check == case.check for c in todo))


def line(todo: list[Case]) -> str:
    """The program's arguments."""
    return f"cases 0 {','.join(c.word for c in todo)}"


# ---- what could be reached -----------------------------------------------------------------------------------


def hold(run: Run, guest: Guest) -> dict[int, int]:
    """Writes the holding processes' numbers, and has them begin; whose each word is."""
    r, at, arch = run.rng("numbers held"), guest.run_to(AT_HOLD), guest.machine.arch.name
    where, owners = guest.result(R_STATES), {}
    for who in range(HOLDERS):
        state = drawn(r, arch)
        guest.machine.gdb.write(where + STATE * (HOLD + who), state.pack(arch), at.cpu)
        owners |= dict.fromkeys(words(state.vectors), who)
    guest.run_to(AT_HELD)
    return owners


def reached(run: Run, guest: Guest, owners: dict[int, int], cpu: int) -> str | None:
    """What a CPU's program can reach that is another's; None if the CPU runs no program."""
    machine, kernel = guest.machine, Kernel(guest.machine, run.image)
    if not kernel.cpu.in_user_mode(machine, cpu):
        return None
    who = -1
    if current_name(kernel, cpu) == guest.name:
        raw = machine.gdb.read(guest.program.sym("results") + 8 * R_WHO, 8, cpu)
        who = int.from_bytes(raw, "little", signed=True)
    if trapped(machine, cpu):
        return ""
    whose = {owners[w] for w in words(vectors(machine, cpu)) if w in owners} - {who}
    return f"CPU {cpu} runs process {who}, and its registers hold process {min(whose)}'s numbers" if whose else ""


def held(run: Run) -> None:
    """Looks at both CPUs while four processes, two on each, hold their numbers and yield."""
    r, wrong, looks = run.rng("moments"), [], 0
    with run.boot(PROGRAM, "hold") as guest:
        owners = hold(run, guest)
        turn, switch = guest.program.sym("spin"), guest.image.sym("schedule")
        for _ in range(MOMENTS):
            guest.run_to(AT_DONE, extra=r.choice([turn, switch]), hits=r.randint(1, FAR))
            for cpu in guest.machine.gdb.cpus():
                found = reached(run, guest, owners, cpu)
                looks += found is not None
                wrong += [found] if found else []
    if not looks:
        wrong = ["no program was ever seen in user mode"]
    about = ABOUT["reach"]
    run.check("reach", not wrong, wrong[0] if wrong else f"{MOMENTS} moments: no program could reach what is not its own",
              about.expected, about.look)


def scenarios() -> list:
    """What may run side by side."""
    return [gates, happenings, held]


@contextlib.contextmanager
def stand(run: Run, check: str) -> Iterator[Guest]:
    """The guest of a check, stopped before its first case, with the case's numbers in place."""
    if check == "reach":
        with run.boot(PROGRAM, "hold") as guest:
            hold(run, guest)
            yield guest
        return
    todo = [c for c in cases(run) if c.check == TOGETHER.get(check, check)] or [Case("waits", "w", 0)]
    with run.boot(PROGRAM, line(todo)) as guest:
        Happens(run, guest, todo[0]).begin()
        yield guest
