"""Paths as users write them: `~`, empty texts, the cache folder, files of bounded size."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pggan_jax.errors import UserError, visible

CACHE_VARIABLE = "PGGAN_JAX_CACHE"


def expand_path(text: str) -> Path:
    """Replace `~` and `~user` at the start of `text` by the home folder.

    Raises:
        ValueError: the text contains NUL, or the home folder is unknown; the message continues a sentence about the path.
    """
    if "\0" in text:
        raise ValueError("no such file or folder: no path has a NUL character")
    user = text.partition("/")[0]
    # With an empty HOME, `expanduser` would return the root of the disk.
    is_lost = user == "~" and os.environ.get("HOME") == ""
    path = text if is_lost else os.path.expanduser(text)
    # `expanduser` returns the text unchanged if the home folder is unknown.
    if text.startswith("~") and path == text:
        what = f"there is no user {user[1:]}" if user[1:] else "the home folder is not known, set HOME"
        raise ValueError(f"{what}; write the path without {user}, or ./{user} for a folder of that name")
    return Path(path)


def user_path(text: str, *, named: str, example: str = "name a file or a folder") -> Path:
    """Convert a path as a user writes it, see `expand_path`.

    Args:
        text: the path.
        named: what precedes it on the command line, for the message: "--out=", "tfrecords:".
        example: what to do if it is empty.

    Raises:
        UserError: the text is empty, as from an unset shell variable, or cannot be expanded.
    """
    if not text.strip():
        raise UserError(f"{named}: is empty; {example}")
    try:
        return expand_path(text)
    except ValueError as error:
        raise UserError(f"{named}{visible(text)}: {error}") from None


def cache_root() -> Path:
    """Return the cache folder: $PGGAN_JAX_CACHE, else pggan_jax in the user's cache folder.

    Raises:
        UserError: the home folder is unknown, and no variable names another folder.
    """
    for variable, below in ((CACHE_VARIABLE, "."), ("XDG_CACHE_HOME", "pggan_jax")):
        if os.environ.get(variable, "").strip():
            return user_path(os.environ[variable], named=f"{variable}=") / below
    try:
        return expand_path("~/.cache/pggan_jax")
    except ValueError:
        raise UserError(f"there is no cache folder, as HOME is not set; set {CACHE_VARIABLE} to a folder") from None


def check_regular_file(path: Path, *, named: str, largest: int, advice: str = "give a file") -> None:
    """Refuse to read a file that is too large or not a regular file, such as a device or a pipe.

    Args:
        path: the file, or a link to one.
        named: what precedes it on the command line, for the message.
        largest: allowed size in bytes.
        advice: what to do, for the message.

    Raises:
        UserError: the file is absent, too large, or a folder, device, pipe or socket.
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
