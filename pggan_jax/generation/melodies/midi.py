"""Notes of MIDI files, read by mido."""

from __future__ import annotations

import io
from collections import defaultdict, deque

from pggan_jax.errors import UserError, first_line, import_optional
from pggan_jax.generation.melodies.notes import Note

_DRUMS = 9
"""Channel 10, counted from 0."""


def notes_of_midi(content: bytes, source: str) -> list[Note]:
    """Return the notes of all channels but 10, with times by the file's changes of tempo.

    A note that is struck again while it sounds is ended by the first end, as MIDI has no other names for notes. One without
    end lasts to the last event. Pedals and programs are not used.

    Args:
        content: of the file.
        source: as the user wrote it, for messages.

    Raises:
        UserError: mido is not installed or cannot read the file, or it has no notes.
    """
    mido = import_optional("mido", package="mido", needed_by=source)
    sounding: dict[tuple[int, int], deque[tuple[float, int, str]]] = defaultdict(deque)
    notes: list[Note] = []
    seconds, drums = 0.0, 0
    try:
        for number, message in enumerate(mido.MidiFile(file=io.BytesIO(content), clip=True), start=1):
            seconds += message.time
            if message.type not in ("note_on", "note_off"):
                continue
            if message.channel == _DRUMS:
                drums += message.type == "note_on"
                continue
            struck = sounding[message.channel, message.note]
            if message.type == "note_on" and message.velocity:
                struck.append((seconds, message.velocity, f"event {number}"))
            elif struck:
                start, velocity, origin = struck.popleft()
                notes.append(Note(start, seconds, message.note, velocity, origin))
    except Exception as error:  # mido raises whatever its parsing meets
        raise UserError(f"{source}: is a damaged MIDI file ({first_line(error)}); export it again") from None
    for (_, pitch), rest in sounding.items():
        notes += [Note(start, seconds, pitch, velocity, origin) for start, velocity, origin in rest]
    if not notes:
        only = "only notes of channel 10, which are drums" if drums else "no notes"
        raise UserError(f"{source}: has {only}; give a MIDI file with notes on another channel")
    return notes
