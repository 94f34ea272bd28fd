"""Sets of images: the order and mirroring of reals by seed; generated images by seed, class and alpha."""

from __future__ import annotations

import numpy as np
import pytest

from pggan_jax.data.loader import Loader
from pggan_jax.data.pyramid import Pyramid
from pggan_jax.evaluation.image_sets import RealPool, generated_images
from pggan_jax.generation.sampling import Sampler
from pggan_jax.images import ImageSpec
from pggan_jax.networks.build import build_networks, initialize
from tests.helpers.runs import small_config

pytestmark = pytest.mark.usefixtures("quick_compilation")

COUNT = 200


@pytest.fixture(scope="module")
def loader():
    """Noise: no image is the mirror image of another."""
    level = np.random.default_rng(0).integers(0, 256, (COUNT, 4, 4, 1), dtype=np.uint8)
    return Loader(Pyramid({4: level}, np.arange(COUNT, dtype=np.int32) % 10, tuple("0123456789")), seed=0, use_labels=True)


def read_by(pool):
    """The number of each image of a pool, and whether it is mirrored."""
    known = {}
    for number, image in enumerate(pool.loader.level(4)):
        known[image.tobytes()] = number, False
        known[np.ascontiguousarray(image[:, ::-1]).tobytes()] = number, True
    found = pool.draw(0, COUNT)
    numbers, flips = zip(*(known[image.tobytes()] for image in found.read(0, COUNT)), strict=True)
    assert sorted(numbers) == list(range(COUNT)), "no image twice"
    np.testing.assert_array_equal(found.classes, np.array(numbers) % 10)
    return np.array(numbers), np.array(flips)


class TestReals:
    def test_half_are_mirrored_if_training_mirrored(self, loader):
        """The number is 100 with a deviation of 7."""
        numbers, flips = read_by(RealPool(loader, 4, 3, mirror=True))
        assert 65 < flips.sum() < 135
        again, same = read_by(RealPool(loader, 4, 3, mirror=True))
        np.testing.assert_array_equal(numbers, again)
        np.testing.assert_array_equal(flips, same)

    def test_none_is_mirrored_otherwise(self, loader):
        assert not read_by(RealPool(loader, 4, 3))[1].any()

    def test_order_and_flips_depend_on_the_seed(self, loader):
        """Flips belong to images, not to positions in the order, so they are compared by image."""
        (first, flips), (second, others) = (read_by(RealPool(loader, 4, seed, mirror=True)) for seed in (3, 4))
        assert not np.array_equal(first, second)
        assert 65 < (flips[np.argsort(first)] != others[np.argsort(second)]).sum() < 135

    def test_batch_size_changes_no_flip(self, loader):
        found = RealPool(loader, 4, 3, mirror=True).draw(0, COUNT)
        pieces = [images for _, images in found.batches(7, until=COUNT)]
        np.testing.assert_array_equal(np.concatenate(pieces), found.read(0, COUNT))


@pytest.fixture(scope="module")
def make():
    """Images 8x8 of a generator at initialisation."""
    config = small_config(data__labels=True)
    networks = build_networks(config, 8, image_spec=ImageSpec(8, 8, 1, 10))
    params, _ = initialize(networks, 0)
    sampler = Sampler(networks.generator)

    def make(*, classes=(0, 1, 2), alpha=0.5, seed=1):
        fakes = generated_images(sampler, params, classes=np.array(classes), alpha=alpha, seed=seed, count=30)
        return fakes.read(0, 30).astype(int)

    return make


class TestFakes:
    def test_depend_on_the_seed(self, make):
        first, again, other = make(), make(), make(seed=2)
        np.testing.assert_array_equal(first, again)
        assert all(np.abs(a - b).max() > 1 for a, b in zip(first, other, strict=True))
        latents = len({image.tobytes() for image in make(classes=(0,))})
        assert latents == 30, "each has a latent vector of its own"

    def test_take_their_classes_in_turn(self, make):
        """Images 0, 3, 6 ... are of class 0, whatever the classes of the others."""
        mixed, zeros = make(), make(classes=(0,))
        assert np.abs(mixed[::3] - zeros[::3]).max() <= 1
        assert np.abs(mixed[1::3] - zeros[1::3]).max(axis=(1, 2, 3)).min() > 1

    def test_depend_on_alpha(self, make):
        """Images at an intermediate alpha are blends."""
        low, middle, high = (make(alpha=alpha) for alpha in (0.0, 0.25, 1.0))
        assert np.abs(low - high).max() > 10
        inside = (low > 0) & (low < 255) & (high > 0) & (high < 255)  # not clipped
        assert inside.mean() > 0.2
        assert np.abs(middle - (0.75 * low + 0.25 * high))[inside].max() <= 1.5
