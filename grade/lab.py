"""The labs: make a starter, grade an answer, prove the labs.

    lab LAB DEST                        write LAB's starter to DEST
    grade LAB [--from DIR] [--seed N]   grade the files of DIR that the lab names; everything else is pristine
    check [LAB...]                      prove labs: starter, solutions, mutants (make check-labs)
    show LAB                            what the lab asks, its reading list, counted
    why LAB CHECK                       boot the answer and stop in GDB where CHECK looks
    diagnose LAB                        boot the lab's broken kernel for GDB
    reset LAB                           back to the starter; what was there is kept in .lab-backup
    submit LAB                          check that the answer builds, and pack it

Exit status: 0 graded (whatever the score) or done; 1 what was asked for is not so (a proof failed, no such
lab, a submission that is not complete); 2 the grader or the host failed, which is nobody's zero.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path

from grade.labs import desk, report
from grade.labs.cut import CutError
from grade.labs.grading import GraderError, grade
from grade.labs.prove import give_diagnosis, prove
from grade.labs.sandbox import SandboxError, choose
from grade.labs.spec import SpecError, all_labs, lab_named, reading_lines
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
        start = workshop.build({name: (dest / name).read_bytes() for name in lab.editable})
        workshop.give_base(start, dest)
        workshop.give_busybox(dest)
    again = "" if args.arch == "x86_64" else f" ARCH={args.arch}"
    print(f"{lab.title}: {args.dest}\nread handouts/{lab.folder.name}.md there; then: make -C {args.dest} grade{again}")
    return 0


def do_grade(args: argparse.Namespace) -> int:
    """Grades one submission."""
    lab = lab_named(ROOT, args.lab, args.arch)
    source = Path(args.source).resolve() if args.source else ROOT
    if not source.is_dir():
        print(f"lab: {args.source}: no such directory", file=sys.stderr)
        return 1
    # One's own tree is one's own work: it may be run without isolation where there is none.
    with Workshop(ROOT, lab, choose(args.trust or source == ROOT)) as workshop:
        try:
            submission: dict[str, bytes] | SubmissionError = workshop.take(source)
        except SubmissionError as error:
            submission = error
        data = report.as_dict(grade(workshop, submission, args.seed))
    out = Path(args.out) if args.out else ROOT / "build" / "grade" / lab.name / lab.arch
    report.write(data, out)
    print(report.terminal(data), end="")
    return 0


def do_check(args: argparse.Namespace) -> int:
    """Proves labs."""
    labs = [lab_named(ROOT, name, args.arch) for name in args.labs] if args.labs else all_labs(ROOT, args.arch)
    good = True
    for lab in labs:
        good = prove(ROOT, lab, choose(trust=True), args.seed, args.only) and good
    return 0 if good else 1


def do_show(args: argparse.Namespace) -> int:
    """Says what a lab asks."""
    lab = lab_named(ROOT, args.lab, args.arch)
    print(f"{lab.title} ({lab.folder.name}), {lab.hours:g} hours (estimated)\n\nto edit:")
    print("".join(f"  {name}\n" for name in lab.editable))
    lines = reading_lines(lab, ROOT)
    print("to read:")
    print("".join(f"  {count:>4}  {entry}\n" for entry, count in lines), end="")
    print(f"  {sum(n for _, n in lines):>4}  lines in all\n\nchecks:")
    print("".join(f"  {c.points:>4}  {c.title} [{c.name}]\n" for c in lab.checks), end="")
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

    verb("lab", do_lab).add_argument("dest")
    p = verb("grade", do_grade)
    p.add_argument("--from", dest="source", default="", help="directory of the answer (default: this tree)")
    p.add_argument("--out", default="", help="directory for report.json, .html and .xml")
    p.add_argument("--trust", action="store_true", help="run without isolation where the host has none")
    p = verb("check", do_check, lab=False)
    p.add_argument("labs", nargs="*")
    p.add_argument("--only", default="", help="only variants whose name contains this")
    verb("show", do_show)
    verb("why", desk.why).add_argument("check")
    verb("diagnose", desk.diagnose)
    verb("reset", desk.reset)
    verb("submit", desk.submit)
    return top


def main(argv: list[str]) -> int:
    """Runs one verb; its exit status."""
    args = parser().parse_args(argv)
    try:
        return int(args.run(args))
    except (SpecError, CutError, TreeError, SubmissionError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except (SandboxError, WorkshopError, QemuError, GraderError) as error:
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
