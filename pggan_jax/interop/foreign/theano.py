"""Variables of the authors' Theano networks, by TensorFlow names (spec 7.5)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

_FUNCTIONS = {"G_paper": "G_paper", "G_progressive_8": "G_paper", "D_paper": "D_paper", "D_progressive_8": "D_paper"}
_MUST_BE = {
    "label_size": 0,
    "use_batchnorm": False,
    "use_layernorm": False,
    "tanh_at_end": None,
    "mbdisc_kernels": None,
    "mbstat_func": "Tstdeps",
    "mbstat_avg": "all",
}
"""Options of which only this value can be imported."""
_WITHOUT_EFFECT = ("use_gdrop",)
_STDDEV_GROUP = 16
_RELU_GAIN, _LINEAR_GAIN = math.sqrt(2.0), 1.0


def variables_of_parameters(state: Mapping[str, Any]) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    """Return the function, options and variables of the TensorFlow program for a Theano network.

    Convolutions of Theano flip their kernels; those of the 4x4 dense layers stand for convolutions, too.

    Args:
        state: of the stored object: `build_func_spec`, `param_values` (a flat list) and `toplevel_params`.

    Raises:
        ValueError: the network has what cannot be imported, or too few or too many parameters.
        KeyError: the state is of another form.
    """
    options = dict(state["build_func_spec"])
    function = str(options.pop("func"))
    if function not in _FUNCTIONS:
        raise ValueError(f"unknown function {function}")
    for name, needed in _MUST_BE.items():
        if (value := options.pop(name, needed)) != needed:
            raise ValueError(f"{name}={value!r} cannot be imported")
    for name in _WITHOUT_EFFECT:
        options.pop(name, None)
    if _FUNCTIONS[function] == "D_paper":
        options["mbstd_group_size"] = _STDDEV_GROUP
    parameters = _Parameters(state["param_values"], use_wscale=bool(options.get("use_wscale", True)))
    levels = int(math.log2(int(options.get("resolution", 32))))
    layers = _generator_layers(levels) if function.startswith("G") else _discriminator_layers(levels)
    variables = {name: value for layer, form in layers for name, value in parameters.layer(layer, form)}
    parameters.require_end()
    variables["lod"] = np.asarray(state["toplevel_params"]["cur_lod"])
    return _FUNCTIONS[function], options, variables


def _generator_layers(levels: int) -> Iterator[tuple[str, str]]:
    """Yield names and forms of the layers of G in their order in the file."""
    yield "4x4/Dense", "latent"
    yield "4x4/Conv", "conv"
    for level in range(3, levels + 1):
        for number in (0, 1):
            yield f"{2**level}x{2**level}/Conv{number}", "conv"
    for lod in range(levels - 1):
        yield f"ToRGB_lod{lod}", "rgb"


def _discriminator_layers(levels: int) -> Iterator[tuple[str, str]]:
    yield "FromRGB_lod0", "from_rgb"
    for level in range(levels, 2, -1):
        for number in (0, 1):
            yield f"{2**level}x{2**level}/Conv{number}", "conv"
        yield f"FromRGB_lod{levels - level + 1}", "from_rgb"
    yield "4x4/Conv", "conv"
    yield "4x4/Dense0", "flat"
    yield "4x4/Dense1", "scores"


class _Parameters:
    """The flat list of parameters: W and bias of each layer.

    With the equalized learning rate they are W, scale and bias.
    """

    def __init__(self, values: Any, *, use_wscale: bool):
        self._values, self._use_wscale = iter([np.asarray(value, np.float32) for value in values]), use_wscale

    def _next(self) -> np.ndarray:
        value = next(self._values, None)
        if value is None:
            raise ValueError("it has too few parameters")
        return value

    def layer(self, name: str, form: str) -> list[tuple[str, np.ndarray]]:
        """Take the parameters of the next layer."""
        weight, gain = _official_layout(self._next(), form)
        if self._use_wscale:
            scale, fan_in = self._next(), math.prod(weight.shape[:-1])
            if scale.size != 1:
                raise ValueError(f"the scale of {name} is not one number")
            weight = weight * scale.reshape(()) * np.float32(math.sqrt(fan_in) / gain)
        return [(f"{name}/weight", weight), (f"{name}/bias", self._next())]

    def require_end(self) -> None:
        if next(self._values, None) is not None:
            raise ValueError("it has too many parameters")


def _official_layout(weight: np.ndarray, form: str) -> tuple[np.ndarray, float]:
    """Return a weight in the layout of the TensorFlow program, and the gain of its layer."""
    if form == "latent":
        weight = weight.transpose(1, 0, 2, 3)
        return weight.reshape(len(weight), -1), _RELU_GAIN / 4
    if form == "conv":
        return weight.transpose(2, 3, 1, 0)[::-1, ::-1], _RELU_GAIN
    if form == "flat":
        return weight[:, :, ::-1, ::-1].reshape(len(weight), -1).T, _RELU_GAIN
    if form == "scores":
        return weight, _LINEAR_GAIN
    return weight[None, None], _RELU_GAIN if form == "from_rgb" else _LINEAR_GAIN
