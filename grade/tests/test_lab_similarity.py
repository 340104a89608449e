"""Similarity finds what was copied and dressed up, and leaves alone what the starter gave to all."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import pytest

from grade.lab import main
from grade.labs import tree
from grade.labs.cut import cut, read_stubs
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
    assert set(read_submission(tmp_path / "class/cy.tar.gz", LAB)) == {FILE}
    assert main(["similarity", "stack-guard", str(tmp_path / "class")]) == 0
    text = capsys.readouterr().out
    assert re.search(r"\d+%  ann  bob\n", text) and re.search(r"\d+%  \(the reference\)  cy\n", text)
    assert "dan.tar.gz: not read" in text and not re.search(r"(ann|bob)  cy", text)
    assert "ann<td>bob" in (ROOT / "build/similarity/stack-guard/similarity.html").read_text()
