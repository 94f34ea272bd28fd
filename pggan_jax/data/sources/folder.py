"""The source `folder:DIR`: every image file below a folder. Lists names when opened, reads files when asked."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator

from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.data.sources.file_collection import UNSEEN_BYTES, ImageCollection, check_head, check_size, no_images, refusal
from pggan_jax.data.sources.file_names import CompactNames, ImageSieve, is_passed_over, printable
from pggan_jax.image_files import HEAD_BYTES
from pggan_jax.system.output_marks import MARKER, is_mark, kind_of_folder
from pggan_jax.system.paths import expanded

_MAX_SETTINGS = 2**20
_PREPARED_LEVEL = re.compile(rb"r\d{4}\.npy")


class FolderSource(ImageCollection):
    """All images below a folder, sorted by path. Classes are subfolders, unless `dataset.json` says otherwise."""

    def __init__(self, folder: str) -> None:
        """List the files; none is opened but `dataset.json` and those whose names do not say what they are.

        Args:
            folder: where to look, in all depths; `~` is the home folder. Hidden files and folders are passed over, and so are
                folders below that this program has made itself.

        Raises:
            UserError: no such folder, no image in it, a folder for another source, or a `dataset.json` that cannot be used.
        """
        name = f"folder:{printable(os.fsencode(folder))}"
        try:
            place = expanded(folder)
        except ValueError as error:
            raise refusal(name, str(error)) from None
        # Absolute: the program may change its folder before a worker starts.
        self._folder = os.path.abspath(os.fsencode(place))
        if not os.path.isdir(self._folder):
            raise refusal(name, _no_folder(self._folder))
        at_top = _listing(self._folder)
        # Before looking for images: a prepared folder holds one, the mean of all.
        if b"info.json" in at_top and any(map(_PREPARED_LEVEL.fullmatch, at_top)):
            raise refusal(name, f"this is a prepared folder: write prepared:{printable(self._folder)}")
        if (kind := self._own_kind(b"", at_top)) and MARKER.encode() not in at_top:
            raise refusal(name, f"this is {kind}, whose pictures it has made itself; give the folder that holds the images")
        sieve = ImageSieve()
        unlisted: list[str] = []
        names = CompactNames(path for path in self._files_below(sieve, unlisted) if sieve.takes(path, self._head))
        complaints = [*sieve.complaints(), *unlisted]
        if not names:
            raise no_images(name, [*complaints, *sieve.notes()], instead=_other_source(self._folder, at_top))
        super().__init__(name, names, load=self._load, complaints=complaints, notes=sieve.notes())

    def _load(self, path: bytes) -> bytes | None:
        """The content of a file beside the images; None if it is not there."""
        file = os.path.join(self._folder, path)
        return _read_file(file) if os.path.lexists(file) else None

    def _head(self, path: bytes) -> bytes:
        """The first bytes of a file."""
        return _read_file(os.path.join(self._folder, path), at_most=HEAD_BYTES)

    def _own_kind(self, folder: bytes, names: list[bytes]) -> str:
        """What of its own a folder below is to this program; `folder` ends in "/"."""

        def load(name: bytes) -> bytes | None:
            try:
                return _read_file(os.path.join(self._folder, folder, name), at_most=_MAX_SETTINGS)
            except UnusableImageError:
                return None

        return kind_of_folder(names, load)

    def _files_below(self, sieve: ImageSieve, unlisted: list[str]) -> Iterator[bytes]:
        """Relative paths of all files below the folder, sorted; what cannot be listed is told in `unlisted`.

        Links to folders are followed. Each real folder counts once, so that links in a circle end.
        """
        top = os.path.join(os.path.realpath(self._folder), b"")
        seen: set[tuple[int, int]] = set()
        # Folders end in "/". As they are sorted with it and come off the end, the paths come out sorted.
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
                    found = sorted((path + one for one in _visible(entries, top, sieve, marks)), reverse=True)
                if path and marks and (kind := self._own_kind(path, marks)):
                    sieve.leave_out(path, kind)
                else:
                    pending += found
            except OSError as error:
                where = printable(path) or "the folder itself"
                unlisted.append(f"{where} cannot be listed ({error.strerror}); allow it with chmod +rx or remove it")

    def _content(self, index: int) -> bytes:
        return _read_file(os.path.join(self._folder, self._names[index]))

    def _state(self, index: int) -> bytes:
        """Size and time of change; the folder itself may move."""
        try:
            status = os.stat(os.path.join(self._folder, self._names[index]))
        except OSError:
            # A dangling link, say; reading will tell.
            return b"unreadable"
        return f"{status.st_size} {status.st_mtime_ns}".encode()


def _read_file(file: bytes, at_most: int = 0) -> bytes:
    """The bytes of one file, or the first `at_most`.

    Raises:
        UnusableImageError: it cannot be read; the message goes on from its name.
    """
    try:
        status = os.stat(file)
        # Before opening: a pipe would wait for a writer for ever.
        if stat.S_ISDIR(status.st_mode):
            raise UnusableImageError("is a folder, not an image; rename it")
        if not stat.S_ISREG(status.st_mode):
            raise UnusableImageError("is a pipe or a device, not a file; remove it")
        check_size(status.st_size)
        with open(file, "rb") as opened:
            if at_most:
                return opened.read(at_most)
            if status.st_size > UNSEEN_BYTES:
                check_head(opened.read(HEAD_BYTES))
                opened.seek(0)
            return opened.read()
    except FileNotFoundError:
        if os.path.islink(file):
            raise UnusableImageError("is a link to nothing; restore what it points to or remove it") from None
        raise UnusableImageError("is gone since it was listed; put it back or start again without it") from None
    except PermissionError:
        raise UnusableImageError("may not be read; allow it with chmod +r or remove it") from None
    except OSError as error:
        raise UnusableImageError(f"cannot be read ({error.strerror}); copy it again or remove it") from None


def _visible(entries: Iterator[os.DirEntry[bytes]], top: bytes, sieve: ImageSieve, marks: list[bytes]) -> Iterator[bytes]:
    """Names of files and, with a final "/", of folders; those that may mark output of this program go to `marks` as well."""
    for entry in entries:
        if is_mark(entry.name):
            marks.append(entry.name)
        if entry.name == MARKER.encode():
            continue
        if is_passed_over(entry.name):
            sieve.hide()
            continue
        try:
            is_folder = entry.is_dir()
        except OSError:
            # A link to itself, say; reading will tell.
            is_folder = False
        if not is_folder:
            yield entry.name
        elif not (entry.is_symlink() and _comes_by_itself(entry.path, top)):
            yield entry.name + b"/"


def _comes_by_itself(link: bytes, top: bytes) -> bool:
    """Whether `link` leads to a folder below `top`, which is listed under its own name and class."""
    target = os.path.join(os.path.realpath(link), b"")
    return target.startswith(top) and not any(map(is_passed_over, target[len(top) :].split(b"/")))


def _listing(folder: bytes) -> list[bytes]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        # Listing the images will tell why.
        return []


def _no_folder(path: bytes) -> str:
    """Why `path` is no folder, and what to write."""
    if not os.path.exists(path):
        return "no such folder; give the one that holds the images"
    if path.lower().endswith(b".zip"):
        return f"is a file, not a folder: write zip:{printable(path)}"
    return "is a file, not a folder; give the folder that holds the images"


def _other_source(folder: bytes, at_top: list[bytes]) -> str:
    """What to write for a folder without images that holds something else; empty if there is nothing known."""
    for file in at_top:
        if file.endswith(b".tfrecords"):
            return f"it holds TFRecord files: write tfrecords:{printable(folder)}"
        if file.lower().endswith(b".zip"):
            return f"it holds an archive: write zip:{printable(os.path.join(folder, file))}"
    return ""
