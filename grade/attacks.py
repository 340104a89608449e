"""The attacks of user/attack, run and judged from outside.

Whether an attack won is read from the guest's memory, tables and registers, never from what it prints. Each
attack's source says which mitigations must be off for it to win (`needs_off`).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from grade.deadline import Deadline
from grade.frames import frames
from grade.gdbstub import GdbClosed, GdbError
from grade.image import Image
from grade.qemu import Machine
from grade.spaces import Kernel, KernelStateError

MAGIC = 0x5EED0FBADC0FFEE5      # user/attack/attack.h
PAGE = 4096
STACK_TOP_WORDS = 64            # of a kernel stack: the user's registers and the first frames


@dataclass(frozen=True)
class Attack:
    """One attack, as its source declares it."""

    name: str
    needs_off: tuple[str, ...]


def attacks(folder: Path, arch: str = "x86_64") -> dict[str, Attack]:
    """Every attack that the sources in user/attack declare, by name."""
    out = {}
    pattern = re.compile(r'\.name = "([^"]+)",.*?\.needs_off_' + arch + r' = "([^"]+)"', re.DOTALL)
    for source in sorted(folder.glob("*.c")):
        for name, rows in pattern.findall(source.read_text()):
            out[name] = Attack(name, tuple(rows.split(",")))
    return out


def harden_off(rows: tuple[str, ...] | list[str]) -> str:
    """The words of the kernel's command line that switch these rows off."""
    return "quiet" + (" harden=" + ",".join("-" + r for r in rows) if rows else "")


@dataclass(frozen=True)
class Hit:
    """An instruction of interest that the attack's process (or the kernel for it) was about to execute."""

    pc: int
    cpl: int                        # 0: the kernel, 3: user mode (of every architecture)
    cpu: int
    from_page: int | None           # the writable page whose code led there; None: it was no such page


@dataclass
class Watch:
    """What was seen of one attack."""

    hits: list[Hit] = field(default_factory=list)
    over: bool = False              # it came to its end, and stands there
    evidence: dict[str, object] = field(default_factory=dict)

    def reached(self, pc: int, cpl: int) -> list[Hit]:
        """The hits at one address and privilege level."""
        return [h for h in self.hits if h.pc == pc and h.cpl == cpl]


def _writable_caller(machine: Machine, kernel: Kernel, cpu: int) -> int | None:
    try:
        back = kernel.cpu.called_from(machine, cpu)
    except GdbError:
        return None
    m = kernel.walker.translate(kernel.cpu.root_of(machine, cpu), back)
    return back & ~(PAGE - 1) if m is not None and m.writable else None


def current_name(kernel: Kernel, cpu: int) -> str:
    """The name of the thread that a CPU runs; empty before there are threads."""
    try:
        t = kernel.current(cpu)
        return kernel.text(t + kernel.image.offsetof("struct thread", "name"), 16) if t else ""
    except KernelStateError:
        return ""


def watch(machine: Machine, image: Image, program: Image, timeout: float) -> Watch:
    """Runs a machine that was booted paused to run one attack, until that attack is over or the guest has
    ended (boot with keep=True). The machine stands afterwards."""
    deadline, seen = Deadline(timeout), Watch()
    image = image.at(machine)
    over = program.sym("attack_over")
    places = (0, over, program.sym("attack_payload"), image.sym("vuln_buffer"))
    machine.run_until(image.sym("process_start_init"), timeout=deadline)
    for place in places:
        machine.gdb.set_break(place)
    while True:
        machine.cont()
        try:
            stop = machine.wait_stop(deadline)
        except GdbClosed:
            return seen
        if not stop.breakpoint:
            seen.evidence["ended"] = f"{stop}, {machine.shutdown_reason()}"     # the guest powered off
            return seen
        kernel = Kernel(machine, image)
        if current_name(kernel, stop.cpu) != "attack":
            continue            # another program has something at the same address
        pc = machine.gdb.pc(stop.cpu)
        cpl = 3 if kernel.cpu.in_user_mode(machine, stop.cpu) else 0
        seen.hits.append(Hit(pc, cpl, stop.cpu, _writable_caller(machine, kernel, stop.cpu)))
        if pc == over:
            seen.over = True
            return seen


# ---- verdicts ---------------------------------------------------------------------------------------------


@dataclass
class Scene:
    """A stopped machine in which an attack is over."""

    machine: Machine
    image: Image
    program: Image
    seen: Watch

    @property
    def kernel(self) -> Kernel:
        return Kernel(self.machine, self.image)

    @property
    def cpu(self) -> int:
        """The CPU that ran into attack_over."""
        return self.seen.hits[-1].cpu

    def word(self, name: str) -> int:
        """A kernel variable."""
        return self.kernel.u64(self.image.sym(name))

    def pointer(self, name: str) -> int:
        """A word of the attack's process."""
        return int.from_bytes(self.user(self.program.sym(name), 8), "little")

    def user(self, address: int, size: int) -> bytes:
        """Memory as the attack's process sees it."""
        return self.machine.gdb.read(address, size, self.cpu)


def _ran_in_kernel(symbol: str) -> Callable[[Scene], bool]:
    def verdict(s: Scene) -> bool:
        owner = s.program if symbol in s.program else s.image
        return bool(s.seen.reached(owner.sym(symbol), 0)) and s.word("vuln_mark") == MAGIC
    return verdict


def _page_zero_ran_in_kernel(s: Scene) -> bool:
    return bool(s.seen.reached(0, 0)) and s.word("vuln_mark") == MAGIC


def _mark_changed(s: Scene) -> bool:
    return s.word("vuln_mark") == MAGIC


def _constant_changed(s: Scene) -> bool:
    return s.word("vuln_readonly") == MAGIC


def _file_page_changed(s: Scene) -> bool:
    (address,) = struct.unpack("<Q", s.user(s.program.sym("attack_address"), 8))
    kernel = s.kernel
    m = kernel.walker.translate(kernel.cpu.root_of(s.machine, s.cpu), address)
    return m is not None and not m.writable and s.user(address, 8) == struct.pack("<Q", MAGIC)


def text_changed(machine: Machine, image: Image, symbol: str) -> bool:
    """Whether a kernel function's bytes in memory differ from those that were built."""
    image = image.at(machine)
    address, size = image.sym(symbol), image.size(symbol)
    return machine.read_phys(image.phys(address), size) != image.bytes_at(address, size)


def _text_patched(s: Scene) -> bool:
    return text_changed(s.machine, s.image, "vuln_victim")


def _tables_leaked(s: Scene) -> bool:
    (base,) = struct.unpack_from("<Q", s.user(s.program.sym("attack_idt"), 10), 2)
    at = s.kernel.walker.translate(s.kernel.kernel_root(), base)
    return at is not None and at.pa + base - at.va == s.kernel.phys(s.image.sym("idt"))


def _counter_leaked(s: Scene) -> bool:
    # Past the instruction before it too, which read the interrupt mask.
    return s.user(s.program.sym("attack_physical"), 8) != bytes(8)


_LEAKED: dict[str, Callable[[Scene], bool]] = {"x86_64": _tables_leaked, "aarch64": _counter_leaked}


# Row pin: what a register forbade until its bit was gone.
_DISARMED: dict[str, Callable[[Scene], bool]] = {"x86_64": _ran_in_kernel("attack_payload"), "aarch64": _mark_changed}


def _data_ran(s: Scene) -> bool:
    """On the stack, on the heap, in a mapping: calls of the payload from three writable pages. (Where an interrupt
    comes between, one call is stopped at twice.)"""
    pages = {h.from_page for h in s.seen.reached(s.program.sym("attack_payload"), 3)}
    return len(pages - {None}) == 3


def _neighbour_overwritten(s: Scene) -> bool:
    kernel = s.kernel
    running = {kernel.current(cpu) for cpu in s.machine.gdb.cpus()}
    for t in kernel.threads():
        if t.address in running:
            continue
        top = t.kstack + 32768
        words = struct.unpack(f"<{STACK_TOP_WORDS}Q", kernel.read(top - 8 * STACK_TOP_WORDS, 8 * STACK_TOP_WORDS))
        if words.count(MAGIC) > STACK_TOP_WORDS // 2:
            return True
    return False


def _safe_opened(s: Scene) -> bool:
    """The victim's function that nothing calls wrote to the file that the attacker has mapped."""
    (address,) = struct.unpack("<Q", s.user(s.program.sym("attack_address"), 8))
    return s.user(address, 8) == struct.pack("<Q", MAGIC)


def _secret_taken(s: Scene) -> bool:
    """Another user's note is in the attacker's memory."""
    secret = s.kernel.read(s.image.sym("vuln_note_theirs"), 64)
    return secret != bytes(64) and s.user(s.program.sym("attack_loot"), 64) == secret


def _note_overwritten(s: Scene) -> bool:
    """A note of the other user's is not what he wrote."""
    kernel, image = s.kernel, s.image
    secret = kernel.read(image.sym("vuln_note_theirs"), 64)
    notes, count = image.sym("vuln_notes"), kernel.i32(image.sym("vuln_note_count"))
    theirs = kernel.read(image.sym("vuln_note_secret"), count)
    return any(kernel.read(kernel.u64(notes + 8 * i), 64) != secret for i, his in enumerate(theirs) if his)


def _file_stolen(s: Scene) -> bool:
    """Whether the attack's process holds the beginning of a file that it must not open."""
    secret = (Path(__file__).resolve().parent.parent / "user" / "etc" / "shadow").read_bytes()
    return s.user(s.program.sym("attack_secret"), 16) == secret[:16]


def elsewhere(s: Scene, address: int, size: int) -> list[bytes]:
    """What the other processes have at an address, those that have memory there."""
    kernel, out = s.kernel, []
    mine = kernel.cpu.root_of(s.machine, s.cpu)
    for root in kernel.roots():
        data = b""
        while root != mine and len(data) < size:
            here = address + len(data)
            m = kernel.walker.translate(root, here)
            if m is None:
                break
            data += s.machine.read_phys(m.pa + here - m.va, min(size - len(data), 4096 - here % 4096))
        if len(data) == size:
            out.append(data)
    return out


def _file_written(s: Scene) -> bool:
    """What the attacker's page maps is the page cache's frame, and holds what he wrote."""
    kernel = s.kernel
    address = s.pointer("attack_address")
    m = kernel.walker.translate(kernel.cpu.root_of(s.machine, s.cpu), address)
    if m is None or s.machine.read_phys(m.pa + address - m.va, 8) != struct.pack("<Q", MAGIC):
        return False
    return any(f.number == (m.pa + address - m.va) >> 12 and f.type == "file" for f in frames(kernel))


def _registers_taken(s: Scene) -> bool:
    """Another process's secret, which only its registers had, is in the attacker's memory."""
    address, size = s.program.sym("attack_register_secret"), s.program.size("attack_register_secret")
    loot = s.user(s.program.sym("attack_register_loot"), size)
    return s.user(address, size) == bytes(size) != loot and loot in elsewhere(s, address, size)


def _page_taken(s: Scene) -> bool:
    """A page of another process, which has it to itself, is in the attacker's memory."""
    loot = s.user(s.program.sym("attack_page_loot"), 64)
    return loot != bytes(64) and loot in elsewhere(s, s.program.sym("attack_page_secret"), 64)


VERDICTS: dict[str, Callable[[Scene], bool]] = {
    "smep": _ran_in_kernel("attack_payload"),
    "wx-data": _ran_in_kernel("vuln_buffer"),
    "null-guard": _page_zero_ran_in_kernel,
    "smap": _mark_changed,
    "null-object": _mark_changed,
    "wp": _constant_changed,
    "wp-cow": _file_page_changed,
    "ro-pgtable": _file_written,
    "wx": _text_patched,
    "umip": lambda s: _LEAKED[s.machine.arch.name](s),
    "pin": lambda s: _DISARMED[s.machine.arch.name](s),
    "nx": _data_ran,
    "fpu": _registers_taken,
    "asid": _page_taken,
    "stack-guard": _neighbour_overwritten,
    "aslr": _safe_opened,
    "canary": lambda s: s.word("vuln_stack_mark") == MAGIC,
    "heap": _mark_changed,
    "heap-double": _secret_taken,
    "usercopy": _secret_taken,
    "refcount": _secret_taken,
    "refcount-frame": _secret_taken,
    "cow": _file_written,
    "usercopy-write": _note_overwritten,
    "kstack-offset": lambda s: s.word("vuln_door") == MAGIC,
    # A model: what was stolen must be the secret itself.
    "kpti": lambda s: s.pointer("attack_address") == s.image.sym("vuln_secret")
    and s.pointer("attack_stolen") == s.word("vuln_secret") != 0,
    "kaslr": lambda s: s.word("vuln_gadget_ran") == MAGIC,
    "seccomp": lambda s: _file_stolen(s),
    "seccomp-mask": lambda s: _file_stolen(s),
    "format": lambda s: s.kernel.owns(s.pointer("attack_address")),
    "leaks": lambda s: s.pointer("attack_address") == s.image.sym("kernel_main")
    and s.user(s.program.sym("attack_log"), 1) != b"\0",
}


def won(machine: Machine, image: Image, program: Image, name: str, timeout: float = 30) -> bool:
    """Runs the attack that the paused machine was booted for; whether it won."""
    placed = image.at(machine)
    seen = watch(machine, placed, program, timeout)
    print(f"attack {name}: {seen}")     # for whoever reads a failure
    return seen.over and VERDICTS[name](Scene(machine, placed, program, seen))
