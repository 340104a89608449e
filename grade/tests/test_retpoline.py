"""Every branch of the built image that leaves through a register, or returns: by a thunk where there are such, and
with nothing but a barrier behind it. Nothing here speculates, so the image is all there is to look at."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from grade.branches import STARTUP, THUNKS, Predicted, guessed, straight_on_aarch64, straight_on_x86_64
from grade.disasm import Function, functions
from grade.plugin import Boot, Build
from grade.qemu import PROMPT
from grade.tests.test_harden import told

ROOT = Path(__file__).resolve().parent.parent.parent
UNGUARDED = {"x86_64": lambda code: guessed(code) + straight_on_x86_64(code), "aarch64": straight_on_aarch64}


@pytest.fixture(scope="module")
def code(build: Build) -> list[Function]:
    """Every function but start-up."""
    found = [f for f in functions(build.symbols) if f.name not in STARTUP]
    assert len(found) > 500, "too few: is this the kernel?"
    return found


def test_every_byte_of_every_function_is_an_instruction(code: list[Function]) -> None:
    """What cannot be decoded could hide a branch from the tests below."""
    strange = [f"{f.name}: {i}" for f in code for i in f.code if not i.text]
    assert not strange, "\n".join(strange[:20])


def test_no_branch_through_a_register_is_left_to_a_predictor(code: list[Function], arch: str) -> None:
    wrong = UNGUARDED[arch](code)
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong[:20])


@pytest.mark.arch("x86_64")
def test_thunks_stop_speculation_and_compiled_code_calls_them(code: list[Function]) -> None:
    thunks = {f.start: f for f in code if THUNKS.match(f.name)}
    assert len(thunks) == 17
    played = Predicted(thunks.values())
    wrong = [f"{f.name}: {bad}" for f in thunks.values() if (bad := played.wrong(f))] + straight_on_x86_64(thunks.values())
    assert not wrong, "\n".join(wrong)
    places = tuple(f"{name} {start:#x}" for name in ("call", "jmp") for start in thunks)
    calls = [i for f in code for i in f.code if i.text in places]
    assert len(calls) > 50


@pytest.mark.arch("x86_64")
@pytest.mark.timeout(600)
def test_return_thunks_leave_no_other_return(tmp_path: Path) -> None:
    """A kernel built with RETURN_THUNKS=1."""
    made = tmp_path / "built"
    subprocess.run(["make", "-C", str(ROOT), "kernel", f"B={made}", "RETURN_THUNKS=1"], check=True, timeout=500,
                   capture_output=True)
    found = [f for f in functions(made / "rampart.sym") if f.name not in STARTUP]
    wrong = guessed(found, return_thunks=True) + straight_on_x86_64(found)
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong[:20])


@pytest.mark.guest
def test_proc_harden_tells_of_the_branches_in_the_image(boot: Boot, code: list[Function], arch: str) -> None:
    m = boot()
    m.wait_for(PROMPT, 30)
    assert told(m)["retpoline"] == ("off" if UNGUARDED[arch](code) else "on")
