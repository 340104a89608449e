"""One QEMU guest, driven and watched from outside.

    with Machine(kernel=..., initrd=..., append="quiet", smp=2) as m:
        m.wait_for(r"# ", timeout=20)
        m.stop()
        print(hex(m.gdb.reg(0, "cr3")), m.read_phys(0x200000, 16))

All channels are inherited descriptors (socket pairs, a FIFO, guest RAM as a memfd), so nothing has to be
polled for, no port or path is shared with another run, and nobody else can connect. The guest's RAM is mapped
here, so physical reads cost nothing. Stop and continue through `stop()` and `cont()` only: they go through the
gdbstub, which must know.
"""

from __future__ import annotations

import contextlib
import functools
import mmap
import os
import re
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from grade.cputime import cpu_seconds
from grade.deadline import Deadline, DeadlineError
from grade.exclog import ExcLog
from grade.gdbstub import SIGINT, GdbClosed, GdbError, GdbStub, Stop
from grade.qmp import QMP, QMPClosed, QMPError
from grade.walk import PhysError

SERIAL_MAX = 1 << 20    # bytes of console kept; older ones are dropped and `serial_flooded` is set
TAIL_LINES = 40
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)        # statuses of QEMU, and of a bubblewrap around it


@dataclass(frozen=True)
class Arch:
    """What differs between the machines that the harness starts."""

    name: str
    binary: str
    machine: str
    cpu: str
    console: str
    ram_base: int
    low_max: int | None     # RAM beyond this is moved to `high_base`
    low_split: int          # how much stays low then
    high_base: int

    def ram_ranges(self, size: int) -> list[tuple[int, int, int]]:
        """(physical address, size, offset in the RAM file) of each piece of `size` bytes of RAM."""
        if self.low_max is None or size <= self.low_max:
            return [(self.ram_base, size, 0)]
        return [(self.ram_base, self.low_split, 0), (self.high_base, size - self.low_split, self.low_split)]


# What init's shell ends with when it waits for a command, and what busybox's then asks a terminal.
PROMPT = r"[#$] (?:\x1b\[6n)?\Z"

ARCHES = {
    # q35 keeps up to 0xb0000000 bytes below its PCI hole, and just 2 GiB once there are more (hw/i386/pc_q35.c).
    # Without its disk controller: SeaBIOS waits for disks, which under icount takes as long as all the rest of a boot.
    "x86_64": Arch("x86_64", "qemu-system-x86_64", "q35,sata=off,smbus=off", "max", "ttyS0", 0, 0xB000_0000 - 1, 0x8000_0000,
                   0x1_0000_0000),
    "aarch64": Arch("aarch64", "qemu-system-aarch64", "virt", "max,pauth-impdef=on", "ttyAMA0", 0x4000_0000,
                    None, 0, 0),
}


class QemuError(RuntimeError):
    """QEMU could not be started, or ended with an error of its own: the host's fault, never a grade."""


@functools.lru_cache(maxsize=None)
def sandbox_works(binary: str) -> bool:
    """Whether this QEMU was built with its seccomp sandbox."""
    done = subprocess.run([binary, "-M", "none", "-nodefaults", "-display", "none", "-S", "-sandbox", "on",
                           "-monitor", "stdio"], input=b"quit\n", stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, timeout=60, check=False)
    return done.returncode == 0

# Under sleep=off QEMU's clock leaps to its next timer as soon as no CPU can run, and that includes the moment between a
# breakpoint and the stop that it asks for. Where the guest has armed none (an idle CPU of a tickless kernel has not),
# the next is the end of time: the clock stands at INT64_MAX ns, every timer that is set from then on has expired when it
# is set, and QEMU serves nothing but them. A timer of the machine's own bounds the leap: a filter on a network of nobody,
# every 50,000 us, which is about what a PC's PIT does.
METRONOME = ("-netdev", "hubport,id=metronome,hubid=0",
             "-object", "filter-buffer,id=metronome-beat,netdev=metronome,interval=50000")


class Machine:
    """A guest for the length of a `with` block. Not thread-safe, but for its own pump thread."""

    def __init__(self, kernel: str | Path, initrd: str | Path | None = None, append: str = "", *,
                 arch: str = "x86_64", smp: int = 1, mem: int = 256, cpu: str | None = None, machine: str | None = None,
                 paused: bool = False, icount: bool = False, seed: int | None = None, exclog: bool = False,
                 exc_records: int = 20000, keep: bool = False, sandbox: bool = True,
                 extra: Sequence[str] = (), wrapper: Sequence[str] = (), owner: int | None = None,
                 translated: int | None = None) -> None:
        """Describes a guest; `with` starts it.

        mem: MiB. cpu, machine: QEMU's names, if others than the architecture's. paused: stand before the first
        instruction. icount: one nanosecond of guest time is one instruction, so that runs repeat (given `seed`, and
        no serial input). exclog: log exceptions from the start. keep: a guest that powers off or triple-faults stays
        for inspection, stopped. extra: further QEMU arguments. wrapper: a command that starts QEMU inside a
        container; it gets no environment of ours. owner: the uid as which the wrapper runs QEMU, where that is not
        ours. translated: MiB of translated code that QEMU keeps, where it should not be what QEMU would: up to a GiB.
        """
        self.arch = ARCHES[arch]
        self.kernel, self.initrd, self.append = Path(kernel), Path(initrd) if initrd else None, append
        self.smp, self.mem, self.cpu, self.machine = smp, mem, cpu or self.arch.cpu, machine or self.arch.machine
        self.paused, self.icount, self.seed, self.keep = paused, icount, seed, keep
        self.sandbox, self.extra, self.wrapper, self.owner = sandbox, list(extra), list(wrapper), owner
        self._translated = f",tb-size={translated}" if translated else ""
        self._log_at_start, self._exc_records = exclog, exc_records
        self._cond = threading.Condition()
        self._console = bytearray()
        self._dropped = 0           # console bytes dropped at the front
        self._cursor = 0            # where the next wait_for() looks, counted from the console's beginning
        self._exited: int | None = None
        self.serial_flooded = False
        self._closers: list[Any] = []

    # ---- life -----------------------------------------------------------------------------------------

    def __enter__(self) -> Machine:
        try:
            self._start()
        except BaseException:
            self._teardown()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._teardown()

    def _start(self) -> None:
        for path in (self.kernel, self.initrd):
            if path is not None and not path.is_file():
                raise QemuError(f"{path}: no such file (build first)")
        if shutil.which(self.arch.binary) is None:
            raise QemuError(f"{self.arch.binary} is not installed")
        self.dir = Path(tempfile.mkdtemp(prefix="rampart-"))
        fifo = self.dir / "exceptions"
        os.mkfifo(fifo, 0o600)
        if self.owner is not None:
            os.chown(fifo, self.owner, self.owner)
            os.chmod(self.dir, 0o711)
        # Opened for reading and writing: never end-of-file, and QEMU's open never blocks.
        log_fd = os.open(fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._closers.append(functools.partial(os.close, log_fd))
        self.exclog = ExcLog(log_fd, max_records=self._exc_records)
        ours, theirs = {}, {}
        for name in ("qmp", "gdb", "serial"):
            ours[name], theirs[name] = socket.socketpair()
            self._closers += [ours[name].close, theirs[name].close]
        size = self.mem << 20
        ram = os.memfd_create("guest-ram", os.MFD_CLOEXEC)
        try:
            os.truncate(ram, size)
            self._ram = mmap.mmap(ram, size, prot=mmap.PROT_READ | mmap.PROT_WRITE)
            self._ram_ranges = self.arch.ram_ranges(size)
            fds = {name: s.fileno() for name, s in theirs.items()} | {"ram": ram}
            with open(self.dir / "stderr", "wb") as err:
                self._process = subprocess.Popen(
                    self.command(fds, fifo), stdin=subprocess.DEVNULL, stdout=err, stderr=err,
                    pass_fds=list(fds.values()), cwd=self.dir, start_new_session=True,
                    env={"PATH": "/usr/bin:/bin", "LANG": "C"} if self.wrapper else None)
        finally:
            os.close(ram)
        for end in theirs.values():
            end.close()
        self._serial = ours["serial"]
        self._serial.setblocking(False)
        self._pidfd = os.pidfd_open(self._process.pid)
        self._closers.append(functools.partial(os.close, self._pidfd))
        self._wake_r, self._wake_w = os.pipe()
        self._closers += [functools.partial(os.close, self._wake_r), functools.partial(os.close, self._wake_w)]
        self._pump = threading.Thread(target=self._pump_loop, name="machine", daemon=True)
        self._pump.start()
        try:
            self.qmp = QMP(ours["qmp"], timeout=60)
        except (QMPClosed, ConnectionError) as error:
            self._process.wait(timeout=30)
            raise QemuError(f"QEMU did not start: {self.stderr().strip()}") from error
        self.gdb = GdbStub(ours["gdb"], running=not self.paused)

    def command(self, fds: dict[str, int], fifo: Path) -> list[str]:
        """QEMU's command line, given descriptor numbers."""
        machine = f"{self.machine},memory-backend=ram"
        line = [*self.wrapper]
        if not self.wrapper and (setpriv := shutil.which("setpriv")):
            line += [setpriv, "--pdeathsig", "KILL", "--"]      # no orphan if the harness is killed
        line += [self.arch.binary, "-accel", f"tcg{self._translated}", "-M", machine, "-cpu", self.cpu,
                 "-smp", str(self.smp), "-m", str(self.mem),
                 "-object", f"memory-backend-file,id=ram,size={self.mem}M,share=on,"
                            f"mem-path=/proc/self/fd/{fds['ram']}",
                 "-nodefaults", "-vga", "none", "-net", "none", "-display", "none", "-no-reboot"]
        for name in ("qmp", "gdb", "serial"):
            line += ["-chardev", f"socket,id=h-{name},fd={fds[name]}"]
        line += ["-mon", "chardev=h-qmp,mode=control", "-gdb", "chardev:h-gdb",
                 "-serial", "chardev:h-serial",
                 "-D", str(fifo), "-kernel", str(self.kernel.resolve())]
        if self.initrd is not None:
            line += ["-initrd", str(self.initrd.resolve())]
        if self.append:
            line += ["-append", self.append]
        if self._log_at_start:
            line += ["-d", "int"]
        if self.paused:
            line += ["-S"]
        if self.keep:
            line += ["-action", "reboot=shutdown,shutdown=pause"]
        if self.icount:
            line += ["-icount", "shift=0,sleep=off", "-rtc", "base=2024-01-01T00:00:00,clock=vm", *METRONOME]
        if self.seed is not None:
            line += ["-seed", str(self.seed)]
        if self.sandbox and sandbox_works(self.arch.binary):
            line += ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
        return line + self.extra

    def _teardown(self) -> None:
        process: subprocess.Popen[bytes] | None = getattr(self, "_process", None)
        if process is not None:
            process.kill()
            process.wait()
            pump: threading.Thread | None = getattr(self, "_pump", None)
            if pump is not None:
                os.write(self._wake_w, b"x")
                pump.join()
        for close in self._closers:
            close()
        self._closers.clear()
        if hasattr(self, "_ram"):
            self._ram.close()
        if hasattr(self, "dir"):
            shutil.rmtree(self.dir, ignore_errors=True)

    def _pump_loop(self) -> None:
        """Drains console and exception log for as long as QEMU lives."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._serial, selectors.EVENT_READ)
            selector.register(self.exclog, selectors.EVENT_READ)
            selector.register(self._pidfd, selectors.EVENT_READ)
            selector.register(self._wake_r, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select()}
                if self.exclog.fileno() in ready:
                    self.exclog.pump()
                if self._serial.fileno() in ready and not self._read_serial():
                    selector.unregister(self._serial)
                if self._wake_r in ready or self._pidfd in ready:
                    break
        if self._pidfd in ready:
            self._read_serial()
            self.exclog.close()
            with self._cond:
                self._exited = self._process.wait()
                self._cond.notify_all()

    def _read_serial(self) -> bool:
        """Takes what the console has; False at its end. Any thread may call it."""
        while True:
            with self._cond:
                try:
                    data = self._serial.recv(1 << 16)
                except BlockingIOError:
                    return True
                except ConnectionResetError:
                    return False
                if not data:
                    return False
                self._console += data
                if len(self._console) > SERIAL_MAX:
                    drop = len(self._console) - SERIAL_MAX // 2
                    del self._console[:drop]
                    self._dropped += drop
                    self.serial_flooded = True
                self._cond.notify_all()

    # ---- the console ----------------------------------------------------------------------------------

    @property
    def transcript(self) -> str:
        """Everything on the console so far (its newest half, after a flood), line ends made one character. Of a guest
        that stands, all that it has printed."""
        with contextlib.suppress(OSError):      # closed, after its end
            self._read_serial()
        with self._cond:
            return _text(self._console)

    def catch_up(self) -> None:
        """Takes what a guest that stands has printed so far, all of it: QEMU has sent it when it answers."""
        if not self.exited:
            with contextlib.suppress(QMPClosed):
                self.qmp.cmd("query-status")
        self._read_serial()

    def tail(self, lines: int = TAIL_LINES) -> list[str]:
        """The last lines of the console."""
        with self._cond:
            return _text(self._console[-lines * 400:]).splitlines()[-lines:]

    def wait_for(self, pattern: str | re.Pattern[str], timeout: float | Deadline) -> re.Match[str]:
        """Waits until the console shows `pattern` (searched after the previous match, MULTILINE) and takes it.

        DeadlineError after `timeout` host seconds, or if QEMU ends first; its text shows the last console
        lines and exceptions.
        """
        deadline = Deadline(timeout)
        wanted = re.compile(pattern, re.MULTILINE) if isinstance(pattern, str) else pattern
        with self._cond:
            while True:
                start = max(0, self._cursor - self._dropped)
                # Latin-1 keeps one character a byte, so that match positions are byte positions.
                text = self._console[start:].decode("latin-1")
                if match := wanted.search(text):
                    self._cursor = self._dropped + start + match.end()
                    return match
                if self._exited is not None:
                    problem = f"QEMU ended (status {self._exited}) before {wanted.pattern!r}"
                    break
                if deadline.passed():
                    problem = f"no {wanted.pattern!r} within {deadline.seconds:g} s"
                    break
                self._cond.wait(deadline.left())
        raise DeadlineError(f"{problem}\n{self.describe()}")

    def send(self, text: str) -> None:
        """Types on the console. Host timing enters the run here: never where a run must repeat."""
        view = memoryview(text.encode())
        with selectors.DefaultSelector() as selector:
            selector.register(self._serial, selectors.EVENT_WRITE)
            deadline = Deadline(30)
            while view:
                if selector.select(deadline.check("typing on the console")):
                    view = view[self._serial.send(view):]

    def ask(self, line: str, timeout: float | Deadline, prompt: str = r"[#$] (?:\x1b\[6n)?\Z") -> str:
        """Types a shell command line and returns what it printed before the next prompt."""
        self.send(line + "\n")
        with self._cond:
            before = self._cursor
        self.wait_for(prompt, timeout)
        with self._cond:
            start = max(0, before - self._dropped)
            shown = _text(self._console[start:self._cursor - self._dropped])
        body = shown.partition("\n")[2]         # the echoed command
        return body[:body.rfind("\n") + 1]      # without the prompt

    # ---- the end --------------------------------------------------------------------------------------

    def wait_exit(self, timeout: float | Deadline) -> int:
        """Waits until QEMU ends and returns its status (0: the guest powered off or reset)."""
        deadline = Deadline(timeout)
        with self._cond:
            while self._exited is None:
                if deadline.passed():
                    break
                self._cond.wait(deadline.left())
        if self._exited is None:
            raise DeadlineError(f"QEMU still runs after {deadline.seconds:g} s\n{self.describe()}")
        return self._exited

    @property
    def exited(self) -> bool:
        """Whether QEMU has ended."""
        with self._cond:
            return self._exited is not None

    @property
    def killed(self) -> bool:
        """Whether somebody has killed QEMU: the host, for its memory. No guest can bring that signal on; where it makes
        QEMU use too much, another one tells (sandbox.py)."""
        with contextlib.suppress(DeadlineError):
            try:
                if not self.exited:
                    self.qmp.cmd("query-status")
                    return False
            except ConnectionError:
                pass        # it is gone, or about to go
            return self.wait_exit(30) in KILLED
        return False

    def cpu_seconds(self) -> float:
        """The processor time that QEMU has used: what a guest costs, however busy the host is."""
        return cpu_seconds(self._process.pid)       # the wrapper, and QEMU somewhere below

    def shutdown_reason(self) -> str | None:
        """Why the guest went down: "guest-shutdown", "guest-reset" (a triple fault too), "guest-panic" or
        None while it is up."""
        for event in self.qmp.drain():
            if event["event"] == "SHUTDOWN":
                return str(event["data"]["reason"])
        return None

    def stderr(self) -> str:
        """What QEMU itself said."""
        return (self.dir / "stderr").read_text(errors="replace")[-4000:]

    # ---- stopping and looking -------------------------------------------------------------------------

    def stop(self, timeout: float | Deadline = 20) -> Stop:
        """Stops every CPU now."""
        return self.gdb.interrupt(timeout)

    def cont(self) -> None:
        """Lets every CPU run (stepping off a breakpoint first)."""
        self.gdb.cont()

    def wait_stop(self, timeout: float | Deadline) -> Stop:
        """Waits for a breakpoint, a watchpoint, or (with keep) the guest's end. DeadlineError with the
        console's tail otherwise."""
        try:
            return self.gdb.wait(timeout)
        except DeadlineError as error:
            raise DeadlineError(f"{error}\n{self.describe()}") from error

    def run_until(self, addr: int, hits: int = 1, timeout: float | Deadline = 20) -> Stop:
        """Continues until `addr` has been reached `hits` times; see GdbStub.run_until."""
        try:
            return self.gdb.run_until(addr, hits, timeout)
        except (DeadlineError, GdbClosed) as error:
            raise DeadlineError(f"{error}\n{self.describe()}") from error

    def log_exceptions(self, on: bool = True) -> int:
        """Switches QEMU's exception log; returns a mark for exclog.since()."""
        self.qmp.hmp("log int" if on else "log none")
        return self.exclog.mark()

    def read_phys(self, paddr: int, size: int) -> bytes:
        """Reads guest RAM, running or not. PhysError where no RAM is (devices, ROM, holes)."""
        for base, length, offset in self._ram_ranges:
            if base <= paddr and size <= length and paddr - base <= length - size:
                start = offset + paddr - base
                return self._ram[start:start + size]
        raise PhysError(f"{paddr:#x}+{size:#x} is not RAM")

    def write_phys(self, paddr: int, data: bytes) -> None:
        """Writes guest RAM; the guest should stand. QEMU does not see stores into translated code: use
        gdb.write_phys() for that."""
        for base, length, offset in self._ram_ranges:
            if base <= paddr and len(data) <= length and paddr - base <= length - len(data):
                start = offset + paddr - base
                self._ram[start:start + len(data)] = data
                return
        raise PhysError(f"{paddr:#x}+{len(data):#x} is not RAM")

    def regs(self, cpu: int = 0, *names: str) -> dict[str, int]:
        """Registers of a stopped CPU by the stub's names; the control registers by default."""
        if not names:
            names = ("cr0", "cr2", "cr3", "cr4", "efer", "rip", "rsp", "eflags", "cs") \
                if self.arch.name == "x86_64" else ("pc", "sp", "cpsr", "SCTLR", "TTBR0_EL1", "TTBR1_EL1",
                                                    "TCR_EL1", "MAIR_EL1", "VBAR")
        return self.gdb.regs(cpu, names)

    def offer_gdb(self, device: str) -> None:
        """Hands the stopped machine to an interactive GDB listening place, such as "tcp:127.0.0.1:1234" or
        "unix:/path,server=on,wait=off". This session's gdb is closed for good."""
        self.qmp.stop()
        answer = self.qmp.hmp(f"gdbserver {device}")
        if "Waiting for gdb" not in answer:
            raise QemuError(f"gdbserver {device}: {answer.strip()}")

    def describe(self) -> str:
        """The state in words, for a failure's text: console tail, last exceptions, where each CPU is."""
        out = [f"--- last {TAIL_LINES} console lines", *self.tail()]
        records = self.exclog.last(5)
        if records:
            out += ["--- last exceptions", *(str(r) for r in records)]
        if self.exclog.flooded:
            out.append("--- the exception log flooded")
        try:
            if not self.exited:
                if self.gdb.running:
                    stop = self.gdb.interrupt(5)
                    resume = stop.signal == SIGINT
                else:
                    resume = False
                out += ["--- CPUs", *(f"CPU {c}: pc {self.gdb.pc(c):#x}" for c in self.gdb.cpus())]
                if resume:
                    self.gdb.cont()
            elif text := self.stderr().strip():
                out += ["--- QEMU says", text]
        except (DeadlineError, GdbError, GdbClosed, QMPError, AttributeError, OSError) as error:
            out.append(f"--- CPUs: {error}")
        return "\n".join(out)


def _text(data: bytes | bytearray) -> str:
    return data.decode("utf-8", errors="replace").replace("\r\n", "\n").replace("\r", "")
