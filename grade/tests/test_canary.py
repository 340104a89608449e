"""Each thread has a canary of its own, every CPU compares with its thread's, and every function that has an array
on its stack does compare."""

from __future__ import annotations

import pytest

from grade.attacks import harden_off
from grade.canaries import canaries, cpu_problems
from grade.cpus import CPUS
from grade.disasm import Function, functions, functions_with_arrays
from grade.image import Image
from grade.moments import Event, draw, qemu_seed, visit
from grade.plugin import Boot, Build
from grade.qemu import PROMPT, Machine
from grade.spaces import Kernel
from grade.tests.test_harden import load, told  # noqa: F401  (load is a fixture)

MOMENTS = 8


# ---- in a machine that stands -----------------------------------------------------------------------------


def value_problems(found: dict[str, int]) -> list[str]:
    """Values that are shared, missing, or without the first byte that ends strings."""
    owners: dict[int, list[str]] = {}
    for whose, value in found.items():
        owners.setdefault(value, []).append(whose)
    return [f"{value:#x} is the canary of {' and '.join(who)}" for value, who in owners.items() if len(who) > 1] \
        + [f"{whose}: {value:#x}" for whose, value in found.items() if value == 0 or value & 0xFF]


def look(boot: Boot, image: Image, load: Image, seed: int, smp: int,  # noqa: F811
         append: str = "quiet") -> tuple[set[int], list[str]]:
    """All values that were seen at moments of a workload, and what was wrong."""
    m = boot(run="/bin/test-load 20", append=append, smp=smp, paused=True, icount=True,
             seed=qemu_seed(seed, f"canary-{smp}"), keep=True)
    image = image.at(m)
    m.run_until(load.sym("load_round"), timeout=60)
    events = [Event("a round of the workload", load.sym("load_round"), 10),
              Event("system call", image.sym("syscall_dispatch"), 150), Event("fork", image.sym("vm_fork"), 10),
              Event("a thread's first steps", image.sym("sched_thread_begin"), 20),
              Event("switch", image.sym("schedule"), 50)]
    values: set[int] = set()
    wrong: list[str] = []
    for moment, _ in visit(m, draw(seed, f"canary-{smp}", events, MOMENTS), 120):
        kernel = Kernel(m, image)
        found = canaries(kernel)
        values |= set(found.values())
        wrong += [f"{moment}: {w}" for w in value_problems(found) + cpu_problems(kernel)]
    return values, wrong


@pytest.mark.guest
@pytest.mark.parametrize("smp", [1, 4])
def test_every_thread_has_its_own_canary_and_its_cpu_compares_with_it(
        boot: Boot, image: Image, load: Image, seed: int, smp: int) -> None:  # noqa: F811
    _, wrong = look(boot, image, load, seed, smp)
    assert not wrong, "\n".join(wrong[:20])


@pytest.mark.guest
def test_no_canary_comes_again_in_another_start(boot: Boot, image: Image, load: Image,  # noqa: F811
                                                seed: int) -> None:
    first, _ = look(boot, image, load, seed, 2)
    second, _ = look(boot, image, load, seed + 1, 2)
    assert first and second and not first & second


@pytest.mark.guest
@pytest.mark.parametrize("off", ["", "canary"])
def test_proc_harden_tells_of_the_canaries_that_are_seen_from_outside(boot: Boot, image: Image, off: str) -> None:
    m = boot(append=harden_off([off] if off else []))
    m.wait_for(PROMPT, 30)
    says = told(m)["canary"]
    m.stop()
    found = canaries(Kernel(m, image.at(m)))
    if off:
        assert set(found.values()) == {0}
    else:
        assert not value_problems(found)
    assert says == ("off" if off else "on")


# ---- what happens when one is overwritten ------------------------------------------------------------------


def behind_the_report(m: Machine, image: Image) -> int:
    """Runs to the first report, and returns where it would return to."""
    m.gdb.set_break(image.sym("__stack_chk_fail"))
    m.cont()
    m.send("attack canary\n")
    stop = m.wait_stop(60)
    assert m.gdb.pc(stop.cpu) == image.sym("__stack_chk_fail")
    m.gdb.clear_break(image.sym("__stack_chk_fail"))
    return CPUS[m.arch.name].returns_to(m, stop.cpu)


@pytest.mark.guest
def test_a_function_that_finds_its_canary_changed_goes_no_further(boot: Boot, image: Image) -> None:
    m = boot(keep=True)
    m.wait_for(PROMPT, 30)
    m.stop()
    image = image.at(m)
    m.gdb.set_break(behind_the_report(m, image))
    m.gdb.set_break(image.sym("vuln_stack_gadget"))
    m.cont()
    m.wait_for(r"^oops: canary: the stack of vuln_string_sum was overwritten\r?$", 60)
    m.wait_for(PROMPT, 60)
    m.stop()
    assert Kernel(m, image).u64(image.sym("vuln_stack_mark")) == 0


# ---- the image --------------------------------------------------------------------------------------------

GUARD = {"x86_64": "gs:[0x10]", "aarch64": "sp_el0"}
RETURNS = {"x86_64": lambda text: text.startswith("ret") or text.endswith("return_thunk"),
           "aarch64": lambda text: text == "ret"}
CALLS = ("call", "bl", "jmp", "b")
# These run while the canary changes, or report that it did.
WITHOUT = {"__stack_chk_fail"}


@pytest.fixture(scope="module")
def code(build: Build) -> list[Function]:
    """Every function of the image."""
    return functions(build.symbols)


def test_every_function_with_an_array_on_its_stack_compares_its_canary(build: Build, arch: str,
                                                                       code: list[Function]) -> None:
    arrays = functions_with_arrays(build.symbols)
    fail = hex(next(f.start for f in code if f.name == "__stack_chk_fail"))
    checked = [f for f in code if f.start in arrays and f.name not in WITHOUT]
    assert len(checked) > 80, "too few: is this the kernel?"
    assert any(f.name == "vuln_string_sum" for f in checked)
    for f in checked:
        texts = [i.text for i in f.code]
        assert any(GUARD[arch] in t for t in texts), f"{f.name} has an array and reads no canary"
        ends = any(RETURNS[arch](t) for t in texts)
        asks = any(i.name in CALLS and i.text.endswith(fail) for i in f.code)
        assert asks or not ends, f"{f.name} returns without a look at its canary"


