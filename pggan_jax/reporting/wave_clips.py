"""The clips in the wave files of a run, and the tiles of its grids that show them."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pggan_jax.sound.wave_files import FULL_SCALE, GAP_SECONDS, encode_wave
from pggan_jax.system.image_files import open_encoded

_TALLEST = 256


@dataclass(frozen=True)
class WaveClips:
    """A wave file of a run: clips one after another.

    Attributes:
        rate: samples per second.
        samples: int16, the whole file.
        length: of each clip, in samples.
    """

    rate: int
    samples: np.ndarray
    length: int

    @property
    def count(self) -> int:
        """Clips in the file."""
        return (len(self.samples) + self._gap) // (self.length + self._gap)

    @property
    def _gap(self) -> int:
        return round(GAP_SECONDS * self.rate)

    def clip(self, number: int) -> str:
        """One clip as the data URI of a WAV file."""
        start = number * (self.length + self._gap)
        return self._uri(self.samples[start : start + self.length])

    def all_clips(self) -> str:
        """All clips, with the gaps between them, as the data URI of a WAV file."""
        return self._uri(self.samples)

    def _uri(self, samples: np.ndarray) -> str:
        content = encode_wave(samples / FULL_SCALE, self.rate)
        return f"data:audio/wav;base64,{base64.b64encode(content).decode()}"


def read_clips(path: Path, length: int) -> WaveClips | None:
    """Read a wave file of a run, with clips of `length` samples.

    None if it is absent or damaged, or holds no such clip.
    """
    from scipy.io import wavfile

    try:
        rate, samples = wavfile.read(io.BytesIO(path.read_bytes()))
    except Exception:
        return None
    clips = WaveClips(int(rate), samples, length)
    return clips if samples.dtype == np.int16 and samples.ndim == 1 and rate > 0 and clips.count else None


def encoded_size(samples: int) -> int:
    """Characters of a wave as a data URI, about."""
    return 2 * samples * 4 // 3 + 100


class TilePictures:
    """Tiles of grids of spectrograms, in grey and in colour side by side.

    Args:
        grids: files of grids of the same layout.
        height, width: of a tile.
    """

    def __init__(self, *grids: Path, height: int, width: int):
        self._height, self._width = height, width
        self._grids = [grid for path in grids if (grid := _opened(path)) is not None]

    def tile(self, number: int) -> str:
        """Tile `number`, row by row, as the data URI of a PNG; nothing if there is none."""
        images = []
        for grid in self._grids:
            row, column = divmod(number, max(1, grid.width // self._width))
            box = column * self._width, row * self._height, (column + 1) * self._width, (row + 1) * self._height
            if box[2] <= grid.width and box[3] <= grid.height:
                images.append(np.asarray(grid.crop(box)))
        if not images:
            return ""
        joined = Image.fromarray(np.concatenate(images, axis=1))
        joined = joined.reduce(max(1, self._height // _TALLEST))
        buffer = io.BytesIO()
        joined.save(buffer, format="PNG", optimize=True)
        return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _opened(path: Path) -> Image.Image | None:
    try:
        with path.open("rb") as file, open_encoded(file) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # Pillow raises SyntaxError for a damaged PNG
        return None
