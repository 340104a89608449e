"""A test that proves too little: finish it.

    make && /usr/bin/python3 -m pytest labs/05-smap/test_student.py

It boots your kernel, stops it where system calls begin, and looks at registers from outside; grade/README.md tells what
`boot`, `image` and a Machine can do. As it stands it passes for a kernel that guards its first CPU alone, and is open
after every page fault.
"""

CR4_SMAP, EFLAGS_AC = 1 << 21, 1 << 18
PSTATE_PAN = 1 << 22


def test_user_memory_is_shut_where_a_system_call_begins(boot, image, arch) -> None:
    """On one CPU, for programs that never touch their flags."""
    machine = boot(run="/bin/busybox true", append="quiet", smp=1, paused=True)
    image = image.at(machine)
    stop = machine.run_until(image.sym("syscall_dispatch"), timeout=60)

    # To do: this is one CPU of one. machine.gdb.cpus() lists them; /bin/test-load runs on each, and sets AC before some
    # of its system calls. Which frames show that it did? image.offsetof("struct trapframe", "rflags") helps.
    if arch == "x86_64":
        registers = machine.regs(stop.cpu, "cr4", "eflags")
        assert registers["cr4"] & CR4_SMAP and not registers["eflags"] & EFLAGS_AC
    else:
        assert machine.gdb.reg(stop.cpu, "cpsr") & PSTATE_PAN

    # To do: a system call is one way into the kernel. Stop at the others, too, and where a user copy has met a fault.
