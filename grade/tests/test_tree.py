"""The shape of the tree, which README.md, arch/arch.h and grade/README.md promise."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ARCHES = ("x86_64", "aarch64")
CONDITION = re.compile(r"^\s*#\s*(if|ifdef|ifndef|elif)\b.*(x86|amd64|i386|aarch64|arm)", re.IGNORECASE | re.MULTILINE)


def sources(folder: str) -> list[Path]:
    """What is compiled below a folder, and what it includes."""
    return [p for p in sorted((ROOT / folder).rglob("*")) if p.suffix in (".c", ".h", ".S")]


def test_both_architectures_hold_the_same_file_names() -> None:
    x86_64, aarch64 = ({p.name for p in (ROOT / "arch" / arch).iterdir()} for arch in ARCHES)
    assert x86_64 == aarch64
    assert {"boot.c", "mmu.c", "entry.S"} < x86_64


def test_nothing_above_arch_depends_on_an_architecture() -> None:
    files = sources("kernel")
    assert len(files) > 100
    wrong = [str(p.relative_to(ROOT)) for p in files if CONDITION.search(p.read_text())]
    assert not wrong
    assert CONDITION.search((ROOT / "user/attack/pin.c").read_text()), "what is looked for is found where it is"


def test_shared_code_includes_nothing_of_one_architecture() -> None:
    wrong = [f"{p.relative_to(ROOT)}: {line}" for p in sources("kernel") for line in p.read_text().splitlines()
             if re.match(r"\s*#\s*include\s+\"arch/(?!\w+\.h\")", line)]
    assert not wrong


def test_the_harness_page_names_every_module() -> None:
    page = (ROOT / "grade" / "README.md").read_text()
    named = re.findall(r"`([\w*]+\.py)`", page)
    assert [p.name for p in (ROOT / "grade").glob("[!_]*.py") if not any(p.match(n) for n in named)] == []
