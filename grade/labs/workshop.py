"""Building: one pristine base a state of the grader's tree, and from it each submission's kernel.

The base holds the whole tree and all that it builds into, made inside the sandbox. A submission is a copy of it
with the student's files on top: make compiles those alone. Nothing that a submission builds comes back.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import filecmp
import functools
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from grade import fetch_busybox
from grade.debian import FetchError
from grade.image import ImageError, defined
from grade.initrd import build as build_initrd
from grade.labs import limits, tree
from grade.labs.sandbox import CLOCK, PROCESSOR, STUCK, Ran, Sandbox
from grade.labs.spec import Lab

BASE_SECONDS = 1800
FILE_MAX = 1 << 20
PROGRAM_BASE = 0x7000000        # staff-built programs are linked where no other program is
PROGRAM_FLAGS = ["-std=gnu11", "-O2", "-g", "-static", "-pthread", "-no-pie", "-Wall", "-Wextra", "-Werror",
                 "-I.", f"-Wl,-Ttext-segment={PROGRAM_BASE:#x}", "-Wl,-z,separate-code", "-Wl,--build-id=none",
                 "-ffile-prefix-map=/rampart=."]
BASES_KEPT = 2
NEW, NEW_SECONDS = "new-", 86400    # a base that is being made, and how old it is when nobody makes it any more
ROOM = 128 << 20                    # bytes: no build needs so many
ANSWER = "answer"               # of a base: the editable files of the tree that it was made of

# What a build says of a mistake in what is built ...
MISTAKE = re.compile(r"^[^\s:]+:\d+:(\d+:)? (fatal )?[Ee]rror: |undefined reference to|multiple definition of", re.M)
STOPS = re.compile(r"^make(?:\[\d+\])?: \*\*\* \[.*\] (.*)$", re.M)
# ... of one that went beyond the sandbox's limits, which no host is short of ...
LIMITS = re.compile("CPU time limit exceeded|File size limit exceeded")
# ... and perhaps of the host; or of a mistake, too: which of them it was, building again shows.
HOST = re.compile("|".join([
    "signal terminated program", "internal compiler error", "out of memory", "memory exhausted",
    *(re.escape(os.strerror(e)) for e in (
        errno.EAGAIN, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EROFS,
        errno.ESTALE, errno.ETIMEDOUT))]))


class WorkshopError(RuntimeError):
    """The host, or the grader, cannot build; nobody's zero."""


class SubmissionError(RuntimeError):
    """A submission that cannot be graded as it is; the text is for its author."""

    def __init__(self, text: str, what: str) -> None:
        super().__init__(text)
        self.what = what        # "missing file", "does not compile", ...


@dataclass(frozen=True)
class Failure:
    """A build that made no kernel."""

    said: str       # for its author
    own: bool       # whether it is his own, whatever the host did


@dataclass(frozen=True)
class Built:
    """What a submission was built into."""

    folder: Path
    kernel: Path
    symbols: Path
    initrd: Path
    programs: dict[str, Path]


class Workshop:
    """Builds submissions to one lab. A context manager: its scratch directories end with it."""

    def __init__(self, root: Path, lab: Lab, sandbox: Sandbox, answers: bool = True) -> None:
        """answers: whether the tree may have what a submission is graded for, so that nothing that was built of the editable
        files may lie where the submission is built."""
        self.root, self.lab, self.sandbox, self.arch, self._answers = root, lab, sandbox, lab.arch, answers
        cross = "" if self.arch == platform.machine() else f"{self.arch}-linux-gnu-"
        self.cc, self.strip = f"{cross}gcc", f"{cross}strip"
        self._built_on: Path | None = None

    def __enter__(self) -> Workshop:
        self._scratch = Path(tempfile.mkdtemp(prefix="rampart-lab-"))
        os.chmod(self._scratch, 0o711)
        # Machines make their directories here, so that a sandboxed QEMU sees them.
        self._tempdir, tempfile.tempdir = tempfile.tempdir, str(self._scratch)
        try:
            self.base = self._base()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.sandbox.sweep()
        tempfile.tempdir = self._tempdir
        shutil.rmtree(self._scratch, ignore_errors=True)

    @property
    def scratch(self) -> Path:
        """Where everything temporary lies."""
        return self._scratch

    @functools.cached_property
    def toolchain(self) -> str:
        """What builds and runs, for the report."""
        def first(*command: str) -> str:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
            return (done.stdout.splitlines() or ["?"])[0]

        return f"{first(self.cc, '--version')}; {first(f'qemu-system-{self.arch}', '--version')}"

    # ---- the base -------------------------------------------------------------------------------------

    def _base(self) -> Path:
        """The built pristine tree, from the cache if it is there."""
        programs = f"labs/{self.lab.folder.name}/programs/"
        # The other architectures' answers are not there to be included.
        others = set(self.lab.everywhere) - set(self.lab.editable)
        names = [n for n in tree.files(self.root) if n.startswith(("arch/", "kernel/", "user/", programs))
                 and n not in others or n in ("Makefile", "grade/__init__.py", "grade/initrd.py", "grade/ksyms.py")]
        # The editable files do not change what the base is: each submission brings its own.
        key = tree.digest(self.root, [n for n in names if n not in self.lab.editable])
        whose = self.lab.name if self._answers else f"{self.lab.name}-open"
        self.base_name = f"build/labs/base-{whose}-{self.arch}/{key[:16]}-{self.sandbox.level.split()[0]}"
        base = self.root / self.base_name
        if not (base / "complete").is_file():
            with _held(base.parent):
                if not (base / "complete").is_file():       # nor has somebody else made it meanwhile
                    self._make_base(base, names)
        os.utime(base)
        return base / "tree"

    def _make_base(self, base: Path, names: list[str]) -> None:
        """Builds the pristine tree into the cache, and takes old ones out of it."""
        cache, work = base.parent, self._scratch / "base"
        self._begin(work, names)
        targets = ["kernel", *(f"build/{self.arch}/user/{name}" for name in ("init", *self.lab.userland))]
        status, text = self.sandbox.run(self._command(work, targets), work, BASE_SECONDS)
        if status != 0:
            said = first_error(text) if status is not None else "the build took too long"
            raise WorkshopError(f"the pristine tree does not build here:\n{said}")
        self._programs(work)
        fresh = Path(tempfile.mkdtemp(prefix=NEW, dir=cache))
        try:
            if self._answers:
                self._forget(work)
                self._copy(work.parent / ANSWER, fresh / ANSWER)
                os.chmod(fresh / ANSWER, 0o700)
            self._copy(work, fresh / "tree")
            os.chmod(fresh, 0o755)
            (fresh / "complete").touch()
            with contextlib.suppress(OSError):      # somebody else was faster, where there are no locks
                fresh.rename(base)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        _prune(cache)

    def _forget(self, work: Path) -> None:
        """Takes the tree's own answer, and what it was built into, out of a base: a submission could link it in.
        The files themselves lie beside it, so that make sees which of a submission's are the same."""
        out = work / "build" / self.arch
        # What each editable file is compiled or generated into, and all that is linked from them.
        stems = [str(Path(name).with_suffix("")) for name in self.lab.editable]
        stems += [Path(stem).name for stem in stems if Path(stem).name == "offsets"]
        for pattern in ("rampart*", *(f"{stem}.[!c]*" for stem in stems)):
            for path in out.glob(pattern):
                path.unlink()
        for name in self.lab.editable:
            kept = work.parent / ANSWER / name
            kept.parent.mkdir(parents=True, exist_ok=True)
            (work / name).rename(kept)

    def _begin(self, work: Path, names: list[str]) -> None:
        """The tree to build, on the objects of another lab's base if there is one: most of the kernel is the same. Of those
        of this tree, or else of the one that the labs are in."""
        for place in (self.root, self.lab.folder.parent.parent):
            bases = [done.parent for done in place.glob(
                f"build/labs/base-*-{self.arch}/*-{self.sandbox.level.split()[0]}/complete")]
            if bases:
                break
        else:
            tree.copy(self.root, work, names)
            return
        self._copy_base(max(bases, key=lambda p: p.stat().st_mtime), work)
        shutil.rmtree(work / "build" / "lab", ignore_errors=True)
        for stray in set(tree.files(work)) - set(names):
            (work / stray).unlink()
        for name in names:
            (work / name).parent.mkdir(parents=True, exist_ok=True)
        tree.overlay(work, tuple(names), lambda name: (self.root / name).read_bytes())

    def _programs(self, work: Path) -> None:
        """The lab's own programs, and the initramfs that holds them beside init, busybox and the lab's userland."""
        out = work / "build" / "lab"
        out.mkdir(parents=True)
        where = self.sandbox.inside(work)
        sources = sorted((work / "labs" / self.lab.folder.name / "programs").glob("*.c"))
        for source in sources:
            target = f"{where}/build/lab/{source.stem}"
            status, text = self.sandbox.run([self.cc, *PROGRAM_FLAGS, "-o", target,
                                             f"{where}/{source.relative_to(work)}"], work, BASE_SECONDS)
            if status != 0:
                raise WorkshopError(f"{source.name}: {text.strip()}")
        user = work / "build" / self.arch / "user"
        programs = [*(user / name for name in ("init", *self.lab.userland)), *sorted(out.iterdir())]
        here = next((Path(p) for p in ("/bin/busybox", "/usr/bin/busybox", "/usr/sbin/busybox")
                     if Path(p).is_file()), None)
        if here is None:
            raise WorkshopError("no busybox on this machine: run ./setup")
        try:
            busybox = here if self.arch == platform.machine() else fetch_busybox.fetch(self.arch)
        except FetchError as error:
            raise WorkshopError(f"no busybox for {self.arch}: {error}") from error
        archive = build_initrd(busybox, programs, [], work / "user" / "etc", self.strip, here)
        (out / "initrd.cpio").write_bytes(archive.pack())

    @staticmethod
    def _copy(source: Path, dest: Path) -> None:
        # The pipe: its end wakes us, where a wait with a timeout would look every 50 ms.
        subprocess.run(["cp", "-a", "--reflink=auto", str(source), str(dest)], stdout=subprocess.PIPE, check=True,
                       timeout=300)

    def _copy_base(self, base: Path, work: Path) -> None:
        """Copies a base's tree, with the answer that lies beside it, as old as it was: a header that looked new would have
        everything compiled again."""
        self._copy(base / "tree", work)
        if (base / ANSWER).is_dir():
            subprocess.run(["cp", "-a", f"{base / ANSWER}/.", str(work)], check=True, timeout=60)
            os.chmod(work, 0o755)

    def _command(self, work: Path, targets: list[str]) -> list[str]:
        return ["make", "-C", self.sandbox.inside(work), *targets, f"ARCH={self.arch}"]

    # ---- submissions ----------------------------------------------------------------------------------

    def take(self, source: Path) -> dict[str, bytes]:
        """The editable files of a submission, and new ones. SubmissionError if one is missing or is no plain file."""
        out = {}
        for name in dict.fromkeys([*self.lab.editable, *self.lab.new_files]):
            path = source / name
            if name in self.lab.new_files and not path.exists() and not path.is_symlink():
                continue
            if any(p.is_symlink() for p in [path, *path.parents] if p != source and source in p.parents or p == path):
                raise SubmissionError(f"{name} is a symbolic link, or lies behind one: hand in the file itself",
                                      "not a plain file")
            if not path.is_file():
                raise SubmissionError(f"{name} is not there: the lab takes exactly {', '.join(self.lab.editable)}",
                                      "missing file")
            if path.stat().st_size > FILE_MAX:
                raise SubmissionError(f"{name} is larger than {FILE_MAX >> 20} MiB", "file too large")
            out[name] = path.read_bytes()
        return out

    def build(self, submission: dict[str, bytes], label: str = "submission") -> Built:
        """Builds the kernel of a submission. SubmissionError with the first compiler error if it does not;
        WorkshopError if nothing else would, either."""
        work = self._lay_out(label, submission)
        failed = self._kernel(work)
        if failed and not failed.own:
            # What the host did it seldom does twice; or else what is known to build does not build now, either.
            shutil.rmtree(work)
            failed = self._kernel(self._lay_out(label, submission))
            if failed and not failed.own:
                shutil.rmtree(work)
                self._control(f"{label}-control")
        if failed:
            raise SubmissionError(failed.said, "does not compile")
        self._renamed(work)
        out = work / "build" / self.arch
        lab = work / "build" / "lab"
        programs = {p.name: self.base / "build" / "lab" / p.name for p in lab.iterdir() if p.name != "initrd.cpio"}
        # The pristine initramfs of the base, whatever happened to the copy.
        initrd = self._scratch / "initrd.cpio"
        if not initrd.exists():
            shutil.copyfile(self.base / "build" / "lab" / "initrd.cpio", initrd)
        for made in (out / "rampart", out / "rampart.sym"):
            if not made.is_file() or made.resolve() != work.resolve() / made.relative_to(work):
                raise SubmissionError(f"the build made no {made.name}", "does not compile")
        return Built(work, out / "rampart", out / "rampart.sym", initrd, programs)

    def _lay_out(self, label: str, files: dict[str, bytes]) -> Path:
        """The tree that a submission is built in, with its files."""
        work = self._scratch / label
        if self._built_on:
            self._copy(self._built_on, work)
        else:
            self._copy_base(self.base.parent, work)
        tree.overlay(work, tuple(files), files.__getitem__)
        return work

    def _kernel(self, work: Path) -> Failure | None:
        """Builds the kernel of a tree; None, or how it failed."""
        processor = limits.BUILD_SECONDS * limits.slowness()
        ran = self.sandbox.attempt(self._command(work, ["kernel"]), work, processor, limits.BUILD_WALL * processor)
        return failure(ran)

    def _control(self, label: str) -> None:
        """Builds what is known to build just as a submission is built. WorkshopError if that fails, too."""
        if (free := shutil.disk_usage(self._scratch).free) < ROOM:
            raise WorkshopError(f"a build failed, and the disk is full: {free >> 20} MiB are left for {self._scratch}")
        work = self._lay_out(label, {})
        try:
            for path in (work / name for name in self.lab.editable):
                if path.is_file():
                    os.utime(path)      # so that make has something to do
            if failed := self._kernel(work):
                raise WorkshopError(f"a build failed, and so does one that is known to succeed:\n{failed.said}")
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _renamed(self, work: Path) -> None:
        """Each file that is not a submission's must define what it always does, however the submission's headers change it:
        the grader asks for it by name."""
        out = self.base / "build" / self.arch
        for known in sorted(p for top in ("arch", "kernel") for p in (out / top).rglob("*.o")):
            name = known.relative_to(out)
            if any(str(name.with_suffix("")) == str(Path(n).with_suffix("")) for n in self.lab.editable):
                continue
            made = work / "build" / self.arch / name
            try:
                if made.is_file() and filecmp.cmp(known, made, shallow=False):
                    continue
                lacks = defined(known) - defined(made)
            except ImageError as error:
                raise SubmissionError(str(error), "does not compile") from error
            if lacks:
                raise SubmissionError(f"by the submission's headers {name.with_suffix('')} defines no {min(lacks)} any more",
                                      "does not compile")

    def build_on(self, files: dict[str, bytes]) -> None:
        """Builds these, and everything from now on upon their objects. Only for whoever trusts all that is to come: it could
        link them in."""
        self._built_on = self.build(files, "built-on").folder

    def initrd_with(self, built: Built, program: str, name: str) -> Path:
        """The initramfs, with one of our programs under another name of the same length."""
        out = built.folder.parent / f"{program}-{name}.cpio"
        if out.exists():        # of another boot, or another submission: it is the same
            return out
        data = built.initrd.read_bytes()
        old, new = f"bin/{program}\0".encode(), f"bin/{name}\0".encode()
        if data.count(old) != 1 or len(old) != len(new):
            raise WorkshopError(f"{program}: no such program in the initramfs")
        fresh = Path(tempfile.mkstemp(dir=out.parent)[1])
        fresh.write_bytes(data.replace(old, new))
        fresh.chmod(0o644)
        fresh.rename(out)
        return out

    def give_base(self, built: Built, dest: Path) -> None:
        """Leaves a built tree in another grader's cache, as its base: a starter's first grade is quick then."""
        base = dest / self.base_name
        base.mkdir(parents=True)
        self._copy(built.folder, base / "tree")
        (base / "complete").touch()

    def give_busybox(self, dest: Path) -> None:
        """Leaves a fetched busybox to another tree, which may have no network."""
        if self.arch != platform.machine():
            folder = dest / "build" / self.arch
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(fetch_busybox.fetch(self.arch), folder / "busybox")

    def discard(self, built: Built) -> None:
        """Gives a submission's scratch directory back."""
        shutil.rmtree(built.folder, ignore_errors=True)


@contextlib.contextmanager
def _held(cache: Path) -> Iterator[None]:
    """Makes a cache of bases, and keeps other graders from making or removing one there meanwhile: also those of other
    machines that share the file system, if it has locks. If not, two may make the same base, and either is good."""
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "lock", "wb") as lock:
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _prune(cache: Path) -> None:
    """Takes old bases out of a cache, and what somebody began and left; what others are making now stays."""
    there: list[tuple[float, Path]] = []
    for path in cache.glob("*-*"):
        with contextlib.suppress(FileNotFoundError):        # it has just got its name
            there.append((path.stat().st_mtime, path))
    abandoned = [p for made, p in there if p.name.startswith(NEW) and made < time.time() - NEW_SECONDS]
    for old in abandoned + [p for _, p in sorted(there, reverse=True) if not p.name.startswith(NEW)][BASES_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


def failure(ran: Ran) -> Failure | None:
    """How a build failed, if it did."""
    if ran.status == 0:
        return None
    if ran.stopped:
        return Failure({PROCESSOR: "the build took too long", STUCK: "the build waits for something that never comes",
                        CLOCK: "the build took too long on the clock"}[ran.stopped], ran.stopped == PROCESSOR)
    # 2 is make's own status; whatever is around it has another.
    mistake = ran.status == 2 and set(STOPS.findall(ran.text)) == {"Error 1"} and MISTAKE.search(ran.text)
    return Failure(first_error(ran.text), bool(mistake and not HOST.search(ran.text) or LIMITS.search(ran.text)))


def first_error(text: str) -> str:
    """The first compiler, assembler or linker error of a build's output, with the lines that explain it."""
    lines = text.splitlines()
    for i, line in enumerate(lines):
        if re.search(r"\b(error|undefined reference|Error)\b", line):
            start = i - 1 if i and "In function" in lines[i - 1] else i
            return "\n".join(lines[start:i + 4])
    return "\n".join(lines[-5:]) or "make failed and said nothing"
