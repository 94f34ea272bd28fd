"""`sample` on a run on sound: files per seed, scales, melodies, walks, and what is refused."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
from scipy.io import wavfile

from pggan_jax.checkpointing.open_model import load
from pggan_jax.generation import image_writers
from pggan_jax.generation.melodies.tunes import tune
from pggan_jax.generation.walks import slerp
from pggan_jax.sound.wave_files import is_joined_wave, scale_to_fit, to_int16
from tests.helpers.command_line import one_line_error

pytestmark = pytest.mark.usefixtures("quick_compilation")
SAMPLES, RATE, GAP = 256, 4000, 200


@pytest.fixture
def sample(launch, sound_run):
    """Run `sample` on the run on sound; the status must be 0."""

    def run(*words):
        result = launch("sample", f"--from={sound_run}", *words)
        assert result[0] == 0, result
        assert result[2] == ""
        return result[1]

    return run


@pytest.fixture
def model(sound_run):
    return load(sound_run)


def read(path):
    rate, wave = wavfile.read(path)
    assert rate == RATE
    return wave


def names(folder):
    return sorted(path.name for path in folder.glob("*"))


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class TestSeeds:
    def test_one_file_each_and_all(self, sample, model, tmp_path):
        printed = sample("--seeds=0-2,15", f"--out={tmp_path / 'out'}")
        assert "4 sounds of 0.064 s from kimg 0.16" in printed
        pitches = {0: 60, 1: 61, 2: 62, 15: 62}
        files = [f"seed{seed:04d}-pitch{pitch:03d}.wav" for seed, pitch in pitches.items()]
        assert names(tmp_path / "out") == [".pggan_jax", "all.wav", *files]
        waves = model.waves([*pitches])
        for name, wave in zip(files, waves, strict=True):
            np.testing.assert_array_equal(read(tmp_path / "out" / name), to_int16(scale_to_fit(wave)[0]))
        assert [name for name in names(tmp_path / "out") if is_joined_wave((tmp_path / "out" / name).read_bytes())] == [
            "all.wav"
        ]
        joined = read(tmp_path / "out" / "all.wav")
        assert len(joined) == 4 * SAMPLES + 3 * GAP
        assert not joined[SAMPLES : SAMPLES + GAP].any()

    def test_the_same_bytes_in_any_list(self, sample, tmp_path):
        for name, seeds in (("a", "0-40"), ("b", "0-40"), ("c", "39,7")):
            sample(f"--seeds={seeds}", "--pitch=67", f"--out={tmp_path / name}")
        a, b, c = (content(tmp_path / name) for name in "abc")
        assert a == b
        same = [f"seed{seed:04d}-pitch067.wav" for seed in (7, 39)]
        assert [c[name] for name in same] == [a[name] for name in same]

    def test_it_continues(self, sample, tmp_path, monkeypatch):
        words = "--num=20", f"--out={tmp_path / 'out'}"
        sample(*words)
        before = content(tmp_path / "out")
        (tmp_path / "out" / "seed0003-pitch063.wav").write_bytes(before["seed0003-pitch063.wav"][:-3])
        (tmp_path / "out" / "seed0019-pitch066.wav").unlink()
        (tmp_path / "out" / "all.wav").unlink()
        assert "continuing: 18 of 20 sounds are there" in sample(*words)
        assert content(tmp_path / "out") == before

    def test_after_ctrl_c(self, sample, launch, sound_run, tmp_path, monkeypatch):
        words = "--num=40", f"--out={tmp_path / 'out'}"
        store, stored = image_writers.FolderWriter.store, []

        def interrupted(writer, encoded, count):
            if stored:
                raise KeyboardInterrupt
            stored.append(count)
            store(writer, encoded, count)

        with monkeypatch.context() as patch:
            patch.setattr(image_writers.FolderWriter, "store", interrupted)
            status, _, err = launch("sample", f"--from={sound_run}", *words)
        assert (status, "of 40 sounds are written; the same command continues" in err) == (130, True)
        sample(*words)
        sample("--num=40", f"--out={tmp_path / 'whole'}")
        there, whole = content(tmp_path / "out"), content(tmp_path / "whole")
        assert there == whole

    def test_floats_are_the_waves(self, sample, model, tmp_path):
        sample("--num=3", "--float", f"--out={tmp_path / 'x.wav'}")
        wave = read(tmp_path / "x.wav")
        assert wave.dtype == np.float32
        np.testing.assert_array_equal(wave[:SAMPLES], model.waves([0])[0].astype(np.float32))

    def test_an_archive(self, sample, tmp_path):
        sample("--num=3", f"--out={tmp_path / 'x.zip'}")
        sample("--num=3", f"--out={tmp_path / 'x'}")
        with zipfile.ZipFile(tmp_path / "x.zip") as archive:
            for name in archive.namelist()[:-1]:
                assert archive.read(name) == (tmp_path / "x" / name).read_bytes()
            assert archive.namelist()[-1] == "dataset.json"

    def test_overwriting_removes_own_files_only(self, sample, tmp_path):
        sample("--scale", f"--out={tmp_path / 'x'}")
        (tmp_path / "x" / "mine.wav").write_bytes(b"")
        sample("--seeds=5", "--overwrite", f"--out={tmp_path / 'x'}")
        assert names(tmp_path / "x") == [".pggan_jax", "all.wav", "mine.wav", "seed0005-pitch065.wav"]


class TestScale:
    def test_one_latent_at_every_pitch(self, sample, model, tmp_path):
        sample("--scale", "--seeds=4", f"--out={tmp_path / 'x'}")
        files = [f"seed0004-pitch{pitch:03d}.wav" for pitch in range(60, 73)]
        assert names(tmp_path / "x") == [".pggan_jax", "all.wav", *files]
        waves = model.synthesize_waves(model.latents([4] * 13), range(13))
        peak = np.abs(waves).max()
        for name, wave in zip(files, waves, strict=True):
            np.testing.assert_array_equal(read(tmp_path / "x" / name), to_int16(scale_to_fit(wave, peak=peak)[0]))

    def test_one_file(self, sample, tmp_path):
        sample("--scale", f"--out={tmp_path / 'new' / 'scale.wav'}")
        assert len(read(tmp_path / "new" / "scale.wav")) == 13 * SAMPLES + 12 * GAP


class TestMelody:
    def test_length_to_the_sample(self, sample, tmp_path):
        printed = sample("--melody=ode", f"--out={tmp_path / 'ode.wav'}")
        assert "ode: 62 notes, 25.63 s, 5 timbres" in printed
        wave = read(tmp_path / "ode.wav")
        # Clips are shorter than two releases here, which are cut to half a clip.
        assert len(wave) == round(tune("ode")[-1].end * RATE) + SAMPLES // 2
        assert abs(np.abs(wave.astype(int)).max() - 0.5 * 32767) <= 1

    def test_a_list_of_notes(self, sample, model, tmp_path):
        (tmp_path / "x.txt").write_text("0 0.05 60 127\n0.5 0.6 72 127  # an octave up\n")
        sample(f"--melody={tmp_path / 'x.txt'}", "--timbres=1", "--seeds=9", "--float", f"--out={tmp_path / 'x.wav'}")
        wave = read(tmp_path / "x.wav")
        first, second = model.synthesize_waves(model.latents([9, 9]), [0, 12])
        # After the attack and before the release of either note.
        np.testing.assert_allclose(wave[50:120] / wave[2050:2120], first[50:120] / second[50:120], rtol=1e-3)

    def test_other_octaves(self, sample, launch, sound_run, tmp_path):
        (tmp_path / "x.txt").write_text("0 0.1 36 100\n")
        words = f"--melody={tmp_path / 'x.txt'}", f"--out={tmp_path / 'x.wav'}"
        message = one_line_error(launch("sample", f"--from={sound_run}", *words))
        assert "pitch 36, first in line 1; this run was trained on 60 to 72; add --fold" in message
        sample(*words, "--fold")
        assert not {"x.wav", "x.txt"} ^ set(names(tmp_path))

    def test_two_names_of_the_timbres(self, launch, sound_run):
        message = one_line_error(launch("sample", f"--from={sound_run}", "--melody=ode", "--seeds=1,2", "--timbres=3"))
        assert "--seeds names 2 timbres" in message


def test_a_walk_is_spherical(sample, model, tmp_path):
    sample("--walk=3-8", "--steps=5", "--pitch=64", "--float", f"--out={tmp_path / 'x'}")
    files = [f"walk-3-8-step{step:02d}-pitch064.wav" for step in range(5)]
    assert names(tmp_path / "x") == [".pggan_jax", "all.wav", *files]
    start, end = model.latents([3, 8])
    latents = np.stack([slerp(start, end, step / 4) for step in range(5)])
    waves = model.synthesize_waves(latents, 4).astype(np.float32)
    for name, wave in zip(files, waves, strict=True):
        np.testing.assert_array_equal(read(tmp_path / "x" / name), wave)


class TestInvert:
    def test_phases_of_griffin_lim_are_those_of_the_seed(self, sample, tmp_path):
        for name, seeds in (("a", "0-3"), ("b", "3")):
            sample(f"--seeds={seeds}", "--invert=griffin_lim+2", f"--out={tmp_path / name}")
        sample("--seeds=3", "--invert=if+2", f"--out={tmp_path / 'c'}")
        sample("--seeds=3", "--invert=if", f"--out={tmp_path / 'd'}")
        sample("--seeds=3", f"--out={tmp_path / 'e'}")
        a, b, c, d, e = ((tmp_path / name / "seed0003-pitch063.wav").read_bytes() for name in "abcde")
        assert a == b
        assert d == e
        assert len({a, c, d}) == 3


class TestRefusals:
    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--pitch=30"], "--pitch=30: this run was trained on the MIDI pitches 60 to 72; choose one"),
            (["--pitch=middle"], "--pitch=middle: this run"),
            (["--pitch=60", "--class=60"], "--pitch=60 and --class=60 name the same thing"),
            (["--invert=magic"], "--invert='magic' does not invert images of if; choose if, griffin_lim"),
            (["--grid=3x3"], "--grid=3x3: is for images, and this run makes sound"),
            (["--zoom=4"], "--zoom=4: is for images"),
            (["--format=png"], "--format=png: is for images, and this run makes sound"),
            (["--out=x.npz"], "--out=x.npz: this run makes sound"),
            (["--out=x.png"], "--out=x.png: this run makes sound; give a folder, FILE.zip, or FILE.wav"),
            (["--scale", "--melody=ode"], "--scale and --melody write different things"),
            (["--scale", "--pitch=60"], "--pitch=60: --scale has its own pitches"),
            (["--scale", "--out=x.zip"], "--out=x.zip: give a folder, or FILE.wav"),
            (["--fold"], "--fold=True: has an effect only with --melody"),
            (["--steps=3"], "--steps=3: has an effect only with --walk"),
            (["--walk=3"], "--walk=3: must be A-B"),
            (["--walk=3-3"], "--walk=3-3: begins and ends at one seed"),
            (["--walk=3-4294967296"], "two seeds below 2^32"),
            (["--walk=3-4", "--seeds=1"], "--seeds=1: --walk names its seeds itself"),
            (["--melody=missing.txt"], "--melody=missing.txt: cannot be read"),
            (["--melody=ode", "--timbres=2", "--seconds_per_timbre=1"], "one follows from the other"),
            (["--num=99999", "--out=x.wav"], "99,999 sounds last 6,400 s, and one file at most 3,600 s"),
        ],
    )
    def test_on_sound(self, launch, sound_run, words, message):
        assert message in one_line_error(launch("sample", f"--from={sound_run}", *words))

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--scale"], "--scale=True: is for runs on sound, and this run makes images"),
            (["--melody=ode"], "film --kind=walk"),
            (["--walk=3-8"], "film --kind=walk --seeds=A,B"),
            (["--pitch=60"], "choose a class by --class"),
            (["--out=x.wav"], "WAV files are for runs on sound"),
        ],
    )
    def test_on_images(self, launch, labelled, words, message):
        assert message in one_line_error(launch("sample", f"--from={labelled}", *words))

    @pytest.mark.parametrize(
        "words",
        [
            ["film"],
            ["arithmetic", "1+2"],
            ["directions", "--method=sefa", "--out=x.npz"],
        ],
    )
    def test_commands_that_draw(self, launch, sound_run, words):
        message = one_line_error(launch(*words, f"--from={sound_run}"))
        assert "makes sound, and this command draws images; listen to its latents by sample --walk" in message

    def test_an_existing_file_stays(self, launch, sound_run, tmp_path):
        (tmp_path / "x.wav").write_bytes(b"mine")
        message = one_line_error(launch("sample", f"--from={sound_run}", "--scale", f"--out={tmp_path / 'x.wav'}"))
        assert "exists; choose another name, or add --overwrite" in message
        assert (tmp_path / "x.wav").read_bytes() == b"mine"

    def test_a_diverged_network_writes_nothing(self, launch, sound_run, monkeypatch, tmp_path):
        from pggan_jax.generation.sampling import Sampler

        start = Sampler._start
        monkeypatch.setattr(Sampler, "_start", lambda *args, **more: start(*args, **more) * np.float32("nan"))
        for words in (["--num=3", f"--out={tmp_path / 'a'}"], ["--melody=ode", f"--out={tmp_path / 'x.wav'}"]):
            assert "generates NaN or infinity: this run has diverged" in one_line_error(
                launch("sample", f"--from={sound_run}", *words)
            )
        assert not list(tmp_path.rglob("*.wav"))
