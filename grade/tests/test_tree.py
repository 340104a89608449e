"""The shape of the tree, which README.md, arch/arch.h and grade/README.md promise."""

from __future__ import annotations

import ast
import re
from collections import Counter
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


def defined_twice(text: str) -> list[str]:
    """The names that a module's own functions and classes take from others of it."""
    names = Counter(node.name for node in ast.parse(text).body if isinstance(node, (ast.FunctionDef, ast.ClassDef)))
    return [name for name, times in names.items() if times > 1]


def test_no_module_defines_a_function_or_a_test_twice() -> None:
    assert defined_twice("def a(): pass\ndef b(): pass\ndef a(): pass\n") == ["a"]
    modules = [*(ROOT / "grade").rglob("*.py"), *(ROOT / "labs").rglob("*.py")]
    assert Path(__file__).resolve() in modules
    twice = {str(p.relative_to(ROOT)): names for p in modules if (names := defined_twice(p.read_text()))}
    assert not twice


WAITS = re.compile(r"while \(.*\)\n\s*sched_yield\(\);")


def test_no_program_that_labs_run_waits_without_giving_way() -> None:
    """Where QEMU counts instructions, the CPU that is waited for may not get its turn for minutes (user/cpu.h)."""
    run = set(re.findall(r'"/bin/(test-\w+)"', (ROOT / "user/lab/program.h").read_text()))
    for lab in (ROOT / "labs").glob("*/lab.toml"):
        run |= {name for name in re.findall(r"test-\w+", lab.read_text())}
    files = [ROOT / "user" / "lab" / "program.h", *(ROOT / "labs").glob("*/programs/*.c"),
             *(ROOT / "user" / "test" / f"{name.removeprefix('test-')}.c" for name in run)]
    assert {"test-threads", "test-fork_cow"} <= run and len(files) > 20
    assert [str(p.relative_to(ROOT)) for p in files if WAITS.search(p.read_text())] == []
    assert WAITS.search((ROOT / "user/test/jobs.c").read_text()), "what is looked for is found where it is"
