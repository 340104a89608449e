"""./setup asks for the packages of the machine that it runs on, whichever that is: a false uname says so, and a
false dpkg-query what is installed."""

from __future__ import annotations

import ast
import os
import platform
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from grade import debian

ROOT = Path(__file__).resolve().parent.parent.parent
QEMU = {"x86_64": "qemu-system-x86", "aarch64": "qemu-system-arm"}
# Debian's cross tools for an architecture; on a machine of that architecture there are none, for it needs none.
CROSS = {"x86_64": {"gcc-x86-64-linux-gnu", "libc6-dev-amd64-cross"},
         "aarch64": {"gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"}}
GRUB = {"grub-common", "grub-pc-bin", "xorriso", "mtools"}     # grub-pc-bin is amd64's and i386's alone
OTHER = {"x86_64": "aarch64", "aarch64": "x86_64"}


def check(tmp_path: Path, host: str, installed: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs ./setup --check on a machine that claims to be `host`, where dpkg-query says `installed`."""
    for name, says in {"uname": host, "dpkg-query": installed, "apt-get": ""}.items():
        script = tmp_path / name
        script.write_text(f"#!/bin/sh\ncat <<'END'\n{says}\nEND\n")
        script.chmod(0o755)
    clean = {k: v for k, v in os.environ.items() if k not in ("ARCH", "BOCHS")}
    return subprocess.run([ROOT / "setup", "--check"], capture_output=True, text=True, timeout=60, check=False,
                          env=clean | {"PATH": f"{tmp_path}:{os.environ['PATH']}"} | variables)


def missing(tmp_path: Path, host: str, **variables: str) -> set[str]:
    """What it asks for where nothing is installed."""
    done = check(tmp_path, host, "", **variables)
    begin = "setup: missing: "
    assert done.returncode == 1 and done.stderr.startswith(begin), done.stderr
    return set(done.stderr.removeprefix(begin).split())


@pytest.mark.parametrize("host", sorted(QEMU))
def test_a_machine_gets_both_emulators_and_the_others_compiler(tmp_path: Path, host: str) -> None:
    asked = missing(tmp_path, host)
    assert asked >= {*QEMU.values(), "gcc", "libc6-dev", "gdb", "gdb-multiarch"} | CROSS[OTHER[host]]
    assert not asked & CROSS[host]
    assert asked & GRUB == (GRUB if host == "x86_64" else set())


@pytest.mark.parametrize("only", sorted(QEMU))
@pytest.mark.parametrize("host", sorted(QEMU))
def test_one_architecture_alone_takes_nothing_of_the_other(tmp_path: Path, host: str, only: str) -> None:
    asked = missing(tmp_path, host, ARCH=only)
    assert QEMU[only] in asked and QEMU[OTHER[only]] not in asked
    cross = CROSS["x86_64"] | CROSS["aarch64"] | {"gdb-multiarch"}
    assert asked & cross == (set() if only == host else CROSS[only] | {"gdb-multiarch"})


@pytest.mark.parametrize("host", sorted(QEMU))
def test_where_all_of_it_is_installed_it_is_ready(tmp_path: Path, host: str) -> None:
    everything = sorted(missing(tmp_path, host))
    assert check(tmp_path, host, "\n".join(f"{name} installed" for name in everything[1:])).stderr.split()[-1] \
        == everything[0]
    # The compilers that it then looks for are here: Debian names the machine's own like a cross compiler, too.
    done = check(tmp_path, host, "\n".join(f"{name} installed" for name in everything))
    assert done.returncode == 0 and done.stdout.startswith("setup: ready for x86_64 aarch64 "), done.stderr


def imported(module: Path) -> set[str]:
    """The packages that a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


def test_what_the_harness_imports_is_installed_on_every_machine_and_looked_for(tmp_path: Path) -> None:
    asked = missing(tmp_path, "x86_64")
    (looked_for,) = re.findall(r'^names = "(.*)"\.split', (ROOT / "setup").read_text(), re.MULTILINE)
    modules = [p for p in (ROOT / "grade").rglob("*.py") if "gdb" not in p.parts]       # GDB has a Python of its own
    foreign = set().union(*map(imported, modules)) - {*sys.stdlib_module_names, "grade"}
    foreign -= {"mkdocs"}       # `make handouts` has it, and brings it
    assert {"pytest", "elftools", "pexpect"} <= foreign <= set(looked_for.split())
    packages = {f"python3-{'pyelftools' if name == 'elftools' else name}" for name in foreign}
    assert packages <= asked


def test_lists_of_packages_are_fetched_once_however_many_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    updates, at_once, another = [], threading.Barrier(4), threading.Event()

    def update(command: list[str], folder: str) -> None:
        updates.append(folder)
        if len(updates) > 1:
            another.set()
        another.wait(0.2)       # for what must not come

    def ask(_: int) -> list[str]:
        at_once.wait(20)
        return debian.options(arch)

    arch = OTHER[platform.machine()]
    monkeypatch.setattr(debian, "ROOT", tmp_path)
    monkeypatch.setattr(debian, "run", update)
    with ThreadPoolExecutor(4) as pool:
        assert len({tuple(words) for words in pool.map(ask, range(4))}) == 1
    assert len(updates) == 1
