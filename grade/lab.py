"""The labs: make a starter, grade an answer, prove the labs.

    lab LAB DEST                        write LAB's starter to DEST
    grade LAB [--from DIR] [--seed N]   grade the files of DIR that the lab names; everything else is pristine
    check [LAB...]                      prove labs: starter, solutions, mutants (make check-labs)
    branches DEST [--private DIR]       publish the course: the students' repository, and the instructor's
    course-check                        validate course.toml and prove its labs here
    course-demo [LAB]                   publish a lab and grade six sample submissions to it
    tickets ROSTER DEST                 each student's own twists and broken kernels, by the class key
    diagnosis LAB --from DIR            whether a student's diagnosis is right
    similarity LAB DIR                  which submissions look alike: a report for a person
    show LAB                            what the lab asks, its reading list, counted
    why LAB CHECK [--fails]             boot the answer and stop in GDB where CHECK looks, or where it fails
    diagnose LAB                        boot the lab's broken kernel for GDB
    progress                            the labs of the course, what each scored here
    reset LAB                           back to the starter; what was there is kept in .lab-backup
    submit LAB                          check that the answer builds, and pack it
    solution LAB [--from DIR]           after an attempt: what the reference does otherwise, and why
    which [--attack]                    the lab that this tree is about
    batch LAB --submissions DIR         grade a class: in parallel, resumable; regrade, collect: see batch.py
    gradescope LAB                      write the zip that Gradescope takes; warm LAB builds what all grades share
    convert FORMAT REPORT               a report.json in another form: gradescope, classroom50, ...; see formats.py

Exit status: 0 graded (whatever the score) or done; 1 what was asked for is not so (a proof failed, no such
lab, a submission that is not complete); 2 the grader or the host failed, which is nobody's zero.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

from grade.labs import batch, desk, diagnosis, formats, gradescope, handin, report, similarity, staff
from grade.labs.classkey import Share, read_ticket
from grade.labs.course import FILE as COURSE_FILE, Entry, read as read_course
from grade.labs.cut import CutError
from grade.labs.grading import GraderError, HostError, grade
from grade.labs.prove import give_diagnosis, prove, table, touched
from grade.labs.publish import grading_place, publish
from grade.labs.sandbox import SandboxError, choose
from grade.labs.spec import Lab, SpecError, all_labs, lab_named, load, reading_lines
from grade.labs.tree import TreeError, make_starter
from grade.labs.workshop import SubmissionError, Workshop, WorkshopError
from grade.qemu import ARCHES, QemuError

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_SEED = 1


def do_lab(args: argparse.Namespace) -> int:
    """Writes a starter."""
    lab = lab_named(ROOT, args.lab, args.arch)
    dest = Path(args.dest).absolute()
    make_starter(ROOT, lab, dest)
    with Workshop(ROOT, lab, choose(trust=True)) as workshop:
        give_diagnosis(ROOT, workshop, dest)
        start = workshop.build(workshop.take(dest))
        workshop.give_base(start, dest)
        workshop.give_busybox(dest)
    again = "" if args.arch == "x86_64" else f" ARCH={args.arch}"
    print(f"{lab.title}: {args.dest}\nread handouts/{lab.folder.name}.md there; then: make -C {args.dest} grade{again}")
    return 0


def do_grade(args: argparse.Namespace) -> int:
    """Grades one submission."""
    lab = lab_named(ROOT, args.lab, args.arch)
    source = handin.inner(lab, Path(args.source).resolve()) if args.source else ROOT
    if not source.is_dir() and not handin.is_archive(source):
        raise SpecError(f"{args.source}: no such directory, and no archive")
    if args.student:
        own = staff.share_of(lab, args.student)
    elif args.twists:
        own = gradescope.share_of(lab, Path(args.twists), Path(args.metadata))
    else:
        own = read_ticket(ROOT, lab) if source == ROOT else Share()
    own_lab = lab
    place, lab = grading_place(ROOT, lab, handin.marked(source) if args.course == "auto" else args.course == "yes")
    # One's own tree is one's own work: it may be run without isolation where there is none.
    # A course's starter has no answers.
    with Workshop(place, lab, choose(args.trust or source == ROOT), answers=place == ROOT) as workshop:
        try:
            if args.problem:
                raise SubmissionError(args.problem_text, args.problem)
            if source.is_file():
                unpacked = workshop.scratch / "handed-in"
                handin.unpack(lab, source, unpacked)
                source = unpacked
            submission: dict[str, bytes] | SubmissionError = workshop.take(source)
        except SubmissionError as error:
            submission = error
        data = report.as_dict(grade(workshop, submission, args.seed, twist=own.twist, tell=_tell))
    out = Path(args.out) if args.out else ROOT / "build" / "grade" / lab.name / lab.arch
    report.write(data, out)
    if not isinstance(submission, SubmissionError):
        desk.record(own_lab, submission, data)
    print(report.terminal(data), end="")
    return 0


def _tell(text: str) -> None:
    """Says how far it is, to somebody who waits."""
    if sys.stderr.isatty():
        print(f"  {text}", file=sys.stderr)


def do_gradescope(args: argparse.Namespace) -> int:
    """Writes the zip for Gradescope."""
    lab = lab_named(ROOT, args.lab, args.arch)
    out = Path(args.out or ROOT / "build" / "gradescope" / f"{lab.name}-{lab.arch}.zip")
    count = gradescope.make_zip(ROOT, lab, args.seed, out, args.course == "yes",
                                staff.roster(Path(args.roster)) if args.roster else None)
    print(f"{out}: {count} files")
    return 0


def do_warm(args: argparse.Namespace) -> int:
    """Builds the pristine tree, so that the first grade need not."""
    with Workshop(ROOT, lab_named(ROOT, args.lab, args.arch), choose()) as workshop:
        print(f"built: {workshop.base_name}")
    return 0


def do_convert(args: argparse.Namespace) -> int:
    """Prints a report in another form; without a report, what to hand over where there is no grade."""
    if args.report == "-":
        print(formats.failed(args.form, "see the grader's own output"), end="")
        return 2
    print(formats.FORMATS[args.form](json.loads(Path(args.report).read_text())), end="")
    return 0


def do_check(args: argparse.Namespace) -> int:
    """Proves labs."""
    arches = args.arches.split()
    labs = [lab_named(ROOT, name, None) for name in args.labs] or all_labs(ROOT, None)
    if args.since:
        done = subprocess.run(["git", "-C", str(ROOT), "diff", "--name-only", f"{args.since}...HEAD"],
                              capture_output=True, text=True, check=True)
        labs = [lab for lab in labs if touched(ROOT, lab, done.stdout.splitlines())]
    return _prove(labs, arches, args)


def _prove(labs: list[Lab], arches: list[str], args: argparse.Namespace) -> int:
    """Proves labs on architectures, as far as they are there for them, and prints the table."""
    course = read_course(ROOT) if (ROOT / COURSE_FILE).is_file() else None
    wanted = [load(lab.folder, arch) for arch in arches for lab in labs if arch in lab.architectures]
    if not wanted:
        print("no lab to prove")
        return 0
    provers = prove(ROOT, wanted, args.seed, args.only, course)
    print("\n" + table(provers), end="")
    return 0 if all(p.holds for p in provers) else 1


def do_branches(args: argparse.Namespace) -> int:
    """Publishes the course."""
    course = read_course(ROOT)
    dest, private = Path(args.dest), Path(args.private) if args.private else None
    branches = publish(ROOT, course, dest, private, None if args.no_diagnosis else _diagnoses)
    if private and course.key and not course.key.is_file():
        course.key.touch(0o600)
        course.key.write_bytes((private / course.key.relative_to(ROOT)).read_bytes())
        print(f"class key: {course.key.relative_to(ROOT)}, and in {private}")
    print(f"{course.title}: {len(course.entries)} labs in {dest}" + (f", solutions in {private}" if private else ""))
    print("".join(f"  {b}\n" for b in branches), end="")
    return 0


def _diagnoses(entry: Entry) -> dict[str, bytes]:
    """The broken kernels that come with a lab's branch."""
    out: dict[str, bytes] = {}
    for arch in entry.architectures:
        lab = load(ROOT / "labs" / entry.folder, arch)
        with Workshop(ROOT, lab, choose(trust=True)) as workshop, tempfile.TemporaryDirectory() as scratch:
            give_diagnosis(ROOT, workshop, Path(scratch))
            out |= {str(p.relative_to(scratch)): p.read_bytes() for p in Path(scratch).rglob("*") if p.is_file()}
    return out


def do_show(args: argparse.Namespace) -> int:
    """Says what a lab asks."""
    lab = lab_named(ROOT, args.lab, args.arch)
    print(f"{lab.title} ({lab.folder.name}), {lab.hours:g} hours (estimated)\n")
    if twist := read_ticket(ROOT, lab).twist:
        print(f"your own: {twist.text}\n")
    if lab.requires:
        print(f"to be done before: {', '.join(lab.requires)}\n")
    print("to edit:")
    print("".join(f"  {name}\n" for name in lab.editable))
    lines = reading_lines(lab, ROOT)
    print("to read:")
    print("".join(f"  {count:>4}  {entry}\n" for entry, count in lines), end="")
    print(f"  {sum(n for _, n in lines):>4}  lines in all\n\nchecks:")
    print("".join(f"  {c.points:>4}  {c.title} [{c.name}]\n" for c in lab.checks), end="")
    if lab.causes:
        print(f"\nlabs/{lab.folder.name}/{diagnosis.FILE} names cpu, function and cause, one of:\n  " + "\n  ".join(lab.causes))
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="grade.lab", description=__doc__,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = top.add_subparsers(dest="verb", required=True)

    def verb(name: str, run: object, lab: bool = True) -> argparse.ArgumentParser:
        p = verbs.add_parser(name)
        p.set_defaults(run=run)
        p.add_argument("--seed", type=int, default=DEFAULT_SEED, help=f"default {DEFAULT_SEED}")
        p.add_argument("--arch", default="x86_64", choices=sorted(ARCHES), help="default x86_64")
        if lab:
            p.add_argument("lab")
        return p

    def course_of(p: argparse.ArgumentParser) -> None:
        p.add_argument("--course", default="auto", choices=("auto", "yes", "no"),
                       help="whether what is graded comes from a course's branch (default: as it says itself)")

    verb("lab", do_lab).add_argument("dest")
    p = verb("grade", do_grade)
    p.add_argument("--from", dest="source", default="", help="directory of the answer (default: this tree)")
    p.add_argument("--student", default="", help="whose twist it is, by the class key")
    course_of(p)
    p.add_argument("--twists", default="", help="Gradescope's: whose twist is which, ...")
    p.add_argument("--metadata", default="", help="... and who it is that hands in")
    p.add_argument("--out", default="", help="directory for report.json, .html and .xml")
    p.add_argument("--trust", action="store_true", help="run without isolation where the host has none")
    p.add_argument("--problem", default="", help="what is wrong with a submission that cannot even be unpacked")
    p.add_argument("--problem-text", default="")
    for name, run, words in (("batch", batch.run, "grade every submission of a directory"),
                             ("regrade", lambda args: batch.run(args, again=True), "the same again; keep what is higher"),
                             ("collect", batch.collect, "write the summary of what is graded")):
        p = verb(name, run)
        p.description = words
        p.add_argument("--submissions", required=True, help="directory of directories or archives")
        course_of(p)
        p.add_argument("--roster", default="", help="a file with the class's names: each is graded by its twist")
        p.add_argument("--out", default="", help="directory of the reports (default build/batch/LAB/ARCH)")
        p.add_argument("--jobs", type=int, default=batch.jobs(), help="how many at a time")
        p.add_argument("--shard", type=batch.shard, default=(0, 1), metavar="K/N", help="only part K (from 0) of N")
    p = verb("check", do_check, lab=False)
    p.add_argument("labs", nargs="*")
    p.add_argument("--only", default="", help="only variants whose name contains this")
    p.add_argument("--arches", default=" ".join(sorted(ARCHES)), help="architectures (default: all)")
    p.add_argument("--since", default="", help="only labs that changes since this commit may touch")
    verb("course-check", staff.course_check, lab=False).add_argument("--only", default="")
    verb("course-demo", staff.course_demo, lab=False).add_argument("lab", nargs="?", default="")
    p = verb("tickets", staff.tickets, lab=False)
    p.add_argument("roster", help="a file with a student's name on each line")
    p.add_argument("dest")
    p = verb("diagnosis", staff.check_diagnosis)
    p.add_argument("--from", dest="source", required=True)
    p.add_argument("--student", default="")
    p = verb("similarity", similarity.similarity)
    p.add_argument("submissions", help="a directory of submissions: directories, or what `submit` packed")
    p.add_argument("--least", type=int, default=50, help="percent from which on a pair is shown (default 50)")
    p = verb("branches", do_branches, lab=False)
    p.add_argument("dest")
    p.add_argument("--private", default="", help="where the instructor's repository goes")
    p.add_argument("--no-diagnosis", action="store_true", help="without the broken kernels, which take time to build")
    verb("show", do_show)
    p = verb("gradescope", do_gradescope)
    p.add_argument("--out", default="", help="the zip's name")
    course_of(p)
    p.add_argument("--roster", default="", help="a file with the class's names, as Gradescope knows them: e-mail addresses")
    verb("warm", do_warm)
    p = verb("convert", do_convert, lab=False)
    p.add_argument("form", choices=sorted(formats.FORMATS))
    p.add_argument("report", help="report.json, or - where the grader failed")
    p = verb("why", desk.why)
    p.add_argument("check")
    p.add_argument("--fails", action="store_true", help="stop where the check fails, not where it begins to look")
    verb("diagnose", desk.diagnose)
    verb("reset", desk.reset)
    verb("submit", desk.submit)
    verb("progress", desk.progress, lab=False)
    verb("solution", desk.solution).add_argument("--from", dest="source", default="", help="directory of the answer")
    verb("which", desk.which, lab=False).add_argument("--attack", action="store_true", help="its attack's name")
    return top


def main(argv: list[str]) -> int:
    """Runs one verb; its exit status."""
    args = parser().parse_args(argv)
    try:
        return int(args.run(args))
    except (SpecError, CutError, TreeError, SubmissionError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except (SandboxError, WorkshopError, QemuError, GraderError, HostError) as error:
        print(f"lab: not graded, and nobody's fault but the grader's or the host's: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except Exception:       # noqa: B902 - whatever it is, it is no grade
        traceback.print_exc()
        print("lab: the grader failed; this is no grade", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
