"""The source `zip:FILE`: every image in a zip archive, read in place. Nothing is unpacked to the disk."""

from __future__ import annotations

import os
import struct
import zlib
from typing import BinaryIO

from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.data.sources.file_collection import UNSEEN_BYTES, ImageCollection, check_head, check_size, no_images, refusal
from pggan_jax.data.sources.file_names import CompactNames, ImageSieve, is_passed_over, one_line_each, printable, relative_path
from pggan_jax.data.sources.zip_directory import BadArchiveError, read_members
from pggan_jax.image_files import HEAD_BYTES
from pggan_jax.system.os_features import pread
from pggan_jax.system.output_marks import MARKER, is_mark, kind_of_folder
from pggan_jax.system.paths import expanded

_STORED, _DEFLATED = 0, 8
_ENCRYPTED_FLAG = 1
_LOCAL_HEADER = struct.Struct("<4s22x2H")
_LOCAL_SIGNATURE = b"PK\3\4"
# No image shrinks like this when packed but one of a single colour; memory and time go into unpacking it.
_MOST_SWELLING = 200
_SWELLING_BYTES = 2**24
_PACKED_HEAD = 4096

# What is kept of a member: offset of its local header, packed and full size, CRC-32, method, flags.
_MEMBER = struct.Struct("<3QL2H")


class ArchiveSource(ImageCollection):
    """All images in a zip archive, sorted by path, with the same order and labels as the folder that it unpacks to."""

    def __init__(self, file: str) -> None:
        """List the members; none is read but `dataset.json`, and the beginning of those whose names do not say what they are.

        Args:
            file: the archive; `~` is the home folder. Hidden members and those that macOS adds are passed over, and so are
                folders in it that this program has made itself.

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
        self._file = _SharedFile(path)
        try:
            with open(path, "rb") as opened:
                members, repeated = _list_members(opened, sieve)
            images = self._choose_images(members, sieve)
        except OSError as error:
            raise refusal(name, f"cannot be read ({error.strerror}); allow it with chmod +r or copy it again") from None
        except BadArchiveError as error:
            raise refusal(name, str(error)) from None
        repeats = one_line_each(sorted(repeated.intersection(images)), "is there more than once; the last one counts")
        complaints = [*sieve.complaints(), *repeats]
        if not images:
            raise no_images(name, [*complaints, *sieve.notes()])
        names = CompactNames(images)
        self._members = b"".join(members[one] for one in names)

        def load(path: bytes) -> bytes | None:
            return _unpack(self._file, members[path]) if path in members else None

        super().__init__(name, names, load=load, complaints=complaints, notes=sieve.notes())

    def _choose_images(self, members: dict[bytes, bytes], sieve: ImageSieve) -> list[bytes]:
        """Paths of the images, sorted, without the folders that this program has made itself."""
        marks: dict[bytes, list[bytes]] = {}
        for path in members:
            folder, slash, name = path.rpartition(b"/")
            if slash and is_mark(name):
                marks.setdefault(folder + slash, []).append(name)
        own: dict[bytes, str] = {}
        for folder, names in marks.items():

            def load(name: bytes, folder: bytes = folder) -> bytes | None:
                try:
                    return _unpack(self._file, members[folder + name])
                except UnusableImageError:
                    return None

            if kind := kind_of_folder(names, load):
                own[folder] = kind
        for folder in sorted(own):
            if not _lies_in(folder[:-1], own):
                sieve.leave_out(folder, own[folder])
        inside = (path for path in sorted(members) if not is_mark(path.rpartition(b"/")[2]) and not _lies_in(path, own))
        return [path for path in inside if sieve.takes(path, lambda one: _unpack(self._file, members[one], HEAD_BYTES))]

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


def _lies_in(path: bytes, folders: dict[bytes, str]) -> bool:
    """Whether one of the folders above `path` is among `folders`, which end in "/"."""
    if not folders:
        return False
    return any(path[: place + 1] in folders for place in range(len(path)) if path[place : place + 1] == b"/")


def _list_members(opened: BinaryIO, sieve: ImageSieve) -> tuple[dict[bytes, bytes], set[bytes]]:
    """All visible files by path, each as a packed `_MEMBER`, and the paths that are there more than once.

    Raises:
        BadArchiveError: no zip archive, or a member that would unpack to another folder.
    """
    members: dict[bytes, bytes] = {}
    repeated: set[bytes] = set()
    for name, *place in read_members(opened):
        try:
            path = relative_path(name)
        except ValueError as error:
            shown = printable(name.encode("utf-8", "surrogateescape"))
            raise BadArchiveError(f"member {shown!r} {error}; pack the archive anew from inside its folder") from None
        if name.endswith(("/", "\\")):
            continue
        *folders, last = path.split(b"/")
        if any(map(is_passed_over, folders)) or (is_passed_over(last) and last != MARKER.encode()):
            sieve.hide()
            continue
        if path in members:
            repeated.add(path)
        # As when unpacking, the last one overwrites those before.
        members[path] = _MEMBER.pack(*place)
    return members, repeated


def _unpack(file: _SharedFile, member: bytes, at_most: int = 0) -> bytes:
    """The content of one member, or the first `at_most` bytes, which no checksum vouches for.

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
        place = offset + len(header) + name_length + extra_length
        if at_most or size > UNSEEN_BYTES:
            start = file.read(place, min(packed, _PACKED_HEAD))
            head = zlib.decompressobj(-zlib.MAX_WBITS).decompress(start, HEAD_BYTES) if method == _DEFLATED else start
            if at_most:
                return head[:at_most]
            check_head(head[:HEAD_BYTES])
            if size > _SWELLING_BYTES and size > _MOST_SWELLING * packed:
                raise UnusableImageError(f"unpacks from {packed:,} to {size:,} bytes, which no photograph does; remove it")
        content = file.read(place, packed)
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
