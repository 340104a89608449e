"""Courses: course.toml, the repositories that are published, and a student's way through them.

The tree has as many labs as it has; a second one, which is small, comes from second_lab/ beside this file.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from grade import lab as command
from grade.labs import staff, tree
from grade.labs.classkey import TICKET
from grade.labs.course import MARK, Course, Entry, mark, published, read, widened
from grade.labs.cut import CutError, by_path, find, swap
from grade.labs.grading import grade
from grade.labs.prove import Proof, Prover, other_solution, table, touched
from grade.labs.publish import PRIVATE, PUBLIC, Repository, check_places, course_tree, lab_files, main_files, publish
from grade.labs.report import as_dict, terminal
from grade.labs.sandbox import choose
from grade.labs.spec import Lab, SpecError, lab_named
from grade.labs.workshop import Workshop

ROOT = Path(__file__).resolve().parent.parent.parent
SECOND = "90-second"
TWO = 'title = "Two"\narchitectures = ["x86_64", "aarch64"]\n\n[[lab]]\nname = "stack-guard"\npoints = 6\n\n' \
      '[[lab]]\nname = "second"\npoints = 4\ndue = 2027-02-14\n'


def git(place: Path, *words: str) -> str:
    """Runs git as a student would; what it says."""
    done = subprocess.run(["git", "-c", "user.name=S", "-c", "user.email=s@localhost", *words], cwd=place,
                          capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"git {' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def two_labs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete tree with stack-guard and the second lab, and a course of both."""
    root = tmp_path_factory.mktemp("tree") / "complete"
    tree.copy(ROOT, root, tree.files(ROOT))
    shutil.copytree(ROOT / "grade/tests/second_lab", root / "labs" / SECOND,
                    ignore=shutil.ignore_patterns("handout.md", "__pycache__"))
    shutil.copyfile(ROOT / "grade/tests/second_lab/handout.md", root / "handouts" / f"{SECOND}.md")
    (root / "handouts/img/second.svg").write_text("<svg/>\n")
    (root / "labs/course.toml").write_text(TWO)
    return root


@pytest.fixture(scope="module")
def repositories(two_labs: Path) -> tuple[Path, Path]:
    """The public and the private repository of that course."""
    public, private = two_labs.parent / "public", two_labs.parent / "private"
    publish(two_labs, read(two_labs), public, private)
    return public, private


# ---- course.toml --------------------------------------------------------------------------------------------


def test_the_trees_own_course_can_be_read_and_cut_on_one_base() -> None:
    course = read(ROOT)
    assert course.entries
    main = main_files(ROOT, course)
    for lab in course.labs(ROOT):
        assert not set(lab_files(ROOT, lab)) & set(main)
        assert set(lab.everywhere) <= set(main)


@pytest.mark.parametrize(("old", "new", "complaint"), [
    ('title = "Two"\n', "", "title is missing"), ('title = "Two"', "title = 2", "wrong type"),
    ('"x86_64", "aarch64"', '"vax"', "architectures must be some of"), ('name = "second"', 'name = "third"', "no lab 'third'"),
    ('name = "second"', 'name = "stack-guard"', "stack-guard stands there twice"), ("points = 4", "points = -4", "more than 0"),
    ("points = 4", 'points = "4"', "wrong type"), ("points = 4", "weight = 4", "nobody knows weight"),
    ("due = 2027-02-14", "due = 2027-02-14\nopens = 2027-03-01", "due before it opens"),
    ("due = 2027-02-14", "opens = 2027-02-01\ndue = 2027-02-01T00:00:00", "due before it opens"),
    ("due = 2027-02-14", 'architectures = ["x86_64", "x86_64"]', "number 2 .second.: architectures must be"),
    ("due = 2027-02-14", 'due = "tomorrow"', "wrong type"), ("[[lab]]", "[lab]", "course.toml"), ("points = 4", "points = ", "line")])
def test_a_bad_course_toml_is_explained(two_labs: Path, tmp_path: Path, old: str, new: str, complaint: str) -> None:
    assert old in TWO
    (tmp_path / "labs").mkdir()
    for folder in ("01-stack-guard", SECOND):
        (tmp_path / "labs" / folder).symlink_to(two_labs / "labs" / folder)
    (tmp_path / "labs/course.toml").write_text(TWO.replace(old, new, 1))
    with pytest.raises(SpecError, match=complaint):
        read(tmp_path)


@pytest.mark.parametrize(("days", "good"), [
    ("opens = 2027-02-01\ndue = 2027-02-01T18:00:00", True), ("opens = 2027-02-01\ndue = 2027-02-01", True),
    ("opens = 2027-02-01T18:00:00\ndue = 2027-02-01", True), ("opens = 2027-02-02\ndue = 2027-02-01T18:00:00", False)])
def test_a_day_alone_opens_as_it_begins_and_is_due_as_it_ends(two_labs: Path, tmp_path: Path, days: str, good: bool) -> None:
    (tmp_path / "labs").mkdir()
    for folder in ("01-stack-guard", SECOND):
        (tmp_path / "labs" / folder).symlink_to(two_labs / "labs" / folder)
    (tmp_path / "labs/course.toml").write_text(TWO.replace("due = 2027-02-14", days))
    if good:
        assert len(read(tmp_path).entries) == 2
    else:
        with pytest.raises(SpecError, match="due before it opens"):
            read(tmp_path)


def test_a_course_of_one_architecture_has_the_labs_that_are_there_for_it(tmp_path: Path) -> None:
    (tmp_path / "labs").mkdir()
    for folder in ROOT.glob("labs/*/lab.toml"):
        (tmp_path / "labs" / folder.parent.name).symlink_to(folder.parent)
    toml, text = tmp_path / "labs/course.toml", (ROOT / "labs/course.toml").read_text()
    chosen = {}
    for arches in ('["x86_64", "aarch64"]', '["x86_64"]', '["aarch64"]'):
        toml.write_text(re.sub("^architectures = .*", f"architectures = {arches}", text, flags=re.MULTILINE))
        chosen[arches] = {e.name for e in read(tmp_path).entries}
    both, intel, arm = chosen.values()
    assert both - intel == {"asid"} and both - arm == {"speculation"}
    toml.write_text('title = "One"\narchitectures = ["x86_64"]\n\n[[lab]]\nname = "26"\npoints = 1\n')
    with pytest.raises(SpecError, match=r"number 1 \(asid\): is there for aarch64 only"):
        read(tmp_path)


def test_a_lab_comes_after_those_that_it_requires(two_labs: Path, tmp_path: Path) -> None:
    (tmp_path / "labs").mkdir()
    for folder in ("01-stack-guard", SECOND):
        shutil.copytree(two_labs / "labs" / folder, tmp_path / "labs" / folder)
    toml = tmp_path / "labs/01-stack-guard/lab.toml"
    toml.write_text(toml.read_text().replace("requires = []", 'requires = ["second"]'))
    (tmp_path / "labs/course.toml").write_text(TWO)
    with pytest.raises(SpecError, match="stack-guard requires second, which comes later"):
        read(tmp_path)
    first, second = TWO.split("[[lab]]\n")[1:]
    (tmp_path / "labs/course.toml").write_text(TWO.split("[[lab]]")[0] + f"[[lab]]\n{second}\n[[lab]]\n{first}")
    assert [e.name for e in read(tmp_path).entries] == ["second", "stack-guard"]


def test_the_mark_of_a_published_tree_says_what_course_toml_said(two_labs: Path, tmp_path: Path) -> None:
    course = read(two_labs)
    (tmp_path / ".course").write_text(mark(course))
    assert published(tmp_path) == course
    assert published(two_labs) is None


# ---- what is published --------------------------------------------------------------------------------------


def test_labs_that_cut_the_same_with_other_stubs_are_refused(two_labs: Path, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    for name in ("lab.toml", "cut", "stubs.c"):
        shutil.copyfile(two_labs / "labs" / SECOND / name, tmp_path / "again" / name)
    lab = lab_named(two_labs, "second")
    twin = Lab(**{**vars(lab), "folder": tmp_path / "again", "name": "twin"})
    assert tree.cut_files(two_labs, [lab, twin])       # the same stubs
    stubs = tmp_path / "again/stubs.c"
    stubs.write_text(stubs.read_text().replace("return false", "return true"))
    with pytest.raises(CutError, match="is_descriptor_store: second and twin put different stubs there"):
        tree.cut_files(two_labs, [lab, twin])


def test_a_labs_branch_only_adds_files(repositories: tuple[Path, Path], two_labs: Path) -> None:
    public, _ = repositories
    course = read(two_labs)
    for entry in course.entries:
        changes = git(public, "diff", "--name-status", "main", entry.branch).splitlines()
        assert changes and all(line.startswith("A\t") for line in changes)
        names = {line.split("\t")[1] for line in changes}
        assert {f"handouts/{entry.folder}.md", f"labs/{entry.folder}/checks.py", f"labs/{entry.folder}/NOTES.md"} <= names
        assert not names & {n for e in course.entries for n in e.taken}
        assert len([n for n in names if n.startswith("user/attack/")]) == 1
        other = next(e for e in course.entries if e != entry)
        assert not any(other.name in n or other.folder in n for n in names)


def bodies(root: Path, labs: list[Lab]) -> dict[str, str]:
    """Each line of a cut definition that tells something and that the base lacks, with the definition's name."""
    base = set()
    changed = tree.cut_files(root, labs)
    for name in tree.files(root):
        if name.startswith(("arch/", "kernel/", "user/")):
            base |= {line.strip() for line in changed.get(name, (root / name).read_text()).splitlines()}
    out = {}
    for lab in labs:
        for path, group in by_path(tree.items_of(lab)).items():
            text = (root / path).read_text()
            for item in group:
                span = find(text, item)
                out |= {line.strip(): str(item) for line in text[span.start:span.end].splitlines()
                        if len(line.strip()) >= 16 and line.strip() not in base}
    return out


def objects(repository: Path) -> dict[str, bytes]:
    """The contents of every object of a repository, whatever refers to it."""
    done = subprocess.run(["git", "cat-file", "--batch-all-objects", "--batch"], cwd=repository, capture_output=True,
                          check=True, timeout=300)
    out, data = {}, done.stdout
    while data:
        head, _, data = data.partition(b"\n")
        name, kind, size = head.decode().split()
        if kind != "tree":
            out[f"{kind} {name}"] = data[:int(size)]
        data = data[int(size) + 1:]
    return out


def found_in(repository: Path, secret: dict[str, str]) -> list[str]:
    """The secret lines that objects hold."""
    return [f"{name}: {secret[line.strip()]}: {line.strip()}" for name, data in objects(repository).items()
            for line in data.decode("utf-8", errors="replace").splitlines() if line.strip() in secret]


def test_no_object_of_the_public_repository_holds_solution_text(repositories: tuple[Path, Path], two_labs: Path) -> None:
    public, private = repositories
    labs = read(two_labs).labs(two_labs)
    secret = bodies(two_labs, labs)
    assert len(secret) > 100 and {"stack_guard.c", "usercopy.c", "trap.c"} <= {Path(v.split(":")[0]).name for v in secret.values()}
    assert found_in(public, secret) == []
    # Nor of second solutions and mutants, and in no listing.
    lines = dict.fromkeys(tree.secret_lines(two_labs, labs), "second solutions and mutants")
    assert found_in(public, lines) == []
    # The search finds what is there: all of it is in the instructor's.
    held = {entry.rpartition(": ")[2] for entry in found_in(private, secret)}
    assert len(held) > 0.9 * len(secret)


def test_the_search_sees_a_handout_that_quotes_a_solution(two_labs: Path, tmp_path: Path) -> None:
    leaky = tmp_path / "leaky"
    shutil.copytree(two_labs, leaky)
    secret = bodies(leaky, read(leaky).labs(leaky))
    handout = leaky / "handouts/01-stack-guard.md"
    quoted = next(line for line, where in secret.items() if where.startswith("kernel/harden/stack_guard.c"))
    handout.write_text(handout.read_text() + f"\n    {quoted}\n")
    course, public = read(leaky), tmp_path / "public"
    with pytest.raises(tree.TreeError, match=rf"nothing is published.*\n  handouts/01-stack-guard.md: {re.escape(quoted)}"):
        publish(leaky, course, public)
    assert objects(public) == {}
    # The test's own search is no other.
    files = {**main_files(leaky, course), **lab_files(leaky, course.labs(leaky)[0])}
    publish_unchecked(public, leaky, files)
    assert len(found_in(public, secret)) == 1


def publish_unchecked(place: Path, root: Path, files: dict[str, bytes]) -> None:
    """Commits files as they are."""
    Repository(place, root, PUBLIC).commit("main", files, "all", [])


def test_publishing_again_gives_the_same_commits_and_a_change_is_added_on_top(two_labs: Path, tmp_path: Path) -> None:
    root, dest, private = tmp_path / "complete", tmp_path / "public", tmp_path / "private"
    shutil.copytree(two_labs, root)
    course = read(root)
    publish(root, course, dest, private)
    before = git(dest, "for-each-ref")
    key = (private / "labs/class.key").read_text()
    publish(root, course, dest, private)
    assert git(dest, "for-each-ref") == before and (private / "labs/class.key").read_text() == key
    publish(root, course, tmp_path / "elsewhere")
    assert git(tmp_path / "elsewhere", "for-each-ref") == before
    # A student who has begun pulls a mended handout without a conflict.
    git(tmp_path, "clone", "-q", str(dest), "student")
    student = tmp_path / "student"
    git(student, "switch", "-q", "lab/01-stack-guard")
    (student / "kernel/harden/stack_guard.c").write_text("/* mine */\n")
    git(student, "commit", "-qam", "mine")
    handout = root / "handouts/01-stack-guard.md"
    handout.write_text(handout.read_text() + "\nMended.\n")
    (root / "kernel/main.c").write_text((root / "kernel/main.c").read_text() + "/* Mended. */\n")
    publish(root, course, dest, private)
    git(student, "pull", "-q", "--no-rebase", "--no-edit")
    assert (student / "handouts/01-stack-guard.md").read_text().endswith("Mended.\n")
    assert (student / "kernel/main.c").read_text().endswith("/* Mended. */\n")
    assert (student / "kernel/harden/stack_guard.c").read_text() == "/* mine */\n"


def test_nothing_is_published_over_something_else(two_labs: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(tree.TreeError, match="no repository"):
        publish(two_labs, read(two_labs), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "add", "mine")
    git(tmp_path, "commit", "-qm", "mine")
    with pytest.raises(tree.TreeError, match="this repository is no course's, and not a course's public one"):
        publish(two_labs, read(two_labs), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".git", "mine"] and git(tmp_path, "for-each-ref").count("\n") == 1


@pytest.mark.parametrize(("dest", "private", "complaint"), [
    ("../public", "../public", "cannot be the same"), ("../public", "../public/in", "neither .* in the other"),
    ("../private/in", "../private", "neither .* in the other"), (".", None, "outside the tree"), ("..", None, "outside the tree"),
    ("public", None, "outside the tree"), ("../public", "private", "outside the tree"), ("../public", "labs/x", "outside the tree"),
    ("build", None, "outside the tree")])
def test_two_repositories_lie_apart_from_each_other_and_from_the_tree(tmp_path: Path, dest: str, private: str | None,
                                                                      complaint: str) -> None:
    root = tmp_path / "in" / "complete"
    root.mkdir(parents=True)
    with pytest.raises(tree.TreeError, match=complaint):
        publish(root, Course("Any", (), (Entry("01-any", "", 1, (), ()),)), root / dest, root / private if private else None)
    assert [p for p in tmp_path.rglob("*") if p not in (root, root.parent)] == []


def test_what_is_published_in_build_is_nobodys_file(tmp_path: Path) -> None:
    check_places(tmp_path, tmp_path / "build/demo/public", tmp_path / "build/demo/private")


def test_the_public_and_the_private_repository_are_never_taken_for_each_other(
        repositories: tuple[Path, Path], two_labs: Path, tmp_path: Path) -> None:
    course, public, private = read(two_labs), tmp_path / "public", tmp_path / "private"
    for place, copy in zip(repositories, (public, private)):
        shutil.copytree(place, copy)
    for marked in (True, False):
        refs = [git(place, "for-each-ref") for place in (public, private)]
        for kind, places in (("private, and not a course's public", (private, public)),
                             ("private, and not a course's public", (private, None)),
                             ("public, and not a course's private", (tmp_path / f"new-{marked}", public))):
            with pytest.raises(tree.TreeError, match=kind):
                publish(two_labs, course, *places)
        assert [git(place, "for-each-ref") for place in (public, private)] == refs
        # Those that were published before repositories had a mark; a catch-up branch may have been released.
        if marked:
            git(public, "fetch", "-q", str(private), "catchup/01:catchup/01")
            for place in (public, private):
                git(place, "config", "--unset", "rampart.kind")
    for place, kind in ((public, PUBLIC), (private, PRIVATE)):
        Repository(place, two_labs, kind)
        assert git(place, "config", "rampart.kind") == f"{kind}\n"


@pytest.mark.parametrize("tracked", [False, True])
def test_what_lies_beside_a_trees_own_files_is_never_taken_for_one(two_labs: Path, tmp_path: Path, tracked: bool) -> None:
    """Repositories, tickets, submissions: with git, and in a tree that came as an archive."""
    root = tmp_path / "complete"
    shutil.copytree(two_labs, root, ignore=shutil.ignore_patterns("build"))
    if tracked:
        git(root, "init", "-q")
        git(root, "add", "--all", "--force")
    before = tree.files(root)
    assert "Makefile" in before and {n.split("/")[0] for n in before} <= tree.TOP
    for name in ("public/kernel/main.c", "private/labs/class.key", "tickets/ann.ticket", "names.txt", "work/ann/kernel/main.c",
                 ".ticket", "labs/private/kernel/main.c"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    for repository in ("public", "private", "labs/private"):
        git(root / repository, "init", "-q")
    assert tree.files(root) == before
    assert not tracked or "ticket" not in git(root, "status", "--porcelain", "-uall")


def test_whatever_git_tracks_at_the_trees_top_belongs_to_a_tree_without_git_too() -> None:
    assert {n.split("/")[0] for n in tree.files(ROOT)} <= tree.TOP


# ---- a student's way ----------------------------------------------------------------------------------------


def solve(place: Path, files: dict[str, str], subject: str) -> None:
    """A student's commit."""
    for name, text in files.items():
        (place / name).write_text(text)
    git(place, "commit", "-qam", subject)


def walk(public: Path, place: Path, root: Path, course: Course, answers: dict[str, dict[str, str]]) -> None:
    """From lab to lab: each branch is begun, the work so far merged into it, the lab solved and its notes written."""
    git(place.parent, "clone", "-q", str(public), place.name)
    before = ""
    for entry, lab in zip(course.entries, course.labs(root)):
        git(place, "switch", "-q", entry.branch)
        if before:
            git(place, "merge", "-q", "--no-edit", before)
        notes = place / "labs" / entry.folder / "NOTES.md"
        answer = {}
        for path, group in by_path(tree.items_of(lab)).items():
            text = (place / path).read_text()
            done = answers[entry.folder].get(path) or swap(text, group, (root / path).read_text())
            answer[path] = done
        solve(place, answer | {str(notes.relative_to(place)): notes.read_text() + "\nDone.\n"}, f"{entry.name} done")
        before = entry.branch


def test_work_is_carried_from_lab_to_lab_and_ends_as_the_complete_kernel(repositories: tuple[Path, Path], two_labs: Path,
                                                                         tmp_path: Path) -> None:
    course = read(two_labs)
    student = tmp_path / "student"
    walk(repositories[0], student, two_labs, course, {e.folder: {} for e in course.entries})
    for lab in course.labs(two_labs):
        for name in lab.everywhere:
            assert (student / name).read_bytes() == (two_labs / name).read_bytes(), name
        assert (student / "labs" / lab.folder.name / "NOTES.md").read_text().endswith("Done.\n")
    assert git(student, "status", "--porcelain") == ""


def test_a_catch_up_branch_holds_the_reference_up_to_its_lab_and_merges_with_the_next(
        repositories: tuple[Path, Path], two_labs: Path, tmp_path: Path) -> None:
    public, private = repositories
    git(tmp_path, "clone", "-q", str(public), "student")
    student = tmp_path / "student"
    git(student, "pull", "-q", str(private), "catchup/01:catchup/01")
    git(student, "switch", "-q", "catchup/01")
    guard, copy = student / "kernel/harden/stack_guard.c", student / "kernel/harden/usercopy.c"
    assert guard.read_bytes() == (two_labs / "kernel/harden/stack_guard.c").read_bytes()
    stub = copy.read_bytes()
    assert stub != (two_labs / "kernel/harden/usercopy.c").read_bytes()
    git(student, "merge", "-q", "--no-edit", "origin/lab/90-second")
    assert (student / "user/attack/stack_guard.c").is_file() and (student / "user/attack/usercopy.c").is_file()
    assert copy.read_bytes() == stub


def test_a_ticket_stays_where_it_is_from_branch_to_branch(repositories: tuple[Path, Path], tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", str(repositories[0]), "student")
    student = tmp_path / "student"
    git(student, "switch", "-q", "lab/01-stack-guard")
    (student / TICKET).write_text("mine\n")
    (student / "kernel/main.c").write_text("/* mine */\n")
    git(student, "add", "-A")
    git(student, "commit", "-qm", "mine")
    git(student, "switch", "-q", "lab/90-second")
    assert (student / TICKET).read_text() == "mine\n"
    git(student, "merge", "-q", "--no-edit", "lab/01-stack-guard")
    assert (student / TICKET).read_text() == "mine\n" and TICKET not in git(student, "ls-files").splitlines()


class Asked(Exception):
    """Stands for a workshop, and carries what it was asked for."""


@pytest.mark.parametrize("from_course", [False, True])
def test_objects_of_the_editable_files_stay_only_where_they_are_no_answer(
        two_labs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, from_course: bool) -> None:
    """A submission could link them in."""
    def workshop(root: Path, lab: Lab, sandbox: object, answers: bool = True) -> Workshop:
        raise Asked(root, answers)

    monkeypatch.setattr(command, "ROOT", two_labs)
    monkeypatch.setattr(command, "Workshop", workshop)
    if from_course:
        (tmp_path / MARK).touch()
    with pytest.raises(Asked) as asked:
        command.do_grade(command.parser().parse_args(["grade", "second", "--from", str(tmp_path), "--trust"]))
    root, answers = asked.value.args
    answer = "kernel/harden/usercopy.c"
    assert answers == ((root / answer).read_bytes() == (two_labs / answer).read_bytes()) == (not from_course)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("which", ["reference", "other"])
def test_merged_work_builds_and_is_graded_in_its_own_tree_and_in_the_instructors(
        which: str, repositories: tuple[Path, Path], two_labs: Path, arch: str, tmp_path: Path) -> None:
    course = read(two_labs)
    answers: dict[str, dict[str, str]] = {e.folder: {} for e in course.entries}
    student = tmp_path / "student"
    if which == "reference":
        walk(repositories[0], student, two_labs, course, answers)
    else:       # the second solution of stack-guard, alone: the other lab is not done
        git(tmp_path, "clone", "-q", str(repositories[0]), "student")
        git(student, "switch", "-q", "lab/01-stack-guard")
        git(student, "merge", "-q", "--no-edit", "origin/lab/90-second")
        lab = lab_named(two_labs, "stack-guard", arch)
        other = other_solution(two_labs, lab, tmp_path)
        # What this lab's students change in a file that the other lab cuts, too, on the cut file.
        mixed = {n: data for n, data in other.items() if not n.endswith("trap.c")}
        cut = tree.cut_files(two_labs, [lab_named(two_labs, "second", arch)])
        trap = f"arch/{arch}/trap.c"
        text = other[trap].decode()
        mixed[trap] = swap(text, [i for i in tree.items_of(lab_named(two_labs, "second", arch)) if i.path == trap],
                                cut[trap]).encode()
        solve(student, {n: data.decode() for n, data in mixed.items()}, "done another way")
    scores = {}
    place = course_tree(two_labs, course)
    lend(student, arch)
    lend(two_labs, arch)
    for name in ("stack-guard", "second"):
        for where, lab in (("student", widened(lab_named(student, name, arch), published(student))),
                           ("instructor", widened(lab_named(two_labs, name, arch), course))):
            with Workshop(student if where == "student" else place, lab, choose(trust=True)) as workshop:
                data = as_dict(grade(workshop, workshop.take(student), 3))
                scores[name, where] = data["score"]
                assert not data["problem"] and not data["gated"], terminal(data)
    best = 100 if which == "reference" else 0
    assert scores == {("stack-guard", "student"): 100, ("stack-guard", "instructor"): 100,
                      ("second", "student"): best, ("second", "instructor"): best}
    assert re.search(r"^\[\[lab\]\]", (student / ".course").read_text(), re.MULTILINE)


@pytest.mark.parametrize(("arch_of_lab", "other"), [("x86_64", "aarch64"), ("aarch64", "x86_64")])
def test_a_submission_has_the_files_of_all_labs_but_for_those_of_another_architecture(
        two_labs: Path, arch_of_lab: str, other: str) -> None:
    course = read(two_labs)
    mine, shared, theirs = f"arch/{arch_of_lab}/mmu.c", "arch/tables.c", f"arch/{other}/mmu.c"
    first, *rest = course.entries
    taking = replace(course, entries=(replace(first, taken=(*first.taken, mine, shared, theirs)), *rest))
    lab = widened(lab_named(two_labs, "second", arch_of_lab), taking)
    assert {mine, shared} <= set(lab.editable) and theirs not in lab.editable
    assert {mine, shared, theirs} <= set(lab.everywhere)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_lab_holds_where_no_other_lab_of_the_course_is_done(two_labs: Path, arch: str) -> None:
    lend(two_labs, arch)
    prover = Prover(two_labs, lab_named(two_labs, "stack-guard", arch), 1, "no other lab done")
    prover.run(read(two_labs))
    assert [p.name for p in prover.proofs] == [
        f"{what}{variant}, no other lab done" for variant in ("starter", "solution") for what in ("", "attack on ")]
    assert prover.holds, prover.proofs


# ---- an instructor's verbs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", sorted(p.parent.parent.name for p in ROOT.glob("labs/*/samples/hostile.patch")))
def test_the_six_samples_of_the_demonstration_are_six_different_submissions(folder: str, arch: str, tmp_path: Path) -> None:
    six = staff.samples(lab_named(ROOT, folder, arch), tmp_path)
    assert list(six) == ["another-style", "half-right", "does-not-compile", "hangs-at-boot", "hostile", "starter"]
    texts = [repr(sorted(files.items())) for _, files in six.values()]
    assert len(set(texts)) == 6


@pytest.mark.parametrize(("scores", "good"), [
    ((100, 55, 0, 0, 0, 0), True), ((90, 55, 0, 0, 0, 0), False), ((100, 100, 0, 0, 0, 0), False), ((100, 0, 0, 0, 0, 0), False),
    ((100, 55, 0, 0, 5, 0), False)])
def test_the_demonstration_fails_if_a_submission_gets_what_it_does_not_deserve(scores: tuple[int, ...], good: bool) -> None:
    names = ["another-style", "half-right", "does-not-compile", "hangs-at-boot", "hostile", "starter"]
    assert staff.right([(n, {"score": s, "max": 100}, "") for n, s in zip(names, scores)]) == good


def test_a_change_touches_the_labs_that_read_edit_or_check_it_and_no_other(two_labs: Path) -> None:
    guard, second = (lab_named(two_labs, n) for n in ("stack-guard", "second"))

    def both(*names: str) -> list[bool]:
        return [touched(two_labs, lab, list(names)) for lab in (guard, second)]

    assert both("labs/01-stack-guard/checks.py") == both("kernel/proc/thread.c") == [True, False]
    assert both("user/attack/usercopy.c") == both("kernel/harden/usercopy.c") == [False, True]
    assert both("arch/x86_64/trap.c") == both("grade/labs/grading.py") == [True, True]
    assert both("README.md", "kernel/fs/pipe.c") == both() == [False, False]


def test_the_table_of_proofs_says_what_held(two_labs: Path) -> None:
    prover = Prover(two_labs, lab_named(two_labs, "second"), 1)
    prover.proofs = [Proof("starter", "", True, ""), Proof("mutant a", "", True, ""), Proof("mutant b", "", False, "")]
    assert re.search(r"90-second +x86_64 +- +1/1 +- +1/2 .* FAILS\n", table([prover]))
    prover.proofs.pop()
    assert re.search(r"90-second +x86_64 +- +1/1 +- +1/1 .* holds\n", table([prover]))


# ---- the verbs of a branch ----------------------------------------------------------------------------------


def verb(place: Path, *words: str, want: int = 0, env: dict[str, str] | None = None) -> str:
    """Runs a verb in a student's tree; what it prints."""
    done = subprocess.run(["/usr/bin/python3", "-m", "grade.lab", *words], cwd=place, capture_output=True, text=True,
                          check=False, timeout=600, env=os.environ | (env or {}))
    assert done.returncode == want, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def lend(place: Path, arch: str) -> None:
    """Gives a tree what this one has built for labs, so that it compiles only what differs."""
    for base in (ROOT / "build/labs").glob(f"base-*-{arch}/*/complete"):
        shutil.copytree(base.parent, place / base.parent.relative_to(ROOT), symlinks=True, dirs_exist_ok=True)
        return


@pytest.fixture
def student(repositories: tuple[Path, Path], two_labs: Path, arch: str, tmp_path: Path) -> Path:
    """A clone in which the first lab is done, and merged into the second's branch, which is begun."""
    place = tmp_path / "student"
    course = read(two_labs)
    first = Course(course.title, course.architectures, course.entries[:1])
    walk(repositories[0], place, two_labs, first, {e.folder: {} for e in course.entries})
    git(place, "switch", "-q", course.entries[1].branch)
    git(place, "merge", "-q", "--no-edit", course.entries[0].branch)
    lend(place, arch)
    return place


def test_a_branch_knows_its_lab_and_its_attack(student: Path) -> None:
    assert verb(student, "which") == "second\n" and verb(student, "which", "--attack") == "usercopy\n"
    git(student, "switch", "-q", "lab/01-stack-guard")
    assert verb(student, "which") == "stack-guard\n" and verb(student, "which", "--attack") == "stack-guard\n"
    git(student, "switch", "-q", "main")
    assert verb(student, "which") == "\n"
    git(student, "switch", "-q", "-c", "work", "lab/90-second")
    assert verb(student, "which") == "second\n"
    assert "-- /bin/attack usercopy" in subprocess.run(["make", "-n", "attack"], cwd=student, capture_output=True, text=True,
                                                       check=True).stdout


def test_reset_undoes_one_lab_keeps_a_backup_and_leaves_earlier_work(student: Path, arch: str) -> None:
    copy, trap = student / "kernel/harden/usercopy.c", student / f"arch/{arch}/trap.c"
    came = copy.read_bytes(), trap.read_bytes()
    assert b"stack_guard" in came[1]        # the first lab's work, in a file of both
    for path in (copy, trap):
        path.write_text("/* worse */\n")
    (student / "kernel/harden/usercopy_more.h").write_text("/* more */\n")
    git(student, "add", "-A")
    git(student, "commit", "-qm", "worse")
    assert ".lab-backup/1" in verb(student, "reset", "second")
    assert (copy.read_bytes(), trap.read_bytes()) == came
    assert (student / ".lab-backup/1" / copy.relative_to(student)).read_text() == "/* worse */\n"
    assert (student / ".lab-backup/1/kernel/harden/usercopy_more.h").read_text() == "/* more */\n"
    assert not (student / "kernel/harden/usercopy_more.h").exists()
    assert ".lab-backup/2" in verb(student, "reset", "second")
    assert (student / "kernel/harden/stack_guard.c").read_bytes() == (ROOT / "kernel/harden/stack_guard.c").read_bytes()


def attempt(place: Path, lab: str, changed: bool = True, score: int = 50) -> None:
    """Puts an attempt on record, as `grade` does."""
    with open(place / ".lab-attempts", "a") as out:
        out.write(json.dumps({"lab": lab, "arch": "x86_64", "score": score, "max": 100, "changed": changed, "files": "-"}) + "\n")


def test_progress_shows_each_lab_of_the_course(student: Path) -> None:
    attempt(student, "stack-guard", score=40)
    attempt(student, "stack-guard", score=50)
    text = verb(student, "progress")
    assert re.search(r"01-stack-guard .* changed since +50 of 100 +3\.0 +6", text)
    assert re.search(r"90-second .* not graded +4 +2027-02-14", text)
    assert "3.0 of 10" in text
    git(student, "switch", "-q", "main")
    assert re.search(r"90-second .* not begun", verb(student, "progress"))


def test_the_solution_is_shown_after_an_attempt_and_from_a_released_branch_alone(
        student: Path, repositories: tuple[Path, Path]) -> None:
    assert "no attempt" in verb(student, "solution", "second", want=1)
    attempt(student, "second", changed=False)
    assert "no attempt" in verb(student, "solution", "second", want=1)
    attempt(student, "second")
    assert "no catchup/90 here" in verb(student, "solution", "second", want=1)
    git(student, "fetch", "-q", str(repositories[1]), "catchup/90:catchup/90")
    text = verb(student, "solution", "second")
    assert "==== kernel/harden/usercopy.c: check_slab_object ====" in text
    assert "+\tconst struct slab_cache *c = slab_cache_of(page);" in text and "-\treturn NULL;" in text


def test_a_self_learner_sees_the_solution_of_a_starter_with_its_remarks(two_labs: Path, tmp_path: Path) -> None:
    starter = tmp_path / "starter"
    (two_labs / "labs" / SECOND / "solution.md").write_text(
        "# Why\n\n## kernel/harden/usercopy.c: check_stack\n\nFrames are a list.\n")
    tree.make_starter(two_labs, lab_named(two_labs, "second"), starter)
    assert not (starter / "labs" / SECOND / "solution.md").exists()
    assert "no attempt" in verb(starter, "solution", "second", want=1)
    attempt(starter, "second")
    text = verb(starter, "solution", "second")
    assert "# Why" in text and "# Frames are a list." in text and "==== kernel/harden/usercopy.c: check_stack" in text


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_submit_builds_and_packs_what_is_taken_and_says_what_is_not(student: Path, arch: str, tmp_path: Path) -> None:
    (student / "kernel/main.c").write_text((student / "kernel/main.c").read_text() + "/* lost */\n")
    text = verb(student, "submit", "second", "--arch", arch)
    assert "not taken: kernel/main.c" in text
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "xzf", student / "second-submission.tar.gz", "-C", out], check=True)
    names = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    assert {".course", "kernel/harden/usercopy.c", "arch/x86_64/trap.c", "arch/aarch64/trap.c", f"labs/{SECOND}/NOTES.md",
            "kernel/harden/stack_guard.c"} <= names and "kernel/main.c" not in names
    (student / "kernel/harden/usercopy.c").write_text("int late = undeclared;\n")
    assert "undeclared" in verb(student, "submit", "second", "--arch", arch, want=1)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_why_stands_where_the_check_begins_to_look_or_where_it_fails(student: Path, arch: str) -> None:
    # The second lab says nothing of where to stand, so it is the failure.
    gdb = {"GDB": "gdb -batch" if arch == platform.machine() else "gdb-multiarch -batch"}
    text = verb(student, "why", "second", "read-cpu1", "--arch", arch, env=gdb)
    assert "read-cpu1: fails" in text and "look at:  check_slab_object()" in text and "so do the symbols" in text
    assert "no check 'nonsense'" in verb(student, "why", "second", "nonsense", "--arch", arch, want=1)
