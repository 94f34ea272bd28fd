"""Names of notes in the form of NSynth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pggan_jax.data.sounds.note_names import EXAMPLE, parse_note_name

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "sound_reference_values.json").read_text())["nsynth_names"]


@pytest.mark.parametrize("name", GOLDEN)
def test_names_of_the_reference(name):
    found = parse_note_name(name)
    assert (found and found._asdict()) == GOLDEN[name]


def test_the_example_is_one():
    assert parse_note_name(EXAMPLE) == ("guitar", "acoustic", 1, 60, 100)


@pytest.mark.parametrize(
    "name",
    [
        "x_bass_synthetic_033-022-050.wav.bak.txt",
        "bass_synthetic_033-022-050",
        "bass_synthetic_33-022-050.wav",
        "bass_synthetic_033-128-050.wav",
        "bass_synthetic_033-022-200.wav",
        "bass_digital_033-022-050.wav",
        "_synthetic_033-022-050.wav",
        "bass_synthetic_033-022-050.wav\n",
    ],
)
def test_other_names(name):
    assert parse_note_name(name) is None
