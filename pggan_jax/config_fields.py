"""Dataclass fields that carry help text and limits, for the settings in `config.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Any


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
