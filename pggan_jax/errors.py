"""The one exception that stands for a user's mistake. The door (`cli`) prints it as a single line, without a traceback."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend: the message names the value, what is allowed, and how to fix it."""


def first_line(error: BaseException) -> str:
    """What an exception of another library says, short enough for one line; its type if it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
