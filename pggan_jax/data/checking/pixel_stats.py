"""Statistics of pixels: blank images, constant channels, range of values, similar images.

Images are added one by one with 8 bits; a few bytes are stored of each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from pggan_jax.data.checking.pixel_range import measured_range
from pggan_jax.data.images.decode import VALUES_16_BIT

_MOST_PIXELS = 2**18
_WORDS = {
    "black": "are black or nearly so",
    "white": "are white or nearly so",
    "constant": "have a single colour",
    "transparent": "are fully transparent",
}
_NARROW = 128
_SAME = 2  # an invisible difference
_DARK, _LIGHT = 16, 239
_FEW = 1.0  # per cent of the pixels
_HASH_SIDE = 8
_MEANS_SIDE = 4
SIGNATURE_BYTES = _HASH_SIDE**2 // 8 + _MEANS_SIDE**2
_MOST_BITS = 2
_MOST_MEANS = 6
# Larger groups with an equal quarter of the hash are not compared; they are usually images of the same background.
_LARGEST_BUCKET = 512


@dataclass
class PixelStats:
    """Counts over some images.

    Attributes:
        kinds: number of images by kind: "black", "white", "constant", "grey as colour", "transparent".
        empty_channels: number of colour images with a constant channel, by its letter.
        low, high: range of all 8-bit values.
        looks: `SIGNATURE_BYTES` of each image: a hash of its gradients and a few means.
        counts: int64 number of pixels by 16-bit value, as bytes; empty without 16-bit images.
        images_16_bit: number of images with 16 bits.
        examples: name of the first image of each kind.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    empty_channels: Counter[str] = field(default_factory=Counter)
    low: int = 255
    high: int = 0
    signatures: bytearray = field(default_factory=bytearray)
    counts: bytes = b""
    images_16_bit: int = 0
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, other: PixelStats) -> None:
        """Add the statistics of other images."""
        self.kinds.update(other.kinds)
        self.empty_channels.update(other.empty_channels)
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.signatures += other.signatures
        for kind, name in other.examples.items():
            self.examples.setdefault(kind, name)
        self.images_16_bit += other.images_16_bit
        if other.counts:
            self.add_16_bit(np.frombuffer(other.counts, np.int64), images=0)

    def add_16_bit(self, counts: np.ndarray, *, images: int = 1) -> None:
        """Add the number of pixels by 16-bit value."""
        before = np.frombuffer(self.counts, np.int64) if self.counts else 0
        self.counts = np.asarray(before + counts, np.int64).tobytes()
        self.images_16_bit += images

    def counts_16_bit(self) -> np.ndarray | None:
        """Return the int64 number of pixels by 16-bit value; None without 16-bit images."""
        return np.frombuffer(self.counts, np.int64) if self.counts else None

    def add_image(self, pixels: np.ndarray, name: str) -> None:
        """Add the image `name`, uint8 `[height, width, channels]`.

        One of more than 4 channels is not examined.
        """
        if not 1 <= pixels.shape[-1] <= 4:
            self.signatures += bytes(SIGNATURE_BYTES)
            return
        step = max(1, int(np.ceil(np.sqrt(pixels.shape[0] * pixels.shape[1] / _MOST_PIXELS))))
        some = pixels[::step, ::step].reshape(-1, pixels.shape[-1])
        colours = some[:, : 3 if some.shape[1] >= 3 else 1]
        lowest, highest = colours.min(axis=0), colours.max(axis=0)
        self.low, self.high = min(self.low, int(lowest.min())), max(self.high, int(highest.max()))
        is_flat = highest.astype(int) - lowest <= _SAME
        low, high = np.percentile(colours, [_FEW, 100 - _FEW])
        is_hidden = some.shape[1] in (2, 4) and not some[:, -1].any()
        if is_hidden:
            self._count("transparent", name)
        elif high <= _DARK:
            self._count("black", name)
        elif low >= _LIGHT:
            self._count("white", name)
        elif is_flat.all():
            self._count("constant", name)
        elif is_flat.any():
            self.empty_channels.update(letter for letter, flat in zip("RGB", is_flat, strict=True) if flat)
        if not is_hidden and colours.shape[1] == 3 and (colours == colours[:, :1]).all():
            self._count("grey as colour", name)
        self.signatures += _signature(pixels)

    def _count(self, kind: str, name: str) -> None:
        self.kinds[kind] += 1
        self.examples.setdefault(kind, name)


def describe_pixels(stats: PixelStats, *, images: int, colour_images: int, is_scaled: bool = False) -> list[str]:
    """Return remarks about the pixels, one line each.

    Args:
        stats: of all images.
        images: number of images.
        colour_images: number of colour images.
        is_scaled: whether a range of 16-bit values was chosen.
    """
    lines = []
    for kind, words in _WORDS.items():
        if count := stats.kinds[kind]:
            share = f"{100 * count / images:.3g} %"
            lines.append(f"{count:,} of {images:,} images ({share}) {words}, such as {stats.examples[kind][-60:]}")
    for channel, count in sorted(stats.empty_channels.items()):
        lines.append(f"channel {channel} is constant in {count:,} of {images:,} images")
    grey = stats.kinds["grey as colour"]
    if grey and grey == colour_images and grey == images:
        lines.append("all images are grey, stored as colours: --channels=1 trains faster")
    counts = stats.counts_16_bit()
    if counts is not None and not is_scaled and (used := measured_range(counts)):
        low, high = used
        if high - low < VALUES_16_BIT // 2:
            lines.append(
                f"{stats.images_16_bit:,} images with 16 bits use {low:,} to {high:,} of 0 to 65,535, scaled to "
                f"{low / 257:.0f} to {high / 257:.0f} of 255: --range=auto, or data.range=auto, uses all"
            )
    if stats.images_16_bit < images and stats.high - stats.low < _NARROW:
        lines.append(f"all pixels of images with 8 bits lie between {stats.low} and {stats.high} of 0 to 255")
    return lines


def _signature(pixels: np.ndarray) -> bytes:
    """Return whether each of 8x8 boxes is lighter than the next, and 4x4 means, as bytes."""
    channels = pixels.shape[-1]
    grey = Image.fromarray(pixels[..., 0] if channels < 3 else np.ascontiguousarray(pixels[..., :3])).convert("L")
    small = np.asarray(grey.resize((_HASH_SIDE + 1, _HASH_SIDE), Image.Resampling.BOX), np.int16)
    means = np.asarray(grey.resize((_MEANS_SIDE, _MEANS_SIDE), Image.Resampling.BOX))
    return np.packbits(small[:, 1:] > small[:, :-1] + _SAME).tobytes() + means.tobytes()


def find_similar(signatures: bytes | bytearray, digests: Sequence[int] | np.ndarray) -> list[list[int]]:
    """Return groups of indices of images that look the same but differ in content.

    Two or more in each, in order.

    Args:
        looks: `SIGNATURE_BYTES` of each image.
        digests: a number for the content of each; of exact copies only the first is used.
    """
    _, places = np.unique(np.asarray(digests), return_index=True)
    places.sort()
    table = np.frombuffer(signatures, np.uint8).reshape(-1, SIGNATURE_BYTES)[places]
    hashes, means = table[:, : _HASH_SIDE**2 // 8], table[:, _HASH_SIDE**2 // 8 :]
    parents = np.arange(len(places))
    # Hashes that differ in two bits share at least two of four quarters.
    for quarter in hashes.copy().view(np.uint16).T:
        order = np.argsort(quarter, kind="stable")
        for bucket in np.split(order, np.flatnonzero(np.diff(quarter[order])) + 1):
            if 2 <= len(bucket) <= _LARGEST_BUCKET:
                _join(parents, bucket, hashes, means)
    groups: dict[int, list[int]] = {}
    for number in range(len(places)):
        groups.setdefault(_root(parents, number), []).append(int(places[number]))
    return [group for group in groups.values() if len(group) > 1]


def _join(parents: np.ndarray, bucket: np.ndarray, hashes: np.ndarray, means: np.ndarray) -> None:
    """Join the images of a bucket that look the same."""
    bits = np.unpackbits(hashes[bucket], axis=1).astype(np.int16)
    # An image without contrast has an empty hash, which is not comparable.
    has_contrast = bits.sum(axis=1) > _MOST_BITS
    distance = bits @ (1 - bits).T
    near = (distance + distance.T <= _MOST_BITS) & has_contrast[:, None] & has_contrast
    for first, second in np.argwhere(np.triu(near, 1)):
        one, other = bucket[first], bucket[second]
        if np.abs(means[one].astype(int) - means[other]).max() <= _MOST_MEANS:
            one, other = sorted((_root(parents, one), _root(parents, other)))
            parents[other] = one


def _root(parents: np.ndarray, number: int) -> int:
    while parents[number] != number:
        parents[number] = parents[parents[number]]
        number = parents[number]
    return int(number)
