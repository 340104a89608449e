"""How much a guest or a build may use before it hangs: processor time, so that a busy host changes no grade, and more
of it where the processor is slow."""

from __future__ import annotations

import functools
import time

from grade.labs import memory

# From one place of looking to the next, and for a whole boot. Of all labs' starters and solutions none takes more than 1.6
# for a step.
STEP_SECONDS, BOOT_SECONDS = 10.0, 60.0
WALL = 30               # times as long may pass on the clock: the host may be busy, but somebody waits
BUILD_SECONDS = 240.0   # of a submission's build, which takes ten of them ...
BUILD_WALL = 5          # ... and so many times as long may pass on the clock
GUEST, RESERVE = 256 << 20, 256 << 20   # bytes that an honest guest and its QEMU take at most; that stay free
QUICK = 0.05            # what the calibration takes where the limits are as above
ROUNDS, STEPS = 5, 400_000


def guests(wanted: int, available: int | None = None) -> int:
    """How many of so many guests may run at once in the memory that is to be had now; at least one."""
    free = memory.available() if available is None else available
    return max(1, min(wanted, (free - RESERVE) // GUEST))


@functools.lru_cache(maxsize=None)
def slowness() -> float:
    """How many times slower than the limits' own machine this processor is; at least 1. Processor time, the best
    of some runs, so that it tells the processor and not its load."""
    def once() -> float:
        start, total = time.thread_time(), 0
        for i in range(STEPS):
            total = (total * 31 + i) & 0xFFFF_FFFF
        return time.thread_time() - start

    return max(1.0, min(once() for _ in range(ROUNDS)) / QUICK)
