"""The first entry of a DWARF unit, read in microseconds. elftools reads a unit's whole table of abbreviations before it
says what the unit is called, which for the hundred and fifty of a kernel takes most of a second.

What compilers write is understood, of 32-bit DWARF 5 (sections 7.5.1 to 7.5.6); the rest is None, and elftools' work.
"""

from __future__ import annotations

_COMPILE_UNIT, _HEADER = 1, 12      # DW_UT_compile, and the bytes before its first entry
_NAME = 3                           # DW_AT_name
_STRING, _STRP, _IMPLICIT, _LINE_STRP = 8, 0x0e, 0x21, 0x1f         # DW_FORM_*
_STRINGS = {_STRP: ".debug_str", _LINE_STRP: ".debug_line_str"}
# How many bytes a form takes, where each entry has the same number: addr, data2, data4, data8, data1, flag, strp, sec_offset,
# flag_present, data16, line_strp, implicit_const.
_BYTES = {1: 8, 5: 2, 6: 4, 7: 8, 0x0b: 1, 0x0c: 1, _STRP: 4, 0x17: 4, 0x19: 0, 0x1e: 16, _LINE_STRP: 4, _IMPLICIT: 0}
_VARIABLE = (0x0d, 0x0f)            # sdata, udata


def name_of_unit(info: bytes, at: int, abbreviations: bytes) -> bytes | tuple[str, int] | None:
    """What the unit at `at` of .debug_info says that it was made of: the text, or the section and the place where it stands.
    None where this reader does not understand it. IndexError where the sections end before it."""
    version, kind = int.from_bytes(info[at + 4:at + 6], "little"), info[at + 6]
    if version != 5 or kind != _COMPILE_UNIT:
        return None
    code, place = _leb(info, at + _HEADER)
    for attribute, form in _attributes(abbreviations, int.from_bytes(info[at + 8:at + 12], "little"), code):
        if attribute == _NAME and form in _STRINGS:
            return _STRINGS[form], int.from_bytes(info[place:place + 4], "little")
        if attribute == _NAME and form == _STRING:
            return info[place:info.index(b"\0", place)]
        if form in _VARIABLE:
            place = _leb(info, place)[1]
        elif form in _BYTES:
            place += _BYTES[form]
        else:
            return None
    return None


def _attributes(table: bytes, at: int, wanted: int) -> list[tuple[int, int]]:
    """Of one kind of entry the attributes and their forms; nothing if the table has no such kind."""
    code, at = _leb(table, at)
    while code:
        at = _leb(table, at)[1] + 1         # its tag, and whether it has children
        out = []
        while True:
            attribute, at = _leb(table, at)
            form, at = _leb(table, at)
            if form == _IMPLICIT:
                at = _leb(table, at)[1]
            if not attribute and not form:
                break
            out.append((attribute, form))
        if code == wanted:
            return out
        code, at = _leb(table, at)
    return []


def _leb(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned number in LEB128 (7.6), and what follows it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7f) << shift
        shift, at = shift + 7, at + 1
        if byte < 0x80:
            return value, at
