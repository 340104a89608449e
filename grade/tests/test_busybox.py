"""The busybox script is the yardstick of parity: a few hundred lines of shell whose output must be Linux's."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest

from grade.plugin import Boot
from grade.qemu import Machine

LONG = 600

pytestmark = [pytest.mark.guest, pytest.mark.timeout(2 * LONG + 60)]


def said(m: Machine) -> list[str]:
    """The script's lines, once it has ended well."""
    assert m.wait_exit(LONG) == 0
    lines = m.transcript.splitlines()
    assert "init: /bin/sh exited with 0" in lines
    return lines[:lines.index("busybox.sh: done") + 1]


@pytest.mark.parametrize("smp", [1, 4])
def test_the_busybox_script_says_the_same_on_rampart_and_on_linux(boot: Boot, linux: Path, smp: int) -> None:
    script = "/bin/sh /test/busybox.sh"
    # Under load Linux complains of timers even when it is told to be quiet.
    theirs = said(boot(run=script, append="quiet loglevel=0", kernel=linux, smp=smp, mem=256))
    ours = said(boot(run=script, smp=smp, mem=256))
    assert len(ours) > 500
    difference = list(difflib.unified_diff(theirs, ours, "Linux", "Rampart", lineterm="", n=1))
    assert not difference, "\n".join(difference)
