"""The built kernel image: symbols, sections, load addresses and DWARF layouts, from rampart.sym.

Addresses are those of the running kernel: link addresses plus the slide that it chose (kaslr). An image that
was opened with slide None is not placed yet: it knows names, sizes and layouts, but has no address until
`at(machine)` asks a machine where it put the kernel, or `linked()` takes the file's own addresses.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from functools import cached_property
from pathlib import Path
from struct import iter_unpack
from typing import TYPE_CHECKING, NamedTuple

from elftools.dwarf.die import DIE
from elftools.dwarf.dwarfinfo import DWARFInfo
from elftools.elf.elffile import ELFFile

from grade.dwarf import name_of_unit

if TYPE_CHECKING:
    from grade.qemu import Machine

# Where QEMU puts an image whose program headers do not say it: a bare one of `virt` goes 2 MiB above the
# start of RAM (hw/arm/boot.c).
_LOADED_AT = {"EM_AARCH64": 0x4020_0000}
_STB_LOCAL, _STT_SECTION, _STT_FILE, _SHN_UNDEF, _SHN_ABS = 0, 3, 4, 0, 0xfff1      # elf(5)
_THROUGH = ("DW_TAG_typedef", "DW_TAG_const_type", "DW_TAG_volatile_type", "DW_TAG_atomic_type")


class ImageError(LookupError):
    """A symbol, section, structure or member that the image does not have."""


class Section(NamedTuple):
    """A section of the image: its running address and size, and whether it is writable or executable."""

    name: str
    start: int
    size: int
    writable: bool
    executable: bool


def defined(path: Path) -> set[str]:
    """The names that an object file defines for others. ImageError if it is none."""
    try:
        with open(path, "rb") as file:
            table = ELFFile(file).get_section_by_name(".symtab")
            if table is None:
                return set()
            names, data = table.stringtable.data(), table.data()
    except Exception as error:      # noqa: B902 - whatever a hostile assembler made
        raise ImageError(f"{path.name}: no object file: {error}") from error
    return {names[at:names.index(b"\0", at)].decode(errors="replace")
            for at, info, _, section, _, _ in iter_unpack("<IBBHQQ", data)
            if info >> 4 != _STB_LOCAL and section != _SHN_UNDEF}


class Image:
    """One ELF file with symbols and DWARF. Open for as long as the object lives."""

    def __init__(self, path: str | Path, slide: int | None = 0, believed: Collection[str] | None = None) -> None:
        """Reads symbols at once and DWARF when asked. ImageError if there is no such file or no symbol.
        believed: source files whose structures come before all others', where somebody may want to be misunderstood: then no
        symbol is known that is defined twice, and no unit that another one's name stands on, too."""
        self.path, self._slide = Path(path), slide
        try:
            self._file = open(path, "rb")
        except FileNotFoundError as error:
            raise ImageError(f"{path}: no such file (build first)") from error
        self._elf = ELFFile(self._file)
        self.entry = int(self._elf["e_entry"])
        self._by_name: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        self._twice: set[str] = set()       # of a submission: nobody knows which of them the kernel uses
        functions: list[tuple[int, str]] = []
        table = self._elf.get_section_by_name(".symtab")
        if table is None:
            raise ImageError(f"{path}: no symbols")
        names = table.stringtable.data()
        for at, info, _, section, value, size in iter_unpack("<IBBHQQ", table.data()):
            name = names[at:names.index(b"\0", at)].decode()
            if not name or section == _SHN_UNDEF or info & 15 in (_STT_FILE, _STT_SECTION):
                continue
            if believed is not None and self._by_name.get(name, value) != value:
                self._twice.add(name)
            if name in self._by_name and info >> 4 == _STB_LOCAL:
                continue
            self._by_name[name], self._sizes[name] = value, size
            if section != _SHN_ABS:
                functions.append((value, name))
        self._sorted = sorted(functions)
        self._keys = [value for value, _ in self._sorted]
        self._loads = [(s["p_vaddr"], s["p_paddr"], s["p_memsz"]) for s in self._elf.iter_segments("PT_LOAD")]
        base, start = _LOADED_AT.get(self._elf["e_machine"]), self._by_name.get("__image_start")
        if base is not None and start is not None:
            self._loads = [(va, base + va - start, size) for va, _, size in self._loads]
        self._layouts = _Layouts(self.path.name, self._elf, believed)

    def close(self) -> None:
        """Closes the file, for every place of this image."""
        self._file.close()

    # ---- places ---------------------------------------------------------------------------------------

    @property
    def slide(self) -> int:
        """What running addresses are above link addresses. ImageError while the image is not placed."""
        if self._slide is None:
            raise ImageError(f"{self.path.name} is not placed: use image.at(machine), or kernel.image")
        return self._slide

    def linked(self) -> Image:
        """This image at its link addresses: for disassembly, not for a machine."""
        return self._place(0)

    def at(self, machine: Machine, go: Callable[[int], object] | None = None) -> Image:
        """This image where the machine runs it (itself, if it is placed already). A machine in which the
        kernel has not chosen its addresses yet runs until it has: one that stood stands there afterwards.
        go: runs the stopped machine to an address; by default within a minute."""
        if self._slide is not None:
            return self
        if not self._chosen(machine):
            ran = machine.gdb.running
            machine.stop()
            if not self._chosen(machine):
                # The function that goes to the chosen addresses is entered where the image is loaded.
                there = self._loaded_at("boot_leave_physical")
                if go:
                    go(there)
                else:
                    machine.run_until(there, timeout=60)
            if ran:
                machine.cont()
        return self._place(self._word(machine, "image_slide"))

    def _chosen(self, machine: Machine) -> bool:
        # kernel/mm/layout.c writes this one last, and never 0. Other kernels run where they were linked.
        return "direct_map_base" not in self or self._word(machine, "direct_map_base") != 0

    def _word(self, machine: Machine, name: str) -> int:
        if name not in self:
            return 0
        return int.from_bytes(machine.read_phys(self._loaded_at(name), 8), "little")

    def _loaded_at(self, name: str) -> int:
        linked = self.linked()
        return linked.phys(linked.sym(name))

    def _place(self, slide: int) -> Image:
        placed = copy.copy(self)
        placed._slide = slide
        return placed

    # ---- symbols --------------------------------------------------------------------------------------

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def sym(self, name: str) -> int:
        """The running address of a symbol. ImageError if there is none, or (of a submission) more than one."""
        if name in self._twice:
            raise ImageError(f"the kernel has a symbol {name!r} of its own: give the submission's another name")
        try:
            return self._by_name[name] + self.slide
        except KeyError:
            raise ImageError(f"{self.path.name}: no symbol {name!r}") from None

    def size(self, name: str) -> int:
        """A symbol's size in bytes (0 where the linker knows none)."""
        self.sym(name)
        return self._sizes[name]

    def symbols(self, pattern: str = "") -> dict[str, int]:
        """Running addresses of all symbols whose name contains `pattern`."""
        return {n: v + self.slide for n, v in self._by_name.items() if pattern in n}

    def where(self, addr: int) -> str:
        """An address as "name+0x12", or as a number where no symbol is near."""
        i = bisect_right(self._keys, addr - self.slide) - 1
        if i < 0 or not self.contains(addr):
            return f"{addr:#x}"
        value, name = self._sorted[i]
        offset = addr - self.slide - value
        return f"{name}+{offset:#x}" if offset else name

    def contains(self, addr: int) -> bool:
        """Whether a running virtual address lies in the image."""
        link = addr - self.slide
        return any(va <= link < va + size for va, _, size in self._loads)

    def phys(self, addr: int) -> int:
        """The physical load address behind a running virtual address of the image (the program headers'
        word, or QEMU's for a bare image; true while the kernel has no physical slide)."""
        link = addr - self.slide
        for va, pa, size in self._loads:
            if va <= link < va + size:
                return pa + link - va
        raise ImageError(f"{addr:#x} is not in the image")

    def sections(self) -> list[Section]:
        """Every section that takes memory at run time."""
        out = []
        for s in self._elf.iter_sections():
            flags = s["sh_flags"]
            if flags & 2 and s["sh_size"]:
                out.append(Section(s.name, s["sh_addr"] + self.slide, s["sh_size"], bool(flags & 1),
                                   bool(flags & 4)))
        return out

    def section(self, name: str) -> Section:
        """One section by name. ImageError if it is missing or empty."""
        for s in self.sections():
            if s.name == name:
                return s
        raise ImageError(f"{self.path.name}: no section {name!r}")

    def bytes_at(self, addr: int, size: int) -> bytes:
        """The file's bytes behind a running address (for disassembly). ImageError where the file has none."""
        link = addr - self.slide
        for s in self._elf.iter_segments("PT_LOAD"):
            if s["p_vaddr"] <= link and link + size <= s["p_vaddr"] + s["p_filesz"]:
                self._file.seek(s["p_offset"] + link - s["p_vaddr"])
                return self._file.read(size)
        raise ImageError(f"{addr:#x}+{size:#x}: no bytes in the file")

    def span(self, start: str, end: str) -> tuple[int, int]:
        """The running addresses of two symbols, for example span("__text_start", "__text_end")."""
        return self.sym(start), self.sym(end)

    # ---- layouts --------------------------------------------------------------------------------------

    def offsetof(self, struct: str, member: str) -> int:
        """The offset in bytes of a member such as ("struct vm", "pt.root.v"); an array index may follow a
        name ("list[2].next"). ImageError if the image describes no such thing."""
        return self._layouts.offsetof(struct, member)

    def sizeof(self, struct: str, member: str = "") -> int:
        """The size in bytes of a structure, or of one of its members."""
        return self._layouts.sizeof(struct, member)

    def has_member(self, struct: str, member: str) -> bool:
        """Whether the structure has such a member."""
        try:
            self.offsetof(struct, member)
        except ImageError:
            return False
        return True


class _Layouts:
    """Layouts by DWARF, read as far as needed: one for every place of an image."""

    def __init__(self, name: str, elf: ELFFile, believed: Collection[str] | None) -> None:
        self.name, self._elf, self._believed = name, elf, believed
        self._units: dict[int, dict[str, DIE]] = {}     # by offset: those that were read, and what each defines
        self._sections: dict[str, bytes] = {}
        # What was asked, of this image alone: a cache of the class would keep all that ever were.
        self._offsets: dict[tuple[str, str], int] = {}
        self._sizes: dict[tuple[str, str], int] = {}

    def offsetof(self, struct: str, member: str) -> int:
        """As Image.offsetof."""
        key = struct, member
        if key not in self._offsets:
            self._offsets[key] = self._find(struct, member)[0]
        return self._offsets[key]

    def sizeof(self, struct: str, member: str = "") -> int:
        """As Image.sizeof."""
        key = struct, member
        if key not in self._sizes:
            self._sizes[key] = _size(self._find(struct, member)[1] if member else self._struct(struct))
        return self._sizes[key]

    def _find(self, struct: str, member: str) -> tuple[int, DIE]:
        die, offset = self._struct(struct), 0
        for word in member.replace("]", "").replace("[", ".#").split("."):
            die = _strip(die)
            if word.startswith("#"):
                if die.tag != "DW_TAG_array_type":
                    raise ImageError(f"{struct}: {member}: not an array")
                die = _strip(die.get_DIE_from_attribute("DW_AT_type"))
                offset += int(word[1:], 0) * _size(die)
                continue
            found = _member(die, word)
            if found is None:
                raise ImageError(f"{struct} has no member {member!r}")
            offset += found[0]
            die = found[1]
        return offset, _strip(die)

    def _struct(self, name: str) -> DIE:
        """The definition of "struct x" or "union x": the first of the units that are believed, or else of the others."""
        likely = self._that_mention(name.partition(" ")[2].encode())
        others = [at for at, _ in _units(self._info) if at not in likely]       # of a compiler with other tables of names
        for at in itertools.chain(self._trusted_first(likely), self._trusted_first(others)):
            if name in (defined := self._defined_in(at)):
                return defined[name]
        raise ImageError(f"{self.name}: no definition of {name!r}")

    @cached_property
    def _dwarf(self) -> DWARFInfo:
        if not self._elf.has_dwarf_info():
            raise ImageError(f"{self.name}: no DWARF")
        return self._elf.get_dwarf_info()

    @cached_property
    def _info(self) -> bytes:
        if not (data := self._section(".debug_info")):
            raise ImageError(f"{self.name}: no DWARF")
        return data

    def _section(self, name: str) -> bytes:
        """A section's bytes; none if it is not there."""
        if name not in self._sections:
            section = self._elf.get_section_by_name(name)
            self._sections[name] = bytes(section.data()) if section else b""
        return self._sections[name]

    def _that_mention(self, name: bytes) -> list[int]:
        """The units in whose bytes a name occurs, or its place in .debug_str: to understand them all takes seconds."""
        places = (m.start() for m in re.finditer(re.escape(name) + b"\0", self._section(".debug_str")))
        signs = [name + b"\0", *(at.to_bytes(4, "little") for at in places)]
        return [at for at, end in _units(self._info) if any(self._info.find(s, at, end) >= 0 for s in signs)]

    @cached_property
    def _sources(self) -> dict[int, str]:
        """What each unit says that it was made of. A submission's assembly can say anything, but not that it alone is a file
        of which there is another unit."""
        out = {at: self._source(at).decode(errors="replace").removeprefix("./") for at, _ in _units(self._info)}
        twice = sorted({n for n, count in Counter(out.values()).items() if count > 1 and n in (self._believed or ())})
        if twice:
            raise ImageError(f"{self.name}: more than one unit says that it is {twice[0]}")
        return out

    def _source(self, at: int) -> bytes:
        """The name in a unit's first entry."""
        with contextlib.suppress(IndexError, ValueError):       # where the sections end before it
            found = name_of_unit(self._info, at, self._section(".debug_abbrev"))
            if isinstance(found, bytes):
                return found
            if found is not None:
                text = self._section(found[0])
                return text[found[1]:text.index(b"\0", found[1])]
        known = self._dwarf.get_CU_at(at).get_top_DIE().attributes.get("DW_AT_name")
        return b"" if known is None else known.value

    def _trusted_first(self, units: list[int]) -> Iterator[int]:
        if self._believed is None:
            return iter(units)
        return iter(sorted(units, key=lambda at: self._sources[at] not in (self._believed or ())))

    def _defined_in(self, at: int) -> dict[str, DIE]:
        """What a unit defines, by "struct x" and "union x"."""
        if at not in self._units:
            self._units[at] = defined = {}
            for die in self._dwarf.get_CU_at(at).get_top_DIE().iter_children():
                kind = {"DW_TAG_structure_type": "struct", "DW_TAG_union_type": "union"}.get(die.tag)
                if kind and "DW_AT_declaration" not in die.attributes and "DW_AT_name" in die.attributes:
                    defined.setdefault(f"{kind} {die.attributes['DW_AT_name'].value.decode()}", die)
        return self._units[at]


def _units(info: bytes) -> Iterator[tuple[int, int]]:
    """Where each unit of .debug_info begins and ends (DWARF 5, 7.5.1; of 32 bits)."""
    at = 0
    while at < len(info):
        end = at + 4 + int.from_bytes(info[at:at + 4], "little")
        yield at, end
        at = end


def _strip(die: DIE) -> DIE:
    while die.tag in _THROUGH:
        die = die.get_DIE_from_attribute("DW_AT_type")
    return die


def _size(die: DIE) -> int:
    die = _strip(die)
    if "DW_AT_byte_size" in die.attributes:
        return int(die.attributes["DW_AT_byte_size"].value)
    if die.tag == "DW_TAG_array_type":
        total = _size(die.get_DIE_from_attribute("DW_AT_type"))
        for bound in die.iter_children():
            if "DW_AT_count" in bound.attributes:
                total *= int(bound.attributes["DW_AT_count"].value)
            elif "DW_AT_upper_bound" in bound.attributes:
                total *= int(bound.attributes["DW_AT_upper_bound"].value) + 1
            else:
                total = 0
        return total
    raise ImageError(f"{die.tag}: no size")


def _member(die: DIE, name: str) -> tuple[int, DIE] | None:
    """Offset and type of a direct member, or of one inside an anonymous structure or union."""
    for child in die.iter_children():
        if child.tag != "DW_TAG_member":
            continue
        place = child.attributes.get("DW_AT_data_member_location")
        offset = int(place.value) if place is not None else 0
        kind = _strip(child.get_DIE_from_attribute("DW_AT_type"))
        label = child.attributes.get("DW_AT_name")
        if label is None:
            inner = _member(kind, name)
            if inner is not None:
                return offset + inner[0], inner[1]
        elif label.value.decode() == name:
            return offset, kind
    return None
