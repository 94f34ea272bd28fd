"""Prepare a source: decode it once and write a folder of memory maps.

An interrupted preparation continues.

The work is done in `NAME.partial` beside the folder, which is renamed at the end, so an unfinished folder is never taken for a
complete one. A journal there records up to which image the files are complete.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from pggan_jax.data.preparation.npy_writer import ArrayFile
from pggan_jax.data.preparation.prepared_folder import FORMAT, INFO, MEAN, PreparedFolder, level_name, open_prepared
from pggan_jax.data.preparation.resumable import JOURNAL, LOCK, PartialFiles, lock_partial_folder
from pggan_jax.data.preparation.spec import PreparationSpec
from pggan_jax.data.preparation.write_arrays import DecodeJob, decode_all
from pggan_jax.data.sounds.spectrogram_source import differences, representation_of
from pggan_jax.data.sources.source import Source
from pggan_jax.errors import UserError
from pggan_jax.images import write_png
from pggan_jax.sound.representations import Representation
from pggan_jax.system.files import write_atomically
from pggan_jax.system.paths import CACHE_VARIABLE

_MEAN_RESOLUTION = 32
_MEAN_ROWS_AT_ONCE = 4096
Report = Callable[[str], None]


def ignore(_line: str) -> None:
    """Drop a line that is meant for the user."""


def preparation_key(source: Source, spec: PreparationSpec) -> str:
    """Return a digest of all that determines the bytes of a prepared folder.

    `spec` as `for_source` returns it.
    """
    parts = (FORMAT, json.dumps(spec.to_json(), sort_keys=True), repr(source.class_names), source.fingerprint())
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()


def prepare(
    source: Source,
    spec: PreparationSpec,
    *,
    folder: Path,
    workers: int | None = None,
    progress: bool = True,
    report: Report = ignore,
) -> PreparedFolder:
    """Write a prepared folder, continue an interrupted one, or open a finished one.

    Args:
        source: the images.
        spec: how they are prepared.
        folder: what to write; its parents are created.
        workers: decoding processes; None takes one per core, 0 decodes in this process.
        progress: show a bar on stderr when it takes more than two seconds and stderr is a terminal.
        report: called with one line when an interrupted preparation continues.

    Raises:
        UserError: the folder holds something else, another process writes it, no image is usable, the files changed while they
            were read, or the disk is full or cannot be written.
    """
    job = DecodeJob(source, spec.for_source(source), workers, progress)
    return _prepare(job, folder, is_cache=False, report=report)


def prepare_cached(
    source: Source, spec: PreparationSpec, *, folder: Path, progress: bool = True, report: Report = ignore
) -> PreparedFolder:
    """Prepare into the cache: wait for other processes, and replace a damaged folder.

    Args:
        source: the images.
        spec: how they are prepared.
        folder: a folder of the cache; its name is chosen by the program.
        progress: as for `prepare`.
        report: called with one line when the work begins or continues, or has to wait for another process.

    Raises:
        UserError: no image is usable, the files changed while they were read, or the disk is full or cannot be written.
    """
    return _prepare(DecodeJob(source, spec.for_source(source), progress=progress), folder, is_cache=True, report=report)


def _prepare(job: DecodeJob, folder: Path, *, is_cache: bool, report: Report) -> PreparedFolder:
    key = preparation_key(job.source, job.spec)
    target = _target(folder)
    partial = target.with_name(f"{target.name}.partial")
    find, wanted = _find_cached if is_cache else _find_prepared, representation_of(job.source)
    try:
        # A finished folder never changes: neither a lock nor write permission is needed.
        if done := find(folder, key, wanted):
            return done
        target.parent.mkdir(parents=True, exist_ok=True)
        with lock_partial_folder(partial, wait=is_cache, report=report):
            if done := find(folder, key, wanted):
                return done
            if is_cache:
                _remove_damaged(target, report)
            present = sum(file.stat().st_size for file in partial.rglob("*") if file.is_file() and file.name != LOCK)
            needed = job.check_space(folder, present=present)
            if is_cache:
                report(
                    f"preparing {needed.images:,} images of {job.source.name} once, {needed.bytes / 1e6:,.0f} MB in {folder}; "
                    "later runs reuse them"
                )
            _write(job, partial, key, report=report)
            partial.rename(target)
            # Removed last: a partial folder without a lock would be taken for a folder of the user.
            (target / LOCK).unlink()
    except OSError as error:
        raise _write_error(error, folder, partial, is_cache=is_cache) from error
    return open_prepared(folder)


def _target(folder: Path) -> Path:
    """Resolve links, as the finished folder can replace neither a link nor the root of a disk.

    Raises:
        UserError: it is the root of a disk.
    """
    target = Path(os.path.realpath(folder))
    if os.path.ismount(target):
        raise UserError(f"{folder}: is the root of a disk and cannot be replaced; name a folder in it")
    return target


def _find_cached(folder: Path, key: str, wanted: Representation | None) -> PreparedFolder | None:
    """Open the finished folder of a cache; None if there is none or it is damaged."""
    with suppress(UserError):
        prepared = open_prepared(folder)
        return prepared if prepared.info["key"] == key else None
    return None


def _remove_damaged(folder: Path, report: Report) -> None:
    if folder.is_dir():
        report(f"{folder} is damaged and is prepared again")
        shutil.rmtree(folder)


def _find_prepared(folder: Path, key: str, wanted: Representation | None) -> PreparedFolder | None:
    """Open the finished folder; None if there is nothing yet.

    Raises:
        UserError: something else is there.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    if not (folder / INFO).is_file():
        raise UserError(f"{folder}: exists and is not a prepared folder; choose another --out, or remove it")
    try:
        prepared = open_prepared(folder)
    except UserError as error:
        raise UserError(f"{error} (--out={folder} is not overwritten)") from None
    if prepared.info["key"] != key:
        theirs = prepared.representation
        different = theirs and wanted and differences(theirs, wanted)
        how = f"with {different}" if different else "with other options, or from other files"
        raise UserError(f"{folder}: holds {prepared.info['source']} prepared {how}; choose another --out, or remove it")
    return prepared


def _write_error(error: OSError, folder: Path, partial: Path, *, is_cache: bool) -> UserError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return UserError(
            f"{folder}: the disk is full ({error.strerror}); free some space and run the same command again, which continues, "
            f"or remove {partial}"
        )
    remedy = f"set {CACHE_VARIABLE} to" if is_cache else "choose"
    return UserError(f"{folder}: cannot be written ({error.strerror or error}); {remedy} a folder with write permission")


def _write(job: DecodeJob, partial: Path, key: str, *, report: Report) -> None:
    """Write everything from the first image to `info.json`."""
    requested = job.spec
    files = PartialFiles(partial, requested, key=key)
    try:
        if files.images_read:
            report(f"continuing after {files.images_read:,} finished images")
        try:
            job = job.with_ranges()
            decode_all(job, files)
            files.write_journal()
        except BaseException:
            with suppress(OSError):  # On a full disk the previous journal stays valid.
                files.write_journal()
            raise
        if preparation_key(job.source, requested) != key:
            files.discard()
            raise UserError(f"{job.source.name}: changed while it was read; run the same command again once it is stable")
        if not files.rows:
            files.discard()
        job.check_usable(files.rows, files.skipped)
        for file in files.all().values():
            file.finish()
    finally:
        files.close()
    _write_info(job, files, requested=requested, key=key)


def _write_info(job: DecodeJob, files: PartialFiles, *, requested: PreparationSpec, key: str) -> None:
    """Write the mean image and `info.json`, then remove the journal."""
    mean = _mean_image(files.partial, job.spec)
    write_png(files.partial / MEAN, np.rint(mean).astype(np.uint8), holds="the mean of a data set")
    info = {
        "format": FORMAT,
        "key": key,
        "source": job.source.name,
        "options": requested.to_json(),
        "range": job.spec.range,
        "images": files.rows,
        "channels": job.spec.channels,
        "class_names": job.source.class_names,
        "levels": {size: _describe(file) for size, file in files.levels.items()},
        "labels": _describe(files.labels),
        "mean_image": _box_mean(mean, job.spec.base_shape).round(3).tolist(),
        "skipped": files.skipped,
        "complaints": job.source.problems,
    }
    if representation := representation_of(job.source):
        info |= {"representation": representation.to_json(), "label_kind": getattr(job.source, "label_kind", "")}
    write_atomically(files.partial / INFO, json.dumps(info, indent=1).encode())
    (files.partial / JOURNAL).unlink(missing_ok=True)


def _describe(file: ArrayFile) -> dict[str, Any]:
    return {"shape": file.shape, "crc32": f"{file.checksum:08x}"}


def _mean_image(partial: Path, spec: PreparationSpec) -> np.ndarray:
    """Average all rows of the level of at most 32 pixels: float64 `[height, width, channels]`."""
    level = np.load(partial / level_name(min(_MEAN_RESOLUTION, spec.resolution)), mmap_mode="r")
    parts = (level[start : start + _MEAN_ROWS_AT_ONCE] for start in range(0, len(level), _MEAN_ROWS_AT_ONCE))
    return sum(part.sum(axis=0, dtype=np.int64) for part in parts) / len(level)


def _box_mean(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Average an image `[height, width, channels]` over equal boxes to `shape`."""
    height, width, channels = image.shape
    return image.reshape(shape[0], height // shape[0], shape[1], width // shape[1], channels).mean(axis=(1, 3))
