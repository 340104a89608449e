"""make lab-branches: writes a course's public repository, and the instructor's.

Public: `main` is the complete kernel with all chosen labs cut on one base; `lab/NN-name` adds that lab's handout,
attack and checks, and edits no file of main. So a student's work goes from lab to lab by merges without a conflict:
what students edit no branch adds, and what a branch adds is theirs from then on.
Private: `main` is the complete tree, with the class key; `catchup/NN` is what a student has who did all labs up to
NN as the reference does, on top of the public branches, to be pushed there after a deadline.

Publishing again into the same directories adds commits where something changed, so that clones can pull. Each repository
has its kind in its configuration, so that the two are never taken for each other, nor a repository of something else for
one of them; nothing is committed to the public one before every file was searched for lines of solutions.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from grade.labs import tree
from grade.labs.course import FILE, MARK, Course, Entry, mark, published, read, widened
from grade.labs.grading import digest
from grade.labs.spec import Lab, SpecError, all_labs
from grade.labs.tree import TreeError

KEY_BYTES = 32
COURSES_KEPT = 2
FRESH, FRESH_SECONDS = "new-", 24 * 3600     # of a tree that is being made, or was left
WITHOUT_GIT = "946684800"           # the date of commits where the tree has no history of its own
NAME, MAIL = "Rampart", "rampart@localhost"
_IMAGE = re.compile(r"img/[\w./-]+")
PUBLIC, PRIVATE = "public", "private"
KIND = "rampart.kind"               # where a repository's configuration says which it is
LEAKS_SHOWN = 5
SOLUTION = ("cut", "solution.md")       # of a lab's folder: what `make solution` reads in a catch-up branch
Files = dict[str, bytes]


# ---- what is in which tree ----------------------------------------------------------------------------------


def additions(root: Path, lab: Lab) -> list[str]:
    """The files of the complete tree that come with the lab's branch, its diagnosis and notes apart."""
    names = tree.files(root)
    folder = lab.folder.name
    handout = f"handouts/{folder}.md"
    out = [n for n in names if n.startswith(f"labs/{folder}/") and not tree.is_private(n, (folder,))]
    out += [n for n in names if re.fullmatch(r"user/attack/[^/]+\.c", n)
            and f'.name = "{lab.attack}"' in (root / n).read_text()]
    if handout in names:
        # Pictures that other chapters show, too, are main's.
        elsewhere = {image for n in names if n.startswith("handouts/") and n.endswith(".md") and n != handout
                     for image in _images(root / n)}
        out += [handout, *(n for n in names if n.removeprefix("handouts/") in _images(root / handout) - elsewhere)]
    if lost := [n for n in lab.adds if n not in names]:
        raise TreeError(f"{folder}: adds {lost[0]}, which is not there")
    return sorted({*out, *lab.adds})


def _images(handout: Path) -> set[str]:
    return set(_IMAGE.findall(handout.read_text()))


def base_names(root: Path, course: Course) -> list[str]:
    """The files of main."""
    gone = {n for lab in course.labs(root) for n in additions(root, lab)}
    gone |= {f"handouts/{lab.folder.name}.md" for lab in all_labs(root, None)}
    return [n for n in tree.files(root) if n not in gone and not tree.is_private(n, ())]


def main_files(root: Path, course: Course, done: int = 0) -> Files:
    """What main holds: every chosen lab cut, but for the first `done`."""
    cut = tree.cut_files(root, course.labs(root)[done:])
    out = {n: cut[n].encode() if n in cut else tree.as_given(root, n) for n in base_names(root, course)}
    if lost := sorted(set(cut) - set(out)):
        raise TreeError(f"{lost[0]} is cut, and comes with a lab")
    out["KERNEL.md"] = out.pop("README.md", b"")
    out["README.md"] = front_page(course).encode()
    out[MARK] = mark(course).encode()
    return out


def lab_files(root: Path, lab: Lab) -> Files:
    """What the lab's branch adds to main."""
    out = {n: tree.as_given(root, n) for n in additions(root, lab)} | tree.notes(lab)
    if clash := sorted(set(out) & {*lab.everywhere, *lab.new_files}):
        raise TreeError(f"{lab.folder.name}: {clash[0]} comes with the branch, and students edit it in main")
    return out


def front_page(course: Course) -> str:
    """main's README.md."""
    rows = "\n".join(f"| {e.number} | {e.title} | `{e.branch}` | {e.points:g} | {e.opens or ''} | {e.due or ''} |"
                     for e in course.entries)
    first = course.entries[0]
    return f"""# {course.title}

A kernel that defends itself, with its defences taken out: you put them back. Each lab is a branch, which brings its
handout, the exploit and the checks. [handouts/00-getting-started.md](handouts/00-getting-started.md) says how to work,
[KERNEL.md](KERNEL.md) what the kernel is.

| lab | title | branch | points | opens | due |
| --- | --- | --- | --- | --- | --- |
{rows}

    ./setup                             # installs what is missing (Debian, Ubuntu)
    git switch {first.branch}
    make attack                         # the exploit wins
    make grade                          # 0 points: that is where you begin
    make help                           # the other verbs: gdb, why, diagnose, progress, reset, submit

The next lab begins with `git switch lab/...` and `git merge` of the branch that you worked on: your code comes along.
"""


def course_tree(root: Path, course: Course) -> Path:
    """main and all labs' additions as a directory, to grade a course's submissions in: cached below build/."""
    files = main_files(root, course)
    for lab in course.labs(root):
        files |= lab_files(root, lab)
    cache = root / "build" / "course"
    place = cache / digest(files)[:16]
    if place.is_dir():
        os.utime(place)
        return place
    cache.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=FRESH, dir=cache))
    write(files, fresh, root)
    try:
        fresh.rename(place)
    except OSError:
        shutil.rmtree(fresh)        # another grader was first
    old = sorted(cache.iterdir(), key=lambda p: p.stat().st_mtime)[:-COURSES_KEPT]
    for stale in (p for p in old if not p.name.startswith(FRESH) or time.time() - p.stat().st_mtime > FRESH_SECONDS):
        shutil.rmtree(stale, ignore_errors=True)
    return place


def grading_place(root: Path, lab: Lab, from_course: bool) -> tuple[Path, Lab]:
    """The pristine tree that a submission is put on, and the lab as the submission brings it: those of the course where it
    comes from a course's branch, or this tree is one. SpecError if this tree has no such course."""
    if course := published(root):
        return root, widened(lab, course)
    if not from_course:
        return root, lab
    if not (root / FILE).is_file():
        raise SpecError(f"this comes from a course's branch, and there is no {FILE} here that tells of the course")
    course = read(root)
    if course.entry(lab) is None:
        raise SpecError(f"this comes from a course's branch, and {FILE} has no {lab.name}")
    return course_tree(root, course), widened(lab, course)


def write(files: Files, dest: Path, root: Path) -> None:
    """Writes files, executable where the complete tree has them so."""
    for name, data in files.items():
        target = dest / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        source = root / name
        if source.is_file():
            target.chmod(source.stat().st_mode & 0o777)
            os.utime(target, (source.stat().st_atime, source.stat().st_mtime))


# ---- git ----------------------------------------------------------------------------------------------------


class Repository:
    """A repository of one kind, public or private, that is written branch by branch."""

    def __init__(self, place: Path, root: Path, kind: str) -> None:
        self.place, self.root = place, root
        done = subprocess.run(["git", "-C", str(root), "-c", "safe.directory=*", "log", "-1", "--format=%ct"],
                              capture_output=True, text=True, check=False, timeout=60)
        self.date = f"{done.stdout.strip() if (root / '.git').exists() and not done.returncode else WITHOUT_GIT} +0000"
        if not place.exists() or place.is_dir() and not any(place.iterdir()):
            place.mkdir(parents=True, exist_ok=True)
            self.git("init", "-q", "-b", "main")
        elif not (place / ".git").exists():
            raise TreeError(f"{place}: exists already and is no repository")
        elif self.git("status", "--porcelain"):
            raise TreeError(f"{place}: has changes that are not committed")
        elif (other := self.kind()) not in (kind, ""):
            raise TreeError(f"{place}: this repository is {other}, and not a course's {kind} one")
        self.git("config", KIND, kind)

    def kind(self) -> str:
        """What it is: public, private, or something else; nothing as long as it is empty."""
        if said := self.git("config", "--local", "--default", "", "--get", KIND):
            return said
        if not self.git("for-each-ref"):
            return ""
        # Published before there was a mark.
        held = self.git("ls-tree", "--name-only", "main", MARK, FILE).splitlines() if self.tip("main") else []
        if MARK in held:
            return PUBLIC
        return PRIVATE if FILE in held and self.git("for-each-ref", "refs/heads/catchup/") else "no course's"

    def git(self, *words: str, env: dict[str, str] | None = None) -> str:
        """Runs git here; what it says."""
        who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER")
               for what, value in (("NAME", NAME), ("EMAIL", MAIL), ("DATE", self.date))}
        clean = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        done = subprocess.run(["git", "-c", "safe.directory=*", "-c", "core.autocrlf=false", "-c", "gc.auto=0", *words],
                              cwd=self.place, env=clean | who | (env or {}), capture_output=True, text=True, check=False,
                              timeout=300)
        if done.returncode:
            raise TreeError(f"{self.place}: git {words[0]}: {done.stderr.strip()}")
        return done.stdout.strip()

    def tip(self, branch: str) -> str | None:
        """The commit of a branch, if it is there."""
        return self.git("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}") or None

    def commit(self, branch: str, files: Files, subject: str, parents: list[str]) -> str:
        """Makes `files` the tree of a branch, on top of what it was and of `parents`; its commit, an old one where
        nothing changed."""
        with tempfile.TemporaryDirectory(prefix="rampart-publish-") as scratch:
            write(files, Path(scratch, "tree"), self.root)
            env = {"GIT_INDEX_FILE": f"{scratch}/index", "GIT_WORK_TREE": f"{scratch}/tree",
                   "GIT_DIR": str(self.place.resolve() / ".git")}
            self.git("add", "--all", "--force", ".", env=env)
            made = self.git("write-tree", env=env)
        old = self.tip(branch)
        if old and self.git("rev-parse", f"{old}^{{tree}}") == made:
            return old
        above = [w for p in dict.fromkeys([*([old] if old else []), *parents]) for w in ("-p", p)]
        commit = self.git("commit-tree", made, *above, "-m", subject)
        self.git("update-ref", f"refs/heads/{branch}", commit)
        return commit

    def show(self) -> None:
        """Checks main out."""
        self.git("switch", "-q", "-f", "main")
        self.git("reset", "-q", "--hard")


def check_places(root: Path, dest: Path, private: Path | None) -> None:
    """TreeError unless two repositories can lie there, apart from each other and from the tree that they are made of."""
    public, inner, tree_itself = dest.resolve(), private.resolve() if private else None, root.resolve()
    if public == inner:
        raise TreeError(f"{dest}: students' repository and the instructor's cannot be the same")
    if inner and (public in inner.parents or inner in public.parents):
        raise TreeError(f"{dest} and {private}: neither repository may lie in the other")
    for place in (public, inner):
        if place is None or tree_itself / "build" in place.parents:
            continue
        if place == tree_itself or place in tree_itself.parents or tree_itself in place.parents:
            raise TreeError(f"{place}: a repository that is published lies outside the tree that it is made of, {tree_itself}")


def publish(root: Path, course: Course, dest: Path, private: Path | None = None,
            diagnosis: Callable[[Entry], Files] | None = None) -> list[str]:
    """Writes the public repository to `dest` and, if asked, the instructor's to `private`. `diagnosis` gives a
    lab's broken kernels. The branches that there are now, in order. TreeError, CutError, SpecError."""
    if not course.entries:
        raise TreeError("the course has no lab")
    check_places(root, dest, private)
    labs = course.labs(root)
    public = Repository(dest, root, PUBLIC)
    inner = Repository(private, root, PRIVATE) if private else None
    base = main_files(root, course)
    added: list[Files] = []
    for entry, lab in zip(course.entries, labs):
        own = lab_files(root, lab) | (diagnosis(entry) if diagnosis else {})
        if clash := sorted(set(own) & set(base)):
            raise TreeError(f"{entry.folder}: {clash[0]} is in main, too")
        added.append(own)
    secret = tree.secret_lines(root, labs)
    if found := [leak for files in (base, *added) for leak in tree.leaks_of(files, secret)]:
        raise TreeError("nothing is published, as it would tell lines of solutions:\n  " + "\n  ".join(found[:LEAKS_SHOWN])
                        + (f"\n  and {len(found) - LEAKS_SHOWN} more" if len(found) > LEAKS_SHOWN else ""))
    main = public.commit("main", base, f"{course.title}: the kernel, all labs to do", [])
    tips = [public.commit(entry.branch, base | own, f"{entry.folder}: handout, attack and checks", [main])
            for entry, own in zip(course.entries, added)]
    public.show()
    branches = ["main", *(e.branch for e in course.entries)]
    if inner is None:
        return branches
    inner.git("fetch", "-q", "--force", str(dest.resolve()), "refs/heads/*:refs/remotes/public/*")
    complete = {n: (root / n).read_bytes() for n in tree.files(root)}
    complete[f"labs/{_key_name(root, course)}"] = class_key(root, course, inner)
    inner.commit("main", complete, f"{course.title}: the complete tree", [])
    for i, entry in enumerate(course.entries):
        files = main_files(root, course, done=i + 1)
        for own, lab in zip(added[:i + 1], labs):
            files |= own | {n: (root / n).read_bytes() for name in SOLUTION
                            if (root / (n := f"labs/{lab.folder.name}/{name}")).is_file()}
        inner.commit(f"catchup/{entry.number}", files, f"reference code up to {entry.folder}", tips[:i + 1])
    inner.show()
    return [*branches, *(f"catchup/{e.number}" for e in course.entries)]


def _key_name(root: Path, course: Course) -> str:
    return str(course.key.relative_to(root / "labs")) if course.key else "class.key"


def class_key(root: Path, course: Course, inner: Repository) -> bytes:
    """The class key: the tree's, or the one that the repository has already, or a new one."""
    if course.key and course.key.is_file():
        return course.key.read_bytes()
    old = inner.place / "labs" / _key_name(root, course)
    return old.read_bytes() if old.is_file() else secrets.token_hex(KEY_BYTES).encode() + b"\n"
