"""The class key: gives each student a twist of each lab and a broken kernel to diagnose, from HMAC(key, student).

The complete kernel is public. A twist is a small change of a lab's specification under which the verbatim reference
fails a check that the twist names; lab.toml has them all. What is whose stands in a ticket, `.ticket` at the root of the
student's tree. Whoever grades for points draws it from the key again and does not believe the ticket.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import tomllib
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from grade.labs.spec import Lab, SpecError, get

TICKET = ".ticket"
_STUDENT = re.compile(r"[^\W_][\w.@+-]{0,99}")
NAME_MOST = 200         # bytes of a name in UTF-8: it is a file's as well
KEY_LEAST = 16          # bytes


@dataclass(frozen=True)
class Twist:
    """One student's twist of a lab: which, with which number."""

    name: str
    value: int
    text: str           # for the student
    fails: str          # the check that the verbatim reference fails


@dataclass(frozen=True)
class Share:
    """What of a lab is one student's own."""

    twist: Twist | None = None
    diagnosis: str = ""     # the name of the broken kernel


def read_key(path: Path) -> bytes:
    """A class key from its file. SpecError if there is none, or none worth the name."""
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise SpecError(f"no class key: {path}: {error.strerror}") from error
    if len(key) < KEY_LEAST:
        raise SpecError(f"{path}: a class key has at least {KEY_LEAST} bytes")
    return key


def named(student: str) -> str:
    """A student's name, if it can be a file's as well, in the one way of writing it (NFC). SpecError."""
    name = unicodedata.normalize("NFC", student)
    # Vowels and tones that stand as marks of their own count as letters.
    plain = "".join(c for c in name if not unicodedata.category(c).startswith("M"))
    if not _STUDENT.fullmatch(plain) or len(name.encode()) > NAME_MOST:
        raise SpecError(f"{student!r} is no student's name: letters, digits and . _ @ + - are, {NAME_MOST} bytes of them "
                        "at most")
    return name


def share(key: bytes, student: str, lab: Lab, kernels: list[str]) -> Share:
    """What the key gives a student of a lab with these broken kernels. The same on every architecture."""
    student = named(student)
    twist = None
    if lab.twists:
        spec = lab.twists[_draw(key, student, lab, "twist", len(lab.twists))]
        value = spec.values[_draw(key, student, lab, "value", len(spec.values))]
        twist = Twist(spec.name, value, spec.text.format(value=value), spec.fails)
    return Share(twist, kernels[_draw(key, student, lab, "diagnosis", len(kernels))] if kernels else "")


def _draw(key: bytes, student: str, lab: Lab, what: str, n: int) -> int:
    text = "\0".join((student, lab.name, what)).encode()
    return int.from_bytes(hmac.new(key, text, hashlib.sha256).digest(), "big") % n


def twist_named(lab: Lab, name: str, value: int) -> Twist:
    """A twist of the lab by its name and number. SpecError if the lab has no such."""
    for spec in lab.twists:
        if spec.name == name and value in spec.values:
            return Twist(name, value, spec.text.format(value=value), spec.fails)
    raise SpecError(f"{lab.name} has no twist {name} {value}")


def ticket(student: str, shares: list[tuple[Lab, Share]]) -> str:
    """The text of a student's ticket."""
    out = [f"# What is {student}'s own in each lab. Keep it at the root of your tree, as {TICKET}.", f'student = "{student}"']
    for lab, own in shares:
        if own.twist or own.diagnosis:
            out += ["", f"[{lab.name}]"]
            out += [f"# {own.twist.text}", f'twist = "{own.twist.name}"', f"value = {own.twist.value}"] if own.twist else []
            out += [f'diagnosis = "{own.diagnosis}"'] if own.diagnosis else []
    return "\n".join(out) + "\n"


def read_ticket(root: Path, lab: Lab) -> Share:
    """What the ticket of a tree says of a lab; nothing if there is none. SpecError."""
    where = root / TICKET
    if not where.is_file():
        return Share()
    try:
        table = tomllib.loads(where.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SpecError(f"{where}: {error}") from error
    own = table.get(lab.name, {})
    if not isinstance(own, dict):
        raise SpecError(f"{where}: {lab.name} is no table")
    twist = twist_named(lab, get(own, "twist", str, where), get(own, "value", int, where)) if "twist" in own else None
    return Share(twist, get(own, "diagnosis", str, where) if "diagnosis" in own else "")
