"""TFRecord files of other tools: images as JPEG or PNG in records of any length, or raw with the channels last.

What the files hold is seen in the first record; all others are read in the same way.
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
from pggan_jax.image_files import FORMATS, HEAD_BYTES, recognise
from pggan_jax.interop.tfrecord import DamagedRecordError, iterate_spans, parse_example, unframe
from pggan_jax.system.os_features import pread, read_only_flags
from pggan_jax.system.paths import user_path

_RECORD_FILE = re.compile(r".+\.tfrecords?(-\d+-of-\d+)?")
_LABEL_FEATURES = ("label", "labels", "class", "image/class/label")
_SHAPE_FEATURES = ("shape", "image/shape")
_MOST_CHANNELS = 4
_FEATURES_SHOWN = 3


def open_tfrecords(folder: str, *, resolution: int = 0) -> TFRecordsSource:
    """The source that fits the files in a folder: of the authors' dataset tool, or of another.

    Raises:
        UserError: the folder holds no records with images; the line says what was found.
    """
    path = user_path(folder, named="tfrecords:")
    levels = level_files(path)
    if levels:
        fitting = [exponent for exponent in sorted(levels) if 2**exponent >= resolution] if resolution else []
        files = [levels[fitting[0] if fitting else max(levels)]]
    else:
        files = _other_files(path)
    form = _find_form(_first_record(files[0])) if files else None
    if form is not None:
        return RecordImagesSource(folder, files, form)
    if files and not levels:
        raise UserError(f"data.source = 'tfrecords:{folder}': {files[0].name} {describe(files[0])}")
    try:
        return TFRecordsSource(folder, resolution=resolution)
    except NoReadableImageError:
        raise UserError(f"data.source = 'tfrecords:{folder}': {files[0].name} {describe(files[0])}") from None


def describe(file: Path) -> str:
    """What a record file holds, in a line that goes on from its name; for files whose images cannot be found."""
    with file.open("rb") as opened:
        head = opened.read(HEAD_BYTES)
    if head.startswith(b"\x1f\x8b"):
        return "is compressed by gzip; unpack it"
    features = _first_record(file)
    if features is None:
        return "holds no readable records of the kind tf.train.Example; write it again, or give images as folder:DIR"
    listed = [
        f"{name[:20]} ({len(value)} {'numbers' if isinstance(value, list) else 'bytes'})"
        for name, value in sorted(features.items())[:_FEATURES_SHOWN]
    ]
    return (
        f"holds no images that are read: its first record has the features {', '.join(listed) or 'none'}; "
        "wanted is a JPEG or PNG, or bytes 'data' with 'shape'"
    )


@dataclass(frozen=True)
class Form:
    """Where a record has its image.

    Attributes:
        image: name of the feature.
        shape: name of the feature with the three sizes of raw pixels; empty for encoded files.
        channels: of the first image; 3 of encoded ones.
        label: name of a feature that looks like a class; empty without.
    """

    image: str
    shape: str
    channels: int
    label: str


def _find_form(features: Mapping[str, Any] | None) -> Form | None:
    """How records like this one are read; None for those of the authors' tool and where no image is found."""
    if features is None:
        return None
    label = next((name for name in _LABEL_FEATURES if isinstance(features.get(name), list) and len(features[name]) == 1), "")
    contents = {name: value for name, value in features.items() if not isinstance(value, list)}
    for name, content in sorted(contents.items(), key=lambda item: (item[0] != "data", item[0])):
        if recognise(bytes(content[:HEAD_BYTES])) in FORMATS:
            return Form(name, "", 3, label)
    for shape in _SHAPE_FEATURES:
        for name, content in contents.items():
            pixels = _raw_pixels(content, features.get(shape))
            is_official = name == "data" and shape == "shape" and _has_channels_first(features.get(shape))
            if pixels is not None and not is_official:
                return Form(name, shape, pixels.shape[-1], label)
    return None


def _has_channels_first(shape: Any) -> bool:
    return isinstance(shape, list) and len(shape) == 3 and shape[0] <= _MOST_CHANNELS


def _raw_pixels(content: Any, shape: Any) -> np.ndarray | None:
    """uint8 `[height, width, channels]` of raw bytes in either order of axes, or without any for grey; None of other bytes."""
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
    """The features of the first record that can be read; None without."""
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
    """All records of some files: the number of each one's file, where it begins and its size, framing included."""

    path: Path
    files: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets)


class RecordImagesSource(TFRecordsSource):
    """The images in some record files, one after the other, with the classes of a `.labels` file beside them."""

    def __init__(self, folder: str, files: list[Path], form: Form) -> None:
        """Find where each record begins.

        Args:
            folder: as the user wrote it.
            files: in this order.
            form: of all records.

        Raises:
            UserError: a file cannot be read, or the labels do not fit.
        """
        self.name = f"tfrecords:{folder}"
        self.channels = form.channels
        self._files, self._form = files, form
        spans, complaints = [], []
        for number, file in enumerate(files):
            try:
                with file.open("rb") as opened:
                    found = list(iterate_spans(opened))
                size = file.stat().st_size
            except OSError as error:
                raise self._error(f"cannot read {file.name} ({error.strerror}); allow reading it, or copy it again") from None
            end = sum(found[-1]) if found else 0
            if end != size:
                complaints.append(f"{file.name} is damaged or cut off after {len(found):,} records; copy or write it again")
            spans += [(number, *span) for span in found if sum(span) <= size]
        table = np.array(spans, np.int64).reshape(-1, 3)
        self._level = _Records(files[0], table[:, 0].astype(np.int32), table[:, 1].copy(), table[:, 2].copy())
        self.complaints = tuple(complaints)
        self._labels_path = self._find_labels(user_path(folder, named="tfrecords:"))
        self._labels, self.class_names = self._read_labels()
        is_unread = form.label and not self.class_names
        what = f"feature {form.image!r}, {'raw pixels' if form.shape else 'encoded'}"
        self.notes = (f"records of another tool: images from {what}", *[f"their {form.label!r} is not read"] * bool(is_unread))
        self._open()

    def _open(self) -> None:
        self._descriptor = [os.open(file, read_only_flags()) for file in self._files]
        for descriptor in self._descriptor:
            weakref.finalize(self, os.close, descriptor)

    def item_name(self, index: int) -> str:
        """Such as "train.tfrecord record 17", counted in that file."""
        number = int(self._level.files[index])
        first = int(np.searchsorted(self._level.files, number))
        return f"{self._files[number].name} record {index - first}"

    def read(self, index: int) -> bytes | np.ndarray:
        """Image `index`: an encoded file, or uint8 `[height, width, channels]`.

        Raises:
            UnusableImageError: a checksum differs, or the record holds something else.
        """
        number, size = int(self._level.files[index]), int(self._level.sizes[index])
        if size > MAX_FILE_BYTES:
            raise UnusableImageError(f"is too large ({size:,} bytes, at most {MAX_FILE_BYTES:,} are read)")
        try:
            payload = unframe(pread(self._descriptor[number], size, int(self._level.offsets[index])))
            features = parse_example(payload)
            content = features[self._form.image]
        except OSError as error:
            raise UnusableImageError(f"cannot be read ({error.strerror})") from None
        except DamagedRecordError:
            raise UnusableImageError("record checksum differs; copy or write this file again") from None
        except (ValueError, LookupError, TypeError, OverflowError):
            raise UnusableImageError(f"has no feature {self._form.image!r}, as the first record has") from None
        if not self._form.shape:
            return bytes(content)
        pixels = _raw_pixels(content, features.get(self._form.shape))
        if pixels is None:
            raise UnusableImageError(f"holds {len(content):,} bytes of the shape {features.get(self._form.shape)}")
        return pixels

    def fingerprint(self) -> str:
        """Of the names, sizes and times of change of the files and the labels; the folder itself may move."""
        digest = hashlib.sha256(repr(self._form).encode())
        for path in filter(None, (*self._files, self._labels_path)):
            status = path.stat()
            digest.update(b"\0" + os.fsencode(path.name) + f"\0{status.st_size} {status.st_mtime_ns}".encode())
        return digest.hexdigest()
