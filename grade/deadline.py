"""Deadlines: a number of host seconds, counted once from a monotonic clock.

Every wait in the harness takes one, so that a dead guest is a verdict and never a hang. A slow host is given
more time by RAMPART_TIME_SCALE (a factor, 1.0 by default), never by editing a test.
"""

from __future__ import annotations

import os
import time


class DeadlineError(TimeoutError):
    """What was awaited did not come in time; the message says what, and what was seen instead."""


def time_scale() -> float:
    """The factor by which every timeout is stretched. ValueError if the variable is not a positive number."""
    scale = float(os.environ.get("RAMPART_TIME_SCALE", "1"))
    if not scale > 0:
        raise ValueError("RAMPART_TIME_SCALE must be a positive number")
    return scale


class Deadline:
    """A moment after which waiting is over. `Deadline(5)` is five (scaled) seconds from now."""

    def __init__(self, seconds: float | Deadline) -> None:
        if isinstance(seconds, Deadline):
            self.seconds, self.end = seconds.seconds, seconds.end
            return
        self.seconds = float(seconds) * time_scale()
        self.end = time.monotonic() + self.seconds

    def left(self) -> float:
        """Seconds that remain, never below 0."""
        return max(0.0, self.end - time.monotonic())

    def passed(self) -> bool:
        """Whether no time remains."""
        return self.left() == 0.0

    def check(self, what: str) -> float:
        """The seconds that remain; DeadlineError naming `what` if there are none."""
        left = self.left()
        if left == 0.0:
            raise DeadlineError(f"{what}: not within {self.seconds:g} s")
        return left
