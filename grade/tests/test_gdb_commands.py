"""The rp- commands inside a real GDB, on the probe guest."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from grade.image import Image
from grade.plugin import ROOT, Boot
from grade.qemu import Machine
from grade.tests.test_machine import probe      # noqa: F401 (a fixture)

pytestmark = [pytest.mark.arch("x86_64"),     # the probe guest is x86's
              pytest.mark.skipif(shutil.which("gdb") is None, reason="no gdb")]


def gdb(*commands: str) -> str:
    """Runs commands in a GDB that loaded .gdbinit; what it printed on both streams."""
    line = ["gdb", "-nx", "-q", "-batch", "-x", ".gdbinit"]
    for command in commands:
        line += ["-ex", command]
    done = subprocess.run(line, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                          check=False)
    return done.stdout + done.stderr


def test_commands_explain_translations_spaces_and_mitigations(probe: Image) -> None:  # noqa: F811
    with Machine(probe.path, mem=32, smp=2) as m:
        m.wait_for("counted", 20)
        m.stop()
        m.offer_gdb(f"unix:{m.dir}/g,server=on,wait=off")
        shown = gdb(f"file {probe.path}", f"rp-connect {m.dir}/g", "rp-pt &count", "rp-pt 0x40000000", "rp-vm kernel",
                    "rp-harden")
    assert "Traceback" not in shown and "Python Exception" not in shown
    assert f"maps to physical {probe.sym('count'):#x} (rwxk-)" in shown and "kernel: reads, writes, executes" in shown
    assert "not mapped: any access raises #PF" in shown
    assert "0xffffffff80180000-0xffffffff80180fff r-xk-" in shown and "<- WRITABLE AND EXECUTABLE" in shown
    assert "smep        OFF" in shown and "nx          OFF on CPU 1" in shown and "wp          OFF on CPU 1" in shown
    assert "1020 pages are writable and executable" in shown and "page 0 is not mapped" in shown


@pytest.mark.guest
def test_symbols_follow_the_kernel_to_where_it_runs(boot: Boot, image: Image) -> None:
    for paused in (False, True):
        m = boot(paused=paused)
        if not paused:
            m.wait_for(r"# ", 30)
            m.stop()
        m.offer_gdb(f"unix:{m.dir}/g,server=on,wait=off")
        shown = gdb(f"file {image.path}", f"rp-connect {m.dir}/g", "print/x (unsigned long)&kernel_main",
                    "thbreak kernel_main", *(["continue"] if paused else []))
        there = re.search(r"= 0x([0-9a-f]+)$", shown, re.MULTILINE)
        slide = int.from_bytes(m.read_phys(image.linked().phys(image.linked().sym("image_slide")), 8), "little")
        assert there and int(there[1], 16) == image.linked().sym("kernel_main") + slide, shown
        assert not paused or "kernel_main" in shown.rpartition("breakpoint 1")[2], shown
        assert "Traceback" not in shown and "Python Exception" not in shown


def test_without_a_target_each_command_says_what_to_do() -> None:
    shown = gdb("rp-pt 0", "rp-vm", "rp-harden", "rp-ps", "rp-connect /nonexistent")
    assert shown.count("not connected") == 4 and "cannot connect to /nonexistent" in shown
    assert "Traceback" not in shown and "Python Exception" not in shown


def test_missing_symbols_are_an_error_in_words(probe: Image) -> None:  # noqa: F811
    with Machine(probe.path, mem=32) as m:
        m.wait_for("counted", 20)
        m.stop()
        m.offer_gdb(f"unix:{m.dir}/g,server=on,wait=off")
        shown = gdb(f"file {probe.path}", f"rp-connect {m.dir}/g", "rp-ps")
    assert "the kernel's symbols have no process_all" in shown and "Traceback" not in shown
