"""Folders and archives of audio files as clips: listing, damage, slices, labels, archives, workers."""

from __future__ import annotations

import os
import pickle
import zipfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest

from pggan_jax.config.sound import SoundConfig
from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.data.sounds.open_waves import open_sound
from pggan_jax.data.sources.open_source import open_source
from pggan_jax.errors import UserError
from pggan_jax.sound.wave_files import write_wave
from tests.helpers.audio_samples import tone, wav, write_files

pytestmark = pytest.mark.slow
pytest.importorskip("soundfile")

CONFIG = SoundConfig()
SAMPLES = CONFIG.samples


def waves_of(path, **settings):
    return open_sound(str(path), replace(CONFIG, **settings)).waves


def outcome(source, index):
    try:
        return source.read(index)
    except UnusableImageError as error:
        return str(error)


def refusal(path, **settings):
    with pytest.raises(UserError) as caught:
        waves_of(path, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path):
    contents = {f"a/tone{n}.wav": wav(tone(frequency=200 * n)) for n in (1, 2, 10)}
    return write_files(tmp_path / "sounds", contents | {"b/x.wav": wav(tone(frequency=999))})


class TestListing:
    def test_several_sounds_in_a_file_of_this_program_are_no_clip(self, folder):
        contents = {"all.wav": {"is_joined": True}, "all_float.wav": {"is_joined": True, "as_float": True}, "one.wav": {}}
        for name, kind in contents.items():
            write_wave(folder / name, tone(), 8000, **kind)
        source = waves_of(folder)
        found = {source.item_name(index): outcome(source, index) for index in range(len(source))}
        refused = {name: text for name, text in found.items() if isinstance(text, str)}
        assert set(refused) == {"all.wav", "all_float.wav"}
        assert set(refused.values()) == {"holds several sounds and was written by this program; move it elsewhere"}
        (folder / "one.wav").unlink()
        # It does not make the others lose their classes.
        assert waves_of(folder).class_names == ("a", "b")

    def test_files_with_names_and_classes(self, folder):
        source = waves_of(folder)
        names = ["a/tone1.wav", "a/tone10.wav", "a/tone2.wav", "b/x.wav"]
        assert [source.item_name(index) for index in range(len(source))] == names
        assert source.class_names == ("a", "b")
        assert [source.label(index) for index in range(4)] == [0, 0, 0, 1]
        assert source.name == f"sound:{folder}"
        np.testing.assert_allclose(source.read(3), tone(frequency=999), atol=2e-5)

    def test_content_counts_and_not_the_name(self, tmp_path):
        contents = {
            "a.xyz": wav(tone()),
            "b": wav(tone()),
            "c.wav": b"a text of some length",
            ".hidden.wav": wav(tone()),
            "cover.jpg": b"\xff\xd8\xff\xe0" + bytes(50),
            "d.m4a": b"\0\0\0\x20ftypM4A " + bytes(50),
        }
        source = waves_of(write_files(tmp_path, contents))
        assert [source.item_name(index) for index in range(len(source))] == ["a.xyz", "b", "c.wav"]
        assert outcome(source, 2) == "is a text, not sound; remove it or save it as WAV or FLAC"
        assert source.problems == ("1 file ends in .m4a, which cannot be read (d.m4a); convert it to WAV or FLAC",)
        assert source.notes == (
            "skipped 1 file whose content is no sound: 1 .jpg (cover.jpg)",
            "skipped 1 hidden files or files of the operating system",
        )

    def test_a_folder_without_sound(self, tmp_path):
        write_files(tmp_path / "texts", {"a.txt": b"hello"})
        formats = "no sound file in it or below (WAV, FLAC, OGG, MP3, AIFF, AU and CAF)"
        assert f"data.source = 'sound:{tmp_path}/texts': {formats}; skipped 1 file" in refusal(tmp_path / "texts")
        assert "no such folder; give the folder of the sound files" in refusal(tmp_path / "nothing")
        write_files(tmp_path / "packed", {"x.zip": b"PK\5\6" + bytes(18)})
        assert f"it holds an archive: write sound:{tmp_path}/packed/x.zip" in refusal(tmp_path / "packed")

    def test_labels_of_a_document(self, folder):
        (folder / "dataset.json").write_text('{"labels": [["a/tone1.wav", 1], ["b/x.wav", 0]]}')
        source = waves_of(folder)
        assert [source.label(index) for index in (0, 3)] == [1, 0]
        assert outcome(source, 1) == "has no label in dataset.json; add one or remove the file"
        assert len(waves_of(folder, label_by="none").read(1)) == SAMPLES

    def test_a_low_rate_is_said_when_it_is_opened(self, tmp_path):
        contents = {"x.wav": wav(tone(rate=4000), rate=4000), "y.wav": wav(tone())}
        (line,) = waves_of(write_files(tmp_path, contents)).notes
        assert line.startswith("1 of 2 files that were looked at have fewer samples per second than sound.sample_rate = 8,000")
        assert "nothing above 2,000 Hz" in line

    def test_the_library_is_named_before_anything_else(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
        assert "pip install soundfile" in refusal("/nowhere/at/all")


class TestClips:
    def test_slices_are_items(self, tmp_path):
        wave = np.r_[tone(), np.zeros(SAMPLES), tone(frequency=800), tone(100)]
        contents = {"long.wav": wav(wave), "short.wav": wav(tone(1000)), "text.wav": b"text"}
        source = waves_of(write_files(tmp_path, contents), take="slices")
        names = ["long.wav#0", "long.wav#1", "long.wav#2", "short.wav#0", "text.wav#0"]
        assert [source.item_name(index) for index in range(len(source))] == names
        np.testing.assert_allclose(source.read(2), tone(frequency=800), atol=2e-5)
        assert outcome(source, 1) == "is a silent part of a longer file"
        assert len(source.read(3)) == SAMPLES
        assert outcome(source, 4).startswith("is a text")

    def test_a_note_without_pitch_where_pitches_are_asked_for(self, tmp_path):
        contents = {"bass_acoustic_000-060-100.wav": wav(tone()), "other.wav": wav(tone())}
        source = waves_of(write_files(tmp_path, contents), label_by="pitch")
        assert source.class_names == ("60",)
        assert outcome(source, 1).startswith("has no pitch in its name, which needs the form guitar_acoustic_001-060-100.wav")
        assert isinstance(outcome(source, 0), np.ndarray)

    def test_fingerprint_follows_files_and_settings(self, folder):
        before = waves_of(folder).fingerprint()
        assert before == waves_of(folder).fingerprint()
        changes = {
            "take": "loudest",
            "channel": "left",
            "level": "peak",
            "sample_rate": 16_000,
            "label_by": "none",
            "length": 99,
        }
        assert len({before, *(waves_of(folder, **{name: value}).fingerprint() for name, value in changes.items())}) == 7
        os.utime(folder / "a/tone1.wav", ns=(1, 1))
        assert waves_of(folder).fingerprint() != before


class TestArchives:
    @pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    def test_the_same_as_the_folder(self, folder, tmp_path, method):
        with zipfile.ZipFile(tmp_path / "sounds.zip", "w", method) as archive:
            for path in sorted(folder.rglob("*.wav")):
                archive.write(path, path.relative_to(folder))
            archive.writestr("text.wav", "a text")
            archive.writestr(".hidden.wav", wav(tone()))
        packed, plain = waves_of(tmp_path / "sounds.zip"), waves_of(folder)
        assert packed.name == f"sound:{tmp_path}/sounds.zip"
        for index in range(4):
            assert packed.item_name(index) == plain.item_name(index)
            assert np.array_equal(packed.read(index), plain.read(index))
        assert outcome(packed, 4).startswith("is a text, not sound")

    def test_a_stored_member_is_read_in_place(self, tmp_path, monkeypatch):
        from pggan_jax.data.sources import file_collection

        monkeypatch.setattr(file_collection, "MAX_FILE_BYTES", 10_000)
        content = wav(tone(50_000))
        for method, result in ((zipfile.ZIP_STORED, np.ndarray), (zipfile.ZIP_DEFLATED, str)):
            with zipfile.ZipFile(tmp_path / "x.zip", "w", method) as archive:
                archive.writestr("x.wav", content)
            assert isinstance(outcome(waves_of(tmp_path / "x.zip"), 0), result)

    @pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    def test_damage_is_one_line(self, tmp_path, method):
        path = tmp_path / "x.zip"
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("x.wav", wav(np.random.default_rng(0).uniform(-1, 1, 9000)))
        content = bytearray(path.read_bytes())
        content[:4] = b"\0\0\0\0" if method else content[:4]
        content[40] ^= 255
        path.write_bytes(content)
        try:
            found = outcome(waves_of(path), 0)
        except UserError as error:
            found = str(error)
        assert isinstance(found, np.ndarray) or "\n" not in found


class TestWorkers:
    def test_threads_and_processes_read_the_same(self, folder, tmp_path):
        with zipfile.ZipFile(tmp_path / "sounds.zip", "w") as archive:
            for path in sorted(folder.rglob("*.wav")):
                archive.write(path, path.relative_to(folder))
        for path in (folder, tmp_path / "sounds.zip"):
            source = waves_of(path, take="slices")
            expected = [source.read(index) for index in range(4)]
            with ThreadPoolExecutor(4) as pool:
                found = list(pool.map(source.read, list(range(4)) * 10))
            assert all(np.array_equal(*pair) for pair in zip(found, expected * 10, strict=True))
            assert len(pickle.dumps(source)) < 10_000
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                assert all(np.array_equal(*pair) for pair in zip(pool.map(source.read, range(4)), expected, strict=True))


def test_the_source_of_images(folder):
    source = open_source(f"sound:{folder}", sound=CONFIG)
    fitted = source.fitted(np.arange(4), workers=0)
    assert fitted.read(0).shape == (32, 128, 2)
    assert fitted.read(0).dtype == np.uint8


def test_a_long_file_is_read_in_part(tmp_path, monkeypatch):
    """Eleven minutes, of which half a second is decoded."""
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / "long.wav"
    soundfile.write(path, np.tile(tone(8000), 660), 8000)
    decoded = []
    read = soundfile.SoundFile.read
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *args, **more: decoded.append(read(*args, **more)) or decoded[-1])
    waves_of(tmp_path).read(0)
    assert sum(map(len, decoded)) == SAMPLES
