"""Open a source of sound, and choose its representation, by the settings."""

from __future__ import annotations

from pggan_jax.config.sound import SoundConfig, parse_magnitude_range
from pggan_jax.data.sounds.spectrogram_source import SpectrogramSource
from pggan_jax.data.sounds.wave_source import WaveSource
from pggan_jax.sound.representations import Representation


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


def open_sound(argument: str, config: SoundConfig) -> SpectrogramSource:
    """Open `sound:ARGUMENT`: a folder, a zip archive, or "tfds:NAME[:SPLIT]".

    Raises:
        UserError: it does not exist, holds no sound, or the settings choose none of it; or soundfile is not installed.
    """
    kind, _, name = argument.partition(":")
    if kind == "tfds":
        from pggan_jax.data.sounds.tfds_waves import TfdsWaves

        return _encoded(TfdsWaves(name, config), config)
    from pggan_jax.data.sounds.audio_files import require_soundfile
    from pggan_jax.data.sounds.sound_files import SoundFiles, open_files

    require_soundfile(f"data.source = {f'sound:{argument}'!r}")
    return _encoded(SoundFiles(open_files(argument), config), config)


def _encoded(waves: WaveSource, config: SoundConfig) -> SpectrogramSource:
    return SpectrogramSource(waves, chosen_representation(config))
