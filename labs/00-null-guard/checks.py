"""The checks of null-guard: what areas and tables have below the limit, 64 KiB, after each way there was tried.

One boot. A program of ours (programs/lab-null-guard.c) tries every way as an ordinary user and as root, each in a
process of its own, and stands still before that process ends. Which low page it tries, on which CPU and as which
user, is drawn from the seed.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from grade.labs.grading import Guest, Run
from grade.spaces import Kernel

PAGE, FLOOR = 0x1000, 0x10000
OTHER_FLOORS = {"limit-128": 0x20000, "limit-192": 0x30000, "limit-384": 0x60000}     # under these twists
AT_GATES, AT_MMAP, AT_HINT, AT_MREMAP, AT_GROW, AT_EXEC, AT_END = range(1, 8)
AS_ROOT = 10                    # root's checkpoints are as many higher
R_SHELL, R_FORK, R_MAPS, R_MAPS_ROOT = range(4)

PROGRAM = "lab-null-guard"


def scenarios() -> list:
    """What may run side by side."""
    return [every_way]


def floor_of(run: Run) -> int:
    """The lowest address that may be mapped."""
    return next((floor for twist, floor in OTHER_FLOORS.items() if run.twist(twist) is not None), FLOOR)


def drawn(run: Run) -> tuple[int, int, int]:
    """A CPU, a page below the limit that is neither the first nor the last, a user."""
    r = run.rng("ways")
    return r.randrange(2), r.randrange(1, floor_of(run) // PAGE - 1), r.randrange(100, 60000)


def arguments(run: Run) -> str:
    """The program's."""
    cpu, page, user = drawn(run)
    return f"{cpu} {page} {user} {floor_of(run) // PAGE}"


# ---- what lies below the limit --------------------------------------------------------------------------------


def low_areas(k: Kernel, floor: int) -> list[str]:
    """Areas that begin below the limit, of every address space, in words."""
    out = []
    for vm in k.list_of(k.image.sym("vm_all"), "struct vm", "all"):
        table = k.member(vm, "struct vm", "areas")
        for i in range(k.member(vm, "struct vm", "count")):
            start, end = (k.member(k.u64(table + 8 * i), "struct vma", edge) for edge in ("start", "end"))
            if start < floor:
                out.append(f"an area {start:#x}-{end:#x}")
    return out


def low_pages(k: Kernel, floor: int) -> list[str]:
    """What the tables of any process or CPU map below the limit, in words."""
    return [f"{m} in {space.name}" for space in k.spaces() for m in space.between(0, floor)]


# ---- the ways -------------------------------------------------------------------------------------------------


def name_of(error: int) -> str:
    """An errno in letters; 0 is success."""
    return errno.errorcode.get(error, str(error)) if error else "success"


Judge = Callable[[Guest, int], list[str]]


def refused(what: list[str]) -> Judge:
    """Each of these calls must end with EPERM."""
    def judge(guest: Guest, _floor: int) -> list[str]:
        return [f"{call}: {name_of(guest.result(i))}" for i, call in enumerate(what)
                if guest.result(i) != errno.EPERM]
    return judge


def moved(what: list[str]) -> Judge:
    """Each of these calls must succeed, above the limit."""
    def judge(guest: Guest, floor: int) -> list[str]:
        return [f"{call}: {'it failed' if at < 0 else f'it got {at:#x}'}" for i, call in enumerate(what)
                if (at := guest.result(i)) < floor]
    return judge


def remapped(guest: Guest, floor: int) -> list[str]:
    """Each mremap ends with EPERM and has changed nothing."""
    wrong = refused(["MREMAP_FIXED of two pages, made one, to the page below the limit", "MREMAP_FIXED to the drawn page",
                     "MREMAP_FIXED | MREMAP_DONTUNMAP to 0"])(guest, floor)
    return wrong + ([] if guest.result(3) else ["what was to be moved is no longer where it was"])


def grown(guest: Guest, floor: int) -> list[str]:
    """Where an area that grows down came to."""
    error, touched, lowest = (guest.result(i) for i in range(3))
    wrong = [] if error == errno.EFAULT else [f"read(2) into the drawn page below a growing area: {name_of(error)}"]
    wrong += ["a store to the drawn page below a growing area succeeded"] if touched else []
    return wrong + ([] if lowest == floor else [f"page by page it grew to {lowest:#x}"])


def started(guest: Guest, _floor: int) -> list[str]:
    """Which programs with a low segment run."""
    return [f"a program with a segment {kind} at the drawn page runs"
            for i, kind in enumerate(("of its file", "of zeros")) if guest.result(i)]


@dataclass(frozen=True)
class Way:
    """One way to low memory: the check it decides, and how."""

    check: str
    at: int
    judge: Judge
    good: str
    expected: str
    look: str


WAYS = [
    Way("mmap-refused", AT_MMAP,
        refused(["MAP_FIXED at the drawn page", "MAP_FIXED at 0", "MAP_FIXED of two pages, the limit between them",
                 "MAP_FIXED_NOREPLACE, PROT_NONE", "MAP_FIXED | MAP_SHARED", "MAP_FIXED of a file, R-X, at 0",
                 "MAP_FIXED | MAP_GROWSDOWN"]),
        "seven kinds of mmap end with EPERM", "mmap with MAP_FIXED below the limit ends with EPERM, whatever it is to map",
        "vm_mmap() and vm_check_low() in kernel/mm/vm.c"),
    Way("hint-moved", AT_HINT,
        moved(["mmap with the drawn page as a hint", "mmap with 1 as a hint",
               "mmap of two pages with the page below the limit as a hint",
               "mremap with MREMAP_DONTUNMAP and the drawn page as a hint"]),
        "four hints below the limit led above it", "a hint below the limit gives memory elsewhere, and no error",
        "vm_find_free() in kernel/mm/vm.c: who calls it?"),
    Way("mremap-refused", AT_MREMAP, remapped, "three kinds of mremap end with EPERM, and nothing was moved",
        "mremap with MREMAP_FIXED below the limit ends with EPERM and leaves everything as it was",
        "remap_locked() in kernel/mm/remap.c"),
    Way("growth-stops", AT_GROW, grown, "the area grew to the limit and no further; read(2) below it: EFAULT",
        "an area with MAP_GROWSDOWN grows to the limit; below, a store is a SIGSEGV and read(2) says EFAULT",
        "grow_stack() in kernel/mm/fault.c"),
    Way("exec-refused", AT_EXEC, started, "neither program started", "execve of a program with a segment below the limit "
        "fails or ends in the program's death", "map_segment() in kernel/proc/elf.c: what does it call?"),
]


@dataclass
class Seen:
    """What was wrong at the moments so far, in words."""

    pages: list[str] = field(default_factory=list)
    looks: int = 0

    def look(self, run: Run, guest: Guest, when: str) -> list[str]:
        """Looks at everything; returns the areas there are now."""
        k = Kernel(guest.machine, run.image)
        areas = low_areas(k, floor_of(run))
        self.pages += [f"{when}: {what}" for what in [*low_pages(k, floor_of(run)), *areas]]
        self.looks += 1
        return areas


def every_way(run: Run) -> None:
    """Gates, then each way as a user and as root."""
    cpu, page, user = drawn(run)
    floor = floor_of(run)
    where = f"the drawn page is {page * PAGE:#x}, the limit {floor:#x}, on CPU {cpu}"
    seen = Seen()
    with run.boot(PROGRAM, arguments(run)) as guest:
        guest.run_to(AT_GATES)
        run.gate("boots", True, "the program runs")
        shell, fork, maps, maps_root = (guest.result(i) for i in (R_SHELL, R_FORK, R_MAPS, R_MAPS_ROOT))
        run.gate("shell", shell == 0, f"the script ended with {shell}")
        run.gate("programs", fork == 0, f"test-fork_cow ended with {fork}")
        run.gate("maps", maps == maps_root == 0, "all of it worked" if maps == maps_root == 0 else
                 f"maps() in programs/{PROGRAM}.c ended at step {maps} for user {user}, {maps_root} for root (0: its end)")
        seen.look(run, guest, "before anything was tried")
        users: list[str] = []
        roots: list[str] = []
        for base, who in ((0, f"user {user}"), (AS_ROOT, "root")):
            for way in WAYS:
                guest.run_to(base + way.at)
                wrong = way.judge(guest, floor)
                wrong += seen.look(run, guest, f"{way.check} as {who}")
                if base:
                    roots += wrong
                else:
                    users += wrong
                    run.check(way.check, not wrong, f"{wrong[0]} ({where})" if wrong else way.good,
                              f"{way.expected} ({who})", way.look)
        too = ", and an ordinary user did, too" if users else ""
        run.check("not-even-root", not roots, f"{len(roots)} times root got its will{too}: {roots[0]} ({where})" if roots else
                  "root was refused like everybody else", "root is refused as an ordinary user is",
                  "the checks before this one: mend those first" if users else "vm_check_low() in kernel/mm/vm.c: whom does it ask?")
        guest.run_to(AT_END)
        seen.look(run, guest, "in the end")
    run.check("nothing-mapped", not seen.pages, f"{seen.pages[0]}; {len(seen.pages)} such things in all" if seen.pages
              else f"{seen.looks} looks at every table and area: nothing below {floor:#x}",
              f"no area and no table of any process or CPU reaches below {floor:#x}, whatever is tried",
              "`rp-pt 0` in `make gdb` explains a page; `rp-vm` lists a process's")


# ---- where `why CHECK` stops ----


@contextlib.contextmanager
def stand(run: Run, check: str) -> Iterator[Guest]:
    """The guest of a check, stopped where it begins to look."""
    last = next((way.at for way in WAYS if way.check == check), AT_GATES if check == "nothing-mapped" else
                AS_ROOT + AT_MMAP)
    points = [AT_GATES, *(base + way.at for base in (0, AS_ROOT) for way in WAYS)]
    with run.boot(PROGRAM, arguments(run)) as guest:
        for point in points[:points.index(last) + 1]:
            guest.run_to(point)
        yield guest
