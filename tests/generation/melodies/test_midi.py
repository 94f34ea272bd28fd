"""MIDI files as melodies: tempo, running status, channels, and what is refused."""

from __future__ import annotations

import struct

import pytest

from pggan_jax.errors import UserError
from pggan_jax.generation.melodies.notes import read_melody

pytest.importorskip("mido")
pytestmark = pytest.mark.slow
TEMPO_120, TEMPO_60 = b"\xff\x51\x03\x07\xa1\x20", b"\xff\x51\x03\x0f\x42\x40"
END = b"\x00\xff\x2f\x00"


def midi(*tracks, division=480):
    """A file of the given tracks, each the bytes of its events."""
    chunks = [b"MTrk" + struct.pack(">I", len(track + END)) + track + END for track in tracks]
    return b"MThd" + struct.pack(">IHHH", 6, int(len(tracks) > 1), len(tracks), division) + b"".join(chunks)


def ticks(number):
    return bytes([0x80 | number >> 7, number & 0x7F]) if number > 127 else bytes([number])


@pytest.fixture
def read(tmp_path):
    def of(content):
        path = tmp_path / "x.mid"
        path.write_bytes(content)
        return [note[:4] for note in read_melody("--melody=x.mid", path)]

    return of


def test_running_status_and_velocity_0(read):
    # One status byte for four events; velocity 0 ends a note. The default is 120 beats per minute.
    events = ((0, 60, 100), (480, 60, 0), (0, 62, 90), (240, 62, 0))
    first, *others = (ticks(time) + bytes([pitch, velocity]) for time, pitch, velocity in events)
    track = first[:1] + b"\x90" + first[1:] + b"".join(others)
    assert read(midi(track)) == [(0.0, 0.5, 60, 100), (0.5, 0.75, 62, 90)]


def test_tempo_map_of_another_track(read):
    tempi = b"\x00" + TEMPO_120 + ticks(480) + TEMPO_60
    track = b"\x00\x90\x3c\x64" + ticks(960) + b"\x80\x3c\x40"
    # A beat of half a second, and one of a second.
    assert read(midi(tempi, track)) == [(0.0, 1.5, 60, 100)]


def test_drums_are_left_out(read):
    drums = b"\x00\x99\x24\x64" + ticks(480) + b"\x89\x24\x00"
    piano = b"\x00\x90\x3c\x64" + ticks(480) + b"\x80\x3c\x00"
    assert read(midi(drums, piano)) == [(0.0, 0.5, 60, 100)]
    with pytest.raises(UserError, match="only notes of channel 10"):
        read(midi(drums))


def test_notes_without_end_last_to_the_last_event(read):
    track = b"\x00\x90\x3c\x64" + ticks(240) + b"\x90\x40\x64" + ticks(240) + b"\x80\x40\x00"
    assert read(midi(track)) == [(0.0, 0.5, 60, 100), (0.25, 0.5, 64, 100)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (midi(b""), "has no notes"),
        (midi(b"\x00\x90\x3c\x64\x00\x80\x3c\x00"), "event 1 ends at 0 s and starts at 0 s"),
        (midi(b"\x00\x90\x3c\x64")[:27], "is a damaged MIDI file"),
        (b"MThd", "is a damaged MIDI file"),
        (b"MThd\x00\x00\x00\x06\x00\x02\x00\x01\x01\xe0" + midi(b"")[14:], "is a damaged MIDI file"),
        (midi(b"\x00\x90\x3c\x64" + ticks(480) + b"\x80\x3c\x00", division=0), "is a damaged MIDI file"),
    ],
)
def test_refusals(read, content, message):
    with pytest.raises(UserError) as refused:
        read(content)
    assert message in str(refused.value)
