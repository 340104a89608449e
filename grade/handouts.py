"""What `make handouts` adds to MkDocs: listings out of the tree, folded hints, a search that works from disk.

MkDocs calls the on_ functions (mkdocs.yml, hooks). A chapter has no code of the kernel's in it, but says where
it is, in the words of a reading list (grade/labs/cut.py says what a name can be):

    ```listing
    kernel/sys/table.c: run syscall_dispatch
    ```

`from: TEXT` and `to: TEXT` on lines of their own keep the lines of one definition between the first that
contains each. Whatever is not there fails the build. What a lab cuts is shown as the starter has it, stubs and
all, also where the whole kernel is at hand: a site never tells an answer.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

from grade.labs.cut import CutError, Item, by_path, find, parse_cut, read_stubs, swap

try:
    from mkdocs.exceptions import PluginError
except ImportError:     # whoever only reads listings needs no MkDocs
    PluginError = RuntimeError

ROOT = Path(__file__).resolve().parent.parent
LISTING = re.compile(r"^```listing\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LANGUAGES = {".c": "c", ".h": "c", ".S": "gas", ".py": "python", ".toml": "toml", ".sh": "sh"}
TAB = 8
# The menu. A lab's chapter is there if its file is: a branch has its own lab's only.
FIRST = ("index.md", "00-getting-started.md", "kernel-tour.md", "debugging.md", "ethics.md")
LAST = ("writing-a-lab.md", "instructors.md")
LAB = re.compile(r"\d\d-.*\.md")
WORKERS = "assets/javascripts/workers/search.*.min.js"


class ListingError(ValueError):
    """A listing of something that is not there; the text says what and where."""


class Listing(NamedTuple):
    """Lines of a file, and the number of the first."""

    path: str
    first: int
    text: str


def starter_text(root: Path, path: str) -> str:
    """A file of the tree with every lab's stubs in place. CutError, OSError."""
    text = (root / path).read_text()
    for cut in sorted((root / "labs").glob("*/cut")):
        if items := by_path(parse_cut(cut.read_text(), str(cut))).get(path):
            text = swap(text, items, read_stubs(cut.parent)[path])
    return text


def listings(root: Path, body: str) -> list[Listing]:
    """What the lines of one listing ask for. ListingError."""
    first, *rest = body.splitlines() or [""]
    path, _, names = first.partition(":")
    bounds = dict(line.split(": ", 1) for line in rest if ": " in line)
    if not names.split() or set(bounds) - {"from", "to"} or len(bounds) != len(rest):
        raise ListingError(f"not a listing: {body!r}")
    try:
        text = starter_text(root, path)
        spans = [find(text, Item(path, name)) for name in names.split()]
    except (CutError, OSError, KeyError) as error:
        raise ListingError(f"{first}: {error}") from error
    if bounds and len(spans) > 1:
        raise ListingError(f"{first}: from and to are for one definition")
    return [_between(Listing(path, text.count("\n", 0, s.start) + 1, text[s.start:s.end]), bounds) for s in spans]


def _between(listing: Listing, bounds: dict[str, str]) -> Listing:
    """The lines from the first with one text to the first after it with the other."""
    lines = listing.text.splitlines()
    start, end = 0, len(lines)
    try:
        if "from" in bounds:
            start = next(i for i, line in enumerate(lines) if bounds["from"] in line)
        if "to" in bounds:
            end = next(i for i, line in enumerate(lines[start:], start + 1) if bounds["to"] in line)
    except StopIteration:
        raise ListingError(f"{listing.path}: no line has {' or '.join(map(repr, bounds.values()))}") from None
    return Listing(listing.path, listing.first + start, "\n".join(lines[start:end]) + "\n")


def fenced(listing: Listing) -> str:
    """A listing as Markdown, with its place as title and the lines' own numbers."""
    language = LANGUAGES.get(Path(listing.path).suffix, "text")
    return (f'``` {{.{language} linenums="{listing.first}" title="{listing.path}"}}\n'
            f"{listing.text.expandtabs(TAB)}```")


def is_lab(name: str) -> bool:
    """Whether a chapter is a lab's, by its name."""
    return LAB.fullmatch(name) is not None and name not in FIRST


def menu(folder: Path) -> list[dict[str, object]]:
    """The chapters that are in the folder. Titles come from the chapters."""
    there = sorted(file.name for file in folder.glob("*.md"))
    labs = [name for name in there if is_lab(name)]
    parts = {"Begin here": FIRST, "The labs": labs, "For those who teach": LAST}
    known = {name for names in parts.values() for name in names}
    if lost := set(there) - known:
        raise PluginError(f"handouts: no place in the menu for {', '.join(sorted(lost))} (grade/handouts.py)")
    return [{title: [name for name in names if name in there]} for title, names in parts.items()
            if any(name in there for name in names)]


def on_config(config):      # type: ignore[no-untyped-def]
    """Makes the menu."""
    config["nav"] = menu(Path(config["docs_dir"]))
    return config


def on_page_markdown(markdown: str, page, **_) -> str:     # type: ignore[no-untyped-def]
    """Puts listings in their places, and lets Markdown into folded hints."""
    try:
        markdown = LISTING.sub(lambda m: "\n\n".join(map(fenced, listings(ROOT, m.group(1)))), markdown)
    except ListingError as error:
        raise PluginError(f"handouts/{page.file.src_path}: {error}") from error
    return re.sub("^<details>", '<details markdown="1">', markdown, flags=re.MULTILINE)


def on_post_build(config) -> None:      # type: ignore[no-untyped-def]
    """Gives the theme's search its index and its worker as a script: a page from disk may load no others."""
    site = Path(config["site_dir"])
    worker, = site.glob(WORKERS)
    source = re.sub(r"^//# sourceMappingURL=.*$", "", worker.read_text(), flags=re.MULTILINE)
    index = json.loads((site / "search" / "search_index.json").read_text())
    (site / "search" / "offline.js").write_text(
        f"var __search = {{\n\tindex: Promise.resolve({json.dumps(index)}),\n\tworker: URL.createObjectURL("
        f"new Blob([{json.dumps(source)}], {{type: 'text/javascript'}}))\n}};\n")
    # Servers show it; its links begin at the server's root.
    (site / "404.html").unlink()
