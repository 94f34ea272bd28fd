"""Generators as ONNX, by jax2onnx, checked in ONNX Runtime."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np

from pggan_jax.errors import UserError, first_line
from pggan_jax.system.files import write_atomically

INSTALL = 'pip install -r requirements-optional.txt, then pip install --no-deps "jax2onnx>=0.17,<0.18"'
LARGEST_DIFFERENCE = 1e-4
_OPSET = 21


def write_onnx(path: Path, function: Callable[..., jax.Array], rows: Sequence[np.ndarray]) -> float:
    """Write a function of float32 rows `[batch, size]`, if ONNX Runtime computes the same.

    The file takes any batch.

    Args:
        path: of the file.
        function: takes one array for each of `rows`; what it closes over becomes constants.
        rows: arrays to compare with.

    Returns:
        The largest difference between the two programs.

    Raises:
        UserError: a package is missing, or the programs differ.
        OSError: the file cannot be written.
    """
    try:
        import jax2onnx
        import onnxruntime
    except ImportError as error:
        raise UserError(f"--out={path}: ONNX needs the package {error.name}; {INSTALL}") from None
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # it warns of each shape that is known at run time only
    inputs = [("batch", array.shape[1]) for array in rows]
    try:
        program = jax2onnx.to_onnx(function, inputs=inputs, model_name="generator", opset=_OPSET).SerializeToString()
    except NotImplementedError as error:
        raise UserError(f"--out={path}: jax2onnx cannot convert this network ({first_line(error)}); use .stablehlo") from None
    session = onnxruntime.InferenceSession(program, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    (found,) = session.run(None, dict(zip(names, rows, strict=True)))
    difference = float(np.abs(found - np.asarray(function(*rows))).max())
    if not difference <= LARGEST_DIFFERENCE:
        raise UserError(f"--out={path}: ONNX Runtime's images differ by {difference:.2g}; export to .stablehlo instead")
    write_atomically(path, program)
    return difference
