"""The checks of cow: whose frames lie behind whose pages, and what they hold, after each step of what processes do.

Two boots of programs/lab-cow.c, which follows a script that is drawn from the seed: who forks, writes, protects, drops
and ends, on which CPU and which pages. Beside it a model here says what each page must hold and who shares it. After
each step the grader reads the tables of every process, and the frames themselves.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from grade.cpus import CPUS
from grade.frames import at_rest, frames, wrong_references, wrongly_writable
from grade.labs.grading import Ended, Guest, Run
from grade.spaces import Kernel
from grade.walk import Mapping

PROGRAM = "lab-cow"
AT_GATES, AT_STEP = 1, 2
PAGE = 4096
WHO = ["the first process", "process 1", "process 2", "process 3"]

# As lab-cow.c has them: private memory, the page for a stack pointer, a file's pages, and those mapped read-only.
ANONYMOUS, STACK, FILES, READ_ONLY = range(7), 7, range(8, 12), range(12, 14)

# Scripts: X and Y are the CPUs, A to D private pages, F and G a file's, R one that is mapped read-only. A dot begins
# anew. `t` and `e` begin and end a thread on the other CPU, z waits for a child; the rest stands in act() of lab-cow.c.
SCRIPTS = {
    "fork-shares": ["0aX 0f1 1aY 1f2 0f3 3x 2x 1x 0.", "0aX 0qA 0f1 1x 0sA 0t 0f1 1x 0e 0."],
    "writer-copies": ["0aX 0f1 1aY 1wA 1wB 1x 0.", "0aX 0f1 0wA 0wB 1aY 1f2 2wA 1wA 2wB 2x 1x 0.",
                      "0aX 0t 0f1 0wA 1wB 1x 0e 0."],
    "kernel-writes": ["0aX 0f1 1aY 1kA 0kB 1f2 2kA 2kB 2x 1x 0."],
    "last-in-place": ["0aX 0f1 1aY 1wA 0wA 0kB 1kB 1x 0wC 0.", "0aX 0f1 0uA 1wA 1x 0.", "0aX 0f1 1f2 0wA 2x 1wA 1x 0."],
    "file-pages": ["0aX 0rF 0wF 0rG 0kG 0.", "0aX 0rF 0f1 1aY 1rF 1wF 0rF 0kF 1x 0.",
                   "0aX 0rF 0wF 0dF 0rF 0kF 0dF 0rF 0wF 0."],
    "mprotect": ["0aX 0rR 0sR 0wR 0.", "0aX 0f1 1aY 1qA 1sA 0qB 0sB 1wA 0wB 1x 0.", "0aX 0qA 0f1 0sA 1aY 1sA 1wA 0wA 1x 0.",
                 "0aX 0rR 0f1 1aY 1rR 1sR 1wR 0sR 0kR 1x 0qC 0sC 0wC 0."],
    "other-cpus": ["0aX 0t 0f1 0wA 0kB 1x 0e 0."],
    "references": ["0aX 0t 0f1 1aY 1f2 1wA 2wA 0wA 2kB 2x 1wB 1x 0wC 0e 0rF 0f1 1aY 1wF 0kG 1kF 0sR 1x 0wR 0."],
}
BOOTS = {"memory": ("fork-shares", "writer-copies", "kernel-writes", "last-in-place"),
         "files": ("file-pages", "mprotect", "other-cpus", "references")}


# ---- what must be --------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Content:
    """What one frame holds, and the frame when it has been seen. Pages with the same Content share it."""

    value: int
    file: bool = False
    frame: int = 0


Place = tuple[int, int]         # process, page


@dataclass
class Model:
    """Every process's pages, as they must be."""

    copies_locked: bool = False         # twists: fork copies locked pages, ...
    own_at_once: bool = False           # ... mprotect gives what is one's own at once
    file: dict[int, Content] = field(default_factory=lambda: {
        n: Content(1000 + n, True) for n in (*FILES, *READ_ONLY)})
    pages: dict[Place, Content] = field(default_factory=dict)
    present: set[Place] = field(default_factory=set)    # of a file: certainly mapped
    locked: set[Place] = field(default_factory=set)
    granted: set[Place] = field(default_factory=set)    # must be writable now

    def begin(self) -> None:
        """The first process alone, with all pages as they are at first."""
        self.pages = {(0, n): Content(1000 + n) for n in (*ANONYMOUS, STACK)}
        self.pages |= {(0, n): content for n, content in self.file.items()}
        self.present, self.locked, self.granted = set(), set(), set()

    def sole(self, at: Place) -> bool:
        """Whether nobody else has this private memory."""
        content = self.pages[at]
        return not content.file and sum(c is content for c in self.pages.values()) == 1

    def forget(self, who: int) -> None:
        """A process is gone."""
        for held in (self.present, self.locked, self.granted):
            held -= {at for at in held if at[0] == who}
        self.pages = {at: c for at, c in self.pages.items() if at[0] != who}

    def step(self, who: int, what: str, on: int, number: int) -> None:
        """What one step changes."""
        at = who, on
        self.granted.clear()
        if what in "fg":
            for (p, n), content in list(self.pages.items()):
                if p == who:
                    own = self.copies_locked and (p, n) in self.locked
                    self.pages[on, n] = Content(content.value) if own else content
                    self.granted |= {(p, n)} if own else set()
        elif what in "wk":
            if not self.sole(at):
                self.pages[at] = Content(number)
            self.pages[at].value = number
            self.present.add(at)
        elif what == "s":
            self.granted |= {at} if self.own_at_once and self.sole(at) else set()
        elif what == "r":
            self.present.add(at)
        elif what == "l":
            self.locked.add(at)
        elif what == "d":
            self.pages[at] = self.file[on]
            self.present.discard(at)
        elif what == "u":
            del self.pages[at]
        elif what == "x":
            self.forget(who)
        elif what == ".":
            self.begin()


# ---- what is -------------------------------------------------------------------------------------------------


def kind(n: int) -> str:
    """A page in words."""
    return f"page {n} ({'private memory' if n <= STACK else 'a private page of a file'})"


class Look:
    """Everybody's pages at one moment."""

    def __init__(self, run: Run, guest: Guest, base: int) -> None:
        self.guest, self.base, self.kernel = guest, base, Kernel(guest.machine, run.image)
        image = self.kernel.image
        pids = {pid: who for who in range(len(WHO)) if (pid := guest.result(who))}
        self.vms = {pids[pid]: self.kernel.member(p, "struct process", "vm")
                    for p in self.kernel.list_of(image.sym("process_all"), "struct process", "all")
                    if (pid := self.kernel.member(p, "struct process", "pid")) in pids}
        self.roots = {who: self.kernel.u64(vm + image.offsetof("struct vm", "pt.root.v")) & self.kernel.cpu.address
                      for who, vm in self.vms.items() if vm}

    def leaf(self, who: int, n: int) -> Mapping | None:
        """What a process's tables have at a page."""
        return self.kernel.walker.translate(self.roots[who], self.base + n * PAGE)

    def holds(self, frame: int) -> int:
        """A frame's first word."""
        return int.from_bytes(self.guest.machine.read_phys(frame << 12, 8), "little")

    def wrong(self, model: Model) -> str:
        """What is not as the model says; empty if nothing is."""
        owners: dict[int, Content] = {c.frame: c for c in model.file.values() if c.frame}
        for (who, n), content in sorted(model.pages.items()):
            if who not in self.roots:
                return f"{WHO[who]} is gone"
            leaf, its = self.leaf(who, n), f"{WHO[who]}'s {kind(n)}"
            if leaf is None:
                if not content.file or (who, n) in model.present:
                    return f"{its} is not mapped"
                continue
            frame = leaf.pa >> 12
            content.frame = content.frame or frame
            if frame != content.frame:
                return f"{its} is in another frame than it must be: it was copied without need, or not where it had to be"
            if owners.setdefault(frame, content) is not content:
                return f"{its} has a frame that somebody else has, too, who must not"
            if self.holds(frame) != content.value:
                return f"{its} holds {self.holds(frame)} and not {content.value}"
            if leaf.writable and not model.sole((who, n)):
                return f"{its} is writable, and its frame is not {WHO[who]}'s alone"
            if not leaf.writable and (who, n) in model.granted:
                return f"{its} is not writable, though it is its own and was to be"
        return next((f"page {n} of the file has become {self.holds(c.frame)}" for n, c in model.file.items()
                     if c.frame and self.holds(c.frame) != c.value), "")


# ---- following a script --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One step, and the check that its script belongs to."""

    check: str
    who: int
    what: str
    on: int

    @property
    def word(self) -> str:
        """As the program reads it."""
        return f"{self.who}{self.what}{self.on:x}"

    def __str__(self) -> str:
        does = {"f": f"forks process {self.on}", "g": f"forks process {self.on}, its stack pointer in page {STACK}",
                "w": f"writes to page {self.on}", "k": f"reads a file into page {self.on}", "r": f"reads page {self.on}",
                "q": f"makes page {self.on} read-only by mprotect", "s": f"makes page {self.on} writable by mprotect",
                "d": f"drops page {self.on} by madvise", "u": f"unmaps page {self.on}", "l": f"locks page {self.on}",
                "a": f"goes to CPU {self.on}", "t": "begins a thread", "e": "ends a thread", "x": "exits",
                ".": "begins anew"}
        return f"{WHO[self.who]} {does[self.what]}"


def scripts_of(run: Run, check: str) -> list[str]:
    """A check's scripts, and what a twist adds."""
    extra = {"fork-shares": {"locked-at-once": "0aX 0lA 0f1 1wB 1f2 2x 1x 0.", "nothing-at-once": "0aX 0g1 1x 0."},
             "mprotect": {"own-at-once": "0aX 0qA 0sA 0f1 0wA 0qA 0sA 1aY 1qB 1sB 1x 0qC 0sC 0."}}.get(check, {})
    return SCRIPTS[check] + [script for twist, script in extra.items() if run.twist(twist) is not None]


def steps_of(run: Run, boot: str) -> list[Step]:
    """A boot's steps: each script on either CPU, in a drawn order, with drawn pages."""
    out = []
    for check in BOOTS[boot]:
        r = run.rng(check)
        if not run.wants(check):
            continue
        for script in scripts_of(run, check):
            for x in r.sample(range(2), 2):
                drawn = dict(zip("ABCDFGR", [*r.sample(ANONYMOUS, 4), *r.sample(FILES, 2), r.choice(READ_ONLY)]))
                drawn |= {"X": x, "Y": 1 - x}
                out += [Step(check, int(w[0]), w[1], int(drawn.get(w[2:], w[2:] or 0))) for w in script.split()]
    return out


def argument(guest: Guest, cpu: int, which: int) -> int:
    """An argument of the function that a CPU is entering."""
    return guest.machine.gdb.reg(cpu, CPUS[guest.machine.arch.name].arguments[which])


class Follower:
    """Goes through a boot's steps with the guest, and judges each check where its last script ends."""

    def __init__(self, run: Run, guest: Guest, steps: list[Step], base: int) -> None:
        self.run, self.guest, self.steps, self.base = run, guest, steps, base
        self.model = Model(run.twist("locked-at-once") is not None, run.twist("own-at-once") is not None)
        self.wrong: dict[str, list[str]] = {}
        self.looks = self.shared = 0

    def start(self) -> None:
        """To the first look."""
        self.guest.run_to(AT_STEP)
        self.model.begin()

    def follow(self) -> None:
        """All steps. A script that has gone wrong is not looked at any more."""
        lost = False
        for i, step in enumerate(self.steps):
            bad = "" if lost else self.one(step, i + 1)
            if lost:
                self.guest.run_to(AT_STEP)
                self.model.step(step.who, step.what, step.on, i + 1)
            if bad:
                self.wrong.setdefault(step.check, []).append(f"after {step}: {bad}")
            lost = (lost or bool(bad)) and step.what != "."
            if i + 1 == len(self.steps) or self.steps[i + 1].check != step.check:
                self.judge(step.check)

    def one(self, step: Step, number: int) -> str:
        """One step; what is wrong after it."""
        flushed = ""
        if step.check == "other-cpus" and step.what in "fwk":
            flushed = self.watched(step)
        else:
            self.guest.run_to(AT_STEP)
        at = step.who, step.on
        if step.what in "wk" and step.check != "last-in-place" and self.model.sole(at):
            self.model.pages[at].frame = 0      # where the last one writes is that check's alone
        self.model.step(step.who, step.what, step.on, number)
        look = Look(self.run, self.guest, self.base)
        bad = look.wrong(self.model)
        if step.check == "references":
            return self.counted(look.kernel)
        return bad or flushed

    def counted(self, kernel: Kernel) -> str:
        """What is wrong with any frame of any process, where every CPU is at rest."""
        if not at_rest(kernel):
            return ""
        self.looks += 1
        self.shared += sum(f.type == "anon" and f.refs > 1 for f in frames(kernel))
        wrong = [f"a frame ({w.frame.type}) has {w.frame.refs} references and {w.mappings} mappings"
                 for w in wrong_references(kernel)]
        return (wrong + ["a page is writable whose frame is not its own alone"] * bool(wrongly_writable(kernel)) + [""])[0]

    def watched(self, step: Step) -> str:
        """A step of a process that has a thread on the other CPU: what happens to translations that it may hold."""
        guest, look = self.guest, Look(self.run, self.guest, self.base)
        image, kernel = guest.image, look.kernel
        pt = look.vms[0] + image.offsetof("struct vm", "pt")
        pages = [step.on] if step.what in "wk" else list(ANONYMOUS)
        before = {n: leaf.pa >> 12 for n in pages if (leaf := look.leaf(0, n))}
        frame = {kernel.u64(image.sym("pages")) + f * image.sizeof("struct page"): n for n, f in before.items()}
        told: set[int] = set()
        flush, put = image.sym("arch_tlb_flush"), image.sym("page_put")
        bad = ""
        while (at := guest.run_to(AT_STEP, extra={flush, put})).extra:
            first = argument(guest, at.cpu, 0)
            if at.pc == put and step.what in "wk" and first in frame and frame[first] not in told:
                bad = bad or (f"the frame behind page {frame[first]} is given back while the thread on the other CPU may "
                              "reach it")
            elif at.pc == flush and first == pt:
                start, end = argument(guest, at.cpu, 1), argument(guest, at.cpu, 2)
                for n in pages:
                    leaf = look.leaf(0, n)
                    old = leaf is not None and leaf.pa >> 12 == before.get(n)
                    if start <= self.base + n * PAGE < end and not (leaf and leaf.writable if step.what in "fg" else old):
                        told.add(n)
        missing = [n for n in pages if n not in told]
        return bad or (f"the thread on the other CPU may still {'write to' if step.what in 'fg' else 'read'} what page "
                       f"{missing[0]} was" if missing else "")

    def judge(self, check: str) -> None:
        """Decides a check."""
        wrong = self.wrong.get(check, [])
        if check == "references" and not wrong and (self.looks < 5 or not self.shared):
            wrong = ["no private frame was ever shared"] if self.looks else ["the machine never came to rest"]
        about = ABOUT[check]
        scripts = 2 * len(scripts_of(self.run, check))
        self.run.check(check, not wrong, (wrong[0] + (f"; {len(wrong)} of {scripts} scripts went wrong" if len(wrong) > 1
                                                     else "")) if wrong else f"{scripts} scripts, {about.good}",
                       about.expected, about.look)


@dataclass(frozen=True)
class About:
    """What a check says: what it expects, where to look, and what was seen if all is well."""

    expected: str
    look: str
    good: str


ABOUT = {
    "fork-shares": About("after fork both have the same frames, and neither may write to them", "copy_pte() in "
                         "kernel/mm/space.c and cow_share(): whose leaf is it that is returned?",
                         "children and grandchildren of one thread or two: the frames are their parents'"),
    "writer-copies": About("who writes to a shared page goes on in a frame of its own; the others keep theirs",
                           "write_protected() and fill_copy() in kernel/mm/fault.c", "each writer had its own frame"),
    "kernel-writes": About("what the kernel writes for a process is that process's alone", "which way does a fault of a user "
                           "copy take to write_protected()?", "read(2) wrote into frames of the reader's own"),
    "last-in-place": About("the last one that has a frame writes in place", "cow_sole(): who has the frame now, and who had it?",
                           "whoever was left wrote in place"),
    "file-pages": About("a private page of a file is the page cache's until it is written, and then a copy; the file stays "
                        "what it was", "fill_file(), and cow_sole() for a frame of the page cache",
                        "read first, written then: the file is what it was"),
    "mprotect": About("mprotect makes nothing writable that somebody else has", "cow_protect(): what does the area's permission "
                      "say of a frame?", "neither the file nor any relative was in reach"),
    "other-cpus": About("before fork returns, and before an old frame is given back, no CPU may reach it by what it "
                        "remembers", "arch_tlb_flush(): after which change, and before which?",
                        "every translation was forgotten in time"),
    "references": About("the references of every frame are its mappings, and one more in the page cache", "who takes a "
                        "reference where a mapping is made, and who gives it back where one ends?",
                        "all frames of all processes were counted at each step"),
}


# ---- the two boots -------------------------------------------------------------------------------------------


def base_of(run: Run) -> int:
    """Where the pages lie: between programs and what the kernel maps."""
    return run.rng("base").randrange(1 << 29, 1 << 30) << 12


def line(run: Run, steps: list[Step], gates: bool) -> str:
    """The program's arguments."""
    return f"{base_of(run):x} {int(gates)} {','.join(s.word for s in steps)}"


@contextlib.contextmanager
def stand(run: Run, check: str) -> Iterator[Guest]:
    """The guest of a check, stopped before its first step."""
    boot = next(b for b, checks in BOOTS.items() if check in checks)
    steps = [s for s in steps_of(run, boot) if s.check == check]
    with run.boot(PROGRAM, line(run, steps, False)) as guest:
        guest.run_to(AT_STEP)
        yield guest


def scenarios() -> list:
    """What may run side by side."""
    return [memory, files]


def memory(run: Run) -> None:
    """Gates; private memory."""
    play(run, "memory", run.wants("boots", "shell", "programs"))


def files(run: Run) -> None:
    """Files, mprotect, other CPUs, references."""
    play(run, "files", False)


def play(run: Run, boot: str, gates: bool) -> None:
    """One boot."""
    steps = steps_of(run, boot)
    with run.boot(PROGRAM, line(run, steps, gates)) as guest:
        if gates:
            guest.run_to(AT_GATES)
            run.ordinary_gates(guest)
        if not steps:
            return
        follower = Follower(run, guest, steps, base_of(run))
        follower.start()
        if any(guest.result(who) for who in range(1, len(WHO))):
            raise Ended("there are processes that nobody forked")
        follower.follow()
