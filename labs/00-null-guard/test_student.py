"""A test that proves too little: finish it.

    make && /usr/bin/python3 -m pytest labs/00-null-guard/test_student.py

It boots your kernel, stops it, and looks at the tables from outside; grade/README.md tells what `boot`,
`kernel_of` and a Space can do. As it stands it passes for the starter.
"""

LIMIT = 0x10000


def test_nothing_is_mapped_below_the_limit(boot, kernel_of) -> None:
    """While a shell sleeps, no address space of the machine maps anything below 64 KiB."""
    machine = boot(run="/bin/sh -c 'echo asleep; sleep 100'", append="quiet", smp=2)
    machine.wait_for("asleep", 20)
    machine.stop()
    kernel = kernel_of(machine)
    for space in kernel.spaces():
        assert space.between(0, LIMIT) == [], space.name

    # To do: nobody has tried anything. Let the guest run a program that does (user/test/mmap.c has one that asks
    # politely; `run="/bin/test-mmap page_zero_is_refused"`), or the attack, and look while it is at it.
