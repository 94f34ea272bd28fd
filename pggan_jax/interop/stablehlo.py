"""Generators as StableHLO, which any program with JAX runs without this package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import export

from pggan_jax.system.files import write_atomically

PLATFORMS = ("cpu", "cuda", "tpu")


class ExportedProgram(NamedTuple):
    """What a written file can be loaded by.

    Attributes:
        jax_version: that wrote it.
        calling_convention: of `jax.export`.
    """

    jax_version: str
    calling_convention: int


def write_stablehlo(path: Path, function: Callable[..., jax.Array], row_sizes: tuple[int, ...]) -> ExportedProgram:
    """Write a function of float32 rows `[batch, size]`, for any batch.

    Args:
        path: of the file.
        function: takes one array for each size; what it closes over becomes constants.
        row_sizes: lengths of the rows of each argument.

    Raises:
        OSError: the file cannot be written.
    """
    (batch,) = export.symbolic_shape("batch")
    inputs = [jax.ShapeDtypeStruct((batch, size), jnp.float32) for size in row_sizes]
    exported = export.export(jax.jit(function), platforms=PLATFORMS)(*inputs)
    write_atomically(path, bytes(exported.serialize()))
    return ExportedProgram(jax.__version__, exported.calling_convention_version)
