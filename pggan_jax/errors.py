"""Exceptions for mistakes that a user can fix, and messages of one line."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

LONGEST_MESSAGE = 300
"""Most characters of an error message."""
DEFAULT_ORIGIN = "the default"
_LONGEST_VALUE = 60
_SHORTEST_WORD = 48
_GAP = "..."
# Escape codes, other controls, and characters that change the writing direction or start a new line.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class UserError(Exception):
    """A mistake that the user can fix; the message says what is wrong and what to do."""


class ConfigError(UserError):
    """A setting whose value cannot be used.

    Args:
        path: dotted name of the setting, such as `schedule.batch_size`.
        value: what it was set to.
        rule: what is allowed, as the end of a sentence about the setting.

    Attributes:
        origin: where the setting was set; empty until whoever has loaded the configuration adds it.
    """

    def __init__(self, path: str, value: Any, rule: str):
        super().__init__(path, value, rule)
        self.path, self.value, self.rule = path, value, rule
        self.origin = ""

    def __str__(self) -> str:
        origin = f" (from {self.origin})" if self.origin else ""
        return f"{self.path} = {_format_value(self.value)}{origin}: {self.rule}"


@contextmanager
def name_origins(default: str, by_path: Mapping[str, str] | None = None) -> Iterator[None]:
    """Add to each `ConfigError` raised in the `with` block where its setting was set.

    Args:
        default: the place of settings that `by_path` does not list.
        by_path: dotted name of a setting -> an experiment file, a `--set` flag ...
    """
    try:
        yield
    except ConfigError as error:
        error.origin = error.origin or (by_path or {}).get(error.path, default)
        raise


def _format_value(value: Any) -> str:
    try:
        return one_line(repr(value), longest=_LONGEST_VALUE)
    except (ValueError, RecursionError):
        # Python writes no whole number of more than 4,300 digits.
        return f"a {type(value).__name__} that is too long to print"


def first_line(error: BaseException) -> str:
    """Return the first line of an exception, or its type if it has no message."""
    lines = str(error).strip().splitlines()
    return one_line(lines[0], longest=200) if lines else type(error).__name__


def visible(text: str, *, but: str = "") -> str:
    """Escape control characters in `text`, except those in `but`, for any terminal."""

    def escape(match: re.Match[str]) -> str:
        return match[0] if match[0] in but else match[0].encode("unicode_escape").decode()

    return _CONTROLS.sub(escape, text)


def one_line(text: str, *, longest: int = LONGEST_MESSAGE) -> str:
    """Shorten `text` to one printable line of at most `longest` characters.

    Long words, such as paths and numbers, lose their middle first, then the line does: messages begin with the value and end
    with what to do.
    """
    # Of a much longer text only the two ends can be shown.
    text = text if len(text) <= 100 * longest else text[: 50 * longest] + _GAP + text[-50 * longest :]
    words = visible(" ".join(text.split())).split(" ")
    excess = len(" ".join(words)) - longest
    while excess > 0 and len(word := max(words, key=len)) > _SHORTEST_WORD:
        kept = max(_SHORTEST_WORD, len(word) - excess)
        words[words.index(word)] = _without_middle(word, kept)
        excess -= len(word) - kept
    return _without_middle(" ".join(words), longest)


def _without_middle(text: str, length: int) -> str:
    if len(text) <= length:
        return text
    head = (length - len(_GAP)) * 3 // 5
    tail = length - len(_GAP) - head
    return f"{text[:head]}{_GAP}{text[-tail:]}"


def import_optional(module: str, *, package: str, needed_by: str) -> ModuleType:
    """Import a library that only some features need.

    Args:
        module: what to import, such as `tensorboardX`.
        package: what pip installs, such as `tensorboardX` or `-r requirements-optional.txt`.
        needed_by: the source, setting or flag that needs it, as the user wrote it.

    Raises:
        UserError: the library, or one that it needs, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # The missing package may be one that the library itself needs.
        raise UserError(
            f"{needed_by}: needs the package {error.name}, which is not installed; run pip install {package}"
        ) from None
