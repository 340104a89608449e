"""What an instructor types before term: is the course sound, and what does grading look like?"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from grade.labs import diagnosis, report, tree
from grade.labs.classkey import TICKET, Share, named, read_key, share, ticket
from grade.labs.course import FILE, Course, read
from grade.labs.cut import cut, read_stubs
from grade.labs.grading import grade
from grade.labs.handin import is_archive, unpack_files
from grade.labs.prove import Files, apply_patch, broken_kernels, named_checks, other_solution, prove, table
from grade.labs.publish import publish
from grade.labs.sandbox import SandboxError, choose
from grade.labs.spec import Lab, SpecError, lab_named, load
from grade.labs.workshop import SubmissionError, Workshop

ROOT = Path(__file__).resolve().parent.parent.parent
DEMO = ROOT / "build" / "demo"


def course_check(args: argparse.Namespace) -> int:
    """Validates course.toml, says what this machine grades with, and proves every lab of the course on it."""
    course = read(ROOT)
    rows = [["lab", "title", "points", "opens", "due", "on"]]
    rows += [[e.folder, e.title, f"{e.points:g}", str(e.opens or "-"), str(e.due or "-"), ", ".join(e.architectures)]
             for e in course.entries]
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    print(f"{course.title}: {len(course.entries)} labs, {sum(e.points for e in course.entries):g} points")
    print("\n".join("  " + "  ".join(c.ljust(w) for c, w in zip(r, widths)).rstrip() for r in rows))
    try:
        print(f"isolation: {choose().level}")
        isolated = True
    except SandboxError as error:
        print(f"isolation: FAILS: {error}")
        isolated = False
    print(f"class key: {key_state(course)}\n", flush=True)
    labs = [lab for arch in course.architectures for lab in course.labs(ROOT, arch)]
    provers = prove(ROOT, labs, args.seed, args.only, course)
    print("\n" + table(provers), end="")
    good = isolated and all(p.holds for p in provers)
    print(f"{FILE}: the course {'can be given' if good else 'can NOT be given as it is'} with this machine grading")
    return 0 if good else 1


def key_state(course: Course) -> str:
    """Where the class key is, in words."""
    if course.key is None:
        return "none; every student has the same lab"
    return f"{course.key.relative_to(ROOT)}" if course.key.is_file() else \
        f"{course.key.relative_to(ROOT)} is not there yet: `make lab-branches PRIVATE=...` makes it, or copy last year's"


# ---- the demonstration --------------------------------------------------------------------------------------


def samples(lab: Lab, scratch: Path) -> dict[str, tuple[str, Files]]:
    """Six submissions to a lab, by name: what each is, and its files. SpecError if the lab has no samples."""
    folder = lab.folder / "samples"
    solution = {name: (ROOT / name).read_bytes() for name in lab.editable if (ROOT / name).is_file()}
    items = [i for i in tree.items_of(lab) if i.path in lab.editable]
    starter = solution | {p: text.encode() for p, text in cut(ROOT, items, read_stubs(lab.folder)).items()}
    half = next((p for p in tree.patches(lab.folder / "mutants", lab.arch) if p.stem != "diagnose"), None)
    wanted = [folder / f"{name}.patch" for name in ("hangs-at-boot", "hostile")]
    if half is None or not all(p.is_file() for p in wanted):
        raise SpecError(f"{lab.folder.name} has no samples/hangs-at-boot.patch and samples/hostile.patch")
    source = next(name for name in lab.editable if name.endswith(".c"))
    return {
        "another-style": ("correct, and of another structure", other_solution(ROOT, lab, scratch)),
        "half-right": (f"a mistake that loses {', '.join(named_checks(half, lab))}", apply_patch(solution, half, scratch)),
        "does-not-compile": ("a name is missing", starter | {source: starter[source] + b"\nint late = too_late;\n"}),
        "hangs-at-boot": ("never comes to user mode", apply_patch(starter, wanted[0], scratch)),
        "hostile": ("prints what it thinks is wanted", apply_patch(starter, wanted[1], scratch)),
        "starter": ("handed in as it came", starter),
    }


def course_demo(args: argparse.Namespace) -> int:
    """Publishes a course of one lab and grades six submissions to it; their reports are left in build/demo."""
    lab = lab_named(ROOT, args.lab or next((p.parent.parent.name for p in sorted(ROOT.glob("labs/*/samples/hostile.patch"))),
                                           ""), args.arch)
    whole = read(ROOT)
    course = Course(whole.title, (lab.arch,), tuple(e for e in whole.entries if e.folder == lab.folder.name))
    if not course.entries:
        raise SpecError(f"{FILE} has not chosen {lab.name}")
    shutil.rmtree(DEMO, ignore_errors=True)
    publish(ROOT, course, DEMO / "public", DEMO / "private")
    print(f"published {lab.folder.name}: students' {_short(DEMO / 'public')}, yours {_short(DEMO / 'private')}", flush=True)
    rows = []
    with Workshop(ROOT, lab, choose(trust=True)) as workshop:
        for name, (what, files) in samples(lab, workshop.scratch).items():
            place = DEMO / "submissions" / name
            for path, data in files.items():
                (place / path).parent.mkdir(parents=True, exist_ok=True)
                (place / path).write_bytes(data)
            try:
                submission: Files | SubmissionError = workshop.take(place)
            except SubmissionError as error:
                submission = error
            data = report.as_dict(grade(workshop, submission, args.seed, name))
            report.write(data, DEMO / "reports" / name)
            rows.append((name, data, what))
            print(f"  {data['score']:>3} of {data['max']}  {name:<18} {_verdict(data):<46} ({what})", flush=True)
    print(f"\nreports: {_short(DEMO / 'reports')}/*/report.html; submissions: {_short(DEMO / 'submissions')}")
    page = DEMO / "reports" / "half-right" / "report.html"
    if (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")) and shutil.which("xdg-open"):
        subprocess.run(["xdg-open", str(page)], check=False)
    return 0 if right(rows) else 1


def right(rows: list[tuple[str, dict[str, object], str]]) -> bool:
    """Whether six submissions got what they deserve."""
    scores = {name: data["score"] for name, data, _ in rows}
    most = rows[0][1]["max"]
    return scores["another-style"] == most and 0 < scores["half-right"] < most and not any(  # type: ignore[operator]
        scores[name] for name in ("does-not-compile", "hangs-at-boot", "hostile", "starter"))


def _verdict(data: dict) -> str:
    """One grade in a few words."""
    if data["problem"]:
        return str(data["problem"])
    closed = next((g for g in data["gates"] if not g["passed"]), None)
    if closed:
        return f"gate {closed['name']}: {closed['seen']}"[:46]
    red = [c["name"] for c in data["checks"] if not c["passed"]]
    return "every check passes" if not red else f"loses {', '.join(red)}"[:46]


def _short(path: Path) -> str:
    return str(path.relative_to(ROOT))


# ---- what is each student's own -----------------------------------------------------------------------------


def share_of(lab: Lab, student: str) -> Share:
    """What the class key gives a student of a lab. SpecError without a key."""
    course = read(ROOT)
    if course.key is None:
        raise SpecError(f"{FILE} names no class key")
    return share(read_key(course.key), student, lab, _letters(lab))


def _letters(lab: Lab) -> list[str]:
    """The broken kernels that the lab has on each of its architectures."""
    each = [set(broken_kernels(load(lab.folder, arch))) for arch in lab.architectures]
    return sorted(set.intersection(*each))


def roster(path: Path) -> list[str]:
    """The names of a class, one a line. SpecError."""
    try:
        students = [named(line.strip()) for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except OSError as error:
        raise SpecError(f"no roster: {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: a roster is a text in UTF-8, a name on each line: {error}") from error
    if len(set(students)) != len(students):
        raise SpecError(f"{path}: a name stands there twice")
    return students


def tickets(args: argparse.Namespace) -> int:
    """Writes NAME.ticket for each student of a roster."""
    course, dest = read(ROOT), Path(args.dest)
    students = roster(Path(args.roster))
    texts = {s: ticket(s, [(lab, share_of(lab, s)) for lab in course.labs(ROOT)]) for s in students}
    dest.mkdir(parents=True, exist_ok=True)
    for student, text in texts.items():
        (dest / f"{student}.ticket").write_text(text, encoding="utf-8")
    print(f"{len(texts)} tickets in {dest}; each goes to its student, who keeps it as {TICKET}")
    return 0


def check_diagnosis(args: argparse.Namespace) -> int:
    """Compares a student's diagnosis.toml with what is wrong with the broken kernel."""
    lab = lab_named(ROOT, args.lab, args.arch)
    if not (lab.folder / "mutants").is_dir():
        raise SpecError("what is wrong with the broken kernel is not in this tree: who grades has it")
    own = share_of(lab, args.student) if args.student else Share()
    kernels = broken_kernels(lab)
    letter = own.diagnosis or next(iter(kernels), "")
    if letter not in kernels:
        raise SpecError(f"{lab.name} has no broken kernel on {lab.arch}")
    wanted = diagnosis.parse(diagnosis.answer_of(kernels[letter]), kernels[letter].name)
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(args.source).resolve()
        if is_archive(source):
            unpack_files({f"labs/{lab.folder.name}/{diagnosis.FILE}": None}, source, Path(scratch))
            source = Path(scratch)
        got = diagnosis.said(lab, source)
    wrong = [key for key in wanted if got.get(key) != wanted[key]]
    print(f"{lab.name} on {lab.arch}, kernel {letter}: " + ("right" if not wrong else
          f"{len(wanted) - len(wrong)} of {len(wanted)} right; wrong or missing: {', '.join(wrong)}"))
    return 0

