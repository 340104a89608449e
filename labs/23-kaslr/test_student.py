"""A test that proves too little: finish it.

    make && /usr/bin/python3 -m pytest labs/23-kaslr/test_student.py

It starts your kernel twice, as far as the choice of its places (grade/places.py reads them); grade/README.md tells what
`boot`, `image` and a Machine can do. As it stands a kernel with one bit passes, every second time.
"""

from grade.places import PARTS, chosen_places


def places(boot, image, seed: int) -> dict[str, int]:
    """Where a kernel lies whose machine has its random numbers from a seed."""
    machine = boot(append="quiet", smp=1, paused=True, icount=True, seed=seed)
    image.at(machine)
    return chosen_places(machine, image)


def test_two_starts_have_no_part_at_the_same_place(boot, image) -> None:
    """Image, direct map, stacks."""
    one, other = places(boot, image, 1), places(boot, image, 2)

    for part in PARTS:
        assert one[part] != other[part]

    # To do: how many starts does it take until a kernel with 9 bits almost never fails, and one with 7 bits almost always?
    # (grade.places.too_few counts.) Do two parts go together (grade.places.related)? Has each of them all the room that it
    # needs? And is anything mapped where it was linked, once the kernel runs (grade.walk.mapped_between)?
