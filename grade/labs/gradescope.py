"""The zip that Gradescope takes for one lab: setup.sh, run_autograder, lab.sh with the lab's name, in rampart/ the tree that
grades, without the other labs' answers or this one's mutants, and in twists.json whose twist is which, if a roster is
given. The same tree gives the same bytes.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from grade.labs import tree
from grade.labs.classkey import Share, twist_named
from grade.labs.course import MARK
from grade.labs.publish import grading_place
from grade.labs.spec import Lab, SpecError
from grade.labs.staff import share_of as drawn

TOP = ("setup.sh", "run_autograder")
NEEDED = ("arch/", "kernel/", "user/", "grade/", "Makefile", "setup", "README.md", MARK)
NOT_NEEDED = ("grade/tests/", "grade/rows/", "grade/gradescope/", "grade/slurm/")
TWISTS = "twists.json"
EPOCH = (2024, 1, 1, 0, 0, 0)


def make_zip(root: Path, lab: Lab, seed: int, out: Path, course: bool = False, roster: list[str] | None = None) -> int:
    """Writes the zip; how many files of the tree it holds. `course`: for what the course's branches hand in; else for a
    starter's answers. SpecError."""
    place, _ = grading_place(root, lab, course)
    own = f"labs/{lab.folder.name}/"
    names = [n for n in tree.files(place) if n.startswith(NEEDED) and not n.startswith(NOT_NEEDED)
             or n.startswith(own) and n.removeprefix(own).split("/")[0] not in tree.PRIVATE]
    twists = {name: [twist.name, twist.value] for name in roster or [] if (twist := drawn(lab, name).twist)}
    out.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:

        def put(name: str, data: bytes, mode: int) -> None:
            info = zipfile.ZipInfo(name, EPOCH)
            info.external_attr = (0o100000 | mode) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)

        for name in TOP:
            put(name, (root / "grade" / "gradescope" / name).read_bytes(), 0o755)
        # Gradescope's containers let nobody make namespaces, and are thrown away after each submission.
        put("lab.sh", f"LAB='{lab.name}' LAB_ARCH='{lab.arch}' LAB_SEED='{seed}'\n"
                      "export RAMPART_DISPOSABLE=1 RAMPART_ISOLATION='separate uid'\n".encode(), 0o644)
        if twists:
            put(TWISTS, (json.dumps(twists, indent=1) + "\n").encode(), 0o600)
        for name in names:
            put(f"rampart/{name}", (place / name).read_bytes(), (place / name).stat().st_mode & 0o777 | 0o644)
    return len(names)


def share_of(lab: Lab, twists: Path, metadata: Path) -> Share:
    """What is the own of who hands in, as Gradescope's submission_metadata.json says. SpecError if the roster does not have
    them: that is no grade."""
    try:
        known = json.loads(twists.read_text())
        users = [str(user["email"]) for user in json.loads(metadata.read_text())["users"]]
        name, value = next(known[user] for user in users if user in known)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SpecError(f"whose submission is it? {metadata}: {error!r}") from error
    except StopIteration:
        raise SpecError(f"the roster that this autograder was made with has none of: {', '.join(users)}") from None
    return Share(twist_named(lab, name, value))
