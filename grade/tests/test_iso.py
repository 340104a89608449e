"""The ISO image starts the same kernel through GRUB, on a PC's BIOS."""

from __future__ import annotations

import platform
import re
import struct
import subprocess
from pathlib import Path

import pytest

from grade.initrd import Archive
from grade.iso import IsoError, make, without_sections
from grade.plugin import Build

pytestmark = [pytest.mark.guest, pytest.mark.arch("x86_64")]
ON_A_PC = pytest.mark.skipif(platform.machine() != "x86_64", reason="Debian has GRUB for a PC's BIOS on PCs alone")


def boot(iso: Path, *options: str) -> str:
    """The console of a PC that starts from a CD and ends by itself."""
    done = subprocess.run(
        ["qemu-system-x86_64", "-accel", "tcg", "-M", "q35", "-cpu", "max", *options, "-vga", "none", "-net", "none",
         "-display", "none", "-no-reboot", "-serial", "stdio", "-cdrom", str(iso)],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)
    return done.stdout.decode(errors="replace").replace("\r", "") + done.stderr.decode()


@ON_A_PC
def test_grub_starts_the_kernel_with_its_words_memory_and_initramfs(build: Build, tmp_path: Path) -> None:
    iso = tmp_path / "rampart.iso"
    make(build.kernel, build.initrd, "console=ttyS0 panic=-1 -- /bin/busybox uname -sm", iso)
    said = boot(iso, "-smp", "3", "-m", "320")
    assert re.search(r"^3 CPUs, (2[6-9]\d|3[01]\d) MiB of memory$", said, re.MULTILINE), said
    assert "\nLinux x86_64\n" in said and "init: /bin/busybox exited with 0\n" in said, said


@ON_A_PC
@pytest.mark.parametrize("kib", [300, 900, 1500])
def test_an_initramfs_that_fits_between_the_kernels_parts_is_memory_like_other_afterwards(
        build: Build, tmp_path: Path, kib: int) -> None:
    """GRUB loads it where the image has a hole: its frames are free once it is unpacked, and written to."""
    small, iso, archive = tmp_path / "small.cpio", tmp_path / "rampart.iso", Archive()
    archive.directory("bin", 0o755)
    archive.file("bin/filler", bytes(kib << 10), 0o644)
    small.write_bytes(archive.pack())
    make(build.kernel, small, "console=ttyS0 panic=-1", iso)
    said = boot(iso, "-smp", "1", "-m", "128")
    assert re.search(r"^panic: no init", said, re.MULTILINE) and "oops" not in said, said


@ON_A_PC
def test_an_iso_without_an_initramfs_panics_by_name(build: Build, tmp_path: Path) -> None:
    empty, iso = tmp_path / "empty", tmp_path / "rampart.iso"
    empty.write_bytes(b"")
    make(build.kernel, empty, "console=ttyS0 panic=-1", iso)
    assert re.search(r"^panic: .*init", boot(iso, "-smp", "1", "-m", "128"), re.MULTILINE)


def test_only_the_section_headers_are_taken_out_of_the_kernel(build: Build) -> None:
    before, after = build.kernel.read_bytes(), without_sections(build.kernel.read_bytes())
    assert len(after) == len(before) and {i for i, (x, y) in enumerate(zip(before, after, strict=True)) if x != y} <= {
        *range(0x28, 0x30), *range(0x3C, 0x40)}
    assert struct.unpack_from("<H", after, 0x3C) == (0,)


@pytest.mark.parametrize("words", ["a;b", "$x", 'say "no"', "two\nlines"])
def test_words_that_grub_would_take_apart_are_refused(build: Build, tmp_path: Path, words: str) -> None:
    with pytest.raises(IsoError, match="GRUB's shell"):
        make(build.kernel, build.initrd, words, tmp_path / "rampart.iso")
    assert not (tmp_path / "rampart.iso").exists()


def test_what_is_no_kernel_is_refused(tmp_path: Path, build: Build) -> None:
    with pytest.raises(IsoError, match="no ELF64"):
        make(build.initrd, build.initrd, "", tmp_path / "rampart.iso")
