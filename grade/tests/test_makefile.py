"""What `make` takes from whom, and where it cannot work."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORDS = re.findall(r"\w+", re.search(r"^WORDS\t:= ((?:.*\\\n)*.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1])  # type: ignore[index]
SAY = "said: ; @:$(foreach w,{},$(info $w=$($w)))"


def make(place: Path, *words: str, **outside: str) -> subprocess.CompletedProcess[str]:
    """Runs make as from a shell that has these variables."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k not in WORDS}
    return subprocess.run(["make", *words], cwd=place, env=env | outside, capture_output=True, text=True, check=False, timeout=120)


def test_what_a_verb_is_told_comes_from_its_command_line_alone() -> None:
    outside = dict.fromkeys(WORDS, "outside")
    plain = make(ROOT, "-n", "attack", **outside)
    assert plain.returncode == 0, plain.stderr
    assert "-- /bin/attack -l'" in plain.stdout and "outside" not in plain.stdout
    say = SAY.format(" ".join(WORDS))
    assert "outside" not in make(ROOT, "--eval", say, "said", **outside).stdout
    told = make(ROOT, "--eval", say, "said", *(f"{w}=told-{w}" for w in WORDS), **outside)
    assert told.stdout.splitlines()[:len(WORDS)] == [f"{w}=told-{w}" for w in WORDS]
    assert "/bin/attack told'" in make(ROOT, "-n", "attack", "NAME=told", **outside).stdout


def test_every_word_that_a_verb_wants_is_one_of_these() -> None:
    """Those in the help of the verbs, but for what is about the machine and the compiler."""
    text = (ROOT / "Makefile").read_text()
    asked = {w for line in re.findall(r"^[a-z-]+:.*## (.*)$", text, re.MULTILINE) for w in re.findall(r"\b([A-Z]+)=", line)}
    assert {"NAME", "LAB", "FROM", "SEED", "DEST", "PRIVATE", "SUBMISSIONS", "STUDENT", "CHECK"} <= asked
    assert asked - set(WORDS) <= {"ARCH", "HANDOUTS", "BOCHS", "SLURM"}


def test_the_architecture_may_come_from_the_environment() -> None:
    assert "ARCH=aarch64" in make(ROOT, "--eval", SAY.format("ARCH"), "said", ARCH="aarch64").stdout


def test_a_tree_below_a_path_with_a_blank_is_refused_in_a_sentence(tmp_path: Path) -> None:
    place = tmp_path / "my kernel"
    place.mkdir()
    shutil.copy(ROOT / "Makefile", place)
    done = make(place, "help")
    assert done.returncode and "move this tree to a path without blanks" in done.stderr
    assert len(done.stderr.splitlines()) == 1
