"""A test that proves too little: finish it.

    make && /usr/bin/python3 -m pytest labs/27-ro-pgtable/test_student.py

It boots your kernel, stops it, and looks at the tables from outside; grade/README.md tells what `boot`, `kernel_of` and a
Space can do. As it stands it is content if the root of one process is read-only in one address space.
"""

from grade.walk import writable_aliases_of

PAGE = 0x1000


def test_no_mapping_writes_a_page_table(boot, kernel_of) -> None:
    """The root of the first process, in the kernel's own tables."""
    machine = boot(run="/bin/busybox sleep 100", append="quiet", smp=2)
    machine.wait_for(r"\S", 20)
    machine.stop()
    kernel = kernel_of(machine)

    # To do: a root is one table of many, and each Space has the others (grade.walk.table_pages); kernel.spaces() are all
    # address spaces. A CPU may also have something loaded that is in none of them: kernel.cpu.active(machine, cpu).
    space = kernel.spaces()[-1]
    assert not writable_aliases_of([kernel.spaces()[0]], [(space.root, space.root + PAGE)])

    # To do: look again when a program has needed more tables than there were (/bin/test-sparse), and on another CPU.
