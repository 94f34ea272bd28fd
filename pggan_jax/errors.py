"""The one exception that stands for a user's mistake. The door (`cli`) prints it as a single line, without a traceback."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend: the message names the value, what is allowed, and how to fix it."""
