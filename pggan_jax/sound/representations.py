"""How a clip becomes an image that networks can learn, and an image a wave again.

`if` (the default) holds the logarithm of the magnitude and the instantaneous frequency: rows are frames, columns are
frequency bins. Everything that depends on the choice of the image is behind `Representation`, which travels as JSON
with prepared data, checkpoints and models.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pggan_jax.sound import phase_images, quantization

NAMES = ("if",)
MARGIN = 0.8


@dataclass(frozen=True)
class Representation:
    """The kind and the size of the images of sound.

    Args:
        name: "if": log magnitude and instantaneous frequency.
        sample_rate: samples per second.
        n_fft: length of window and transform, a power of two.
        hop: samples from frame to frame; divides n_fft.
        frames: rows of the image.
        length: samples of a clip; 0 means hop * frames.
        mel_bins: 0: linear frequency.
        eps: floor of the magnitude, added before the logarithm.
        phase_reference: "centre" of the frame, or its "start".
        scale: (a, b) per channel: image = clip(a x + b, -1, 1). Empty until `fitted`.
    """

    name: str = "if"
    sample_rate: int = 8000
    n_fft: int = 256
    hop: int = 128
    frames: int = 32
    length: int = 0
    mel_bins: int = 0
    eps: float = 1e-3
    phase_reference: str = "centre"
    scale: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", tuple((float(a), float(b)) for a, b in self.scale))
        if self.name not in NAMES:
            raise ValueError(f"representation is {self.name!r}; it is one of {', '.join(NAMES)}")
        if self.scale and len(self.scale) != self.channels:
            raise ValueError(f"scale has {len(self.scale)} channels; {self.name} has {self.channels}")

    @property
    def samples(self) -> int:
        """Samples of a clip."""
        return self.length or self.hop * self.frames

    @property
    def seconds(self) -> float:
        """Length of a clip."""
        return self.samples / self.sample_rate

    @property
    def bins(self) -> int:
        """Columns of the image."""
        return self.n_fft // 2

    @property
    def channels(self) -> int:
        """Channels of the image."""
        return 2

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the image: frames, bins, channels."""
        return self.frames, self.bins, self.channels

    @property
    def is_fitted(self) -> bool:
        """Whether the scale is known."""
        return bool(self.scale)

    def analyse(self, wave: np.ndarray) -> np.ndarray:
        """Float [..., samples] to float64 [..., frames, bins, channels], before scaling."""
        wave = np.asarray(wave, np.float64)
        if not wave.ndim or wave.shape[-1] != self.samples:
            raise ValueError(f"the wave has shape {wave.shape}; its last axis has to have {self.samples} samples")
        return phase_images.analyse(self, wave)

    def measure(self, wave: np.ndarray) -> list[tuple[float, float]]:
        """The range (low, high) of each channel, of one clip or several.

        Ranges of clips are merged by the least low and the greatest high.
        """
        features = self.analyse(wave)
        return [(math.log(self.eps), float(features[..., 0].max())), (-1.0, 1.0)]

    def fitted(self, ranges: Iterable[tuple[float, float]]) -> Representation:
        """The same with the scale that maps the (low, high) of each channel to [-0.8, 0.8]."""
        scale = []
        for low, high in ranges:
            width = high - low if high > low else 1.0
            scale.append((2 * MARGIN / width, MARGIN * (-2 * low / width - 1)))
        return dataclasses.replace(self, scale=tuple(scale))

    def encode(self, wave: np.ndarray) -> np.ndarray:
        """Float [..., samples] to float64 [..., frames, bins, channels] in [-1, 1]. Needs the scale."""
        factors, offsets = self._scale()
        return np.clip(self.analyse(wave) * factors + offsets, -1, 1)

    def to_bytes(self, image: np.ndarray) -> np.ndarray:
        """Values in [-1, 1] to uint8. IF is rounded such that its sum, the phase, stays right."""
        image = np.asarray(image, np.float64)
        phase = quantization.diffuse_to_bytes(image[..., 1])
        return np.stack([quantization.to_bytes(image[..., 0]), phase], axis=-1)

    def features(self, image: np.ndarray) -> np.ndarray:
        """An image of any level, float in [-1, 1] or uint8, to what `analyse` returns."""
        image = np.asarray(image)
        values = quantization.from_bytes(image) if image.dtype == np.uint8 else np.clip(image.astype(np.float64), -1, 1)
        factors, offsets = self._scale()
        return (self._upscale(values) - offsets) / factors

    def spectrum(self, image: np.ndarray) -> np.ndarray:
        """The complex spectrogram [..., frames, n_fft / 2], DC dropped, that an image describes."""
        return phase_images.spectrum_of(self, self.features(image))

    def decode(self, image: np.ndarray, *, invert: str = "") -> np.ndarray:
        """An image, float in [-1, 1] or uint8, to the wave float64 [..., samples].

        Coarse levels are upscaled first: [..., frames / 2^k, bins / 2^k, channels].
        """
        if invert not in ("", self.name):
            raise ValueError(f"invert is {invert!r}; {self.name} is inverted by {self.name}")
        return phase_images.synthesise(self, self.features(image))

    def to_json(self) -> dict[str, Any]:
        """All fields, as `json.dump` takes them."""
        return dataclasses.asdict(self) | {"scale": [list(pair) for pair in self.scale]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Representation:
        """The inverse of `to_json`.

        Raises:
            ValueError: a field is unknown, or has a wrong type or value.
        """
        kinds = {field.name: type(field.default) for field in dataclasses.fields(cls)}
        if not isinstance(values, Mapping):
            raise ValueError(f"a representation is an object with the fields {', '.join(kinds)}, not {values!r}")
        for key, value in values.items():
            if key not in kinds:
                raise ValueError(f"a representation has no field {key!r}; it has {', '.join(kinds)}")
            accepted = {float: (float, int), tuple: (list, tuple)}.get(kinds[key], kinds[key])
            if not isinstance(value, accepted) or isinstance(value, bool):
                raise ValueError(f"{key} of the representation is {value!r}; it is {kinds[key].__name__}")
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"scale of the representation is {values.get('scale')!r}; it is a pair per channel") from error

    def _scale(self) -> tuple[np.ndarray, np.ndarray]:
        """Factors and offsets, [channels] each."""
        if not self.scale:
            raise ValueError("the representation has no scale: call fitted with the ranges of the data")
        factors, offsets = np.array(self.scale).T
        return factors, offsets

    def _upscale(self, image: np.ndarray) -> np.ndarray:
        """Repeat rows and columns of a coarse level up to the full size."""
        if image.ndim < 3 or image.shape[-1] != self.channels:
            raise ValueError(f"the image has shape {image.shape}; a level of {self.shape} is wanted")
        rows, columns = image.shape[-3:-1]
        if not rows or not columns or self.shape[0] % rows or self.shape[1] % columns:
            raise ValueError(f"the image has shape {image.shape}; its size has to divide {self.shape[:2]}")
        return image.repeat(self.shape[0] // rows, axis=-3).repeat(self.shape[1] // columns, axis=-2)
