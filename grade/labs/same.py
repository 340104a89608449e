"""Whether a grade repeats: one submission graded again and again, on a host that is left alone or kept busy, and the
reports compared byte by byte."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator

from grade.labs import report
from grade.labs.grading import grade
from grade.labs.workshop import Workshop

BUSY = "while True: pass"


@contextlib.contextmanager
def busy_host(processes: int | None = None) -> Iterator[None]:
    """Every core has work beside ours for as long as this lasts; some of them none, so that its share varies."""
    count = len(os.sched_getaffinity(0)) if processes is None else processes
    load = [subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.DEVNULL) for _ in range(count)]
    try:
        yield
    finally:
        for process in load:
            process.kill()
            process.wait()


def differing(workshop: Workshop, files: dict[str, bytes], seed: int, times: int, load: bool = False) -> list[str]:
    """What differs from the first report, as "report N: KEY: ...": empty if all `times` reports are the same. With
    `load` every second one is graded on a busy host."""
    out: list[str] = []
    first: dict[str, object] = {}
    for number in range(times):
        with busy_host() if load and number % 2 else contextlib.nullcontext():
            data = report.as_dict(grade(workshop, files, seed, f"same-{number}"))
        first = first or data
        if json.dumps(data) != json.dumps(first):
            out += [f"report {number}: {key}: {_shown(data[key])}\n  and not {_shown(first[key])}"
                    for key in data if data[key] != first[key]]
        print(f"report {number + 1} of {times}: {data['score']} points, {len(out)} differences", flush=True)
    return out


def _shown(value: object) -> str:
    return json.dumps(value)[:2000]
