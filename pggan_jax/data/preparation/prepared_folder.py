"""A prepared folder: a data set at every resolution as memory maps.

Opening and verifying it.

`r0004.npy`, `r0008.npy` ... hold uint8 `[images, height, width, channels]`, `labels.npy` int32 class numbers, `info.json` the
origin of the images, checksums and the mean image, `mean.png` the mean image as a file. `info.json` is written last, before
the folder gets its name: a folder that has it is complete.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.data.preparation.npy_writer import checksum
from pggan_jax.data.pyramid import Pyramid, level_shapes
from pggan_jax.data.watched_files import WatchedFiles
from pggan_jax.errors import UserError
from pggan_jax.sound.representations import Representation
from pggan_jax.system.json_files import read_json_object
from pggan_jax.system.paths import user_path

FORMAT = "pggan_jax 1"
INFO = "info.json"
LABELS = "labels.npy"
MEAN = "mean.png"


def level_name(resolution: int) -> str:
    """Return the file name of a level."""
    return f"r{resolution:04d}.npy"


@dataclass(frozen=True)
class PreparedFolder:
    """An opened folder; the arrays are memory maps.

    Attributes:
        path: the folder.
        info: content of `info.json`.
    """

    path: Path
    info: dict[str, Any]

    @property
    def resolutions(self) -> list[int]:
        """Nominal resolutions, largest first."""
        return [int(size) for size in self.info["levels"]]

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per class; none without labels."""
        return tuple(self.info["class_names"])

    @property
    def label_kind(self) -> str:
        """What the classes of sound are, as of its source; empty for images."""
        return str(self.info.get("label_kind", ""))

    @property
    def representation(self) -> Representation | None:
        """How the images were made of sound; None for images."""
        stored = self.info.get("representation")
        return None if stored is None else Representation.from_json(stored)

    @property
    def base_shape(self) -> tuple[int, int]:
        """Height and width of the first level."""
        height, width = self.info["options"]["base_shape"]
        return height, width

    def level(self, resolution: int) -> np.ndarray:
        """Map a level: uint8 `[images, height, width, channels]`."""
        return _map(self.path / level_name(resolution), tuple(self.info["levels"][str(resolution)]["shape"]), np.uint8)

    def classes(self) -> np.ndarray:
        """Map the class numbers: int32 `[images]`; 0 without labels."""
        return _map(self.path / LABELS, (self.info["images"],), np.int32)

    def pyramid(self, resolution: int, max_images: int = 0) -> Pyramid:
        """Return the levels up to `resolution`, of all images or the first `max_images`.

        Raises:
            UserError: the folder ends below that resolution.
        """
        largest = self.resolutions[0]
        if resolution > largest:
            raise UserError(
                f"data.resolution = {resolution}: {self.path} was prepared up to {largest}; set data.resolution={largest}, or "
                f"prepare the images again with --resolution={resolution}"
            )
        rows = slice(max_images or None)
        levels = {size: self.level(size)[rows] for size in self.resolutions if size <= resolution}
        names = [LABELS, *map(level_name, levels)]
        files = WatchedFiles(self.path, {name: int(self.files()[name]["crc32"], base=16) for name in names})
        # Labels are small and copied: the file of a map may be removed.
        pyramid = Pyramid(
            levels,
            np.array(self.classes()[rows]),
            self.class_names,
            tuple(self.info["skipped"]),
            files,
            representation=self.representation,
        )
        if len(pyramid) < self.info["images"]:
            return pyramid
        return replace(pyramid, checksums={size: int(self.info["levels"][str(size)]["crc32"], base=16) for size in levels})

    def files(self) -> dict[str, dict[str, Any]]:
        """Return shape and checksum of each array, from `info.json`, by file name."""
        return {level_name(int(size)): level for size, level in self.info["levels"].items()} | {LABELS: self.info["labels"]}

    def total_bytes(self) -> int:
        """Return the size of all arrays on the disk."""
        return sum((self.path / name).stat().st_size for name in self.files())

    def damaged_files(self, progress: Callable[[int], None] = lambda _bytes: None) -> list[str]:
        """Read all arrays; return the names of those that do not match their checksums.

        Args:
            progress: called with the number of bytes after each block.
        """
        return [
            name for name, file in self.files().items() if checksum(self.path / name, progress) != int(file["crc32"], base=16)
        ]


def open_prepared(folder: Path) -> PreparedFolder:
    """Open a prepared folder and compare the sizes of its files with `info.json`.

    Raises:
        UserError: not a prepared folder, or a file is missing or has another shape.
    """
    try:
        info = read_json_object(folder / INFO)
        if info["format"] != FORMAT:
            raise UserError(
                f"{folder / INFO}: has the format {info['format']!r}, only {FORMAT!r} is read; prepare the images again"
            )
        prepared = PreparedFolder(folder, info)
        _check_info(info)
        for size in prepared.resolutions:
            prepared.level(size)
        prepared.classes()
    except FileNotFoundError as error:
        raise UserError(
            f"{folder}: holds no {Path(error.filename).name}, so it is not a complete prepared folder; "
            f"create one with launch.py prepare SOURCE --out={folder}"
        ) from None
    except NotADirectoryError:
        raise UserError(f"{folder}: is a file; name a folder written by `launch.py prepare`") from None
    except KeyError as error:
        raise UserError(f"{folder}: is damaged ({INFO} lacks {error}); remove it and prepare it again") from None
    except (ValueError, TypeError, AttributeError, IndexError, EOFError) as error:
        raise UserError(f"{folder}: is damaged ({error}); remove it and prepare it again") from None
    except OSError as error:
        raise UserError(
            f"{error.filename or folder}: cannot be read ({error.strerror}); allow it with chmod +r, or prepare it again"
        ) from None
    return prepared


def _check_info(info: dict[str, Any]) -> None:
    """Access everything that is used later. Raises ValueError, KeyError or TypeError."""
    shape, channels = info["options"]["base_shape"], info["channels"]
    resolutions = [int(size) for size in info["levels"]]
    wanted = {str(size): [info["images"], *level, channels] for size, level in level_shapes(max(resolutions), shape).items()}
    if {size: level["shape"] for size, level in info["levels"].items()} != wanted:
        raise ValueError(f"the levels in {INFO} do not match each other")
    for file in (*info["levels"].values(), info["labels"]):
        int(file["crc32"], base=16)
    for name in ("key", "source"):
        info[name].encode()
    for name in ("class_names", "skipped"):
        "".join(info[name])
    if "representation" in info:
        Representation.from_json(info["representation"])


def _map(path: Path, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    if not shape[0]:
        return np.zeros(shape, dtype)
    _check_size(path)
    array = np.load(path, mmap_mode="r")
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"{path.name} holds {array.dtype} {array.shape}, info.json says {np.dtype(dtype)} {shape}")
    return array


def _check_size(path: Path) -> None:
    """Check the size before mapping: reading beyond the end of a mapped file kills the process."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        wanted, size = file.tell() + math.prod(shape) * dtype.itemsize, os.fstat(file.fileno()).st_size
    if size != wanted:
        raise ValueError(f"{path.name} has {size:,} of {wanted:,} bytes")


class PreparedSource:
    """A level of a prepared folder as a source, to check, show, compare or prepare it again."""

    problems: tuple[str, ...] = ()

    def __init__(self, folder: str, *, resolution: int = 0):
        """Open the folder at a resolution, or at its largest where it has no such level.

        Errors as of `open_prepared`.
        """
        self.name = f"prepared:{folder}"
        self.folder = open_prepared(user_path(folder, named="prepared:"))
        self.class_names = self.folder.class_names
        self._resolution = resolution if resolution in self.folder.resolutions else self.folder.resolutions[0]
        self._level = self.folder.level(self._resolution)
        self._classes = self.folder.classes()
        self.channels = self._level.shape[-1]
        self.representation, self.label_kind = self.folder.representation, self.folder.label_kind

    def __len__(self) -> int:
        return len(self._level)

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickled memory maps would be copies of all pixels.
        return _reopen, (self.folder.path.absolute(), self.name, self._resolution)

    def item_name(self, index: int) -> str:
        """Return a name such as "row 17"."""
        return f"row {index}"

    def label(self, index: int) -> int:
        """Return the class of the row."""
        return int(self._classes[index])

    def read(self, index: int) -> np.ndarray:
        """Return row `index`, uint8 `[height, width, channels]`."""
        if not 0 <= index < len(self):
            raise UnusableImageError(f"is not one of the {len(self)} rows")
        return np.asarray(self._level[index])

    def fingerprint(self) -> str:
        """Return all checksums as text."""
        return json.dumps(self.folder.files(), sort_keys=True)


def _reopen(folder: Path, name: str, resolution: int) -> PreparedSource:
    """Open the source in a worker process, whose working folder may be another."""
    source = PreparedSource(str(folder), resolution=resolution)
    source.name = name
    return source
