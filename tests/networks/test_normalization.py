"""Layer norm; batch norm: its formula, several devices, initial values, and fixed statistics when images are generated."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from pggan_jax.config import GeneratorConfig
from pggan_jax.generation.sampling import Sampler
from pggan_jax.networks.build import _draw_parameters
from pggan_jax.networks.generator import Generator, ImageGenerator
from pggan_jax.networks.normalization import BatchNorm, LayerNorm, measure_statistics, statistics_inputs, without_statistics


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


class Toy(ImageGenerator):
    """Two layers of batch norm, of rows and of maps, that see latents, labels and alpha."""

    @property
    def has_batch_norm(self) -> bool:
        return True

    @nn.compact
    def __call__(self, latents, labels=None, alpha=1.0):
        x = nn.Dense(4 * 4 * 3)(jnp.concatenate([latents, labels], axis=-1))
        x = jnp.tanh(BatchNorm(name="rows", axis_name=self.axis_name)(x)).reshape(-1, 4, 4, 3)
        x = nn.Conv(self.channels, (3, 3))(x)
        return BatchNorm(name="maps", use_affine=False, axis_name=self.axis_name)(x) * alpha + x * (1 - alpha)


def toy(label_size: int = 2, **more) -> tuple[Toy, dict]:
    module = Toy(GeneratorConfig(latent_size=5), 4, 1, label_size, **more)
    inputs = jnp.zeros((2, 5)), jnp.zeros((2, label_size))
    return module, module.clone(axis_name=None).init(jax.random.key(0), *inputs)["params"]


@pytest.mark.parametrize("shape", [(7, 3), (5, 2, 6, 3)])
def test_formula(shape):
    x = 3 * normal(0, *shape) + 1
    params = {"gain": normal(1, 3), "shift": normal(2, 3)}
    axes = tuple(range(len(shape) - 1))
    expected = (x - x.mean(axes)) / np.sqrt(x.var(axes) + 0.25) * params["gain"] + params["shift"]
    np.testing.assert_allclose(BatchNorm(epsilon=0.25).apply({"params": params}, x), expected, rtol=1e-4, atol=1e-5)


def test_in_bfloat16_it_is_computed_in_float32():
    x = (normal(0, 64, 3) + 100).astype(jnp.bfloat16)
    out = BatchNorm(use_affine=False).apply({}, x)
    assert out.dtype == jnp.bfloat16
    wanted = np.asarray(x, np.float32)
    np.testing.assert_allclose(np.asarray(out, np.float32), (wanted - wanted.mean(0)) / wanted.std(0), atol=0.02)


@pytest.mark.parametrize("shape", [(7, 3), (5, 2, 6, 3)])
def test_formula_of_layer_norm(shape):
    """A sample's own mean and variance, one gain; neither length nor offset of the input is seen, nor another sample."""
    x, params = 3 * normal(0, *shape) + 1, {"gain": np.array([0.7], np.float32)}
    axes = tuple(range(1, len(shape)))
    expected = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-4) * 0.7
    result = LayerNorm().apply({"params": params}, x)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(LayerNorm().apply({"params": params}, 9 * x - 5), expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(LayerNorm().apply({"params": params}, x[2:3]), expected[2:3], rtol=1e-4, atol=1e-5)
    assert LayerNorm().apply({"params": params}, x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_layer_norm_of_constants_has_two_derivatives():
    x, params = np.ones((2, 4, 4, 3), np.float32), {"gain": np.ones(1, np.float32)}

    def norms(gain):
        gradient = jax.grad(lambda x: jnp.square(LayerNorm().apply({"params": {"gain": gain}}, x) + 1.0).sum())(x)
        return jnp.square(gradient + 1.0).sum()

    assert np.isfinite(jax.grad(norms)(params["gain"])).all()


def penalised(x, params, axis_name):
    """The mean of squared gradients of a score that depends on the batch: needs two derivatives."""
    module = BatchNorm(axis_name=axis_name)
    gradients = jax.grad(lambda x: jnp.tanh(module.apply({"params": params}, x)).sum())(x)
    return jnp.square(gradients).mean()


def test_two_devices_are_one():
    x, params = normal(0, 8, 3), {"gain": normal(1, 3), "shift": normal(2, 3)}
    halves = x.reshape(2, 4, 3)
    on_two = jax.pmap(
        lambda own: jax.lax.pmean(jax.value_and_grad(lambda p: penalised(own, p, "i"))(params), "i"),
        axis_name="i",
        devices=jax.local_devices()[:2],
    )(halves)
    on_one = jax.value_and_grad(lambda p: penalised(x, p, None))(params)
    jax.tree.map(lambda many, one: np.testing.assert_allclose(many[1], one, rtol=1e-4, atol=1e-6), on_two, on_one)
    assert all(np.abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(on_one))


def test_initial_gains_are_near_one_and_depend_on_seed_and_path():
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            return BatchNorm(name="b")(BatchNorm(name="a")(x))

    draw = [_draw_parameters(Two(), (jax.ShapeDtypeStruct((1, 4000), jnp.float32),), stream) for stream in ("0", "0", "1")]
    gain = draw[0]["a"]["gain"]
    assert abs(gain.mean() - 1) < 0.002
    assert 0.019 < gain.std() < 0.021
    assert not draw[0]["a"]["shift"].any()
    np.testing.assert_array_equal(gain, draw[1]["a"]["gain"])
    assert not np.array_equal(gain, draw[0]["b"]["gain"])
    assert not np.array_equal(gain, draw[2]["a"]["gain"])


class TestSampling:
    def test_an_image_is_its_own(self):
        module, params = toy(axis_name="devices")
        latents, labels = normal(3, 6, 5), np.eye(2, dtype=np.float32)[[0, 1, 0, 1, 1, 0]]
        sampler = Sampler(module)
        raw = sampler.floats(params, latents, labels, 0.5)
        assert np.abs(raw[:2] - sampler.floats(params, latents[:2], labels[:2], 0.5)).max() > 0.1
        fixed = sampler.with_statistics(params, alpha=0.5)
        images = sampler.floats(fixed, latents, labels, 0.5)
        np.testing.assert_allclose(images[:2], sampler.floats(fixed, latents[:2], labels[:2], 0.5), rtol=1e-6, atol=1e-6)

    def test_the_latents_of_the_statistics_give_the_same_images_either_way(self):
        module, params = toy()
        inputs = statistics_inputs(5, class_counts=[1, 3], pixels=16)
        fixed = Sampler(module, [1, 3]).with_statistics(params, alpha=0.3)
        assert set(flatten_dict(fixed)) - set(flatten_dict(params)) == {
            (scope, name) for scope in ("rows", "maps") for name in ("mean", "variance")
        }
        both = [module.apply({"params": one}, *inputs, 0.3) for one in (params, fixed)]
        np.testing.assert_allclose(*both, rtol=1e-4, atol=1e-5)
        assert jax.tree.structure(without_statistics(fixed)) == jax.tree.structure(params)

    def test_labels_have_the_frequencies_of_the_data(self):
        latents, labels = statistics_inputs(5, class_counts=[30, 0, 10], pixels=1)
        assert labels.sum(0).tolist() == [192, 0, 64]
        assert latents.shape == (256, 5)

    @pytest.mark.parametrize(("pixels", "samples"), [(16, 256), (64 * 64, 256), (128 * 128, 64), (1024 * 1024, 16)])
    def test_large_images_take_fewer_latents(self, pixels, samples):
        assert len(statistics_inputs(5, class_counts=(), pixels=pixels)[0]) == samples

    def test_without_batch_norm_nothing_changes(self):
        module = Generator(GeneratorConfig(fmap_max=4), 4)
        params = {"any": np.zeros(1)}
        assert Sampler(module).with_statistics(params, alpha=1.0) is params
        assert not measure_statistics(
            nn.Dense(2), nn.Dense(2).init(jax.random.key(0), jnp.ones((1, 2)))["params"], jnp.ones((1, 2))
        )

    def test_it_can_be_compiled_ahead(self):
        module, params = toy()
        sampler, place = Sampler(module), jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), params)
        sampler.compile_for(abstract)
