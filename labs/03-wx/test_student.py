"""A test that proves too little: finish it.

    make && /usr/bin/python3 -m pytest labs/03-wx/test_student.py

It boots your kernel, stops it where a process is forked, and reads its tables from outside; grade/README.md tells what
`boot`, `image` and a Machine can do. As it stands it passes for a kernel whose text can be written by its other address.
"""

from grade.spaces import Kernel


def test_kernel_text_is_read_only_where_it_was_linked(boot, image) -> None:
    """By one address, in one address space."""
    machine = boot(run="/bin/busybox sh -c '/bin/busybox true; /bin/busybox true'", append="quiet", smp=2, paused=True)
    image = image.at(machine)
    machine.run_until(image.sym("vm_fork"), timeout=60)
    kernel = Kernel(machine, image)
    space = kernel.own_spaces()[0]
    text = space.between(*image.span("__text_start", "__text_end"))

    # To do: grade.walk.aliases_of() finds every mapping of some frames; kernel.frames() says which those of a section are.
    # And text is not the only thing that is never written.
    assert text and not any(m.writable for m in text)
