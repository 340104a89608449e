"""The report in the words of others: JUnit, and what Gradescope, classroom50, PrairieLearn and Autolab read. Each is a
plain function of report.json's dictionary. A grader that failed gives none a score: see failed()."""

from __future__ import annotations

import datetime
import json
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from typing import Any

from grade.labs.page import gate_rule

PRAIRIELEARN_MAX = 1 << 20      # bytes of its results.json
Data = dict[str, Any]


def _output(v: Data) -> str:
    out = [f"seen: {v['seen']}"]
    if not v["passed"]:
        out += [f"{name}: {v[key]}" for name, key in (("expected", "expected"), ("look at", "look")) if v.get(key)]
    return "\n".join(out)


def _summary(data: Data) -> str:
    head = f"{data['title']} ({data['lab']}, {data['arch']}): {data['score']} of {data['max']} points\n" \
           f"seed {data['seed']}, isolation: {data['isolation']}\n{data['toolchain']}"
    if data["problem"]:
        return f"{head}\n\n{data['problem']}\n{data['problem_text']}"
    closed = [f"closed gate: {g['title']}\n  seen: {g['seen']}" for g in data["gates"] if not g["passed"]]
    if closed:
        closed.append(gate_rule(data))
    lost = data["lost"]
    if lost:
        closed += [f"how that guest ended: {lost['what']}", *([f"last exception: {lost['exception']}"]
                                                              if lost["exception"] else []),
                   *(f"  {frame}" for chain in lost["calls"] for frame in chain)]
    return "\n".join([head, *([""] if closed else []), *closed])


def as_junit(data: Data) -> str:
    """JUnit XML; gates are test cases of their own class, and a submission that does not build is one error."""
    cases = [("gate", g) for g in data["gates"]] + [("check", c) for c in data["checks"]]
    suite = ElementTree.Element("testsuite", name=f"rampart.{data['lab']}", tests=str(len(cases)), time="0",
                                failures=str(sum(not v["passed"] for _, v in cases)), errors="0", skipped="0")
    for kind, v in cases:
        case = ElementTree.SubElement(suite, "testcase", classname=f"{data['lab']}.{kind}", name=v["name"], time="0")
        if "max" in v:
            properties = ElementTree.SubElement(case, "properties")
            for name, key in (("points", "points"), ("max", "max")):
                ElementTree.SubElement(properties, "property", name=name, value=str(v[key]))
        if not v["passed"]:
            failure = ElementTree.SubElement(case, "failure", message=v["seen"].splitlines()[0] if v["seen"] else "")
            failure.text = _output(v)
    if data["problem"]:
        ElementTree.SubElement(suite, "system-err").text = f"{data['problem']}: {data['problem_text']}"
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def as_gradescope(data: Data) -> str:
    """Gradescope's results.json. The gates stand there too, and are worth nothing."""
    tests = [{"name": v["title"], "number": f"{kind}.{number}", "score": v.get("points", 0),
              "max_score": v.get("max", 0), "status": "passed" if v["passed"] else "failed", "output": _output(v),
              "output_format": "text", "tags": [kind, v["name"]], "visibility": "visible"}
             for kind in ("gate", "check") for number, v in enumerate(data[f"{kind}s"], 1)]
    return _json({"score": data["score"], "output": _summary(data), "output_format": "text", "visibility": "visible",
                  "stdout_visibility": "hidden", "tests": tests})


def as_classroom50(data: Data) -> str:
    """classroom50's result.json. What it knows and we do not comes from the variables CLASSROOM50_CLASSROOM,
    _ASSIGNMENT, _SUBMISSION, _COMMIT, _RELEASE, _REVIEW and _DATETIME."""
    def given(name: str, otherwise: str = "") -> str:
        return os.environ.get(f"CLASSROOM50_{name}", otherwise)

    tests = [{"test-name": c["name"], "passed": c["passed"] and not data["gated"], "score": c["points"],
              "max-score": c["max"]} for c in data["checks"]]
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return _json({"schema": "classroom50/result/v1", "classroom": given("CLASSROOM"),
                  "assignment": given("ASSIGNMENT", data["lab"]), "submission": given("SUBMISSION", data["submission"]),
                  "commit": given("COMMIT"), "release": given("RELEASE"), "review": given("REVIEW"),
                  "datetime": given("DATETIME", now), "score": data["score"], "max-score": data["max"], "tests": tests})


def as_prairielearn(data: Data) -> str:
    """PrairieLearn's results.json: a share of 1. Work that does not build can be handed in again, and costs no try."""
    tests = [{"name": c["title"], "points": c["points"], "max_points": c["max"], "message": "", "output": _output(c)}
             for c in data["checks"]]
    result = {"gradable": not data["problem"], "score": data["score"] / max(1, data["max"]), "output": _summary(data),
              "tests": tests}
    if data["problem"]:
        result["format_errors"] = [f"{data['problem']}: {data['problem_text']}"]
    text = _json(result)
    while len(text.encode()) > PRAIRIELEARN_MAX:
        longest = max(tests, key=lambda t: len(t["output"]))
        longest["output"] = longest["output"][:len(longest["output"]) // 2]
        result["output"] = result["output"][:1000]
        text = _json(result)
    return text


def as_autolab(data: Data) -> str:
    """What Autolab reads from the last line of standard output; its problems are our checks."""
    scores = {c["name"]: c["points"] for c in data["checks"]}
    return f"{_summary(data)}\n{json.dumps({'scores': scores, 'scoreboard': [data['score']]}, ensure_ascii=True)}\n"


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=True) + "\n"


FORMATS: dict[str, Callable[[Data], str]] = {
    "junit": as_junit, "gradescope": as_gradescope, "classroom50": as_classroom50, "prairielearn": as_prairielearn,
    "autolab": as_autolab,
}


def failed(form: str, why: str) -> str:
    """What to hand over where the grader or the host failed: words and no score, so that nobody has a zero of it. Empty
    where the only way to say so is to say nothing, and to end with a status that is not 0."""
    text = f"This is no grade: the grader or its host failed, which is not your fault. Submit again or tell the staff.\n{why}"
    if form == "gradescope":
        return _json({"output": text, "output_format": "text", "visibility": "visible", "stdout_visibility": "hidden"})
    if form == "prairielearn":
        return _json({"gradable": False, "score": 0, "output": text, "format_errors": [text], "tests": []})
    if form == "junit":
        suite = ElementTree.Element("testsuite", name="rampart", tests="1", failures="0", errors="1", skipped="0", time="0")
        case = ElementTree.SubElement(suite, "testcase", classname="rampart", name="grader", time="0")
        ElementTree.SubElement(case, "error", message="the grader failed").text = text
        return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"
    return ""
