"""What is handed in is found, whoever packed it, and whose it is; what is left alone is said."""

from __future__ import annotations

import bz2
import json
import lzma
import tarfile
import threading
import unicodedata
import zipfile
from argparse import Namespace
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from grade.labs import batch, gradescope, handin
from grade.labs.course import MARK
from grade.labs.spec import SpecError, lab_named
from grade.labs.workshop import SubmissionError

ROOT = Path(__file__).resolve().parent.parent.parent
LAB = lab_named(ROOT, "stack-guard", "x86_64")
GUARD = "kernel/harden/stack_guard.c"


def archive(path: Path, files: dict[str, str], below: str = "") -> Path:
    """Packs files as the name's suffix says, below a directory if asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = path.with_name("plain.tar")
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as packed:
            for name, text in files.items():
                packed.writestr(below + name, text)
        return path
    with tarfile.open(plain, "w") as tar:
        for name, text in files.items():
            source = path.with_name("one")
            source.write_text(text)
            tar.add(source, below + name)
            source.unlink()
    data = plain.read_bytes()
    plain.unlink()
    if path.suffix == ".xz":
        data = lzma.compress(data)
    elif path.suffix == ".bz2":
        data = bz2.compress(data)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.xz", "a.tar.bz2"])
@pytest.mark.parametrize("below", ["", "stack-guard-main/"])
def test_of_an_archive_the_labs_files_are_taken(tmp_path: Path, name: str, below: str) -> None:
    path = archive(tmp_path / name, {GUARD: "mine", "Makefile": "no", MARK: ""}, below)
    handin.unpack(LAB, path, tmp_path / "out")
    assert [str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()] == [GUARD]
    assert handin.marked(path), "a course's mark lies where the files lie"
    assert not handin.marked(archive(tmp_path / f"b{name}", {GUARD: ""}, below))


def test_everybody_is_found_and_nothing_vanishes(tmp_path: Path) -> None:
    for name in ("ann.tar.gz", "bob.TGZ", "cyd.7z", "dee.tar.zst", "index.html", ".hidden"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "eve").mkdir()
    (tmp_path / unicodedata.normalize("NFD", "Élise")).mkdir()
    (tmp_path / "ann").mkdir()
    found = handin.submissions(tmp_path)
    assert sorted(found) == ["ann", "bob", "cyd", "dee", "eve", "Élise"] and len(found["ann"]) == 2
    assert handin.strangers(tmp_path) == ["index.html"]
    with pytest.raises(SpecError, match="no such directory"):
        handin.submissions(tmp_path / "none")


def a_class(folder: Path, **more: object) -> batch.Class:
    """A class of whoever handed in there."""
    return batch.Class(LAB, folder.parent / "out", 1, "state", people=handin.submissions(folder), **more)  # type: ignore[arg-type]


def test_who_cannot_be_graded_stops_nobody(tmp_path: Path) -> None:
    for name in ("ann.zip", "ann.tar", "cyd.7z"):
        archive(tmp_path / "class" / name, {})
    (tmp_path / "class" / "dan").mkdir()
    group = a_class(tmp_path / "class", roster=frozenset({"ann", "cyd"}))
    results = [batch.grade_one(group, n) for n in ("ann", "cyd", "dan")]
    assert [r.why.partition(":")[0] for r in results] == ["handed in twice", "cyd.7z", "no such name in the roster"]
    assert all(r.spoiled and r.score is None for r in results)


def test_an_archive_alone_in_a_directory_is_the_submission(tmp_path: Path) -> None:
    folder = archive(tmp_path / "class" / "ann" / "stack-guard-submission (1).tar", {n: "x" for n in LAB.editable}).parent
    assert handin.inner(LAB, folder) == folder / "stack-guard-submission (1).tar"
    group = a_class(tmp_path / "class")
    _, broken, key = batch._open(group, "ann", tmp_path / "scratch")
    assert broken is None and key["files"]
    (folder / "second.zip").write_bytes(b"")
    assert handin.inner(LAB, folder) == folder, "which of two?"


def test_the_course_is_the_classs_and_not_one_submissions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i, name in enumerate(("ann", "bob", "cyd")):
        archive(tmp_path / f"{name}.zip", {GUARD: "", **({MARK: ""} if i else {})}, "top/" if i == 1 else "")
    people = handin.submissions(tmp_path)
    assert batch.from_course(LAB, people, "auto")
    assert capsys.readouterr().out.endswith(": ann\n")
    assert not batch.from_course(LAB, people, "no") and capsys.readouterr().out.endswith(": bob, cyd\n")
    del people["bob"]
    assert not batch.from_course(LAB, people, "auto"), "half is not most"


def report(folder: Path, score: int, key: dict | None = None) -> Path:
    """A report with a score, and its key."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps({"score": score, "problem": ""}))
    if key:
        (folder / "key.json").write_text(json.dumps(key))
    return folder


def test_what_a_regrade_kept_or_changed_is_remembered(tmp_path: Path) -> None:
    """The grade that was kept is the one of the next run, too, and an interrupted regrade loses no line of changes.csv."""
    out, old, new = tmp_path / "ann", {"grader": "old", "files": "f"}, {"grader": "new", "files": "f"}
    report(out, 80, old)
    assert batch._keep_higher(out, report(tmp_path / "fresh", 70), new, True) is None
    known = batch._known(out, new)
    assert known and known.score == 80 and known.was is None
    assert json.loads((out / "lower" / "report.json").read_text())["score"] == 70
    report(out, 40, old)
    assert batch._keep_higher(out, report(tmp_path / "fresh", 90), new, True) == 40
    known = batch._known(out, new)
    assert known and (known.score, known.was) == (90, 40) and batch._known(out, old) is None
    # A grade of other files goes, whatever it was.
    assert batch._keep_higher(out, report(tmp_path / "fresh", 10), {"files": "g"}, False) is None
    assert batch._known(out, {"files": "g"}).score == 10        # type: ignore[union-attr]


def test_a_grade_that_stands_is_not_lost_to_a_broken_host(tmp_path: Path) -> None:
    out = report(tmp_path / "ann", 80, {"files": "f"})
    kept, gone = (batch._spoiled(out, {"files": f}, "the host is full") for f in "fg")
    assert kept.score == 80 and kept.spoiled and gone.score is None and gone.spoiled


@pytest.mark.parametrize("out", ["class", "class/reports", "."])
def test_reports_and_submissions_lie_apart(tmp_path: Path, out: str) -> None:
    (tmp_path / "class" / "ann").mkdir(parents=True)
    args = Namespace(lab="stack-guard", arch="x86_64", submissions=str(tmp_path / "class"), out=str(tmp_path / out))
    with pytest.raises(SpecError, match="report"):
        batch.class_of(args)
    assert (tmp_path / "class" / "ann").is_dir()


def test_an_interrupt_ends_a_batch_with_a_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ann", "bob", "cyd"):
        (tmp_path / "class" / name).mkdir(parents=True)
    graded: list[str] = []
    stopped = threading.Event()

    class Pool(ThreadPoolExecutor):
        """Says when it takes nobody up any more; whoever came second is under way until then, or never was."""
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            stopped.set()
            super().shutdown(wait=wait)

    def one(group: batch.Class, name: str) -> batch.Result:
        if name != "ann":
            assert stopped.wait(60)
        graded.append(name)
        return batch.Result(name, "graded", json.loads(report(group.out / name, 100).joinpath("report.json").read_text())
                            | {"checks": [], "gated": False})

    def progress(*_: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "out").mkdir()
    monkeypatch.setattr(batch, "class_of", lambda args, again: a_class(tmp_path / "class"))
    monkeypatch.setattr(batch, "grade_one", one)
    monkeypatch.setattr(batch, "_progress", progress)
    monkeypatch.setattr(batch, "ThreadPoolExecutor", Pool)
    assert batch.run(Namespace(shard=(0, 1), jobs=1)) == 130
    rows = (tmp_path / "out" / "summary.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows if ",100,100,graded," in row] == graded
    assert len(rows) == 3 and rows[2].startswith("cyd,,100,not graded: stopped before")


def test_gradescope_knows_who_hands_in(tmp_path: Path) -> None:
    spec = LAB.twists[0]
    twists, who = tmp_path / "twists.json", tmp_path / "submission_metadata.json"
    twists.write_text(json.dumps({"ann@x.edu": [spec.name, spec.values[0]]}))
    who.write_text(json.dumps({"users": [{"email": "bob@x.edu"}, {"email": "ann@x.edu"}]}))
    share = gradescope.share_of(LAB, twists, who)
    assert share.twist and (share.twist.name, share.twist.value) == (spec.name, spec.values[0])
    for text in ('{"users": [{"email": "bob@x.edu"}]}', "{}", "junk"):
        who.write_text(text)
        with pytest.raises(SpecError):
            gradescope.share_of(LAB, twists, who)


def test_a_broken_archive_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.tar.xz").write_bytes(b"\xfd7zXZ\x00junk")
    with pytest.raises(SubmissionError, match="cannot be read"):
        handin.unpack(LAB, tmp_path / "a.tar.xz", tmp_path / "out")
    assert not handin.marked(tmp_path / "a.tar.xz")
