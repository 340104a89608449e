"""Reports of a grade: one dictionary (JSON), and from it the terminal's text and the files of page.py and formats.py.
No clock, no path: the same grade gives the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from grade.labs.formats import as_junit
from grade.labs.grading import Grade, Verdict
from grade.labs.page import as_html, gate_rule, in_words, verb

FORMAT = "rampart/grade/1"


def _all_plain(value: Any) -> Any:
    """The same with every text plain: names of symbols and of threads are the submission's, too."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, list):
        return [_all_plain(v) for v in value]
    if isinstance(value, dict):
        return {key: _all_plain(v) for key, v in value.items()}
    return value


def as_dict(grade: Grade) -> dict[str, Any]:
    """The grade as plain data: what report.json holds (grade/schemas/report.json)."""
    def verdict(v: Verdict) -> dict[str, Any]:
        out: dict[str, Any] = {"name": v.name, "title": v.title, "passed": v.passed, "seen": plain(v.seen)}
        if v.points:
            out |= {"points": v.points if v.passed and not grade.gated else 0, "max": v.points,
                    "expected": plain(v.expected), "look": plain(v.look)}
        if v.picture is not None:
            out["picture"] = _all_plain(v.picture)
        return out

    lost = _all_plain(grade.lost)
    return {"format": FORMAT, "lab": grade.lab.name, "arch": grade.lab.arch, "title": grade.lab.title,
            "requires": list(grade.lab.requires), "score": grade.score, "max": grade.lab.points, "submission": grade.submission, "seed": grade.seed,
            "twist": grade.twist.text if grade.twist else "",
            "isolation": grade.isolation, "toolchain": grade.toolchain, "problem": grade.problem,
            "problem_text": plain(grade.problem_text), "gated": grade.gated, "lost": lost,
            "gates": [verdict(g) for g in grade.gates], "checks": [verdict(c) for c in grade.checks]}


def plain(text: str) -> str:
    """Text without the control characters by which a guest could draw on a terminal, and of bounded length."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text[:4000])


def terminal(data: dict[str, Any]) -> str:
    """The report for a terminal, at most 110 columns where words allow it."""
    out = [f"{data['title']} ({data['lab']}, {data['arch']}): {data['score']} of {data['max']} points",
           f"submission {data['submission'][:12] or '-'}, seed {data['seed']}, isolation: {data['isolation']}",
           data["toolchain"], *([f"twist: {data['twist']}"] if data["twist"] else []), ""]
    if data["problem"]:
        return "\n".join([*out, f"The submission {verb(data['problem'])}.", "", data["problem_text"], ""])
    for g in data["gates"]:
        out.append(f"  {'ok  ' if g['passed'] else 'FAIL'}       {g['title']}" + ("" if g["passed"] else
                                                                               f"\n             seen: {g['seen']}"))
    if data["gated"]:
        out.append(f"\n  {gate_rule(data)}")
    out.append("")
    shown = False       # one address space is enough for a terminal; report.html has all
    for c in data["checks"]:
        out.append(f"  {'ok  ' if c['passed'] else 'FAIL'} {c['points']:>2}/{c['max']:<2} {c['title']}"
                   f"  [{c['name']}]")
        if not c["passed"] and not (data["gated"] and c["seen"].startswith("not reached")):
            out.append(f"             seen:     {c['seen']}")
            if c["expected"]:
                out += [f"             expected: {c['expected']}", f"             look at:  {c['look']}"]
            if "picture" in c and not shown:
                shown = True
                out += [f"             {line}" for line in in_words(c["picture"])]
    return "\n".join([*out, *(["", *told(data["lost"])] if data["lost"] else []), ""])


def told(lost: dict[str, Any]) -> list[str]:
    """What is known of a guest that did not come to its end."""
    out = [f"How that guest ended: {lost['what']}"]
    if lost["exception"]:
        out.append(f"  last exception: {lost['exception']}")
    for chain in lost["calls"]:
        out += ["  called, innermost first:", *(f"    {frame}" for frame in chain)]
    if lost["console"]:
        out += ["  the last lines of its console, which prove nothing:", *(f"    {line}" for line in lost["console"])]
    return out


def write(data: dict[str, Any], folder: Path) -> None:
    """report.json, report.html and report.xml in `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.html").write_text(as_html(data))
    (folder / "report.xml").write_text(as_junit(data))
    # Last and at once: where it is, the grade is whole.
    fresh = folder / "report.json.new"
    fresh.write_text(json.dumps(data, indent=1, ensure_ascii=True) + "\n")
    fresh.rename(folder / "report.json")
