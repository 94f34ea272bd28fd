"""Sources whose images no file holds: `synthetic`, drawn from a formula, and `stacked`, put together from another source's."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from pggan_jax.data.images.decode import UnusableImageError, decoding_errors, open_image, to_channels, upright
from pggan_jax.data.sources.open_source import notes_of
from pggan_jax.errors import UserError

if TYPE_CHECKING:
    from pggan_jax.data.sources.open_source import Source

SYNTHETIC_COUNT = 10_000
SYNTHETIC_CLASSES = 10
SYNTHETIC_MAX_CHANNELS = 16
STACKED_COUNT = 1_000_000
STACKED_SEED = 123
# Of the picture's formula: whoever changes what is drawn raises it, so that nothing prepared from the old pictures is reused.
_SYNTHETIC_VERSION = 1
# The order of training on a thousand million images takes 8 GB; more is a slip of the hand.
_MAX_COUNT = 10**9
_MAX_SEED = 2**64 - 1


class SyntheticSource:
    """Coloured waves with a soft light before them. Image i depends on i, seed, resolution and channels alone.

    The class (i modulo 10) sets the direction of the waves and, where there are colours, the hue.
    """

    class_names = tuple(str(number) for number in range(SYNTHETIC_CLASSES))
    complaints: tuple[str, ...] = ()

    def __init__(self, argument: str, *, resolution: int, channels: int) -> None:
        """Choose the images; they are drawn when read.

        Args:
            argument: "", "COUNT" or "COUNT:SEED"; 10,000 images of seed 0 where nothing is said.
            resolution: side of the images in pixels.
            channels: 1..16; 0 means 3.

        Raises:
            UserError: count, seed or channels cannot be had.
        """
        self.name = f"synthetic:{argument}" if argument else "synthetic"
        count, _, seed = argument.partition(":")
        self._count = self._whole_number("COUNT", count, default=SYNTHETIC_COUNT, lowest=1, highest=_MAX_COUNT)
        self._seed = self._whole_number("SEED", seed, default=0, lowest=0, highest=_MAX_SEED)
        if not 0 <= channels <= SYNTHETIC_MAX_CHANNELS:
            raise UserError(f"data.channels = {channels}: synthetic has 1 to {SYNTHETIC_MAX_CHANNELS}; 0 means 3")
        self.channels = channels or 3
        self._resolution = resolution

    def _whole_number(self, what: str, text: str, *, default: int, lowest: int, highest: int) -> int:
        if not text:
            return default
        if not (text.isascii() and text.isdecimal() and len(text) <= 20 and lowest <= int(text) <= highest):
            raise UserError(
                f"data.source = {self.name!r}: {what} is {text!r}; give a whole number from {lowest} to {highest}, "
                "as in synthetic:50000 or synthetic:50000:7"
            )
        return int(text)

    def __len__(self) -> int:
        return self._count

    def item_name(self, index: int) -> str:
        """Such as "pattern 17"."""
        return f"pattern {index}"

    def label(self, index: int) -> int:
        """The class of image `index`, 0..9."""
        return index % SYNTHETIC_CLASSES

    def read(self, index: int) -> np.ndarray:
        """Image `index` as uint8 `[resolution, resolution, channels]`."""
        random = np.random.Generator(np.random.Philox(key=np.array([self._seed, index], np.uint64)))
        kind = self.label(index) / SYNTHETIC_CLASSES
        angle = np.pi * kind + random.uniform(-0.08, 0.08)
        waves = random.uniform(2.5, 4.5)
        phase = random.uniform(0, 2 * np.pi)
        light_x, light_y = random.uniform(0.2, 0.8, size=2)
        width = random.uniform(0.1, 0.25)
        # Of one to three channels the hue tells the class; further channels follow the same circle.
        hue = 2 * np.pi * (kind + np.arange(self.channels) / max(self.channels, 3)) + random.uniform(-0.2, 0.2)
        colour = (0.5 + 0.5 * np.cos(hue)).astype(np.float32)

        # Centres of the pixels, so that one image at two resolutions is the same picture.
        place = (np.arange(self._resolution, dtype=np.float32) + 0.5) / self._resolution
        along_x = np.exp(1j * (2 * np.pi * waves * np.cos(angle) * place + phase)).astype(np.complex64)
        along_y = np.exp(1j * (2 * np.pi * waves * np.sin(angle) * place)).astype(np.complex64)
        # The waves are a plane of sines, the light a plane of Gaussians: both are products of a column and a row.
        wave = np.outer(along_y.real, along_x.real)
        wave -= np.outer(along_y.imag, along_x.imag)
        light = np.outer(_bell(place, light_y, width), _bell(place, light_x, width))
        wave *= 1 - light
        return self._paint(wave, light, colour)

    def _paint(self, wave: np.ndarray, light: np.ndarray, colour: np.ndarray) -> np.ndarray:
        """Both planes `[side, side]` in the colours `[channels]`, 0..1, as uint8. One channel at a time, as that is fastest."""
        image = np.empty((*wave.shape, self.channels), np.uint8)
        plane = np.empty_like(wave)
        for channel, strength in enumerate(colour):
            ink = 80 + 160 * strength
            background = 0.55 * ink
            np.multiply(wave, 0.3 * ink, out=plane)
            plane += light * (255 - 60 * strength - background)
            plane += background
            image[..., channel] = plane
        return image

    def fingerprint(self) -> str:
        """Of count, seed and the formula's version."""
        return f"synthetic {_SYNTHETIC_VERSION} {self._count} {self._seed}"


def _bell(place: np.ndarray, centre: float, width: float) -> np.ndarray:
    return np.exp(-0.5 * ((place - np.float32(centre)) / np.float32(width)) ** 2)


class GreySource:
    """The images of another source in grey, one by one, with their classes: what a `StackedSource` of it is made of."""

    channels = 1

    def __init__(self, inner: Source) -> None:
        """Take the images of `inner`; colours become luminance."""
        self.name, self.class_names, self.complaints = inner.name, inner.class_names, inner.complaints
        self._inner = inner

    def __len__(self) -> int:
        return len(self._inner)

    def item_name(self, index: int) -> str:
        """As the other source calls it."""
        return self._inner.item_name(index)

    def label(self, index: int) -> int:
        """Its class in the other source."""
        return self._inner.label(index)

    def read(self, index: int) -> np.ndarray:
        """Image `index`, upright, as uint8 `[height, width, 1]`.

        Raises:
            UnusableImageError: it is unusable; the message names it.
        """
        try:
            image = open_image(self._inner.read(index))
            with decoding_errors():
                return np.asarray(to_channels(upright(image), 1))[..., None]
        except UnusableImageError as error:
            raise UnusableImageError(f"{self.item_name(index)}: {error}") from None

    def fingerprint(self) -> str:
        """Of the other source's."""
        return f"grey {self._inner.fingerprint()}"


class StackedSource:
    """Three images of another source, drawn at random, as red, green and blue: stacked MNIST (spec 4.3). No labels.

    Of a source with ten classes that makes a thousand modes, which is what the set is for: counting how many a network meets.
    """

    channels = 3
    class_names: tuple[str, ...] = ()

    def __init__(self, inner: Source, *, count: int = STACKED_COUNT, seed: int = STACKED_SEED) -> None:
        """Draw which three make up each image, exactly as the official `create_mnistrgb` does.

        Args:
            inner: the images to stack; colours become luminance.
            count: how many stacks to offer.
            seed: of the draw.

        Raises:
            UserError: `inner` is empty, or the count is not positive.
        """
        self.name = f"stacked:{inner.name}"
        if not len(inner):
            raise UserError(f"data.source = {self.name!r}: {inner.name} holds no image to stack; name another source")
        if count < 1:
            raise UserError(f"data.source = {self.name!r}: {count} stacks; give a positive number")
        self.complaints = inner.complaints
        self.notes = notes_of(inner)
        self._inner, self._singles = inner, GreySource(inner)
        self._seed = seed
        # One draw of all gives the numbers that one draw of three per image gives, in the same order.
        self._triples = np.random.RandomState(seed).randint(len(inner), size=(count, 3)).astype(np.int32)

    def __len__(self) -> int:
        return len(self._triples)

    def item_name(self, index: int) -> str:
        """Such as "stack 17"."""
        return f"stack {index}"

    def label(self, index: int) -> int:
        """Always 0: there are no classes."""
        return 0

    def read(self, index: int) -> np.ndarray:
        """Stack `index` as uint8 `[height, width, 3]`.

        Raises:
            UnusableImageError: one of the three is unusable, or they differ in size; the message names them.
        """
        layers = [self._singles.read(int(number))[..., 0] for number in self._triples[index]]
        if len({layer.shape for layer in layers}) > 1:
            sizes = ", ".join(
                f"{self._inner.item_name(int(number))} is {layer.shape[1]}x{layer.shape[0]}"
                for number, layer in zip(self._triples[index], layers, strict=True)
            )
            raise UnusableImageError(f"cannot stack images of different sizes: {sizes}")
        return np.stack(layers, axis=-1)

    def fingerprint(self) -> str:
        """Of the other source's, the number of stacks and the seed."""
        return hashlib.sha256(f"stacked {self._inner.fingerprint()} {len(self)} {self._seed}".encode()).hexdigest()
