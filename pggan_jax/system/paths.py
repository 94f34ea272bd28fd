"""Paths as a user writes them. Every command resolves every path here: workdirs, outputs, caches, sources, experiments."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pggan_jax.errors import UserError, visible

CACHE_VARIABLE = "PGGAN_JAX_CACHE"


def expand_path(text: str) -> Path:
    """`text` with `~` and `~user` replaced by the home folder.

    Raises:
        ValueError: it has a NUL, or names a home folder that is not known; the message goes on from the path.
    """
    if "\0" in text:
        raise ValueError("no such file or folder: no path has a NUL character")
    user = text.partition("/")[0]
    # An empty HOME would mean the root of the disk.
    is_lost = user == "~" and os.environ.get("HOME") == ""
    path = text if is_lost else os.path.expanduser(text)
    # What `os.path.expanduser` does not know it leaves as it is.
    if text.startswith("~") and path == text:
        what = f"there is no user {user[1:]}" if user[1:] else "the home folder is not known, set HOME"
        raise ValueError(f"{what}; write the path without {user}, or ./{user} for a folder of that name")
    return Path(path)


def user_path(text: str, *, named: str, example: str = "name a file or a folder") -> Path:
    """A path as a user writes it, see `expand_path`.

    Args:
        text: as the user has written it.
        named: how, for the message: "--out=", "tfrecords:".
        example: what to do where it is empty.

    Raises:
        UserError: it is empty, as an unset shell variable gives, or cannot be expanded.
    """
    if not text.strip():
        raise UserError(f"{named}: is empty; {example}")
    try:
        return expand_path(text)
    except ValueError as error:
        raise UserError(f"{named}{visible(text)}: {error}") from None


def cache_root() -> Path:
    """The user's folder for what can be made again: $PGGAN_JAX_CACHE, else pggan_jax in the user's cache folder.

    Raises:
        UserError: no home folder is known, and no variable names another place.
    """
    for variable, below in ((CACHE_VARIABLE, "."), ("XDG_CACHE_HOME", "pggan_jax")):
        if os.environ.get(variable, "").strip():
            return user_path(os.environ[variable], named=f"{variable}=") / below
    try:
        return expand_path("~/.cache/pggan_jax")
    except ValueError:
        raise UserError(f"there is no folder for caches, as HOME is not set; let {CACHE_VARIABLE} name one") from None


def check_regular_file(path: Path, *, named: str, largest: int, advice: str = "give a file") -> None:
    """Refuse to read what is no file, or a file that is too large: a device or a pipe may have no end.

    Args:
        path: the file, or a link to one.
        named: how the user has named it, for the message.
        largest: most bytes that are read of such a file.
        advice: what to do instead.

    Raises:
        UserError: it is absent, a folder, a device, a pipe or a socket, or larger than that.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise UserError(f"{named}{path}: cannot be read ({getattr(error, 'strerror', None) or error}); {advice}") from None
    if not stat.S_ISREG(status.st_mode):
        kind = "Is a directory" if stat.S_ISDIR(status.st_mode) else "is a device or a pipe"
        raise UserError(f"{named}{path}: cannot be read ({kind}); {advice}")
    if status.st_size > largest:
        raise UserError(f"{named}{path}: has {status.st_size:,} bytes, at most {largest:,} are read; {advice}")
