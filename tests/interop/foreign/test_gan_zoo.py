"""Checkpoints of pytorch_GAN_zoo: golden images and scores from a file, and refusal of all else."""

from __future__ import annotations

import os

import numpy as np
import pytest

from pggan_jax.interop.foreign.gan_zoo import feature_map_settings, read_gan_zoo
from tests.helpers.array_source import refusal
from tests.helpers.foreign_files import TensorOfTensor, class_in, write_torch
from tests.helpers.foreign_models import close_to, outputs_of

OPTIONS = {
    "depthScale0": 16,
    "depthOtherScales": [16, 8],
    "latentVectorDim": 16,
    "categoryVectorDim": 0,
    "dimOutput": 3,
    "alpha": 0.0,
    "leakyReluLeak": 0.2,
    "perChannelNormalization": True,
    "miniBatchStdDev": True,
    "equalizedlR": True,
    "lossCriterion": "WGANGP",
}


def golden(reference):
    """Tensors of netG and netD, latents, images."""
    rng, networks = np.random.RandomState(0), {}
    for name, keys in reference["golden_pytorch_GAN_zoo"]["keys"].items():
        networks[name] = {}
        for key, shape in keys:
            values = rng.randn(*shape)
            networks[name][key] = (values * 0.3 if key.endswith("bias") else values).astype(np.float32)
    latents, images = rng.randn(8, 16), rng.randn(8, 3, 16, 16)
    return networks, latents.astype(np.float32), images.astype(np.float32).transpose(0, 2, 3, 1)


def write(path, networks, *, container="zip", **options):
    zeros = {key: np.zeros_like(value) for key, value in networks["netG"].items()}
    content = {"netG": zeros, "netD": networks["netD"], "avgG": networks["netG"]}
    return write_torch(path, content, container=container, config={**OPTIONS, **options})


@pytest.mark.parametrize("container", ["zip", "legacy"])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_a_file_gives_the_golden_images_and_scores(reference, tmp_path, alpha, container):
    networks, latents, images = golden(reference)
    model = read_gan_zoo(write(tmp_path / "model.pth", networks, container=container, alpha=alpha))
    (case,) = [case for case in reference["golden_pytorch_GAN_zoo"]["cases"] if case["alpha_zoo"] == alpha]
    fakes, scores = outputs_of(model, latents, np.zeros((8, 0), np.float32), images)
    close_to(fakes.mean(), case["G_mean"])
    close_to(fakes.std(), case["G_std"])
    close_to(fakes[0, 0, :4, 0], case["G_nchw_0_0_0_0to3"])
    close_to(fakes[7, 15, 12:, 2], case["G_nchw_7_2_15_12to15"])
    close_to(scores, case["D_scores"])
    assert not any(leaf.any() for leaf in model.raw_generator.values())


def test_keys_of_very_old_files(reference, tmp_path):
    networks, *_ = golden(reference)
    old = {name: {key.replace(".module", ""): value for key, value in state.items()} for name, state in networks.items()}
    ours, theirs = (read_gan_zoo(write(tmp_path / f"{n}.pth", state)) for n, state in enumerate((networks, old)))
    assert ours.generator.keys() == theirs.generator.keys()
    assert all((ours.generator[path] == theirs.generator[path]).all() for path in ours.generator)


def test_without_equalized_learning_rate_weights_are_used_as_they_are(reference, tmp_path):
    """The weights of the golden case times their factors, stored without, give the same images."""
    networks, latents, images = golden(reference)
    scaled = {
        name: {
            key: value * np.sqrt(2 / np.prod(state[f"{key.rpartition('.')[0]}.weight"].shape[1:])).astype(np.float32)
            for key, value in state.items()
        }
        for name, state in networks.items()
    }
    model = read_gan_zoo(write(tmp_path / "model.pth", scaled, equalizedlR=False))
    fakes, scores = outputs_of(model, latents, np.zeros((8, 0), np.float32), images)
    case = reference["golden_pytorch_GAN_zoo"]["cases"][0]
    close_to(fakes.std(), case["G_std"])
    close_to(scores, case["D_scores"])


def test_class_logits_overlap_the_score(reference, tmp_path):
    networks, *_ = golden(reference)
    rng = np.random.RandomState(3)
    networks["netD"]["decisionLayer.module.weight"] = rng.randn(4, 16).astype(np.float32)
    networks["netD"]["decisionLayer.module.bias"] = np.arange(4, dtype=np.float32)
    model = read_gan_zoo(write(tmp_path / "model.pth", networks, categoryVectorDim=3))
    assert (model.label_size, model.config.generator.latent_size, model.config.data.labels) == (3, 13, True)
    kernel, bias = (model.discriminator[f"block_4x4/dense1/{leaf}"] for leaf in ("kernel", "bias"))
    np.testing.assert_array_equal(kernel[:, 0], kernel[:, 1])
    close_to(bias / np.sqrt(2 / 16), [0, 0, 1, 2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"leakyReluLeak": 0.1}, "slope 0.1"),
        ({"perChannelNormalization": False}, "no pixel norm"),
        ({"alpha": 1.5}, "alpha 1.5 is not from 0 to 1"),
        ({"lossCriterion": "other"}, "lossCriterion other is unknown"),
        ({"lossCriterion": "MSE", "alpha": 0.3}, "middle of a fade"),
        ({"categoryVectorDim": float("inf")}, "not of the form of pytorch_GAN_zoo"),
        ({"alpha": 10**400}, "not of the form of pytorch_GAN_zoo"),
        ({"categoryVectorDim": 2}, "discriminator knows 0 classes, and its configuration 2"),
    ],
)
def test_networks_that_cannot_be_computed(reference, tmp_path, options, message):
    networks, *_ = golden(reference)
    assert message in refusal(read_gan_zoo, write(tmp_path / "model.pth", networks, **options))


def test_tanh(reference, tmp_path):
    networks, *_ = golden(reference)
    model = read_gan_zoo(write(tmp_path / "model.pth", networks, lossCriterion="DCGAN"))
    assert model.config.generator.output_activation == "tanh"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(reference, tmp_path, value):
    networks, *_ = golden(reference)
    networks["netD"]["fromRGBLayers.0.module.bias"][0] = value
    assert "array fromRGBLayers.0.module.bias has NaN" in refusal(read_gan_zoo, write(tmp_path / "model.pth", networks))


@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_nothing_in_a_file_is_run(tmp_path, container):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    path = write_torch(tmp_path / "evil.pth", {"netG": {}, "more": Evil()}, container=container, config=OPTIONS)
    assert "system, which could run code" in refusal(read_gan_zoo, path)
    assert not (tmp_path / "ran").exists()


def test_a_class_that_is_called(tmp_path):
    """A class of an unknown module stands for attributes alone; calling it with arguments is refused by name."""

    class Evil:
        def __reduce__(self):
            return self.target, ("rm -rf",)

    with class_in("unknown.module", "run") as target:
        evil = Evil()
        evil.target = target
        path = write_torch(tmp_path / "evil.pth", {"netG": {}, "more": evil}, config=OPTIONS)
    assert "unknown.module.run, which could run code" in refusal(read_gan_zoo, path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_truncated_files(reference, tmp_path, container, share):
    networks, *_ = golden(reference)
    path = write(tmp_path / "model.pth", networks, container=container)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert "damaged" in refusal(read_gan_zoo, path) or "is refused" in refusal(read_gan_zoo, path)


@pytest.mark.parametrize(
    ("depths", "expected"),
    [
        ([512, 512, 512, 512, 256, 128, 64, 32, 16], (8192, 1.0, 512)),
        ([16, 16, 8], (64, 1.0, 16)),
        ([64], (128, 1.0, 64)),
        ([32, 16, 8], (64, 1.0, 32)),
    ],
)
def test_feature_maps(depths, expected):
    assert tuple(feature_map_settings(depths).values()) == expected
    base, decay, most = expected
    assert [min(int(base / 2 ** (stage * decay)), most) for stage in range(1, len(depths) + 1)] == depths


def test_a_configuration_without_attributes_has_the_defaults(reference, tmp_path):
    networks, *_ = golden(reference)
    path = write_torch(tmp_path / "model.pth", {"netG": networks["netG"]}, config={})
    model = read_gan_zoo(path)
    assert (model.alpha, model.label_size, model.discriminator) == (1.0, 0, None)


def test_a_tensor_of_a_tensor_is_refused(tmp_path):
    """It could read what lies behind an array."""
    content = {"netG": {}, "more": TensorOfTensor(np.zeros(4, np.float32))}
    path = write_torch(tmp_path / "model.pth", content, config=OPTIONS)
    assert "a tensor has no storage" in refusal(read_gan_zoo, path)
