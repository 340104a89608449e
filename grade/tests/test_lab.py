"""The labs' machinery: cutting by name, starters, what a bad submission gets, one seed and one report."""

from __future__ import annotations

import argparse
import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grade.lab import main
from grade.labs import desk, report, tree
from grade.labs.autopsy import CONSOLE_LINES, last_lines
from grade.labs.cut import CutError, Item, cut, find, parse_cut, read_stubs, restore, sections
from grade.labs import grading
from grade.labs.grading import Hung, Only, Run, Verdict, grade, load_checks, run_scenarios
from grade.labs.prove import MUTANTS_AT_LEAST, apply_patch, named_checks, other_solution
from grade.labs.sandbox import SandboxError, choose
from grade.labs.spec import READING_MAX, Lab, SpecError, all_labs, lab_named, load, reading_lines
from grade.labs.workshop import SubmissionError, Workshop, first_error

ROOT = Path(__file__).resolve().parent.parent.parent
LABS = all_labs(ROOT, None)
# Where a processor's emergency stacks are made, for its first one.
FIRST_STACKS = {"x86_64": "x86_cpu_stacks(this_cpu());", "aarch64": "a64_cpu_stacks(this_cpu());"}
SOURCE = """/* The room.  More of it. */
#include "x.h"

#define SIZE 4 /* so */

struct box {
	int a;
};

static int count;
static int room[SIZE] aligned(SIZE);

static int helper(int x);

/* Adds. */
static int
helper(int x)
{
	if (x) {
		return count;
	}
	return x + SIZE;
}

int
public_one(int a,
	   int b)
{
	return helper(a) + b;
}
"""


# ---- cutting ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "first", "last"), [
    ("helper", "/* Adds. */", "}"), ("public_one", "int", "}"), ("struct=box", "struct box {", "};"),
    ("var=count", "static int count;", "static int count;"),
    ("var=room", "static int room", "aligned(SIZE);"), ("macro=SIZE", "#define SIZE", "so */"),
    ("@head", "/* The room.", "of it. */"), ("*", "/* The room.", "}")])
def test_a_definition_is_found_by_name_with_its_comment(name: str, first: str, last: str) -> None:
    span = find(SOURCE, Item("a.c", name))
    text = SOURCE[span.start:span.end].rstrip("\n")
    assert text.startswith(first) and text.endswith(last)


def test_an_assembly_function_is_found_by_its_macros() -> None:
    text = "/* head */\n\n/* Says so. */\nFUNC(a)\n\tret\nEND(a)\n\nFUNC(ab)\n\tret\nEND(ab)\n"
    span = find(text, Item("x.S", "a"))
    assert text[span.start:span.end] == "/* Says so. */\nFUNC(a)\n\tret\nEND(a)\n"


@pytest.mark.parametrize("name", ["help", "missing", "var=absent", "struct=bo", "odd=x"])
def test_a_missing_name_fails_loudly(name: str) -> None:
    with pytest.raises(CutError, match=re.escape(name.rpartition("=")[2])):
        find(SOURCE, Item("a.c", name))


def test_a_malformed_cut_file_names_its_line() -> None:
    with pytest.raises(CutError, match="cut:2"):
        parse_cut("a.c: x\nnonsense\n")
    with pytest.raises(CutError, match="twice"):
        parse_cut("a.c: x\na.c: x\n")
    with pytest.raises(CutError, match="two sections"):
        sections("/* ==== a ==== */\n/* ==== a ==== */\n", "stubs.c")


def test_cut_and_restore_are_inverse_and_a_stub_must_exist(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text(SOURCE)
    stubs = {"a.c": "/* Another room. */\n\n/* To do. */\nstatic int\nhelper(int x)\n{\n\treturn x;\n}\n"}
    items = parse_cut("a.c: @head helper  # both\n")
    starter = cut(tmp_path, items, stubs)
    assert "return count" not in starter["a.c"] and "/* Another room. */\n#include" in starter["a.c"]
    assert restore(starter, tmp_path, items) == {"a.c": SOURCE}
    with pytest.raises(CutError, match="stubs: .*public_one"):
        cut(tmp_path, parse_cut("a.c: public_one"), stubs)


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.folder.name)
def test_every_lab_is_cut_and_restored_byte_for_byte(lab: Lab) -> None:
    items = parse_cut((lab.folder / "cut").read_text())
    starter = cut(ROOT, items, read_stubs(lab.folder))
    for path, text in restore(starter, ROOT, items).items():
        assert text.encode() == (ROOT / path).read_bytes()
        assert starter[path] != text


# ---- labs and starters --------------------------------------------------------------------------------------


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.folder.name)
def test_a_starter_holds_no_line_of_any_solution(lab: Lab, tmp_path: Path) -> None:
    dest = tmp_path / "starter"
    tree.make_starter(ROOT, lab, dest)
    assert tree.leaks(ROOT, lab, dest) == []
    assert (dest / ".lab").read_text() == f"{lab.name}\n"
    assert not any((dest / "labs" / lab.folder.name / name).exists() for name in tree.PRIVATE)
    # The search can find: what somebody left behind has a solution's line.
    (dest / "left-behind.txt").write_text("".join((ROOT / item.path).read_text() for item in tree.items_of(lab)))
    assert tree.leaks(ROOT, lab, dest)


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.folder.name)
def test_a_labs_promises_to_the_student_hold(lab: Lab, arch: str, tmp_path: Path) -> None:
    if arch not in lab.architectures:
        pytest.skip(f"{lab.name} is not there for {arch}")
    lab = load(lab.folder, arch)
    tree.make_starter(ROOT, lab, tmp_path / "starter")
    assert sum(n for _, n in reading_lines(lab, tmp_path / "starter")) <= READING_MAX
    assert (ROOT / "handouts" / f"{lab.folder.name}.md").is_file()
    assert len(tree.patches(lab.folder / "mutants", arch)) >= MUTANTS_AT_LEAST


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.folder.name)
def test_every_mutant_and_the_second_solution_apply_and_mutants_name_what_they_lose(lab: Lab, arch: str, tmp_path: Path) -> None:
    if arch not in lab.architectures:
        pytest.skip(f"{lab.name} is not there for {arch}")
    lab = load(lab.folder, arch)
    solution = {name: (ROOT / name).read_bytes() for name in lab.editable if (ROOT / name).is_file()}
    for patch in tree.patches(lab.folder / "mutants", arch):
        assert named_checks(patch, lab)
        assert apply_patch(solution, patch, tmp_path) != solution
    assert other_solution(ROOT, lab, tmp_path) != solution


def test_a_starter_is_never_written_over_something(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    assert main(["lab", "stack-guard", str(tmp_path)]) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(("old", "new", "complaint"), [
    ('name = "stack-guard"\n', "", "name is missing"), ("hours = 6 ", "hours = '6' ", "wrong type"),
    ("points = 15", "points = 95", "%"), ("points = 15", "points = ", "line"),
    ('"arch/x86_64/trap.c"', '"../x"', "leaves"), ("[arch.x86_64]", "[arch.vax]", "not there for x86_64, but for vax"),
    ('name = "nothing-leaks"', 'name = "overflow-again"', "twice"),
    ("[[twist]]", "[[twists]]", "nobody knows twists; twists may be meant for twist"),
    ("\nrequires = ", "\nnew_file = []\nrequires = ", "nobody knows new_file; .* new_files"),
    ("\nrequires = ", "\nadd = []\nrequires = ", "nobody knows add; .* adds"),
    ("\nrequires = ", "\nxyz = []\nrequires = ", "nobody knows xyz; there are adds, arch"),
    ("points = 15", "points = 15\nweight = 3", r"\[\[check\]\] number \d: nobody knows weight"),
    ("\nfails = ", "\nvalue = 3\nfails = ", r"\[\[twist\]\] number 1: nobody knows value; value may be meant for values"),
    ("\ncauses = ", "\ncause = []\ncauses = ", r"\[diagnosis\]: nobody knows cause"),
    ("[arch.aarch64]\n", "[arch.aarch64]\nedit = []\n", r"\[arch.aarch64\]: nobody knows edit"),
    ('name = "stack-guard"\n', 'name = "stack"\n', "the folder of stack is called NN-stack")])
def test_a_bad_lab_toml_is_explained(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    text = (lab_named(ROOT, "stack-guard").folder / "lab.toml").read_text()
    assert old in text
    folder = tmp_path / "01-stack-guard"
    folder.mkdir()
    (folder / "lab.toml").write_text(text)
    assert load(folder).name == "stack-guard"
    (folder / "lab.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(SpecError, match=complaint):
        load(folder)


def test_a_lab_has_three_names_and_an_unknown_one_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert {lab_named(ROOT, n).name for n in ("stack-guard", "01-stack-guard", "01")} == {"stack-guard"}
    assert main(["grade", "no-such-lab"]) == 1
    assert "01-stack-guard" in capsys.readouterr().err


def test_a_lab_whose_cut_names_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CutError, match="no such file"):
        cut(tmp_path, [Item("gone.c", "x")], {})


# ---- submissions --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workshop(arch: str) -> Iterator[Workshop]:
    """The first lab's workshop, its base built."""
    try:
        sandbox = choose(trust=True)
        with Workshop(ROOT, lab_named(ROOT, "stack-guard", arch), sandbox) as made:
            yield made
    except SandboxError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.mark.timeout(900)
def test_the_same_seed_gives_the_same_report(workshop: Workshop, tmp_path: Path) -> None:
    answer = workshop.take(ROOT)
    told: list[str] = []
    data = [report.as_dict(grade(workshop, answer, 5, f"again-{i}", tell=told.append)) for i in range(2)]
    names = sorted(s.__name__ for s in load_checks(workshop.lab).scenarios())
    assert sorted(told[2:2 + len(names)]) == [f"boot {name}: done" for name in names], told
    for i, one in enumerate(data):
        report.write(one, tmp_path / str(i))
    assert data[0]["score"] == data[0]["max"], report.terminal(data[0])
    for name in ("report.json", "report.html", "report.xml"):
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "1" / name).read_bytes()
    assert report.terminal(data[0]) == report.terminal(json.loads((tmp_path / "1" / "report.json").read_text()))


def least_of(lab: Lab, arch: str) -> None:
    """The least of what check-labs proves: the reference scores full, the starter nothing, and the gates are open."""
    lab = load(lab.folder, arch)
    with Workshop(ROOT, lab, choose(trust=True)) as workshop:
        reference = workshop.take(ROOT)
        starter = {path: text.encode() for path, text in cut(ROOT, tree.items_of(lab), read_stubs(lab.folder)).items()}
        for files, score in ((reference, 100), (reference | starter, 0)):
            data = report.as_dict(grade(workshop, files, 1, f"of-{score}"))
            assert data["score"] == score and all(g["passed"] for g in data["gates"]), report.terminal(data)


def on_each(*pairs: tuple[Lab, str]) -> list[Any]:
    """A test's labs, each on one architecture alone."""
    return [pytest.param(lab, id=lab.name, marks=pytest.mark.arch(arch)) for lab, arch in pairs]


# For whoever changes the kernel or the grader and not the lab: the core path's labs, each on one of its architectures, so that
# each has half of them. The other halves take as long again, and so do electives and capstone, whose numbers begin at 20.
CORE = [lab for lab in LABS if lab.folder.name < "20"]
LEAST = [(lab, lab.architectures[i % len(lab.architectures)]) for i, lab in enumerate(CORE)]
REST = [(lab, arch) for lab in LABS for arch in lab.architectures if (lab, arch) not in LEAST]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("lab", on_each(*LEAST))
def test_in_every_core_lab_the_reference_scores_full_and_the_starter_nothing(lab: Lab, arch: str) -> None:
    least_of(lab, arch)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("lab", on_each(*REST))
def test_so_it_is_in_electives_and_on_a_labs_other_architecture(lab: Lab, arch: str) -> None:
    least_of(lab, arch)


@pytest.mark.timeout(900)
def test_a_submission_that_lacks_a_file_or_does_not_compile_is_told_why(workshop: Workshop, tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match="stack_guard.c is not there"):
        workshop.take(tmp_path)
    answer = workshop.take(ROOT)
    broken = answer | {"kernel/harden/stack_guard.c": b"int\nmain(void)\n{\n\treturn undeclared;\n}\n"}
    told: list[str] = []
    data = report.as_dict(grade(workshop, broken, 1, "broken", tell=told.append))
    assert data["score"] == 0 and data["problem"] == "does not compile" and told == ["building"]
    assert "stack_guard.c" in data["problem_text"] and "error" in data["problem_text"]
    assert "does not compile" in report.terminal(data)


def test_a_submission_may_not_point_elsewhere(workshop: Workshop, tmp_path: Path) -> None:
    for name in workshop.lab.editable:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    target = tmp_path / workshop.lab.editable[0]
    target.unlink()
    target.symlink_to("/etc/shadow")
    with pytest.raises(SubmissionError, match="symbolic link"):
        workshop.take(tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("what", "code"), [
    ("hangs", "for (;;)\n\t\t;"),
    ("prints what a good kernel would",
     'kprintf("oops: stack-guard: the kernel stack of thread 9 \\"x\\" overflowed\\n");'
                                        "\n\tpanic(\"init: /bin/lab-stack-guard exited with 0\");")])
def test_a_kernel_that_hangs_or_pretends_scores_nothing(workshop: Workshop, what: str, code: str) -> None:
    answer = workshop.take(ROOT)
    name = f"arch/{workshop.arch}/trap.c"
    text = answer[name].decode()
    answer[name] = text.replace(FIRST_STACKS[workshop.arch], code, 1).encode()
    assert answer[name].decode() != text
    result = grade(workshop, answer, 1, f"bad-{what.split()[0]}")
    assert result.score == 0 and not result.problem and not any(c.passed for c in result.checks)


@pytest.mark.timeout(900)
def test_a_grading_ends_when_what_is_wanted_of_it_is_decided(workshop: Workshop) -> None:
    stubs = tree.cut_files(ROOT, [workshop.lab])
    starter = workshop.take(ROOT) | {n: t.encode() for n, t in stubs.items() if n in workshop.lab.editable}
    wanted = Only(frozenset(["guard-below-every-stack"]), boots=frozenset(["first_cpu"]))
    result = grade(workshop, starter, 1, "wanted", wanted)
    decided = {c.name: c.passed for c in result.checks if c.decided}
    assert decided == {"guard-below-every-stack": False} and not any(g.decided for g in result.gates)
    assert result.deciders["guard-below-every-stack"] == "first_cpu"
    red = grade(workshop, starter, 1, "red", Only(red_ends=True))
    decided = {c.name: c.passed for c in red.checks if c.decided}
    assert 1 <= len(decided) < len(red.checks) and not all(decided.values())


def test_the_first_error_of_a_build_is_found() -> None:
    text = "  CC a\na.c: In function 'f':\na.c:3:2: error: no\n    3 | x\n  CC b\nmake: *** Error 1\n"
    assert first_error(text).startswith("a.c: In function 'f':\na.c:3:2: error: no")
    assert first_error("") == "make failed and said nothing"


def test_a_starter_knows_which_files_are_not_as_they_were_given(tmp_path: Path) -> None:
    starter = tmp_path / "starter"
    tree.make_starter(ROOT, LABS[0], starter)
    assert desk.changed_files(starter) == set()
    (starter / "arch/x86_64/cpu.h").write_text("")
    (starter / "kernel/main.c").unlink()
    assert desk.changed_files(starter) == {"arch/x86_64/cpu.h", "kernel/main.c"}


@pytest.mark.parametrize("added", [[], ["kernel"], ["Makefile", "kernel"]])
def test_a_starter_is_whole_whatever_of_it_its_student_has_given_to_git(tmp_path: Path, added: list[str]) -> None:
    starter = tmp_path / "starter"
    tree.make_starter(ROOT, LABS[0], starter)
    before = tree.files(starter)
    assert {"Makefile", "arch/arch.h", "kernel/main.c", "user/init/init.c", f"labs/{LABS[0].folder.name}/lab.toml"} <= set(before)
    for words in (["init", "-q"], *([["add", *added]] if added else [])):
        subprocess.run(["git", *words], cwd=starter, check=True, timeout=60)
    assert tree.files(starter) == before


def test_a_broken_kernel_is_not_shown_before_an_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arch: str) -> None:
    starter, lab = tmp_path / "starter", lab_named(ROOT, LABS[0].name, arch)
    tree.make_starter(ROOT, lab, starter)
    kernel = starter / "labs" / lab.folder.name / "diagnose" / arch / "a" / "rampart"
    kernel.parent.mkdir(parents=True)
    kernel.touch()
    monkeypatch.setattr(desk, "ROOT", starter)
    with pytest.raises(SpecError, match="no attempt"):
        desk.diagnose(argparse.Namespace(lab=lab.name, arch=arch))


class Console:
    """A machine that has said so many lines."""

    def __init__(self, *lines: str) -> None:
        self.lines = list(lines)

    def tail(self, lines: int) -> list[str]:
        return self.lines[-lines:]


def test_a_report_begins_with_what_the_kernel_reported_first() -> None:
    noise = [f"line {i}" for i in range(30)]
    assert last_lines(Console(*noise)) == noise[-CONSOLE_LINES:]
    assert last_lines(Console(*noise, "oops: smap: so", *noise[:20]))[:2] == ["oops: smap: so", "line 0"]
    assert last_lines(Console(*noise, "panic: so")) == [*noise[1 - CONSOLE_LINES:], "panic: so"]


@pytest.mark.parametrize(("hangs", "passed", "seen"), [(1, True, "all is well"), (2, False, "not reached: it hung")])
def test_a_hang_is_believed_when_it_comes_twice(monkeypatch: pytest.MonkeyPatch, hangs: int, passed: bool, seen: str) -> None:
    monkeypatch.setattr(grading, "open_image", lambda *_: io.StringIO())
    checks = {n: Verdict(n, "", 10) for n in ("early", "late", "elsewhere")}
    run = Run(None, None, None, None, 1, checks=checks)       # type: ignore[arg-type]
    boots = []

    def boot(own: Run) -> None:
        boots.append(own)
        own.check("early", len(boots) > 1, "seen", "", "")      # what the boot that hung had decided does not stay
        if len(boots) <= hangs:
            raise Hung("it hung")
        own.check("late", True, "all is well", "", "")

    def other(own: Run) -> None:
        own.check("elsewhere", True, "seen", "", "")

    run_scenarios(run, [boot, other])
    assert len(boots) == 2 and checks["early"].passed and checks["elsewhere"].passed
    assert (checks["late"].passed, checks["late"].seen) == (passed, seen)


def test_a_lab_says_which_labs_it_stands_on(capsys: pytest.CaptureFixture[str]) -> None:
    for name, said in (("smap", True), ("seccomp", False)):
        assert main(["show", name]) == 0
        assert ("to be done before: wx" in capsys.readouterr().out) == said
