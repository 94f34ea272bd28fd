"""Open a source of sound, and choose its representation, by the settings."""

from __future__ import annotations

from pggan_jax.data.sounds.spectrogram_source import SpectrogramSource
from pggan_jax.data.sounds.wave_source import WaveSource
from pggan_jax.sound.representations import Representation
from pggan_jax.sound_config import SoundConfig, parse_magnitude_range


def chosen_representation(config: SoundConfig) -> Representation:
    """Return the representation of some settings; fitted if they give the range of magnitudes."""
    shared = ("sample_rate", "n_fft", "hop", "frames", "length", "mel_bins", "eps", "phase_reference")
    chosen = Representation(config.representation, **{name: getattr(config, name) for name in shared})
    limits = parse_magnitude_range(config.magnitude_range)
    return chosen if limits is None else chosen.fitted([limits, (-1.0, 1.0)][: chosen.channels])


def open_notes(argument: str, config: SoundConfig) -> SpectrogramSource:
    """Open the built-in notes. Raises UserError if the settings are impossible."""
    from pggan_jax.data.sounds.notes import NotesSource

    return _encoded(NotesSource(argument, config), config)


def _encoded(waves: WaveSource, config: SoundConfig) -> SpectrogramSource:
    return SpectrogramSource(waves, chosen_representation(config))
