"""`make harden-report`: one table of every mitigation, made by running everything that proves it.

A line a row: its state as /proc/harden tells it, its attacks without it and with it, its checks from outside,
and what it costs. The cells come from a pytest run of just those tests and from `grade.costs`; nothing is
remembered from earlier runs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml
from dataclasses import asdict, dataclass
from pathlib import Path

from grade.attacks import attacks
from grade.bench import ROOT, BenchError
from grade.costs import OPERATIONS, costs, states
from grade.rows import Row, rows

WINS = "test_attack_wins_where_its_mitigations_are_off"
LOSES = ("test_attack_on_the_complete_kernel_changes_nothing", "test_blocked_attack_ends_with_its_process_killed",
         "test_kernel_lives_on_after_a_blocked_attack")
SHOWN = ("null", "context-switch", "fork+exec", "fault-anon")
assert set(SHOWN) <= set(OPERATIONS)

Outcomes = dict[str, list[bool]]        # "test_name" and "test_name[parameter]" -> whether each case passed


@dataclass
class Line:
    """One row of the report."""

    row: str
    state: str
    without: str        # its attacks where it is off
    with_it: str        # its attacks on the complete kernel
    check: str          # what looks from outside
    cost: str           # instructions more: null, context switch, fork+exec, anonymous fault


def outcomes(report: Path) -> Outcomes:
    """Reads pytest's JUnit file."""
    found: Outcomes = {}
    for case in xml.parse(report).getroot().iter("testcase"):
        passed = all(case.find(kind) is None for kind in ("failure", "error", "skipped"))
        name = case.get("name") or ""
        for key in {name, name.partition("[")[0]}:
            found.setdefault(key, []).append(passed)
    return found


def prove(arch: str, proofs: list[Row]) -> Outcomes:
    """Runs the attacks and every check that the rows name, those on Bochs too; tests of the other architecture are
    left out."""
    files = {test.partition("::")[0] for row in proofs for test in row.checks} | {"test_attacks.py"}
    names = {test.partition("::")[2] for row in proofs for test in row.checks} | {WINS, *LOSES}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        subprocess.run([sys.executable, "-m", "pytest", *(f"grade/tests/{f}" for f in sorted(files)), "--arch", arch,
                        "-k", " or ".join(sorted(names)), "-n", "2", "-q", "--tb=no", f"--junitxml={report}"],
                       cwd=ROOT, stdout=sys.stderr, check=False)
        return outcomes(report)


def attack_cells(row: Row, arch: str, seen: Outcomes) -> tuple[str, str]:
    """What its attacks did without the row, and with it."""
    here = [a for a in row.attacks if a in attacks(ROOT / "user" / "attack", arch)]
    why = "model" if row.model else "not emulated" if row.not_emulated else ""
    if not here:
        return why or "MISSING", why or "MISSING"

    def all_passed(test: str) -> bool:
        return all(all(seen.get(f"{test}[{arch}-{a}]", [False])) for a in here)

    without = "wins" if all_passed(WINS) else "DOES NOT WIN"
    lost = "loses" if all(all_passed(test) for test in LOSES) else "NOT STOPPED"
    label = f" ({why})" if why else ""
    return without + label, lost + label


def line(row: Row, arch: str, state: str, seen: Outcomes, found: dict[str, dict[str, float]]) -> Line:
    """One row's cells."""
    without, with_it = attack_cells(row, arch, seen)
    ran = {name: all(seen[name]) for t in row.checks if (name := t.partition("::")[2]) in seen}
    bad = [name for name, passed in ran.items() if not passed]
    check = f"RED: {', '.join(bad)}" if bad else f"{len(ran)} green" if ran else "absent" if state == "absent" else "MISSING"
    cost = found.get(row.name)
    figures = " ".join(f"{cost[op]:+,.0f}" for op in SHOWN) if cost else "not on"
    return Line(row.name, state, without, with_it, check, figures)


def table(arch: str, lines: list[Line], everything: dict[str, float]) -> str:
    """Markdown, aligned."""
    head = ["row", arch, "attack without", "attack with", "outside check", "cost: " + ", ".join(SHOWN)]
    cells = [head, *([str(v) for v in asdict(entry).values()] for entry in lines)]
    widths = [max(len(c[i]) for c in cells) for i in range(len(head))]
    out = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
    out.insert(1, "| " + " | ".join("-" * w for w in widths) + " |")
    total = ", ".join(f"{op} {everything[op]:,.0f}" for op in SHOWN)
    return "\n".join(out) + f"\n\nCosts are guest instructions more than without the row; with everything on: {total}."


def main(argv: list[str]) -> int:
    """The command line; 1 if a cell is not as it should be."""
    parser = argparse.ArgumentParser(prog="grade.harden_report", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--arch", default="x86_64")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    build = ROOT / "build" / args.arch
    kernel, initrd = build / "rampart", build / "initrd.cpio"
    proofs = [row for row in rows() if args.arch in row.architectures]
    try:
        live = states(args.arch, kernel, initrd)
        found = costs(args.arch, kernel, initrd, SHOWN)
    except BenchError as error:
        print(f"harden-report: {error}", file=sys.stderr)
        return 1
    seen = prove(args.arch, proofs)
    lines = [line(row, args.arch, live.get(row.name, "NOT LISTED"), seen, found) for row in proofs]
    print(json.dumps([asdict(entry) for entry in lines], indent=2) if args.json
          else table(args.arch, lines, found["all"]))
    return int(any(word.isupper() and len(word) > 2 for entry in lines for cell in asdict(entry).values()
                   for word in str(cell).replace(":", " ").split()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
