"""The one exception that stands for a user's mistake. The door (`cli`) prints it as a single line, without a traceback."""

from __future__ import annotations

import importlib
from types import ModuleType


class UserError(Exception):
    """Something the user can mend: the message names the value, what is allowed, and how to fix it."""


def first_line(error: BaseException) -> str:
    """What an exception of another library says, short enough for one line; its type if it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def import_optional(module: str, *, package: str, needed_by: str) -> ModuleType:
    """Import a library that only some features need.

    Args:
        module: what to import, such as `tensorboardX`.
        package: what pip installs, such as `tensorboardX` or `-r requirements-optional.txt`.
        needed_by: the source, setting or flag that needs it, as the user wrote it.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # What is missing may be something that the library itself needs.
        raise UserError(f"{needed_by}: needs the package {error.name}, which is not installed: pip install {package}") from None
