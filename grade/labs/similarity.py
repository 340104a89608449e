"""make similarity: which submissions to a lab look alike, and which look like the reference. Offline. A report for a
person to read, never a verdict: small labs have few answers, and twins may have been taught alike.

Each file becomes tokens without comments, spaces, names of one's own and numbers' values; runs of GRAM tokens are hashed
and every WINDOW of hashes keeps its least (winnowing: Schleimer, Wilkerson, Aiken 2003). What a starter has, or a course's
main, does not count. Two submissions are as similar as the smaller one's prints are found in the other's. Who could not be
compared is listed, with the reason.
"""

from __future__ import annotations

import argparse
import difflib
import html
import itertools
import re
import tempfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

from grade.labs import tree
from grade.labs.course import FILE, read
from grade.labs.cut import cut, read_stubs
from grade.labs.handin import inner, strangers, submissions, unpack
from grade.labs.prove import other_solution
from grade.labs.spec import Lab, lab_named
from grade.labs.workshop import FILE_MAX, SubmissionError

ROOT = Path(__file__).resolve().parent.parent.parent
GRAM, WINDOW = 14, 6        # tokens of a run, runs of a window
SHOWN = 0.5                 # pairs that are at least so similar are shown
LEAST = 12                  # prints that a submission must have to be compared
BLOCK = 40                  # tokens of a passage that is worth pointing at ...
POINTED = 200               # ... in so many pairs
REFERENCE, OTHER = "(the reference)", "(the second solution)"
# Names that stay what they are: C's, and what headers offer to be called. All others are somebody's own.
KEYWORDS = "auto break case char const continue default do double else enum extern for goto if inline int long register " \
           "return short signed sizeof static struct switch typedef union unsigned void volatile while bool true false NULL"
_INTERFACE = re.compile(r"\b[A-Za-z_]\w*(?=\()|(?<=#define )\w+")
Files = dict[str, str]
_TOKEN = re.compile(r"""(?P<skip>/\*.*?\*/|//[^\n]*|\s+)|(?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
    |(?P<number>0[xX][0-9a-fA-F]+[uUlL]*|\d[\w.]*)|(?P<name>[A-Za-z_]\w*)|(?P<mark>->|\+\+|--|<<=?|>>=?|&&|\|\||[-+*/%&|^!<>=]=|.)""",
                    re.DOTALL | re.VERBOSE)


@dataclass(frozen=True)
class Token:
    """A token as it is compared, and the line where it stands."""

    kind: str
    line: int


@dataclass(frozen=True)
class Pair:
    """Two submissions, how similar they are, and where."""

    one: str
    other: str
    share: float
    passages: tuple[str, ...] = ()


def tokens(text: str, common: frozenset[str]) -> list[Token]:
    """The tokens of a C or assembly file; all names but the common ones become one."""
    out, line = [], 1
    for match in _TOKEN.finditer(text):
        kind, word = match.lastgroup, match.group()
        if kind != "skip":
            out.append(Token({"text": '"', "number": "0", "name": word if word in common else "x"}.get(kind or "", word), line))
        line += word.count("\n")
    return out


def runs(of: list[Token]) -> list[int]:
    """The hash of every run of GRAM tokens."""
    kinds = [t.kind for t in of]
    return [zlib.crc32("\0".join(kinds[i:i + GRAM]).encode()) for i in range(len(kinds) - GRAM + 1)]


def winnow(hashes: list[int]) -> set[int]:
    """Of every WINDOW of hashes the least."""
    return {min(hashes[i:i + WINDOW]) for i in range(max(1, len(hashes) - WINDOW + 1))} if hashes else set()


class Class:
    """The submissions to a lab, and what they are compared with."""

    def __init__(self, lab: Lab, given: list[Files], kernel_names: frozenset[str]) -> None:
        """given: what students begin with, in a starter, on a course's branch."""
        self.lab, self.names = lab, kernel_names
        self._given = {h for files in given for text in files.values() for h in runs(tokens(text, kernel_names))}
        self._tokens: dict[str, dict[str, list[Token]]] = {}
        self._prints: dict[str, set[int]] = {}

    def add(self, who: str, files: Files) -> None:
        """Takes one submission."""
        self._tokens[who] = {name: tokens(text, self.names) for name, text in sorted(files.items())}
        self._prints[who] = set().union(*(winnow(runs(t)) for t in self._tokens[who].values())) - self._given

    def too_small(self) -> list[str]:
        """Who has too little of their own to be compared."""
        return sorted(who for who, prints in self._prints.items() if len(prints) < LEAST and who not in (REFERENCE, OTHER))

    def pairs(self, shown: float = SHOWN) -> list[Pair]:
        """All pairs that are at least so similar, the most similar first."""
        people = sorted(self._prints)
        out = []
        for i, one in enumerate(people):
            for other in people[i + 1:]:
                a, b = self._prints[one], self._prints[other]
                if {one, other} <= {REFERENCE, OTHER} or min(len(a), len(b)) < LEAST:
                    continue
                share = len(a & b) / min(len(a), len(b))
                if share >= shown:
                    out.append(Pair(one, other, share))
        out.sort(key=lambda p: (-p.share, p.one, p.other))
        return [replace(p, passages=tuple(self._passages(p.one, p.other))) for p in out[:POINTED]] + out[POINTED:]

    def _passages(self, one: str, other: str) -> list[str]:
        """Where two submissions have long runs in common that the starter lacks: "FILE: 10-30 and 12-32"."""
        out = []
        for name in sorted(set(self._tokens[one]) & set(self._tokens[other])):
            a, b = self._tokens[one][name], self._tokens[other][name]
            matcher = difflib.SequenceMatcher(None, [t.kind for t in a], [t.kind for t in b], autojunk=False)
            for m in matcher.get_matching_blocks():
                new = [h not in self._given for h in runs(a[m.a:m.a + m.size])]
                for own, group in itertools.groupby(range(len(new)), new.__getitem__):
                    of = list(group)
                    first, last = of[0], of[-1] + GRAM - 1
                    if own and last - first >= BLOCK:
                        out.append(f"{name}: {a[m.a + first].line}-{a[m.a + last].line} and "
                                   f"{b[m.b + first].line}-{b[m.b + last].line}")
        return out


def read_submission(place: Path, lab: Lab) -> Files:
    """The editable files, on any architecture, of a submission: whatever handin.py takes. Others are not looked at.
    SubmissionError for one that cannot be read."""
    whole = replace(lab, editable=lab.everywhere)
    place = inner(whole, place)
    with tempfile.TemporaryDirectory(prefix="rampart-similarity-") as scratch:
        if not place.is_dir():
            unpack(whole, place, Path(scratch))
            place = Path(scratch)
        return {n: (place / n).read_text(errors="replace") for n in (*whole.editable, *whole.new_files)
                if (place / n).is_file() and not (place / n).is_symlink() and (place / n).stat().st_size <= FILE_MAX}


def class_of(lab: Lab, scratch: Path) -> Class:
    """A class without students: the lab's reference and its second solution."""
    items = tree.items_of(lab)
    starter = cut(ROOT, items, read_stubs(lab.folder))
    solution = {name: (ROOT / name).read_text() for name in lab.everywhere if (ROOT / name).is_file()}
    words = set(KEYWORDS.split())
    for name in tree.files(ROOT):
        if name.startswith(("arch/", "kernel/")) and name not in lab.everywhere and name.endswith(".h"):
            words |= set(_INTERFACE.findall((ROOT / name).read_text()))
    given = [solution | starter]
    if (ROOT / FILE).is_file() and (course := read(ROOT)).entry(lab) is not None:
        given.append({n: text for n, text in tree.cut_files(ROOT, course.labs(ROOT)).items() if n in solution})
    out = Class(lab, given, frozenset(words))
    out.add(REFERENCE, solution)
    out.add(OTHER, {n: data.decode() for n, data in other_solution(ROOT, lab, scratch).items()})
    return out


def similarity(args: argparse.Namespace) -> int:
    """Compares all submissions below a directory, prints the pairs, and writes similarity.html."""
    lab = lab_named(ROOT, args.lab, args.arch)
    people = submissions(Path(args.submissions))
    out = ROOT / "build" / "similarity" / lab.name
    out.mkdir(parents=True, exist_ok=True)
    group = class_of(lab, out)
    left_out = [f"{name}: neither a directory nor an archive" for name in strangers(Path(args.submissions))]
    for who, paths in people.items():
        for path in paths:
            name = who if len(paths) == 1 else path.name
            try:
                files = read_submission(path, lab)
            except (SubmissionError, OSError) as error:
                left_out.append(f"{name}: {error}")
                continue
            if files:
                group.add(name, files)
            else:
                left_out.append(f"{name}: none of the lab's files")
    left_out += [f"{name}: too little that the starter has not" for name in group.too_small()]
    pairs = group.pairs(args.least / 100)
    text = [f"{lab.title}: {len(people)} submissions, {len(pairs)} pairs of which one is {args.least} % or more in the other",
            *(f"  {p.share:>4.0%}  {p.one}  {p.other}" + "".join(f"\n          {q}" for q in p.passages) for p in pairs),
            *(f"not compared: {line}" for line in left_out)]
    print("\n".join(text))
    rows = "".join(f"<tr><td>{p.share:.0%}<td>{html.escape(p.one)}<td>{html.escape(p.other)}<td>"
                   f"{'<br>'.join(map(html.escape, p.passages))}</tr>\n" for p in pairs)
    (out / "similarity.html").write_text(
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(lab.title)}</title><style>:root{{color-scheme:"
        "light dark}body{font:16px/1.5 system-ui,sans-serif;margin:2rem}td{vertical-align:top;padding:.3rem .8rem}</style>"
        f"<h1>{html.escape(text[0])}</h1><p>To be read by a person; alike is not copied.</p><table>{rows}</table>"
        + (f"<p>Not compared:</p><ul>{''.join(f'<li>{html.escape(line)}' for line in left_out)}</ul>" if left_out else "")
        + "</html>\n")
    print(f"also: {(out / 'similarity.html').relative_to(ROOT)}")
    return 0
