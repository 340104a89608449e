"""`make gdb`: gdb on a guest that is stopped before its first instruction.

Joins the guest of a `make run DEBUG=1` in another terminal if there is one; else starts its own,
with the console in a file. .gdbinit brings symbols and the rp- commands.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

SECONDS = 10


def debugger(arch: str) -> list[str]:
    """The command of a GDB that knows the architecture: $GDB, this machine's own, or Debian's for all."""
    other = "gdb-multiarch" if platform.machine() != arch and shutil.which("gdb-multiarch") else "gdb"
    return shlex.split(os.environ.get("GDB") or other)


def listening(path: Path) -> bool:
    """Whether a QEMU waits there. (It stays stopped when we hang up at once.)"""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def start(command: list[str], path: Path, console: Path) -> subprocess.Popen[bytes]:
    """A guest of our own, in a session of its own: ctrl-c in gdb must not reach it."""
    path.unlink(missing_ok=True)
    guest = subprocess.Popen(
        [*command, "-serial", f"file:{console}"], stdin=subprocess.DEVNULL, start_new_session=True
    )
    end = time.monotonic() + SECONDS
    while not path.exists():
        if guest.poll() is not None or time.monotonic() > end:
            guest.kill()
            raise SystemExit("debug: QEMU does not listen for gdb")
        time.sleep(0.02)
    return guest


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="grade.debug", description=__doc__.splitlines()[0])
    parser.add_argument("--arch", required=True)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--console", type=Path, required=True)
    parser.add_argument("qemu", nargs="+", help="after --, QEMU's command line without a console")
    args = parser.parse_args(argv)

    guest = None
    if listening(args.socket):
        print("joining the guest of the other terminal")
    else:
        guest = start(args.qemu, args.socket, args.console)
        print(f"console: {args.console}  (for a console to type at: `make run DEBUG=1` first)")
    # .gdbinit is named, so that it is read whatever gdb's safe path says, and only once.
    command = [*debugger(args.arch), "-q", "-iex", "set auto-load local-gdbinit off", "-x", ".gdbinit"]
    command += ["-ex", f"rp-connect {args.socket}"]
    # ctrl-c is for gdb.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return subprocess.run(
            command, env=os.environ | {"ARCH": args.arch}, check=False, restore_signals=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ).returncode  # fmt: skip
    finally:
        if guest:
            guest.kill()
            guest.wait()
            args.socket.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
