"""Melodies: lists of notes, tunes, latents, envelopes and their sum."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pggan_jax.errors import UserError
from pggan_jax.generation.melodies.mixing import Envelope, latents_of_notes, mix, number_of_timbres
from pggan_jax.generation.melodies.notes import Note, read_melody, within_pitches
from pggan_jax.generation.melodies.tunes import TUNES, tune
from pggan_jax.generation.walks import slerp

GOLDEN = Path(__file__).parents[2] / "golden" / "sound_reference_values.json"


@pytest.fixture(scope="module")
def golden():
    return json.loads(GOLDEN.read_text())


@pytest.fixture
def read(tmp_path):
    """Read a melody from a text."""

    def of(text):
        path = tmp_path / "x.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_melody("--melody=x.txt", path)

    return of


class TestNoteLists:
    def test_comments_and_order(self, read):
        notes = read("# a melody\n1.0 1.5 62 127 # the second\n\n0 0.5\t60 1\r\n")
        assert [note[:4] for note in notes] == [(0.0, 0.5, 60, 1), (1.0, 1.5, 62, 127)]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "has no notes"),
            ("# only a comment\n", "has no notes"),
            ("0 1 60\n", "line 1 is '0 1 60'; write start_seconds"),
            ("0 1 60 100 5\n", "line 1 is"),
            ("0 1 60 100\n0 1 c4 100\n", "line 2 is '0 1 c4 100'"),
            ("0 1 60.5 100\n", "line 1 is"),
            ("1 1 60 100\n", "line 1 ends at 1 s and starts at 1 s"),
            ("0 1 60 100\n\n2 1.5 60 100\n", "line 3 ends at 1.5 s"),
            ("-1 1 60 100\n", "line 1 lasts from -1"),
            ("0 nan 60 100\n", "line 1 lasts from 0 to nan"),
            ("0 1 128 100\n", "line 1 has pitch 128"),
            ("0 1 60 0\n", "line 1 has velocity 0; it must be from 1 to 127"),
            ("0 9999 60 100\n", "at most 3,600 s"),
            (b"\xff\xfe\x00", "neither a MIDI file nor a text"),
        ],
    )
    def test_refusals_name_the_line(self, read, text, message):
        with pytest.raises(UserError) as refused:
            read(text)
        assert message in str(refused.value)
        assert str(refused.value).startswith("--melody=x.txt: ")

    def test_no_file(self, tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            read_melody("--melody=x", tmp_path / "x")


class TestPitches:
    def test_others_are_refused_with_the_trained_ones(self):
        notes = [Note(0, 1, 60, 100, "line 1"), Note(1, 2, 80, 100, "line 2"), Note(1, 2, 90, 100, "line 3")]
        with pytest.raises(UserError, match="pitches 80, 90, first in line 2; this run was trained on 60 to 72; add --fold"):
            within_pitches(notes, range(60, 73), "--melody=x", fold=False)

    def test_octaves(self):
        notes = [Note(0, 1, pitch) for pitch in (36, 48, 59, 60, 66, 72, 73, 84)]
        folded = within_pitches(notes, range(60, 73), "--melody=x", fold=True)
        assert [note.pitch for note in folded] == [60, 60, 71, 60, 66, 72, 61, 72]

    def test_some_pitches_have_no_octave(self):
        with pytest.raises(UserError, match="pitch 61; this run was trained on 60, 62, 64; transpose the melody"):
            within_pitches([Note(0, 1, 61)], (60, 62, 64), "--melody=x", fold=True)


class TestTunes:
    @pytest.mark.parametrize("name", TUNES)
    def test_13_notes_are_enough(self, name):
        notes = tune(name)
        assert {note.pitch for note in notes} <= set(range(60, 73))
        assert all(before.end == after.start for before, after in pairwise(notes))

    def test_length(self):
        assert tune("scale")[-1].end == pytest.approx(15 * 0.4)
        assert tune("ode")[-1].end == pytest.approx(16 * 4 * 0.4)


class TestLatents:
    def test_slerp(self, golden):
        values = golden["slerp"]
        for t, expected in values["at"].items():
            np.testing.assert_allclose(slerp(np.array(values["a"]), np.array(values["b"]), float(t)), expected, rtol=1e-9)

    def test_number_of_timbres(self):
        # Shorter than two periods is possible.
        assert [number_of_timbres(total, 6.0) for total in (0.5, 5.9, 6, 11.9, 12, 60)] == [2, 2, 2, 2, 3, 11]

    def test_equal_times_from_the_start_to_the_last_end(self):
        timbres = np.random.default_rng(0).standard_normal((3, 8))
        notes = [Note(start, start + 1, 60) for start in (0, 1, 5, 7.5, 9)]
        latents = latents_of_notes(notes, timbres)
        np.testing.assert_allclose(latents[[0, 2]], timbres[:2])
        np.testing.assert_allclose(latents[1], slerp(timbres[0], timbres[1], 0.2))
        np.testing.assert_allclose(latents[3], slerp(timbres[1], timbres[2], 0.5))
        np.testing.assert_allclose(latents[4], slerp(timbres[1], timbres[2], 0.8))

    def test_one_timbre_stays(self):
        latents = latents_of_notes(tune("scale"), np.ones((1, 4)))
        np.testing.assert_array_equal(latents, np.ones((15, 4)))


class TestEnvelope:
    def test_golden(self, golden):
        values = golden["envelope"]
        envelope = Envelope.for_clips(4 * 16000, values["sample_rate"])
        factors = envelope.of(values["note_seconds"])
        assert len(factors) == values["length"]
        assert factors.sum() == pytest.approx(values["sum"], abs=1e-9)
        for place, expected in values["at"].items():
            assert factors[int(place)] == pytest.approx(expected, abs=1e-9)
        # With the longest note of GANSynth, 3 seconds.
        assert len(Envelope(16000, 160, 4800, 48000).of(60)) == values["longest_note_length"]

    @pytest.mark.parametrize(("samples", "rate", "release"), [(4096, 8000, 800), (8000, 8000, 2400), (64000, 16000, 4800)])
    def test_it_ends_with_the_clip(self, samples, rate, release):
        envelope = Envelope.for_clips(samples, rate)
        assert (envelope.release, len(envelope.of(100.0))) == (release, samples)

    @pytest.mark.parametrize("seconds", [1e-9, 0.001, 0.009, 0.011])
    def test_short_notes(self, seconds):
        factors = Envelope.for_clips(4096, 8000).of(seconds)
        assert len(factors) == max(1, round(seconds * 8000)) + 800
        assert factors[-1] == 0
        assert np.all((factors >= 0) & (factors <= 1))


class TestMixture:
    envelope = Envelope.for_clips(4096, 8000)

    def test_notes_are_added_with_their_velocity(self):
        notes = [Note(0, 0.2, 60, 127), Note(0.1, 0.3, 64, 64)]
        mixed = mix(notes, [np.ones(4096), np.ones(4096)], self.envelope)
        assert len(mixed) == 2400 + 800
        assert np.abs(mixed).max() == pytest.approx(0.5)
        # Ratios stay: alone before the second begins, together after its attack.
        assert mixed[1200] / mixed[700] == pytest.approx(1 + 64 / 127)

    def test_silence_and_a_negative_peak(self):
        notes = [Note(0, 0.2, 60)]
        assert not mix(notes, [np.zeros(4096)], self.envelope).any()
        assert mix(notes, [-np.ones(4096)], self.envelope).min() == -0.5

    def test_long_notes_end_with_their_clip(self):
        mixed = mix([Note(0, 10, 60)], [np.ones(4096)], self.envelope)
        assert len(mixed) == 80_800
        assert not mixed[4096:].any()

    def test_length_to_the_sample(self):
        rng = np.random.default_rng(0)
        for _ in range(20):
            start, length = rng.uniform(0, 3, 2)
            notes = [Note(start, start + length, 60)]
            assert len(mix(notes, [np.ones(4096)], self.envelope)) == round((start + length) * 8000) + 800
