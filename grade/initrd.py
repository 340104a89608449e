"""The initramfs: a newc cpio archive that boots Rampart and Linux alike.

Written without root and without a clock: owner 0, one fixed time, sorted names, so that the same
inputs give the same bytes. Device nodes are only records in the archive.
"""

from __future__ import annotations

import argparse
import os
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

# 2026-01-01T00:00:00Z: tar and ls in the guest show a plausible year.
MTIME = 1767225600
# Data of files from this size on begins on a page of the archive, so that a kernel may use the
# archive's frames as they are. The name is padded with NULs for that, which every reader skips.
ALIGN_FROM = 0x4000
PAGE = 0x1000
NAME_MAX = 4096       # with its NULs: a longer one is no name to any reader

DIRECTORIES = {
    "bin": 0o755, "sbin": 0o755, "usr": 0o755, "usr/bin": 0o755, "usr/sbin": 0o755,
    "dev": 0o755, "etc": 0o755, "home": 0o755, "home/student": 0o755, "mnt": 0o755,
    "proc": 0o555, "root": 0o700, "run": 0o755, "sys": 0o555, "test": 0o755, "tmp": 0o1777,
    "var": 0o755, "var/tmp": 0o1777,
}  # fmt: skip
# Linux opens /dev/console for process 1 before anything is mounted on /dev.
DEVICES = {"dev/console": (0o600, 5, 1), "dev/null": (0o666, 1, 3)}
STUDENT = 1000


@dataclass
class Entry:
    """One member of the archive."""

    mode: int
    data: bytes = b""
    owner: int = 0
    device: tuple[int, int] = (0, 0)


@dataclass
class Archive:
    """Members by path, without a leading slash."""

    entries: dict[str, Entry] = field(default_factory=dict)

    def directory(self, path: str, mode: int, owner: int = 0) -> None:
        self.entries[path] = Entry(stat.S_IFDIR | mode, owner=owner)

    def file(self, path: str, data: bytes, mode: int) -> None:
        self.entries[path] = Entry(stat.S_IFREG | mode, data)

    def link(self, path: str, target: str) -> None:
        self.entries[path] = Entry(stat.S_IFLNK | 0o777, target.encode())

    def device(self, path: str, mode: int, major: int, minor: int) -> None:
        self.entries[path] = Entry(stat.S_IFCHR | mode, device=(major, minor))

    def pack(self) -> bytes:
        """The archive's bytes; a directory sorts before what it holds."""
        out = bytearray()
        for inode, path in enumerate(sorted(self.entries), start=1):
            _append(out, path, self.entries[path], inode)
        _append(out, "TRAILER!!!", Entry(0), 0)
        return bytes(out) + b"\0" * (-len(out) % 512)


def _append(out: bytearray, path: str, entry: Entry, inode: int) -> None:
    """One record as cpio(5) lays it out under "New ASCII Format"."""
    name = path.encode() + b"\0"
    header = 110
    padding = -(len(out) + header + len(name)) % 4
    if stat.S_ISREG(entry.mode) and len(entry.data) >= ALIGN_FROM:
        whole = -(len(out) + header + len(name)) % PAGE
        padding = whole if len(name) + whole <= NAME_MAX else padding
    name += b"\0" * padding
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    mtime = MTIME if inode else 0
    fields = (
        inode, entry.mode, entry.owner, entry.owner, links, mtime, len(entry.data),
        0, 0, *entry.device, len(name), 0,
    )  # fmt: skip
    out += b"070701" + b"".join(b"%08X" % value for value in fields)
    out += name
    out += entry.data + b"\0" * (-len(entry.data) % 4)


def stripped(program: Path, strip: str) -> bytes:
    """The program without symbols; the file in build/ keeps them for gdb and the grader."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, program.name)
        subprocess.run([strip, "-o", str(copy), str(program)], check=True)
        return copy.read_bytes()


def add_busybox(archive: Archive, busybox: Path, ask: Path) -> None:
    """busybox, unmodified, and a symbolic link for each applet where it expects to be.

    One of another architecture cannot be asked for its applets: `ask` is one that runs here.
    """
    image = busybox.read_bytes()
    if b"/ld-linux" in image[:4096]:
        raise SystemExit(f"initrd: {busybox} is not static: install busybox-static (see ./setup)")
    archive.file("bin/busybox", image, 0o755)
    done = subprocess.run(
        [str(ask), "--list-full"], check=True, capture_output=True, text=True
    )
    for path in done.stdout.split():
        known = b"\0" + path.split("/")[-1].encode() + b"\0" in image
        if known and path not in archive.entries and path != "linuxrc":
            archive.link(path, "/bin/busybox")


def build(
    busybox: Path, programs: list[Path], scripts: list[Path], etc: Path, strip: str,
    ask: Path | None = None,
) -> Archive:
    """The whole tree: ours first, then the applets whose names are still free."""
    archive = Archive()
    for path, mode in DIRECTORIES.items():
        archive.directory(path, mode)
    archive.directory("home/student", 0o755, STUDENT)
    for path, (mode, major, minor) in DEVICES.items():
        archive.device(path, mode, major, minor)
    for file in sorted(etc.iterdir()):
        mode = 0o600 if file.name == "shadow" else 0o644
        archive.file(f"etc/{file.name}", file.read_bytes(), mode)
    archive.link("etc/mtab", "/proc/mounts")
    for program in programs:
        path = "init" if program.name == "init" else f"bin/{program.name}"
        archive.file(path, stripped(program, strip), 0o755)
    archive.link("sbin/init", "/init")
    for script in scripts:
        archive.file(f"test/{script.name}", script.read_bytes(), 0o755)
    add_busybox(archive, busybox, ask or busybox)
    return archive


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="grade.initrd", description=__doc__.splitlines()[0])
    parser.add_argument("--busybox", type=Path, required=True)
    parser.add_argument("--ask", type=Path, help="a busybox that runs here (default: the same)")
    parser.add_argument("--etc", type=Path, default=Path("user/etc"))
    parser.add_argument("--strip", default="strip")
    parser.add_argument("--test", type=Path, action="append", default=[], metavar="SCRIPT")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("programs", type=Path, nargs="*")
    args = parser.parse_args(argv)

    archive = build(args.busybox, args.programs, args.test, args.etc, args.strip, args.ask)
    fresh = args.output.with_suffix(".new")
    fresh.write_bytes(archive.pack())
    os.replace(fresh, args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
