"""Classes of audio files by pitch, family or folder, and filters; nothing is decoded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pggan_jax.config.sound import SoundConfig
from pggan_jax.data.sounds.sound_files import AUDIO
from pggan_jax.data.sounds.sound_labels import choose_labels
from pggan_jax.data.sources.folder import FolderSource
from pggan_jax.errors import UserError

NOTES = [
    "bass_acoustic_001-100-050.wav",
    "bass_electronic_002-060-050.wav",
    "synth_lead_synthetic_000-009-127.wav",
    "vocal_acoustic_003-060-127.wav",
]


@pytest.fixture
def choose(tmp_path):
    def choose(names, **settings):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return choose_labels(FolderSource(str(tmp_path), kind=AUDIO), replace(SoundConfig(), **settings))

    return choose


def by_class(labels):
    return [labels.class_names[number] for number in labels.numbers]


def test_pitches_are_classes_in_the_order_of_numbers(choose):
    labels = choose(NOTES)
    assert labels.class_names == ("9", "60", "100")
    assert by_class(labels) == ["100", "60", "9", "60"]
    assert labels.notes == ()


def test_families(choose):
    labels = choose(NOTES, label_by="family")
    assert labels.class_names == ("bass", "synth_lead", "vocal")
    assert by_class(labels) == ["bass", "bass", "synth_lead", "vocal"]


def test_folders_where_names_have_another_form(choose):
    labels = choose(["kick/1.wav", "snare/1.wav", "snare/2.flac"])
    assert by_class(labels) == ["kick", "snare", "snare"]


def test_folders_named_by_pitch_are_in_the_order_of_numbers(choose):
    assert choose(["100/a.wav", "60/a.wav", "9/a.wav"]).class_names == ("9", "60", "100")


def test_no_classes(choose):
    assert choose(["1.wav", "2.wav"]).class_names == ()
    assert choose(NOTES, label_by="none").class_names == ()


def test_a_few_other_names_make_folders_of_all_and_that_is_said(choose):
    labels = choose([*(f"a/{name}" for name in NOTES), "b/piano_C4.wav"])
    assert labels.class_names == ("a", "b")
    (line,) = labels.notes
    assert line.startswith("4 of 5 file names have the form guitar_acoustic_001-060-100.wav and 1 do not: classes are folders")


def test_with_pitch_asked_for_other_names_have_no_label(choose):
    labels = choose([*NOTES, "zither.wav"], label_by="pitch")
    assert labels.class_names == ("9", "60", "100")
    assert labels.numbers.tolist() == [2, 1, 0, 1, -1]


@pytest.mark.parametrize("label_by", ["pitch", "family"])
def test_no_name_with_a_pitch(choose, label_by):
    with pytest.raises(UserError, match=rf"^sound.label_by = {label_by}: no file name in sound:.* has the form guitar"):
        choose(["1.wav"], label_by=label_by)


@pytest.mark.parametrize(
    ("settings", "kept", "line"),
    [
        ({"pitches": "24-84"}, [1, 3], "sound.pitches=24-84 keeps 2 of 4 files"),
        ({"instrument_sources": "acoustic"}, [0, 3], "sound.instrument_sources=acoustic keeps 2 of 4 files"),
        (
            {"instrument_sources": "acoustic,synthetic"},
            [0, 2, 3],
            "sound.instrument_sources=acoustic,synthetic keeps 3 of 4 files",
        ),
        (
            {"pitches": "24-84", "instrument_sources": "acoustic"},
            [3],
            "sound.pitches=24-84 with sound.instrument_sources=acoustic keeps 1 of 4 files",
        ),
    ],
)
def test_filters_say_what_they_keep(choose, settings, kept, line):
    labels = choose(NOTES, **settings)
    assert labels.kept.tolist() == kept
    assert labels.notes == (line,)
    # Only what occurs is a class.
    assert set(by_class(labels)) == set(labels.class_names)


def test_names_of_another_form_pass_no_filter(choose):
    labels = choose([*NOTES, "zither.wav"], pitches="0-127")
    assert labels.kept.tolist() == [0, 1, 2, 3]
    assert labels.notes == (
        "sound.pitches=0-127 keeps 4 of 5 files; 1 names do not have the form guitar_acoustic_001-060-100.wav",
    )


def test_a_filter_that_keeps_nothing(choose):
    with pytest.raises(UserError, match=r"^sound.pitches=1-2: keeps none of 4 files in sound:.*; choose another filter$"):
        choose(NOTES, pitches="1-2")
