"""The data commands on sound: what check prints, a round trip through every command, and refusals of one line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from pggan_jax.data.preparation.prepared_folder import open_prepared
from pggan_jax.sound.representations import Representation
from tests.helpers.audio_samples import raw_wav, tone, wav, write_files


def nan_wave():
    wave = tone()
    wave[7] = np.nan
    return wave


RNG = np.random.default_rng(0)
PLAIN = wav(RNG.uniform(-0.5, 0.5, 4096))
REMARKABLE = {
    "short": ("short.wav", wav(tone(1000))),
    "truncated": ("truncated.wav", wav(tone(9000))[:10_000]),
    "clipped": ("clipped.wav", wav(np.clip(tone(frequency=500, peak=1.5), -0.99, 0.99))),
    "beyond": ("beyond.wav", wav(tone(frequency=510, peak=2.0), floats=True)),
    "offset": ("offset.wav", wav(tone(frequency=520) + 0.1)),
    "opposite": ("opposite.wav", wav(np.stack([tone(frequency=530), -0.9 * tone(frequency=530)], axis=1))),
    "low_rate": ("low.wav", wav(tone(4000, rate=4000), rate=4000)),
    "odd_rate": ("odd.wav", wav(tone(40_000, rate=44_101), rate=44_101)),
}
UNUSABLE = {
    "silent.wav": (wav(np.zeros(4096)), "is silent"),
    "nan.wav": (wav(nan_wave(), floats=True), "holds values that are no numbers"),
    "tiny.wav": (wav(tone(50)), "is too short"),
    "empty.wav": (b"", "is empty (0 bytes)"),
    "no_samples.wav": (raw_wav(b""), "holds no samples"),
    "text.wav": (b"some text that is named .wav", "is a text, not sound"),
    "damaged.wav": (PLAIN[:20], "is a damaged WAV file"),
}


class TestNotes:
    """Without any file, and so without libsndfile."""

    def test_check(self, launch):
        status, out, err = launch("check", "notes:60", "--json")
        assert (status, err) == (0, "")
        report = json.loads(out)
        assert (report["clips"], report["usable"], report["copies"]) == (60, 60, 0)
        assert list(report["classes"]) == [str(pitch) for pitch in range(60, 73)]
        assert report["round_trip"]["clips"] == 20
        assert report["round_trip"]["snr_db"][0] > 35
        assert report["round_trip"]["spectral_convergence"][1] < 0.05

    def test_a_representation_that_loses_the_sound_is_refused(self, launch):
        words = ("check", "notes:20", "--set", "sound.magnitude_range=0,0.1")
        status, out, _ = launch(*words)
        assert status == 1
        assert "refused: the round trip has a spectral convergence of" in out
        status, out, _ = launch(*words, "--force")
        assert status == 0
        assert "refused" not in out

    def test_prepared_and_back(self, launch, tmp_path):
        status, out, _ = launch("prepare", "notes:26", f"--out={tmp_path}/p", "--set=sound.label_by=family")
        assert status == 0
        assert f"--config=experiments/notes.py --set sound.label_by=family --set data.source=prepared:{tmp_path}/p" in out
        prepared = open_prepared(tmp_path / "p")
        assert prepared.class_names == ("organ", "pluck", "reed", "brass")
        assert prepared.representation == Representation.from_json(prepared.info["representation"])
        assert prepared.representation.is_fitted
        status, _, err = launch("check", f"prepared:{tmp_path}/p")
        assert (status, err.count("\n")) == (2, 1)
        assert f"prepared:{tmp_path}/p: holds sound, which prepare has checked" in err
        status, out, _ = launch("compare", "notes:26", f"prepared:{tmp_path}/p", "--ignore_labels")
        assert status == 0
        assert "images  26 of 26 are equal" in out
        assert "sound   26 clips: SNR 3" in out
        status, out, _ = launch("extract", f"prepared:{tmp_path}/p", f"--out={tmp_path}/x", "--max_images=2")
        assert (status, out) == (0, f"2 clips -> {tmp_path}/x\n")
        assert len(list((tmp_path / "x" / "organ").glob("*.wav"))) == 2
        status, out, _ = launch("show", f"prepared:{tmp_path}/p", f"--out={tmp_path}/s.wav", "--columns=3", "--rows=1")
        assert status == 0
        with Image.open(tmp_path / "s.png") as picture:
            assert picture.mode == "RGB"

    @pytest.mark.parametrize("experiment", ["gansynth", "sounds", "deepsound"])
    def test_experiments(self, launch, experiment):
        status, out, _ = launch("check", "notes:2", "--force", f"--config=experiments/{experiment}.py")
        assert status == 0
        assert f"next: python launch.py --config=experiments/{experiment}.py --set data.source=notes:2" in out

    def test_sizes_that_the_experiment_has_not(self, launch):
        _, out, _ = launch("check", "notes:2", "--set=sound.hop=64", "--set=sound.frames=64")
        assert "--set sound.hop=64 --set sound.frames=64 --set data.base_shape=4x8 --set data.resolution=64" in out

    def test_another_representation_in_the_same_folder(self, launch, tmp_path):
        launch("prepare", "notes:4", f"--out={tmp_path}/p")
        status, _, err = launch("prepare", "notes:4", f"--out={tmp_path}/p", "--set=sound.hop=64", "--set=sound.frames=64")
        assert status == 2
        assert "prepared with hop 128, asked for 64; frames 32, asked for 64; choose another --out" in err

    @pytest.mark.slow
    def test_workers_make_no_difference(self, launch, tmp_path):
        for workers in (0, 2):
            launch("prepare", "notes:300", f"--out={tmp_path}/{workers}", f"--workers={workers}")
        assert open_prepared(tmp_path / "0").info == open_prepared(tmp_path / "2").info

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ("check notes:4 --crop=fit", "--crop=fit: has no meaning for sound"),
            ("prepare notes:4 --out={tmp}/p --mirror", "--mirror=True: has no meaning for sound"),
            ("prepare notes:4 --out={tmp}/p --resolution=32", "--resolution=32: sound.frames and sound.n_fft give the size"),
            ("check digits --set=sound.hop=64", "--set: has an effect only on sound"),
            ("prepare digits --out={tmp}/p --resolution=8 --allow_few", "--allow_few: has an effect only on sources of sound"),
            ("check notes:4 --set=data.labels=true", "--set data.labels=true: write a setting of sound"),
            ("check notes:4 --set=sound.n_fft=100", "sound.n_fft = 100 (from --set sound.n_fft=100): must be a power of two"),
            ("check notes:4 --set=sound.take=all", "sound.take = 'all' (from --set sound.take=all)"),
            ("check notes:4 --set=sound.hops=100", "there is no such setting; did you mean sound.hop"),
            ("check notes:4 --set=sound.frames=33", "sound.frames = 33"),
            ("show digits --out={tmp}/x.wav", "the output is a PNG file"),
            ("show notes:4 --first=9 --out={tmp}/x.wav", "--first=9: notes:4 has 4 clips"),
        ],
    )
    def test_refusals(self, launch, tmp_path, words, message):
        status, out, err = launch(*words.format(tmp=tmp_path).split())
        assert (status, out) == (2, "")
        assert message in err
        assert err.count("\n") == 1


@pytest.mark.slow
class TestFiles:
    @pytest.fixture(autouse=True)
    def _library(self):
        pytest.importorskip("soundfile")

    def test_check_names_each_case_once(self, launch, tmp_path):
        contents = dict(REMARKABLE.values()) | {name: content for name, (content, _) in UNUSABLE.items()}
        write_files(tmp_path, contents | {"plain.wav": PLAIN, "notes.txt": b"text", ".hidden.wav": PLAIN})
        status, out, err = launch("check", f"sound:{tmp_path}")
        assert (status, err) == (1, "")
        for key, (name, _) in REMARKABLE.items():
            (line,) = [line for line in out.splitlines() if name in line]
            assert line.startswith(f"  {key} "), (key, line)
        for name, (_, reason) in UNUSABLE.items():
            (line,) = [line for line in out.splitlines() if line.startswith(f"    {name} ")]
            assert reason in line
        assert "clips       9 usable of 16" in out
        assert "skipped 1 file whose content is no sound: 1 .txt (notes.txt)" in out
        found = json.loads(launch("check", f"sound:{tmp_path}", "--json", "--workers=2")[1])
        assert found == json.loads(launch("check", f"sound:{tmp_path}", "--json", "--workers=0")[1])
        assert {key: entry["clips"] for key, entry in found["remarks"].items()} == dict.fromkeys(REMARKABLE, 1)

    def test_more_than_half_unusable(self, launch, tmp_path):
        source = write_files(tmp_path / "s", {"a.wav": PLAIN, "b.wav": b"text", "c.wav": b"text"})
        status, _, err = launch("prepare", f"sound:{source}", f"--out={tmp_path}/p")
        assert status == 2
        assert "2 of 3 clips cannot be used: b.wav is a text" in err
        status, out, _ = launch("prepare", f"sound:{source}", f"--out={tmp_path}/p", "--allow_few")
        assert status == 0
        assert "skipped 2 unusable clips" in out

    def test_silent_parts_are_not_counted_as_unusable(self, launch, tmp_path):
        source = write_files(tmp_path / "s", {"a.wav": wav(np.r_[tone(), np.zeros(5 * 4096)])})
        status, out, _ = launch("prepare", f"sound:{source}", f"--out={tmp_path}/p", "--set=sound.take=slices")
        assert status == 0
        assert "1 rows of" in out
        status, out, _ = launch("check", f"sound:{source}", "--set=sound.take=slices")
        assert status == 0
        assert "silent      5 parts of longer files" in out

    def test_extracted_notes_are_the_same_notes(self, launch, tmp_path):
        launch("extract", "notes:13", f"--out={tmp_path}/x")
        status, out, _ = launch("compare", "notes:13", f"sound:{tmp_path}/x")
        # Samples of 32 bits: cells of silence have other phases.
        assert status == 1
        assert "labels  13 of 13 are equal" in out
        assert "sound   13 clips: SNR 15" in out

    def test_output_inside_the_source(self, launch, tmp_path):
        source = write_files(tmp_path, {"a.wav": PLAIN})
        status, _, err = launch("prepare", f"sound:{source}", f"--out={source}/p")
        assert status == 2
        assert "lies inside sound:" in err
