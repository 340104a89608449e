"""The checks of aslr: where programs lie, over many execs.

programs/lab-aslr.c runs /bin/layout, which finds out where its own parts are; the grader reads those records from the
memory of the program that took them. The windows are the student's to choose: what is asked is which bits differ, by
chance, and that parts keep away from one another. A kernel that draws fairly fails with a probability below 10^-9 in
all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from grade.labs.grading import Guest, Run
from grade.layouts import PARTS, SIZE, Bits, Layout, Look, drawn_bits, unlikely, unpack

PROGRAM = "lab-aslr"
AT_GATES, AT_SAMPLED, AT_END = range(1, 4)
LAYOUTS, HALF, SOME = 100, 60, 4        # as lab-aslr.c has them
WRONGLY = 1e-10                         # one CPU's layouts of a fair kernel look unfair less often than this
NEAREST = 4 << 30                       # bytes between two parts
UNLIMITED = (1 << 64) - 1
LIMITS = [1 << 16, 8 << 20, 1 << 40, 28 << 40]
CHECKS = {"stack-mmap": {"stack", "mmap"}, "program-heap": {"program", "heap"}, "interpreter-vdso": {"interpreter", "vdso"}}


def scenarios() -> list:
    """What may run side by side."""
    return [drawn, asked]


def asked_for(run: Run) -> Bits:
    """The bits of each part that are to be drawn; a twist may want more."""
    bits = drawn_bits(run.workshop.arch)
    for part in ("heap", "mmap"):
        if (value := run.twist(f"{part}-bits")) is not None:
            bits[part] = (12, 12 + value)
    return bits


def taken(guest: Guest, count: int) -> list[Layout]:
    """The next layouts that the program draws."""
    at = guest.run_to(AT_SAMPLED)
    return unpack(guest.machine.gdb.read(guest.program.sym("samples"), count * SIZE, at.cpu))


def missing(layouts: list[Layout]) -> list[str]:
    """Parts that are not where the kernel told the program."""
    return [f"a program did not find its {part}" for part in PARTS if any(one[part] == 0 for one in layouts)]


def too_near(run: Run, layouts: list[Layout]) -> list[str]:
    """Two parts that a draw has brought, or could bring, together."""
    wrong = missing(layouts)
    orders = set()
    for one in [] if wrong else layouts:
        order = sorted(PARTS, key=one.__getitem__)
        orders.add(tuple(order))
        for low, high in zip(order, order[1:]):
            if (low, high) != ("program", "heap") and one[high] - one[low] < NEAREST:
                wrong.append(f"the {high} at {one[high]:#x} is {one[high] - one[low]:#x} bytes above the {low}")
        if one["heap"] < one["program"]:
            wrong.append(f"the heap at {one['heap']:#x} is below the program at {one['program']:#x}")
        if run.twist("vdso-lowest") is not None and order[0] != "vdso":
            wrong.append(f"the vdso at {one['vdso']:#x} is not the lowest part: the {order[0]} is below it")
    if len(orders) > 1:
        wrong.append("now this part lies above that, now that above this: " + " and ".join(
            " < ".join(order) for order in sorted(orders)[:2]))
    return wrong


# ---- what is drawn -------------------------------------------------------------------------------------------


def words(look: Look, cpu: int) -> str:
    """What an unlikely look says."""
    if look.kind == "even" and look.ones in (0, look.of):
        return f"{look.what} is the same in all of {look.of} layouts on CPU {cpu}"
    how = {"even": "is 1 in", "before": "differs from what it was in", "pair": "differ in"}[look.kind]
    return f"{look.what} {how} {look.ones} of {look.of} layouts on CPU {cpu}"


def drawn(run: Run) -> None:
    """Gates; many execs on each CPU; a few in another start."""
    bits = asked_for(run)
    looks: list[tuple[Look, int]] = []
    layouts: list[Layout] = []
    first: list[Layout] = []
    with run.boot(PROGRAM, "gates cpu0 cpu1") as guest:
        guest.run_to(AT_GATES)
        run.ordinary_gates(guest)
        for cpu in (0, 1):
            new = taken(guest, LAYOUTS)
            looks += [(look, cpu) for look in unlikely(new, bits, WRONGLY)]
            layouts += new
    lost = missing(layouts)
    for check, parts in CHECKS.items():
        wrong = lost + [words(look, cpu) for look, cpu in looks if look.kind == "even" and parts >= set(look.parts)]
        run.check(check, not wrong, more(wrong, f"{len(layouts)} layouts: each bit is 0 about as often as 1"),
                  ", ".join(f"{part}: bits {bits[part][0]} to {bits[part][1] - 1}" for part in sorted(parts)) +
                  " are drawn at each exec" + (", the heap's in its distance from the program" if "heap" in parts else ""),
                  "aslr_layout() in kernel/harden/aslr.c: how large is that part's window, and in what steps is it used?")
    wrong = lost + [words(look, cpu) for look, cpu in looks if look.kind == "pair"]
    run.check("independent", not wrong, more(wrong, f"{sum(b - a for a, b in bits.values())} bits, taken by twos: none "
                                             "tells another"),
              "two bits, of one part or of two, are the same about as often as not",
              "how many draws are there? Which part follows another where nothing was drawn for it?")
    wrong = too_near(run, layouts)
    run.check("apart", not wrong, more(wrong, f"{len(layouts)} layouts in one order, never nearer than 4 GiB"),
              "the parts lie in one order, each at least 4 GiB from the next one (the heap is above its program)",
              "the windows in kernel/harden/aslr.c: from where to where does each part lie, at its widest?")
    with run.boot(PROGRAM, "few", start="another start") as guest:
        again = taken(guest, SOME)
    with run.boot(PROGRAM, "few") as guest:
        first = taken(guest, SOME)
    wrong = lost + [words(look, cpu) for look, cpu in looks if look.kind == "before"]
    wrong += [f"the first {SOME} programs of two starts have the same {part}" for part in PARTS
              if [one[part] for one in first] == [one[part] for one in again]]
    run.check("each-exec", not wrong, more(wrong, "a bit changes from exec to exec about as often as not; another start "
                                           "has others"),
              "an exec's places say nothing of the next one's, nor this start's of another's",
              "where does what is drawn come from (kernel/lib/random.h), and how often?")


def more(wrong: list[str], good: str) -> str:
    """The first thing that is wrong and how many more there are; or what was seen if nothing is."""
    return good if not wrong else wrong[0] + (f"; {len(wrong)} such things in all" if len(wrong) > 1 else "")


# ---- who asks ------------------------------------------------------------------------------------------------


def varying(layouts: list[Layout]) -> set[str]:
    """Parts that are not the same in all layouts."""
    return {part for part in PARTS if len({one[part] for one in layouts}) > 1}


def fixed(what: str, layouts: list[Layout]) -> list[str]:
    """What is wrong with layouts that should all be the same."""
    return missing(layouts) + [f"{what}: the {part} moved" for part in sorted(varying(layouts))]


def limits(run: Run) -> list[int]:
    """None, and one from the seed."""
    return [UNLIMITED, run.rng("limits").choice(LIMITS)]


def constant(layouts: list[Layout], bits: Bits) -> list[str]:
    """Bits that never change. HALF fair draws have one with a probability below 10^-15."""
    return [f"bit {bit} of the {part}" for part, (low, high) in bits.items() for bit in range(low, high)
            if len({one[part] - (one["program"] if part == "heap" else 0) >> bit & 1 for one in layouts}) < 2]


def asked(run: Run) -> None:
    """Programs that were asked for, or by somebody who would like to know where they lie."""
    with run.boot(PROGRAM, "few", append="harden=-aslr,-kstack-offset") as guest:
        wrong = fixed("with harden=-aslr", taken(guest, SOME))
    with run.boot(PROGRAM, "root user limit {} limit {}".format(*limits(run))) as guest:
        wrong += fixed("root asks", taken(guest, SOME))
        run.gate("asked", not wrong, more(wrong, "fixed where that is wanted"))
        user = taken(guest, 3 * SOME)
        plain, privileged, group = user[:SOME], user[SOME:2 * SOME], user[2 * SOME:]
        wrong = missing(user)
        wrong += [f"a {what} program's {part} lies where the last one's did, for its caller asked for that"
                  for what, found in (("set-user-ID", privileged), ("set-group-ID", group))
                  for part in PARTS if part not in varying(found)]
        if run.twist("only-root-asks") is not None:
            wrong += [f"an ordinary user asked, and the {part} does not move" for part in PARTS if part not in varying(plain)]
        run.check("set-id", not wrong, more(wrong, "set-user-ID and set-group-ID programs lie elsewhere each time"),
                  "a set-ID program's parts are drawn at each exec, though its caller's personality has ADDR_NO_RANDOMIZE",
                  "choose_layout() in kernel/proc/exec.c: what does compute_cred() know of the program?")
        wrong = []
        for limit in limits(run):
            found = taken(guest, HALF)
            name = "no limit" if limit == UNLIMITED else f"a limit of {limit >> 10} KiB"
            wrong += [f"a stack with {name}: {bad}" for bad in too_near(run, found)]
            wrong += [f"a stack with {name}: {bits} is always the same" for bits in constant(found, asked_for(run))]
        run.check("stack-limit", not wrong, more(wrong, "no limit, or another one: every bit is drawn, and nothing meets"),
                  "the limit of the stack (setrlimit, which a program's caller sets) changes nothing of all that",
                  "fixed_layout() puts mappings below what the stack may grow to: does anything of yours depend on that?")
        guest.run_to(AT_END)


# ---- where `why CHECK` stops ----


@contextlib.contextmanager
def stand(run: Run, check: str) -> Iterator[Guest]:
    """The guest of a check, where the kernel is about to choose the places of the first program that is looked at."""
    does = {"stack-limit": f"limit {UNLIMITED}", "set-id": "user", "asked": "root"}.get(check, "cpu0")
    with run.boot(PROGRAM, does) as guest:
        # init and the grader's own program come before it.
        guest.run_to(AT_SAMPLED, extra=guest.image.sym("aslr_layout"), hits=3)
        yield guest
