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

ROOT = Path(__file__).resolve().parent.parent
# Debian's names of our architectures.
DEBIAN = {"x86_64": "amd64", "aarch64": "arm64"}
SECONDS = 300


class FetchError(Exception):
    """Why there is no Linux kernel, and what the user can do."""


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
            raise FetchError(f"{tool} is not on this machine. {_by_hand(arch)}")
    package = _image_package(arch)
    folder = ROOT / "build" / "linux" / arch
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        # apt downloads as user _apt, who must be able to write here.
        os.chmod(scratch, 0o777)
        print(f"fetching {package} ...", file=sys.stderr)
        _run(["apt-get", "download", "-q", package], arch, scratch)
        archive = next(Path(scratch).glob("*.deb"))
        _run(["dpkg-deb", "-x", str(archive), "tree"], arch, scratch)
        unpacked = sorted(Path(scratch, "tree", "boot").glob("vmlinu[xz]-*"))
        if not unpacked:
            raise FetchError(f"{package} holds no kernel image. {_by_hand(arch)}")
        (folder / "version").write_text(archive.stem.replace("%3a", ":") + "\n")
        # Last, so that an image is always a whole one.
        shutil.copy(unpacked[0], folder / "vmlinuz.new")
        os.replace(folder / "vmlinuz.new", folder / "vmlinuz")
    return folder / "vmlinuz"


def _image_package(arch: str) -> str:
    """What linux-image-cloud-ARCH (or linux-image-ARCH) depends on now."""
    suffix = f":{DEBIAN[arch]}" if DEBIAN[arch] != _own_architecture() else ""
    for name in (f"linux-image-cloud-{DEBIAN[arch]}", f"linux-image-{DEBIAN[arch]}"):
        shown = subprocess.run(
            ["apt-cache", "depends", name + suffix],
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        found = re.search(r"Depends: <?(linux-image-\d[^\s:>]*)", shown.stdout)
        if found:
            return found[1] + suffix
    raise FetchError(
        "apt knows no Linux kernel image: run `apt-get update`, on Debian with its main archive "
        f"among the sources. {_by_hand(arch)}"
    )


def _own_architecture() -> str:
    done = subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def _run(command: list[str], arch: str, folder: str) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired as late:
        why = f"{' '.join(command)}: no end after {SECONDS} s. {_by_hand(arch)}"
        raise FetchError(why) from late
    if done.returncode:
        why = done.stderr.strip() or done.stdout.strip()
        raise FetchError(f"{' '.join(command)} failed:\n{why}\n{_by_hand(arch)}")


def _by_hand(arch: str) -> str:
    return f"Any Linux {arch} kernel image put at build/linux/{arch}/vmlinuz serves as well."


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="grade.fetch_linux", description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="x86_64", choices=sorted(DEBIAN))
    args = parser.parse_args(argv)
    try:
        image = fetch(args.arch)
    except FetchError as error:
        print(f"no Linux kernel to compare with: {error}", file=sys.stderr)
        return 1
    print(f"{image.relative_to(ROOT)} ({version(args.arch)})")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
