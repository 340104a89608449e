"""A test that proves too little: finish it.

    make && /usr/bin/python3 -m pytest labs/07-aslr/test_student.py

It boots your kernel with a program that runs /bin/layout again and again and keeps what that finds out of its own places
(user/test/aslr.c); grade/layouts.py reads such records, grade/README.md tells what `boot` and a Machine can do. As it
stands it passes for a kernel that adds a page at each exec.
"""

from grade.image import Image
from grade.layouts import PARTS, SIZE, unpack


def test_no_two_programs_have_a_part_in_the_same_place(boot, build) -> None:
    """Of eight."""
    machine = boot(run="/bin/test-aslr sample 8", append="quiet", smp=1, paused=True)
    program = Image(build.kernel.parent / "user" / "test-aslr")
    stop = machine.run_until(program.sym("samples_taken"), timeout=60)
    layouts = unpack(machine.gdb.read(program.sym("samples"), 8 * SIZE, stop.cpu))

    for part in PARTS:
        assert len({layout[part] for layout in layouts}) == 8

    # To do: how many bits of each part differ at all? Does any of them say something of the next exec, or of another
    # part (grade.layouts.looks asks)? How many execs does it take until a fair kernel almost never fails? And this is
    # one CPU, root, and a stack of 8 MiB.
