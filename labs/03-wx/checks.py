"""The checks of wx: what the tables of every address space allow, what each CPU obeys, and what programs are given.

Three boots of programs/lab-wx.c. In one, processes come and go on both CPUs while the grader walks the tables; in one,
a program asks for memory that is writable and executable, at once or one after the other; in one, the kernel writes
where the grader says, and QEMU's exception log tells whether it was refused. Pages, CPUs and moments are drawn from
the seed.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from dataclasses import dataclass, field

from grade.exclog import ArmException, Record, TripleFault, X86Exception
from grade.labs.grading import At, Ended, Guest, Run, picture
from grade.spaces import Kernel
from grade.walk import Finding, Space, aliases_of, find
from grade.walk_aarch64 import SCTLR_WXN
from grade.walk_x86_64 import CR0_WP

PROGRAM = "lab-wx"
AT_GATES, AT_WORK, AT_REST, AT_BOTH, AT_GAIN, AT_TARGET, AT_KILLED, AT_END = range(1, 9)
R_SHELL, R_THREADS, R_EXEMPT, R_CODE, R_COW = range(5)
R_TRIED, R_REFUSED, R_ERROR, R_RAN = range(4)
R_ADDRESS, R_VALUE, R_STATUS = range(3)

PAGE = 0x1000
NOT_STARTED = 127               # execve has come back to run() in user/lab/program.h
KERNEL_HALF, USER_END = 1 << 63, 1 << 47
PROT_WRITE, PROT_EXEC = 2, 4
MOMENTS = 3                     # on each CPU
EVENTS = [("syscall_dispatch", 30), ("vm_fork", 5), ("schedule", 20)]
# The second CPU's first C function: it stands on the tables that it started with.
FIRST_C = {"x86_64": "secondary_entry", "aarch64": "a64_secondary"}
OBEYS = {"x86_64": ("cr0", CR0_WP, "CR0.WP"), "aarch64": ("SCTLR", SCTLR_WXN, "SCTLR_EL1.WXN")}
TRAMPOLINE = {"x86_64": (0x8000, 0x9000), "aarch64": None}      # where it is a copy, in its own frame

# As lab-wx.c asks, in its order.
BOTH = ["mmap, private, RWX", "mmap, private, -WX", "mmap, shared, RWX", "mmap of a file, private, RWX",
        "mmap of a file, shared, RWX", "mmap, MAP_FIXED over writable memory, RWX", "mprotect of writable memory, RWX",
        "mprotect of a file's code, RWX", "mprotect of shared memory, -WX"]
SHARED = {12: "mmap of a file, shared, R-X", 13: "mprotect of a shared file's page, R-X"}
GAIN = ["mprotect of written memory, R-X", "writable, readable, executable", "writable, nothing, executable",
        "a child's, whose parent has written it", "after mremap", "after MADV_DONTNEED", "of two areas the second was writable",
        "of three pages the one in the middle was writable", "a shared file's", "the program's own data", "its stack",
        "its heap", "executable, writable, executable"]


def scenarios() -> list:
    """What may run side by side."""
    return [tables, asks, writes]


# ---- what tables allow ---------------------------------------------------------------------------------------


@dataclass
class Wrong:
    """One page that allows too much: in words, and where."""

    text: str
    finding: Finding

    def drawn(self) -> dict:
        """The page among its neighbours."""
        m, space = self.finding.mapping, self.finding.spaces[0]
        return picture(space, m.va - 2 * PAGE, m.va + 3 * PAGE, {(m.va, m.va + PAGE): "this one"}, (m.va, m.va + PAGE),
                       "allows too much")


@dataclass
class Seen:
    """What was wrong at the moments so far."""

    text: list[Wrong] = field(default_factory=list)
    constants: list[Wrong] = field(default_factory=list)
    data: list[Wrong] = field(default_factory=list)
    bring_up: list[Wrong] = field(default_factory=list)
    areas: list[str] = field(default_factory=list)
    cpus: list[str] = field(default_factory=list)
    start_code: list[tuple[int, int]] = field(default_factory=list)     # frames that the second CPU started with
    one_address: bool = False       # under a twist
    looks: int = 0
    space: Space | None = None      # the kernel's, of the last look


def wrongs(findings: list[Finding], what: str) -> list[Wrong]:
    """Each in words."""
    return [Wrong(f"{what}: {f.mapping} in {f.spaces[0].name}", f) for f in findings]


def frames_of(k: Kernel, *sections: str) -> list[tuple[int, int]]:
    """Where sections of the image lie in memory."""
    return k.frames(*(k.image.span(f"__{s}_start", f"__{s}_end") for s in sections))


def kernel_executes(f: Finding) -> bool:
    """Whether it is a page of the kernel's own that it may execute (users' are row smep's)."""
    return f.mapping.exec_kernel and f.mapping.va >= KERNEL_HALF


def look(guest: Guest, seen: Seen) -> None:
    """Every address space, at this moment."""
    k = Kernel(guest.machine, guest.image)
    spaces = k.spaces()
    text, constants = frames_of(k, "text"), frames_of(k, "rodata", "ro_after_init", "vdso")
    seen.text += wrongs([f for f in aliases_of(spaces, text) if f.mapping.writable], "kernel text is writable")
    found = aliases_of(spaces, constants)
    seen.constants += wrongs([f for f in found if f.mapping.writable], "a constant is writable")
    seen.constants += wrongs([f for f in found if kernel_executes(f)], "a constant is executable")
    if seen.one_address:
        low, _ = k.ranges()["direct_map"]
        seen.constants += wrongs([f for f in aliases_of(spaces, frames_of(k, "rodata")) if f.mapping.va - low in
                                  range(1 << 46)], "a constant has a second address")
    linked = k.image.span("__text_start", "__text_end")
    seen.data += wrongs([f for f in find(spaces, lambda m: m.exec_kernel and m.va >= KERNEL_HALF)
                         if not linked[0] <= f.mapping.va < linked[1] and not within(f, text)],
                        "the kernel executes what is not text")
    direct, end = k.ranges()["direct_map"]
    seen.data += wrongs(find(spaces, lambda m: direct <= m.va < end and m.exec_kernel), "text is executable in the direct map")
    seen.bring_up += wrongs([f for f in aliases_of(spaces, seen.start_code) if f.mapping.writable],
                            "code that the second CPU started with is writable")
    register, bit, name = OBEYS[guest.machine.arch.name]
    seen.cpus += [f"{name} is 0 on CPU {cpu}" for cpu in guest.machine.gdb.cpus()
                  if not guest.machine.gdb.reg(cpu, register) & bit]
    seen.areas += areas(k, k.own_spaces())
    seen.looks += 1
    seen.space = spaces[0]


def within(f: Finding, frames: list[tuple[int, int]]) -> bool:
    """Whether a mapping shows nothing but these frames."""
    m = f.mapping
    return any(start <= m.pa and m.pa + m.size <= end for start, end in frames)


def areas(k: Kernel, spaces: list[Space]) -> list[str]:
    """Programs' areas that may be written and executed, or whose pages may."""
    out = []
    by_root = {s.root: s for s in spaces}
    root = k.image.offsetof("struct vm", "pt.root.v")
    for vm in k.list_of(k.image.sym("vm_all"), "struct vm", "all"):
        if k.member(vm, "struct vm", "allow_wx"):
            continue
        space = by_root.get(k.u64(vm + root) & ~0xFFF)
        table = k.member(vm, "struct vm", "areas")
        for i in range(k.member(vm, "struct vm", "count")):
            start, end, prot = (k.member(k.u64(table + 8 * i), "struct vma", m) for m in ("start", "end", "prot"))
            if not prot & PROT_EXEC:
                continue
            if prot & PROT_WRITE:
                out.append(f"an area {start:#x}-{end:#x} of a program is writable and executable")
            elif space and any(m.writable for m in space.between(start, end)):
                out.append(f"a page of the executable area {start:#x}-{end:#x} is writable")
    return out


def second_cpu(guest: Guest, seen: Seen) -> None:
    """Start-up, to the first checkpoint; stops where the second CPU stands on the tables that it was started with."""
    first = guest.image.sym(FIRST_C[guest.machine.arch.name])
    at = guest.run_to(AT_GATES, extra=first)
    if not at.extra:
        raise Ended("the second CPU was not started")
    k = Kernel(guest.machine, guest.image)
    spaces = k.spaces()
    root = k.cpu.root_of(guest.machine, at.cpu)
    low = [m for s in spaces if s.root == root for m in s.mappings if m.va < USER_END and m.exec_kernel]
    seen.start_code = [(m.pa, m.pa + m.size) for m in low]
    seen.bring_up += wrongs([f for f in aliases_of(spaces, seen.start_code) if f.mapping.writable],
                            "code that the second CPU starts with is writable")
    guest.run_to(AT_GATES)


def judge_tables(run: Run, seen: Seen, cow: list[str]) -> None:
    """Decides the checks of tables and CPUs."""
    def decide(name: str, wrong: list[Wrong], good: str, expected: str, where: str) -> None:
        shown = wrong[0].drawn() if wrong else None
        run.check(name, not wrong, f"{wrong[0].text}; {len(wrong)} such things in {seen.looks} looks" if wrong else good,
                  expected, where, picture=shown)
    mmu = f"arch/{run.workshop.arch}/mmu.c"
    decide("text-sealed", seen.text, f"{seen.looks} looks: by none of its addresses",
           "no mapping, in any address space, by which a frame of kernel text can be written",
           f"map_image() in {mmu}: how many addresses has a page of text?")
    decide("constants", seen.constants, f"{seen.looks} looks: read only, whichever the address",
           "no mapping of rodata, of the vDSO or, once init runs, of what start-up leaves constant, is writable or the "
           "kernel's to execute" + ("; of rodata there is none in the direct map" if seen.one_address else ""),
           f"map_image() and arch_protect_init_data() in {mmu}")
    decide("data-not-code", seen.data, f"{seen.looks} looks: text, at its own address, and nothing else",
           "the kernel can execute text at its link address and in the entry area, and nothing else", f"kernel_prot() in {mmu}")
    bring = seen.bring_up
    run.check("bring-up", bool(seen.start_code) and not bring, bring[0].text if bring else
              "not writable by any address, then and later" if seen.start_code else "it started without code",
              "frames that the second CPU executes at their physical addresses are writable nowhere, from that moment on",
              f"bringup_begin() and map_image() in {mmu}: which other address has that page?",
              picture=bring[0].drawn() if bring else None)
    wrong = seen.cpus + cow
    name = OBEYS[run.workshop.arch][2]
    run.check("every-cpu", not wrong, wrong[0] if wrong else f"{name} is 1 on both CPUs in {seen.looks} looks, and private "
              "pages were copied before the kernel wrote to them", f"{name} is 1 on each CPU while no exempt program runs there; "
              "what read(2) writes into a private page is seen by nobody else",
              "wp_cpu_init() in kernel/harden/wp.c, and who calls it" if name == "CR0.WP" else
              "a64_cpu_init() in arch/aarch64/cpu.c, set_wxn() in arch/aarch64/mmu.c")


def tables(run: Run) -> None:
    """Gates, the second CPU's start, looks while both CPUs work."""
    seen = Seen(one_address=run.twist("constants-once") is not None)
    cow: list[str] = []
    with run.boot(PROGRAM, "tables") as guest:
        second_cpu(guest, seen)
        run.gate("boots", True, "the program runs")
        shell, threads, exempt, code = (guest.result(i) for i in (R_SHELL, R_THREADS, R_EXEMPT, R_CODE))
        if run.twist("shared-never-runs") is not None:
            code &= ~4
        run.gate("shell", shell == 0, f"the script ended with {shell}")
        run.gate("programs", threads == exempt == 0, f"test-threads ended with {threads}, test-exempt with {exempt}")
        run.gate("code", code == 0, "all of it worked" if code == 0 else f"legal_code() in programs/{PROGRAM}.c: {code:#x} (bits)")
        look(guest, seen)
        for cpu in (0, 1):
            r = run.rng(f"moments on CPU {cpu}")
            at: At = guest.run_to(AT_WORK)
            if at.cpu != cpu:
                raise Ended(f"the program runs on CPU {at.cpu} and not on CPU {cpu}: sched_setaffinity is broken")
            for _ in range(MOMENTS):
                event, most = r.choice(EVENTS)
                if not guest.run_to(AT_REST, extra=guest.image.sym(event), hits=r.randint(1, most // MOMENTS + 1)).extra:
                    break
                look(guest, seen)
            else:
                guest.run_to(AT_REST)
            look(guest, seen)
            cow += [f"CPU {cpu}: what the kernel wrote into {what} " for bit, what in (
                (2, "a child's page stands in its parent's, too"), (4, "a private page stands in the file, too"))
                if guest.result(R_COW) & bit]
            cow += [f"CPU {cpu}: read(2) into private pages fails"] if guest.result(R_COW) & 1 else []
        judge_tables(run, seen, cow)
        guest.run_to(AT_END)


# ---- what programs are given ---------------------------------------------------------------------------------


def got(guest: Guest, names: dict[int, str], refusal: int) -> list[str]:
    """Which of these requests did not end as they should."""
    tried, refused, error = (guest.result(i) for i in (R_TRIED, R_REFUSED, R_ERROR))
    out = [f"{what}: " + ("granted" if tried >> i & 1 else "not tried") for i, what in names.items() if not refused >> i & 1]
    name = errno.errorcode.get(error, str(error))
    return out + ([f"refused with {name}, and not with {errno.errorcode[refusal]}"] if error and not out else [])


def asks(run: Run) -> None:
    """Requests for memory that is both, and for execution after it was writable."""
    refusal = errno.EPERM if run.twist("refused-eperm") is not None else errno.EACCES
    both = dict(enumerate(BOTH)) | (SHARED if run.twist("shared-never-runs") is not None else {})
    gain = dict(enumerate(GAIN))
    strict = run.twist("code-stays-code") is not None
    with run.boot(PROGRAM, f"asks {run.rng('asks').randrange(2)} {refusal}") as guest:
        guest.run_to(AT_BOTH)
        wrong = got(guest, both, refusal)
        ran = guest.result(R_RAN)
        if ran != NOT_STARTED:
            wrong.append("a program whose only segment is RWX " + ("runs" if ran == 42 else f"was started, and ended with {ran}"))
        k = Kernel(guest.machine, guest.image)
        wrong += areas(k, k.own_spaces())
        run.check("never-both", not wrong, (wrong[0] + (f"; {len(wrong)} such things in all" if wrong[1:] else "")) if wrong else
                  f"{len(both)} requests and a program: refused", f"mmap and mprotect refuse it with {errno.errorcode[refusal]}, "
                  "execve of such a program fails, and comes back; no area and no page of any process is both",
                  "map_locked() in kernel/mm/vm.c, check_protect() in kernel/mm/remap.c")
        guest.run_to(AT_GAIN)
        back = guest.result(R_RAN)
        if back:                                # the second step of the last one was refused, so there was no third
            del gain[len(GAIN) - 1]
        wrong = got(guest, gain, refusal)
        if strict and back != refusal:
            wrong.append("executable memory became writable")
        run.check("no-gain", not wrong, (wrong[0] + (f"; {len(wrong)} such things in all" if wrong[1:] else "")) if wrong else
                  f"{len(gain)} ways: refused", "memory that could be written at any time before does not become executable: "
                  f"mprotect says {errno.errorcode[refusal]}" + ("; nor does code become writable" if strict else ""),
                  "vm_check_wx() in kernel/mm/vm.c: what does it know of the time before the last mprotect?")
        guest.run_to(AT_END)


# ---- writes of the kernel's ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """A word that nobody may write."""

    what: str
    section: str        # of the image, or "" for the copy of the bring-up code
    alias: bool         # by its address in the direct map

    def address(self, k: Kernel, share: float) -> int:
        """Its address: `share` (0 to 1) of the way through the section."""
        direct, _ = k.ranges()["direct_map"]
        if not self.section:
            low, high = TRAMPOLINE["x86_64"] or (0, 0)
            return direct + low + (int(share * (high - low)) & ~7)
        start, end = k.image.span(f"__{self.section}_start", f"__{self.section}_end")
        va = start + (int(share * (end - start)) & ~7)
        return direct + k.phys(va) if self.alias else va


TARGETS = [Target(f"{what}{', by its address in the direct map' if alias else ''}", section, alias)
           for what, section in (("text", "text"), ("a constant", "rodata"), ("what start-up left constant", "ro_after_init"))
           for alias in (False, True)]
COPY = Target("the code that other CPUs start with", "", True)


def plan(run: Run) -> list[tuple[int, Target, float]]:
    """On which CPU what is written, in drawn order."""
    r = run.rng("writes")
    targets = [*TARGETS, *([COPY] if TRAMPOLINE[run.workshop.arch] else [])]
    if run.twist("constants-once") is not None:     # nothing is there that could be refused
        targets = [t for t in targets if not (t.section == "rodata" and t.alias)]
    drawn = [(r.randrange(2), t, r.random()) for t in targets]
    r.shuffle(drawn)
    return drawn


def arguments(run: Run) -> str:
    """The program's."""
    return "writes " + " ".join(str(cpu) for cpu, _, _ in plan(run))


def refused(r: Record, address: int) -> bool:
    """Whether a record is of a kernel write to a page that is there and read-only."""
    if isinstance(r, X86Exception):
        return r.vector == 14 and r.cpl == 0 and r.write and bool(r.error & 1) and r.cr2 == address
    return isinstance(r, ArmException) and r.in_kernel and r.write and r.present and r.far == address


def write(guest: Guest, cpu: int, target: Target, share: float) -> str:
    """From AT_TARGET to AT_KILLED: what is wrong, or nothing. What is written is what stands there already."""
    m = guest.machine
    at = guest.run_to(AT_TARGET)
    if at.cpu != cpu:
        raise Ended(f"the program runs on CPU {at.cpu} and not on CPU {cpu}: sched_setaffinity is broken")
    k = Kernel(m, guest.image)
    address = target.address(k, share)
    for index, value in ((R_ADDRESS, address), (R_VALUE, k.u64(address))):
        m.gdb.write(guest.program.sym("results") + 8 * index, value.to_bytes(8, "little"), at.cpu)
    mark = m.log_exceptions()
    try:
        guest.run_to(AT_KILLED)
    except Ended:
        if any(isinstance(r, TripleFault) for r in m.exclog.since(mark)):
            return f"CPU {cpu}, {target.what}: a triple fault: the machine reset"
        raise
    finally:
        if not m.exited:
            m.log_exceptions(False)
    faults = [r for r in m.exclog.since(mark) if refused(r, address)]
    status = guest.result(R_STATUS)
    where = f"CPU {cpu}, a write to {target.what}"
    if status == 4 or status == 5:
        return f"{where}: the legal act before it failed"
    if len(faults) != 1:
        return f"{where}: " + ("it was not refused" if not faults else f"refused {len(faults)} times")
    return "" if 1000 < status < 1065 else f"{where}: the process was not killed (it ended with {status})"


def writes(run: Run) -> None:
    """A kernel write primitive, aimed at what nobody may write."""
    wrong: list[str] = []
    with run.boot(PROGRAM, arguments(run)) as guest:
        for cpu, target, share in plan(run):
            if why := write(guest, cpu, target, share):
                wrong.append(why)
        guest.run_to(AT_END)
    run.check("writes-refused", not wrong, f"{wrong[0]}; {len(wrong)} such writes in all" if wrong else
              f"{len(plan(run))} writes, each refused once; each process was killed, the machine lives",
              "the processor refuses it once, with a page fault on a page that is there, and the process dies of a signal",
              "`rp-pt ADDR` in `make gdb` explains a page; is the bit set on this CPU?")


# ---- where `why CHECK` stops: the program's arguments, and the checkpoints to pass ----

WHERE = {
    "text-sealed": [AT_GATES], "constants": [AT_GATES], "data-not-code": [AT_GATES], "bring-up": [],
    "every-cpu": [AT_GATES, AT_WORK], "never-both": [AT_BOTH], "no-gain": [AT_BOTH, AT_GAIN], "writes-refused": [AT_TARGET],
}


@contextlib.contextmanager
def stand(run: Run, check: str) -> Iterator[Guest]:
    """The guest of a check, stopped where it begins to look."""
    points = WHERE[check]
    line = arguments(run) if AT_TARGET in points else f"asks {run.rng('asks').randrange(2)} {errno.EACCES}" \
        if AT_BOTH in points else "tables"
    with run.boot(PROGRAM, line) as guest:
        if not points:
            guest.run_to(AT_GATES, extra=guest.image.sym(FIRST_C[guest.machine.arch.name]))
        for point in points:
            guest.run_to(point)
        yield guest
