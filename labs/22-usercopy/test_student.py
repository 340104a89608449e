"""A test that proves too little: finish it.

    make && /usr/bin/python3 -m pytest labs/22-usercopy/test_student.py

It boots your kernel with a program that does a little of everything (user/test/load.c), and listens at the gate: what is
asked, and what is answered. grade/README.md tells what `boot`, `image` and a Machine can do, grade/gate.py has a Gate that
can be asked anything. As it stands it passes for a gate that lets everything pass.
"""

from grade.cpus import CPUS
from grade.heap import cache_of
from grade.spaces import Kernel


def test_no_copy_that_is_asked_for_leaves_its_object(boot, image, arch) -> None:
    """Of the heap's objects, for the first hundred questions."""
    machine = boot(run="/bin/test-load 5", append="quiet", smp=1, paused=True, icount=True, keep=True)
    placed = image.at(machine)
    machine.run_until(placed.sym("process_start_init"), timeout=120)
    machine.gdb.set_break(placed.sym("usercopy_check"))
    looked_at = 0
    for _ in range(100):
        machine.cont()
        machine.wait_stop(120)
        kernel = Kernel(machine, placed)
        p, n, _ = (machine.gdb.reg(0, name) for name in CPUS[arch].arguments)
        cache = cache_of(kernel, p)
        if cache:
            looked_at += 1
            assert (p & (4096 << cache.order) - 1) % cache.size + n <= cache.size

    # To do: these copies are honest, and prove nothing. Stop at one of them, give it other arguments (Gate.refuses), and see
    # that a byte more is refused. What else than objects of the heap is there: the cases of grade/gate.py are a beginning.
    assert looked_at
