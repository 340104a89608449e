"""A student's other verbs: why a check failed, the broken kernel, starting over, progress, handing in, and the
solution afterwards."""

from __future__ import annotations

import argparse
import datetime
import difflib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from grade import debug
from grade.image import Image
from grade.labs import diagnosis, tree
from grade.labs.classkey import TICKET, read_ticket
from grade.labs.course import MARK, Course, Entry, published, widened
from grade.labs.cut import CutError, find, parse_cut
from grade.labs.grading import GUEST_FAULTS, Ended, Enough, Guest, Run, Verdict, load_checks
from grade.labs.sandbox import choose
from grade.labs.spec import Lab, SpecError, all_labs, lab_named
from grade.labs.workshop import SubmissionError, Workshop
from grade.make import make
from grade.qemu import ARCHES

ROOT = Path(__file__).resolve().parent.parent.parent
ATTEMPTS = ".lab-attempts"


def which(args: argparse.Namespace) -> int:
    """Prints the lab that this tree is about (with --attack, its attack): a starter's, a branch's, or the latest
    of the course that is here."""
    here = own_lab(ROOT)
    if here and args.attack:
        here = lab_named(ROOT, here, None).attack
    print(here)
    return 0


def own_lab(root: Path) -> str:
    """The name of the lab that a tree is about; empty if it is about none."""
    if (root / tree.MARK).is_file():
        return (root / tree.MARK).read_text().strip()
    course = published(root)
    if course is None:
        return ""
    branch = _git(root, "symbolic-ref", "--short", "-q", "HEAD") or ""
    here = [e for e in course.entries if (root / "labs" / e.folder / "lab.toml").is_file()]
    on = [e for e in here if e.branch == branch.strip()]
    return (on or here or [Entry("-", "", 0, (), ())])[-1].name


def why(args: argparse.Namespace) -> int:
    """Replays a check's boot under GDB, stopped where the check begins to look, or where it fails."""
    lab = lab_here(args)
    known = [c.name for c in lab.checks]
    if args.check not in known:
        raise SpecError(f"no check {args.check!r}; there are: {', '.join(known)}")
    checks = load_checks(lab)
    with Workshop(ROOT, lab, choose(trust=True)) as workshop:
        built = workshop.build(workshop.take(ROOT))
        image = Image(built.symbols, slide=None)
        run = Run(lab, workshop, built, image, args.seed, {n: Verdict(n, t, 0) for n, t in lab.gates.items()},
                  {c.name: Verdict(c.name, c.title, c.points) for c in lab.checks}, contained=False,
                  given=read_ticket(ROOT, lab).twist)

        def look(guest: Guest) -> int:
            socket = workshop.scratch / "gdb"
            guest.machine.offer_gdb(f"unix:{socket},server=on,wait=off")
            return _gdb(lab, f"file {built.symbols}", f"rp-connect {socket}")

        try:
            if hasattr(checks, "stand") and not args.fails:
                with checks.stand(run, args.check) as guest:
                    return look(guest)
            return _to_the_failure(run, checks, args.check, look)
        except (Ended, *GUEST_FAULTS) as error:
            print(f"the guest does not get that far: {error}")
            return 1
        finally:
            image.close()


def _to_the_failure(run: Run, checks: ModuleType, name: str, look: Callable[[Guest], int]) -> int:
    """Runs the lab's boots one by one; where the check fails, what it said and the guest as it stands then."""
    for scenario in checks.scenarios():
        found: list[int] = []

        def decided(verdict: Verdict, guest: Guest | None) -> None:
            print(f"{verdict.name}: {'passes' if verdict.passed else 'fails'}\n  seen:     {verdict.seen}")
            if not verdict.passed:
                print(f"  expected: {verdict.expected}\n  look at:  {verdict.look}", flush=True)
                if guest is None or guest.machine.exited:
                    print("the guest has ended")
                else:
                    guest.machine.stop()
                    look(guest)
            found.append(0 if verdict.passed else 1)

        try:
            scenario(replace(run, wanted=frozenset([name]), on_decision=decided))
        except Enough:
            pass
        except (Ended, *GUEST_FAULTS) as error:
            print(f"{scenario.__name__} ends early: {str(error).splitlines()[0]}")
        if found:
            return 0
    print(f"{name}: not reached")
    return 1


def diagnose(args: argparse.Namespace) -> int:
    """Boots the lab's broken kernel with GDB attached; its source is not here."""
    lab = lab_named(ROOT, args.lab, args.arch)
    kernels = sorted((lab.folder / "diagnose" / lab.arch).glob("*/rampart"))
    if not kernels:
        raise SpecError(f"{lab.name}: no broken kernel here: `lab` puts it into a starter")
    _need_attempt(lab, ROOT)        # what is not broken in it is the reference's
    own = read_ticket(ROOT, lab).diagnosis
    kernel = next((k for k in kernels if k.parent.name == own), kernels[0])
    print(f"broken kernel {kernel.parent.name}" + (", which is yours" if own else ""))
    if make("-C", str(ROOT), f"ARCH={lab.arch}", "initrd", check=False).returncode:
        raise SubmissionError("see above", "does not compile")
    machine, out = ARCHES[lab.arch], Path("build", lab.arch)
    words = os.environ.get("CMDLINE", "")
    if "--" not in words.split():
        words = f"{words} -- /bin/attack {lab.attack or '-l'}".strip()
    # Relative, as a socket's path must be short.
    socket, console = out / "diagnose.sock", out / "diagnose.log"
    os.chdir(ROOT)
    guest = debug.start(
        [machine.binary, "-accel", "tcg", "-M", machine.machine, "-cpu", os.environ.get("CPU", machine.cpu), "-smp", "2", "-m", "256",
         "-nodefaults", "-vga", "none", "-net", "none", "-display", "none", "-no-reboot", "-no-shutdown", "-kernel",
         str(kernel), "-initrd", str(out / "initrd.cpio"), "-S", "-chardev",
         f"socket,id=gdb,path={socket},server=on,wait=off", "-gdb", "chardev:gdb", "-append",
         f"console={machine.console} {words}"], socket, console)
    print(f"console: {console}; the guest has `{words}`, which CMDLINE= changes (CPU= the processor)")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.signal(signal.SIGINT, signal.SIG_IGN)        # ctrl-c is for gdb
    try:
        return _gdb(lab, f"file {kernel}.sym", f"rp-connect {socket}")
    finally:
        guest.kill()
        guest.wait()
        socket.unlink(missing_ok=True)


def _gdb(lab: Lab, *commands: str) -> int:
    """A GDB that knows the lab's architecture and .gdbinit, for a person; its exit status."""
    line = [*debug.debugger(lab.arch), "-q", "-iex", "set auto-load local-gdbinit off", "-x", ".gdbinit"]
    for command in commands:
        line += ["-ex", command]
    return subprocess.run(line, cwd=ROOT, env=os.environ | {"ARCH": lab.arch}, check=False,
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)).returncode


# ---- what was given, what was done --------------------------------------------------------------------------


def lab_here(args: argparse.Namespace) -> Lab:
    """The lab that the command line names, with what its course's submissions bring."""
    return widened(lab_named(ROOT, args.lab, args.arch), published(ROOT))


def _git(root: Path, *words: str) -> str | None:
    """What git says in a tree; None if it fails."""
    done = subprocess.run(["git", "-C", str(root), "-c", "safe.directory=*", *words], capture_output=True, check=False,
                          timeout=60)
    return done.stdout.decode("utf-8", errors="replace") if done.returncode == 0 else None


def as_given(root: Path, lab: Lab) -> dict[str, bytes]:
    """The lab's editable files as they were when the lab came: a starter's, or, in a branch, those of the commit
    that brought the lab, with the work on earlier labs in them. SpecError in any other tree."""
    out: dict[str, bytes] = {}
    if (root / tree.ORIGIN).is_dir():
        return {n: (root / tree.ORIGIN / n).read_bytes() for n in lab.everywhere if (root / tree.ORIGIN / n).is_file()}
    commit = _git(root, "log", "-1", "--first-parent", "-m", "--diff-filter=A", "--format=%H", "--",
                  f"labs/{lab.folder.name}/lab.toml") if published(root) else None
    if not commit:
        raise SpecError("this is neither a starter nor a lab's branch")
    commit = commit.strip()
    # Merges that follow at once bring earlier work.
    for line in (_git(root, "log", "--first-parent", "--reverse", "--format=%H %P", f"{commit}..HEAD") or "").splitlines():
        later, *parents = line.split()
        if len(parents) < 2:
            break
        commit = later
    for name in lab.everywhere:
        text = _git(root, "show", f"{commit}:{name}")
        if text is not None:
            out[name] = text.encode()
    return out


def record(lab: Lab, submission: dict[str, bytes], data: dict[str, object]) -> None:
    """Notes an attempt in .lab-attempts of this tree: what it scored, and whether it was more than the starter."""
    try:
        given = as_given(ROOT, lab)
        changed = any(submission.get(n) != data for n, data in given.items() if n in submission)
    except SpecError:
        changed = True
    line = {"lab": lab.name, "arch": lab.arch, "seed": data["seed"], "score": data["score"], "max": data["max"],
            "changed": changed, "files": _digest(submission, lab),
            "at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")}
    with open(ROOT / ATTEMPTS, "a") as out:
        out.write(json.dumps(line) + "\n")


def _digest(submission: dict[str, bytes], lab: Lab) -> str:
    total = hashlib.sha256()
    for name in lab.editable:
        total.update(hashlib.sha256(submission.get(name, b"")).digest())
    return total.hexdigest()[:16]


def attempts(root: Path) -> list[dict[str, Any]]:
    """What was recorded in a tree; lines that are none of ours are left out."""
    out = []
    for line in (root / ATTEMPTS).read_text().splitlines() if (root / ATTEMPTS).is_file() else []:
        try:
            said = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(said, dict) and {"lab", "arch", "score", "max", "changed", "files"} <= set(said):
            out.append(said)
    return out


def _need_attempt(lab: Lab, *roots: Path) -> None:
    """SpecError if no graded attempt at the lab is recorded in any of these trees."""
    if not any(a["lab"] == lab.name and a["changed"] for root in roots for a in attempts(root)):
        raise SpecError(f"no attempt at {lab.name} is recorded: change something, and `make grade` first")


def progress(args: argparse.Namespace) -> int:
    """Prints each lab of the course: where it stands, what it scored here, what that is worth, when it is due."""
    course = published(ROOT)
    if course is None:
        mine = own_lab(ROOT)
        labs = [lab_named(ROOT, mine, None)] if mine else all_labs(ROOT, None)
        course = Course("", (), tuple(Entry(lab.folder.name, lab.title, lab.hours, lab.architectures, lab.everywhere)
                                      for lab in labs))
    done = attempts(ROOT)
    rows, total, most = [], 0.0, 0.0
    for e in course.entries:
        tried = [a for a in done if a["lab"] == e.name]
        most += e.points
        state, score, worth = "not begun" if (ROOT / MARK).is_file() else "-", "", ""
        if (ROOT / "labs" / e.folder / "lab.toml").is_file():
            state = "not graded"
        if tried:
            best, last = max(tried, key=lambda a: a["score"]), tried[-1]
            total += e.points * best["score"] / max(1, best["max"])
            score, worth = f"{best['score']} of {best['max']}", f"{e.points * best['score'] / max(1, best['max']):.1f}"
            state = "graded" if _is_now(last, e) else "changed since"
        rows.append([e.folder, e.title, state, score, worth, f"{e.points:g}", str(e.due or "")])
    head = ["lab", "title", "state", "best", "worth", "of", "due"]
    widths = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        print("  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip())
    print(f"\n{total:.1f} of {most:g}, by this machine's grading; what counts is the instructor's")
    return 0


def _is_now(attempt: dict[str, Any], entry: Entry) -> bool:
    try:
        lab = lab_named(ROOT, entry.name, attempt["arch"])
        return _digest({n: (ROOT / n).read_bytes() for n in lab.editable if (ROOT / n).is_file()}, lab) == attempt["files"]
    except SpecError:
        return True


def reset(args: argparse.Namespace) -> int:
    """Puts the editable files back as the lab brought them; what was there goes to .lab-backup/N."""
    lab = lab_named(ROOT, args.lab, args.arch)
    given = as_given(ROOT, lab)
    number = 1
    while (ROOT / tree.BACKUP / str(number)).exists():
        number += 1
    backup = ROOT / tree.BACKUP / str(number)
    tree.copy(ROOT, backup, [n for n in [*lab.everywhere, *lab.new_files] if (ROOT / n).is_file()])
    for name in lab.new_files:
        (ROOT / name).unlink(missing_ok=True)
    for name, data in given.items():
        (ROOT / name).write_bytes(data)
    print(f"{lab.name} is back at its start; your work is in {backup.relative_to(ROOT)}")
    return 0


def submit(args: argparse.Namespace) -> int:
    """Checks the list of files, builds, and packs LAB-submission.tar.gz."""
    lab = lab_here(args)
    notes = f"labs/{lab.folder.name}/{tree.NOTES}"
    extras = [n for n in (notes, f"labs/{lab.folder.name}/test_student.py",
                          f"labs/{lab.folder.name}/{diagnosis.FILE}", MARK, TICKET) if (ROOT / n).is_file()]
    answer = diagnosis.said(lab, ROOT)
    names = [n for n in dict.fromkeys([*lab.everywhere, *lab.new_files, *extras]) if (ROOT / n).is_file()]
    with Workshop(ROOT, lab, choose(trust=True)) as workshop:
        workshop.discard(workshop.build(workshop.take(ROOT)))
    missing = [n for n in [*lab.everywhere, notes] if not (ROOT / n).is_file()]
    if missing:
        raise SubmissionError(f"missing: {', '.join(missing)}", "missing file")
    out = ROOT / f"{lab.name}-submission.tar.gz"
    with tarfile.open(out, "w:gz") as archive:
        for name in names:
            archive.add(ROOT / name, name)
    print(f"builds; packed {len(names)} files into {out.name}: {', '.join(names)}")
    if unsaid := diagnosis.open_questions(lab, answer):
        print(f"{diagnosis.FILE} does not say yet: {', '.join(unsaid)}")
    if strangers := sorted(changed_files(ROOT) - set(names)):
        print(f"changed here, and not taken: {', '.join(strangers[:10])}. Whoever grades builds without that.")
    return 0


def changed_files(root: Path) -> set[str]:
    """Files of a starter, or of a lab's branch, that are not as they were given or committed."""
    origin = root / tree.ORIGIN
    if origin.is_dir():
        return {n for n in tree.files(origin) if not (root / n).is_file() or (root / n).read_bytes() != (origin / n).read_bytes()}
    status = _git(root, "status", "--porcelain", "-uall") if published(root) else None
    return {line[3:] for line in (status or "").splitlines()}


# ---- the solution, afterwards -------------------------------------------------------------------------------


def solution(args: argparse.Namespace) -> int:
    """Shows what the reference does otherwise, piece by piece with its reasons, once an attempt is recorded."""
    lab = lab_named(ROOT, args.lab, args.arch)
    source = Path(args.source).resolve() if args.source else ROOT
    _need_attempt(lab, ROOT, source)
    home = ROOT / tree.HOME
    if (lab.folder / "cut").is_file():
        if source == ROOT:
            raise SpecError("this is the solution; FROM=directory names an answer to compare with it")
        return _show(lab, source, lambda name: (ROOT / name).read_text() if (ROOT / name).is_file() else None)
    if home.is_file():
        there = home.read_text().strip()
        if not Path(there, "labs", lab.folder.name, "cut").is_file():
            raise SpecError(f"the complete tree, from which this starter was made, is no longer at {there}")
        return make("-C", there, "solution", f"LAB={lab.name}", f"FROM={ROOT}", f"ARCH={lab.arch}", check=False).returncode
    branch = f"catchup/{lab.folder.name.partition('-')[0]}"
    ref = next((r for r in (f"refs/heads/{branch}", f"refs/remotes/origin/{branch}")
                if _git(ROOT, "rev-parse", "-q", "--verify", r)), None)
    if ref is None:
        raise SpecError(f"there is no {branch} here: your instructor releases it; then `git fetch`")
    return _show(lab, source, lambda name: _git(ROOT, "show", f"{ref}:{name}"))


def _show(lab: Lab, source: Path, reference: Callable[[str], str | None]) -> int:
    """Prints the pieces that the lab had cut out, as they are in `source` and in the reference."""
    folder = f"labs/{lab.folder.name}"
    remarks = _remarks(reference(f"{folder}/solution.md") or "")
    if remarks.get(""):
        print(remarks[""])
    for item in parse_cut(reference(f"{folder}/cut") or ""):
        wanted = reference(item.path)
        if item.path not in lab.editable or wanted is None or not (source / item.path).is_file():
            continue
        span = find(wanted, item)
        have = (source / item.path).read_text(errors="replace")
        try:
            mine = find(have, item)
            old = have[mine.start:mine.end]
        except CutError:
            old = ""        # built otherwise
        print(f"==== {item} ====\n")
        if said := remarks.get(str(item)):
            print("".join(f"# {line}".rstrip() + "\n" for line in said.splitlines()))
        lines = list(difflib.unified_diff(old.splitlines(), wanted[span.start:span.end].splitlines(), "yours", "the reference",
                                          lineterm=""))
        print("\n".join(lines[2:]) or "the same", end="\n\n")
    return 0


def _remarks(text: str) -> dict[str, str]:
    """The sections of a solution.md: what stands before the first, and "PATH: NAME" -> text."""
    first, *rest = re.split(r"^## ", text, flags=re.MULTILINE)
    sections = (part.partition("\n") for part in rest)
    return {"": first} | {title.strip(): body.strip() for title, _, body in sections}
