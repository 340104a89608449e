"""Trees of files: the grader's own, a starter made from it, a scratch directory to build in."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from grade.labs.cut import cut, parse_cut, read_stubs
from grade.labs.spec import Lab

ORIGIN, BACKUP = ".lab-origin", ".lab-backup"       # of a starter: its editable files as they came; old answers
SKIP = {"build", ".git", "__pycache__", ".pytest_cache", "starter", ORIGIN, BACKUP}
# What a lab's folder holds that no student gets.
PRIVATE = ("cut", "stubs.c", "stubs.S", "mutants", "alt", "solution", "starter-notes")
NOTES = "NOTES.md"


class TreeError(RuntimeError):
    """A directory that is not what it should be; the text says which and why."""


def files(root: Path) -> list[str]:
    """Relative paths of the tree's files: those that git tracks, or, without git, all but what was built."""
    if (root / ".git").exists() and shutil.which("git"):
        done = subprocess.run(["git", "-C", str(root), "-c", "safe.directory=*", "ls-files", "-z"],
                              capture_output=True, check=False, timeout=60)
        if done.returncode == 0:
            names = [n for n in done.stdout.decode().split("\0") if n]
            return sorted(n for n in names if (root / n).is_file())
    out = []
    for folder, dirs, names in os.walk(root):
        dirs[:] = sorted(d for d in dirs if d not in SKIP)
        out += [os.path.relpath(os.path.join(folder, n), root) for n in names if not n.endswith(".pyc")]
    return sorted(out)


def copy(root: Path, dest: Path, names: list[str]) -> None:
    """Copies files with their modes."""
    for name in names:
        target = dest / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, target)


def digest(root: Path, names: list[str]) -> str:
    """One number for the names and contents of some files."""
    total = hashlib.sha256()
    for name in names:
        total.update(name.encode() + b"\0" + hashlib.sha256((root / name).read_bytes()).digest())
    return total.hexdigest()


def is_private(name: str, lab: Lab) -> bool:
    """Whether a file of the complete tree must not be in this lab's starter."""
    parts = Path(name).parts
    if parts[0] != "labs" or len(parts) < 3:
        return False
    return parts[1] != lab.folder.name or parts[2] in PRIVATE


def patches(folder: Path, arch: str) -> list[Path]:
    """A folder's patches for one architecture: those of shared code, then its own."""
    return sorted(folder.glob("*.patch")) + sorted((folder / arch).glob("*.patch"))


def starter_files(root: Path, lab: Lab) -> dict[str, str]:
    """The files that the lab's cut changes, with their new text."""
    where = lab.folder / "cut"
    return cut(root, parse_cut(where.read_text(), str(where)), read_stubs(lab.folder))


def make_starter(root: Path, lab: Lab, dest: Path) -> None:
    """Writes the lab's starter to `dest`, which must not exist yet or be empty. TreeError, CutError."""
    if dest.exists() and (not dest.is_dir() or any(dest.iterdir())):
        raise TreeError(f"{dest}: exists already and is not empty")
    if not (lab.folder / "cut").is_file():
        raise TreeError(f"{lab.folder.name} has no cut here: a starter is made from the complete tree")
    changed = starter_files(root, lab)
    # The tests of the labs themselves need what the starter lacks.
    keep = [n for n in files(root) if not is_private(n, lab) and not n.startswith("grade/tests/test_lab")]
    copy(root, dest, keep)
    for name, text in changed.items():
        (dest / name).write_text(text)
    (dest / ".lab").write_text(f"{lab.name}\n")
    copy(dest, dest / ORIGIN, list(lab.everywhere))
    notes = lab.folder / "starter-notes" / NOTES
    if notes.is_file():
        shutil.copyfile(notes, dest / NOTES)


def leaks(root: Path, lab: Lab, starter: Path) -> list[str]:
    """Lines of solution text that the starter holds: "PATH: LINE" each. For telling lines that stand in the cut
    definitions, or in the lab's private files, and nowhere in what the student is meant to see."""
    def telling(text: str) -> set[str]:
        return {line.strip() for line in text.splitlines() if len(line.strip()) >= 16}

    changed = starter_files(root, lab)
    public: set[str] = set()
    secret: set[str] = set()
    for name in files(root):
        try:
            text = (root / name).read_text()
        except UnicodeDecodeError:
            continue
        if name in changed:
            public |= telling(changed[name])
            secret |= telling(text)
        elif not is_private(name, lab):
            public |= telling(text)
        elif Path(name).parts[1] == lab.folder.name and Path(name).parts[2] in ("mutants", "alt", "solution"):
            secret |= {line.lstrip("+- \t") for line in telling(text)}
    secret = {line for line in secret if len(line) >= 16} - public
    out = []
    for folder, _, names in os.walk(starter):
        for name in names:
            path = Path(folder, name)
            if path.is_symlink():
                continue
            data = path.read_bytes().decode("utf-8", errors="replace")
            out += [f"{path.relative_to(starter)}: {line.strip()}" for line in data.splitlines()
                    if line.strip() in secret]
    return out


def overlay(dest: Path, names: tuple[str, ...], read: Callable[[str], bytes]) -> None:
    """Puts a submission's files into a scratch tree, only where they differ (so that a build redoes little)."""
    for name in names:
        target = dest / name
        data = read(name)
        if not target.is_file() or target.read_bytes() != data:
            target.unlink(missing_ok=True)
            target.write_bytes(data)
