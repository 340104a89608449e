"""The processor time of a process and all below it: what a guest or a build costs, however busy the host is."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def cpu_seconds(pid: int, ended: bool = False) -> float:
    """Seconds that `pid` and its descendants that are alive have used; with `ended` also those that have ended and were
    waited for."""
    ticks = sum(int(n) for stat, _ in _alive(pid) for n in stat[11:15 if ended else 13])
    return ticks / os.sysconf("SC_CLK_TCK")


def asleep(pid: int) -> bool:
    """Whether every thread of `pid` and its descendants waits for another, and not for a processor or a disk."""
    states = [state for _, threads in _alive(pid) for state in threads]
    return bool(states) and set(states) <= {"S", "Z", "X"}


def _alive(pid: int) -> Iterator[tuple[list[str], list[str]]]:
    """The fields of /proc/PID/stat from the state on, and each thread's state, of `pid` and its descendants."""
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        with contextlib.suppress(OSError):
            stat, threads = _stat(Path(f"/proc/{one}")), []
            for task in Path(f"/proc/{one}/task").iterdir():
                with contextlib.suppress(OSError):      # a thread that has just ended
                    waiting += [int(n) for n in (task / "children").read_text().split()]
                    threads.append(_stat(task)[0])
            yield stat, threads


def _stat(folder: Path) -> list[str]:
    return (folder / "stat").read_text().rpartition(")")[2].split()
