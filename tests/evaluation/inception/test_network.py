"""The Inception network gives the features of an independent implementation in PyTorch, stored or computed here."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from pggan_jax.errors import UserError
from pggan_jax.evaluation.inception.features import FeatureExtractor
from pggan_jax.evaluation.inception.network import Inception
from pggan_jax.evaluation.inception.resize import MODES, resize_for_inception
from pggan_jax.evaluation.inception.weights import InceptionWeights, random_weights, to_variables
from tests.helpers.inception_images import golden_images

SIDES = (64, 128, 512)
GOLDEN = Path(__file__).parents[2] / "golden" / "inception.npz"


@cache
def all_outputs():
    """(features, unbiased scores) by mode and side: one compilation for all."""
    resized = [resize_for_inception(golden_images(side), mode) for mode in MODES for side in SIDES]
    features, unbiased, biased = jax.jit(Inception().apply)(to_variables(random_weights(0)), np.concatenate(resized))
    np.testing.assert_allclose(biased - unbiased, np.broadcast_to(random_weights(0)["fc.bias"], biased.shape), atol=1e-5)
    keys = [(mode, side) for mode in MODES for side in SIDES]
    return {key: (np.asarray(features[row]), np.asarray(unbiased[row])) for row, key in enumerate(keys)}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("mode", MODES)
def test_golden_features(mode, side):
    """Typical mistakes change features by 0.4 % (scaling) to 59 % (rows and columns exchanged)."""
    golden = np.load(GOLDEN)
    for ours, name in zip(all_outputs()[mode, side], ("features", "scores"), strict=True):
        theirs = golden[f"{mode}_{side}_{name}"][0]
        ours = ours[: len(theirs)]
        assert np.abs(ours - theirs).mean() < 1e-4 * np.abs(theirs).mean()
        assert np.abs(ours - theirs).max() < 5e-4 * np.abs(theirs).max()


def test_modes_differ():
    features = [all_outputs()[mode, 64][0] for mode in MODES]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(features[first] - features[second]).mean() > 1e-3 * np.abs(features[0]).mean()


def test_equals_pytorch_if_installed():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from tests.helpers import torch_inception

    with torch.no_grad():
        features, _ = torch_inception.network(random_weights(0))(torch_inception.resize(golden_images(64), "tf1"))
    theirs = features.numpy()[0]
    assert np.abs(all_outputs()["tf1", 64][0] - theirs).mean() < 1e-4 * np.abs(theirs).mean()


class TestResize:
    @pytest.mark.parametrize("side", [107, 299])
    def test_resizing_to_the_same_size_is_the_identity(self, side):
        image = golden_images(side)
        for mode in ("tf1", "clean"):
            np.testing.assert_allclose(resize_for_inception(image, mode, side) * 128 + 128, image, atol=1e-3)

    @pytest.mark.parametrize("side", [64, 512])
    def test_clean_equals_pillow(self, side):
        image = golden_images(side)
        planes = [Image.fromarray(image[0, ..., c].astype(np.float32)).resize((299, 299), Image.BICUBIC) for c in range(3)]
        expected = np.clip(np.stack([np.asarray(plane) for plane in planes], -1), 0, 255)
        np.testing.assert_allclose(resize_for_inception(image, "clean")[0] * 128 + 128, expected, atol=2e-3)

    def test_tf1_has_no_half_pixel_shift(self):
        """The first output pixel is the first input pixel, not a mixture about its middle."""
        image = golden_images(64)
        for mode, is_equal in (("tf1", True), ("pytorchfid", False)):
            scale, shift = (128, 128) if mode == "tf1" else (127.5, 127.5)
            row = np.asarray(resize_for_inception(image, mode))[0, 0] * scale + shift
            first, second = image[0, 0, :2].astype(float)
            assert np.allclose(row[0], first, atol=1e-3)
            assert np.allclose(row[1], first + 64 / 299 * (second - first), atol=1e-3) == is_equal


class TestExtractor:
    @pytest.fixture(scope="class")
    @classmethod
    def images(cls):
        return np.concatenate([np.roll(golden_images(64), shift, axis=1) for shift in range(5)])

    @pytest.fixture(scope="class")
    @classmethod
    def weights(cls):
        return InceptionWeights(to_variables(random_weights(0)), "random")

    @pytest.mark.slow
    def test_batch_size_does_not_change_features(self, images, weights):
        """The last batch is padded and its padding dropped; results are in order."""
        extractor = FeatureExtractor(weights, "tf1", batch_size=4)
        together = extractor(images)
        assert [part.shape for part in together] == [(5, 2048), (5, 1008)]
        pairs = [extractor(images[start : start + 2]) for start in (0, 2, 4)]
        apart = [np.concatenate(parts) for parts in zip(*pairs, strict=True)]
        for ours, theirs in zip(together, apart, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(together[0][0], all_outputs()["tf1", 64][0], rtol=1e-3, atol=1e-3)
        grey = extractor(images[:1, :, :, :1])[0]
        np.testing.assert_allclose(grey, extractor(np.repeat(images[:1, :, :, :1], 3, axis=-1))[0], atol=1e-5)

    @pytest.mark.slow
    def test_another_side_has_features_of_its_own(self, images, weights):
        small, usual = FeatureExtractor(weights, batch_size=1, side=75), FeatureExtractor(weights, batch_size=1)
        assert (small.fingerprint, usual.fingerprint) == ("random tf1 75", "random tf1")
        assert (small.details["resize"], usual.details["resize"]) == ("tf1 75", "tf1")
        expected, _, _ = Inception().apply(weights.variables, resize_for_inception(images[:1], "tf1", 75))
        np.testing.assert_allclose(small(images[:1])[0], expected, rtol=1e-3, atol=1e-4)

    def test_refusals(self, images, weights):
        with pytest.raises(UserError, match="must be uint8"):
            FeatureExtractor(weights, "tf1", batch_size=4)(images / 255.0)
        with pytest.raises(UserError, match=r"nearest.*tf1, pytorchfid, clean"):
            FeatureExtractor(weights, "nearest")
