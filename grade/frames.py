"""Physical frames counted from outside: who owns each, and whether its references are its mappings.

Works on the stopped guest's `pages` array (kernel/mm/page.h) and on the address spaces that grade.spaces
finds; the kernel's own counters are not believed.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from weakref import WeakKeyDictionary

from grade.image import Image
from grade.spaces import Kernel, KernelStateError
from grade.walk import Space

TYPES = ("reserved", "free", "kernel", "table", "slab", "anon", "file")    # enum page_type


class Frame(NamedTuple):
    """One block of 2**order frames, from frame number `number` on."""

    number: int
    refs: int
    type: str
    order: int


class Wrong(NamedTuple):
    """A frame whose references are not its mappings plus what its type adds."""

    frame: Frame
    mappings: int
    fewer: bool         # fewer references than mappings: it will be freed while somebody can reach it

    def __str__(self) -> str:
        f = self.frame
        return f"frame {f.number:#x} ({f.type}): {f.refs} references, {self.mappings} mappings"


def type_at(kernel: Kernel, va: int) -> str:
    """Whose the frame is that the direct map has at an address; empty outside it."""
    image = kernel.image
    number = va - kernel.u64(image.sym("direct_map_base")) >> 12
    if not kernel.machine.arch.ram_base >> 12 <= number < kernel.u64(image.sym("page_count")):
        return ""
    page = kernel.u64(image.sym("pages")) + number * image.sizeof("struct page")
    return TYPES[kernel.member(page, "struct page", "type")]


_seen: WeakKeyDictionary[Kernel, list[Frame]] = WeakKeyDictionary()     # what frames() has read


def frames(kernel: Kernel) -> list[Frame]:
    """Every block of frames, free ones too; for an honest picture no CPU may be in the allocator. Read once a Kernel, which
    stands for one moment."""
    if kernel not in _seen:
        _seen[kernel] = list(_read_frames(kernel))
    return _seen[kernel]


def _page_struct(image: Image) -> struct.Struct:
    """struct page, of which the first members are unpacked: refs, type, order, flags."""
    lie = [image.offsetof("struct page", member) for member in ("refs", "type", "order", "flags")]
    if lie != [0, 4, 5, 6]:
        raise KernelStateError(f"struct page begins otherwise: {lie}")
    return struct.Struct(f"<IBBH{image.sizeof('struct page') - 8}x")


def _read_frames(kernel: Kernel) -> Iterator[Frame]:
    image = kernel.image
    base, count = kernel.u64(image.sym("pages")), kernel.u64(image.sym("page_count"))
    page = _page_struct(image)
    first = kernel.machine.arch.ram_base >> 12      # nothing describes what lies below RAM
    table = kernel.read(base + first * page.size, (count - first) * page.size)
    head = first
    for number, (refs, kind, order, flags) in enumerate(page.iter_unpack(table), first):
        if number < head:
            continue        # of the block before
        if kind >= len(TYPES):
            raise KernelStateError(f"frame {number:#x} has type {kind}")
        # Of the free ones only a block on the allocator's lists is more than one frame.
        if kind == 0 or (kind == 1 and not flags):
            order = 0
        yield Frame(number, refs, TYPES[kind], order)
        head = number + (1 << order)


def in_use(kernel: Kernel) -> Counter[str]:
    """Frames in use by type, reserved and free ones left out."""
    out: Counter[str] = Counter()
    for f in frames(kernel):
        if f.type not in ("reserved", "free"):
            out[f.type] += 1 << f.order
    return out


def mappings(spaces: Iterable[Space], user_end: int) -> Counter[int]:
    """Frame number -> how many user pages of all address spaces map it."""
    out: Counter[int] = Counter()
    for space in spaces:
        for m in space.between(0, user_end):
            for frame in range(m.pa >> 12, (m.pa + m.size) >> 12):
                out[frame] += 1
    return out


def wrong_references(kernel: Kernel) -> list[Wrong]:
    """User frames whose references are not their mappings (and one more for the page cache). Only when every
    CPU is idle or in user mode must there be none; `fewer` ones must not exist at any time."""
    mapped, out = mappings(kernel.own_spaces(), kernel.cpu.user_end), []
    for f in frames(kernel):
        n = mapped.pop(f.number, 0)
        if f.type not in ("anon", "file"):
            if n and f.type != "reserved":
                out.append(Wrong(f, n, True))
            continue
        expected = n + (f.type == "file")
        if f.refs != expected:
            out.append(Wrong(f, n, f.refs < expected))
    return out


SHARED, PROT_WRITE = 1, 2       # VMA_SHARED of struct vma, PROT_WRITE


def _areas(kernel: Kernel) -> dict[int, list[tuple[int, int, int, int]]]:
    """Root table -> the address space's areas: start, end, permissions, flags."""
    image, out = kernel.image, {}
    for vm in kernel.list_of(image.sym("vm_all"), "struct vm", "all"):
        table, count = (kernel.member(vm, "struct vm", m) for m in ("areas", "count"))
        areas = [kernel.u64(table + 8 * i) for i in range(count)]
        out[kernel.u64(vm + image.offsetof("struct vm", "pt.root.v")) & kernel.cpu.address] = [
            tuple(kernel.member(a, "struct vma", m) for m in ("start", "end", "prot", "flags")) for a in areas]
    return out


def wrongly_writable(kernel: Kernel) -> list[str]:
    """User pages that may be written and should not: of an area that forbids it, and private ones whose frame is
    the page cache's or has another reference. Only when every CPU is idle or in user mode must there be none."""
    areas, spaces, out = _areas(kernel), kernel.own_spaces(), []
    known = {f.number: f for f in frames(kernel)}
    for space in spaces:
        for m in space.between(0, kernel.cpu.user_end):
            if not m.writable:
                continue
            prot, flags = next((a[2:] for a in areas.get(space.root, []) if a[0] <= m.va < a[1]), (0, 0))
            frame = known.get(m.pa >> 12)
            where = f"{space.name}: {m.va:#x} is writable, and"
            if not prot & PROT_WRITE:
                out.append(f"{where} its area is not")
            elif not flags & SHARED and (frame is None or frame.type != "anon" or frame.refs != 1):
                out.append(f"{where} its frame is not its own alone: {frame}")
    return out


def at_rest(kernel: Kernel) -> bool:
    """Whether every CPU of the stopped guest is idle or in user mode."""
    image, machine = kernel.image, kernel.machine
    for cpu in machine.gdb.cpus():
        queue = image.sym("run_queues") + cpu * image.sizeof("struct run_queue")
        if not kernel.cpu.in_user_mode(machine, cpu) and \
                kernel.current(cpu) != kernel.member(queue, "struct run_queue", "idle"):
            return False
    return True
