"""Ordinary Linux programs on Rampart: the regression programs, the shell at its terminal, and how the
machine starts and ends."""

from __future__ import annotations

import platform
import re
import subprocess
from pathlib import Path

import pytest

from grade.image import Image
from grade.initrd import Archive
from grade.plugin import Boot, Build
from grade.qemu import PROMPT, Machine

# Host seconds for what takes about one on an idle host, and for what takes twenty.
SOON, LONG = 90, 600
# They load the kernel, and others judge what becomes of it.
LOADS = {"confined", "cow", "disarm", "exempt", "outputs", "forkbomb", "forkexec", "fuzz", "hammer", "hold", "load",
         "memhog", "refs", "rights", "spaces", "sparse", "stale", "turns"}
ERASE, KILL_LINE, WORD_ERASE, LITERAL = "\x7f", "\x15", "\x17", "\x16"
CTRL_C, CTRL_D, CTRL_Z, ESCAPE = "\x03", "\x04", "\x1a", "\x1b"

pytestmark = [pytest.mark.guest, pytest.mark.timeout(LONG + 60)]


def said(m: Machine, timeout: float = SOON) -> str:
    """What the console showed from start to end, once the guest has ended itself."""
    assert m.wait_exit(timeout) == 0
    return m.transcript


def name_sizes(archive: bytes) -> list[int]:
    """Of each record the bytes of its name, NULs and all: a field of its header (cpio(5), "New ASCII Format")."""
    sizes, at = [], 0
    while archive[at:at + 6] == b"070701":
        fields = [int(archive[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in range(13)]
        sizes.append(fields[11])
        at = (at + 110 + fields[11] + 3 & ~3) + fields[6]
        at = at + 3 & ~3
    return sizes


def test_no_name_in_an_initramfs_is_padded_beyond_what_readers_take() -> None:
    for before in range(0, 4096, 4):
        archive = Archive()
        archive.file("a", bytes(before), 0o644)
        archive.file("usr/lib/a-library-whose-name-is-long.so", bytes(0x4000), 0o644)
        sizes = name_sizes(archive.pack())
        assert len(sizes) == 3 and max(sizes) <= 4096, f"{before} bytes before it: {sizes}"


def has(transcript: str, line: str) -> bool:
    """Whether a whole line of the transcript matches the pattern."""
    return re.search(rf"^{line}$", transcript, re.MULTILINE) is not None


def assert_regressions_pass(transcript: str) -> None:
    """Every regression program that is built ran, counted all its tests as passed, and exited with 0."""
    sources = Path(__file__).resolve().parents[2].glob("user/test/*.c")
    wanted = {source.stem for source in sources} - LOADS
    found = re.findall(r"^all\.sh: test-(\w+) begins\n(.*?)^all\.sh: test-\1 exited with (\d+)$",
                       transcript, re.MULTILINE | re.DOTALL)
    assert {name for name, _, _ in found} == wanted
    wrong = []
    for name, said, status in found:
        count = re.search(r"^# (\d+) of (\d+) passed$", said, re.MULTILINE)
        good = count and int(count[1]) == int(count[2]) > 0
        if status != "0" or not good or re.search(r"^not ok", said, re.MULTILINE):
            failures = re.findall(r"^(?:not ok|differs).*", said, re.MULTILINE)
            wrong += [f"test-{name} exited with {status}", *(failures or said.splitlines()[-5:])]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("smp", [1, 4])
def test_every_regression_program_passes_on_rampart(boot: Boot, smp: int) -> None:
    transcript = said(boot(run="/test/all.sh", smp=smp, mem=256), LONG)
    assert_regressions_pass(transcript)
    assert not has(transcript, "(oops|panic): .*")


def test_every_regression_program_passes_on_linux(boot: Boot, linux: Path, arch: str) -> None:
    # x86_64 without five-level page tables, so that user addresses end at 2^47.
    cpu = {"x86_64": "max,-la57"}.get(arch)
    # Debian's arm64 kernel lets programs map addresses from 4 KiB on, its x86_64 one from 64 KiB.
    m = boot(run="/test/all.sh", append="quiet sysctl.vm.mmap_min_addr=65536", kernel=linux, cpu=cpu, smp=1, mem=256)
    assert_regressions_pass(said(m, LONG))


def test_no_users_timers_take_all_of_a_processors_time(boot: Boot) -> None:
    """Counted, so that no interrupt waits for a busy host: a processor that only takes interrupts gets nowhere."""
    m = boot(run="/bin/test-clocks timers_leave_time_for_others", smp=1, icount=True, keep=True)
    m.wait_for("^(not )?ok timers_leave_time_for_others", LONG)
    assert has(m.transcript, "ok timers_leave_time_for_others")


def test_threads_that_make_threads_do_not_take_all_of_a_processors_time(boot: Boot) -> None:
    """Counted: on a busy host the timer's interrupt comes into a chain's turn, and breaks it."""
    m = boot(run="/bin/test-process chains_of_forks_leave_time_for_others", smp=1, icount=True)
    assert has(said(m, LONG), "ok chains_of_forks_leave_time_for_others")


# ---- The shell at its terminal ----------------------------------------------------------------------------


@pytest.fixture
def shell(boot: Boot) -> Machine:
    """A machine whose shell waits for a command."""
    m = boot(smp=2)
    m.wait_for(PROMPT, SOON)
    return m


def test_a_regression_program_that_lacks_what_it_is_asked_for_says_so(shell: Machine) -> None:
    """Labs ask for some of its tests by name: a name that is gone must not pass."""
    there = "test-threads barriers"
    assert shell.ask(f"{there} >/dev/null; echo $?", SOON) == "0\n"
    assert shell.ask(f"{there} not_there >/dev/null; echo $?", SOON) == "2\n"


def test_ctrl_c_kills_a_busy_loop(shell: Machine) -> None:
    shell.send("sh -c 'echo spin''ning; while :; do :; done'\n")
    shell.wait_for(r"^spinning", SOON)
    shell.send(CTRL_C)
    shell.wait_for(PROMPT, SOON)
    assert shell.ask("echo status $?", SOON) == "status 130\n"


def test_jobs_stop_and_go_on_in_background_and_foreground(shell: Machine) -> None:
    going_on = r"going on\r?\n"      # the job's own word that it was told to
    shell.send("sh -c 'trap \"echo go\"\"ing on\" CONT; echo spin''ning; while :; do :; done'\n")
    shell.wait_for(r"^spinning", SOON)
    shell.send(CTRL_Z)
    shell.wait_for(PROMPT, SOON)
    assert re.search(r"\[1\]\+ +Stopped", shell.ask("jobs", SOON))
    shell.send("bg\n")
    shell.wait_for(going_on, SOON)
    shell.send("jobs\n")
    shell.wait_for(r"\[1\]\+ +Running", SOON)
    shell.send("fg\n")
    # A terminal's signal reaches whoever is in the foreground when it is typed: the shell names the job, gives it the
    # terminal, and then tells it to go on.
    shell.wait_for(going_on, SOON)
    shell.send(CTRL_Z)
    shell.wait_for(r"Stopped[^\n]*\n(?s:.*)" + PROMPT, SOON)
    shell.send("bg\n")
    shell.wait_for(going_on, SOON)
    shell.send("kill %1; wait %1; echo status $?\n")
    shell.wait_for(r"^status 143\r?\n", SOON)


def test_a_background_job_that_reads_the_terminal_stops_until_it_is_in_the_foreground(
        shell: Machine) -> None:
    shell.ask("cat > /tmp/typed &", SOON)
    listed = shell.ask("while jobs | grep -q Running; do :; done; jobs", SOON)
    assert re.search(r"Stopped \(tty input\)", listed)
    shell.send("fg\n")
    shell.wait_for(r"^cat.*\n", SOON)
    shell.send(f"for cat\n{CTRL_D}")
    shell.wait_for(PROMPT, SOON)
    assert shell.ask("cat /tmp/typed", SOON) == "for cat\n"


def test_typed_lines_are_edited_by_erase_word_erase_kill_and_literal_next(shell: Machine) -> None:
    shell.send("sh -c 'echo rea''dy; cat > /tmp/typed; echo en''ded'\n")
    shell.wait_for(r"^ready", SOON)
    shell.send(f"abx{ERASE}c\njunk{KILL_LINE}kept\none two{WORD_ERASE}three\n{LITERAL}{CTRL_C}\n{CTRL_D}")
    shell.wait_for(r"^ended(?s:.*)" + PROMPT, SOON)
    assert shell.ask("cat -v /tmp/typed", SOON) == "abc\nkept\none three\n^C\n"


def test_vi_edits_a_file(shell: Machine) -> None:
    def type_until_escape(keys: str) -> None:
        # What follows an escape too soon would be part of a function key's sequence.
        shell.send(keys)
        shell.wait_for(r"I /tmp/poem", SOON)
        shell.send(ESCAPE)
        shell.wait_for(r"- /tmp/poem", SOON)

    shell.send("vi /tmp/poem\n")
    shell.wait_for(r"- /tmp/poem", SOON)
    for keys in "ihello wrld", "bcwworld", "osecond", "yyp:s/second/third/\n1GyyPcwfirst":
        type_until_escape(keys)
    shell.send(":wq\n")
    shell.wait_for(PROMPT, SOON)
    assert shell.ask("cat /tmp/poem", SOON) == "first world\nhello world\nsecond\nthird\n"


def test_ps_and_top_list_the_processes(shell: Machine) -> None:
    listed = shell.ask("ps -o pid,ppid,user,comm", SOON)
    assert re.search(r"^ +1 +0 root +init$", listed, re.MULTILINE)
    assert re.search(r"^ +\d+ +\d+ root +ps$", listed, re.MULTILINE)
    shown = shell.ask("top -b -n 1 | cat", SOON)
    assert re.match(r"Mem: \d+K used, \d+K free", shown)
    assert re.search(r"^ +1 +0 root +S .*init", shown, re.MULTILINE)
    assert re.search(r"^ +\d+ +\d+ root +R .*top -b -n 1", shown, re.MULTILINE)


def test_a_shell_that_ends_is_followed_by_another(shell: Machine) -> None:
    first = shell.ask("echo $$", SOON)
    shell.send("exit\n")
    shell.wait_for(PROMPT, SOON)
    assert int(shell.ask("echo $$", SOON)) > int(first)


# ---- The machine's end ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "reason"), [
    ("poweroff", "guest-shutdown"), ("poweroff -f", "guest-shutdown"),
    ("reboot", "guest-reset"), ("reboot -f", "guest-reset")])
def test_poweroff_and_reboot_end_the_machine_as_their_names_say(shell: Machine, command: str,
                                                                reason: str) -> None:
    shell.send(command + "\n")
    assert shell.wait_exit(SOON) == 0
    assert shell.shutdown_reason() == reason


PANIC_REGISTERS = {
    "x86_64": "cr0 [0-9a-f]+ .*cr3 [0-9a-f]+ .*cr4 [0-9a-f]+",
    "aarch64": "sctlr [0-9a-f]+ .*esr [0-9a-f]+ .*far [0-9a-f]+ .*ttbr0 [0-9a-f]+",
}


def test_a_panic_names_its_process_and_shows_registers_and_a_symbolised_backtrace(boot: Boot, image: Image,
                                                                                  arch: str) -> None:
    m = boot(append="quiet rdinit=/bin/true panic=-1")
    report, image = said(m), image.at(m)
    assert has(report, "panic: attempted to kill init .*")
    assert has(report, 'cpu .*process 1 "true"')
    assert has(report, PANIC_REGISTERS[arch])
    frames = re.findall(r"^  ([0-9a-f]{16}) (\w+)\+0x([0-9a-f]+)$", report, re.MULTILINE)
    names = [name for _, name, _ in frames]
    assert {"sys_exit_group", "syscall_dispatch"} <= set(names)
    wrong = {name for addr, name, off in frames if int(addr, 16) - int(off, 16) != image.sym(name)}
    assert not wrong, "addresses and names of the backtrace disagree"


def test_a_panic_restarts_at_once_where_panic_is_negative(boot: Boot) -> None:
    m = boot(append="quiet rdinit=/bin/true panic=-1")
    assert m.wait_exit(SOON) == 0
    assert m.shutdown_reason() == "guest-reset"


def test_a_panic_restarts_after_the_seconds_that_panic_says(boot: Boot) -> None:
    m = boot(append="quiet rdinit=/bin/true panic=1")
    assert has(said(m), "restarting in 1 s")
    assert m.shutdown_reason() == "guest-reset"


@pytest.mark.parametrize("word", ["", " panic=0"])
def test_a_panic_halts_every_cpu_where_panic_is_zero_or_absent(boot: Boot, image: Image, word: str) -> None:
    m = boot(append="quiet rdinit=/bin/true" + word, smp=4, paused=True)
    m.run_until(image.at(m).sym("arch_halt"), hits=4, timeout=SOON)   # each CPU gets there once
    m.wait_for(r"^panic: ", SOON)
    assert not m.exited and m.shutdown_reason() is None


# ---- The command line -------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["rdinit", "init"])
def test_the_program_that_the_command_line_names_is_process_1(boot: Boot, which: str) -> None:
    words = {"rdinit": "rdinit=/bin/sh", "init": "rdinit=/nowhere init=/bin/sh"}[which]
    m = boot(append=f"quiet panic=-1 {words}", run='-c "echo I am $$, $0 $1" zero one')
    assert has(said(m), "I am 1, zero one")


def test_a_named_init_that_cannot_run_is_a_panic_that_names_it(boot: Boot) -> None:
    m = boot(append="quiet panic=-1 rdinit=/nowhere init=/etc/passwd")
    m.wait_for(r"^panic: .*/etc/passwd", SOON)


def test_words_that_the_kernel_does_not_know_go_to_init(boot: Boot) -> None:
    shown = said(boot(append="quiet FRUIT=pear module.setting=1", run='/bin/sh -c "echo $FRUIT; env"'))
    assert has(shown, "pear") and "module" not in shown
    shown = said(boot(append="quiet rdinit=/bin/echo panic=-1 apple", run="pear"))
    assert has(shown, "apple pear")


def test_quiet_leaves_the_console_to_programs(boot: Boot) -> None:
    quiet, talking = said(boot(run="/bin/echo hello")), said(boot(append="", run="/bin/echo hello"))
    assert quiet == "hello\ninit: /bin/echo exited with 0\n"
    assert talking.startswith("Rampart on ") and has(talking, "hello")


# ---- Machines and archives --------------------------------------------------------------------------------


@pytest.mark.parametrize("smp", [1, 8])
@pytest.mark.parametrize("mem", [128, 8192])
def test_it_boots_with_all_of_its_cpus_and_memory(boot: Boot, smp: int, mem: int) -> None:
    m = boot(run='/bin/sh -c "grep -c ^processor /proc/cpuinfo; grep MemTotal /proc/meminfo"', smp=smp, mem=mem)
    found = re.search(r"^(\d+)\nMemTotal: +(\d+) kB\n", said(m))
    assert found and int(found[1]) == smp
    assert 0.85 * mem < int(found[2]) / 1024 <= mem


@pytest.mark.parametrize(("damage", "message"), [
    ("cut", "initramfs: bad archive at byte .*ends.*"), ("noise", "initramfs: .*no cpio header.*"),
    ("empty name", "initramfs: bad archive at byte 0: .*"), ("none", "panic: no init found.*")])
def test_a_damaged_initramfs_is_named_before_the_panic(boot: Boot, build: Build, tmp_path: Path,
                                                       damage: str, message: str) -> None:
    whole = build.initrd.read_bytes()
    archive = tmp_path / "initrd"
    archive.write_bytes({
        "cut": whole[:200_000],
        "noise": bytes(i * 167 % 251 for i in range(1, 5001)),
        "empty name": b"070701" + b"0" * 104 + bytes(512),
        "none": b"",
    }[damage])
    m = boot(append="quiet panic=-1", initrd=None if damage == "none" else archive)
    shown = said(m)
    assert has(shown, message)
    assert has(shown, "panic: no init found.*")


# ---- Programs of the toolchain ----------------------------------------------------------------------------


def compiled(arch: str, source: str, flags: str, to: Path) -> bytes:
    gcc = "gcc" if arch == platform.machine() else f"{arch}-linux-gnu-gcc"
    to.with_suffix(".c").write_text(source)
    subprocess.run([gcc, *flags.split(), "-pthread", "-o", to, to.with_suffix(".c")], check=True, timeout=60)
    return to.read_bytes()


HELLO = r"""
#include <pthread.h>
#include <stdio.h>
#include <sys/auxv.h>

static __thread int mine = 41;

static void *thread(void *arg)
{
	mine++;
	printf("%d in a thread, ", mine);
	return arg;
}

int main(void)
{
	pthread_t t;

	if (pthread_create(&t, NULL, thread, NULL) == 0 && pthread_join(t, NULL) == 0)
		printf("%d in main, interpreter: %s\n", mine, getauxval(AT_BASE) ? "yes" : "no");
	return 0;
}
"""
INTERPRETER = {"x86_64": "/lib64/ld-linux-x86-64.so.2", "aarch64": "/lib/ld-linux-aarch64.so.1"}


@pytest.mark.parametrize(("flags", "interpreter"), [
    ("-static -no-pie", "no"), ("-static-pie -fPIE", "no"), ("-no-pie", "yes"), ("-pie -fPIE", "yes")])
def test_programs_of_the_toolchain_run_however_they_are_linked(boot: Boot, build: Build, arch: str, tmp_path: Path,
                                                               flags: str, interpreter: str) -> None:
    gcc = "gcc" if arch == platform.machine() else f"{arch}-linux-gnu-gcc"
    more = Archive()
    for folder in ("lib", "lib64"):
        more.directory(folder, 0o755)
    for path in (INTERPRETER[arch], "/lib/libc.so.6"):
        found = subprocess.run([gcc, f"-print-file-name={Path(path).name}"], capture_output=True, text=True, timeout=60,
                               check=True).stdout.strip()
        more.file(path.removeprefix("/"), Path(found).read_bytes(), 0o755)
    more.file("bin/hello", compiled(arch, HELLO, flags, tmp_path / "hello"), 0o755)
    both = tmp_path / "initrd"
    both.write_bytes(build.initrd.read_bytes() + more.pack())
    shown = said(boot(run="/bin/hello", initrd=both))
    assert has(shown, f"42 in a thread, 41 in main, interpreter: {interpreter}")
    assert has(shown, "init: /bin/hello exited with 0")


def test_an_archive_of_one_program_and_no_devices_is_enough(boot: Boot, arch: str, tmp_path: Path) -> None:
    """Linux's root has /dev/console and /root before any archive is unpacked."""
    alone = Archive()
    alone.file("init", compiled(arch, HELLO, "-static", tmp_path / "hello"), 0o755)
    archive = tmp_path / "initrd"
    archive.write_bytes(alone.pack())
    assert has(said(boot(append="quiet panic=-1", initrd=archive)), "42 in a thread, 41 in main, interpreter: no")
