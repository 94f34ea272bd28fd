"""Weights of the Inception network: which files are taken, what must be in them, and by which names the network knows them.

All readers give the names of the PyTorch state_dict, such as `Mixed_5b.branch5x5_2.conv.weight`; the network's own names follow
from these without a table. Nothing is ever downloaded.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from pggan_jax.errors import UserError
from pggan_jax.evaluation.inception.network import SIDE, Inception
from pggan_jax.interop.graphdef_reader import read_constants
from pggan_jax.interop.torch_reader import read_state_dict
from pggan_jax.system.files import atomic_file
from pggan_jax.system.paths import check_regular_file, user_path

VARIABLE = "PGGAN_INCEPTION_WEIGHTS"
RANDOM = "random"
_KNOWN_TAG = "6726825d"
_SOURCE = "__source__"
_SHOWN = 3
_LARGEST_FILE = 2**31
_FILES = (
    "pt_inception-2015-12-05-6726825d.pth (from pytorch-fid), weights-inception-2015-12-05-6726825d.pth (from torch-fidelity), "
    "classify_image_graph_def.pb (the frozen TensorFlow graph), or an .npz that convert_inception has made from one of them"
)
_LEAVES = {
    "conv.weight": ("params", "conv", "kernel"),
    "bn.weight": ("params", "bn", "scale"),
    "bn.bias": ("params", "bn", "bias"),
    "bn.running_mean": ("batch_stats", "bn", "mean"),
    "bn.running_var": ("batch_stats", "bn", "var"),
}


@dataclass(frozen=True)
class InceptionWeights:
    """Weights, and where they are from.

    Attributes:
        variables: for `Inception.apply`.
        source: sha256 of the file they were first read from, or "random".
        warning: what a user should know of them, or nothing.
    """

    variables: Mapping[str, Any]
    source: str
    warning: str = ""


def find_weights(path: str | None, *, named_by: str = "--inception_weights=") -> InceptionWeights:
    """The weights that the user has named by path, or by the environment variable PGGAN_INCEPTION_WEIGHTS.

    Args:
        path: a file, "random" for seeded random weights, or None.
        named_by: how the user names it, for messages.

    Raises:
        UserError: none is named, or the file cannot be used.
    """
    path = path or os.environ.get(VARIABLE)
    if not path:
        raise UserError(
            f"this metric needs the Inception weights, which are not part of this program: get {_FILES}, and give it by "
            f"{named_by}PATH or the environment variable {VARIABLE}; see docs/metrics.md"
        )
    if path == RANDOM:
        return InceptionWeights(to_variables(random_weights(0)), RANDOM)
    return load_weights(user_path(path, named=named_by), named_by=named_by)


def load_weights(path: Path, *, named_by: str = "--inception_weights=") -> InceptionWeights:
    """Read a file of any kind that is known.

    Args:
        path: the file.
        named_by: how the user has named it, for messages.

    Raises:
        UserError: it cannot be read, is of another kind, or belongs to another network.
    """
    tensors, source, warning = _load(path, named_by)
    return InceptionWeights(to_variables(tensors), source, warning)


def _load(path: Path, named_by: str) -> tuple[dict[str, np.ndarray], str, str]:
    """Tensors by state_dict names, the digest of the file they were first read from, and what a user should know of it."""
    try:
        check_regular_file(path, named=named_by, largest=_LARGEST_FILE, advice=f"give {_FILES}")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        tensors, source = _read(path)
    except OSError as error:
        raise UserError(f"{named_by}{path}: cannot be read ({error.strerror or error}); give {_FILES}") from None
    except UserError as error:
        raise UserError(str(error) if _FILES in str(error) else f"{error}; give {_FILES}") from None
    _check(path, tensors)
    warning = ""
    if path.suffix == ".pth" and not digest.startswith(_KNOWN_TAG):
        warning = f"{path} has the sha256 {digest[:8]}..., that of the published file begins with {_KNOWN_TAG}"
    return tensors, source or digest, warning


def _read(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """Tensors by state_dict names, and the digest of the file that an .npz was made from."""
    if path.suffix in (".pkl", ".pickle"):
        raise UserError(f"{path}: a pickle can run any code and is never loaded; give {_FILES}")
    if path.suffix == ".npz":
        tensors = _read_npz(path)
        return tensors, str(tensors.pop(_SOURCE, ""))
    if path.suffix == ".pb":
        constants = read_constants(path)
        return dict(_from_graph(constants)), ""
    tensors = read_state_dict(path)
    return {name: array for name, array in tensors.items() if not name.endswith("num_batches_tracked")}, ""


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except OSError:
        raise
    except Exception:
        raise UserError(f"{path}: is not an .npz of tensors, or damaged; give {_FILES}") from None


def _check(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    if any(name.startswith("AuxLogits.") for name in tensors):
        raise UserError(f"{path}: is an ImageNet checkpoint of torchvision, not the FID network of 2015-12-05; give {_FILES}")
    wanted = expected_shapes()
    missing, surplus = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or surplus:
        parts = [
            f"{len(names)} names {what}, such as {', '.join(names[:_SHOWN])}"
            for names, what in ((missing, "missing"), (surplus, "unknown"))
            if names
        ]
        raise UserError(f"{path}: is not the FID network: {'; '.join(parts)}; give {_FILES}")
    for name, shape in wanted.items():
        if tensors[name].shape != shape:
            raise UserError(f"{path}: {name} has shape {tensors[name].shape}, not {shape}: it belongs to another network")
        if not np.isfinite(tensors[name]).all() or (name.endswith("running_var") and tensors[name].min() <= 0):
            raise UserError(f"{path}: {name} has impossible values; get the file again")


@cache
def expected_shapes() -> dict[str, tuple[int, ...]]:
    """Shapes of all 472 tensors by their state_dict names."""
    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), np.float32)
    variables = jax.eval_shape(Inception().init, jax.random.key(0), image)
    names = {own: name for name, (own, _) in _names(flatten_dict(variables))}
    flat = flatten_dict(variables)
    return {names[own]: _transposed_shape(names[own], leaf.shape) for own, leaf in flat.items()}


def _names(flat: Mapping[tuple[str, ...], Any]) -> Iterator[tuple[str, tuple[tuple[str, ...], Any]]]:
    """(state_dict name, (own path, leaf)) of every leaf."""
    inverse = {tuple(parts): name for name, (*parts,) in _LEAVES.items()}
    for path, leaf in flat.items():
        collection, *blocks = path
        if len(blocks) == 1:
            yield blocks[0].replace("_kernel", ".weight").replace("_bias", ".bias"), (path, leaf)
        else:
            yield ".".join([*blocks[:-2], inverse[(collection, *blocks[-2:])]]), (path, leaf)


def _transposed_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if name.endswith("conv.weight"):
        height, width, channels, features = shape
        return features, channels, height, width
    return shape[::-1] if name == "fc.weight" else shape


def to_variables(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Tensors by state_dict names to the network's variables."""
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
    """Random weights by state_dict names: features of a network that has learned nothing, for relative comparisons and tests.

    Batch norm is far from the identity, so that a mistake in it would show.
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
    """Turn a weight file of any known kind into an .npz, which loads fastest; the weights, which are now known.

    Args:
        path: the file.
        out: the .npz; what is there is replaced once all is written.
        named_by: as in `load_weights`.

    Raises:
        UserError: as `load_weights`, or `out` cannot be written.
    """
    tensors, source, warning = _load(path, named_by)
    tensors = {name: np.asarray(tensor, np.float32) for name, tensor in tensors.items()}
    arrays: dict[str, Any] = {**tensors, _SOURCE: np.array(source)}
    try:
        with atomic_file(out) as file:
            np.savez(file, **arrays)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror or error})") from None
    return InceptionWeights(to_variables(tensors), source, warning)


def _from_graph(constants: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Constants of the frozen graph by state_dict names; the layout of its kernels is the network's own."""
    for scope, path in graph_scopes().items():
        for leaf, name in (
            ("batchnorm/gamma", "bn.weight"),
            ("batchnorm/beta", "bn.bias"),
            ("batchnorm/moving_mean", "bn.running_mean"),
            ("batchnorm/moving_variance", "bn.running_var"),
        ):
            if f"{scope}/{leaf}" in constants:
                yield f"{path}.{name}", constants[f"{scope}/{leaf}"]
        if f"{scope}/conv2d_params" in constants:
            yield f"{path}.conv.weight", constants[f"{scope}/conv2d_params"].transpose(3, 2, 0, 1)
    if "softmax/weights" in constants:
        yield "fc.weight", constants["softmax/weights"].T
    if "softmax/biases" in constants:
        yield "fc.bias", constants["softmax/biases"]


def graph_scopes() -> dict[str, str]:
    """Scopes of the frozen graph by the paths of the state_dict."""
    stem = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
    scopes = {f"conv_{number}" if number else "conv": path for number, path in enumerate(stem)}
    double = {f"tower_1/{_conv(number)}": f"branch3x3dbl_{number + 1}" for number in range(3)}
    block_a = {"conv": "branch1x1", **_tower("tower", "branch5x5", 2), **double, "tower_2/conv": "branch_pool"}
    block_c = {
        "conv": "branch1x1",
        **_tower("tower", "branch7x7", 3),
        **_tower("tower_1", "branch7x7dbl", 5),
        "tower_2/conv": "branch_pool",
    }
    block_e = {
        "conv": "branch1x1",
        "tower/conv": "branch3x3_1",
        "tower/mixed/conv": "branch3x3_2a",
        "tower/mixed/conv_1": "branch3x3_2b",
        **_tower("tower_1", "branch3x3dbl", 2),
        "tower_1/mixed/conv": "branch3x3dbl_3a",
        "tower_1/mixed/conv_1": "branch3x3dbl_3b",
        "tower_2/conv": "branch_pool",
    }
    blocks = {
        **dict.fromkeys(("5b", "5c", "5d"), block_a),
        "6a": {"conv": "branch3x3", **_tower("tower", "branch3x3dbl", 3)},
        **dict.fromkeys(("6b", "6c", "6d", "6e"), block_c),
        "7a": {**_tower("tower", "branch3x3", 2), **_tower("tower_1", "branch7x7x3", 4)},
        **dict.fromkeys(("7b", "7c"), block_e),
    }
    for number, (block, branches) in enumerate(blocks.items()):
        mixed = f"mixed_{number}" if number else "mixed"
        scopes |= {f"{mixed}/{scope}": f"Mixed_{block}.{branch}" for scope, branch in branches.items()}
    return scopes


def _tower(scope: str, branch: str, length: int) -> dict[str, str]:
    return {f"{scope}/{_conv(number)}": f"{branch}_{number + 1}" for number in range(length)}


def _conv(number: int) -> str:
    return f"conv_{number}" if number else "conv"
