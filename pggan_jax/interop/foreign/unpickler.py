"""Unpickler of NumPy arrays and of objects that are kept as their attributes.

Nothing that a file names is called: each allowed name stands for a class of this module. Arrays are made of bytes that the
file holds, after their number has been compared with the declared shape.
"""

from __future__ import annotations

import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pggan_jax.errors import UserError
from pggan_jax.interop.trusted_pickle import Refused, refuse_name, scan

_KINDS = "biuf"
_MAX_DIMENSIONS = 8
_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
_ARRAY_STATE = 5


class StoredObject:
    """An object of a class that is not loaded; `state` holds its attributes."""

    class_name: ClassVar[tuple[str, str]] = ("", "an object")
    state: dict[str, Any]

    def __init__(self, *arguments: Any):
        if arguments:
            raise refuse_name(*self.class_name)
        self.state = {}

    @classmethod
    def of(cls, module: str, name: str) -> type[StoredObject]:
        """Return what stands for the class of that name."""
        return type(cls.__name__, (cls,), {"class_name": (module, name)})

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise Refused(f"the state of an object is a {type(state).__name__}, not attributes by name")
        self.state = state


class _Dtype:
    """numpy.dtype of numbers, under construction."""

    def __init__(self, code: Any = "", *_: Any):
        self.dtype = _numeric_dtype(code)

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise Refused("an array has elements that are not numbers")
        self.dtype = self.dtype.newbyteorder(order)


def _numeric_dtype(code: Any) -> np.dtype:
    """Return the type of a code such as "f4"."""
    if isinstance(code, str) and code.lstrip("<>=|")[:1] in _KINDS:
        try:
            return np.dtype(code)
        except TypeError:
            pass
    raise Refused(f"an array has elements of type {str(code)[:20]}, not numbers")


class _NdarrayName:
    """Stands for the class numpy.ndarray, as an argument of `_reconstruct`."""


class _Array:
    """numpy.ndarray, under construction."""

    value: np.ndarray | None

    def __init__(self, *_: Any):
        self.value = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != _ARRAY_STATE:
            raise Refused("an array has no shape, type and bytes")
        _, shape, dtype, is_fortran, data = state
        self.value = _array_of(data, dtype, shape, is_fortran=bool(is_fortran))


def _array_of(data: Any, dtype: Any, shape: Any, *, is_fortran: bool) -> np.ndarray:
    """Return the array of these bytes, after their number was compared with the shape."""
    if isinstance(data, str):
        data = data.encode("latin-1")  # bytes of Python 2
    is_shape = (
        isinstance(shape, tuple) and len(shape) <= _MAX_DIMENSIONS and all(type(one) is int and one >= 0 for one in shape)
    )
    if not isinstance(dtype, _Dtype) or not is_shape or not isinstance(data, bytes | bytearray):
        raise Refused("an array has no shape, type and bytes")
    wanted = math.prod(shape) * dtype.dtype.itemsize
    if wanted != len(data):
        raise Refused(f"an array of shape {shape} declares {wanted:,} bytes, and the file holds {len(data):,} of it")
    values = np.ndarray(shape, dtype.dtype, bytes(data), order="F" if is_fortran else "C")
    return np.array(values, dtype.dtype.newbyteorder("="), order="C")


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray:
    """Stand for NumPy's function of protocol 5."""
    return _array_of(data, dtype, shape, is_fortran=order == "F")


def _scalar(dtype: Any, data: Any = b"") -> float | int:
    """Stand for the function that makes a NumPy scalar."""
    return _array_of(data, dtype, (), is_fortran=False).item()


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """Stand for the function by which Python 3 writes bytes in protocol 2."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Refused("it encodes something other than bytes")
    return text.encode("latin-1")


_ALWAYS: dict[tuple[str, str], Any] = {
    **{(module, "_reconstruct"): _Array for module in _NUMPY},
    **{(module, "scalar"): _scalar for module in _NUMPY},
    **{(module, "_frombuffer"): _from_buffer for module in ("numpy.core.numeric", "numpy._core.numeric")},
    ("numpy", "ndarray"): _NdarrayName,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
}


class ArrayUnpickler(pickle.Unpickler):
    """Unpickler that creates arrays, plain values, and the objects that it is given names of."""

    def __init__(self, data: bytes, objects: Mapping[tuple[str, str], type[StoredObject]]):
        super().__init__(io.BytesIO(data), encoding="latin1")
        self._allowed = {**_ALWAYS, **objects}

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for an allowed name."""
        if (module, name) not in self._allowed:
            raise refuse_name(module, name)
        return self._allowed[module, name]

    def persistent_load(self, saved: Any) -> Any:
        """Refuse references to anything outside the file."""
        raise Refused("it refers to data outside the file")


def read_arrays(path: Path, objects: Mapping[tuple[str, str], type[StoredObject]]) -> Any:
    """Read a pickle of arrays and stored objects.

    Args:
        path: of the file.
        objects: what stands for (module, name) of further classes.

    Returns:
        What the pickle holds; its arrays are NumPy arrays.

    Raises:
        UserError: it names anything else, declares more than it holds, or is damaged.
        OSError: the file cannot be read.
    """
    data = path.read_bytes()
    try:
        scan(data)
        return _finished(ArrayUnpickler(data, objects).load(), {})
    except Refused as error:
        raise UserError(f"{path}: is refused: {error}") from None
    except Exception:
        raise UserError(f"{path}: is not a pickle, or is damaged or truncated; download it again") from None


def _finished(value: Any, done: dict[int, Any]) -> Any:
    """Replace arrays under construction by arrays; `done` holds what has been visited."""
    if isinstance(value, _Array):
        if value.value is None:
            raise Refused("an array has no elements")
        return value.value
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, tuple):
        return tuple(_finished(one, done) for one in value)
    done[id(value)] = value
    if isinstance(value, list):
        value[:] = [_finished(one, done) for one in value]
    elif isinstance(value, dict):
        for key in value:
            value[key] = _finished(value[key], done)
    elif isinstance(value, StoredObject):
        value.state = _finished(value.state, done)
    return value
