"""Grading a class: one bad submission stops nobody, what is done stays done, a regrade keeps what is higher."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from grade.lab import main
from grade.labs import batch
from grade.labs.course import read, widened
from grade.labs.handin import submissions
from grade.labs.same import differing
from grade.labs.sandbox import SEPARATE_UID, choose
from grade.labs.spec import Lab, lab_named
from grade.labs.staff import share_of
from grade.labs.workshop import Workshop

pytestmark = pytest.mark.soak     # each builds and grades

ROOT = Path(__file__).resolve().parent.parent.parent
GUARD = "kernel/harden/stack_guard.c"


@pytest.fixture
def lab(arch: str) -> Lab:
    """The first lab."""
    return lab_named(ROOT, "stack-guard", arch)


def hand_in(lab: Lab, folder: Path, spoil: str = "") -> Path:
    """The answer as a directory, with something at the end of one file."""
    for name in lab.editable:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    with open(folder / GUARD, "a") as file:
        file.write(spoil)
    return folder


@pytest.fixture
def bad_class(lab: Lab, tmp_path: Path) -> Path:
    """A class in which nobody's work can be graded to the end, each for another reason."""
    folder = tmp_path / "class"
    hand_in(lab, folder / "ann", "\nint main = undeclared;\n")
    (folder / "bea").mkdir()
    (folder / "cat.tar.gz").write_bytes(b"\x1f\x8bjunk")
    hand_in(lab, tmp_path / "dan", "\n#error no\n")
    with tarfile.open(folder / "dan.tgz", "w:gz") as archive:
        archive.add(tmp_path / "dan", "deep")
    link = hand_in(lab, folder / "eve") / GUARD
    link.unlink()
    link.symlink_to("/etc/shadow")
    (folder / "=cmd()").mkdir()
    return folder


def table(path: Path) -> dict[str, dict[str, str]]:
    """A summary by submission."""
    with open(path, newline="") as file:
        return {row["submission"]: row for row in csv.DictReader(file)}


@pytest.mark.timeout(900)
def test_no_submission_stops_the_rest_and_each_is_told_its_own_reason(lab: Lab, bad_class: Path, tmp_path: Path,
                                                                    capsys: pytest.CaptureFixture[str]) -> None:
    args = [lab.name, "--arch", lab.arch, "--submissions", str(bad_class), "--out", str(tmp_path / "out")]
    assert main(["batch", *args]) == 0
    said = capsys.readouterr().out
    rows = table(tmp_path / "out" / "summary.csv")
    assert {n: r["state"] for n, r in rows.items()} == {
        "ann": "does not compile", "bea": "missing file", "cat": "not an archive", "dan": "does not compile",
        "eve": "not a plain file", "_cmd__": "missing file"}
    assert {r["score"] for r in rows.values()} == {"0"} and "[6/6]" in said
    schema = json.loads((ROOT / "grade" / "schemas" / "report.json").read_text())
    for name in rows:
        jsonschema.validate(json.loads((tmp_path / "out" / name / "report.json").read_text()), schema)
        assert name in (tmp_path / "out" / "summary.html").read_text()

    # What is done stays done; what was changed is graded again.
    before = {n: (tmp_path / "out" / n / "report.json").stat().st_mtime_ns for n in rows}
    (bad_class / "ann" / GUARD).write_text("#error another\n")
    assert main(["batch", *args]) == 0
    after = {n: (tmp_path / "out" / n / "report.json").stat().st_mtime_ns for n in rows}
    assert {n for n in rows if before[n] != after[n]} == {"ann"}

    # Parts of a class are graded apart and put together.
    shutil.rmtree(tmp_path / "out")
    assert [main(["batch", *args, "--shard", f"{k}/2"]) for k in (0, 1)] == [0, 0]
    assert not (tmp_path / "out" / "summary.csv").exists()
    assert main(["collect", *args]) == 0
    assert table(tmp_path / "out" / "summary.csv").keys() == rows.keys()


def a_class(lab: Lab, folder: Path, out: Path, seed: int = 1, again: bool = False) -> batch.Class:
    """A class as the command line would have it."""
    return batch.Class(lab, out, seed, "state", again=again, people=submissions(folder))


def test_a_grader_that_fails_gives_no_zero_and_is_tried_again(lab: Lab, tmp_path: Path,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    hand_in(lab, tmp_path / "class" / "ann", "\n#error no\n")
    group = a_class(lab, tmp_path / "class", tmp_path / "out")
    monkeypatch.setenv("RAMPART_ISOLATION", "a prayer")
    failed = batch.grade_one(group, "ann")
    assert failed.score is None and failed.state == "not graded" and "a prayer" in failed.why
    assert not (tmp_path / "out" / "ann" / "report.json").exists()
    batch.write_summary(lab, tmp_path, [failed], False)
    assert table(tmp_path / "summary.csv")["ann"]["score"] == ""
    monkeypatch.delenv("RAMPART_ISOLATION")
    assert batch.grade_one(group, "ann").state == "does not compile"


def test_a_regrade_keeps_the_higher_score_and_lists_what_changed(lab: Lab, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name, old in (("ann", 40), ("bob", 0), ("cyd", -10)):
        hand_in(lab, tmp_path / "class" / name, "\n#error no\n")
        batch.grade_one(a_class(lab, tmp_path / "class", out), name)
        report = out / name / "report.json"
        report.write_text(json.dumps(json.loads(report.read_text()) | {"score": old}))
    # ann had 40, and would have 0 now; bob's would go from 0 to 0; cyd's rises. An interrupted regrade says the same again.
    for _ in range(2):
        results = [batch.grade_one(a_class(lab, tmp_path / "class", out, 2, True), n) for n in ("ann", "bob", "cyd")]
        assert [(r.score, r.was) for r in results] == [(40, None), (0, None), (0, -10)]
    assert json.loads((out / "ann" / "lower" / "report.json").read_text())["score"] == 0
    # And the next run of the class keeps what was kept.
    assert batch.grade_one(a_class(lab, tmp_path / "class", out, 2), "ann").score == 40
    batch.write_summary(lab, tmp_path, results, again=True)
    assert list(table(tmp_path / "changes.csv")) == ["cyd"]


def test_who_has_a_twist_is_graded_by_it(lab: Lab, tmp_path: Path) -> None:
    """The verbatim reference is not enough where a roster has its author, and is where there is none."""
    key = ROOT / "labs" / "class.key"
    if key.exists():
        pytest.skip("this tree has a class key of its own")
    hand_in(lab, tmp_path / "class" / "ann")
    group = a_class(lab, tmp_path / "class", tmp_path / "out")
    assert batch.grade_one(group, "ann").score == lab.points
    try:
        key.write_text("k" * 32)
        own = batch.grade_one(replace(group, roster=frozenset({"ann"})), "ann")
        twist = share_of(lab, "ann").twist
    finally:
        key.unlink()
    assert twist and own.score is not None and own.score < lab.points
    assert json.loads((tmp_path / "out" / "ann" / "key.json").read_text())["twist"] == [twist.name, twist.value]


def test_a_cell_that_a_spreadsheet_would_run_is_text() -> None:
    assert batch._cell("=HYPERLINK(1)") == "'=HYPERLINK(1)" and batch._cell(7) == 7 and batch._cell("ann") == "ann"


# ---- Gradescope ---------------------------------------------------------------------------------------------


@pytest.fixture
def autograder(lab: Lab, tmp_path: Path) -> Path:
    """A directory laid out as Gradescope's /autograder is, with our zip unpacked; not set up yet."""
    return laid_out(lab, tmp_path)


def laid_out(lab: Lab, tmp_path: Path, *more: str) -> Path:
    """The same with a zip that is made otherwise."""
    assert main(["gradescope", lab.name, "--arch", lab.arch, "--out", str(tmp_path / "z.zip"), *more]) == 0
    top = tmp_path / "autograder"
    for folder in [*top.parents][:3]:
        folder.chmod(0o711)
    (top / "submission").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "z.zip") as archive:
        for info in archive.infolist():
            Path(archive.extract(info, top / "source")).chmod(info.external_attr >> 16 & 0o777)
    shutil.copy(top / "source" / "run_autograder", top / "run_autograder")
    return top


def run_autograder(top: Path, **more: str) -> tuple[int, dict]:
    """Runs it as Gradescope does; its status and its results."""
    environment = {"PATH": os.environ["PATH"], "AUTOGRADER": str(top), **more}
    done = subprocess.run([str(top / "run_autograder")], env=environment, capture_output=True, check=False, timeout=3000)
    results = json.loads((top / "results" / "results.json").read_text())
    jsonschema.validate(results, json.loads((ROOT / "grade" / "schemas" / "gradescope.json").read_text()))
    return done.returncode, results


def test_the_zip_holds_what_grading_takes_and_no_mutant(autograder: Path, lab: Lab) -> None:
    tree = autograder / "source" / "rampart"
    names = {str(p.relative_to(tree)) for p in tree.rglob("*") if p.is_file()}
    assert {"Makefile", "setup", "grade/lab.py", f"labs/{lab.folder.name}/checks.py"} <= names
    assert not [n for n in names if "/mutants/" in n or "/alt/" in n or n.startswith("labs/") and lab.folder.name not in n]
    assert os.access(autograder / "run_autograder", os.X_OK) and os.access(autograder / "source" / "setup.sh", os.X_OK)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.skipif(os.geteuid() != 0, reason="Gradescope's containers run as root")
def test_an_unpacked_zip_grades_as_gradescope_would(autograder: Path, lab: Lab) -> None:
    subprocess.run([str(autograder / "source" / "setup.sh")], check=True, timeout=3000,
                   env={"PATH": os.environ["PATH"], "AUTOGRADER": str(autograder)})
    hand_in(lab, autograder / "submission")
    status, results = run_autograder(autograder)
    assert status == 0 and results["score"] == lab.points and SEPARATE_UID in results["output"]
    (autograder / "submission" / GUARD).unlink()
    status, results = run_autograder(autograder)
    assert status == 0 and results["score"] == 0 and "stack_guard.c is not there" in results["output"]
    # The tree that grades has the answer, and who builds the submission must not reach it.
    (autograder / "submission" / GUARD).write_text(f'#include "{autograder}/source/rampart/{GUARD}"\n')
    status, results = run_autograder(autograder)
    assert status == 0 and results["score"] == 0 and "Permission denied" in results["output"]


@pytest.mark.timeout(3600)
@pytest.mark.skipif(os.geteuid() != 0, reason="Gradescope's containers run as root")
def test_a_courses_zip_takes_the_work_on_all_labs(lab: Lab, tmp_path: Path) -> None:
    """What another lab's file brings is compiled, too: a student's own, where the reference would not go with it."""
    top = laid_out(lab, tmp_path, "--course", "yes")
    subprocess.run([str(top / "source" / "setup.sh")], check=True, timeout=3000,
                   env={"PATH": os.environ["PATH"], "AUTOGRADER": str(top)})
    work = tmp_path / "work"
    for name in widened(lab, read(ROOT)).editable:
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, work / name)
    with open(work / GUARD, "a") as file:
        file.write("\nint mine_alone(void);\nint mine_alone(void) { return 0; }\n")
    with open(work / "kernel/harden/aslr.c", "a") as file:
        file.write("\nint mine_alone(void);\nint calls_it(void);\nint calls_it(void) { return mine_alone(); }\n")
    with tarfile.open(top / "submission" / f"{lab.name}-submission (1).tar.gz", "w:gz") as archive:
        archive.add(work, "")
    status, results = run_autograder(top)
    assert status == 0 and results["score"] == lab.points, results


@pytest.mark.skipif(os.geteuid() != 0, reason="Gradescope's containers run as root")
def test_a_failure_on_gradescope_is_no_zero(autograder: Path) -> None:
    (autograder / "source" / "rampart" / "grade" / "qemu.py").write_text("broken(")
    # convert needs no QEMU, but imports it: whatever is broken, a file without a score is there.
    status, results = run_autograder(autograder)
    assert status != 0 and "score" not in results and "tests" not in results and "no grade" in results["output"]


# ---- the same again -----------------------------------------------------------------------------------------


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("times", [4, pytest.param(100, marks=[pytest.mark.soak, pytest.mark.timeout(14400)])])
def test_a_grade_is_the_same_each_time_on_a_busy_host_too(lab: Lab, times: int) -> None:
    with Workshop(ROOT, lab, choose(trust=True)) as workshop:
        assert differing(workshop, workshop.take(ROOT), 5, times, load=True) == []
