"""Branches of a kernel's code that a processor may guess (row retpoline): which of them a predictor is asked about that a
program can train, and what lies where a processor runs on that guesses wrong. Nothing here speculates, so whoever asks
looks at the code, and plays the predictor."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from grade.disasm import Function, Instruction

# Start-up of the boot processor, with data among it: no program has run that could train anything.
STARTUP = {"boot_entry"}
THUNKS = re.compile(r"__x86_(indirect_thunk_(?P<register>r\w+)|(entry_)?return_thunk)$")
INDIRECT = re.compile(r"(notrack )?(call|jmp|ljmp|lcall) (?!0x)")
DIRECT = re.compile(r"(call|jmp) 0x")
RETURN = re.compile(r"(rep[a-z]* |bnd )?(ret|retf|retq)\b")
LEAVES = re.compile(r"(br|ret|blr|eret|braa|brab|retaa|retab|blraa|blrab)\b")
STUB = re.compile(r"mov x16, x\d+ br x16")
BARRIERS = (["dsb sy", "isb"], ["dsb nsh", "isb"], ["sb"])
# What does nothing that could be seen; what a processor does not run past.
HARMLESS, ENDS = ("pause", "nop", "endbr64"), ("int3", "ud2", "hlt")
CALLER = "caller"       # whoever called the code that is looked at
STEPS = 64


def after(code: Iterable[Function]) -> Iterator[tuple[Function, Instruction, list[str]]]:
    """Each instruction with the texts of the two behind it, in the same function. Behind the stubs for calls that
    GCC puts at a function's end there is one barrier for all."""
    for f in code:
        texts = [i.text for i in f.code]
        for n, i in enumerate(f.code):
            behind = n + 1
            while i.text == "br x16" and STUB.match(" ".join(texts[behind:behind + 2])):
                behind += 2
            yield f, i, texts[behind:behind + 2]


def guessed(code: Iterable[Function], return_thunks: bool = False) -> list[str]:
    """x86_64: branches about which a predictor is asked that a program can train; with return_thunks returns, too."""
    out = []
    for f, i, _ in after(code):
        if INDIRECT.match(i.text):
            out.append(f"{f.name}: {i} goes by no thunk")
        if RETURN.match(i.text) and return_thunks and not THUNKS.match(f.name):
            out.append(f"{f.name}: {i} goes by no thunk")
    return out


def straight_on_x86_64(code: Iterable[Function]) -> list[str]:
    """Returns without int3 behind them."""
    return [f"{f.name}: {i} and then {behind[:1]}" for f, i, behind in after(code)
            if RETURN.match(i.text) and behind[:1] != ["int3"]]


def straight_on_aarch64(code: Iterable[Function]) -> list[str]:
    """Ends without a barrier, and calls through a register, behind which none can stand."""
    return [f"{f.name}: {i} and then {behind}" for f, i, behind in after(code)
            if LEAVES.match(i.text) and (i.name.startswith("blr") or not any(behind[:len(b)] == b for b in BARRIERS))]


def pushed(code: Iterable[Function]) -> list[str]:
    """x86_64: returns to what the instruction before has pushed. They are guessed to go where some call came from."""
    out = []
    for f in code:
        for before, i in zip(f.code, f.code[1:]):
            if before.name == "push" and RETURN.match(i.text):
                out.append(f"{f.name}: {before.text}; {i} is no return, and is guessed as one")
    return out


class Predicted:
    """x86_64: a thunk as the processor runs it, and as a processor runs it that predicts returns by the calls before."""

    def __init__(self, code: Iterable[Function]) -> None:
        """code: all that a thunk may lead to."""
        self.at: dict[int, tuple[Instruction, int]] = {}
        for f in code:
            for i in f.code:
                self.at[i.address] = i, i.address + len(i.data)

    def wrong(self, thunk: Function) -> str:
        """What is wrong with a thunk; empty if it goes where its register says (the return thunk: back), and whoever
        predicts that finds a trap."""
        match = THUNKS.match(thunk.name)
        goal = match and match["register"] or CALLER
        at = thunk.start
        stack: list[str | int] = [CALLER]
        guesses: list[str | int] = [CALLER]
        for _ in range(STEPS):
            if at not in self.at:
                return f"leads to {at:#x}, where no code is"
            i, behind = self.at[at]
            if DIRECT.match(i.text):
                if i.name == "call":
                    stack.append(behind)
                    guesses.append(behind)
                at = int(i.text.split()[1], 16)
            elif INDIRECT.match(i.text):
                return f"{i}: where it goes is guessed by what such branches did before"
            elif RETURN.match(i.text):
                real, guess = stack.pop() if stack else None, guesses.pop() if guesses else None
                if not isinstance(guess, int):
                    return f"{i}: is guessed to lead to the caller's code"
                if bad := self.escapes(guess):
                    return f"{i}: is guessed to lead to {guess:#x}, and from there {bad}"
                if not isinstance(real, int):
                    left = [] if goal == CALLER else [CALLER]
                    return "" if real == goal and stack == left else f"leads to what {real or 'nothing'} says"
                at = real
            else:
                if stored := re.fullmatch(r"mov qword ptr \[rsp\], (r\w+)", i.text):
                    stack[-1:] = [stored[1]]
                elif stored := re.fullmatch(r"push (r\w+)", i.text):
                    stack.append(stored[1])
                elif i.text in ("lea rsp, [rsp + 8]", "add rsp, 8"):
                    del stack[-1:]
                elif i.name not in (*HARMLESS, "lfence"):
                    return f"{i} does not belong there"
                at = behind
        return "does not come to an end"

    def escapes(self, at: int) -> str:
        """How a processor that runs on at an address for a while gets away from there; empty if it does not."""
        seen, fenced = set(), False
        while at not in seen:
            seen.add(at)
            if at not in self.at:
                return f"to {at:#x}, where no code is"
            i, behind = self.at[at]
            if i.name in ENDS:
                return ""
            fenced |= i.name == "lfence"
            if i.name == "jmp" and DIRECT.match(i.text):
                at = int(i.text.split()[1], 16)
            elif i.name in HARMLESS or i.name == "lfence":
                at = behind
            else:
                return f"to {i}"
        return "" if fenced else "round a loop in which nothing waits"
