"""The rp- commands inside a real GDB: on the probe guest, and on the kernel of each architecture."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable

import pytest

from grade.cpus import CPUS
from grade.debug import debugger
from grade.image import Image
from grade.plugin import ROOT, Boot
from grade.qemu import Machine
from grade.tests.test_machine import probe      # noqa: F401 (a fixture)

Gdb = Callable[..., str]
PROBE = pytest.mark.arch("x86_64")      # the probe guest is x86's


@pytest.fixture
def gdb(arch: str) -> Gdb:
    """A factory: gdb(command, ...) runs commands in a GDB that loaded .gdbinit; what it printed on both streams."""

    def run(*commands: str) -> str:
        line = [*debugger(arch), "-nx", "-q", "-batch", "-x", ".gdbinit"]
        for command in commands:
            line += ["-ex", command]
        done = subprocess.run(line, cwd=ROOT, env=os.environ | {"ARCH": arch}, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=120, check=False)
        return done.stdout + done.stderr

    return run


@PROBE
def test_commands_explain_translations_spaces_and_mitigations(probe: Image, gdb: Gdb) -> None:  # noqa: F811
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
@pytest.mark.parametrize(("off", "state", "stacks"), [
    ("", "on", 2), ("harden=-smap,-stack-guard", "OFF", 1)])     # below the very first stack is nothing anyway
def test_commands_show_the_kernels_own_defences_and_threads(boot: Boot, image: Image, gdb: Gdb, off: str,
                                                            state: str, stacks: int) -> None:
    m = boot(append=f"quiet {off}", smp=2)
    m.wait_for(r"[#$] (?:\x1b\[6n)?\Z", 60)
    m.stop()
    cpu, there = CPUS[m.arch.name], image.at(m).sym("process_all")
    while not all(cpu.walker(m, n, None).translate(cpu.root_of(m, n), there) for n in m.gdb.cpus()):
        m.cont()        # the shell is about to wait; up to the way in, the live tables have nothing of the kernel
        m.stop()
    m.offer_gdb(f"unix:{m.dir}/g,server=on,wait=off")
    shown = gdb(f"file {image.path}", f"rp-connect {m.dir}/g", "rp-pt 0", "rp-pt &process_all", "rp-vm kernel",
                "rp-harden", "rp-ps")
    assert "Traceback" not in shown and "Python Exception" not in shown
    assert re.search(r"not mapped: any access raises", shown)
    assert re.search(r"maps to physical 0x[0-9a-f]+ \(rw-k.\)", shown)
    assert re.search(r"^0xffffffff\w+-0xffffffff\w+ r-xk.*kernel text$", shown, re.MULTILINE)
    assert "WRITABLE AND EXECUTABLE" not in shown and "wx          on" in shown and "smep        on" in shown
    assert re.search(rf"^smap +{state} ", shown, re.MULTILINE)
    assert len(re.findall(rf"^stack-guard +{state} +CPU [01]: stack", shown, re.MULTILINE)) >= stacks
    assert re.search(r"^ +1 +1 .*init ", shown, re.MULTILINE) and re.search(r" sh ", shown)


@pytest.mark.guest
def test_symbols_follow_the_kernel_to_where_it_runs(boot: Boot, image: Image, gdb: Gdb) -> None:
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


def test_without_a_target_each_command_says_what_to_do(gdb: Gdb) -> None:
    shown = gdb("rp-pt 0", "rp-vm", "rp-harden", "rp-ps", "rp-connect /nonexistent")
    assert shown.count("not connected") == 4 and "cannot connect to /nonexistent" in shown
    assert "Traceback" not in shown and "Python Exception" not in shown


@PROBE
def test_missing_symbols_are_an_error_in_words(probe: Image, gdb: Gdb) -> None:  # noqa: F811
    with Machine(probe.path, mem=32) as m:
        m.wait_for("counted", 20)
        m.stop()
        m.offer_gdb(f"unix:{m.dir}/g,server=on,wait=off")
        shown = gdb(f"file {probe.path}", f"rp-connect {m.dir}/g", "rp-ps")
    assert "the kernel's symbols have no process_all" in shown and "Traceback" not in shown
