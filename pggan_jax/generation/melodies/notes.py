"""Notes of a melody: text files, checks, and transposition into the trained pitches."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from pggan_jax.errors import UserError

MOST_NOTES = 100_000
LONGEST_SECONDS = 3600.0
_MOST_BYTES = 2**24
_SEMITONES = 12
_SHOWN = 8
_FORM = "start_seconds end_seconds pitch velocity, as 0.0 0.4 60 100"


class Note(NamedTuple):
    """One note.

    Attributes:
        start: seconds from the beginning of the melody.
        end: seconds; after `start`.
        pitch: MIDI number, 60 is middle C.
        velocity: loudness, 1 to 127.
        origin: where it comes from, for messages, as "line 3".
    """

    start: float
    end: float
    pitch: int
    velocity: int = 100
    origin: str = ""


def read_melody(source: str, path: Path) -> list[Note]:
    """Read a MIDI file, recognised by its content, or a list of notes, in order of their start.

    Args:
        source: as the user wrote it, for messages, such as "--melody=x.txt".
        path: of the file.

    Raises:
        UserError: it cannot be read, has no notes, or a note is impossible.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"{source}: cannot be read ({error.strerror or error}); give a MIDI file or a list of notes") from None
    if len(content) > _MOST_BYTES:
        raise UserError(f"{source}: has more than {_MOST_BYTES // 2**20} MB; give a MIDI file or a list of notes")
    if content.startswith(b"MThd"):
        from pggan_jax.generation.melodies.midi import notes_of_midi

        notes = notes_of_midi(content, source)
    else:
        notes = notes_of_text(content, source)
    return check_notes(notes, source)


def notes_of_text(content: bytes, source: str) -> list[Note]:
    """Parse a list of notes.

    Each line has one: `start_seconds end_seconds pitch velocity`; # begins a comment.

    Raises:
        UserError: a line has another form.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{source}: is neither a MIDI file nor a text; each line of a text is {_FORM}") from None
    notes: list[Note] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            start, end = (float(word) for word in words[:2])
            pitch, velocity = (int(word) for word in words[2:])
        except ValueError:
            raise UserError(f"{source}: line {number} is {line.strip()[:60]!r}; write {_FORM}") from None
        notes.append(Note(start, end, pitch, velocity, f"line {number}"))
    return notes


def check_notes(notes: Sequence[Note], source: str) -> list[Note]:
    """Return the notes in order of their start.

    Raises:
        UserError: there are none or too many, or one has an impossible time, pitch or velocity.
    """
    if not notes:
        raise UserError(f"{source}: has no notes; a line of a list of notes is {_FORM}")
    if len(notes) > MOST_NOTES:
        raise UserError(f"{source}: has {len(notes):,} notes; at most {MOST_NOTES:,} are played, use several files")
    for note in notes:
        if not (math.isfinite(note.start) and math.isfinite(note.end) and note.start >= 0):
            raise UserError(
                f"{source}: {note.origin} lasts from {note.start:g} to {note.end:g} seconds; give finite times from 0 on"
            )
        if note.end <= note.start:
            raise UserError(f"{source}: {note.origin} ends at {note.end:g} s and starts at {note.start:g} s; end it later")
        if note.end > LONGEST_SECONDS:
            raise UserError(f"{source}: {note.origin} ends after {note.end:,.0f} s; write at most {LONGEST_SECONDS:,.0f} s")
        for name, value, lowest in (("pitch", note.pitch, 0), ("velocity", note.velocity, 1)):
            if not lowest <= value <= 127:
                raise UserError(f"{source}: {note.origin} has {name} {value}; it must be from {lowest} to 127")
    return sorted(notes, key=lambda note: note.start)


def within_pitches(notes: Sequence[Note], trained: Collection[int], source: str, *, fold: bool) -> list[Note]:
    """Return the notes with pitches that the model was trained on.

    Args:
        notes: of the melody.
        trained: pitches of the model.
        source: as the user wrote it, for messages.
        fold: transpose others by octaves, as few as possible.

    Raises:
        UserError: a note has another pitch, and cannot be transposed.
    """
    known = set(trained)
    moved = {note.pitch: _nearest_octave(note.pitch, known) if fold else note.pitch for note in notes}
    if missing := sorted(pitch for pitch, there in moved.items() if there not in known):
        first = next(note for note in notes if note.pitch in missing)
        advice = "transpose the melody" if fold else "add --fold to transpose notes by octaves"
        where = f", first in {first.origin}" if first.origin else ""
        raise UserError(
            f"{source}: has the pitch{'es' if len(missing) > 1 else ''} {_listed(missing)}{where}; this run was trained on "
            f"{describe_pitches(known)}; {advice}"
        )
    return [note._replace(pitch=moved[note.pitch]) for note in notes]


def _nearest_octave(pitch: int, known: Collection[int]) -> int:
    """Return the nearest known pitch some octaves away; `pitch` if there is none."""
    same = [one for one in known if (one - pitch) % _SEMITONES == 0]
    return min(same, key=lambda one: (abs(one - pitch), one), default=pitch)


def describe_pitches(pitches: Collection[int]) -> str:
    """Return pitches as a range if they have no gaps, otherwise one by one."""
    ordered = sorted(pitches)
    if len(ordered) > 1 and ordered[-1] - ordered[0] == len(ordered) - 1:
        return f"{ordered[0]} to {ordered[-1]}"
    return _listed(ordered)


def _listed(pitches: Sequence[int]) -> str:
    shown = ", ".join(map(str, pitches[:_SHOWN]))
    return shown + (f" and {len(pitches) - _SHOWN} more" if len(pitches) > _SHOWN else "")
