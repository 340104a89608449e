"""Containment: how a submission is built and run so that it can reach nothing but its own scratch directory.

Levels, best first; the one in use stands in the report:
    bubblewrap      own namespaces, no network; sees the toolchain, its scratch directory and nothing else
    separate uid    uids of its own to build and to run, no new privileges, limits: for a disposable container
    none            only where the submission is one's own work (--trust)

RAMPART_ISOLATION names the level that must be had, instead of the best; RAMPART_DISPOSABLE=1 says that this is a
container that nobody will use again. THREATS.md says what each level stops.
"""

from __future__ import annotations

import fcntl
import functools
import math
import os
import selectors
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grade.cputime import asleep, cpu_seconds
from grade.deadline import Deadline

BUBBLEWRAP, SEPARATE_UID, NONE = "bubblewrap", "separate uid", "none (own work)"
UIDS = range(64320, 64448, 2)       # nobody else's, we trust: one builds, the next one runs QEMU
UID_LOCKS = Path("/run/rampart-uids")
# Of a compiler: 64 MiB of output, 1 GiB of memory, ten minutes of processor. Whoever goes beyond gets an error, or a
# signal that is not the one with which a host takes memory back. QEMU has 512 MiB of its own beside the guest's memory,
# reserves up to 350 of them for any guest, and aborts where there are no more. Its address space has no limit.
BUILD_LIMITS = ["--cpu=600:660", "--fsize=67108864", "--as=1073741824", "--nofile=1024", "--core=0"]
MACHINE_LIMITS = ["--cpu=1200:1260", "--data=536870912", "--fsize=16777216", "--nofile=256", "--core=0"]
TRANSLATED = 128            # MiB of them for a guest's code as QEMU has translated it: an honest one has 30
INSIDE = "/rampart"         # where the scratch directory appears inside
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc/alternatives", "/etc/ld.so.cache",
          "/etc/qemu")
OUTPUT_MAX = 1 << 20
SLICE, STILL_SLICES = 1.0, 20       # seconds between two looks at a build; after so many without any work it is stuck
PROCESSOR, STUCK, CLOCK = "processor", "stuck", "clock"     # why a command was stopped
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C", "HOME": "/nonexistent", "TMPDIR": "/tmp"}


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


def _limits(limits: list[str]) -> list[str]:
    return ["prlimit", *limits, "--"] if shutil.which("prlimit") else []


@functools.lru_cache(maxsize=None)
def _no_network() -> list[str]:
    """What takes the network away from a command, where a container lets us; a container that does not should have
    none itself."""
    words = ["unshare", "--net", "--"]
    try:
        works = subprocess.run([*words, "true"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               stdin=subprocess.DEVNULL, timeout=60, check=False).returncode == 0
    except OSError:
        works = False
    return words if works else []


@dataclass(frozen=True)
class Ran:
    """How a command ended in a sandbox."""

    status: int | None      # None: it was stopped ...
    text: str               # what it said first, bounded
    stopped: str = ""       # ... as it used its PROCESSOR time up, or was STUCK, or as the CLOCK ran out


@dataclass(frozen=True)
class Sandbox:
    """One level of isolation."""

    level: str      # as the report says it
    uid: int = 0    # of the level "separate uid": that of builds
    _lock: Any = field(default=None, repr=False, compare=False)     # held as long as the uids are in use

    @property
    def machine_uid(self) -> int | None:
        """The uid that QEMU runs as, where that is not ours."""
        return self.uid + 1 if self.uid else None

    def inside(self, scratch: Path) -> str:
        """The path under which commands see the scratch directory."""
        return INSIDE if self.level == BUBBLEWRAP else str(scratch)

    def wrap(self, scratch: Path) -> list[str]:
        """The words before a command that builds in `scratch`."""
        if self.level == BUBBLEWRAP:
            return ["bwrap", *_bwrap_system(), "--unshare-all", "--die-with-parent", "--new-session", "--dev", "/dev",
                    "--proc", "/proc", "--tmpfs", "/tmp", "--bind", str(scratch), INSIDE, "--chdir", INSIDE,
                    "--cap-drop", "ALL", *_limits(BUILD_LIMITS)]
        return [*self._as_uid(self.uid), *_limits(BUILD_LIMITS)]

    def machine_wrapper(self, folder: Path) -> list[str]:
        """The words before QEMU, which reads its files below `folder` by their own paths."""
        if self.level == BUBBLEWRAP:
            return ["bwrap", *_bwrap_system(), "--unshare-all", "--die-with-parent", "--dev", "/dev", "--proc", "/proc",
                    "--ro-bind", str(folder), str(folder), "--cap-drop", "ALL", *_limits(MACHINE_LIMITS)]
        if self.level == SEPARATE_UID:
            return [*self._as_uid(self.uid + 1), *_limits(MACHINE_LIMITS)]
        return []

    @staticmethod
    def _as_uid(uid: int) -> list[str]:
        return [*_no_network(), "setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs",
                "--bounding-set=-all", "--inh-caps=-all", "--pdeathsig", "KILL", "--"] if uid else []

    def run(self, command: list[str], scratch: Path, timeout: float) -> tuple[int | None, str]:
        """Runs a command in `scratch`: its status (None: took too long) and what it said first, bounded."""
        ran = self.attempt(command, scratch, math.inf, timeout)
        return ran.status, ran.text

    def attempt(self, command: list[str], scratch: Path, processor: float, timeout: float) -> Ran:
        """Runs a command in `scratch` for at most so many seconds of processor time, of all its processes together, and
        `timeout` on the clock."""
        if self.uid:
            for path in [scratch, *scratch.rglob("*")]:
                os.chown(path, self.uid, self.uid, follow_symlinks=False)
        process = subprocess.Popen([*self.wrap(scratch), *command], cwd=scratch, env=ENVIRONMENT,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   start_new_session=True)
        said = b""
        try:
            stopped, said = _read(process, Deadline(timeout), processor)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            assert process.stdout is not None
            process.stdout.close()
        return Ran(None if stopped else process.returncode, said.decode("utf-8", errors="replace"), stopped)

    def sweep(self) -> None:
        """Ends every process that a submission may have left behind."""
        for uid in (self.uid, self.uid + 1) if self.uid else ():
            subprocess.run([sys.executable, "-c", "import os; os.kill(-1, 9)"], user=uid, group=uid, extra_groups=[],
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
                           timeout=60)


def _read(process: subprocess.Popen[bytes], deadline: Deadline, processor: float) -> tuple[str, bytes]:
    """Why a process must be stopped (empty: it ended), and what it said; what is beyond OUTPUT_MAX is read and dropped.
    Where no processor time is set, only the clock counts."""
    said = bytearray()
    pidfd = os.pidfd_open(process.pid)
    assert process.stdout is not None
    out = process.stdout.fileno()
    os.set_blocking(out, False)
    look, before, still = Deadline(SLICE), 0.0, 0
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(out, selectors.EVENT_READ)
            selector.register(pidfd, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select(min(deadline.left(), look.left()))}
                data = b""
                if out in ready:
                    try:
                        data = os.read(out, 1 << 16)
                    except BlockingIOError:
                        continue
                    said += data[:OUTPUT_MAX - len(said)]
                    if not data:
                        selector.unregister(out)
                if pidfd in ready and not data:
                    process.wait()
                    return "", bytes(said)
                if deadline.passed():
                    return CLOCK, bytes(said)
                if look.passed():
                    look = Deadline(SLICE)
                    if processor < math.inf:
                        used = cpu_seconds(process.pid, ended=True)
                        still = still + 1 if used == before and asleep(process.pid) else 0
                        before = used
                        if used > processor or still > STILL_SLICES:
                            return PROCESSOR if used > processor else STUCK, bytes(said)
    finally:
        os.close(pidfd)


def _disposable() -> bool:
    return os.environ.get("RAMPART_DISPOSABLE") == "1" or any(map(os.path.exists, ("/.dockerenv", "/run/.containerenv")))


def _own_uids() -> Sandbox:
    """The level "separate uid" with uids that no other run of ours has now."""
    UID_LOCKS.mkdir(mode=0o700, exist_ok=True)
    for uid in UIDS:
        lock = open(UID_LOCKS / str(uid), "wb")     # noqa: SIM115 - open for as long as the sandbox lives
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        return Sandbox(SEPARATE_UID, uid, lock)
    raise SandboxError("every uid that the grader has is in use")


def choose(trust: bool = False) -> Sandbox:
    """The best level that works here. SandboxError where there is none and the work is not one's own."""
    wanted = os.environ.get("RAMPART_ISOLATION", "")
    if wanted not in ("", BUBBLEWRAP, SEPARATE_UID):
        raise SandboxError(f"RAMPART_ISOLATION={wanted}: there are {BUBBLEWRAP!r} and {SEPARATE_UID!r}")
    if wanted != SEPARATE_UID and _bubblewrap_works():
        return Sandbox(BUBBLEWRAP)
    if wanted != BUBBLEWRAP and os.geteuid() == 0 and shutil.which("setpriv") and _disposable():
        return _own_uids()
    if trust and not wanted:
        return Sandbox(NONE)
    raise SandboxError("no isolation on this host: neither bubblewrap nor a disposable container in which we are "
                       "root; install bubblewrap, or say --trust if the work is your own")
