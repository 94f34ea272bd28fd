"""From the names and layouts of the authors' variables to ours (spec 7.3, 7.4)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pggan_jax.interop.foreign.model import Leaves

Variables = Mapping[str, np.ndarray]

_LAYERS = {
    **{"Dense": "dense", "Dense0": "dense0", "Dense1": "dense1", "Conv": "conv", "Conv0": "conv0", "Conv1": "conv1"},
    **{"Conv0_up": "conv0", "Conv1_down": "conv1"},
}
_RGB = {"ToRGB_lod": "to_rgb", "FromRGB_lod": "from_rgb"}
_LEAVES = {"weight": "kernel", "bias": "bias"}


def convert_variables(variables: Variables, full_resolution: int, *, is_generator: bool) -> Leaves:
    """Convert all variables of a network.

    Args:
        variables: raw values by official name, such as `8x8/Conv0_up/weight`.
        full_resolution: at which ToRGB_lod0 and FromRGB_lod0 are.
        is_generator: its 4x4/Dense has another layout.

    Returns:
        Our parameters by path, in NHWC and HWIO, of all resolutions.

    Raises:
        ValueError: a name or a shape is not that of an official network.
    """
    leaves: Leaves = {}
    for name, value in variables.items():
        layer, _, leaf = name.rpartition("/")
        if leaf not in _LEAVES:
            raise ValueError(f"unknown variable {name}")
        converted = _convert_weight(layer, value, is_generator=is_generator) if leaf == "weight" else value
        leaves[f"{layer_path(layer, full_resolution)}/{_LEAVES[leaf]}"] = np.ascontiguousarray(converted)
    return leaves


def layer_path(layer: str, full_resolution: int) -> str:
    """8x8/Conv0_up is block_8x8/conv0; ToRGB_lod1 is to_rgb_8x8 at full resolution 16."""
    for official, ours in _RGB.items():
        if layer.startswith(official):
            side = full_resolution >> int(layer.removeprefix(official))
            return f"{ours}_{side}x{side}"
    block, _, name = layer.partition("/")
    if name not in _LAYERS:
        raise ValueError(f"unknown layer {layer}")
    return f"block_{block}/{_LAYERS[name]}"


def _convert_weight(layer: str, weight: np.ndarray, *, is_generator: bool) -> np.ndarray:
    """Convert a weight; the stored values stay raw, without their runtime factor."""
    if layer.endswith("/Conv0_up"):
        return weight[::-1, ::-1].transpose(0, 1, 3, 2)
    if is_generator and layer == "4x4/Dense":
        inputs, outputs = weight.shape
        return weight.reshape(inputs, outputs // 16, 4, 4).transpose(0, 2, 3, 1).reshape(inputs, outputs)
    if layer == "4x4/Dense0":
        inputs, outputs = weight.shape
        return weight.reshape(inputs // 16, 4, 4, outputs).transpose(1, 2, 0, 3).reshape(inputs, outputs)
    return weight
