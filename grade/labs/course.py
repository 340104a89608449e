"""labs/course.toml: which labs a course has, in which order, worth what, where and when; and `.course`, which says
the same in a tree that was published, where the labs' folders are not all there.

    title = "Rampart"
    architectures = ["x86_64", "aarch64"]
    key = "class.key"               # a file beside course.toml that git does not track; optional

    [[lab]]                         # in the course's order; without any, all that are there for one of the architectures
    name = "stack-guard"
    points = 10                     # of the course; what each check is worth is the lab's own business
    architectures = ["x86_64"]      # optional: fewer than the course's
    opens = 2027-02-01              # optional, both: a day and a time, or a day: opens as it begins, due as it ends
    due = 2027-02-14T23:59:00
"""

from __future__ import annotations

import datetime
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from grade.labs.spec import Lab, SpecError, all_labs, get, known, lab_named, load, strings
from grade.qemu import ARCHES

FILE, MARK = "labs/course.toml", ".course"
When = datetime.date | datetime.datetime
_KEYS = {"title", "architectures", "key", "lab"}
_LAB_KEYS = {"name", "points", "architectures", "opens", "due"}
_MARK_KEYS = {"folder", "title", "points", "architectures", "opens", "due", "taken", "new_files"}


@dataclass(frozen=True)
class Entry:
    """One lab of a course."""

    folder: str                     # its folder's name, NN-name
    title: str
    points: float
    architectures: tuple[str, ...]
    taken: tuple[str, ...]          # what its students may edit, on any architecture, ...
    new_files: tuple[str, ...] = () # ... and add
    opens: When | None = None
    due: When | None = None

    @property
    def name(self) -> str:
        """The lab's name, without its number."""
        return self.folder.partition("-")[2]

    @property
    def number(self) -> str:
        """The lab's number, two digits."""
        return self.folder.partition("-")[0]

    @property
    def branch(self) -> str:
        """Where the public repository has it."""
        return f"lab/{self.folder}"


@dataclass(frozen=True)
class Course:
    """A course: its labs in their order."""

    title: str
    architectures: tuple[str, ...]
    entries: tuple[Entry, ...]
    key: Path | None = None

    def entry(self, lab: Lab) -> Entry | None:
        """The course's entry for a lab, if it was chosen."""
        return next((e for e in self.entries if e.folder == lab.folder.name), None)

    def labs(self, root: Path, arch: str | None = None) -> list[Lab]:
        """The chosen labs, in order; of one architecture, or each on the first that it has."""
        return [load(root / "labs" / e.folder, arch or e.architectures[0]) for e in self.entries
                if arch is None or arch in e.architectures]


def read(root: Path) -> Course:
    """The course that labs/course.toml describes. SpecError says what is wrong with it."""
    where = root / FILE
    table = _table(where, _KEYS)
    arches = _arches(table, where)
    chosen = get(table, "lab", list, where) if "lab" in table else \
        [{"name": lab.name, "points": lab.hours} for lab in all_labs(root, None) if set(arches) & set(lab.architectures)]
    entries: list[Entry] = []
    for said in chosen:
        here = f"{where}: [[lab]] number {len(entries) + 1}"
        if not isinstance(said, dict):
            raise SpecError(f"{here}: is no table")
        known(said, _LAB_KEYS, here)
        lab = lab_named(root, get(said, "name", str, here), None)
        here += f" ({lab.name})"
        own = _arches(said, here, arches)
        if wrong := [a for a in own if a not in arches]:
            raise SpecError(f"{here}: the course has no {wrong[0]}")
        own = tuple(a for a in own if a in lab.architectures)
        if not own:
            raise SpecError(f"{here}: is there for {', '.join(lab.architectures)} only")
        entries.append(Entry(lab.folder.name, lab.title, _points(said, here), own, lab.everywhere,
                             lab.new_files, **_calendar(said, here)))
    for i, entry in enumerate(entries):
        if entry.folder in [e.folder for e in entries[:i]]:
            raise SpecError(f"{where}: {entry.name} stands there twice")
        for needed in load(root / "labs" / entry.folder, entry.architectures[0]).requires:
            # One that was not chosen is in the base, whole.
            if lab_named(root, needed, None).folder.name in [e.folder for e in entries[i:]]:
                raise SpecError(f"{where}: {entry.name} requires {needed}, which comes later")
    key = get(table, "key", str, where) if "key" in table else None
    return Course(get(table, "title", str, where), arches, tuple(entries), root / "labs" / key if key else None)


def mark(course: Course) -> str:
    """The text of `.course`."""
    def value(v: object) -> str:
        if isinstance(v, (list, tuple)):
            return "[" + ", ".join(value(x) for x in v) + "]"
        if isinstance(v, datetime.date):
            return v.isoformat()
        return f"{v:g}" if isinstance(v, (int, float)) else '"' + str(v).replace("\\", "\\\\").replace('"', '\\"') + '"'

    out = ["# The course that this tree belongs to. The grader takes what is `taken`, and nothing else.",
           f"title = {value(course.title)}", f"architectures = {value(course.architectures)}"]
    for e in course.entries:
        out += ["", "[[lab]]", *(f"{k} = {value(v)}" for k in ("folder", "title", "points", "architectures", "opens",
                                                              "due", "taken", "new_files")
                                   if (v := getattr(e, k)) not in (None, ()))]
    return "\n".join(out) + "\n"


def published(root: Path) -> Course | None:
    """The course that a published tree belongs to; None for any other tree. SpecError."""
    where = root / MARK
    if not where.is_file():
        return None
    table = _table(where, _KEYS)
    entries = []
    for said in get(table, "lab", list, where):
        known(said, _MARK_KEYS, str(where))
        entries.append(Entry(get(said, "folder", str, where), get(said, "title", str, where), _points(said, where),
                             _arches(said, where), strings(said, "taken", where),
                             strings(said, "new_files", where) if "new_files" in said else (), **_calendar(said, where)))
    return Course(get(table, "title", str, where), _arches(table, where), tuple(entries))


def widened(lab: Lab, course: Course | None) -> Lab:
    """The lab as a course's submissions bring it: the work on the other labs comes with them, as one file may hold
    answers to several."""
    if course is None or course.entry(lab) is None:
        return lab
    everywhere = dict.fromkeys([*lab.everywhere, *(n for e in course.entries for n in e.taken)])
    elsewhere = tuple(f"arch/{a}/" for a in ARCHES if a != lab.arch)
    here = [n for n in everywhere if not n.startswith(elsewhere)]
    return replace(lab, editable=tuple(here), everywhere=tuple(everywhere),
                   new_files=tuple(dict.fromkeys([*lab.new_files, *(n for e in course.entries for n in e.new_files)])))


def _table(where: Path, keys: set[str]) -> dict[str, Any]:
    try:
        table = tomllib.loads(where.read_text())
    except OSError as error:
        raise SpecError(f"{where}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{where}: {error}") from error
    known(table, keys, where)
    return table


def _arches(table: dict[str, Any], where: Path | str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
    if "architectures" not in table and default:
        return default
    arches = strings(table, "architectures", where)
    if not arches or set(arches) - set(ARCHES) or len(set(arches)) != len(arches):
        raise SpecError(f"{where}: architectures must be some of {', '.join(sorted(ARCHES))}")
    return arches


def _points(table: dict[str, Any], where: Path | str) -> float:
    points = float(get(table, "points", (int, float), where))
    if not 0 < points < 10_000:
        raise SpecError(f"{where}: points must be more than 0")
    return points


def _calendar(table: dict[str, Any], where: Path | str) -> dict[str, When]:
    out = {key: get(table, key, datetime.date, where) for key in ("opens", "due") if key in table}
    if len(out) == 2 and moment(out["due"]) <= moment(out["opens"], datetime.time.min):
        raise SpecError(f"{where}: due before it opens")
    return out


def moment(when: When, of_day: datetime.time = datetime.time.max) -> datetime.datetime:
    """A point of the calendar as local time; of a day alone its end, or another time."""
    if not isinstance(when, datetime.datetime):
        when = datetime.datetime.combine(when, of_day)
    return when.astimezone()
