"""Names of files as bytes: which of them are images, how a million are kept, how one is printed. Opens no file."""

from __future__ import annotations

import os
import re
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from itertools import islice, pairwise

import numpy as np

from pggan_jax.data.decoding import IMAGE_SUFFIXES

# Image formats that people have and this program does not read; every other suffix is passed over in silence.
_UNREADABLE_SUFFIXES = frozenset(
    {".heic", ".heif", ".avif", ".jp2", ".jxl", ".psd", ".svg", ".cr2", ".nef", ".dng", ".arw", ".exr"}
)
# What macOS packs beside the files of an archive, and the thumbnails of a network disk.
_SIDE_FOLDERS = frozenset({b"__MACOSX", b"@eaDir"})
_LINES_SHOWN = 20
_DIGITS = re.compile(rb"(\d+)")
_DRIVE = re.compile(r"[A-Za-z]:")


class CompactNames:
    """Many names in one block of bytes. A worker process gets its copy in milliseconds, where a list would take a second."""

    def __init__(self, names: Iterable[bytes]) -> None:
        block = bytearray()
        ends = array("q", [0])
        for name in names:
            block += name
            ends.append(len(block))
        self._block = bytes(block)
        self._ends = np.array(ends, np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> bytes:
        """Name `index`, which counts from the end where negative.

        Raises:
            IndexError: there are not so many.
        """
        position = range(len(self))[index]
        return self._block[self._ends[position] : self._ends[position + 1]]

    def __iter__(self) -> Iterator[bytes]:
        return (self._block[start:end] for start, end in pairwise(self._ends.tolist()))


class ImageSieve:
    """Tells image files from others by their suffix, and counts the images that cannot be read."""

    def __init__(self) -> None:
        self._unreadable: Counter[str] = Counter()

    def takes(self, path: bytes) -> bool:
        """Whether `path` ends like an image that can be read."""
        suffix = printable(os.path.splitext(path)[1]).lower()
        if suffix in _UNREADABLE_SUFFIXES:
            self._unreadable[suffix] += 1
        return suffix in IMAGE_SUFFIXES

    def complaints(self) -> list[str]:
        """One line for each suffix of images that were left out."""
        return [
            f"{count:,} {'files end' if count > 1 else 'file ends'} in {suffix}, which cannot be read; "
            f"convert {'them' if count > 1 else 'it'} to PNG or JPEG"
            for suffix, count in sorted(self._unreadable.items())
        ]


def is_passed_over(part: bytes) -> bool:
    """Whether a file or folder of this name is none of the user's own: hidden, or made by an operating system."""
    return part.startswith(b".") or part in _SIDE_FOLDERS


def printable(name: bytes) -> str:
    """`name` for a message of one line: UTF-8 as it is; foreign bytes, line ends and other controls as backslash escapes."""
    text = name.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def natural_order(name: bytes) -> tuple[tuple[object, ...], bytes]:
    """Sorts names as people count: 2 before 10, "img9" before "img10". Equal numbers, as 1 and 01, go by their bytes."""
    parts = _DIGITS.split(name)
    # By length first: the same order as of the numbers themselves, however long.
    parts[1::2] = [(len(digits.lstrip(b"0")), digits.lstrip(b"0")) for digits in parts[1::2]]
    return tuple(parts), name


def one_line_each(names: Collection[bytes], complaint: str) -> list[str]:
    """Each name in quotes with the `complaint` after it; many are summed up in one line, as they usually have one cause."""
    lines = [f"{printable(name)!r} {complaint}" for name in islice(names, _LINES_SHOWN)]
    if len(names) > _LINES_SHOWN:
        lines.append(f"and {len(names) - _LINES_SHOWN:,} more: each {complaint}")
    return lines


def relative_path(written: str) -> bytes:
    """The file that a path in an archive or a list means: parts below a folder, joined by "/"; empty for the folder itself.

    Backslashes separate too, as Windows programs write them. Bytes that were no UTF-8 are expected as lone surrogates.

    Raises:
        ValueError: the path is absolute or leads upwards; the message goes on from the path.
    """
    path = written.replace("\\", "/")
    if path.startswith("/") or _DRIVE.match(path):
        raise ValueError("is an absolute path")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ValueError('leads out of the folder with ".."')
    try:
        return "/".join(parts).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ValueError("is no file name") from None
