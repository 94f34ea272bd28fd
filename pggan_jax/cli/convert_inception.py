"""python launch.py convert_inception IN OUT.npz [--overwrite]

Turn a file with the weights of the Inception network, of any kind that docs/metrics.md names, into an .npz, which loads
fastest. Prints the sha256 of the file they were first read from, the number of tensors, and the mean of the features of a fixed
image: two users with the same numbers have the same network. Nothing in the file is run.
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
flags.DEFINE_boolean("overwrite", False, "replace OUT.npz if it is there", flag_values=FLAGS)


def run(values: flags.FlagValues, source: str, target: str) -> None:
    """Write the file and print what is in it."""
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
        raise UserError(f"{path or 'OUT.npz'}: an .npz file is written; let its name end in .npz")
    out = user_path(path, named="OUT.npz ")
    if out.is_dir():
        raise UserError(f"{path}: is a folder; name a file in it")
    if not out.parent.is_dir():
        raise UserError(f"{path}: there is no folder {out.parent}; make it, or choose another place")
    if out.exists() and not may_be_there:
        raise UserError(f"{path}: is there already; give --overwrite to replace it, or choose another name")
    return out
