"""The report as one HTML page: no script, no outside file, light and dark. Address spaces are drawn as inline SVG,
and the same is said in words."""

from __future__ import annotations

import html
import re
from typing import Any

ROW, SKIP, WIDTH = 30, 18, 640
STYLE = """
:root { color-scheme: light dark; --bg: #fbfaf7; --fg: #1d2129; --dim: #5c6370; --line: #d8d5cc; --card: #fff;
  --ok: #1a7f37; --no: #b3261e; --rw: #dbe8fb; --rx: #e3f3dc; --ro: #eceae4; --none: #fbfaf7; --mark: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --bg: #15181d; --fg: #e4e6ea; --dim: #9aa2af; --line: #343a44;
  --card: #1c2027; --ok: #5bd17a; --no: #ff8a80; --rw: #22405f; --rx: #24492b; --ro: #33373f; --none: #15181d;
  --mark: #ff8a80; } }
* { box-sizing: border-box }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem;
  background: var(--bg); color: var(--fg) }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem }
.score { font-size: 2.2rem; font-weight: 700; white-space: nowrap }
header { display: flex; gap: 1.5rem; justify-content: space-between; align-items: center; flex-wrap: wrap }
.meter { height: .5rem; border-radius: .25rem; background: var(--line); margin: .8rem 0; overflow: hidden }
.meter i { display: block; height: 100%; background: var(--ok) }
.facts, .dim { color: var(--dim); font-size: .875rem }
section { border: 1px solid var(--line); border-left: .3rem solid var(--ok); border-radius: .3rem; background: var(--card);
  padding: .6rem 1rem; margin: .6rem 0 }
section.no { border-left-color: var(--no) } section h3 { font-size: 1rem; margin: 0; font-weight: 600 }
section .state { float: right; margin-left: 1rem; font-weight: 700; color: var(--ok) }
section.no .state { color: var(--no) }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem .8rem; margin: .5rem 0 .2rem; font-size: .92rem }
dt { color: var(--dim) } dd { margin: 0; overflow-wrap: anywhere } .arrow { white-space: nowrap }
code, pre, svg text { font-family: ui-monospace, monospace } code { font-size: .85em; color: var(--dim) }
pre { overflow-x: auto; background: var(--card); border: 1px solid var(--line); padding: .7rem 1rem; border-radius: .3rem;
  font-size: .85rem; line-height: 1.4 }
figure { margin: .8rem 0 .2rem } figure svg { width: 100%; max-width: 640px; height: auto; display: block }
figcaption, details { font-size: .875rem; color: var(--dim) } summary { cursor: pointer }
svg text { font-size: 12px; fill: var(--fg) } svg .at { fill: var(--dim); text-anchor: end }
svg rect { stroke: var(--line) } .rw { fill: var(--rw) } .rx { fill: var(--rx) } .ro { fill: var(--ro) }
.none { fill: var(--none); stroke-dasharray: 4 3 } svg rect.mark { fill: none; stroke: var(--mark); stroke-width: 2.5 }
svg text.mark { fill: var(--mark); font-weight: 700 }
"""


def gate_rule(data: dict[str, Any]) -> str:
    """What a closed gate means, and what else may have closed it."""
    rule = "A kernel that breaks what worked before scores 0, whatever it defends."
    if data["requires"]:
        rule += f" (Where {' and '.join(data['requires'])} is not done, a gate of this lab may be closed for that alone.)"
    return rule


def verb(problem: str) -> str:
    """What a submission that could not be graded does."""
    return {"missing file": "lacks a file", "not a plain file": "holds something that is no plain file",
            "file too large": "holds a file that is too large"}.get(problem, problem)


def in_words(picture: dict[str, Any]) -> list[str]:
    """A picture of an address space as lines of text, highest addresses first."""
    out = [f"{picture['space']}, from the top:"]
    for run in reversed(picture["runs"]):
        out.append(f"{run['start']}-{int(run['end'], 16) - 1:#x}  {run['rights']}"
                   + (f"  {run['what']}" if run["what"] else "")
                   + (f"  <-- {picture['says']}" if run["marked"] else ""))
    return out


def as_svg(picture: dict[str, Any], name: str) -> str:
    """The picture itself, highest addresses at the top; the marked page framed. `name` makes its ids its own."""
    e = html.escape
    rows, marks, y = [], [], 4
    for run in reversed(picture["runs"]):
        pages = (int(run["end"], 16) - int(run["start"], 16)) >> 12
        height = ROW if pages == 1 else ROW + SKIP
        kind = "none" if run["rights"] == "not mapped" else "rw" if "W" in run["rights"] else \
            "rx" if "X" in run["rights"] else "ro"
        middle = y + height / 2 + 4
        rows.append(f'<rect class="{kind}" x="150" y="{y}" width="190" height="{height}"/>'
                    f'<text class="at" x="142" y="{y + height - 3}">{run["start"][2:]}</text>'
                    f'<text x="160" y="{middle:g}">{e(run["rights"])}</text>'
                    f'<text class="at" x="332" y="{middle:g}">{pages} page{"s" if pages > 1 else ""}</text>')
        if run["marked"]:
            marks.append(f'<rect class="mark" x="150" y="{y}" width="190" height="{height}"/>'
                         f'<text class="mark" x="350" y="{middle:g}">&#9664; {e(picture["says"])}</text>')
        elif run["what"]:
            rows.append(f'<text x="350" y="{middle:g}">{e(run["what"])}</text>')
        y += height
    rows += marks       # over their neighbours' edges
    return (f'<svg viewBox="0 0 {WIDTH} {y + 4}" role="img" aria-labelledby="{name}-t {name}-d">'
            f'<title id="{name}-t">{e(picture["space"])}</title>'
            f'<desc id="{name}-d">{e("; ".join(in_words(picture)))}</desc>{"".join(rows)}</svg>')


def _figure(verdict: dict[str, Any]) -> str:
    picture = verdict.get("picture")
    if picture is None:
        return ""
    words = html.escape("\n".join(in_words(picture)))
    return (f"<figure>{as_svg(picture, verdict['name'])}<figcaption>Address space: {html.escape(picture['space'])}. Each box is a run "
            f"of pages, high addresses at the top.</figcaption></figure>"
            f"<details><summary>The same in words</summary><pre>{words}</pre></details>")


def prose(text: str) -> str:
    """Escaped; what stands in backquotes is code, and no line ends inside an arrow."""
    text = re.sub(r"`([^`\n]+)`", r"<code>\1</code>", html.escape(text))
    return text.replace("-&gt;", "<span class=arrow>-&gt;</span>")


def _verdict(v: dict[str, Any]) -> str:
    e = html.escape
    rows = [("seen", v["seen"])]
    if not v["passed"]:
        rows += [(name, v[key]) for name, key in (("expected", "expected"), ("look at", "look")) if v.get(key)]
    state = f"{v['points']} / {v['max']}" if "max" in v else "passed" if v["passed"] else "failed"
    return (f"<section class={'ok' if v['passed'] else 'no'}><span class=state>{state}</span>"
            f"<h3>{'' if v['passed'] else '&#10007; '}{e(v['title'])}</h3><code>{e(v['name'])}</code><dl>"
            + "".join(f"<dt>{name}</dt><dd>{prose(text)}</dd>" for name, text in rows) + f"</dl>{_figure(v)}</section>\n")


def _lost(lost: dict[str, Any] | None) -> str:
    if not lost:
        return ""
    e = html.escape
    out = [f"<h2>How that guest ended: {e(lost['what'])}</h2>"]
    if lost["exception"]:
        out.append(f"<p>Last exception: <code>{e(lost['exception'])}</code></p>")
    for chain in lost["calls"]:
        out.append(f"<p class=dim>Called, innermost first:</p><pre>{e(chr(10).join(chain))}</pre>")
    if lost["console"]:
        out.append("<p class=dim>The last lines of its console, which prove nothing:</p>"
                   f"<pre>{e(chr(10).join(lost['console']))}</pre>")
    return "".join(out)


def shell(title: str, body: str) -> str:
    """A page with our style."""
    return (f"<!doctype html>\n<html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
            f"<title>{html.escape(title)}</title><style>{STYLE}</style>\n{body}</html>\n")


def as_html(data: dict[str, Any]) -> str:
    """The report as one page."""
    e = html.escape
    full = 100 * data["score"] / max(1, data["max"])
    out = [f"<header><h1>{e(data['title'])}</h1><span class=score>{data['score']} / {data['max']}</span></header>"
           f"<div class=meter><i style='width:{full:.0f}%'></i></div><p class=facts>{e(data['lab'])} on {e(data['arch'])}, "
           f"submission {data['submission'][:12] or '-'}, seed {data['seed']}, isolation: {e(data['isolation'])}<br>"
           f"{e(data['toolchain'])}</p>"]
    if data["problem"]:
        out.append(f"<h2>The submission {e(verb(data['problem']))}</h2><pre>{e(data['problem_text'])}</pre>")
    else:
        if data["gated"]:
            out.append(f"<p><strong>A gate is closed. {e(gate_rule(data))}</strong></p>")
        checks = "<h2>Checks</h2>" + "".join(map(_verdict, data["checks"]))
        gates = "<h2>Gates</h2><p class=dim>What worked before must still work.</p>" + "".join(map(_verdict, data["gates"]))
        lost = _lost(data["lost"])
        out += [lost, gates, checks] if data["gated"] else [checks, gates, lost]
    return shell(f"{data['title']}: {data['score']} of {data['max']}", "".join(out))
