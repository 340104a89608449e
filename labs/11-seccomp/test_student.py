"""A test that proves too little: finish it.

    make && /usr/bin/python3 -m pytest labs/11-seccomp/test_student.py

It boots your kernel with a program that gives up openat in several ways (user/test/confined.c), and stops wherever the
function behind that call is entered; grade/README.md tells what `boot`, `image` and a Machine can do. As it stands it
passes for a kernel that confines nobody but the thread that asked for it.
"""

from grade.gdbstub import GdbClosed
from grade.spaces import Kernel


def test_a_thread_with_a_filter_does_not_open_files(boot, image) -> None:
    """Whoever has called seccomp_filter() never reaches sys_openat()."""
    machine = boot(run="/bin/test-confined", append="quiet", smp=2, paused=True, keep=True)
    symbols = image.at(machine)
    machine.run_until(symbols.sym("process_start_init"), timeout=60)
    for function in ("seccomp_filter", "sys_openat"):
        machine.gdb.set_break(symbols.sym(function))
    confined = set()
    while True:
        machine.cont()
        try:
            stop = machine.wait_stop(60)
        except GdbClosed:
            break
        if not stop.breakpoint:
            break
        kernel = Kernel(machine, symbols)
        tid = kernel.member(kernel.current(stop.cpu), "struct thread", "tid")
        if machine.gdb.pc(stop.cpu) == symbols.sym("seccomp_filter"):
            confined.add(tid)
        else:
            assert tid not in confined

    # To do: did anybody try? And a filter is not the only way to give something up, nor its thread the only one that has:
    # what is the name of all processes here that have (grade.attacks.current_name), and on how many CPUs do they run?
    assert confined
