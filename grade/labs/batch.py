"""Grading a class: every submission of a directory, some at a time, each by a grader of its own process, so that none
stops the rest. What is graded already, with the same files, seed and grader, is not graded again.

A submission is a directory, or a .tar, .tar.gz, .tgz or .zip file; its name without the suffix is whose it is. Of an
archive only plain files that the lab names are read, at its top or below one directory. OUT/NAME holds each report;
OUT/summary.csv and summary.html the class. A grade that the grader or its host spoiled is no grade: it stands there
as such, and the next run tries again.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import html
import json
import lzma
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

from grade.labs import tree
from grade.labs.grading import digest
from grade.labs.page import shell
from grade.labs.sandbox import choose
from grade.labs.spec import Lab, SpecError, lab_named
from grade.labs.workshop import FILE_MAX, SubmissionError, Workshop

ROOT = Path(__file__).resolve().parent.parent.parent
ONE_SECONDS = 3600          # a grader that takes longer hangs itself
MEMBERS_MAX = 10000         # entries of an archive that are looked at
ARCHIVE_MAX = 256 << 20     # bytes of a .tar.gz without the .gz: one of a megabyte may hold a gigabyte, in a name alone
SUFFIX = re.compile(r"\.(tar|tar\.gz|tgz|zip)$")
COLUMNS = ["submission", "score", "max", "state", "was", "seed", "files", "report"]


@dataclass
class Result:
    """One submission's line: graded, or not, and why."""

    name: str
    state: str                      # "graded", "not graded", or why its author has 0
    data: dict[str, Any] | None = None
    why: str = ""
    was: int | None = None          # its score before a regrade that changed it

    @property
    def score(self) -> int | None:
        """The points; None is no grade."""
        return None if self.data is None else int(self.data["score"])


# ---- what was handed in -------------------------------------------------------------------------------------


def submissions(folder: Path) -> list[Path]:
    """Everything in the directory that may be one, by name. SpecError if two would be the same student's."""
    found = sorted(p for p in folder.iterdir() if not p.name.startswith(".")
                   and (p.is_dir() or p.is_file() and SUFFIX.search(p.name)))
    names = [name_of(p) for p in found]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise SpecError(f"{folder}: handed in twice: {', '.join(twice)}")
    return found


def name_of(path: Path) -> str:
    """Whose submission it is, as the name of a directory."""
    return re.sub(r"[^\w.@+-]", "_", path.name if path.is_dir() else SUFFIX.sub("", path.name))


def _members(path: Path) -> Iterator[tuple[str, int, Callable[[], BinaryIO | Any]]]:
    """The plain files of an archive: name, size, and how to open it."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist()[:MEMBERS_MAX]:
                if not info.is_dir() and (info.external_attr >> 16) & 0o170000 in (0, 0o100000):
                    yield info.filename, info.file_size, lambda i=info: archive.open(i)     # type: ignore[misc]
        return
    with _unzipped(path) as plain, tarfile.open(fileobj=plain) as tar:
        for count, member in enumerate(tar):
            if count >= MEMBERS_MAX:
                return
            if member.isreg():
                yield member.name, member.size, lambda m=member: tar.extractfile(m)         # type: ignore[misc]


def _unzipped(path: Path) -> IO[bytes]:
    """A .tar or .tar.gz as a .tar of bounded size."""
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    out = tempfile.TemporaryFile()
    try:
        with (gzip.open if zipped else open)(path, "rb") as source:
            while piece := source.read(1 << 20):
                if out.tell() + len(piece) > ARCHIVE_MAX:
                    raise tarfile.ReadError(f"it holds more than {ARCHIVE_MAX >> 20} MiB")
                out.write(piece)
        out.seek(0)
    except BaseException:
        out.close()
        raise
    return out


def unpack(lab: Lab, path: Path, dest: Path) -> None:
    """Writes the files that the lab names, and no other, from an archive to `dest`. SubmissionError for one that cannot
    be read. Nothing of a name in the archive is used as a path."""
    wanted = {name: name for name in (*lab.editable, *lab.new_files)}
    try:
        for name, size, opened in _members(path):
            plain = name.removeprefix("./")
            target = wanted.get(plain) or wanted.get(plain.partition("/")[2])
            if target is None:
                continue
            if size > FILE_MAX:
                raise SubmissionError(f"{target} is larger than {FILE_MAX >> 20} MiB", "file too large")
            with opened() as source:
                data = source.read(FILE_MAX + 1)
            if len(data) > FILE_MAX:
                raise SubmissionError(f"{target} is larger than {FILE_MAX >> 20} MiB", "file too large")
            (dest / target).parent.mkdir(parents=True, exist_ok=True)
            (dest / target).write_bytes(data)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError, ValueError,
            KeyError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, SubmissionError):
            raise
        raise SubmissionError(f"the archive cannot be read: {error}", "not an archive") from error


# ---- one of them --------------------------------------------------------------------------------------------


def grader_state(lab: Lab) -> str:
    """A digest of the tree that grades: where it differs, old reports count no more."""
    return tree.digest(ROOT, [n for n in tree.files(ROOT) if n.startswith(("arch/", "kernel/", "user/", "grade/", "labs/"))
                              and n not in lab.everywhere] + ["Makefile"])[:16]


def _known(out: Path, files: str, seed: int, state: str) -> dict[str, Any] | None:
    """The report that is there already, if it is this one's."""
    try:
        data: dict[str, Any] = json.loads((out / "report.json").read_text())
        kept = json.loads((out / "key.json").read_text())
    except (OSError, ValueError):
        return None
    return data if kept == {"files": files, "seed": seed, "grader": state} else None


def grade_one(lab: Lab, path: Path, out: Path, seed: int, state: str, again: bool = False) -> Result:
    """Grades one submission in a process of its own, unless its report is there already."""
    name = name_of(path)
    with tempfile.TemporaryDirectory(prefix="rampart-batch-") as scratch:
        folder, broken = path, None
        if not path.is_dir():
            folder = Path(scratch)
            try:
                unpack(lab, path, folder)
            except SubmissionError as error:
                broken = error
        files = "" if broken else _digest_of(lab, folder)
        if not again and (data := _known(out, files, seed, state)) is not None:
            return Result(name, data["problem"] or "graded", data)
        fresh = out.with_name(f"{out.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        command = [sys.executable, "-m", "grade.lab", "grade", lab.name, "--arch", lab.arch, "--seed", str(seed), "--from",
                   str(folder), "--out", str(fresh)]
        if broken:
            command += ["--problem", broken.what, "--problem-text", str(broken)]
        try:
            with open(fresh / "grader.log", "wb") as log:
                status = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False,
                                        timeout=ONE_SECONDS).returncode
        except subprocess.TimeoutExpired:
            return Result(name, "not graded", why="the grader itself hung")
        if status != 0 or not (fresh / "report.json").is_file():
            lines = (fresh / "grader.log").read_text(errors="replace").splitlines()
            return Result(name, "not graded", why=lines[-1] if lines else f"the grader ended with {status}")
        (fresh / "key.json").write_text(json.dumps({"files": files, "seed": seed, "grader": state}) + "\n")
        data = json.loads((fresh / "report.json").read_text())
        was = _keep_higher(out, fresh, data, again)
        kept = json.loads((out / "report.json").read_text())
        return Result(name, kept["problem"] or "graded", kept, was=was)


def _keep_higher(out: Path, fresh: Path, data: dict[str, Any], again: bool) -> int | None:
    """Puts the new report in the old one's place; in a regrade only if it is no worse. What the score was, if it
    changed."""
    try:
        old = json.loads((out / "report.json").read_text())["score"] if again else None
    except (OSError, ValueError):
        old = None
    if old is not None and old > data["score"]:
        lower = out / "lower"
        shutil.rmtree(lower, ignore_errors=True)
        fresh.rename(lower)
        return None
    shutil.rmtree(out, ignore_errors=True)
    fresh.rename(out)
    return int(old) if old is not None and old != data["score"] else None


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


def run(args: argparse.Namespace, again: bool = False) -> int:
    """Grades a class, or the part of it that --shard names; the exit status is 2 if one could not be graded."""
    lab = lab_named(ROOT, args.lab, args.arch)
    out = (Path(args.out) if args.out else ROOT / "build" / "batch" / lab.name / lab.arch).absolute()
    found = submissions(Path(args.submissions))
    mine = [p for i, p in enumerate(found) if i % args.shard[1] == args.shard[0]]
    state = grader_state(lab)
    with Workshop(ROOT, lab, choose()):
        pass        # the base is built once, and not by each
    out.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    start = time.monotonic()
    with ThreadPoolExecutor(max_workers=args.jobs) as pool:
        todo = {pool.submit(grade_one, lab, p, out / name_of(p), args.seed, state, again): p for p in mine}
        for job in as_completed(todo):
            try:
                result = job.result()
            except Exception as error:      # noqa: B902 - whatever it is, it is this one's alone
                result = Result(name_of(todo[job]), "not graded", why=f"{type(error).__name__}: {error}")
            results.append(result)
            _progress(result, len(results), len(mine), time.monotonic() - start)
    if args.shard == (0, 1):
        write_summary(lab, out, sorted(results, key=lambda r: r.name), again)
    spoiled = [r.name for r in results if r.score is None]
    changed = [r for r in results if r.was is not None]
    for r in changed:
        print(f"changed: {r.name}: {r.was} -> {r.score}")
    took = time.monotonic() - start
    print(f"{len(results) - len(spoiled)} of {len(results)} graded in {took:.0f} s"
          + (f"; not graded, run again: {', '.join(sorted(spoiled))}" if spoiled else "") + f"; {out}/summary.html")
    return 2 if spoiled else 0


def _progress(r: Result, done: int, total: int, took: float) -> None:
    points = "  -" if r.score is None else f"{r.score:>3}"
    left = took / done * (total - done)
    print(f"[{done:>{len(str(total))}}/{total}] {points}  {r.name}" + ("" if r.state == "graded" else f"  {r.state}")
          + (f": {r.why}" if r.why else "") + (f"  ({left:.0f} s left)" if done < total else ""), flush=True)


def collect(args: argparse.Namespace) -> int:
    """Writes the summary of what is graded already: after the shards of an array job."""
    lab = lab_named(ROOT, args.lab, args.arch)
    out = (Path(args.out) if args.out else ROOT / "build" / "batch" / lab.name / lab.arch).absolute()
    results = []
    for path in submissions(Path(args.submissions)):
        try:
            data = json.loads((out / name_of(path) / "report.json").read_text())
            results.append(Result(name_of(path), data["problem"] or "graded", data))
        except (OSError, ValueError):
            results.append(Result(name_of(path), "not graded", why="no report"))
    write_summary(lab, out, results, False)
    return 2 if any(r.score is None for r in results) else 0


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
        raise argparse.ArgumentTypeError("K/N with K below N")
    return int(match[1]), int(match[2])


def jobs() -> int:
    """As many at a time as the machine can run."""
    return len(os.sched_getaffinity(0))
