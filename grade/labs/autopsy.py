"""What is known of a guest that was lost: the boot again, with the exceptions on record, and at its end the last of
them and the calls that led there. It tells a student where to look and earns nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from grade.cpus import CPUS
from grade.deadline import DeadlineError
from grade.exclog import ArmException, Record, TripleFault, X86Exception
from grade.gdbstub import GdbClosed, GdbError
from grade.image import Image, ImageError
from grade.qemu import Machine

FRAMES_MAX, SAMPLES, CONSOLE_LINES = 16, 4, 12
ENDS = ("panic", "die")


def examine(machine: Machine, image: Image, wait: Callable[[], Any]) -> dict[str, Any]:
    """Runs a machine that stands, and logs exceptions, to its end; `wait` raises DeadlineError for one that hangs."""
    try:
        image = image.at(machine)
    except (DeadlineError, GdbClosed):
        return _told(machine, "the kernel does not come as far as choosing its addresses", None, [])
    try:
        for name in ENDS:
            if name in image:
                machine.gdb.set_break(image.sym(name))
        machine.cont()
        stop = wait()
        if stop.breakpoint:
            return _told(machine, "the kernel panics", image, [calls(machine, image, stop.cpu)])
        what = "a triple fault, or the machine was reset" if machine.shutdown_reason() == "guest-reset" else \
            "the guest powers off"
        return _told(machine, what, image, [calls(machine, image, cpu) for cpu in machine.gdb.cpus()])
    except DeadlineError:
        return _hung(machine, image)
    except GdbClosed:
        return _told(machine, "the guest ends", image, [])


def _hung(machine: Machine, image: Image) -> dict[str, Any]:
    """A guest that hangs, where it is always found; what its console shows only if it prints no more."""
    before = machine.transcript
    told = _told(machine, "the guest hangs", image, _stuck(machine, image))
    return told if machine.transcript == before else told | {"console": []}


def _told(machine: Machine, what: str, image: Image | None, chains: list[list[str]]) -> dict[str, Any]:
    faults = [r for r in machine.exclog.since() if not isinstance(r, TripleFault) and r.is_fault and r.in_kernel] \
        if image else []
    last = faults[-1] if faults else None
    if last is not None and image is not None and isinstance(last, X86Exception) and "RBP" in last.regs and not chains:
        chains = [[image.where(last.rip)]]
    machine.catch_up()
    return {"what": what, "exception": _in_words(last, image) if last is not None and image is not None else "",
            "calls": [c for c in chains if c], "console": last_lines(machine)}


def _in_words(record: Record, image: Image) -> str:
    assert isinstance(record, (X86Exception, ArmException))
    text = f"{record.name} at {image.where(record.ip)}"
    if isinstance(record, X86Exception):
        text += f", error code {record.error:#x}"
    return text + (f", address {record.address:#x}" if record.address is not None else "")


def calls(machine: Machine, image: Image, cpu: int) -> list[str]:
    """The calls that led to where a CPU stands, innermost first, by frame pointers."""
    try:
        out = [image.where(machine.gdb.pc(cpu))]
        frame = machine.gdb.reg(cpu, CPUS[machine.arch.name].frame)
        while len(out) < FRAMES_MAX and frame >> 63 and frame % 8 == 0:
            data = machine.gdb.read(frame, 16, cpu)
            above, back = (int.from_bytes(data[i:i + 8], "little") for i in (0, 8))
            if not image.contains(back):
                break
            out.append(image.where(back))
            if above <= frame:
                break
            frame = above
    except (GdbError, ImageError):
        pass
    return out if out and not out[0].startswith("0x") else []


def _stuck(machine: Machine, image: Image) -> list[list[str]]:
    """The functions in which each CPU of a guest that hangs was found every time, outermost last. When it is looked at
    is the host's chance, so that only what is always so is told."""
    common: dict[int, list[str]] = {}
    try:
        for _ in range(SAMPLES):
            if machine.gdb.running:
                machine.stop()
            for cpu in machine.gdb.cpus():
                names = [frame.partition("+")[0] for frame in calls(machine, image, cpu)][::-1]
                old = common.setdefault(cpu, names)
                same = next((i for i, (a, b) in enumerate(zip(old, names)) if a != b), min(len(old), len(names)))
                common[cpu] = old[:same]
            machine.cont()
    except (DeadlineError, GdbClosed, GdbError):
        pass
    return [names[::-1] for _, names in sorted(common.items())]


def last_lines(machine: Machine) -> list[str]:
    """The end of the console; from the first report on, if there was one."""
    lines = machine.tail(4 * CONSOLE_LINES)
    last = max(0, len(lines) - CONSOLE_LINES)
    first = next((i for i, line in enumerate(lines) if line.startswith(("oops", "panic"))), last)
    return lines[min(first, last):][:CONSOLE_LINES]
