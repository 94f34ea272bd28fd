"""Weights of the Inception network: finding, checking and converting them.

The files (see `interop/inception_files.py`) use the names of the PyTorch state_dict; the parameter paths of our network follow
from these by a rule. Nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from pggan_jax.errors import UserError
from pggan_jax.evaluation.inception.network import SIDE, Inception
from pggan_jax.interop.inception_files import FILES, SOURCE, read_inception_file
from pggan_jax.system.files import atomic_file
from pggan_jax.system.paths import check_regular_file, user_path

VARIABLE = "PGGAN_INCEPTION_WEIGHTS"
RANDOM = "random"
_KNOWN_TAG = "6726825d"
_PUBLISHED = f"pt_inception-2015-12-05-{_KNOWN_TAG}.pth"
_SHOWN = 3
_LARGEST_FILE = 2**31
_LEAVES = {
    "conv.weight": ("params", "conv", "kernel"),
    "bn.weight": ("params", "bn", "scale"),
    "bn.bias": ("params", "bn", "bias"),
    "bn.running_mean": ("batch_stats", "bn", "mean"),
    "bn.running_var": ("batch_stats", "bn", "var"),
}


@dataclass(frozen=True)
class InceptionWeights:
    """Weights and their origin.

    Attributes:
        variables: for `Inception.apply`.
        source: sha256 of the original file, or "random".
        warning: a warning for the user, or "".
    """

    variables: Mapping[str, Any]
    source: str
    warning: str = ""


def find_weights(
    path: str | None, *, named_by: str = "--inception_weights=", needed_by: str = "this metric"
) -> InceptionWeights:
    """Load the weights named by path or by the variable PGGAN_INCEPTION_WEIGHTS.

    Args:
        path: a file, "random" for seeded random weights, or None for the environment variable.
        named_by: the flag or setting, for messages.
        needed_by: what uses the weights, for messages.

    Raises:
        UserError: no file is named, or it cannot be used.
    """
    path = path or os.environ.get(VARIABLE)
    if not path:
        raise UserError(
            f"{needed_by} needs the Inception weights, which are not included; get {_PUBLISHED} of pytorch-fid "
            f"(docs/metrics.md lists others), and give it by {named_by}PATH or {VARIABLE}=PATH"
        )
    if path == RANDOM:
        return InceptionWeights(to_variables(random_weights(0)), RANDOM)
    return load_weights(user_path(path, named=named_by), named_by=named_by)


def load_weights(path: Path, *, named_by: str = "--inception_weights=") -> InceptionWeights:
    """Load a weight file of any known kind.

    Args:
        path: the file.
        named_by: the flag or setting that names it, for messages.

    Raises:
        UserError: the file cannot be read, is of another kind, or belongs to another network.
    """
    tensors, source, warning = _load(path, named_by)
    return InceptionWeights(to_variables(tensors), source, warning)


def _load(path: Path, named_by: str) -> tuple[dict[str, np.ndarray], str, str]:
    """Return tensors by state_dict names, the digest of the original file, and a warning or ""."""
    try:
        check_regular_file(path, named=named_by, largest=_LARGEST_FILE, advice=f"give {FILES}")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        tensors, source = read_inception_file(path)
    except OSError as error:
        raise UserError(f"{named_by}{path}: cannot be read ({error.strerror or error}); give {FILES}") from None
    except UserError as error:
        raise UserError(str(error) if FILES in str(error) else f"{error}; give {FILES}") from None
    _check(path, tensors)
    warning = ""
    if path.suffix == ".pth" and not digest.startswith(_KNOWN_TAG):
        warning = f"{path}: the sha256 is {digest[:8]}...; that of the published file begins with {_KNOWN_TAG}"
    return tensors, source or digest, warning


def _check(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    if any(name.startswith("AuxLogits.") for name in tensors):
        raise UserError(f"{path}: is an ImageNet checkpoint of torchvision, not the FID network of 2015-12-05; give {FILES}")
    wanted = expected_shapes()
    missing, surplus = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or surplus:
        parts = [
            f"{len(names)} names {what}, such as {', '.join(names[:_SHOWN])}"
            for names, what in ((missing, "missing"), (surplus, "unknown"))
            if names
        ]
        raise UserError(f"{path}: is not the FID network: {'; '.join(parts)}; give {FILES}")
    for name, shape in wanted.items():
        if tensors[name].shape != shape:
            raise UserError(f"{path}: {name} has shape {tensors[name].shape}, not {shape}: it belongs to another network")
        if not np.isfinite(tensors[name]).all() or (name.endswith("running_var") and tensors[name].min() <= 0):
            raise UserError(f"{path}: {name} has impossible values; get the file again")


@cache
def expected_shapes() -> dict[str, tuple[int, ...]]:
    """Return the shapes of all 472 tensors by state_dict names."""
    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), np.float32)
    variables = jax.eval_shape(Inception().init, jax.random.key(0), image)
    return {_state_dict_name(path): _state_dict_shape(leaf.shape) for path, leaf in flatten_dict(variables).items()}


def _state_dict_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the PyTorch shape: [out, in, height, width] or [out, in]."""
    return (*shape[:1:-1], *shape[:2]) if len(shape) == 4 else shape[::-1]


def _state_dict_name(path: tuple[str, ...]) -> str:
    collection, *blocks = path
    if len(blocks) == 1:
        return blocks[0].replace("_kernel", ".weight").replace("_bias", ".bias")
    inverse = {own: name for name, own in _LEAVES.items()}
    return ".".join([*blocks[:-2], inverse[collection, blocks[-2], blocks[-1]]])


def to_variables(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Convert tensors by state_dict names to the variables of the network."""
    flat: dict[tuple[str, ...], np.ndarray] = {}
    for name, tensor in tensors.items():
        tensor = np.asarray(tensor, np.float32)
        if name.startswith("fc."):
            flat["params", "fc_kernel" if name == "fc.weight" else "fc_bias"] = tensor.T
            continue
        *blocks, module, leaf = name.split(".")
        collection, *rest = _LEAVES[f"{module}.{leaf}"]
        flat[(collection, *blocks, *rest)] = tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor
    return unflatten_dict(flat)


def random_weights(seed: int) -> dict[str, np.ndarray]:
    """Return random weights by state_dict names, for relative comparisons and tests.

    Batch norm is far from the identity, so that an error in it has a visible effect.
    """
    random = np.random.RandomState(seed)
    tensors = {}
    for name, shape in sorted(expected_shapes().items()):
        if name.endswith("conv.weight"):
            tensors[name] = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        elif name == "fc.weight":
            tensors[name] = random.standard_normal(shape) / np.sqrt(shape[1])
        elif name.endswith("bn.weight"):
            tensors[name] = random.uniform(0.7, 1.3, shape)
        elif name.endswith("running_var"):
            tensors[name] = random.uniform(0.6, 1.4, shape)
        else:
            tensors[name] = 0.1 * random.standard_normal(shape)
    return {name: tensor.astype(np.float32) for name, tensor in tensors.items()}


def write_npz(path: Path, out: Path, *, named_by: str = "") -> InceptionWeights:
    """Convert a weight file of any known kind to an .npz, and return the weights.

    Args:
        path: the file.
        out: the .npz; an existing file is replaced once everything is written.
        named_by: as in `load_weights`.

    Raises:
        UserError: as `load_weights`, or `out` cannot be written.
    """
    tensors, source, warning = _load(path, named_by)
    tensors = {name: np.asarray(tensor, np.float32) for name, tensor in tensors.items()}
    arrays: dict[str, Any] = {**tensors, SOURCE: np.array(source)}
    try:
        with atomic_file(out) as file:
            np.savez(file, **arrays)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror or error})") from None
    return InceptionWeights(to_variables(tensors), source, warning)
