"""The source `zip:FILE`: all images in a zip archive; also the sound of `sound:FILE.zip`.

The standard library's `zipfile` lists the members. Its objects are dropped after listing: a compact table with a row of
`_MEMBER` per image remains, which worker processes copy and by which threads read in parallel.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.data.shared_file import FilePart, SharedFile
from pggan_jax.data.sources.file_collection import (
    UNSEEN_BYTES,
    FileCollection,
    check_head,
    check_size,
    nothing_found_error,
    source_error,
)
from pggan_jax.data.sources.file_names import (
    IMAGES,
    CompactNames,
    FileFilter,
    FileKind,
    is_hidden_name,
    lies_in,
    printable,
    relative_path,
    summarize_names,
)
from pggan_jax.system.image_files import HEAD_BYTES
from pggan_jax.system.own_output import MARKER, describe_own_folder, is_marker
from pggan_jax.system.paths import expand_path

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


class ArchiveSource(FileCollection):
    """All images, or all sound, in a zip archive, ordered and labelled as the unpacked folder."""

    def __init__(self, file: str, *, kind: FileKind = IMAGES) -> None:
        """List the members.

        Only `dataset.json` and the first bytes of members without a suffix of the kind are read. Hidden members, those that
        macOS adds, and folders written by this program are skipped.

        Args:
            file: the archive; `~` is the home folder.
            kind: of the files: images or sound.

        Raises:
            UserError: no such file, not a zip archive, a member path that leads out of the archive, no file of the kind, or a
                `dataset.json` that cannot be used.
        """
        name = f"{kind.archive_source}:{printable(os.fsencode(file))}"
        path = _existing_file(name, file, kind)
        found = FileFilter(kind)
        self._file = SharedFile(path)
        try:
            members, repeated = _list_members(path, found)
            chosen = self._choose_members(members, found)
        except OSError as error:
            raise source_error(name, f"cannot be read ({error.strerror}); allow it with chmod +r or copy it again") from None
        except ValueError as error:
            raise source_error(name, str(error)) from None
        repeats = summarize_names(sorted(repeated.intersection(chosen)), "occurs more than once; the last one is used")
        if not chosen:
            raise nothing_found_error(name, found, *repeats)
        names = CompactNames(chosen)
        self._members = b"".join(members[one] for one in names)

        def load(path: bytes) -> bytes | None:
            return _unpack(self._file, members[path]) if path in members else None

        super().__init__(name, names, load=load, found=found, problems=[*found.problems(), *repeats])

    def _choose_members(self, members: dict[bytes, bytes], found: FileFilter) -> list[bytes]:
        """Return the sorted paths of the files of the kind, without folders of this program."""
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
                found.skip_folder(folder, own[folder])
        inside = (path for path in sorted(members) if not is_marker(path.rpartition(b"/")[2]) and not lies_in(path, own))
        return [path for path in inside if found.accepts(path, lambda one: _unpack_head(self._file, members[one]))]

    def _content(self, index: int) -> bytes:
        return _unpack(self._file, self._state(index), self.kind)

    def open(self, index: int) -> BinaryIO:
        """Open file `index` to read parts of it; raises UnusableImageError if that fails."""
        offset, packed, size, _, method, flags = _MEMBER.unpack(self._state(index))
        if method != zipfile.ZIP_STORED:
            return io.BytesIO(self._content(index))
        # Read in place, however long it is.
        _check_member(packed, size, method, flags, limited=False)
        with _unpacking():
            return io.BufferedReader(FilePart(self._file, _data_offset(self._file, offset), size))

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


def _existing_file(name: str, file: str, kind: FileKind) -> bytes:
    """Return the path of the archive, absolute as the program may change its working folder."""
    try:
        path = os.path.abspath(os.fsencode(expand_path(file)))
    except ValueError as error:
        raise source_error(name, str(error)) from None
    if not os.path.exists(path):
        raise source_error(name, f"no such file; give the archive that holds the {kind.noun} files")
    if os.path.isfile(path):
        return path
    folder = f"folder, not an archive: write {kind.folder_source}:{printable(path)}"
    raise source_error(name, f"is a {folder if os.path.isdir(path) else 'device or a pipe; give a file'}")


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


def _list_members(path: bytes, found: FileFilter) -> tuple[dict[bytes, bytes], set[bytes]]:
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
            found.count_hidden()
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


def _check_member(packed: int, size: int, method: int, flags: int, *, limited: bool = True) -> None:
    """Raise an UnusableImageError for a member that cannot be unpacked, before it is read."""
    if flags & _ENCRYPTED_FLAG:
        raise UnusableImageError("is encrypted; pack the archive again without a password")
    if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnusableImageError(f"is packed with method {method}, only stored and deflate are read; pack the archive again")
    check_size(min(size, 1) if not limited else size)
    # Even data that cannot be compressed grow by a few bytes only.
    if packed > 2 * size + 1024 or (method == zipfile.ZIP_STORED and packed != size):
        raise _damaged("sizes that contradict each other")


def _data_offset(file: SharedFile, offset: int) -> int:
    """Return where the data of the member begin whose local header is at `offset`."""
    header = file.read(offset, _LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or not header.startswith(_LOCAL_SIGNATURE):
        raise _damaged("no header at its offset")
    _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    return offset + len(header) + name_length + extra_length


def _unpack_head(file: SharedFile, member: bytes) -> bytes:
    """Return the first bytes of a member, not verified by a checksum; errors as of `_unpack`."""
    offset, packed, size, _, method, flags = _MEMBER.unpack(member)
    _check_member(packed, size, method, flags)
    with _unpacking():
        start = file.read(_data_offset(file, offset), min(packed, _PACKED_HEAD))
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(start, HEAD_BYTES) if method else start[:HEAD_BYTES]


def _unpack(file: SharedFile, member: bytes, kind: FileKind | None = None) -> bytes:
    """Return the content of one member, which must be of the kind, if one is given.

    Raises:
        UnusableImageError: it cannot be unpacked; the message continues its name.
    """
    offset, packed, size, crc, method, flags = _MEMBER.unpack(member)
    _check_member(packed, size, method, flags)
    if kind and size > UNSEEN_BYTES:
        check_head(_unpack_head(file, member), kind)
    if size > _EXPANDED_BYTES and size > _MAX_EXPANSION * packed:
        noun = kind.noun if kind else "list of labels"
        raise UnusableImageError(f"unpacks from {packed:,} to {size:,} bytes, which no {noun} of use does; remove it")
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
