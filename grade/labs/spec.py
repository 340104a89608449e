"""lab.toml: what a lab is called, what a student may edit and should read, what each check is worth."""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grade.labs.cut import CutError, Item, find

READING_MAX = 600           # lines of the kernel, for any lab
MOST_OF_ALL = 30            # percent that one check may be worth
LEAST_OF_ALL = 10           # percent that a checkpoint is worth at least
_KEYS = {"name", "title", "hours", "requires", "editable", "new_files", "adds", "attack", "reading", "userland", "arch", "gate",
         "check", "twist", "diagnosis"}
_ARCH_KEYS = {"editable", "reading", "idle"}
_CHECK_KEYS = {"name", "points", "title"}
_TWIST_KEYS = {"name", "values", "text", "fails"}


class SpecError(ValueError):
    """A lab.toml that cannot be used; the text says where and why."""


@dataclass(frozen=True)
class CheckSpec:
    """One check: its name, its points, and the sentence that it proves."""

    name: str
    points: int
    title: str


@dataclass(frozen=True)
class TwistSpec:
    """A change of the specification that a class key may give a student (classkey.py)."""

    name: str
    values: tuple[int, ...]     # one of them is drawn, too
    text: str                   # what the student is told, with {value}
    fails: str                  # the check that the verbatim reference then fails


@dataclass(frozen=True)
class Lab:
    """One lab folder."""

    folder: Path
    name: str
    title: str
    hours: float
    requires: tuple[str, ...]
    editable: tuple[str, ...]       # on the architecture that it was loaded for ...
    attack: str                     # empty where no emulator has what it would need
    reading: tuple[str, ...]
    userland: tuple[str, ...]       # programs of user/ that its boots need, beside init and busybox
    arch: str                       # ... which is this one
    architectures: tuple[str, ...]  # where the lab is there
    everywhere: tuple[str, ...]     # editable on any architecture
    new_files: tuple[str, ...] = () # files that a student may add
    idle: tuple[str, ...] = ()      # functions that are cut and do nothing on this architecture
    adds: tuple[str, ...] = ()      # what else comes with the lab and not with the kernel, a second attack's source say
    gates: dict[str, str] = field(default_factory=dict)
    checks: tuple[CheckSpec, ...] = ()
    twists: tuple[TwistSpec, ...] = ()
    causes: tuple[str, ...] = ()    # words for what may be wrong with its broken kernels

    @property
    def points(self) -> int:
        """The sum of all checks."""
        return sum(c.points for c in self.checks)


def get(table: dict[str, Any], key: str, kind: type | tuple[type, ...], where: Path | str) -> Any:
    """A value of a table that must be there and of a type."""
    if key not in table:
        raise SpecError(f"{where}: {key} is missing")
    if not isinstance(table[key], kind) or isinstance(table[key], bool):
        raise SpecError(f"{where}: {key} has the wrong type")
    return table[key]


def known(table: dict[str, Any], keys: set[str], where: Path | str) -> None:
    """SpecError if a table has other keys than these."""
    if unknown := sorted(set(table) - keys):
        meant = difflib.get_close_matches(unknown[0], sorted(keys), 1)
        raise SpecError(f"{where}: nobody knows {', '.join(unknown)}; "
                        + (f"{unknown[0]} may be meant for {meant[0]}" if meant else f"there are {', '.join(sorted(keys))}"))


def strings(table: dict[str, Any], key: str, where: Path | str) -> tuple[str, ...]:
    """A list of strings that must be there."""
    value = get(table, key, list, where)
    if not all(isinstance(v, str) for v in value):
        raise SpecError(f"{where}: {key} must be a list of strings")
    return tuple(value)


def load(folder: Path, arch: str | None = "x86_64") -> Lab:
    """Reads and checks folder/lab.toml, for one architecture (None: its first): what all have in common, and its own
    table's files. SpecError says what is wrong with it."""
    where = folder / "lab.toml"
    try:
        table = tomllib.loads(where.read_text())
    except OSError as error:
        raise SpecError(f"{where}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{where}: {error}") from error
    known(table, _KEYS, where)
    checks = []
    for entry in get(table, "check", list, where):
        if not isinstance(entry, dict):
            raise SpecError(f"{where}: each check is a [[check]] table")
        known(entry, _CHECK_KEYS, f"{where}: [[check]] number {len(checks) + 1}")
        checks.append(CheckSpec(get(entry, "name", str, where), get(entry, "points", int, where),
                                get(entry, "title", str, where)))
    gates = get(table, "gate", dict, where)
    own = {name: get(get(table, "arch", dict, where), name, dict, where) for name in table.get("arch", {})}
    for name, of_arch in own.items():
        known(of_arch, _ARCH_KEYS, f"{where}: [arch.{name}]")
    arch = arch or next(iter(own), "x86_64")
    if arch not in own:
        raise SpecError(f"{where}: this lab is not there for {arch}, but for {', '.join(own) or 'nothing'}")
    if "diagnosis" in table:
        known(get(table, "diagnosis", dict, where), {"causes"}, f"{where}: [diagnosis]")
    common = strings(table, "editable", where)
    more = {key: strings(table, key, where) if key in table else () for key in ("new_files", "adds")}
    lab = Lab(folder, get(table, "name", str, where), get(table, "title", str, where),
              float(get(table, "hours", (int, float), where)), strings(table, "requires", where),
              common + strings(own[arch], "editable", where), get(table, "attack", str, where),
              strings(table, "reading", where) + strings(own[arch], "reading", where),
              strings(table, "userland", where), arch, tuple(own),
              common + tuple(f for t in own.values() for f in strings(t, "editable", where)),
              gates={str(k): str(v) for k, v in gates.items()}, checks=tuple(checks),
              twists=_twists(table, {c.name for c in checks}, where),
              causes=strings(get(table, "diagnosis", dict, where), "causes", where) if "diagnosis" in table else (),
              idle=strings(own[arch], "idle", where) if "idle" in own[arch] else (), **more)
    if not re.fullmatch(rf"\d\d-{re.escape(lab.name)}", folder.name):
        raise SpecError(f"{where}: the folder of {lab.name} is called NN-{lab.name}, with two digits")
    names = [c.name for c in lab.checks] + list(lab.gates)
    if len(set(names)) != len(names):
        raise SpecError(f"{where}: a check's name stands there twice")
    for check in lab.checks:
        share = 100 * check.points / max(1, lab.points)
        if not LEAST_OF_ALL <= share <= MOST_OF_ALL:
            raise SpecError(f"{where}: {check.name} is worth {share:.0f} % ({LEAST_OF_ALL} to {MOST_OF_ALL} allowed)")
    for path in (*lab.everywhere, *lab.new_files, *lab.adds):
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise SpecError(f"{where}: {path!r} leaves the tree")
    return lab


def _twists(table: dict[str, Any], checks: set[str], where: Path) -> tuple[TwistSpec, ...]:
    """The [[twist]] tables of a lab.toml."""
    out = []
    for entry in get(table, "twist", list, where) if "twist" in table else []:
        if not isinstance(entry, dict):
            raise SpecError(f"{where}: each twist is a [[twist]] table")
        known(entry, _TWIST_KEYS, f"{where}: [[twist]] number {len(out) + 1}")
        values = get(entry, "values", list, where) if "values" in entry else [0]
        twist = TwistSpec(get(entry, "name", str, where), tuple(values), get(entry, "text", str, where),
                          get(entry, "fails", str, where))
        if not values or not all(isinstance(v, int) for v in values) or len(values) > 1 and "{value}" not in twist.text:
            raise SpecError(f"{where}: twist {twist.name}: values are numbers, and the text says which ({{value}})")
        if twist.fails not in checks:
            raise SpecError(f"{where}: twist {twist.name} fails {twist.fails!r}, which is no check")
        out.append(twist)
    if len({t.name for t in out}) != len(out):
        raise SpecError(f"{where}: a twist's name stands there twice")
    return tuple(out)


def all_labs(root: Path, arch: str | None = "x86_64") -> list[Lab]:
    """Every lab of the tree that is there for an architecture (None: for any), by number."""
    labs = [load(toml.parent, None) for toml in sorted((root / "labs").glob("*/lab.toml"))]
    return [lab if arch in (None, lab.arch) else load(lab.folder, arch) for lab in labs
            if arch is None or arch in lab.architectures]


def lab_named(root: Path, name: str, arch: str | None = "x86_64") -> Lab:
    """A lab by its name, its folder's name, or its number."""
    folders = sorted(toml.parent for toml in (root / "labs").glob("*/lab.toml"))
    for folder in folders:
        number, _, rest = folder.name.partition("-")
        if name in (folder.name, rest, number):
            return load(folder, arch)
    known = ", ".join(f.name for f in folders) or "none"
    raise SpecError(f"no lab {name!r} here; there are: {known}")


def reading_lines(lab: Lab, root: Path) -> list[tuple[str, int]]:
    """Each entry of the reading list ("PATH", or "PATH: NAME NAME") with its number of lines."""
    out = []
    for entry in lab.reading:
        path, _, names = entry.partition(":")
        try:
            text = (root / path.strip()).read_text()
            if names.split():
                spans = [find(text, Item(path.strip(), name)) for name in names.split()]
                count = sum(text[s.start:s.end].count("\n") for s in spans)
            else:
                count = text.count("\n")
        except (OSError, CutError) as error:
            raise SpecError(f"{lab.folder.name}: reading list: {error}") from error
        out.append((entry, count))
    return out
