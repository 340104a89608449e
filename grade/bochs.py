"""One Bochs guest, started from an ISO image and watched through Bochs's own debugger.

Bochs enforces what QEMU's TCG does not have: PCIDs, SPEC_CTRL, shadow stacks. It has no gdbstub, so its
debugger is talked to as a person would. It is some nine times slower than TCG, and deterministic: a run is a
function of the image.

    with Bochs(iso, smp=2) as b:
        b.break_at(image.sym("sys_getpid"))
        b.cont()
        print(b.param(1, "CR4"), b.console)
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import pexpect

from grade.cputime import cpu_seconds

CONFIG = """config_interface: textconfig
display_library: rfb, options="timeout=0"
memory: guest={mem}, host={mem}
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
cpu: model={cpu}, count={smp}, ips=10000000, reset_on_triple_fault=0, ignore_bad_msrs=0
clock: sync=none, time0=utc
sound: driver=dummy
com1: enabled=1, mode=file, dev=com1.txt
ata0-master: type=cdrom, path={iso}, status=inserted
boot: cdrom
log: bochs.log
"""
PROMPT = r"<bochs:\d+> "
LOOK = 5.0          # host seconds from one look at what Bochs has used to the next
STOPPED = re.compile(r"^\((\d+)\) (Breakpoint \d+|Caught \S+)", re.MULTILINE)
NUMBER = re.compile(r"=\s*(0x[0-9a-f]+|\d+)")


class BochsError(RuntimeError):
    """Bochs is not there, ended, or did not answer."""


class Bochs:
    """A running or stopped guest. Stopped at first, before its BIOS's first instruction."""

    def __init__(self, iso: Path, smp: int = 1, mem: int = 256, cpu: str = "tigerlake", limit: float = 240) -> None:
        """`limit`: seconds of processor time that any one wait may take, so that a busy host fails nothing."""
        if shutil.which("bochs") is None:
            raise BochsError("bochs is not installed: BOCHS=1 ./setup")
        self.smp, self._limit = smp, limit
        self._dir = tempfile.TemporaryDirectory(prefix="rampart-bochs-")
        folder = Path(self._dir.name)
        self._com1, self._log = folder / "com1.txt", folder / "bochs.log"
        (folder / "bochsrc").write_text(CONFIG.format(iso=iso.resolve(), smp=smp, mem=mem, cpu=cpu))
        self._process = pexpect.spawn("bochs", ["-q", "-f", "bochsrc"], cwd=str(folder), timeout=LOOK, echo=False,
                                      encoding="utf-8", codec_errors="replace")
        self._prompt()

    def __enter__(self) -> Bochs:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._process.close(force=True)
        self._dir.cleanup()

    def _wait(self, wanted: Any) -> None:
        """Waits for a text of the debugger, or for Bochs's end. BochsError if it uses too much, or ends unasked."""
        end = cpu_seconds(self._process.pid) + self._limit
        while True:
            try:
                self._process.expect(wanted)
                return
            except pexpect.TIMEOUT as error:
                if cpu_seconds(self._process.pid) > end:
                    raise BochsError(f"Bochs does not come to a stop:\n{self._said()}") from error
            except pexpect.EOF as error:
                raise BochsError(f"Bochs ended:\n{self._said()}") from error

    def _prompt(self) -> str:
        """What was said until the debugger asks for a command."""
        self._wait(PROMPT)
        return str(self._process.before).replace("\r", "")

    def _said(self) -> str:
        log = self._log.read_text(errors="replace") if self._log.is_file() else ""
        return f"{str(self._process.before)[-800:]}{log[-800:]}\nconsole:\n{self.console[-800:]}"

    @property
    def console(self) -> str:
        """Everything on the serial line so far."""
        return self._com1.read_text(errors="replace").replace("\r", "") if self._com1.is_file() else ""

    def command(self, text: str) -> str:
        """One command of the debugger, and its answer."""
        self._process.sendline(text)
        return self._prompt()

    def break_at(self, linear: int) -> None:
        """A breakpoint at a linear address, of every CPU."""
        self.command(f"lb {linear:#x}")

    def cont(self) -> int:
        """Runs on to a breakpoint; the CPU that met it. BochsError if the guest ends or none is met."""
        said = self.command("c")
        if not (stop := STOPPED.search(said)):
            raise BochsError(f"stopped at no breakpoint:\n{said[-800:]}\nconsole:\n{self.console[-800:]}")
        return int(stop[1])

    def run_to_end(self) -> str:
        """Lets the guest run until it switches itself off; the whole console."""
        self._process.sendline("c")
        self._wait(pexpect.EOF)
        log = self._log.read_text(errors="replace")
        if "soft power off" not in log:
            raise BochsError(f"the guest did not switch itself off:\n{self._said()}")
        return self.console

    def param(self, cpu: int, name: str) -> int:
        """A register by its name in Bochs's tree: CR4, RIP, CS.selector, MSR.ia32_spec_ctrl."""
        said = self.command(f'show "cpu{cpu}.{name}"')
        if not (found := NUMBER.search(said)):
            raise BochsError(f"cpu{cpu} has no {name}: {said.strip()}")
        return int(found[1], 0)

    def read_phys(self, address: int) -> int:
        """Eight bytes of physical memory."""
        said = self.command(f"xp /1gx {address:#x}")
        if not (found := re.search(r":\s*(0x[0-9a-f]+)", said)):
            raise BochsError(f"xp {address:#x}: {said.strip()}")
        return int(found[1], 16)
