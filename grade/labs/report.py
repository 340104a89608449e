"""Reports of a grade: one dictionary (JSON), and from it the terminal's text, HTML and JUnit XML. No clock, no
path: the same grade gives the same bytes."""

from __future__ import annotations

import html
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from grade.labs.grading import Grade, Verdict

FORMAT = "rampart/grade/1"


def as_dict(grade: Grade) -> dict[str, Any]:
    """The grade as plain data: what report.json holds."""
    def verdict(v: Verdict) -> dict[str, Any]:
        out: dict[str, Any] = {"name": v.name, "title": v.title, "passed": v.passed, "seen": v.seen}
        if v.points:
            out |= {"points": v.points if v.passed and not grade.gated else 0, "max": v.points,
                    "expected": v.expected, "look": v.look}
        return out

    return {"format": FORMAT, "lab": grade.lab.name, "title": grade.lab.title, "score": grade.score,
            "max": grade.lab.points, "seed": grade.seed, "twist": grade.twist.text if grade.twist else "", "isolation": grade.isolation, "toolchain": grade.toolchain,
            "problem": grade.problem, "problem_text": grade.problem_text, "gated": grade.gated,
            "gates": [verdict(g) for g in grade.gates], "checks": [verdict(c) for c in grade.checks]}


def terminal(data: dict[str, Any]) -> str:
    """The report for a terminal, at most 110 columns where words allow it."""
    out = [f"{data['title']} ({data['lab']}): {data['score']} of {data['max']} points",
           f"seed {data['seed']}, isolation: {data['isolation']}", f"{data['toolchain']}",
           *([f"twist: {data['twist']}"] if data["twist"] else []), ""]
    if data["problem"]:
        return "\n".join([*out, f"The submission {_verb(data['problem'])}.", "", data["problem_text"], ""])
    for g in data["gates"]:
        out.append(f"  {'ok  ' if g['passed'] else 'FAIL'}       {g['title']}" + ("" if g["passed"] else
                                                                               f"\n             seen: {g['seen']}"))
    if data["gated"]:
        out.append("\n  A kernel that breaks what worked before scores 0, whatever it defends.")
    out.append("")
    for c in data["checks"]:
        out.append(f"  {'ok  ' if c['passed'] else 'FAIL'} {c['points']:>2}/{c['max']:<2} {c['title']}"
                   f"  [{c['name']}]")
        if not c["passed"]:
            out.append(f"             seen:     {c['seen']}")
            if c["expected"]:
                out += [f"             expected: {c['expected']}", f"             look at:  {c['look']}"]
    return "\n".join([*out, ""])


def _verb(problem: str) -> str:
    return {"missing file": "lacks a file", "not a plain file": "holds something that is no plain file",
            "file too large": "holds a file that is too large"}.get(problem, problem)


def as_html(data: dict[str, Any]) -> str:
    """The report as one page without scripts or outside files."""
    e = html.escape
    rows = "".join(
        f"<tr class='{'ok' if v['passed'] else 'no'}'><td>{'passed' if v['passed'] else 'failed'}</td>"
        f"<td>{str(v['points']) + ' / ' + str(v['max']) if 'max' in v else 'gate'}</td><td><b>{e(v['title'])}</b> "
        f"<code>{e(v['name'])}</code><br>seen: {e(v['seen'])}"
        + (f"<br>expected: {e(v['expected'])}<br>look at: {e(v['look'])}" if v.get("expected") and not v["passed"]
           else "") + "</td></tr>\n"
        for v in [*data["gates"], *data["checks"]])
    problem = f"<h2>{e(data['problem'])}</h2><pre>{e(data['problem_text'])}</pre>" if data["problem"] else ""
    return (f"<!doctype html><html lang=en><meta charset=utf-8><title>{e(data['title'])}</title><style>"
            ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;"
            "padding:0 1rem}td{vertical-align:top;padding:.4rem .8rem;border-top:1px solid #8888}"
            ".ok td:first-child{color:#183}.no td:first-child{color:#c22;font-weight:bold}"
            "@media(prefers-color-scheme:dark){.ok td:first-child{color:#6d8}.no td:first-child{color:#f77}}</style>"
            f"<h1>{e(data['title'])}: {data['score']} of {data['max']}</h1><p>seed {data['seed']}, isolation: "
            f"{e(data['isolation'])}, {e(data['toolchain'])}</p>{problem}<table>{rows}</table></html>\n")


def as_junit(data: dict[str, Any]) -> str:
    """The report as JUnit XML; gates are test cases of their own class."""
    cases = [("gate", g) for g in data["gates"]] + [("check", c) for c in data["checks"]]
    suite = ElementTree.Element("testsuite", name=f"rampart.{data['lab']}", tests=str(len(cases)),
                                failures=str(sum(not v["passed"] for _, v in cases)), errors="0")
    for kind, v in cases:
        case = ElementTree.SubElement(suite, "testcase", classname=f"{data['lab']}.{kind}", name=v["name"])
        if "max" in v:
            properties = ElementTree.SubElement(case, "properties")
            ElementTree.SubElement(properties, "property", name="points", value=str(v["points"]))
            ElementTree.SubElement(properties, "property", name="max", value=str(v["max"]))
        if not v["passed"]:
            failure = ElementTree.SubElement(case, "failure", message=_clean(v["seen"]))
            failure.text = _clean(v.get("expected", ""))
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def write(data: dict[str, Any], folder: Path) -> None:
    """report.json, report.html and report.xml in `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(data, indent=1, ensure_ascii=True) + "\n")
    (folder / "report.html").write_text(as_html(data))
    (folder / "report.xml").write_text(as_junit(data))
