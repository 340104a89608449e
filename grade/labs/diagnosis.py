"""What a student says is wrong with a lab's broken kernel: the form that comes with the lab, and what is in it."""

from __future__ import annotations

import tomllib
from pathlib import Path

from grade.labs.spec import Lab, SpecError, get

FILE = "diagnosis.toml"         # of a lab's folder
KEYS = {"cpu": int, "function": str, "cause": str}      # a number; whose code it is; a word of the lab's list


def form(lab: Lab) -> str:
    """The file as the lab brings it: nothing is said yet. `lab` has words for causes."""
    words = "".join(f"#   {word}\n" for word in lab.causes)
    return f"""\
# What is wrong with the broken kernel that `make diagnose` boots; a program compares it. Take a line's # away when you know.

# The number of the CPU on which it goes wrong:
# cpu = 0

# The function whose code is wrong, as `info symbol ADDRESS` names it:
# function = ""

# Why. One of
{words}# cause = ""
"""


def parse(text: str, where: str) -> dict[str, int | str]:
    """A diagnosis: KEYS, as far as they are answered. SpecError."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{where}: {error}") from error
    return {key: get(table, key, kind, where) for key, kind in KEYS.items() if key in table}


def said(lab: Lab, root: Path) -> dict[str, int | str]:
    """What the tree's diagnosis says; empty where there is none yet. SpecError if it cannot be read."""
    path = root / "labs" / lab.folder.name / FILE
    if not path.is_file():
        return {}
    try:
        answer = parse(path.read_text(), str(path))
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: {error}") from error
    if "cause" in answer and answer["cause"] not in lab.causes:
        raise SpecError(f"{path}: cause is {answer['cause']!r}, and must be one of {', '.join(lab.causes)}")
    return answer


def open_questions(lab: Lab, answer: dict[str, int | str]) -> list[str]:
    """What a diagnosis does not say yet, where the lab asks for one."""
    return [key for key in KEYS if key not in answer] if lab.causes else []


def answer_of(patch: Path) -> str:
    """What a broken kernel's patch says is wrong with it, as a diagnosis.toml would."""
    return "".join(line.removeprefix("Answer: ") + "\n" for line in patch.read_text().splitlines()
                   if line.startswith("Answer: "))
