"""Grading one submission: boots its kernel, runs the lab's gates and checks, and collects what they saw.

A check's text tells what was seen, never when: the same submission, seed and toolchain give the same report.
Whatever the guest does is a verdict; QemuError, OSError and errors of our own are not, and go to the caller.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import random
import string
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

from grade import moments
from grade.cpus import CPUS
from grade.deadline import Deadline, DeadlineError
from grade.exclog import TripleFault
from grade.gdbstub import GdbClosed, GdbError, Stop
from grade.image import Image, ImageError
from grade.labs import autopsy, limits, tree
from grade.labs.classkey import Twist
from grade.labs.sandbox import TRANSLATED
from grade.labs.spec import Lab
from grade.labs.workshop import Built, SubmissionError, Workshop
from grade.qemu import ARCHES, Machine, QemuError
from grade.qmp import QMPClosed
from grade.spaces import KernelStateError
from grade.walk import PhysError, Space, WalkFlood

PAGE = 0x1000
NOT_REACHED = "not reached"
OWN = 3                     # R_OWN of user/lab/program.h
IDLE_SLICES = 20            # so many seconds in a row without any work: nothing will wake this guest
GUEST_FAULTS = (DeadlineError, GdbClosed, GdbError, KernelStateError, ImageError, PhysError, WalkFlood, QMPClosed)
KILLED = "somebody killed QEMU, most likely the host, which had no memory left"


class Ended(RuntimeError):
    """The guest did something after which this boot shows nothing more; the text says what."""


class Hung(Ended):
    """It does nothing any more, for whatever reason."""


class Enough(Exception):
    """All that was wanted of a grading is decided: this boot need not go on."""


class GraderError(RuntimeError):
    """The checks themselves are wrong; never a verdict."""


class HostError(RuntimeError):
    """The host cannot grade now; never a verdict."""


@dataclass
class Verdict:
    """One gate's or check's outcome."""

    name: str
    title: str
    points: int
    passed: bool = False
    seen: str = NOT_REACHED
    expected: str = ""
    look: str = ""
    decided: bool = False
    picture: dict[str, Any] | None = None   # of an address space: picture()


def picture(space: Space, start: int, end: int, labels: dict[tuple[int, int], str],
            marked: tuple[int, int] | None = None, says: str = "") -> dict[str, Any]:
    """The piece of an address space from `start` to `end` as a report draws it, in pages of 4 KiB: what each run of
    pages allows, what lies there by `labels` (first byte, end), and which is the one that the check speaks of."""
    runs: list[dict[str, Any]] = []
    for page in range(start & -PAGE, end, PAGE):
        m = space.covers(page)
        rights = "not mapped" if m is None else "".join(
            c if on else "-" for c, on in (("R", True), ("W", m.writable), ("X", m.executable))) + (
                " user" if m.user else " kernel")
        what = next((text for (low, high), text in labels.items() if low <= page < high), "")
        mark = marked is not None and marked[0] <= page < marked[1]
        if runs and (runs[-1]["rights"], runs[-1]["what"], runs[-1]["marked"]) == (rights, what, mark):
            runs[-1]["end"] = f"{page + PAGE:#x}"
        else:
            runs.append({"start": f"{page:#x}", "end": f"{page + PAGE:#x}", "rights": rights, "what": what,
                         "marked": mark})
    return {"space": space.name, "says": says, "runs": runs}


@dataclass
class At:
    """Where the guest stands: a checkpoint of the program, or (extra) one of the other addresses asked for, or (watched)
    behind an instruction that used what was watched."""

    cpu: int
    extra: bool = False
    pc: int = 0
    watched: bool = False


class Guest:
    """One boot of the submission with one of the lab's own programs in it."""

    def __init__(self, machine: Machine, run: Run, program: Image, name: str) -> None:
        self.machine, self._run, self.program = machine, run, program
        self.name = name        # of the program in this guest: drawn, so that no kernel knows the grader by it
        self._cpu = 0
        self._console_mark = 0
        self._breaks: set[int] = set()

    def _break_at(self, points: set[int]) -> None:
        """Leaves breakpoints at these addresses alone. One that comes or goes costs QEMU all that it has translated."""
        for point in self._breaks - points:
            self.machine.gdb.clear_break(point)
        for point in points - self._breaks:
            self.machine.gdb.set_break(point)
        self._breaks = points

    def run_to(self, which: int, extra: int | Iterable[int] | None = None, hits: int = 1,
               watch: tuple[int, int, int] | None = None) -> At:
        """Runs to the program's checkpoint `which`, or to an address of `extra`, of all together for the `hits`-th
        time, or to a use of what is watched: address, kind and size for GdbStub.set_break. Ended if the guest panics, resets,
        hangs, or comes to another checkpoint first."""
        m = self.machine
        try:
            image = self.image
        except DeadlineError:
            raise Ended("the kernel does not come as far as choosing its addresses") from None
        here = self.program.sym("checkpoint")
        ends = {image.sym(n): n for n in ("panic", "die") if n in image}
        others = {extra} if isinstance(extra, int) else set(extra or ())
        points = {here, *ends, *others}
        self._console_mark = len(m.transcript)
        if self._run.enough():
            raise Enough
        try:
            self._break_at(points)
            if watch:
                m.gdb.set_break(*watch)
            while True:
                m.cont()
                stop = wait(m)
                if not stop.breakpoint:
                    raise Ended({"guest-reset": "the machine reset", "guest-shutdown": "the guest powered off"}.get(
                        m.shutdown_reason() or "", "the guest ended"))
                pc = m.gdb.pc(stop.cpu)
                if stop.watch is not None:
                    if CPUS[m.arch.name].stops_before:
                        m.gdb.advance(stop.cpu)
                    return At(stop.cpu, pc=pc, watched=True)
                if pc in ends:
                    raise Ended(self._last_words("the kernel panicked"))
                if pc in others and hits > 1:
                    hits -= 1
                elif pc in others:
                    return At(stop.cpu, extra=True, pc=pc)
                elif pc == here:
                    self._cpu = stop.cpu
                    reached = m.gdb.reg(stop.cpu, CPUS[m.arch.name].arguments[0])
                    if reached != which:
                        raise Ended(f"the program came to checkpoint {reached} and not to {which}")
                    return At(stop.cpu, pc=pc)
        except DeadlineError:
            raise Hung(self._last_words("nothing happens any more: the guest hangs")) from None
        except GdbClosed:
            raise Ended("the guest ended") from None
        finally:
            if watch and not m.gdb.running and not m.exited:
                m.gdb.clear_break(*watch)

    @property
    def image(self) -> Image:
        """The submission's image, placed where this guest runs it."""
        return self._run.image.at(self.machine, self._go_to)

    def _go_to(self, address: int) -> None:
        """Runs to an address, however busy the host is."""
        gdb = self.machine.gdb
        gdb.set_break(address)
        self.machine.cont()
        if not wait(self.machine).breakpoint:
            raise Ended("the machine ended before the kernel had chosen its addresses")
        gdb.clear_break(address)

    def result(self, index: int) -> int:
        """One of the program's results, as it stands at its checkpoint."""
        data = self.machine.gdb.read(self.program.sym("results") + 8 * index, 8, self._cpu)
        return int.from_bytes(data, "little", signed=True)

    def console_lines(self) -> list[str]:
        """What the console showed since the last run_to() but one began."""
        self.machine.catch_up()
        return self.machine.transcript.splitlines()

    def _last_words(self, what: str) -> str:
        """What is known of a guest that is lost, in words that do not depend on the host's clock."""
        records = [r for r in self.machine.exclog.last(50) if not isinstance(r, TripleFault) and r.is_fault
                   and r.in_kernel]
        if records:
            what += f"; last exception: {records[-1].name} at {self.image.where(records[-1].ip)}"
        self.machine.catch_up()
        lines = [line for line in self.machine.tail(60) if line.startswith(("panic", "oops"))]
        return what + (f'; it says "{lines[0]}"' if lines else "")


def wait(machine: Machine) -> Stop:
    """Waits for a machine that runs to stop by itself. Ended if it floods its console or the exception log;
    DeadlineError if it uses more processor time than an honest guest could (limits.py), or none any more."""
    slow, start = limits.slowness(), None
    wall, idle = Deadline(limits.WALL * limits.STEP_SECONDS * slow), 0
    while True:
        try:
            return machine.gdb.wait(1)      # nearly always: nothing is asked of the host before
        except DeadlineError:
            used = machine.cpu_seconds()
            if start is None:
                start = before = used
                continue
            idle = idle + 1 if used == before else 0
            before = used
            if machine.serial_flooded:
                raise Ended("the guest floods its console") from None
            if machine.exclog.flooded:
                raise Ended("the guest takes one exception after the other, without end") from None
            if used - start > limits.STEP_SECONDS * slow or used > limits.BOOT_SECONDS * slow or idle > IDLE_SLICES:
                raise
            if wall.passed():
                raise HostError(f"a guest was given {used - start:.0f} s of processor time in {wall.seconds:.0f} s: the "
                                "host is too busy to grade") from None


@dataclass
class Run:
    """One grading: what the checks get, and where they put their verdicts."""

    lab: Lab
    workshop: Workshop
    built: Built
    image: Image
    seed: int
    gates: dict[str, Verdict] = field(default_factory=dict)
    checks: dict[str, Verdict] = field(default_factory=dict)
    contained: bool = True
    boots: list[_Boot] = field(default_factory=list)
    given: Twist | None = None                  # the student's own twist of the lab
    wanted: frozenset[str] = frozenset()        # stop when these are decided (none: when all boots are over) ...
    red_ends: bool = False                      # ... or at the first that fails
    scenario: str = ""                          # the boot that decides
    deciders: dict[str, str] = field(default_factory=dict)      # gate or check -> the boot that decided it
    on_decision: Callable[[Verdict, Guest | None], None] | None = None      # gets the wanted ones, and the guest then
    guest: Guest | None = None                  # of the last boot
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def rng(self, label: str) -> random.Random:
        """A generator for one purpose, from the seed."""
        return moments.rng(self.seed, f"{self.lab.name}:{label}")

    def twist(self, name: str) -> int | None:
        """The number that belongs to a twist, if this is graded under it; else None."""
        return self.given.value if self.given and self.given.name == name else None

    def wants(self, *names: str) -> bool:
        """Whether any of these gates and checks is wanted: a boot may leave out what decides nothing that is."""
        return not self.wanted or not self.wanted.isdisjoint(names)

    def boot(self, program: str, arguments: str, smp: int = 2, append: str = "", start: str = "qemu",
             cpu: str | None = None) -> _Boot:
        """A context: the submission's kernel with /bin/PROGRAM as init's command, standing before its first
        instruction, counting instructions so that it repeats. `start` names the machine's source of randomness:
        another name, other numbers. `cpu`: another processor than the usual one, in QEMU's words."""
        self.boots.append(_Boot(self, program, arguments, smp, append, start, cpu))
        return self.boots[-1]

    def drawn_name(self, program: str) -> str:
        """What a program of ours is called in the guest: as many letters as it has, from the seed."""
        r = self.rng(f"name of {program}")
        return "".join(r.choice(string.ascii_lowercase) for _ in program)

    def gate(self, name: str, passed: bool, seen: str) -> None:
        """Decides a gate."""
        self._decide(self.gates, name, passed, seen, self.lab.gates.get(name, ""), "")

    def ordinary_gates(self, guest: Guest, wrong: str = "") -> None:
        """Decides boots, shell and programs by what run_ordinary_programs() of user/lab/program.h has left; `wrong` is what
        else programs cannot do, in words."""
        shell, fork, threads = (guest.result(i) for i in range(OWN))
        self.gate("boots", True, "the program runs")
        self.gate("shell", shell == 0, f"the script ended with {shell}")
        self.gate("programs", fork == threads == 0 and not wrong,
                  "; ".join([f"test-fork_cow ended with {fork}, test-threads with {threads}", *filter(None, [wrong])]))

    def check(self, name: str, passed: bool, seen: str, expected: str, look: str,
              picture: dict[str, Any] | None = None) -> None:
        """Decides a check: what was seen, what was expected, where to look, and the addresses drawn."""
        self._decide(self.checks, name, passed, seen, expected, look, picture)

    def _decide(self, table: dict[str, Verdict], name: str, passed: bool, seen: str, expected: str,
                look: str, picture: dict[str, Any] | None = None) -> None:
        with self._lock:
            verdict = table.get(name)
            if verdict is None:
                raise GraderError(f"{name}: lab.toml has no such check")
            if verdict.decided:
                raise GraderError(f"{name}: decided twice")
            verdict.passed, verdict.seen, verdict.expected, verdict.look = passed, seen, expected, look
            verdict.decided, verdict.picture = True, picture
            self.deciders[name] = self.scenario
        if self.on_decision and name in self.wanted:
            self.on_decision(verdict, self.guest)
        if self.enough():
            raise Enough

    def forget(self) -> None:
        """Takes back what this scenario has decided: it is about to be run again."""
        for table in (self.gates, self.checks):
            for name in [n for n in table if self.deciders.get(n) == self.scenario]:
                v = table[name]
                v.passed, v.seen, v.expected, v.look, v.decided, v.picture = False, NOT_REACHED, "", "", False, None
                del self.deciders[name]

    def enough(self) -> bool:
        """Whether nothing more is wanted."""
        decided = {n: v.passed for table in (self.gates, self.checks) for n, v in table.items() if v.decided}
        return bool(self.wanted) and self.wanted <= set(decided) or self.red_ends and not all(decided.values())


class _Boot:
    def __init__(self, run: Run, program: str, arguments: str, smp: int, append: str, start: str, cpu: str | None) -> None:
        self._run, self._smp, self._start, self._cpu = run, smp, start, cpu
        path = run.built.programs.get(program)
        if path is None:
            raise GraderError(f"no program {program}")
        self._path, self._name = path, run.drawn_name(program)
        # Where a system call's stack begins is drawn anew each time, and a report must repeat.
        self._line = (f"console={ARCHES[run.workshop.arch].console} quiet panic=0 harden=-kstack-offset {append} "
                      f"-- /bin/{self._name} {arguments}")
        self._initrd = run.workshop.initrd_with(run.built, program, self._name)

    def machine(self, exclog: bool = False) -> Machine:
        """The guest, not started yet."""
        run = self._run
        sandbox = run.workshop.sandbox
        return Machine(run.built.kernel, self._initrd, self._line, arch=run.workshop.arch, smp=self._smp, mem=128,
                       cpu=self._cpu, paused=True, icount=True, seed=moments.qemu_seed(run.seed, self._start), keep=True, exclog=exclog,
                       wrapper=sandbox.machine_wrapper(run.workshop.scratch) if run.contained else [],
                       owner=sandbox.machine_uid if run.contained else None, translated=TRANSLATED)

    def __enter__(self) -> Guest:
        self._machine = self.machine()
        self._program = Image(self._path)
        self._run.guest = Guest(self._machine.__enter__(), self._run, self._program, self._name)
        return self._run.guest

    def __exit__(self, *error: Any) -> None:
        try:
            killed = self._machine.killed
        finally:
            self._machine.__exit__(*error)
            self._program.close()
        if killed:
            raise HostError(KILLED)


def load_checks(lab: Lab) -> ModuleType:
    """The lab's checks.py."""
    where = lab.folder / "checks.py"
    spec = importlib.util.spec_from_file_location(f"lab_checks_{lab.name.replace('-', '_')}", where)
    if spec is None or spec.loader is None or not where.is_file():
        raise GraderError(f"{where}: no such file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run_scenarios(run: Run, scenarios: list[Callable[[Run], None]],
                  tell: Callable[[str], None] = lambda text: None) -> dict[str, Any] | None:
    """Runs a lab's boots, as many at once as memory allows, or one by one if the first red ends it; the guest's faults
    become verdicts, ours are raised. What is known of the first guest that was lost, if one was. `tell` hears how far
    it is, from any thread."""
    errors: list[BaseException] = []
    lost: dict[str, str] = {}
    last: dict[str, _Boot] = {}

    def one(scenario: Callable[[Run], None]) -> None:
        try:
            # An Image reads its file as it goes: each thread has one of its own.
            with contextlib.closing(open_image(run.lab, run.built)) as image:
                own = replace(run, image=image, boots=[], scenario=scenario.__name__)
                try:
                    scenario(own)
                except Hung:
                    # Once in some thousand boots a guest hangs that does not hang again: what a submission does, it repeats.
                    if run.wanted or run.red_ends:
                        raise
                    tell(f"boot {scenario.__name__} again: it hung")
                    own.forget()
                    scenario(own)
                finally:
                    if own.boots:
                        last[scenario.__name__] = own.boots[-1]
        except Enough:
            pass
        except (Ended, *GUEST_FAULTS) as error:
            lost[scenario.__name__] = str(error).splitlines()[0]
        except BaseException as error:      # noqa: B902 - carried to the caller, below
            errors.append(error)
        tell(f"boot {scenario.__name__}: {lost.get(scenario.__name__, 'done')}")

    tell(f"boots to make: {len(scenarios)}; one that hangs takes two minutes to be sure of")
    if run.red_ends:        # one after the other: where the first hangs, the others would, too
        for scenario in scenarios:
            if not (lost or errors or run.enough()):
                one(scenario)
    else:
        with ThreadPoolExecutor(max_workers=limits.guests(len(scenarios))) as pool:
            list(pool.map(one, scenarios))
    if errors:
        raise errors[0]
    first = next((s.__name__ for s in scenarios if s.__name__ in lost), None)
    if first is None:
        return None
    for table in (run.gates, run.checks):
        for verdict in table.values():
            if not verdict.decided:
                verdict.seen = f"not reached: {lost[first]}"
    # Who proves a lab, and wants only some of it, does not ask.
    if first not in last or run.wanted or run.red_ends:
        return None
    tell(f"boot {first} again, to see where it ends")
    return _autopsy(run, last[first])


def _autopsy(run: Run, boot: _Boot) -> dict[str, Any]:
    try:
        with boot.machine(exclog=True) as machine, contextlib.closing(open_image(run.lab, run.built)) as image:
            try:
                return autopsy.examine(machine, image, lambda: wait(machine))
            finally:
                if machine.killed:
                    raise HostError(KILLED)
    except (Ended, *GUEST_FAULTS) as error:
        return {"what": str(error).splitlines()[0], "exception": "", "calls": [], "console": []}


@dataclass(frozen=True)
class Only:
    """What of a grading is wanted by who proves a lab; by default all of it."""

    wanted: frozenset[str] = frozenset()
    red_ends: bool = False
    boots: frozenset[str] = frozenset()         # names of scenarios


@dataclass
class Grade:
    """The outcome of grading one submission."""

    lab: Lab
    seed: int
    isolation: str
    toolchain: str
    gates: list[Verdict]
    checks: list[Verdict]
    submission: str = ""    # a digest of what was graded
    lost: dict[str, Any] | None = None      # of a guest that did not come to its end: autopsy.examine()
    problem: str = ""       # why it could not be built: "does not compile", ...
    problem_text: str = ""
    deciders: dict[str, str] = field(default_factory=dict)
    twist: Twist | None = None

    @property
    def gated(self) -> bool:
        """Whether a benign gate failed, so that no check counts."""
        return bool(self.problem) or not all(g.passed for g in self.gates)

    @property
    def score(self) -> int:
        """Points: the sum of the passed checks, or 0 behind a closed gate."""
        return 0 if self.gated else sum(c.points for c in self.checks if c.passed)


def grade(workshop: Workshop, submission: dict[str, bytes] | Exception, seed: int, label: str = "submission",
          only: Only = Only(), twist: Twist | None = None, tell: Callable[[str], None] = lambda text: None) -> Grade:
    """Builds, boots, judges, and tells how far it is. QemuError, WorkshopError, GraderError and OSError are no
    verdicts."""
    lab = workshop.lab
    gates = {n: Verdict(n, t, 0) for n, t in lab.gates.items()}
    checks = {c.name: Verdict(c.name, c.title, c.points) for c in lab.checks}
    result = Grade(lab, seed, workshop.sandbox.level, workshop.toolchain, list(gates.values()),
                   list(checks.values()), twist=twist)
    try:
        if isinstance(submission, Exception):
            raise submission
        result.submission = digest(submission)
        tell("building")
        built = workshop.build(submission, label)
        image = _open(lab, built)
    except SubmissionError as error:
        result.problem, result.problem_text = error.what, str(error)
        for verdict in [*result.gates, *result.checks]:
            verdict.seen = f"not reached: {error.what}"
        return result
    try:
        run = Run(lab, workshop, built, image, seed, gates, checks, given=twist, wanted=only.wanted,
                  red_ends=only.red_ends, deciders=result.deciders)
        scenarios = [s for s in load_checks(lab).scenarios() if not only.boots or s.__name__ in only.boots]
        result.lost = run_scenarios(run, scenarios, tell)
    finally:
        image.close()
        workshop.discard(built)
    return result


def digest(submission: dict[str, bytes]) -> str:
    """One number for the files that were graded."""
    total = hashlib.sha256()
    for name, data in sorted(submission.items()):
        total.update(name.encode() + b"\0" + hashlib.sha256(data).digest())
    return total.hexdigest()


def open_image(lab: Lab, built: Built) -> Image:
    """A submission's image. What its own files say of structures that others define too is not asked, and no symbol is
    believed that they define once more."""
    sources = {n for n in tree.files(built.folder) if n.startswith(("arch/", "kernel/")) and n.endswith(".c")}
    return Image(built.symbols, slide=None, believed=sources - set(lab.everywhere))


def _open(lab: Lab, built: Built) -> Image:
    try:
        return open_image(lab, built)
    except (OSError, MemoryError):      # the host's: what the linker wrote can be read
        raise
    except Exception as error:      # noqa: B902 - a linked file that its own author made odd
        raise SubmissionError(f"the image's symbols cannot be read: {error}", "does not compile") from error


__all__ = ["At", "Ended", "Grade", "GraderError", "Guest", "HostError", "QemuError", "Run", "Verdict", "grade"]
