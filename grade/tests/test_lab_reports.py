"""Every report of a grade: each is valid by its schema, says what the grade says, and a grader that failed gives none."""

from __future__ import annotations

import copy
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from grade.lab import main
from grade.labs import formats, page, report
from grade.labs.grading import Grade, Verdict
from grade.labs.spec import lab_named

ROOT = Path(__file__).resolve().parent.parent.parent
SCHEMAS = ROOT / "grade" / "schemas"
EVIL = 'x</pre><script>alert(1)</script>"&]]>\x1b[2J\x07'
PICTURE = {"space": "kernel", "says": "this page is wrong", "runs": [
    {"start": "0x1000", "end": "0x2000", "rights": "not mapped", "what": "", "marked": False},
    {"start": "0x2000", "end": "0x3000", "rights": "RW- kernel", "what": "", "marked": True},
    {"start": "0x3000", "end": "0xb000", "rights": "RW- kernel", "what": f"stack of {EVIL[:9]}", "marked": False}]}
LOST = {"what": "the kernel panics", "exception": "#PF at f+0x13, error code 0x2", "calls": [["die", "f+0x13"]],
        "console": [f"oops: {EVIL}"]}


def made(kind: str) -> dict[str, Any]:
    """A grade of each kind that there is, as report.json holds it."""
    lab = lab_named(ROOT, "stack-guard")
    gates = [Verdict(n, t, 0, passed=True, seen="it runs") for n, t in lab.gates.items()]
    checks = [Verdict(c.name, c.title, c.points, passed=True, seen="so it is") for c in lab.checks]
    grade = Grade(lab, 7, "bubblewrap", "gcc 12; QEMU 7.2", gates, checks, submission="ab" * 32)
    if kind == "partly":
        checks[0].passed, checks[0].seen, checks[0].expected, checks[0].look = False, EVIL, "better", "f()"
        checks[0].picture = copy.deepcopy(PICTURE)
    if kind == "gated":
        gates[0].passed, gates[0].seen, grade.lost = False, f"not reached: {EVIL}", copy.deepcopy(LOST)
    if kind == "does not compile":
        grade.problem, grade.problem_text = kind, f"a.c:1:2: error: {EVIL}"
        for v in [*gates, *checks]:
            v.passed, v.seen = False, "not reached: does not compile"
    return report.as_dict(grade)


KINDS = ["full", "partly", "gated", "does not compile"]
SCORES = {"full": 100, "partly": 85, "gated": 0, "does not compile": 0}


def valid(name: str, value: Any) -> None:
    """The value is what the schema says."""
    schema = json.loads((SCHEMAS / f"{name}.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(value, schema)


def elements(node: ElementTree.Element) -> dict[str, Any]:
    """An XML element as the schema of JUnit sees it."""
    return {"tag": node.tag, "attributes": dict(node.attrib), "children": [elements(c) for c in node],
            "text": (node.text or "") + "".join(c.tail or "" for c in node)}


def parsed(form: str, text: str) -> Any:
    """What a reader of the format sees."""
    if form == "junit":
        return elements(ElementTree.fromstring(text))
    return json.loads(text.splitlines()[-1] if form == "autolab" else text)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["report", *sorted(formats.FORMATS)])
def test_every_report_of_every_grade_is_valid_by_its_schema(kind: str, form: str) -> None:
    data = made(kind)
    valid("report", data)
    if form != "report":
        valid(form, parsed(form, formats.FORMATS[form](data)))


@pytest.mark.parametrize(("form", "change"), [
    ("report", {"score": "5"}), ("report", {"extra": 1}), ("gradescope", {"score": -1}), ("gradescope", {"visibility": "no"}),
    ("classroom50", {"score": 1.5}), ("classroom50", {"schema": "classroom50/result/v2"}), ("prairielearn", {"score": 1.5}),
    ("autolab", {"scores": {}}), ("junit", {"tag": "testsuites"})])
def test_a_schema_refuses_what_is_not_of_its_format(form: str, change: dict[str, Any]) -> None:
    data = made("partly")
    value = data if form == "report" else parsed(form, formats.FORMATS[form](data))
    with pytest.raises(jsonschema.ValidationError):
        valid(form, value | change)


@pytest.mark.parametrize("kind", KINDS)
def test_every_report_gives_the_same_score(kind: str) -> None:
    data = made(kind)
    score = SCORES[kind]
    out = {form: parsed(form, convert(data)) for form, convert in formats.FORMATS.items()}
    assert data["score"] == score
    assert out["gradescope"]["score"] == sum(t["score"] for t in out["gradescope"]["tests"]) == score
    assert out["classroom50"]["score"] == sum(t["score"] for t in out["classroom50"]["tests"]) == score
    assert out["prairielearn"]["score"] * 100 == sum(t["points"] for t in out["prairielearn"]["tests"]) == score
    assert sum(out["autolab"]["scores"].values()) == out["autolab"]["scoreboard"][0] == score
    points = re.findall(r'name="points" value="(\d+)"', formats.as_junit(data))
    assert sum(map(int, points)) == score
    assert f"{score} of 100" in report.terminal(data) and f"{score} / 100" in page.as_html(data)


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_of_a_submission_becomes_markup_or_draws_on_a_terminal(kind: str) -> None:
    data = made(kind)
    text = page.as_html(data)
    assert "<script" not in text and "\x1b" not in text
    assert not re.search(r"\x1b|\x07", report.terminal(data) + formats.as_autolab(data) + formats.as_junit(data))
    assert not re.search(r"(src|href)\s*=|@import|url\(", text), "the page needs another file"


def test_where_a_gate_is_closed_each_form_says_which_labs_this_one_stands_on() -> None:
    data = made("gated")
    forms = report.terminal, page.as_html, formats.as_gradescope
    assert not any("is not done" in form(data) for form in forms)
    data["requires"] = ["wx"]
    assert all("Where wx is not done, a gate of this lab may be closed" in form(data) for form in forms)


def test_what_stands_in_backquotes_is_code_and_arrows_stay_whole() -> None:
    assert page.prose("`a<b` maps x -> y") == "<code>a&lt;b</code> maps x <span class=arrow>-&gt;</span> y"


def test_an_address_space_is_drawn_and_said_in_words_with_the_page_marked() -> None:
    text = page.as_html(made("partly"))
    svg = re.search(r"<svg.*?</svg>", text, re.DOTALL)
    assert svg is not None
    tree = ElementTree.fromstring(svg[0])
    assert len([r for r in tree if r.get("class") == "mark" and r.tag == "rect"]) == 1
    assert "this page is wrong" in "".join(tree.itertext())
    assert re.search(r"0x2000-0x2fff  RW- kernel  &lt;-- this page is wrong", text)
    assert "0x2000-0x2fff  RW- kernel  <-- this page is wrong" in report.terminal(made("partly"))


def test_a_lost_guest_is_told_with_its_exception_and_its_calls() -> None:
    data = made("gated")
    for text in (report.terminal(data), page.as_html(data), formats.as_gradescope(data)):
        assert "#PF at f+0x13" in text and "die" in text and "the kernel panics" in text


@pytest.mark.parametrize("form", sorted(formats.FORMATS))
def test_a_grader_that_failed_is_no_ones_zero(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", form, "-"]) == 2
    text = capsys.readouterr().out
    if form in ("autolab", "classroom50"):
        assert text == ""           # only silence says it there
        return
    value = parsed(form, text)
    valid(form, value)
    assert "no grade" in text
    if form == "gradescope":
        assert "score" not in value and "tests" not in value
    if form == "prairielearn":
        assert value["gradable"] is False
    if form == "junit":
        assert value["attributes"]["errors"] == "1" and value["attributes"]["failures"] == "0"


def test_prairielearns_results_stay_below_a_mebibyte() -> None:
    data = made("partly")
    for c in data["checks"]:
        c["seen"] = "y" * 400_000
    text = formats.as_prairielearn(data)
    assert len(text.encode()) <= formats.PRAIRIELEARN_MAX
    valid("prairielearn", json.loads(text))


def test_the_files_of_a_report_are_whole_when_report_json_is_there(tmp_path: Path) -> None:
    data = made("partly")
    report.write(data, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "report.json", "report.xml"]
    assert json.loads((tmp_path / "report.json").read_text()) == data


def test_no_name_of_a_submissions_draws_on_a_terminal() -> None:
    lab = lab_named(ROOT, "stack-guard")
    lost = {"what": f"hangs {EVIL}", "exception": f"#UD at {EVIL}", "calls": [["die", EVIL]], "console": [EVIL]}
    picture = copy.deepcopy(PICTURE)
    picture["space"] = picture["runs"][2]["what"] = EVIL
    check = Verdict("guard-below-every-stack", "t", 15, seen=EVIL, expected=EVIL, look=EVIL, picture=picture)
    data = report.as_dict(Grade(lab, 7, "bubblewrap", "gcc", [], [check], lost=lost))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f]", report.terminal(data) + page.as_html(data) + formats.as_autolab(data))
