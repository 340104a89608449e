"""The QEMU driver, the stub's client, the live exception log and the moments, on a guest of one page."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from grade.deadline import DeadlineError
from grade.exclog import TripleFault, X86Exception
from grade.gdbstub import WRITE, GdbClosed, GdbError, GdbStub
from grade.image import Image
from grade.moments import Event, Moment, draw, visit
from grade.plugin import Boot, Build
from grade.qemu import Machine, QemuError
from grade.walk import PhysError, writable_and_executable
from grade.walk_x86_64 import Modes, Walker

Start = Callable[..., Machine]

ROOT = Path(__file__).resolve().parent.parent.parent

COUNTER_HZ = 62_500_000     # of QEMU 7.2's generic timers

X86_64 = pytest.mark.arch("x86_64")     # the probe guest is x86's


def assemble(name: str, compiler: str, at: int, directory: Path) -> Image:
    """A guest of one page, assembled and linked to stand at an address."""
    out = directory / name
    source = Path(__file__).parent / "probe" / f"{name}.S"
    subprocess.run([compiler, "-nostdlib", "-static", "-no-pie", f"-Wl,-Ttext={at:#x}", "-Wl,--build-id=none",
                    "-Wl,-z,noexecstack", "-Wl,-N", "-Wl,--no-warn-rwx-segments", "-e", "start", "-o", out, source],
                   check=True, timeout=60)
    return Image(out)


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The probe guest, assembled and linked."""
    return assemble("probe", os.environ.get("CC", "gcc"), 0x100000, tmp_path_factory.mktemp("probe"))


@pytest.fixture
def start(probe: Image) -> Iterator[Start]:
    """A factory of machines that run the probe."""
    machines: list[Machine] = []

    def make(**options: Any) -> Machine:
        options.setdefault("mem", 32)
        options.setdefault("extra", ["-device", "isa-debug-exit,iobase=0xf4,iosize=1"])
        machine = Machine(probe.path, **options)
        machine.__enter__()
        machines.append(machine)
        return machine

    yield make
    for machine in machines:
        machine.__exit__(None, None, None)


@X86_64
def test_console_lines_are_awaited_and_commands_obeyed(start: Start) -> None:
    m = start()
    m.wait_for("^probe: up", 20)
    m.wait_for("^probe: counted", 20)
    m.send("q")
    assert m.wait_exit(20) == 1     # isa-debug-exit: value 0 becomes status 1
    assert m.transcript == "probe: up\nprobe: counted\n"


@X86_64
def test_a_deadline_that_passes_shows_the_console_and_where_the_cpus_are(start: Start) -> None:
    m = start()
    m.wait_for("counted", 20)
    with pytest.raises(DeadlineError, match=r"(?s)no 'never'.*probe: counted.*CPU 0: pc 0x10"):
        m.wait_for("never", 0.05)
    m.send("f")
    m.wait_for("page fault", 20)    # looking did not leave it standing


@X86_64
def test_a_guest_that_ends_fails_a_wait_at_once(start: Start) -> None:
    m = start()
    m.wait_for("counted", 20)
    m.send("q")
    with pytest.raises(DeadlineError, match="QEMU ended"):
        m.wait_for("never", 60)


@X86_64
def test_qemus_own_refusal_is_no_verdict_on_the_guest(start: Start) -> None:
    with pytest.raises(QemuError, match="no-such-cpu"):
        start(cpu="no-such-cpu")
    with pytest.raises(QemuError, match="no such file"):
        start(initrd="/nonexistent")


@X86_64
def test_registers_of_every_cpu_are_read_by_name(start: Start, probe: Image) -> None:
    m = start(smp=3)
    m.wait_for("counted", 20)
    m.stop()
    assert m.gdb.cpus() == [0, 1, 2]
    r = m.regs(0)
    assert r["cr3"] == probe.sym("pml4") and r["efer"] & 0x900 == 0x900 and r["cr0"] >> 31 == 1
    assert probe.contains(r["rip"])
    assert m.regs(1)["cr0"] >> 31 == 0      # never started
    with pytest.raises(GdbError, match="no register 'cr9'"):
        m.gdb.reg(0, "cr9")


@X86_64
def test_virtual_and_physical_reads_agree_and_holes_are_errors(start: Start, probe: Image) -> None:
    m = start()
    m.wait_for("counted", 20)
    m.stop()
    count = probe.sym("count")
    high = count + 0xFFFFFFFF80000000
    want = (1000).to_bytes(8, "little")
    assert m.gdb.read(count, 8) == m.gdb.read(high, 8) == want
    assert m.gdb.read_phys(count, 8) == m.read_phys(count, 8) == m.qmp.read_phys(count, 8) == want
    with pytest.raises(GdbError, match="no virtual memory"):
        m.gdb.read(0x40000000, 8)
    with pytest.raises(PhysError):
        m.read_phys((32 << 20) - 4, 8)
    m.gdb.write_phys(count, bytes(8))
    assert m.read_phys(count, 8) == bytes(8)


@X86_64
def test_the_walker_sees_what_the_guest_built(start: Start, probe: Image) -> None:
    m = start()
    m.wait_for("counted", 20)
    m.stop()
    r = m.regs(0)
    walker = Walker(m.read_phys, Modes.from_registers(r["cr0"], r["cr4"], r["efer"]))
    space = walker.space(r["cr3"])
    assert space.covers(0) is None and not space.problems
    readonly = space.covers(0x180000)
    assert readonly is not None and not readonly.writable and readonly.exec_kernel
    data = space.covers(0x300000)
    assert data is not None and data.size == 2 << 20 and data.writable and not data.executable
    # 511 small pages in each half, less the read-only one.
    assert len(writable_and_executable([space])) == 2 * 510
    for address in (0x100000, 0x180123, 0x3FFFFF, 0xFFFFFFFF80100000):
        assert space.translate(address) == int(m.qmp.hmp(f"gva2gpa {address:#x}").split()[-1], 16)


@X86_64
def test_breakpoints_count_hits_and_watchpoints_tell_the_address(start: Start, probe: Image) -> None:
    m = start(paused=True)
    tick, count = probe.sym("tick"), probe.sym("count")
    stop = m.run_until(tick, hits=5)
    assert stop.breakpoint and m.gdb.pc(0) == tick
    assert int.from_bytes(m.read_phys(count, 8), "little") == 4
    m.gdb.step(0)
    assert int.from_bytes(m.read_phys(count, 8), "little") == 5
    m.gdb.set_break(count, WRITE, 8)
    m.cont()
    assert m.wait_stop(20).watch == count
    m.gdb.clear_all()
    m.cont()
    m.wait_for("counted", 20)


@X86_64
def test_a_breakpoint_that_is_never_reached_ends_with_the_machine_stopped(start: Start, probe: Image) -> None:
    m = start(paused=True)
    with pytest.raises(DeadlineError, match="0 of 1 hits"):
        m.run_until(probe.sym("fault"), timeout=0.3)
    assert not m.gdb.running


@X86_64
def test_exceptions_are_logged_only_while_asked_for(start: Start, probe: Image) -> None:
    m = start()
    m.wait_for("counted", 20)
    m.send("f")
    m.wait_for("page fault", 20)
    mark = m.log_exceptions()
    m.send("n")
    m.wait_for("page fault", 20)
    m.log_exceptions(False)
    m.send("f")
    m.wait_for("page fault", 20)
    (e,) = m.exclog.faults(mark)
    assert (e.name, e.error, e.cr2, e.rip, e.cpl) == ("#PF", 0x11, 0x300000, 0x300000, 0)
    assert e.regs["CR3"] == probe.sym("pml4")
    assert m.exclog.faults() == [e]


@X86_64
def test_the_firmwares_exceptions_are_told_apart(start: Start) -> None:
    m = start(exclog=True)
    m.wait_for("counted", 20)
    assert m.exclog.faults() == []


@X86_64
def test_a_triple_fault_leaves_a_guest_to_inspect(start: Start, probe: Image) -> None:
    m = start(keep=True)
    m.wait_for("counted", 20)
    mark = m.log_exceptions()
    m.send("t")
    assert not m.wait_stop(20).breakpoint
    assert m.shutdown_reason() == "guest-reset" and m.qmp.status() == "shutdown"
    records = m.exclog.since(mark)
    assert isinstance(records[0], X86Exception) and records[0].name == "#UD"
    assert isinstance(records[-1], TripleFault)
    assert m.read_phys(probe.sym("count"), 8) == (1000).to_bytes(8, "little")


@X86_64
def test_a_triple_fault_ends_an_unattended_guest(start: Start) -> None:
    m = start()
    m.wait_for("counted", 20)
    m.send("t")
    assert m.wait_exit(20) == 0
    assert m.shutdown_reason() == "guest-reset"


def test_moments_are_the_same_for_a_seed_and_differ_between_seeds() -> None:
    events = [Event("a", 0x1000, 50), Event("b", 0x2000, 3)]
    assert draw(7, "x", events, 5) == draw(7, "x", events, 5)
    assert draw(7, "x", events, 5) != draw(8, "x", events, 5)
    assert draw(7, "x", events, 5) != draw(7, "y", events, 5)
    assert len(set(draw(7, "x", events, 53))) == 53 == len(draw(7, "x", events, 99))


@X86_64
def test_moments_are_visited_at_their_hits(start: Start, probe: Image) -> None:
    m = start(paused=True)
    tick = Event("tick", probe.sym("tick"), 1000)
    seen = [(moment.hit, int.from_bytes(m.read_phys(probe.sym("count"), 8), "little"))
            for moment, _ in visit(m, [Moment(tick, 9), Moment(tick, 2)], 20)]
    assert seen == [(2, 1), (9, 8)]
    m.cont()
    m.wait_for("counted", 20)


@X86_64
def test_a_moment_that_never_comes_is_named(start: Start, probe: Image) -> None:
    m = start(paused=True)
    with pytest.raises(DeadlineError, match="hit 1 of never"):
        list(visit(m, [Moment(Event("never", probe.sym("fault")), 1)], 0.3))


@X86_64
def test_one_seed_is_one_run(start: Start, probe: Image) -> None:
    def run(seed: int) -> tuple[bytes, int, str]:
        m = start(paused=True, icount=True, seed=seed)
        m.run_until(probe.sym("tick"), hits=40)
        clock = re.search(r"tsc.*", m.qmp.hmp("info registers"))
        return m.read_phys(probe.sym("random"), 8), m.regs(0)["rsp"], clock[0] if clock else ""

    assert run(5) == run(5)
    assert run(5)[0] != run(6)[0]


@X86_64
def test_a_flood_on_the_console_keeps_its_newest_part(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grade.qemu.SERIAL_MAX", 64)
    m = start()
    m.wait_for("counted", 20)
    for _ in range(10):
        m.send("f")
        m.wait_for("page fault\r\n", 20)
    assert m.serial_flooded and len(m.transcript) <= 64 and m.transcript.endswith("probe: page fault\n")


@X86_64
def test_a_closed_stub_is_told_apart_from_a_slow_one(start: Start) -> None:
    m = start()
    m.wait_for("counted", 20)
    m.send("q")
    m.wait_exit(20)
    with pytest.raises((GdbClosed, DeadlineError)):
        m.stop(2)


@pytest.mark.arch("aarch64")
def test_a_counted_clock_does_not_leap_where_a_guest_stands_at_a_breakpoint(tmp_path: Path) -> None:
    """Without the metronome it leaps to the end of time at the first one, and QEMU answers no more."""
    idle = assemble("idle", "aarch64-linux-gnu-gcc", 0x4020_0000, tmp_path)
    with Machine(idle.path, arch="aarch64", mem=32, paused=True, icount=True) as m:
        clock = []
        for _ in range(20):
            m.run_until(idle.sym("tell"), timeout=20)
            clock.append(m.gdb.reg(0, "x0"))
    assert all(0 < after - before < COUNTER_HZ // 5 for before, after in pairwise(clock)), clock


@pytest.mark.guest
def test_one_arrival_is_one_stop_where_the_instructions_page_must_be_fetched_first(boot: Boot, image: Image,
                                                                                   build: Build) -> None:
    """A program's first instruction: QEMU stops there, the step off it is a page fault, and it comes there again."""
    m = boot(append="quiet rdinit=/bin/test-load", run="3", paused=True, keep=True)
    image = image.at(m)
    m.run_until(image.sym("process_start_init"), timeout=60)
    load = Image(ROOT / "build" / build.arch / "user" / "test-load")
    with contextlib.closing(load):
        for place in (load.entry, load.sym("main")):
            m.gdb.set_break(place)
        arrivals = []
        for _ in range(2):
            m.cont()
            arrivals.append(m.gdb.pc(m.wait_stop(60).cpu))
        assert arrivals == [load.entry, load.sym("main")]

def answer(stub: socket.socket, pcs: list[int], asked: list[str]) -> None:
    """A stub whose CPU stands at `pcs` after each resumption, one after the other. Notes the resumptions. The first CPU
    ends each, but a step of another."""
    at, pending = 0, b""
    while data := stub.recv(4096):
        *commands, pending = re.split(rb"#..", pending + data)
        for command in (c.partition(b"$")[2] for c in commands):
            said = "OK"
            if command.startswith(b"vCont"):
                asked.append(command.decode())
                at, said = at + 1, f"T05thread:{command.decode().partition('s:')[2] or '1'};"
            elif command.startswith(b"qXfer"):
                said = 'l<target><feature><reg name="rip" bitsize="64"/><reg name="rsp" bitsize="64"/></feature></target>'
            elif command.startswith(b"p"):
                said = (pcs[at] if command == b"p0" else 0).to_bytes(8, "little").hex()
            stub.sendall(b"+$%s#%02x" % (said.encode(), sum(said.encode()) & 255))


@pytest.mark.parametrize(("pcs", "resumed"), [
    ([16, 20, 32], ["vCont;s:1", "vCont;c"]), ([16, 16, 16, 20, 32], ["vCont;s:1"] * 3 + ["vCont;c"])])
def test_a_step_off_a_breakpoint_that_did_not_step_is_made_again(pcs: list[int], resumed: list[str]) -> None:
    """QEMU reports one now and then, and the arrival would be two stops."""
    ours, theirs = socket.socketpair()
    asked: list[str] = []
    with theirs, ThreadPoolExecutor(1) as pool, ours:       # ours is closed first: that ends the other side
        answering = pool.submit(answer, theirs, [0, *pcs], asked)
        gdb = GdbStub(ours, running=False)
        gdb.set_break(16)
        gdb.cont()
        assert gdb.pc(gdb.wait(5).cpu) == 16
        gdb.cont()
        assert gdb.pc(gdb.wait(5).cpu) == 32
    answering.result()
    assert asked == ["vCont;c", *resumed]


def test_a_cpu_that_stands_on_a_breakpoint_is_stepped_off_it_after_another_was_stepped() -> None:
    """It would come there at once, and the arrival would be two stops."""
    ours, theirs = socket.socketpair()
    asked: list[str] = []
    with theirs, ThreadPoolExecutor(1) as pool, ours:
        answering = pool.submit(answer, theirs, [0, 16, 16, 20, 32], asked)
        gdb = GdbStub(ours, running=False)
        gdb.set_break(16)
        gdb.cont()
        assert gdb.wait(5).cpu == 0
        assert gdb.step(1).cpu == 1
        gdb.cont()
        assert gdb.pc(gdb.wait(5).cpu) == 32
    answering.result()
    assert asked == ["vCont;c", "vCont;s:2", "vCont;s:1", "vCont;c"]
