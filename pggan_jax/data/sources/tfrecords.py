"""The source `tfrecords:DIR`.

Multi-resolution files of the authors' dataset tool (spec 4.1), read without TensorFlow.

All records of a file have one size, so record i is found by its offset. Both checksums of a record are verified on every read.
"""

from __future__ import annotations

import hashlib
import os
import re
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.errors import UserError
from pggan_jax.interop.tfrecord import DamagedRecordError, find_record_bytes, parse_example, unframe
from pggan_jax.system.paths import user_path
from pggan_jax.system.portability import pread, read_only_flags

_LEVEL_FILE = re.compile(r"(?P<name>.+)-r(?P<exponent>\d\d)\.tfrecords")
# Limits of the size of a record: channels, and bytes beside the pixels.
_MOST_CHANNELS = 4
_MOST_EXTRA_BYTES = 1024
_LABEL_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class _Level:
    """One file: images of one resolution, each in a record of `record_bytes`, framing included."""

    path: Path
    exponent: int
    size: int
    record_bytes: int

    @property
    def resolution(self) -> int:
        return 2**self.exponent

    def __len__(self) -> int:
        return self.size // self.record_bytes


class NoReadableImageError(UserError):
    """The files are intact and have records, but none of an image."""


def level_files(folder: Path) -> dict[int, Path]:
    """Return the files NAME-rNN.tfrecords of a folder by NN.

    Empty where the folder cannot be listed.
    """
    try:
        matches = [match for name in sorted(os.listdir(folder)) if (match := _LEVEL_FILE.fullmatch(name))]
    except OSError:
        return {}
    return {int(match["exponent"]): folder / match.string for match in matches}


class TFRecordsSource:
    """One level of a folder of `NAME-rNN.tfrecords`, with the classes of its `.labels` file."""

    problems: tuple[str, ...] = ()
    # Overridden for records of other tools.
    _level: Any
    _descriptor: Any
    notes: tuple[str, ...] = ()

    def __init__(self, folder: str, *, resolution: int = 0) -> None:
        """Check from file sizes and single headers that the folder is complete, and open one level.

        Args:
            folder: of the files; `~` is the home folder.
            resolution: of the level to read; the next larger level where it is missing; 0 takes the largest.

        Raises:
            UserError: there are no such files, some are truncated, of different lengths or of several data sets; the labels do
                not match; or all levels are smaller.
        """
        self.name = f"tfrecords:{folder}"
        place = user_path(folder, named="tfrecords:")
        levels = self._find_levels(place)
        self._level = self._choose(levels, resolution)
        self._labels_path = self._find_labels(place)
        self._labels, self.class_names = self._read_labels()
        self._open()
        self.channels = self._count_channels()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_descriptor"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def _open(self) -> None:
        # Read with pread, which has no file position that threads would share.
        self._descriptor = os.open(self._level.path, read_only_flags())
        weakref.finalize(self, os.close, self._descriptor)

    def __len__(self) -> int:
        return len(self._level)

    def item_name(self, index: int) -> str:
        """Return a name such as "cifar10-r05.tfrecords record 17"."""
        return f"{self._level.path.name} record {index}"

    def label(self, index: int) -> int:
        """Return the class of image `index`; 0 where there is no `.labels` file."""
        return int(self._labels[index]) if self.class_names else 0

    def read(self, index: int) -> bytes | np.ndarray:
        """Return image `index` as uint8 `[resolution, resolution, channels]`.

        Raises:
            UnusableImageError: a checksum differs, or the record has another content.
        """
        image = self._parse(index)
        side = self._level.resolution
        if image.shape != (self.channels, side, side):
            found = "x".join(map(str, image.shape))
            raise UnusableImageError(f"has the shape {found}, not {self.channels}x{side}x{side} (channels, height, width)")
        interleaved = np.empty((side, side, self.channels), np.uint8)
        # Six times as fast as copying the transposed array.
        for channel, plane in enumerate(image):
            interleaved[..., channel] = plane
        return interleaved

    def fingerprint(self) -> str:
        """Return a digest of name, size and time of change of level and labels.

        The folder itself may move.
        """
        digest = hashlib.sha256()
        for path in filter(None, (self._level.path, self._labels_path)):
            status = path.stat()
            digest.update(b"\0" + os.fsencode(path.name) + f"\0{status.st_size} {status.st_mtime_ns}".encode())
        return digest.hexdigest()

    def _parse(self, index: int) -> np.ndarray:
        """Return the image of record `index` as it is stored, uint8 `[channels, height, width]`."""
        try:
            payload = unframe(pread(self._descriptor, self._level.record_bytes, index * self._level.record_bytes))
        except OSError as error:
            raise UnusableImageError(f"cannot be read ({error.strerror}); copy this file again") from None
        except DamagedRecordError:
            raise UnusableImageError("does not match its checksum; copy or write this file again") from None
        try:
            features = parse_example(payload)
            channels, height, width = features["shape"]
            return np.frombuffer(features["data"], np.uint8).reshape(channels, height, width)
        except (ValueError, LookupError, TypeError, OverflowError):
            raise UnusableImageError('is no image of the official dataset tool (features "shape" and "data")') from None

    def _count_channels(self) -> int:
        """Return the number of channels of the first readable image."""
        for index in range(len(self)):
            try:
                return len(self._parse(index))
            except UnusableImageError:
                continue
        problem = f"{self._level.path.name} has no readable image; copy or write it again"
        raise NoReadableImageError(f"data.source = {self.name!r}: {problem}")

    def _error(self, problem: str) -> UserError:
        return UserError(f"data.source = {self.name!r}: {problem}")

    def _find_levels(self, folder: Path) -> list[_Level]:
        """Return all levels, smallest first; they must be complete and belong together."""
        try:
            file_names = sorted(os.listdir(folder))
        except OSError as error:
            raise self._error(f"cannot be listed ({error.strerror}); give the folder of NAME-r02.tfrecords and so on") from None
        matches = [match for name in file_names if (match := _LEVEL_FILE.fullmatch(name))]
        if not matches:
            raise self._error("has no files NAME-rNN.tfrecords; give the folder written by the dataset tool")
        names = sorted({match["name"] for match in matches})
        if len(names) > 1:
            raise self._error(f"has several data sets ({', '.join(names)}); move each into a folder of its own")
        levels = [self._measure(folder / match.string, int(match["exponent"])) for match in matches]
        longest = max(levels, key=len)
        for level in levels:
            if len(level) < len(longest):
                raise self._error(
                    f"{level.path.name} is truncated: it has {len(level)} images, {longest.path.name} has {len(longest)}; "
                    "copy or write it again"
                )
        return levels

    def _measure(self, path: Path, exponent: int) -> _Level:
        try:
            size = path.stat().st_size
            record_bytes = find_record_bytes(path, at_most=_MOST_CHANNELS * 4**exponent + _MOST_EXTRA_BYTES)
        except OSError as error:
            raise self._error(f"{path.name} cannot be read ({error.strerror}); chmod +r, or copy it again") from None
        if not record_bytes:
            raise self._error(f"{path.name} has no uncompressed records; unpack it, or copy or write it again")
        if size % record_bytes:
            raise self._error(
                f"{path.name} is truncated: {size} bytes are no multiple of record size {record_bytes}; copy or write it again"
            )
        return _Level(path, exponent, size, record_bytes)

    def _choose(self, levels: list[_Level], resolution: int) -> _Level:
        wanted = resolution or levels[-1].resolution
        for level in levels:
            # Only one level is read; where the wanted one is missing, a larger one is reduced.
            if level.resolution == wanted or (level.resolution > wanted >= 4 and not wanted & (wanted - 1)):
                return level
        offered = ", ".join(str(level.resolution) for level in levels)
        raise UserError(f"data.resolution = {resolution}: {self.name} has the resolutions {offered}; set one of these")

    def _find_labels(self, folder: Path) -> Path | None:
        paths = sorted(folder.glob("*.labels"))
        if len(paths) > 1:
            names = ", ".join(path.name for path in paths)
            raise self._error(f"has several .labels files ({names}); keep only the one of these images")
        return paths[0] if paths else None

    def _read_labels(self) -> tuple[np.ndarray, tuple[str, ...]]:
        """Return class numbers int32 `[images]` and names; both empty where there is no file."""
        if self._labels_path is None:
            return np.zeros(0, np.int32), ()
        name = self._labels_path.name
        try:
            # Mapped, as a thousand classes of a million images take 4 GB; never unpickled, as a pickle can run code.
            rows = np.load(self._labels_path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            rows = None
        if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.dtype.kind not in "biuf":
            raise self._error(
                f"{name} is no .npy file of one row per image and one column per class; "
                "copy it again, or remove it to train without labels"
            )
        if len(rows) != len(self._level):
            raise self._error(
                f"{name} has {len(rows)} labels for {len(self._level)} images; "
                "copy the matching file, or remove it to train without labels"
            )
        numbers = np.empty(len(rows), np.int32)
        for start in range(0, len(rows), _LABEL_ROWS_AT_ONCE):
            block = np.asarray(rows[start : start + _LABEL_ROWS_AT_ONCE])
            one_hot = ((block == 0) | (block == 1)).all(axis=1) & (np.count_nonzero(block, axis=1) == 1)
            if not one_hot.all():
                raise self._error(
                    f"{name} row {start + int(one_hot.argmin())} is not one-hot (one 1, else 0); "
                    "fix it, or remove the file to train without labels"
                )
            numbers[start : start + len(block)] = block.argmax(axis=1)
        return numbers, tuple(str(number) for number in range(rows.shape[1]))
