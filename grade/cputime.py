"""The processor time of a process and all below it: what a guest costs, however busy the host is."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def cpu_seconds(pid: int) -> float:
    """Seconds that `pid` and its descendants that are alive have used; of what has ended, none."""
    ticks, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{one}/stat").read_text()
            ticks += sum(int(n) for n in stat.rpartition(")")[2].split()[11:13])
            waiting += [int(n) for task in Path(f"/proc/{one}/task").iterdir()
                        for n in (task / "children").read_text().split()]
    return ticks / os.sysconf("SC_CLK_TCK")
