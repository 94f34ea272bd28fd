"""Generator and discriminator of one resolution, and their initial parameters."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from pggan_jax.config import Config
from pggan_jax.errors import ConfigError
from pggan_jax.images import ImageShape, ImageSpec, parse_base_shape
from pggan_jax.networks.dcgan.discriminator import DcganDiscriminator
from pggan_jax.networks.dcgan.generator import DcganGenerator
from pggan_jax.networks.discriminator import Discriminator, ImageDiscriminator
from pggan_jax.networks.generator import Generator, ImageGenerator
from pggan_jax.networks.layers import InitialNormal
from pggan_jax.networks.tiny.discriminator import TinyDiscriminator
from pggan_jax.networks.tiny.generator import TinyGenerator


@dataclass(frozen=True)
class Networks:
    """Generator and discriminator of one resolution."""

    generator: ImageGenerator
    discriminator: ImageDiscriminator
    latent_size: int

    @property
    def resolution(self) -> int:
        """Nominal resolution of the images."""
        return self.generator.resolution

    @property
    def shape(self) -> ImageShape:
        """Height and width of the images."""
        return self.generator.shape_at(self.resolution)

    def on_one_device(self) -> tuple[ImageGenerator, ImageDiscriminator]:
        """Both modules for a batch that is not spread over devices."""
        return self.generator.clone(axis_name=None), self.discriminator.clone(axis_name=None)


def build_networks(config: Config, resolution: int, *, image_spec: ImageSpec, axis_name: str | None = None) -> Networks:
    """Build the modules for `resolution`; they hold no parameters.

    Args:
        config: the run's settings.
        resolution: nominal resolution of the images, 4*2^k, from `schedule.start_resolution` up.
        image_spec: channels and labels of the data; `loader.image_spec`. The base shape is that of the settings.
        axis_name: the device axis that batches are spread over, if any.

    Raises:
        ConfigError: `loss.gp_channel_scale` is set for another number of channels.
    """
    scale = config.loss.gp_channel_scale
    if scale and len(scale) != image_spec.channels:
        rule = f"has {len(scale)} factors, but the images have {image_spec.channels} channels; give one for each"
        raise ConfigError("loss.gp_channel_scale", scale, rule)
    start, label_size = config.schedule.start_resolution, image_spec.label_size
    base_shape = parse_base_shape(config.data.base_shape)
    of_generator = config.generator, resolution, image_spec.channels, label_size, start, base_shape, axis_name
    of_discriminator = config.discriminator, resolution, label_size, start, axis_name, base_shape
    generator: ImageGenerator
    discriminator: ImageDiscriminator
    if config.networks.name == "pggan":
        generator, discriminator = Generator(*of_generator), Discriminator(*of_discriminator)
    elif config.networks.name == "tiny":
        generator = TinyGenerator(*of_generator)
        discriminator = TinyDiscriminator(*of_discriminator, full_resolution=config.data.resolution)
    else:
        generator = DcganGenerator(*of_generator, networks=config.networks)
        discriminator = DcganDiscriminator(*of_discriminator, networks=config.networks)
    return Networks(generator, discriminator, latent_size=generator.latent_size)


def initialize(networks: Networks, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters of generator and discriminator, as NumPy arrays.

    A leaf's value depends on the seed and its path alone, so a layer starts the same whenever it is grown. They are drawn on
    the host: compiling a random generator for some fifty shapes would take longer than the first step.
    """
    generator, discriminator = networks.on_one_device()
    of_generator, of_discriminator = _abstract_inputs(networks)
    return (
        _draw_parameters(generator, of_generator, f"{seed} generator"),
        _draw_parameters(discriminator, of_discriminator, f"{seed} discriminator"),
    )


def parameter_shapes(networks: Networks) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `initialize` returns, as shapes alone; nothing is drawn."""
    generator, discriminator = networks.on_one_device()
    of_generator, of_discriminator = _abstract_inputs(networks)
    key = jax.random.key(0)
    return (
        jax.eval_shape(generator.init, key, *of_generator)["params"],
        jax.eval_shape(discriminator.init, key, *of_discriminator)["params"],
    )


def _abstract_inputs(networks: Networks) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """One sample's inputs of generator and discriminator."""
    generator, shape = networks.generator, networks.shape
    latents = jax.ShapeDtypeStruct((1, networks.latent_size), jnp.float32)
    labels = jax.ShapeDtypeStruct((1, generator.label_size), jnp.float32)
    images = jax.ShapeDtypeStruct((1, shape.height, shape.width, generator.channels), jnp.float32)
    return (latents, labels), (images, jax.ShapeDtypeStruct((), jnp.float32), None, labels)


def _draw_parameters(module: nn.Module, inputs: tuple[Any, ...], stream: str) -> dict[str, Any]:
    """Sample what `module.init` would hold: normal numbers (`initial_normals`) and zeros."""
    normals: dict[str, InitialNormal] = {}

    def note_normals(next_function, args, kwargs, context):
        layer = context.module
        if context.method_name == "__call__" and hasattr(layer, "initial_normals"):
            for name, normal in layer.initial_normals(args[0].shape[-1]).items():
                normals["/".join((*layer.path, name))] = normal
        return next_function(*args, **kwargs)

    # A function of its own: two threads that trace one function at one time share the trace, and only one would take notes.
    with nn.intercept_methods(note_normals):
        shapes = jax.eval_shape(lambda *inputs: module.init(*inputs), jax.random.key(0), *inputs)["params"]
    drawn = {}
    for path, leaf in flatten_dict(shapes, sep="/").items():
        if path in normals:
            digest = hashlib.sha256(f"{stream} {path}".encode()).digest()
            numbers = np.random.RandomState(np.frombuffer(digest, np.uint32)).standard_normal(leaf.shape)
            drawn[path] = (normals[path].mean + numbers * normals[path].stddev).astype(leaf.dtype)
        else:
            drawn[path] = np.zeros(leaf.shape, leaf.dtype)
    return unflatten_dict(drawn, sep="/")
