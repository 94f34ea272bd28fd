"""Files of named float32 arrays with a JSON text, in the safetensors format.

The format has no code and no pickles: a header with names, types and ranges of bytes, then the bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pggan_jax.errors import UserError, first_line, visible
from pggan_jax.system.files import write_atomically

SUFFIX = ".safetensors"
_KEY = "pggan_jax"
_TYPE = "F32"
_NAME_LENGTH = 60


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray], text: str) -> None:
    """Write arrays of float32 and a text; equal input gives equal bytes.

    Raises:
        OSError: the file cannot be written.
    """
    from safetensors.numpy import save

    rows = {name: np.ascontiguousarray(array, np.float32) for name, array in tensors.items()}
    write_atomically(path, save(rows, metadata={_KEY: text}))


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """Read what `write_tensors` wrote.

    The library compares all ranges with the size of the file before memory is taken; arrays that are not float32 or not finite
    are refused here.

    Raises:
        UserError: the file is damaged, or was not written by this program.
        OSError: it cannot be read.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise UserError(f"{path}: reading it needs the package safetensors; pip install safetensors") from None
    path.open("rb").close()  # `safe_open` words such errors in its own way
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(_KEY)
            if text is None:
                raise UserError(f"{path}: holds arrays of another program; give a file of `launch.py export` or `import`")
            tensors = {}
            for name in sorted(file.keys()):
                kind = file.get_slice(name).get_dtype()
                if kind != _TYPE:
                    raise UserError(
                        f"{path}: {visible(name)[:_NAME_LENGTH]} has type {kind}, not {_TYPE}; the file was changed"
                    )
                tensors[name] = file.get_tensor(name)
    except SafetensorError as error:
        raise UserError(f"{path}: is damaged or no safetensors file ({first_line(error)}); get it again") from None
    for name, array in tensors.items():
        if not np.isfinite(array).all():
            raise UserError(f"{path}: {visible(name)[:_NAME_LENGTH]} has NaN or infinite values; the network has diverged")
    return tensors, text
