"""A test that proves too little: finish it.

    make && /usr/bin/python3 -m pytest labs/10-shootdown/test_student.py

It boots your kernel with a program whose threads touch pages while another takes them away (user/test/tlb.c), and stops it
where frames are given back; grade/README.md tells what `boot`, `image` and a Machine can do. As it stands it passes for
a kernel in which no CPU ever hears of another.
"""

from grade.cpus import CPUS


def test_translations_are_flushed_before_their_frames_are_given_back(boot, image) -> None:
    """The first ten times."""
    machine = boot(run="/bin/test-tlb freed_frames_are_not_written", append="quiet", smp=2, paused=True, keep=True)
    symbols = image.at(machine)
    machine.run_until(symbols.sym("process_start_init"), timeout=60)
    flush = symbols.sym("arch_tlb_flush")
    for _ in range(10):
        stop = machine.run_until(flush, timeout=60)
        assert machine.gdb.pc(stop.cpu) == flush
        assert machine.gdb.reg(stop.cpu, CPUS[machine.arch.name].arguments[0])

    # To do: this is one function, and says nothing of the other CPU. page_put gets a frame (its `struct page`); what could
    # the other CPU do at that moment? machine.gdb.advance(cpu) has one CPU go on alone.
