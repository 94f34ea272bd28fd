"""python launch.py convert_inception IN OUT.npz [--overwrite]

Convert a file with the weights of the Inception network, of any kind that docs/metrics.md lists, to OUT.npz, which loads
fastest. Nothing in the file is executed.

Example: python launch.py convert_inception inception-2015-12-05.pt inception.npz

Prints the sha256 of the original file, the number of tensors, and the mean feature of a fixed image: two users with equal
numbers have the same network.
"""

from __future__ import annotations

from pathlib import Path

from absl import flags

from pggan_jax.cli.shared_flags import flag_value
from pggan_jax.distributed.backend import require_backend
from pggan_jax.errors import UserError
from pggan_jax.system.paths import user_path

ARGUMENTS = ("IN", "OUT.npz")
FLAGS = flags.FlagValues()
flags.DEFINE_boolean("overwrite", False, "replace OUT.npz if it exists", flag_values=FLAGS)


def run(values: flags.FlagValues, *paths: str) -> None:
    """Write the file and print its fingerprint."""
    source, target = paths
    out = _checked_file(target, may_be_there=flag_value(values, "overwrite"))
    require_backend()
    import jax

    from pggan_jax.evaluation.inception.features import feature_mean, fixed_image
    from pggan_jax.evaluation.inception.weights import write_npz

    weights = write_npz(user_path(source, named="IN "), out)
    if weights.warning:
        print(weights.warning)
    side = fixed_image().shape[1]
    print(f"sha256    {weights.source} (of the source)")
    print(f"tensors   {len(jax.tree.leaves(weights.variables))}")
    print(f"features  mean {feature_mean(weights):.5f} (of a fixed {side}x{side} image, resized as tf1)")
    print(f"-> {out}")


def _checked_file(path: str, *, may_be_there: bool) -> Path:
    if not path.endswith(".npz"):
        raise UserError(f"{path or 'OUT.npz'}: the output is an .npz file; choose a name that ends in .npz")
    out = user_path(path, named="OUT.npz ")
    if out.is_dir():
        raise UserError(f"{path}: is a folder; name a file in it")
    if not out.parent.is_dir():
        raise UserError(f"{path}: there is no folder {out.parent}; create it, or choose another path")
    if out.exists() and not may_be_there:
        raise UserError(f"{path}: exists already; add --overwrite to replace it, or choose another name")
    return out
