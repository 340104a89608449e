"""The kernel's slabs, walked from outside: every object, what its first word says, and who calls it free."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from grade.spaces import Kernel, KernelStateError

PAGE = 4096
SLAB = 4                # enum page_type
U64 = (1 << 64) - 1


@dataclass(frozen=True)
class Cache:
    """One slab cache."""

    address: int
    name: str
    size: int
    count: int
    order: int
    secret: int


@dataclass(frozen=True)
class Slab:
    """One slab of a cache; `used` has a bit an object: its first byte is marked as in use."""

    cache: Cache
    base: int
    first_free: int
    used: tuple[bool, ...]
    data: bytes

    def free(self) -> Iterator[tuple[int, bytes]]:
        """The objects that are not in use: address and bytes."""
        for i, used in enumerate(self.used):
            if not used:
                yield self.base + i * self.cache.size, self.data[i * self.cache.size:(i + 1) * self.cache.size]


def _cache(kernel: Kernel, at: int) -> Cache:
    name, *numbers = (kernel.member(at, "struct slab_cache", m)
                      for m in ("name", "size", "count", "order", "secret"))
    return Cache(at, kernel.text(name, 32), *numbers)


def _frames(kernel: Kernel) -> Iterator[tuple[int, int, int]]:
    """Every frame of a slab: its number, its cache's address, and (of a slab's first frame) its first free object."""
    image = kernel.image
    table, first, end = (kernel.u64(image.sym(n)) for n in ("pages", "page_first", "page_count"))
    size = image.sizeof("struct page")
    at_type, at_private = (image.offsetof("struct page", m) for m in ("type", "private"))
    raw = kernel.read(table + first * size, (end - first) * size)
    for number in range(first, end):
        at = (number - first) * size
        if raw[at + at_type] == SLAB:
            yield number, *struct.unpack_from("<QQ", raw, at + at_private)


def caches(kernel: Kernel) -> list[Cache]:
    """Every cache that has a slab."""
    return [_cache(kernel, owner) for owner in sorted({owner for _, owner, _ in _frames(kernel)})]


def frames_of(kernel: Kernel, cache: int) -> int:
    """How many frames a cache's slabs have."""
    return sum(owner == cache for _, owner, _ in _frames(kernel))


def cache_of(kernel: Kernel, va: int) -> Cache | None:
    """The cache in whose slab an address of the direct map lies. None: in no slab."""
    image = kernel.image
    table, first, end = (kernel.u64(image.sym(n)) for n in ("pages", "page_first", "page_count"))
    number = va - kernel.u64(image.sym("direct_map_base")) >> 12
    if not first <= number < end:
        return None
    page = table + number * image.sizeof("struct page")
    if kernel.member(page, "struct page", "type") != SLAB:
        return None
    return _cache(kernel, kernel.u64(page + image.offsetof("struct page", "private")))


def slabs(kernel: Kernel) -> list[Slab]:
    """Every slab of a stopped guest whose row heap is on."""
    image = kernel.image
    marks, direct = kernel.u64(image.sym("heap_in_use")), kernel.u64(image.sym("direct_map_base"))
    if not marks:
        raise KernelStateError("the heap is a plain one")
    known: dict[int, Cache] = {}
    out, behind = [], 0
    for number, owner, head in _frames(kernel):
        if number < behind:
            continue        # not a slab's first frame
        if owner not in known:
            known[owner] = _cache(kernel, owner)
        cache = known[owner]
        length = PAGE << cache.order
        bits = kernel.read(marks + number * PAGE // 128, length // 128)
        used = tuple(bool(bits[i * cache.size // 128] >> (i * cache.size // 16 % 8) & 1) for i in range(cache.count))
        base = direct + number * PAGE
        out.append(Slab(cache, base, head, used, kernel.read(base, length)))
        behind = number + (1 << cache.order)
    return out


def decode(cache: Cache, at: int, link: int) -> int:
    """The address that a link stored at `at` stands for: kernel/harden/heap.c says how."""
    return link ^ cache.secret ^ int.from_bytes(at.to_bytes(8, "little"), "big")


def walk(kernel: Kernel, cache: Cache, head: int) -> list[int]:
    """The objects of a list, followed from outside. KernelStateError if it does not end."""
    out: list[int] = []
    while head:
        out.append(head)
        if len(out) > 1024:
            raise KernelStateError(f"{cache.name}: a list without an end")
        head = decode(cache, head, kernel.u64(head))
    return out


def cpu_heads(kernel: Kernel, cache: Cache) -> list[int]:
    """The first object on each CPU's list."""
    image = kernel.image
    step, at = image.sizeof("struct cpu_list"), image.offsetof("struct slab_cache", "cpu")
    return [kernel.u64(cache.address + at + cpu * step) for cpu in kernel.machine.gdb.cpus()]
