"""GDB commands that know Rampart: rp-connect, rp-pt, rp-vm, rp-harden, rp-ps.

Loaded by .gdbinit inside GDB's own Python. The page tables are read by the very walker that the grader uses,
from physical memory through QEMU's stub, so that what you see here is what is graded.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Union

import gdb

ROOT = Path(__file__).resolve().parent.parent.parent
ARCH = os.environ.get("ARCH", "x86_64")
BUILD = ROOT / "build" / ARCH
sys.path.insert(0, str(ROOT))

from grade import walk_aarch64, walk_x86_64   # noqa: E402
from grade.walk import PhysError, Space, WalkFlood, writable_and_executable   # noqa: E402

LIST_MAX = 1 << 16
# Where QEMU loads __image_start.
LOADED_AT = {"x86_64": 0x20_0000, "aarch64": 0x4020_0000}
Walker = Union[walk_x86_64.Walker, walk_aarch64.Walker]


@dataclass(frozen=True)
class Bit:
    """One bit of a control register that a row of /proc/harden rests on."""

    register: str
    bit: int
    row: str
    does: str
    wanted: int = 1     # its value where the row holds


@dataclass(frozen=True)
class Cpu:
    """What differs between the processors: the registers that matter, by QEMU's names."""

    registers: tuple[str, ...]      # what rp-harden shows of each CPU
    bits: tuple[Bit, ...]
    root: str                       # the current address space's root table
    translates: tuple[str, int]     # the register and the bit that turn translation on
    untranslated: str               # ... and what to say where it is off


CPUS = {
    # SDM 3A 2.5, and 2.2.1 for EFER.
    "x86_64": Cpu(("cr0", "cr4", "efer", "cr3"), (
        Bit("cr4", 20, "smep", "the kernel never executes a user page"),
        Bit("cr4", 21, "smap", "the kernel touches user pages only between stac and clac"),
        Bit("cr4", 11, "umip", "user code cannot read GDT, IDT, LDT, TR or MSW (SGDT and its kin fault)"),
        Bit("efer", 11, "nx", "bit 63 of a page-table entry forbids execution"),
        Bit("cr0", 16, "wp", "the kernel obeys read-only pages too"),
    ), "cr3", ("cr0", 31), "paging is off on this CPU (CR0.PG = 0): it has not reached long mode"),
    # Arm ARM D17.2.118. No bit turns on nx, smep and wp: UXN, PXN and AP[2] are always obeyed.
    "aarch64": Cpu(("SCTLR", "TCR_EL1", "TTBR0_EL1", "TTBR1_EL1", "cpsr"), (
        Bit("SCTLR", 23, "smap", "every exception sets PSTATE.PAN: the kernel touches user pages by LDTR and STTR", 0),
        Bit("SCTLR", 9, "umip", "user code cannot read or write the interrupt mask", 0),
        Bit("SCTLR", 19, "wx", "WXN: whatever is writable is not executable"),
    ), "TTBR0_EL1", ("SCTLR", 0), "translation is off on this CPU (SCTLR_EL1.M = 0): it has not started"),
}
CPU = CPUS[ARCH]


def fail(text: str) -> gdb.GdbError:
    """An error that GDB prints without a Python traceback."""
    return gdb.GdbError(text)


def need_target() -> None:
    """Fails in words where nothing is connected, or something else than a machine."""
    thread = gdb.selected_thread()
    if thread is None:
        raise fail("not connected: `make run DEBUG=1` in another terminal, then rp-connect")
    if thread.is_running():
        raise fail("the machine runs: stop it with ctrl-c first")


def read_phys(pa: int, size: int) -> bytes:
    """Reads guest physical memory through QEMU's stub. PhysError where there is none."""
    gdb.execute("maint packet Qqemu.PhyMemMode:1", to_string=True)
    try:
        return bytes(gdb.selected_inferior().read_memory(pa, size))
    except gdb.MemoryError as error:
        raise PhysError(f"{pa:#x}: {error}") from error
    finally:
        gdb.execute("maint packet Qqemu.PhyMemMode:0", to_string=True)


def register(name: str) -> int:
    """A register of the selected CPU. Fails in words if the stub has none of that name."""
    try:
        value = gdb.newest_frame().read_register(name)
        return int(value.format_string(format="x"), 16)
    except (ValueError, gdb.error) as error:
        raise fail(f"no register {name} from this target ({error}); is it QEMU's stub, and {ARCH}?") from error


def walker() -> tuple[Walker, int]:
    """A walker with the selected CPU's modes, and that CPU's root table."""
    need_target()
    if not translating():
        raise fail(CPU.untranslated)
    if ARCH == "x86_64":
        modes = walk_x86_64.Modes.from_registers(register("cr0"), register("cr4"), register("efer"))
        return walk_x86_64.Walker(read_phys, modes), current_root()
    return walk_aarch64.Walker(read_phys, walk_aarch64.Modes.from_registers(
        register("TCR_EL1"), register("TTBR1_EL1"), register("SCTLR"), register("cpsr"))), current_root()


def translating() -> bool:
    """Whether the selected CPU uses page tables yet."""
    name, bit = CPU.translates
    return bool(register(name) >> bit & 1)


def current_root() -> int:
    """The physical address of the root table that the selected CPU walks."""
    return register(CPU.root) & (walk_x86_64.ADDR if ARCH == "x86_64" else walk_aarch64.ADDR)


def cpus() -> Iterator[gdb.InferiorThread]:
    """Selects one CPU after the other; the selection is put back at the end."""
    need_target()
    before = gdb.selected_thread()
    try:
        for thread in sorted(gdb.selected_inferior().threads(), key=lambda t: t.num):
            thread.switch()
            yield thread
    finally:
        before.switch()


def address_of(name: str) -> int:
    """The address of a global of the kernel. Fails in words if the symbols lack it."""
    try:
        return int(gdb.parse_and_eval(f"(unsigned long)&{name}"))
    except gdb.error as error:
        raise fail(f"the kernel's symbols have no {name} ({error}); build, then: file {BUILD}/rampart.sym") \
            from error


class KernelMemory:
    """The kernel's memory through its own tables: a CPU in user mode may see none of it. Of a stopped moment."""

    def __init__(self) -> None:
        need_target()
        pt = gdb.lookup_type("struct arch_pt")
        where = address_of("kernel_pt") - address_of("__image_start") + LOADED_AT[ARCH]
        self.root = int(gdb.Value(read_phys(where, pt.sizeof), pt)["root"]["v"])
        if self.root == 0:
            raise fail("the kernel has no tables yet: it has not come that far")
        self.walker, _ = walker()
        if ARCH == "aarch64":
            modes = dataclasses.replace(self.walker.modes, high_root=self.root)
            self.walker = walk_aarch64.Walker(read_phys, modes)

    def value(self, address: int, kind: gdb.Type) -> gdb.Value:
        """What lies at an address. Fails in words where nothing is mapped."""
        out = b""
        while len(out) < kind.sizeof:
            here = address + len(out)
            m = self.walker.translate(self.root, here)
            if m is None:
                raise fail(f"kernel address {here:#x} is not mapped")
            out += read_phys(m.pa + here - m.va, min(kind.sizeof - len(out), 4096 - here % 4096))
        return gdb.Value(out, kind)

    def variable(self, name: str) -> gdb.Value:
        """A global of the kernel."""
        return self.value(address_of(name), gdb.parse_and_eval(f"&{name}").type.target())

    def list_of(self, head: int, struct: str, member: str) -> Iterator[tuple[int, gdb.Value]]:
        """The structures chained by `member` on the list at `head`, with their addresses. Fails in words if
        it is broken."""
        kind, link = gdb.lookup_type(f"struct {struct}"), gdb.lookup_type("struct list")
        offset = offset_of(struct, member)
        node = int(self.value(head, link)["next"])
        if node == 0:
            raise fail("the list is not initialised yet: the kernel has not come that far")
        for _ in range(LIST_MAX):
            if node == head:
                return
            yield node - offset, self.value(node - offset, kind)
            node = int(self.value(node, link)["next"])
        raise fail(f"the list at {head:#x} does not end: it is corrupt")


def offset_of(struct: str, member: str) -> int:
    """Where a member lies in its structure, in bytes. Fails in words if there is none."""
    for field_ in gdb.lookup_type(f"struct {struct}").fields():
        if field_.name == member:
            return int(field_.bitpos // 8)
    raise fail(f"struct {struct} has no member {member}")


def linked(name: str) -> int:
    """The link address of a symbol, as long as the symbols are those of the file."""
    return int(gdb.parse_and_eval(f"(unsigned long)&{name}"))


def place_symbols() -> None:
    """Moves the symbols to where the kernel runs (kernel/mm/layout.h). A kernel that has not chosen its
    addresses yet runs until it has. Other programs, and kernels that do not move, stay where they are."""
    file = gdb.current_progspace().filename
    try:
        # What lies between link addresses and those where QEMU loads the image (grade/image.py).
        up = linked("__image_start") - LOADED_AT[ARCH]
        chosen, slide, leave = (linked(n) - up for n in ("direct_map_base", "image_slide", "boot_leave_physical"))
    except gdb.error:
        return
    if not int.from_bytes(read_phys(chosen, 8), "little"):
        print("running on to where the kernel knows its addresses (ctrl-c if this is another kernel)")
        gdb.execute(f"thbreak *{leave:#x}", to_string=True)
        gdb.execute("continue", to_string=True)
    moved = int.from_bytes(read_phys(slide, 8), "little")
    gdb.execute(f"symbol-file -o {moved:#x} {file}", to_string=True)
    print(f"the kernel runs {moved:#x} above its link addresses; so do the symbols now")


class Connect(gdb.Command):
    """rp-connect [PORT | HOST:PORT | SOCKET]: connect to QEMU's stub.

Default: build/ARCH/gdb.sock if it is there, else port 1234. A kernel that has only just been started runs on
to where it knows its addresses; the symbols follow it there."""

    def __init__(self) -> None:
        super().__init__("rp-connect", gdb.COMMAND_RUNNING, gdb.COMPLETE_FILENAME)

    def invoke(self, argument: str, from_tty: bool) -> None:
        where = argument.strip()
        if not where:
            sock = BUILD / "gdb.sock"
            where = str(sock) if sock.exists() else ":1234"
        elif where.isdigit():
            where = f":{where}"
        # A path longer than a socket's name may be (107 bytes) is given relative to here.
        if len(where) > 100:
            where = os.path.relpath(where)
        try:
            gdb.execute(f"target remote {where}")
        except gdb.error as error:
            raise fail(f"cannot connect to {where}: {error}; does `make run DEBUG=1` run?") from error
        gdb.execute("maint packet Qqemu.PhyMemMode:0", to_string=True)
        place_symbols()


class PageTable(gdb.Command):
    """rp-pt ADDR [ROOT]: walk one translation and explain it level by level.

ADDR is any expression. ROOT is a physical root table; default: the selected CPU's
(CR3; TTBR0_EL1, beside which TTBR1_EL1 translates the upper half)."""

    def __init__(self) -> None:
        super().__init__("rp-pt", gdb.COMMAND_DATA, gdb.COMPLETE_EXPRESSION)

    def invoke(self, argument: str, from_tty: bool) -> None:
        words = gdb.string_to_argv(argument)
        if not 1 <= len(words) <= 2:
            raise fail("usage: rp-pt ADDR [ROOT]")
        w, root = walker()
        va = number(words[0])
        print("\n".join(w.explain(number(words[1]) if len(words) > 1 else root, va)))


class AddressSpace(gdb.Command):
    """rp-vm [user | kernel] [ROOT]: print an address space with its permissions.

Letters: r(ead) w(rite) x(ecute), u(ser) or k(ernel only), g(lobal). Default: the selected CPU's root, whole."""

    def __init__(self) -> None:
        super().__init__("rp-vm", gdb.COMMAND_DATA)

    def invoke(self, argument: str, from_tty: bool) -> None:
        words = gdb.string_to_argv(argument)
        half = words.pop(0) if words and words[0] in ("user", "kernel") else None
        w, root = walker()
        try:
            space = w.space(number(words[0]) if words else root)
        except (PhysError, WalkFlood) as error:
            raise fail(f"cannot walk: {error}") from error
        print(f"root {space.root:#x}, {len(space.mappings)} mappings, {len(space.tables)} table pages")
        for r in space.ranges():
            if half is None or (half == "kernel") == bool(r.va >> 63):
                warn = "  <- WRITABLE AND EXECUTABLE" if r.perms[1:3] == "wx" else ""
                print(f"{r}{symbol_note(r.va, r.end)}{warn}")
        for problem in space.problems:
            print(f"malformed: {problem}")


class Harden(gdb.Command):
    """rp-harden: read every CPU's control registers and tables, and say which mitigations hold."""

    def __init__(self) -> None:
        super().__init__("rp-harden", gdb.COMMAND_STATUS)

    def invoke(self, argument: str, from_tty: bool) -> None:
        rows: dict[str, list[bool]] = {}
        for thread in cpus():
            values = {name: register(name) for name in CPU.registers}
            print(f"CPU {thread.num - 1}: " + " ".join(f"{k}={v:#x}" for k, v in values.items()))
            for b in CPU.bits:
                rows.setdefault(b.row, []).append(values[b.register] >> b.bit & 1 == b.wanted)
        for b in CPU.bits:
            lacking = [str(i) for i, on in enumerate(rows[b.row]) if not on]
            state = "on" if not lacking else "OFF" if len(lacking) == len(rows[b.row]) \
                else f"OFF on CPU {', '.join(lacking)}"
            print(f"{b.row:<12}{state:<14}{b.register.upper()} bit {b.bit}{'' if b.wanted else ' clear'}: {b.does}")
        seen: dict[int, list[int]] = {}
        for thread in cpus():
            if translating():
                seen.setdefault(current_root(), []).append(thread.num - 1)
        for root, owners in seen.items():
            print(f"tables of root {root:#x} (CPU {', '.join(map(str, owners))}):")
            w, _ = walker()
            try:
                space = w.space(root)
            except (PhysError, WalkFlood) as error:
                print(f"  cannot walk: {error}")
                continue
            wx = writable_and_executable([space])
            print(f"  wx          {'on' if not wx else 'OFF':<12}"
                  f"{len(wx)} pages are writable and executable" + (f", first {wx[0].mapping}" if wx else ""))
            zero = space.covers(0)
            print(f"  null-guard  {'on' if zero is None else 'OFF':<12}page 0 is "
                  + ("not mapped" if zero is None else f"mapped: {zero}"))
            if ARCH == "aarch64":
                self.tables_alone(space)
        self.stacks()

    @staticmethod
    def tables_alone(space: Space) -> None:
        """Says what aarch64 has no control bits for: the rows that entries alone make."""
        runs = [m for m in space.mappings if m.user and m.exec_kernel]
        print(f"  smep        {'on' if not runs else 'OFF':<12}{len(runs)} user pages lack PXN"
              + (f", first {runs[0]}" if runs else ""))

    @staticmethod
    def stacks() -> None:
        """Says whether an unmapped page lies below the current thread's kernel stack on each CPU."""
        try:
            memory = KernelMemory()
            block = memory.variable("cpus")
        except (gdb.GdbError, gdb.error):
            print("stack-guard: the symbols have no cpus[]; nothing to say")
            return
        thread_type = gdb.lookup_type("struct thread")
        for number_ in range(min(block.type.range()[1] + 1, sum(1 for _ in cpus()))):
            current = int(block[number_]["thread"])
            if current == 0:
                print(f"stack-guard  CPU {number_}: runs no thread yet")
                continue
            stack = int(memory.value(current, thread_type)["kstack"])
            if stack == 0:
                print(f"stack-guard  CPU {number_}: still on its start-up stack")
                continue
            try:
                below = memory.walker.translate(memory.root, stack - 1)
                there = memory.walker.translate(memory.root, stack)
            except PhysError as error:
                print(f"stack-guard  CPU {number_}: {error}")
                continue
            state = "on" if below is None and there is not None else "OFF"
            print(f"stack-guard {state:<14} CPU {number_}: stack {stack:#x} "
                  f"{'mapped' if there else 'NOT mapped'}, the page below "
                  f"{'is not' if below is None else 'IS mapped'}")


class Processes(gdb.Command):
    """rp-ps: list every thread of every process, and which CPU runs it."""

    def __init__(self) -> None:
        super().__init__("rp-ps", gdb.COMMAND_STATUS)

    def invoke(self, argument: str, from_tty: bool) -> None:
        need_target()
        head = address_of("process_all")
        memory, running = KernelMemory(), {}
        try:
            block = memory.variable("cpus")
            for i in range(block.type.range()[1] + 1):
                running[int(block[i]["thread"])] = i
        except (gdb.GdbError, gdb.error):
            pass
        running.pop(0, None)
        print(f"{'PID':>6} {'TID':>6} {'CPU':>4} {'STATE':<22} {'NAME':<16} THREAD")
        try:
            for where, process in memory.list_of(head, "process", "all"):
                threads = where + offset_of("process", "threads")
                for address, thread in memory.list_of(threads, "thread", "siblings"):
                    cpu = running.get(address)
                    print(f"{int(process['pid']):>6} {int(thread['tid']):>6} {'' if cpu is None else cpu:>4} "
                          f"{field(thread, 'state'):<22} {thread['name'].string():<16} {address:#x}")
        except gdb.error as error:
            raise fail(f"the kernel's lists cannot be followed here: {error}") from error


def number(text: str) -> int:
    """The value of an expression as an unsigned address. Fails in words."""
    try:
        return int(gdb.parse_and_eval(text).cast(gdb.lookup_type("unsigned long"))) & (1 << 64) - 1
    except gdb.error as error:
        raise fail(f"{text}: {error}") from error


def field(value: gdb.Value, name: str) -> str:
    """A member as GDB prints it, or a dash if there is none; an enumerator without its common beginning."""
    try:
        return str(value[name]).removeprefix("THREAD_").lower()
    except gdb.error:
        return "-"


def symbol_note(start: int, end: int) -> str:
    """A word on what a kernel range holds, where the linker's symbols tell."""
    if not start >> 63:
        return ""
    names = []
    for label in ("text", "rodata", "data"):
        try:
            lo, hi = (int(gdb.parse_and_eval(f"(unsigned long)&__{label}_{edge}")) for edge in ("start", "end"))
        except gdb.error:
            continue
        if start < hi and lo < end:
            names.append(label)
    return f"  kernel {', '.join(names)}" if names else ""


for command in (Connect, PageTable, AddressSpace, Harden, Processes):
    command()

if (BUILD / "rampart.sym").is_file():
    gdb.execute(f"file {BUILD / 'rampart.sym'}", to_string=True)
else:
    print(f"no {BUILD / 'rampart.sym'} yet: `make` builds it; the rp- commands work without symbols, but rp-ps")
