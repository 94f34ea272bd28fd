"""Safe reading of small JSON files, which may be damaged or written by other programs.

The result is a tree of bounded depth with finite numbers of bounded size; numbers outside these limits become None.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeGuard

DEEPEST = 32
_MOST_DIGITS = 24


def parse_json(text: str | bytes, *, only_finite: bool = True) -> Any:
    """Parse a JSON text.

    Args:
        text: the whole text.
        only_finite: read numbers that are not finite as None, else as Python writes them. Whole numbers of more than 24
            digits are always read as None.

    Raises:
        ValueError: the text is not JSON, or is nested more than 32 deep; the message is one line.
    """
    try:
        if only_finite:
            value = json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=lambda _: None)
        else:
            value = json.loads(text, parse_int=_whole)
    except RecursionError:
        raise ValueError(f"is nested more than {DEEPEST} deep") from None
    _refuse_depth(value)
    return value


def _whole(text: str) -> int | None:
    return int(text) if len(text) <= _MOST_DIGITS else None


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _refuse_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST):
        level = [
            item for node in level if isinstance(node, list | dict) for item in _items(node) if isinstance(item, list | dict)
        ]
        if not level:
            return
    raise ValueError(f"is nested more than {DEEPEST} deep")


def _items(node: list[Any] | dict[str, Any]) -> Iterable[Any]:
    return node.values() if isinstance(node, dict) else node


def read_json_object(path: Path, *, only_finite: bool = True) -> dict[str, Any]:
    """Read the object in a JSON file with `parse_json`.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file holds something else; the message is one line.
    """
    if not path.is_file() and path.exists():
        raise ValueError(f"{path.name} is not a file")
    value = parse_json(path.read_bytes(), only_finite=only_finite)
    if not isinstance(value, dict):
        raise ValueError(f"holds a {type(value).__name__}, not an object")
    return value


def json_objects(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield the objects among lines of JSON; other lines are skipped."""
    for line in lines:
        try:
            value = parse_json(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value


def is_count(value: Any, *, most: int = 2**63 - 1) -> TypeGuard[int]:
    """Whether a parsed value is a whole number from 0 to `most`; true and false are not."""
    return type(value) is int and 0 <= value <= most


def is_position(value: Any) -> TypeGuard[float]:
    """Whether a parsed value is a finite number of at least 0, such as 8000 or 8e3."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
