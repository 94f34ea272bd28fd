"""File names of notes as in NSynth: family, source, instrument, pitch and velocity."""

from __future__ import annotations

import re
from typing import NamedTuple

EXAMPLE = "guitar_acoustic_001-060-100.wav"
# The family may contain "_", as in synth_lead.
_NAME = re.compile(
    r"(?P<family>[a-z]+(?:_[a-z]+)*)_(?P<source>acoustic|electronic|synthetic)"
    r"_(?P<instrument>\d{3})-(?P<pitch>\d{3})-(?P<velocity>\d{3})\.[A-Za-z0-9]+"
)
_MAX_MIDI = 127


class NoteName(NamedTuple):
    """What a file name says about its note; `pitch` and `velocity` are those of MIDI, 0..127."""

    family: str
    source: str
    instrument: int
    pitch: int
    velocity: int


def parse_note_name(name: str) -> NoteName | None:
    """Parse a file name without its folder; None if it has another form."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    numbers = (int(match[part]) for part in ("instrument", "pitch", "velocity"))
    found = NoteName(match["family"], match["source"], *numbers)
    return found if found.pitch <= _MAX_MIDI and found.velocity <= _MAX_MIDI else None
