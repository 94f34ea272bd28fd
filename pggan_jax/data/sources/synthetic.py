"""Sources without files: `synthetic` (generated) and `stacked` (made of another source)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from pggan_jax.data.images.decode import UnusableImageError, decoding_errors, open_image, to_channels, upright
from pggan_jax.data.sources.source import count_and_seed, source_notes
from pggan_jax.errors import UserError

if TYPE_CHECKING:
    from pggan_jax.data.sources.source import Source

SYNTHETIC_COUNT = 10_000
SYNTHETIC_CLASSES = 10
SYNTHETIC_MAX_CHANNELS = 16
STACKED_COUNT = 1_000_000
STACKED_SEED = 123
# Version of the formula: raise it with every change of the images, so that prepared old ones are not reused.
_SYNTHETIC_VERSION = 1


class SyntheticSource:
    """Coloured waves with a soft light in front.

    Image i depends only on i, seed, height, width and channels.

    The class (i modulo 10) determines the direction of the waves and the hue.
    """

    class_names = tuple(str(number) for number in range(SYNTHETIC_CLASSES))
    problems: tuple[str, ...] = ()

    def __init__(self, argument: str, *, height: int, width: int, channels: int) -> None:
        """Choose the images; they are generated when they are read.

        Args:
            argument: "", "COUNT" or "COUNT:SEED"; the defaults are 10,000 images and seed 0.
            height, width: of the images in pixels; the patterns are stretched to them.
            channels: 1..16; 0 means 3.

        Raises:
            UserError: count, seed or channels are out of range.
        """
        self.name = f"synthetic:{argument}" if argument else "synthetic"
        self._count, self._seed = count_and_seed("synthetic", argument, count=SYNTHETIC_COUNT, seed=0, example=50_000)
        if not 0 <= channels <= SYNTHETIC_MAX_CHANNELS:
            raise UserError(f"data.channels = {channels}: synthetic allows 1 to {SYNTHETIC_MAX_CHANNELS}; 0 means 3")
        self.channels = channels or 3
        self._height, self._width = height, width

    def __len__(self) -> int:
        return self._count

    def item_name(self, index: int) -> str:
        """Return a name such as "pattern 17"."""
        return f"pattern {index}"

    def label(self, index: int) -> int:
        """Return the class of image `index`, 0..9."""
        return index % SYNTHETIC_CLASSES

    def read(self, index: int) -> np.ndarray:
        """Return image `index` as uint8 `[height, width, channels]`."""
        random = np.random.Generator(np.random.Philox(key=np.array([self._seed, index], np.uint64)))
        kind = self.label(index) / SYNTHETIC_CLASSES
        angle = np.pi * kind + random.uniform(-0.08, 0.08)
        waves = random.uniform(2.5, 4.5)
        phase = random.uniform(0, 2 * np.pi)
        light_x, light_y = random.uniform(0.2, 0.8, size=2)
        spread = random.uniform(0.1, 0.25)
        # The hue of the first three channels shows the class; further channels continue the same circle.
        hue = 2 * np.pi * (kind + np.arange(self.channels) / max(self.channels, 3)) + random.uniform(-0.2, 0.2)
        colour = (0.5 + 0.5 * np.cos(hue)).astype(np.float32)

        # Centres of the pixels, so that an image is the same at two resolutions.
        x, y = ((np.arange(size, dtype=np.float32) + 0.5) / size for size in (self._width, self._height))
        along_x = np.exp(1j * (2 * np.pi * waves * np.cos(angle) * x + phase)).astype(np.complex64)
        along_y = np.exp(1j * (2 * np.pi * waves * np.sin(angle) * y)).astype(np.complex64)
        # Waves (sines) and light (Gaussians) are both products of a column and a row.
        wave = np.outer(along_y.real, along_x.real)
        wave -= np.outer(along_y.imag, along_x.imag)
        light = np.outer(_bell(y, light_y, spread), _bell(x, light_x, spread))
        wave *= 1 - light
        return self._paint(wave, light, colour)

    def _paint(self, wave: np.ndarray, light: np.ndarray, colour: np.ndarray) -> np.ndarray:
        """Colour both planes `[height, width]` by `colour` `[channels]`, 0..1, to uint8.

        Channel by channel, which is fastest.
        """
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
        """Return count, seed and the version of the formula."""
        return f"synthetic {_SYNTHETIC_VERSION} {self._count} {self._seed}"


def _bell(place: np.ndarray, centre: float, spread: float) -> np.ndarray:
    return np.exp(-0.5 * ((place - np.float32(centre)) / np.float32(spread)) ** 2)


class GreySource:
    """The images of another source in grey with their classes: the layers of a `StackedSource`."""

    channels = 1

    def __init__(self, inner: Source) -> None:
        """Wrap the source `inner`; colours become luminance."""
        self.name, self.class_names, self.problems = inner.name, inner.class_names, inner.problems
        self._inner = inner

    def __len__(self) -> int:
        return len(self._inner)

    def item_name(self, index: int) -> str:
        """Return the name in the other source."""
        return self._inner.item_name(index)

    def label(self, index: int) -> int:
        """Return the class in the other source."""
        return self._inner.label(index)

    def read(self, index: int) -> np.ndarray:
        """Return image `index`, upright, as uint8 `[height, width, 1]`.

        Raises:
            UnusableImageError: it cannot be used; the message names it.
        """
        try:
            image = open_image(self._inner.read(index))
            with decoding_errors():
                return np.asarray(to_channels(upright(image), 1))[..., None]
        except UnusableImageError as error:
            raise UnusableImageError(f"{self.item_name(index)}: {error}") from None

    def fingerprint(self) -> str:
        """Return the fingerprint of the other source with a prefix."""
        return f"grey {self._inner.fingerprint()}"


class StackedSource:
    """Three random images of another source as red, green and blue: stacked MNIST (spec 4.3).

    No labels.

    A source with ten classes gives a thousand modes, to count how many of them a generator covers.
    """

    channels = 3
    class_names: tuple[str, ...] = ()

    def __init__(self, inner: Source, *, count: int = STACKED_COUNT, seed: int = STACKED_SEED) -> None:
        """Draw the three images of each stack exactly as the official `create_mnistrgb` does.

        Args:
            inner: the images to stack; colours become luminance.
            count: number of stacks.
            seed: of the draw.

        Raises:
            UserError: `inner` is empty, or the count is not positive.
        """
        self.name = f"stacked:{inner.name}"
        if not len(inner):
            raise UserError(f"data.source = {self.name!r}: {inner.name} has no image to stack; use another source")
        if count < 1:
            raise UserError(f"data.source = {self.name!r}: the number of stacks is {count}, must be positive")
        self.problems = inner.problems
        self.notes = source_notes(inner)
        self._inner, self._singles = inner, GreySource(inner)
        self._seed = seed
        # A single draw gives the same numbers as one draw of three per image.
        self._triples = np.random.RandomState(seed).randint(len(inner), size=(count, 3)).astype(np.int32)

    def __len__(self) -> int:
        return len(self._triples)

    def item_name(self, index: int) -> str:
        """Return a name such as "stack 17"."""
        return f"stack {index}"

    def label(self, index: int) -> int:
        """Return 0: there are no classes."""
        return 0

    def read(self, index: int) -> np.ndarray:
        """Return stack `index` as uint8 `[height, width, 3]`.

        Raises:
            UnusableImageError: one of the three cannot be used, or they differ in size; the message names them.
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
        """Return a digest of the other source's fingerprint, the number of stacks and the seed."""
        return hashlib.sha256(f"stacked {self._inner.fingerprint()} {len(self)} {self._seed}".encode()).hexdigest()
