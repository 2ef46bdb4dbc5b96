"""A whole study as one file: a zip archive of its ledger as JSON, its files, and the checksum of each.

A zip file, because it holds neither links nor devices, tells each member's size beforehand, and every system opens it.
Whoever restores trusts nothing in it: names, sizes and checksums are checked before a file has its place.
"""

import hashlib
import json
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from adapter_sweep import __version__
from adapter_sweep.config.section import NAME
from adapter_sweep.errors import AdapterSweepError, UserInputError
from adapter_sweep.study.ownership import MARK

__all__ = ["Contents", "free_bytes", "open_archive", "write_archive"]

VERSION = 1
_FORMAT = "adapter-sweep archive"
_MANIFEST = "manifest.json"
_LEDGER = "ledger.json"
_FILES = "files/"
_CHUNK = 1 << 20
_MOST_BYTES = {_MANIFEST: 1 << 26, _LEDGER: 1 << 29}  # of what is read into memory
_LONGEST_NAME = 255


@dataclass(frozen=True)
class Contents:
    """What an archive holds, checked as far as that goes without unpacking it.

    Attributes:
        study: the study's name.
        ledger: name -> a study as `exchange.exported` told it: the study, and that of its finalists where it has one.
        made_by: the version of this product that wrote the archive.
    """

    study: str
    ledger: Mapping[str, Any]
    made_by: str
    _path: Path
    _archive: zipfile.ZipFile
    _files: Mapping[str, Mapping[str, Any]]

    @property
    def total_bytes(self) -> int:
        """The bytes of all files, unpacked."""
        return sum(int(told["bytes"]) for told in self._files.values())

    def unpack(self, name: str, folder: Path) -> None:
        """Write one study's files into a new folder.

        Raises:
            UserInputError: a file is not what the manifest says.
            AdapterSweepError: the folder cannot be written.
        """
        prefix = f"{_FILES}{name}/"
        with _errors(self._path):
            folder.mkdir(parents=True)
            for member, told in self._files.items():
                if member.startswith(prefix):
                    path = folder / member.removeprefix(prefix)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    try:
                        with path.open("xb") as file:
                            _copy(self._archive, member, told, file)
                    except FileExistsError:  # two names may be one to the file system
                        raise UserInputError(f"two of its files have one name here: {member}") from None


def write_archive(path: Path, study: str, ledger: Mapping[str, Any], folders: Mapping[str, Path]) -> list[Path]:
    """Write a study into one file: aside, then renamed.

    Args:
        path: the file, which must not exist.
        study: the study's name.
        ledger: see `Contents`.
        folders: name -> the folder with its files, for each study of `ledger`; one that is missing is empty.

    Returns:
        What was left out: links, what is no plain file, and names that no restore would take.

    Raises:
        UserInputError: the file exists.
        AdapterSweepError: it cannot be written, or a study's file changed meanwhile.
    """
    if path.exists():
        raise UserInputError(f"{path} exists; name another file with --to")
    plain = {f"{_FILES}{name}/{part}": file for name, own in folders.items() for part, file in _plain_files(own)}
    found = {member: file for member, file in plain.items() if _is_inside(member, list(folders))}
    left_out = [file for own in folders.values() for file in _others(own)]
    left_out += [file for member, file in plain.items() if member not in found]
    told = json.dumps(ledger).encode()
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        files = {_LEDGER: _told_of(told)} | {member: _told_of_file(file) for member, file in found.items()}
        about = {"format": _FORMAT, "version": VERSION, "adapter_sweep": __version__, "study": study, "files": files}
        with aside.open("xb") as raw:
            with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                archive.writestr(_MANIFEST, json.dumps(about, indent=1))
                archive.writestr(_LEDGER, told)
                for member, file in found.items():
                    _add(archive, member, file, files[member])
            raw.flush()
            os.fsync(raw.fileno())
        aside.replace(path)
    except OSError as error:
        raise AdapterSweepError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
    return left_out


@contextmanager
def open_archive(path: Path) -> Iterator[Contents]:
    """Open a study's archive.

    Raises:
        UserInputError: it is not there, is no archive of ours, is of a newer version, or is damaged or dangerous.
        AdapterSweepError: it cannot be read.
    """
    with _errors(path):
        archive = zipfile.ZipFile(path)
    with archive:
        with _errors(path):
            contents = _contents(path, archive)
        yield contents


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    """What reading an archive raises, in words that name it."""
    try:
        yield
    except FileNotFoundError:
        raise UserInputError(f"{path}: there is no such file") from None
    except UserInputError as error:
        raise UserInputError(*(f"{path}: {problem}" for problem in error.problems)) from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeError) as error:
        raise UserInputError(f"{path}: no archive of a study, or a damaged one: {error}") from None
    except OSError as error:
        raise AdapterSweepError(f"{error.filename or path}: {error.strerror or error}") from None


def _contents(path: Path, archive: zipfile.ZipFile) -> Contents:
    about = _json(archive, _MANIFEST, None)
    if not isinstance(about, dict) or about.get("format") != _FORMAT:
        raise UserInputError("no archive of a study")
    version = about.get("version")
    if version != VERSION:
        raise UserInputError(
            f"archive version {version!r}, written by adapter-sweep {about.get('adapter_sweep')}; "
            f"this one reads version {VERSION}"
        )
    study, files = about.get("study"), about.get("files")
    if not isinstance(study, str) or not re.fullmatch(NAME, study):
        raise UserInputError(f"its study has no name that a folder can have: {study!r}")
    if not isinstance(files, dict) or not all(_is_told(told) for told in files.values()):
        raise UserInputError("its manifest is damaged")
    names = [study, f"{study}.confirmed"]
    _check_members(archive, files, names)
    ledger = _json(archive, _LEDGER, files[_LEDGER])
    if not isinstance(ledger, dict) or study not in ledger or not ledger.keys() <= set(names):
        raise UserInputError("its ledger is of another study")
    kept = {name: told for name, told in files.items() if name != _LEDGER}
    return Contents(study, ledger, str(about.get("adapter_sweep")), path, archive, kept)


def _check_members(archive: zipfile.ZipFile, files: Mapping[str, Any], names: Sequence[str]) -> None:
    """All names and sizes, before anything is unpacked."""
    members = archive.infolist()
    twice = len({one.filename for one in members}) != len(members)
    if twice or {one.filename for one in members} != {_MANIFEST, *files} or _LEDGER not in files:
        raise UserInputError("its files are not those of its manifest")
    for one in members:
        name = one.filename
        if name not in (_MANIFEST, _LEDGER) and not _is_inside(name, names):
            raise UserInputError(f"it holds a file outside of its study: {name!r}")
        if one.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others take memory as they like
            raise UserInputError(f"{name} is packed in a way that no archive of ours is")
        if name != _MANIFEST and one.file_size != files[name]["bytes"]:
            raise UserInputError(f"{name} is not as large as its manifest says")


def _is_inside(name: str, names: Sequence[str]) -> bool:
    """Whether a member's name is a plain relative path in the folder of one of the studies."""
    first, *parts = name.split("/")
    plain = all(
        part not in ("", ".", "..") and len(part.encode(errors="replace")) <= _LONGEST_NAME and part.isprintable()
        for part in parts
    )
    own = len(parts) >= 2 and parts[0] in names and parts[1] != MARK
    return first == "files" and own and plain and not set(name) & set("\\:")


def _is_told(told: object) -> bool:
    return (
        isinstance(told, dict)
        and type(told.get("bytes")) is int
        and told["bytes"] >= 0
        and isinstance(told.get("sha256"), str)
    )


def _json(archive: zipfile.ZipFile, name: str, told: Mapping[str, Any] | None) -> Any:
    try:
        size = archive.getinfo(name).file_size
    except KeyError:
        raise UserInputError(f"no archive of a study: it has no {name}") from None
    if size > _MOST_BYTES[name]:
        raise UserInputError(f"{name} is larger than any study's: {size} bytes")
    with archive.open(name) as file:
        content = file.read(size)
    if told is not None and hashlib.sha256(content).hexdigest() != told["sha256"]:
        raise UserInputError(f"{name} is damaged: its checksum is another")
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise UserInputError(f"{name} is damaged: no JSON") from None


def _copy(archive: zipfile.ZipFile, member: str, told: Mapping[str, Any], file: IO[bytes]) -> None:
    digest = hashlib.sha256()
    with archive.open(member) as source:
        while chunk := source.read(_CHUNK):  # no more than the size that was checked
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != told["sha256"]:
        raise UserInputError(f"{member} is damaged: its checksum is another")


def _add(archive: zipfile.ZipFile, member: str, file: Path, told: Mapping[str, Any]) -> None:
    digest, size = hashlib.sha256(), 0
    info = zipfile.ZipInfo.from_file(file, member, strict_timestamps=False)  # zip knows no time before 1980
    info.compress_type = zipfile.ZIP_DEFLATED
    with file.open("rb") as source, archive.open(info, "w", force_zip64=True) as to:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            to.write(chunk)
    if {"bytes": size, "sha256": digest.hexdigest()} != told:
        raise AdapterSweepError(f"{file} changed while it was archived; try again")


def _plain_files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and path != folder / MARK:  # a copy is another study
            yield path.relative_to(folder).as_posix(), path


def _others(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_symlink() or not (path.is_file() or path.is_dir())]


def _told_of(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _told_of_file(file: Path) -> dict[str, Any]:
    with file.open("rb") as source:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(source, "sha256").hexdigest()}


def free_bytes(folder: Path) -> int:
    """The bytes that are free where a folder is, or will be."""
    there = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    return shutil.disk_usage(there).free
