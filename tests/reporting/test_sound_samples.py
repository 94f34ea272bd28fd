"""Sound in the report: players that need nothing but the page, each with the clip that its picture shows."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from pggan_jax.loop.image_grids import SoundTiles
from pggan_jax.reporting.html import render
from pggan_jax.reporting.run_record import gather
from pggan_jax.reporting.sound_samples import MOST_BYTES
from pggan_jax.run_logs.workdir import Workdir, store_config
from pggan_jax.sound.representations import Representation
from pggan_jax.sound.spectrogram_pictures import hue_pictures, magnitude_pictures
from pggan_jax.sound.wave_files import one_after_another, write_wave
from tests.helpers.runs import copy_of, finished_run, small_config, sound_config

pytestmark = pytest.mark.usefixtures("quick_compilation")

FORM = Representation("if", 4000, 64, 32, 8).fitted([(np.log(1e-3), 3.0), (-1.0, 1.0)])


class Players(HTMLParser):
    """Attributes of the audio elements, and pictures of clips by their text."""

    def __init__(self, text):
        super().__init__()
        self.players, self.pictures, self.tags = [], {}, set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "audio":
            self.players.append(dict(attrs))
        elif tag == "img":
            self.pictures[dict(attrs)["alt"]] = dict(attrs)["src"]


def content(uri, kind):
    head, _, data = uri.partition(",")
    assert head == f"data:{kind};base64"
    return io.BytesIO(base64.b64decode(data, validate=True))


def page_of(folder, config):
    return render(gather(folder, config))


def tones(count, form=FORM):
    times = np.arange(form.samples) / form.sample_rate
    return 0.4 * np.sin(2 * np.pi * (200 + 50 * np.arange(count)[:, None]) * times)


def write_set(folder, name, waves, *, form=FORM, columns=13):
    tiles = SoundTiles(form, Workdir(folder))
    tiles.write(folder / f"{name}.png", form.encode(waves), columns=columns, factor=1, holds="x")


@pytest.fixture
def folder(tmp_path):
    """The files of a run with sound that a report reads: 26 reals and fakes, of which 16 are heard."""
    store_config(Workdir(tmp_path), CONFIG)
    for name, shift in (("reals", 0), ("fakes000000", 5)):
        write_set(tmp_path, name, tones(26 + shift)[shift:])
    write_wave(Workdir(tmp_path).originals, one_after_another(list(tones(16)), 4000), 4000)
    return tmp_path


CONFIG = sound_config()


class TestPage:
    def test_of_a_run_can_be_played(self, launch, sound_run, tmp_path):
        status, _, err = launch("report", f"--workdir={sound_run}", f"--out={tmp_path / 'page.html'}")
        assert (status, err) == (0, "")
        text = (tmp_path / "page.html").read_text()
        page = Players(text)
        assert len(page.players) >= 8 + 16
        for player in page.players:
            assert player["preload"] == "none"
            assert "controls" in player
            rate, wave = wavfile.read(content(player["src"], "audio/wav"))
            assert abs(len(wave) / rate - CONFIG.data.sound.samples / 4000) < 1e-3
        assert not {"script", "link", "iframe", "source"} & page.tags
        assert not re.search(r"https?:|url\(|@import", text)
        assert len(text) < 1e6
        assert "real 0, class 60" in text
        assert "fake 1, class 61" in text

    def test_plays_what_it_shows(self, folder):
        page = Players(page_of(folder, CONFIG))
        reals, fakes = tones(26), tones(31)[5:]
        by_title = {player["aria-label"]: player["src"] for player in page.players}
        assert len(by_title) == len(page.players) == 2 * 8 + 16
        for number in range(8):
            played = wavfile.read(content(by_title[f"real {number} original"], "audio/wav"))[1] / 32767
            np.testing.assert_allclose(played, reals[number], atol=1e-4)
        for title, waves, number in (("real 7 through its spectrogram", reals, 7), ("fake 15 ", fakes, 15)):
            played = wavfile.read(content(by_title[title], "audio/wav"))[1] / 32767
            wanted = FORM.decode(FORM.encode(waves[number]))
            np.testing.assert_allclose(played, wanted, atol=1e-4)
        for title, waves in (("real 7", reals), ("fake 15", fakes)):
            with Image.open(content(page.pictures[f"spectrogram of {title}"], "image/png")) as image:
                shown = np.asarray(image)
            encoded = FORM.encode(waves[int(title.split()[1])])
            np.testing.assert_array_equal(shown[:, :8], magnitude_pictures(encoded, FORM).repeat(3, axis=-1))
            np.testing.assert_array_equal(shown[:, 8:], hue_pictures(encoded, FORM))

    def test_says_what_it_leaves_out(self, folder):
        text = page_of(folder, CONFIG)
        assert "and 8 more in reals.wav" in text
        assert "more in fakes" not in text

    def test_without_originals_reals_have_one_player(self, folder):
        Workdir(folder).originals.unlink()
        page = Players(page_of(folder, CONFIG))
        assert sum(player["aria-label"].startswith("real") for player in page.players) == 8

    def test_lower_resolutions_have_one_player_each(self, folder):
        config = replace(CONFIG, schedule=replace(CONFIG.schedule, start_resolution=4, stable_kimg=2.0, fade_kimg=2.0))
        for kimg in (1, 5, 9):
            write_set(folder, f"fakes{kimg:06d}", tones(16))
        page = Players(page_of(folder, config))
        titles = [player["aria-label"] for player in page.players]
        assert "8x32, kimg 9, newest" in page_of(folder, config)
        assert titles[-2:] == ["4x16, kimg 5: 16 clips", "2x8, kimg 1: 16 clips"]
        _, wave = wavfile.read(content(page.players[-1]["src"], "audio/wav"))
        assert len(wave) == 16 * 256 + 15 * 200

    @pytest.mark.parametrize(("samples", "reals", "fakes"), [(64_000, 3, 3), (400_000, 1, 2), (4_000_000, 0, 0)])
    def test_long_clips_are_fewer(self, tmp_path, samples, reals, fakes):
        config = sound_config()
        sound = replace(config.data.sound, hop=samples // 8, n_fft=samples, length=samples)
        config = replace(config, data=replace(config.data, sound=sound))
        wave = one_after_another([np.random.RandomState(0).uniform(-1, 1, samples)] * 3, 4000)
        for name in ("reals", "fakes000000"):
            write_wave(tmp_path / f"{name}.wav", wave, 4000)
            Image.new("L", (104, 64)).save(tmp_path / f"{name}.png")
        text = page_of(tmp_path, config)
        players = Players(text).players
        titles = [player["aria-label"].split()[0] for player in players]
        assert titles == ["real"] * reals + ["fake"] * fakes
        assert sum(len(player["src"]) for player in players) <= MOST_BYTES
        assert len(text) < 8e6
        for name, shown in (("reals", reals), ("fakes000000", fakes)):
            assert (f"and {3 - shown} more in {name}.wav" in text) == (shown < 3)


class TestDamage:
    @pytest.mark.parametrize("damaged", [b"", b"RIFF", b"RIFF\x00\x00\x00\x00WAVEfmt ", b"no wave", b"\x00" * 3000])
    def test_damaged_waves_are_left_out(self, folder, damaged):
        for name in ("reals.wav", "reals-original.wav"):
            (folder / name).write_bytes(damaged)
        page = Players(page_of(folder, CONFIG))
        assert len(page.players) == 16
        (folder / "fakes000000.wav").write_bytes(damaged)
        assert "<h2>Sound</h2>" not in page_of(folder, CONFIG)

    def test_without_grids_and_grid_json_there_are_still_players(self, folder):
        for name in ("reals.png", "reals-hue.png", "fakes000000-hue.png"):
            (folder / name).write_bytes(b"no picture")
        (folder / "grid.json").write_text('{"classes": [[99]], "class_names": ["60"]}')
        assert len(Players(page_of(folder, CONFIG)).players) == 32

    def test_names_of_classes_are_text(self, folder):
        (folder / "grid.json").write_text('{"classes": [[0]], "class_names": ["<i>x</i>"]}')
        text = page_of(folder, CONFIG)
        assert "class &lt;i&gt;x&lt;/i&gt;" in text
        assert "<i>" not in text

    def test_a_run_of_images_has_no_such_section(self, tmp_path_factory, tmp_path):
        run = copy_of(finished_run(tmp_path_factory.getbasetemp()), tmp_path)
        assert "<h2>Sound</h2>" not in page_of(run, small_config())
