"""The gradient penalty of a whole discriminator by finite differences, for images of several base shapes.

A leaky ReLU has kinks, at which differences of finite steps and derivatives part; a smooth function stands in for it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pggan_jax.config import Config, DataConfig, DiscriminatorConfig, LossConfig
from pggan_jax.images import ImageSpec
from pggan_jax.networks import discriminator as discriminator_module
from pggan_jax.networks.build import build_networks, parameter_shapes
from pggan_jax.training.losses import gradient_norms, gradient_penalty
from tests.helpers.compiling import quick_jit

BATCH, SCALE, STEP = 4, (0.3, 1.5), 1e-2


@pytest.fixture(params=["2x16", "2x8", "2x4", "1x8", "3x4"])
def bound(request, monkeypatch):
    """A discriminator in mid-fade at the second level, its parameters, and pairs of images of 2 channels."""
    monkeypatch.setattr(discriminator_module, "leaky_relu", lambda x: 0.6 * x + 0.4 * jnp.sqrt(jnp.square(x) + 0.25))
    config = Config(data=DataConfig(base_shape=request.param), discriminator=DiscriminatorConfig(fmap_base=32, fmap_max=8))
    networks = build_networks(config, 8, image_spec=ImageSpec(0, 0, 2, 3))
    random = np.random.default_rng(0)
    normal = lambda *shape: random.standard_normal(shape).astype(np.float32)  # noqa: E731
    params = jax.tree.map(lambda leaf: normal(*leaf.shape), parameter_shapes(networks)[1])
    images = normal(2, BATCH, networks.shape.height, networks.shape.width, 2)
    return lambda params: lambda x: networks.discriminator.apply({"params": params}, x, 0.4), params, images


def test_norms(bound):
    """One difference for every number of every image, with the factor of its channel."""
    bind, params, (images, _) = bound
    score = lambda x: bind(params)(x)[0].sum()  # noqa: E731
    units = np.eye(images.size, dtype=np.float32).reshape(-1, *images.shape) * STEP
    difference = quick_jit(jax.vmap(lambda unit: (score(images + unit) - score(images - unit)) / (2 * STEP)))
    gradients = np.asarray(difference(units), np.float64).reshape(images.shape) * SCALE
    expected = np.sqrt((gradients**2).sum(axis=(1, 2, 3)))
    norms = quick_jit(lambda x: gradient_norms(bind(params), x, channel_scale=SCALE))(images)
    assert expected.min() > 0.01
    np.testing.assert_allclose(norms, expected, rtol=5e-3)


def test_derivative_of_the_penalty(bound):
    """Along a direction in which every parameter moves."""
    bind, params, (reals, fakes) = bound
    mixing = np.linspace(0.1, 0.9, BATCH, dtype=np.float32)
    config = LossConfig(gp_channel_scale=SCALE)
    of_params = lambda p: gradient_penalty(config, bind(p), reals, fakes, mixing, resolution_ratio=2.0)  # noqa: E731
    penalty, slopes = quick_jit(of_params), quick_jit(jax.grad(of_params))(params)
    # Along the slopes themselves the derivative is their squared length, without cancellation.
    length = float(jnp.sqrt(sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(slopes))))
    moved = [jax.tree.map(lambda p, s, sign=sign: p + sign * STEP * s / length, params, slopes) for sign in (1, -1)]
    difference = (float(penalty(moved[0])) - float(penalty(moved[1]))) / (2 * STEP)
    assert length > 0.01
    assert difference == pytest.approx(length, rel=0.02)
