"""Breaking a defence on purpose turns a named test red: each mutant of grade/rows is built and tested."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from grade.make import make
from grade.plugin import Build
from grade.qemu import ARCHES
from grade.rows import Mutant, rows

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = ("Makefile", "arch", "kernel", "grade", "user")

pytestmark = [pytest.mark.guest, pytest.mark.soak, pytest.mark.timeout(900)]


MUTANTS = [m for row in rows() for m in row.mutants]


def testable(mutant: Mutant) -> bool:
    """Whether what catches it runs here: without Bochs its tests are red whatever the kernel does."""
    return shutil.which("bochs") is not None or not any(t.startswith("test_bochs.py") for t in mutant.caught)


def make_kernel(tree: Path, arch: str) -> None:
    """Builds the kernel of a copied tree."""
    done = make("-C", str(tree), f"ARCH={arch}", "kernel", capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory, arch: str) -> Path:
    """A copy of the sources, built: a mutant then costs one file and the links."""
    copy = tmp_path_factory.mktemp("mutants") / "tree"
    copy.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, copy / name)
    make_kernel(copy, arch)
    return copy


def failed_tests(kernel: Path, build: Build, arch: str, seed: int, tests: list[str]) -> tuple[set[str], str]:
    """Runs the named tests on a kernel: those that failed, without parameters, and what pytest said."""
    names = sorted({str(ROOT / "grade" / "tests" / t.partition("::")[0]) for t in tests})
    pick = " or ".join(t.partition("::")[2] for t in tests)
    # A process of its own: this one's options and fixtures are not for a broken kernel.
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *names, "-k", pick, "-m", "not soak", "-q", "-rfE", "--tb=no", "-p",
         "no:cacheprovider", f"--arch={arch}", f"--seed={seed}", f"--image={kernel}", f"--initrd={build.initrd}"],
        cwd=ROOT, capture_output=True, text=True, timeout=800, check=False,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST")})
    red = re.findall(r"^(?:FAILED|ERROR) \S*/(test_\w+\.py::\w+)", done.stdout, re.MULTILINE)
    return set(red), done.stdout[-3000:] + done.stderr[-1000:]


def test_the_unbroken_copy_passes(tree: Path, build: Build, arch: str, seed: int) -> None:
    """Else a red test would prove nothing."""
    tests = sorted({t for m in MUTANTS if m.breaks(arch) and testable(m) for t in m.caught})
    red, said = failed_tests(tree / "build" / arch / "rampart", build, arch, seed, tests)
    assert not red and " passed" in said, said


@pytest.mark.parametrize("mutant", [
    pytest.param(m, id=f"{m.row}: {m.name}", marks=[
        pytest.mark.arch(*filter(m.breaks, ARCHES)),
        pytest.mark.skipif(not testable(m), reason="no Bochs here: BOCHS=1 ./setup")]) for m in MUTANTS])
def test_breaking_a_defence_turns_a_named_test_red(tree: Path, build: Build, arch: str, seed: int,
                                                   mutant: Mutant) -> None:
    source = tree / mutant.file
    text = source.read_text()
    assert text.count(mutant.old) == 1, f"{mutant.file}: the text to replace is not there once"
    try:
        source.write_text(text.replace(mutant.old, mutant.new))
        make_kernel(tree, arch)
        red, said = failed_tests(tree / "build" / arch / "rampart", build, arch, seed, mutant.caught)
    finally:
        source.write_text(text)
    missed = set(mutant.caught) - red
    assert not missed, f"stayed green: {', '.join(sorted(missed))}\n{said}"
