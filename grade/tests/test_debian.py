"""Debian's own programs, as they lie on this machine, do the same on Rampart as on Linux: a compiler, interpreters, git."""

from __future__ import annotations

import difflib
import platform
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from grade.initrd import Archive
from grade.plugin import Boot, Build
from grade.qemu import Machine

LONG = 900
COMMANDS = ("bash", "perl", "python3", "git", "gcc", "make")
TOOLS = ("cc1", "collect2", "lto-wrapper", "as", "ld")
OBJECTS = ("crt1.o", "Scrt1.o", "crti.o", "crtn.o", "crtbegin.o", "crtbeginS.o", "crtend.o", "crtendS.o", "libgcc.a",
           "libgcc_s.so", "libgcc_s.so.1", "libc.so", "libc_nonshared.a", "libc.so.6",
           "liblto_plugin.so")
HEADERS = "#include <stdio.h>\n#include <string.h>\n"
NOT_NEEDED = re.compile(r"/(__pycache__|test|tests|idlelib|tkinter|lib2to3|ensurepip|pydoc_data|config-3\.[^/]*)(/|$)")

pytestmark = [pytest.mark.guest, pytest.mark.soak, pytest.mark.arch(platform.machine()), pytest.mark.timeout(2 * LONG + 60)]


def said_by(*command: str, text: str = "") -> str:
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True, timeout=60).stdout


def libraries(path: str) -> list[str]:
    """The shared libraries that a program, or a library, asks for, its loader among them."""
    done = subprocess.run(["ldd", path], capture_output=True, text=True, check=False, timeout=60)
    return re.findall(r"(/\S+) \(0x", done.stdout) if done.returncode == 0 else []


def files() -> Iterator[str]:
    """Every file that debian.sh needs, by the name under which it is looked for."""
    yield from (f"/usr/bin/{name}" for name in COMMANDS)
    yield from (said_by("/usr/bin/gcc", f"-print-prog-name={tool}").strip() for tool in TOOLS)
    yield from (said_by("/usr/bin/gcc", f"-print-file-name={name}").strip() for name in OBJECTS)
    yield from (word for word in said_by("/usr/bin/gcc", "-O2", "-M", "-xc", "-", text=HEADERS).split() if word.startswith("/"))
    for folder in (said_by("/usr/bin/python3", "-c", "import sysconfig; print(sysconfig.get_path('stdlib'))").strip(),
                   "/usr/share/git-core/templates", *said_by("/usr/bin/perl", "-e", r'print "$_\n" for @INC').split()):
        if not folder.startswith(("/usr/local", "/etc")):
            yield from (str(p) for p in Path(folder).rglob("*") if p.is_file() and not NOT_NEEDED.search(str(p)))


def beside(initrd: Path, out: Path) -> Path:
    """The initramfs with all of that in it."""
    archive, waiting = Archive(), list(files())
    while waiting:
        name = waiting.pop()
        name = name if name.startswith("/") else said_by("which", name).strip()
        path = str(Path(name).parent.resolve() / Path(name).name) if ".." in name else name
        if path[1:] in archive.entries or not Path(path).is_file():
            continue
        data = Path(path).read_bytes()
        archive.file(path[1:], data, Path(path).stat().st_mode & 0o777)
        if data.startswith(b"\x7fELF"):
            waiting += libraries(path)
    for name in list(archive.entries):
        for folder in list(Path(name).parents)[:-1]:
            archive.directory(str(folder), 0o755)
    for name in ("root", "tmp"):
        archive.entries.pop(name, None)
    out.write_bytes(initrd.read_bytes() + archive.pack())
    return out


def said(m: Machine) -> list[str]:
    """The script's lines, once it has ended well."""
    assert m.wait_exit(LONG) == 0
    lines = m.transcript.splitlines()
    assert "init: /bin/sh exited with 0" in lines
    return lines[lines.index("== bash"):lines.index("debian.sh: done") + 1]


def test_bash_perl_python_git_and_gcc_say_the_same_on_rampart_and_on_linux(boot: Boot, build: Build, linux: Path,
                                                                           tmp_path: Path) -> None:
    initrd, script = beside(build.initrd, tmp_path / "debian.cpio"), "/bin/sh /test/debian.sh"
    theirs = said(boot(run=script, append="quiet loglevel=0", kernel=linux, initrd=initrd, smp=2, mem=768))
    ours = said(boot(run=script, initrd=initrd, smp=2, mem=768))
    assert "9592 primes below 100000" in theirs
    difference = list(difflib.unified_diff(theirs, ours, "Linux", "Rampart", lineterm="", n=1))
    assert not difference, "\n".join(difference)
