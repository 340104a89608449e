"""What the host does is nobody's zero: a build or a QEMU that it spoiled, too little memory, two graders at once."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from grade.gdbstub import GdbClosed
from grade.labs import grading, limits, memory, sandbox
from grade.labs.grading import Ended, HostError, Run, Verdict, run_scenarios
from grade.labs.sandbox import BUBBLEWRAP, CLOCK, PROCESSOR, STUCK, Ran, Sandbox, choose
from grade.labs.spec import lab_named
from grade.labs.workshop import BASES_KEPT, NEW_SECONDS, SubmissionError, Workshop, WorkshopError
from grade.plugin import Build
from grade.qemu import Machine

ROOT = Path(__file__).resolve().parent.parent.parent

# ---- builds -------------------------------------------------------------------------------------------------

MAKEFILE = """B := build/$(ARCH)
kernel: $B/rampart $B/rampart.sym
$B/rampart%: $B/a.o
	cp $< $@
$B/rampart: $B/a.o
	cp $< $@
$B/a.o: a.c
	mkdir -p $B; gcc -Btools/ -c -o $@ $<
"""
# The compiler proper. Something kills it where the tree, or what it compiles, says so.
CC1 = """#!/bin/sh
if [ -e tools/die ] || grep -q DIE a.c; then kill -9 $$; fi
exec "$(gcc -print-prog-name=cc1)" "$@"
"""
GOOD, BAD = {"a.c": b"int a;\n"}, {"a.c": b"int a = b;\n"}
STOP = "make: *** [Makefile:2: a.o] Error 1\n"
MISTAKE = Ran(2, "a.c:1:9: error: 'b' undeclared here (not in a function)\n" + STOP)
FULL = "/tmp/a.s: Fatal error: can't write 12 bytes to section .text of a.o: 'No space left on device'\n"
SPOILED = {
    "full disk": Ran(2, f"/tmp/a.s: Assembler messages:\n{FULL}{STOP}"),
    "full disk beside a mistake": Ran(2, MISTAKE.text + FULL + STOP),
    "killed compiler": Ran(2, f"gcc: fatal error: Killed signal terminated program cc1\n{STOP}"),
    "killed linker": Ran(2, "make: *** [Makefile:3: rampart] Killed\n"),
    "killed make": Ran(137, ""),
    "no namespace": Ran(1, "bwrap: Creating new namespace failed: Resource temporarily unavailable\n"),
    "no time": Ran(None, "", CLOCK),
    "no news": Ran(None, "", STUCK),
}
GOES_WELL = Ran(0, "")


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    """A workshop with a tree of one file, which is built."""
    base, lab = tmp_path / "base" / "tree", lab_named(ROOT, "stack-guard")
    out = f"build/{lab.arch}"
    files = {"Makefile": MAKEFILE, "a.c": "int base;\n", "tools/cc1": CC1, "build/lab/initrd.cpio": "",
             f"{out}/a.o": "", f"{out}/rampart": "", f"{out}/rampart.sym": ""}
    for name, text in files.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(text)
    (base / "tools" / "cc1").chmod(0o755)
    lab = replace(lab, editable=("a.c",), everywhere=("a.c",), new_files=())
    monkeypatch.setattr(Workshop, "_base", lambda self: base)
    with Workshop(ROOT, lab, choose(trust=True)) as made:
        yield made


def builds_end(monkeypatch: pytest.MonkeyPatch, *ends: Ran) -> list[str]:
    """Builds end so, one after the other; in which directories they have."""
    left, where, real = list(ends), [], Sandbox.attempt

    def attempt(self: Sandbox, command: list[str], scratch: Path, *limits: float) -> Ran:
        where.append(scratch.name)
        end = left.pop(0)
        return real(self, command, scratch, *limits) if end == GOES_WELL else end

    monkeypatch.setattr(Sandbox, "attempt", attempt)
    return where


@pytest.mark.parametrize("end", SPOILED.values(), ids=SPOILED)
def test_a_build_that_the_host_spoils_is_not_the_submissions_if_none_succeeds(
        workshop: Workshop, monkeypatch: pytest.MonkeyPatch, end: Ran) -> None:
    where = builds_end(monkeypatch, end, end, end)
    with pytest.raises(WorkshopError, match="one that is known to succeed"):
        workshop.build(GOOD)
    assert where == ["submission", "submission", "submission-control"]


@pytest.mark.parametrize("end", SPOILED.values(), ids=SPOILED)
def test_a_build_that_the_host_spoils_once_is_made_again(workshop: Workshop, monkeypatch: pytest.MonkeyPatch,
                                                       end: Ran) -> None:
    builds_end(monkeypatch, end, GOES_WELL)
    assert workshop.build(GOOD).kernel.is_file()
    builds_end(monkeypatch, end, MISTAKE)
    with pytest.raises(SubmissionError, match="'b' undeclared"):
        workshop.build(BAD, "mistaken")


@pytest.mark.parametrize("end", SPOILED.values(), ids=SPOILED)
def test_a_build_that_fails_where_another_does_not_is_its_authors(workshop: Workshop, monkeypatch: pytest.MonkeyPatch,
                                                                end: Ran) -> None:
    builds_end(monkeypatch, end, end, GOES_WELL)
    with pytest.raises(SubmissionError) as error:
        workshop.build(GOOD)
    assert error.value.what == "does not compile"


@pytest.mark.parametrize(("end", "said"), [
    (MISTAKE, "'b' undeclared"), (Ran(None, "", PROCESSOR), "the build took too long"),
    (Ran(2, f"gcc: fatal error: File size limit exceeded signal terminated program as\n{STOP}"), "File size limit")],
    ids=["mistake", "endless", "huge"])
def test_a_submissions_own_mistake_is_built_once(workshop: Workshop, monkeypatch: pytest.MonkeyPatch, end: Ran,
                                                said: str) -> None:
    where = builds_end(monkeypatch, end)
    with pytest.raises(SubmissionError, match=said):
        workshop.build(BAD)
    assert where == ["submission"]


def test_no_build_is_judged_on_a_full_disk(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    builds_end(monkeypatch, SPOILED["full disk"], SPOILED["full disk"], GOES_WELL)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1 << 20))
    with pytest.raises(WorkshopError, match="the disk is full: 1 MiB"):
        workshop.build(GOOD)


def test_a_real_compiler_that_is_killed_is_known(workshop: Workshop) -> None:
    assert workshop.build(GOOD, "well").kernel.is_file()
    with pytest.raises(SubmissionError, match="'b' undeclared"):
        workshop.build(BAD, "mistaken")
    with pytest.raises(SubmissionError, match="Killed signal terminated program cc1"):
        workshop.build({"a.c": b"int DIE;\n"}, "hungry")       # for its memory, say; others compile
    (workshop.base / "tools" / "die").touch()
    with pytest.raises(WorkshopError, match="Killed signal terminated program cc1"):
        workshop.build(GOOD)


@pytest.mark.parametrize(("error", "verdict"), [
    (OSError(errno.EMFILE, "too many open files"), None), (MemoryError(), None), (ValueError("odd"), "does not compile")])
def test_an_image_that_the_host_cannot_open_is_nobodys(workshop: Workshop, monkeypatch: pytest.MonkeyPatch,
                                                       error: Exception, verdict: str | None) -> None:
    def opens(*_: object) -> None:
        raise error

    monkeypatch.setattr(grading, "open_image", opens)
    with contextlib.nullcontext() if verdict else pytest.raises(type(error)):
        assert grading.grade(workshop, GOOD, 1).problem == verdict


def test_a_submission_whose_build_waits_for_ever_is_stopped_and_its_own(workshop: Workshop,
                                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "STILL_SLICES", 1)
    with pytest.raises(SubmissionError, match="waits for something that never comes"):
        workshop.build({"a.c": b'#include "/dev/ptmx"\n'})


@pytest.mark.parametrize("code", [
    "while :; do :; done",
    "while :; do sh -c 'i=0; while [ $i -lt 9999 ]; do i=$((i + 1)); done'; done"], ids=["one", "many"])
def test_a_build_has_so_much_processor_time_whatever_the_clock_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                                  code: str) -> None:
    command = ["/bin/sh", "-c", code]
    assert choose(trust=True).attempt(command, tmp_path, 0.5, 600).stopped == PROCESSOR
    # On a host that gives it none.
    monkeypatch.setattr(sandbox, "cpu_seconds", lambda pid, ended: 0.0)
    monkeypatch.setattr(sandbox, "asleep", lambda pid: False)
    assert choose(trust=True).attempt(command, tmp_path, 0.5, 3) == Ran(None, "", CLOCK)


# ---- QEMU ---------------------------------------------------------------------------------------------------


def qemu_of(machine: Machine) -> int:
    """The process of QEMU itself, below whatever is around it."""
    waiting = [machine._process.pid]
    while waiting:
        pid = waiting.pop()
        if "qemu" in os.readlink(f"/proc/{pid}/exe"):
            return pid
        waiting += [int(n) for t in Path(f"/proc/{pid}/task").iterdir() for n in (t / "children").read_text().split()]
    raise AssertionError("no QEMU")


@pytest.fixture
def run(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A grading with two checks, whose boots are real machines that stand."""
    kernel = shutil.copy(build.kernel, tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def machine(*_: Any, **__: Any) -> Machine:
        level = choose(trust=True)
        return Machine(kernel, arch=build.arch, paused=True, keep=True, translated=sandbox.TRANSLATED,
                       wrapper=level.machine_wrapper(tmp_path) if level.level == BUBBLEWRAP else [])

    monkeypatch.setattr(grading, "open_image", lambda *_: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(grading, "Image", grading.open_image)
    monkeypatch.setattr(grading, "Machine", machine)
    monkeypatch.setattr(grading, "_autopsy", lambda *_: None)
    place = SimpleNamespace(arch=build.arch, sandbox=Sandbox(sandbox.NONE), scratch=tmp_path,
                            initrd_with=lambda *_: None)
    built = SimpleNamespace(kernel=None, programs={"p": tmp_path})
    lab = SimpleNamespace(name="lab")
    return Run(lab, place, built, None, 1, checks={n: Verdict(n, "", 10) for n in "ab"})   # type: ignore[arg-type]


def ends_by(number: int) -> Callable[[Run], None]:
    """A boot in which QEMU gets a signal: a check that expects the guest to end, then one that does not."""
    def scenario(own: Run) -> None:
        with own.boot("p", "") as guest:
            assert not guest.machine.killed
            os.kill(qemu_of(guest.machine), number)
            with pytest.raises(GdbClosed):
                guest.machine.gdb.cpus()
            own.check("a", False, "the guest ended", "", "")
            raise Ended("the guest ended")

    return scenario


def test_a_qemu_that_the_host_kills_decides_nothing(run: Run) -> None:
    with pytest.raises(HostError, match="killed QEMU"):
        run_scenarios(run, [ends_by(signal.SIGKILL)])


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGXCPU, signal.SIGXFSZ, signal.SIGSYS])
def test_a_qemu_that_its_guest_brings_down_is_a_verdict(run: Run, number: int) -> None:
    run_scenarios(run, [ends_by(number)])
    assert run.checks["b"].seen == "not reached: the guest ended" and run.checks["a"].seen == "the guest ended"


def test_a_guests_limits_are_not_told_by_the_signal_that_the_host_uses(build: Build) -> None:
    # Hard ones are above the soft ones, by which a signal of their own comes first.
    for words in (sandbox.MACHINE_LIMITS, sandbox.BUILD_LIMITS):
        soft, hard = next(w for w in words if w.startswith("--cpu=")).removeprefix("--cpu=").split(":")
        assert int(soft) < int(hard)
    with Machine(build.kernel, build.initrd, arch=build.arch, wrapper=["prlimit", "--cpu=1:60", "--"],
                 append="-- /bin/busybox yes") as machine:
        assert machine.wait_exit(120) == -signal.SIGXCPU and not machine.killed


# ---- memory -------------------------------------------------------------------------------------------------


def test_guests_run_together_as_memory_allows_and_one_always_does() -> None:
    room = limits.RESERVE + 3 * limits.GUEST
    assert [limits.guests(8, n) for n in (0, limits.RESERVE, room - 1, room, 1 << 40)] == [1, 1, 2, 3, 8]
    assert 1 <= limits.guests(8) <= 8


@pytest.mark.parametrize(("cgroup", "files", "left"), [
    ("0::/\n", {}, 4000 << 10), ("0::/\n", {"memory.max": "max\n", "memory.current": "5\n"}, 4000 << 10),
    ("0::/a/b\n", {"a/memory.max": "900000\n", "a/memory.current": "500000\n",
                   "a/memory.stat": "inactive_file 1000\nanon 7\n", "a/b/memory.max": "max\n",
                   "a/b/memory.current": "5\n", "a/b/memory.stat": "anon 7\n"}, 401000),
    ("3:cpu,cpuacct:/x\n2:memory:/of/the/host\n", {"memory/memory.limit_in_bytes": "90000\n", "memory/memory.stat":
                                                   "active_file 1\ntotal_active_file 10\n",
                                                   "memory/memory.usage_in_bytes": "50000\n"}, 40010)],
    ids=["none", "no bound", "two", "one"])
def test_memory_is_what_the_machine_and_every_control_group_leave(tmp_path: Path, cgroup: str, files: dict[str, str],
                                                                left: int) -> None:
    assert memory.available(tmp_path / "nothing") > 1 << 50
    files = {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:    4000 kB\n", "proc/self/cgroup": cgroup,
             **{f"sys/fs/cgroup/{name}": text for name, text in files.items()}}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert memory.available(tmp_path) == left


@pytest.mark.parametrize(("free", "at_once"), [(0, 1), (limits.RESERVE + 2 * limits.GUEST, 2), (1 << 40, 4)])
def test_a_labs_boots_run_together_as_memory_allows(monkeypatch: pytest.MonkeyPatch, free: int, at_once: int) -> None:
    monkeypatch.setattr(grading, "open_image", lambda *_: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(memory, "available", lambda: free)
    run = Run(None, None, None, None, 1, checks={n: Verdict(n, "", 10) for n in "abcd"})     # type: ignore[arg-type]
    together, threads = threading.Barrier(at_once), set()

    def scenario(name: str) -> Callable[[Run], None]:
        def boot(own: Run) -> None:
            threads.add(threading.current_thread())
            together.wait(60)
            own.check(name, True, "seen", "", "")
        boot.__name__ = name
        return boot

    run_scenarios(run, [scenario(n) for n in "abcd"])
    assert all(v.passed for v in run.checks.values()) and len(threads) == at_once


# ---- two graders --------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A grader's tree in which nothing takes time to build."""
    def begin(self: Workshop, work: Path, names: list[str]) -> None:
        (work / "build" / "lab").mkdir(parents=True)

    monkeypatch.setattr(Workshop, "_begin", begin)
    monkeypatch.setattr(Workshop, "_programs", lambda self, work: None)
    monkeypatch.setattr(Sandbox, "run", lambda *_: (0, ""))
    (tmp_path / "tree").mkdir()
    return tmp_path / "tree"


def grader(tree: Path) -> Workshop:
    """One that needs a base."""
    return Workshop(tree, lab_named(ROOT, "stack-guard"), Sandbox(sandbox.NONE), answers=False)


def test_a_grader_that_makes_a_base_leaves_what_others_are_making(tree: Path) -> None:
    cache = tree / "build" / "labs" / f"base-stack-guard-open-{grader(tree).arch}"
    now = time.time()
    ages = {"new-abcd": 5, "new-left": NEW_SECONDS + 60, "00-none": 900, "01-none": 800, "02-none": 700}
    for name, age in ages.items():
        (cache / name / "tree").mkdir(parents=True)
        os.utime(cache / name, (now - age, now - age))
    with grader(tree) as workshop:
        made = workshop.base.parent.name
    assert {p.name for p in cache.iterdir() if p.is_dir()} == {"new-abcd", made, "02-none"} and BASES_KEPT == 2


def test_a_base_that_is_made_on_anothers_compiles_only_what_is_another(tmp_path: Path) -> None:
    root, work, old = tmp_path / "tree", tmp_path / "work", 1000
    one = grader(root)
    base = root / "build" / "labs" / f"base-other-{one.arch}" / "00-none"
    texts = {root / "kernel/its_answer.h": "same", base / "answer/kernel/its_answer.h": "same",
             root / "kernel/a.c": "new", base / "tree/kernel/a.c": "old", base / "tree/kernel/stray.c": "",
             root / "kernel/same.c": "same", base / "tree/kernel/same.c": "same", base / "complete": ""}
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (old, old))
    one._begin(work, ["kernel/its_answer.h", "kernel/a.c", "kernel/same.c"])
    there = {str(p.relative_to(work)): p for p in work.rglob("*") if p.is_file()}
    assert {name: p.read_text() for name, p in there.items()} == {
        "kernel/its_answer.h": "same", "kernel/a.c": "new", "kernel/same.c": "same"}
    assert [name for name, p in there.items() if p.stat().st_mtime != old] == ["kernel/a.c"]


def test_two_graders_make_one_base(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    makes: list[str] = []
    making, second, lock = threading.Event(), threading.Event(), fcntl.flock

    def make(*_: Any) -> tuple[int, str]:
        makes.append(threading.current_thread().name)
        (second if making.is_set() else making).set()
        assert second.wait(60)          # the first has not finished when the second comes
        return 0, ""

    def locked(*words: Any) -> None:
        if making.is_set():
            second.set()
        lock(*words)

    monkeypatch.setattr(Sandbox, "run", make)
    monkeypatch.setattr(fcntl, "flock", locked)
    graders = [grader(tree), grader(tree)]
    for one in graders:
        one._scratch = tree / f"scratch-{len(list(tree.iterdir()))}"
        one._scratch.mkdir()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(graders[0]._base)
        assert making.wait(60)
        bases = {pool.submit(graders[1]._base).result(), first.result()}
    assert len(makes) == 1 and len(bases) == 1 and next(iter(bases)).is_dir()


def test_a_base_that_cannot_be_put_away_leaves_nothing_behind(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, dest: Path) -> None:
        dest.mkdir()
        raise OSError("No space left on device")

    monkeypatch.setattr(Workshop, "_copy", staticmethod(full))
    with pytest.raises(OSError, match="No space"), grader(tree):
        pass
    assert not list((tree / "build" / "labs").glob("*/*-*"))
