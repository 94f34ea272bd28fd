"""Reads a source once and writes a prepared folder: on all cores, within little memory, and so that nothing unfinished can be
mistaken for a whole one.

The work happens in `NAME.partial` beside the folder, which is renamed at the end. A journal there says how far the files are
good, so that the same command continues after an interruption.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pggan_jax.data.checking.pixel_range import resolve_range
from pggan_jax.data.preparation.decode_block import BlockPlan, fill, fill_slot
from pggan_jax.data.preparation.estimate import Estimate, choose_workers, estimate, plan_work
from pggan_jax.data.preparation.npy_writer import ArrayFile
from pggan_jax.data.preparation.prepared_folder import FORMAT, INFO, MEAN, PreparedFolder, level_name, open_prepared
from pggan_jax.data.preparation.resumable import JOURNAL, LOCK, PartialFiles, claimed
from pggan_jax.data.preparation.spec import Preparation
from pggan_jax.data.preparation.worker_pool import ordered_map
from pggan_jax.data.pyramid import Pyramid, examples
from pggan_jax.data.sources.open_source import Source
from pggan_jax.errors import UserError
from pggan_jax.images import write_png
from pggan_jax.system.files import write_atomically
from pggan_jax.system.paths import CACHE_VARIABLE

_MEAN_RESOLUTION = 32
_MEAN_ROWS_AT_ONCE = 4096


def build_in_memory(source: Source, preparation: Preparation) -> Pyramid:
    """A small source at all resolutions, without any file.

    Raises:
        UserError: no image is usable, or the source cannot give such channels.
    """
    preparation = preparation.for_source(source)
    order = preparation.order(len(source))
    plan = BlockPlan(source, preparation, len(order))
    levels = {size: np.empty(shape, np.uint8) for size, shape in plan.level_shapes.items()}
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
    tell: Callable[[str], None] = lambda _line: None,
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
        tell: given a line when work begins that the user has not asked for, is continued, or has to wait for another process.

    Raises:
        UserError: the folder holds something else, no image is usable, the files changed meanwhile, the disk is full or cannot
            be written.
    """
    preparation = preparation.for_source(source)
    key = preparation_key(source, preparation)
    target = _target(folder)
    partial = target.with_name(f"{target.name}.partial")
    find = _find_cached if is_cache else _find_prepared
    try:
        # What is finished never changes: no need to own it, or to be able to write there.
        if done := find(folder, key):
            return done
        target.parent.mkdir(parents=True, exist_ok=True)
        with claimed(partial, wait=is_cache, tell=tell):
            if done := find(folder, key):
                return done
            if is_cache:
                _remove_damaged(target, tell)
            needed = _check_space(source, preparation, folder, partial, workers)
            if is_cache:
                tell(
                    f"preparing {needed.images:,} images of {source.name} once, {needed.bytes / 1e6:,.0f} MB in {folder}; "
                    "later runs use them again"
                )
            _write(source, preparation, partial, key, workers=workers, progress=progress, tell=tell)
            partial.rename(target)
            # Not before: without it, another process would take the folder for its own.
            (target / LOCK).unlink()
    except OSError as error:
        raise _cannot_write(error, folder, partial, is_cache=is_cache) from error
    return open_prepared(folder)


def _target(folder: Path) -> Path:
    """Where the folder really is: a finished one can be renamed to neither a link nor the root of a disk.

    Raises:
        UserError: it is the root of a disk.
    """
    target = Path(os.path.realpath(folder))
    if os.path.ismount(target):
        raise UserError(f"{folder}: is the top of a disk, which cannot be replaced; name a folder in it")
    return target


def _find_cached(folder: Path, key: str) -> PreparedFolder | None:
    """The finished folder of a cache; None if there is none that is whole."""
    with suppress(UserError):
        prepared = open_prepared(folder)
        return prepared if prepared.info["key"] == key else None
    return None


def _remove_damaged(folder: Path, tell: Callable[[str], None]) -> None:
    if folder.is_dir():
        tell(f"{folder} is damaged and is made again")
        shutil.rmtree(folder)


def _find_prepared(folder: Path, key: str) -> PreparedFolder | None:
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


def _check_space(source: Source, preparation: Preparation, folder: Path, partial: Path, workers: int | None) -> Estimate:
    """Refuse before the work, not after half of it."""
    needed = estimate(source, preparation, folder, workers=workers)
    present = sum(file.stat().st_size for file in partial.rglob("*") if file.is_file() and file.name != LOCK)
    if needed.free + present < needed.needed:
        raise UserError(
            f"{folder}: {source.name} needs {needed.needed:,} bytes and {needed.free + present:,} are free; "
            "free some, choose a folder on another disk, or lower the resolution"
        )
    return needed


def _cannot_write(error: OSError, folder: Path, partial: Path, *, is_cache: bool) -> UserError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return UserError(
            f"{folder}: the disk is full ({error.strerror}); free some space and give the same command again, it continues, "
            f"or remove {partial}"
        )
    other = f"let {CACHE_VARIABLE} name" if is_cache else "choose"
    return UserError(f"{folder}: cannot be written ({error.strerror or error}); {other} a folder you may write to")


def _write(
    source: Source,
    preparation: Preparation,
    partial: Path,
    key: str,
    *,
    workers: int | None,
    progress: bool,
    tell: Callable[[str], None],
) -> None:
    """Everything from the first image to `info.json`."""
    asked = preparation
    files = PartialFiles(partial, preparation, key)
    try:
        if files.images_read:
            tell(f"continuing behind the {files.images_read:,} images that are done")
        try:
            preparation = resolve_range(source, preparation, workers=workers, progress=progress)
            _read_all(source, preparation, files, workers=workers, progress=progress)
            files.write_journal()
        except BaseException:
            with suppress(OSError):  # On a full disk, perhaps; then the journal before this one holds.
                files.write_journal()
            raise
        if preparation_key(source, asked) != key:
            files.discard()
            raise UserError(f"{source.name}: changed while it was read; give the same command again when it is at rest")
        if not files.rows:
            files.discard()
        _check_any(files.rows, files.skipped, source)
        for file in files.all().values():
            file.finish()
    finally:
        files.close()
    mean = _mean_image(partial, preparation)
    write_png(partial / MEAN, np.rint(mean).astype(np.uint8), holds="the mean of a data set")
    info = {
        "format": FORMAT,
        "key": key,
        "source": source.name,
        "options": asked.to_json(),
        "range": preparation.range,
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


def write_arrays(source: Source, preparation: Preparation, folder: Path) -> tuple[str, ...]:
    """Write the arrays alone into an empty folder that will not stay: nothing to be continued, and no `info.json`.

    Args:
        source: what to read.
        preparation: what to make of it, as `for_source` gives it.
        folder: where to write.

    Returns:
        Why each unusable image was left out, its name included.

    Raises:
        UserError: no image is usable, or the disk is full or cannot be written.
    """
    try:
        _check_space(source, preparation, folder, folder, None)
        preparation = resolve_range(source, preparation)
        files = PartialFiles(folder, preparation, "")
        with closing(files):
            _read_all(source, preparation, files, workers=None, progress=True)
            _check_any(files.rows, files.skipped, source)
            for file in files.all().values():
                file.finish()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"{folder}: cannot be written ({reason}); free some space, or let {CACHE_VARIABLE} name a folder on another disk"
        ) from error
    return tuple(files.skipped)


def _describe(file: ArrayFile) -> dict[str, Any]:
    return {"shape": file.shape, "crc32": f"{file.checksum:08x}"}


def _read_all(source: Source, preparation: Preparation, files: PartialFiles, *, workers: int | None, progress: bool) -> None:
    """Decode in worker processes, append in order."""
    order = preparation.order(len(source))
    todo = order[files.images_read :]
    workers = choose_workers(preparation, len(todo), workers)
    # disable=None: no bar where stderr is not a terminal.
    bar = tqdm(
        total=len(order),
        initial=files.images_read,
        desc=f"preparing {source.name}",
        unit="img",
        delay=2,
        disable=None if progress else True,
    )
    with bar, tempfile.TemporaryDirectory(prefix="scratch", dir=files.partial) as scratch:
        plan, slots = plan_work(source, preparation, len(todo), workers=workers, scratch=Path(scratch))
        plan.make_slots(slots)
        blocks = [todo[start : start + plan.images] for start in range(0, len(todo), plan.images)]
        requests = ((numbers, index % slots) for index, numbers in enumerate(blocks))
        written = 0
        with closing(ordered_map(fill_slot, plan, requests, workers=workers)) as results:
            for index, filled in enumerate(results):
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
