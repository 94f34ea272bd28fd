"""Files that a run with sound writes: grids of spectrograms, and their first tiles as sound."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.data.original_clips import OriginalClips
from pggan_jax.data.sounds.notes import note
from pggan_jax.images import make_grid, nearest_upscale, to_uint8
from pggan_jax.loop.image_grids import TILES_HEARD, SampleGrids, SoundTiles
from pggan_jax.run_logs.workdir import Workdir
from pggan_jax.sound.measures import hertz
from pggan_jax.sound.representations import Representation
from pggan_jax.sound.spectrogram_pictures import hue_pictures, magnitude_pictures
from tests.helpers.runs import small_loader, sound_config

pytestmark = pytest.mark.usefixtures("quick_compilation")

NOTES = Representation().fitted([(np.log(1e-3), 4.0), (-1.0, 1.0)])
CONFIG = sound_config(run__grid="13x2")


def read_png(path):
    with Image.open(path) as image:
        return np.asarray(image)


class Player:
    """A sampler that has the reals of each class, as floats; keeps its last labels."""

    resolution = 16

    def __init__(self, loader):
        self._images = loader.gather(16, np.arange(len(loader)))

    def floats_by_seed(self, params, latents, *, labels, alpha):
        self.labels = labels
        first = [self._images.labels[:, number].argmax() for number in labels.argmax(axis=1)]
        return (self._images.images[first] / 127.5 - 1).astype(np.float32) + 0.002


@pytest.fixture
def loader():
    return small_loader(CONFIG.data, CONFIG.run.seed)


@pytest.fixture
def grids(loader, tmp_path):
    return SampleGrids(CONFIG, loader, workdir=Workdir(tmp_path))


class TestSoundGrids:
    def test_each_column_shows_a_pitch_from_low_to_high(self, grids, loader, tmp_path):
        player = Player(loader)
        grids.write_fakes(player, {}, alpha=1.0, images_seen=0)
        assert player.labels.argmax(axis=1).tolist() == 2 * list(range(13))
        document = json.loads((tmp_path / "grid.json").read_text())
        seeds = np.array(document["seeds"])
        assert seeds.shape == (2, 13)
        assert len(set(seeds.ravel().tolist())) == 26
        assert (seeds % 13 == np.arange(13)).all(), "the class that sample takes for the seed"
        assert document["classes"] == 2 * [list(range(13))]
        assert document["class_names"] == [str(60 + k) for k in range(13)]

    def test_grids_are_spectrograms_in_grey_and_in_colour(self, grids, loader, tmp_path):
        grids.write_reals()
        grey, colour = read_png(tmp_path / "reals.png"), read_png(tmp_path / "reals-hue.png")
        assert grey.shape == (2 * 32, 13 * 8)
        assert colour.shape == (2 * 32, 13 * 8, 3)
        assert np.abs(colour.max(axis=-1).astype(int) - grey).max() <= 1
        everything = loader.gather(16, np.arange(len(loader)))
        pictures = magnitude_pictures(everything.images, loader.representation)
        drawn = {one.tobytes(): label for one, label in zip(pictures, everything.labels.argmax(axis=1), strict=True)}
        tiles = grey.reshape(2, 32, 13, 8).transpose(0, 2, 1, 3)
        assert [[drawn[np.ascontiguousarray(tile).tobytes()] for tile in row] for row in tiles] == 2 * [list(range(13))]

    def test_the_first_tiles_are_heard_with_gaps(self, grids, loader, tmp_path):
        grids.write_reals()
        rate, wave = wavfile.read(tmp_path / "reals.wav")
        samples, gap = loader.representation.samples, round(0.05 * 4000)
        assert (rate, wave.dtype) == (4000, np.int16)
        assert len(wave) == TILES_HEARD * samples + (TILES_HEARD - 1) * gap
        for number in range(TILES_HEARD):
            start = number * (samples + gap)
            clip = wave[start : start + samples].astype(float)
            assert np.abs(clip).max() > 1000
            assert not wave[start + samples : start + samples + gap].any()

    def test_fakes_are_heard_without_rounding_to_bytes(self, tmp_path):
        """As `decode` returns them; a tone of the right pitch."""
        times = np.arange(4096) / 8000
        images = NOTES.encode(0.5 * np.sin(2 * np.pi * hertz(69) * times))[None].astype(np.float32)
        tiles = SoundTiles(NOTES, Workdir(tmp_path))
        tiles.write(tmp_path / "fakes000001.png", images, columns=1, factor=1, holds="generated images")
        _, wave = wavfile.read(tmp_path / "fakes000001.wav")
        assert np.abs(wave / 32767 - NOTES.decode(images[0])).max() < 1e-4
        assert np.abs(wave / 32767 - NOTES.decode(to_uint8(images)[0])).max() > 1e-3, "the comparison can fail"

    def test_loud_fakes_are_scaled_as_a_whole(self, tmp_path):
        form = Representation().fitted([(np.log(1e-3), 6.0), (-1.0, 1.0)])
        loud = np.stack([form.encode(scale * np.sin(np.arange(4096) / 3)) for scale in (3.0, 0.3)])
        SoundTiles(form, Workdir(tmp_path)).write(tmp_path / "fakes000000.png", loud, columns=2, factor=1, holds="x")
        _, wave = wavfile.read(tmp_path / "fakes000000.wav")
        assert np.abs(wave).max() == round(0.99 * 32767)
        middles = [np.abs(wave[start : start + 1000].astype(float)).max() for start in (1500, 1500 + 4096 + 400)]
        assert middles[0] / middles[1] == pytest.approx(10, rel=0.05)

    def test_coarse_levels_have_the_size_of_full_ones(self, tmp_path):
        coarse = np.random.RandomState(0).uniform(-0.8, 0.8, (3, 8, 32, 2)).astype(np.float32)
        SoundTiles(NOTES, Workdir(tmp_path)).write(tmp_path / "fakes000000.png", coarse, columns=3, factor=4, holds="x")
        wanted = make_grid(nearest_upscale(hue_pictures(coarse, NOTES), 4), 3)
        np.testing.assert_array_equal(read_png(tmp_path / "fakes000000-hue.png"), wanted)
        assert len(wavfile.read(tmp_path / "fakes000000.wav")[1]) == 3 * 4096 + 2 * 400

    def test_one_channel_has_no_colours(self, tmp_path):
        form = Representation("reallog", n_fft=64, hop=16, frames=32, length=512).fitted([(-3.0, 3.0)])
        images = np.random.RandomState(0).uniform(-1, 1, (2, 32, 32, 1))
        SoundTiles(form, Workdir(tmp_path)).write(tmp_path / "fakes000000.png", images, columns=2, factor=1, holds="x")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["fakes000000.png", "fakes000000.wav"]

    def test_nan_is_not_heard_as_silence(self, tmp_path):
        images = np.full((1, 32, 128, 2), np.nan, np.float32)
        SoundTiles(NOTES, Workdir(tmp_path)).write(tmp_path / "fakes000000.png", images, columns=1, factor=1, holds="x")
        assert not (tmp_path / "fakes000000.wav").exists()

    def test_in_a_run(self, sound_run):
        names = {path.name for path in sound_run.iterdir() if path.suffix in (".png", ".wav")}
        stems = {name.split(".")[0].removesuffix("-hue").removesuffix("-original") for name in names}
        assert stems == {"reals", "fakes000000"}
        assert names - {"reals-original.wav"} == {f"{stem}{end}" for stem in stems for end in (".png", "-hue.png", ".wav")}


class TestOriginals:
    def waves(self, path, count):
        _, wave = wavfile.read(path)
        starts = np.arange(count) * (256 + 200)
        return wave[starts[:, None] + np.arange(256)] / 32767

    def test_are_the_notes_of_the_reals(self, grids, tmp_path, loader):
        grids.write_reals()
        originals, through = (self.waves(tmp_path / name, 16) for name in ("reals-original.wav", "reals.wav"))
        notes = [note(number, sample_rate=4000, samples=256) for number in range(52)]
        for number, original in enumerate(originals):
            found = np.abs(np.array(notes) - original).max(axis=1).argmin()
            np.testing.assert_allclose(original, notes[found], atol=2e-5)
            assert found % 13 == number % 13
            assert 0 < np.abs(through[number] - original).max() < 0.4, "the same clip, not quite"

    @pytest.mark.parametrize("left_out", [0, 1, 3])
    def test_are_found_behind_clips_that_were_left_out(self, left_out):
        class Waves:
            def __len__(self):
                return 8

            def read(self, number):
                if 2 <= number < 2 + left_out:
                    raise UnusableImageError("silent")
                return note(number, sample_rate=8000, samples=4096)

        clips = OriginalClips(Waves(), np.arange(8))
        for row in range(8 - left_out):
            number = row if row < 2 else row + left_out
            image = NOTES.to_bytes(NOTES.encode(note(number, sample_rate=8000, samples=4096)))
            found = clips.find(row, image, representation=NOTES, left_out=left_out)
            np.testing.assert_array_equal(found, note(number, sample_rate=8000, samples=4096))
        image[..., 0] += 1
        assert clips.find(0, image, representation=NOTES, left_out=left_out) is None

    def test_sources_that_cannot_give_them(self, grids, loader, tmp_path, monkeypatch):
        grids.write_reals()
        assert (tmp_path / "reals-original.wav").exists()
        monkeypatch.setattr(loader, "_pyramid", replace(loader._pyramid, clips=None))
        grids.write_reals()
        assert (tmp_path / "reals.wav").exists()
        assert not (tmp_path / "reals-original.wav").exists()

    def test_of_a_shuffled_selection(self, tmp_path):
        config = sound_config(run__grid="13x2", data__max_images=30, data__shuffle_seed=4)
        loader = small_loader(config.data, 0)
        waves = loader.original_waves(np.arange(30))
        assert len(waves) == 30
        images = loader.images(16, np.arange(30))
        form = loader.representation
        np.testing.assert_array_equal(form.to_bytes(form.encode(np.array(waves))), images)
