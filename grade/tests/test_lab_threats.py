"""What grade/THREATS.md says: each test is a hostile submission before the real grader, or stands where one would."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import select
import socket
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from grade.image import Image, ImageError
from grade.lab import main
from grade.labs import batch, handin, report
from grade.labs.grading import Grade, grade, open_image
from grade.labs.sandbox import BUBBLEWRAP, ENVIRONMENT, OUTPUT_MAX, SEPARATE_UID, Sandbox, SandboxError, choose
from grade.labs.spec import lab_named
from grade.labs.workshop import SubmissionError, Workshop
from grade.qemu import Machine

pytestmark = pytest.mark.soak     # each builds and grades

ROOT = Path(__file__).resolve().parent.parent.parent
GUARD = "kernel/harden/stack_guard.c"
# Where a processor's emergency stacks are made, for its first one.
FIRST_STACKS = {"x86_64": "x86_cpu_stacks(this_cpu());", "aarch64": "a64_cpu_stacks(this_cpu());"}
LEVELS = [BUBBLEWRAP, SEPARATE_UID]


@pytest.fixture(scope="module")
def workshop(arch: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """The first lab's workshop."""
    tmp_path_factory.getbasetemp()      # not in the workshop's own directory
    with Workshop(ROOT, lab_named(ROOT, "stack-guard", arch), choose(trust=True)) as made:
        yield made


@pytest.fixture
def answer(workshop: Workshop) -> dict[str, bytes]:
    """A correct answer, for a hostile hand to change."""
    return workshop.take(ROOT)


def changed(answer: dict[str, bytes], name: str, old: str, new: str) -> dict[str, bytes]:
    """The answer with one piece of text in the place of another."""
    text = answer[name].decode()
    assert text.count(old) >= 1, f"{name} has no {old!r} any more"
    return answer | {name: text.replace(old, new, 1).encode()}


def early(workshop: Workshop, answer: dict[str, bytes], code: str) -> dict[str, bytes]:
    """The answer with other code where the first processor's emergency stacks should be made."""
    return changed(answer, f"arch/{workshop.arch}/trap.c", FIRST_STACKS[workshop.arch], code)


def passed(result: Grade) -> set[str]:
    """The names of all checks that passed."""
    return {c.name for c in result.checks if c.passed}


# ---- lying to the checks ------------------------------------------------------------------------------------


@pytest.mark.timeout(900)
def test_a_kernel_that_prints_the_expected_text_scores_nothing(workshop: Workshop, answer: dict[str, bytes]) -> None:
    result = grade(workshop, early(workshop, answer, '''
	kprintf("oops: stack-guard: the kernel stack of thread 9 \\"x\\" overflowed at ffffffff00000000\\n");
	kprintf("{\\"score\\": 100}\\n");
	panic("init: /bin/lab-stack-guard exited with 0");'''), 1, "prints")
    assert result.score == 0 and not result.problem and not passed(result)
    data = report.as_dict(result)
    assert data["lost"]["what"] == "the kernel panics" and any("panic" in frame for frame in data["lost"]["calls"][0])


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_kernel_that_hangs_is_told_so_and_where(workshop: Workshop, answer: dict[str, bytes]) -> None:
    result = grade(workshop, early(workshop, answer, "for (;;)\n\t\t;"), 1, "hangs")
    assert result.score == 0 and not passed(result)
    assert all("hangs" in v.seen for v in result.gates)
    assert result.lost is not None and any("arch_init" in chain for chain in result.lost["calls"])


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_kernel_that_floods_its_console_is_stopped(workshop: Workshop, answer: dict[str, bytes]) -> None:
    # Not at once, for before there is a console nothing is printed; and not by kprintf, which the grader keeps quiet.
    code = changed(answer, GUARD, "static int\nmap_stack(uint64_t base)\n{", '''static int
map_stack(uint64_t base)
{
	static int stacks;

	while (++stacks > 20)
		arch_console_write("all that it has to say, again and again, for as long as it may.\\n", 64);
''')
    result = grade(workshop, code, 1, "floods")
    assert result.score == 0 and all("flood" in v.seen for v in result.gates)
    assert len(json.dumps(report.as_dict(result))) < 1 << 18


@pytest.mark.timeout(900)
def test_a_kernel_that_knows_the_graders_program_gains_nothing(workshop: Workshop, answer: dict[str, bytes]) -> None:
    # It guards stacks only where a thread has the name that stands in the lab's folder.
    answer = changed(answer, GUARD, '#include "kernel/oops.h"', '#include "kernel/lib/string.h"\n#include "kernel/oops.h"')
    code = changed(answer, GUARD, "static int\nmap_stack(uint64_t base)\n{", '''static int
map_stack(uint64_t base)
{
	if (memcmp(current->name, "lab-stack-guard", 15) != 0) {
		struct page *p;

		if (page_alloc(PAGE_KERNEL, &p) == 0)
			(void)!arch_pt_map(&kernel_pt, base - PAGE_SIZE,
					   pte_make(page_paddr(p), PROT_READ | PROT_WRITE));
	}''')
    result = grade(workshop, code, 1, "knows")
    assert not result.problem, result.problem_text
    assert "guard-below-every-stack" not in passed(result) and "overflow-on-cpu0" not in passed(result)


@pytest.mark.timeout(900)
def test_a_guard_only_between_the_looks_is_found(workshop: Workshop, answer: dict[str, bytes]) -> None:
    # Guarded while 80 others wait, which is when the fixed looks are; not in the rounds of forks between them.
    code = changed(answer, GUARD, "int\nkstack_alloc(void **out)\n{", '''static pte_t
pull_out(void *arg unused, uint64_t va unused, pte_t old unused)
{
	return pte_none();
}

int
kstack_alloc(void **out)
{
	static struct page *plug;
	static bool plugged;
	unsigned live = 0;

	for (uint32_t i = 0; i < fresh; i++)
		live += slots[i].used;
	if (!plug && page_alloc(PAGE_KERNEL, &plug))
		plug = NULL;
	for (uint32_t i = 0; plug && plugged != (live < 40) && i < fresh; i++) {
		uint64_t va = stack_base(i) - PAGE_SIZE;

		if (live < 40)
			(void)!arch_pt_map(&kernel_pt, va, pte_make(page_paddr(plug), PROT_READ | PROT_WRITE));
		else
			arch_pt_update(&kernel_pt, va, va + PAGE_SIZE, pull_out, NULL);
	}
	plugged = plug && live < 40;''')
    result = grade(workshop, code, 1, "between")
    assert not result.problem, result.problem_text
    assert "guard-survives-reuse" not in passed(result)


def test_a_submission_that_describes_another_layout_is_not_believed(workshop: Workshop, answer: dict[str, bytes]) -> None:
    name = f"arch/{workshop.arch}/trap.c"
    code = answer | {name: b"#define run_queue elsewhere\n" + answer[name] + b"\n#undef run_queue\n"
                                          b"struct run_queue { char moved[4096]; void *idle; };\n"
                                          b"int forged(struct run_queue *r);\n"
                                          b"int forged(struct run_queue *r) { return r->moved[0]; }\n"}
    built = workshop.build(code, "layout")
    try:
        image, believing = open_image(workshop.lab, built), Image(built.symbols, slide=None)
        honest = image.offsetof("struct run_queue", "idle")
        assert honest != 4096 and believing.offsetof("struct run_queue", "idle") in (honest, 4096)
        image.close()
        believing.close()
    finally:
        workshop.discard(built)


FORGED = '''
__asm__(".pushsection .debug_abbrev,\\"\\",%progbits\\n"
	"1:	.byte 1, 0x11, 1, 0, 0\\n"				/* a unit that says no name */
	"	.byte 2, 0x13, 1, 0x03, 0x08, 0x0b, 0x05, 0, 0\\n"	/* a structure: name, size */
	"	.byte 3, 0x0d, 0, 0x03, 0x08, 0x49, 0x13, 0x38, 0x05, 0, 0\\n" /* a member: name, type, place */
	"	.byte 4, 0x24, 0, 0x0b, 0x0b, 0x3e, 0x0b, 0, 0, 0\\n"	/* a basic type: size, encoding */
	"	.popsection\\n"
	"	.pushsection .debug_info,\\"\\",%progbits\\n"
	"2:	.long 5f - 3f\\n"
	"3:	.short 5\\n	.byte 1, 8\\n	.long 1b\\n"
	"	.byte 1\\n"
	"4:	.byte 4, 8, 7\\n"
	"	.byte 2\\n	.asciz \\"frame_cache\\"\\n	.short 4104\\n"
	"	.byte 3\\n	.asciz \\"in_use\\"\\n	.long 4b - 2b\\n	.short 4096\\n"
	"	.byte 0, 0\\n"
	"5:	.popsection\\n");
'''


@pytest.mark.parametrize("says", ["", "made-up.c", "kernel/mm/page.c"])
def test_a_unit_of_forged_debug_information_is_not_believed(workshop: Workshop, answer: dict[str, bytes], says: str) -> None:
    code = FORGED if not says else FORGED.replace("1, 0x11, 1, 0, 0", "1, 0x11, 1, 3, 8, 0, 0").replace(
        '\t.byte 1\\n"\n\t"4:', f'\t.byte 1\\n\t.asciz \\"{says}\\"\\n"\n\t"4:')
    assert says in code
    built = workshop.build(answer | {GUARD: answer[GUARD] + code.encode()}, "forged")
    try:
        with contextlib.closing(open_image(workshop.lab, built)) as image:
            if says.startswith("kernel"):
                with pytest.raises(ImageError, match="more than one unit"):
                    image.offsetof("struct frame_cache", "in_use")
            else:
                assert image.offsetof("struct frame_cache", "in_use") < 4096
    finally:
        workshop.discard(built)


@pytest.mark.parametrize("name, how", [("oops", "static "), ("caches", "")], ids=["a file's own", "in place of another file's own"])
def test_a_symbol_that_a_submission_defines_once_more_is_not_believed(workshop: Workshop, answer: dict[str, bytes], name: str,
                                                                     how: str) -> None:
    # The kernel's functions are hidden, so that the linker makes them local, and puts them behind a file's own.
    code = f"\n{how}char decoy[8] __asm__(\"{name}\") __attribute__((__used__));\n"
    if not how:
        code = f"\nextern char decoy[8] __asm__(\"{name}\");\nchar decoy[8];\n"
    built = workshop.build(answer | {GUARD: answer[GUARD] + code.encode()}, "twice")
    try:
        with contextlib.closing(open_image(workshop.lab, built)) as image, pytest.raises(ImageError, match="of its own"):
            image.linked().sym(name)
    finally:
        workshop.discard(built)


def test_a_header_that_renames_what_another_file_defines_does_not_compile(workshop: Workshop, answer: dict[str, bytes]) -> None:
    header = GUARD.removesuffix("c") + "h"
    code = answer | {
        header: answer[header] + b"\nstruct thread;\nvoid thread_gone(struct thread *t);\n#define thread_free thread_gone\n",
        GUARD: answer[GUARD] + b"\n#undef thread_free\nvoid thread_free(struct thread *t);\n"
                               b"void thread_free(struct thread *t) { thread_gone(t); }\n"}
    with pytest.raises(SubmissionError, match="kernel/proc/thread defines no thread_free any more"):
        workshop.discard(workshop.build(code, "renamed"))


# ---- files --------------------------------------------------------------------------------------------------


def test_a_submission_that_brings_a_makefile_and_a_lab_toml_brings_nothing(workshop: Workshop, answer: dict[str, bytes],
                                                                         tmp_path: Path) -> None:
    theirs = ("Makefile", "grade/lab.py", "labs/01-stack-guard/lab.toml", "labs/01-stack-guard/checks.py",
              "labs/01-stack-guard/programs/lab-stack-guard.c", "kernel/main.c", "report.json")
    for name, data in [*answer.items(), *((name, b"all:\n\ttouch /tmp/owned\n") for name in theirs)]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    taken = workshop.take(tmp_path)
    assert sorted(taken) == sorted(workshop.lab.editable)
    built = workshop.build(taken, "makefile")
    try:
        for name in ("Makefile", "kernel/main.c"):
            assert (built.folder / name).read_bytes() == (ROOT / name).read_bytes()
    finally:
        workshop.discard(built)


@pytest.mark.parametrize("form", ["tar", "zip"])
def test_a_submission_whose_archive_climbs_out_is_read_by_name_alone(form: str, answer: dict[str, bytes], arch: str,
                                                                     tmp_path: Path) -> None:
    lab, dest = lab_named(ROOT, "stack-guard", arch), tmp_path / "in" / "dest"
    path, odd = tmp_path / f"x.{form}", {"../escaped": b"x", "/abs": b"x", f"../{GUARD}": b"climbs"}
    if form == "zip":
        with zipfile.ZipFile(path, "w") as z:
            for name, data in {**odd, **{f"./work/{n}": d for n, d in answer.items()}}.items():
                z.writestr(name, data)
    else:
        with tarfile.open(path, "w") as t:
            for name, data in {**odd, **{f"./work/{n}": d for n, d in answer.items()}}.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                t.addfile(info, __import__("io").BytesIO(data))
            link = tarfile.TarInfo(lab.editable[-1])
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/shadow"
            t.addfile(link)
            device = tarfile.TarInfo(lab.editable[0])
            device.type = tarfile.CHRTYPE
            t.addfile(device)
    handin.unpack(lab, path, dest)
    assert {str(p.relative_to(dest)): p.read_bytes() for p in dest.rglob("*") if p.is_file()} == answer
    assert not any(p.is_symlink() for p in dest.rglob("*"))
    assert sorted(p.name for p in tmp_path.rglob("*") if "escaped" in p.name or p.name == "abs") == []


def test_an_archive_of_zeros_without_end_is_refused(arch: str, tmp_path: Path) -> None:
    lab = lab_named(ROOT, "stack-guard", arch)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr(GUARD, bytes(64 << 20))
    with pytest.raises(SubmissionError, match="larger than 1 MiB"):
        handin.unpack(lab, tmp_path / "bomb.zip", tmp_path / "out")


@pytest.mark.parametrize("form", ["tar", "tar.gz"])
def test_an_archive_whose_names_never_end_is_refused(form: str, arch: str, tmp_path: Path) -> None:
    head = tarfile.TarInfo("././@LongLink")
    head.type, head.size = tarfile.GNUTYPE_LONGNAME, 2 * handin.ARCHIVE_MAX
    with (gzip.open if form == "tar.gz" else open)(tmp_path / f"bomb.{form}", "wb") as out:
        out.write(head.tobuf(tarfile.GNU_FORMAT))
        for _ in range(head.size >> 20):
            out.write(bytes(1 << 20))
    with pytest.raises(SubmissionError, match="more than 256 MiB"):
        handin.unpack(lab_named(ROOT, "stack-guard", arch), tmp_path / f"bomb.{form}", tmp_path / "out")


def test_an_archive_that_is_spoiled_inside_is_its_authors_mistake(arch: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr(GUARD, b"int x;\n" * 10000)
    data = bytearray((tmp_path / "x.zip").read_bytes())
    data[70:100] = b"\xff" * 30
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(SubmissionError, match="cannot be read"):
        handin.unpack(lab_named(ROOT, "stack-guard", arch), tmp_path / "x.zip", tmp_path / "out")


@pytest.mark.timeout(60)
def test_a_pipe_in_the_place_of_a_file_holds_up_no_class(arch: str, tmp_path: Path) -> None:
    lab = lab_named(ROOT, "stack-guard", arch)
    for name in lab.editable:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(tmp_path / name)
    assert batch._digest_of(lab, tmp_path) == ""


@pytest.mark.parametrize("line", [
    '#include "/etc/shadow"', f'#include "{ROOT}/grade/labs/grading.py"',
    f'#include "{ROOT}/labs/01-stack-guard/alt/kernel/harden/stack_guard.c"', '__asm__(".incbin \\"/etc/shadow\\"");',
    '__asm__(".incbin \\"build/ARCH/rampart.sym\\"");', '__asm__(".incbin \\"build/ARCH/rampart\\"");',
    '__asm__(".incbin \\"../initrd.cpio\\"");'])
def test_a_submission_that_reads_a_hidden_file_does_not_compile(workshop: Workshop, answer: dict[str, bytes],
                                                                line: str) -> None:
    if workshop.sandbox.level != BUBBLEWRAP and str(ROOT) in line:
        pytest.skip("without namespaces the grader's tree can be read: it holds no secret (THREATS.md)")
    code = answer | {GUARD: answer[GUARD] + line.replace("ARCH", workshop.arch).encode() + b"\n"}
    with pytest.raises(SubmissionError) as error:
        workshop.discard(workshop.build(code, "hidden"))
    assert error.value.what == "does not compile"
    assert re.search("No such file|not found|Permission denied|can't open|file not", str(error.value)), str(error.value)


def test_a_submission_that_links_the_answer_in_finds_no_answer(workshop: Workshop) -> None:
    # What make has not made again when the compiler looks is what it was handed: nothing of the answer.
    tree, out = workshop.base, workshop.base / "build" / workshop.arch
    assert not [p for p in out.iterdir() if p.name.startswith("rampart")]
    for name in workshop.lab.everywhere:
        assert not (tree / name).exists() and not (out / name).with_suffix(".o").exists()


# ---- the build ----------------------------------------------------------------------------------------------


@pytest.mark.timeout(900)
@pytest.mark.parametrize("code", [
    '__asm__(".rept 100000000\\n.rept 1000\\n.quad 0\\n.endr\\n.endr");',
    '__asm__(".section .data\\n.fill 0x40000000, 1, 1");',
    "#define A X X X X X X X X X X\n#define B A A A A A A A A A A\n#define C B B B B B B B B B B\n"
    "#define D C C C C C C C C C C\n#define E D D D D D D D D D D\n#define F E E E E E E E E E E\n"
    "#define X 1,\nint huge[] = { F F F F F F F F F F };"], ids=["loop", "huge file", "macros"])
def test_a_submission_that_never_ends_to_assemble_is_stopped(workshop: Workshop, answer: dict[str, bytes],
                                                            code: str) -> None:
    with pytest.raises(SubmissionError) as error:
        workshop.discard(workshop.build(answer | {GUARD: answer[GUARD] + code.encode() + b"\n"}, "endless"))
    assert error.value.what == "does not compile"


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Each level of isolation."""
    monkeypatch.setenv("RAMPART_ISOLATION", request.param)
    if request.param == SEPARATE_UID:
        if os.geteuid() != 0:
            pytest.skip("uids are root's to give")
        monkeypatch.setenv("RAMPART_DISPOSABLE", "1")
    return choose()


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A directory to build in, as a workshop makes it."""
    for folder in [*tmp_path.parents][:2]:
        folder.chmod(0o711)
    tmp_path.chmod(0o711)
    made = tmp_path / "scratch"
    made.mkdir()
    return made


def test_a_build_that_says_a_lot_is_kept_short(level: Sandbox, scratch: Path) -> None:
    status, text = level.run(["/bin/sh", "-c", "yes | head -c 30000000; exit 3"], scratch, 60)
    assert status == 3 and 0 < len(text) <= OUTPUT_MAX


def test_a_build_that_leaves_a_process_behind_leaves_none(level: Sandbox, scratch: Path) -> None:
    word = f"left-{os.getpid()}"
    status, _ = level.run(["/bin/sh", "-c", f"setsid sh -c 'while :; do :; done # {word}' >/dev/null 2>&1 & exit 0"],
                          scratch, 60)
    assert status == 0
    level.sweep()
    # Killed is not gone: what is killed goes by itself, and soon.
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        if word in _read(path):
            with contextlib.suppress(ProcessLookupError):
                end = os.pidfd_open(int(path.parent.name))
                assert select.select([end], [], [], 60)[0], "it still runs"
                os.close(end)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""


def test_the_reach_of_each_level_ends_at_its_scratch_directory(level: Sandbox, scratch: Path, tmp_path: Path) -> None:
    results, secret = tmp_path / "results", tmp_path / "secret"
    results.mkdir(mode=0o700)
    (results / "results.json").write_text("mine")
    secret.write_text("key")
    secret.chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        tries = {
            "forges a result": f"echo forged >{results}/results.json", "makes a result": f"echo x >{results}/new",
            "reads a secret": f"cat {secret}", "reads shadow": "cat /etc/shadow",
            "writes the tree": f"echo x >>{ROOT}/Makefile", "writes /usr": "echo x >/usr/x",
            "writes too much": "head -c 100000000 /dev/zero >big 2>&1 && test $(stat -c %s big) -gt 70000000",
            "gets privileges": "grep -q 'NoNewPrivs:.0' /proc/self/status",
            "is somebody": "setpriv --reuid=0 --clear-groups true 2>&1 && test -w /etc/shadow",
            "reaches the network": f"/usr/bin/python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {port}), 5)'",
        }
        succeeded = [name for name, code in tries.items()
                     if level.run(["/bin/sh", "-c", f"({code}) >/dev/null 2>&1"], scratch, 60)[0] == 0]
    assert succeeded == []
    assert (results / "results.json").read_text() == "mine" and [*results.iterdir()] == [results / "results.json"]
    # The environment tells it nothing, either.
    said = level.run(["/usr/bin/env"], scratch, 60)[1]
    assert {line.partition("=")[0] for line in said.splitlines()} <= {*ENVIRONMENT, "PWD"}
    # It can do what it should.
    assert level.run(["/bin/sh", "-c", "echo x >made && cat made"], scratch, 60) == (0, "x\n")


# ---- QEMU ---------------------------------------------------------------------------------------------------


def test_qemu_has_nothing_to_offer(workshop: Workshop, tmp_path: Path) -> None:
    m = Machine(tmp_path / "k", arch=workshop.arch, icount=True, wrapper=workshop.sandbox.machine_wrapper(tmp_path))
    line = " ".join(m.command({"qmp": 3, "gdb": 4, "serial": 5, "ram": 6}, tmp_path / "fifo"))
    assert "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny" in line
    assert "-nodefaults" in line and "-net none" in line and "--fsize=" in line and "--data=" in line
    assert not re.search(r"semihosting|virtfs|fsdev|virtiofs|hostfwd|-drive|-device|-usb|-vnc|-spice|[,-]smb\b", line)
    assert re.findall(r"-netdev (\w+)", line) == ["hubport"], "a hub that nobody is on, for the clock's sake"


@pytest.mark.parametrize("arch_level", LEVELS)
@pytest.mark.timeout(1800)
def test_a_grade_is_the_same_at_every_level_and_names_it(arch_level: str, arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if arch_level == SEPARATE_UID and os.geteuid() != 0:
        pytest.skip("uids are root's to give")
    monkeypatch.setenv("RAMPART_ISOLATION", arch_level)
    monkeypatch.setenv("RAMPART_DISPOSABLE", "1")
    sandbox = choose()
    uids: set[int] = set()
    start = Machine._start

    def watched(self: Machine) -> None:
        start(self)
        waiting = [self._process.pid]
        while waiting:
            pid = waiting.pop()
            waiting += [int(n) for t in Path(f"/proc/{pid}/task").iterdir() for n in (t / "children").read_text().split()]
            if "qemu" in os.readlink(f"/proc/{pid}/exe"):
                uids.add(os.stat(f"/proc/{pid}").st_uid)

    monkeypatch.setattr(Machine, "_start", watched)
    with Workshop(ROOT, lab_named(ROOT, "stack-guard", arch), sandbox) as made:
        result = grade(made, made.take(ROOT), 3, "level")
    assert result.score == 100 and result.isolation == arch_level
    if arch_level == SEPARATE_UID:
        assert uids == {sandbox.machine_uid} and sandbox.machine_uid not in (0, os.getuid(), sandbox.uid)


@pytest.mark.arch("aarch64")
@pytest.mark.timeout(900)
def test_a_kernel_that_calls_semihosting_reaches_no_file(workshop: Workshop, answer: dict[str, bytes]) -> None:
    name = "semihosting-was-here"
    code = early(workshop, answer, f'''
	static const char file[] = "{name}";
	static uint64_t args[3];
	register uint64_t op __asm__("x0") = 1; /* SYS_OPEN */
	register uint64_t *at __asm__("x1") = args;

	args[0] = (uint64_t)file;
	args[1] = 4; /* "w" */
	args[2] = sizeof(file) - 1;
	__asm__ volatile("hlt #0xf000" : "+r"(op) : "r"(at) : "memory");''')
    before = workshop.scratch
    result = grade(workshop, code, 1, "semihosting")
    assert not result.problem, result.problem_text
    assert result.score == 0 and not passed(result)
    assert not list(before.rglob(name)) and not (Path.cwd() / name).exists()


# ---- no isolation -------------------------------------------------------------------------------------------


def test_without_isolation_the_grader_refuses_and_it_is_no_grade(tmp_path: Path, workshop: Workshop,
                                                                answer: dict[str, bytes]) -> None:
    for name, data in answer.items():
        (tmp_path / "s" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "s" / name).write_bytes(data)
    done = subprocess.run([sys.executable, "-m", "grade.lab", "grade", "stack-guard", "--arch", workshop.arch, "--from",
                           str(tmp_path / "s"), "--out", str(tmp_path / "out")], cwd=ROOT, env={"PATH": "/nonexistent"},
                          capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2 and "no isolation on this host" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_level_that_is_demanded_and_not_to_be_had_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAMPART_ISOLATION", "a prayer")
    with pytest.raises(SandboxError, match="a prayer"):
        choose(trust=True)
    monkeypatch.setenv("RAMPART_ISOLATION", SEPARATE_UID)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SandboxError, match="no isolation"):
        choose(trust=True)
    assert main(["grade", "stack-guard"]) == 2
