"""Grading a class: every submission of a directory, some at a time, each by a grader of its own process, so that none
stops the rest. What is graded already, with the same files, seed and grader, is not graded again.

handin.py says what a submission is. OUT/NAME holds each report, and why it is believed (key.json); OUT/summary.csv and
summary.html the class. A grade that the grader or its host spoiled is no grade: it stands there as such, and the next
run tries again. A regrade keeps what was higher; changes.csv lists what it changed, also what it changed before it was
interrupted.

Whether submissions come from a course's branches (then each is graded with its author's work on the other labs) or from
a lab's starter is said once for the class, or seen in most of them; what one submission says of itself decides nothing.
"""

from __future__ import annotations

import argparse
import csv
import html
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grade.labs import tree
from grade.labs.course import FILE, published
from grade.labs.grading import digest
from grade.labs.handin import inner, is_archive, marked, strangers, submissions, unpack
from grade.labs.page import shell
from grade.labs.publish import grading_place
from grade.labs.sandbox import choose
from grade.labs.spec import Lab, SpecError, lab_named
from grade.labs.staff import roster, share_of
from grade.labs.workshop import FILE_MAX, SubmissionError, Workshop

ROOT = Path(__file__).resolve().parent.parent.parent
ONE_SECONDS = 3600          # a grader that takes longer hangs itself
COLUMNS = ["submission", "score", "max", "state", "was", "seed", "files", "report"]
NOT_GRADED = "not graded"


@dataclass
class Result:
    """One submission's line: graded, or not, and why."""

    name: str
    state: str                      # "graded", "not graded", or why its author has 0
    data: dict[str, Any] | None = None
    why: str = ""
    was: int | None = None          # its score before a regrade that changed it
    spoiled: bool = False           # by the grader or its host: the next run tries again

    @property
    def score(self) -> int | None:
        """The points; None is no grade."""
        return None if self.data is None else int(self.data["score"])


@dataclass(frozen=True)
class Class:
    """A class, and how it is graded."""

    lab: Lab                        # as its submissions bring it
    out: Path                       # the reports' directory
    seed: int
    state: str                      # a digest of the tree that grades: where it differs, old reports count no more
    course: bool = False            # whether submissions come from a course's branches
    roster: frozenset[str] | None = None    # whose twists count
    again: bool = False             # a regrade
    people: dict[str, list[Path]] = field(default_factory=dict)


# ---- one of them --------------------------------------------------------------------------------------------


def grader_state(lab: Lab) -> str:
    """A digest of the tree that grades."""
    return tree.digest(ROOT, [n for n in tree.files(ROOT) if n.startswith(("arch/", "kernel/", "user/", "grade/", "labs/"))
                              and n not in lab.everywhere] + ["Makefile"])[:16]


def _known(out: Path, key: dict[str, Any]) -> Result | None:
    """What the report says that is there already, if it is this one's."""
    try:
        data: dict[str, Any] = json.loads((out / "report.json").read_text())
        kept = json.loads((out / "key.json").read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(kept, dict) or {k: kept.get(k) for k in key} != key:
        return None
    return Result(out.name, data["problem"] or "graded", data, was=kept.get("was"))


def grade_one(group: Class, name: str) -> Result:
    """Grades one person's submission in a process of its own, unless its report is there already."""
    with tempfile.TemporaryDirectory(prefix="rampart-batch-") as scratch:
        try:
            folder, broken, key = _open(group, name, Path(scratch))
        except SpecError as error:
            return Result(name, NOT_GRADED, why=str(error), spoiled=True)
        out = group.out / name
        if (known := _known(out, key)) is not None:
            return known
        fresh = out.with_name(f".{name}.new")      # no submission's name begins so
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        command = [sys.executable, "-m", "grade.lab", "grade", group.lab.name, "--arch", group.lab.arch, "--seed",
                   str(group.seed), "--from", str(folder), "--out", str(fresh), "--course", "yes" if group.course else "no"]
        if group.roster is not None:
            command += ["--student", name]
        if broken:
            command += ["--problem", broken.what, "--problem-text", str(broken)]
        try:
            with open(fresh / "grader.log", "wb") as log:
                status = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False,
                                        timeout=ONE_SECONDS).returncode
        except subprocess.TimeoutExpired:
            return _spoiled(out, key, "the grader itself hung")
        if status != 0 or not (fresh / "report.json").is_file():
            lines = (fresh / "grader.log").read_text(errors="replace").splitlines()
            return _spoiled(out, key, lines[-1] if lines else f"the grader ended with {status}")
        was = _keep_higher(out, fresh, key, group.again)
        kept = json.loads((out / "report.json").read_text())
        return Result(name, kept["problem"] or "graded", kept, was=was)


def _open(group: Class, name: str, scratch: Path) -> tuple[Path, SubmissionError | None, dict[str, Any]]:
    """A person's submission as a directory, what is wrong with it if it cannot be that, and the key of its report.
    SpecError if it is nobody's fault, or not to be decided here."""
    paths = group.people[name]
    if len(paths) > 1:
        raise SpecError(f"handed in twice: {', '.join(p.name for p in paths)}")
    if group.roster is not None and name not in group.roster:
        raise SpecError("no such name in the roster")
    folder, broken = inner(group.lab, paths[0]), None
    if folder.is_file():
        if not is_archive(folder):
            raise SpecError(f"{folder.name}: no archive that is read here: .zip, .tar, .tar.gz, .tar.bz2, .tar.xz are")
        try:
            unpack(group.lab, folder, scratch)
        except SubmissionError as error:
            broken = error
        folder = scratch
    files = "" if broken else _digest_of(group.lab, folder)
    twist = share_of(group.lab, name).twist if group.roster is not None else None
    return folder, broken, {"files": files, "seed": group.seed, "grader": group.state, "course": group.course,
                            "twist": [twist.name, twist.value] if twist else None}


def _spoiled(out: Path, key: dict[str, Any], why: str) -> Result:
    """No grade; but an older one of the same files still stands."""
    try:
        if json.loads((out / "key.json").read_text())["files"] == key["files"]:
            return Result(out.name, "kept, not graded again", json.loads((out / "report.json").read_text()), why, spoiled=True)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return Result(out.name, NOT_GRADED, why=why, spoiled=True)


def _keep_higher(out: Path, fresh: Path, key: dict[str, Any], again: bool) -> int | None:
    """Puts the new report in the old one's place; in a regrade only if it is no worse, and the old one is as good as a new
    one from then on. What the score was, if it changed."""
    new = json.loads((fresh / "report.json").read_text())["score"]
    try:
        old = json.loads((out / "report.json").read_text())["score"] if again else None
    except (OSError, ValueError):
        old = None
    if old is not None and old > new:
        lower = out / "lower"
        shutil.rmtree(lower, ignore_errors=True)
        fresh.rename(lower)
        (out / "key.json").write_text(json.dumps(key) + "\n")
        return None
    was = int(old) if old is not None and old != new else None
    (fresh / "key.json").write_text(json.dumps(key | {"was": was}) + "\n")
    shutil.rmtree(out, ignore_errors=True)
    fresh.rename(out)
    return was


def _digest_of(lab: Lab, folder: Path) -> str:
    """The digest of what would be graded; of nothing where the grader will refuse it."""
    try:
        names = [*lab.editable, *(n for n in lab.new_files if (folder / n).exists())]
        files = {}
        for path in (folder / n for n in names):
            if not path.is_file() or path.is_symlink() or path.stat().st_size > FILE_MAX:
                return ""       # a pipe would never end
            files[str(path.relative_to(folder))] = path.read_bytes()
        return digest(files)
    except OSError:
        return ""


# ---- all of them --------------------------------------------------------------------------------------------


def class_of(args: argparse.Namespace, again: bool = False, build: bool = True) -> Class:
    """The class that the command line names; the base that each is graded on is built once, and not by each. SpecError."""
    own = lab_named(ROOT, args.lab, args.arch)
    folder = Path(args.submissions)
    people = submissions(folder)
    out = (Path(args.out) if args.out else ROOT / "build" / "batch" / own.name / own.arch).absolute()
    for one, other in ((out.resolve(), folder.resolve()), (folder.resolve(), out.resolve())):
        if one == other or one in other.parents:
            raise SpecError(f"{one} holds {other}: reports and submissions must lie apart" if one != other else
                            f"{one}: reports there would take the submissions' places")
    if others := strangers(folder):
        print(f"left alone, as they are no submissions: {', '.join(others)}")
    course = from_course(own, people, args.course)
    place, lab = grading_place(ROOT, own, course)
    names = frozenset(roster(Path(args.roster))) if args.roster else None
    if names is not None:
        for missing in sorted(names - set(people)):
            print(f"of {missing} there is nothing")
    if build:
        with Workshop(place, lab, choose(), answers=place == ROOT):
            pass
    out.mkdir(parents=True, exist_ok=True)
    return Class(lab, out, args.seed, grader_state(own), course, names, again, people)


def from_course(lab: Lab, people: dict[str, list[Path]], said: str) -> bool:
    """Whether a class's submissions come from a course's branches: as it is said, or as most of them look."""
    if published(ROOT):
        return True
    yes = {name: marked(inner(lab, paths[0])) for name, paths in people.items()}
    course = sum(yes.values()) * 2 > len(yes) if said == "auto" else said == "yes"
    if odd := sorted(name for name, is_one in yes.items() if is_one != course):
        where = "a course's branch", "a lab's starter"
        print(f"graded as {where[not course]}, by COURSE={int(course)} or because most are, though it looks like "
              f"{where[course]}: {', '.join(odd)}")
    return course


def run(args: argparse.Namespace, again: bool = False) -> int:
    """Grades a class, or the part of it that --shard names; the exit status is 2 if one could not be graded."""
    group = class_of(args, again)
    mine = [n for i, n in enumerate(sorted(group.people)) if i % args.shard[1] == args.shard[0]]
    results: dict[str, Result] = {}

    def take_in(job: Future[Result]) -> Result:
        try:
            results[todo[job]] = job.result()
        except Exception as error:      # noqa: B902 - whatever it is, it is this one's alone
            results[todo[job]] = Result(todo[job], NOT_GRADED, why=f"{type(error).__name__}: {error}", spoiled=True)
        return results[todo[job]]

    start = time.monotonic()
    pool = ThreadPoolExecutor(max_workers=args.jobs)
    todo = {pool.submit(grade_one, group, n): n for n in mine}
    interrupted = False
    try:
        for job in as_completed(todo):
            _progress(take_in(job), len(results), len(mine), time.monotonic() - start)
    except KeyboardInterrupt:
        interrupted = True
        print("stopping; what is graded stays so", flush=True)
    finally:
        pool.shutdown(cancel_futures=True)
    for job, name in todo.items():      # who was under way at an interrupt is graded, too
        if name not in results and not job.cancelled():
            take_in(job)
    results |= {n: Result(n, NOT_GRADED, why="stopped before", spoiled=True) for n in mine if n not in results}
    if args.shard == (0, 1):
        write_summary(group.lab, group.out, [results[n] for n in mine], again)
    spoiled = [r.name for r in results.values() if r.spoiled]
    for r in (r for n in mine if again and (r := results[n]).was is not None):
        print(f"changed: {r.name}: {r.was} -> {r.score}")
    took = time.monotonic() - start
    print(f"{len(results) - len(spoiled)} of {len(results)} graded in {took:.0f} s"
          + (f"; not graded, run again: {', '.join(sorted(spoiled))}" if spoiled else "") + f"; {group.out}/summary.html")
    return 130 if interrupted else 2 if spoiled else 0


def _progress(r: Result, done: int, total: int, took: float) -> None:
    points = "  -" if r.score is None else f"{r.score:>3}"
    left = took / done * (total - done)
    print(f"[{done:>{len(str(total))}}/{total}] {points}  {r.name}" + ("" if r.state == "graded" else f"  {r.state}")
          + (f": {r.why}" if r.why else "") + (f"  ({left:.0f} s left)" if done < total else ""), flush=True)


def collect(args: argparse.Namespace) -> int:
    """Writes the summary of what is graded already: after the parts of an array job."""
    group = class_of(args, build=False)
    results = []
    for name in sorted(group.people):
        with tempfile.TemporaryDirectory(prefix="rampart-batch-") as scratch:
            try:
                _, _, key = _open(group, name, Path(scratch))
                results.append(_known(group.out / name, key) or _spoiled(group.out / name, key, "no report of these files yet"))
            except SpecError as error:
                results.append(Result(name, NOT_GRADED, why=str(error), spoiled=True))
    write_summary(group.lab, group.out, results, any(r.was is not None for r in results))
    return 2 if any(r.spoiled for r in results) else 0


def write_summary(lab: Lab, out: Path, results: list[Result], again: bool) -> None:
    """summary.csv and summary.html; of a regrade, changes.csv too."""
    def line(r: Result) -> dict[str, Any]:
        data = r.data or {}
        return {"submission": r.name, "score": "" if r.score is None else r.score, "max": lab.points,
                "state": r.state + (f": {r.why}" if r.why else ""), "was": "" if r.was is None else r.was,
                "seed": data.get("seed", ""), "files": data.get("submission", "")[:12],
                "report": f"{r.name}/report.html" if r.data else ""}

    def table(name: str, rows: list[Result]) -> None:
        with open(out / name, "w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows({k: _cell(v) for k, v in line(r).items()} for r in rows)

    table("summary.csv", results)
    if again:
        table("changes.csv", [r for r in results if r.was is not None])
    (out / "summary.html").write_text(_page(lab, results))


def _cell(value: Any) -> Any:
    """A spreadsheet takes a text that begins so for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value


def _page(lab: Lab, results: list[Result]) -> str:
    e = html.escape
    scores = sorted(r.score for r in results if r.score is not None)
    middle = scores[len(scores) // 2] if scores else 0
    rows = "".join(
        f"<tr><td>{f'<a href={chr(34)}{e(r.name)}/report.html{chr(34)}>{e(r.name)}</a>' if r.data else e(r.name)}</td>"
        f"<td class=n>{'-' if r.score is None else r.score}</td><td>"
        + (e(r.state + (f": {r.why}" if r.why else "")) if r.state != "graded" else
           "a gate is closed" if r.data and r.data["gated"] else
           ", ".join(e(c["name"]) for c in (r.data or {"checks": []})["checks"] if not c["passed"])) + "</td></tr>\n"
        for r in results)
    checks = "".join(
        f"<tr><td>{e(c.title)}</td><td class=n>"
        f"{sum(bool(r.data) and any(d['name'] == c.name and d['points'] for d in r.data['checks']) for r in results)}</td></tr>"
        for c in lab.checks)
    style = ("<style>table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25rem .6rem;border-top:1px "
             "solid var(--line);vertical-align:top}.n{text-align:right}a{color:inherit}</style>")
    return shell(f"{lab.title}: the class", style
                 + f"<h1>{e(lab.title)}</h1><p class=facts>{len(results)} submissions, {len(results) - len(scores)} not "
                 f"graded; median {middle} of {lab.points}</p><table><tr><th>submission<th class=n>points<th>lost</tr>"
                 f"{rows}</table><h2>Who has each check</h2><table>{checks}</table>")


def shard(text: str) -> tuple[int, int]:
    """"2/8" is the third of eight parts."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not int(match[1]) < int(match[2]):
        raise argparse.ArgumentTypeError("K/N: part K, from 0 to N-1, of N")
    return int(match[1]), int(match[2])


def jobs() -> int:
    """As many at a time as the machine can run."""
    return len(os.sched_getaffinity(0))
