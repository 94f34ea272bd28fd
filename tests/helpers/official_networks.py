"""Official variables (spec 7.3): made by the golden procedure, and converted into our trees by the rules of spec 7.4."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from pggan_jax.interop.foreign.official_variables import convert_variables


def random_variables(entries: Sequence[tuple[str, Sequence[int]]], rng: np.random.RandomState) -> dict[str, np.ndarray]:
    """The golden procedure: every entry from `randn` in the order given, biases times 0.3, float32."""
    variables = {}
    for name, shape in entries:
        values = rng.randn(*shape)
        variables[name] = (values * 0.3 if name.endswith("/bias") else values).astype(np.float32)
    return variables


def convert(variables: dict[str, np.ndarray], full_resolution: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Official variables 'G/...' and 'D/...' to the trees of our generator and discriminator, with every RGB layer."""
    trees = {}
    for network in ("G", "D"):
        own = {name.removeprefix(f"{network}/"): value for name, value in variables.items() if name.startswith(f"{network}/")}
        trees[network] = unflatten_dict(convert_variables(own, full_resolution, is_generator=network == "G"), sep="/")
    return trees["G"], trees["D"]


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
