"""A test that proves too little: finish it.

    make && /usr/bin/python3 -m pytest labs/25-speculation/test_student.py

It disassembles your kernel; grade/disasm.py tells what there is to ask. As it stands it is content if one function, which
makes a branch through a register, does it by a call.
"""

from grade.disasm import functions


def test_system_calls_go_by_a_thunk(build) -> None:
    """The table of system calls is a table of pointers."""
    (dispatch,) = [f for f in functions(build.symbols) if f.name == "syscall_dispatch"]
    assert not [i for i in dispatch.code if i.name in ("call", "jmp") and "[" in i.text]

    # To do: every other function; jmp and call by a register; what stands behind each return; and what does a thunk hold?
