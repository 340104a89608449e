"""Breaking a defence on purpose turns a named test red: each mutant of grade/rows is built and tested."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from grade.make import make
from grade.plugin import Build
from grade.qemu import ARCHES
from grade.rows import Mutant, Row, rows

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent.parent
ON_BOCHS = "test_bochs.py"
SOURCES = ("Makefile", "arch", "kernel", "grade", "user")

pytestmark = [pytest.mark.guest, pytest.mark.soak, pytest.mark.timeout(900)]


MUTANTS = [m for row in rows() for m in row.mutants]


def testable(tests: Iterable[str]) -> bool:
    """Whether they run here: without Bochs its tests are red whatever the kernel does."""
    return shutil.which("bochs") is not None or not any(t.startswith(ON_BOCHS) for t in tests)


def make_kernel(tree: Path, arch: str, *how: str) -> None:
    """Builds the kernel of a copied tree; how: variables of its Makefile."""
    done = make("-C", str(tree), f"ARCH={arch}", *how, "kernel", capture_output=True, text=True, timeout=600, check=False)
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


def run_tests(kernel: Path, build: Build, arch: str, seed: int, *which: str) -> tuple[set[str], str]:
    """Runs tests on a kernel: those that failed, without parameters, and what pytest said."""
    # A process of its own: this one's options and fixtures are not for a broken kernel.
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *which, "-m", "not soak", "-q", "-rfE", "--tb=no", "-p",
         "no:cacheprovider", f"--arch={arch}", f"--seed={seed}", f"--image={kernel}", f"--initrd={build.initrd}"],
        cwd=ROOT, capture_output=True, text=True, timeout=800, check=False,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST")})
    red = re.findall(r"^(?:FAILED|ERROR) \S*/(test_\w+\.py::\w+)", done.stdout, re.MULTILINE)
    return set(red), done.stdout[-3000:] + done.stderr[-1000:]


def named(tests: Iterable[str]) -> list[str]:
    """What picks tests that are named without their parameters."""
    tests = sorted(tests)
    return [*sorted({str(TESTS / t.partition("::")[0]) for t in tests}), "-k", " or ".join(t.partition("::")[2] for t in tests)]


def test_the_unbroken_copy_passes(tree: Path, build: Build, arch: str, seed: int) -> None:
    """Else a red test would prove nothing."""
    tests = {t for m in MUTANTS if m.breaks(arch) and testable(m.caught) for t in m.caught}
    red, said = run_tests(tree / "build" / arch / "rampart", build, arch, seed, *named(tests))
    assert not red and " passed" in said, said


@pytest.mark.parametrize("mutant", [
    pytest.param(m, id=f"{m.row}: {m.name}", marks=[
        pytest.mark.arch(*filter(m.breaks, ARCHES)),
        pytest.mark.skipif(not testable(m.caught), reason="no Bochs here: BOCHS=1 ./setup")]) for m in MUTANTS])
def test_breaking_a_defence_turns_a_named_test_red(tree: Path, build: Build, arch: str, seed: int,
                                                   mutant: Mutant) -> None:
    source = tree / mutant.file
    text = source.read_text()
    assert text.count(mutant.old) == 1, f"{mutant.file}: the text to replace is not there once"
    try:
        source.write_text(text.replace(mutant.old, mutant.new))
        make_kernel(tree, arch)
        red, said = run_tests(tree / "build" / arch / "rampart", build, arch, seed, *named(mutant.caught))
    finally:
        source.write_text(text)
    missed = set(mutant.caught) - red
    assert not missed, f"stayed green: {', '.join(sorted(missed))}\n{said}"


# ---- a row without its function ---------------------------------------------------------------------------


REGISTRY = "kernel/harden/harden.c"
WANTED = "return !(unwanted & BIT(row));"       # harden_wanted: what a row asks before it does anything


@pytest.fixture(scope="module")
def cases(arch: str) -> dict[str, list[str]]:
    """Of each row's checks that look at this architecture, the cases, as pytest picks them."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *named({t for row in rows() for t in row.checks}), "-m", "not soak", "-q",
         "--collect-only", f"--arch={arch}"], cwd=ROOT, capture_output=True, text=True, timeout=100, check=True,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST")})
    out: dict[str, list[str]] = {}
    for path, test in re.findall(r"^(\S*/test_\w+\.py)::(.+)$", done.stdout, re.MULTILINE):
        out.setdefault(f"{Path(path).name}::{test.partition('[')[0]}", []).append(f"{path}::{test}")
    return out


@pytest.mark.parametrize("row", [pytest.param(r, id=r.name, marks=[
    pytest.mark.arch(*r.architectures),
    pytest.mark.skipif(not testable(r.checks), reason="no Bochs here: BOCHS=1 ./setup")]) for r in rows()])
def test_a_row_without_its_function_turns_its_own_checks_red_and_no_unrelated_one(
        tree: Path, build: Build, arch: str, seed: int, cases: dict[str, list[str]], row: Row) -> None:
    """Wherever it asks whether it is wanted the answer is no. All cases of its own checks run, and one of the first check
    that each other row has here."""
    own = set(row.checks) & cases.keys()
    if not own:
        pytest.skip(f"{row.name} has nothing to look at on {arch}")
    which = [case for test in sorted(own) for case in cases[test]]
    for other in rows():
        first = next((t for t in other.checks if t in cases and not t.startswith(ON_BOCHS)), None)
        if other != row and first and cases[first][0] not in which:
            which.append(cases[first][0])
    registry = tree / REGISTRY
    text = registry.read_text()
    assert text.count(WANTED) == 1, f"{REGISTRY}: harden_wanted is another"
    try:
        if not row.off:
            name = row.name.upper().replace("-", "_")
            registry.write_text(text.replace(WANTED, WANTED[:-1] + f" && row != HARDEN_{name};"))
        make_kernel(tree, arch, *row.off.split())
        red, said = run_tests(tree / "build" / arch / "rampart", build, arch, seed, *which)
    finally:
        registry.write_text(text)
    if arch in row.by_processor:
        assert not red, said
    else:
        assert red & own, f"stayed green: {', '.join(sorted(own))}\n{said}"
    unrelated = red - own - {test for other in rows() if other.name in row.related for test in other.checks}
    assert not unrelated, f"red, too: {', '.join(sorted(unrelated))}\n{said}"
