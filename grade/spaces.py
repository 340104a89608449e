"""Every address space of a stopped Rampart, found from outside; and its kernel lists, followed from outside.

The kernel's words are read through its own root table, found at the physical address of `kernel_pt`. Lists
are followed with a bound and checked link by link: a corrupt one is an error and never a hang.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from grade.cpus import CPUS
from grade.image import Image
from grade.qemu import Machine
from grade.walk import PhysError, Space

LIST_MAX = 1 << 16


class KernelStateError(RuntimeError):
    """The guest's own data structures make no sense (not started yet, or corrupted)."""


@dataclass(frozen=True)
class Thread:
    """One kernel thread or user thread, as the kernel's lists tell it."""

    address: int
    tid: int
    name: str
    pid: int
    kstack: int     # lowest mapped address of its kernel stack


class Kernel:
    """The stopped guest's kernel, seen through its image, which is placed where the guest runs it. Make a new
    one after the guest has run."""

    def __init__(self, machine: Machine, image: Image) -> None:
        self.machine, self.image = machine, image.at(machine)
        self.cpu = CPUS[machine.arch.name]
        try:
            root = self.kernel_root()
        except KernelStateError:
            root = None
        self.walker = self.cpu.walker(machine, 0, root)
        self._pages: dict[int, int | None] = {}

    # ---- memory ---------------------------------------------------------------------------------------

    def kernel_root(self) -> int:
        """The physical address of the kernel's own root table. KernelStateError if it is not set yet."""
        where = self.image.phys(self.image.sym("kernel_pt")) + self.image.offsetof("struct arch_pt", "root.v")
        (root,) = struct.unpack("<Q", self.machine.read_phys(where, 8))
        if root & self.cpu.address == 0:
            raise KernelStateError("kernel_pt has no root yet")
        return int(root & self.cpu.address)

    def phys(self, va: int) -> int:
        """The physical address behind a kernel virtual address, through the kernel's root."""
        page = va & ~0xFFF
        if page not in self._pages:
            m = self.walker.translate(self.kernel_root(), va)
            self._pages[page] = None if m is None else m.pa + (page - m.va)
        base = self._pages[page]
        if base is None:
            raise KernelStateError(f"kernel address {va:#x} is not mapped")
        return base + (va & 0xFFF)

    def read(self, va: int, size: int) -> bytes:
        """Reads kernel virtual memory. KernelStateError where nothing is mapped, or no RAM."""
        out = bytearray()
        while len(out) < size:
            here = va + len(out)
            piece = min(size - len(out), 4096 - (here & 0xFFF))
            try:
                out += self.machine.read_phys(self.phys(here), piece)
            except PhysError as error:
                raise KernelStateError(f"kernel address {here:#x}: {error}") from error
        return bytes(out)

    def ranges(self) -> dict[str, tuple[int, int]]:
        """Where the kernel lies: its image, the direct map of RAM, the stack area (those that it has)."""
        out = {"image": self.image.span("__image_start", "__data_end")}
        for name, size in (("direct_map_base", self.u64(self.image.sym("page_count")) << 12),
                           ("kstack_area_base", 1 << 30)):
            base = self.u64(self.image.sym(name))
            out[name.removesuffix("_base")] = base, base + size
        return out

    def owns(self, va: int) -> bool:
        """Whether an address is one of the kernel's image, direct map or stacks."""
        return any(start <= va < end for start, end in self.ranges().values())

    def u64(self, va: int) -> int:
        """One 64-bit word of kernel memory."""
        return int.from_bytes(self.read(va, 8), "little")

    def i32(self, va: int) -> int:
        """One signed 32-bit word of kernel memory."""
        return int.from_bytes(self.read(va, 4), "little", signed=True)

    def text(self, va: int, size: int) -> str:
        """A string in a buffer of `size` bytes."""
        return self.read(va, size).split(b"\0")[0].decode("utf-8", errors="replace")

    def member(self, base: int, struct_name: str, member: str) -> int:
        """A member's value, read as an unsigned number of its own size."""
        size = self.image.sizeof(struct_name, member)
        return int.from_bytes(self.read(base + self.image.offsetof(struct_name, member), size), "little")

    def list_of(self, head: int, struct_name: str, member: str) -> Iterator[int]:
        """Addresses of the `struct_name`s chained by `member` on the list at `head`.
        KernelStateError if a link is broken or the list does not end."""
        offset = self.image.offsetof(struct_name, member)
        step_next, step_prev = self.image.offsetof("struct list", "next"), self.image.offsetof("struct list", "prev")
        previous, node = head, self.u64(head + step_next)
        if node == 0:
            return      # not initialised yet
        for _ in range(LIST_MAX):
            if node == head:
                return
            if self.u64(node + step_prev) != previous:
                raise KernelStateError(f"list at {self.image.where(head)}: node {node:#x} does not point back")
            yield node - offset
            previous, node = node, self.u64(node + step_next)
        raise KernelStateError(f"list at {self.image.where(head)}: more than {LIST_MAX} nodes")

    # ---- address spaces -------------------------------------------------------------------------------

    def roots(self) -> dict[int, str]:
        """Physical root table -> a name, for every address space there is: each CPU's, each on vm_all, and
        the kernel's own; but not the window on page tables, which is none. The guest must stand."""
        out: dict[int, str] = {}
        if "kernel_pt" in self.image:
            try:
                out[self.kernel_root()] = "kernel"
            except KernelStateError:
                pass
        if out and "vm_all" in self.image:
            root = self.image.offsetof("struct vm", "pt.root.v")
            for i, vm in enumerate(self.list_of(self.image.sym("vm_all"), "struct vm", "all")):
                out.setdefault(self.u64(vm + root) & self.cpu.address, f"vm {i} at {vm:#x}")
        views = {user: kernel for kernel in out if (user := self.user_root(kernel)) is not None}
        for cpu in self.machine.gdb.cpus():
            root = self.cpu.root_of(self.machine, cpu)
            if root == self.window_root():
                continue
            out.setdefault(views.get(root, root), f"CPU {cpu}'s {self.cpu.root.upper()}")
        return out

    def window_root(self) -> int | None:
        """The root that a CPU loads while it writes page tables (row ro-pgtable). None before there is one."""
        if "window_root" not in self.image:
            return None
        try:
            return self.u64(self.image.sym("window_root")) & self.cpu.address or None
        except KernelStateError:
            return None

    def windows(self, cpu: int) -> int:
        """How many windows on page tables a CPU has open, as its own count says."""
        base = self.image.sym("cpus") + cpu * self.image.sizeof("struct cpu")
        return self.member(base, "struct cpu", "table_windows")

    def user_root(self, root: int) -> int | None:
        """The root that user mode loads for the address space whose own root is given: the other one of the
        pair (row kpti). None where there are no pairs, or the row is off."""
        return root + 4096 if self.paired() else None

    def paired(self) -> bool:
        """Whether a CPU has another root for user mode than for the kernel."""
        if "x86_entry_data" not in self.image:
            return False
        base, size = self.image.sym("cpus"), self.image.sizeof("struct cpu")
        try:
            return any(self.member(base + cpu * size, "struct cpu", "user_root") & 4096
                       for cpu in self.machine.gdb.cpus())
        except KernelStateError:
            return False

    def own_spaces(self) -> list[Space]:
        """Every address space as the kernel has it, walked."""
        return [self.walker.space(root, name) for root, name in self.roots().items()]

    def views(self) -> list[Space]:
        """Every address space as user mode has it, where that differs."""
        pairs = [(self.user_root(root), name) for root, name in self.roots().items()]
        return [self.walker.space(user, f"{name}, for user mode") for user, name in pairs if user is not None]

    def spaces(self) -> list[Space]:
        """Every address space, walked: as the kernel has it, and as user mode has it."""
        return self.own_spaces() + self.views()

    def frames(self, *spans: tuple[int, int]) -> list[tuple[int, int]]:
        """The physical ranges (start, end) behind kernel virtual spans, through the kernel's root. For
        example frames(image.span("__text_start", "__text_end"))."""
        out: list[tuple[int, int]] = []
        for start, end in spans:
            va = start
            while va < end:
                piece = min(end, (va & ~0xFFF) + 4096) - va
                pa = self.phys(va)
                if out and out[-1][1] == pa:
                    out[-1] = (out[-1][0], pa + piece)
                else:
                    out.append((pa, pa + piece))
                va += piece
        return out

    # ---- threads --------------------------------------------------------------------------------------

    def threads(self) -> list[Thread]:
        """Every thread of every process on process_all."""
        out = []
        for process in self.list_of(self.image.sym("process_all"), "struct process", "all"):
            pid = self.member(process, "struct process", "pid")
            head = process + self.image.offsetof("struct process", "threads")
            for t in self.list_of(head, "struct thread", "siblings"):
                name = t + self.image.offsetof("struct thread", "name")
                out.append(Thread(t, self.member(t, "struct thread", "tid"),
                                  self.text(name, self.image.sizeof("struct thread", "name")), pid,
                                  self.member(t, "struct thread", "kstack")))
        return out

    def current(self, cpu: int) -> int:
        """The address of the `struct thread` that `cpu` runs (0 before its first)."""
        base = self.image.sym("cpus") + cpu * self.image.sizeof("struct cpu")
        return self.member(base, "struct cpu", "thread")
