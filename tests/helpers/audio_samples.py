"""Tones, and files of them written without any library for audio."""

from __future__ import annotations

import struct

import numpy as np


def tone(samples=4096, *, frequency=440.0, rate=8000, peak=0.5):
    """A sine, float64 [samples]."""
    return peak * np.sin(2 * np.pi * frequency * np.arange(samples) / rate)


def raw_wav(content, *, bits=16, rate=8000, code=1, channels=1):
    """A WAV file of raw sample bytes."""
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", code, channels, rate, rate * block, block, bits)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(body)) + body


def wav(wave, *, rate=8000, floats=False):
    """A WAV file of a wave [samples] or [samples, channels], int16 or float32."""
    samples = np.asarray(wave, np.float64).reshape(len(wave), -1)
    kind = {"bits": 32, "code": 3} if floats else {}
    stored = samples.astype("<f4") if floats else np.rint(np.clip(samples * 2**15, -(2**15), 2**15 - 1)).astype("<i2")
    return raw_wav(stored.tobytes(), rate=rate, channels=samples.shape[1], **kind)


def write_files(folder, contents):
    """Files by their path below a folder; the folder."""
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder
