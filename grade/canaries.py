"""Stack canaries of a stopped Rampart: every thread's, and what each CPU's compiled code compares with."""

from __future__ import annotations

from grade.attacks import current_name
from grade.spaces import Kernel

KERNEL_HALF = 1 << 63
# While the registers of one thread give way to another's, the canary does, too.
SWITCH = ("arch_switch", "x86_switch_stack", "a64_switch_stack")


def canaries(kernel: Kernel) -> dict[str, int]:
    """Every thread's canary, idle threads' included."""
    image = kernel.image
    out = {f"thread {t.tid} {t.name} at {t.address:#x}": kernel.member(t.address, "struct thread", "canary")
           for t in kernel.threads()}
    for cpu in kernel.machine.gdb.cpus():
        queue = image.sym("run_queues") + cpu * image.sizeof("struct run_queue")
        idle = kernel.member(queue, "struct run_queue", "idle")
        out[f"CPU {cpu}'s idle thread"] = kernel.member(idle, "struct thread", "canary")
    return out


def _through_gs(kernel: Kernel, cpu: int) -> int:
    """GS is the user's or the kernel's: its base or the hidden one is the kernel's."""
    r = kernel.machine.regs(cpu, "gs_base", "k_gs_base")
    base = r["gs_base"] if r["gs_base"] & KERNEL_HALF else r["k_gs_base"]
    return kernel.u64(base + kernel.image.offsetof("struct cpu", "canary"))


def _through_sp_el0(kernel: Kernel, cpu: int) -> int:
    """SP_EL0 is the thread once an entry from user mode has put the user's own away."""
    thread = kernel.machine.gdb.reg(cpu, "SP_EL0")
    return kernel.member(thread if thread & KERNEL_HALF else kernel.current(cpu), "struct thread", "canary")


_COMPARED_WITH = {"x86_64": _through_gs, "aarch64": _through_sp_el0}


def own(kernel: Kernel, cpu: int) -> int:
    """The canary of the thread that a CPU runs."""
    return kernel.member(kernel.current(cpu), "struct thread", "canary")


def compared_with(kernel: Kernel, cpu: int) -> int:
    """What a CPU's compiled code compares its canaries with."""
    return _COMPARED_WITH[kernel.machine.arch.name](kernel, cpu)


def switches(kernel: Kernel, cpu: int) -> bool:
    """Whether a CPU is in the middle of a switch from one thread to the next."""
    return kernel.image.where(kernel.machine.gdb.pc(cpu)).partition("+")[0] in SWITCH


def cpu_problems(kernel: Kernel) -> list[str]:
    """CPUs whose compiled code compares with another value than the running thread's."""
    return [f"CPU {cpu} compares with another canary than that of its thread {current_name(kernel, cpu)}"
            for cpu in kernel.machine.gdb.cpus()
            if not switches(kernel, cpu) and compared_with(kernel, cpu) != own(kernel, cpu)]
