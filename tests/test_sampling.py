"""Pictures: latents by seed, chunks that leave no trace, and a run's grids that keep their layout."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from PIL import Image
from test_loop import (
    finished_labelled_run,
    finished_run,
    labelled_config,
    quick_compilation,
    small_config,
    small_loader,
)

from pggan_jax.config_io import replace_setting
from pggan_jax.generation import sampling
from pggan_jax.generation.sampling import Sampler, latents_for_seeds, one_hot
from pggan_jax.images import make_grid
from pggan_jax.networks.build import build_networks, initialize
from pggan_jax.training.snapshots import Snapshots
from pggan_jax.training.trained import load_trained
from pggan_jax.training.workdir import Workdir

quick = pytest.fixture(scope="module", autouse=True)(quick_compilation)


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

    def test_one_hot(self):
        assert one_hot([1, 0, 4], 3).tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 0]]
        assert one_hot([5, 6], 0).shape == (2, 0)


@pytest.fixture(scope="module")
def generator():
    networks = build_networks(small_config(data__resolution=4), 4, channels=1, label_size=0)
    params, _ = initialize(networks, 3)
    return networks.generator, jax.device_get(params)


class TestSampler:
    @pytest.mark.parametrize("chunk", [1, 3, 7, 64])
    def test_chunks_leave_no_trace(self, generator, monkeypatch, chunk):
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

    def test_one_picture(self, generator):
        module, params = generator
        assert Sampler(module)(params, latents_for_seeds(range(1), 8), np.zeros((1, 0)), 1.0).shape == (1, 4, 4, 1)


class Painter:
    """Stands in for a sampler: paints each picture with its number and remembers what it was asked."""

    def __init__(self, resolution):
        self.resolution = resolution

    def __call__(self, params, latents, labels, alpha):
        self.latents, self.labels, self.alpha = latents, labels, alpha
        numbers = np.arange(len(latents), dtype=np.uint8)
        return np.broadcast_to(numbers[:, None, None, None], (len(latents), self.resolution, self.resolution, 1))

    by_seed = __call__


def read_png(path):
    with Image.open(path) as image:
        return np.asarray(image)


class TestSnapshots:
    def make(self, tmp_path, config):
        return Snapshots(config, small_loader(config.data, config.run.seed), Workdir(tmp_path))

    def test_each_row_shows_a_class(self, tmp_path):
        config = replace_setting(labelled_config(), "run.grid", "5x12")
        snapshots, painter = self.make(tmp_path, config), Painter(4)
        snapshots.write_fakes(painter, {}, alpha=1.0, images_seen=0)
        classes = painter.labels.argmax(axis=1).reshape(12, 5)
        assert (classes == (np.arange(12) % 10)[:, None]).all()
        assert (painter.labels.sum(axis=1) == 1).all()

    def test_reals_of_a_row_are_of_its_class_and_never_twice(self, tmp_path):
        config = replace_setting(labelled_config(), "run.grid", "5x12")
        snapshots = self.make(tmp_path, config)
        snapshots.write_reals()
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
        snapshots = self.make(tmp_path, small_config())
        painters = [Painter(4), Painter(8)]
        for index, painter in enumerate(painters):
            snapshots.write_fakes(painter, {}, alpha=0.25, images_seen=1000 * index + 500)
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
        """The last picture of the run, made again from its checkpoint."""
        workdir = finished_run(tmp_path_factory.getbasetemp())
        trained = load_trained(workdir)
        images = trained.images(latents_for_seeds(range(8), trained.networks.latent_size), np.zeros((8, 0)))
        wanted = read_png(workdir / "fakes000001.png").astype(int)
        assert np.abs(make_grid(images, 4)[..., 0] - wanted).max() <= 1
        raw = trained.images(latents_for_seeds(range(8), 8), np.zeros((8, 0)), trained.state.generator)
        assert raw.shape == images.shape

    def test_labels_matter(self, tmp_path_factory):
        trained = load_trained(finished_labelled_run(tmp_path_factory.getbasetemp()))
        latents = latents_for_seeds(range(1), trained.networks.latent_size)
        three, four = (trained.images(latents, one_hot([label], 10)) for label in (3, 4))
        assert not np.array_equal(three, four)
