"""The instructions that write control registers, found in a kernel's text (row pin)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from grade.image import Image


def _x86_64_writes(data: bytes) -> Iterator[tuple[int, str, str]]:
    """MOV to CR0 and CR4 (SDM 2B MOV): at any byte, for whoever jumps between instructions finds others."""
    for m in re.finditer(rb"(?=\x0f\x22(.))", data, re.DOTALL):
        number = m[1][0] >> 3 & 7
        if number in (0, 4):
            yield m.start(), f"cr{number}", "rax rcx rdx rbx rsp rbp rsi rdi".split()[m[1][0] & 7]


def _aarch64_writes(data: bytes) -> Iterator[tuple[int, str, str]]:
    """MSR SCTLR_EL1, Xt (ARM C6.2.247): every word, whatever it was meant for."""
    for at in range(0, len(data) - 3, 4):
        word = int.from_bytes(data[at:at + 4], "little")
        if word & ~31 == 0xD5181000:
            yield at, "SCTLR", f"x{word & 31}"


WRITES = {"x86_64": _x86_64_writes, "aarch64": _aarch64_writes}


def writes_of(image: Image, arch: str, register: str = "") -> dict[int, str]:
    """The address of each such instruction in the kernel's text, and the operand that it takes; of one control register,
    by the gdbstub's name for it, or of all."""
    start, end = image.span("__text_start", "__text_end")
    return {start + at: operand for at, name, operand in WRITES[arch](image.bytes_at(start, end - start))
            if register in ("", name)}
