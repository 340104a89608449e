"""Debian's Linux kernel, to run beside Rampart: fetched by apt, unpacked, never installed.

Only when asked for (`make linux`, and `make bench` or a comparing test that finds none). The image
is kept in build/linux/ARCH/vmlinuz with its version beside it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from grade import debian
from grade.debian import DEBIAN, ROOT, SECONDS, FetchError


def cached(arch: str) -> Path | None:
    """The kernel image if it was fetched before (or put there by hand)."""
    image = ROOT / "build" / "linux" / arch / "vmlinuz"
    return image if image.is_file() else None


def version(arch: str) -> str:
    """The Debian package and version of the cached image, for reports."""
    note = ROOT / "build" / "linux" / arch / "version"
    return note.read_text().strip() if note.is_file() else "unknown version"


def fetch(arch: str) -> Path:
    """The kernel image, from the cache or by apt. Raises FetchError."""
    image = cached(arch)
    if image:
        return image
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if not shutil.which(tool):
            raise FetchError(f"{tool} is not on this machine.")
    package = _image_package(arch)
    folder = ROOT / "build" / "linux" / arch
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        print(f"fetching {package} ...", file=sys.stderr)
        archive = debian.download(arch, package, scratch)
        unpacked = sorted(Path(scratch, "tree", "boot").glob("vmlinu[xz]-*"))
        if not unpacked:
            raise FetchError(f"{package} holds no kernel image.")
        (folder / "version").write_text(archive.stem.replace("%3a", ":") + "\n")
        # Last, so that an image is always a whole one.
        shutil.copy(unpacked[0], folder / "vmlinuz.new")
        os.replace(folder / "vmlinuz.new", folder / "vmlinuz")
    return folder / "vmlinuz"


def _image_package(arch: str) -> str:
    """What linux-image-cloud-ARCH (or linux-image-ARCH) depends on now."""
    for name in (f"linux-image-cloud-{DEBIAN[arch]}", f"linux-image-{DEBIAN[arch]}"):
        shown = subprocess.run(
            ["apt-cache", *debian.options(arch), "depends", name],
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        found = re.search(r"Depends: <?(linux-image-\d[^\s:>]*)", shown.stdout)
        if found:
            return found[1]
    raise FetchError(
        "apt knows no Linux kernel image: run `apt-get update`, on Debian with its main archive "
        "among the sources."
    )


def _by_hand(arch: str) -> str:
    return f"Any Linux {arch} kernel image put at build/linux/{arch}/vmlinuz serves as well."


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="grade.fetch_linux", description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="x86_64", choices=sorted(DEBIAN))
    args = parser.parse_args(argv)
    try:
        image = fetch(args.arch)
    except FetchError as error:
        print(f"no Linux kernel to compare with: {error}\n{_by_hand(args.arch)}", file=sys.stderr)
        return 1
    print(f"{image.relative_to(ROOT)} ({version(args.arch)})")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
