"""The checks of speculation: what a processor that guesses would be told, and what it would be asked about.

No emulator speculates, so the grader plays the processor. It disassembles the image, follows each thunk as a predictor of
returns does, and looks behind each return. And it boots the kernel on a processor that says of itself to have SPEC_CTRL and
PRED_CMD, which the emulator has not: at each RDMSR and WRMSR of the kernel the machine stands, and the grader keeps the
registers, answers reads, and counts barriers, for each CPU. In between processes of programs/lab-speculation.c, of different
users, hand a ball round; in which order, as which users and by which way is drawn from the seed. At each turn it is known who
ran on that CPU before, as which user, and whether a barrier stood in between.
"""

from __future__ import annotations

import contextlib
import functools
import random
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from grade.branches import STARTUP, THUNKS, Predicted, guessed, pushed, straight_on_x86_64
from grade.cpus import CPUS
from grade.disasm import Function, functions
from grade.labs.grading import OWN, Guest, Run

PROGRAM = "lab-speculation"
AT_GATES, AT_TURN, AT_ROW, AT_END = 1, 2, 3, 4
R_PLAYER, R_USER = OWN, OWN + 1
SPEC_CTRL, PRED_CMD, ARCH_CAPABILITIES = 0x48, 0x49, 0x10A      # SDM 4 2.1, table 2-2
IBRS, STIBP, IBPB, IBRS_ALL = 1, 2, 1, 2                        # bits of theirs
NAMES = {SPEC_CTRL: "SPEC_CTRL", PRED_CMD: "PRED_CMD", ARCH_CAPABILITIES: "ARCH_CAPABILITIES"}
BITS = {0: "neither bit", IBRS: "IBRS alone", STIBP: "STIBP alone", IBRS | STIBP: "IBRS and STIBP"}
CPUS_USED = 2
# What may change ECX, and where code goes on that has not come from the line above.
TOUCHES_ECX = re.compile(r"\b([re]?cx|c[lh]|cpuid|xgetbv|rep[a-z]*|call|syscall)\b")
LEAVES = re.compile(r"(j[a-z]+|ret[a-z]*|iret[a-z]*|int3|ud2)\b")


# ---- the image's code -----------------------------------------------------------------------------------------


_reading = threading.Lock()


@functools.lru_cache(maxsize=1)
def _code(symbols: Path) -> list[Function]:
    return [f for f in functions(symbols, padding=True) if f.name not in STARTUP]


def code_of(run: Run) -> list[Function]:
    """All code of the image, what stands between functions included; read once for all boots."""
    with _reading:
        return _code(run.built.symbols)


def accesses(code: list[Function]) -> dict[int, bool]:
    """Each instruction that may read or write one of NAMES: whether it writes. Of most it stands above which other one they
    take, and those are many: each switch of threads has some."""
    out = {}
    for f in code:
        targets = {int(word, 16) for i in f.code for word in re.findall(r" (0x[0-9a-f]+)$", i.text)}
        for n, i in enumerate(f.code):
            if i.text not in ("rdmsr", "wrmsr"):
                continue
            known = None
            for k in range(n, 0, -1):
                before = f.code[k - 1].text
                if f.code[k].address in targets or LEAVES.match(before):
                    break
                if constant := re.fullmatch(r"mov ecx, (0x[0-9a-f]+|\d+)", before):
                    known = int(constant[1], 0)
                if constant or TOUCHES_ECX.search(before):
                    break
            if known is None or known in NAMES:
                out[i.address] = i.text == "wrmsr"
    return out


# ---- the processor that the grader plays ----------------------------------------------------------------------


@dataclass(frozen=True)
class Model:
    """What a processor has."""

    spec_ctrl: int      # bits of SPEC_CTRL; with IBRS there are PRED_CMD and ARCH_CAPABILITIES
    flags: str          # in QEMU's words

    @property
    def cpu(self) -> str:
        """QEMU's processor, which says to have it, and does nothing about it."""
        return f"max,x-force-features=on,{self.flags}"


WHOLE = Model(IBRS | STIBP, "+spec-ctrl,+stibp,+arch-capabilities")
LESSER = [Model(IBRS, "+spec-ctrl,+arch-capabilities"), Model(STIBP, "+stibp")]


class Processor:
    """The registers of one guest's CPUs. Every RDMSR and WRMSR of the kernel that may be of one of them is a breakpoint, and
    done here."""

    def __init__(self, run: Run, guest: Guest, model: Model) -> None:
        self.guest, self.model = guest, model
        self.spec_ctrl = [0] * CPUS_USED
        self.barriers = [0] * CPUS_USED
        self.wrong: list[str] = []
        slide = guest.image.slide
        self.writes = {slide + address: write for address, write in accesses(code_of(run)).items()}

    def run_to(self, which: int) -> int:
        """To the program's next checkpoint, which must be that one; on which CPU that is."""
        while (at := self.guest.run_to(which, extra=self.writes)).extra:
            self._access(at.cpu, at.pc)
        return at.cpu

    def _access(self, cpu: int, pc: int) -> None:
        gdb = self.guest.machine.gdb
        msr = gdb.reg(cpu, "rcx") & 0xFFFFFFFF
        if msr not in NAMES:
            return
        write = self.writes[pc]
        value = (gdb.reg(cpu, "rdx") & 0xFFFFFFFF) << 32 | gdb.reg(cpu, "rax") & 0xFFFFFFFF if write else 0
        there = msr == SPEC_CTRL or bool(self.model.spec_ctrl & IBRS)
        allowed = {SPEC_CTRL: self.model.spec_ctrl, PRED_CMD: IBPB}.get(msr, 0)
        if not there or write and (value & ~allowed or msr == ARCH_CAPABILITIES) or not write and msr == PRED_CMD:
            does = f"writes {value:#x} to" if write else "reads"
            self.wrong.append(f"{self.guest.image.where(pc)} {does} {NAMES[msr]} on CPU {cpu}, of a processor that "
                              f"{'allows ' + BITS[allowed] if there and msr == SPEC_CTRL else 'has no such thing'}: #GP")
        elif msr == PRED_CMD:
            self.barriers[cpu] += value & IBPB
        elif write:
            self.spec_ctrl[cpu] = value
        if not write:
            value = {SPEC_CTRL: self.spec_ctrl[cpu], ARCH_CAPABILITIES: IBRS_ALL}.get(msr, 0)
            gdb.set_reg(cpu, "rax", value)
            gdb.set_reg(cpu, "rdx", 0)
        gdb.set_reg(cpu, "rip", pc + 2)     # QEMU would answer 0, and write nothing


# ---- turns ----------------------------------------------------------------------------------------------------


@dataclass
class Plan:
    """Players (CPU, user), and moves: the check that one belongs to, whose turn it is, as which user from then on (another
    player's), and whether the CPU idles before."""

    players: list[tuple[int, int]]
    home: int = 0       # the CPU of who starts it all
    moves: list[tuple[str, int, int | None, bool]] = field(default_factory=list)

    def then(self, check: str, player: int, becomes: int | None = None, idle: bool = False) -> None:
        """One move more."""
        self.moves.append((check, player, becomes, idle))

    @property
    def line(self) -> str:
        """The program's arguments."""
        players = ",".join(f"{cpu}.{user}" for cpu, user in self.players)
        moves = "".join(f"{chr(ord('a') + who)}{'-' if other is None else other}{'i' if idle else 'd'}"
                        for _, who, other, idle in self.moves)
        return f"turns {self.home} {players} {moves}"


def circuit(r: random.Random, players: list[int]) -> list[int]:
    """Each of them after each other one, once."""
    left = {a: r.sample([b for b in players if b != a], len(players) - 1) for a in players}
    path, out = [r.choice(players)], []
    while path:
        if left[path[-1]]:
            path.append(left[path[-1]].pop())
        else:
            out.append(path.pop())
    return out[::-1]


def drawn_users(r: random.Random) -> list[int]:
    """Two users whose numbers differ in their upper half alone, and a third one."""
    user = r.randrange(1000, 30000)
    return [user, user + (r.randrange(1, 8) << 16), r.randrange(30000, 60000)]


def plan_users(run: Run) -> Plan:
    """On each CPU root and three users, each after each."""
    r = run.rng("users")
    plan = Plan([(cpu, user) for cpu in range(CPUS_USED) for user in [0, *drawn_users(r)]])
    for cpu in r.sample(range(CPUS_USED), CPUS_USED):
        for who in circuit(r, [i for i, (c, _) in enumerate(plan.players) if c == cpu]):
            plan.then("users", who)
    return plan


ROOT, OTHER_ROOT, ANN, BEN, FAR = range(5)


def plan_detours(run: Run, cpu: int) -> Plan:
    """On one CPU, while the other one does what is wanted of it."""
    r = run.rng(f"detours {cpu}")
    ann, ben, _ = drawn_users(r)
    plan = Plan([(cpu, 0), (cpu, 0), (cpu, ann), (cpu, ben), (1 - cpu, ben)], 1 - cpu)
    for who in circuit(r, [ROOT, ANN, BEN]):            # the idle thread comes between
        plan.then("detours", who, idle=True)
    for who in (ANN, FAR, BEN, FAR, ANN):               # what another CPU remembers is of no use here
        plan.then("detours", who)
    first, second = r.sample([ANN, BEN], 2)
    for who in (first, second, first):                  # nothing stands where nobody else came
        for _ in range(r.randint(2, 4)):
            plan.then("sparing", who, idle=True)
    plan.then("detours", ROOT)
    plan.then("detours", OTHER_ROOT, becomes=ANN)       # it comes as root, and goes as somebody else
    plan.then("detours", ROOT)
    return plan


@dataclass
class Stay:
    """Who was on a CPU last."""

    player: int
    user: int
    barriers: int       # that this CPU had had by then


def play(plan: Plan, processor: Processor, each: Callable[[int], None] = lambda cpu: None) -> dict[str, list[str]]:
    """All turns of a guest; what went wrong, by check."""
    guest = processor.guest
    last: dict[int, Stay] = {}
    users_of = [user for _, user in plan.players]
    wrong: dict[str, list[str]] = {}
    for check, player, _, idle in plan.moves:
        cpu = processor.run_to(AT_TURN)
        stay = Stay(guest.result(R_PLAYER), guest.result(R_USER), processor.barriers[cpu])
        before, comes_as = last.get(cpu), users_of[player]
        if (stay.player, cpu) != (player, plan.players[player][0]):
            wrong.setdefault(check, []).append(f"a process that is to run on CPU {plan.players[player][0]} runs on CPU {cpu}")
        if before:
            made = stay.barriers - before.barriers
            after = f"on CPU {cpu} a program of user {before.user} ran, {'then none, ' if idle else ''}then"
            if stay.player != before.player and comes_as != before.user and not made:
                wrong.setdefault(check, []).append(f"{after} one of user {comes_as}, and no barrier stood in between")
            if check == "sparing" and stay.player == before.player and made:
                wrong.setdefault(check, []).append(f"{after} the same one again, and a barrier was made")
        last[cpu], users_of[player] = stay, stay.user
        each(cpu)
    processor.run_to(AT_END)
    return wrong


EXPECTED = {
    "users": "before the first instruction of another user's program a barrier is made, on that CPU",
    "detours": "what counts is the user whose program ran on that CPU last, as which it went, and not who was there a "
               "moment ago",
    "sparing": "barriers where users change, and none where one program alone comes back",
}


def decide(run: Run, check: str, wrong: list[str], count: int) -> None:
    """Decides a check of turns."""
    run.check(check, not wrong, wrong[0] + (f"; {len(wrong)} of {count} turns went wrong" if len(wrong) > 1 else "") if wrong
              else f"{count} turns: a barrier in each place where one is due", EXPECTED[check],
              "ibpb_between() in kernel/harden/ibpb.c")


def users(run: Run) -> None:
    """Users take turns on both CPUs of a processor that has everything."""
    plan = plan_users(run)
    lost: list[str] = []
    with run.boot(PROGRAM, plan.line, cpu=WHOLE.cpu) as guest:
        processor = Processor(run, guest, WHOLE)

        def look(cpu: int) -> None:
            for n, value in enumerate(processor.spec_ctrl):
                if value != IBRS | STIBP:
                    lost.append(f"while a program runs on CPU {cpu}, CPU {n} has {BITS[value & 3]} in SPEC_CTRL")

        wrong = play(plan, processor, look)
        seen = processor.wrong + lost
        run.check("registers", not seen, seen[0] if seen else "both bits on both CPUs, at each turn",
                  "each CPU has IBRS and STIBP when its first program runs, and keeps them",
                  "who else writes SPEC_CTRL, and what does that leave of the other bit?")
        decide(run, "users", wrong.get("users", []), len(plan.moves))


def detours(run: Run) -> None:
    """The other ways from one program to another."""
    wrong: dict[str, list[str]] = {"detours": [], "sparing": []}
    count = dict.fromkeys(wrong, 0)
    for cpu in range(CPUS_USED):
        plan = plan_detours(run, cpu)
        with run.boot(PROGRAM, plan.line, cpu=WHOLE.cpu) as guest:
            for check, found in play(plan, Processor(run, guest, WHOLE)).items():
                wrong[check] += found
        for check, *_ in plan.moves:
            count[check] += 1
    for check, found in wrong.items():
        decide(run, check, found, count[check])


def lesser(run: Run) -> None:
    """Processors that have one of the bits and not the other."""
    wrong: list[str] = []
    for n, model in enumerate(run.rng("lesser").sample(LESSER, len(LESSER))):
        r = run.rng(f"lesser {n}")
        plan = Plan([(cpu, user) for cpu in range(CPUS_USED) for user in r.sample(range(1000, 60000), 2)])
        for who in (0, 1, 0, 2, 3, 2):
            plan.then("asked-first", who)
        with run.boot(PROGRAM, plan.line, cpu=model.cpu) as guest:
            processor = Processor(run, guest, model)
            play(plan, processor)
        has = f"a processor that has {BITS[model.spec_ctrl]}"
        wrong += processor.wrong
        wrong += [f"CPU {cpu} of {has} has {BITS[value & 3]} set" for cpu, value in enumerate(processor.spec_ctrl)
                  if value != model.spec_ctrl]
    run.check("asked-first", not wrong, wrong[0] if wrong else "on each processor the bit that it has, and nothing else",
              "CPUID and ARCH_CAPABILITIES are asked, and what they say is there is used: no more, and no less",
              "arch_branch_guard_supported(), arch_sibling_guard_supported(), arch_predictor_barrier_supported()")


# ---- the image ------------------------------------------------------------------------------------------------


def first_of(wrong: list[str]) -> str:
    """What a report says of several."""
    return wrong[0] + (f"; and {len(wrong) - 1} more" if len(wrong) > 1 else "")


def image(run: Run) -> None:
    """What the file says; nothing is booted."""
    code = code_of(run)
    thunks = [f for f in code if THUNKS.match(f.name)]
    played = Predicted(code)
    unknown = {name for name in run.image.linked().symbols("_thunk") if THUNKS.match(name)} - {f.name for f in thunks}
    wrong = [f"{f.name}: {bad}" for f in thunks if (bad := played.wrong(f))]
    wrong += [f"{name} is no function: it needs FUNC and END" for name in sorted(unknown)]
    run.check("thunks", bool(thunks) and not wrong, first_of(wrong) if wrong else f"{len(thunks)} thunks: each guess ends in a "
              "trap", "each thunk goes where its register says by a return, and the guess that the processor makes for that "
              "return leads to a place that it does not leave", "macro thunk in arch/x86_64/entry.S, return_unforetold in "
              "asm.h: which call did the processor see last, and what stands behind it?")
    wrong = guessed(code) + pushed(code)
    wrong += [f"{f.name}: {i} is no instruction" for f in code for i in f.code if not i.text]
    run.check("branches", not wrong, first_of(wrong) if wrong else f"no such branch in {len(code)} functions",
              "branches through a register or through memory go by a thunk, in assembly, too",
              "objdump -d build/x86_64/rampart.sym: which lines have a *?")
    wrong = straight_on_x86_64(code)
    run.check("straight-on", not wrong, first_of(wrong) if wrong else "int3 behind each return", "the instruction behind a "
              "return is int3", "macro return in arch/x86_64/asm.h; and is everything that returns written with it?")


REGISTERS = "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split()


def damages(run: Run) -> list[tuple[str, int, bytes]]:
    """Two thunks drawn, and what becomes of them: in words, where, and in bytes."""
    r = run.rng("row")
    thunks = {f.name: f for f in code_of(run)}
    one, two = (thunks.get(f"__x86_indirect_thunk_{name}") for name in r.sample([n for n in REGISTERS if n != "rsp"], 2))
    if not one or not two or len(two.code) < 2:
        return []
    number = REGISTERS.index(one.name.rpartition("_")[2])
    out = [(f"{one.name} jumps", one.start, bytes([0x41] * (number > 7) + [0xFF, 0xE0 | number & 7]))]
    if (call := re.fullmatch(r"call (0x[0-9a-f]+)", two.code[0].text)) and (behind := two.code[1].address) < int(call[1], 16):
        out.append((f"what catches {two.name}'s guess is gone", behind, b"\x90" * (int(call[1], 16) - behind)))
    return r.sample(out, len(out))


def row(run: Run) -> None:
    """/proc/harden is read, and what the row's probe answers is seen where it returns; thunks are damaged meanwhile."""
    todo = [("every thunk is whole", 0, b""), *damages(run)]
    wrong = ["there are not as many thunks as registers"] if len(todo) == 1 else []
    role = CPUS[run.workshop.arch]
    with run.boot(PROGRAM, f"row {len(todo)}") as guest:
        guest.run_to(AT_ROW)
        for n, (what, at, data) in enumerate(todo):
            place = guest.image.phys(guest.image.slide + at) if data else 0
            whole = guest.machine.read_phys(place, len(data))
            guest.machine.gdb.write_phys(place, data)
            following = AT_ROW if n + 1 < len(todo) else AT_END
            if (asked := guest.run_to(following, extra=guest.image.sym("arch_branches_guarded"))).extra:
                back = guest.run_to(following, extra=role.returns_to(guest.machine, asked.cpu))
                says = bool(guest.machine.gdb.reg(back.cpu, "rax") & 0xFF)
                if says == bool(data):
                    wrong.append(f"{what}, and the row is {'on' if says else 'off'}")
                guest.run_to(following)
            else:
                wrong.append("nobody looks at the thunks when /proc/harden is read")
            guest.machine.gdb.write_phys(place, whole)
    run.check("row", not wrong, wrong[0] if wrong else f"on while they were whole; off where {todo[-1][0]}",
              "the row is on if every thunk, as it lies in memory at that moment, is what it should be",
              "thunk_stops_speculation() and THUNK_STRIDE in arch/x86_64/harden.c")


def gates(run: Run) -> None:
    """What must go on working."""
    with run.boot(PROGRAM, "gates") as guest:
        guest.run_to(AT_GATES)
        run.ordinary_gates(guest)


def scenarios() -> list:
    """What may run side by side."""
    return [gates, image, row, users, detours, lesser]


@contextlib.contextmanager
def stand(run: Run, check: str) -> Iterator[Guest]:
    """The guest of a check, stopped at its first turn, or before /proc/harden is read first. The registers are kept no more
    from then on: what the kernel writes there is to be seen in the instruction."""
    plan = plan_detours(run, 0) if check in ("detours", "sparing") else plan_users(run)
    if check == "row":
        with run.boot(PROGRAM, "row 1") as guest:
            guest.run_to(AT_ROW)
            yield guest
        return
    with run.boot(PROGRAM, plan.line, cpu=WHOLE.cpu) as guest:
        Processor(run, guest, WHOLE).run_to(AT_TURN)
        yield guest
