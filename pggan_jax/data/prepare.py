"""Reads a source once and writes a prepared folder: on all cores, within little memory, and so that nothing unfinished can be
mistaken for a whole one.

The work happens in `NAME.partial` beside the folder, which is renamed at the end. A journal there says how far the files are
good, so that the same command continues after an interruption.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pggan_jax.data.array_file import ArrayFile
from pggan_jax.data.blocks import BlockPlan, fill, fill_slot
from pggan_jax.data.partial import JOURNAL, LOCK, PartialFiles, claimed
from pggan_jax.data.preparation import Preparation
from pggan_jax.data.prepared import FORMAT, INFO, MEAN, PreparedFolder, level_name, open_prepared
from pggan_jax.data.pyramid import Pyramid, examples
from pggan_jax.data.sources import Source
from pggan_jax.data.workers import default_workers, in_flight, ordered_map
from pggan_jax.errors import UserError
from pggan_jax.files import write_atomically
from pggan_jax.images import write_png

# Below this many images, starting worker processes takes longer than the work.
_IMAGES_WORTH_WORKERS = 512
_MEAN_RESOLUTION = 32
_MEAN_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Estimate:
    """What a preparation would write, as far as it can be told without decoding.

    Attributes:
        images: rows, if all images are usable.
        bytes: on disk.
        free: bytes free there now.
    """

    images: int
    bytes: int
    free: int


def estimate(source: Source, preparation: Preparation, folder: Path) -> Estimate:
    """The size of a prepared folder; `preparation` as `for_source` gives it."""
    rows = len(preparation.order(len(source))) * preparation.rows_per_image
    existing = next(parent for parent in [folder, *folder.absolute().parents] if parent.is_dir())
    return Estimate(rows, rows * preparation.bytes_per_row, shutil.disk_usage(existing).free)


def build_in_memory(source: Source, preparation: Preparation) -> Pyramid:
    """A small source at all resolutions, without any file.

    Raises:
        UserError: no image is usable, or the source cannot give such channels.
    """
    plan = BlockPlan(source, preparation.for_source(source))
    order = plan.preparation.order(len(source))
    rows = len(order) * plan.preparation.rows_per_image
    levels = {size: np.empty((rows, *shape[1:]), np.uint8) for size, shape in plan.level_shapes.items()}
    filled = fill(plan, order, levels)
    count = len(filled.labels)
    _check_any(count, filled.skipped, source)
    levels = {size: level[:count] for size, level in levels.items()}
    return Pyramid(levels, np.array(filled.labels, np.int32), source.class_names, tuple(filled.skipped))


def preparation_key(source: Source, preparation: Preparation) -> str:
    """A digest of all that determines the bytes of a prepared folder; `preparation` as `for_source` gives it."""
    parts = (FORMAT, json.dumps(preparation.to_json(), sort_keys=True), repr(source.class_names), source.fingerprint())
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()


def prepare(
    source: Source,
    preparation: Preparation,
    folder: Path,
    *,
    workers: int | None = None,
    progress: bool = True,
    is_cache: bool = False,
) -> PreparedFolder:
    """Write a prepared folder, or continue one that was interrupted, or open it if it is already there.

    Args:
        source: what to read.
        preparation: what to make of it.
        folder: what to write; its parents are made if absent.
        workers: processes that decode; None takes one per core, 0 decodes in this process.
        progress: show a bar on stderr when it takes more than two seconds and stderr is a terminal.
        is_cache: the folder's name is the program's own: wait for another process that prepares it instead of refusing, and
            replace it if it is damaged.

    Raises:
        UserError: the folder holds something else, no image is usable, the disk is full or cannot be written.
    """
    preparation = preparation.for_source(source)
    key = preparation_key(source, preparation)
    partial = folder.with_name(f"{folder.name}.partial")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with claimed(partial, wait=is_cache):
            done = _open_cached(folder) if is_cache else _already_prepared(folder, key)
            if done:
                return done
            _check_space(source, preparation, folder, partial)
            _write(source, preparation, partial, key, workers=workers, progress=progress)
            (partial / LOCK).unlink()
            partial.rename(folder)
    except OSError as error:
        raise _cannot_write(error, folder, partial) from error
    return open_prepared(folder)


def _open_cached(folder: Path) -> PreparedFolder | None:
    """The finished folder of a cache; None if there is none, or none any more that is whole."""
    try:
        return open_prepared(folder)
    except UserError:
        shutil.rmtree(folder, ignore_errors=True)
        return None


def _already_prepared(folder: Path, key: str) -> PreparedFolder | None:
    """The finished folder; None if there is nothing yet.

    Raises:
        UserError: something else is there.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    if not (folder / INFO).is_file():
        raise UserError(f"{folder}: is there already and is not a prepared folder; choose another --out, or remove it")
    try:
        prepared = open_prepared(folder)
    except UserError as error:
        raise UserError(f"{error} (with --out={folder}, nothing is ever overwritten)") from None
    if prepared.info["key"] != key:
        raise UserError(
            f"{folder}: holds {prepared.info['source']} prepared with other options, or of other files; "
            "choose another --out, or remove it"
        )
    return prepared


def _check_space(source: Source, preparation: Preparation, folder: Path, partial: Path) -> None:
    """Refuse before the work, not after half of it."""
    needed = estimate(source, preparation, folder)
    present = sum(file.stat().st_size for file in partial.iterdir() if file.is_file())
    if needed.free + present < needed.bytes:
        raise UserError(
            f"{folder}: {source.name} needs {needed.bytes:,} bytes and {needed.free:,} are free; "
            "free some, choose a folder on another disk, or lower the resolution"
        )


def _cannot_write(error: OSError, folder: Path, partial: Path) -> UserError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return UserError(
            f"{folder}: the disk is full ({error.strerror}); free some space and give the same command again, it continues, "
            f"or remove {partial}"
        )
    return UserError(f"{folder}: cannot be written ({error.strerror or error}); choose a folder you may write to")


def _write(source: Source, preparation: Preparation, partial: Path, key: str, *, workers: int | None, progress: bool) -> None:
    """Everything from the first image to `info.json`."""
    files = PartialFiles(partial, preparation, key)
    try:
        try:
            _read_all(source, preparation, files, workers=workers, progress=progress)
        except (KeyboardInterrupt, UserError):
            files.write_journal()
            raise
        if not files.rows:
            shutil.rmtree(partial)
        _check_any(files.rows, files.skipped, source)
        for file in files.all().values():
            file.finish()
    finally:
        files.close()
    mean = _mean_image(partial, preparation)
    write_png(partial / MEAN, np.rint(mean).astype(np.uint8))
    info = {
        "format": FORMAT,
        "key": key,
        "source": source.name,
        "options": preparation.to_json(),
        "images": files.rows,
        "channels": preparation.channels,
        "class_names": source.class_names,
        "levels": {size: _describe(file) for size, file in files.levels.items()},
        "labels": _describe(files.labels),
        "mean_image": _box_mean(mean, preparation.base_shape).round(3).tolist(),
        "skipped": files.skipped,
        "complaints": source.complaints,
    }
    write_atomically(partial / INFO, json.dumps(info, indent=1).encode())
    (partial / JOURNAL).unlink(missing_ok=True)


def _describe(file: ArrayFile) -> dict[str, Any]:
    return {"shape": file.shape, "crc32": f"{file.checksum:08x}"}


def _read_all(source: Source, preparation: Preparation, files: PartialFiles, *, workers: int | None, progress: bool) -> None:
    """Decode in worker processes, append in order."""
    order = preparation.order(len(source))
    todo = order[files.images_read :]
    if workers is None:
        workers = default_workers() if len(todo) >= _IMAGES_WORTH_WORKERS else 0
    # disable=None: no bar where stderr is not a terminal.
    bar = tqdm(
        total=len(order),
        initial=files.images_read,
        desc=f"preparing {source.name}",
        unit="img",
        delay=2,
        disable=None if progress else True,
    )
    for left_over in files.partial.glob("scratch*"):
        shutil.rmtree(left_over)
    with bar, tempfile.TemporaryDirectory(prefix="scratch", dir=files.partial) as scratch:
        plan = BlockPlan(source, preparation, Path(scratch))
        blocks = [todo[start : start + plan.images] for start in range(0, len(todo), plan.images)]
        slots = min(in_flight(workers), len(blocks))
        plan.make_slots(slots)
        requests = ((numbers, index % slots) for index, numbers in enumerate(blocks))
        written = 0
        for index, filled in enumerate(ordered_map(fill_slot, plan, requests, workers=workers)):
            written += files.append(filled, plan.levels(index % slots), len(blocks[index]))
            bar.set_postfix_str(f"{written / 1e6:,.0f} MB", refresh=False)
            bar.update(len(blocks[index]))


def _check_any(rows: int, skipped: Sequence[str], source: Source) -> None:
    if not rows:
        raise UserError(f"{source.name}: none of {len(skipped)} images is usable: {examples(skipped)}")


def _mean_image(partial: Path, preparation: Preparation) -> np.ndarray:
    """Mean over all rows of the level at most 32 pixels large, float64 `[height, width, channels]`."""
    level = np.load(partial / level_name(min(_MEAN_RESOLUTION, preparation.resolution)), mmap_mode="r")
    parts = (level[start : start + _MEAN_ROWS_AT_ONCE] for start in range(0, len(level), _MEAN_ROWS_AT_ONCE))
    return sum(part.sum(axis=0, dtype=np.int64) for part in parts) / len(level)


def _box_mean(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """An image `[height, width, channels]` averaged over equal boxes to `shape`."""
    height, width, channels = image.shape
    return image.reshape(shape[0], height // shape[0], shape[1], width // shape[1], channels).mean(axis=(1, 3))
