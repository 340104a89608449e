"""Where the built image opens user memory to the kernel: the user copies alone, and no longer than the copy takes."""

from __future__ import annotations

import re
import struct

import pytest

from grade.disasm import Function, Instruction, functions
from grade.image import Image
from grade.plugin import Build

# Of arch/*/uaccess.S. Two names of one function stand at one address.
COPIES = {"arch_copy_from_user", "arch_copy_to_user", "arch_clear_user", "arch_strncpy_from_user", "arch_user_cmpxchg32"}
LONGEST = 16                    # instructions from opening to closing, a loop counted once
LEAVES = re.compile(r"(call|ret|iret|sysret|syscall|blr?|br|eret|svc)")
JUMPS = re.compile(r"(?P<name>j\w+|b(\.\w+)?|cbn?z|tbn?z) (.*, )?#?(?P<to>0x[0-9a-f]+)$")
ALWAYS = {"jmp", "b"}
# Each architecture: what opens, what closes. MSR PAN, #imm as the encoding has it (ARM C5.2.20).
OPENS = {"x86_64": bytes.fromhex("0f01cb"), "aarch64": bytes.fromhex("9f4000d5")}
CLOSES = {"x86_64": bytes.fromhex("0f01ca"), "aarch64": bytes.fromhex("9f4100d5")}
UNPRIVILEGED = re.compile(r"(ldtr|sttr)\w*$")


@pytest.fixture(scope="module")
def code(build: Build) -> list[Function]:
    found = functions(build.symbols)
    assert len(found) > 500, "too few: is this the kernel?"
    return found


@pytest.fixture(scope="module")
def fixups(image: Image, arch: str) -> list[tuple[int, int, int]]:
    """The exception table: a fault in [start, end) goes on at a third address; each is relative to its own place."""
    image = image.linked()
    start, words = image.sym("__ex_table_start"), {"x86_64": 2, "aarch64": 3}[arch]
    data = image.bytes_at(start, image.sym("__ex_table_end") - start)
    there = [start + 4 * n + word for n, (word,) in enumerate(struct.iter_unpack("<i", data))]
    entries = [there[n:n + words] for n in range(0, len(there), words)]
    assert len(entries) > 5
    return [(e[0], e[0] + 1 if words == 2 else e[1], e[-1]) for e in entries]


def places(code: list[Function], what: bytes) -> list[tuple[Function, Instruction]]:
    """Every instruction of those bytes, with its function."""
    return [(f, i) for f in code for i in f.code if i.data == what]


def window(f: Function, opening: Instruction, closes: bytes, fixups: list[tuple[int, int, int]]) -> set[int]:
    """The addresses that can be executed while the window is open, after faults too. AssertionError if a way leaves
    the function."""
    at = {i.address: n for n, i in enumerate(f.code)}
    seen: set[int] = set()
    todo = [at[opening.address] + 1]
    while todo:
        n = todo.pop()
        assert n < len(f.code), f"{f.name}: the window is open at its end"
        i = f.code[n]
        if i.data == closes or i.address in seen:
            continue
        seen.add(i.address)
        todo += [at[to] for start, end, to in fixups if start <= i.address < end]
        assert not LEAVES.fullmatch(i.name), f"{f.name}: {i} while the window is open"
        jump = JUMPS.match(i.text)
        # A jump over the closing instruction asks the flag that the opening one's asked, read-only since start-up:
        # it is taken on a processor that has no such window.
        if jump and (jump["name"] in ALWAYS or f.code[n + 1].data != closes):
            to = int(jump["to"], 16)
            assert to in at, f"{f.name}: {i} leads out while the window is open"
            todo.append(at[to])
        if not jump or jump["name"] not in ALWAYS:
            todo.append(n + 1)
    return seen


def test_user_memory_is_opened_in_the_user_copies_alone_and_closed_on_every_way_out(code: list[Function],
                                                                                    fixups: list[tuple[int, int, int]],
                                                                                    arch: str) -> None:
    found = places(code, OPENS[arch])
    for f, i in found:
        inside = window(f, i, CLOSES[arch], fixups)
        print(f"{f.name}: opened at {i.address:#x}, {len(inside)} instructions")
        assert f.name in COPIES
        assert len(inside) <= LONGEST
    opened = [f.name for f, _ in found]
    assert len(opened) == len(set(opened)) == {"x86_64": 4, "aarch64": 1}[arch]


@pytest.mark.arch("aarch64")    # x86_64 has no loads of the kernel's that are checked as the user's
def test_unprivileged_loads_and_stores_are_the_user_copies(code: list[Function]) -> None:
    found = {f.name for f in code for i in f.code if UNPRIVILEGED.match(i.name)}
    print(", ".join(sorted(found)))
    assert found and found < COPIES
