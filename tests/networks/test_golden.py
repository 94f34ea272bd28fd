"""Both networks and the WGAN-GP losses against numbers that the authors' code gave for the same variables (spec 10.3)."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pggan_jax.config import Config, DiscriminatorConfig, GeneratorConfig, LossConfig
from pggan_jax.images import ImageSpec
from pggan_jax.networks.build import Networks, build_networks
from pggan_jax.networks.resample import downscale, upscale
from pggan_jax.training.losses import classification_loss, discriminator_loss, generator_loss, gradient_norms, gradient_penalty
from tests.helpers.compiling import quick_jit
from tests.helpers.official_networks import convert, random_variables, select

FULL = 16
VARIANTS = ("fused_True_label_0", "fused_True_label_3", "fused_False_label_0", "fused_False_label_3")
LODS = (0.0, 0.25, 1.0, 1.5, 2.0)
TARGETS = (1, 750)
TOLERANCE = 1e-4

"""Each program runs once or twice here, so compiling it is all that takes time."""


class Variant(NamedTuple):
    """A golden case's variables in our trees, and its inputs in NHWC."""

    generator: dict[str, Any]
    discriminator: dict[str, Any]
    latents: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    networks: dict[int, Networks]


@pytest.fixture(scope="module")
def variants(reference) -> dict[str, Variant]:
    return {name: make_variant(name, reference["golden_forward"]["cases"][name]["variables"]) for name in VARIANTS}


def make_variant(name: str, entries: list) -> Variant:
    rng = np.random.RandomState(0)
    generator, discriminator = convert(random_variables(entries, rng), FULL)
    latents = rng.randn(8, 16).astype(np.float32)
    images = rng.randn(8, 3, FULL, FULL).astype(np.float32).transpose(0, 2, 3, 1)
    label_size = int(name[-1])
    labels = np.eye(3, dtype=np.float32)[np.arange(8) % 3][:, :label_size]
    features = {"fmap_base": 64, "fmap_max": 16, "fused_scale": "True" in name}
    config = Config(generator=GeneratorConfig(**features), discriminator=DiscriminatorConfig(**features))
    networks = {size: build_networks(config, size, image_spec=ImageSpec(size, size, 3, label_size)) for size in (4, 8, 16)}
    return Variant(generator, discriminator, latents, images, labels, networks)


def resolution_and_alpha(lod: float) -> tuple[int, float]:
    return FULL >> math.floor(lod), 1.0 - (lod - math.floor(lod))


def trees_at(variant: Variant, resolution: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The leaves that our modules of this resolution have, taken from the converted trees."""
    networks, key = variant.networks[resolution], jax.random.key(0)
    images = jnp.zeros((8, resolution, resolution, 3))
    wanted_g = jax.eval_shape(networks.generator.init, key, variant.latents, variant.labels)["params"]
    wanted_d = jax.eval_shape(networks.discriminator.init, key, images)["params"]
    return select(variant.generator, wanted_g), select(variant.discriminator, wanted_d)


def repeat_step(function: Any, x: jax.Array, *, until: int) -> jax.Array:
    while x.shape[1] != until:
        x = function(x)
    return x


@functools.cache
def forward(networks: Networks) -> Any:
    """Generated images at full resolution, scores and logits of images given at full resolution."""

    @quick_jit
    def run(generator, discriminator, latents, labels, images, alpha):
        fakes = networks.generator.apply({"params": generator}, latents, labels, alpha)
        images = repeat_step(downscale, images, until=networks.resolution)
        scores, logits = networks.discriminator.apply({"params": discriminator}, images, alpha)
        return repeat_step(upscale, fakes, until=FULL), scores, logits

    return run


def test_latents_are_drawn_as_the_procedure_says(variants, reference):
    np.testing.assert_allclose(
        variants["fused_True_label_0"].latents.ravel()[:4], reference["golden_forward"]["z_first4"], rtol=1e-5
    )


@pytest.mark.parametrize("name", VARIANTS)
def test_every_official_variable_is_used_at_some_resolution(variants, name):
    variant = variants[name]
    for tree, index in ((variant.generator, 0), (variant.discriminator, 1)):
        used = set()
        for size in (4, 8, 16):
            used |= {jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(trees_at(variant, size)[index])}
        assert used == {jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(tree)}


@pytest.mark.parametrize("lod", LODS)
@pytest.mark.parametrize("name", VARIANTS)
def test_forward(variants, reference, name, lod):
    (case,) = [case for case in reference["golden_forward"]["cases"][name]["cases"] if case["lod"] == lod]
    variant = variants[name]
    resolution, alpha = resolution_and_alpha(lod)
    trees = trees_at(variant, resolution)
    outputs = forward(variant.networks[resolution])(*trees, variant.latents, variant.labels, variant.images, alpha)
    fakes, scores, logits = (np.asarray(output) for output in outputs)
    close = functools.partial(np.testing.assert_allclose, rtol=0, atol=TOLERANCE)
    close(fakes.mean(), case["G_mean"])
    close(fakes.std(), case["G_std"])
    close(fakes[0, 0, :4, 0], case["G_nchw_0_0_0_0to3"])
    close(fakes[7, 15, 12:, 2], case["G_nchw_7_2_15_12to15"])
    close(scores, case["D_scores"])
    if variant.labels.shape[1]:
        close(logits[0], case["D_labels_row0"])
    assert logits.shape == (8, variant.labels.shape[1])


class LossValues(NamedTuple):
    """What the golden losses list."""

    real_scores: jax.Array
    fake_scores: jax.Array
    norms: jax.Array
    penalty: jax.Array
    discriminator_loss: jax.Array
    generator_loss: jax.Array


@functools.cache
def loss_values(networks: Networks) -> Any:
    ratio = FULL / networks.resolution

    @quick_jit
    def run(generator, discriminator, latents, labels, images, mixing, alpha, target):
        fakes = networks.generator.apply({"params": generator}, latents, labels, alpha)
        reals = repeat_step(downscale, images, until=networks.resolution)
        score = jax.jit(lambda x: networks.discriminator.apply({"params": discriminator}, x, alpha))
        (real_scores, real_logits), (scores, logits) = score(reals), score(fakes)
        mixed = reals + (fakes - reals) * mixing[:, None, None, None]
        # A traced target, so that both targets share one program.
        config = LossConfig(gp_target=target)
        penalty = gradient_penalty(config, score, reals, fakes, mixing, resolution_ratio=ratio)
        of_fakes = config.label_weight * classification_loss(logits, labels)
        of_reals = config.label_weight * classification_loss(real_logits, labels)
        return LossValues(
            real_scores,
            scores,
            gradient_norms(score, mixed) / ratio,
            penalty,
            discriminator_loss(config, real_scores, scores, penalty) + of_reals + of_fakes,
            generator_loss(config, scores) + of_fakes,
        )

    return run


@pytest.mark.parametrize("lod", [0.25, 1.5])
@pytest.mark.parametrize("name", VARIANTS)
def test_losses(variants, reference, name, lod):
    variant = variants[name]
    resolution, alpha = resolution_and_alpha(lod)
    mixing = np.random.RandomState(1).rand(8, 1, 1, 1).astype(np.float32).ravel()
    trees = trees_at(variant, resolution)
    run = loss_values(variant.networks[resolution])
    close = functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=TOLERANCE)
    for target in TARGETS if lod == 0.25 else TARGETS[:1]:
        case = reference["golden_loss"]["cases"][f"{name}_target_{target}_lod_{lod}"]
        values = run(*trees, variant.latents, variant.labels, variant.images, mixing, alpha, float(target))
        close(values.real_scores, case["real_scores"])
        close(values.fake_scores, case["fake_scores"])
        close(values.norms, case["mixed_grad_norms"])
        close(values.penalty, case["mean_gradient_penalty_before_weight"])
        close(values.discriminator_loss, case["D_loss"])
        close(values.generator_loss, case["G_loss"])


def test_all_golden_cases_are_looked_at(reference):
    keys = {f"{name}_target_{target}_lod_0.25" for name in VARIANTS for target in TARGETS}
    keys |= {f"{name}_target_1_lod_1.5" for name in VARIANTS}
    assert set(reference["golden_loss"]["cases"]) == keys
    assert set(reference["golden_forward"]["cases"]) == set(VARIANTS)
    for case in reference["golden_forward"]["cases"].values():
        assert tuple(entry["lod"] for entry in case["cases"]) == LODS
