"""Every branch of the built image that leaves through a register, or returns: by a thunk where there are such, and
with nothing but a barrier behind it. Nothing here speculates, so the image is all there is to look at."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from grade.disasm import Function, Instruction, functions
from grade.plugin import Boot, Build
from grade.tests.test_harden import told

ROOT = Path(__file__).resolve().parent.parent.parent
PROMPT = r"[#$] (?:\x1b\[6n)?\Z"
# Start-up of the boot processor, with data among it: no program has run that could train anything.
STARTUP = {"boot_entry"}
THUNKS = re.compile(r"__x86_(indirect_thunk_r\w+|(entry_)?return_thunk)$")
INDIRECT = re.compile(r"(notrack )?(call|jmp|ljmp|lcall) (?!0x)")
RETURN = re.compile(r"(rep[a-z]* |bnd )?(ret|retf|retq)\b")
LEAVES = re.compile(r"(br|ret|blr|eret|braa|brab|retaa|retab|blraa|blrab)\b")
STUB = re.compile(r"mov x16, x\d+ br x16")
BARRIERS = (["dsb sy", "isb"], ["dsb nsh", "isb"], ["sb"])


@pytest.fixture(scope="module")
def code(build: Build) -> list[Function]:
    """Every function but start-up."""
    found = [f for f in functions(build.symbols) if f.name not in STARTUP]
    assert len(found) > 500, "too few: is this the kernel?"
    return found


def _after(code: list[Function]) -> Iterator[tuple[Function, Instruction, list[str]]]:
    """Each instruction with the texts of the two behind it, in the same function. Behind the stubs for calls that
    GCC puts at a function's end there is one barrier for all."""
    for f in code:
        texts = [i.text for i in f.code]
        for n, i in enumerate(f.code):
            behind = n + 1
            while i.text == "br x16" and STUB.match(" ".join(texts[behind:behind + 2])):
                behind += 2
            yield f, i, texts[behind:behind + 2]


def unguarded_x86_64(code: list[Function], return_thunks: bool) -> list[str]:
    """Branches that a predictor may be asked about, and ends without int3."""
    out = []
    for f, i, after in _after(code):
        thunk = THUNKS.match(f.name)
        if INDIRECT.match(i.text):
            out.append(f"{f.name}: {i} goes by no thunk")
        if RETURN.match(i.text) and after[:1] != ["int3"]:
            out.append(f"{f.name}: {i} and then {after[:1]}")
        if RETURN.match(i.text) and return_thunks and not thunk:
            out.append(f"{f.name}: {i} goes by no thunk")
    return out


def unguarded_aarch64(code: list[Function], _return_thunks: bool) -> list[str]:
    """Ends without a barrier, and calls through a register, behind which none can stand."""
    out = []
    for f, i, after in _after(code):
        if LEAVES.match(i.text) and (i.name.startswith("blr") or not any(after[:len(b)] == b for b in BARRIERS)):
            out.append(f"{f.name}: {i} and then {after}")
    return out


UNGUARDED = {"x86_64": unguarded_x86_64, "aarch64": unguarded_aarch64}


def test_every_byte_of_every_function_is_an_instruction(code: list[Function]) -> None:
    """What cannot be decoded could hide a branch from the tests below."""
    strange = [f"{f.name}: {i}" for f in code for i in f.code if not i.text]
    assert not strange, "\n".join(strange[:20])


def test_no_branch_through_a_register_is_left_to_a_predictor(code: list[Function], arch: str) -> None:
    wrong = UNGUARDED[arch](code, False)
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong[:20])


@pytest.mark.arch("x86_64")
def test_thunks_stop_speculation_and_compiled_code_calls_them(code: list[Function]) -> None:
    thunks = {f.start: f for f in code if THUNKS.match(f.name)}
    assert len(thunks) == 17
    for f in thunks.values():
        texts = [i.text for i in f.code]
        trap, landing = f.code[1].address, next(i.address for i in f.code if i.name in ("mov", "lea"))
        assert texts[0] == f"call {landing:#x}"
        assert texts[1:4] == ["pause", "lfence", f"jmp {trap:#x}"]
        register = f.name.rpartition("_")[2]
        store = "lea rsp, [rsp + 8]" if f.name.endswith("return_thunk") else f"mov qword ptr [rsp], {register}"
        assert texts[-3:] == [store, "ret", "int3"], f.name
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
    wrong = unguarded_x86_64(found, True)
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong[:20])


@pytest.mark.guest
def test_proc_harden_tells_of_the_branches_in_the_image(boot: Boot, code: list[Function], arch: str) -> None:
    m = boot()
    m.wait_for(PROMPT, 30)
    assert told(m)["retpoline"] == ("off" if UNGUARDED[arch](code, False) else "on")
