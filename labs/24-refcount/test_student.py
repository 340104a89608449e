"""A test that proves too little: finish it.

    make && /usr/bin/python3 -m pytest labs/24-refcount/test_student.py

It stops your kernel where a program closes a file, sets that file's counter, and looks at it when the reference has been
dropped; grade/README.md tells what `boot`, `image` and a Machine can do. As it stands a kernel passes whose counters wrap.
"""

from grade.cpus import CPUS
from grade.spaces import Kernel

MAX = (1 << 31) - 1


def test_a_counter_beyond_its_limit_does_not_count(boot, image) -> None:
    """Of the first file that the first CPU lets go."""
    machine = boot(smp=1, append="quiet", paused=True, keep=True)
    kernel_image = image.at(machine)
    stop = machine.run_until(kernel_image.sym("file_put"), timeout=60)
    kernel = Kernel(machine, kernel_image)
    cpu = CPUS[machine.arch.name]
    file = machine.gdb.reg(stop.cpu, cpu.arguments[0])
    counter = kernel.phys(file + kernel_image.offsetof("struct file", "refs"))
    machine.write_phys(counter, (MAX + 2).to_bytes(4, "little"))
    machine.run_until(cpu.returns_to(machine, stop.cpu), timeout=60)

    assert int.from_bytes(machine.read_phys(counter, 4), "little") > MAX

    # To do: from which value would it fail? There are both ends of the range, operations that add, and a second CPU (smp=2).
    # And a counter that is right must still count: 2 becomes 1, and of 1 the file is freed.
