"""The source `folder:DIR`: all image files below a folder; also the sound of `sound:DIR`.

Names are listed when it is opened, files are read on demand.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from typing import BinaryIO

from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.data.sources.file_collection import (
    UNSEEN_BYTES,
    FileCollection,
    check_head,
    check_size,
    nothing_found_error,
    source_error,
)
from pggan_jax.data.sources.file_names import IMAGES, CompactNames, FileFilter, FileKind, is_hidden_name, printable
from pggan_jax.system.image_files import HEAD_BYTES
from pggan_jax.system.own_output import MARKER, describe_own_folder, is_marker
from pggan_jax.system.paths import expand_path

_MAX_SETTINGS = 2**20
_PREPARED_LEVEL = re.compile(rb"r\d{4}\.npy")


class FolderSource(FileCollection):
    """All images, or all sound, below a folder, sorted by path.

    The classes are the subfolders, or come from `dataset.json`.
    """

    def __init__(self, folder: str, *, kind: FileKind = IMAGES) -> None:
        """List the files.

        Only `dataset.json` and files without a suffix of the kind are opened. Hidden files and folders, and subfolders
        written by this program, are skipped.

        Args:
            folder: searched at all depths; `~` is the home folder.
            kind: of the files: images or sound.

        Raises:
            UserError: no such folder, no file of the kind in it, a folder for another source, or a `dataset.json` that cannot
                be used.
        """
        name = f"{kind.folder_source}:{printable(os.fsencode(folder))}"
        try:
            place = expand_path(folder)
        except ValueError as error:
            raise source_error(name, str(error)) from None
        # Absolute: the program may change its folder before a worker starts.
        self._folder = os.path.abspath(os.fsencode(place))
        if not os.path.isdir(self._folder):
            raise source_error(name, _no_folder(self._folder, kind))
        at_top = _listing(self._folder)
        # Checked before looking for images: a prepared folder holds one, the mean image.
        if b"info.json" in at_top and any(map(_PREPARED_LEVEL.fullmatch, at_top)):
            raise source_error(name, f"this is a prepared folder: write prepared:{printable(self._folder)}")
        if (own := self._own_kind(b"", at_top)) and MARKER.encode() not in at_top:
            raise source_error(name, f"this is {own}, written by this program; give the folder of the {kind.noun} files")
        found = FileFilter(kind)
        unlisted: list[str] = []
        names = CompactNames(path for path in self._files_below(found, unlisted) if found.accepts(path, self._head))
        if not names:
            raise nothing_found_error(name, found, *unlisted, instead=_other_source(self._folder, at_top, kind))
        super().__init__(name, names, load=self._load, found=found, problems=[*found.problems(), *unlisted])

    def _load(self, path: bytes) -> bytes | None:
        """Return the content of a file beside the images; None if it does not exist."""
        file = os.path.join(self._folder, path)
        return _read_file(file) if os.path.lexists(file) else None

    def _head(self, path: bytes) -> bytes:
        """Return the first bytes of a file."""
        return _read_file(os.path.join(self._folder, path), at_most=HEAD_BYTES)

    def _own_kind(self, folder: bytes, names: list[bytes]) -> str:
        """Return what kind of output of this program a subfolder is, or ""; `folder` ends in "/"."""

        def load(name: bytes) -> bytes | None:
            try:
                return _read_file(os.path.join(self._folder, folder, name), at_most=_MAX_SETTINGS)
            except UnusableImageError:
                return None

        return describe_own_folder(names, load)

    def _files_below(self, found: FileFilter, unlisted: list[str]) -> Iterator[bytes]:
        """Yield the sorted relative paths of all files below.

        `unlisted` gets a line per unreadable folder.

        Links to folders are followed. Each real folder is listed once, so circular links end.
        """
        top = os.path.join(os.path.realpath(self._folder), b"")
        seen: set[tuple[int, int]] = set()
        # Folders end in "/". They are sorted with it and taken from the end, so the paths come out sorted.
        pending = [b""]
        while pending:
            path = pending.pop()
            if path and not path.endswith(b"/"):
                yield path
                continue
            try:
                status = os.stat(os.path.join(self._folder, path))
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
                marks: list[bytes] = []
                with os.scandir(os.path.join(self._folder, path)) as entries:
                    below = sorted((path + one for one in _visible(entries, top, found, marks)), reverse=True)
                if path and marks and (kind := self._own_kind(path, marks)):
                    found.skip_folder(path, kind)
                else:
                    pending += below
            except OSError as error:
                where = printable(path) or "the folder itself"
                unlisted.append(f"{where} cannot be listed ({error.strerror}); allow it with chmod +rx or remove it")

    def _content(self, index: int) -> bytes:
        return _read_file(os.path.join(self._folder, self._names[index]), kind=self.kind)

    def open(self, index: int) -> BinaryIO:
        """Open file `index` to read parts of it; raises UnusableImageError if that fails."""
        return _open_file(os.path.join(self._folder, self._names[index]))

    def _state(self, index: int) -> bytes:
        """Return size and time of change; the folder itself may move."""
        try:
            status = os.stat(os.path.join(self._folder, self._names[index]))
        except OSError:
            # A dangling link, for example: reading it gives the reason.
            return b"unreadable"
        return f"{status.st_size} {status.st_mtime_ns}".encode()


def _read_file(file: bytes, *, at_most: int = 0, kind: FileKind | None = None) -> bytes:
    """Return the bytes of one file, or the first `at_most`.

    Args:
        file: its path.
        at_most: number of bytes; 0 reads all.
        kind: what the content must be; None accepts everything.

    Raises:
        UnusableImageError: it cannot be read; the message continues its name.
    """
    with _open_file(file) as opened:
        try:
            if at_most:
                return opened.read(at_most)
            size = os.fstat(opened.fileno()).st_size
            check_size(size, kind)
            if kind and size > UNSEEN_BYTES:
                check_head(opened.read(HEAD_BYTES), kind)
                opened.seek(0)
            return opened.read()
        except OSError as error:
            raise _unreadable(error) from None


def _open_file(file: bytes) -> BinaryIO:
    """Open one file for reading; raises UnusableImageError as `_read_file`."""
    try:
        status = os.stat(file)
        # Before opening: a pipe would wait for a writer forever.
        if stat.S_ISDIR(status.st_mode):
            raise UnusableImageError("is a folder, not a file; rename it")
        if not stat.S_ISREG(status.st_mode):
            raise UnusableImageError("is a pipe or a device, not a file; remove it")
        return open(file, "rb")
    except FileNotFoundError:
        if os.path.islink(file):
            raise UnusableImageError("is a broken link; restore its target or remove it") from None
        raise UnusableImageError("was removed after it was listed; restore it or start again without it") from None
    except PermissionError:
        raise UnusableImageError("has no read permission; allow it with chmod +r or remove it") from None
    except OSError as error:
        raise _unreadable(error) from None


def _unreadable(error: OSError) -> UnusableImageError:
    return UnusableImageError(f"cannot be read ({error.strerror}); copy it again or remove it")


def _visible(entries: Iterator[os.DirEntry[bytes]], top: bytes, found: FileFilter, marks: list[bytes]) -> Iterator[bytes]:
    """Yield names of files and, with a final "/", of folders.

    `marks` gets those that may mark output of this program.
    """
    for entry in entries:
        if is_marker(entry.name):
            marks.append(entry.name)
        if entry.name == MARKER.encode():
            continue
        if is_hidden_name(entry.name):
            found.count_hidden()
            continue
        try:
            is_folder = entry.is_dir()
        except OSError:
            # A link to itself, for example: reading it gives the reason.
            is_folder = False
        if not is_folder:
            yield entry.name
        elif not (entry.is_symlink() and _is_listed_elsewhere(entry.path, top)):
            yield entry.name + b"/"


def _is_listed_elsewhere(link: bytes, top: bytes) -> bool:
    """Return whether `link` leads to a folder below `top`, which is listed by itself."""
    target = os.path.join(os.path.realpath(link), b"")
    return target.startswith(top) and not any(map(is_hidden_name, target[len(top) :].split(b"/")))


def _listing(folder: bytes) -> list[bytes]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        # Listing the images gives the reason.
        return []


def _no_folder(path: bytes, kind: FileKind) -> str:
    """Return why `path` is no folder, and what to write instead."""
    if not os.path.exists(path):
        return f"no such folder; give the folder of the {kind.noun} files"
    if path.lower().endswith(b".zip") and kind.archive_source != kind.folder_source:
        return f"is a file, not a folder: write {kind.archive_source}:{printable(path)}"
    return f"is a file, not a folder; give the folder of the {kind.noun} files"


def _other_source(folder: bytes, at_top: list[bytes], kind: FileKind) -> str:
    """Return what to write for a folder without a file of the kind that holds another source.

    Empty if there is none.
    """
    for file in at_top:
        if file.endswith(b".tfrecords"):
            return f"it holds TFRecord files: write tfrecords:{printable(folder)}"
        if file.lower().endswith(b".zip"):
            return f"it holds an archive: write {kind.archive_source}:{printable(os.path.join(folder, file))}"
    return ""
