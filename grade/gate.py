"""The gate of user copies (kernel/harden/usercopy.c), asked from outside: a real call is stopped at its first instruction
and given other arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from grade.cpus import CPUS
from grade.qemu import Machine
from grade.spaces import Kernel

# Arguments, stack, frame record, program counter and flags; what a function that is called leaves to its caller.
SAVED = {"x86_64": ("rdi", "rsi", "rdx", "rbx", "rbp", "rsp", "r12", "r13", "r14", "r15", "rip", "eflags"),
         "aarch64": ("x0", "x1", "x2", *(f"x{n}" for n in range(19, 31)), "sp", "pc", "cpsr")}
STACK = {"x86_64": "rsp", "aarch64": "sp"}
# What is copied, from where, how much; whether user mode may be given it, and may give it.
Case = tuple[str, int, int, bool, bool]


class Gate:
    """A CPU that stands at the first instruction of usercopy_check. `run` runs the machine to one of some addresses, and
    says which; `refused` is where the kernel goes when it refuses a copy."""

    def __init__(self, machine: Machine, kernel: Kernel, refused: int, run: Callable[[set[int]], int], cpu: int = 0) -> None:
        self.gdb, self.kernel, self.refused, self.run, self.cpu = machine.gdb, kernel, refused, run, cpu
        self.arch = machine.arch.name
        self.saved = {r: self.gdb.reg(cpu, r) for r in SAVED[self.arch]}
        self.back = CPUS[self.arch].returns_to(machine, cpu)

    def argument(self, which: int) -> int:
        """An argument of the call that was stopped."""
        return self.saved[CPUS[self.arch].arguments[which]]

    def refuses(self, address: int, size: int, to_user: bool) -> bool:
        """Whether the gate refuses this copy; the CPU is then back where it stood."""
        for register, value in zip(CPUS[self.arch].arguments, (address, size, int(to_user))):
            self.gdb.set_reg(self.cpu, register, value)
        at = self.run({self.back, self.refused})
        for register, value in self.saved.items():
            self.gdb.set_reg(self.cpu, register, value)
        return at == self.refused

    def wrong(self, cases: list[Case]) -> list[str]:
        """The cases, each in both directions, in which the gate does what it should not."""
        out = []
        for what, address, size, readable, writable in cases:
            for to_user, allowed in ((True, readable), (False, writable)):
                if self.refuses(address, size, to_user) == allowed:
                    way = "to" if to_user else "from"
                    out.append(f"{what}: {size} bytes at {address:#x} {way} user mode: {'refused' if allowed else 'copied'}")
        return out


def object_cases(what: str, o: int, size: int) -> Iterator[Case]:
    """Of an object of the heap."""
    yield f"{what} of {size}", o, size, True, True
    yield f"its last byte, of {size}", o + size - 1, 1, True, True
    yield f"a byte more than {what} of {size}", o, size + 1, False, False
    yield f"{what} of {size} and the byte after", o + 1, size, False, False


def stack_cases(gate: Gate) -> Iterator[Case]:
    """Of the stack on which the gate was called."""
    stack, frame = (gate.saved[r] for r in (STACK[gate.arch], CPUS[gate.arch].frame))
    above = gate.kernel.u64(frame)
    yield "a frame's variables", frame + 16, above - frame - 16, True, True
    yield "a frame's variables, and a byte of the record above", frame + 16, above - frame - 15, False, False
    yield "a return address", frame + 8, 8, False, False
    yield "the stack below what is in use", stack - 2048, 8, False, False
    end = max(gate.kernel.u64(above), above + 24)      # none is above the stack's last record
    yield "two frames", frame + 16, end - frame - 16, False, False


def image_cases(gate: Gate) -> Iterator[Case]:
    """Of the kernel's image, at both its addresses."""
    image = gate.kernel.image
    direct = gate.kernel.u64(image.sym("direct_map_base"))
    text, end = image.span("__text_start", "__text_end")
    yield "text", text, 8, False, False
    yield "text's end and what follows", end - 4, 8, False, False
    yield "text at its other address", direct + image.phys(text), 8, False, False
    yield "a constant", image.sym("__rodata_start"), 8, True, False
    yield "a variable", image.sym("cpus_online"), 8, True, True
    yield "what follows the kernel", image.sym("__data_end") - 4, 8, False, False
