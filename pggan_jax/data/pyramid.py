"""All resolutions of all images, made once: uint8 arrays in memory, or memory maps in a cache that the next run finds again.

Reads a source to its end and knows nothing of the order of training. Unusable images are left out here, so that every row of a
pyramid is good.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pggan_jax.data.decoding import UnusableImageError
from pggan_jax.data.sources import Source
from pggan_jax.errors import UserError
from pggan_jax.files import write_atomically
from pggan_jax.images import box_downscale

# Part of every cache's name: raise it when the same source would give other bytes.
FORMAT_VERSION = 1
# Decoded images that wait for the writer, all threads together.
_PENDING_BYTES = 64 * 2**20
_MAX_THREADS = 16
_SKIPPED_SHOWN = 3


@dataclass(frozen=True)
class Pyramid:
    """A data set at every resolution.

    Attributes:
        levels: by resolution, from the largest down to 4: uint8 `[images, resolution, resolution, channels]`.
        classes: each image's class number, int32 `[images]`; zeros without classes.
        class_names: one name per class.
        skipped: why each unusable image was left out, its name included.
    """

    levels: Mapping[int, np.ndarray]
    classes: np.ndarray
    class_names: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        """Colour channels of every image."""
        return self.levels[4].shape[-1]

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def warning(self) -> str:
        """One line about the images that were left out, or nothing."""
        if not self.skipped:
            return ""
        return f"left out {len(self.skipped)} unusable image{'s' * (len(self.skipped) > 1)}: {_examples(self.skipped)}"


def build_pyramid(source: Source, *, resolution: int, cache: Path | None, progress: bool = True) -> Pyramid:
    """Read all images of `source` and filter them down to 4x4.

    Args:
        source: opened at this `resolution`.
        resolution: side of the largest level, 4*2^k.
        cache: None keeps the levels in memory. A folder keeps them as memory maps in `cache/<digest>/` and takes them from
            there if they were made before from the same files; several processes may ask at once, one of them builds.
        progress: show a bar on stderr when it takes more than two seconds and stderr is a terminal.

    Raises:
        UserError: no image is usable, or the cache cannot be written or is too small.
    """
    sizes = _sizes(resolution)
    if cache is None:
        levels = {size: np.empty((len(source), size, size, source.channels), np.uint8) for size in sizes}
        classes = np.empty(len(source), np.int32)

        def store(row: int, images: Mapping[int, np.ndarray], label: int) -> None:
            for size, image in images.items():
                levels[size][row] = image
            classes[row] = label

        count, skipped = _read_all(source, sizes, store, progress=progress)
        levels = {size: level[:count] for size, level in levels.items()}
        return Pyramid(levels, classes[:count], source.class_names, tuple(skipped))
    key = f"{FORMAT_VERSION} {resolution} {source.channels} {source.class_names} {source.fingerprint()}"
    folder = cache / hashlib.sha256(os.fsencode(key)).hexdigest()[:20]
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_suffix(".lock")):
            pyramid = _open_cached(folder, sizes, source)
            if pyramid is None:
                _write_cached(folder, source, sizes, progress=progress)
                pyramid = _open_cached(folder, sizes, source)
    except OSError as error:
        raise UserError(f"cache {cache}: cannot hold the prepared images ({error}); give a local folder with space") from error
    if pyramid is None:
        raise UserError(f"cache {folder}: reads back differently from what was written; check that disk or give another folder")
    return pyramid


def halvings(image: np.ndarray, sizes: tuple[int, ...]) -> dict[int, np.ndarray]:
    """All levels of one uint8 image `[resolution, resolution, channels]`, largest first.

    Each is a 2x2 box mean of the level above before that was rounded, then clip(rint(x), 0, 255) (spec 4.1). float32 holds
    these means exactly up to 1024x1024.
    """
    exact = image.astype(np.float32)
    levels = {sizes[0]: image}
    for size in sizes[1:]:
        exact = box_downscale(exact)
        levels[size] = np.clip(np.rint(exact), 0, 255).astype(np.uint8)
    return levels


def _sizes(resolution: int) -> tuple[int, ...]:
    """resolution, resolution/2, ..., 4."""
    if resolution < 4 or resolution & (resolution - 1):
        raise ValueError(f"resolution {resolution} is not 4*2^k")
    return tuple(2**power for power in range(resolution.bit_length() - 1, 1, -1))


def _read_all(
    source: Source,
    sizes: tuple[int, ...],
    store: Callable[[int, Mapping[int, np.ndarray], int], None],
    *,
    progress: bool,
) -> tuple[int, list[str]]:
    """Decode and filter in threads, store in order.

    Returns:
        The number of rows stored, and why each of the other images was left out.

    Raises:
        UserError: no row was stored.
    """

    def prepare(index: int) -> dict[int, np.ndarray] | str:
        try:
            return halvings(source.image(index), sizes)
        except UnusableImageError as error:
            return str(error)

    threads = min(os.cpu_count() or 1, _MAX_THREADS)
    # In chunks: one map over all indices would pile up decoded images when the disk is slower than the decoders.
    chunk = max(2 * threads, min(1024, _PENDING_BYTES // (2 * sizes[0] ** 2 * source.channels)))
    row, skipped = 0, []
    # disable=None: no bar where stderr is not a terminal.
    bar = tqdm(total=len(source), desc=f"preparing {source.name}", unit="img", delay=2, disable=None if progress else True)
    with bar, ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        for start in range(0, len(source), chunk):
            indices = range(start, min(start + chunk, len(source)))
            for index, images in zip(indices, pool.map(prepare, indices), strict=True):
                if isinstance(images, str):
                    skipped.append(images)
                else:
                    store(row, images, source.label(index))
                    row += 1
                bar.update()
    if not row:
        raise UserError(f"data.source = {source.name!r}: none of {len(skipped)} images is usable: {_examples(skipped)}")
    return row, skipped


def _examples(skipped: Sequence[str]) -> str:
    """The first few reasons."""
    more = len(skipped) - _SKIPPED_SHOWN
    return "; ".join(skipped[:_SKIPPED_SHOWN]) + (f"; and {more} more" if more > 0 else "")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that dies with the process. The file stays: removing it would let two processes lock two files."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _open_cached(folder: Path, sizes: tuple[int, ...], source: Source) -> Pyramid | None:
    """The finished pyramid in `folder`; None if there is none or it was damaged since."""
    try:
        info = json.loads((folder / "info.json").read_text())
        levels = {size: np.load(_level_path(folder, size), mmap_mode="r") for size in sizes}
        classes = np.load(folder / "labels.npy")
        shapes = {size: (info["images"], size, size, source.channels) for size in sizes}
    except (OSError, ValueError, KeyError):
        return None
    whole = all(level.shape == shapes[size] and level.dtype == np.uint8 for size, level in levels.items())
    if not whole or classes.shape != (info["images"],) or classes.dtype != np.int32:
        return None
    return Pyramid(levels, classes, source.class_names, tuple(info["skipped"]))


def _write_cached(folder: Path, source: Source, sizes: tuple[int, ...], *, progress: bool) -> None:
    """Build in a sibling folder and rename it, so that `folder` is either finished or absent."""
    shutil.rmtree(folder, ignore_errors=True)
    # We hold the lock, so what lies here was left by a process that died.
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    _check_space(folder.parent, source, sizes)
    partial.mkdir()
    try:
        with ExitStack() as stack:
            levels = {
                size: stack.enter_context(_ArrayFile(_level_path(partial, size), (size, size, source.channels), np.uint8))
                for size in sizes
            }
            classes = stack.enter_context(_ArrayFile(partial / "labels.npy", (), np.int32))

            def store(row: int, images: Mapping[int, np.ndarray], label: int) -> None:
                for size, image in images.items():
                    levels[size].append(image)
                classes.append(np.int32(label))

            count, skipped = _read_all(source, sizes, store, progress=progress)
        info = {
            "format": FORMAT_VERSION,
            "source": source.name,
            "images": count,
            "resolutions": sizes,
            "channels": source.channels,
            "class_names": source.class_names,
            "skipped": skipped,
        }
        write_atomically(partial / "info.json", json.dumps(info, indent=1).encode())
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_space(cache: Path, source: Source, sizes: tuple[int, ...]) -> None:
    """Refuse before the work, not after half of it."""
    per_image = sum(size * size * source.channels for size in sizes) + 4
    needed = len(source) * per_image
    free = shutil.disk_usage(cache).free
    if free < needed:
        raise UserError(
            f"cache {cache}: {source.name} needs {needed:,} bytes and {free:,} are free; "
            "free some, choose a folder on another disk, or lower data.resolution"
        )


def _level_path(folder: Path, size: int) -> Path:
    return folder / f"{size}x{size}.npy"


class _ArrayFile:
    """A .npy file that grows by rows. Plain writes: on a full disk they raise, where a memory map would kill the process."""

    def __init__(self, path: Path, row_shape: tuple[int, ...], dtype: type) -> None:
        self._file = path.open("wb")
        self._row_shape = row_shape
        self._dtype = np.dtype(dtype)
        self._rows = 0
        self._write_header()
        self._header_bytes = self._file.tell()

    def append(self, row: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(row, self._dtype).tobytes())
        self._rows += 1

    def __enter__(self) -> _ArrayFile:
        return self

    def __exit__(self, failure: type[BaseException] | None, *details: object) -> None:
        with self._file:
            if failure:
                return
            # NumPy pads headers so that the first axis may grow in place.
            self._file.seek(0)
            self._write_header()
            if self._file.tell() != self._header_bytes:
                raise OSError(f"the header of {self._file.name} changed its length")
            self._file.flush()
            # Before the folder gets its final name, so that a power cut cannot leave a finished name on unfinished files.
            os.fsync(self._file.fileno())

    def _write_header(self) -> None:
        shape = (self._rows, *self._row_shape)
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)
