"""Where a kernel's parts lie, as it chose at its start, and whether chance had a hand in it."""

from __future__ import annotations

import math
from collections import Counter

from grade.image import Image
from grade.qemu import Machine

PARTS = ("image", "direct map", "stack area")
Places = dict[str, int]         # a part's name: where it begins

# The kernel's words for it (kernel/mm/layout.h). The image's counts from where that was linked to be.
WORDS = {"image": "image_slide", "direct map": "direct_map_base", "stack area": "kstack_area_base"}


def linked_places(image: Image) -> Places:
    """Where everything was linked to be: the same on both architectures."""
    return {"image": image.linked().sym("__image_start"), "direct map": 0xFFFF_8880_0000_0000,
            "stack area": 0xFFFF_C900_0000_0000}


def chosen_places(machine: Machine, image: Image) -> Places:
    """What the kernel's words say, read where the image was loaded, so that they can be read at any time."""
    linked = image.linked()
    at = {part: int.from_bytes(machine.read_phys(linked.phys(linked.sym(name)), 8), "little")
          for part, name in WORDS.items()}
    at["image"] += linked.sym("__image_start")
    return at


# ---- chance --------------------------------------------------------------------------------------------------

# A part that is drawn from 2^9 places or more has 324 different ones in 512 draws on average. One draw changes their number
# by one at most, so that fewer than 243 come less than once in 10^11 (McDiarmid's inequality); 2^8 places hardly ever give
# as many. One place comes more than 15 times with a probability of 10^-11.
DRAWS, BITS, FEWEST, MOST = 512, 9, 243, 15
# Some bit of one part seems to follow one of another where none does: less often than this.
WRONGLY = 1e-10


def too_few(places: list[int]) -> str:
    """How 512 draws of one part differ from fair ones with 9 bits or more; empty if they do not. The words name no
    number that another 512 would not have."""
    count = Counter(places)
    if len(count) == 1:
        return f"is at the same place in all of {len(places)} draws"
    if len(count) < FEWEST:
        return f"is at fewer than {FEWEST} places in {len(places)} draws"
    if max(count.values()) > MOST:
        return f"is at one and the same place in more than {MOST} of {len(places)} draws"
    return ""


def _columns(places: list[int]) -> dict[int, int]:
    """Of each bit that is not always the same its values in all draws, as the bits of one number."""
    everything = (1 << len(places)) - 1
    columns = {bit: sum((place >> bit & 1) << i for i, place in enumerate(places)) for bit in range(64)}
    return {bit: column for bit, column in columns.items() if column not in (0, everything)}


def related(one: list[int], other: list[int]) -> bool:
    """Whether a bit of one part tells something of a bit of the other. How often each is set is taken as it is: then the
    number of draws in which both are is a hypergeometric one, if neither knows of the other, and Serfling's bound holds
    for it (Annals of Statistics 2, 1974), divided among all pairs."""
    draws = len(one)
    pairs = [(a, b) for a in _columns(one).values() for b in _columns(other).values()]
    if not pairs:
        return False
    limit = math.log(2 * len(pairs) / WRONGLY)
    for a, b in pairs:
        ones, others = a.bit_count(), b.bit_count()
        few = min(ones, draws - ones, others, draws - others)
        drawn_from = 1 - (few - 1) / draws      # what is left of Hoeffding's, where nothing is put back
        if abs((a & b).bit_count() - ones * others / draws) > math.sqrt(few * drawn_from * limit / 2):
            return True
    return False
