"""`make bench`: one initramfs on Rampart and on Debian's Linux kernel in the same QEMU.

The figures to steer by are guest instructions: under -icount a guest nanosecond is one instruction,
whatever the host is doing. Rows that copy or clear pages are also worth a look at the wall clock,
because there one `rep` iteration counts as an instruction. Wall clock comes from a second run
without -icount, and the time to a shell prompt from boots of their own.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import json
import os
import re
import select
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from grade import fetch_linux

ROOT = Path(__file__).resolve().parent.parent
MEMORY = "256"
# -erms: Debian's kernel clears pages with `rep stosb` where the CPU claims that this is fast, which
# -icount charges by the byte.
MACHINES = {
    "x86_64": ("qemu-system-x86_64", "-M q35 -cpu max,-erms", "ttyS0"),
    "aarch64": ("qemu-system-aarch64", "-M virt -cpu max,pauth-impdef=on", "ttyAMA0"),
}
ICOUNT = ("-icount", "shift=0,sleep=off", "-seed", "1")
LINE = re.compile(r"^bench (\S+) ([0-9.]+)\s*$", re.MULTILINE)
PROMPT = re.compile(rb"root@rampart:[^\n]*# ")
# What Linux calls its page-table isolation (Documentation/admin-guide/kernel-parameters.txt); the
# other architecture's word it takes for an unknown one, and says nothing.
ISOLATION = {"x86_64": "pti", "aarch64": "kpti"}
# Seconds of wall clock after which a run counts as hung.
LIMIT = 300
BOOTS = 5


class BenchError(Exception):
    """A run that gave no figures; the message ends with the last of the console."""


@dataclass(frozen=True)
class System:
    """A kernel to measure and what to say to it."""

    name: str
    kernel: Path
    words: str


@dataclass
class Column:
    """The figures of one system, by row: guest instructions, and nanoseconds of wall clock."""

    name: str
    instructions: dict[str, float] = field(default_factory=dict)
    wall: dict[str, float] = field(default_factory=dict)
    boot_seconds: float | None = None


def qemu(arch: str, system: System, initrd: Path, words: str, *extra: str) -> list[str]:
    """The command line of a one-CPU guest whose console is our pipe."""
    program, machine, console = MACHINES[arch]
    return [
        program, "-accel", "tcg", *machine.split(), "-smp", "1", "-m", MEMORY,
        "-nodefaults", "-vga", "none", "-net", "none", "-display", "none", "-no-reboot",
        "-serial", "stdio", "-kernel", str(system.kernel), "-initrd", str(initrd), *extra,
        "-append", f"console={console} quiet panic=-1 {system.words} {words}".strip(),
    ]  # fmt: skip


def run(command: list[str]) -> str:
    """The console of a guest that powers itself off. Raises BenchError where it does not."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired as late:
        said = (late.stdout or b"").decode(errors="replace")
        raise BenchError(f"no end after {LIMIT} s:\n{said[-600:]}") from late
    text = done.stdout.decode(errors="replace")
    if done.returncode:
        raise BenchError(f"QEMU ended with {done.returncode}:\n{done.stderr.decode()[-600:]}")
    return text


def figures(command: list[str], system: System) -> dict[str, float]:
    """Each row's nanoseconds, as the guest's clock saw them."""
    text = run(command)
    rows = {name: float(value) for name, value in LINE.findall(text.replace("\r", ""))}
    if not re.search(r"init: /bin/bench exited with 0", text):
        print(f"{system.name}: the run broke off:\n{text[-600:]}", file=sys.stderr)
    if not rows:
        raise BenchError(f"{system.name} printed no row; its last words:\n{text[-600:]}")
    return rows


def boot_seconds(command: list[str]) -> float:
    """Wall clock from starting QEMU to the shell's prompt."""
    start = time.monotonic()
    guest = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert guest.stdout
    said = b""
    try:
        while not PROMPT.search(said):
            left = max(0, start + LIMIT - time.monotonic())
            ready = select.select([guest.stdout], [], [], left)[0]
            chunk = os.read(guest.stdout.fileno(), 4096) if ready else b""
            if not chunk:
                why = "the guest ended" if ready else f"{LIMIT} s passed"
                last = said[-600:].decode(errors="replace")
                raise BenchError(f"{why} without a shell prompt:\n{last}")
            said += chunk
        return time.monotonic() - start
    finally:
        guest.kill()
        guest.communicate()


def measure(args: argparse.Namespace, systems: list[System]) -> list[Column]:
    """All figures of all systems."""
    columns = [Column(system.name) for system in systems]
    words = " ".join(["-- /bin/bench", *args.row])

    def count(system: System) -> dict[str, float]:
        return figures(qemu(args.arch, system, args.initrd, words, *ICOUNT), system)

    # Counting is blind to a busy host, so these guests may run side by side.
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for column, rows in zip(columns, pool.map(count, systems), strict=True):
            column.instructions = rows
    if args.no_wall:
        return columns
    for column, system in zip(columns, systems, strict=True):
        column.wall = figures(qemu(args.arch, system, args.initrd, words), system)
        boots = [boot_seconds(qemu(args.arch, system, args.initrd, "")) for _ in range(BOOTS)]
        column.boot_seconds = statistics.median(boots)
    return columns


def table(columns: list[Column]) -> str:
    """For people: instructions and their ratio to the first Linux column, then wall clock."""
    rows = list(dict.fromkeys(name for column in columns for name in column.instructions))
    ours, *others = columns
    head = ["instructions", *(c.name for c in columns), *(["ratio"] if others else [])]
    if any(column.wall for column in columns):
        head += [f"{c.name} wall ns" for c in columns]
    lines = [head]

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:,.0f}"

    def ratio(first: float | None, second: float | None) -> str:
        return "-" if first is None or not second else f"{first / second:.2f}"

    for row in rows:
        line = [row, *(number(c.instructions.get(row)) for c in columns)]
        if others:
            line.append(ratio(ours.instructions.get(row), others[0].instructions.get(row)))
        if any(column.wall for column in columns):
            line += [number(c.wall.get(row)) for c in columns]
        lines.append(line)
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    text = "\n".join(
        "  ".join(cell.ljust(w) if not i else cell.rjust(w) for i, (cell, w) in enumerate(pairs))
        for pairs in (list(zip(line, widths, strict=True)) for line in lines)
    )
    boots = [f"{c.name} {c.boot_seconds:.2f} s" for c in columns if c.boot_seconds is not None]
    if boots:
        text += f"\n\nboot to a shell prompt, wall clock, median of {BOOTS}: {', '.join(boots)}"
    return text


def systems_to_measure(args: argparse.Namespace) -> list[System]:
    """Rampart first, then Linux with page-table isolation on and, if asked for, off."""
    found = []
    if args.only != "linux":
        found.append(System("Rampart", args.kernel, args.cmdline))
    if args.only != "rampart":
        try:
            image = fetch_linux.fetch(args.arch)
        except fetch_linux.FetchError as error:
            if args.only == "linux":
                raise BenchError(f"no Linux kernel: {error}") from error
            print(f"only Rampart's column, for want of a Linux kernel: {error}", file=sys.stderr)
            return found
        isolation = ISOLATION[args.arch]
        found.append(System("Linux", image, f"{isolation}=on"))
        if args.pti_off:
            found.append(System("Linux pti=off", image, f"{isolation}=off"))
    return found


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="grade.bench", description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="x86_64", choices=sorted(MACHINES))
    parser.add_argument("--kernel", type=Path, help="instead of build/ARCH/rampart")
    parser.add_argument("--initrd", type=Path, help="instead of build/ARCH/initrd.cpio")
    parser.add_argument("--cmdline", default="", help="for Rampart: harden=-smap and the like")
    parser.add_argument("--only", choices=("rampart", "linux"))
    parser.add_argument("--pti-off", action="store_true", help="a second Linux column")
    parser.add_argument("--no-wall", action="store_true", help="instructions only")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("row", nargs="*", help="only these rows (`/bin/bench -l` lists them)")
    args = parser.parse_args(argv)
    args.kernel = args.kernel or ROOT / "build" / args.arch / "rampart"
    args.initrd = args.initrd or ROOT / "build" / args.arch / "initrd.cpio"

    try:
        columns = measure(args, systems_to_measure(args))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps([dataclasses.asdict(column) for column in columns], indent=2))
    else:
        print(table(columns))
        if any(column.name.startswith("Linux") for column in columns):
            print(f"Linux is {fetch_linux.version(args.arch)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
