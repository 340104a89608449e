"""The vector registers of a stopped guest's CPUs, and whether user mode would get at them."""

from __future__ import annotations

import re
from collections.abc import Callable

from grade.qemu import Machine, QemuError

SIZE = 512              # bytes of all vector registers: 16 of 32 on x86_64, 32 of 16 on aarch64
CR0_TS = 1 << 3         # the next instruction that uses one traps (SDM 3A 2.5)
FPEN = 3 << 20          # of CPACR_EL1: both bits, or user mode's instructions trap (Arm ARM D17.2, CPACR_EL1)


def _x86_64_vectors(m: Machine, cpu: int) -> bytes:
    """The gdbstub has the lower halves alone; the monitor prints all 32 bytes, the highest first, and 16 where the kernel
    gives AVX to nobody."""
    text = m.qmp.hmp("info registers", cpu)
    found = re.findall(r"[XY]MM(\d\d)=([0-9a-f ]+)", text)
    if [int(n) for n, _ in found] != list(range(16)):
        raise QemuError(f"info registers: {text}")
    return b"".join(bytes.fromhex(value.replace(" ", ""))[::-1].ljust(32, b"\0") for _, value in found)


def _aarch64_vectors(m: Machine, cpu: int) -> bytes:
    """Where there is SVE, which the kernel gives to nobody, V registers are the first bytes of Z ones."""
    name = "z" if "z0" in m.gdb.registers() else "v"
    return b"".join((m.gdb.reg(cpu, f"{name}{i}") & (1 << 128) - 1).to_bytes(16, "little") for i in range(32))


VECTORS: dict[str, Callable[[Machine, int], bytes]] = {"x86_64": _x86_64_vectors, "aarch64": _aarch64_vectors}


def vectors(m: Machine, cpu: int) -> bytes:
    """What is in a CPU's vector registers, whoever put it there: SIZE bytes."""
    return VECTORS[m.arch.name](m, cpu)


def trapped(m: Machine, cpu: int) -> bool:
    """Whether user mode's next use of a vector register enters the kernel first."""
    if m.arch.name == "x86_64":
        return bool(m.gdb.reg(cpu, "cr0") & CR0_TS)
    return m.gdb.reg(cpu, "CPACR") & FPEN != FPEN


def words(data: bytes) -> list[int]:
    """Eight bytes each."""
    return [int.from_bytes(data[i:i + 8], "little") for i in range(0, len(data), 8)]
