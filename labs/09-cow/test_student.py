"""A test that proves too little: finish it.

    make && /usr/bin/python3 -m pytest labs/09-cow/test_student.py

It boots your kernel with a program that forks, protects and writes in every order (user/test/cow.c), stops it once, and
looks at every process's pages from outside; grade/README.md tells what `boot`, `image` and a Machine can do. As it
stands it passes for a kernel that shares nothing.
"""

from pathlib import Path

from grade.frames import at_rest, wrongly_writable
from grade.image import Image
from grade.spaces import Kernel

ROOT = Path(__file__).resolve().parent.parent.parent
LOOKS = 200


def test_no_page_is_writable_whose_frame_others_have(boot, image, arch) -> None:
    """At one moment."""
    machine = boot(run="/bin/test-cow 8", append="quiet", smp=2, paused=True, icount=True, keep=True)
    image = image.at(machine)
    program = Image(ROOT / "build" / arch / "user" / "test-cow")
    for _ in range(LOOKS):
        machine.run_until(program.sym("cow_look"), timeout=60)
        kernel = Kernel(machine, image)
        if at_rest(kernel):
            break
    assert not wrongly_writable(kernel)

    # To do: this is one moment of many, and nothing says that anything was shared then. grade.frames.frames() has every
    # frame with its references: what should they be (wrong_references)? And when has this test seen enough to pass?
