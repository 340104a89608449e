"""What is handed in: a directory, or a .tar (.gz, .bz2, .xz, or .tgz) or .zip file, or a directory that holds one such
file and nothing of the lab, as sites that collect work make it. Its name without the suffix is whose it is.

Of an archive only plain files that the lab names are read, at its top or below one directory; no name in it is used as
a path.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import tarfile
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO

from grade.labs.course import MARK
from grade.labs.spec import Lab, SpecError
from grade.labs.workshop import FILE_MAX, SubmissionError

MEMBERS_MAX = 10000         # entries of an archive that are looked at
ARCHIVE_MAX = 256 << 20     # bytes of a .tar.gz without the .gz: one of a megabyte may hold a gigabyte, in a name alone
READ = re.compile(r"\.(tar|tar\.gz|tgz|tar\.bz2|tar\.xz|zip)$", re.IGNORECASE)
_OTHER = re.compile(r"\.(tar\.\w+|t[a-z]z2?|7z|rar|gz|bz2|xz|zst|lz|lzma|z|cab|iso|dmg)$", re.IGNORECASE)
_OPEN: list[tuple[bytes, Callable[..., Any]]] = [(b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ", lzma.open)]
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError, ValueError,
           KeyError, zlib.error, lzma.LZMAError)


def submissions(folder: Path) -> dict[str, list[Path]]:
    """Everything in the directory that somebody handed in, by whose it is: who has more than one handed in twice. Other
    files than archives are nobody's. SpecError if there is no such directory."""
    if not folder.is_dir():
        raise SpecError(f"{folder}: no such directory")
    out: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(".") and (path.is_dir() or is_archive(path) or _OTHER.search(path.name)):
            out.setdefault(name_of(path), []).append(path)
    return out


def strangers(folder: Path) -> list[str]:
    """The names of what lies there, too, and is no submission."""
    found = {p for paths in submissions(folder).values() for p in paths}
    return sorted(p.name for p in folder.iterdir() if p not in found and not p.name.startswith("."))


def name_of(path: Path) -> str:
    """Whose submission it is, as the name of a directory."""
    plain = path.name if path.is_dir() else _OTHER.sub("", READ.sub("", path.name))
    return re.sub(r"[^\w.@+-]", "_", unicodedata.normalize("NFC", plain))


def is_archive(path: Path) -> bool:
    """Whether it is a file that `unpack` is for, by its name."""
    return path.is_file() and READ.search(path.name) is not None


def inner(lab: Lab, path: Path) -> Path:
    """The one archive in a directory that holds nothing else of the lab; else the path itself."""
    if not path.is_dir() or any((path / n).exists() or (path / n).is_symlink() for n in lab.editable):
        return path
    found = [p for p in path.iterdir() if is_archive(p)]
    return found[0] if len(found) == 1 else path


def marked(source: Path) -> bool:
    """Whether a submission (a directory or an archive) says that it comes from a course's branch. One that cannot be read
    does not."""
    if source.is_dir():
        return (source / MARK).is_file()
    try:
        return any(MARK in (plain := name.removeprefix("./"), plain.partition("/")[2]) for name, _, _ in _members(source))
    except _BROKEN:
        return False


def unpack(lab: Lab, path: Path, dest: Path) -> None:
    """Writes the files that the lab names, and no other, from an archive to `dest`. SubmissionError for one that cannot
    be read."""
    unpack_files(dict.fromkeys([*lab.editable, *lab.new_files]), path, dest)


def unpack_files(wanted: dict[str, None], path: Path, dest: Path) -> None:
    """The same of these files."""
    try:
        for name, size, opened in _members(path):
            plain = name.removeprefix("./")
            target = next((n for n in (plain, plain.partition("/")[2]) if n in wanted), None)
            if target is None:
                continue
            if size > FILE_MAX:
                raise SubmissionError(f"{target} is larger than {FILE_MAX >> 20} MiB", "file too large")
            with opened() as source:
                data = source.read(FILE_MAX + 1)
            if len(data) > FILE_MAX:
                raise SubmissionError(f"{target} is larger than {FILE_MAX >> 20} MiB", "file too large")
            (dest / target).parent.mkdir(parents=True, exist_ok=True)
            (dest / target).write_bytes(data)
    except _BROKEN as error:
        if isinstance(error, SubmissionError):
            raise
        raise SubmissionError(f"the archive cannot be read: {error}", "not an archive") from error


def _members(path: Path) -> Iterator[tuple[str, int, Callable[[], BinaryIO | Any]]]:
    """The plain files of an archive: name, size, and how to open it."""
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist()[:MEMBERS_MAX]:
                if not info.is_dir() and (info.external_attr >> 16) & 0o170000 in (0, 0o100000):
                    yield info.filename, info.file_size, lambda i=info: archive.open(i)     # type: ignore[misc]
        return
    with _unzipped(path) as plain, tarfile.open(fileobj=plain) as tar:
        for count, member in enumerate(tar):
            if count >= MEMBERS_MAX:
                return
            if member.isreg():
                yield member.name, member.size, lambda m=member: tar.extractfile(m)         # type: ignore[misc]


def _unzipped(path: Path) -> IO[bytes]:
    """A .tar, compressed or not, as a .tar of bounded size."""
    with open(path, "rb") as file:
        head = file.read(6)
    opener = next((o for magic, o in _OPEN if head.startswith(magic)), open)
    out = tempfile.TemporaryFile()
    try:
        with opener(path, "rb") as source:
            while piece := source.read(1 << 20):
                if out.tell() + len(piece) > ARCHIVE_MAX:
                    raise tarfile.ReadError(f"it holds more than {ARCHIVE_MAX >> 20} MiB")
                out.write(piece)
        out.seek(0)
    except BaseException:
        out.close()
        raise
    return out


__all__ = ["ARCHIVE_MAX", "inner", "is_archive", "marked", "name_of", "strangers", "submissions", "unpack", "unpack_files"]
