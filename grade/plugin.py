"""Fixtures and options for every test that looks at a guest.

Options: --arch, --seed, --image, --symbols, --initrd, --smp. A test that boots takes `boot`; a failing one
shows the last console lines of every machine that it booted, in sections of its report. A test that takes
`arch`, itself or through another fixture, runs once on each --arch. Safe under xdist: nothing is shared
between machines.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from grade import fetch_linux
from grade.image import Image
from grade.moments import qemu_seed
from grade.qemu import ARCHES, Machine
from grade.spaces import Kernel

ROOT = Path(__file__).resolve().parent.parent
_MACHINES: pytest.StashKey[list[Machine]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the harness's options."""
    group = parser.getgroup("rampart")
    group.addoption("--arch", action="append", choices=sorted(ARCHES),
                    help="architecture of the guest (default x86_64); may be given again")
    group.addoption("--seed", type=int, default=1, help="seed of every draw (default 1)")
    group.addoption("--image", type=Path, help="kernel image (default build/ARCH/rampart)")
    group.addoption("--symbols", type=Path, help="its symbols (default: the image's name with .sym)")
    group.addoption("--initrd", type=Path, help="initramfs (default build/ARCH/initrd.cpio)")
    group.addoption("--smp", type=int, default=2, help="CPUs where a test does not say (default 2)")


def pytest_report_header(config: pytest.Config) -> str:
    """Says what decides the outcome."""
    return f"rampart: arch {' and '.join(_arches(config))}, seed {config.getoption('--seed')}"


def _arches(config: pytest.Config) -> list[str]:
    return config.getoption("--arch") or ["x86_64"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Once on each architecture."""
    if "arch" in metafunc.fixturenames:
        metafunc.parametrize("arch", _arches(metafunc.config), indirect=True, scope="session")


def _is_here(config: pytest.Config, item: pytest.Item) -> bool:
    """Whether a test is of an architecture that is asked for: its own, or any if it takes none."""
    callspec = getattr(item, "callspec", None)
    here = [callspec.params["arch"]] if callspec and "arch" in callspec.params else _arches(config)
    return all(set(here) & set(mark.args) for mark in item.iter_markers("arch"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects the tests that are marked as another architecture's."""
    others = [item for item in items if not _is_here(config, item)]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


@dataclass(frozen=True)
class Build:
    """The files that a run takes."""

    arch: str
    kernel: Path
    symbols: Path
    initrd: Path


@pytest.fixture(scope="session")
def arch(request: pytest.FixtureRequest) -> str:
    """The guest's architecture."""
    return str(request.param)


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of this run."""
    return int(request.config.getoption("--seed"))


@pytest.fixture(scope="session")
def build(request: pytest.FixtureRequest, arch: str) -> Build:
    """Paths of the built kernel and initramfs; without them the test fails, and says what is missing."""
    option = request.config.getoption
    kernel = option("--image") or ROOT / "build" / arch / "rampart"
    made = Build(arch, kernel, option("--symbols") or kernel.with_name(kernel.name + ".sym"),
                 option("--initrd") or ROOT / "build" / arch / "initrd.cpio")
    missing = [p for p in (made.kernel, made.symbols, made.initrd) if not p.is_file()]
    if missing:
        names = ", ".join(str(p) for p in missing)
        pytest.fail(f"not built: {names}", pytrace=False)
    return made


@pytest.fixture(scope="session")
def linux(arch: str) -> Path:
    """Debian's Linux kernel to compare with (`make linux`); without it the test fails, and says why."""
    try:
        return fetch_linux.fetch(arch)
    except fetch_linux.FetchError as error:
        pytest.fail(f"no Linux kernel to compare with: {error}", pytrace=False)


@pytest.fixture(scope="session")
def image(build: Build) -> Iterator[Image]:
    """The kernel's symbols and layouts, placed in no machine yet: image.at(machine) has addresses."""
    opened = Image(build.symbols, slide=None)
    yield opened
    opened.close()


Boot = Callable[..., Machine]


@pytest.fixture
def boot(request: pytest.FixtureRequest, build: Build) -> Iterator[Boot]:
    """A factory: boot(run="/bin/x a b", append="harden=-smep", smp=2, mem=128, ...) starts a Machine, which
    ends with the test.

    `run` is given to init after " -- " on the command line; other arguments are Machine's. With icount=True,
    `seed` defaults to one derived from --seed, so that runs repeat.
    """
    machines: list[Machine] = []
    request.node.stash[_MACHINES] = machines
    with contextlib.ExitStack() as stack:

        def start(run: str | None = None, append: str = "quiet", **options: Any) -> Machine:
            options.setdefault("smp", request.config.getoption("--smp"))
            options.setdefault("mem", 128)
            options.setdefault("arch", build.arch)
            if options.get("icount"):
                options.setdefault("seed", qemu_seed(request.config.getoption("--seed")))
            line = f"console={ARCHES[build.arch].console} {append}" + (f" -- {run}" if run else "")
            machine = stack.enter_context(Machine(options.pop("kernel", build.kernel),
                                                  options.pop("initrd", build.initrd), line, **options))
            machines.append(machine)
            return machine

        yield start


@pytest.fixture
def kernel_of(image: Image) -> Callable[[Machine], Kernel]:
    """A factory: kernel_of(machine) is the stopped machine's kernel, its lists and address spaces."""
    return lambda machine: Kernel(machine, image)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Adds what each booted machine showed last to a failure's report."""
    outcome = yield
    report = outcome.get_result()   # type: ignore[attr-defined]
    if report.failed and call.when == "call":
        for i, machine in enumerate(item.stash.get(_MACHINES, [])):
            report.sections.append((f"machine {i}: {machine.append}", "\n".join(machine.tail())))
