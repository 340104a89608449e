"""The checks of leaks: what an ordinary user gets to see of the kernel, and where system calls begin.

Two boots of programs/lab-leaks.c beside one another. What the program was told is read from its memory, and compared with
this start's addresses, which the grader has from outside; stack pointers are read where a call's function is entered, and
before the calls that hand out structures the kernel's stack is filled with a pattern that must not come back.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from grade.addresses import told
from grade.cpus import CPUS
from grade.depths import POINTER, unfair
from grade.labs.grading import OWN, Ended, GraderError, Guest, Run
from grade.spaces import Kernel

PROGRAM = "lab-leaks"
(AT_GATES, AT_FILES, AT_LOG, AT_PRINTED, AT_FORMATS, AT_CALLS, AT_CALLED, AT_FORKED, AT_PADDING,
 AT_END) = range(1, 11)
R_LOG, R_KEPT = range(OWN, 5)
# As lab-leaks.c has them.
THINGS, FORMATS, CALLS, CHILDREN = 8, 3, 320, 48
DIFFERENT = 3                       # of the things lie at other places, at least
TEXT = 128, 1024                    # struct vuln_text: where its text begins, and how large it is in all
STRUCTURES = 112 + 6 * 65 + 2 + 8   # bytes of `structures`
NAMED = ("kernel_main", "panic", "schedule", "vm_mmap")     # functions that /proc/kallsyms lists
POISON = bytes.fromhex("d15ea5ed")  # odd bytes, so that it does not come about by chance
# Of 48 fair draws from 32 places fewer than 14 differ less than once in 10^9.
CHILDREN_DIFFER = 14
HALF = (1 << 32) - 1


def scenarios() -> list:
    """What may run side by side."""
    return [told_to_users, printed_and_left]


def more(wrong: list[str], good: str) -> str:
    """The first thing that is wrong and how many more there are; or what was seen if nothing is."""
    return good if not wrong else wrong[0] + (f"; {len(wrong)} such things in all" if len(wrong) > 1 else "")


# ---- files and the log ---------------------------------------------------------------------------------------


def kept(guest: Guest, cpu: int) -> bytes:
    """What the program keeps of what it has read."""
    size = guest.result(R_KEPT)
    return guest.machine.gdb.read(guest.program.sym("kept"), size, cpu) if size else b""


def symbols(text: bytes) -> dict[str, int]:
    """The functions that /proc/kallsyms lists, with what it says of where they are."""
    return {name.decode(): int(value, 16) for value, name in re.findall(rb"^([0-9a-f]+) \w (\w+)$", text, re.MULTILINE)}


def shown(guest: Guest, run: Run, text: bytes) -> list[str]:
    """Kernel addresses, or parts of some, in what files said."""
    kernel = Kernel(guest.machine, run.image)
    wrong = []
    for at, value in told(kernel, text):
        line = text[text.rfind(b"\n", 0, at) + 1:].split(b"\n", 1)[0][:60].decode("ascii", "replace")
        wrong.append(f'a file tells a kernel address, {guest.image.where(value)}: "{line.split(" ", 1)[-1]}"')
    listed = symbols(text)
    for name in NAMED:
        real, value = guest.image.sym(name), listed.get(name, 0)
        if value and not any(s <= value < e for s, e in kernel.ranges().values()) and value & HALF in (
                real & HALF, real >> 16 & HALF, real >> 32):
            wrong.append(f"/proc/kallsyms tells a part of where {name} is")
    return wrong


def told_to_users(run: Run) -> None:
    """Gates, files, the log, and where calls begin."""
    with run.boot(PROGRAM, "gates files log calls 0 calls 1 children", append="harden=") as guest:
        at = guest.run_to(AT_GATES)
        run.ordinary_gates(guest)
        listed = symbols(text := kept(guest, at.cpu))
        missing = [name for name in NAMED if name not in listed]
        wrong = [f"/proc/kallsyms does not list {missing[0]}"] if missing else []
        wrong += ["root cannot read the log"] if guest.result(R_LOG) < 2 else []
        wrong += ["/proc/self/stat is not as long as Linux's"] if len(text.rsplit(b"\n", 2)[-2].split()) != 52 else []
        run.gate("useful", not wrong, more(wrong, "functions are listed, the log is root's, stat has its fields"))
        at = guest.run_to(AT_FILES)
        wrong = shown(guest, run, text := kept(guest, at.cpu))
        wrong += [] if symbols(text) else ["nothing was read: /proc/kallsyms is empty for an ordinary user"]
        run.check("files", not wrong, more(wrong, "all of /proc was read, and what root opened: no address, no part of one"),
                  "what an ordinary user reads in /proc holds no address of this start's kernel",
                  "leaks_address() in kernel/harden/leaks.c; which file prints an address and does not ask it?")
        guest.run_to(AT_LOG)
        doors = guest.result(R_KEPT)
        run.check("log", doors == 0, f"{doors} of 2 doors to the log are open to an ordinary user" if doors else
                  "syslog(2) and /dev/kmsg are shut", "an ordinary user gets nothing of the kernel's log, and root all",
                  "leaks_log_allowed() in kernel/harden/leaks.c; who asks it? kernel/dev/mem.c has another door")
        places(run, guest)


# ---- where calls begin ---------------------------------------------------------------------------------------


def depths(guest: Guest, run: Run, function: str, end: int, count: int) -> list[int]:
    """How deep the stack is each time that a function is entered until the checkpoint `end`."""
    m, out = guest.machine, []
    entry = guest.image.sym(function)
    while (at := guest.run_to(end, extra=entry)).extra and len(out) < 2 * count:
        kernel = Kernel(m, run.image)
        sp = m.gdb.reg(at.cpu, POINTER[m.arch.name])
        out.append(kernel.member(kernel.current(at.cpu), "struct thread", "kstack") - sp)
    return out


def places(run: Run, guest: Guest) -> None:
    """Many calls on each CPU, one of many children each."""
    wrong = []
    for cpu in (0, 1):
        if guest.run_to(AT_CALLS).cpu != cpu:
            raise Ended(f"the program does not run on CPU {cpu}: sched_setaffinity is broken")
        found = depths(guest, run, "sys_getppid", AT_CALLED, CALLS)
        wrong += [f"on CPU {cpu}: {bad}" for bad in unfair(found)]
    found = depths(guest, run, "sys_getppid", AT_FORKED, CHILDREN)
    if len(set(found)) < CHILDREN_DIFFER:
        wrong.append("the first calls of children begin at too few places: they follow one another")
    run.check("places", not wrong, more(wrong, f"{CALLS} calls on each CPU, and one of {CHILDREN} children each: at 32 places or "
                                        "more, none of which tells the next"),
              "each system call's stack begins at one of at least 32 places, as often at one as at another, whatever came "
              "before", "kstack_offset_next() in kernel/harden/kstack_offset.h: what goes into the next draw?")


# ---- what is printed -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Printed:
    """What %p was given, and what stands in the text."""

    raw: int
    text: str

    @property
    def value(self) -> int | None:
        """The number that was printed; None if it is none."""
        found = re.search(r"0x([0-9a-f]+)", self.text)
        return int(found[1], 16) if found else None


def texts(guest: Guest, count: int, cpu: int) -> list[str]:
    """The first of the program's `things`, as the kernel filled them."""
    begin, size = TEXT
    data = guest.machine.gdb.read(guest.program.sym("things"), count * size, cpu)
    return [data[size * i + begin:size * (i + 1)].split(b"\0", 1)[0].decode("ascii", "replace") for i in range(count)]


def prints(guest: Guest) -> list[Printed]:
    """What the kernel's own format prints, from here to the checkpoint."""
    m, raw = guest.machine, []
    while (at := guest.run_to(AT_PRINTED, extra=guest.image.sym("format_pointer"))).extra and len(raw) < 2 * THINGS:
        raw.append(m.gdb.reg(at.cpu, CPUS[m.arch.name].arguments[0]))
    if len(raw) != THINGS:
        raise Ended(f"format_pointer() was asked {len(raw)} times for {THINGS} pointers")
    return [Printed(r, text) for r, text in zip(raw, texts(guest, THINGS, at.cpu))]


def relation(printed: list[Printed]) -> str:
    """How what is printed in one start follows from the addresses: in words, or empty. A keyed hash does so by chance with
    a probability below 10^-17."""
    pairs = sorted({(p.raw, p.value) for p in printed if p.value is not None})
    if len({value for _, value in pairs}) < 2:
        return ""
    for shift in range(48):
        if all(raw >> shift & HALF == value & HALF for raw, value in pairs):
            return "a part of the address" if shift else "the address, or its lower half"
    (raw0, value0), rest = pairs[0], pairs[1:]
    if all((raw - raw0 - (value - value0)) & HALF == 0 for raw, value in rest):
        return "the address and a constant: the difference of two tells the difference of their addresses"
    if all((raw ^ raw0 ^ value ^ value0) & HALF == 0 for raw, value in rest):
        return "the address, with bits turned that are the same for all"
    return ""


def keys(run: Run, before: list[Printed]) -> None:
    """%p in two starts more, with the same addresses and other random numbers."""
    line = "harden=-kstack-offset,-kaslr,-heap"
    with run.boot(PROGRAM, "print", append=line) as guest:
        one = prints(guest)
    with run.boot(PROGRAM, "print", append=line, start="another start") as guest:
        other = prints(guest)
    nothing = len({p.value for p in before + one + other}) == 1 < len({p.raw for p in before + one})
    told_at = {p.raw: p.value for p in one}
    same = [p for p in other if p.raw in told_at]
    wrong = ["no address came in both starts, which have the same"] if not same and not nothing else []
    if not nothing and same and all(told_at[p.raw] == p.value for p in same):
        wrong.append("the same pointer is printed as the same number in two starts")
    run.check("key", not wrong, more(wrong, "nothing of a pointer is printed" if nothing else
                                     "two starts print the same pointer otherwise"),
              "what is printed in one start is of no use in another: a table of all addresses cannot be made beforehand",
              "format_pointer() in kernel/harden/format.c: what does nobody outside know? There are only so many addresses")


def printed_and_left(run: Run) -> None:
    """What the printer tells, and what is left in structures."""
    with run.boot(PROGRAM, "print format padding 0 padding 1") as guest:
        found = prints(guest)
        kernel = Kernel(guest.machine, run.image)
        wrong = [f"%p told {guest.image.where(p.value)}" for p in found if p.value is not None and kernel.owns(p.value)]
        if len({p.raw for p in found}) < DIFFERENT:
            raise GraderError("the program has too few pointers printed that differ")
        how = relation(found)
        wrong += [f"%p prints {how}"] if how else []
        run.check("pointer", not wrong, more(wrong, f"{len(found)} pointers, none told"),
                  "%p prints nothing of a pointer, or a number from which no address, and no distance of two, follows",
                  "format_pointer() in kernel/harden/format.c: who knows some addresses, what does he learn of the rest?")
        at = guest.run_to(AT_FORMATS)
        wrong = [f"a user's format was followed: it printed {len(numbers)} numbers" for text in texts(guest, FORMATS, at.cpu)
                 if len(numbers := re.findall(r"(?:^|\.)(?:0x)?[0-9a-f]+(?=\.)", text)) >= 3]
        run.check("format", not wrong, more(wrong, "no directive of a user's was followed"),
                  "a format that is no literal of the image prints none of the arguments that nobody passed",
                  "format_literal() in kernel/harden/format.c: what is the lowest address of a literal, and the highest?")
        wrong = [bad for cpu in (0, 1) for bad in left(run, guest, cpu)]
        run.check("padding", not wrong, more(wrong, "three structures on each CPU, and nothing of the stack in them"),
                  "what was on the kernel's stack before a call does not come back in what it hands out",
                  "kernel/sys/misc_proc.c: who sets the bytes between two members, and behind the last one?")
    keys(run, found)


def left(run: Run, guest: Guest, cpu: int) -> list[str]:
    """Fills the stack below each call that hands out a structure, and looks for the filling."""
    m = guest.machine
    entries = {guest.image.sym(f"sys_{name}") for name in ("sysinfo", "uname", "getcpu")}
    filled = 0
    while (at := guest.run_to(AT_PADDING, extra=entries)).extra:
        kernel = Kernel(m, run.image)
        base = kernel.member(kernel.current(at.cpu), "struct thread", "kstack")
        sp = m.gdb.reg(at.cpu, POINTER[m.arch.name])
        for va in range(base, sp & ~0xFFF, 4096):
            m.write_phys(kernel.phys(va), POISON * 1024)
        m.write_phys(kernel.phys(sp & ~0xFFF), POISON * ((sp & 0xFFF) // 4))
        filled += 1
    data = m.gdb.read(guest.program.sym("structures"), STRUCTURES, at.cpu)
    names = ("sysinfo", 112), ("uname", 112 + 390)
    where = data.find(POISON)
    what = next((name for name, end in names if where < end), "getcpu")
    return ([f"what was on the stack comes back from {what}() on CPU {cpu}"] if where >= 0 else []) + (
        [] if filled >= 2 else ["the calls were not made"])


# ---- where `why CHECK` stops: the program's words, and the function that is entered then ----

WHERE = {"files": ("files", "leaks_address"), "log": ("log", "leaks_log_allowed"), "pointer": ("print", "format_pointer"),
         "key": ("print", "format_pointer"), "format": ("format", "format_literal"), "padding": ("padding 0", "sys_sysinfo"),
         "places": ("calls 0", "sys_getppid")}


@contextlib.contextmanager
def stand(run: Run, check: str) -> Iterator[Guest]:
    """The guest of a check, stopped where the kernel is asked."""
    words, function = WHERE.get(check, ("files", "leaks_address"))
    with run.boot(PROGRAM, words, append="harden=") as guest:
        last = {"files": AT_FILES, "log": AT_LOG, "print": AT_PRINTED, "format": AT_FORMATS, "padding 0": AT_PADDING,
                "calls 0": AT_CALLS}[words]
        guest.run_to(last, extra=guest.image.sym(function))
        yield guest
