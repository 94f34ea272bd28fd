"""Built-in tunes within 13 notes, C4 to C5 (MIDI pitches 60 to 72)."""

from __future__ import annotations

from pggan_jax.generation.melodies.notes import Note

_BEAT = 0.4
"""Seconds. A note of the small experiment has half a second, so that a beat sounds to its end."""
_VELOCITY = 100
_C_MAJOR = (60, 62, 64, 65, 67, 69, 71, 72)
_SCALE = tuple((pitch, 1.0) for pitch in (*_C_MAJOR, *_C_MAJOR[-2::-1]))
# The theme of the last movement of Beethoven's ninth symphony, in C; its one note below the others is an octave higher here.
_OPENING = tuple((pitch, 1.0) for pitch in (64, 64, 65, 67, 67, 65, 64, 62, 60, 60, 62, 64))
_OPEN_END = ((64, 1.5), (62, 0.5), (62, 2.0))
_CLOSED_END = ((62, 1.5), (60, 0.5), (60, 2.0))
_MIDDLE = (
    *((62, 1.0), (62, 1.0), (64, 1.0), (60, 1.0), (62, 1.0), (64, 0.5), (65, 0.5), (64, 1.0), (60, 1.0)),
    *((62, 1.0), (64, 0.5), (65, 0.5), (64, 1.0), (62, 1.0), (60, 1.0), (62, 1.0), (67, 2.0)),
)
TUNES = {
    "scale": _SCALE,
    "ode": (*_OPENING, *_OPEN_END, *_OPENING, *_CLOSED_END, *_MIDDLE, *_OPENING, *_CLOSED_END),
}
"""Pitch and beats of each note."""


def tune(name: str) -> list[Note]:
    """Return the notes of a tune in `TUNES`, one after another without rests."""
    notes: list[Note] = []
    beats = 0.0
    for number, (pitch, length) in enumerate(TUNES[name], start=1):
        notes.append(Note(beats * _BEAT, (beats + length) * _BEAT, pitch, _VELOCITY, f"note {number}"))
        beats += length
    return notes
