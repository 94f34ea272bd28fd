"""Every loss against its formula in float64, on discriminators whose gradients are known; LSGAN's average and noise."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pggan_jax.config import LossConfig
from pggan_jax.training.losses import (
    classification_loss,
    discriminator_loss,
    generator_loss,
    gradient_norms,
    gradient_penalty,
    lsgan_noise_strength,
    update_lsgan_average,
)

LOSSES = ("wgan_gp", "lsgan", "logistic", "hinge", "rpgan")
BATCH, SHAPE, LABELS = 6, (4, 4, 3), 3


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


REALS, FAKES = normal(0, BATCH, *SHAPE), normal(1, BATCH, *SHAPE)
MIXING = np.linspace(0.0, 0.9, BATCH, dtype=np.float32)
ONE_HOT = np.eye(LABELS, dtype=np.float32)[np.arange(BATCH) % LABELS]
WEIGHTS, SCALE = normal(2, *SHAPE), normal(4, *SHAPE)
NO_LABELS = np.zeros((BATCH, 0), np.float32)


def linear(images, pass_number=0):
    """Scores with the same gradient, WEIGHTS, everywhere."""
    return jnp.tensordot(images, WEIGHTS, 3) + 0.7, jnp.zeros((images.shape[0], 0))


def curved(images, pass_number=0):
    """Scores with gradient SCALE * image, so that it tells where it was taken."""
    return 0.5 * (SCALE * jnp.square(images)).sum(axis=(1, 2, 3)), jnp.zeros((images.shape[0], 0))


def linear_scores(images: np.ndarray) -> np.ndarray:
    return np.tensordot(images.astype(np.float64), WEIGHTS.astype(np.float64), 3) + 0.7


def curved_scores(images: np.ndarray) -> np.ndarray:
    return 0.5 * (SCALE.astype(np.float64) * images.astype(np.float64) ** 2).sum(axis=(1, 2, 3))


def norms_of(gradients: np.ndarray) -> np.ndarray:
    return np.sqrt((gradients.astype(np.float64) ** 2).sum(axis=(1, 2, 3)))


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0.0, x)


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    chosen = (logits * labels).sum(axis=1)
    return float((np.log(np.exp(logits).sum(axis=1)) - chosen).mean())


class Terms(NamedTuple):
    loss: jax.Array
    gradient_penalty: jax.Array


def terms(config: LossConfig, discriminator: Callable = curved, mixing: np.ndarray = MIXING, ratio: float = 1.0) -> Terms:
    """The discriminator's loss on REALS and FAKES, and its penalty."""
    penalty = gradient_penalty(config, discriminator, REALS, FAKES, mixing, resolution_ratio=ratio)
    return Terms(discriminator_loss(config, discriminator(REALS)[0], discriminator(FAKES)[0], penalty), penalty)


def mixed_norms() -> np.ndarray:
    mixing = MIXING.astype(np.float64)[:, None, None, None]
    return norms_of(SCALE * (REALS * (1 - mixing) + FAKES * mixing))


# Gradient norms


def test_gradient_norms_are_exact():
    np.testing.assert_allclose(gradient_norms(linear, REALS), np.full(BATCH, np.linalg.norm(WEIGHTS)), rtol=1e-5)
    np.testing.assert_allclose(gradient_norms(curved, REALS), norms_of(SCALE * REALS), rtol=1e-5)


def test_the_sum_of_scores_is_differentiated():
    """As through minibatch stddev, an image also moves the scores of others."""

    def neighbours(images):
        return (images * jnp.roll(images, 1, axis=0)).sum(axis=(1, 2, 3)), None

    expected = norms_of(np.roll(REALS, 1, axis=0) + np.roll(REALS, -1, axis=0))
    np.testing.assert_allclose(gradient_norms(neighbours, REALS), expected, rtol=1e-5)


def test_gradient_norms_of_bfloat16_images_are_squared_in_float32():
    images = jnp.full((1, 16, 16, 1), 1.0, jnp.bfloat16)
    norms = gradient_norms(lambda x: (x.sum(axis=(1, 2, 3)), None), images)
    assert norms.dtype == jnp.float32
    np.testing.assert_allclose(norms, [16.0])


def loss_gradient(config: LossConfig, discriminator: Callable, parameter) -> jax.Array:
    return jax.grad(lambda parameter: terms(config, functools.partial(discriminator, parameter)).loss)(parameter)


@pytest.mark.parametrize("name", LOSSES)
def test_a_discriminator_without_gradient_gives_finite_gradients(name):
    """One that is constant, and one that is constant on some images only."""

    def scaled(parameter, images, pass_number=0):
        return parameter * images.sum(axis=(1, 2, 3)), NO_LABELS

    def sparse(parameter, images, pass_number=0):
        return parameter * (images * (jnp.arange(BATCH) % 2)[:, None, None, None]).sum(axis=(1, 2, 3)), NO_LABELS

    assert np.isfinite(loss_gradient(LossConfig(name=name), scaled, 0.0))
    assert np.isfinite(loss_gradient(LossConfig(name=name), sparse, 0.3))


def test_a_constant_discriminator_pays_the_whole_target():
    constant = lambda images: (0.0 * images.sum(axis=(1, 2, 3)), NO_LABELS)  # noqa: E731
    result = terms(LossConfig(gp_target=3.0), constant)
    np.testing.assert_allclose(result.gradient_penalty, 9.0)
    np.testing.assert_allclose(result.loss, 10.0)


# Losses without a formula


def unnamed_loss(**changes) -> LossConfig:
    return dataclasses.replace(LossConfig(**changes), name="new_loss")


def test_a_loss_that_has_no_case_is_refused():
    scores = normal(7, BATCH)
    with pytest.raises(ValueError, match=r"generator_loss .*'new_loss'"):
        generator_loss(unnamed_loss(), scores)
    with pytest.raises(ValueError, match=r"discriminator_loss .*'new_loss'"):
        discriminator_loss(unnamed_loss(), scores, scores, jnp.zeros(()))


def test_a_new_loss_has_r1():
    """As `discriminator_loss` weighs the penalty of every loss but WGAN-GP and LSGAN."""
    configs = unnamed_loss(r1_gamma=3.0), unnamed_loss(r1_gamma=0.0)
    penalties = [gradient_penalty(config, curved, REALS, FAKES, MIXING, resolution_ratio=1.0) for config in configs]
    np.testing.assert_allclose(penalties, [(norms_of(SCALE * REALS) ** 2).mean(), 0.0], rtol=1e-5)


# Losses of the discriminator


@pytest.mark.parametrize(("target", "weight", "drift"), [(1.0, 10.0, 0.001), (750.0, 10.0, 0.001), (2.0, 3.0, 0.5)])
def test_wgan_gp(target, weight, drift):
    result = terms(LossConfig(gp_target=target, gp_weight=weight, drift=drift))
    real, fake = curved_scores(REALS), curved_scores(FAKES)
    penalty = ((mixed_norms() - target) ** 2).mean()
    expected = fake.mean() - real.mean() + weight / target**2 * penalty + drift * (real**2).mean()
    np.testing.assert_allclose(result.gradient_penalty, penalty, rtol=1e-5)
    np.testing.assert_allclose(result.loss, expected, rtol=1e-5)


def test_mixing_runs_from_real_to_fake():
    """At 0 the penalised image is the real one; one number serves all pixels of an image."""
    config = LossConfig(gp_target=1.0)
    at_real = terms(config, mixing=np.zeros(BATCH))
    np.testing.assert_allclose(at_real.gradient_penalty, ((norms_of(SCALE * REALS) - 1) ** 2).mean(), rtol=1e-5)
    at_fake = terms(config, mixing=np.ones(BATCH))
    np.testing.assert_allclose(at_fake.gradient_penalty, ((norms_of(SCALE * FAKES) - 1) ** 2).mean(), rtol=1e-5)


def test_the_norm_is_measured_at_full_resolution_or_at_the_current_one():
    full = terms(LossConfig(penalty_scale="full_resolution"), ratio=4.0)
    current = terms(LossConfig(penalty_scale="current"), ratio=4.0)
    assert terms(LossConfig(), ratio=4.0) == full
    np.testing.assert_allclose(full.gradient_penalty, ((mixed_norms() / 4 - 1) ** 2).mean(), rtol=1e-5)
    np.testing.assert_allclose(current.gradient_penalty, ((mixed_norms() - 1) ** 2).mean(), rtol=1e-5)


def test_channel_scale_makes_the_penalty_that_of_the_data():
    """Of a discriminator that takes data x and looks at the images a x + b, as GANSynth's does."""
    a, b = np.array([0.0661371661726, 0.8, 3.0]), np.array([0.113718730221, 0.0, -0.5])
    scaled = LossConfig(gp_channel_scale=tuple(a), gp_target=2.0)
    ours = gradient_penalty(scaled, curved, REALS, FAKES, MIXING, resolution_ratio=4.0)
    raw_reals, raw_fakes = ((images - b) / a for images in (REALS, FAKES))
    of_data = lambda x: curved(x * a.astype(np.float32) + b.astype(np.float32))  # noqa: E731
    plain = LossConfig(gp_target=2.0)
    theirs = gradient_penalty(plain, of_data, raw_reals, raw_fakes, MIXING, resolution_ratio=4.0)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    unscaled = gradient_penalty(plain, curved, REALS, FAKES, MIXING, resolution_ratio=4.0)
    assert abs(ours - unscaled) > 0.01


def test_channel_scale_of_ones_changes_nothing():
    np.testing.assert_array_equal(gradient_norms(curved, REALS, channel_scale=(1.0, 1.0, 1.0)), gradient_norms(curved, REALS))


def test_full_resolution_norm_is_that_of_a_discriminator_of_upscaled_images():
    """The claim itself (spec 3.4): a discriminator that first averages 4x4 blocks, differentiated at the larger images."""

    def of_upscaled(images):
        return curved(images.reshape(BATCH, 4, 4, 4, 4, 3).mean(axis=(2, 4)))

    upscaled = REALS.repeat(4, axis=1).repeat(4, axis=2)
    np.testing.assert_allclose(gradient_norms(of_upscaled, upscaled), gradient_norms(curved, REALS) / 4.0, rtol=1e-5)


def test_lsgan():
    result = terms(LossConfig(name="lsgan"))
    expected = (curved_scores(REALS) ** 2).mean() + 0.1 * ((curved_scores(FAKES) - 1) ** 2).mean()
    np.testing.assert_allclose(result.loss, expected, rtol=1e-5)
    assert result.gradient_penalty == 0.0


@pytest.mark.parametrize("gamma", [0.0, 10.0, 0.3])
@pytest.mark.parametrize("name", ["logistic", "hinge"])
def test_logistic_and_hinge_with_r1(name, gamma):
    result = terms(LossConfig(name=name, r1_gamma=gamma))
    real, fake = curved_scores(REALS), curved_scores(FAKES)
    if name == "logistic":
        expected = softplus(fake).mean() + softplus(-real).mean()
    else:
        expected = np.maximum(1 + fake, 0).mean() + np.maximum(1 - real, 0).mean()
    penalty = (norms_of(SCALE * REALS) ** 2).mean() if gamma else 0.0
    np.testing.assert_allclose(result.gradient_penalty, penalty, rtol=1e-5)
    np.testing.assert_allclose(result.loss, expected + 0.5 * gamma * penalty, rtol=1e-5)


@pytest.mark.parametrize("name", ["logistic", "rpgan"])
def test_r1_and_r2_are_measured_at_the_current_resolution_or_at_the_full_one(name):
    """There, an image has ratio^2 times as many pixels, and each gets 1 / ratio^2 of the gradient."""
    penalties = {
        scale: [terms(LossConfig(name=name, penalty_scale=scale), ratio=ratio).gradient_penalty for ratio in (1.0, 8.0)]
        for scale in ("current", "full_resolution")
    }
    assert terms(LossConfig(name=name), ratio=8.0).gradient_penalty == penalties["full_resolution"][1]
    assert penalties["current"][0] == penalties["current"][1] == penalties["full_resolution"][0] > 0
    np.testing.assert_allclose(penalties["full_resolution"][1], penalties["current"][1] / 64, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "penalize", "of"),
    [
        ("logistic", "auto", [REALS]),
        ("hinge", "auto", [REALS]),
        ("rpgan", "auto", [REALS, FAKES]),
        ("logistic", "both", [REALS, FAKES]),
        ("hinge", "fakes", [FAKES]),
        ("rpgan", "reals", [REALS]),
        ("rpgan", "fakes", [FAKES]),
    ],
)
def test_r1_is_of_reals_and_r2_of_fakes(name, penalize, of):
    """Each has the weight gamma / 2; without gamma there is none."""
    squares = sum((norms_of(SCALE * images) ** 2).mean() for images in of)
    result, without = (terms(LossConfig(name=name, penalize=penalize, r1_gamma=gamma)) for gamma in (3.0, 0.0))
    np.testing.assert_allclose(result.gradient_penalty, squares, rtol=1e-5)
    assert without.gradient_penalty == 0.0
    np.testing.assert_allclose(result.loss - without.loss, 1.5 * squares, rtol=1e-5)


# Relativistic pairing

RPGAN = LossConfig(name="rpgan", r1_gamma=0.0)


def rpgan_losses(reals, fakes) -> tuple[jax.Array, jax.Array]:
    """The discriminator's loss without penalty, and the generator's."""
    return discriminator_loss(RPGAN, reals, fakes, jnp.zeros(())), generator_loss(RPGAN, fakes, reals)


def test_rpgan_compares_pairs():
    reals, fakes = 3 * normal(7, BATCH), 3 * normal(8, BATCH)
    expected = softplus(fakes - reals).mean(), softplus(reals - fakes).mean()
    np.testing.assert_allclose(rpgan_losses(reals, fakes), expected, rtol=1e-5)
    others = rpgan_losses(reals, np.roll(fakes, 1))
    assert all(abs(other - own) > 0.01 for other, own in zip(others, expected, strict=True))


def test_rpgan_of_equal_scores_is_log_2():
    scores = normal(7, BATCH)
    np.testing.assert_allclose(rpgan_losses(scores, scores), [np.log(2.0)] * 2, rtol=1e-6)


def test_rpgan_of_swapped_scores_is_the_other_loss():
    reals, fakes = normal(7, BATCH), normal(8, BATCH)
    assert rpgan_losses(reals, fakes) == rpgan_losses(fakes, reals)[::-1]


def test_rpgan_knows_differences_alone():
    """Scores that a float holds exactly, so that their differences stay the same."""
    reals, fakes = np.arange(BATCH, dtype=np.float32), np.arange(BATCH, dtype=np.float32)[::-1] ** 2 / 8
    assert rpgan_losses(reals, fakes) == rpgan_losses(reals + 16, fakes + 16)
    one = rpgan_losses(reals[:1], fakes[:1])
    assert one == rpgan_losses(reals[:1], np.roll(fakes[:1], 1))


def test_rpgan_gradients():
    """Of each loss in each score; the generator's has none in the scores of reals."""
    reals, fakes = normal(7, BATCH), normal(8, BATCH)
    sigmoid = 1 / (1 + np.exp(reals - fakes))  # of fake - real
    of_reals, of_fakes = jax.grad(lambda *scores: rpgan_losses(*scores)[0], argnums=(0, 1))(reals, fakes)
    np.testing.assert_allclose(of_reals, -sigmoid / BATCH, rtol=1e-5)
    np.testing.assert_allclose(of_fakes, sigmoid / BATCH, rtol=1e-5)
    of_reals, of_fakes = jax.grad(lambda *scores: rpgan_losses(*scores)[1], argnums=(0, 1))(reals, fakes)
    np.testing.assert_allclose(of_fakes, -(1 - sigmoid) / BATCH, rtol=1e-5)
    assert not of_reals.any()


def test_rpgan_of_a_linear_discriminator():
    """Both penalties are the squared length of its weights."""
    length = (WEIGHTS.astype(np.float64) ** 2).sum()
    result = terms(LossConfig(name="rpgan", r1_gamma=2.0), linear)
    np.testing.assert_allclose(result.gradient_penalty, 2 * length, rtol=1e-5)
    expected = softplus(linear_scores(FAKES) - linear_scores(REALS)).mean() + 2 * length
    np.testing.assert_allclose(result.loss, expected, rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 4.0])
def test_the_one_point_problem_converges_only_with_penalties(gamma):
    """Dirac GAN: one real at 0, one fake at y, D(x) = w x. The linearised game has eigenvalues -g/2 +- sqrt(g^2/4 - 1/4)."""

    def forces(point):
        weight, fake = point
        critic = lambda weight: lambda x, pass_number=0: (weight * x.sum(axis=(1, 2, 3)), NO_LABELS)  # noqa: E731
        real, image = jnp.zeros((1, 1, 1, 1)), fake * jnp.ones((1, 1, 1, 1))
        config = LossConfig(name="rpgan", r1_gamma=gamma / 2)  # R1 and R2 of a linear D are equal

        def of_discriminator(weight):
            d = critic(weight)
            penalty = gradient_penalty(config, d, real, image, MIXING[:1], resolution_ratio=1.0)
            return discriminator_loss(config, d(real)[0], d(image)[0], penalty)

        of_generator = lambda fake: generator_loss(config, weight * fake[None], jnp.zeros(1))  # noqa: E731
        return jnp.stack([-jax.grad(of_discriminator)(weight), -jax.grad(of_generator)(fake)])

    values = np.linalg.eigvals(np.asarray(jax.jacobian(forces)(jnp.zeros(2)), np.float64))
    root = np.sqrt(complex(gamma**2 / 4 - 0.25))
    np.testing.assert_allclose(np.sort_complex(values), np.sort_complex([-gamma / 2 - root, -gamma / 2 + root]), atol=1e-6)
    assert (values.real < -1e-6).all() == (gamma > 0)


def test_classification_loss():
    logits = normal(8, BATCH, LABELS)
    np.testing.assert_allclose(classification_loss(logits, ONE_HOT), cross_entropy(logits, ONE_HOT), rtol=1e-5)
    assert classification_loss(NO_LABELS, NO_LABELS) == 0.0


@pytest.mark.parametrize("name", LOSSES)
def test_the_discriminator_prefers_high_scores_for_reals(name):
    """One step against the gradient moves a bias on reals up, or in LSGAN towards its target 0 from above, down."""

    def shifted(shift, images, pass_number=0):
        is_real = jnp.abs(images - REALS).sum() == 0.0
        return jnp.where(is_real, shift, 0.0) + jnp.zeros(BATCH) + 0.0 * images.sum(), NO_LABELS

    slope = float(loss_gradient(LossConfig(name=name, drift=0.0), shifted, 0.5))
    assert slope > 0 if name == "lsgan" else slope < 0


# Losses of the generator


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("wgan_gp", lambda scores: -scores.mean()),
        ("lsgan", lambda scores: (scores**2).mean()),
        ("logistic", lambda scores: softplus(-scores).mean()),
        ("hinge", lambda scores: -scores.mean()),
    ],
)
def test_generator_losses(name, formula):
    scores = normal(7, BATCH) * 3
    loss = generator_loss(LossConfig(name=name), scores)
    np.testing.assert_allclose(loss, formula(scores.astype(np.float64)), rtol=1e-5)


def test_saturated_scores_stay_finite():
    scores = np.array([-1e4, 1e4, 0.0], np.float32)
    config = LossConfig(name="logistic")
    value, slope = jax.value_and_grad(lambda scores: generator_loss(config, scores))(scores)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


# LSGAN's average


@pytest.mark.parametrize(("average", "strength"), [(0.0, 0.0), (0.5, 0.0), (0.6, 0.002), (1.0, 0.05)])
def test_lsgan_noise_strength(average, strength):
    np.testing.assert_allclose(lsgan_noise_strength(jnp.asarray(average)), strength, atol=1e-7)


def test_lsgan_average_clips_what_it_is_fed():
    average, expected = jnp.zeros(()), 0.0
    for loss in (0.3, 5.0, -2.0, 1.0, 0.9):
        average = update_lsgan_average(average, jnp.asarray(loss))
        expected = 0.9 * expected + 0.1 * min(max(loss, 0.0), 1.0)
        np.testing.assert_allclose(average, expected, rtol=1e-5)


def test_lsgan_average_survives_a_loss_that_is_not_a_number():
    average = jnp.asarray(0.7)
    for loss in (jnp.nan, jnp.inf, -jnp.inf):
        average = update_lsgan_average(average, jnp.asarray(loss))
    np.testing.assert_allclose(average, (0.7 * 0.9 + 0.1) * 0.9, rtol=1e-5)


@pytest.mark.parametrize("name", ["logistic", "hinge"])
def test_a_weight_of_the_schedule_takes_the_place_of_gamma(name):
    scores = linear_scores(REALS).astype(np.float32), linear_scores(FAKES).astype(np.float32)
    penalty = jnp.float32(3.0)
    moved = discriminator_loss(LossConfig(name), *scores, penalty, penalty_weight=jnp.float32(4.0))
    assert float(moved) == pytest.approx(float(discriminator_loss(LossConfig(name, r1_gamma=4.0), *scores, penalty)), rel=1e-6)
