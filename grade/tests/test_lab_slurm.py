"""A class beyond one machine: the script for Slurm's array jobs on one node, which Debian's slurmctld and slurmd make here
(SLURM=1 ./setup)."""

from __future__ import annotations

import csv
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from grade.labs.spec import lab_named

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800),
              pytest.mark.skipif(os.geteuid() != 0, reason="the daemons run as root here")]
ROOT = Path(__file__).resolve().parent.parent.parent
DAEMONS = ("munged", "slurmctld", "slurmd")
CONFIG = """\
ClusterName=rampart
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={port}
SlurmdPort={port2}
AuthInfo=socket={place}/munge.sock
CredType=cred/munge
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=2048 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
"""


def free_port() -> int:
    """A port that nobody uses."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A cluster of this machine: the environment in which sbatch knows it."""
    if lost := [d for d in DAEMONS if not shutil.which(d)]:
        pytest.skip(f"no {lost[0]} here")
    place = tmp_path / "slurm"
    for folder in (place, place / "state", place / "spool"):
        folder.mkdir(mode=0o755)
    (place / "key").write_bytes(os.urandom(128))
    (place / "key").chmod(0o600)
    (place / "slurm.conf").write_text(CONFIG.format(place=place, host=socket.gethostname(), port=free_port(),
                                                    port2=free_port(), cpus=os.cpu_count()))
    environment = os.environ | {"SLURM_CONF": str(place / "slurm.conf"), "RAMPART_TREE": str(ROOT)}
    commands = [["munged", "-F", "--force", f"--socket={place}/munge.sock", f"--key-file={place}/key",
                 f"--pid-file={place}/munge.pid", f"--log-file={place}/munge.log", f"--seed-file={place}/seed"],
                ["slurmctld", "-D", "-i"], ["slurmd", "-D"]]
    logs = [open(place / f"{c[0]}.log", "wb") for c in commands]
    daemons = [subprocess.Popen(c, env=environment, stdout=log, stderr=log) for c, log in zip(commands, logs)]
    try:
        yield environment
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon, log in zip(daemons, logs):
            daemon.wait(60)
            log.close()
            sys.stdout.write(Path(log.name).read_text(errors="replace")[-2000:])


def test_an_array_job_grades_a_class(slurm: dict[str, str], tmp_path: Path, arch: str) -> None:
    lab = lab_named(ROOT, "stack-guard", arch)
    for name in ("ann", "bob", "cyd"):
        for file in lab.editable:
            (tmp_path / "class" / name / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / file, tmp_path / "class" / name / file)
    (tmp_path / "class" / "bob" / lab.editable[0]).write_text("#error no\n")
    words = [lab.name, arch, str(tmp_path / "class"), str(tmp_path / "out"), "2", "--seed", "7"]
    done = subprocess.run(["sbatch", "--wait", "--array=0-1", "--cpus-per-task=1", f"--output={tmp_path}/task-%a.log",
                           str(ROOT / "grade" / "slurm" / "class.sbatch"), *words],
                          env=slurm, check=False, timeout=1500, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr + "".join(p.read_text() for p in tmp_path.glob("task-*.log"))
    assert not (tmp_path / "out" / "summary.csv").exists() and len(list(tmp_path.glob("task-*.log"))) == 2
    subprocess.run([sys.executable, "-m", "grade.lab", "collect", lab.name, "--arch", arch, "--seed", "7", "--submissions",
                    str(tmp_path / "class"), "--out", str(tmp_path / "out")], cwd=ROOT, check=True, timeout=600)
    with open(tmp_path / "out" / "summary.csv", newline="") as file:
        assert {r["submission"]: r["score"] for r in csv.DictReader(file)} == {
            "ann": str(lab.points), "bob": "0", "cyd": str(lab.points)}
