"""The clips of which the images of a run were made, where the source can still give them."""

from __future__ import annotations

import numpy as np

from pggan_jax.data.images.decode import UnusableImageError, decoding_errors
from pggan_jax.data.preparation.spec import PreparationSpec
from pggan_jax.data.sounds.spectrogram_source import SpectrogramSource
from pggan_jax.data.sounds.wave_source import WaveSource
from pggan_jax.data.sources.source import Source
from pggan_jax.sound.representations import Representation

_MOST_LEFT_OUT = 20
# Rounding may differ between machines; other clips differ by far more than half a grey level.
_SAME = 0.5


class OriginalClips:
    """Clips by the row of their image.

    Rows have no record of their clips: clips that were left out shift them, so that a clip is recognised by its image.
    """

    def __init__(self, waves: WaveSource, order: np.ndarray):
        """Wrap a source.

        Args:
            waves: the clips.
            order: numbers of the clips in the order of the rows, with those that were left out.
        """
        self._waves, self._order = waves, order

    def find(self, row: int, image: np.ndarray, *, representation: Representation, left_out: int) -> np.ndarray | None:
        """Return the clip of a row, float64 `[samples]`; None if it is not found.

        Args:
            row: of the image.
            image: uint8 `[frames, bins, channels]`.
            representation: of the images.
            left_out: number of clips that have no row.
        """
        for number in map(int, self._order[row : row + 1 + min(left_out, _MOST_LEFT_OUT)]):
            try:
                with decoding_errors():
                    wave = self._waves.read(number)
            except UnusableImageError:
                continue
            stored = representation.to_bytes(representation.encode(wave))
            if np.abs(stored[..., 0].astype(float) - image[..., 0]).mean() < _SAME:
                return wave
        return None


def original_clips(source: Source, spec: PreparationSpec) -> OriginalClips | None:
    """Return the clips of a source of sound; None for prepared folders and for images."""
    return OriginalClips(source.waves, spec.order(len(source))) if isinstance(source, SpectrogramSource) else None
