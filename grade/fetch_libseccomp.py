"""Debian's libseccomp of an architecture that is not this machine's: two headers and the static library.

Kept in build/ARCH/libseccomp.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from grade.debian import DEBIAN, ROOT, FetchError, download

FILES = ("seccomp.h", "seccomp-syscalls.h", "libseccomp.a")


def fetch(arch: str) -> Path:
    """The folder, from the cache or by apt. Raises FetchError."""
    folder = ROOT / "build" / arch / "libseccomp"
    if folder.is_dir():
        return folder
    with tempfile.TemporaryDirectory() as scratch:
        download(arch, "libseccomp-dev", scratch)
        fresh = folder.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        for name in FILES:
            found = next(Path(scratch, "tree").rglob(name), None)
            if found is None:
                raise FetchError(f"libseccomp-dev holds no {name}")
            shutil.copy(found, fresh / name)
        # Last, so that the folder is always a whole one.
        os.replace(fresh, folder)
    return folder


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="grade.fetch_libseccomp", description=__doc__.splitlines()[0])
    parser.add_argument("--arch", required=True, choices=sorted(DEBIAN))
    args = parser.parse_args(argv)
    try:
        fetch(args.arch)
    except FetchError as error:
        by_hand = f"{', '.join(FILES)} put into build/{args.arch}/libseccomp serve as well."
        print(f"no libseccomp for {args.arch}: {error}\n{by_hand}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
