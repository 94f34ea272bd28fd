"""Reader of PyTorch state_dict files, in both containers, without PyTorch.

No code from the file is run. A pickle can name any function; here only an ordered dictionary, the function that rebuilds a
tensor and the storage types may be named.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from pggan_jax.errors import UserError

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_TYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


class _Storage(NamedTuple):
    """Reference to the elements that one or several tensors are views of."""

    key: str
    dtype: np.dtype
    size: int


_FindStorage = Callable[[_Storage], np.ndarray]


class _Refused(Exception):
    """The file holds something else than tensors."""


class _TensorUnpickler(pickle.Unpickler):
    """Unpickler that creates tensors only."""

    def __init__(self, file: BinaryIO, find_storage: _FindStorage):
        super().__init__(file)
        self._find_storage = find_storage

    def find_class(self, module: str, name: str) -> Any:
        """Return the object of an allowed name."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in _TYPES:
            return np.dtype(_TYPES[name])
        raise _Refused(f"it names {module}.{name}, which could run code")

    def persistent_load(self, saved: Any) -> Any:
        """Return a storage: the elements that one or several tensors are views of."""
        kind, dtype, key, _, count, *_ = saved
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise _Refused(f"it refers to a {kind}")
        return self._find_storage(_Storage(str(key), dtype, int(count)))


def _rebuild(storage: np.ndarray, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> np.ndarray:
    """Return a copy of a view of a storage; offset and strides in elements."""
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if 0 in size:
        return np.zeros(size, storage.dtype)
    if offset < 0 or min(stride, default=0) < 0 or last >= len(storage):
        raise _Refused("a tensor exceeds its storage")
    steps = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps).copy()


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """Read all tensors by name.

    Raises:
        UserError: the file is of another kind, a TorchScript archive, or holds anything but tensors.
        OSError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            tensors = _read_zip(file) if zipfile.is_zipfile(file) else _read_legacy(file)
    except OSError:
        raise
    except _Refused as error:
        raise UserError(f"{path}: is refused: {error}") from None
    except Exception:
        raise UserError(f"{path}: is not a PyTorch state_dict file, or is damaged") from None
    if not isinstance(tensors, dict) or not all(isinstance(value, np.ndarray) for value in tensors.values()):
        raise UserError(f"{path}: does not hold a state_dict of tensors by name")
    return dict(tensors)


def _read_zip(file: BinaryIO) -> Any:
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if any(name.endswith("constants.pkl") or "/code/" in name for name in names):
            raise _Refused("it is a TorchScript program, which cannot be read without running it")
        pickles = [name for name in names if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise _Refused("it is a zip archive without data.pkl")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder").strip() != b"little":
            raise _Refused("its numbers are in big-endian order")

        def find_storage(wanted: _Storage) -> np.ndarray:
            return np.frombuffer(archive.read(f"{root}data/{wanted.key}"), wanted.dtype, wanted.size)

        return _TensorUnpickler(io.BytesIO(archive.read(pickles[0])), find_storage).load()


def _read_legacy(file: BinaryIO) -> Any:
    """Read five pickles, then the number and the bytes of the elements of each storage."""
    file.seek(0)

    def no_storage(wanted: _Storage) -> np.ndarray:
        raise _Refused("it has tensors in its header")

    def load_plain() -> Any:
        return _TensorUnpickler(file, no_storage).load()

    if load_plain() != _MAGIC or load_plain() != _PROTOCOL:
        raise _Refused("its header is not that of a PyTorch file")
    load_plain()
    storages: dict[str, np.ndarray] = {}

    def find_storage(wanted: _Storage) -> np.ndarray:
        # Filled below: the elements follow the tensors.
        return storages.setdefault(wanted.key, np.empty(wanted.size, wanted.dtype))

    start = file.tell()
    _TensorUnpickler(file, find_storage).load()
    for key in load_plain():
        (count,) = struct.unpack("<q", file.read(8))
        storage = storages[str(key)]
        if count != len(storage):
            raise _Refused(f"storage {key} has {count} elements, not {len(storage)}")
        storages[str(key)] = np.frombuffer(file.read(storage.nbytes), storage.dtype, count)
    # Tensors are copies of the elements: unpickle again, now that the elements have been read.
    file.seek(start)
    return _TensorUnpickler(file, find_storage).load()
