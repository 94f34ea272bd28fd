"""File names as bytes: selection of images or sound, a compact list, sorting and printing."""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np

from pggan_jax.data.images.decode import UnusableImageError, not_image_reason
from pggan_jax.system.image_files import (
    FORMATS,
    FORMATS_IN_WORDS,
    IMAGE_SUFFIXES,
    UNREADABLE_IMAGES,
    detect_format,
    is_generated_image,
)

# These are TIFF files, of which a decoder would return the preview.
_RAW_SUFFIXES = frozenset({".cr2", ".nef", ".dng", ".arw", ".nrw", ".srw", ".sr2", ".pef", ".3fr", ".iiq", ".erf", ".kdc"})
# Image formats that are not read, for files whose content does not show the format.
_UNREADABLE_SUFFIXES = _RAW_SUFFIXES | {".heic", ".heif", ".avif", ".jp2", ".jxl", ".psd", ".svg", ".exr", ".ico", ".eps"}
_SYSTEM_FILES = frozenset({b"thumbs.db", b"ehthumbs.db", b"desktop.ini", b"icon\r"})
_OWN_SHOWN = 3
_KINDS_SHOWN = 3
# Extra files of macOS in archives, and the thumbnails of a network disk.
_SIDE_FOLDERS = frozenset({b"__MACOSX", b"@eaDir"})
_LINES_SHOWN = 20
_DIGITS = re.compile(rb"(\d+)")
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True)
class FileKind:
    """What the files of a collection are: images or sound.

    Attributes:
        noun: one of them, for messages.
        folder_source, archive_source: how a folder and an archive of them begin in `data.source`.
        formats: of what `detect` returns, those that are read.
        formats_in_words: the same for messages.
        suffixes: the usual ones of these formats, with the dot.
        detect: returns the kind of a file from its first bytes.
        refusal: returns why a kind is not read.
        unreadable_suffixes: of formats that are not read, for files whose content does not show it.
        unreadable_kinds: of what `detect` returns, formats of the same noun that are not read.
        remedy: formats to convert those to.
        is_generated: returns whether the content of a file was written by this program from several; None for no such test.
    """

    noun: str
    folder_source: str
    archive_source: str
    formats: Collection[str]
    formats_in_words: str
    suffixes: frozenset[str]
    detect: Callable[[bytes], str]
    refusal: Callable[[str], str]
    unreadable_suffixes: frozenset[str]
    unreadable_kinds: frozenset[str]
    remedy: str
    is_generated: Callable[[bytes], bool] | None = None


IMAGES = FileKind(
    noun="image",
    folder_source="folder",
    archive_source="zip",
    formats=FORMATS,
    formats_in_words=FORMATS_IN_WORDS,
    suffixes=IMAGE_SUFFIXES,
    detect=detect_format,
    refusal=not_image_reason,
    unreadable_suffixes=_UNREADABLE_SUFFIXES,
    unreadable_kinds=UNREADABLE_IMAGES,
    remedy="PNG or JPEG",
    is_generated=is_generated_image,
)


class CompactNames:
    """Many names in one block of bytes, which a worker process receives in milliseconds.

    A list would take a second.
    """

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
        """Return name `index`; a negative index counts from the end.

        Raises:
            IndexError: out of range.
        """
        position = range(len(self))[index]
        return self._block[self._ends[position] : self._ends[position + 1]]

    def __iter__(self) -> Iterator[bytes]:
        return (self._block[start:end] for start, end in pairwise(self._ends.tolist()))


class FileFilter:
    """Separates images, or sound, from other files, and counts the skipped ones."""

    def __init__(self, kind: FileKind = IMAGES) -> None:
        self.kind = kind
        # By reason: how many, and the first.
        self._unreadable: dict[str, tuple[int, bytes]] = {}
        self._others: dict[str, tuple[int, bytes]] = {}
        self._own: list[tuple[bytes, str]] = []
        self._hidden = 0

    def accepts(self, path: bytes, head: Callable[[bytes], bytes]) -> bool:
        """Return whether `path` has the suffix or the content of a file of the kind.

        Args:
            path: of a file.
            head: returns the first bytes of a path; called where the suffix is another. Raises
                UnusableImageError if they cannot be read.
        """
        suffix = printable(os.path.splitext(path)[1]).lower()
        if suffix in self.kind.suffixes:
            return True
        name = path.rpartition(b"/")[2]
        if name.lower() in _SYSTEM_FILES:
            self.count_hidden()
            return False
        if name == b"dataset.json":
            return False
        try:
            kind = self.kind.detect(head(path))
        except UnusableImageError as error:
            return self._skip(self._others, re.split("[;,]", str(error))[0], path)
        if kind in self.kind.formats and not (kind == "TIFF" and suffix in _RAW_SUFFIXES):
            return True
        if suffix in self.kind.unreadable_suffixes:
            return self._skip(self._unreadable, f"end{{}} in {suffix}", path)
        if kind in self.kind.unreadable_kinds:
            return self._skip(self._unreadable, f"hold{{}} {kind}", path)
        return self._skip(self._others, f"{suffix}" if suffix else "without a suffix", path)

    def count_hidden(self) -> None:
        """Count a file or folder that is hidden or belongs to the operating system."""
        self._hidden += 1

    def skip_folder(self, folder: bytes, kind: str) -> None:
        """Record a folder written by this program.

        `kind` as `output_marks.describe_own_folder` returns it.
        """
        self._own.append((folder, kind))

    def problems(self) -> list[str]:
        """Return one line for each format that cannot be read."""
        lines = []
        for what, (count, first) in sorted(self._unreadable.items()):
            noun, it = ("files", "them") if count > 1 else ("file", "it")
            does = what.format("" if count > 1 else "s")
            such = f"such as {_shown(first)}" if count > 1 else _shown(first)
            lines.append(f"{count:,} {noun} {does}, which cannot be read ({such}); convert {it} to {self.kind.remedy}")
        return lines

    def notes(self) -> list[str]:
        """Return one line for each other group of skipped files, with the reason."""
        lines = [
            f"skipped {_shown(folder)}: it is {kind}; move it elsewhere, or read it as a source of its own"
            for folder, kind in self._own[:_OWN_SHOWN]
        ]
        if len(self._own) > _OWN_SHOWN:
            lines.append(f"skipped {len(self._own) - _OWN_SHOWN:,} more folders written by this program")
        if self._others:
            kinds = sorted(self._others.items(), key=lambda item: (-item[1][0], item[0]))
            listed = [f"{count:,} {kind[:22]} ({_shown(first)})" for kind, (count, first) in kinds[:_KINDS_SHOWN]]
            rest = sum(count for _, (count, _) in kinds[_KINDS_SHOWN:])
            total = sum(count for count, _ in self._others.values())
            more = f", {rest:,} others" if rest else ""
            what = f"file{'s' * (total > 1)} whose content is no {self.kind.noun}"
            lines.append(f"skipped {total:,} {what}: {', '.join(listed)}{more}")
        if self._hidden:
            lines.append(f"skipped {self._hidden:,} hidden files or files of the operating system")
        return lines

    def _skip(self, where: dict[str, tuple[int, bytes]], what: str, path: bytes) -> bool:
        count, first = where.get(what, (0, path))
        where[what] = count + 1, first
        return False


def _shown(path: bytes) -> str:
    """Return a path shortened to fit into a line with others."""
    text = printable(path)
    return text if len(text) <= 35 else f"...{text[-32:]}"


def is_hidden_name(part: bytes) -> bool:
    """Return whether a file or folder of this name is hidden or created by an operating system."""
    return part.startswith(b".") or part in _SIDE_FOLDERS


def lies_in(path: bytes, folders: Collection[bytes]) -> bool:
    """Return whether one of the folders above `path` is among `folders`, which end in "/"."""
    if not folders:
        return False
    return any(path[: place + 1] in folders for place in range(len(path)) if path[place : place + 1] == b"/")


def printable(name: bytes) -> str:
    """Return `name` as printable text of one line.

    Bytes that are not UTF-8, and control characters, become backslash escapes.
    """
    text = name.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def natural_order(name: bytes) -> tuple[tuple[object, ...], bytes]:
    """Return a key that sorts by numbers in names: "img9" before "img10".

    Equal numbers, as 1 and 01, by bytes.
    """
    parts = _DIGITS.split(name)
    # By length first: the order of the numbers themselves, however long.
    parts[1::2] = [(len(digits.lstrip(b"0")), digits.lstrip(b"0")) for digits in parts[1::2]]
    return tuple(parts), name


def summarize_names(names: Collection[bytes], problem: str) -> list[str]:
    """Return a line for each name with the `problem` after it.

    Beyond 20 names one line for the rest.
    """
    lines = [f"{printable(name)!r} {problem}" for name in islice(names, _LINES_SHOWN)]
    if len(names) > _LINES_SHOWN:
        lines.append(f"and {len(names) - _LINES_SHOWN:,} more: each {problem}")
    return lines


def relative_path(written: str) -> bytes:
    """Normalize a path from an archive or a list: parts joined by "/".

    Empty for the folder itself.

    Backslashes separate parts too, as Windows programs write them. Bytes that are not UTF-8 are expected as lone surrogates.

    Raises:
        ValueError: the path is absolute or leads out of its folder; the message continues the path.
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
