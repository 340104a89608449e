"""Where the kernel lies is drawn at each start, and nothing that user mode sees tells it.

Every start here counts instructions (-icount), so that a kernel that draws from a cycle counter alone draws the
same each time; what differs is QEMU's seed, which is what the processor's generator and the boot loader's seed
give. The draws are judged by the words of kernel/mm/layout.h, and those by the tables.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import random
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest

from grade.image import Image
from grade.moments import qemu_seed
from grade.places import DRAWS, PARTS, chosen_places, linked_places, related, too_few
from grade.plugin import Boot, Build
from grade.qemu import ARCHES, PROMPT, Machine
from grade.spaces import Kernel
from grade.walk import mapped_between

pytestmark = pytest.mark.guest

IMAGE_STEP, REGION_STEP, REGION_PLACES = 2 << 20, 1 << 30, 16384
REGIONS = ("direct map", "stack area")
REGION_SIZE = 1 << 30
STARTS, SOAK_STARTS = 64, 448
# Of 64 fair draws a bit is set in fewer than 7 or more than 57 with a probability of 9e-12, and the tests look at
# fewer than 100 bits in all.
FAIR = range(7, 58)
# The choice comes before the machine matters, so it may be one whose firmware is done at once.
QUICK = {"x86_64": "microvm", "aarch64": "virt"}


def steps(image: Image) -> tuple[int, int]:
    """The first slide in steps, and the first one that is too far."""
    linked = image.linked()
    size = -(-(linked.sym("__data_end") - linked.sym("__image_start")) // IMAGE_STEP)
    return size, ((1 << 64) - linked.sym("__image_start")) // IMAGE_STEP - size


def layout(machine: Machine, image: Image) -> dict[str, int]:
    """What the kernel of a stopped machine chose, in steps above the link addresses; it has just done so, if the
    machine was paused."""
    image.at(machine)
    at, linked = chosen_places(machine, image), linked_places(image)
    out = {part: divmod(at[part] - linked[part], REGION_STEP if part in REGIONS else IMAGE_STEP) for part in PARTS}
    assert all(rest == 0 for _, rest in out.values()), out
    return {part: count for part, (count, _) in out.items()}


def start(build: Build, image: Image, seed: int, append: str = "") -> dict[str, int]:
    """One start, as far as the choice."""
    line = f"console={ARCHES[build.arch].console} quiet {append}"
    with Machine(build.kernel, build.initrd, line, arch=build.arch, mem=64, paused=True, icount=True,
                 seed=seed, machine=QUICK[build.arch]) as m:
        return layout(m, image)


def starts(build: Build, image: Image, seed: int, count: int, kept: Path) -> list[dict[str, int]]:
    """Many starts with seeds of their own; parallel workers share them in a file."""
    with open(kept, "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        with contextlib.suppress(json.JSONDecodeError):
            return list(json.load(file))
        out = [start(build, image, qemu_seed(seed, f"kaslr-{i}")) for i in range(count)]
        json.dump(out, file)
        return out


@pytest.fixture(scope="module")
def drawn(build: Build, image: Image, seed: int, request: pytest.FixtureRequest,
          tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, int]]:
    """What 64 starts chose."""
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if hasattr(request.config, "workerinput") else base
    return starts(build, image, seed, STARTS, folder / f"kaslr-{build.arch}.json")


def fractions(chosen: list[dict[str, int]], image: Image) -> dict[str, list[int]]:
    """Each draw's place in its range as a number of 9 bits (image) or 14 (the others): the whole range counts."""
    first, end = steps(image)
    return {"image": [(c["image"] - first) * 512 // (end - first) for c in chosen]} | {
        part: [c[part] for c in chosen] for part in REGIONS}


BITS = {"image": 9, "direct map": 14, "stack area": 14}


# ---- what is drawn ----------------------------------------------------------------------------------------


def test_image_direct_map_and_stacks_lie_where_no_other_start_put_them(drawn: list[dict[str, int]],
                                                                       image: Image) -> None:
    first, end = steps(image)
    assert all(first <= c["image"] < end for c in drawn)
    for name in REGIONS:
        assert all(1 <= c[name] < REGION_PLACES for c in drawn)
    # Of about 1,015 places 64 draws share few: less than 44 different ones has a probability below 1e-12.
    assert end - first > 512
    assert len({c["image"] for c in drawn}) >= 44
    assert all(len({c[name] for c in drawn}) >= 56 for name in REGIONS)


def test_every_bit_of_every_address_is_drawn(drawn: list[dict[str, int]], image: Image) -> None:
    for name, values in fractions(drawn, image).items():
        for bit in range(BITS[name]):
            ones = sum(v >> bit & 1 for v in values)
            assert ones in FAIR, f"{name}: bit {bit} is set in {ones} of {len(values)} starts"


def test_the_three_addresses_say_nothing_of_one_another(drawn: list[dict[str, int]], image: Image) -> None:
    found = fractions(drawn, image)
    for one, other in combinations(PARTS, 2):
        for bit in range(1, 10):    # from the top: whatever their scale
            equal = sum((a >> BITS[one] - bit ^ b >> BITS[other] - bit) & 1 for a, b in zip(found[one], found[other]))
            assert equal in FAIR, f"{one} and {other}: bit {bit} from the top differs in {equal} of {len(drawn)}"


def test_the_same_seed_gives_the_same_addresses(build: Build, image: Image, seed: int) -> None:
    """A grader's runs repeat: the processor's generator is QEMU's, and its seed is given."""
    assert start(build, image, seed) == start(build, image, seed)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_slides_are_spread_evenly_over_many_starts(build: Build, image: Image, seed: int, tmp_path: Path) -> None:
    chosen = starts(build, image, 1000 + seed, SOAK_STARTS, tmp_path / "kaslr.json")
    for name, values in fractions(chosen, image).items():
        bins = Counter(v >> BITS[name] - 4 for v in values)
        expected = SOAK_STARTS / 16
        chi2 = sum((bins[i] - expected) ** 2 / expected for i in range(16))
        assert chi2 < 75, f"{name}: {sorted(bins.items())}"     # 15 degrees of freedom: 5e-10


def test_without_the_row_everything_lies_where_it_was_linked(boot: Boot, image: Image) -> None:
    m = boot(append="quiet harden=-kaslr", paused=True)
    assert set(layout(m, image).values()) == {0}
    m.cont()
    m.wait_for(PROMPT, 30)
    m.stop()
    kernel = Kernel(m, image)
    assert kernel.frames(image.linked().span("__text_start", "__text_end")) == [text_of(kernel)]


# ---- how draws are judged ---------------------------------------------------------------------------------


def draws(rng: random.Random, part: str, places: int, step: int) -> list[int]:
    """So many fair ones as a lab looks at."""
    base = {"image": 0xFFFF_FFFF_8020_0000, "direct map": 0xFFFF_8880_0000_0000, "stack area": 0xFFFF_C900_0000_0000}[part]
    return [base + (1 + rng.randrange(places)) * step for _ in range(DRAWS)]


@pytest.mark.parametrize("number", range(4))
def test_draws_that_are_fair_pass_whatever_their_steps_and_others_do_not(number: int) -> None:
    rng = random.Random(number)
    image = draws(rng, "image", 1 << 9, IMAGE_STEP)
    area, fine = draws(rng, "stack area", 16383, REGION_STEP), draws(rng, "direct map", 1 << 23, IMAGE_STEP)
    assert [too_few(image), too_few(area), too_few(fine)] == ["", "", ""]
    assert too_few(draws(rng, "image", 1 << 7, IMAGE_STEP))
    assert too_few([image[0] if i % 8 == 0 else place for i, place in enumerate(fine)])
    assert not any(related(one, other) for one, other in combinations((image, area, fine), 2))
    follows = [there + REGION_STEP if here & IMAGE_STEP else place for here, there, place in zip(image, area, fine)]
    assert related(follows, area)


# ---- what the tables say ----------------------------------------------------------------------------------


def text_of(kernel: Kernel) -> tuple[int, int]:
    """The frames of kernel text, by where the image is loaded."""
    start_, end = kernel.image.span("__text_start", "__text_end")
    return kernel.image.phys(start_), kernel.image.phys(start_) + end - start_


@pytest.fixture
def running(boot: Boot, image: Image) -> Iterator[Kernel]:
    """A kernel with its shell, stopped."""
    m = boot(smp=2)
    m.wait_for(PROMPT, 30)
    m.stop()
    yield Kernel(m, image)


def test_the_tables_agree_with_what_was_drawn(running: Kernel) -> None:
    image, (start_, end) = running.image, text_of(running)
    assert running.frames(image.span("__text_start", "__text_end")) == [(start_, end)]
    base = running.u64(image.sym("direct_map_base"))
    assert running.frames((base + start_, base + end)) == [(start_, end)]
    area = running.u64(image.sym("kstack_area_base"))
    assert all(area < t.kstack < area + REGION_SIZE for t in running.threads())


def test_nothing_is_mapped_at_the_addresses_that_the_image_is_linked_for(running: Kernel) -> None:
    spaces = running.spaces()
    linked = running.image.linked()
    assert not mapped_between(spaces, linked.sym("__image_start"), linked.sym("__data_end"))
    for part in REGIONS:
        base = linked_places(running.image)[part]
        assert not mapped_between(spaces, base, base + REGION_SIZE)
