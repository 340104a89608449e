"""A test that proves too little: finish it.

    make && /usr/bin/python3 -m pytest labs/04-smep/test_student.py

It boots your kernel, stops it where a process is forked, and looks from outside; grade/README.md tells what `boot`, `image`
and a Machine can do. As it stands it passes for a kernel whose second CPU runs whatever a pointer leads to.
"""

from grade.spaces import Kernel
from grade.walk import user_accessible
from grade.walk_x86_64 import CR4_SMEP


def test_the_kernel_does_not_execute_user_pages(boot, image) -> None:
    """On one CPU, at one moment, before any signal."""
    machine = boot(run="/bin/busybox sh -c '/bin/busybox true; /bin/busybox true'", append="quiet", smp=2, paused=True)
    image = image.at(machine)
    machine.run_until(image.sym("vm_fork"), timeout=60)

    # To do: machine.gdb.cpus() lists the CPUs. /bin/test-load makes each of them work; and what else may clear the bit?
    if machine.arch.name == "x86_64":
        assert machine.gdb.reg(0, "cr4") & CR4_SMEP
    else:
        space = Kernel(machine, image).own_spaces()[-1]
        assert not [f for f in user_accessible([space]) if f.mapping.exec_kernel]
