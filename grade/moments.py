"""Moments of looking, drawn from a seed: guest events, never host time.

A moment is "the n-th time that this address is reached". Candidates are named by whoever writes the check
(symbols of staff-built user programs, the kernel's exception entries); the seed decides which, and after how
many hits. Under -icount with QEMU's -seed the same seed stops the same guest at the same instruction.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from grade.deadline import Deadline, DeadlineError
from grade.gdbstub import HARD, GdbClosed, GdbError, Stop
from grade.qemu import Machine


@dataclass(frozen=True)
class Event:
    """A candidate: an address, its name for the report, and how many hits it has at least in every honest
    run (a draw never waits for more)."""

    name: str
    address: int
    most: int = 1


@dataclass(frozen=True)
class Moment:
    """The `hit`-th time (from 1) that the event's address is reached."""

    event: Event
    hit: int

    def __str__(self) -> str:
        return f"hit {self.hit} of {self.event.name} at {self.event.address:#x}"


def rng(seed: int, label: str) -> random.Random:
    """A generator of its own for each purpose: the same (seed, label) draws the same on every host."""
    digest = hashlib.sha256(f"rampart:{seed}:{label}".encode()).digest()
    return random.Random(int.from_bytes(digest, "big"))


def qemu_seed(seed: int, label: str = "qemu") -> int:
    """A 32-bit value for QEMU's -seed."""
    return rng(seed, label).getrandbits(32)


def draw(seed: int, label: str, candidates: Sequence[Event], count: int) -> list[Moment]:
    """Draws `count` different moments (fewer if there are not that many), in no particular order of time.

    Every candidate is as likely as another, and so is each of its hits. ValueError without candidates.
    """
    if not candidates:
        raise ValueError("no candidate events to draw from")
    r = rng(seed, label)
    everything = sum(e.most for e in candidates)
    drawn: dict[Moment, None] = {}
    while len(drawn) < min(count, everything):
        event = candidates[r.randrange(len(candidates))]
        drawn.setdefault(Moment(event, 1 + r.randrange(event.most)))
    return list(drawn)


def visit(machine: Machine, moments: Sequence[Moment], timeout: float | Deadline) -> Iterator[tuple[Moment, Stop]]:
    """Runs the stopped machine and yields at each moment, in the order in which the guest reaches them, the
    machine standing. Hits count from the call, over all CPUs.

    DeadlineError if a moment is not reached within `timeout` seconds for all, or the guest ends first.
    """
    deadline = Deadline(timeout)
    gdb = machine.gdb
    waiting: dict[int, dict[int, Moment]] = {}
    for moment in moments:
        waiting.setdefault(moment.event.address, {})[moment.hit] = moment
    hits = dict.fromkeys(waiting, 0)
    try:
        for address in waiting:
            gdb.set_break(address)
        while waiting:
            gdb.cont()
            try:
                stop = gdb.wait(deadline)
            except (DeadlineError, GdbClosed) as error:
                if not isinstance(error, GdbClosed):
                    gdb.interrupt()
                missing = ", ".join(str(m) for left in waiting.values() for m in left.values())
                raise DeadlineError(f"not reached: {missing} ({error})\n{machine.describe()}") from error
            if not stop.breakpoint:
                raise GdbError(f"the guest stopped by itself: {stop}\n{machine.describe()}")
            address = gdb.pc(stop.cpu)
            if address not in waiting:
                continue        # somebody else's breakpoint
            hits[address] += 1
            moment = waiting[address].pop(hits[address], None)
            if moment is not None:
                yield moment, stop
            if not waiting[address]:
                del waiting[address]
                gdb.clear_break(address, HARD)
    finally:
        if not gdb.running and not machine.exited:
            for address in waiting:
                gdb.clear_break(address, HARD)
