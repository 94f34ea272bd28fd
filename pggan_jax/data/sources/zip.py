"""The source `zip:FILE`: all images in a zip archive, read in place.

The standard library's `zipfile` lists the members. Its objects are dropped after listing: a compact table with a row of
`_MEMBER` per image remains, which worker processes copy and by which threads read in parallel.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.data.sources.file_collection import (
    UNSEEN_BYTES,
    ImageCollection,
    check_head,
    check_size,
    no_images_error,
    source_error,
)
from pggan_jax.data.sources.file_names import (
    CompactNames,
    ImageFilter,
    is_hidden_name,
    lies_in,
    printable,
    relative_path,
    summarize_names,
)
from pggan_jax.system.image_files import HEAD_BYTES
from pggan_jax.system.own_output import MARKER, describe_own_folder, is_marker
from pggan_jax.system.paths import expand_path
from pggan_jax.system.portability import pread

_ENCRYPTED_FLAG = 1
_UTF8_FLAG = 0x800
_LOCAL_HEADER = struct.Struct("<4s22x2H")
_LOCAL_SIGNATURE = b"PK\3\4"
# Only an image of a single colour unpacks to so many times its packed size; it would cost memory and time.
_MAX_EXPANSION = 200
_EXPANDED_BYTES = 2**24
_PACKED_HEAD = 4096
# The table's row of a member: offset of its local header, packed and unpacked size, CRC-32, method, flags.
_MEMBER = struct.Struct("<3QL2H")


class ArchiveSource(ImageCollection):
    """All images in a zip archive, in the order and with the labels of the unpacked folder."""

    def __init__(self, file: str) -> None:
        """List the members.

        Only `dataset.json` and the first bytes of members without an image suffix are read. Hidden members, those that macOS
        adds, and folders written by this program are skipped.

        Args:
            file: the archive; `~` is the home folder.

        Raises:
            UserError: no such file, not a zip archive, a member path that leads out of the archive, no image, or a
                `dataset.json` that cannot be used.
        """
        name = f"zip:{printable(os.fsencode(file))}"
        path = _existing_file(name, file)
        image_filter = ImageFilter()
        self._file = _SharedFile(path)
        try:
            members, repeated = _list_members(path, image_filter)
            images = self._choose_images(members, image_filter)
        except OSError as error:
            raise source_error(name, f"cannot be read ({error.strerror}); allow it with chmod +r or copy it again") from None
        except ValueError as error:
            raise source_error(name, str(error)) from None
        repeats = summarize_names(sorted(repeated.intersection(images)), "occurs more than once; the last one is used")
        problems = [*image_filter.problems(), *repeats]
        if not images:
            raise no_images_error(name, [*problems, *image_filter.notes()])
        names = CompactNames(images)
        self._members = b"".join(members[one] for one in names)

        def load(path: bytes) -> bytes | None:
            return _unpack(self._file, members[path]) if path in members else None

        super().__init__(name, names, load=load, problems=problems, notes=image_filter.notes())

    def _choose_images(self, members: dict[bytes, bytes], image_filter: ImageFilter) -> list[bytes]:
        """Return the sorted paths of the images, without folders that this program has written."""
        marks: dict[bytes, list[bytes]] = {}
        for path in members:
            folder, slash, name = path.rpartition(b"/")
            if slash and is_marker(name):
                marks.setdefault(folder + slash, []).append(name)
        own: dict[bytes, str] = {}
        for folder, names in marks.items():

            def load(name: bytes, folder: bytes = folder) -> bytes | None:
                try:
                    return _unpack(self._file, members[folder + name])
                except UnusableImageError:
                    return None

            if kind := describe_own_folder(names, load):
                own[folder] = kind
        for folder in sorted(own):
            if not lies_in(folder[:-1], own):
                image_filter.skip_folder(folder, own[folder])
        inside = (path for path in sorted(members) if not is_marker(path.rpartition(b"/")[2]) and not lies_in(path, own))
        return [path for path in inside if image_filter.accepts(path, lambda one: _unpack_head(self._file, members[one]))]

    def _content(self, index: int) -> bytes:
        return _unpack(self._file, self._state(index))

    def fingerprint(self) -> str:
        """Return a digest of the list of members, and the time of the archive's last change.

        The time is included because a repaired archive may have an equal list. Raises UserError if the archive was removed.
        """
        try:
            written = os.stat(self._file.path).st_mtime_ns
        except OSError as error:
            raise source_error(self.name, f"cannot be read any more ({error.strerror}); restore it") from None
        return f"{super().fingerprint()} {written}"

    def _state(self, index: int) -> bytes:
        """Return the member's row of the list, which includes its checksum."""
        return self._members[index * _MEMBER.size : (index + 1) * _MEMBER.size]


class _SharedFile:
    """A file that all threads read at any offset, opened by each process at its first read."""

    def __init__(self, path: bytes) -> None:
        self.path = path
        self._opened: BinaryIO | None = None

    def read(self, offset: int, count: int) -> bytes:
        """Read `count` bytes from `offset`, fewer at the end of the file."""
        # Two threads may open it at once; the local name keeps the file of each open while it reads.
        opened = self._opened = self._opened or open(self.path, "rb", buffering=0)  # noqa: SIM115
        return pread(opened.fileno(), count, offset)

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "_opened": None}

    def __del__(self) -> None:
        if self._opened:
            self._opened.close()


def _existing_file(name: str, file: str) -> bytes:
    """Return the path of the archive, absolute as the program may change its working folder."""
    try:
        path = os.path.abspath(os.fsencode(expand_path(file)))
    except ValueError as error:
        raise source_error(name, str(error)) from None
    if not os.path.exists(path):
        raise source_error(name, "no such file; give the archive that holds the images")
    if os.path.isfile(path):
        return path
    kind = f"folder, not an archive: write folder:{printable(path)}" if os.path.isdir(path) else "device or a pipe; give a file"
    raise source_error(name, f"is a {kind}")


def _read_list(path: bytes) -> list[zipfile.ZipInfo]:
    """Return all entries of the archive's list.

    Raises:
        ValueError: not a zip archive, truncated, split, or with a damaged list.
    """
    with open(path, "rb") as file:
        start = file.read(len(_LOCAL_SIGNATURE))
        try:
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, EOFError, struct.error) as error:
            if start != _LOCAL_SIGNATURE:
                raise ValueError("is not a zip archive; unpack it and write folder:DIR, or pack it as zip") from None
            raise ValueError(f"is damaged or truncated ({str(error)[:80]}); copy or download it again") from None
    if any(entry.volume for entry in entries):
        raise ValueError("is one part of a split archive; join the parts first")
    first = min((entry.header_offset for entry in entries), default=0)
    # The list may be that of another archive, stored inside a truncated one or appended to a complete one.
    if first < 0 or (first > 0 and start == _LOCAL_SIGNATURE):
        raise ValueError("is truncated, or several archives in one file; copy or download it again, or take them apart")
    return entries


def _list_members(path: bytes, image_filter: ImageFilter) -> tuple[dict[bytes, bytes], set[bytes]]:
    """Return all visible files by path as packed `_MEMBER`, and the paths that occur repeatedly.

    Raises:
        ValueError: not a zip archive, or a member that would be unpacked to another folder.
    """
    members: dict[bytes, bytes] = {}
    repeated: set[bytes] = set()
    for entry in _read_list(path):
        name = _decoded_name(entry)
        try:
            member_path = relative_path(name)
        except ValueError as error:
            shown = printable(name.encode("utf-8", "surrogateescape"))
            raise ValueError(f"member {shown!r} {error}; pack the archive again from inside its folder") from None
        if name.endswith(("/", "\\")):
            continue
        *folders, last = member_path.split(b"/")
        if any(map(is_hidden_name, folders)) or (is_hidden_name(last) and last != MARKER.encode()):
            image_filter.count_hidden()
            continue
        if member_path in members:
            repeated.add(member_path)
        # The last one overwrites the earlier ones, as when unpacking.
        members[member_path] = _MEMBER.pack(
            entry.header_offset, entry.compress_size, entry.file_size, entry.CRC, entry.compress_type, entry.flag_bits
        )
    return members, repeated


def _decoded_name(entry: zipfile.ZipInfo) -> str:
    """Return the path of an entry; many programs write UTF-8 without the flag that says so."""
    if entry.flag_bits & _UTF8_FLAG:
        return entry.filename
    try:
        return entry.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return entry.filename


@contextmanager
def _unpacking() -> Iterator[None]:
    """Turn errors of the disk and of the decompressor into an UnusableImageError."""
    try:
        yield
    except OSError as error:
        raise UnusableImageError(f"cannot be read ({error.strerror}); copy the archive again") from None
    except zlib.error:
        raise _damaged("data that cannot be unpacked") from None


def _check_member(packed: int, size: int, method: int, flags: int) -> None:
    """Raise an UnusableImageError for a member that cannot be unpacked, before it is read."""
    if flags & _ENCRYPTED_FLAG:
        raise UnusableImageError("is encrypted; pack the archive again without a password")
    if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnusableImageError(f"is packed with method {method}, only stored and deflate are read; pack the archive again")
    check_size(size)
    # Even data that cannot be compressed grow by a few bytes only.
    if packed > 2 * size + 1024 or (method == zipfile.ZIP_STORED and packed != size):
        raise _damaged("sizes that contradict each other")


def _data_offset(file: _SharedFile, offset: int) -> int:
    """Return where the data of the member begin whose local header is at `offset`."""
    header = file.read(offset, _LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or not header.startswith(_LOCAL_SIGNATURE):
        raise _damaged("no header at its offset")
    _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    return offset + len(header) + name_length + extra_length


def _unpack_head(file: _SharedFile, member: bytes) -> bytes:
    """Return the first bytes of a member, not verified by a checksum; errors as of `_unpack`."""
    offset, packed, size, _, method, flags = _MEMBER.unpack(member)
    _check_member(packed, size, method, flags)
    with _unpacking():
        start = file.read(_data_offset(file, offset), min(packed, _PACKED_HEAD))
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(start, HEAD_BYTES) if method else start[:HEAD_BYTES]


def _unpack(file: _SharedFile, member: bytes) -> bytes:
    """Return the content of one member.

    Raises:
        UnusableImageError: it cannot be unpacked; the message continues its name.
    """
    offset, packed, size, crc, method, flags = _MEMBER.unpack(member)
    _check_member(packed, size, method, flags)
    if size > UNSEEN_BYTES:
        check_head(_unpack_head(file, member))
        if size > _EXPANDED_BYTES and size > _MAX_EXPANSION * packed:
            raise UnusableImageError(f"unpacks from {packed:,} to {size:,} bytes, which no photograph does; remove it")
    with _unpacking():
        content = file.read(_data_offset(file, offset), packed)
        if len(content) != packed:
            raise _damaged("its end missing")
        if method == zipfile.ZIP_DEFLATED:
            # One byte more than stated shows that the stated size is wrong; a bomb unpacks no further.
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, size + 1)
    if len(content) != size or zlib.crc32(content) != crc:
        raise _damaged("another size or checksum than the archive states")
    return content


def _damaged(what: str) -> UnusableImageError:
    return UnusableImageError(f"is damaged in the archive (it has {what}); copy or download the archive again")
