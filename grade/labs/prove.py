"""make check-labs: proves a lab. The starter builds, boots and scores 0, and its attack wins; the solution and a
second one of another structure score full; each mutant loses the checks that it names; each cut name matters."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from grade.deadline import DeadlineError
from grade.gdbstub import GdbClosed
from grade.image import Image
from grade.labs import tree
from grade.labs.cut import CutError, cut, parse_cut, read_stubs, restore
from grade.labs.grading import Grade, grade
from grade.labs.sandbox import Sandbox
from grade.labs.spec import READING_MAX, Lab, SpecError, reading_lines
from grade.labs.workshop import Built, SubmissionError, Workshop
from grade.qemu import ARCHES, Machine
from grade.spaces import Kernel

MUTANTS_AT_LEAST = 5
ATTACK_SECONDS = 60
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


def give_diagnosis(root: Path, workshop: Workshop, dest: Path) -> None:
    """Builds the mutant called diagnose into a starter: the kernel and its symbols, no source."""
    lab = workshop.lab
    patch = lab.folder / "mutants" / lab.arch / "diagnose.patch"
    if not patch.is_file():
        return
    files = {name: (root / name).read_bytes() for name in lab.editable}
    built = workshop.build(apply_patch(files, patch, workshop.scratch), "diagnose")
    out = dest / "labs" / lab.folder.name / "diagnose" / lab.arch
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


def variants(root: Path, lab: Lab, scratch: Path) -> list[tuple[str, Files, Callable[[Grade], Proof]]]:
    """Every submission to grade, with its judge."""
    items = [i for i in parse_cut((lab.folder / "cut").read_text()) if i.path in lab.editable]
    stubs = read_stubs(lab.folder)
    solution = {name: (root / name).read_bytes() for name in lab.editable}

    def with_stubs(chosen: list) -> Files:
        return solution | {path: text.encode() for path, text in cut(root, chosen, stubs).items()}

    def full(name: str) -> Callable[[Grade], Proof]:
        return lambda g: Proof(name, f"{lab.points} points", g.score == lab.points and not g.gated,
                               f"{g.score} points", _failures(g))

    def starter(g: Grade) -> Proof:
        return Proof("starter", "0 points, gates open", g.score == 0 and not g.gated, f"{g.score} points"
                     + (", GATED" if g.gated else ""), _failures(g, gates_only=True)
                     + [f"{c.name} passes: {c.seen}" for c in g.checks if c.passed])

    def loses(name: str, checks: list[str]) -> Callable[[Grade], Proof]:
        def judge(g: Grade) -> Proof:
            failed = {v.name for v in [*g.gates, *g.checks] if not v.passed}
            kept = [c for c in checks if c not in failed]
            return Proof(name, "loses " + ", ".join(checks), not kept and not g.problem, f"{g.score} points",
                         ([f"keeps {', '.join(kept)}"] if kept else []) + ([g.problem_text] if g.problem else []))
        return judge

    def red(name: str) -> Callable[[Grade], Proof]:
        def judge(g: Grade) -> Proof:
            failed = [v.name for v in [*g.gates, *g.checks] if not v.passed]
            return Proof(name, "some check red", bool(failed) and not g.problem,
                         f"{g.score} points, {len(failed)} red", [g.problem_text] if g.problem else [])
        return judge

    out: list[tuple[str, Files, Callable[[Grade], Proof]]] = [("solution", solution, full("solution")),
                                                              ("starter", with_stubs(items), starter)]
    alt = lab.folder / "alt"
    other = dict(solution)
    for path in sorted(p for p in alt.rglob("*") if p.is_file() and p.suffix != ".patch"):
        other[str(path.relative_to(alt))] = path.read_bytes()
    for path in tree.patches(alt, lab.arch):
        other = apply_patch(other, path, scratch)
    out.append(("other solution", other, full("other solution")))
    mutants = tree.patches(lab.folder / "mutants", lab.arch)
    if len(mutants) < MUTANTS_AT_LEAST:
        raise SpecError(f"{lab.folder.name}: {len(mutants)} mutants; at least {MUTANTS_AT_LEAST} are wanted")
    for path in mutants:
        name = f"mutant {path.stem}"
        out.append((name, apply_patch(solution, path, scratch), loses(name, named_checks(path, lab))))
    if len(items) > 1:
        for item in items:
            name = f"stub {Path(item.path).name}:{item.name}"
            out.append((name, with_stubs([item]), red(name)))
    return out


def _failures(g: Grade, gates_only: bool = False) -> list[str]:
    out = [g.problem_text] if g.problem else []
    return out + [f"{v.name}: {v.seen}" for v in [*g.gates, *([] if gates_only else g.checks)] if not v.passed]


def attack(workshop: Workshop, files: Files, label: str) -> bool:
    """Runs the lab's attack against a submission: whether it came to its end alive (attack_over is reached in its
    process), seen by a breakpoint. False: its process died, and the machine then powered off."""
    built: Built = workshop.build(files, label)
    program = Image(workshop.base / "build" / workshop.arch / "user" / "attack")
    symbols = Image(built.symbols, slide=None)
    line = f"console={ARCHES[workshop.arch].console} quiet panic=0 -- /bin/attack {workshop.lab.attack}"
    try:
        with Machine(built.kernel, built.initrd, line, arch=workshop.arch, smp=2, mem=128, paused=True, keep=True,
                     wrapper=workshop.sandbox.machine_wrapper(workshop.scratch)) as m:
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
    items = parse_cut((lab.folder / "cut").read_text())
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
    out.append(Proof("starter's text", "no line of a solution", not found, f"{len(found)} lines", found[:5]))
    lines = reading_lines(lab, dest)
    total = sum(n for _, n in lines)
    out.append(Proof("reading list", f"at most {READING_MAX} lines", total <= READING_MAX, f"{total} lines"))
    shutil.rmtree(dest)
    return out


def prove(root: Path, lab: Lab, sandbox: Sandbox, seed: int, only: str = "") -> bool:
    """Proves one lab, prints the table, and says whether everything holds."""
    print(f"{lab.folder.name}: {lab.title}", flush=True)
    proofs: list[Proof] = []

    def done(proof: Proof) -> None:
        proofs.append(proof)
        print(f"  {'ok  ' if proof.good else 'FAIL'} {proof.name:<34} {proof.wanted:<44} {proof.found}", flush=True)
        if not proof.good:
            for line in proof.detail:
                print(f"       {line}", flush=True)

    with Workshop(root, lab, sandbox) as workshop:
        try:
            if not only:
                for proof in still(root, lab, workshop):
                    done(proof)
            todo = [v for v in variants(root, lab, workshop.scratch) if only in v[0]]
        except (SpecError, CutError, SubmissionError, tree.TreeError) as error:
            done(Proof("lab", "can be read", False, "", [str(error)]))
            return False

        def one(number: int) -> Proof:
            name, files, judge = todo[number]
            try:
                return judge(grade(workshop, files, seed, f"variant-{number}"))
            except SubmissionError as error:
                return Proof(name, "builds", False, error.what, [str(error)])

        with ThreadPoolExecutor(max_workers=max(1, min(2, os.cpu_count() or 1))) as pool:
            for proof in pool.map(one, range(len(todo))):
                done(proof)
        for name, files, _ in todo:
            if name not in ("starter", "solution"):
                continue
            try:
                won = attack(workshop, files, f"attack-{name}")
                done(Proof(f"attack on {name}", "wins" if name == "starter" else "loses", won == (name == "starter"),
                           "wins" if won else "loses"))
            except (DeadlineError, GdbClosed) as error:
                done(Proof(f"attack on {name}", "ends", False, str(error).splitlines()[0]))
    bad = [p.name for p in proofs if not p.good]
    print(f"{lab.folder.name}: {len(proofs) - len(bad)} of {len(proofs)} hold"
          + (f"; not: {', '.join(bad)}" if bad else ""), flush=True)
    return not bad
