"""The checks of usercopy: which copies the gate lets pass, asked at its door.

Two boots of programs/lab-usercopy.c. In one it copies more than there is, and the grader looks whether the copy is made.
In the other its calls are stopped where they enter usercopy_check, and given other arguments: where the kernel's things
lie is read from its own tables, and which of them, of which sizes, is drawn from the seed. How the gate finds out is not
asked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from grade.cpus import CPUS
from grade.frames import frames, type_at
from grade.gate import Case, Gate, image_cases, object_cases, stack_cases
from grade.heap import cache_of
from grade.labs.grading import Ended, GraderError, Guest, Run
from grade.spaces import Kernel

PROGRAM = "lab-usercopy"
AT_GATES, AT_BEFORE, AT_AFTER, AT_END = range(1, 5)
R_STATUS = 0
SMP = 2
PAGE = 4096
NOTE = 64
POLLFD = 8                          # bytes
ON_STACK = 8                        # so many descriptors does the kernel copy to its stack
SIZES = [96, 128, 192, 256, 512, 1024, 2048, 4096]      # of objects that poll has, by the number of its descriptors
BLOCK = 4 * PAGE                    # what more than 2 * PAGE bytes get
PIECES = 520, 1000                  # of a vector, 16 bytes each: more than 2 * PAGE bytes
DRAWN = 3                           # sizes on each CPU
END = 1 << 64


def scenarios() -> list:
    """What may run side by side."""
    return [copies, doors]


# ---- copies that are made, or not ----------------------------------------------------------------------------


def copied(run: Run, guest: Guest, size: int) -> str:
    """Whether a copy of that size is made until the child is gone: what is wrong, in words."""
    m, image = guest.machine, guest.image
    arguments = CPUS[m.arch.name].arguments
    oops, routines = image.sym("oops"), {image.sym("uaccess_to"), image.sym("uaccess_from")}
    guest.run_to(AT_BEFORE)
    reports, made = [], False
    while (at := guest.run_to(AT_AFTER, extra={oops, *routines})).extra:
        first, second, third = (m.gdb.reg(at.cpu, name) for name in arguments)
        if at.pc in routines:
            made = made or third == size
        elif first:
            return "the kernel faulted"
        else:
            reports.append(Kernel(m, run.image).text(second, 16) if second else "nobody")
    if made:
        return "the copy was made"
    return "" if reports == ["usercopy"] else f"it was reported by {reports[0]}" if reports else "nobody was told"


def copies(run: Run) -> None:
    """The gates, and what is longer than a note."""
    r = run.rng("copies")
    tries = [(way, cpu, size) for way in ("read", "write") for cpu in r.sample(range(SMP), SMP)
             for size in (NOTE + 1, r.randrange(NOTE + 2, 2 * NOTE), 2 * NOTE)]
    words = [*(f"legal,{cpu}" for cpu in range(SMP)), *(f"{way},{cpu},{size}" for way, cpu, size in tries)]
    with run.boot(PROGRAM, " ".join(["gates", *words])) as guest:
        guest.run_to(AT_GATES)
        run.ordinary_gates(guest)
        ends = []
        for _ in range(SMP):
            guest.run_to(AT_AFTER)
            ends.append(guest.result(R_STATUS))
        run.gate("legal", not any(ends), f"on CPUs 0 and 1 the program of legal copies ended with {ends[0]} and {ends[1]}")
        bad = ""
        for way, cpu, size in tries:
            if bad := copied(run, guest, size):
                bad = f"{size} bytes of a note of {NOTE} were to be {'read' if way == 'read' else 'written'} on CPU {cpu}: {bad}"
                break
        run.check("neighbours", not bad, bad or f"{len(tries)} copies were too long, and none was made",
                  "a copy that is longer than the object ends the process with a report before a byte is copied",
                  "usercopy_check() and check_slab_object() in kernel/harden/usercopy.c: who asks, about which way?")


# ---- at the door ---------------------------------------------------------------------------------------------

Wanted = Callable[[Kernel, int], bool]


def door(run: Run, guest: Guest, wanted: Wanted) -> Gate:
    """The gate, at the first call from here on whose address is such a one."""
    m, image = guest.machine, guest.image
    guest.run_to(AT_BEFORE)
    while (at := guest.run_to(AT_AFTER, extra=image.sym("usercopy_check"))).extra:
        kernel = Kernel(m, run.image)
        if wanted(kernel, m.gdb.reg(at.cpu, CPUS[m.arch.name].arguments[0])):
            return Gate(m, kernel, image.sym("oops"), lambda points: asked(guest, points), at.cpu)
    raise GraderError("no call copies what was wanted")


def asked(guest: Guest, points: set[int]) -> int:
    """Lets the gate answer."""
    m, at = guest.machine, guest.run_to(AT_AFTER, extra=points)
    if not at.extra:
        raise Ended("the gate neither returns nor reports")
    if at.pc == guest.image.sym("oops") and m.gdb.reg(at.cpu, CPUS[m.arch.name].arguments[0]):
        raise Ended("the gate itself faults when it is asked")
    return at.pc


def direct_map(kernel: Kernel) -> int:
    """Where all memory is once more."""
    return kernel.u64(kernel.image.sym("direct_map_base"))


def heap_object(kernel: Kernel, va: int) -> bool:
    """An object that kmalloc gave."""
    cache = cache_of(kernel, va)
    return cache is not None and cache.name.startswith("kmalloc") and (va & (PAGE << cache.order) - 1) % cache.size == 0


def heap_cases(gate: Gate) -> Iterator[Case]:
    """Of the object that a call copies to."""
    o = gate.argument(0)
    cache = cache_of(gate.kernel, o)
    size = cache.size if cache else 0
    yield from object_cases("an object", o, size)
    yield f"the second half of an object of {size}", o + size // 2, size // 2, True, True
    yield f"the second half of an object of {size}, and a byte", o + size // 2, size // 2 + 1, False, False


def part_cases(gate: Gate) -> Iterator[Case]:
    """Of a process, of which its cache names a part."""
    kernel = gate.kernel
    cache = cache_of(kernel, o := next(kernel.list_of(kernel.image.sym("process_all"), "struct process", "all")))
    if cache is None:
        raise GraderError("a process is no object of the heap")
    off, size = (kernel.member(cache.address, "struct slab_cache", m) for m in ("user_off", "user_len"))
    yield "the part of a process", o + off, size, True, True
    yield "the part's last byte", o + off + size - 1, 1, True, True
    yield "the part of a process, and a byte behind", o + off, size + 1, False, False
    yield "the part of a process, and eight bytes before", o + off - 8, size, False, False
    yield "what is before the part", o + off - 8, 8, False, False
    yield "what is behind the part", o + off + size, 8, False, False
    yield "the beginning of a process", o, 8, False, False


def within(what: str, base: int, size: int) -> Iterator[Case]:
    """Of a frame, or of a block of some, what may be copied."""
    yield f"all of {what}", base, size, True, True
    yield f"its last byte, of {what}", base + size - 1, 1, True, True


def beyond(what: str, base: int, size: int) -> Iterator[Case]:
    """And what is too much."""
    yield f"{what}, and a byte", base + 1, size, False, False
    yield f"{what}, and the next frame", base, size + PAGE, False, False


def block_cases(gate: Gate) -> Iterator[Case]:
    """Of a block that kmalloc took whole, from each of its frames."""
    p = gate.argument(0)
    yield from within("a block", p, BLOCK)
    yield from beyond("a block", p, BLOCK)
    yield "a block from its second frame on", p + PAGE, BLOCK - PAGE, True, True
    yield "a block from its second frame on, and a byte", p + PAGE, BLOCK - PAGE + 1, False, False
    yield "two frames of a block", p + PAGE + 8, PAGE, True, True


def page_cases(gate: Gate) -> Iterator[Case]:
    """Of a file's frame, which a call copies from, and of a process's, which none does: whether any may is not asked."""
    base = gate.argument(0) & -PAGE
    yield from within("a file's frame", base, PAGE)
    yield from beyond("a file's frame", base, PAGE)
    anon = next(f.number for f in frames(gate.kernel) if f.type == "anon")
    yield from beyond("a process's frame", direct_map(gate.kernel) + anon * PAGE, PAGE)


def nothing_cases(gate: Gate, run: Run) -> Iterator[Case]:
    """Of what is nobody's to copy, and of sizes that wrap."""
    kernel, image, r = gate.kernel, gate.kernel.image, run.rng("nothing")
    direct, known = direct_map(kernel), frames(kernel)
    for kind in ("table", "free"):
        base = direct + r.choice([f.number for f in known if f.type == kind]) * PAGE
        yield f"a frame ({kind})", base, 8, False, False
    others = [t.kstack for t in kernel.threads() if t.address != kernel.current(gate.cpu)]
    yield "another thread's stack", r.choice(others) + 4 * PAGE, 8, False, False
    yield "a user address", 0x400000, 8, False, False
    yield "address 0", 0, 8, False, False
    o = gate.argument(0)
    yield "a size that wraps to before an object", o + 8, END - 8, False, False
    yield "half of all addresses, from an object on", o, 1 << 63, False, False
    yield "a size that wraps to before a variable", image.sym("cpus_online"), END - 64, False, False
    yield "a size that wraps on the stack", gate.saved[CPUS[gate.arch].frame] + 16, END - 32, False, False
    base = direct + next(f.number for f in known if f.type == "anon") * PAGE
    yield "a size that wraps to before a frame", base + 8, END - 8, False, False


def doors(run: Run) -> None:
    """On each CPU: a few polls, one long vector, a file."""
    r = run.rng("doors")
    words = []
    for cpu in range(SMP):
        for size in r.sample(SIZES, DRAWN):
            least = max([s for s in SIZES if s < size] + [ON_STACK * POLLFD]) // POLLFD + 1
            words.append(f"poll,{cpu},{r.randrange(least, size // POLLFD + 1)}")
        words += [f"vector,{cpu},{r.randrange(*PIECES)}", f"file,{cpu}"]
    failed: set[str] = set()

    def ask(cpu: int, check: str, gate: Gate, cases: Callable[[Gate], Iterator[Case]]) -> None:
        """All of them, up to the first that is answered wrongly."""
        if check in failed or not run.wants(check):
            return
        for case in cases(gate):
            try:
                bad = next(iter(gate.wrong([case])), "")
            except Ended as error:
                run.check(check, False, f"on CPU {cpu}: {case[0]}: {error}", *ABOUT[check])
                raise
            if bad:
                failed.add(check)
                run.check(check, False, f"on CPU {cpu}: {bad}", *ABOUT[check])
                return

    with run.boot(PROGRAM, " ".join(words)) as guest:
        for i, word in enumerate(words):
            what, cpu = word.split(",")[0], int(word.split(",")[1])
            if what == "poll":
                gate = door(run, guest, heap_object)
                ask(cpu, "heap-object", gate, heap_cases)
                if i % (DRAWN + 2) == 0:
                    ask(cpu, "image", gate, image_cases)
                    ask(cpu, "named-part", gate, part_cases)
                    ask(cpu, "no-memory", gate, lambda gate: nothing_cases(gate, run))
            elif what == "vector":
                gate = door(run, guest, lambda kernel, va: type_at(kernel, va) == "kernel")
                ask(cpu, "blocks", gate, block_cases)
            else:
                gate = door(run, guest, lambda kernel, va: type_at(kernel, va) == "file")
                ask(cpu, "stack-frame", gate, stack_cases)      # deep enough to have callers with frames
                ask(cpu, "blocks", gate, page_cases)
            guest.run_to(AT_AFTER)
        for check in ABOUT:
            if check not in failed and run.wants(check):
                run.check(check, True, "asked in both directions, on both CPUs: as it should be", *ABOUT[check])


ABOUT = {
    "heap-object": ("all of an object may be copied, and not a byte more",
                    "check_slab_object() in kernel/harden/usercopy.c: where does the object begin, and where does the slab?"),
    "named-part": ("of an object whose cache names a part no other byte is copied",
                   "check_slab_object() in kernel/harden/usercopy.c: what are user_off and user_len?"),
    "blocks": ("a block is one thing from each of its frames on; a copy of a file's or a process's frame ends with it",
               "check_block() and check_frame() in kernel/harden/usercopy.c"),
    "stack-frame": ("what lies between two frame records of the current stack may be copied, and no record, nor what is below",
                    "check_stack() in kernel/harden/usercopy.c: where is the next record, and what stands in it?"),
    "image": ("text is neither read nor written, at both its addresses; constants are read, variables both",
              "check_image() and check_frame() in kernel/harden/usercopy.c: who owns the image's frames?"),
    "no-memory": ("tables, free frames, other stacks, user addresses are refused, and sizes that wrap",
                  "kernel/harden/usercopy.c: what is left to be asked about? Is a bound a sum or a difference?"),
}


# ---- where `why CHECK` stops ----


@contextlib.contextmanager
def stand(run: Run, check: str) -> Iterator[Guest]:
    """The guest of a check, stopped at the gate."""
    word = "read,0,65" if check == "neighbours" else "vector,0,600" if check == "blocks" else "poll,0,30"
    with run.boot(PROGRAM, word) as guest:
        guest.run_to(AT_BEFORE)
        guest.run_to(AT_AFTER, extra=guest.image.sym("usercopy_check"))
        yield guest
