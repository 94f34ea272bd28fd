"""Melodies: notes from texts and MIDI files, their latents, and their mixture."""
