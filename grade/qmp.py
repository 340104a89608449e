"""A client of QEMU's machine protocol (QMP) over a connected unix socket.

Synchronous: one command at a time, answers matched by id, events kept in arrival order. Not thread-safe; one
owner talks.
"""

from __future__ import annotations

import json
import re
import select
import socket
from pathlib import Path
from typing import Any

from grade.deadline import Deadline, DeadlineError

_LINE_MAX = 64 << 20


class QMPError(RuntimeError):
    """QEMU refused a command; `kind` is QEMU's error class."""

    def __init__(self, command: str, kind: str, text: str) -> None:
        super().__init__(f"QMP {command}: {kind}: {text}")
        self.kind = kind


class QMPClosed(ConnectionError):
    """QEMU closed the socket (it has usually exited)."""


class QMP:
    """One QMP session. `QMP(sock)` takes a connected socket, `QMP.connect(path)` makes one."""

    def __init__(self, sock: socket.socket, timeout: float | Deadline = 20) -> None:
        """Negotiates capabilities. DeadlineError if QEMU does not greet within `timeout` seconds."""
        self._sock = sock
        self._sock.setblocking(False)
        self._buf = bytearray()
        self._id = 0
        self.events: list[dict[str, Any]] = []
        deadline = Deadline(timeout)
        self.greeting = self._read(deadline, "QMP greeting")
        self.cmd("qmp_capabilities", timeout=deadline)

    @classmethod
    def connect(cls, path: str | Path, timeout: float | Deadline = 20) -> QMP:
        """Connects to a listening socket. OSError if nothing listens."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(str(path))
            return cls(sock, timeout)
        except BaseException:
            sock.close()
            raise

    def cmd(self, execute: str, timeout: float | Deadline = 30, **arguments: Any) -> Any:
        """Runs one command and returns its "return" value.

        Underscores in argument names become hyphens. QMPError if QEMU refuses, QMPClosed if it is gone,
        DeadlineError after `timeout` seconds.
        """
        deadline = Deadline(timeout)
        self._id += 1
        request: dict[str, Any] = {"execute": execute, "id": self._id}
        if arguments:
            request["arguments"] = {k.replace("_", "-"): v for k, v in arguments.items()}
        self._write(json.dumps(request).encode() + b"\n", deadline, execute)
        while True:
            answer = self._read(deadline, f"QMP {execute}")
            if "event" in answer:
                self.events.append(answer)
            elif answer.get("id") == self._id:
                if "error" in answer:
                    error = answer["error"]
                    raise QMPError(execute, error.get("class", "?"), error.get("desc", ""))
                return answer["return"]

    def hmp(self, line: str, cpu: int | None = None, timeout: float | Deadline = 30) -> str:
        """Runs a human-monitor command, on CPU `cpu` where that matters; returns what it prints."""
        arguments: dict[str, Any] = {"command_line": line}
        if cpu is not None:
            arguments["cpu_index"] = cpu
        text: str = self.cmd("human-monitor-command", timeout=timeout, **arguments)
        return text.replace("\r\n", "\n")

    def stop(self) -> None:
        """Stops every CPU. Prefer Machine.stop() where a gdbstub session is open as well."""
        self.cmd("stop")

    def cont(self) -> None:
        """Lets every CPU run."""
        self.cmd("cont")

    def quit(self) -> None:
        """Ends QEMU. No error if it is gone already."""
        try:
            self.cmd("quit", timeout=5)
        except (QMPClosed, DeadlineError):
            pass

    def status(self) -> str:
        """QEMU's run state: "running", "paused", "shutdown", "internal-error", ..."""
        return str(self.cmd("query-status")["status"])

    def inject_nmi(self) -> None:
        """Sends a non-maskable interrupt to every CPU."""
        self.cmd("inject-nmi")

    def pmemsave(self, paddr: int, size: int, path: str | Path) -> None:
        """Has QEMU write `size` bytes of physical memory at `paddr` to the file `path` (QEMU's side)."""
        self.cmd("pmemsave", val=paddr, size=size, filename=str(path))

    def read_phys(self, paddr: int, size: int) -> bytes:
        """Reads physical memory through `xp`. Slow (about 2 MB/s): for a few words, where no file serves."""
        out = bytearray()
        text = self.hmp(f"xp /{size}bx {paddr:#x}")
        for line in text.splitlines():
            _, _, data = line.partition(":")
            out += bytes(int(word, 16) for word in re.findall(r"0x([0-9a-f]{2})\b", data))
        if len(out) != size:
            raise QMPError("xp", "GenericError", text.strip()[:200])
        return bytes(out)

    def wait_event(self, name: str, timeout: float | Deadline) -> dict[str, Any]:
        """Takes the first event called `name`, waiting up to `timeout` seconds for it."""
        deadline = Deadline(timeout)
        seen = 0
        while True:
            for i in range(seen, len(self.events)):
                if self.events[i]["event"] == name:
                    return self.events.pop(i)
            seen = len(self.events)
            answer = self._read(deadline, f"QMP event {name}")
            if "event" in answer:
                self.events.append(answer)

    def drain(self) -> list[dict[str, Any]]:
        """Collects what QEMU has sent already, without waiting; returns all events kept so far."""
        while True:
            try:
                answer = self._read(Deadline(0), "drain")
            except (DeadlineError, QMPClosed):
                return self.events
            if "event" in answer:
                self.events.append(answer)

    def close(self) -> None:
        """Closes the socket."""
        self._sock.close()

    def _write(self, data: bytes, deadline: Deadline, what: str) -> None:
        view = memoryview(data)
        while view:
            _, ready, _ = select.select([], [self._sock], [], deadline.check(f"QMP {what}"))
            if ready:
                try:
                    view = view[self._sock.send(view):]
                except (BrokenPipeError, ConnectionResetError) as error:
                    raise QMPClosed(f"QMP {what}: QEMU is gone") from error

    def _read(self, deadline: Deadline, what: str) -> dict[str, Any]:
        while True:
            end = self._buf.find(b"\n")
            if end >= 0:
                line = bytes(self._buf[:end])
                del self._buf[:end + 1]
                if line.strip():
                    message: dict[str, Any] = json.loads(line)
                    return message
                continue
            if len(self._buf) > _LINE_MAX:
                raise QMPError(what, "Flood", "no end of line in 64 MiB")
            ready, _, _ = select.select([self._sock], [], [], deadline.left())
            if not ready:
                deadline.check(what)
                continue
            try:
                data = self._sock.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                raise QMPClosed(f"{what}: QEMU closed the socket")
            self._buf += data
