"""A test that proves too little: finish it.

    make ARCH=aarch64 && /usr/bin/python3 -m pytest labs/26-asid/test_student.py --arch aarch64

It boots your kernel with a program that makes many address spaces (user/test/spaces.c), stops it where the kernel
chooses who runs next, and looks at what each CPU has loaded; grade/README.md tells what `boot`, `image` and a Machine can do. As it stands it
passes for a kernel that hands out 127 numbers, round and round.
"""

import pytest

from grade.cpus import CPUS

pytestmark = pytest.mark.arch("aarch64")


def test_two_cpus_do_not_walk_two_tables_under_one_number(boot, image) -> None:
    """Forty times."""
    machine = boot(run="/bin/test-spaces 40", append="quiet", smp=2, paused=True, keep=True)
    schedule = image.at(machine).sym("schedule")
    role = CPUS[machine.arch.name]

    for _ in range(40):
        machine.run_until(schedule, hits=20, timeout=60)
        roots: dict[int, int] = {}
        for cpu in machine.gdb.cpus():
            if role.in_user_mode(machine, cpu):
                number = machine.gdb.reg(cpu, "TTBR1_EL1") >> 48
                assert roots.setdefault(number, role.root_of(machine, cpu)) == role.root_of(machine, cpu)

    # To do: is that the rule? If each CPU has numbers of its own it is not. What may a CPU still remember, of those that
    # ran there before? Keep, for each CPU, the roots that it has walked under each number, and forget them where it
    # does: at which instructions is that (grade.disasm.functions)? And do numbers run out at all while you look?
