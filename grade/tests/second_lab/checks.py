"""The checks of the lab that only tests have: whether the program's children lived."""

from __future__ import annotations

from grade.labs.grading import Run

KILLED = 1009       # by signal 9
AT_END = 1


def scenarios() -> list:
    """One boot for each CPU."""
    return [on_cpu0, on_cpu1]


def on_cpu0(run: Run) -> None:
    """The gate, and both copies on CPU 0."""
    _boot(run, 0)


def on_cpu1(run: Run) -> None:
    """Both copies on CPU 1."""
    _boot(run, 1)


def _boot(run: Run, cpu: int) -> None:
    with run.boot("lab-second", f"{cpu}") as guest:
        guest.run_to(AT_END)
        legal, read, write = (guest.result(i) for i in range(3))
        if cpu == 0:
            run.gate("notes", legal == 0, f"the legal program ended with {legal}")
        for what, status in (("read", read), ("write", write)):
            run.check(f"{what}-cpu{cpu}", status == KILLED and legal == 0, f"the child ended with {status}",
                      f"it is killed ({KILLED})", "check_slab_object() in kernel/harden/usercopy.c")
