"""TFRecord files of other tools.

Encoded images in records of any length, or raw pixels with a shape.

The first record determines how all records are read.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.data.sources.file_collection import MAX_FILE_BYTES
from pggan_jax.data.sources.tfrecords import NoReadableImageError, TFRecordsSource, level_files
from pggan_jax.errors import UserError
from pggan_jax.interop.tfrecord import DamagedRecordError, iterate_spans, parse_example, unframe
from pggan_jax.system.image_files import FORMATS, HEAD_BYTES, detect_format
from pggan_jax.system.paths import user_path
from pggan_jax.system.portability import pread, read_only_flags

_RECORD_FILE = re.compile(r".+\.tfrecords?(-\d+-of-\d+)?")
_LABEL_FEATURES = ("label", "labels", "class", "image/class/label")
_SHAPE_FEATURES = ("shape", "image/shape")
_MOST_CHANNELS = 4
_FEATURES_SHOWN = 3


def open_tfrecords(folder: str, *, resolution: int = 0) -> TFRecordsSource:
    """Open the TFRecord files in a folder, those of the authors' dataset tool or of another one.

    Raises:
        UserError: the folder has no records with images; the message says what was found.
    """
    path = user_path(folder, named="tfrecords:")
    levels = level_files(path)
    if levels:
        fitting = [exponent for exponent in sorted(levels) if 2**exponent >= resolution] if resolution else []
        files = [levels[fitting[0] if fitting else max(levels)]]
    else:
        files = _other_files(path)
    layout = _find_layout(_first_record(files[0])) if files else None
    if layout is not None:
        return RecordImagesSource(folder, files, layout)
    if files and not levels:
        raise UserError(f"data.source = 'tfrecords:{folder}': {files[0].name} {describe_records(files[0])}")
    try:
        return TFRecordsSource(folder, resolution=resolution)
    except NoReadableImageError:
        raise UserError(f"data.source = 'tfrecords:{folder}': {files[0].name} {describe_records(files[0])}") from None


def describe_records(file: Path) -> str:
    """Describe a record file without readable images, in words that continue its name."""
    with file.open("rb") as opened:
        head = opened.read(HEAD_BYTES)
    if head.startswith(b"\x1f\x8b"):
        return "is compressed by gzip; unpack it"
    features = _first_record(file)
    if features is None:
        return "has no readable records of tf.train.Example; write it again, or use folder:DIR with the images"
    listed = [
        f"{name[:20]} ({len(value)} {'numbers' if isinstance(value, list) else 'bytes'})"
        for name, value in sorted(features.items())[:_FEATURES_SHOWN]
    ]
    return (
        f"has no readable images: its first record has the features {', '.join(listed) or 'none'}; "
        "an encoded image, or bytes with a feature 'shape', is needed"
    )


@dataclass(frozen=True)
class RecordLayout:
    """The features of a record that hold image and label.

    Attributes:
        image: name of the image feature.
        shape: name of the feature with the shape of raw pixels; empty for encoded files.
        channels: of the first image; 3 for encoded files.
        label: name of a feature that may be a class; empty without one.
    """

    image: str
    shape: str
    channels: int
    label: str


def _find_layout(features: Mapping[str, Any] | None) -> RecordLayout | None:
    """Return the layout of records like this one.

    None for those of the authors' tool and without an image.
    """
    if features is None:
        return None
    label = next((name for name in _LABEL_FEATURES if isinstance(features.get(name), list) and len(features[name]) == 1), "")
    contents = {name: value for name, value in features.items() if not isinstance(value, list)}
    for name, content in sorted(contents.items(), key=lambda item: (item[0] != "data", item[0])):
        if detect_format(bytes(content[:HEAD_BYTES])) in FORMATS:
            return RecordLayout(name, "", 3, label)
    for shape in _SHAPE_FEATURES:
        for name, content in contents.items():
            pixels = _raw_pixels(content, features.get(shape))
            is_official = name == "data" and shape == "shape" and _has_channels_first(features.get(shape))
            if pixels is not None and not is_official:
                return RecordLayout(name, shape, pixels.shape[-1], label)
    return None


def _has_channels_first(shape: Any) -> bool:
    return isinstance(shape, list) and len(shape) == 3 and shape[0] <= _MOST_CHANNELS


def _raw_pixels(content: Any, shape: Any) -> np.ndarray | None:
    """Return uint8 `[height, width, channels]` of raw bytes; None for other bytes.

    The stored shape has the channels first or last, or none for grey.
    """
    if not isinstance(shape, list) or len(shape) not in (2, 3) or min(shape) < 1:
        return None
    if len(content) != math.prod(shape):
        return None
    pixels = np.frombuffer(content, np.uint8).reshape(shape)
    if pixels.ndim == 2:
        return pixels[..., None]
    if _has_channels_first(shape):
        return np.ascontiguousarray(pixels.transpose(1, 2, 0))
    return pixels if shape[2] <= _MOST_CHANNELS else None


def _first_record(file: Path) -> dict[str, Any] | None:
    """Return the features of the first readable record; None without one."""
    try:
        with file.open("rb") as opened:
            for offset, size in iterate_spans(opened):
                if size > MAX_FILE_BYTES:
                    return None
                opened.seek(offset)
                return parse_example(unframe(opened.read(size)))
    except (OSError, DamagedRecordError, ValueError, LookupError, TypeError, OverflowError):
        return None
    return None


def _other_files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if _RECORD_FILE.fullmatch(path.name) and path.is_file())
    except OSError:
        return []


@dataclass(frozen=True)
class _Records:
    """All records of some files: for each its file number, offset and size, framing included."""

    path: Path
    files: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets)


class RecordImagesSource(TFRecordsSource):
    """The images of some record files, with the classes of a `.labels` file beside them."""

    def __init__(self, folder: str, files: list[Path], layout: RecordLayout) -> None:
        """Find the records of all files.

        Args:
            folder: as the user wrote it.
            files: to read, in this order.
            layout: of all records.

        Raises:
            UserError: a file cannot be read, or the labels do not match the images.
        """
        self.name = f"tfrecords:{folder}"
        self.channels = layout.channels
        self._files, self._layout = files, layout
        spans, problems = [], []
        for number, file in enumerate(files):
            try:
                with file.open("rb") as opened:
                    found = list(iterate_spans(opened))
                size = file.stat().st_size
            except OSError as error:
                raise self._error(f"{file.name} cannot be read ({error.strerror}); chmod +r, or copy it again") from None
            end = sum(found[-1]) if found else 0
            if end != size:
                problems.append(f"{file.name} is damaged or truncated after {len(found):,} records; copy or write it again")
            spans += [(number, *span) for span in found if sum(span) <= size]
        table = np.array(spans, np.int64).reshape(-1, 3)
        self._level = _Records(files[0], table[:, 0].astype(np.int32), table[:, 1].copy(), table[:, 2].copy())
        self.problems = tuple(problems)
        self._labels_path = self._find_labels(user_path(folder, named="tfrecords:"))
        self._labels, self.class_names = self._read_labels()
        is_unread = layout.label and not self.class_names
        what = f"feature {layout.image!r}, {'raw pixels' if layout.shape else 'encoded'}"
        self.notes = (
            f"records of another tool: images from {what}",
            *[f"their {layout.label!r} is not read"] * bool(is_unread),
        )
        self._open()

    def _open(self) -> None:
        self._descriptor = [os.open(file, read_only_flags()) for file in self._files]
        for descriptor in self._descriptor:
            weakref.finalize(self, os.close, descriptor)

    def item_name(self, index: int) -> str:
        """Return a name such as "train.tfrecord record 17", counted within that file."""
        number = int(self._level.files[index])
        first = int(np.searchsorted(self._level.files, number))
        return f"{self._files[number].name} record {index - first}"

    def read(self, index: int) -> bytes | np.ndarray:
        """Return image `index` as an encoded file or as uint8 `[height, width, channels]`.

        Raises:
            UnusableImageError: a checksum differs, or the record has another content.
        """
        number, size = int(self._level.files[index]), int(self._level.sizes[index])
        if size > MAX_FILE_BYTES:
            raise UnusableImageError(
                f"is too large ({size:,} bytes, at most {MAX_FILE_BYTES:,} are read); write a smaller image"
            )
        try:
            payload = unframe(pread(self._descriptor[number], size, int(self._level.offsets[index])))
            features = parse_example(payload)
            content = features[self._layout.image]
        except OSError as error:
            raise UnusableImageError(f"cannot be read ({error.strerror}); copy this file again") from None
        except DamagedRecordError:
            raise UnusableImageError("does not match its checksum; copy or write this file again") from None
        except (ValueError, LookupError, TypeError, OverflowError):
            raise UnusableImageError(f"has no feature {self._layout.image!r}, which the first record has") from None
        if not self._layout.shape:
            return bytes(content)
        pixels = _raw_pixels(content, features.get(self._layout.shape))
        if pixels is None:
            raise UnusableImageError(f"has {len(content):,} bytes for the shape {features.get(self._layout.shape)}")
        return pixels

    def fingerprint(self) -> str:
        """Return a digest of the names, sizes and times of change of files and labels.

        The folder itself may move.
        """
        digest = hashlib.sha256(repr(self._layout).encode())
        for path in filter(None, (*self._files, self._labels_path)):
            status = path.stat()
            digest.update(b"\0" + os.fsencode(path.name) + f"\0{status.st_size} {status.st_mtime_ns}".encode())
        return digest.hexdigest()
