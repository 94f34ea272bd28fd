"""Dataclass fields with help and limits, limits that sections share, and parsing of values."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import field
from typing import Any, get_args, get_origin

MAX_RESOLUTION = 8192
MAX_KIMG = 2_147_483  # 2^31 images
MAX_MINUTES = 10**7  # 19 years
MAX_IMAGES = 2**31 - 1
MAX_TICKS = 2**31 - 1
MAX_WEIGHT = 10**9
MAX_FLOAT = 1e38  # float32 has no larger power of ten
MAX_WIDTH = 2**16  # feature maps, latents
KIMG: dict[str, Any] = {"minimum": 0, "maximum": MAX_KIMG}
MINUTES: dict[str, Any] = {"minimum": 0, "maximum": MAX_MINUTES}
WEIGHT: dict[str, Any] = {"minimum": 0, "maximum": MAX_WEIGHT}
FRACTION: dict[str, Any] = {"minimum": 0, "maximum": 1, "exclusive": "maximum"}
RATE: dict[str, Any] = {"minimum": 0, "maximum": MAX_FLOAT, "exclusive": "minimum"}
EPSILON: dict[str, Any] = {"minimum": 0, "maximum": 1000, "exclusive": "minimum"}
COUNT: dict[str, Any] = {"minimum": 1, "maximum": MAX_TICKS}


def setting(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    exclusive: str = "",
    choices: Sequence[str] | None = None,
) -> Any:
    """Make a dataclass field that carries its help text and limits as metadata.

    Args:
        default: value of the setting where nothing else is set.
        help: its meaning, as printed by `launch.py settings`.
        minimum: smallest allowed value; for a mapping, of its values.
        maximum: largest allowed value, likewise.
        exclusive: `minimum` or `maximum`, if that limit itself is not allowed.
        choices: allowed texts.
    """
    lower = "above" if exclusive == "minimum" else "minimum"
    upper = "below" if exclusive == "maximum" else "maximum"
    limits = {lower: minimum, upper: maximum, "choices": choices}
    metadata = {"help": help, **{name: limit for name, limit in limits.items() if limit is not None}}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


class DuplicateKeyError(ValueError):
    """A mapping with two values for one resolution."""


def parse_text(text: str, hint: Any) -> Any:
    """Read the text of a value, as `--set` takes it, as the type of its field.

    Raises:
        ValueError, SyntaxError: the text has another form; `DuplicateKeyError` if a mapping names a key twice.
    """
    if get_origin(hint) is tuple:
        return tuple(parse_text(item.strip(), get_args(hint)[0]) for item in text.strip("() ").split(",") if item.strip())
    if get_args(hint):
        key, value = get_args(hint)
        pairs = [pair.split(":") for pair in text.strip("{} ").split(",") if pair.strip()]
        parsed = [(parse_text(k.strip(), key), parse_text(v.strip(), value)) for k, v in pairs]
        found: dict[Any, Any] = {}
        for one, single in parsed:
            if one in found:
                raise DuplicateKeyError(f"names {one} twice; give it one value")
            found[one] = single
        return found
    if hint is bool:
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(text.lower(), text)
    if hint is str:
        is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
        return ast.literal_eval(text) if is_quoted else text
    return hint(text)
