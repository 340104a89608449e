"""A client of QEMU's gdbstub over a connected unix socket: registers by name, memory, breakpoints, stops.

Threads of the protocol are CPUs here; CPU numbers start at 0 as QEMU's do (protocol thread = CPU + 1). Stops
are all-stop: one CPU's breakpoint halts every CPU. Not thread-safe; one owner talks.
"""

from __future__ import annotations

import re
import select
import socket
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from grade.deadline import Deadline, DeadlineError

SOFT, HARD, WRITE, READ, ACCESS = 0, 1, 2, 3, 4     # the numbers after Z and z
SIGINT, SIGTRAP = 2, 5
KERNEL_HALF = 1 << 63       # of addresses
_STEPS = 4              # a CPU that has not moved by then jumps to where it is
UNASKED = re.compile(r"T[0-9a-f]{2}(thread:.*)?")      # how a stop is reported
_MEM_CHUNK = 1024       # bytes a packet; QEMU takes at most 4096 characters


class GdbError(RuntimeError):
    """The stub answered with an error, or with something that is not the protocol."""


class GdbClosed(ConnectionError):
    """QEMU closed the socket, or the guest ended (a W or X packet)."""


class Stop(NamedTuple):
    """Why the machine stands: the signal, the CPU that stopped it, and a watchpoint's address if one hit."""

    signal: int
    cpu: int
    watch: int | None = None

    @property
    def breakpoint(self) -> bool:
        """A breakpoint, a watchpoint or a step (and not an interrupt or a shutdown)."""
        return self.signal == SIGTRAP


@dataclass(frozen=True)
class Register:
    """A register of the target description."""

    number: int
    bits: int
    type: str


class GdbStub:
    """One gdbstub session. `running` says whether the machine runs as far as this session knows."""

    def __init__(self, sock: socket.socket, running: bool, timeout: float | Deadline = 20) -> None:
        """Takes a connected socket; `running` is whether the guest runs now. Talks only once needed."""
        self._sock = sock
        self._sock.setblocking(False)
        self._buf = bytearray()
        self.running = running
        self._stops: list[Stop] = []
        self._registers: dict[str, Register] | None = None
        self._values: dict[tuple[int, str], int] = {}       # what has been asked for since the machine stands
        self._cpu: int | None = None
        self._physical: bool | None = None
        self._breaks: dict[tuple[int, int, int], None] = {}
        self._last: Stop | None = None
        self._unfinished: set[tuple[int, int]] = set()
        self._timeout = timeout if isinstance(timeout, (int, float)) else timeout.seconds

    @classmethod
    def connect(cls, path: str | Path, timeout: float = 20) -> GdbStub:
        """Connects to a listening stub, which stops the guest. OSError if nothing listens."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(str(path))
        except BaseException:
            sock.close()
            raise
        return cls(sock, running=False, timeout=timeout)

    # ---- stopping and running -------------------------------------------------------------------------

    def interrupt(self, timeout: float | Deadline = 20) -> Stop:
        """Stops the machine and says how it stopped. Returns the last stop if it stands already."""
        if not self.running:
            return self._last or Stop(SIGINT, 0)
        if not self._pending():
            self._send_raw(b"\x03", Deadline(timeout))
        return self.wait(timeout)

    def cont(self) -> None:
        """Lets every CPU run. A CPU that stands on one of our breakpoints first steps over it alone."""
        self._need_stopped()
        self._step_off_breakpoint()
        self._resume("vCont;c")

    def step(self, cpu: int, timeout: float | Deadline = 20) -> Stop:
        """Executes one instruction on `cpu`, all other CPUs standing (interrupts and timers held back).

        Neither a breakpoint on that instruction counts (QEMU looks for none while it steps) nor what it does to memory that
        is watched. A CPU that stands on a breakpoint while another steps still stands there: cont() steps it off.
        """
        self._need_stopped()
        stood = self._last
        watched = [(kind, addr, size) for kind, addr, size in self._breaks if kind not in (SOFT, HARD)]
        for kind, addr, size in watched:
            self._ok(f"z{kind},{addr:x},{size:x}")
        try:
            self._resume(f"vCont;s:{cpu + 1:x}")
            stop = self.wait(timeout)
            if stood is not None and stood.cpu != cpu:
                self._last = stood
            return stop
        finally:
            if not self.running:
                for kind, addr, size in watched:
                    self._ok(f"Z{kind},{addr:x},{size:x}")

    def advance(self, cpu: int) -> None:
        """Steps `cpu` until it has moved. QEMU kicks a CPU that it resumes; where the kick comes after the CPU has begun, the
        step ends before its instruction, and is reported all the same: about once in a thousand on a busy host."""
        arrival = self._arrival(cpu)
        for _ in range(_STEPS):
            self.step(cpu)
            if self._arrival(cpu) != arrival:
                break

    def wait(self, timeout: float | Deadline) -> Stop:
        """Waits until the machine stops. DeadlineError after `timeout` seconds: it still runs then.
        GdbClosed if QEMU ended. One arrival at a breakpoint is one stop, also where the instruction faults first."""
        deadline = Deadline(timeout)
        if not self.running:
            return self._last or Stop(SIGINT, 0)
        while True:
            while not self._stops:
                packet = self._packet(deadline, "stop of the guest")
                self._note_stop(packet)
            self.running = False
            self._last = last = self._stops.pop()
            self._stops.clear()
            self._cpu = last.cpu if last.breakpoint else None       # whom QEMU has selected
            if not (self._unfinished and last.breakpoint):
                return last
            arrival = self._arrival(last.cpu)
            if arrival not in self._unfinished:
                return last
            self._unfinished.discard(arrival)
            self.cont()

    def run_until(self, addr: int, hits: int = 1, timeout: float | Deadline = 20) -> Stop:
        """Continues until `addr` has been reached `hits` times by any CPU. The breakpoint is gone after.

        GdbError if something else stops the machine; DeadlineError after `timeout` seconds (the machine is
        stopped then).
        """
        deadline = Deadline(timeout)
        mine = (HARD, addr, 1) not in self._breaks
        if mine:
            self.set_break(addr)
        try:
            for hit in range(hits):
                self.cont()
                try:
                    stop = self.wait(deadline)
                except DeadlineError as error:
                    self.interrupt()
                    raise DeadlineError(f"{addr:#x}: {hit} of {hits} hits in {deadline.seconds:g} s") from error
                if not stop.breakpoint or self.pc(stop.cpu) != addr:
                    raise GdbError(f"stopped by signal {stop.signal} on CPU {stop.cpu} at "
                                   f"{self.pc(stop.cpu):#x}, waiting for {addr:#x}")
            return stop
        finally:
            if mine and not self.running:
                self.clear_break(addr)

    def set_break(self, addr: int, kind: int = HARD, size: int = 1) -> None:
        """Sets a breakpoint at virtual `addr` in every address space (kind SOFT or HARD), or a watchpoint
        over `size` bytes (WRITE, READ, ACCESS). The machine must stand."""
        self._need_stopped()
        self._ok(f"Z{kind},{addr:x},{size:x}")
        self._breaks[(kind, addr, size)] = None

    def clear_break(self, addr: int, kind: int = HARD, size: int = 1) -> None:
        """Takes away what set_break set with the same arguments."""
        self._need_stopped()
        if (kind, addr, size) in self._breaks:
            self._ok(f"z{kind},{addr:x},{size:x}")
            del self._breaks[(kind, addr, size)]

    def clear_all(self) -> None:
        """Takes away every breakpoint and watchpoint of this session."""
        for kind, addr, size in list(self._breaks):
            self.clear_break(addr, kind, size)

    # ---- registers ------------------------------------------------------------------------------------

    def cpus(self) -> list[int]:
        """The numbers of all CPUs."""
        out: list[int] = []
        answer = self._ask("qfThreadInfo")
        while answer.startswith("m"):
            out += [int(t.rpartition(".")[2], 16) - 1 for t in answer[1:].split(",")]
            answer = self._ask("qsThreadInfo")
        return out

    def registers(self) -> dict[str, Register]:
        """Every register of the target description by name."""
        if self._registers is None:
            self._registers = self._describe("target.xml", [0])
        return self._registers

    def reg(self, cpu: int, name: str) -> int:
        """One register of one CPU as an unsigned number. GdbError if there is no such name."""
        return self.regs(cpu, [name])[name]

    def regs(self, cpu: int, names: Iterable[str]) -> dict[str, int]:
        """Several registers of one CPU, in one round trip."""
        self._need_stopped()
        names = list(names)
        unknown = [name for name in names if (cpu, name) not in self._values]
        if unknown:
            there = self.registers()
            if missing := [name for name in unknown if name not in there]:
                raise GdbError(f"no register {missing[0]!r}; there are: {' '.join(sorted(there))}")
            self._select(cpu)
            for name, answer in zip(unknown, self._asks([f"p{there[name].number:x}" for name in unknown])):
                try:
                    self._values[cpu, name] = int.from_bytes(bytes.fromhex(answer), "little")
                except ValueError as error:
                    raise GdbError(f"register {name}: answer {answer!r}") from error
        return {name: self._values[cpu, name] for name in names}

    def set_reg(self, cpu: int, name: str, value: int) -> None:
        """Writes one register."""
        register = self.registers().get(name)
        if register is None:
            raise GdbError(f"no register {name!r}")
        self._select(cpu)
        data = value.to_bytes(register.bits // 8, "little").hex()
        self._values.clear()        # others may be views of the same
        self._ok(f"P{register.number:x}={data}")

    def pc(self, cpu: int) -> int:
        """The program counter of one CPU."""
        return self.reg(cpu, "rip" if "rip" in self.registers() else "pc")

    # ---- memory ---------------------------------------------------------------------------------------

    def read(self, va: int, size: int, cpu: int = 0) -> bytes:
        """Reads virtual memory as `cpu` sees it now, permissions ignored. GdbError where nothing is mapped."""
        self._select(cpu)
        return self._read(va, size, physical=False)

    def read_phys(self, pa: int, size: int) -> bytes:
        """Reads physical memory."""
        return self._read(pa, size, physical=True)

    def write_phys(self, pa: int, data: bytes) -> None:
        """Writes physical memory."""
        self._mode(True)
        for i in range(0, len(data), _MEM_CHUNK):
            chunk = data[i:i + _MEM_CHUNK]
            self._ok(f"M{pa + i:x},{len(chunk):x}:{chunk.hex()}")

    def write(self, va: int, data: bytes, cpu: int = 0) -> None:
        """Writes virtual memory as `cpu` sees it now, permissions ignored."""
        self._select(cpu)
        self._mode(False)
        for i in range(0, len(data), _MEM_CHUNK):
            chunk = data[i:i + _MEM_CHUNK]
            self._ok(f"M{va + i:x},{len(chunk):x}:{chunk.hex()}")

    def close(self) -> None:
        """Closes the socket; QEMU then drops the breakpoints and lets the guest run."""
        self._sock.close()

    # ---- the protocol ---------------------------------------------------------------------------------

    def _read(self, addr: int, size: int, physical: bool) -> bytes:
        self._mode(physical)
        out = bytearray()
        while len(out) < size:
            want = min(_MEM_CHUNK, size - len(out))
            answer = self._ask(f"m{addr + len(out):x},{want:x}")
            if answer.startswith("E") or not answer:
                kind = "physical" if physical else "virtual"
                raise GdbError(f"no {kind} memory at {addr + len(out):#x}")
            out += bytes.fromhex(answer)
        return bytes(out)

    def _mode(self, physical: bool) -> None:
        if self._physical != physical:
            self._ok(f"Qqemu.PhyMemMode:{int(physical)}")
            self._physical = physical

    def _select(self, cpu: int) -> None:
        if self._cpu != cpu:
            self._ok(f"Hg{cpu + 1:x}")
            self._cpu = cpu

    def _describe(self, annex: str, counter: list[int]) -> dict[str, Register]:
        """The registers of one feature file and its includes; `counter` holds the next free number."""
        text, offset = "", 0
        while True:
            answer = self._ask(f"qXfer:features:read:{annex}:{offset:x},ffb")
            if answer[:1] not in ("m", "l"):
                raise GdbError(f"target description {annex}: {answer[:40]!r}")
            text += answer[1:]
            offset += len(answer) - 1
            if answer[0] == "l":
                break
        text = re.sub(r"<!--.*?-->|<!DOCTYPE[^>]*>", "", text, flags=re.DOTALL)
        text = re.sub(r"<xi:include\s", "<include ", text)
        out: dict[str, Register] = {}
        for node in ElementTree.fromstring(text).iter():
            if node.tag == "include":
                out.update(self._describe(node.attrib["href"], counter))
            elif node.tag == "reg":
                number = int(node.get("regnum", counter[0]))
                counter[0] = number + 1
                out[node.attrib["name"]] = Register(number, int(node.attrib["bitsize"]), node.get("type", "int"))
        return out

    def _step_off_breakpoint(self) -> None:
        last = self._last
        if last is None or not last.breakpoint:
            return
        arrival = pc, _ = self._arrival(last.cpu)
        if not any(addr == pc and kind in (SOFT, HARD) for kind, addr, _ in self._breaks):
            return
        self.advance(last.cpu)
        # QEMU looks for breakpoints before it fetches. Where user code's page is not there yet, the step leads into
        # the kernel, and the CPU arrives once more. (So does a system call's instruction: no place for a breakpoint.)
        if not pc & KERNEL_HALF and self.pc(last.cpu) & KERNEL_HALF:
            self._unfinished.add(arrival)

    def _arrival(self, cpu: int) -> tuple[int, int]:
        """Where a CPU stands: program counter and stack pointer."""
        pc, sp = self.regs(cpu, ("rip", "rsp") if "rip" in self.registers() else ("pc", "sp")).values()
        return pc, sp

    def _resume(self, packet: str) -> None:
        self._stops.clear()
        self._values.clear()
        self._send([packet], Deadline(self._timeout))
        self.running = True

    def _need_stopped(self) -> None:
        if self.running:
            raise GdbError("the machine runs: stop it first")

    def _pending(self) -> bool:
        """Whether a stop has been reported already that nobody has waited for."""
        try:
            while True:
                self._note_stop(self._packet(Deadline(0), "pending stop"))
        except DeadlineError:
            return bool(self._stops)

    def _note_stop(self, packet: str) -> None:
        if packet[:1] in ("T", "S"):
            fields = dict(f.split(":", 1) for f in packet[3:].split(";") if ":" in f)
            thread = fields.get("thread", "1").rpartition(".")[2]
            watch = next((int(fields[k], 16) for k in ("watch", "rwatch", "awatch") if k in fields), None)
            self._stops.append(Stop(int(packet[1:3], 16), max(0, int(thread, 16) - 1), watch))
        elif packet[:1] in ("W", "X"):
            raise GdbClosed("the guest has ended")

    def _ok(self, packet: str) -> None:
        answer = self._ask(packet)
        if answer != "OK":
            raise GdbError(f"{packet}: answer {answer!r}")

    def _ask(self, packet: str) -> str:
        return self._asks([packet])[0]

    def _asks(self, packets: list[str]) -> list[str]:
        """The answers to packets that go out together: QEMU takes one after the other."""
        self._need_stopped()
        deadline = Deadline(self._timeout)
        self._send(packets, deadline)
        answers: list[str] = []
        while len(answers) < len(packets):
            answer = self._packet(deadline, packets[len(answers)])
            # A stop that QEMU reports on its own (a QMP stop, a shutdown) may come in between.
            if answer.startswith("T") and UNASKED.fullmatch(answer):
                self._note_stop(answer)
                if self._stops:
                    self._last = self._stops.pop()
            else:
                answers.append(answer)
        return answers

    def _send(self, packets: list[str], deadline: Deadline) -> None:
        """Sends packets. The first acknowledges what has come: as QEMU has it, each packet does."""
        self._send_raw(b"+" + b"".join(b"$%b#%02x" % (data, sum(data) & 255) for data in map(str.encode, packets)), deadline)

    def _send_raw(self, data: bytes, deadline: Deadline) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self._sock.send(view):]
            except BlockingIOError:
                select.select([], [self._sock], [], deadline.check("gdbstub"))
            except (BrokenPipeError, ConnectionResetError) as error:
                raise GdbClosed("gdbstub: QEMU is gone") from error

    def _packet(self, deadline: Deadline, what: str) -> str:
        """The next packet's payload, run-length encoding undone."""
        while True:
            start = self._buf.find(b"$")
            end = self._buf.find(b"#", start) if start >= 0 else -1
            if end >= 0 and len(self._buf) >= end + 3:
                body = bytes(self._buf[start + 1:end])
                good = int(self._buf[end + 1:end + 3], 16) == sum(body) & 255
                del self._buf[:end + 3]
                if not good:
                    raise GdbError(f"{what}: an answer whose sum is wrong")
                return _expand(body).decode("latin-1")
            ready, _, _ = select.select([self._sock], [], [], deadline.left())
            if not ready:
                deadline.check(what)
                continue
            try:
                data = self._sock.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                raise GdbClosed(f"{what}: QEMU closed the socket")
            self._buf += data


def _expand(body: bytes) -> bytes:
    """Undoes escapes (}x) and run lengths (c*n) of a packet."""
    if b"*" not in body and b"}" not in body:
        return body
    out = bytearray()
    i = 0
    while i < len(body):
        c = body[i]
        if c == 0x7D:
            out.append(body[i + 1] ^ 0x20)
            i += 2
        elif c == 0x2A and out:
            out += bytes([out[-1]]) * (body[i + 1] - 29)
            i += 2
        else:
            out.append(c)
            i += 1
    return bytes(out)
