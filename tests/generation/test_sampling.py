"""Images of generators: latents by seed, chunks, sample grids of a run, class names."""

from __future__ import annotations

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from PIL import Image

from pggan_jax.checkpointing.trained_model import load_trained_model
from pggan_jax.config.io import replace_setting
from pggan_jax.data.loader import Loader
from pggan_jax.errors import UserError
from pggan_jax.generation import sampling
from pggan_jax.generation.class_names import classes_of_seeds, file_part, find_class, number_of_class
from pggan_jax.generation.sampling import Sampler, images_of_seeds, latents_for_seeds, one_hot
from pggan_jax.images import ImageSpec, make_grid, to_uint8
from pggan_jax.loop.image_grids import SampleGrids, grid_seeds
from pggan_jax.networks.build import build_networks, initialize
from pggan_jax.run_logs.workdir import Workdir
from tests.helpers.runs import (
    FIRST_TICK,
    finished_labelled_run,
    finished_run,
    labelled_config,
    run_small,
    small_config,
    small_loader,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")


class TestLatents:
    def test_of_a_seed_are_the_official_ones(self, reference):
        first = reference["golden_misc"]["latents_RandomState1000_first5"]
        np.testing.assert_allclose(latents_for_seeds([1000], 512)[0, :5], first, rtol=1e-6)

    def test_a_seed_does_not_depend_on_its_neighbours(self):
        together = latents_for_seeds([3, 9, 27], 16)
        np.testing.assert_array_equal(latents_for_seeds([9], 16)[0], together[1])
        assert together.shape == (3, 16)
        assert together.dtype == np.float32
        assert not np.array_equal(together[0], together[1])

    def test_of_the_largest_seed(self):
        wanted = np.random.RandomState(2**32 - 1).randn(7).astype(np.float32)
        np.testing.assert_array_equal(latents_for_seeds([5, 2**32 - 1], 7)[1], wanted)

    def test_one_hot(self):
        assert one_hot([1, 0, 4], 3).tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 0]]
        assert one_hot([5, 6], 0).shape == (2, 0)


@pytest.fixture(scope="module")
def generator():
    networks = build_networks(small_config(data__resolution=4), 4, image_spec=ImageSpec(4, 4, 1))
    params, _ = initialize(networks, 3)
    return networks.generator, jax.device_get(params)


class TestSampler:
    @pytest.mark.parametrize("chunk", [1, 3, 7, 64])
    def test_chunk_size_does_not_change_images(self, generator, monkeypatch, chunk):
        module, params = generator
        latents = latents_for_seeds(range(7), 8)
        whole = Sampler(module)(params, latents, np.zeros((7, 0)), 1.0)
        monkeypatch.setattr(sampling, "CHUNK_PIXELS", chunk * 4**2)
        pieces = Sampler(module)
        assert pieces.chunk == chunk
        images = pieces(params, latents, np.zeros((7, 0)), 1.0)
        assert images.shape == (7, 4, 4, 1)
        assert images.dtype == np.uint8
        assert np.abs(images.astype(int) - whole).max() <= 1
        assert len({image.tobytes() for image in images}) == 7

    def test_blends_by_alpha(self):
        """At 0 the enlarged image of the previous resolution, at 1 the new one, in between a blend."""
        networks = {side: build_networks(small_config(), side, image_spec=ImageSpec(side, side, 1)) for side in (4, 8)}
        params, _ = initialize(networks[8], 3)
        older = {name: params[name] for name in ("block_4x4", "to_rgb_4x4")}
        latents, labels = latents_for_seeds(range(7), 8), np.zeros((7, 0))
        small = Sampler(networks[4].generator)(older, latents, labels, 1.0).repeat(2, axis=1).repeat(2, axis=2)
        low, middle, high = (Sampler(networks[8].generator)(params, latents, labels, alpha) for alpha in (0.0, 0.25, 1.0))
        assert np.abs(low.astype(int) - small).max() <= 1
        assert np.abs(low.astype(int) - high).max() > 10
        inside = np.all([(image > 0) & (image < 255) for image in (low, high)], axis=0)  # not clipped
        assert inside.mean() > 0.2
        assert np.abs(middle - (0.75 * low + 0.25 * high))[inside].max() <= 1.5

    @pytest.mark.parametrize(("backend", "batch"), [("cpu", 16), ("gpu", 64), ("tpu", 64)])
    def test_an_image_does_not_depend_on_the_others(self, generator, monkeypatch, backend, batch):
        """Equal to the bit, whether it is generated alone, at another place, or in a longer list."""
        module, params = generator
        monkeypatch.setattr(jax, "default_backend", lambda: backend)
        sampler = Sampler(module)
        assert sampler.small_batch == batch

        def images(seeds):
            return sampler.by_seed(params, latents_for_seeds(seeds, 8), labels=np.zeros((len(seeds), 0)), alpha=1.0)

        together, order = images(range(150)), np.random.RandomState(0).permutation(150)
        np.testing.assert_array_equal(images(order), together[order])
        for seed in (0, 63, 149):
            np.testing.assert_array_equal(images([seed]), together[[seed]])
        streamed = images_of_seeds(
            sampler, params, seeds=range(150), classes=lambda seeds: np.zeros(len(seeds), int), alpha=1.0
        )
        np.testing.assert_array_equal(np.stack([image for _, _, image in streamed]), together)

    def test_floats_are_the_same_images(self, generator):
        module, params = generator
        sampler, latents, labels = Sampler(module), latents_for_seeds(range(20), 8), np.zeros((20, 0))
        floats = sampler.floats_by_seed(params, latents, labels=labels, alpha=1.0)
        assert floats.dtype == np.float32
        assert np.abs(floats).max() > 1  # not clipped
        np.testing.assert_array_equal(to_uint8(floats), sampler.by_seed(params, latents, labels=labels, alpha=1.0))
        np.testing.assert_array_equal(sampler.floats_by_seed(params, latents[7:8], labels=labels[:1], alpha=1.0), floats[7:8])
        assert sampler.floats_by_seed(params, latents[:0], labels=labels[:0], alpha=1.0).shape == (0, 4, 4, 1)

    def test_one_image(self, generator):
        module, params = generator
        assert Sampler(module)(params, latents_for_seeds(range(1), 8), np.zeros((1, 0)), 1.0).shape == (1, 4, 4, 1)


class Painter:
    """A sampler whose image n has the value n; keeps its last arguments."""

    def __init__(self, resolution):
        self.resolution = resolution

    def __call__(self, params, latents, labels, alpha):
        self.latents, self.labels, self.alpha = latents, labels, alpha
        numbers = np.arange(len(latents), dtype=np.uint8)
        return np.broadcast_to(numbers[:, None, None, None], (len(latents), self.resolution, self.resolution, 1))

    def floats_by_seed(self, params, latents, *, labels, alpha):
        return (self(params, latents, labels, alpha) / 127.5 - 1).astype(np.float32)

    def start_batch(self, params, latents, *, labels, alpha):
        return self(params, latents, labels, alpha) / 127.5 - 1


def read_png(path):
    with Image.open(path) as image:
        return np.asarray(image)


class TestSampleGrids:
    def make(self, tmp_path, config):
        return SampleGrids(config, small_loader(config.data, config.run.seed), workdir=Workdir(tmp_path))

    def test_each_row_shows_a_class(self, tmp_path):
        config = replace_setting(labelled_config(), "run.grid", "5x12")
        grids, painter = self.make(tmp_path, config), Painter(4)
        grids.write_fakes(painter, {}, alpha=1.0, images_seen=0)
        classes = painter.labels.argmax(axis=1).reshape(12, 5)
        assert (classes == (np.arange(12) % 10)[:, None]).all()
        assert (painter.labels.sum(axis=1) == 1).all()

    def test_reals_of_a_row_are_of_its_class_and_never_twice(self, tmp_path):
        config = replace_setting(labelled_config(), "run.grid", "5x12")
        grids = self.make(tmp_path, config)
        grids.write_reals()
        loader = small_loader(config.data, config.run.seed)
        everything = loader.gather(4, np.arange(len(loader)))
        known = {image.tobytes(): label.argmax() for image, label in zip(*everything, strict=True)}
        cells = read_png(tmp_path / "reals.png").reshape(12, 4, 5, 4).transpose(0, 2, 1, 3)
        shown = [[known[np.ascontiguousarray(cell).tobytes()] for cell in row] for row in cells]
        assert shown == [[row % 10] * 5 for row in range(12)]
        assert len({cell.tobytes() for row in cells for cell in np.ascontiguousarray(row)}) == 60

    def test_without_labels_the_first_images_are_shown(self, tmp_path):
        config = small_config(data__resolution=4)
        self.make(tmp_path, config).write_reals()
        images, _ = small_loader(config.data, config.run.seed).gather(4, np.arange(8))
        np.testing.assert_array_equal(read_png(tmp_path / "reals.png"), make_grid(images, 4)[..., 0])

    def test_one_size_over_all_resolutions(self, tmp_path):
        grids = self.make(tmp_path, small_config())
        painters = [Painter(4), Painter(8)]
        for index, painter in enumerate(painters):
            grids.write_fakes(painter, {}, alpha=0.25, images_seen=1000 * index + 500)
        pictures = [read_png(tmp_path / name) for name in ("fakes000000.png", "fakes000001.png")]
        assert pictures[0].shape == pictures[1].shape == (16, 32)
        np.testing.assert_array_equal(pictures[0], pictures[1])
        np.testing.assert_array_equal(painters[0].latents, painters[1].latents)
        assert painters[0].alpha == 0.25

    def test_in_a_run(self, tmp_path_factory):
        workdir = finished_run(tmp_path_factory.getbasetemp())
        sizes = {read_png(path).shape for path in workdir.glob("*.png")}
        assert sizes == {(16, 32)}
        assert len(list(workdir.glob("fakes*.png"))) == 2


class TestTrained:
    def test_draws_what_the_run_drew(self, tmp_path_factory):
        """The last sample grid of the run, generated again from its checkpoint."""
        workdir = finished_run(tmp_path_factory.getbasetemp())
        trained = load_trained_model(workdir)
        images = trained.images(latents_for_seeds(range(8), trained.networks.latent_size), np.zeros((8, 0)))
        wanted = read_png(workdir / "fakes000001.png").astype(int)
        assert np.abs(make_grid(images, 4)[..., 0] - wanted).max() <= 1
        raw = trained.images(latents_for_seeds(range(8), 8), np.zeros((8, 0)), params=trained.state.generator)
        assert raw.shape == images.shape

    def test_in_mid_fade_grid_and_samples_show_the_run_s_alpha(self, tmp_path):
        """With the alpha of the last step before the grid."""
        assert not run_small(tmp_path, small_config(), stop_at=FIRST_TICK)
        trained = load_trained_model(tmp_path)
        alpha = (FIRST_TICK - 16 - 480) / 960
        assert trained.metadata.alpha == pytest.approx(alpha)
        latents = latents_for_seeds(range(8), trained.networks.latent_size)
        of_alpha = lambda alpha: trained.sampler()(trained.state.generator_ema, latents, np.zeros((8, 0)), alpha)  # noqa: E731
        wanted = make_grid(of_alpha(alpha), 4)[..., 0].astype(int)
        assert np.abs(wanted - make_grid(of_alpha(1.0), 4)[..., 0]).max() > 5, "the comparisons can fail"
        assert np.abs(read_png(tmp_path / "fakes000001.png") - wanted).max() <= 1
        assert np.abs(make_grid(trained.images(latents, np.zeros((8, 0))), 4)[..., 0] - wanted).max() <= 1

    def test_labels_matter(self, tmp_path_factory):
        trained = load_trained_model(finished_labelled_run(tmp_path_factory.getbasetemp()))
        latents = latents_for_seeds(range(1), trained.networks.latent_size)
        three, four = (trained.images(latents, one_hot([label], 10)) for label in (3, 4))
        assert not np.array_equal(three, four)


class TestStreaming:
    """Memory does not grow with the number of seeds."""

    def test_at_most_two_batches_are_generated_ahead(self):
        painter, counts = Painter(4), []
        painter.small_batch, painter.latent_size, painter.label_size = 16, 8, 0

        def endless():
            seed = 0
            while True:
                counts.append(seed)
                yield seed
                seed += 1

        images = images_of_seeds(painter, {}, seeds=endless(), classes=lambda seeds: np.zeros(len(seeds), int), alpha=1.0)
        for number in range(40):
            seed, _, image = next(images)
            assert (seed, image[0, 0, 0]) == (number, number % 16)
            assert len(counts) <= number + 32


class TestClassNames:
    NAMES = ("cat", "dog", "10", "3", "no hands", "cat2", "cat2", "7")

    @pytest.mark.parametrize(
        ("wanted", "number"),
        [
            ("dog", 1),
            ("1", 1),
            ("name:10", 2),
            ("number:3", 3),
            ("3", 3),
            ("7", 7),
            ("name:3", 3),
            ("no hands", 4),
            ("number:6", 6),
            ("10", 2),
        ],
    )
    def test_name_or_number(self, wanted, number):
        assert find_class(wanted, self.NAMES, count=len(self.NAMES)) == number

    def test_a_number_that_is_the_name_of_a_class(self):
        assert number_of_class("60", ("60", "61"), count=2) == 0
        with pytest.raises(UserError, match='label 60: must be from 0 to 1; the class of this name is label "60"'):
            number_of_class(60, ("60", "61"), count=2)

    @pytest.mark.parametrize(
        ("wanted", "words"),
        [
            ("2", "is the name of class 0 and the number of class 'b'; write name:2 or number:2"),
            ("name:dog", "no class has this name; there are 2, a, b, c, c"),
            ("c", "is the name of 2 classes; choose one of number:3, number:4"),
            ("5", "must be from 0 to 4, or the name of a class; there are 2, a, b, c, c"),
            ("number:a", "'a' is not a number from 0 to 4"),
            ("number:", "'' is not a number"),
            ("", "no class has this name"),
            ("a" * 5000, "no class has this name"),
            ("1" * 5000, "no class has this name"),
            ("number:" + "1" * 5000, "is not a number"),
        ],
    )
    def test_ambiguous_and_unknown_classes_are_refused(self, wanted, words):
        with pytest.raises(UserError) as caught:
            find_class(wanted, ("2", "a", "b", "c", "c"), count=5)
        message = str(caught.value)
        assert words in message
        assert message.startswith("--class=")
        assert len(message) <= 300

    def test_without_names_only_numbers(self):
        assert find_class("4", (), count=5) == 4
        with pytest.raises(UserError, match="does not record class names; give a number from 0 to 4"):
            find_class("dog", (), count=5)

    @pytest.mark.parametrize("wanted", ["name:1", "number:2"])
    def test_a_class_name_with_a_prefix(self, wanted):
        names = ("1", "number:2", "dog", "name:1")
        with pytest.raises(UserError, match=f"has this name; write name:{wanted}"):
            find_class(wanted, names, count=4)
        assert names[find_class(f"name:{wanted}", names, count=4)] == wanted
        assert find_class("number:0", names, count=4) == 0

    def test_file_parts_are_safe_and_unique(self):
        names = ("cat", "../x", "a/b", "1 2", "4", "\u010de\u0161", "x" * 500, "")
        parts = [file_part(number, names) for number in range(9)]
        assert parts[0] == "class0_cat"
        assert parts[4] == "class4"
        assert parts[8] == "class8"
        assert len(set(parts)) == 9
        assert all("/" not in part and len(part.encode()) <= 100 for part in parts)

    def test_classes_without_images_are_passed_over(self):
        assert classes_of_seeds(range(6), [1, 2, 5]).tolist() == [1, 2, 5, 1, 2, 5]
        assert classes_of_seeds([7], range(10)).tolist() == [7]
        assert classes_of_seeds([7, 8], []).tolist() == [0, 0]


class TestGridSeeds:
    @pytest.mark.parametrize(("columns", "rows", "classes"), [(5, 12, 10), (4, 2, 1), (3, 7, 3), (2, 3, 10)])
    def test_each_seed_shows_the_class_of_its_row_and_none_is_there_twice(self, columns, rows, classes):
        seeds = grid_seeds(columns, rows, classes=classes)
        assert len(set(seeds.tolist())) == columns * rows
        assert (seeds.reshape(rows, columns) % classes == (np.arange(rows) % classes)[:, None]).all()

    def test_without_classes_they_are_counted(self):
        assert grid_seeds(4, 2, classes=1).tolist() == list(range(8))

    def test_no_row_for_a_class_without_images(self, tmp_path):
        """Labels that start at 1, of three classes of which one more is absent."""
        config = replace_setting(labelled_config(), "run.grid", "2x5")
        pyramid = small_loader(config.data, config.run.seed)._pyramid
        classes = np.where(np.arange(len(pyramid)) % 2, 1, 3).astype(np.int32)
        loader = Loader(replace(pyramid, classes=classes), seed=0, use_labels=True)
        painter = Painter(4)
        SampleGrids(config, loader, workdir=Workdir(tmp_path)).write_fakes(painter, {}, alpha=1.0, images_seen=0)
        assert painter.labels.argmax(axis=1).reshape(5, 2).tolist() == [[1, 1], [3, 3], [1, 1], [3, 3], [1, 1]]
        assert json.loads((tmp_path / "grid.json").read_text())["classes"][1] == [3, 3]
