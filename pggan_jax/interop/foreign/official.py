"""Reader of the authors' network pickles, of both their programs (spec 7.2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pggan_jax.config import Config, DataConfig, DiscriminatorConfig, GeneratorConfig
from pggan_jax.errors import UserError, visible
from pggan_jax.interop.foreign.model import ForeignModel, Leaves, Unfit, as_parameters, reading_networks
from pggan_jax.interop.foreign.official_variables import Variables, convert_variables
from pggan_jax.interop.foreign.theano import variables_of_parameters
from pggan_jax.interop.foreign.unpickler import StoredObject, read_arrays

CLASSES = {name: StoredObject.of(*name) for name in (("tfutil", "Network"), ("network", "Network"))}
LICENCE = "CC BY-NC 4.0, for the networks that the authors published; of others, ask whoever gave them to you"
_PROGRAM = "progressive_growing_of_gans"
_FUNCTIONS = {"G_paper": "G", "D_paper": "D"}
_OPTIONS = {
    *("fmap_base", "fmap_decay", "fmap_max", "latent_size", "normalize_latents", "use_wscale", "use_pixelnorm"),
    *("pixelnorm_epsilon", "use_leakyrelu", "mbstd_group_size"),
    # These change nothing, or the variables show them.
    *("structure", "is_template_graph", "dtype", "num_channels", "resolution", "label_size", "fused_scale"),
}


@dataclass(frozen=True)
class OfficialNetwork:
    """One network of a file.

    Attributes:
        kind: "G" or "D".
        options: of the constructor, those that were not left at their defaults.
        variables: by name, such as `4x4/Dense/weight`.
        lod: 0 for the full resolution, k for its 2^k-th part, between them in mid-fade.
    """

    kind: str
    options: Mapping[str, Any]
    variables: Variables
    lod: float

    @property
    def is_fused(self) -> bool:
        """Whether its layers that change the resolution are of the fused form."""
        return any(name.endswith(("/Conv0_up/weight", "/Conv1_down/weight")) for name in self.variables)

    @property
    def resolution(self) -> int:
        """Side of the images in pixels."""
        return max(int(name.partition("x")[0]) for name in self.variables if name[0].isdecimal())

    @property
    def channels(self) -> int:
        """Colour channels of the images."""
        return (
            self.variables["ToRGB_lod0/weight"].shape[-1]
            if self.kind == "G"
            else self.variables["FromRGB_lod0/weight"].shape[-2]
        )


def read_official_pickle(path: Path) -> ForeignModel:
    """Read a pickle of the authors' TensorFlow or Theano program.

    Raises:
        UserError: it holds anything but such networks, or options that this program does not have.
        OSError: the file cannot be read.
    """
    content = read_arrays(path, CLASSES)
    stored = list(content) if isinstance(content, tuple | list) else [content]
    if not stored or not all(isinstance(one, StoredObject) for one in stored):
        raise UserError(f"{path}: does not hold networks of {_PROGRAM}; give a .pkl with (G, D, Gs) or one network")
    with reading_networks(path, _PROGRAM):
        return _model_of([_network_of(one.state) for one in stored])


def _network_of(state: Mapping[str, Any]) -> OfficialNetwork:
    """Return the network of a stored state of either program."""
    if "build_func_spec" in state and "version" not in state:
        name, options, variables = variables_of_parameters(state)
    elif state.get("version") == 2:
        name, options = str(state["build_func_name"]), dict(state["static_kwargs"])
        variables = dict(state["variables"])
    else:
        raise Unfit(f"holds a network of version {visible(str(state.get('version')))[:20]}; 2 can be read")
    kind = _FUNCTIONS.get(name.rpartition(".")[2])
    if kind is None:
        raise Unfit(f"holds a network made by {visible(name)[:40]}; {' and '.join(_FUNCTIONS)} can be read")
    lod = float(np.asarray(variables.pop("lod", 0.0)))
    if not math.isfinite(lod):
        raise Unfit("its lod is not a finite number")
    return OfficialNetwork(kind, options, {str(key): as_parameters(str(key), value) for key, value in variables.items()}, lod)


def _model_of(networks: list[OfficialNetwork]) -> ForeignModel:
    """Return the networks of a file in our layout.

    Of two generators the second is the moving average.
    """
    generators = [one for one in networks if one.kind == "G"]
    discriminators = [one for one in networks if one.kind == "D"]
    if not 1 <= len(generators) <= 2 or len(discriminators) > 1:
        raise Unfit(
            f"holds {len(generators)} generators and {len(discriminators)} discriminators; one of each, and Gs, can be read"
        )
    average, discriminator = generators[-1], discriminators[0] if discriminators else None
    full, levels = average.resolution, int(math.log2(average.resolution)) - 2
    lod = min(max(average.lod, 0.0), float(levels))
    if discriminator and (discriminator.resolution, discriminator.channels) != (full, average.channels):
        raise Unfit("its generator and its discriminator are for images of different sizes or channels")
    generator_config, label_size = _generator_config(average)
    discriminator_config = (
        _discriminator_config(discriminator, label_size)
        if discriminator
        else DiscriminatorConfig(
            fmap_base=generator_config.fmap_base,
            fmap_decay=generator_config.fmap_decay,
            fmap_max=generator_config.fmap_max,
            fused_scale=generator_config.fused_scale,
        )
    )
    data = DataConfig("folder:IMAGES", full, channels=average.channels, labels=label_size > 0)
    notes = [
        f"{one.kind} was saved at lod {one.lod:g}, not {average.lod:g}" for one in networks if abs(one.lod - average.lod) > 1e-6
    ]
    notes += [note for one in networks for note in _ignored_options(one)]
    notes += ["it was trained with activations in float16; they are float32 here"] * (
        _option(average, "dtype", "float32") == "float16"
    )
    kinds = ", ".join(f"{one.kind}_paper" for one in networks)
    return ForeignModel(
        config=Config(data=data, generator=generator_config, discriminator=discriminator_config),
        resolution=full >> math.floor(lod),
        alpha=1.0 - (lod - math.floor(lod)),
        channels=average.channels,
        label_size=label_size,
        generator=_converted(average),
        raw_generator=_converted(generators[0]) if len(generators) > 1 else None,
        discriminator=_converted(discriminator) if discriminator else None,
        origin=f"{_PROGRAM} ({kinds})",
        licence=LICENCE,
        notes=tuple(notes),
    )


def _converted(network: OfficialNetwork) -> Leaves:
    return convert_variables(network.variables, network.resolution, is_generator=network.kind == "G")


def _option(network: OfficialNetwork, name: str, default: Any) -> Any:
    """Return an option of a network; None stands for the default, as in the authors' code."""
    value = network.options.get(name)
    return default if value is None else value


_READERS: dict[str, Callable[[Any], Any]] = {"fmap_base": int, "fmap_decay": float, "fmap_max": int}


def _feature_maps(network: OfficialNetwork) -> dict[str, Any]:
    defaults = {"fmap_base": 8192, "fmap_decay": 1.0, "fmap_max": 512}
    return {name: _READERS[name](_option(network, name, default)) for name, default in defaults.items()}


def _generator_config(network: OfficialNetwork) -> tuple[GeneratorConfig, int]:
    """Return the settings of a generator, and the number of classes."""
    maps = _feature_maps(network)
    rows = network.variables["4x4/Dense/weight"].shape[0]
    label_size = int(_option(network, "label_size", 0))
    latent_size = int(_option(network, "latent_size", rows - label_size))
    if rows != latent_size + label_size:
        raise Unfit(f"its first layer has {rows} inputs, and its options {latent_size} latents and {label_size} labels")
    flags: dict[str, Any] = {
        name: bool(_option(network, name, True))
        for name in ("normalize_latents", "use_wscale", "use_pixelnorm", "use_leakyrelu")
    }
    epsilon = float(_option(network, "pixelnorm_epsilon", 1e-8))
    more: dict[str, Any] = {"latent_size": latent_size, "pixelnorm_epsilon": epsilon, "fused_scale": network.is_fused}
    return GeneratorConfig(**maps, **flags, **more), label_size


def _discriminator_config(network: OfficialNetwork, label_size: int) -> DiscriminatorConfig:
    maps = _feature_maps(network)
    group = int(_option(network, "mbstd_group_size", 4))
    found = network.variables["4x4/Dense1/weight"].shape[-1] - 1
    if found != label_size:
        raise Unfit(f"its discriminator knows {found} classes, and its generator {label_size}")
    stddev: dict[str, Any] = {"mbstd_group_size": group} if group > 1 else {"minibatch_stddev": "none"}
    use_wscale = bool(_option(network, "use_wscale", True))
    return DiscriminatorConfig(**maps, **stddev, use_wscale=use_wscale, fused_scale=network.is_fused)


def _ignored_options(network: OfficialNetwork) -> list[str]:
    """Return a note on each option that is unknown and ignored, there as here."""
    unknown = sorted(str(name) for name in network.options if name not in _OPTIONS)
    return [f"{network.kind} has the option {visible(name)[:40]}, which the authors' program ignores, too" for name in unknown]
