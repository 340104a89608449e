"""Packages of Debian, of this machine's architecture or another: fetched by apt, never installed.

For another architecture apt gets lists and a cache of its own below build/, so that neither the
machine's package lists nor its foreign architectures change.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Debian's names of our architectures.
DEBIAN = {"x86_64": "amd64", "aarch64": "arm64"}
SECONDS = 300


class FetchError(Exception):
    """Why a package could not be fetched."""


def options(arch: str) -> list[str]:
    """What makes apt-get and apt-cache speak of arch; fetches the lists if there are none yet."""
    if DEBIAN[arch] == _own_architecture():
        return []
    state = ROOT / "build" / "apt" / arch
    chosen = ["-o", f"APT::Architecture={DEBIAN[arch]}"]
    chosen += ["-o", f"APT::Architectures::={DEBIAN[arch]}"]
    chosen += ["-o", f"Dir::State={state}/state", "-o", f"Dir::State::status={state}/status"]
    chosen += ["-o", f"Dir::Cache={state}/cache"]
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    fresh = state / "fetched"
    with open(state / "lock", "wb") as lock:        # make fetches several packages at once; apt waits for nobody
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not fresh.exists():
            run(["apt-get", *chosen, "-q", "update"], str(state))
            fresh.touch()
    return chosen


def download(arch: str, package: str, folder: str) -> Path:
    """The package's archive in folder, and its files below folder/tree; returns the archive."""
    # apt downloads as user _apt, who must be able to write here.
    os.chmod(folder, 0o777)
    run(["apt-get", *options(arch), "download", "-q", package], folder)
    archive = next(Path(folder).glob("*.deb"))
    run(["dpkg-deb", "-x", str(archive), "tree"], folder)
    return archive


def run(command: list[str], folder: str) -> None:
    """Runs it there, quietly. Raises FetchError with what it said."""
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except (subprocess.TimeoutExpired, FileNotFoundError) as error:
        raise FetchError(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        why = done.stderr.strip() or done.stdout.strip()
        raise FetchError(f"{' '.join(command)} failed:\n{why}")


def _own_architecture() -> str:
    done = subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()
