"""Official variables (spec 7.3): made by the golden procedure, and converted into our trees by the rules of spec 7.4."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

LAYERS = {"Dense": "dense", "Conv": "conv", "Conv0": "conv0", "Conv1": "conv1", "Conv0_up": "conv0", "Conv1_down": "conv1"}
LAYERS |= {"Dense0": "dense0", "Dense1": "dense1"}
LEAVES = {"weight": "kernel", "bias": "bias"}


def random_variables(entries: Sequence[tuple[str, Sequence[int]]], rng: np.random.RandomState) -> dict[str, np.ndarray]:
    """The golden procedure: every entry from `randn` in the order given, biases times 0.3, float32."""
    variables = {}
    for name, shape in entries:
        values = rng.randn(*shape)
        variables[name] = (values * 0.3 if name.endswith("/bias") else values).astype(np.float32)
    return variables


def layer_path(layer: str, full_resolution: int) -> str:
    """'8x8/Conv0_up' to 'block_8x8/conv0', 'ToRGB_lod1' to 'to_rgb_8x8' (at full resolution 16)."""
    for official, ours in (("ToRGB_lod", "to_rgb"), ("FromRGB_lod", "from_rgb")):
        if layer.startswith(official):
            size = full_resolution >> int(layer.removeprefix(official))
            return f"{ours}_{size}x{size}"
    block, name = layer.split("/")
    return f"block_{block}/{LAYERS[name]}"


def convert_weight(layer: str, weight: np.ndarray, *, is_generator: bool) -> np.ndarray:
    """From the official layout into NHWC / HWIO."""
    if layer.endswith("Conv0_up"):
        return weight[::-1, ::-1].transpose(0, 1, 3, 2)
    if is_generator and layer == "4x4/Dense":
        inputs, outputs = weight.shape
        return weight.reshape(inputs, outputs // 16, 4, 4).transpose(0, 2, 3, 1).reshape(inputs, outputs)
    if layer == "4x4/Dense0":
        inputs, outputs = weight.shape
        return weight.reshape(inputs // 16, 4, 4, outputs).transpose(1, 2, 0, 3).reshape(inputs, outputs)
    return weight


def convert(variables: dict[str, np.ndarray], full_resolution: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Official variables 'G/...' and 'D/...' to the trees of our generator and discriminator, with every RGB layer."""
    trees: dict[str, dict[str, np.ndarray]] = {"G": {}, "D": {}}
    for name, value in variables.items():
        network, rest = name.split("/", 1)
        layer, leaf = rest.rsplit("/", 1)
        converted = convert_weight(layer, value, is_generator=network == "G") if leaf == "weight" else value
        trees[network][f"{layer_path(layer, full_resolution)}/{LEAVES[leaf]}"] = np.ascontiguousarray(converted)
    return unflatten_dict(trees["G"], sep="/"), unflatten_dict(trees["D"], sep="/")


def select(tree: dict[str, Any], shapes: dict[str, Any]) -> dict[str, Any]:
    """The leaves of `tree` that a module with these abstract parameters wants.

    Raises:
        ValueError: one is missing or has another shape.
    """
    have, want = flatten_dict(tree, sep="/"), flatten_dict(shapes, sep="/")
    wrong = [path for path, leaf in want.items() if path not in have or have[path].shape != leaf.shape]
    if wrong:
        raise ValueError(f"missing or of another shape: {', '.join(wrong)}")
    return unflatten_dict({path: have[path] for path in want}, sep="/")
