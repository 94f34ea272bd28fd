"""Audio files: formats by content, and decoding by libsndfile.

All sound is decoded here, and only bytes that begin like one of the formats go to the library.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

import numpy as np

from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.errors import UserError, first_line, import_optional
from pggan_jax.sound.wave_files import is_joined_wave
from pggan_jax.system.image_files import detect_format

if TYPE_CHECKING:
    from soundfile import SoundFile

FORMATS = ("WAV", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF")
"""Formats that are read. WAV includes RF64 and W64, OGG both Vorbis and Opus."""
FORMATS_IN_WORDS = "WAV, FLAC, OGG, MP3, AIFF, AU and CAF"
AUDIO_SUFFIXES = frozenset(
    ".wav .wave .w64 .rf64 .flac .ogg .oga .opus .mp3 .aif .aiff .aifc .au .snd .caf".split()  # noqa: SIM905
)
"""The usual suffixes of these formats. A file with another suffix is read too if its content is sound."""
UNREADABLE_SUFFIXES = frozenset(
    {".m4a", ".aac", ".wma", ".ape", ".wv", ".dsf", ".dff", ".amr", ".mka", ".ac3", ".mid", ".midi"}
)
UNREADABLE_KINDS = frozenset({"MP4 or M4A", "AAC", "WMA", "WavPack", "APE", "DSD", "AMR", "AVI", "MIDI"})
"""Kinds of sound that `detect_audio` recognises and that are not read."""
MAX_CHANNELS = 64
# Small, as the library drops what it has decoded of a block that ends in damage.
_BLOCK_FRAMES = 4096
_HEAD_BYTES = 128
_SIGNATURES = (
    (b"fLaC", "FLAC"),
    (b"OggS", "OGG"),
    (b"ID3", "MP3"),
    (b".snd", "AU"),
    (b"dns.", "AU"),
    (b"caff", "CAF"),
    (b"riff\x2e\x91\xcf\x11", "WAV"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA"),
    (b"wvpk", "WavPack"),
    (b"MAC ", "APE"),
    (b"DSD ", "DSD"),
    (b"FRM8", "DSD"),
    (b"#!AMR", "AMR"),
    (b"MThd", "MIDI"),
)
_MPEG_LAYER_3 = 1


def detect_audio(head: bytes) -> str:
    """Return the kind of a file from its first bytes.

    One of `FORMATS` or `UNREADABLE_KINDS`, the words of `image_files.detect_format` for other kinds, or "".
    """
    if head[:4] in (b"RIFF", b"RIFX", b"RF64"):
        # What is cut off after the first four letters is left to the library, which says so.
        rest = head[8:12]
        return "WAV" if b"WAVE".startswith(rest) else "AVI" if rest == b"AVI " else detect_format(head)
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "AIFF"
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if head[4:8] == b"ftyp" and head[8:12] in (b"M4A ", b"M4B ", b"isom", b"mp42", b"mp41", b"dash", b"qt  "):
        return "MP4 or M4A"
    if len(head) >= 3 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        layer = head[1] >> 1 & 3
        if head[1] & 0xF6 == 0xF0:
            return "AAC"
        # Neither a reserved version nor a reserved bit or sample rate: other data rarely begin like this.
        if layer == _MPEG_LAYER_3 and head[1] >> 3 & 3 != 1 and head[2] >> 4 != 15 and head[2] >> 2 & 3 != 3:
            return "MP3"
    return detect_format(head)


def not_audio_reason(kind: str) -> str:
    """Return why a file of the kind that `detect_audio` returns is not read, and the remedy."""
    if kind == "MIDI":
        return "is MIDI, which holds notes but no sound; render it to WAV"
    if kind in UNREADABLE_KINDS:
        return f"is {kind}, which is not supported (only {FORMATS_IN_WORDS}); convert it to WAV or FLAC"
    if kind:
        what = kind if kind.startswith("a ") else f"a {kind} file"
        return f"is {what}, not sound; remove it or save it as WAV or FLAC"
    return "is not sound; remove it or save it as WAV or FLAC"


def require_soundfile(needed_by: str) -> None:
    """Check that libsndfile can be used, before any file is searched for.

    Raises:
        UserError: soundfile is not installed, or finds no libsndfile.
    """
    try:
        import_optional("soundfile", package="soundfile", needed_by=needed_by)
    except OSError as error:
        raise UserError(
            f"{needed_by}: soundfile finds no libsndfile ({first_line(error)}); reinstall it with pip install soundfile"
        ) from None


class Audio(Protocol):
    """Decoded sound that is read piece by piece.

    Attributes:
        rate: samples per second.
        channels: number of channels.
        frames: samples of a channel, as the header says.
        encoding: how samples are stored, such as "WAV PCM_16"; empty where unknown.
        is_truncated: whether the file ends, or is damaged, before what its header says; known after reading.
    """

    @property
    def rate(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def frames(self) -> int: ...
    @property
    def encoding(self) -> str: ...
    @property
    def is_truncated(self) -> bool: ...

    def read(self, start: int, count: int) -> np.ndarray:
        """Return at most `count` samples from `start` on, float64 `[samples, channels]`."""
        ...


@dataclass
class AudioArray:
    """Sound in memory as `Audio`; `samples` is `[samples, channels]`."""

    samples: np.ndarray
    rate: int
    encoding: str = ""
    is_truncated: bool = False

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.samples.shape[1]

    @property
    def frames(self) -> int:
        """Number of samples."""
        return len(self.samples)

    def read(self, start: int, count: int) -> np.ndarray:
        """Return at most `count` samples of all channels from `start` on."""
        return np.asarray(self.samples[start : start + count], np.float64)


@contextmanager
def open_audio(file: BinaryIO) -> Iterator[Audio]:
    """Open a file of sound; samples are decoded when they are read.

    Args:
        file: opened for reading at its beginning; seekable.

    Raises:
        UnusableImageError: it is not sound, in an unsupported format, damaged, or empty.
    """
    import soundfile

    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    if not head:
        raise UnusableImageError("is empty (0 bytes); copy it again or remove it")
    kind = detect_audio(head)
    if kind not in FORMATS:
        raise UnusableImageError(not_audio_reason(kind))
    if is_joined_wave(head):
        raise UnusableImageError("holds several sounds and was written by this program; move it elsewhere")
    try:
        opened = soundfile.SoundFile(file)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise UnusableImageError(_why_not_opened(kind, error)) from None
    with opened:
        yield _DecodedFile(opened, kind, declared_more=_declared_size(head) > size)


class _DecodedFile:
    """A file opened by libsndfile as `Audio`."""

    def __init__(self, opened: SoundFile, kind: str, *, declared_more: bool) -> None:
        self._opened = opened
        self.rate, self.channels, self.frames = opened.samplerate, opened.channels, opened.frames
        self.encoding = f"{kind} {opened.subtype}"
        self.is_truncated = declared_more
        if self.frames <= 0:
            raise UnusableImageError("holds no samples; record it again or remove it")
        if self.channels > MAX_CHANNELS:
            raise UnusableImageError(f"has {self.channels} channels, at most {MAX_CHANNELS} are read; mix it down first")
        if self.rate <= 0:
            raise UnusableImageError(f"has a sample rate of {self.rate}; save it again or remove it")

    def read(self, start: int, count: int) -> np.ndarray:
        """Return at most `count` samples from `start` on, fewer where the file ends or is damaged."""
        import soundfile

        blocks: list[np.ndarray] = []
        wanted = max(0, min(count, self.frames - start))
        rest = wanted
        try:
            if rest:
                self._opened.seek(start)
            while rest:
                block = self._opened.read(min(rest, _BLOCK_FRAMES), dtype="float64", always_2d=True)
                if not len(block):
                    break
                blocks.append(block)
                rest -= len(block)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            if not blocks and start == 0:
                raise UnusableImageError(f"cannot be decoded ({_shortened(error)}); copy it again or remove it") from None
        self.is_truncated |= rest > 0
        return np.concatenate(blocks) if blocks else np.zeros((0, self.channels))


def _declared_size(head: bytes) -> int:
    """Return how many bytes a RIFF or AIFF file says to have; 0 where it says nothing."""
    order = {b"RIFF": "<u4", b"RIFX": ">u4", b"FORM": ">u4"}.get(head[:4])
    if order is None or len(head) < 8:
        return 0
    (size,) = np.frombuffer(head[4:8], order)
    # Programs that write into a pipe leave the largest number, or a round one, as they cannot go back.
    return 0 if size >= 0x7FFFF000 else int(size) + 8


def _why_not_opened(kind: str, error: Exception) -> str:
    import soundfile

    if kind == "MP3" and "MP3" not in soundfile.available_formats():
        version = soundfile.__libsndfile_version__
        return f"is MP3, which this libsndfile ({version}) does not read; convert it to WAV or upgrade soundfile"
    reason = _shortened(error)
    if kind in ("WAV", "AIFF", "AU", "CAF") and ("unimplemented format" in reason or "unsupported" in reason.lower()):
        return f"is {kind} with an encoding that libsndfile does not read; save it with 16, 24 or 32 bits"
    return f"is a damaged {kind} file ({reason}); copy it again or remove it"


def _shortened(error: Exception) -> str:
    """Return the library's message without the name of the object that was opened."""
    return re.sub(r"^Error opening .*?: ", "", first_line(error)).rstrip(".")
