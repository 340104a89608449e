"""`make bench COSTS=1`: what each mitigation costs, in guest instructions an operation.

The bench runs once with everything on, and once for each row of /proc/harden with that row off: by
`harden=-NAME`, or in a kernel built without it where that is decided at compile time. A cost is the
difference. Rows that are not on anyway have none.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import re
import sys
from pathlib import Path

from grade.bench import ICOUNT, ROOT, BenchError, System, figures, qemu, run
from grade.make import make
from grade.rows import Row, rows

# The operations that the table shows; --all has every row of the bench.
OPERATIONS = ("null", "null-filtered", "read", "write", "fork+exit", "fork+exec", "context-switch", "fault-file",
              "fault-anon")
STATE = re.compile(r"^([a-z-]+) +(on|off|absent) ", re.MULTILINE)


def states(arch: str, kernel: Path, initrd: Path, words: str = "") -> dict[str, str]:
    """Each row of /proc/harden and its state, as a boot of this kernel tells it."""
    said = run(qemu(arch, System("Rampart", kernel, words), initrd, "-- /bin/busybox cat /proc/harden"))
    found = dict(STATE.findall(said.replace("\r", "")))
    if not found:
        raise BenchError(f"no row of /proc/harden was printed:\n{said[-600:]}")
    return found


def kernel_without(row: Row, arch: str) -> Path:
    """A kernel built without a row that is decided at compile time, in a folder of its own."""
    folder = f"build/off/{arch}-{row.name}"
    words = [f"ARCH={arch}", f"B={folder}", *row.off.split(), "kernel"]
    done = make(*words, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"make {' '.join(words)}: {done.stderr[-600:]}")
    return ROOT / folder / "rampart"


def costs(arch: str, kernel: Path, initrd: Path, names: tuple[str, ...] = ()) -> dict[str, dict[str, float]]:
    """Row -> operation -> instructions more than without it; "all" holds the figures of the complete kernel.
    Only the operations in `names`, if any are given. BenchError where a run fails."""
    words = " ".join(["-- /bin/bench", *names])
    live = states(arch, kernel, initrd)
    here = [row for row in rows() if live.get(row.name) == "on"]

    def measured(system: System) -> dict[str, float]:
        return figures(qemu(arch, system, initrd, words, *ICOUNT), system)

    systems = [System("all", kernel, "")]
    for row in here:
        off = kernel_without(row, arch) if row.off else kernel
        systems.append(System(row.name, off, "" if row.off else f"harden=-{row.name}"))
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        found = dict(zip((s.name for s in systems), pool.map(measured, systems), strict=True))
    everything = found.pop("all")
    return {"all": everything} | {name: {op: everything[op] - value for op, value in without.items() if op in everything}
                                  for name, without in found.items()}


def table(found: dict[str, dict[str, float]]) -> str:
    """For people: a line a row."""
    shown = list(found["all"])
    lines = [["row", *shown], ["(everything on)", *(f"{found['all'][op]:,.0f}" for op in shown)]]
    lines += [[name, *(f"{cost[op]:+,.0f}" if op in cost else "-" for op in shown)]
              for name, cost in found.items() if name != "all"]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(cell.rjust(w) if i else cell.ljust(w)
                               for i, (cell, w) in enumerate(zip(line, widths, strict=True))) for line in lines)


def main(argv: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="grade.costs", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--arch", default="x86_64")
    parser.add_argument("--all", action="store_true", help="every row of the bench, and not the usual eight")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    build = ROOT / "build" / args.arch
    try:
        found = costs(args.arch, build / "rampart", build / "initrd.cpio", () if args.all else OPERATIONS)
    except BenchError as error:
        print(f"costs: {error}", file=sys.stderr)
        return 1
    print(json.dumps(found, indent=2) if args.json else table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
