"""A student's other verbs: why a check failed, the broken kernel, starting over, handing in."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import tarfile
from pathlib import Path

from grade import debug
from grade.image import Image
from grade.labs import tree
from grade.labs.grading import GUEST_FAULTS, Ended, Run, load_checks
from grade.labs.sandbox import choose
from grade.labs.spec import Lab, SpecError, lab_named
from grade.labs.workshop import SubmissionError, Workshop
from grade.qemu import ARCHES

ROOT = Path(__file__).resolve().parent.parent.parent


def why(args: argparse.Namespace) -> int:
    """Replays a check's boot under GDB, stopped where the check looks."""
    lab = lab_named(ROOT, args.lab, args.arch)
    known = [c.name for c in lab.checks]
    if args.check not in known:
        raise SpecError(f"no check {args.check!r}; there are: {', '.join(known)}")
    checks = load_checks(lab)
    # GDB reads the symbols of this tree's own build: the same source gives the same image.
    if subprocess.run(["make", "-C", str(ROOT), f"ARCH={lab.arch}", "kernel"], check=False).returncode:
        raise SubmissionError("see above", "does not compile")
    with Workshop(ROOT, lab, choose(trust=True)) as workshop:
        built = workshop.build(workshop.take(ROOT))
        image = Image(built.symbols, slide=None)
        run = Run(lab, workshop, built, image, args.seed, contained=False)
        try:
            with checks.stand(run, args.check) as guest:
                socket = workshop.scratch / "gdb"
                guest.machine.offer_gdb(f"unix:{socket},server=on,wait=off")
                return _gdb(lab, f"rp-connect {socket}")
        except (Ended, *GUEST_FAULTS) as error:
            print(f"the guest does not get that far: {error}")
            return 1
        finally:
            image.close()


def diagnose(args: argparse.Namespace) -> int:
    """Boots the lab's broken kernel with GDB attached; its source is not here."""
    lab = lab_named(ROOT, args.lab, args.arch)
    kernel = lab.folder / "diagnose" / lab.arch / "rampart"
    if not kernel.is_file():
        raise SpecError(f"{lab.name}: no broken kernel here: `lab` puts it into a starter")
    if subprocess.run(["make", "-C", str(ROOT), f"ARCH={lab.arch}", "initrd"], check=False).returncode:
        raise SubmissionError("see above", "does not compile")
    machine, out = ARCHES[lab.arch], Path("build", lab.arch)
    # Relative, as a socket's path must be short.
    socket, console = out / "diagnose.sock", out / "diagnose.log"
    os.chdir(ROOT)
    guest = debug.start(
        [machine.binary, "-accel", "tcg", "-M", machine.machine, "-cpu", machine.cpu, "-smp", "2", "-m", "256",
         "-nodefaults", "-vga", "none", "-net", "none", "-display", "none", "-no-reboot", "-no-shutdown", "-kernel",
         str(kernel), "-initrd", str(out / "initrd.cpio"), "-S", "-chardev",
         f"socket,id=gdb,path={socket},server=on,wait=off", "-gdb", "chardev:gdb", "-append",
         f"console={machine.console} -- /bin/attack {lab.attack}"], socket, console)
    print(f"console: {console}")
    signal.signal(signal.SIGINT, signal.SIG_IGN)        # ctrl-c is for gdb
    try:
        return _gdb(lab, f"file {kernel}.sym", f"rp-connect {socket}")
    finally:
        guest.kill()
        guest.wait()
        socket.unlink(missing_ok=True)


def _gdb(lab: Lab, *commands: str) -> int:
    """A GDB that knows the lab's architecture and .gdbinit, for a person; its exit status."""
    line = [*debug.debugger(lab.arch), "-q", "-iex", "set auto-load local-gdbinit off", "-x", ".gdbinit"]
    for command in commands:
        line += ["-ex", command]
    return subprocess.run(line, cwd=ROOT, env=os.environ | {"ARCH": lab.arch}, check=False,
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)).returncode


def reset(args: argparse.Namespace) -> int:
    """Puts the editable files back as they came; what was there goes to .lab-backup/N."""
    lab = lab_named(ROOT, args.lab, args.arch)
    origin = ROOT / tree.ORIGIN
    if not origin.is_dir():
        raise SpecError("reset: this is not a starter (no .lab-origin)")
    number = 1
    while (ROOT / tree.BACKUP / str(number)).exists():
        number += 1
    backup = ROOT / tree.BACKUP / str(number)
    names = [n for n in lab.everywhere if (ROOT / n).is_file()]
    tree.copy(ROOT, backup, names)
    for name in lab.everywhere:
        shutil.copyfile(origin / name, ROOT / name)
    print(f"back at the start; your work is in {backup.relative_to(ROOT)}")
    return 0


def submit(args: argparse.Namespace) -> int:
    """Checks the list of files, builds, and packs LAB-submission.tar.gz."""
    lab = lab_named(ROOT, args.lab, args.arch)
    with Workshop(ROOT, lab, choose(trust=True)) as workshop:
        workshop.discard(workshop.build(workshop.take(ROOT)))
    out = ROOT / f"{lab.name}-submission.tar.gz"
    names = [*lab.everywhere, *_extras(lab)]
    missing = [n for n in names if not (ROOT / n).is_file()]
    if missing:
        raise SubmissionError(f"missing: {', '.join(missing)}", "missing file")
    with tarfile.open(out, "w:gz") as archive:
        for name in names:
            archive.add(ROOT / name, name)
    print(f"builds; packed {len(names)} files into {out.name}")
    return 0


def _extras(lab: Lab) -> list[str]:
    """What is handed in beside the code: the notes and the student's test, where the lab has them."""
    extras = [tree.NOTES, f"labs/{lab.folder.name}/test_student.py"]
    return [n for n in extras if (ROOT / n).is_file() or n == tree.NOTES]
