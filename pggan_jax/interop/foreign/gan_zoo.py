"""Reader of pytorch_GAN_zoo's checkpoints of progressive growing, without PyTorch (spec 8)."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pggan_jax.config import Config, DataConfig, DiscriminatorConfig, GeneratorConfig
from pggan_jax.errors import UserError, visible
from pggan_jax.interop.foreign.model import ForeignModel, Leaves, Unfit, as_parameters, reading_networks
from pggan_jax.interop.foreign.unpickler import StoredObject
from pggan_jax.interop.state_dict import read_torch_file
from pggan_jax.interop.trusted_pickle import refuse_name

LICENCE = "pytorch_GAN_zoo's code: BSD 3-clause; of the weights it names none, ask whoever gave them to you"
_PROGRAM = "pytorch_GAN_zoo"
_GAIN = math.sqrt(2.0)
_LEAK = 0.2
_TANH_LOSSES = ("MSE", "DCGAN")
_LINEAR_LOSSES = ("WGANGP", "Logistic")
_STDDEV_GROUP = 4
_NOT_FOR_CONFIG = {*sys.stdlib_module_names, "__builtin__", "torch", "numpy"}


def read_gan_zoo(path: Path) -> ForeignModel:
    """Read a checkpoint with `config`, `netG`, `netD` and `avgG`.

    Raises:
        UserError: it holds anything else than tensors and attributes, or networks that this program does not have.
        OSError: the file cannot be read.
    """
    content = read_torch_file(path, class_for=_config_class)
    if not isinstance(content, dict) or "config" not in content or "netG" not in content:
        raise UserError(f"{path}: does not hold a checkpoint of pytorch_GAN_zoo (config, netG, netD, avgG)")
    with reading_networks(path, _PROGRAM):
        config = content["config"]
        options = config.state if isinstance(config, StoredObject) else dict(config)
        return _model_of(options, {name: _tensors(content.get(name)) for name in ("netG", "netD", "avgG")})


def _config_class(module: str, name: str) -> type[StoredObject]:
    """Return what stands for the class of the configuration, which has no fixed name."""
    if module.partition(".")[0] in _NOT_FOR_CONFIG:
        raise refuse_name(module, name)
    return StoredObject.of(module, name)


def _tensors(state: Any) -> dict[str, np.ndarray]:
    """Return a network's tensors by key; very old files leave out `.module`."""
    found = {}
    for key, value in dict(state or {}).items():
        layer, _, leaf = str(key).rpartition(".")
        found[f"{layer.removesuffix('.module')}.{leaf}"] = as_parameters(str(key), value)
    return found


def _model_of(options: Mapping[str, Any], networks: Mapping[str, dict[str, np.ndarray]]) -> ForeignModel:
    average = networks["avgG"] or networks["netG"]
    scales = 1 + max(int(key.split(".")[1]) for key in average if key.startswith("toRGBLayers."))
    depths = [average[f"toRGBLayers.{scale}.weight"].shape[1] for scale in range(scales)]
    channels, full = average["toRGBLayers.0.weight"].shape[0], 4 << (scales - 1)
    label_size = _label_size(options, networks["netD"])
    maps = feature_map_settings(depths)
    use_wscale = bool(options.get("equalizedlR", True))
    alpha = 1.0 - float(options.get("alpha", 0.0)) if scales > 1 else 1.0
    activation = _output_activation(options, alpha)
    _check_options(options, alpha)
    generator = GeneratorConfig(
        **maps,
        latent_size=average["formatLayer.weight"].shape[1] - label_size,
        use_wscale=use_wscale,
        fused_scale=False,
        first_bias="position",
        output_activation=activation,
    )
    stddev = "contiguous" if options.get("miniBatchStdDev", False) else "none"
    discriminator = DiscriminatorConfig(
        **maps, use_wscale=use_wscale, minibatch_stddev=stddev, mbstd_group_size=_STDDEV_GROUP, fused_scale=False
    )
    data = DataConfig("folder:IMAGES", full, channels=channels, labels=label_size > 0)
    notes = []
    if scales == 2 and alpha < 1 and networks["netD"]:
        notes.append("its discriminator does not fade at 8x8, and ours does; its scores differ until the fade has ended")
    has_average = bool(networks["avgG"])
    return ForeignModel(
        config=Config(data=data, generator=generator, discriminator=discriminator),
        resolution=full,
        alpha=alpha,
        channels=channels,
        label_size=label_size,
        generator=_generator_leaves(average, scales, use_wscale=use_wscale),
        raw_generator=_generator_leaves(networks["netG"], scales, use_wscale=use_wscale) if has_average else None,
        discriminator=_discriminator_leaves(networks["netD"], scales, use_wscale=use_wscale) if networks["netD"] else None,
        origin=f"pytorch_GAN_zoo ({', '.join(name for name, state in networks.items() if state)})",
        licence=LICENCE,
        notes=tuple(notes),
    )


def _label_size(options: Mapping[str, Any], discriminator: Mapping[str, np.ndarray]) -> int:
    label_size = int(options.get("categoryVectorDim") or 0)
    found = len(discriminator["decisionLayer.weight"]) - 1 if discriminator else label_size
    if found != label_size:
        raise Unfit(f"its discriminator knows {found} classes, and its configuration {label_size}")
    return label_size


def _output_activation(options: Mapping[str, Any], alpha: float) -> str:
    loss = options.get("lossCriterion", _LINEAR_LOSSES[0])
    known = (*_LINEAR_LOSSES, *_TANH_LOSSES)
    if loss not in known:
        raise Unfit(f"its lossCriterion {visible(str(loss))[:20]} is unknown; {', '.join(known)} can be read")
    if loss in _TANH_LOSSES and alpha < 1:
        raise Unfit(f"it is in the middle of a fade, which ends in a tanh there ({loss}); take a later checkpoint")
    return "tanh" if loss in _TANH_LOSSES else "linear"


def _check_options(options: Mapping[str, Any], alpha: float) -> None:
    """Refuse what our networks cannot do."""
    leak = float(options.get("leakyReluLeak", _LEAK))
    if abs(leak - _LEAK) > 1e-9:
        raise Unfit(f"its leaky ReLU has slope {leak:g}; {_LEAK:g} can be computed here")
    if not options.get("perChannelNormalization", True):
        raise Unfit("it has no pixel norm (perChannelNormalization), with which pytorch_GAN_zoo itself fails")
    if not 0 <= alpha <= 1:
        raise Unfit(f"its alpha {1 - alpha:g} is not from 0 to 1")


def feature_map_settings(depths: Sequence[int]) -> dict[str, Any]:
    """Return fmap_base, fmap_decay and fmap_max for feature maps at 4x4, 8x8 and so on.

    Raises:
        Unfit: there are none.
    """
    most = max(depths)
    for decay in (1.0, 0.5, 2.0, 0.0):
        first = next((stage for stage, depth in enumerate(depths, 1) if depth < most), len(depths))
        base = round(depths[first - 1] * 2.0 ** (first * decay))
        found = [max(1, min(int(base / 2.0 ** (stage * decay)), most)) for stage in range(1, len(depths) + 1)]
        if found == list(depths) and min(base, most) == depths[0]:
            return {"fmap_base": base, "fmap_decay": decay, "fmap_max": most}
    raise Unfit(
        f"its feature maps {', '.join(map(str, depths))} do not follow min(fmap_base / 2^(stage * fmap_decay), fmap_max)"
    )


def _layer(state: Mapping[str, np.ndarray], key: str, *, own_gain: float, use_wscale: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return weight and bias in our parameterisation, in PyTorch's layout.

    There both are multiplied by sqrt(2 / fan_in); here the weight alone, by own_gain / sqrt(fan_in).
    """
    weight, bias = state[f"{key}.weight"], state[f"{key}.bias"]
    if not use_wscale:
        return weight, bias
    scale = _GAIN / math.sqrt(math.prod(weight.shape[1:]))
    return weight * np.float32(_GAIN / own_gain), bias * np.float32(scale)


def _convolution(weight: np.ndarray) -> np.ndarray:
    return weight.transpose(2, 3, 1, 0)


def _generator_leaves(state: Mapping[str, np.ndarray], scales: int, *, use_wscale: bool) -> Leaves:
    leaves: Leaves = {}

    def add(path: str, weight: np.ndarray, bias: np.ndarray) -> None:
        leaves[f"{path}/kernel"], leaves[f"{path}/bias"] = np.ascontiguousarray(weight), np.ascontiguousarray(bias)

    weight, bias = _layer(state, "formatLayer", own_gain=_GAIN / 4, use_wscale=use_wscale)
    maps, inputs = len(weight) // 16, weight.shape[1]
    by_position = weight.reshape(maps, 4, 4, inputs).transpose(3, 1, 2, 0)
    add("block_4x4/dense", by_position.reshape(inputs, -1), bias.reshape(maps, 4, 4).transpose(1, 2, 0))
    keys = {"block_4x4/conv": "groupScale0.0"}
    for scale in range(1, scales):
        block = f"block_{4 << scale}x{4 << scale}"
        keys |= {f"{block}/conv{number}": f"scaleLayers.{scale - 1}.{number}" for number in (0, 1)}
    for path, key in keys.items():
        weight, bias = _layer(state, key, own_gain=_GAIN, use_wscale=use_wscale)
        add(path, _convolution(weight), bias)
    for scale in range(scales):
        weight, bias = _layer(state, f"toRGBLayers.{scale}", own_gain=1.0, use_wscale=use_wscale)
        add(f"to_rgb_{4 << scale}x{4 << scale}", _convolution(weight), bias)
    return leaves


def _discriminator_leaves(state: Mapping[str, np.ndarray], scales: int, *, use_wscale: bool) -> Leaves:
    leaves: Leaves = {}
    keys = {"block_4x4/conv": "groupScaleZero.0"}
    for scale in range(scales):
        side = f"{4 << scale}x{4 << scale}"
        keys[f"from_rgb_{side}"] = f"fromRGBLayers.{scale}"
        if scale:
            keys |= {f"block_{side}/conv{number}": f"scaleLayers.{scale - 1}.{number}" for number in (0, 1)}
    for path, key in keys.items():
        weight, bias = _layer(state, key, own_gain=_GAIN, use_wscale=use_wscale)
        leaves[f"{path}/kernel"], leaves[f"{path}/bias"] = np.ascontiguousarray(_convolution(weight)), bias
    weight, bias = _layer(state, "groupScaleZero.1", own_gain=_GAIN, use_wscale=use_wscale)
    outputs = len(weight)
    by_position = weight.reshape(outputs, -1, 4, 4).transpose(2, 3, 1, 0)
    leaves["block_4x4/dense0/kernel"], leaves["block_4x4/dense0/bias"] = by_position.reshape(-1, outputs), bias
    weight, bias = _layer(state, "decisionLayer", own_gain=1.0, use_wscale=use_wscale)
    # There the class logits are columns 0 to K - 1, and column 0 is the score, too; the last column has no use.
    columns = [0, *range(len(weight) - 1)]
    leaves["block_4x4/dense1/kernel"], leaves["block_4x4/dense1/bias"] = np.ascontiguousarray(weight[columns].T), bias[columns]
    return leaves
