"""Symbols, layouts, kernel lists and address spaces, on a little image compiled here."""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import shutil
import struct
import subprocess
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from grade import ksyms
from grade.dwarf import name_of_unit
from grade.image import Image, ImageError
from grade.ksyms import BEGIN, END, text_symbols, write
from grade.plugin import Build
from grade.qemu import ARCHES
from grade.spaces import Kernel, KernelStateError
from grade.tests.test_walk import Memory
from grade.walk_x86_64 import NX, P, U, W

SOURCE = """
struct list { struct list *next, *prev; };
typedef struct { unsigned long v; } paddr_t;
struct arch_pt { long cpus; paddr_t root; };
struct vm { int refs; struct arch_pt pt; struct list all; };
struct process;
struct thread { long arch[3]; int tid; char name[16]; struct process *process; void *kstack; struct list siblings; };
struct process { int pid; union { struct { int x, y; }; long z; }; struct list all, threads; };
struct cpu { int number; struct thread *thread; long pad[5]; };

extern struct list vm_all, process_all;
extern struct vm vm1, vm2;
extern struct process init;
struct arch_pt kernel_pt = { 0, { 0x1000 } };
struct vm vm1 = { 1, { 0, { 0x2000 } }, { &vm2.all, &vm_all } };
struct vm vm2 = { 1, { 0, { 0x3000 } }, { &vm_all, &vm1.all } };
struct list vm_all = { &vm1.all, &vm2.all };
struct thread first = { .tid = 7, .name = "worker", .process = &init, .kstack = (void *)0x123000,
			.siblings = { &init.threads, &init.threads } };
struct process init = { .pid = 5, .all = { &process_all, &process_all },
			.threads = { &first.siblings, &first.siblings } };
struct list process_all = { &init.all, &init.all };
struct cpu cpus[2] = { { 0, 0 }, { 1, &first } };
const char banner[] = "read-only";
int start(void) { return 42; }
"""


class Stub:
    """What Kernel asks of a stub."""

    def cpus(self) -> list[int]:
        return [0, 1]

    def reg(self, cpu: int, name: str) -> int:
        return [0x2000 | 0xFFF, 0x5000][cpu]


class FakeMachine:
    """A stopped machine whose RAM holds the image and a few tables."""

    arch = ARCHES["x86_64"]

    def __init__(self, image: Image) -> None:
        self.memory = Memory()
        self.memory.free = 0x8000
        self.gdb = Stub()
        for section in image.sections():
            data = image.bytes_at(section.start, section.size)
            self.memory.ram[section.start:section.start + len(data)] = data
        for page in range(0x100000, 0x180000, 0x1000):
            self.memory.map(page, page, P | W | NX)
        for root in (0x2000, 0x3000, 0x5000):
            self.memory.put(root, self.memory.get(0x1000))
            self.memory.map(0x8000000000, 0x200000, P | U, root=root)

    def read_phys(self, pa: int, size: int) -> bytes:
        return self.memory.read(pa, size)

    def regs(self, cpu: int, *names: str) -> dict[str, int]:
        return {"cr0": 0x80010001, "cr4": 0x20, "efer": 0xD00}


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The little image."""
    out = tmp_path_factory.mktemp("image") / "image"
    source = out.with_suffix(".c")
    source.write_text(SOURCE)
    subprocess.run([os.environ.get("CC", "gcc"), "-g", "-O0", "-ffreestanding", "-nostdlib", "-static", "-no-pie",
                    "-fno-asynchronous-unwind-tables", "-fcf-protection=none", "-Wl,-Ttext=0x100000",
                    "-Wl,--build-id=none", "-Wl,-z,max-page-size=0x1000", "-Wl,-N", "-Wl,--no-warn-rwx-segments", "-e", "start", "-o", out,
                    source], check=True, timeout=60)
    return out


@pytest.fixture
def image(path: Path) -> Iterator[Image]:
    """The little image, opened."""
    opened = Image(path)
    yield opened
    opened.close()


@pytest.fixture
def machine(image: Image) -> FakeMachine:
    """A machine that runs it."""
    return FakeMachine(image)


def kernel_of(machine: FakeMachine, image: Image) -> Kernel:
    return Kernel(machine, image)   # type: ignore[arg-type]


def test_offsets_are_those_of_the_compiler(image: Image) -> None:
    assert image.offsetof("struct vm", "pt.root.v") == 16
    assert image.offsetof("struct vm", "all") == 24
    assert image.offsetof("struct thread", "name") == 28
    assert image.offsetof("struct thread", "arch[2]") == 16
    assert image.offsetof("struct process", "y") == 12      # inside an anonymous union's anonymous structure
    assert (image.sizeof("struct cpu"), image.sizeof("struct thread", "name")) == (56, 16)
    assert image.has_member("struct vm", "all") and not image.has_member("struct vm", "nothing")


def test_what_is_missing_is_named(image: Image) -> None:
    with pytest.raises(ImageError, match="no symbol 'nothing'"):
        image.sym("nothing")
    with pytest.raises(ImageError, match="no definition of 'struct nothing'"):
        image.offsetof("struct nothing", "x")
    with pytest.raises(ImageError, match="struct vm has no member 'pt.nothing'"):
        image.offsetof("struct vm", "pt.nothing")
    with pytest.raises(ImageError, match="no such file"):
        Image("/nonexistent")


@pytest.mark.parametrize(("compiler", "version", "understood"), [("gcc", 5, True), ("gcc", 4, False), ("clang", 5, False)])
def test_a_unit_is_called_what_elftools_calls_it(tmp_path: Path, compiler: str, version: int, understood: bool) -> None:
    """Whether this reader understands the compiler, or leaves it to elftools."""
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here")
    names = ["one.c", "two.c"]
    for i, name in enumerate(names):
        (tmp_path / name).write_text(f"struct both {{ int a[{i + 1}]; }} both{i};\n")
    subprocess.run([compiler, f"-gdwarf-{version}", "-nostdlib", "-static", "-Wl,-e,0", "-o", "both", *names], cwd=tmp_path,
                   check=True, timeout=60)
    with open(tmp_path / "both", "rb") as file:
        elf = ELFFile(file)
        info, table = (elf.get_section_by_name(name).data() for name in (".debug_info", ".debug_abbrev"))
        found = {unit.cu_offset: unit.get_top_DIE().attributes["DW_AT_name"].value for unit in elf.get_dwarf_info().iter_CUs()}
    assert sorted(found.values()) == [name.encode() for name in names]
    assert all((name_of_unit(info, at, table) is not None) == understood for at in found)
    for name, size in zip(names, (4, 8)):
        believes = Image(tmp_path / "both", believed={name})
        assert believes.sizeof("struct both") == size
        believes.close()


def test_a_unit_that_its_sections_cut_short_is_no_name() -> None:
    header = bytes([30, 0, 0, 0, 5, 0, 1, 8, 0, 0, 0, 0])        # DWARF 5, 7.5.1.1
    kinds = bytes([2, 0x11, 1, 0x13, 0x0b, 3, 8, 0, 0, 0])      # of entry 2: a language in one byte, a name's text
    assert name_of_unit(header + bytes([2, 0x1d]) + b"a.c\0", 0, kinds) == b"a.c"
    assert name_of_unit(header + bytes([1]), 0, kinds) is None
    for info, table in ((header, kinds), (header + bytes([2, 0x1d]), kinds[:5]), (header[:6], kinds)):
        with pytest.raises(IndexError):
            name_of_unit(info, 0, table)


def test_the_kernels_own_symbols_are_those_that_nm_sees_in_its_code(build: Build, arch: str) -> None:
    nm = "nm" if arch == platform.machine() else f"{arch}-linux-gnu-nm"
    said = subprocess.run([nm, build.symbols], capture_output=True, text=True, check=True, timeout=60).stdout
    names: dict[int, set[str]] = {}
    for value, kind, name in (words for line in said.splitlines() if len(words := line.split()) == 3):
        if kind in "tTwW" and not name.startswith("."):
            names.setdefault(int(value, 16), set()).add(name)
    start, end = (next(at for at, known in names.items() if name in known) for name in ("__text_start", "__text_end"))
    found = text_symbols(build.symbols.read_bytes())
    assert found == sorted(found)
    assert [offset + start for offset, _ in found] == sorted(
        at for at, known in names.items() if start <= at < end and known - {"__text_start"})
    assert all(name in names[offset + start] for offset, name in found)


def test_the_table_in_the_image_is_of_these_symbols(build: Build) -> None:
    with contextlib.closing(Image(build.symbols)) as opened:
        table = opened.bytes_at(opened.sym(BEGIN), opened.sym(END) - opened.sym(BEGIN))
    count, = struct.unpack_from("<I", table)
    offsets = struct.unpack_from(f"<{count}I", table, 4)
    places = struct.unpack_from(f"<{count}I", table, 4 + 4 * count)
    strings = table[4 + 8 * count:]
    assert [(at, strings[place:strings.index(b"\0", place)].decode()) for at, place in zip(offsets, places)] == text_symbols(
        build.symbols.read_bytes())


def test_an_image_without_text_or_space_has_no_table(path: Path) -> None:
    with pytest.raises(SystemExit, match="defines no __text_start"):
        text_symbols(path.read_bytes())
    with pytest.raises(SystemExit, match=f"defines no {BEGIN}"):
        write(path)


def test_names_that_do_not_fit_are_not_written(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "rampart.sym"
    copy.write_bytes(build.symbols.read_bytes())
    with contextlib.closing(Image(build.symbols)) as opened:
        space = opened.sym(END) - opened.sym(BEGIN)
    name = "f" * (space - len(ksyms.packed([(0, "")])) + 1)
    monkeypatch.setattr(ksyms, "text_symbols", lambda elf: [(0, name)])
    with pytest.raises(SystemExit, match=f"the names take {space + 1} bytes, and the linker script leaves {space}"):
        write(copy)
    assert copy.read_bytes() == build.symbols.read_bytes()


def test_nobody_keeps_the_layouts_of_an_image_that_is_closed(path: Path) -> None:
    """Who proves labs opens hundreds."""
    opened = Image(path)
    assert opened.offsetof("struct vm", "all") and opened.sizeof("struct vm")
    layouts = weakref.ref(opened._layouts)
    opened.close()
    del opened
    gc.collect()
    assert layouts() is None


def test_addresses_become_names_and_a_slide_moves_them(path: Path, image: Image) -> None:
    start = image.sym("start")
    assert image.where(start) == "start" and image.where(start + 4) == "start+0x4"
    assert image.where(0x7FFF00000000) == "0x7fff00000000"
    slid = Image(path, slide=0x600000)
    assert slid.sym("start") == start + 0x600000
    assert slid.where(start + 0x600004) == "start+0x4"
    assert slid.phys(start + 0x600000) == image.phys(start)
    assert slid.bytes_at(slid.sym("banner"), 9) == b"read-only"
    slid.close()


def test_every_address_space_is_found_once(machine: FakeMachine, image: Image) -> None:
    roots = kernel_of(machine, image).roots()
    assert list(roots) == [0x1000, 0x2000, 0x3000, 0x5000]
    assert roots[0x1000] == "kernel" and roots[0x2000].startswith("vm 0") and roots[0x5000] == "CPU 1's CR3"
    spaces = kernel_of(machine, image).spaces()
    assert [s.covers(0x8000000000) is not None for s in spaces] == [False, True, True, True]


def test_threads_are_listed_from_outside(machine: FakeMachine, image: Image) -> None:
    kernel = kernel_of(machine, image)
    (thread,) = kernel.threads()
    assert (thread.pid, thread.tid, thread.name, thread.kstack) == (5, 7, "worker", 0x123000)
    assert kernel.current(1) == thread.address and kernel.current(0) == 0


def test_a_list_that_does_not_point_back_is_an_error_and_no_hang(machine: FakeMachine, image: Image) -> None:
    link = image.sym("vm2") + image.offsetof("struct vm", "all")
    machine.memory.put(link, link)
    with pytest.raises(KernelStateError, match="does not point back"):
        kernel_of(machine, image).roots()
    machine.memory.put(link, 0x7000000000)
    with pytest.raises(KernelStateError, match="not mapped"):
        kernel_of(machine, image).roots()


def test_frames_behind_a_span_are_joined(machine: FakeMachine, image: Image) -> None:
    machine.memory.map(0x111000, 0x300000, P)
    kernel = kernel_of(machine, image)
    assert kernel.frames((0x110800, 0x112800)) == [(0x110800, 0x111000), (0x300000, 0x301000), (0x112000, 0x112800)]


def test_a_kernel_that_has_not_started_has_no_lists_yet(machine: FakeMachine, image: Image) -> None:
    struct.pack_into("<QQ", machine.memory.ram, image.sym("process_all"), 0, 0)
    assert kernel_of(machine, image).threads() == []
    machine.memory.put(image.sym("kernel_pt") + 8, 0)
    assert 0x3000 not in kernel_of(machine, image).roots()
    assert 0x5000 in kernel_of(machine, image).roots()
