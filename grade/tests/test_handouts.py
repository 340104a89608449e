"""The handouts: the shape of their chapters, and the site that `make handouts` makes of them.

What is marked `handouts` takes MkDocs and a browser, and fails where there are none; `make test-handouts` runs it
all, `make test` the rest.
"""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as xml
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from grade import handouts
from grade.browser import Browser, find
from grade.labs import tree
from grade.labs.cut import by_path, parse_cut, read_stubs, swap
from grade.labs.spec import all_labs

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "handouts"
CHAPTERS = sorted(FOLDER.glob("*.md"))
# A starter has one lab, and may have the chapters of others.
LABS = [c for c in CHAPTERS if (ROOT / "labs" / c.stem / "lab.toml").is_file()]
WHOLE = [c for c in CHAPTERS if c in LABS or not handouts.is_lab(c.name)]
PICTURES = sorted((FOLDER / "img").glob("*.svg"))
# Beginnings of a lab chapter's headings, in their order (handouts/writing-a-lab.md).
SECTIONS = ("The threat", "The mechanism", "See it win", "The task", "Questions", "Going further", "What it costs",
            "References")
MANUALS = {"x86_64": "SDM", "aarch64": "Arm ARM"}
IMAGE = re.compile(r"!\[(.*?)\]\((.*?)\)", re.DOTALL)
# A file of the tree as chapters write it; placeholders are in capitals.
PATH = re.compile(r"(?:arch|grade|handouts|kernel|labs|user)/[a-z0-9_./-]+")
TELLING = 16        # characters of a line that tells something
ALTERNATIVE = 60    # characters of a text alternative that does
SVG = "{http://www.w3.org/2000/svg}"

each_lab = pytest.mark.parametrize("chapter", LABS, ids=[c.stem for c in LABS])
each_chapter = pytest.mark.parametrize("chapter", WHOLE, ids=[c.stem for c in WHOLE])
each_picture = pytest.mark.parametrize("picture", PICTURES, ids=[p.stem for p in PICTURES])
site_test = pytest.mark.handouts


def section(chapter: Path, name: str) -> str:
    """The text of the sections whose headings begin with a name."""
    parts = re.split(r"^## (.*)\n", chapter.read_text(), flags=re.MULTILINE)[1:]
    return "\n".join(body for title, body in zip(parts[::2], parts[1::2]) if title.startswith(name))


# ---- a lab's chapter ----------------------------------------------------------------------------------------


@each_lab
def test_a_lab_chapter_has_its_sections_in_order(chapter: Path) -> None:
    found = re.findall(r"^## (.*)$", chapter.read_text(), re.MULTILINE)
    kinds = [next((s for s in SECTIONS if title.startswith(s)), title) for title in found]
    assert list(dict.fromkeys(kinds)) == list(SECTIONS), found


@each_lab
def test_a_lab_chapter_tells_a_true_story(chapter: Path) -> None:
    threat = section(chapter, "The threat")
    assert re.search(r"CVE-\d{4}-\d{4,}", threat) and re.search(r"\b(19|20)\d\d\b", threat)


@each_lab
def test_each_step_of_a_task_ends_with_something_to_see(chapter: Path) -> None:
    steps = re.split(r"^\*\*Step ", section(chapter, "The task"), flags=re.MULTILINE)[1:]
    assert len(steps) >= 2
    for step in steps:
        assert step.count("*You see:*") == 1, step


@each_lab
def test_a_task_has_three_folded_hints(chapter: Path) -> None:
    hints = re.findall(r"^<details><summary>Hint (\d)", section(chapter, "The task"), re.MULTILINE)
    assert hints == ["1", "2", "3"]


@each_lab
def test_a_lab_chapter_explains_its_mechanism_with_a_picture(chapter: Path) -> None:
    assert IMAGE.search(section(chapter, "The mechanism"))


@each_lab
def test_a_lab_chapter_cites_the_manuals_of_its_architectures(chapter: Path) -> None:
    lab = tomllib.loads((ROOT / "labs" / chapter.stem / "lab.toml").read_text())
    references = section(chapter, "References")
    assert [arch for arch in lab["arch"] if MANUALS[arch] not in references] == []


@each_lab
def test_a_lab_chapter_names_its_cost_and_how_to_measure_it(chapter: Path) -> None:
    cost = section(chapter, "What it costs")
    assert "make bench" in cost
    assert re.search(r"^<details><summary>.*(?:cost|costs)\b.*?</details>", cost, re.DOTALL | re.MULTILINE)


# ---- every chapter ------------------------------------------------------------------------------------------


@each_chapter
def test_each_file_that_a_chapter_names_is_in_the_tree(chapter: Path) -> None:
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", chapter.read_text(), flags=re.DOTALL | re.MULTILINE))
    named = {span.rstrip("/") for span in spans if PATH.fullmatch(span)}
    forms = {name for lab in all_labs(ROOT, None) for name in tree.notes(lab)}     # come with a lab that is given out
    assert {name for name in named if not (ROOT / name).exists()} <= forms


@each_chapter
def test_each_listing_of_a_chapter_is_found_in_the_tree(chapter: Path) -> None:
    for match in handouts.LISTING.finditer(chapter.read_text()):
        assert all(listing.text.strip() for listing in handouts.listings(ROOT, match.group(1)))


@each_chapter
def test_each_picture_has_a_text_alternative(chapter: Path) -> None:
    for alternative, target in IMAGE.findall(chapter.read_text()):
        assert len(alternative) >= ALTERNATIVE, f"{target}: {alternative!r}"
        assert (FOLDER / target) in PICTURES, f"{target}: no picture of ours"


@each_picture
def test_a_picture_describes_itself_and_has_two_sets_of_colours(picture: Path) -> None:
    root = xml.parse(picture).getroot()
    assert root.get("viewBox") and root.get("role") == "img"
    for tag in ("title", "desc"):
        element = root.find(f"{SVG}{tag}")
        assert element is not None and element.text and element.get("id") in (root.get("aria-labelledby") or "")
    text = picture.read_text()
    assert "prefers-color-scheme: dark" in text or "currentColor" in text
    assert not re.search(r"(?:href|src)\s*=\s*[\"'](?!#)|@import|url\((?!#)", text), "it fetches something"


# ---- listings -----------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A tree with one file, of which a lab cuts one function."""
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel/a.c").write_text(
        "/* A room. */\n\nint\nseen(void)\n{\n\tint x = 1;\n\treturn x;\n}\n\nint\nkept_secret(void)\n{\n\treturn 42;\n}\n")
    lab = tmp_path / "labs/01-x"
    lab.mkdir(parents=True)
    (lab / "cut").write_text("kernel/a.c: kept_secret\n")
    (lab / "stubs.c").write_text(
        "/* ==== kernel/a.c ==== */\n\n/* A room. */\n\n/* To do: find out. */\nint\nkept_secret(void)\n{\n\treturn 0;\n}\n")
    return tmp_path


def test_a_listing_has_the_definition_and_the_number_of_its_first_line(small: Path) -> None:
    only, = handouts.listings(small, "kernel/a.c: seen\n")
    assert (only.first, only.text) == (3, "int\nseen(void)\n{\n\tint x = 1;\n\treturn x;\n}\n")


def test_a_listing_can_be_cut_down_to_the_lines_between_two_texts(small: Path) -> None:
    only, = handouts.listings(small, "kernel/a.c: seen\nfrom: int x\nto: return\n")
    assert (only.first, only.text) == (6, "\tint x = 1;\n\treturn x;\n")


def test_a_listing_of_what_a_lab_cuts_shows_the_stub(small: Path) -> None:
    only, = handouts.listings(small, "kernel/a.c: kept_secret\n")
    assert "return 0;" in only.text and "To do" in only.text and "42" not in only.text


@pytest.mark.parametrize("body", ["kernel/a.c: nobody\n", "kernel/b.c: seen\n", "kernel/a.c\n", "",
                                  "kernel/a.c: seen\nfrom: no such text\n", "kernel/a.c: seen\nform: int\n",
                                  "kernel/a.c: seen kept_secret\nfrom: int\n"])
def test_a_listing_of_what_is_not_there_is_an_error(small: Path, body: str) -> None:
    with pytest.raises(handouts.ListingError):
        handouts.listings(small, body)


# ---- the site -----------------------------------------------------------------------------------------------


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Runs MkDocs as `make handouts` does."""
    return subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)],
                          cwd=root, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built. Without MkDocs the test fails, and says what is missing."""
    folder = tmp_path_factory.mktemp("handouts") / "site"
    done = build(ROOT, folder)
    if done.returncode:
        pytest.fail(f"the site cannot be built (HANDOUTS=test ./setup installs MkDocs):\n{done.stderr}", pytrace=False)
    return folder


@pytest.fixture
def browser() -> Iterator[Browser]:
    """A browser of the test's own. Where there is none the test fails."""
    if find() is None:
        pytest.fail("no browser here: HANDOUTS=test ./setup installs one", pytrace=False)
    with Browser() as opened:
        yield opened


class Page(HTMLParser):
    """The links, the names that links may lead to, and the words of a page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.ids: set[str] = set()
        self.words: list[str] = []
        self.feed(file.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            if name in ("href", "src") and value is not None:
                (self.links if tag == "a" else self.fetched).append(value)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@site_test
def test_every_chapter_is_a_page_of_the_site_and_in_its_menu(site: Path) -> None:
    names = {c.with_suffix(".html").name for c in CHAPTERS}
    assert names == {p.name for p in site.glob("*.html")}
    assert names <= set(Page(site / "ethics.html").links)


@site_test
def test_every_link_leads_somewhere(site: Path) -> None:
    pages = {file: Page(file) for file in site.glob("*.html")}
    lost = []
    for file, page in pages.items():
        for link in page.links + page.fetched:
            at = urlsplit(link)
            if at.scheme:
                continue
            target = (file.parent / unquote(at.path)).resolve() if at.path else file
            if target.is_dir():
                target /= "index.html"
            known = pages[target].ids if target in pages else set()
            if not target.is_file() or (at.fragment and at.fragment not in known | {"__skip"}):
                lost.append(f"{file.name}: {link}")
    assert not lost


@site_test
def test_a_name_that_is_not_in_the_tree_fails_the_build(site: Path, tmp_path: Path) -> None:
    root = tmp_path / "tree"
    for name in ("handouts", "grade", "labs", "kernel", "arch", "user"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "mkdocs.yml", root)
    chapter = root / "handouts/kernel-tour.md"
    chapter.write_text(chapter.read_text() + "\n```listing\nkernel/main.c: nobody\n```\n")
    done = build(root, tmp_path / "site")
    assert done.returncode and "kernel/main.c: nobody" in done.stderr, done.stderr


@site_test
def test_no_page_holds_a_line_of_a_solution(site: Path) -> None:
    def telling(text: str) -> set[str]:
        return {line.strip() for line in text.splitlines() if len(line.strip()) >= TELLING}

    secret: dict[str, str] = {}
    cuts = {cut: by_path(parse_cut(cut.read_text())) for cut in sorted((ROOT / "labs").glob("*/cut"))}
    whole_files = {p for folder in ("arch", "kernel") for p in (ROOT / folder).rglob("*.[chS]")}
    whole_files -= {ROOT / path for items in cuts.values() for path in items}
    public = {line for p in whole_files for line in telling(p.read_text())}
    for cut, of in cuts.items():
        for path, items in of.items():
            whole = (ROOT / path).read_text()
            starter = swap(whole, items, read_stubs(cut.parent)[path])
            public |= telling(starter)
            secret |= {line: f"{cut.parent.name}: {path}" for line in telling(whole) - telling(starter)}
    told = [f"{file.name}: {line} ({secret[line]})" for file in site.glob("*.html")
            for line in telling("".join(Page(file).words)) if line in secret and line not in public]
    index = html.unescape((site / "search/search_index.json").read_text())
    told += [f"search: {line}" for line in secret if line not in public and f"\\n{line}\\n" in index]
    assert not told


@site_test
def test_every_page_opens_from_disk_whole_and_takes_nothing_from_the_network(site: Path, browser: Browser) -> None:
    for file in sorted(site.glob("*.html")):
        browser.open(file)
        browser.wait_for("document.readyState == 'complete'")
        assert browser.errors == [], file.name
        elsewhere = [r for r in browser.requests if not r.startswith(("file:", "data:", "blob:"))]
        assert not elsewhere, f"{file.name}: {elsewhere}"
        broken = browser.ask("[...document.images].filter(i => !i.naturalWidth || !i.alt).map(i => i.src)")
        assert broken == [], file.name


@site_test
def test_folded_hints_open_when_they_are_clicked(site: Path, browser: Browser) -> None:
    for chapter in LABS:
        browser.open(site / f"{chapter.stem}.html")
        count = browser.ask("document.querySelectorAll('details').length")
        assert count >= 3
        for i in range(count):
            hint = f"document.querySelectorAll('details')[{i}]"
            inside = f"[...{hint}.children].filter(e => e.tagName != 'SUMMARY')"
            seen = f"({inside}.length > 0 && {inside}.every(e => e.checkVisibility()))"
            assert not browser.ask(seen), f"{chapter.stem}: hint {i + 1} is open from the start, or empty"
            browser.ask(f"{hint}.querySelector('summary').id = 'hint-{i}'")
            browser.click(f"#hint-{i}")
            assert browser.wait_for(seen)


@site_test
def test_the_search_finds_a_chapter_from_disk(site: Path, browser: Browser) -> None:
    browser.open(site / "index.html")
    browser.click("[data-md-component=search-query]")
    # Until the worker has its index.
    browser.wait_for("!document.querySelector('.md-search-result__meta').innerText.startsWith('Initializing')")
    browser.type("ecryptfs")     # one chapter alone has it
    # Each letter is searched for: of the whole word, then.
    found = "[...document.querySelectorAll('.md-search-result__item a')].map(a => a.href)"
    links = browser.wait_for(f"(l => l.some(h => h.includes('h=ecryptfs')) && l)({found})")
    assert "01-stack-guard.html" in links[0]
    browser.click(".md-search-result__item a")
    browser.wait_for("location.pathname.endsWith('01-stack-guard.html') && !!document.querySelector('article mark')")
    assert browser.errors == []


@site_test
def test_pictures_have_the_colours_of_the_page_also_when_the_reader_changes_them(site: Path) -> None:
    seen = {}
    for wanted, dark, toggle in (("light", False, False), ("dark", True, False), ("changed", False, True)):
        with Browser() as browser:
            browser.open(site / "kernel-tour.html", dark=dark)
            if toggle:
                browser.wait_for("document.body.dataset.mdColorScheme == 'default'")
                browser.click("form[data-md-component=palette] label:not([hidden])")
            scheme = "slate" if dark or toggle else "default"
            browser.wait_for(f"document.body.dataset.mdColorScheme == '{scheme}'")
            browser.wait_for("document.images[0].complete")
            seen[wanted] = browser.picture("article img")
    assert seen["light"] != seen["dark"] == seen["changed"]


@site_test
def test_no_page_scrolls_sideways_on_a_narrow_screen(site: Path) -> None:
    with Browser(width=500, height=900) as browser:
        for file in sorted(site.glob("*.html")):
            browser.open(file)
            wide = browser.ask("document.documentElement.scrollWidth > document.documentElement.clientWidth")
            assert not wide, f"{file.name} scrolls sideways"
