"""x86_64's entry area (arch/x86_64/kpti.c): what of the kernel is mapped while user mode runs, and where.

Its addresses are constants of the kernel's specification, whatever the image says.
"""

from __future__ import annotations

import struct
from bisect import bisect_right

from grade.spaces import Kernel
from grade.walk import Mapping, Space

BASE, STRIDE = 0xFFFF_FE00_0000_0000, 0x1_0000      # arch/x86_64/cpu.h
PAGE = 4096
CPUS_MAX = 8
KERNEL_HALF = 1 << 63


class EntryArea:
    """The entry area of one kernel."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel, self.image = kernel, kernel.image
        self.text, self.text_end = self.image.span("__entry_text_start", "__entry_text_end")

    def alias(self, address: int, cpu: int = 0) -> int:
        """Where the trampoline's code at an address of the image runs on a CPU (traps: always CPU 0's)."""
        return BASE + (cpu + 1) * STRIDE + address - self.text

    def _page(self, va: int, frame: int, writable: bool = False, executable: bool = False) -> Mapping:
        return Mapping(va, frame, PAGE, writable, False, False, executable, False)

    def allowed(self) -> set[Mapping]:
        """The mappings that user mode's tables may have of the kernel, and must."""
        k, image = self.kernel, self.image
        out = {self._page(BASE, k.phys(image.sym("idt")))}
        size = self.text_end - self.text
        data = image.sym("x86_entry_data")
        for cpu in range(CPUS_MAX):
            start = self.alias(self.text, cpu)
            for at in range(0, size, PAGE):
                out.add(self._page(start + at, k.phys(self.text + at), executable=True))
            out.add(self._page(start + size, k.phys(data + cpu * PAGE), writable=True))
        return out

    def problems(self, space: Space) -> list[str]:
        """What a root that user mode runs on has of the kernel and should not have, or lacks."""
        there = {m for part in space.parts for m in part if m.va >= KERNEL_HALF}
        allowed = self.allowed()
        reachable = [m for part in space.parts for m in part if m.va < KERNEL_HALF and not m.user]
        return ([f"{space}: maps {m}" for m in sorted(there - allowed)[:10]]
                + [f"{space}: lacks {m}" for m in sorted(allowed - there)[:10]]
                + [f"{space}: the kernel's page {m} in the user half" for m in reachable[:10]])

    def secrets(self, space: Space) -> list[str]:
        """What a CPU's page of data, which every root has, tells of where the kernel is: words that are addresses in
        the kernel's own tables, given as `space`."""
        pages = sorted((m.va, m.va + m.size) for part in space.parts for m in part
                       if m.va >= KERNEL_HALF and not BASE <= m.va < BASE + (CPUS_MAX + 1) * STRIDE)
        starts = [start for start, _ in pages]
        out = []
        for cpu in range(CPUS_MAX):
            page = self.kernel.machine.read_phys(self.kernel.phys(self.image.sym("x86_entry_data") + cpu * PAGE), PAGE)
            for at, (word,) in enumerate(struct.iter_unpack("<Q", page)):
                i = bisect_right(starts, word) - 1
                if i >= 0 and word < pages[i][1]:
                    out.append(f"CPU {cpu}'s entry data has {word:#x} at +{at * 8:#x}: {self.image.where(word)}")
        return out

    def code_problems(self) -> list[str]:
        """Whether the trampoline's frames hold what the image file says."""
        for at in range(self.text, self.text_end, PAGE):
            seen = self.kernel.machine.read_phys(self.kernel.phys(at), PAGE)
            if seen != self.image.bytes_at(at, PAGE):
                return [f"the trampoline's page at {at:#x} is not the image's"]
        return []
