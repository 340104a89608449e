"""What differs between the processors of a stopped guest: registers by their roles, and which walker reads
their tables. Whoever looks at a guest asks the table CPUS and never for an architecture's name."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from grade import walk_aarch64, walk_x86_64
from grade.gdbstub import GdbError
from grade.qemu import Machine
from grade.walk import Mapping, Space


class Step(Protocol):
    """One level of a translation."""

    @property
    def table(self) -> int:
        """The table's physical address."""

    @property
    def index(self) -> int:
        """Which of its entries it is."""


class Walker(Protocol):
    """The walkers' common interface."""

    def space(self, root: int, name: str = "") -> Space:
        """Everything that a root maps."""

    def translate(self, root: int, va: int) -> Mapping | None:
        """The leaf that holds an address."""

    def steps(self, root: int, va: int) -> Sequence[Step]:
        """The entries that translate an address, from the top down."""

    def explain(self, root: int, va: int) -> list[str]:
        """One translation in words."""


@dataclass(frozen=True)
class Cpu:
    """One architecture's processors, as the gdbstub shows them."""

    root: str           # the register that names the current address space's root table ...
    address: int        # ... and the bits of it that are an address
    arguments: tuple[str, str, str]     # the first ones of a function that is being entered
    in_user_mode: Callable[[Machine, int], bool]
    called_from: Callable[[Machine, int], int]          # code that led to the function being entered
    returns_to: Callable[[Machine, int], int]           # where that function will return
    # Of a stopped machine, by a CPU's modes; a kernel root that is given takes the place of what the CPU has for
    # the kernel's addresses, which in user mode is not the kernel's.
    walker: Callable[[Machine, int, int | None], Walker]
    trap: str           # the kernel's function for every exception, with the trap frame as its argument
    user_end: int       # first address beyond those of programs
    frame: str          # the register that leads from frame to frame
    stops_before: bool  # what QEMU does where something watched is used: others stop behind the instruction

    def root_of(self, machine: Machine, cpu: int) -> int:
        """The physical address of the root table that a CPU walks for user addresses."""
        return machine.gdb.reg(cpu, self.root) & self.address

    def active(self, machine: Machine, cpu: int) -> Space:
        """Everything that a CPU's live tables map, user mode's own if it is there."""
        return self.walker(machine, cpu, None).space(self.root_of(machine, cpu), f"CPU {cpu}'s live tables")


def _x86_64_walker(machine: Machine, cpu: int, _kernel_root: int | None) -> Walker:
    r = machine.regs(cpu, "cr0", "cr4", "efer")
    return walk_x86_64.Walker(machine.read_phys, walk_x86_64.Modes.from_registers(r["cr0"], r["cr4"], r["efer"]))


def _aarch64_walker(machine: Machine, cpu: int, kernel_root: int | None) -> Walker:
    r = machine.regs(cpu, "TCR_EL1", "TTBR1_EL1", "SCTLR", "cpsr")
    return walk_aarch64.Walker(machine.read_phys, walk_aarch64.Modes.from_registers(
        r["TCR_EL1"], r["TTBR1_EL1"] if kernel_root is None else kernel_root, r["SCTLR"], r["cpsr"]))


def _return_address(machine: Machine, cpu: int) -> int:
    (back,) = struct.unpack("<Q", machine.gdb.read(machine.regs(cpu, "rsp")["rsp"], 8, cpu))
    return int(back)


def _called(machine: Machine, cpu: int) -> int:
    """Where the last call by register led: a return address alone would not see code that jumped on from
    there and left the link register as it was. Without such a call, the return address."""
    back = machine.gdb.reg(cpu, "x30")
    try:
        (call,) = struct.unpack("<I", machine.gdb.read(back - 4, 4, cpu))
    except GdbError:
        return back
    return machine.gdb.reg(cpu, f"x{call >> 5 & 31}") if call & 0xFFFFFC1F == 0xD63F0000 else back


CPUS = {
    "x86_64": Cpu("cr3", walk_x86_64.ADDR, ("rdi", "rsi", "rdx"), lambda m, cpu: m.gdb.reg(cpu, "cs") & 3 == 3,
                  _return_address, _return_address, _x86_64_walker, "x86_trap", 1 << 47, "rbp", False),
    # PSTATE.M is 0 at EL0.
    "aarch64": Cpu("TTBR0_EL1", walk_aarch64.ADDR, ("x0", "x1", "x2"), lambda m, cpu: m.gdb.reg(cpu, "cpsr") & 15 == 0,
                   _called, lambda m, cpu: m.gdb.reg(cpu, "x30"), _aarch64_walker, "a64_trap", 1 << 48, "x29", True),
}
