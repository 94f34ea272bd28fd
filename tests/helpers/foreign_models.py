"""Outputs of imported models, at the level that they have reached and enlarged to their full resolution."""

from __future__ import annotations

import functools

import jax
import numpy as np

from pggan_jax.checkpointing.metadata import CheckpointMetadata
from pggan_jax.checkpointing.model_file import fitted_model
from pggan_jax.interop.foreign.model import ForeignModel
from pggan_jax.networks.resample import downscale
from tests.helpers.compiling import quick_jit

close_to = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-4)


def outputs_of(model: ForeignModel, latents: np.ndarray, labels: np.ndarray, images: np.ndarray):
    """Images `[count, R, R, channels]` and scores of images that are given at full resolution R."""
    metadata = CheckpointMetadata(0, model.resolution, model.alpha, model.channels, model.label_size)
    trees = {"generator_ema": model.generator, "discriminator": model.discriminator}
    trees = {name: tree for name, tree in trees.items() if tree is not None}
    trained = fitted_model(model.config, metadata, trees, named="it")
    alpha = np.float32(model.alpha)
    generator, discriminator = trained.networks.generator, trained.networks.discriminator
    fakes = quick_jit(lambda params: generator.apply({"params": params}, latents, labels, alpha))(trained.state.generator_ema)
    times = images.shape[1] // model.resolution
    fakes = np.asarray(fakes).repeat(times, axis=1).repeat(times, axis=2)
    if trained.state.discriminator is None:
        return fakes, None
    while images.shape[1] > model.resolution:
        images = np.asarray(downscale(jax.numpy.asarray(images)))
    score = quick_jit(lambda params: discriminator.apply({"params": params}, images, alpha)[0])
    return fakes, np.asarray(score(trained.state.discriminator))
