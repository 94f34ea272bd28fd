"""Unpickler of NumPy arrays and of objects that are kept as their attributes.

Nothing that a file names is called: each allowed name stands for a class of this module. Arrays are made of bytes that the
file holds, after their number has been compared with the declared shape.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pggan_jax.errors import UserError, visible
from pggan_jax.interop.trusted_pickle import Budget, Refused, refuse_name, scan

_CODE = re.compile(r"[<>=|]?[biuf]\d{1,2}")
_MAX_DIMENSIONS = 8
_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
_ARRAY_STATE = 5


class StoredObject:
    """An object of a class that is not loaded; `state` holds its attributes."""

    class_name: ClassVar[tuple[str, str]] = ("", "an object")
    state: dict[str, Any]

    def __new__(cls, *arguments: Any) -> StoredObject:
        """Create an object without attributes; a file may leave out to set them."""
        if arguments:
            raise refuse_name(*cls.class_name)
        made = super().__new__(cls)
        made.state = {}
        return made

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
    """Return the type of a code such as "f4"; a structure such as "f4,O" could hold addresses."""
    if isinstance(code, str) and _CODE.fullmatch(code):
        with suppress(TypeError):
            return np.dtype(code)
    raise Refused(f"an array has elements of type {visible(str(code))[:20]}, not numbers")


class _NdarrayName:
    """Stands for the class numpy.ndarray, as an argument of `_reconstruct`."""


class _Array:
    """numpy.ndarray, under construction; `value` is what the file has set it to."""

    value: tuple[Any, ...] | None

    def __init__(self, *_: Any):
        self.value = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != _ARRAY_STATE:
            raise Refused("an array has no shape, type and bytes")
        _, shape, dtype, is_fortran, data = state
        self.value = data, dtype, shape, bool(is_fortran)


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any = "C") -> _Array:
    """Stand for NumPy's function of protocol 5."""
    array = _Array()
    array.value = data, dtype, shape, order == "F"
    return array


def _scalar(dtype: Any, data: Any = b"") -> _Array:
    """Stand for the function that makes a NumPy scalar: an array without axes."""
    array = _Array()
    array.value = data, dtype, (), False
    return array


def _array_of(data: Any, dtype: Any, shape: Any, is_fortran: bool) -> np.ndarray:
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
        return _Finisher(Budget(len(data)))(ArrayUnpickler(data, objects).load())
    except Refused as error:
        raise UserError(f"{path}: is refused: {error}") from None
    except Exception:
        raise UserError(f"{path}: is not a pickle, or is damaged or truncated; download it again") from None


class _Finisher:
    """Replace arrays under construction by arrays, each once."""

    def __init__(self, budget: Budget):
        self._budget = budget
        self._done: dict[int, tuple[Any, Any]] = {}
        """By id, what was visited, which keeps its id in use, and what replaces it."""

    def __call__(self, value: Any) -> Any:
        """Return a value with arrays."""
        if not isinstance(value, _Array | tuple | list | dict | StoredObject):
            return value
        if id(value) not in self._done:
            self._done[id(value)] = value, value
            self._done[id(value)] = value, self._finished(value)
        return self._done[id(value)][1]

    def _finished(self, value: Any) -> Any:
        if isinstance(value, _Array):
            if value.value is None:
                raise Refused("an array has no elements")
            array = _array_of(*value.value)
            self._budget.take(array.nbytes)
            return array
        if isinstance(value, tuple):
            return tuple(self(one) for one in value)
        if isinstance(value, list):
            value[:] = [self(one) for one in value]
        elif isinstance(value, dict):
            for key in value:
                value[key] = self(value[key])
        else:
            value.state = self(value.state)
        return value
