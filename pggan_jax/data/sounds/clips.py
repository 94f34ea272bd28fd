"""A clip of exact rate and length out of any sound (spec sound 1.8)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pggan_jax.config.sound import SoundConfig
from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.data.sounds.audio_files import Audio
from pggan_jax.data.sounds.resampling import RateChange, rate_change, resample

REMARKS = {
    "short": "shorter than a clip: zeros were appended",
    "truncated": "ends before what its header says: used as far as it goes",
    "clipped": "clipped: runs of samples at the extreme",
    "beyond": "samples beyond -1 to 1, which are kept",
    "offset": "constant offset (DC), which is removed",
    "opposite": "channels of opposite sign, whose mean is 20 dB quieter; set sound.channel=left",
    "low_rate": "lower sample rate than sound.sample_rate: nothing in the upper bins",
    "odd_rate": "odd sample rate, which is rounded",
}
"""What was found or changed in a clip that is used, in words for several files."""
SILENT_WINDOW = "is a silent part of a longer file"
_SILENT_PEAK = 1e-4
_SILENT_RMS = 1e-3
_PEAK_LEVEL, _RMS_LEVEL = 0.9, 0.1
_OFFSET_OF_PEAK = 0.01
_OPPOSITE_SHARE = 0.01
_CLIPPED_SHARE, _CLIPPED_RUN, _CLIPPED_PEAK = 1e-3, 3, 0.5
_SCANNED_AT_ONCE = 2**16
_SCAN_STEPS = 2**20
_NAMED_CHANNELS = {"left": 0, "right": 1}


@dataclass(frozen=True)
class Clip:
    """A clip and what its file is like.

    Attributes:
        wave: float64 `[samples]` at the wanted rate.
        rate: samples per second of the file.
        channels: of the file.
        seconds: of the whole file.
        encoding: of the file, such as "WAV PCM_16".
        remarks: keys of `REMARKS`, each with a detail in words or "".
    """

    wave: np.ndarray
    rate: int
    channels: int
    seconds: float
    encoding: str
    remarks: dict[str, str] = field(default_factory=dict)


def count_windows(frames: int, rate: int, config: SoundConfig) -> int:
    """Return how many windows a file has with `sound.take=slices`, at least one."""
    change = rate_change(rate, config.sample_rate)
    return max(1, -(-frames * change.up // change.down) // config.samples)


def read_clip(audio: Audio, config: SoundConfig, *, window: int = 0) -> Clip:
    """Read one clip of a sound.

    Only the part that is needed is decoded, and all of it for `sound.take=loudest`.

    Args:
        audio: the sound.
        config: rate, length, which part, channel and level.
        window: number of the part with `sound.take=slices`.

    Raises:
        UnusableImageError: too short, silent, without numbers, or without the wanted channel.
    """
    channel = _chosen_channel(audio, config)
    change = rate_change(audio.rate, config.sample_rate)
    start = window * config.samples if config.take == "slices" else 0
    if config.take == "loudest":
        start = _loudest_start(audio, channel, change, samples=config.samples)
    stored, wave = _read_window(audio, channel, change, window=(start, config.samples))
    _check_length(len(wave), config)
    remarks = {"truncated": ""} if audio.is_truncated else {}
    remarks |= _remarks_on_rate(audio.rate, change, config)
    remarks |= _remarks_on_samples(stored, audio.encoding, is_mean=channel is None)
    wave, offset = _without_offset(wave)
    if offset:
        remarks["offset"] = f"{offset:+.2g}"
    _check_sound(wave, config, cancels="opposite" in remarks)
    if len(wave) < config.samples:
        remarks["short"] = ""
        wave = np.pad(wave, (0, config.samples - len(wave)))
    return Clip(with_level(wave, config.level), audio.rate, audio.channels, audio.frames / audio.rate, audio.encoding, remarks)


def _chosen_channel(audio: Audio, config: SoundConfig) -> int | None:
    """Return the number of the wanted channel; None for the mean of all."""
    if config.channel == "mean":
        return None
    number = _NAMED_CHANNELS[config.channel] if config.channel in _NAMED_CHANNELS else int(config.channel)
    if audio.channels == 1 and config.channel in _NAMED_CHANNELS:
        return 0
    if number >= audio.channels:
        raise UnusableImageError(
            f"has {audio.channels} channel{'s' * (audio.channels > 1)}, not sound.channel = {config.channel} (numbers begin "
            "with 0); set sound.channel=mean"
        )
    return number


def _read_window(
    audio: Audio, channel: int | None, change: RateChange, *, window: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the stored samples `[samples, channels]` of a window, and it at the wanted rate.

    The window equals that part of the whole file after resampling; it is shorter where the file ends.
    """
    start, samples = window
    up, down, margin = change.up, change.down, change.margin()
    # Where the two rates have a sample at the same time.
    first = max(0, start * down // up - margin) // down * down
    end = -(-(start + samples) * down // up) + margin
    stored = audio.read(first, end - first)
    if not np.isfinite(stored).all():
        raise UnusableImageError("holds values that are no numbers (NaN or infinity); export it again")
    mixed = stored.mean(axis=1) if channel is None else stored[:, channel]
    offset = start - first // down * up
    wave = resample(mixed, change)[offset : offset + samples] if len(mixed) else mixed
    return stored, wave


def _loudest_start(audio: Audio, channel: int | None, change: RateChange, *, samples: int) -> int:
    """Return where the window of most energy begins, in samples at the wanted rate."""
    length = min(audio.frames, -(-samples * change.down // change.up))
    # Steps of one sample, but for long files: one number a step is kept.
    step = max(1, min(audio.frames // _SCAN_STEPS, length // 64))
    energies: list[np.ndarray] = []
    place, at_once = 0, max(step, _SCANNED_AT_ONCE // step * step)
    while place < audio.frames:
        block = audio.read(place, at_once)
        mixed = np.nan_to_num(block.mean(axis=1) if channel is None else block[:, channel])
        energies.append(np.add.reduceat(mixed**2, np.arange(0, len(mixed), step)) if len(mixed) else mixed)
        place += at_once
        if len(block) < at_once:
            break
    sums = np.concatenate([[0.0], np.cumsum(np.concatenate(energies))])
    width = min(len(sums) - 1, max(1, length // step))
    windows = sums[width:] - sums[:-width] if width else sums[:1]
    return int(np.argmax(windows)) * step * change.up // change.down


def _check_length(samples: int, config: SoundConfig) -> None:
    least = config.n_fft // 4
    if samples < max(1, least):
        raise UnusableImageError(
            f"is too short ({samples:,} samples at {config.sample_rate:,} Hz, at least {least:,}); use a longer recording"
        )


def _check_sound(wave: np.ndarray, config: SoundConfig, *, cancels: bool) -> None:
    """Raise an UnusableImageError for silence, unless it is wanted.

    `cancels` says that channels of opposite phase have made it.
    """
    if config.keep_silence:
        return
    if np.abs(wave).max() < _SILENT_PEAK:
        if config.take == "slices":
            raise UnusableImageError(SILENT_WINDOW)
        if cancels:
            raise UnusableImageError("has channels that cancel in the mean; set sound.channel=left")
        raise UnusableImageError("is silent (peak below 0.0001); remove it or set sound.keep_silence=true")
    if config.take == "slices" and np.sqrt(np.mean(wave**2)) <= _SILENT_RMS:
        raise UnusableImageError(SILENT_WINDOW)


def _remarks_on_rate(rate: int, change: RateChange, config: SoundConfig) -> dict[str, str]:
    remarks = {}
    if rate < config.sample_rate:
        remarks["low_rate"] = f"{rate:,} Hz: contains nothing above {rate // 2:,} Hz"
    if change.cents:
        remarks["odd_rate"] = f"{rate:,} Hz: {change.cents:+.2g} cents"
    return remarks


def _remarks_on_samples(stored: np.ndarray, encoding: str, *, is_mean: bool) -> dict[str, str]:
    """Return remarks on samples `[samples, channels]` as they are stored."""
    remarks = {}
    peak = float(np.abs(stored).max())
    if peak > 1:
        remarks["beyond"] = f"{peak:.2f}"
    if any(_is_clipped(one, encoding) for one in stored.T):
        remarks["clipped"] = ""
    if is_mean and stored.shape[1] > 1:
        energy = np.mean(stored**2)
        if energy > 0 and np.mean(stored.mean(axis=1) ** 2) <= _OPPOSITE_SHARE * energy:
            remarks["opposite"] = ""
    return remarks


def _is_clipped(wave: np.ndarray, encoding: str) -> bool:
    """Return whether a part of the samples lies in runs at the largest or the smallest value."""
    high, low = wave.max(), wave.min()
    # In 8 bits a pure tone has runs at its peaks; only those at full scale count.
    least = 1 - 2 / 256 if encoding.endswith("8") else _CLIPPED_PEAK
    at_extreme = ((wave == high) & (high >= least)) | ((wave == low) & (low <= -least))
    if high == low or not at_extreme.any():
        return False
    # A change of value marks the beginning and the end of each run.
    edges = np.flatnonzero(np.diff(np.concatenate([[False], at_extreme, [False]]).astype(np.int8)))
    runs = edges[1::2] - edges[::2]
    return bool(runs[runs >= _CLIPPED_RUN].sum() >= _CLIPPED_SHARE * len(wave))


def _without_offset(wave: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the wave without its mean, and the mean; as it is below a hundredth of the peak."""
    mean = float(wave.mean())
    if abs(mean) > _OFFSET_OF_PEAK * np.abs(wave).max():
        return wave - mean, mean
    return wave, 0.0


def with_level(wave: np.ndarray, level: str) -> np.ndarray:
    """Scale a clip by `sound.level`: keep, peak or rms; silence stays."""
    peak = np.abs(wave).max()
    if level == "keep" or peak < _SILENT_PEAK:
        return wave
    return wave * (_PEAK_LEVEL / peak if level == "peak" else _RMS_LEVEL / np.sqrt(np.mean(wave**2)))
