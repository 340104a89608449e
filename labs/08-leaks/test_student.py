"""A test that proves too little: finish it.

    make && /usr/bin/python3 -m pytest labs/08-leaks/test_student.py

It boots your kernel with a program that keeps everything that the kernel hands out, as an ordinary user
(user/test/outputs.c), and looks into that program's memory; grade/README.md tells what `boot`, `image` and a Machine can
do. As it stands it looks for one address, in one spelling.
"""

from grade.image import Image
from grade.spaces import Kernel


def test_an_ordinary_user_does_not_read_where_kernel_main_is(boot, image, build) -> None:
    """In hexadecimal, as /proc/kallsyms has it."""
    machine = boot(run="/bin/test-outputs 1000 proc", append="quiet", smp=1, paused=True)
    program = Image(build.kernel.parent / "user" / "test-outputs")
    stop = machine.run_until(program.sym("outputs_done"), timeout=120)
    placed = image.at(machine)
    size = int.from_bytes(machine.gdb.read(program.sym("kept_size"), 8, stop.cpu), "little")
    kept = machine.gdb.read(program.sym("kept"), size, stop.cpu)

    assert b"kernel_main\n" in kept
    assert b"%016x" % placed.sym("kernel_main") not in kept

    # To do: a kernel has more addresses than this one, and stacks and objects have some, too: Kernel.ranges() has their
    # bounds, grade.addresses.told() looks for all. How else may a number be written? And what of the structures that calls
    # hand out (`outputs` in that program)?
    assert Kernel(machine, placed).ranges()
