"""Trees of files: the grader's own, a starter made from it, a scratch directory to build in."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from grade.labs import diagnosis
from grade.labs.cut import Item, by_path, cut_all, find, parse_cut, read_stubs
from grade.labs.spec import Lab

# Of a starter: its editable files as they came, old answers, the complete tree that it was made from.
ORIGIN, BACKUP, HOME = ".lab-origin", ".lab-backup", ".lab-home"
MARK = ".lab"                   # whose it is: the lab's name
BUILT = ("Makefile", "arch", "kernel", "user")      # what a kernel is made of
# What may lie at a tree's top, complete or published. Where no git says what belongs to a tree, nothing else does: neither
# what was published, nor tickets and submissions.
TOP = {*BUILT, ".ci", ".course", ".gdbinit", ".gitignore", "Containerfile", "KERNEL.md", "LICENSE", "README.md",
       "THREAT-MODEL.md", "conftest.py", "grade", "handouts", "labs", "mkdocs.yml", "pytest.ini", "setup"}
SKIP = {"build", ".git", "__pycache__", ".pytest_cache", "starter", ORIGIN, BACKUP}
# What a lab's folder holds that no student gets.
PRIVATE = ("cut", "stubs.c", "stubs.S", "mutants", "alt", "solution", "solution.md", "samples", "twists",
           "starter-notes", "CARD.md")
NOTES = "NOTES.md"
# Tests of the labs themselves and of rows' mutants need what no student has.
STAFF_TESTS = ("grade/tests/test_lab", "grade/tests/test_breakage.py", "grade/tests/test_rows.py")
TELLING = 16                    # characters of a line from which on it tells where it comes from


class TreeError(RuntimeError):
    """A directory that is not what it should be; the text says which and why."""


def files(root: Path) -> list[str]:
    """Relative paths of the tree's files: those that git tracks; where it does not track the tree, those below TOP but for
    what was built and for repositories. (In a starter git tracks as much as its student has added by now.)"""
    if (root / ".git").exists() and shutil.which("git") and not (root / MARK).exists():
        done = subprocess.run(["git", "-C", str(root), "-c", "safe.directory=*", "ls-files", "-z"],
                              capture_output=True, check=False, timeout=60)
        if done.returncode == 0:
            names = [n for n in done.stdout.decode().split("\0") if n]
            if "Makefile" in names:
                return sorted(n for n in names if (root / n).is_file())
    out = []
    for folder, dirs, names in os.walk(root):
        at_top = folder == str(root)
        dirs[:] = sorted(d for d in dirs if d not in SKIP and (not at_top or d in TOP)
                         and not os.path.lexists(os.path.join(folder, d, ".git")))
        out += [os.path.relpath(os.path.join(folder, n), root) for n in names
                if not n.endswith(".pyc") and (not at_top or n in TOP)]
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


def is_private(name: str, shown: tuple[str, ...]) -> bool:
    """Whether a file of the complete tree is kept from the students of some labs (their folders' names)."""
    parts = Path(name).parts
    if name.startswith(STAFF_TESTS) or name.startswith("labs/") and len(parts) < 3:
        return True
    return parts[0] == "labs" and (parts[1] not in shown or parts[2] in PRIVATE)


def as_given(root: Path, name: str) -> bytes:
    """A file as students get it: of rows, all but the mutants, which quote solutions."""
    data = (root / name).read_bytes()
    if name.startswith("grade/rows/") and name.endswith(".toml"):
        data = data.split(b"\n[[mutant]]", 1)[0].rstrip() + b"\n"
    return data


def notes(lab: Lab) -> dict[str, bytes]:
    """What the student writes besides code, as the lab brings it, where it has that: notes and a diagnosis."""
    template = lab.folder / "starter-notes" / NOTES
    out = {NOTES: template.read_bytes()} if template.is_file() else {}
    if lab.causes:
        out[diagnosis.FILE] = diagnosis.form(lab).encode()
    return {f"labs/{lab.folder.name}/{name}": data for name, data in out.items()}


def patches(folder: Path, arch: str) -> list[Path]:
    """A folder's patches for one architecture: those of shared code, then its own."""
    return sorted(folder.glob("*.patch")) + sorted((folder / arch).glob("*.patch"))


def items_of(lab: Lab) -> list[Item]:
    """What the lab cuts."""
    where = lab.folder / "cut"
    if not where.is_file():
        raise TreeError(f"{lab.folder.name} has no cut here: a starter is made from the complete tree")
    return parse_cut(where.read_text(), f"labs/{lab.folder.name}/cut")


def cut_files(root: Path, labs: list[Lab]) -> dict[str, str]:
    """The files that the labs' cuts change, with their new text."""
    return cut_all(root, [(lab.name, items_of(lab), read_stubs(lab.folder)) for lab in labs])


def make_starter(root: Path, lab: Lab, dest: Path) -> None:
    """Writes the lab's starter to `dest`, which must not exist yet or be empty. TreeError, CutError."""
    if dest.exists() and (not dest.is_dir() or any(dest.iterdir())):
        raise TreeError(f"{dest}: exists already and is not empty")
    changed = cut_files(root, [lab])
    keep = [n for n in files(root) if not is_private(n, (lab.folder.name,))]
    copy(root, dest, keep)
    for name in keep:
        if (given := as_given(root, name)) != (root / name).read_bytes():
            (dest / name).write_bytes(given)
    for name, text in changed.items():
        (dest / name).write_text(text)
    (dest / MARK).write_text(f"{lab.name}\n")
    (dest / HOME).write_text(f"{root}\n")
    copy(dest, dest / ORIGIN, [n for n in keep if n.split("/")[0] in BUILT])
    for name, data in notes(lab).items():
        (dest / name).write_bytes(data)


def _telling(text: str) -> set[str]:
    """The lines of a text that tell where they come from."""
    return {line for raw in text.splitlines() if len(line := raw.lstrip("+- \t").rstrip()) >= TELLING}


def secret_lines(root: Path, labs: list[Lab]) -> set[str]:
    """Lines that only solutions of the labs have: of what they cut, of second solutions, mutants and twists; without
    what the kernel has elsewhere, too."""
    changed = cut_files(root, labs)
    secret: set[str] = set()
    common: set[str] = set()
    for name in files(root):
        parts = Path(name).parts
        code = parts[0] in ("arch", "kernel", "user") or parts[0] == "labs" and parts[2:3] == ("programs",)
        private = parts[0] == "labs" and parts[2:3] in (("mutants",), ("alt",), ("solution",), ("twists",), ("samples",))
        if not code and not private:
            continue
        try:
            text = (root / name).read_text()
        except UnicodeDecodeError:
            continue
        if private:
            if name.endswith(".patch"):     # what a mutant says of itself is no answer
                text = text[max(0, text.find("\n--- ")):]
            secret |= _telling(text) if parts[1] in [lab.folder.name for lab in labs] else set()
        else:
            common |= _telling(changed.get(name, text))
    for lab in labs:
        for path, group in by_path(items_of(lab)).items():
            text = (root / path).read_text()
            for item in group:
                span = find(text, item)
                secret |= _telling(text[span.start:span.end])
    return secret - common


def lines_among(text: str, secret: set[str]) -> list[str]:
    """The lines of a text that are in a set of secret lines."""
    return sorted(_telling(text) & secret)


def leaks_of(given: dict[str, bytes], secret: set[str]) -> list[str]:
    """Secret lines that files hold: "PATH: LINE" each."""
    return [f"{name}: {line}" for name, data in given.items()
            for line in lines_among(data.decode("utf-8", errors="replace"), secret)]


def leaks(root: Path, lab: Lab, starter: Path) -> list[str]:
    """Lines of solution text that the starter holds: "PATH: LINE" each."""
    secret = secret_lines(root, [lab])
    paths = [Path(folder, name) for folder, _, names in os.walk(starter) for name in names]
    return [leak for path in paths if not path.is_symlink()
            for leak in leaks_of({str(path.relative_to(starter)): path.read_bytes()}, secret)]


def overlay(dest: Path, names: tuple[str, ...], read: Callable[[str], bytes]) -> None:
    """Puts a submission's files into a scratch tree, only where they differ (so that a build redoes little)."""
    for name in names:
        target = dest / name
        data = read(name)
        if not target.is_file() or target.read_bytes() != data:
            target.unlink(missing_ok=True)
            target.write_bytes(data)
