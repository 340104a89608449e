"""The built image's code, disassembled: every function of .text as the linker left it.

Needs capstone. Addresses are those that the image is linked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import capstone
from elftools.dwarf.die import DIE
from elftools.elf.elffile import ELFFile

_MACHINES = {
    "EM_X86_64": (capstone.CS_ARCH_X86, capstone.CS_MODE_64),
    "EM_AARCH64": (capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM),
}
_FRAME_BASE_OFFSET = 0x91       # DW_OP_fbreg: the variable lies in the function's frame


@dataclass(frozen=True)
class Instruction:
    """One instruction; `text` is its mnemonic and operands, empty for bytes that are none."""

    address: int
    data: bytes
    text: str

    @property
    def name(self) -> str:
        """The mnemonic, prefixes such as rep included."""
        return self.text.partition(" ")[0]

    def __str__(self) -> str:
        return f"{self.address:#x}: {self.text or 'undecodable ' + self.data.hex()}"


@dataclass(frozen=True)
class Function:
    """A function's name and code."""

    name: str
    start: int
    code: tuple[Instruction, ...]


def decode(engine: capstone.Cs, data: bytes, address: int) -> list[Instruction]:
    """All of `data`: what is no instruction becomes one without text, as long as the shortest."""
    out, at, step = [], 0, 4 if engine.arch == capstone.CS_ARCH_ARM64 else 1
    while at < len(data):
        for start, size, name, operands in engine.disasm_lite(data[at:], address + at):
            out.append(Instruction(start, data[start - address:start - address + size], f"{name} {operands}".strip()))
            at += size
        if at < len(data):
            out.append(Instruction(address + at, data[at:at + step], ""))
            at += step
    return out


def functions(path: Path, padding: bool = False) -> list[Function]:
    """Every function symbol of .text with a size, in order of address. Of two at one place the first counts. With
    padding, each goes as far as the next one's beginning, so that code that is nobody's is seen, too."""
    with open(path, "rb") as file:
        elf = ELFFile(file)
        engine = capstone.Cs(*_MACHINES[elf["e_machine"]])
        text = elf.get_section_by_name(".text")
        data, base = text.data(), text["sh_addr"]
        spans = {}
        for s in elf.get_section_by_name(".symtab").iter_symbols():
            if s["st_info"]["type"] == "STT_FUNC" and s["st_size"] and base <= s["st_value"] < base + len(data):
                spans.setdefault(s["st_value"], (s.name, s["st_size"]))
        if padding:
            ends = [*sorted(spans)[1:], base + len(data)]
            spans = {start: (spans[start][0], end - start) for start, end in zip(sorted(spans), ends)}
        return [Function(name, start, tuple(decode(engine, data[start - base:start - base + size], start)))
                for start, (name, size) in sorted(spans.items())]


# ---- arrays on the stack ----------------------------------------------------------------------------------


def _type(die: DIE) -> DIE | None:
    while "DW_AT_type" not in die.attributes:
        if "DW_AT_abstract_origin" not in die.attributes:
            return None
        die = die.get_DIE_from_attribute("DW_AT_abstract_origin")
    return die.get_DIE_from_attribute("DW_AT_type")


def _holds_array(die: DIE | None, known: dict[int, bool]) -> bool:
    if die is None:
        return False
    if die.offset not in known:
        known[die.offset] = False
        if die.tag == "DW_TAG_array_type":
            known[die.offset] = True
        elif die.tag in ("DW_TAG_typedef", "DW_TAG_const_type", "DW_TAG_volatile_type", "DW_TAG_member"):
            known[die.offset] = _holds_array(_type(die), known)
        elif die.tag in ("DW_TAG_structure_type", "DW_TAG_union_type"):
            known[die.offset] = any(_holds_array(c, known) for c in die.iter_children() if c.tag == "DW_TAG_member")
    return known[die.offset]


def _on_the_stack(die: DIE) -> bool:
    place = die.attributes.get("DW_AT_location")
    return place is not None and place.form == "DW_FORM_exprloc" and place.value[:1] == [_FRAME_BASE_OFFSET]


def _has_array(die: DIE, known: dict[int, bool]) -> bool:
    for child in die.iter_children():
        if child.tag == "DW_TAG_variable":
            if _on_the_stack(child) and _holds_array(_type(child), known):
                return True
        elif child.tag in ("DW_TAG_lexical_block", "DW_TAG_inlined_subroutine") and _has_array(child, known):
            return True
    return False


def functions_with_arrays(path: Path) -> set[int]:
    """Addresses of the functions whose frame holds an array, or a structure with one, that the compiler did not
    optimise away; arrays of inlined functions count. By DWARF."""
    out: set[int] = set()
    with open(path, "rb") as file:
        for unit in ELFFile(file).get_dwarf_info().iter_CUs():
            known: dict[int, bool] = {}
            for die in unit.get_top_DIE().iter_children():
                if die.tag == "DW_TAG_subprogram" and "DW_AT_low_pc" in die.attributes and _has_array(die, known):
                    out.add(die.attributes["DW_AT_low_pc"].value)
    return out
