"""A trained model of another program, converted to our parameters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pggan_jax.config import Config
from pggan_jax.errors import UserError, visible

Leaves = dict[str, np.ndarray]
"""Parameters by path, such as `block_4x4/dense/kernel`."""


@dataclass(frozen=True)
class ForeignModel:
    """Networks in our layout, at the level that training had reached.

    Attributes:
        config: settings that build them; those of data and training are defaults.
        resolution: the level that was reached.
        alpha: weight of its newest layers.
        channels: colour channels.
        label_size: number of classes, 0 for none.
        generator: the moving average of the generator, or the only generator of the file.
        raw_generator: the current weights of the generator; None if the file has one generator only.
        discriminator: None if the file has none.
        origin: what the file is, such as "progressive_growing_of_gans, G_paper and D_paper".
        licence: under which the weights are given, as far as it is known.
        notes: what a user should know, one line each.
    """

    config: Config
    resolution: int
    alpha: float
    channels: int
    label_size: int
    generator: Leaves
    raw_generator: Leaves | None
    discriminator: Leaves | None
    origin: str
    licence: str
    notes: tuple[str, ...] = ()


class Unfit(Exception):
    """The networks of a file cannot be computed here; the message says why."""


@contextmanager
def reading_networks(path: Path, program: str) -> Iterator[None]:
    """Turn whatever a file's content is wrong by into one line about the file.

    Args:
        path: of the file.
        program: whose networks it should hold.

    Raises:
        UserError: for `Unfit`, and for content of another form.
    """
    try:
        yield
    except Unfit as error:
        raise UserError(f"{path}: {error}") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        what = visible(f"{type(error).__name__}: {error}")
        raise UserError(f"{path}: its networks are not of the form of {program} ({what[:80]})") from None


def as_parameters(name: str, value: Any) -> np.ndarray:
    """Return an array of a file as float32.

    Raises:
        Unfit: it holds no floating-point numbers, or some that are not finite.
    """
    shown = visible(name)[:60]
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        raise Unfit(f"its array {shown} does not hold floating-point numbers")
    if not np.isfinite(value).all():
        raise Unfit(f"its array {shown} has NaN or infinite values; the network is damaged or has diverged")
    return value.astype(np.float32)
