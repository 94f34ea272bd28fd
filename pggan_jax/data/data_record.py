"""The record of a run's data, by which a resumed run detects other images or labels.

The record depends only on the content of the prepared arrays, not on their location or on how they were read.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from pggan_jax.data.preparation.prepared_folder import level_name
from pggan_jax.data.pyramid import Pyramid

READ_BYTES = 2**28
"""Size of the largest array that is read to compute a checksum of each image."""
_ROWS_AT_ONCE_BYTES = 2**24
_OPTIONAL = ("label_kind", "held_out", "held_out_rows", "held_out_images")
_NAMES_SHOWN = 2
_NAME_LENGTH = 40


@dataclass(frozen=True)
class DataRecord:
    """The data of a run, as stored in its checkpoints.

    Attributes:
        images: number of images.
        channels: colour channels.
        class_names: one per class, in the order of the class numbers; empty where labels are not used.
        class_counts: images of each class that are trained on.
        levels: CRC-32 of the pixels by resolution, both as text for JSON.
        labels: CRC-32 of the class numbers; empty where labels are not used.
        label_kind: what the classes of sound are: pitch, family or folder; empty for images.
        held_out: how many of the images are kept from training; they are in no class count.
        held_out_rows: CRC-32 of their row numbers; empty without.
        held_out_images: fingerprint of held-out images of another source; empty without.
    """

    images: int
    channels: int
    class_names: list[str] = field(default_factory=list)
    class_counts: list[int] = field(default_factory=list)
    levels: dict[str, str] = field(default_factory=dict)
    labels: str = ""
    label_kind: str = ""
    held_out: int = 0
    held_out_rows: str = ""
    held_out_images: str = ""

    @property
    def fingerprint(self) -> str:
        """The first 16 hexadecimal digits of a SHA-256 over all fields."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]

    @property
    def present_classes(self) -> list[int]:
        """The numbers of the classes that have images."""
        return [number for number, count in enumerate(self.class_counts) if count]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object, without those optional fields that are empty."""
        return {name: value for name, value in asdict(self).items() if value or name not in _OPTIONAL}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> DataRecord | None:
        """Read what `to_json` wrote.

        None for anything else, such as the empty object of older checkpoints.
        """
        try:
            record = cls(**document)
            names_fit = len(record.class_names) == len(record.class_counts)
            valid = record.images > 0 and names_fit and all(isinstance(one, str) for one in record.class_names)
            valid = valid and isinstance(record.label_kind, str) and isinstance(record.held_out, int)
            valid = valid and isinstance(record.held_out_images, str)
            return record if valid and all(isinstance(one, int) for one in record.class_counts) and record.levels["4"] else None
        except (TypeError, KeyError):
            return None


@dataclass(frozen=True)
class ImageChecksums:
    """A checksum of each image, to count how many differ.

    Attributes:
        resolution: of the level from which they are computed.
        images: CRC-32 by row, uint32 `[images]`.
        classes: class numbers by row, int32 `[images]`.
    """

    resolution: int
    images: np.ndarray
    classes: np.ndarray


def create_record(pyramid: Pyramid, *, use_labels: bool, held_out: np.ndarray | None = None) -> DataRecord:
    """Create the record of a data set.

    Args:
        pyramid: the data.
        use_labels: whether training uses the classes.
        held_out: rows that are kept from training, int64 in rising order; None for none.
    """
    names = list(pyramid.class_names) if use_labels else []
    trained_on = pyramid.classes if held_out is None else np.delete(pyramid.classes, held_out)
    counts = np.bincount(trained_on, minlength=len(names)).tolist() if names else []
    levels = {str(size): f"{_level_checksum(pyramid, size):08x}" for size in sorted(pyramid.levels)}
    labels = f"{zlib.crc32(np.ascontiguousarray(pyramid.classes, np.int32).data):08x}" if names else ""
    record = DataRecord(len(pyramid), pyramid.channels, names, counts, levels, labels, pyramid.label_kind if names else "")
    if held_out is None:
        return record
    return replace(record, held_out=len(held_out), held_out_rows=f"{zlib.crc32(held_out.astype('<i8').tobytes()):08x}")


def image_checksums(pyramid: Pyramid, resolution: int = 0) -> ImageChecksums:
    """Compute a checksum of each image from one level.

    Args:
        pyramid: the data.
        resolution: of the level; 0 takes the largest of at most `READ_BYTES`, or the smallest.
    """
    fitting = [size for size, level in pyramid.levels.items() if level.nbytes <= READ_BYTES]
    resolution = resolution or max(fitting, default=min(pyramid.levels))
    rows = (zlib.crc32(row) for block in _row_blocks(pyramid, resolution) for row in block)
    images = np.fromiter(rows, np.uint32, len(pyramid))
    return ImageChecksums(resolution, images, np.asarray(pyramid.classes, np.int32))


def _level_checksum(pyramid: Pyramid, size: int) -> int:
    if size in pyramid.checksums:
        return pyramid.checksums[size]
    crc = 0
    for block in _row_blocks(pyramid, size):
        crc = zlib.crc32(block.data, crc)
    return crc


def _row_blocks(pyramid: Pyramid, size: int) -> Iterator[np.ndarray]:
    """Yield a level in contiguous blocks of about 16 MB."""
    level = pyramid.levels[size]
    rows = max(1, _ROWS_AT_ONCE_BYTES * len(level) // max(level.nbytes, 1))
    for start in range(0, len(level), rows):
        if pyramid.files is not None:
            pyramid.files.refuse_if_truncated(level_name(size))
        yield np.ascontiguousarray(level[start : start + rows])


def class_difference(old: Sequence[str], new: Sequence[str]) -> str:
    """Describe the difference between two lists of class names in a few words.

    Empty if they are equal.

    Args:
        old: the recorded names.
        new: the names of the current data.
    """
    if len(old) != len(new):
        counts = f"({len(new) or 'no'} classes, was {len(old) or 'none'})"
        more, fewer = [name for name in new if name not in set(old)], [name for name in old if name not in set(new)]
        change = len(new) - len(old)
        number = "one class" if abs(change) == 1 else f"{abs(change):,} classes"
        names = more if change > 0 else fewer
        shown = f": {_listed(names)} " if names and new and all(old) else " "
        return f"{number} {'more' if change > 0 else 'fewer'}{shown}{counts}"
    changed = [number for number, (one, other) in enumerate(zip(old, new, strict=True)) if one != other]
    if not changed:
        return ""
    first = changed[0]
    others = f", and {len(changed) - 1:,} more changed" if len(changed) > 1 else ""
    return f"class {first} is {_shortened(new[first])}, was {_shortened(old[first])}{others}"


def differences(
    old: DataRecord, new: DataRecord, *, before: ImageChecksums | None = None, now: ImageChecksums | None = None
) -> list[str]:
    """Describe the differences between the recorded and the current data, one phrase each.

    Empty if there are none.

    Only resolutions that both have are compared.

    Args:
        old: the recorded data.
        new: the current data.
        before, now: checksums of single images of both, to count how many differ; None where they are unknown.
    """
    found = []
    if old.channels != new.channels:
        found.append(f"{new.channels} colour channel(s), was {old.channels}")
    if names := class_difference(old.class_names, new.class_names):
        found.append(names)
    if old.images != new.images:
        found.append(f"{new.images:,} images, was {old.images:,}{_exchanged(before, now)}")
        return found
    if (old.held_out, old.held_out_rows) != (new.held_out, new.held_out_rows):
        is_other = old.held_out == new.held_out
        found.append("other images are held out" if is_other else f"{new.held_out:,} images held out, was {old.held_out:,}")
    if old.held_out_images != new.held_out_images:
        found.append("data.held_out_source has other images")
    common = sorted((old.levels.keys() & new.levels.keys()), key=int)
    changed = [size for size in common if old.levels[size] != new.levels[size]]
    if changed:
        found.append(_describe_pixels(new.images, changed, before, now))
    elif old.labels != new.labels and old.labels and new.labels:
        count = 0 if before is None or now is None else int(np.count_nonzero(before.classes != now.classes))
        found.append(f"the class of {count:,} of {new.images:,} images differs" if count else "the classes of images differ")
    return found


def _describe_pixels(images: int, changed: list[str], before: ImageChecksums | None, now: ImageChecksums | None) -> str:
    if before is not None and now is not None:
        if gone := len(_missing(before.images, now.images)):
            return f"{gone:,} of {images:,} images differ"
        if moved := int(np.count_nonzero(before.images != now.images)):
            return f"{moved:,} of {images:,} images are in another order"
    return f"images differ at {', '.join(f'{size}x{size}' for size in changed[:3])}"


def _exchanged(before: ImageChecksums | None, now: ImageChecksums | None) -> str:
    if before is None or now is None:
        return ""
    gone, added = len(_missing(before.images, now.images)), len(_missing(now.images, before.images))
    return f" ({added:,} new, {gone:,} gone)"


def _missing(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the values that `first` has more often than `second`, each as often as missing."""
    values, counts = np.unique(first, return_counts=True)
    others, other_counts = np.unique(second, return_counts=True)
    place = np.searchsorted(others, values).clip(max=max(len(others) - 1, 0))
    there = np.where(others[place] == values, other_counts[place], 0) if len(others) else np.zeros(len(values), np.int64)
    return np.repeat(values, np.maximum(counts - there, 0))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN:,} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(map(_shortened, names[:_NAMES_SHOWN])) + more


def _shortened(name: str) -> str:
    return repr(name if len(name) <= _NAME_LENGTH else f"{name[:_NAME_LENGTH]}...")
