"""`make iso`: an ISO image that boots Rampart through GRUB, on a PC's BIOS, in QEMU and in Bochs.

The kernel is the same file that QEMU's -kernel takes, but for its section headers: GRUB refuses an image in
which it sees relocations, and cannot know that the kernel does its own.
"""

from __future__ import annotations

import argparse
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

CONFIG = """set timeout=0
serial --unit=0 --speed=115200
terminal_output serial
menuentry Rampart {{
	multiboot2 /boot/rampart {words}
	module2 /boot/initrd.cpio
}}
"""
SPECIAL = set("'\"\\$;{}<>|&\n")        # to GRUB's shell


class IsoError(Exception):
    """Why there is no image."""


def without_sections(image: bytes) -> bytes:
    """An ELF64 file whose header (elf.h, Elf64_Ehdr) says that it has no sections."""
    if image[:5] != b"\x7fELF\x02":
        raise IsoError("the kernel is no ELF64 file")
    out = bytearray(image)
    struct.pack_into("<Q", out, 0x28, 0)            # e_shoff
    struct.pack_into("<HH", out, 0x3C, 0, 0)        # e_shnum, e_shstrndx
    return bytes(out)


def make(kernel: Path, initrd: Path, words: str, out: Path) -> None:
    """Writes the image to `out`; `words` are the kernel's command line. IsoError says what is wrong."""
    if SPECIAL & set(words):
        raise IsoError(f"GRUB's shell would take apart the command line: {words}")
    if not shutil.which("grub-mkrescue"):
        raise IsoError("no grub-mkrescue: the packages grub-common, grub-pc-bin, xorriso, mtools (./setup installs them)")
    with tempfile.TemporaryDirectory() as folder:
        boot = Path(folder) / "boot"
        (boot / "grub").mkdir(parents=True)
        (boot / "rampart").write_bytes(without_sections(kernel.read_bytes()))
        shutil.copyfile(initrd, boot / "initrd.cpio")
        (boot / "grub" / "grub.cfg").write_text(CONFIG.format(words=words))
        done = subprocess.run(["grub-mkrescue", "-o", str(out), folder], capture_output=True, text=True, check=False)
    if done.returncode or not out.is_file():
        raise IsoError(f"grub-mkrescue: {done.stderr[-600:]}")


def main(argv: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="grade.iso", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kernel", type=Path)
    parser.add_argument("initrd", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--append", default="console=ttyS0", help="the kernel's command line")
    args = parser.parse_args(argv)
    try:
        make(args.kernel, args.initrd, args.append, args.out)
    except (IsoError, OSError) as error:
        print(f"iso: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
