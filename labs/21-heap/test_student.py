"""A test that proves too little: finish it.

    make && /usr/bin/python3 -m pytest labs/21-heap/test_student.py

It boots your kernel to its prompt and looks at the lists of free objects (grade/heap.py finds the caches);
grade/README.md tells what `boot`, `image` and a Machine can do. As it stands it looks at one word of one object of each
cache, and a kernel whose links all have one bit turned passes.
"""

from grade.heap import caches, cpu_heads
from grade.spaces import Kernel


def test_the_first_free_object_of_a_list_holds_no_address(boot, image) -> None:
    """Of each cache, as the first CPU has it."""
    machine = boot(smp=1)
    machine.wait_for(r"[#$] (?:\x1b\[6n)?\Z", 60)
    machine.stop()
    kernel = Kernel(machine, image.at(machine))
    heads = [head for cache in caches(kernel) for head in cpu_heads(kernel, cache)[:1] if head]

    assert heads
    for head in heads:
        assert not kernel.owns(kernel.u64(head))

    # To do: which address does this word stand for? You know how you hide it: follow the list from here, and see that
    # each object of it is one of that cache, once. What else must be true of each, if it is free? There are the slabs'
    # lists, too, and other CPUs (grade.heap.slabs shows how slabs are found).
