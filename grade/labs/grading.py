"""Grading one submission: boots its kernel, runs the lab's gates and checks, and collects what they saw.

A check's text tells what was seen, never when: the same submission, seed and toolchain give the same report.
Whatever the guest does is a verdict; QemuError, OSError and errors of our own are not, and go to the caller.
"""

from __future__ import annotations

import contextlib
import importlib.util
import random
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from grade import moments
from grade.cpus import CPUS
from grade.deadline import DeadlineError
from grade.exclog import TripleFault
from grade.gdbstub import GdbClosed, GdbError
from grade.image import Image, ImageError
from grade.labs.classkey import Twist
from grade.labs.spec import Lab
from grade.labs.workshop import Built, SubmissionError, Workshop
from grade.qemu import ARCHES, Machine, QemuError
from grade.qmp import QMPClosed
from grade.spaces import KernelStateError
from grade.walk import PhysError, WalkFlood

STEP_SECONDS = 30           # host seconds from one moment of looking to the next
# Seconds for a verdict about a console line: the guest has printed it, the host may not have read it yet.
CONSOLE_SECONDS = 0.5
GUEST_FAULTS = (DeadlineError, GdbClosed, GdbError, KernelStateError, ImageError, PhysError, WalkFlood, QMPClosed)


class Ended(RuntimeError):
    """The guest did something after which this boot shows nothing more; the text says what."""


class Enough(Exception):
    """All that was wanted of a grading is decided: this boot need not go on."""


class GraderError(RuntimeError):
    """The checks themselves are wrong; never a verdict."""


@dataclass
class Verdict:
    """One gate's or check's outcome."""

    name: str
    title: str
    points: int
    passed: bool = False
    seen: str = "not reached"
    expected: str = ""
    look: str = ""
    decided: bool = False


@dataclass
class At:
    """Where the guest stands: a checkpoint of the program, or (extra) the other address asked for."""

    cpu: int
    extra: bool = False


class Guest:
    """One boot of the submission with one of the lab's own programs in it."""

    def __init__(self, machine: Machine, run: Run, program: Image) -> None:
        self.machine, self._run, self._program = machine, run, program
        self._cpu = 0
        self._console_mark = 0

    def run_to(self, which: int, extra: int | None = None) -> At:
        """Runs to the program's checkpoint `which`, or to address `extra`. Ended if the guest panics, resets,
        hangs, or comes to another checkpoint first."""
        m = self.machine
        image = self.image
        here = self._program.sym("checkpoint")
        ends = {image.sym(n): n for n in ("panic", "die") if n in image}
        points = [here, *ends, *([extra] if extra else [])]
        self._console_mark = len(m.transcript)
        if self._run.enough():
            raise Enough
        try:
            for point in points:
                m.gdb.set_break(point)
            while True:
                m.cont()
                stop = m.wait_stop(STEP_SECONDS)
                if not stop.breakpoint:
                    raise Ended({"guest-reset": "the machine reset", "guest-shutdown": "the guest powered off"}.get(
                        m.shutdown_reason() or "", "the guest ended"))
                pc = m.gdb.pc(stop.cpu)
                if pc in ends:
                    raise Ended(self._last_words("the kernel panicked"))
                if pc == extra:
                    return At(stop.cpu, extra=True)
                if pc == here:
                    self._cpu = stop.cpu
                    reached = m.gdb.reg(stop.cpu, CPUS[m.arch.name].argument)
                    if reached != which:
                        raise Ended(f"the program came to checkpoint {reached} and not to {which}")
                    return At(stop.cpu)
        except DeadlineError:
            raise Ended(self._last_words("nothing happens any more: the guest hangs")) from None
        except GdbClosed:
            raise Ended("the guest ended") from None
        finally:
            if not m.gdb.running and not m.exited:
                for point in points:
                    m.gdb.clear_break(point)

    @property
    def image(self) -> Image:
        """The submission's image, placed where this guest runs it."""
        return self._run.image.at(self.machine)

    def result(self, index: int) -> int:
        """One of the program's results, as it stands at its checkpoint."""
        data = self.machine.gdb.read(self._program.sym("results") + 8 * index, 8, self._cpu)
        return int.from_bytes(data, "little", signed=True)

    def console_lines(self) -> list[str]:
        """What the console showed since the last run_to() but one began."""
        try:
            self.machine.wait_for(r"\Z\b", CONSOLE_SECONDS)     # lets the reader catch up
        except DeadlineError:
            pass
        return self.machine.transcript.splitlines()

    def _last_words(self, what: str) -> str:
        """What is known of a guest that is lost, in words that do not depend on the host's clock."""
        records = [r for r in self.machine.exclog.last(50) if not isinstance(r, TripleFault) and r.is_fault
                   and r.in_kernel]
        if records:
            what += f"; last exception: {records[-1].name} at {self.image.where(records[-1].ip)}"
        lines = [line for line in self.machine.tail(60) if line.startswith(("panic", "oops"))]
        return what + (f'; it says "{lines[0]}"' if lines else "")


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

    def boot(self, program: str, arguments: str, smp: int = 2, append: str = "") -> _Boot:
        """A context: the submission's kernel with /bin/PROGRAM as init's command, standing before its first
        instruction, counting instructions so that it repeats."""
        return _Boot(self, program, arguments, smp, append)

    def gate(self, name: str, passed: bool, seen: str) -> None:
        """Decides a gate."""
        self._decide(self.gates, name, passed, seen, self.lab.gates.get(name, ""), "")

    def check(self, name: str, passed: bool, seen: str, expected: str, look: str) -> None:
        """Decides a check: what was seen, what was expected, where to look."""
        self._decide(self.checks, name, passed, seen, expected, look)

    def _decide(self, table: dict[str, Verdict], name: str, passed: bool, seen: str, expected: str,
                look: str) -> None:
        with self._lock:
            verdict = table.get(name)
            if verdict is None:
                raise GraderError(f"{name}: lab.toml has no such check")
            if verdict.decided:
                raise GraderError(f"{name}: decided twice")
            verdict.passed, verdict.seen, verdict.expected, verdict.look = passed, seen, expected, look
            verdict.decided = True
            self.deciders[name] = self.scenario
        if self.on_decision and name in self.wanted:
            self.on_decision(verdict, self.guest)
        if self.enough():
            raise Enough

    def enough(self) -> bool:
        """Whether nothing more is wanted."""
        decided = {n: v.passed for table in (self.gates, self.checks) for n, v in table.items() if v.decided}
        return bool(self.wanted) and self.wanted <= set(decided) or self.red_ends and not all(decided.values())


class _Boot:
    def __init__(self, run: Run, program: str, arguments: str, smp: int, append: str) -> None:
        self._run = run
        path = run.built.programs.get(program)
        if path is None:
            raise GraderError(f"no program {program}")
        self._program = Image(path)
        arch = run.workshop.arch
        # Where a system call's stack begins is drawn anew each time, and a report must repeat.
        line = (f"console={ARCHES[arch].console} quiet panic=0 harden=-kstack-offset {append} "
                f"-- /bin/{program} {arguments}")
        self._machine = Machine(run.built.kernel, run.built.initrd, line, arch=arch, smp=smp, mem=128, paused=True,
                                icount=True, seed=moments.qemu_seed(run.seed), keep=True,
                                wrapper=run.workshop.sandbox.machine_wrapper(run.workshop.scratch)
                                if run.contained else [])

    def __enter__(self) -> Guest:
        self._run.guest = Guest(self._machine.__enter__(), self._run, self._program)
        return self._run.guest

    def __exit__(self, *error: Any) -> None:
        self._machine.__exit__(*error)
        self._program.close()


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


def run_scenarios(run: Run, scenarios: list[Callable[[Run], None]]) -> None:
    """Runs a lab's boots side by side; the guest's faults become verdicts, ours are raised."""
    errors: list[BaseException] = []
    lost: list[str] = []

    def one(scenario: Callable[[Run], None]) -> None:
        try:
            # An Image reads its file as it goes: each thread has one of its own.
            with contextlib.closing(Image(run.built.symbols, slide=None)) as image:
                scenario(replace(run, image=image, scenario=scenario.__name__))
        except Enough:
            pass
        except (Ended, *GUEST_FAULTS) as error:
            lost.append(f"{scenario.__name__}\0{str(error).splitlines()[0]}")
        except BaseException as error:      # noqa: B902 - carried to the caller, below
            errors.append(error)

    threads = [threading.Thread(target=one, args=(s,)) for s in scenarios]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    reasons = dict(sorted(entry.split("\0", 1) for entry in lost))
    if not reasons:
        return
    first = next((reasons[s.__name__] for s in scenarios if s.__name__ in reasons), "")
    for table in (run.gates, run.checks):
        for verdict in table.values():
            if not verdict.decided:
                verdict.seen = f"not reached: {first}"


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
          only: Only = Only(), twist: Twist | None = None) -> Grade:
    """Builds, boots, judges. QemuError, WorkshopError, GraderError and OSError are no verdicts."""
    lab = workshop.lab
    gates = {n: Verdict(n, t, 0) for n, t in lab.gates.items()}
    checks = {c.name: Verdict(c.name, c.title, c.points) for c in lab.checks}
    result = Grade(lab, seed, workshop.sandbox.level, workshop.toolchain(), list(gates.values()),
                   list(checks.values()), twist=twist)
    try:
        if isinstance(submission, Exception):
            raise submission
        built = workshop.build(submission, label)
        image = _open(built.symbols)
    except SubmissionError as error:
        result.problem, result.problem_text = error.what, str(error)
        for verdict in [*result.gates, *result.checks]:
            verdict.seen = f"not reached: {error.what}"
        return result
    try:
        run = Run(lab, workshop, built, image, seed, gates, checks, given=twist, wanted=only.wanted,
                  red_ends=only.red_ends, deciders=result.deciders)
        run_scenarios(run, [s for s in load_checks(lab).scenarios() if not only.boots or s.__name__ in only.boots])
    finally:
        image.close()
        workshop.discard(built)
    return result


def _open(path: Path) -> Image:
    try:
        return Image(path, slide=None)
    except Exception as error:      # noqa: B902 - a linked file that its own author made odd
        raise SubmissionError(f"the image's symbols cannot be read: {error}", "does not compile") from error


__all__ = ["At", "Ended", "Grade", "GraderError", "Guest", "QemuError", "Run", "Verdict", "grade"]
