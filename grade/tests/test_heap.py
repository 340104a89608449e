"""The kernel heap, walked from outside: what free objects hold, and in what order objects are given out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from grade.heap import Slab, cpu_heads, slabs, walk
from grade.image import Image
from grade.moments import Event, draw, qemu_seed, visit
from grade.plugin import Boot, Build
from grade.qemu import PROMPT, Machine
from grade.spaces import Kernel

ROOT = Path(__file__).resolve().parent.parent.parent
MOMENTS = 6
DIRECT_MAP_SIZE = 48 << 40      # arch/*/machine.h

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def load(arch: str, build: Build) -> Iterator[Image]:
    """The workload's symbols."""
    opened = Image(ROOT / "build" / arch / "user" / "test-load")
    yield opened
    opened.close()


@pytest.fixture
def quiet(boot: Boot, image: Image) -> tuple[Machine, Kernel]:
    """A machine that waits at its prompt, stopped."""
    m = boot(smp=2)
    m.wait_for(PROMPT, 30)
    m.stop()
    return m, Kernel(m, image.at(m))


def seen_at_moments(boot: Boot, image: Image, load: Image, seed: int, smp: int) -> Iterator[tuple[Kernel, int]]:
    """The kernel under load at moments that the seed draws, and how many CPUs may be in the heap just then."""
    m = boot(run="/bin/test-load 40", smp=smp, paused=True, icount=True, seed=seed & 0xFFFFFFFF, keep=True)
    m.run_until(load.sym("load_round"), timeout=60)
    placed = image.at(m)
    events = [Event("a round of the workload", load.sym("load_round"), 10),
              Event("system call", placed.sym("syscall_dispatch"), 300), Event("fork", placed.sym("vm_fork"), 10)]
    for _, stop in visit(m, draw(seed, f"heap-{smp}", events, MOMENTS), 120):
        kernel = Kernel(m, placed)
        # The CPU that stopped is at a known place; another one may be about to seal an object.
        others = [c for c in m.gdb.cpus() if c != stop.cpu and not kernel.cpu.in_user_mode(m, c)]
        yield kernel, len(others)


def pointers(slab: Slab, direct: int) -> list[str]:
    """The free objects of a slab whose first word is a direct-map address, or nothing at all."""
    out = []
    for at, data in slab.free():
        word = int.from_bytes(data[:8], "little")
        if word == 0 or direct <= word < direct + DIRECT_MAP_SIZE:
            out.append(f"{slab.cache.name}: free object {at:#x} begins with {word:#x}")
    return out


def leftovers(slab: Slab) -> list[str]:
    """The free objects of a slab in which something is left of what they were."""
    return [f"{slab.cache.name}: free object {at:#x} holds {data.hex()}" for at, data in slab.free() if any(data[8:])]


SMP = pytest.mark.parametrize("smp", [1, 4])


@SMP
def test_no_free_object_holds_a_pointer(boot: Boot, image: Image, load: Image, seed: int, smp: int) -> None:
    for kernel, busy in seen_at_moments(boot, image, load, seed, smp):
        direct = kernel.u64(kernel.image.sym("direct_map_base"))
        every = slabs(kernel)
        assert sum(1 for s in every for _ in s.free()) > 100
        wrong = [w for s in every for w in pointers(s, direct)]
        assert len(wrong) <= busy, "\n".join(wrong[:20])


@SMP
def test_nothing_is_left_in_a_free_object(boot: Boot, image: Image, load: Image, seed: int, smp: int) -> None:
    for kernel, busy in seen_at_moments(boot, image, load, seed, smp):
        wrong = [w for s in slabs(kernel) for w in leftovers(s)]
        assert len(wrong) <= busy, "\n".join(wrong[:20])


def test_an_object_is_free_if_and_only_if_it_is_on_a_list(boot: Boot, image: Image, load: Image, seed: int) -> None:
    """Of one CPU: then nobody is in the heap at these moments. The marks must be right, or free would believe
    what is freed twice; and so must the links, which this test decodes by itself."""
    for kernel, _ in seen_at_moments(boot, image, load, seed, 1):
        every = slabs(kernel)
        listed: Counter[int] = Counter()
        for cache in {s.cache for s in every}:
            for head in cpu_heads(kernel, cache):
                listed.update(walk(kernel, cache, head))
        for s in every:
            listed.update(walk(kernel, s.cache, s.first_free))
        free = {at for s in every for at, _ in s.free()}
        assert max(listed.values()) == 1
        assert set(listed) == free


def test_every_cache_has_a_secret_of_its_own(quiet: tuple[Machine, Kernel]) -> None:
    secrets = Counter({s.cache: s.cache.secret for s in slabs(quiet[1])}.values())
    assert len(secrets) > 10 and max(secrets.values()) == 1
    ones = [bin(secret).count("1") for secret in secrets]
    assert all(8 <= n <= 56 for n in ones), "64 fair bits"


def test_secrets_are_others_at_the_next_start(boot: Boot, image: Image, seed: int) -> None:
    """Counting instructions, so that a kernel that draws from a clock draws the same."""
    drawn: list[set[int]] = []
    for i in range(2):
        m = boot(smp=1, icount=True, seed=qemu_seed(seed, f"heap-{i}"))
        m.wait_for(PROMPT, 60)
        m.stop()
        drawn.append({s.cache.secret for s in slabs(Kernel(m, image.at(m)))})
    assert not drawn[0] & drawn[1]


def test_objects_of_a_new_slab_come_in_no_order(quiet: tuple[Machine, Kernel]) -> None:
    """Neighbours on a slab's list are neighbours in memory about as often as chance has it: once in `count`."""
    steps = pairs = 0
    expected = 0.0
    for s in slabs(quiet[1]):
        listed = walk(quiet[1], s.cache, s.first_free)
        for one, other in zip(listed, listed[1:]):
            pairs += 1
            steps += abs(other - one) == s.cache.size
            expected += 2 / s.cache.count
    assert pairs > 200
    assert steps < 2 * expected + 20, f"{steps} of {pairs} objects are followed by their neighbour"
