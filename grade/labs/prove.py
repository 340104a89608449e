"""make check-labs: proves a lab. The starter builds, boots and scores 0, and its attack wins; the solution and a
second one of another structure score full, and the solution does where the course's other labs are not done; each
mutant loses the checks that it names; each cut name matters.

Variants are built on the solution's objects. A mutant runs only the boots that decide what it loses, which the
solution's grading has shown, and of them what is wanted (Run.wants); each boot ends when that is decided.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from grade.attacks import attacks, harden_off
from grade.deadline import DeadlineError
from grade.gdbstub import GdbClosed
from grade.image import Image
from grade.labs import memory, tree
from grade.labs.classkey import Twist, twist_named
from grade.labs.course import Course, widened
from grade.labs.cut import HEAD, CutError, Item, by_path, cut, read_stubs, restore
from grade.labs.grading import Grade, Only, grade
from grade.labs.publish import additions, course_tree
from grade.labs.sandbox import TRANSLATED, choose
from grade.labs.spec import READING_MAX, Lab, SpecError, lab_named, reading_lines
from grade.labs.workshop import Built, SubmissionError, Workshop, WorkshopError
from grade.qemu import ARCHES, Machine
from grade.spaces import Kernel

CPUS = max(2, os.cpu_count() or 1)
MUTANTS_AT_LEAST = 5
SHM, PLENTY = "/dev/shm", 4 << 30       # bytes; a lab's variants of one moment take some hundred millions
ATTACK_SECONDS = 60
DECLARATIONS = ("struct", "union", "enum", "var")
Files = dict[str, bytes]


@dataclass
class Proof:
    """One line of the table."""

    name: str
    wanted: str
    good: bool
    found: str
    detail: list[str] = field(default_factory=list)


def apply_patch(base: Files, patch: Path, scratch: Path) -> Files:
    """The files with a patch on them. SpecError if it does not apply."""
    work = scratch / f"patch-{patch.stem}"
    for name, data in base.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_bytes(data)
    env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "GIT_CEILING_DIRECTORIES": str(scratch), "HOME": "/"}
    done = subprocess.run(["git", "apply", str(patch)], cwd=work, env=env, capture_output=True, text=True, timeout=60,
                          check=False)
    if done.returncode:
        raise SpecError(f"{patch.name} does not apply: {done.stderr.strip()}")
    out = {name: (work / name).read_bytes() for name in base}
    shutil.rmtree(work)
    if out == base:
        raise SpecError(f"{patch.name} changes no editable file")
    return out


def broken_kernels(lab: Lab) -> dict[str, Path]:
    """The lab's kernels to diagnose, by the letters that students know them by: the mutants
    called diagnose*."""
    found = [p for p in tree.patches(lab.folder / "mutants", lab.arch) if p.stem.startswith("diagnose")]
    return dict(zip("abcdefgh", sorted(found, key=lambda p: p.stem)))


def give_diagnosis(root: Path, workshop: Workshop, dest: Path) -> None:
    """Builds the kernels to diagnose into a starter: each with its symbols, and no source."""
    lab = workshop.lab
    for letter, patch in broken_kernels(lab).items():
        files = {name: (root / name).read_bytes() for name in lab.editable if (root / name).is_file()}
        built = workshop.build(apply_patch(files, patch, workshop.scratch), f"diagnose-{letter}")
        out = dest / "labs" / lab.folder.name / "diagnose" / lab.arch / letter
        out.mkdir(parents=True)
        shutil.copyfile(built.kernel, out / "rampart")
        shutil.copyfile(built.symbols, out / "rampart.sym")
        workshop.discard(built)


def named_checks(patch: Path, lab: Lab) -> list[str]:
    """The checks that a mutant says it loses."""
    known = {c.name for c in lab.checks} | set(lab.gates)
    for line in patch.read_text().splitlines():
        if line.startswith("Loses: "):
            names = line.split()[1:]
            if names and set(names) <= known:
                return names
            raise SpecError(f"{patch.name}: no such check among {' '.join(names)}")
    raise SpecError(f"{patch.name}: has no line `Loses: CHECK ...`")


@dataclass(frozen=True)
class Variant:
    """A submission to grade, and what must come of it."""

    name: str
    files: Files
    judge: Callable[[Grade], Proof]
    wanted: tuple[str, ...] = ()        # all that its judge looks at, if not everything
    red_ends: bool = False              # its judge looks for anything red
    twist: Twist | None = None


def variants(root: Path, lab: Lab, scratch: Path) -> list[Variant]:
    """Every submission to grade, the solution first."""
    items = [i for i in tree.items_of(lab) if i.path in lab.editable]
    stubs = read_stubs(lab.folder)
    solution = {name: (root / name).read_bytes() for name in lab.editable if (root / name).is_file()}

    def with_stubs(chosen: list[Item]) -> Files:
        return solution | {path: text.encode() for path, text in cut(root, chosen, stubs).items()}

    out = [Variant("solution", solution, _full("solution", lab)),
           Variant("starter", with_stubs(items), _starter("starter")),
           Variant("other solution", other_solution(root, lab, scratch), _full("other solution", lab))]
    mutants = tree.patches(lab.folder / "mutants", lab.arch)
    if len(mutants) < MUTANTS_AT_LEAST:
        raise SpecError(f"{lab.folder.name}: {len(mutants)} mutants; at least {MUTANTS_AT_LEAST} are wanted")
    for path in mutants:
        name, loses = f"mutant {path.stem}", named_checks(path, lab)
        out.append(Variant(name, apply_patch(solution, path, scratch), _loses(name, loses), tuple(loses)))
    for spec in lab.twists:
        name = f"twist {spec.name}"
        patches = [p for p in tree.patches(lab.folder / "twists", lab.arch) if p.stem == spec.name]
        if not patches:
            raise SpecError(f"{lab.folder.name}: twist {spec.name} has no solution on {lab.arch}: twists/{spec.name}.patch")
        least, most = (twist_named(lab, spec.name, v) for v in (min(spec.values), max(spec.values)))
        twisted = solution
        for path in patches:
            twisted = apply_patch(twisted, path, scratch)
        out += [Variant(f"{name}: reference", solution, _loses(f"{name}: reference", [spec.fails]), (spec.fails,),
                        twist=least),
                Variant(f"{name}: its solution", twisted, _full(f"{name}: its solution", lab), twist=most)]
    for item in items if len(items) > 1 else []:
        if item.name == HEAD or item.name.partition("=")[0] in DECLARATIONS:
            continue        # nothing that runs
        name = f"stub {Path(item.path).name}:{item.name}"
        if item.name in lab.idle:
            out.append(Variant(f"{name}, idle here", with_stubs([item]), _full(name, lab)))
        else:
            out.append(Variant(name, with_stubs([item]), _red(name), tuple(c.name for c in lab.checks), red_ends=True))
    return out


def other_solution(root: Path, lab: Lab, scratch: Path) -> Files:
    """The lab's second solution, of another structure."""
    alt = lab.folder / "alt"
    out = {name: (root / name).read_bytes() for name in lab.editable if (root / name).is_file()}
    for path in sorted(p for p in alt.rglob("*") if p.is_file() and p.suffix != ".patch"):
        out[str(path.relative_to(alt))] = path.read_bytes()
    for path in tree.patches(alt, lab.arch):
        out = apply_patch(out, path, scratch)
    return out


def _full(name: str, lab: Lab) -> Callable[[Grade], Proof]:
    return lambda g: Proof(name, f"{lab.points} points", g.score == lab.points and not g.gated, f"{g.score} points",
                           _failures(g))


def _starter(name: str) -> Callable[[Grade], Proof]:
    return lambda g: Proof(name, "0 points, gates open", g.score == 0 and not g.gated,
                           f"{g.score} points" + (", GATED" if g.gated else ""), _failures(g, gates_only=True)
                           + [f"{c.name} passes: {c.seen}" for c in g.checks if c.passed])


def _loses(name: str, checks: list[str]) -> Callable[[Grade], Proof]:
    def judge(g: Grade) -> Proof:
        failed = {v.name for v in [*g.gates, *g.checks] if not v.passed}
        kept = [c for c in checks if c not in failed]
        return Proof(name, "loses " + ", ".join(checks), not kept and not g.problem,
                     f"keeps {', '.join(kept)}" if kept else "lost" if not g.problem else g.problem,
                     [g.problem_text] if g.problem else [])
    return judge


def _red(name: str) -> Callable[[Grade], Proof]:
    def judge(g: Grade) -> Proof:
        failed = [v.name for v in [*g.gates, *g.checks] if not v.passed]
        first = next((v.name for v in [*g.gates, *g.checks] if v.decided and not v.passed), failed[0] if failed else "nothing")
        return Proof(name, "some check red", bool(failed) and not g.problem, g.problem or f"{first} is red",
                     [g.problem_text] if g.problem else [])
    return judge


def _failures(g: Grade, gates_only: bool = False) -> list[str]:
    out = [g.problem_text] if g.problem else []
    return out + [f"{v.name}: {v.seen}" for v in [*g.gates, *([] if gates_only else g.checks)] if not v.passed]


def attack(workshop: Workshop, files: Files, label: str) -> bool:
    """Runs the lab's attack against a submission: whether it came to its end alive (attack_over is reached in its
    process), seen by a breakpoint. False: its process died, and the machine then powered off."""
    built: Built = workshop.build(files, label)
    program = Image(workshop.base / "build" / workshop.arch / "user" / "attack")
    symbols = Image(built.symbols, slide=None)
    # Other labs' rows that would stop it, too, are off: this lab's own is judged. One that no row stops needs none.
    known = attacks(workshop.root / "user" / "attack", workshop.arch).get(workshop.lab.attack)
    off = harden_off([row for row in known.needs_off if row != workshop.lab.name] if known else [])
    line = f"console={ARCHES[workshop.arch].console} {off} panic=0 -- /bin/attack {workshop.lab.attack}"
    try:
        with Machine(built.kernel, built.initrd, line, arch=workshop.arch, smp=2, mem=128, paused=True, keep=True,
                     wrapper=workshop.sandbox.machine_wrapper(workshop.scratch),
                     owner=workshop.sandbox.machine_uid, translated=TRANSLATED) as m:
            over = program.sym("attack_over")
            m.gdb.set_break(over)
            while True:
                m.cont()
                stop = m.wait_stop(ATTACK_SECONDS)
                if not stop.breakpoint:
                    if m.shutdown_reason() != "guest-shutdown":
                        raise DeadlineError("the machine did not survive the attack")
                    return False
                kernel = Kernel(m, symbols)
                thread = kernel.current(stop.cpu)
                if kernel.text(thread + symbols.offsetof("struct thread", "name"), 16) == "attack":
                    return True         # another program may have code at this address
    finally:
        program.close()
        symbols.close()
        workshop.discard(built)


def still(root: Path, lab: Lab, workshop: Workshop) -> list[Proof]:
    """What needs no boot: cutting and restoring, no leak, the reading list."""
    out = []
    items = tree.items_of(lab)
    starter = cut(root, items, read_stubs(lab.folder))
    back = restore(starter, root, items)
    wrong = [path for path, text in back.items() if text.encode() != (root / path).read_bytes()]
    out.append(Proof("cut, then restore", "byte-identical", not wrong, ", ".join(wrong) or "identical"))
    outside = sorted({item.path for item in items} - set(lab.everywhere))
    out.append(Proof("what is cut may be edited", "all of it", not outside, ", ".join(outside) or "all of it"))
    dest = workshop.scratch / "starter-check"
    tree.make_starter(root, lab, dest)
    give_diagnosis(root, workshop, dest)
    found = tree.leaks(root, lab, dest)
    out.append(Proof("text of the starter", "no line of a solution", not found, f"{len(found)} lines", found[:5]))
    lines = reading_lines(lab, dest)
    total = sum(n for _, n in lines)
    out.append(Proof("reading list", f"at most {READING_MAX} lines", total <= READING_MAX, f"{total} lines"))
    shutil.rmtree(dest)
    return out


class Prover:
    """Proves one lab on one architecture, and prints a line for each proof; so many variants at once as `workers`."""

    def __init__(self, root: Path, lab: Lab, seed: int, only: str = "", workers: int = CPUS) -> None:
        self.root, self.lab, self.seed, self.only, self.workers = root, lab, seed, only, workers
        self.proofs: list[Proof] = []
        self.seconds = 0.0

    @property
    def holds(self) -> bool:
        """Whether everything that was tried does."""
        return all(p.good for p in self.proofs)

    def run(self, course: Course | None = None, place: Path | None = None) -> Prover:
        """Proves the lab on the complete tree, and in the course: on a base in which every lab is cut (`place`, if it is
        there)."""
        print(f"{self.lab.folder.name} on {self.lab.arch}: {self.lab.title}", flush=True)
        begun, sandbox = time.monotonic(), choose(trust=True)
        try:
            with Workshop(self.root, self.lab, sandbox) as workshop:
                self._complete(workshop)
            if course and len(course.entries) > 1 and course.entry(self.lab):
                place = place or course_tree(self.root, course)
                with Workshop(place, widened(self.lab, course), sandbox, answers=False) as workshop:
                    self._alone(workshop, place)
        except (SpecError, CutError, SubmissionError, tree.TreeError, WorkshopError) as error:
            self._done(Proof("lab", "can be read and built", False, "", [str(error)]))
        self.seconds = time.monotonic() - begun
        bad = [p.name for p in self.proofs if not p.good]
        print(f"{self.lab.folder.name} on {self.lab.arch}: {len(self.proofs) - len(bad)} of {len(self.proofs)} hold"
              + (f"; not: {', '.join(bad)}" if bad else ""), flush=True)
        return self

    def _complete(self, workshop: Workshop) -> None:
        solution, *rest = variants(self.root, self.lab, workshop.scratch)
        workshop.build_on(solution.files)
        if not self.only:
            for proof in still(self.root, self.lab, workshop):
                self._done(proof)
        deciders: dict[str, str] = {}
        if self.only in solution.name or any(v.wanted and self.only in v.name for v in rest):
            graded = grade(workshop, solution.files, self.seed, "solution")
            deciders = graded.deciders
            self._done(solution.judge(graded))
        jobs = [functools.partial(self._grade, workshop, v, f"variant-{i}", deciders) for i, v in enumerate(rest)
                if self.only in v.name]
        jobs += [functools.partial(self._attack, workshop, v.name, v.files, v is rest[0]) for v in (rest[0], solution)
                 if self.only in v.name and self.lab.attack]
        self._all(jobs)

    def _alone(self, workshop: Workshop, place: Path) -> None:
        """The lab where no other of the course is done, but for what it requires."""
        starter = {name: (place / name).read_bytes() for name in workshop.lab.editable if (place / name).is_file()}
        for name in self.lab.requires:
            starter |= self._done_in(starter, lab_named(self.root, name, self.lab.arch))
        solved = starter | self._done_in(starter, self.lab)
        jobs = []
        for name, files, judge in (("starter, no other lab done", starter, _starter), (
                "solution, no other lab done", solved, lambda name: _full(name, self.lab))):
            if self.only in name:
                jobs.append(functools.partial(self._grade, workshop, Variant(name, files, judge(name)), name, {}))
                if self.lab.attack:
                    jobs.append(functools.partial(self._attack, workshop, name, files, files is starter))
        self._all(jobs)

    def _done_in(self, files: Files, lab: Lab) -> Files:
        """Those of the files that a lab cuts something out of, with the reference's code in its place."""
        items = [item for item in tree.items_of(lab) if item.path in files]
        stubbed = {path: files[path].decode() for path in by_path(items)}
        return {path: text.encode() for path, text in restore(stubbed, self.root, items).items()}

    def _grade(self, workshop: Workshop, v: Variant, label: str, deciders: dict[str, str]) -> Proof:
        only = Only()
        if v.wanted:
            boots = {deciders[c] for c in v.wanted} if all(c in deciders for c in v.wanted) else set()
            only = Only(frozenset(v.wanted), v.red_ends, frozenset(boots))
        proof = v.judge(grade(workshop, v.files, self.seed, label, only, v.twist))
        if not proof.good and v.wanted:     # perhaps another boot decides it where something is broken
            proof = v.judge(grade(workshop, v.files, self.seed, label, twist=v.twist))
        return proof

    def _attack(self, workshop: Workshop, name: str, files: Files, wins: bool) -> Proof:
        try:
            won = attack(workshop, files, f"attack-{name}")
        except (DeadlineError, GdbClosed) as error:
            return Proof(f"attack on {name}", "ends", False, str(error).splitlines()[0])
        return Proof(f"attack on {name}", "wins" if wins else "loses", won == wins, "wins" if won else "loses")

    def _all(self, jobs: list[Callable[[], Proof]]) -> None:
        with ThreadPoolExecutor(max_workers=self.workers) as pool:
            for proof in pool.map(lambda job: job(), jobs):
                self._done(proof)

    def _done(self, proof: Proof) -> None:
        self.proofs.append(proof)
        print(f"  {'ok  ' if proof.good else 'FAIL'} {proof.name:<42} {proof.wanted:<44} {proof.found}", flush=True)
        for line in proof.detail if not proof.good else []:
            print(f"       {line}", flush=True)


def prove(root: Path, labs: list[Lab], seed: int, only: str, course: Course | None) -> list[Prover]:
    """Proves labs, as many at once as there are processors, and sorts them: of each the lines come when it is done."""
    _work_in_memory()
    if len(labs) == 1:
        return [Prover(root, labs[0], seed, only).run(course)]
    place = course_tree(root, course) if course else None
    with ProcessPoolExecutor(max_workers=CPUS) as pool:
        jobs = [pool.submit(_quietly, Prover(root, lab, seed, only, workers=1), course, place)
                for lab in sorted(labs, key=lambda lab: lab.folder.name)]
        for done in as_completed(jobs):
            print(done.result()[1], end="", flush=True)
    return [job.result()[0] for job in jobs]


def _work_in_memory() -> None:
    """Lets scratch directories be in memory, where there is plenty and nobody has said where they are to be: each variant
    copies, builds and removes seven hundred files."""
    if not os.environ.get("TMPDIR") and os.access(SHM, os.W_OK) and min(
            shutil.disk_usage(SHM).free, memory.available()) > PLENTY:
        tempfile.tempdir = SHM


def _quietly(prover: Prover, course: Course | None, place: Path | None) -> tuple[Prover, str]:
    """What a prover is in the end, and what it would have printed."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        prover.run(course, place)
    return prover, said.getvalue()


def table(provers: list[Prover]) -> str:
    """One line for each lab and architecture."""
    def share(p: Prover, *begins: str) -> str:
        of = [x.good for x in p.proofs if x.name.startswith(begins)]
        return f"{sum(of)}/{len(of)}" if of else "-"

    columns = {"text": ("cut", "what", "text of", "reading", "lab"), "starter": ("starter",),
               "solutions": ("solution", "other"), "mutants": ("mutant",), "stubs": ("stub",),
               "twists": ("twist",), "attack": ("attack",)}
    rows = [["lab", "on", *columns, "min", ""]]
    for p in provers:
        rows.append([p.lab.folder.name, p.lab.arch, *(share(p, *begins) for begins in columns.values()),
                     f"{p.seconds / 60:.1f}", "holds" if p.holds else "FAILS"])
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(r, widths)).rstrip() for r in rows) + "\n"


def touched(root: Path, lab: Lab, names: list[str]) -> bool:
    """Whether a change to these files may change what is proven of a lab: its own files, what its students read or
    edit, its attack, or the machinery."""
    reads = {entry.partition(":")[0].strip() for entry in lab.reading}
    mine = {*lab.everywhere, *lab.new_files, *reads, *additions(root, lab)}
    return any(n in mine or n.startswith((f"labs/{lab.folder.name}/", "grade/labs/")) or n == "grade/lab.py"
               for n in names)
