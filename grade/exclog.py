"""QEMU's exception log (`-d int`), parsed as it streams through a FIFO, into typed records.

The log cannot be turned by the guest into anything but records: QEMU writes it, the guest only causes it. It
is capped, and a flood is a verdict: `flooded` turns true and later bytes are thrown away, so that a guest
that faults for ever costs neither memory nor disk.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Union

from grade.deadline import Deadline, DeadlineError

X86_NAMES = {0: "#DE", 1: "#DB", 2: "NMI", 3: "#BP", 4: "#OF", 5: "#BR", 6: "#UD", 7: "#NM", 8: "#DF", 10: "#TS",
             11: "#NP", 12: "#SS", 13: "#GP", 14: "#PF", 16: "#MF", 17: "#AC", 18: "#MC", 19: "#XM", 21: "#CP"}

ARM_FAULTS = ("Undefined Instruction", "Prefetch Abort", "Data Abort", "Breakpoint")


@dataclass
class X86Exception:
    """One exception or interrupt that the CPU took. `regs` holds the dump that follows (RAX, CR3, EFER, ...)."""

    number: int         # QEMU's running count
    vector: int
    error: int
    software: bool      # INT n
    cpl: int            # privilege level that it interrupted
    cs: int
    rip: int
    sp: int
    cr2: int | None     # page faults only
    regs: dict[str, int] = field(default_factory=dict, repr=False)
    old: int | None = None      # the vector being delivered when this one was raised (a double fault's first)

    arch = "x86_64"

    @property
    def name(self) -> str:
        """The manual's short name, for example "#PF", or "INT 0x20"."""
        return X86_NAMES.get(self.vector, f"INT {self.vector:#x}")

    @property
    def is_fault(self) -> bool:
        """An exception of the CPU and not an interrupt or INT n."""
        return self.vector < 32 and self.vector != 2 and not self.software

    @property
    def is_interrupt(self) -> bool:
        """A device's or a timer's interrupt, or another CPU's."""
        return self.vector >= 32

    @property
    def address(self) -> int | None:
        """The faulting address, if there is one."""
        return self.cr2

    @property
    def fetch(self) -> bool:
        """A page fault on an instruction fetch."""
        return self.vector == 14 and bool(self.error & 16)

    @property
    def write(self) -> bool:
        """A page fault on a store."""
        return self.vector == 14 and bool(self.error & 2)

    @property
    def present(self) -> bool:
        """A page fault on a page that is there: a rights violation."""
        return self.vector == 14 and bool(self.error & 1)

    @property
    def in_kernel(self) -> bool:
        """It interrupted the kernel."""
        return self.cpl == 0

    @property
    def ip(self) -> int:
        """The instruction that it interrupted."""
        return self.rip

    @property
    def long_mode(self) -> bool:
        """Taken in long mode (false for the firmware's)."""
        return bool(self.regs.get("EFER", 0) & 0x400)

    def __str__(self) -> str:
        where = f" address {self.cr2:#x}" if self.cr2 is not None else ""
        return f"{self.name} error {self.error:#x} cpl {self.cpl} rip {self.rip:#x} sp {self.sp:#x}{where}"


@dataclass
class ArmException:
    """One exception that an aarch64 CPU took."""

    number: int         # our running count
    type: int           # QEMU's exception index
    kind: str           # "SVC", "Data Abort", "IRQ", ...
    cpu: int
    from_el: int = 0
    to_el: int = 1
    ec: int | None = None
    esr: int | None = None
    far: int | None = None
    elr: int | None = None
    vector_pc: int | None = None

    arch = "aarch64"

    @property
    def is_fault(self) -> bool:
        """A synchronous exception that no instruction asked for (those are SVC, HVC and SMC). QEMU names an
        ESR for interrupts too, an old one."""
        return self.kind in ARM_FAULTS

    @property
    def is_interrupt(self) -> bool:
        """A device's or a timer's interrupt, or another CPU's."""
        return self.kind in ("IRQ", "FIQ")

    @property
    def address(self) -> int | None:
        """The faulting address, if there is one."""
        return self.far

    @property
    def name(self) -> str:
        """QEMU's name, for example "Data Abort"."""
        return self.kind

    @property
    def in_kernel(self) -> bool:
        """It interrupted the kernel."""
        return self.from_el == 1

    @property
    def ip(self) -> int:
        """The instruction that it interrupted, or that comes next."""
        return self.elr or 0

    @property
    def fetch(self) -> bool:
        """An abort on an instruction fetch."""
        return self.ec in (0x20, 0x21)

    @property
    def data(self) -> bool:
        """An abort on a load or store."""
        return self.ec in (0x24, 0x25)

    @property
    def write(self) -> bool:
        """A data abort on a store."""
        return self.data and bool((self.esr or 0) & 1 << 6)

    @property
    def present(self) -> bool:
        """An abort on a page that is there: a rights violation."""
        return (self.fetch or self.data) and (self.esr or 0) & 0x3C == 0x0C

    def __str__(self) -> str:
        parts = [f"{self.kind} EL{self.from_el}->EL{self.to_el}"]
        for label, value in (("ESR", self.esr), ("ELR", self.elr), ("FAR", self.far)):
            if value is not None:
                parts.append(f"{label} {value:#x}")
        return " ".join(parts)


@dataclass
class TripleFault:
    """A fault while a double fault was being delivered: the machine resets."""

    vector: int
    number: int = -1
    arch = "x86_64"

    def __str__(self) -> str:
        return f"triple fault (a {X86_NAMES.get(self.vector, hex(self.vector))} while delivering #DF)"


Record = Union[X86Exception, ArmException, TripleFault]

_X86 = re.compile(
    rb"\s*(\d+): v=([0-9a-f]+) e=([0-9a-f]+) i=(\d) cpl=(\d) IP=([0-9a-f]+):([0-9a-f]+) pc=[0-9a-f]+ "
    rb"SP=[0-9a-f]+:([0-9a-f]+)(?: CR2=([0-9a-f]+))?")
_CHECK = re.compile(rb"check_exception old: 0x([0-9a-f]+) new 0x([0-9a-f]+)")
_DUMP = re.compile(rb"([ER][A-Z0-9]{1,3}|R\d+|CR[0-8]|EFER|[ER]FL|CPL) ?=([0-9a-f]+)")
_DUMP_START = (b"RAX", b"RSI", b"R8 ", b"R12", b"RIP", b"EAX", b"ESI", b"EIP", b"CR0", b"EFER")
_ARM = re.compile(rb"Taking exception (\d+) \[([^\]]*)\](?: on CPU (\d+))?")
_ARM_EL = re.compile(rb"\.\.\.from EL(\d) to EL(\d)")
_ARM_WITH = re.compile(rb"\.\.\.with (ESR|FAR|ELR|SPSR) 0x([0-9a-f]+)(?:/0x([0-9a-f]+))?")
_ARM_TO = re.compile(rb"\.\.\.to EL(\d) PC 0x([0-9a-f]+)")
_LINE_MAX = 1 << 16


class Parser:
    """Turns bytes of the log into records. Lines that are none (firmware's SMM entries, interrupts being
    serviced) are skipped. A record counts once its dump is complete, or the next one begins."""

    def __init__(self) -> None:
        self._buf = bytearray()
        self._now: Record | None = None
        self._old: int | None = None
        self._arm_count = 0

    def feed(self, data: bytes) -> Iterator[Record]:
        """Records completed by `data`."""
        self._buf += data
        lines = self._buf.split(b"\n")
        self._buf = lines.pop()
        if len(self._buf) > _LINE_MAX:
            self._buf.clear()
        for line in lines:
            yield from self._line(line)

    def finish(self) -> Iterator[Record]:
        """The record that is still open at the end of the log."""
        if self._buf:
            last, self._buf = self._buf, bytearray()
            yield from self._line(last)
        yield from self._flush()

    def _flush(self) -> Iterator[Record]:
        if self._now is not None:
            yield self._now
            self._now = None

    def _line(self, line: bytes) -> Iterator[Record]:
        now = self._now
        if isinstance(now, X86Exception) and line.startswith(_DUMP_START):
            for name, value in _DUMP.findall(line):
                now.regs[name.decode()] = int(value, 16)
            if line.startswith(b"EFER"):
                yield from self._flush()
        elif m := _X86.match(line):
            yield from self._flush()
            number, vector, error, software, cpl, cs, rip, sp, cr2 = m.groups()
            self._now = X86Exception(int(number), int(vector, 16), int(error, 16), software != b"0", int(cpl),
                                     int(cs, 16), int(rip, 16), int(sp, 16), int(cr2, 16) if cr2 else None)
            if self._now.vector == 8:
                self._now.old = self._old
            self._old = None
        elif m := _CHECK.match(line):
            yield from self._flush()
            old, new = int(m[1], 16), int(m[2], 16)
            if old == 8:
                yield TripleFault(new)
            self._old = old if old < 256 else None
        elif m := _ARM.match(line):
            yield from self._flush()
            self._now = ArmException(self._arm_count, int(m[1]), m[2].decode("latin-1"), int(m[3] or 0))
            self._arm_count += 1
        elif isinstance(now, ArmException):
            yield from self._arm_line(now, line)

    def _arm_line(self, now: ArmException, line: bytes) -> Iterator[Record]:
        if m := _ARM_EL.match(line):
            now.from_el, now.to_el = int(m[1]), int(m[2])
        elif m := _ARM_WITH.match(line):
            if m[1] == b"ESR":
                # QEMU writes "EC/ESR".
                now.ec = int(m[2], 16)
                now.esr = int(m[3] or m[2], 16)
            elif m[1] == b"FAR":
                now.far = int(m[2], 16)
            elif m[1] == b"ELR":
                now.elr = int(m[2], 16)
        elif m := _ARM_TO.match(line):
            now.to_el, now.vector_pc = int(m[1]), int(m[2], 16)
            yield from self._flush()


def parse(data: bytes) -> list[Record]:
    """All records of a whole log."""
    parser = Parser()
    return [*parser.feed(data), *parser.finish()]


class ExcLog:
    """The live log of one machine. The reading end of the FIFO is drained by the machine's pump thread
    (`pump`); records are kept up to `max_records`, or until `max_bytes` have come."""

    def __init__(self, fd: int, max_records: int = 20000, max_bytes: int = 64 << 20) -> None:
        """Takes a non-blocking descriptor to read from."""
        self._fd = fd
        self._parser = Parser()
        self._cond = threading.Condition()
        self._records: list[Record] = []
        self._bytes = 0
        self._max_records, self._max_bytes = max_records, max_bytes
        self._closed = False
        self.flooded = False

    def fileno(self) -> int:
        """The descriptor, for a selector."""
        return self._fd

    def pump(self) -> None:
        """Reads what is there without waiting. Any thread may call it."""
        with self._cond:
            while True:
                try:
                    data = os.read(self._fd, 1 << 18)
                except BlockingIOError:
                    break
                if not data:
                    break
                self._take(data)
            self._cond.notify_all()

    def _take(self, data: bytes) -> None:
        if self.flooded:
            return
        self._bytes += len(data)
        self._records.extend(self._parser.feed(data))
        if len(self._records) >= self._max_records or self._bytes >= self._max_bytes:
            self.flooded = True

    def close(self) -> None:
        """The machine is gone: completes the last record and wakes whoever waits."""
        self.pump()
        with self._cond:
            self._records.extend(self._parser.finish())
            self._closed = True
            self._cond.notify_all()

    def mark(self) -> int:
        """A position: since(mark) gives what came after it."""
        self.pump()
        with self._cond:
            return len(self._records)

    def since(self, mark: int = 0) -> list[Record]:
        """Records after a mark; all by default."""
        self.pump()
        with self._cond:
            return self._records[mark:]

    def faults(self, mark: int = 0) -> list[X86Exception]:
        """x86 exceptions (no interrupts) in long mode after a mark."""
        return [r for r in self.since(mark) if isinstance(r, X86Exception) and r.is_fault and r.long_mode]

    def arm_faults(self, mark: int = 0) -> list[ArmException]:
        """aarch64's exceptions (no interrupts, no calls) after a mark."""
        return [r for r in self.since(mark) if isinstance(r, ArmException) and r.is_fault]

    def last(self, count: int) -> list[Record]:
        """The newest `count` records."""
        self.pump()
        with self._cond:
            return self._records[-count:]

    def wait(self, wanted: Callable[[Record], bool], timeout: float | Deadline, mark: int = 0) -> Record:
        """The first record after `mark` for which `wanted` holds.

        DeadlineError after `timeout` seconds, on a flood, or if the machine ends first; its text ends with
        the last records.
        """
        deadline = Deadline(timeout)
        with self._cond:
            seen = mark
            while True:
                for record in self._records[seen:]:
                    if wanted(record):
                        return record
                seen = max(seen, len(self._records))
                if self.flooded or self._closed or deadline.passed():
                    why = "flood of exceptions" if self.flooded else "machine ended" if self._closed \
                        else f"not within {deadline.seconds:g} s"
                    tail = "\n".join(f"  {r}" for r in self._records[-5:])
                    raise DeadlineError(f"awaited exception did not come ({why}); last ones:\n{tail}")
                self._cond.wait(deadline.left())
