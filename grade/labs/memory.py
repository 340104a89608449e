"""How much memory this process may still take: the machine's, or less where a control group bounds it."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

ROOT = Path("/")


def available(root: Path = ROOT) -> int:
    """Bytes; very many where nobody says. `root`: where /proc and /sys are looked for."""
    left = [sys.maxsize]
    with contextlib.suppress(OSError, KeyError):
        left.append(1024 * _table(root / "proc/meminfo")["MemAvailable:"])
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            if not kinds or "memory" in kinds.split(","):
                left += _left(root / "sys/fs/cgroup" / ("memory" if kinds else ""), path)
    return max(0, min(left))


def _left(top: Path, path: str) -> list[int]:
    """What each control group from `path` up to `top` leaves, if it has a bound. In a container the path may be the
    host's: then only the top is there."""
    out = []
    group = top / path.strip("/")
    for folder in (group, *group.parents):
        for limit, usage in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            with contextlib.suppress(OSError, ValueError):      # not there; "max"
                stat = _table(folder / "memory.stat")
                # What is only cached of files goes when it is asked for.
                cached = sum(stat.get(f"total_{n}", stat.get(n, 0)) for n in ("inactive_file", "active_file"))
                out.append(int((folder / limit).read_text()) - int((folder / usage).read_text()) + cached)
        if folder == top:
            break
    return out


def _table(path: Path) -> dict[str, int]:
    """A file of names and numbers."""
    return {words[0]: int(words[1]) for words in map(str.split, path.read_text().splitlines())}
