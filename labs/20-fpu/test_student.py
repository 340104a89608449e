"""A test that proves too little: finish it.

    make && /usr/bin/python3 -m pytest labs/20-fpu/test_student.py

It boots your kernel with processes that hold a pattern each (user/test/hold.c), and stops it where a program begins;
grade/README.md tells what `boot`, `image` and a Machine can do. As it stands it passes for a kernel that clears registers at
exec and does nothing else.
"""

from pathlib import Path

from grade.image import Image
from grade.vectors import vectors

ROOT = Path(__file__).resolve().parent.parent.parent


def test_a_program_begins_with_nobodys_numbers(boot, image, arch) -> None:
    """The first five that begin while others hold theirs."""
    machine = boot(run="/bin/test-hold 40", append="quiet", smp=2, paused=True, keep=True)
    program = Image(ROOT / "build" / arch / "user" / "test-hold")
    machine.run_until(image.at(machine).sym("process_start_init"), timeout=60)
    for _ in range(5):
        stop = machine.run_until(program.sym("_start"), timeout=60)
        assert not any(vectors(machine, stop.cpu))

    # To do: hold_spin is where a process holds hold_pattern (machine.gdb.read reads it, of the process that stands there).
    # What must be in its registers then, how often, on which CPU? And what if you load them at the first use
    # (grade/vectors.py)?
