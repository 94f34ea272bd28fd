"""What `show` writes of a source of sound: a picture of spectrograms, and a wave."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.data.images.preview import caption
from pggan_jax.data.sounds.round_trip import RoundTrip, fitted_to, wave_of
from pggan_jax.data.sounds.spectrogram_source import SpectrogramSource
from pggan_jax.data.sources.source import Source
from pggan_jax.images import make_grid, nearest_upscale, write_png
from pggan_jax.sound.representations import Representation
from pggan_jax.sound.spectrogram_pictures import hue_pictures, magnitude_pictures
from pggan_jax.sound.wave_files import one_after_another, write_wave

_SMALLEST_TILE = 64
_GAP = 2
_GAP_SECONDS = 0.1


@dataclass(frozen=True)
class ShownSound:
    """Some clips of a source.

    Attributes:
        names: of their classes; empty without classes.
        images: uint8 `[clips, frames, bins, channels]`.
        waves: the clips before they became images; empty for prepared ones, whose files are not at hand.
        copies: the clips after the round trip.
        problems: one line for each clip that cannot be used.
        representation: of the images.
    """

    names: list[str]
    images: np.ndarray
    waves: list[np.ndarray]
    copies: list[np.ndarray]
    problems: list[str]
    representation: Representation


def read_shown(source: Source, numbers: np.ndarray) -> ShownSound:
    """Read some clips of a source of sound; ranges not known yet are those of these clips."""
    used, waves, problems = [], [], []
    for number in map(int, numbers):
        try:
            waves.append(wave_of(source, number))
            used.append(number)
        except UnusableImageError as error:
            problems.append(f"{source.item_name(number)} {error}")
    names = [source.class_names[source.label(number)] for number in used] if source.class_names else []
    representation = fitted_to(source, waves)
    if not isinstance(source, SpectrogramSource):
        images = np.stack([np.asarray(source.read(number)) for number in used])
        return ShownSound(names, images, [], waves, problems, representation)
    images = np.array([representation.to_bytes(representation.encode(wave)) for wave in waves], np.uint8)
    return ShownSound(names, images, waves, [representation.decode(one) for one in images], problems, representation)


def write_shown(shown: ShownSound, out: Path, *, columns: int) -> str:
    """Write the picture and the wave, and return what they hold in words.

    Args:
        shown: the clips, at least one.
        out: a path; the files have its name with .png and .wav.
        columns: spectrograms in a row of the picture.

    Raises:
        OSError: they cannot be written.
    """
    draw = hue_pictures if shown.representation.channels == 2 else magnitude_pictures
    pictures = draw(shown.images, shown.representation)
    zoom = max(_SMALLEST_TILE // min(pictures.shape[1:3]), 1)
    tiles = [nearest_upscale(picture, zoom) for picture in pictures]
    if shown.names:
        strips = [caption(name, one.shape[1], one.shape[2]) for name, one in zip(shown.names, tiles, strict=True)]
        tiles = [np.concatenate(pair) for pair in zip(tiles, strips, strict=True)]
    write_png(out.with_suffix(".png"), make_grid(np.stack(tiles), columns, gap=_GAP), holds="several images")
    pairs = zip(shown.waves, shown.copies, strict=True) if shown.waves else ((copy,) for copy in shown.copies)
    rate = shown.representation.sample_rate
    parts = [wave for pair in pairs for wave in pair]
    factor = write_wave(out.with_suffix(".wav"), one_after_another(parts, rate, gap=_GAP_SECONDS), rate, is_joined=True)
    words = f"{len(shown.copies):,} clips -> {out.with_suffix('.png')}, {out.with_suffix('.wav')}"
    if trip := RoundTrip.of(shown.waves, shown.copies):
        quality = f"SNR {trip.snr[0]:.1f} dB, spectral convergence {trip.convergence[0]:.3f}"
        words += f"; each clip is followed by its round trip: {quality}"
    return words + (f"; scaled by {factor:.3g}" if factor != 1 else "")
