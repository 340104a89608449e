"""The checks of kaslr: where image, direct map and stacks lie, in many starts, and what is left where they were linked.

A kernel chooses once, before it has tables. To see it choose five hundred times the grader boots once: it stops where
layout_choose begins, and sends the processor back there again and again, with the memory put back that was written
meanwhile. The processor's random numbers go on, and so does its cycle counter; some real starts, in which the counter is
the same and the numbers are not, tell the two apart. Where the highest place is one of a thousand, the grader does not wait
for it: it answers for random_below. How places are drawn is not asked, and nothing that is told here of fair draws depends
on what they were.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from itertools import combinations

from grade.addresses import told
from grade.cpus import CPUS
from grade.image import Image
from grade.labs.grading import Ended, Guest, Run, picture, wait
from grade.places import BITS, DRAWS, PARTS, Places, chosen_places, linked_places, related, too_few
from grade.qemu import ARCHES
from grade.spaces import Kernel
from grade.walk import Mapping, Space

PROGRAM = "lab-kaslr"
AT_GATES, AT_TOLD, AT_USED, AT_END = range(1, 5)
R_STATUS = 0
STARTS = 6                  # whose random numbers differ: fair ones are at one place with a probability of 2^-45
TABLE = 2 << 20             # bytes that one entry of the first tables maps
SLOT = 64 << 10             # a stack's, which is aligned to that
GIB = 1 << 30
TOP = 1 << 64
LOWEST = 0xFFFF_8000_0000_0000      # of the kernel's half
OTHERS = 0xFFFF_FE00_0000_0000      # from here on there are the entry area, the trampoline, and the image's 2 GiB
SIZES = {"direct map": 48 << 40, "stack area": 1 << 39}     # DIRECT_MAP_MAX, KSTACK_AREA_SIZE
RAM = 128 << 20             # of the grader's guests
TOLD, LOGGED = 16384, 32768         # bytes, as lab-kaslr.c has them
CALLS = 16                  # of random_below: more are not answered for
FREE = 64                   # choices of a kernel that does not ask it
HERE = {"x86_64": ("rip", "rsp", "rax"), "aarch64": ("pc", "sp", "x0")}     # where a CPU is; what a function returns


def scenarios() -> list:
    """What may run side by side."""
    return [drawn, edges, settled]


# ---- choosing again ------------------------------------------------------------------------------------------


class Chooser:
    """A guest's boot processor, which chooses the kernel's places as often as it is told to."""

    def __init__(self, run: Run, guest: Guest) -> None:
        """Goes to where the kernel begins to choose."""
        self._machine, self._image, arch = guest.machine, run.image, run.workshop.arch
        self._counter, self._stack, self._result = HERE[arch]
        self._argument = CPUS[arch].arguments[0]
        self._gdb = guest.machine.gdb
        start = self._loaded("layout_choose")
        self._gdb.set_break(start)
        self._go()
        self._gdb.clear_break(start)
        self._back = CPUS[arch].returns_to(self._machine, 0)
        self._registers = self._machine.regs(0, self._counter, self._stack, *(["x30"] if arch == "aarch64" else []))
        self._low = self._loaded("__rodata_start")      # text stays as it is
        self._memory = self._machine.read_phys(self._low, self._loaded("__data_end") - self._low)
        self.bounds: list[int] = []     # what random_below was asked for, the last time

    def _loaded(self, name: str) -> int:
        """Where a symbol is before the kernel moves."""
        linked = self._image.linked()
        return linked.phys(linked.sym("__image_start")) + linked.sym(name) - linked.sym("__image_start")

    def _go(self) -> None:
        self._machine.cont()
        if not wait(self._machine).breakpoint:
            raise Ended("the machine ended where the kernel chooses its places")

    def choose(self, answer: Callable[[int, int], int] | None = None) -> Places:
        """Where the parts lie after one more choice. `answer` speaks for random_below: its call's number, and the bound."""
        machine, gdb, asks = self._machine, self._gdb, self._loaded("random_below")
        machine.write_phys(self._low, self._memory)
        for name, value in self._registers.items():
            gdb.set_reg(0, name, value)
        self.bounds.clear()
        gdb.set_break(self._back)
        if answer:
            gdb.set_break(asks)
        try:
            while True:
                self._go()
                if gdb.pc(0) == self._back:
                    return chosen_places(machine, self._image)
                assert answer
                bound = gdb.reg(0, self._argument)
                self._return(answer(len(self.bounds), bound))
                self.bounds.append(bound)
        finally:
            if not gdb.running and not machine.exited:
                gdb.clear_break(self._back)
                gdb.clear_break(asks)

    def _return(self, value: int) -> None:
        """From the function that is being entered."""
        gdb, arch = self._gdb, self._machine.arch.name
        back = CPUS[arch].returns_to(self._machine, 0)
        gdb.set_reg(0, self._result, value)
        if arch == "x86_64":
            gdb.set_reg(0, self._stack, gdb.reg(0, self._stack) + 8)
        gdb.set_reg(0, self._counter, back)


# ---- what is drawn -------------------------------------------------------------------------------------------


def drawn(run: Run) -> None:
    """Some starts of machines with other random numbers; many choices of one."""
    linked = linked_places(run.image)
    with run.boot(PROGRAM, "tell", append="harden=-kaslr,-kstack-offset") as guest:
        off = placed(guest)
        run.gate("off", off == linked, "everything lies where it was linked" if off == linked else
                 f"the {moved(off, linked)[0]} does not lie where it was linked")
    starts: list[Places] = []
    for i in range(STARTS):
        with run.boot(PROGRAM, "tell", start=f"start {i}") as guest:
            starts.append(placed(guest))
    with run.boot(PROGRAM, "tell") as guest:
        chooser = Chooser(run, guest)
        draws = [chooser.choose() for _ in range(DRAWS)]
    bad = {part: unmoved(part, starts, linked) or too_few([one[part] for one in draws]) for part in PARTS}
    for check, parts in (("image", PARTS[:1]), ("regions", PARTS[1:])):
        wrong = [f"the {part} {bad[part]}" for part in parts if bad[part]]
        run.check(check, not wrong, "; ".join(wrong) or f"{DRAWS} draws: no place comes too often",
                  f"{BITS} bits or more: as many places as {1 << BITS} equally likely ones would give, and others for other "
                  "random numbers", "kaslr_choose() in kernel/harden/kaslr.c: how many places does it draw from, and who draws?")
    wrong = [f"the {part} does not move: what it tells of the others, they tell of it" for part in PARTS
             if len({one[part] for one in draws}) == 1]
    wrong = wrong or [f"where the {one} lies and where the {other} does go together, in some bit" for one, other in
                      combinations(PARTS, 2) if related([d[one] for d in draws], [d[other] for d in draws])]
    run.check("apart", not wrong, "; ".join(wrong) or "no bit of one part follows a bit of another",
              "whoever knows where one of the three lies knows nothing of the other two",
              "kaslr_choose() in kernel/harden/kaslr.c: how many draws are there?")


def placed(guest: Guest) -> Places:
    """Where the parts of a kernel lie that has only just chosen: there it stands."""
    return chosen_places(guest.machine, guest.image)


def moved(at: Places, linked: Places) -> list[str]:
    """The parts that do not lie where they were linked."""
    return [part for part in PARTS if at[part] != linked[part]]


def unmoved(part: str, starts: list[Places], linked: Places) -> str:
    """What real starts say of a part that is not drawn, or not by the machine's random numbers."""
    seen = {one[part] for one in starts}
    if seen == {linked[part]}:
        return "lies where it was linked"
    return "is at the same place in machines that differ in nothing but their random numbers" if len(seen) == 1 else ""


# ---- the lowest and the highest ------------------------------------------------------------------------------


def cramped(at: Places, linked: Places, image: Image) -> tuple[str, str] | None:
    """A part that has no room where it lies, and what is wrong with that."""
    size = image.linked().sym("__data_end") - linked["image"]
    start, end = at["image"], at["image"] + size
    if start % TABLE:
        return "image", "begins between two entries of the first tables"
    if start < linked["image"] + size:
        return "image", "has some of it still where it was linked"
    if end > TOP - TABLE:
        return "image", "reaches into the last 2 MiB, where error pointers are, or beyond them"
    for part, step in (("direct map", TABLE), ("stack area", SLOT)):
        low, high = at[part], at[part] + SIZES[part]
        if low == linked[part]:
            return part, "can stay where it was linked"
        if low % step:
            return part, f"begins at no multiple of {step:#x}"
        if low < LOWEST or high > OTHERS:
            return part, f"has no room for {SIZES[part] >> 30} GiB"
    low, high = sorted(SIZES, key=at.__getitem__)
    return (low, f"has no room for {SIZES[low] >> 30} GiB below the {high}") if at[low] + SIZES[low] > at[high] else None


def lowest(_: int, bound: int) -> int:
    """What random_below may answer at least."""
    return 0


def highest(_: int, bound: int) -> int:
    """And at most."""
    return max(bound - 1, 0)


def only(call: int, value: int) -> Callable[[int, int], int]:
    """One call gets a value, and all others the lowest."""
    return lambda n, bound: min(value, highest(n, bound)) if n == call else 0


def corners(chooser: Chooser) -> Iterator[tuple[str, Places]]:
    """Each draw at its lowest, and at its highest. If nobody asks random_below, what comes."""
    yield "all draws lowest", chooser.choose(lowest)
    bounds = list(chooser.bounds)
    yield "all draws highest", chooser.choose(highest)
    for call, bound in enumerate(bounds[:CALLS]):
        yield f"draw {call} highest", chooser.choose(only(call, bound - 1))
        yield f"draw {call} lowest", chooser.choose(lambda n, bound, call=call: 0 if n == call else highest(n, bound))
    for _ in range(0 if bounds else FREE):
        yield "", chooser.choose()


def across(chooser: Chooser, image: Image) -> Callable[[int, int], int]:
    """An answer that brings the image to lie across the border between two tables of 1 GiB, if one does: all others are the
    highest, so that everything moves."""
    end = image.linked().sym("__data_end") - image.linked().sym("__image_start")
    start = chooser.choose(lowest)["image"]
    border = -(-(start + 1) // GIB) * GIB
    for call, bound in enumerate(list(chooser.bounds)[:CALLS]):
        if chooser.choose(only(call, bound - 1))["image"] == start:
            continue
        low, high = 0, bound - 1        # the last place that begins below the border
        while low < high:
            middle = (low + high + 1) // 2
            if chooser.choose(only(call, middle))["image"] < border:
                low = middle
            else:
                high = middle - 1
        if chooser.choose(only(call, low))["image"] + end > border:
            return lambda n, bound: min(low, highest(n, bound)) if n == call else highest(n, bound)
    return highest


def edges(run: Run) -> None:
    """Draws that nobody waits for: the kernel starts with them."""
    linked, wrong = linked_places(run.image), ""
    for what, choose in (("where the image is as high as it gets", lambda chooser: highest),
                         ("where the image lies across a border of 1 GiB", lambda chooser: across(chooser, run.image))):
        with run.boot(PROGRAM, "tell") as guest:
            chooser = Chooser(run, guest)
            wrong = wrong or next((f"{name}: the {bad[0]}, at {at[bad[0]]:#x}, {bad[1]}" if name and chooser.bounds else
                                   f"in some draw the {bad[0]} {bad[1]}" for name, at in corners(chooser)
                                   if (bad := cramped(at, linked, run.image))), "")
            if not wrong:
                chooser.choose(choose(chooser))
                try:
                    guest.run_to(AT_TOLD)
                except Ended as error:
                    wrong = f"{what}, it does not start: {error}"
        if wrong:
            break
    run.check("room", not wrong, wrong or "lowest, highest, across two tables: there is room, and the kernel starts",
              "whatever is drawn, all of the image lies between where it was linked and the last 2 MiB, direct map and stacks "
              "have their whole regions, and the first tables have what is needed",
              "kaslr_choose() in kernel/harden/kaslr.c: the first place and the last one; then the first tables in mmu.c")


# ---- what is left behind -------------------------------------------------------------------------------------


def left(spaces: list[Space], linked: Places, sizes: Places) -> tuple[Space, Mapping, str] | None:
    """Something that is mapped where a part was linked to be."""
    for space in spaces:
        for part in PARTS:
            for mapping in space.between(linked[part], linked[part] + sizes[part]):
                return space, mapping, part
    return None


def settled(run: Run) -> None:
    """One start: the gates; what is mapped, what is told, what is reported."""
    linked = linked_places(run.image)
    size = run.image.linked().sym("__data_end") - linked["image"]
    sizes = {"image": size, "direct map": ARCHES[run.workshop.arch].ram_base + RAM, "stack area": GIB}
    uses = linked_uses(run, linked, size)
    found: tuple[str, tuple[Space, Mapping, str]] | None = None

    def look(guest: Guest, when: str, early: bool = False) -> None:
        nonlocal found
        kernel = Kernel(guest.machine, run.image)
        spaces = [kernel.cpu.active(guest.machine, 0)] if early else kernel.spaces()
        if found is None and (there := left(spaces, linked, sizes)):
            found = when, there

    with run.boot(PROGRAM, " ".join(["gates tell", *(f"{how}={address:x}" for how, address, _, _ in uses)])) as guest:
        guest.run_to(AT_GATES, extra=guest.image.sym("kernel_main"))
        look(guest, "on the first tables", early=True)
        guest.run_to(AT_GATES, extra=guest.image.sym("cpu_main"))
        look(guest, "when another CPU has just started")
        guest.run_to(AT_GATES)
        run.ordinary_gates(guest)
        look(guest, "while programs run")
        if found is None:
            run.check("vacated", True, "nothing: on the first tables, on another CPU's, in every address space", *VACATED)
        else:
            when, (space, mapping, part) = found
            run.check("vacated", False, f"{when}, {mapping.size >> 10} KiB are mapped at {mapping.va:#x}, where the {part} was "
                      f"linked ({space.name})", *VACATED, picture(space, linked[part], linked[part] + 16 * 4096, {}, (
                          mapping.va, mapping.va + mapping.size), "where that part was linked"))
        wrong = tells(run, guest, linked)
        run.check("silent", not wrong, wrong or "no address, and no distance", "everybody may read whether the row is on, and "
                  "nobody where the kernel lies", "the probe in kernel/harden/kaslr.c, and whatever prints")
        wrong = ""
        for use in uses:
            wrong = wrong or misnamed(run, guest, use)
        run.check("named", not wrong, wrong or "all three parts' old addresses, and no other",
                  "the kernel uses an address where a part was linked, and is not: the process ends, reported as kaslr's",
                  "kaslr_miss() in kernel/harden/kaslr.c: which addresses does the public image tell?")
        guest.run_to(AT_END)


VACATED = ("nothing of the kernel is mapped where it was linked, from kernel_main on",
           "the tables of start-up in mmu.c, and then kaslr_choose(): which parts move, and what stays behind?")


def tells(run: Run, guest: Guest, linked: Places) -> str:
    """What of the kernel's places is told to everybody, or would be if the kernel moved."""
    at = guest.run_to(AT_TOLD)
    texts = {what: guest.machine.gdb.read(guest.program.sym(name), size, at.cpu).split(b"\0")[0]
             for what, name, size in (("/proc/harden", "told", TOLD), ("the kernel's log", "logged", LOGGED))}
    texts["/proc/harden"] = b"".join(line for line in texts["/proc/harden"].splitlines() if line.split()[:1] == [b"kaslr"])
    texts["the console"] = guest.machine.transcript.encode()
    kernel, here = Kernel(guest.machine, run.image), chosen_places(guest.machine, run.image)
    if stay := set(PARTS) - set(moved(here, linked)):
        return f"there is nothing to be told: the {min(stay)} lies where it was linked"
    secrets = {here[part]: f"where the {part} begins" for part in PARTS}
    secrets |= {here[part] - linked[part]: f"how far the {part} moved" for part in PARTS}
    for what, text in texts.items():
        for number in re.findall(rb"[0-9a-fA-F]{6,20}", text):
            for base in (10, 16) if number.isdigit() else (16,):
                if int(number, base) in secrets:
                    return f"{what} tells {secrets[int(number, base)]}"
        if told(kernel, text):
            return f"{what} tells an address of the kernel"
    return ""


# ---- who is reported -----------------------------------------------------------------------------------------

Use = tuple[str, int, str, str]     # call, read or write; the address; in words; the row that must say so


def linked_uses(run: Run, linked: Places, size: int) -> list[Use]:
    """Addresses that an attacker has from the public image, some that he has not, and what the kernel would do by itself:
    in an order from the seed."""
    r, image = run.rng("uses"), run.image.linked()
    memory = linked["direct map"] + ARCHES[run.workshop.arch].ram_base
    text = image.span("__text_start", "__text_end")
    data = image.span("__data_start", "__data_end")
    uses: list[Use] = [
        ("call", r.randrange(*text, 4), "a function of the image is called where it was linked", "kaslr"),
        ("read", r.randrange(*data, 8), "a variable of the image is read where it was linked", "kaslr"),
        ("write", linked["image"] + size - 8, "the image's last word is written where it was linked", "kaslr"),
        (r.choice(["read", "write"]), memory + r.randrange(1 << 20, RAM // 2, 8),
         "memory is used where the direct map was linked", "kaslr"),
        (r.choice(["read", "write"]), linked["stack area"] + r.randrange(SLOT // 2, SLOT, 8),
         "a stack is used where the first one was linked to be", "kaslr"),
        ("read", linked["direct map"] - r.randrange(GIB, 64 * GIB, 8), "an address below all of them is used", "nobody"),
        ("read", OTHERS - GIB * r.randrange(1, 64) - 8 * r.randrange(1, 1 << 20), "an address between them is used", "nobody"),
    ]
    r.shuffle(uses)
    return [*uses, ("call", 0, "the kernel calls its own function", "")]


def misnamed(run: Run, guest: Guest, use: Use) -> str:
    """What is wrong with the report of one use; empty if nothing is."""
    how, _, what, row = use
    at = guest.run_to(AT_USED, extra=guest.image.sym("oops"))
    said = ""
    if at.extra:
        name = guest.machine.gdb.reg(at.cpu, CPUS[guest.machine.arch.name].arguments[1])
        said = Kernel(guest.machine, run.image).text(name, 16) if name else "nobody"
        guest.run_to(AT_USED)
    if said != row:
        return f"{what}: " + {"": "nothing happens", "nobody": "it is reported as nobody's"}.get(said, f"it is reported as {said}'s")
    return f"{what}: it fails" if not row and guest.result(R_STATUS) else ""


# ---- where `why CHECK` stops ----


@contextlib.contextmanager
def stand(run: Run, check: str) -> Iterator[Guest]:
    """The guest of a check, where the kernel has chosen and is about to go there; of those that look later, later."""
    linked = linked_places(run.image)
    use = linked_uses(run, linked, run.image.linked().sym("__data_end") - linked["image"])[0]
    with run.boot(PROGRAM, f"tell {use[0]}={use[1]:x}") as guest:
        placed(guest)
        if check in ("vacated", "named", "silent", "boots", "shell", "programs"):
            guest.run_to(AT_TOLD, extra=guest.image.sym("kernel_main"))
        if check in ("named", "silent"):
            guest.run_to(AT_TOLD)
        if check == "named":
            guest.run_to(AT_USED, extra=guest.image.sym("kaslr_miss"))
        yield guest
