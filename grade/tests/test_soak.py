"""Hours of use in minutes: what is taken comes back, and what is hostile leaves a kernel that serves a shell.

The guest's programs only make the noise. Verdicts come from outside: frames counted in the guest's memory,
registers, the console for an oops.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Callable

import pytest

from grade.deadline import Deadline, DeadlineError
from grade.frames import at_rest, in_use, wrong_references
from grade.plugin import Boot
from grade.qemu import PROMPT, Machine
from grade.spaces import Kernel

pytestmark = pytest.mark.guest
soak = pytest.mark.soak
NMI = pytest.mark.arch("x86_64")    # on aarch64 the kernel has no interrupts that it cannot mask

KernelOf = Callable[[Machine], Kernel]
TROUBLE = re.compile(r"(?i)oops|panic|assert|not ok|BUG:|register|backtrace|refcount")
STACK = 32768
SLACK = 128     # frames: what the heap's lists and empty slabs keep on each CPU, a shell that has grown


def shell(boot: Boot, **options: object) -> Machine:
    """A guest at its shell prompt."""
    m = boot(append=str(options.pop("append", "quiet")), **options)
    m.wait_for(PROMPT, 30)
    return m


def healthy(m: Machine) -> None:
    """The shell answers, programs start, and nothing went wrong on the way."""
    assert m.ask("echo $((6 * 7)) | tr 4 5; ls / | head -1", 60).split() == ["52", "bin"]
    assert not TROUBLE.search(m.transcript), "\n".join(m.tail(60))


def stop_at_rest(m: Machine, kernel_of: KernelOf, timeout: float = 60) -> Kernel:
    """Stops the guest at a moment when no CPU is at work in the kernel."""
    deadline = Deadline(timeout)
    while True:
        deadline.check("every CPU idle or in user mode")
        m.stop()
        kernel = kernel_of(m)
        if at_rest(kernel):
            return kernel
        m.cont()
        time.sleep(random.uniform(0, 0.01))


def quiet_use(m: Machine, kernel_of: KernelOf) -> tuple[Counter[str], int]:
    """Frames in use by type, and pieces of the process table, once all is quiet; checks references as well."""
    m.ask("sleep 0.3", 60)
    time.sleep(0.3)
    kernel = stop_at_rest(m, kernel_of)
    use = in_use(kernel)
    use["kernel"] -= kernel.i32(kernel.image.sym("nmapped")) * STACK // 4096   # free stacks, kept mapped (64 at most)
    wrong = wrong_references(kernel)
    chunks = kernel.image.sym("chunks")
    pieces = sum(kernel.u64(chunks + 8 * i) != 0 for i in range(kernel.image.size("chunks") // 8))
    m.cont()
    assert not wrong, "\n".join(map(str, wrong[:20]))
    return use, pieces


def comes_back(m: Machine, kernel_of: KernelOf, work: Callable[[], None], files: int = SLACK) -> None:
    """Memory in use after `work` is what it was before, but for SLACK frames, and a frame for each piece that
    the process table has grown by (it keeps one for each 64 numbers that were ever used)."""
    before, pieces = quiet_use(m, kernel_of)
    work()
    after, pieces_after = quiet_use(m, kernel_of)
    print("frames before", dict(before), "after", dict(after), "table", pieces_after - pieces)
    grown = after - before
    assert grown["anon"] <= 16 and grown["table"] <= 16 and grown["file"] <= files, grown
    assert grown.total() - grown["file"] <= SLACK + pieces_after - pieces, grown


def run(m: Machine, command: str, done: str, timeout: float) -> None:
    """Runs a program of user/test from the shell; `done` ends it well."""
    out = m.ask(command, timeout)
    assert re.search(done, out, re.MULTILINE), out[-2000:]


# ---- what is taken comes back ---------------------------------------------------------------------------


def fork_and_exec(boot: Boot, kernel_of: KernelOf, warm: int, count: int, timeout: float) -> None:
    m = shell(boot, smp=4)
    run(m, f"test-forkexec {warm}", rf"^forkexec: {warm} ", timeout)
    comes_back(m, kernel_of, lambda: run(m, f"test-forkexec {count}", rf"^forkexec: {count} ", timeout))
    healthy(m)


def test_memory_comes_back_after_500_forks_and_execs(boot: Boot, kernel_of: KernelOf) -> None:
    fork_and_exec(boot, kernel_of, 100, 500, 60)


@soak
@pytest.mark.timeout(900)
def test_memory_comes_back_after_10000_forks_and_execs(boot: Boot, kernel_of: KernelOf) -> None:
    fork_and_exec(boot, kernel_of, 500, 10000, 600)


@soak
@pytest.mark.timeout(1200)
def test_memory_comes_back_after_100000_forks(boot: Boot, kernel_of: KernelOf) -> None:
    m = shell(boot, smp=4)
    run(m, "test-forkexec -f 500", "^forkexec: 500 ", 60)
    comes_back(m, kernel_of, lambda: run(m, "test-forkexec -f 100000", "^forkexec: 100000 ", 900))
    healthy(m)


@soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("limit", ["", "-u "])
def test_a_fork_bomb_leaves_a_kernel_that_serves_a_shell(boot: Boot, kernel_of: KernelOf, limit: str) -> None:
    m = shell(boot, smp=4)
    run(m, f"test-forkbomb {limit}1", "^forkbomb: done", 120)
    comes_back(m, kernel_of, lambda: run(m, f"test-forkbomb {limit}5", "^forkbomb: done", 240))
    healthy(m)


def test_a_memory_hog_is_killed_alone_and_its_memory_comes_back(boot: Boot, kernel_of: KernelOf) -> None:
    m = shell(boot, smp=2)
    comes_back(m, kernel_of, lambda: run(m, "test-memhog", "^memhog: done", 120))
    assert m.transcript.count("out of memory: killed process") == 3
    healthy(m)


def test_all_processes_that_share_a_hogs_memory_end_and_nobody_else(boot: Boot, kernel_of: KernelOf) -> None:
    m = shell(boot, smp=2)
    comes_back(m, kernel_of, lambda: run(m, "test-memhog shared", "^memhog: done", 60))
    assert m.transcript.count("out of memory: killed process") == 1
    healthy(m)


def test_who_fills_memory_with_page_tables_is_killed_alone_and_its_memory_comes_back(boot: Boot,
                                                                                      kernel_of: KernelOf) -> None:
    m = shell(boot, smp=2)
    comes_back(m, kernel_of, lambda: run(m, "test-memhog tables", "^memhog: done", 60))
    assert m.transcript.count("out of memory: killed process") == 1
    healthy(m)


@soak
@pytest.mark.timeout(600)
def test_files_in_memory_may_fill_it_and_their_memory_comes_back(boot: Boot, kernel_of: KernelOf) -> None:
    m = shell(boot, smp=2)
    m.ask("mkdir -p /mnt && mount -t tmpfs -o size=90% tmpfs /mnt", 20)

    def fill() -> None:
        for _ in range(3):
            out = m.ask("dd if=/dev/zero of=/mnt/big bs=1M; echo; ls -l /mnt", 120)
            assert re.search("No space|Out of memory|Cannot allocate|Killed", out), out
            # With next to nothing left, it is still the hog that dies, and not the shell.
            run(m, "test-memhog; rm -f /mnt/big", "^memhog: done", 240)

    comes_back(m, kernel_of, fill)
    healthy(m)


# ---- garbage ---------------------------------------------------------------------------------------------


@soak
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("smp", [1, 2, 4])
@pytest.mark.parametrize("user", ["student", "root"])
def test_a_million_garbage_calls_leave_a_kernel_that_serves_a_shell(boot: Boot, seed: int, user: str,
                                                                    smp: int) -> None:
    m = shell(boot, smp=smp, append="")
    calls = 350_000     # times three machines: more than a million for each user
    if user == "student":
        run(m, f"test-fuzz {calls} {seed * 100 + smp}", rf"^fuzz: done {calls}", 1200)
    else:
        # Root may hang up this very shell, so in shares; those that end count.
        done = attempt = 0
        while done < calls:
            attempt += 1
            assert attempt < 100
            out = m.ask(f"test-fuzz -r 25000 {seed * 10000 + smp * 100 + attempt}", 600)
            done += 25000 * bool(re.search("^fuzz: done", out, re.MULTILINE))
    healthy(m)


# ---- everything at once ----------------------------------------------------------------------------------


def hammer(boot: Boot, kernel_of: KernelOf, seconds: int, looks: int, rng: random.Random) -> None:
    m = shell(boot, smp=4, mem=256)
    run(m, "test-hammer 2", "^hammer: done", 120)
    before, pieces = quiet_use(m, kernel_of)
    m.send(f"test-hammer {seconds}\n")
    suspects: Counter[tuple[int, str, int]] = Counter()
    seen_at_rest = 0
    for _ in range(looks):
        time.sleep(rng.uniform(0.3, 1) * seconds / looks)
        try:    # one moment in two hundred will do, on a busy host
            kernel = stop_at_rest(m, kernel_of, 20)
        except DeadlineError:
            continue
        seen_at_rest += 1
        wrong = wrong_references(kernel)
        m.cont()
        fewer = [w for w in wrong if w.fewer]
        assert not fewer, "\n".join(map(str, fewer[:20]))
        # A call that sleeps half way (a read into a page that must be brought in) may hold one for a moment.
        seen = {(w.frame.number, w.frame.type, w.frame.refs - w.mappings) for w in wrong}
        suspects = Counter({s: suspects[s] + 1 for s in seen})
        leaked = [s for s, n in suspects.items() if n >= 4]
        assert not leaked, [f"frame {n:#x} ({t}) has {extra} references without mappings" for n, t, extra in leaked]
    assert seen_at_rest >= looks // 4
    m.wait_for("^hammer: done", 120 + seconds)
    m.wait_for(PROMPT, 20)
    after, pieces_after = quiet_use(m, kernel_of)
    print("frames before", dict(before), "after", dict(after), "table", pieces_after - pieces)
    assert (after - before).total() <= SLACK + pieces_after - pieces, after - before
    healthy(m)


def test_references_of_frames_are_their_mappings_under_load(boot: Boot, kernel_of: KernelOf, seed: int) -> None:
    hammer(boot, kernel_of, 4, 5, random.Random(seed))


@soak
@pytest.mark.timeout(900)
def test_references_of_frames_are_their_mappings_for_a_minute_of_load(boot: Boot, kernel_of: KernelOf,
                                                                      seed: int) -> None:
    hammer(boot, kernel_of, 60, 20, random.Random(seed))


@soak
@pytest.mark.timeout(600)
def test_no_kernel_stack_is_used_below_its_upper_half(boot: Boot, kernel_of: KernelOf) -> None:
    m = shell(boot, smp=4, mem=256)
    run(m, "test-hammer 3", "^hammer: done", 120)
    fill = b"\xa5" * 8
    m.ask("sleep 0.3", 20)
    kernel = stop_at_rest(m, kernel_of)
    image = kernel.image
    slots, size = image.sym("slots"), image.sizeof("struct slot")
    painted = []
    for i in range(kernel.i32(image.sym("fresh"))):
        base = image_stack(kernel, i)
        used = kernel.member(slots + i * size, "struct slot", "used")
        try:
            pages = [kernel.phys(base + at) for at in range(0, STACK, 4096)]
        except RuntimeError:
            continue        # without frames
        depth = STACK // 2 if used else STACK   # somebody stands on the upper part
        for pa in pages[:depth // 4096]:
            m.write_phys(pa, fill * 512)
        painted.append((base, pages, depth))
    m.cont()
    run(m, "test-hammer 20; sh /test/busybox.sh >/dev/null 2>&1; test-hostile >/dev/null; test-fuzz 20000 3",
        "^fuzz: done", 300)
    m.ask("sleep 0.3", 20)
    kernel = stop_at_rest(m, kernel_of)
    deepest = 0
    for base, pages, depth in painted:
        if [kernel.phys(base + at) for at in range(0, STACK, 4096)] != pages:
            continue        # given back and mapped anew meanwhile
        memory = b"".join(m.read_phys(pa, 4096) for pa in pages)
        at = next((at for at in range(0, STACK, 8) if memory[at:at + 8] != fill), STACK)
        if 0 < at < depth:      # else other frames' contents, or not touched where it was painted
            deepest = max(deepest, STACK - at)
    m.cont()
    print(f"deepest use of a kernel stack: {deepest} of {STACK} bytes, {len(painted)} stacks watched")
    assert 1024 < deepest <= STACK // 2
    healthy(m)


def image_stack(kernel: Kernel, slot: int) -> int:
    """The lowest mapped address of the kernel stack in that slot, when stack-guard is on."""
    return kernel.u64(kernel.image.sym("kstack_area_base")) + (slot + 1) * 2 * STACK - STACK


# ---- interrupts ------------------------------------------------------------------------------------------


def nmis_taken(kernel: Kernel, cpus: int) -> int:
    image = kernel.image
    return sum(kernel.member(image.sym("cpus") + c * image.sizeof("struct cpu"), "struct cpu", "nmis")
               for c in range(cpus))


def storm_of_nmis(boot: Boot, kernel_of: KernelOf, seconds: int, most: int) -> int:
    m = shell(boot, smp=2, mem=256)
    m.send(f"test-hammer {seconds}\n")
    end = time.monotonic() + seconds
    sent = 0
    while sent < most and time.monotonic() < end:
        m.qmp.inject_nmi()
        sent += 1
    m.wait_for("^hammer: done", 120 + seconds)
    m.wait_for(PROMPT, 20)
    healthy(m)
    m.stop()
    taken = nmis_taken(kernel_of(m), 2)
    m.cont()
    print(f"{sent} NMIs sent, {taken} taken")
    return taken


@NMI
def test_nmis_at_any_moment_are_survived(boot: Boot, kernel_of: KernelOf) -> None:
    assert storm_of_nmis(boot, kernel_of, 4, 1000) >= 50


@soak
@pytest.mark.timeout(600)
@NMI
def test_thousands_of_nmis_at_any_moment_are_survived(boot: Boot, kernel_of: KernelOf) -> None:
    assert storm_of_nmis(boot, kernel_of, 60, 1_000_000) >= 5000


@soak
@pytest.mark.timeout(300)
def test_a_flood_of_typing_leaves_a_terminal_that_works(boot: Boot) -> None:
    m = shell(boot, smp=2)
    m.send("cat > /tmp/typed; wc -c < /tmp/typed\n")
    line = "".join(chr(97 + i % 26) for i in range(79)) + "\n"
    for _ in range(1300):
        m.send(line)
    m.send("\x04")
    m.wait_for(rf"^{1300 * 80}\s", 120)
    m.wait_for(PROMPT, 20)
    healthy(m)
