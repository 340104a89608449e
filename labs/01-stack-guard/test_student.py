"""A test that proves too little: finish it.

    make && /usr/bin/python3 -m pytest labs/01-stack-guard/test_student.py

It boots your kernel, stops it, and looks at the tables from outside; grade/README.md tells what `boot`,
`kernel_of` and a Space can do. As it stands it passes for a kernel that guards one single stack.
"""

PAGE = 0x1000


def test_the_page_below_a_kernel_stack_is_not_mapped(boot, kernel_of) -> None:
    """Below the stack of CPU 0's idle thread nothing is mapped."""
    machine = boot(run="/bin/busybox sleep 100", append="quiet", smp=2)
    machine.wait_for(r"\S", 20)
    machine.stop()
    kernel = kernel_of(machine)
    image = kernel.image

    # To do: this is one CPU of two, one thread of many, and one address space. kernel.threads() lists the
    # threads of processes, kernel.spaces() every address space there is.
    queue = image.sym("run_queues")
    idle = kernel.member(queue, "struct run_queue", "idle")
    stack = kernel.member(idle, "struct thread", "kstack")
    assert kernel.walker.translate(kernel.kernel_root(), stack - PAGE) is None

    # To do: a guard that is lost when a stack is used again would not be seen here. Let the guest run something
    # that makes and ends many processes, and look again.
