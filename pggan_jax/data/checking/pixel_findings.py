"""What the pixels of images show when one looks at all of them: images of nothing, empty channels, values that are not used,
and images that look the same. Knows one 8-bit picture at a time; all that is kept of it are a few bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from pggan_jax.data.checking.pixel_range import range_of
from pggan_jax.data.images.decode import DEEP_VALUES

_MOST_PIXELS = 2**18
_WORDS = {
    "black": "are black or nearly so",
    "white": "are white or nearly so",
    "constant": "have one colour",
    "transparent": "are transparent all over",
}
_NARROW = 128
_SAME = 2  # a difference that no eye sees
_DARK, _LIGHT = 16, 239
_FEW = 1.0  # per cent of the pixels
_HASH_SIDE = 8
_MEANS_SIDE = 4
LOOK_BYTES = _HASH_SIDE**2 // 8 + _MEANS_SIDE**2
_MOST_BITS = 2
_MOST_MEANS = 6
# Of pictures that share a quarter of their hash so many are compared with one another; more are usually of the same blank.
_LARGEST_BUCKET = 512


@dataclass
class PixelFindings:
    """Counts over some images.

    Attributes:
        kinds: images by what is remarkable: "black", "white", "constant", "grey as colour", "transparent".
        empty_channels: colour images with a channel of one value, by its letter.
        low, high: of all 8-bit values.
        looks: `LOOK_BYTES` of each image: a hash of its gradients and a few means.
        deep: int64 counts of all 16-bit values as bytes; empty without such images.
        deep_images: how many have 16 bits.
        examples: name of the first image of each kind.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    empty_channels: Counter[str] = field(default_factory=Counter)
    low: int = 255
    high: int = 0
    looks: bytearray = field(default_factory=bytearray)
    deep: bytes = b""
    deep_images: int = 0
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, other: PixelFindings) -> None:
        """Take in what was found in further images."""
        self.kinds.update(other.kinds)
        self.empty_channels.update(other.empty_channels)
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.looks += other.looks
        for kind, name in other.examples.items():
            self.examples.setdefault(kind, name)
        self.deep_images += other.deep_images
        if other.deep:
            self.add_deep(np.frombuffer(other.deep, np.int64), images=0)

    def add_deep(self, counts: np.ndarray, *, images: int = 1) -> None:
        """Take in how many pixels have each 16-bit value."""
        before = np.frombuffer(self.deep, np.int64) if self.deep else 0
        self.deep = np.asarray(before + counts, np.int64).tobytes()
        self.deep_images += images

    def deep_counts(self) -> np.ndarray | None:
        """int64 pixels by 16-bit value; None without such images."""
        return np.frombuffer(self.deep, np.int64) if self.deep else None

    def look_at(self, pixels: np.ndarray, name: str) -> None:
        """Take in one picture, uint8 `[height, width, channels]`, of the image `name`; nothing of more than 4 channels."""
        if not 1 <= pixels.shape[-1] <= 4:
            self.looks += bytes(LOOK_BYTES)
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
        self.looks += _look(pixels)

    def _count(self, kind: str, name: str) -> None:
        self.kinds[kind] += 1
        self.examples.setdefault(kind, name)


def observations(found: PixelFindings, images: int, colour_images: int, *, is_scaled: bool = False) -> list[str]:
    """What is worth knowing about the pixels of so many images, one line each.

    Args:
        found: in these images.
        images: how many there are.
        colour_images: how many of them have colours.
        is_scaled: whether a range of 16-bit values has been chosen.
    """
    lines = []
    for kind, words in _WORDS.items():
        if count := found.kinds[kind]:
            share = f"{100 * count / images:.3g} %"
            lines.append(f"{count:,} of {images:,} images ({share}) {words}, such as {found.examples[kind][-60:]}")
    for channel, count in sorted(found.empty_channels.items()):
        lines.append(f"channel {channel} is empty, of one value, in {count:,} of {images:,} images")
    grey = found.kinds["grey as colour"]
    if grey and grey == colour_images and grey == images:
        lines.append("all images are grey, stored as colours: --channels=1 trains faster")
    counts = found.deep_counts()
    if counts is not None and not is_scaled and (used := range_of(counts)):
        low, high = used
        if high - low < DEEP_VALUES // 2:
            lines.append(
                f"{found.deep_images:,} images with 16 bits use {low:,} to {high:,} of 0 to 65,535, scaled to {low / 257:.0f} "
                f"to {high / 257:.0f} of 255: --range=auto, or data.range=auto, uses all"
            )
    if found.deep_images < images and found.high - found.low < _NARROW:
        lines.append(f"all pixels of images with 8 bits lie between {found.low} and {found.high} of 0 to 255")
    return lines


def _look(pixels: np.ndarray) -> bytes:
    """`LOOK_BYTES`: whether each of 8x8 parts is lighter than its right neighbour, and 4x4 means."""
    channels = pixels.shape[-1]
    grey = Image.fromarray(pixels[..., 0] if channels < 3 else np.ascontiguousarray(pixels[..., :3])).convert("L")
    small = np.asarray(grey.resize((_HASH_SIDE + 1, _HASH_SIDE), Image.Resampling.BOX), np.int16)
    means = np.asarray(grey.resize((_MEANS_SIDE, _MEANS_SIDE), Image.Resampling.BOX))
    return np.packbits(small[:, 1:] > small[:, :-1] + _SAME).tobytes() + means.tobytes()


def alike(looks: bytes | bytearray, digests: Sequence[int] | np.ndarray) -> list[list[int]]:
    """Groups of places whose pictures look the same, though their content differs; in order, two and more in each.

    Args:
        looks: `LOOK_BYTES` of each image.
        digests: a number for the content of each; equal ones are exact copies, of which the first stands for all.
    """
    _, places = np.unique(np.asarray(digests), return_index=True)
    places.sort()
    table = np.frombuffer(looks, np.uint8).reshape(-1, LOOK_BYTES)[places]
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
    """Join the pictures of a bucket that look the same."""
    bits = np.unpackbits(hashes[bucket], axis=1).astype(np.int16)
    # A picture without contrast has an empty hash, which says nothing.
    says = bits.sum(axis=1) > _MOST_BITS
    distance = bits @ (1 - bits).T
    near = (distance + distance.T <= _MOST_BITS) & says[:, None] & says
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
