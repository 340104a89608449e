"""How each mitigation is proven: the files of grade/rows, checked. grade/rows/README.md says what they hold."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

ROWS = Path(__file__).resolve().parent / "rows"


class RowError(ValueError):
    """A file of grade/rows that does not say what it should."""


@dataclass(frozen=True)
class Mutant:
    """One broken kernel: `old` becomes `new` in `file`; the tests in `caught` must turn red."""

    row: str
    name: str
    file: str
    old: str
    new: str
    caught: tuple[str, ...]
    only: str = ""

    def breaks(self, arch: str) -> bool:
        """Whether it is a mutant of this architecture: `only`, else the folder below arch/, else any."""
        part = self.file.split("/")
        return arch == (self.only or (part[1] if part[0] == "arch" and len(part) > 2 else arch))


@dataclass(frozen=True)
class Row:
    """One mitigation's proof."""

    name: str
    attacks: tuple[str, ...]
    checks: tuple[str, ...]
    mutants: tuple[Mutant, ...]
    architectures: tuple[str, ...] = ("x86_64", "aarch64")
    off: str = ""
    model: str = ""
    not_emulated: str = ""
    related: tuple[str, ...] = ()
    by_processor: tuple[str, ...] = ()


_KEYS = {"row", "attacks", "checks", "architectures", "off", "model", "not_emulated", "related", "by_processor", "mutant"}


def _mutant(path: Path, row: str, said: dict[str, object]) -> Mutant:
    known = {f.name for f in fields(Mutant)} - {"row"}
    needed = known - {"only"}
    if not needed <= said.keys() <= known:
        raise RowError(f"{path.name}: mutant {said.get('name')!r}: keys {sorted(said.keys() ^ needed)}")
    caught = said["caught"]
    if not isinstance(caught, list) or not caught:
        raise RowError(f"{path.name}: mutant {said['name']!r}: caught names no test")
    return Mutant(row, *(str(said[k]) for k in ("name", "file", "old", "new")), caught=tuple(caught),
                  only=str(said.get("only", "")))


def read_row(path: Path) -> Row:
    """One file. RowError if a key is missing or unknown."""
    try:
        said = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise RowError(f"{path.name}: {error}") from error
    if not {"row", "attacks", "checks"} <= said.keys() <= _KEYS or said["row"] != path.stem:
        raise RowError(f"{path.name}: keys {sorted(said)}; row, attacks, checks are needed, row is the file's name")
    mutants = tuple(_mutant(path, said["row"], m) for m in said.pop("mutant", []))
    plain = {k: tuple(v) if isinstance(v, list) else v for k, v in said.items() if k != "row"}
    return Row(name=said["row"], mutants=mutants, **plain)


def rows() -> list[Row]:
    """Every row that has a proof, by name."""
    return [read_row(path) for path in sorted(ROWS.glob("*.toml"))]
