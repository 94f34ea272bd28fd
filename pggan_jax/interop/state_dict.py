"""Reader of PyTorch files, in both containers, without PyTorch.

No code from the file is run. A pickle can name any function; here only an ordered dictionary, the function that rebuilds a
tensor and the storage types may be named, and classes whose objects are kept as their attributes.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from pggan_jax.errors import UserError
from pggan_jax.interop.trusted_pickle import Budget, Refused, refuse_name, scan

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_LEGACY_START = b"\x80\x02\x8a\x0a" + _MAGIC.to_bytes(10, "little") + b"."
_MAX_DIMENSIONS = 8
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


class _Elements:
    """The elements of a storage; nothing else can be made a tensor of."""

    def __init__(self, values: np.ndarray):
        self.values = values


_FindStorage = Callable[[_Storage], np.ndarray]
ClassFor = Callable[[str, str], type]
"""From module and name of a class that a file names to what stands for it; raises `Refused`."""


class _TensorUnpickler(pickle.Unpickler):
    """Unpickler that creates tensors, and objects of the classes that it is given."""

    def __init__(self, file: BinaryIO, find_storage: _FindStorage, class_for: ClassFor, budget: Budget):
        super().__init__(file)
        self._find_storage, self._class_for, self._budget = find_storage, class_for, budget

    def find_class(self, module: str, name: str) -> Any:
        """Return the object of an allowed name."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self._rebuild
        if module == "torch" and name in _TYPES:
            return np.dtype(_TYPES[name])
        return self._class_for(module, name)

    def persistent_load(self, saved: Any) -> Any:
        """Return a storage: the elements that one or several tensors are views of."""
        kind, dtype, key, _, count, *_ = saved
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise Refused(f"it refers to a {kind}")
        return _Elements(self._find_storage(_Storage(str(key), dtype, int(count))))

    def _rebuild(self, elements: _Elements, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> np.ndarray:
        """Return a copy of a view of a storage; offset and strides in elements."""
        if not isinstance(elements, _Elements):
            raise Refused("a tensor has no storage")
        storage = elements.values
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        if min((offset, *size, *stride), default=0) < 0 or len(size) > _MAX_DIMENSIONS:
            raise Refused("a tensor has a negative size")
        if 0 in size:
            return np.zeros(size, storage.dtype)
        if last >= len(storage) or math.prod(size) > len(storage):
            raise Refused("a tensor exceeds its storage")
        self._budget.take(math.prod(size) * storage.itemsize)
        steps = [step * storage.itemsize for step in stride]
        return np.lib.stride_tricks.as_strided(storage[offset:], size, steps).copy()


def is_torch_file(path: Path) -> bool:
    """Whether a file is one of torch.save, in either container, by its first bytes.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return zipfile.is_zipfile(file) or (file.seek(0) == 0 and file.read(len(_LEGACY_START)) == _LEGACY_START)


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """Read all tensors by name.

    Raises:
        UserError: the file is of another kind, a TorchScript archive, or holds anything but tensors.
        OSError: the file cannot be read.
    """
    tensors = read_torch_file(path)
    if not isinstance(tensors, dict) or not all(isinstance(value, np.ndarray) for value in tensors.values()):
        raise UserError(f"{path}: does not hold a state_dict of tensors by name")
    return dict(tensors)


def read_torch_file(path: Path, class_for: ClassFor | None = None) -> Any:
    """Read what torch.save wrote: tensors are NumPy arrays.

    Args:
        path: of the file.
        class_for: what stands for classes that the file names; none may be named by default.

    Raises:
        UserError: the file is of another kind, a TorchScript archive, declares more than it holds, or holds anything else.
        OSError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            read = _read_zip if zipfile.is_zipfile(file) else _read_legacy
            return read(file, class_for or _no_class)
    except OSError:
        raise
    except Refused as error:
        raise UserError(f"{path}: is refused: {error}") from None
    except Exception:
        raise UserError(f"{path}: is not a PyTorch state_dict file, or is damaged") from None


def _no_class(module: str, name: str) -> type:
    raise refuse_name(module, name)


def _read_zip(file: BinaryIO, class_for: ClassFor) -> Any:
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if any(name.endswith("constants.pkl") or "/code/" in name for name in names):
            raise Refused("it is a TorchScript program, which cannot be read without running it")
        pickles = [name for name in names if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise Refused("it is a zip archive without data.pkl")
        root = pickles[0].removesuffix("data.pkl")
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise Refused("it is compressed, which PyTorch never does; its size in memory is unknown")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder").strip() != b"little":
            raise Refused("its numbers are in big-endian order")

        storages: dict[_Storage, np.ndarray] = {}
        size = file.seek(0, io.SEEK_END)
        of_storages, of_tensors = Budget(size), Budget(size)

        def find_storage(wanted: _Storage) -> np.ndarray:
            if wanted not in storages:
                content = archive.read(f"{root}data/{wanted.key}")
                of_storages.take(len(content))
                storages[wanted] = np.frombuffer(content, wanted.dtype, wanted.size)
            return storages[wanted]

        program = archive.read(pickles[0])
        scan(program)
        return _TensorUnpickler(io.BytesIO(program), find_storage, class_for, of_tensors).load()


def _read_legacy(file: BinaryIO, class_for: ClassFor) -> Any:
    """Read five pickles, then the number and the bytes of the elements of each storage."""
    file.seek(0)
    data = file.read()
    stream = io.BytesIO(data)

    def no_storage(wanted: _Storage) -> np.ndarray:
        raise Refused("it has tensors in its header")

    def load(find_storage: _FindStorage) -> Any:
        scan(data[stream.tell() :])
        return _TensorUnpickler(stream, find_storage, class_for, Budget(len(data))).load()

    if load(no_storage) != _MAGIC or load(no_storage) != _PROTOCOL:
        raise Refused("its header is not that of a PyTorch file")
    load(no_storage)
    storages: dict[str, np.ndarray] = {}

    def find_storage(wanted: _Storage) -> np.ndarray:
        # Filled below: the elements follow the tensors.
        if wanted.key not in storages:
            declared = sum(storage.nbytes for storage in storages.values()) + wanted.size * wanted.dtype.itemsize
            if wanted.size < 0 or declared > len(data):
                raise Refused(f"it declares tensors of {declared:,} bytes, and has {len(data):,}")
            storages[wanted.key] = np.empty(wanted.size, wanted.dtype)
        return storages[wanted.key]

    start = stream.tell()
    load(find_storage)
    for key in load(no_storage):
        (count,) = struct.unpack("<q", stream.read(8))
        storage = storages[str(key)]
        if count != len(storage):
            raise Refused(f"storage {key} has {count} elements, not {len(storage)}")
        storages[str(key)] = np.frombuffer(stream.read(storage.nbytes), storage.dtype, count)
    # Tensors are copies of the elements: unpickle again, now that the elements have been read.
    stream.seek(start)
    return load(find_storage)
