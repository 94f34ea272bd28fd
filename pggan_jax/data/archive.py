"""The source `zip:FILE`: every image in a zip archive, read in place. Nothing is unpacked to the disk."""

from __future__ import annotations

import os
import struct
import zlib
from typing import BinaryIO

from pggan_jax.data.collection import ImageCollection, check_size, no_images, refusal
from pggan_jax.data.decoding import UnusableImageError
from pggan_jax.data.labels import LABELS_FILE
from pggan_jax.data.names import CompactNames, ImageSieve, is_passed_over, one_line_each, printable, relative_path
from pggan_jax.data.zip_directory import BadArchiveError, read_members
from pggan_jax.paths import expanded
from pggan_jax.systems import pread

_STORED, _DEFLATED = 0, 8
_ENCRYPTED_FLAG = 1
_LOCAL_HEADER = struct.Struct("<4s22x2H")
_LOCAL_SIGNATURE = b"PK\3\4"

# What is kept of a member: offset of its local header, packed and full size, CRC-32, method, flags.
_MEMBER = struct.Struct("<3QL2H")


class ArchiveSource(ImageCollection):
    """All images in a zip archive, sorted by path, with the same order and labels as the folder that it unpacks to."""

    def __init__(self, file: str) -> None:
        """List the members; none is read but `dataset.json`.

        Args:
            file: the archive; `~` is the home folder. Hidden members and those that macOS adds are passed over.

        Raises:
            UserError: no such file, no zip archive, a member outside of it, no image, or a `dataset.json` that cannot be used.
        """
        name = f"zip:{printable(os.fsencode(file))}"
        try:
            place = expanded(file)
        except ValueError as error:
            raise refusal(name, str(error)) from None
        # Absolute: the program may change its folder before a worker starts.
        path = os.path.abspath(os.fsencode(place))
        if not os.path.exists(path):
            raise refusal(name, "no such file; give the archive that holds the images")
        if os.path.isdir(path):
            raise refusal(name, f"is a folder, not an archive: write folder:{printable(path)}")
        if not os.path.isfile(path):
            raise refusal(name, "is a device or a pipe, not a file; give the archive that holds the images")
        sieve = ImageSieve()
        try:
            with open(path, "rb") as opened:
                images, label_files, repeats = _list_members(opened, sieve)
        except OSError as error:
            raise refusal(name, f"cannot be read ({error.strerror}); allow it with chmod +r or copy it again") from None
        except BadArchiveError as error:
            raise refusal(name, str(error)) from None
        complaints = [*sieve.complaints(), *repeats]
        if not images:
            raise no_images(name, complaints)
        names = CompactNames(sorted(images))
        self._members = b"".join(images[one] for one in names)
        self._file = _SharedFile(path)

        def load(path: bytes) -> bytes | None:
            return _unpack(self._file, label_files[path]) if path in label_files else None

        super().__init__(name, names, load=load, complaints=complaints)

    def _content(self, index: int) -> bytes:
        return _unpack(self._file, self._member(index))

    def fingerprint(self) -> str:
        """Of the list of members, and of when the archive was written last: a repaired one may have the same list.

        Raises:
            UserError: it is no longer there.
        """
        try:
            written = self._file.written()
        except OSError as error:
            raise refusal(self.name, f"cannot be read any more ({error.strerror}); put it back") from None
        return f"{super().fingerprint()} {written}"

    def _state(self, index: int) -> bytes:
        """What the list says of the member, its checksum included."""
        return self._member(index)

    def _member(self, index: int) -> bytes:
        return self._members[index * _MEMBER.size : (index + 1) * _MEMBER.size]


class _SharedFile:
    """A file that all threads read at any place. Each process opens it when it first reads, as an open file cannot be sent."""

    def __init__(self, path: bytes) -> None:
        self._path = path
        self._opened: BinaryIO | None = None

    def read(self, offset: int, count: int) -> bytes:
        """`count` bytes from `offset`, fewer at the end of the file."""
        # Two threads may open it at once; the local name keeps each one's file open while it reads.
        opened = self._opened = self._opened or open(self._path, "rb", buffering=0)  # noqa: SIM115
        return pread(opened.fileno(), count, offset)

    def written(self) -> int:
        """When the file of this name was changed last, in nanoseconds."""
        return os.stat(self._path).st_mtime_ns

    def __getstate__(self) -> dict[str, object]:
        return {"_path": self._path, "_opened": None}

    def __del__(self) -> None:
        if self._opened:
            self._opened.close()


def _list_members(opened: BinaryIO, sieve: ImageSieve) -> tuple[dict[bytes, bytes], dict[bytes, bytes], list[str]]:
    """Images and label files by path, each as a packed `_MEMBER`, and complaints about names that are there twice.

    Raises:
        BadArchiveError: no zip archive, or a member that would unpack to another folder.
    """
    images: dict[bytes, bytes] = {}
    label_files: dict[bytes, bytes] = {}
    repeated: set[bytes] = set()
    for name, *place in read_members(opened):
        try:
            path = relative_path(name)
        except ValueError as error:
            shown = printable(name.encode("utf-8", "surrogateescape"))
            raise BadArchiveError(f"member {shown!r} {error}; pack the archive anew from inside its folder") from None
        if name.endswith(("/", "\\")) or any(map(is_passed_over, path.split(b"/"))):
            continue
        if path.rpartition(b"/")[2] == LABELS_FILE:
            label_files[path] = _MEMBER.pack(*place)
        elif sieve.takes(path):
            if path in images:
                repeated.add(path)
            # As when unpacking, the last one overwrites those before.
            images[path] = _MEMBER.pack(*place)
    return images, label_files, one_line_each(sorted(repeated), "is there more than once; the last one counts")


def _unpack(file: _SharedFile, member: bytes) -> bytes:
    """The content of one member.

    Raises:
        UnusableImageError: it cannot be unpacked; the message goes on from its name.
    """
    offset, packed, size, crc, method, flags = _MEMBER.unpack(member)
    if flags & _ENCRYPTED_FLAG:
        raise UnusableImageError("is encrypted; pack the archive anew without a password")
    if method not in (_STORED, _DEFLATED):
        raise UnusableImageError(f"is packed with method {method}, only stored and deflate are read; pack the archive anew")
    check_size(size)
    # Before anything of this size is read: even what cannot be compressed grows by a few bytes only.
    if packed > 2 * size + 1024 or (method == _STORED and packed != size):
        raise _damaged("sizes that contradict each other")
    try:
        header = file.read(offset, _LOCAL_HEADER.size)
        signature, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        if signature != _LOCAL_SIGNATURE:
            raise _damaged("no header in its place")
        content = file.read(offset + len(header) + name_length + extra_length, packed)
        if len(content) != packed:
            raise _damaged("its end missing")
        if method == _DEFLATED:
            # One byte more than stated would show that the statement is false; a bomb gets no further.
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, size + 1)
    except OSError as error:
        raise UnusableImageError(f"cannot be read ({error.strerror}); copy the archive again") from None
    except struct.error:
        raise _damaged("no header in its place") from None
    except zlib.error:
        raise _damaged("data that cannot be unpacked") from None
    if len(content) != size or zlib.crc32(content) != crc:
        raise _damaged("another size or checksum than the archive states")
    return content


def _damaged(what: str) -> UnusableImageError:
    return UnusableImageError(f"is damaged in the archive (it has {what}); copy or download the archive again")
