"""The files of grade/rows are read with care, and tables of costs show what was measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from grade.costs import table
from grade.rows import Mutant, RowError, read_row, rows

ROOT = Path(__file__).resolve().parent.parent.parent
GOOD = 'row = "x"\nattacks = ["a"]\nchecks = ["test_x.py::test_y"]\n'
MUTANT = '[[mutant]]\nname = "m"\nfile = "kernel/main.c"\nold = "a"\nnew = "b"\ncaught = ["test_x.py::test_y"]\n'


def read(tmp_path: Path, text: str) -> object:
    """The row that a file x.toml with this text is."""
    (tmp_path / "x.toml").write_text(text)
    return read_row(tmp_path / "x.toml")


def test_a_row_says_its_attacks_checks_and_mutants(tmp_path: Path) -> None:
    row = read(tmp_path, GOOD + MUTANT)
    assert row.attacks == ("a",) and row.checks == ("test_x.py::test_y",)       # type: ignore[attr-defined]
    assert [m.name for m in row.mutants] == ["m"]                               # type: ignore[attr-defined]


@pytest.mark.parametrize("text", [
    GOOD + 'colour = "red"\n', 'row = "x"\nattacks = []\n', GOOD.replace('"x"', '"y"'), GOOD + "[[mutant",
    GOOD + MUTANT.replace('caught = ["test_x.py::test_y"]', "caught = []"), GOOD + MUTANT.replace("old", "odl"),
])
def test_a_row_that_does_not_say_what_it_should_is_refused_by_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(RowError, match=r"^x\.toml: "):
        read(tmp_path, text)


def test_a_mutant_of_one_architecture_is_not_built_for_the_other() -> None:
    def breaks(file: str, only: str = "") -> list[bool]:
        m = Mutant("row", "m", file, "a", "b", ("t",), only)
        return [m.breaks("x86_64"), m.breaks("aarch64")]

    assert breaks("arch/x86_64/mmu.c") == [True, False]
    assert breaks("kernel/main.c") == breaks("arch/arch.h") == [True, True]
    assert breaks("kernel/main.c", "aarch64") == [False, True]


def test_a_cost_is_shown_with_its_sign() -> None:
    text = table({"all": {"null": 105.0}, "kpti": {"null": 31.0}, "smep": {"null": -0.2}})
    assert [line.split() for line in text.splitlines()[1:]] == [["(everything", "on)", "105"], ["kpti", "+31"],
                                                               ["smep", "-0"]]


def test_every_mutant_has_one_place_in_the_sources() -> None:
    """One whose text is gone, or stands twice, would break nothing, or something else."""
    strays = [f"{m.row}: {m.name}: {found} times in {m.file}" for row in rows() for m in row.mutants
              if (found := (ROOT / m.file).read_text().count(m.old)) != 1]
    assert not strays, "\n".join(strays)


def test_related_rows_are_other_rows() -> None:
    names = {row.name for row in rows()}
    strays = [f"{row.name}: {other}" for row in rows() for other in row.related if other not in names - {row.name}]
    assert not strays


def test_the_threat_model_says_of_each_row_what_an_attack_is_still_worth() -> None:
    said = re.findall(r"^\| ([a-z][a-z-]*) \| .+ \| .+ \| .+ \|$", (ROOT / "THREAT-MODEL.md").read_text(), re.MULTILINE)
    assert sorted(said) == sorted({*(row.name for row in rows()), "row"})
