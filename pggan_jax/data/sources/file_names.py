"""Names of files as bytes: which of them are images, how a million are kept, how one is printed. Opens no file."""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice, pairwise

import numpy as np

from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.image_files import FORMATS, IMAGE_SUFFIXES, UNREADABLE_IMAGES, recognise

# TIFF files inside, of which a decoder would give the preview.
_RAW_SUFFIXES = frozenset({".cr2", ".nef", ".dng", ".arw", ".nrw", ".srw", ".sr2", ".pef", ".3fr", ".iiq", ".erf", ".kdc"})
# Image formats that people have and this program does not read, for files whose content does not tell.
_UNREADABLE_SUFFIXES = _RAW_SUFFIXES | {".heic", ".heif", ".avif", ".jp2", ".jxl", ".psd", ".svg", ".exr", ".ico", ".eps"}
_SYSTEM_FILES = frozenset({b"thumbs.db", b"ehthumbs.db", b"desktop.ini", b"icon\r"})
_OWN_SHOWN = 3
_KINDS_SHOWN = 3
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
    """Tells images from other files, by their content where the name does not say, and counts what is passed over."""

    def __init__(self) -> None:
        # By what is told of them: how many, and the first.
        self._unreadable: dict[str, tuple[int, bytes]] = {}
        self._others: dict[str, tuple[int, bytes]] = {}
        self._own: list[tuple[bytes, str]] = []
        self._hidden = 0

    def takes(self, path: bytes, head: Callable[[bytes], bytes]) -> bool:
        """Whether `path` is an image that can be read, or claims to be one by its name; then decoding will tell.

        Args:
            path: of a file.
            head: gives the first bytes of a path; asked where the name does not say what it is. Raises UnusableImageError if
                they cannot be had.
        """
        suffix = printable(os.path.splitext(path)[1]).lower()
        if suffix in IMAGE_SUFFIXES:
            return True
        name = path.rpartition(b"/")[2]
        if name.lower() in _SYSTEM_FILES:
            self.hide()
            return False
        if name == b"dataset.json":
            return False
        try:
            kind = recognise(head(path))
        except UnusableImageError as error:
            return self._pass_over(self._others, re.split("[;,]", str(error))[0], path)
        if kind in FORMATS and not (kind == "TIFF" and suffix in _RAW_SUFFIXES):
            return True
        if suffix in _UNREADABLE_SUFFIXES:
            return self._pass_over(self._unreadable, f"end{{}} in {suffix}", path)
        if kind in UNREADABLE_IMAGES:
            return self._pass_over(self._unreadable, f"hold{{}} {kind}", path)
        return self._pass_over(self._others, f"{suffix}" if suffix else "without a suffix", path)

    def hide(self) -> None:
        """Count a file or folder that is hidden or of an operating system."""
        self._hidden += 1

    def leave_out(self, folder: bytes, kind: str) -> None:
        """Note a folder that this program has made itself; `kind` as `own_output.kind_of_folder` has it."""
        self._own.append((folder, kind))

    def complaints(self) -> list[str]:
        """One line for each kind of images that cannot be read."""
        lines = []
        for what, (count, first) in sorted(self._unreadable.items()):
            noun, it = ("files", "them") if count > 1 else ("file", "it")
            does = what.format("" if count > 1 else "s")
            such = f"such as {_shown(first)}" if count > 1 else _shown(first)
            lines.append(f"{count:,} {noun} {does}, which cannot be read ({such}); convert {it} to PNG or JPEG")
        return lines

    def notes(self) -> list[str]:
        """Lines about what else was passed over, each with the reason."""
        lines = [
            f"left out {_shown(folder)}: it is {kind}; move it elsewhere, or read it by itself"
            for folder, kind in self._own[:_OWN_SHOWN]
        ]
        if len(self._own) > _OWN_SHOWN:
            lines.append(f"left out {len(self._own) - _OWN_SHOWN:,} more folders that this program has written")
        if self._others:
            kinds = sorted(self._others.items(), key=lambda item: (-item[1][0], item[0]))
            listed = [f"{count:,} {kind[:22]} ({_shown(first)})" for kind, (count, first) in kinds[:_KINDS_SHOWN]]
            rest = sum(count for _, (count, _) in kinds[_KINDS_SHOWN:])
            total = sum(count for count, _ in self._others.values())
            more = f", {rest:,} others" if rest else ""
            lines.append(
                f"passed over {total:,} file{'s' * (total > 1)}, no images by their content: {', '.join(listed)}{more}"
            )
        if self._hidden:
            lines.append(f"passed over {self._hidden:,} hidden or of the operating system")
        return lines

    def _pass_over(self, where: dict[str, tuple[int, bytes]], what: str, path: bytes) -> bool:
        count, first = where.get(what, (0, path))
        where[what] = count + 1, first
        return False


def _shown(path: bytes) -> str:
    """A path of any length for a line of many."""
    text = printable(path)
    return text if len(text) <= 35 else f"...{text[-32:]}"


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
