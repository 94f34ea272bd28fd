"""WAV files: 16 bits or floats, scaled as a whole."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pggan_jax.system.files import write_atomically

GAP_SECONDS = 0.05
"""Silence between waves in one file."""
FULL_SCALE = 32767
"""Number that stands for 1 in files of 16 bits."""
_PEAK_AFTER_SCALING = 0.99
_SEVERAL = b"pggan_jax: several sounds\0"
_MARK = b"INFOICMT" + len(_SEVERAL).to_bytes(4, "little") + _SEVERAL
_MARKED_BYTES = 128
_RIFF_HEADER, _CHUNK_HEADER = 12, 8


def to_int16(wave: np.ndarray) -> np.ndarray:
    """Convert a wave in [-1, 1] to 16 bits; beyond that it is clipped, and NaN becomes 0."""
    # Infinities are clipped, too.
    inside = np.clip(np.asarray(wave, np.float64), -2, 2)
    return np.clip(np.rint(np.nan_to_num(inside, nan=0.0) * FULL_SCALE), -FULL_SCALE - 1, FULL_SCALE).astype(np.int16)


def scale_to_fit(wave: np.ndarray, *, peak: float | None = None) -> tuple[np.ndarray, float]:
    """Scale a wave whose peak exceeds 1 to a peak of 0.99, as a whole.

    Args:
        wave: `[samples]`.
        peak: of several waves that are scaled by the same factor; by default that of `wave`.

    Returns:
        The wave, and the factor: 1 if it was left as it is.
    """
    if peak is None:
        peak = float(np.max(np.abs(wave), initial=0.0))
    factor = _PEAK_AFTER_SCALING / peak if peak > 1 else 1.0
    return (wave * factor if factor != 1 else wave), factor


def one_after_another(waves: Sequence[np.ndarray], sample_rate: int, *, gap: float = GAP_SECONDS) -> np.ndarray:
    """Join waves, with `gap` seconds of silence between them."""
    silence = np.zeros(round(gap * sample_rate))
    parts: list[np.ndarray] = []
    for wave in waves:
        parts += [silence, wave] if parts else [wave]
    return np.concatenate(parts) if parts else np.zeros(0)


def encode_wave(wave: np.ndarray, sample_rate: int, *, as_float: bool = False, is_joined: bool = False) -> bytes:
    """Return the content of a WAV file of one channel.

    Args:
        wave: `[samples]`.
        sample_rate: in Hz.
        as_float: 32-bit floats, as they are; otherwise 16 bits, by `to_int16`.
        is_joined: whether it holds several sounds; a comment in the file then excludes it from training.
    """
    from scipy.io import wavfile

    buffer = io.BytesIO()
    wavfile.write(buffer, sample_rate, np.asarray(wave, np.float32) if as_float else to_int16(wave))
    return _with_mark(buffer.getvalue()) if is_joined else buffer.getvalue()


def is_joined_wave(content: bytes) -> bool:
    """Return whether a file holds several sounds and was written by this program.

    Args:
        content: of the file; its first 128 bytes are enough.
    """
    return content[:4] == b"RIFF" and _MARK in content[:_MARKED_BYTES]


def _with_mark(content: bytes) -> bytes:
    """Return a WAV file with the mark behind its format."""
    size_at = _RIFF_HEADER + _CHUNK_HEADER - 4
    end = size_at + 4 + int.from_bytes(content[size_at : size_at + 4], "little")
    marked = content[:end] + b"LIST" + len(_MARK).to_bytes(4, "little") + _MARK + content[end:]
    return marked[:4] + (len(marked) - _CHUNK_HEADER).to_bytes(4, "little") + marked[8:]


def write_wave(path: Path, wave: np.ndarray, sample_rate: int, *, as_float: bool = False, is_joined: bool = False) -> float:
    """Write a WAV file, atomically; 16 bits are scaled by `scale_to_fit`.

    Args:
        path: of the file; its folder exists.
        wave, sample_rate, as_float, is_joined: as for `encode_wave`.

    Returns:
        The factor of the scaling.

    Raises:
        OSError: it cannot be written.
    """
    scaled, factor = (wave, 1.0) if as_float else scale_to_fit(wave)
    write_atomically(path, encode_wave(scaled, sample_rate, as_float=as_float, is_joined=is_joined))
    return factor
