"""Debian's busybox-static of an architecture that is not this machine's, for its initramfs.

Kept in build/ARCH/busybox; any static busybox put there serves as well.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from grade.debian import DEBIAN, ROOT, FetchError, download


def fetch(arch: str) -> Path:
    """The program, from the cache or by apt. Raises FetchError."""
    program = ROOT / "build" / arch / "busybox"
    if program.is_file():
        return program
    with tempfile.TemporaryDirectory() as scratch:
        download(arch, "busybox-static", scratch)
        found = [path for path in Path(scratch, "tree").rglob("busybox") if path.stat().st_size > 1 << 16]
        if not found:
            raise FetchError("busybox-static holds no busybox")
        program.parent.mkdir(parents=True, exist_ok=True)
        # Last, so that the program is always a whole one.
        shutil.copy(found[0], program.with_suffix(".new"))
        os.replace(program.with_suffix(".new"), program)
    return program


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="grade.fetch_busybox", description=__doc__.splitlines()[0])
    parser.add_argument("--arch", required=True, choices=sorted(DEBIAN))
    args = parser.parse_args(argv)
    try:
        fetch(args.arch)
    except FetchError as error:
        by_hand = f"Any static busybox put at build/{args.arch}/busybox serves as well."
        print(f"no busybox for {args.arch}: {error}\n{by_hand}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
