"""Formats are literals, by the compiler and by the printer; printed pointers are no addresses, strings no lines."""

from __future__ import annotations

import contextlib
import re
import subprocess
from pathlib import Path

import pytest

from grade.attacks import watch
from grade.image import Image
from grade.plugin import ROOT, Boot, Build
from grade.qemu import PROMPT
from grade.spaces import Kernel

pytestmark = pytest.mark.guest

USES = {
    "a format that is no literal": 'void f(const char *s) { kprintf(s); }',
    "a format that comes out of a table": 'extern const char *t[]; void f(void) { kprintf(t[1], 1); }',
    "an argument of another type": 'void f(void) { kprintf("%lx", 1); }',
    "a wrapper that says nothing of its format":
        'void f(const char *s, ...) { va_list a; va_start(a, s); vsnprintf((char *)0, 0, s, a); va_end(a); }',
}
PRELUDE = '#include "kernel/lib/print.h"\n#pragma GCC diagnostic ignored "-Wmissing-prototypes"\n'


@pytest.mark.parametrize("use", USES)
def test_the_compiler_refuses(build: Build, tmp_path: Path, use: str) -> None:
    # The compiler and its flags, as this kernel was built; the linker's follow.
    words = (build.kernel.parent / "flags").read_text().split()
    command = [*words[:words.index("-pie")], "-fsyntax-only"]
    right, wrong = tmp_path / "right.c", tmp_path / "wrong.c"
    right.write_text(PRELUDE + 'void f(void) { kprintf("%d", 1); }\n')
    wrong.write_text(PRELUDE + USES[use] + "\n")
    done = [subprocess.run([*command, str(p)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
            for p in (right, wrong)]
    assert done[0].returncode == 0, done[0].stderr
    assert done[1].returncode != 0 and "format" in done[1].stderr


def printed(boot: Boot, image: Image, arch: str, append: str, seed: int) -> tuple[Kernel, int]:
    """What the kernel's own format prints of a pointer, in the memory of the program that asked."""
    m = boot(run="/bin/attack format", append=append, paused=True, keep=True, icount=True, seed=seed)
    with contextlib.closing(Image(ROOT / "build" / arch / "user" / "attack")) as program:
        seen = watch(m, image, program, 60)
        assert seen.over
        text = m.gdb.read(program.sym("attack_legal"), 1024, seen.hits[-1].cpu)
    pointer = re.search(rb"thing at 0x([0-9a-f]+)\0", text)
    assert pointer, text
    return Kernel(m, image), int(pointer[1], 16)


def test_a_printed_pointer_is_no_address(boot: Boot, image: Image, arch: str, seed: int) -> None:
    # Without kaslr, and with instructions counted, the same object lies at the same address each time.
    kernel, raw = printed(boot, image, arch, "quiet harden=-kaslr,-heap,-format", seed)
    assert kernel.owns(raw)
    kernel, value = printed(boot, image, arch, "quiet harden=-kaslr,-heap", seed)
    # Nor a part of one: the low half would do for whoever knows the base.
    assert not kernel.owns(value) and value != raw & 0xFFFFFFFF


def test_the_same_pointer_is_printed_otherwise_at_each_start(boot: Boot, image: Image, arch: str, seed: int) -> None:
    # Without heap, too, which would draw the object's place anew.
    raw = {printed(boot, image, arch, "quiet harden=-kaslr,-heap,-format", seed + i)[1] for i in range(2)}
    told = {printed(boot, image, arch, "quiet harden=-kaslr,-heap", seed + i)[1] for i in range(2)}
    assert len(raw) == 1 and len(told) == 2


def test_no_name_of_a_program_makes_up_lines_of_the_log(boot: Boot) -> None:
    m = boot()
    m.wait_for(PROMPT, 30)
    m.send("n=$(printf '/tmp/x\\noops: y\\033['); ln -s /bin/attack \"$n\"; \"$n\" smep\n")
    m.wait_for(r'^cpu \d+, thread \d+ "x\?oops: y\?\[", process \d+ "x\?oops: y\?\["\r?$', 60)
    assert "oops: y" not in [line[:7] for line in m.transcript.splitlines()]
