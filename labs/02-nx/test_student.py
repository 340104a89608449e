"""A test that proves too little: finish it.

    make && /usr/bin/python3 -m pytest labs/02-nx/test_student.py

It boots your kernel, stops it while a program sleeps, and looks at tables from outside; grade/README.md tells what `boot`,
`kernel_of` and a Space can do. As it stands it passes for a kernel that protects stacks alone.
"""


def test_no_stack_is_executable(boot, kernel_of) -> None:
    """The highest page of each program that is writable is its stack's."""
    machine = boot(run="/bin/busybox sleep 100", append="quiet", smp=2)
    machine.wait_for(r"\S", 20)
    machine.stop()
    kernel = kernel_of(machine)
    for space in kernel.spaces():
        writable = [m for m in space.between(0, kernel.cpu.user_end) if m.user and m.writable]
        assert not writable or not writable[-1].exec_user, space.name

    # To do: a stack is one kind of data. What of the others? And nobody has forked, or changed what is there: let the
    # guest run a program that does (`run="/bin/test-fork_cow"`), and look while it is at it.
