"""A make of our own, whichever make has called us: it asks no other for a turn, and takes no other's flags."""

from __future__ import annotations

import os
import subprocess
from typing import Any


def make(*words: str, **options: Any) -> subprocess.CompletedProcess[Any]:
    """subprocess.run() of `make WORDS...`, with its options."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(["make", *words], env=env, **options)
