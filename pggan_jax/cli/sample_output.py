"""Where `sample` writes: names of files, and what may be replaced."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags

from pggan_jax.cli.model_flags import cannot_be_written, make_folder
from pggan_jax.cli.shared_flags import flag_value, folder
from pggan_jax.errors import UserError

if TYPE_CHECKING:
    from pggan_jax.generation.image_writers import Plan, Sample
    from pggan_jax.system.file_lock import FileLock

WAVE_FORMATS = ("wav", "float wav")
"""What the request of a folder of sounds calls its format."""
_TRIES_TO_LOCK = 5
_EXIT_INTERRUPTED = 130
_ARCHIVES = {".zip": ("png", "webp"), ".npz": ("npz",)}
_IMAGE_SUFFIXES = (".png", ".webp", ".jpg", ".jpeg", ".gif")
_FILM_SUFFIXES = (".mp4", ".webm", ".mov", ".mkv", ".avi")


def place_of(values: flags.FlagValues) -> tuple[Path, str]:
    """Return the path of --out, and the format of the images.

    Raises:
        UserError: the two do not fit, or the path is a file where a folder is meant or the other way round.
    """
    text, format = flag_value(values, "out"), flag_value(values, "format")
    out = folder("out", text)
    suffix = out.suffix.lower()
    if suffix in _IMAGE_SUFFIXES and not out.is_dir():
        raise UserError(
            f"--out={text}: is the name of an image; give a folder, FILE.zip or FILE.npz, and the grid's by --grid_out"
        )
    if suffix in _FILM_SUFFIXES and not out.is_dir():
        raise UserError(f"--out={text}: is the name of a film, which launch.py film makes; give a folder, FILE.zip or FILE.npz")
    allowed = _ARCHIVES.get(suffix, ("png", "webp"))
    if format is not None and format not in allowed:
        hint = "name it FILE.npz" if format == "npz" else "choose FILE.zip, or a folder"
        raise UserError(f"--out={text}: does not hold --format={format}, only {' or '.join(allowed)}; {hint}")
    if suffix in _ARCHIVES and out.is_dir():
        raise UserError(f"--out={text}: is a folder, and means a file; choose another name")
    if suffix not in _ARCHIVES and out.exists() and not out.is_dir():
        raise UserError(f"--out={text}: is a file, and means a folder; choose another name, or one that ends in .zip or .npz")
    return out, format or allowed[0]


def grid_path(values: flags.FlagValues, out: Path) -> Path:
    """Return the path of the grid.

    Raises:
        UserError: --out is the root of a disk, or the path is that of a folder or lies in --out.
    """
    text = flag_value(values, "grid_out")
    if text is not None:
        path = folder("grid_out", text)
        if path.suffix.lower() != ".png":
            raise UserError(f"--grid_out={text}: the output is a PNG file; choose a name that ends in .png")
        if path.resolve().parent == out.resolve():
            raise UserError(f"--grid_out={text}: lies in --out={out}, which holds single images only; choose another folder")
    else:
        absolute = out.resolve()
        if not absolute.name:
            raise UserError(f"--out={out}: is the root of a disk; name a folder in it")
        place = out if out.name not in ("", "..") else absolute
        path = place.with_suffix(".png") if place.suffix.lower() in _ARCHIVES else place.with_name(f"{place.name}.png")
    if path.is_dir():
        raise UserError(f"--grid_out={path}: cannot be written (Is a directory); choose another name")
    return path


def check_grid(values: flags.FlagValues, path: Path, request: Mapping[str, Any]) -> None:
    """Refuse to replace a file that is not the grid of the same request.

    Raises:
        UserError: there is such a file, and --overwrite is not given.
    """
    from pggan_jax.system.image_files import HEAD_BYTES

    if not path.exists() or flag_value(values, "overwrite"):
        return
    try:
        with path.open("rb") as file:
            is_same = grid_mark(request).encode() in file.read(HEAD_BYTES)
    except OSError:
        is_same = False
    if not is_same:
        raise UserError(
            f"--out={flag_value(values, 'out')}: the grid would replace the existing {path}; name another file by --grid_out, "
            "or add --overwrite"
        )


def grid_mark(request: Mapping[str, Any]) -> str:
    """Return the text in the file of the grid by which the same command recognises it."""
    digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
    return f"samples of request {digest[:16]}"


@contextmanager
def claim_place(
    values: flags.FlagValues, out: Path, request: Mapping[str, Any], *, grid: Path | None, sources: Sequence[str]
) -> Iterator[None]:
    """Create the folder of --out, and keep out other commands inside the `with` block.

    Args:
        values: flags of the command.
        out: the folder or file.
        request: what determines the result; one of the same request is continued.
        grid: file of the grid, if there is one.
        sources: `DataConfig.sources` of the run, which must not read what is written.

    Raises:
        UserError: another command has written there, or writes there now, or the place cannot be written.
    """
    from pggan_jax.system.own_output import claim_output

    is_folder = out.suffix.lower() not in _ARCHIVES
    check = _check_folder if is_folder else _check_file
    # A refused command creates nothing, not even a folder for its lock.
    check(values, out, request)
    if grid is not None:
        check_grid(values, grid, request)
    name = out.resolve()
    path = name.with_name(f".{name.name}.lock")
    make_folder(out.parent if not is_folder else name.parent, f"--out={out}")
    with _locked(path, f"--out={out}"):
        try:
            # Another command may have written there since.
            check(values, out, request)
            if is_folder:
                _remove_others(out, request)
                claim_output("out", out, *sources, command="sample", details={"request": dict(request)})
            yield
        finally:
            with suppress(OSError):
                path.unlink()


def write_all(
    out: Path, plan: Plan, generate: Callable[[np.ndarray], Iterator[Sample]], *, format: str, at_once: int, noun: str
) -> int:
    """Write what is missing; return the number of samples written, fewer than all after Ctrl-C.

    Args:
        out: the folder or file.
        plan: what is to be written.
        generate: yields the samples that are missing; given which are done.
        format: of the files.
        at_once: samples per thread and task.
        noun: for messages: "images" or "sounds".

    Raises:
        UserError: they cannot be written.
    """
    from tqdm import tqdm

    from pggan_jax.generation.archive_writers import open_writer
    from pggan_jax.generation.image_writers import write_samples

    written = 0
    try:
        writer = open_writer(out, plan, format=format)
        written = int(writer.done.sum())
        if 0 < written < len(plan):
            print(f"continuing: {written:,} of {len(plan):,} {noun} are there")
        with tqdm(total=len(plan), initial=written, desc="sampling", unit=noun.removesuffix("s"), delay=2, disable=None) as bar:

            def count(samples: int) -> None:
                nonlocal written
                written += samples
                bar.update(samples)

            write_samples(generate(writer.done), writer, at_once=at_once, progress=count)
    except KeyboardInterrupt:
        # After the last one an archive still needs its list of members.
        return min(written, len(plan) - 1)
    except OSError as error:
        again = f" after {written:,} of {len(plan):,} {noun}; fix that, and the same command continues" if written else ""
        raise UserError(f"--out={out}: cannot be written ({error.strerror or error}){again}") from None
    return written


def report_interruption(written: int, total: int, noun: str) -> int:
    """Print how much is written after Ctrl-C; return the exit status."""
    print(f"interrupted: {written:,} of {total:,} {noun} are written; the same command continues", file=sys.stderr)
    return _EXIT_INTERRUPTED


def _locked(path: Path, flag: str) -> FileLock:
    """Return the lock on a file that its holder removes.

    Raises:
        UserError: another command holds it, or the file cannot be written.
    """
    from pggan_jax.system.file_lock import FileLock, HeldError

    try:
        for _ in range(_TRIES_TO_LOCK):
            lock = FileLock(path)
            # The file may have been opened before its holder removed it: then others do not see this lock.
            if lock.is_in_place():
                return lock
            lock.release()
        raise HeldError("another process")
    except HeldError as error:
        raise UserError(f"{flag}: {error} writes there; wait for it, or choose another place") from None
    except OSError as error:
        raise cannot_be_written(flag, error) from None


def _check_folder(values: flags.FlagValues, out: Path, request: Mapping[str, Any]) -> None:
    """Raises: UserError: the folder holds what the request would not write."""
    from pggan_jax.system.own_output import MARKER, read_mark

    try:
        names = os.listdir(out) if out.exists() else []
    except OSError as error:
        raise cannot_be_written(f"--out={out}", error) from None
    mark = read_mark(out)
    if not set(names) - {MARKER} or mark.get("request") == request:
        return
    if mark.get("command") != "sample":
        raise UserError(f"--out={out}: holds files that sample has not written; choose a new or an empty folder")
    _refuse_others(values, out, mark.get("request"), request)


def _check_file(values: flags.FlagValues, out: Path, request: Mapping[str, Any]) -> None:
    """Raises: UserError: the file, or one that was interrupted, is of another request."""
    from pggan_jax.generation.archive_writers import request_at, unfinished_request

    if out.exists() and (there := request_at(out)) != request:
        _refuse_others(values, out, there, request)
    if (unfinished := unfinished_request(out)) not in (None, request):
        _refuse_others(values, out, unfinished, request)


def _refuse_others(values: flags.FlagValues, out: Path, there: Any, request: Mapping[str, Any]) -> None:
    if flag_value(values, "overwrite"):
        return
    advice = "choose another place, or add --overwrite"
    if not isinstance(there, dict):
        raise UserError(f"--out={out}: exists; {advice}")
    name = next((name for name in request if there.get(name) != request[name]), "request")
    before, now = (str(one.get(name))[:60] for one in (there, request))
    raise UserError(f"--out={out}: holds samples of another command ({name}: {before} there, {now} now); {advice}")


def _remove_others(out: Path, request: Mapping[str, Any]) -> None:
    """Remove the samples of another request, which --overwrite allows."""
    from pggan_jax.generation.image_writers import remove_samples
    from pggan_jax.system.own_output import read_mark

    mark = read_mark(out)
    there = mark.get("request")
    if mark.get("command") == "sample" and there != request:
        remove_samples(out, are_waves=isinstance(there, dict) and there.get("format") in WAVE_FORMATS)
