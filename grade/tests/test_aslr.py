"""Where programs lie is drawn at each exec, part by part; and the vDSO is nobody's to write.

/bin/layout runs many times in one guest and writes down where it was put; the records are read from the memory
of the program that started it. Guests count instructions (-icount) and have a seed, so that runs repeat.
"""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from grade.frames import frames, mappings
from grade.image import Image
from grade.layouts import IMAGE, PARTS, SIZE, Layout, drawn_bits, unlikely, unpack
from grade.moments import qemu_seed
from grade.plugin import Boot, Build
from grade.qemu import ARCHES, Machine
from grade.spaces import Kernel
from grade.walk import aliases_of, user_accessible

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPLES, SOAK_SAMPLES = 100, 2000
WRONGLY = 1e-9      # a correct kernel fails a whole test less often

pytestmark = [pytest.mark.guest, pytest.mark.timeout(600)]

TIB = 1 << 40

# The windows of kernel/harden/aslr.c: the lowest address of each, and its size.
WINDOWS = {
    "x86_64": {"stack": (127 * TIB, TIB), "vdso": (117 * TIB, TIB), "interpreter": (114 * TIB, TIB),
               "mmap": (112 * TIB, TIB), "program": (0x5555_5555_4000, TIB)},
    "aarch64": {"stack": (255 * TIB, TIB), "vdso": (237 * TIB, TIB), "interpreter": (219 * TIB, 16 * TIB),
                "mmap": (217 * TIB, TIB), "program": (0xAAAA_AAAA_0000, 16 * TIB)},
}
SLACK = 1 << 20     # what lies between a window and an address in it: strings, a page of mappings, [vvar]


def sampled(machine: Machine, count: int) -> list[Layout]:
    """Runs a paused machine that was booted for `test-aslr sample count`, and takes its records."""
    program = Image(ROOT / "build" / machine.arch.name / "user" / "test-aslr")
    try:
        stop = machine.run_until(program.sym("samples_taken"), timeout=500)
        table = machine.gdb.read(program.sym("samples"), count * SIZE, stop.cpu)
    finally:
        program.close()
    out = unpack(table)
    missing = {part for layout in out for part in PARTS if layout[part] == 0}
    assert not missing, f"nothing is where the kernel says: {missing}"
    return out


def take(build: Build, seed: int, count: int, append: str = "", limit: str = "") -> list[Layout]:
    """The layouts of `count` programs, one after the other."""
    line = f"console={ARCHES[build.arch].console} quiet {append} -- /bin/test-aslr sample {count} {limit}"
    with Machine(build.kernel, build.initrd, line, arch=build.arch, smp=1, mem=128, paused=True, icount=True,
                 seed=seed) as m:
        return sampled(m, count)


@pytest.fixture(scope="module")
def layouts(build: Build, seed: int) -> list[Layout]:
    """What 100 execs drew."""
    return take(build, qemu_seed(seed, "aslr"), SAMPLES)


# ---- what is drawn ----------------------------------------------------------------------------------------


def test_every_bit_of_every_part_is_drawn_and_says_nothing_of_another(layouts: list[Layout], arch: str) -> None:
    wrong = unlikely(layouts, drawn_bits(arch), WRONGLY)
    assert not wrong, f"{len(wrong)}: " + "; ".join(map(str, wrong[:20]))


def outside(layouts: list[Layout], arch: str) -> list[str]:
    """Parts that do not lie in their windows."""
    wrong = []
    for one in layouts:
        for part, (low, size) in WINDOWS[arch].items():
            if not low - SLACK <= one[part] < low + size + SLACK:
                wrong.append(f"{part} at {one[part]:#x}")
        if not 0 < one["heap"] - one["program"] <= (1 << 30) + SLACK:
            wrong.append(f"heap at {one['heap']:#x}, program at {one['program']:#x}")
    return wrong


def test_every_part_lies_in_its_own_window(layouts: list[Layout], arch: str) -> None:
    spans = sorted(WINDOWS[arch].values())
    assert all(a + size + SLACK < b - SLACK for (a, size), (b, _) in zip(spans, spans[1:]))
    assert not outside(layouts, arch)


@pytest.mark.parametrize("limit", [(1 << 64) - 1, 28 * TIB, 1 << 16])
def test_windows_do_not_move_with_the_stacks_limit(build: Build, seed: int, arch: str, limit: int) -> None:
    assert not outside(take(build, seed, 20, limit=str(limit)), arch)


def test_parts_are_aligned_as_programs_expect(layouts: list[Layout], arch: str) -> None:
    align = {"stack": 16, "mmap": 4096, "interpreter": 1 << IMAGE[arch][0], "vdso": 4096,
             "program": 1 << IMAGE[arch][0], "heap": 4096}
    assert not [(part, hex(one[part])) for one in layouts for part in PARTS if one[part] % align[part]]


def test_another_seed_gives_other_layouts_and_the_same_seed_the_same(build: Build, seed: int) -> None:
    """What is drawn comes from the processor's generator, which QEMU seeds. (A counter that is mixed well enough
    looks the same: time passes differently with each seed, too.)"""
    one, again, other = (take(build, qemu_seed(s, "aslr-few"), 3) for s in (seed, seed, seed + 1))
    assert one == again
    assert all(a[part] != b[part] for a, b in zip(one, other) for part in PARTS)


def test_without_the_row_every_program_lies_where_the_last_one_did(build: Build, seed: int) -> None:
    found = take(build, seed, 8, append="harden=-aslr")
    assert all(one == found[0] for one in found)


@pytest.mark.soak
@pytest.mark.parametrize("step", range(2))
def test_bits_are_even_and_independent_over_thousands_of_execs(build: Build, seed: int, arch: str, step: int) -> None:
    found = take(build, qemu_seed(seed, f"aslr-soak-{step}"), SOAK_SAMPLES)
    wrong = unlikely(found, drawn_bits(arch), WRONGLY)
    assert not wrong, f"{len(wrong)}: " + "; ".join(map(str, wrong[:20]))
    assert not outside(found, arch)


# ---- the vDSO ---------------------------------------------------------------------------------------------

VDSO = {
    "x86_64": ("LINUX_2.6", {"__vdso_clock_gettime", "__vdso_clock_getres", "__vdso_gettimeofday", "__vdso_time",
                             "__vdso_getcpu"}),
    "aarch64": ("LINUX_2.6.39", {"__kernel_clock_gettime", "__kernel_clock_getres", "__kernel_gettimeofday",
                                 "__kernel_rt_sigreturn"}),
}


def test_vdso_has_the_names_and_the_version_that_programs_look_for(arch: str) -> None:
    said = subprocess.run(["readelf", "--dyn-syms", "-dW", str(ROOT / "build" / arch / "vdso.so")], timeout=60,
                          capture_output=True, text=True, check=True).stdout
    version, names = VDSO[arch]
    found = {line.split()[-1] for line in said.splitlines() if " FUNC " in line}
    assert found == {f"{name}@@{version}" for name in names}
    assert "soname: [linux-vdso.so.1]" in said and "REL" not in said


@pytest.fixture
def running(boot: Boot, image: Image) -> Kernel:
    """A kernel that stands while a program has asked the vDSO for the time."""
    m = boot(run="/bin/test-vdso", smp=2, paused=True, icount=True, keep=True)
    m.run_until(image.at(m).sym("sys_clock_gettime"), hits=100, timeout=120)
    return Kernel(m, image)


def test_vdso_is_the_code_that_was_built_and_nobody_can_write_it(running: Kernel, arch: str) -> None:
    span = running.image.span("__vdso_start", "__vdso_end")
    code = running.frames(span)
    built = (ROOT / "build" / arch / "vdso.so").read_bytes()
    assert running.read(span[0], span[1] - span[0]) == built.ljust(span[1] - span[0], b"\0")
    found = [f.mapping for f in aliases_of(running.spaces(), code)]
    assert any(m.user and m.exec_user for m in found)
    assert not [str(m) for m in found if m.writable or (m.executable and not m.user)]


def test_vvar_is_read_only_data_for_programs_and_tells_the_time_alone(running: Kernel) -> None:
    page = running.image.sym("vdso_page")
    data = running.read(page, 4096)
    assert data[:16] != bytes(16) and data[24:] == bytes(4096 - 24)
    assert not any(word >> 47 for word in struct.unpack_from("<2Q", data)), "a kernel address?"
    found = [f.mapping for f in aliases_of(running.spaces(), running.frames((page, page + 4096))) if f.mapping.user]
    assert found and not [str(m) for m in found if m.writable or m.executable]


def test_programs_map_no_frame_of_the_image_but_the_vdso_and_each_mapping_is_counted(running: Kernel) -> None:
    image = running.image
    whole = image.span("__image_start", "__data_end")
    (first, _), *_ = running.frames((whole[0], whole[0] + 1))
    lent = {pa >> 12 for start, end in running.frames(image.span("__vdso_start", "__vdso_end"),
                                                      (image.sym("vdso_page"), image.sym("vdso_page") + 4096))
            for pa in range(start, end, 4096)}
    spaces = running.own_spaces()     # what user mode has of them is the same tables
    theirs = [f.mapping for f in user_accessible(spaces, 0, running.cpu.user_end)]
    of_image = {m.pa >> 12 for m in theirs if first <= m.pa < first + whole[1] - whole[0]}
    assert of_image == lent
    mapped = mappings(spaces, running.cpu.user_end)
    counted = {f.number: f.refs for f in frames(running) if f.number in lent}
    assert counted == {number: mapped[number] + 1 for number in lent}      # one is the image's own


def test_asking_for_the_time_is_no_system_call(boot: Boot, image: Image, arch: str) -> None:
    """libc finds the vDSO: test-vdso asks the kernel itself twice for each time that it asks libc."""
    m = boot(run="/bin/test-vdso its_clocks_are_the_kernel_s", smp=1, paused=True, icount=True, keep=True)
    m.run_until(image.at(m).sym("process_start_init"), timeout=60)
    kernel, asked = Kernel(m, image), 0
    call, over = (kernel.image.sym(name) for name in ("sys_clock_gettime", "arch_poweroff"))
    for place in (call, over):
        m.gdb.set_break(place)
    while True:
        m.cont()
        if m.gdb.pc(m.wait_stop(120).cpu) == over:
            break
        asked += 1
    assert 2000 <= asked < 2100
