"""A test that proves too little: finish it.

    make && /usr/bin/python3 -m pytest labs/30-kpti/test_student.py

It boots your kernel, stops it where a program begins a system call, and reads what user mode's tables lead to, from outside;
grade/README.md tells what `boot`, `image` and a Machine can do. As it stands it looks once, at one process, on one CPU, and
is content if the image is out of reach.
"""

from grade.image import Image
from grade.spaces import Kernel


def test_user_mode_does_not_reach_the_kernel(boot, image, build) -> None:
    """The first process, after its first system call."""
    program = Image(build.initrd.parent / "user" / "test-load")
    machine = boot(run="/bin/test-load 10", append="quiet", smp=2, paused=True)
    image = image.at(machine)
    stop = machine.run_until(program.sym("load_round"), timeout=60)
    kernel = Kernel(machine, image)
    assert kernel.cpu.in_user_mode(machine, stop.cpu)

    # To do: the rest of the kernel's half; the other CPU; other processes; and after a page fault, a signal, an interrupt.
    space = kernel.cpu.active(machine, stop.cpu)
    start, end = image.span("__data_start", "__data_end")
    assert not [m for part in space.parts for m in part if start <= m.va < end]
