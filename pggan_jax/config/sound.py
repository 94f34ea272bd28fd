"""Settings of sound: how a wave becomes an image, and which part of a file is a clip."""

from __future__ import annotations

from dataclasses import dataclass

from pggan_jax.config.fields import setting

INSTRUMENT_SOURCES = ("acoustic", "electronic", "synthetic")
REPRESENTATIONS = ("if", "if_mel", "phase", "abslog", "reallog", "raw")
MAX_RATE = 768_000
ONE_CHANNEL = ("abslog", "reallog", "raw")
CLIP_SETTINGS = ("take", "channel", "level", "keep_silence", "label_by", "pitches", "instrument_sources")
"""Settings that choose clips and labels, and leave the representation as it is."""
_MOST = 2**24
MAX_PITCH = 127


@dataclass(frozen=True)
class SoundConfig:
    """How sound becomes images of [frames, bins, channels]; without effect on images."""

    representation: str = setting(
        "if",
        "what the channels hold: if: log magnitude and instantaneous frequency; if_mel: both on the mel scale, as in GANSynth; "
        "phase: log magnitude and phase; abslog, reallog, raw: one channel, as in pggan-pytorch",
        choices=REPRESENTATIONS,
    )
    phase_reference: str = setting(
        "centre", "what phases refer to: centre or start (as in GANSynth) of each frame", choices=("centre", "start")
    )
    eps: float = setting(
        1e-3, "added to magnitudes before the logarithm (1e-6 in GANSynth)", minimum=0, maximum=1, exclusive="minimum"
    )
    sample_rate: int = setting(8000, "samples per second; files of other rates are resampled", minimum=1000, maximum=MAX_RATE)
    n_fft: int = setting(
        256, "samples of a window, a power of two; half as many frequency bins are kept", minimum=8, maximum=2**16
    )
    hop: int = setting(128, "samples between two frames; divides n_fft", minimum=1, maximum=2**16)
    frames: int = setting(32, "frames of a clip: the height of the images", minimum=1, maximum=2**14)
    length: int = setting(0, "samples of a clip; 0 means frames * hop", minimum=0, maximum=_MOST)
    mel_bins: int = setting(0, "mel bands of if_mel: the width of the images; 0 means n_fft / 2", minimum=0, maximum=2**15)
    magnitude_range: str = setting(
        "fit",
        "log magnitudes that become -0.8 and 0.8: fit measures all clips; LOW,HIGH sets them, so that two data sets share them",
    )
    take: str = setting(
        "first",
        "clip of a longer file: first; loudest: the window of most energy; slices: every window that is not silent",
        choices=("first", "loudest", "slices"),
    )
    channel: str = setting("mean", "which channel of a file: mean, left, right, or a number from 0")
    level: str = setting(
        "keep", "loudness: keep; peak scales every clip to a peak of 0.9, rms to equal energy", choices=("keep", "peak", "rms")
    )
    keep_silence: bool = setting(False, "also use clips without sound")
    label_by: str = setting(
        "auto",
        "classes of files: pitch or family in names like those of NSynth (guitar_acoustic_001-060-100.wav), folder, or none; "
        "auto takes pitch where all names have it, else folders",
        choices=("auto", "pitch", "family", "folder", "none"),
    )
    pitches: str = setting("", "use only notes of these MIDI pitches, such as 24-84; empty uses all")
    instrument_sources: str = setting(
        "", "use only notes of these sources: acoustic, electronic, synthetic, with commas; empty uses all"
    )

    @property
    def samples(self) -> int:
        """Samples of a clip."""
        return self.length or self.frames * (self.frames if self.representation == "raw" else self.hop)

    @property
    def bins(self) -> int:
        """Width of the images."""
        if self.representation == "raw":
            return self.frames
        return self.mel_bins if self.representation == "if_mel" and self.mel_bins else self.n_fft // 2

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return 1 if self.representation in ONE_CHANNEL else 2


def parse_magnitude_range(text: str) -> tuple[float, float] | None:
    """Parse `sound.magnitude_range` to (low, high); None for "fit".

    Raises:
        ValueError: the text has another form.
    """
    if text == "fit":
        return None
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        low = high = 0.0
    if not -1e6 < low < high < 1e6:
        raise ValueError("must be fit, or two finite numbers LOW,HIGH with LOW < HIGH, such as -13.8155,10.3767")
    return low, high


def parse_pitches(text: str) -> frozenset[int] | None:
    """Parse `sound.pitches`, such as "24-84" or "60,62,64-67", to MIDI pitches; None for all.

    Raises:
        ValueError: the text has another form.
    """
    if not text.strip():
        return None
    pitches: set[int] = set()
    for part in text.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        ends = (first, last) if dash else (first,)
        if not all(one.isascii() and one.isdecimal() and len(one) <= 3 and int(one) <= MAX_PITCH for one in ends):
            raise ValueError(f"{part.strip()!r} is no MIDI pitch from 0 to {MAX_PITCH}; write pitches as 24-84 or 60,62,64")
        if int(ends[0]) > int(ends[-1]):
            raise ValueError(f"{part.strip()!r} decreases; write {ends[-1]}-{ends[0]}")
        pitches.update(range(int(ends[0]), int(ends[-1]) + 1))
    return frozenset(pitches)


def setting_problem(config: SoundConfig) -> tuple[str, str]:
    """Find the first setting of sound that cannot be used.

    Returns:
        Its name, and what is allowed with the nearest valid values; ("", "") if all can be used.
    """
    if found := size_problem(config):
        return found
    if not (config.channel in ("mean", "left", "right") or (config.channel.isdecimal() and len(config.channel) <= 3)):
        return "channel", "must be mean, left, right, or a number from 0"
    unknown = set(filter(None, config.instrument_sources.split(","))) - set(INSTRUMENT_SOURCES)
    if unknown:
        return "instrument_sources", f"{min(unknown)!r} must be one of {', '.join(INSTRUMENT_SOURCES)}"
    for name, parse in (("magnitude_range", parse_magnitude_range), ("pitches", parse_pitches)):
        try:
            parse(getattr(config, name))
        except ValueError as error:
            return name, str(error)
    return "", ""


def size_problem(config: SoundConfig) -> tuple[str, str] | None:
    """Find the first size of images and clips that cannot be used.

    Returns:
        The setting, and what is allowed with the nearest valid values.
    """
    n_fft, hop, kind = config.n_fft, config.hop, config.representation
    if n_fft & (n_fft - 1):
        below = 1 << (n_fft.bit_length() - 1)
        return "n_fft", f"must be a power of two; near it are {below} and {2 * below}"
    if kind != "raw" and n_fft % hop:
        return "hop", f"must divide sound.n_fft = {n_fft}; near it are {_powers_around(hop, at_most=n_fft)}"
    if kind != "raw" and hop == n_fft:
        near = f"{n_fft // 2} or {n_fft // 4}"
        return "hop", f"must be smaller than sound.n_fft = {n_fft}, as windows are 0 at their ends; set {near}"
    shortest, longest = _length_limits(config)
    if config.samples > longest:
        rule = f"{config.frames} frames with hop {hop} hold {longest:,} samples at most; set 0 for {hop * config.frames:,}"
        return "length", rule
    if config.samples < shortest:
        return "length", f"{config.samples:,} samples are too few for {config.frames} frames of {kind}; it needs {shortest:,}"
    if kind == "if_mel" and config.mel_bins > n_fft // 2:
        return "mel_bins", f"must not exceed n_fft / 2 = {n_fft // 2}"
    if kind != "if_mel" and config.mel_bins:
        return "mel_bins", f"has an effect only on sound.representation=if_mel, not {kind}; set 0"
    return None


def mel_warning(config: SoundConfig) -> str:
    """Return one line about mel bands that are too few for the pitch of notes, or ""."""
    if config.representation == "if_mel" and 0 < config.mel_bins < config.n_fft // 4:
        return (
            f"sound.mel_bins = {config.mel_bins}: fewer mel bands than half the {config.n_fft // 2} bins: "
            "up to 4 notes in 10 lose their pitch"
        )
    return ""


def _length_limits(config: SoundConfig) -> tuple[int, int]:
    """Return the fewest and the most samples of a clip that give exactly the frames."""
    frames, hop = config.frames, config.hop
    if config.representation == "raw":
        return frames**2, _MOST
    if config.representation in ONE_CHANNEL:
        return max(hop * (frames - 1), config.n_fft // 2 + 1), _MOST
    return 1, hop * (frames - 1) + config.n_fft


def _powers_around(number: int, *, at_most: int) -> str:
    below = 1 << (number.bit_length() - 1)
    return f"{below} and {2 * below}" if 2 * below <= at_most else str(at_most)
