"""A test that proves too little: finish it.

    make && /usr/bin/python3 -m pytest labs/06-canary/test_student.py

It boots your kernel, stops it where a process is forked, and reads canaries from outside; grade/README.md tells what
`boot`, `image` and a Machine can do. As it stands it passes for a kernel that gives every thread the same one.
"""

from grade.canaries import compared_with, own
from grade.spaces import Kernel


def test_a_cpu_compares_with_a_canary_that_is_not_0(boot, image) -> None:
    """On one CPU, at one moment."""
    machine = boot(run="/bin/busybox sh -c '/bin/busybox true; /bin/busybox true'", append="quiet", smp=1, paused=True)
    image = image.at(machine)
    stop = machine.run_until(image.sym("vm_fork"), timeout=60)
    kernel = Kernel(machine, image)

    # To do: this is one CPU of one. machine.gdb.cpus() lists them; /bin/test-load runs on each.
    assert compared_with(kernel, stop.cpu) == own(kernel, stop.cpu) != 0

    # To do: this is one thread. grade.canaries.canaries() has every thread's: what must be true of them all? And of
    # another start's (boot takes seed=)?
