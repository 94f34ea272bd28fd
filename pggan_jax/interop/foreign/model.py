"""A trained model of another program, converted to our parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pggan_jax.config import Config

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
    generator: Leaves | None
    raw_generator: Leaves | None
    discriminator: Leaves | None
    origin: str
    licence: str
    notes: tuple[str, ...] = ()


Shapes = Mapping[str, tuple[int, ...]]
Attributes = Mapping[str, Any]
