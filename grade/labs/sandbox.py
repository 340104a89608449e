"""Containment: how a submission is built and run so that it can reach nothing but its own scratch directory.

Levels, best first; the one in use stands in the report:
    bubblewrap      own namespaces, no network; sees the toolchain, its scratch directory and nothing else
    separate uid    a uid of its own, no new privileges, limits: meant for a disposable container
    none            only where the submission is one's own work (--trust)
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from grade.deadline import Deadline

UID = 64321                 # nobody else's, we trust
LIMITS = ["--cpu=600", "--fsize=536870912", "--nofile=1024", "--core=0"]
INSIDE = "/rampart"         # where the scratch directory appears inside
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc/alternatives", "/etc/ld.so.cache",
          "/etc/qemu")
OUTPUT_MAX = 1 << 20


class SandboxError(RuntimeError):
    """No isolation is to be had on this host: its fault, never a grade."""


@functools.lru_cache(maxsize=None)
def _bubblewrap_works() -> bool:
    if shutil.which("bwrap") is None:
        return False
    done = subprocess.run(["bwrap", *_bwrap_system(), "--unshare-all", "--dev", "/dev", "--proc", "/proc",
                           "/usr/bin/env", "true"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          stdin=subprocess.DEVNULL, timeout=60, check=False)
    return done.returncode == 0


def _bwrap_system() -> list[str]:
    out: list[str] = []
    for path in SYSTEM:
        if os.path.islink(path):
            out += ["--symlink", os.readlink(path), path]
        elif os.path.exists(path):
            out += ["--ro-bind", path, path]
    return out


@dataclass(frozen=True)
class Sandbox:
    """One level of isolation."""

    level: str      # as the report says it

    def inside(self, scratch: Path) -> str:
        """The path under which commands see the scratch directory."""
        return INSIDE if self.level == "bubblewrap" else str(scratch)

    def wrap(self, scratch: Path, writable: bool = True) -> list[str]:
        """The words before a command that runs in `scratch`."""
        limits = ["prlimit", *LIMITS, "--"] if shutil.which("prlimit") else []
        if self.level == "bubblewrap":
            return ["bwrap", *_bwrap_system(), "--unshare-all", "--die-with-parent", "--new-session", "--dev", "/dev",
                    "--proc", "/proc", "--tmpfs", "/tmp", "--bind" if writable else "--ro-bind", str(scratch), INSIDE,
                    "--chdir", INSIDE, "--cap-drop", "ALL", *limits]
        if self.level == "separate uid":
            return ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--no-new-privs", "--pdeathsig",
                    "KILL", "--", *limits]
        return limits

    def machine_wrapper(self, folder: Path) -> list[str]:
        """The words before QEMU, which reads its files below `folder` by their own paths."""
        if self.level == "bubblewrap":
            return ["bwrap", *_bwrap_system(), "--unshare-all", "--die-with-parent", "--dev", "/dev", "--proc", "/proc",
                    "--ro-bind", str(folder), str(folder), "--cap-drop", "ALL"]
        if self.level == "separate uid":
            # The machine's own directory and FIFO are the harness's: QEMU keeps the uid, without privileges.
            return ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--pdeathsig", "KILL", "--"]
        return []

    def run(self, command: list[str], scratch: Path, timeout: float) -> tuple[int | None, str]:
        """Runs a command in `scratch`: its status (None: took too long) and what it said, bounded."""
        if self.level == "separate uid":
            for path in [scratch, *scratch.rglob("*")]:
                os.chown(path, UID, UID, follow_symlinks=False)
        env = {"PATH": "/usr/bin:/bin", "LANG": "C", "HOME": "/nonexistent", "TMPDIR": "/tmp"}
        log = scratch.parent / f"{scratch.name}.log"
        with open(log, "wb") as out:
            process = subprocess.Popen([*self.wrap(scratch), *command], cwd=scratch, env=env, stdin=subprocess.DEVNULL,
                                       stdout=out, stderr=out, start_new_session=True)
            try:
                status: int | None = process.wait(Deadline(timeout).left())
            except subprocess.TimeoutExpired:
                status = None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        with open(log, "rb") as done:
            return status, done.read(OUTPUT_MAX).decode("utf-8", errors="replace")


def choose(trust: bool = False) -> Sandbox:
    """The best level that works here. SandboxError where there is none and the work is not one's own."""
    if _bubblewrap_works():
        return Sandbox("bubblewrap")
    if os.geteuid() == 0 and shutil.which("setpriv") and os.path.exists("/.dockerenv"):
        return Sandbox("separate uid")
    if trust:
        return Sandbox("none (own work)")
    raise SandboxError("no isolation on this host: neither bubblewrap nor a disposable container in which we are "
                       "root; install bubblewrap, or say --trust if the work is your own")
