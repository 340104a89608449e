"""Where system calls begin on their kernel stacks: whether one place tells another."""

from __future__ import annotations

from collections import Counter

# Of 320 fair draws from 32 places, or more, fewer than 24 places are seen, or one of them 40 times, less than once in
# 10^9; so it is with the differences of neighbours, and with two equal neighbours.
DRAWS, SEEN, OFTEN = 320, 24, 40
POINTER = {"x86_64": "rsp", "aarch64": "sp"}


def unfair(draws: list[int]) -> list[str]:
    """What is wrong with depths in the order in which they came, DRAWS of them."""
    places = Counter(draws)
    steps = Counter(b - a for a, b in zip(draws, draws[1:]))
    out = [] if len(draws) >= DRAWS else [f"{len(draws)} calls of {DRAWS}"]
    if len(places) < SEEN:
        out.append(f"only {len(places)} places")
    if max(places.values(), default=0) >= OFTEN:
        out.append(f"one place {max(places.values())} times of {len(draws)}")
    if len(steps) < SEEN or max(steps.values()) >= OFTEN:
        out.append(f"from one to the next there are {len(steps)} steps, one of them "
                   f"{max(steps.values(), default=0)} times")
    return out
