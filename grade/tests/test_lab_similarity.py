"""Similarity finds what was copied and dressed up, and leaves alone what the starter gave to all."""

from __future__ import annotations

import html
import re
import tarfile
import zipfile
from pathlib import Path

import pytest

from grade.lab import main
from grade.labs import tree
from grade.labs.course import read
from grade.labs.cut import cut, read_stubs
from grade.labs.handin import submissions
from grade.labs.publish import main_files
from grade.labs.similarity import OTHER, REFERENCE, class_of, read_submission, tokens
from grade.labs.spec import lab_named

ROOT = Path(__file__).resolve().parent.parent.parent
LAB = lab_named(ROOT, "stack-guard")
FILE = "kernel/harden/stack_guard.c"


def starter() -> dict[str, str]:
    """The lab's editable files as they come."""
    return {n: (ROOT / n).read_text() for n in LAB.everywhere} | cut(ROOT, tree.items_of(LAB), read_stubs(LAB.folder))


def disguised(text: str) -> str:
    """Other names, other numbers of blanks, no comments: the same code."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    for i, name in enumerate(["slots", "slot_of", "stack_base", "unmap_stack", "map_stack", "fresh", "nmapped", "guarded", "keep"]):
        text = re.sub(rf"\b{name}\b", f"mine_{i}", text)
    return text.replace("\t", "    ").replace("\n\n", "\n")


def test_names_of_ones_own_comments_and_numbers_do_not_matter() -> None:
    common = frozenset(["if", "return", "page_alloc"])
    one = tokens("if (page_alloc(a) != 0x10) /* so */\n\treturn mine;\n", common)
    two = tokens("// other\nif (page_alloc(other)   !=  17)\n return theirs;", common)
    assert [t.kind for t in one] == [t.kind for t in two] == ["if", "(", "page_alloc", "(", "x", ")", "!=", "0", ")", "return",
                                                              "x", ";"]
    assert one[-1].line == 2 and two[-1].line == 3


def test_a_disguised_copy_of_the_reference_is_found_and_starters_and_another_design_are_not(tmp_path: Path) -> None:
    group = class_of(LAB, tmp_path)
    reference = {n: (ROOT / n).read_text() for n in LAB.everywhere}
    group.add("copier", reference | {FILE: disguised(reference[FILE])})
    group.add("idle", starter())
    group.add("idle too", starter())
    pairs = {(p.one, p.other): p for p in group.pairs()}
    assert pairs[REFERENCE, "copier"].share > 0.8
    assert any(q.startswith(FILE) for q in pairs[REFERENCE, "copier"].passages)
    assert not any("idle" in name for names in pairs for name in names)
    assert (OTHER, "copier") not in pairs


def test_two_students_who_share_are_found_and_the_report_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mutant = starter() | {FILE: starter()[FILE].replace("spin_lock(&lock);", "spin_lock(&lock);\n" + "".join(
        f"\tif (fresh == fresh_end + {i} && free_stacks)\n\t\tfree_stacks = free_stacks->next + {i} * sizeof(lock);\n"
        f"\twhile (fresh > fresh_end - {i}) {{ fresh--; fresh_end += PAGE_SIZE * (uint64_t)fresh; }}\n" for i in range(1, 3)), 1)}
    for who in ("ann", "bob"):
        for name, text in (mutant if who == "ann" else mutant | {FILE: disguised(mutant[FILE])}).items():
            (tmp_path / "class" / who / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "class" / who / name).write_text(text)
    with tarfile.open(tmp_path / "class/cy.tar.gz", "w:gz") as archive:
        archive.add(ROOT / FILE, FILE)
        archive.add(ROOT / "Makefile", "Makefile")
    (tmp_path / "class/dan.tar.gz").write_bytes(b"no archive")
    (tmp_path / "class/notes.txt").touch()
    (tmp_path / "class/eve").mkdir()
    for name, text in starter().items():
        (tmp_path / "class/idle" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "class/idle" / name).write_text(text)
    assert main(["similarity", "stack-guard", str(tmp_path / "class")]) == 0
    text = capsys.readouterr().out
    assert re.search(r"\d+%  ann  bob\n", text) and re.search(r"\d+%  \(the reference\)  cy\n", text)
    assert not re.search(r"(ann|bob)  cy", text)
    page = (ROOT / "build/similarity/stack-guard/similarity.html").read_text()
    assert "ann<td>bob" in page
    for who, why in (("dan", "the archive cannot be read"), ("notes.txt", "neither a directory nor an archive"),
                     ("eve", "none of the lab's files"), ("idle", "too little that the starter has not")):
        assert f"\nnot compared: {who}: {why}" in text and f"<li>{who}: {why}" in html.unescape(page)
    assert text.count("not compared") == 4


@pytest.mark.parametrize("top", ["", "./", "stack-guard-main/"])
@pytest.mark.parametrize("name", ["ann.tar.gz", "ann.zip", "ann.TAR", "ann.ZIP", "ann/handed-in.zip"])
def test_an_archive_is_read_whatever_it_is_called_and_packed_below(tmp_path: Path, name: str, top: str) -> None:
    where = tmp_path / name
    where.parent.mkdir(exist_ok=True)
    if name.lower().endswith("zip"):
        with zipfile.ZipFile(where, "w") as archive:
            archive.write(ROOT / FILE, top + FILE)
            archive.write(ROOT / "Makefile", f"{top}Makefile")
    else:
        with tarfile.open(where, "w:gz" if name.endswith("gz") else "w") as packed:
            packed.add(ROOT / FILE, top + FILE)
            packed.add(ROOT / "Makefile", f"{top}Makefile")
    place = tmp_path / name.split("/")[0]
    assert read_submission(place, LAB) == {FILE: (ROOT / FILE).read_text()}
    assert submissions(tmp_path) == {"ann": [place]}


@pytest.mark.parametrize("name", ["null-guard", "stack-guard", "ro-pgtable"])
def test_who_did_nothing_on_a_courses_branch_has_nothing_in_common_with_anybody(tmp_path: Path, name: str) -> None:
    lab = lab_named(ROOT, name)
    main_has = main_files(ROOT, read(ROOT))
    group = class_of(lab, tmp_path)
    group.add("idle", {n: main_has[n].decode() for n in lab.everywhere})
    group.add("idle too", {n: main_has[n].decode() for n in lab.everywhere})
    group.add("copier", {n: (ROOT / n).read_text() for n in lab.everywhere})
    assert group.too_small() == ["idle", "idle too"]
    assert [(p.one, p.other) for p in group.pairs()] == [(REFERENCE, "copier")]
