"""Readers of files with the weights of the Inception network of 2015-12-05.

All of them return tensors by the names of the PyTorch state_dict, such as `Mixed_5b.branch5x5_2.conv.weight`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from pggan_jax.errors import UserError
from pggan_jax.interop.graphdef import read_constants
from pggan_jax.interop.state_dict import read_state_dict

FILES = (
    "pt_inception-2015-12-05-6726825d.pth (pytorch-fid), classify_image_graph_def.pb (TensorFlow), "
    "or an .npz of convert_inception"
)
SOURCE = "__source__"  # name of the digest in an .npz


def read_inception_file(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """Read a file of any known kind.

    Args:
        path: a .npz, .pb or .pth file.

    Returns:
        Tensors by state_dict names; and of an .npz the digest of the file that it was made from, otherwise "".

    Raises:
        UserError: the file is of another kind or damaged.
        OSError: the file cannot be read.
    """
    if path.suffix in (".pkl", ".pickle"):
        raise UserError(f"{path}: a pickle can run any code and is never loaded; give {FILES}")
    if path.suffix == ".npz":
        tensors = _read_npz(path)
        return tensors, str(tensors.pop(SOURCE, ""))
    if path.suffix == ".pb":
        return dict(_from_graph(read_constants(path))), ""
    tensors = read_state_dict(path)
    return {name: array for name, array in tensors.items() if not name.endswith("num_batches_tracked")}, ""


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except OSError:
        raise
    except Exception:
        raise UserError(f"{path}: is not an .npz of tensors, or is damaged; give {FILES}") from None


def _from_graph(constants: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the constants of the frozen graph by state_dict names, in the layout of PyTorch."""
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
    """Return the state_dict paths of the units by their scopes in the frozen graph."""
    stem = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
    scopes = {_conv(number): path for number, path in enumerate(stem)}
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
