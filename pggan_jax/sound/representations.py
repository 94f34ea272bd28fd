"""How a clip becomes an image that networks can learn, and an image a wave again.

`if` (the default) holds the logarithm of the magnitude and the instantaneous frequency: rows are frames, columns are
frequency bins. Everything that depends on the choice of the image is behind `Representation`, which travels as JSON
with prepared data, checkpoints and models.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pggan_jax.config.sound import ONE_CHANNEL
from pggan_jax.sound import deepsound, limits, phase_images, quantization
from pggan_jax.sound.griffin_lim import STEPS, griffin_lim, start_phase

MARGIN = 0.8
_CELLS_AT_ONCE = 2**18


@dataclass(frozen=True)
class Representation:
    """The kind and the size of the images of sound.

    Args:
        name: "if": log magnitude and instantaneous frequency (IF), the default; "if_mel": the same in mel bands, as
            GANSynth; "phase": log magnitude and phase; "abslog", "reallog", "raw": one channel, as pggan-pytorch.
        sample_rate: samples per second.
        n_fft: length of window and transform, a power of two.
        hop: samples from frame to frame; divides n_fft.
        frames: rows of the image; of "raw" also its columns.
        length: samples of a clip; 0 means hop * frames ("raw": frames * frames).
        mel_bins: bands of "if_mel"; 0 means n_fft / 2.
        eps: floor of the magnitude, added before the logarithm.
        phase_reference: "centre" of the frame, or its "start".
        scale: (a, b) per channel: image = clip(a x + b, -1, 1). Empty until `fitted`.

    Raises:
        ValueError: a value is not allowed; the text names it and the nearest that is.
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
        object.__setattr__(self, "scale", limits.checked_scale(self.scale))
        limits.check(self)

    @property
    def samples(self) -> int:
        """Samples of a clip."""
        return self.length or self.frames * (self.frames if self.name == "raw" else self.hop)

    @property
    def seconds(self) -> float:
        """Length of a clip."""
        return self.samples / self.sample_rate

    @property
    def bins(self) -> int:
        """Columns of the image."""
        if self.name == "raw":
            return self.frames
        return self.mel_bins or self.n_fft // 2

    @property
    def channels(self) -> int:
        """Channels of the image."""
        return 1 if self.name in ONE_CHANNEL else 2

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the image: frames, bins, channels."""
        return self.frames, self.bins, self.channels

    @property
    def is_fitted(self) -> bool:
        """Whether the scale is known."""
        return bool(self.scale)

    @property
    def ranges(self) -> list[tuple[float, float]]:
        """The range (low, high) of each channel that the scale maps to all but its margin."""
        margin = MARGIN if self.channels == 2 else 1.0
        return [((-margin - offset) / factor, (margin - offset) / factor) for factor, offset in self.scale]

    def analyse(self, wave: np.ndarray) -> np.ndarray:
        """Float [..., samples] to float64 [..., frames, bins, channels], before scaling."""
        wave = np.asarray(wave, np.float64)
        if not wave.ndim or wave.shape[-1] != self.samples:
            raise ValueError(f"the wave has shape {wave.shape}; its last axis has to have {self.samples} samples")
        return self._in_parts(lambda waves: self._kind.analyse(self, waves), wave, inner=1)

    def measure(self, wave: np.ndarray) -> list[tuple[float, float]]:
        """The range (low, high) of each channel, of one clip or several.

        Ranges of clips are merged by the least low and the greatest high.
        """
        return self._kind.measure(self, self.analyse(wave))

    def fitted(self, ranges: Iterable[tuple[float, float]]) -> Representation:
        """The same with the scale for channels of these ranges (low, high).

        They are mapped to [-0.8, 0.8], in images of one channel to [-1, 1].
        """
        margin = MARGIN if self.channels == 2 else 1.0
        scale = []
        for low, high in ranges:
            width = high - low if high > low else 1.0
            scale.append((2 * margin / width, margin * (-2 * low / width - 1)))
        return dataclasses.replace(self, scale=tuple(scale))

    def encode(self, wave: np.ndarray) -> np.ndarray:
        """Float [..., samples] to float64 [..., frames, bins, channels] in [-1, 1]. Needs the scale."""
        factors, offsets = self._scale()
        return np.clip(self.analyse(wave) * factors + offsets, -1, 1)

    def to_bytes(self, image: np.ndarray) -> np.ndarray:
        """Values in [-1, 1] to uint8. IF is rounded such that its sum, the phase, stays right."""
        image = np.asarray(image, np.float64)
        stored = quantization.to_bytes(image)
        if self.name in ("if", "if_mel"):
            stored[..., 1] = quantization.diffuse_to_bytes(image[..., 1])
        return stored

    def features(self, image: np.ndarray) -> np.ndarray:
        """An image of any level, float in [-1, 1] or uint8, to what `analyse` returns."""
        image = np.asarray(image)
        values = quantization.from_bytes(image) if image.dtype == np.uint8 else self._limited(image)
        factors, offsets = self._scale()
        return (self._upscale(values) - offsets) / factors

    def spectrum(self, image: np.ndarray) -> np.ndarray:
        """The complex spectrogram [..., frames, n_fft / 2], without DC, of an image with phases."""
        if self.channels == 1:
            raise ValueError(f"images of {self.name} hold no phase")
        return phase_images.spectrum_of(self, self.features(image))

    def inconsistency(self, image: np.ndarray) -> np.ndarray:
        """How far the spectrogram of an image with phases is from that of any wave: [...], from 0."""
        return phase_images.clip_transform(self).inconsistency(self.spectrum(image))

    def decode(self, image: np.ndarray, *, invert: str = "", seed: int | Sequence[int] = 0) -> np.ndarray:
        """An image, float in [-1, 1] or uint8, to the wave float64 [..., samples].

        Args:
            image: [..., frames / 2^k, bins / 2^k, channels]; coarse levels are upscaled first.
            invert: "": the inverse of the representation; "griffin_lim": phases are searched; "griffin_lim+N": in N
                steps; "if+N": N such steps that start with the phases of the image.
            seed: of the first phases of griffin_lim: one number for all clips, or one for each.
        """
        steps, own_phase = self._method(invert)
        image = np.asarray(image)
        if not steps:
            return self._in_parts(lambda part: self._synthesise(self.features(part)), image, inner=3)
        seeds = np.broadcast_to(np.asarray(seed), image.shape[:-3])

        def search(part: np.ndarray, seeds: np.ndarray) -> np.ndarray:
            return self._search(self.features(part), steps, seeds=None if own_phase else seeds)

        return self._in_parts(search, image, seeds, inner=3)

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
                raise ValueError(f"{key} of the representation is {value!r}; it is of type {kinds[key].__name__}")
        return cls(**values)

    @property
    def _kind(self) -> Any:
        """The module that analyses clips and measures ranges."""
        return deepsound if self.channels == 1 else phase_images

    def _scale(self) -> tuple[np.ndarray, np.ndarray]:
        """Factors and offsets, [channels] each."""
        if not self.scale:
            raise ValueError("the representation has no scale: call fitted with the ranges of the data")
        factors, offsets = np.array(self.scale).T
        return factors, offsets

    def _limited(self, image: np.ndarray) -> np.ndarray:
        """Clip a generated image: no cell is louder than the data's loudest, which is at `MARGIN`.

        Without it a few cells in ten thousand, a hundredth of the range too high each, make clicks that outweigh the tone.
        """
        values = np.clip(image.astype(np.float64), -1, 1)
        if self.channels == 2:
            np.minimum(values[..., 0], MARGIN, out=values[..., 0])
        return values

    def _upscale(self, image: np.ndarray) -> np.ndarray:
        """Repeat rows and columns of a coarse level up to the full size."""
        if image.ndim < 3 or image.shape[-1] != self.channels:
            raise ValueError(f"the image has shape {image.shape}; a level of {self.shape} is wanted")
        rows, columns = image.shape[-3:-1]
        if not rows or not columns or self.shape[0] % rows or self.shape[1] % columns:
            raise ValueError(f"the image has shape {image.shape}; its size has to divide {self.shape[:2]}")
        return image.repeat(self.shape[0] // rows, axis=-3).repeat(self.shape[1] // columns, axis=-2)

    def _method(self, invert: str) -> tuple[int, bool]:
        """Steps of Griffin-Lim, 0 for none, and whether they start with the phases of the image."""
        name, _, steps = limits.checked_invert(self.name, invert).partition("+")
        if name == "griffin_lim":
            return int(steps or STEPS), False
        return int(steps or 0), True

    def _synthesise(self, features: np.ndarray) -> np.ndarray:
        if self.channels == 1:
            return deepsound.synthesise(self, features)
        return phase_images.clip_transform(self).istft(phase_images.spectrum_of(self, features))

    def _search(self, features: np.ndarray, steps: int, *, seeds: np.ndarray | None) -> np.ndarray:
        """Waves by Griffin-Lim, from random phases or (without seeds) those of the image."""
        spectrum = deepsound.magnitude_of(features) if self.channels == 1 else phase_images.spectrum_of(self, features)
        magnitude = np.abs(spectrum)
        if seeds is None:
            phase = np.angle(spectrum)
        else:
            phase = np.array([start_phase(magnitude.shape[-2:], int(one)) for one in seeds.ravel()])
        phase = phase.reshape(magnitude.shape)
        if self.channels == 1:
            return griffin_lim(magnitude, phase, transform=deepsound.reflect_transform(self), steps=steps)
        transform = phase_images.clip_transform(self)
        return griffin_lim(magnitude, phase, transform=transform.whole, steps=steps)[..., transform.padding :]

    def _in_parts(self, function: Callable[..., np.ndarray], array: np.ndarray, *others: np.ndarray, inner: int) -> np.ndarray:
        """Apply a function to some clips at a time: less memory, and faster."""
        leading = array.shape[: max(array.ndim - inner, 0)]
        size = max(1, _CELLS_AT_ONCE // (self.frames * self.bins))
        if not leading or np.prod(leading) <= size:
            return function(array, *others)
        flat = [one.reshape(-1, *one.shape[len(leading) :]) for one in (array, *others)]
        parts = [function(*(one[start : start + size] for one in flat)) for start in range(0, len(flat[0]), size)]
        return np.concatenate(parts).reshape(*leading, *parts[0].shape[1:])
