"""What the page of `explore` draws: a point of the latent space, at each level of growth."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pggan_jax.errors import UserError
from pggan_jax.generation.editing.directions import moved
from pggan_jax.generation.model import Model
from pggan_jax.generation.walks import slerp

LARGEST_SEED = 2**32 - 1
LARGEST_STRENGTH = 6.0


@dataclass(frozen=True)
class Point:
    """A point of the latent space, as the controls of the page describe it, whatever they hold.

    Attributes:
        seed: of the latent.
        number: class; 0 without labels.
        other: seed that a walk leads to.
        share: of the walk, 0 to 1; 0 stays at `seed`.
        strengths: of the directions, each -6 to 6; directions without one are not used.

    Raises:
        UserError: a value is impossible.
    """

    seed: Any
    number: Any = 0
    other: Any = 0
    share: Any = 0.0
    strengths: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        for name, seed in (("seed", self.seed), ("walk to seed", self.other)):
            if not _is_number(seed) or not 0 <= seed <= LARGEST_SEED or int(seed) != seed:
                raise UserError(f"{name} {_shown(seed)}: must be a whole number from 0 to {LARGEST_SEED}")
        if not _is_number(self.share) or not 0 <= self.share <= 1:
            raise UserError(f"share of the walk {_shown(self.share)}: must be a number from 0 to 1")
        for strength in self.strengths:
            if not _is_number(strength) or abs(strength) > LARGEST_STRENGTH:
                raise UserError(
                    f"strength {_shown(strength)}: must be a number from {-LARGEST_STRENGTH:g} to {LARGEST_STRENGTH:g}"
                )


@dataclass(frozen=True)
class Explorer:
    """A model, the levels that it has grown through, and directions in its latent space.

    Attributes:
        model: that is explored.
        levels: models of lower resolutions, in that order, then `model`; their latents have equal sizes.
        directions: by name, float32 `[latent_size]`, of length 1.
        network: "ema" or "raw", the weights of all levels.
    """

    model: Model
    levels: Sequence[Model]
    directions: Mapping[str, np.ndarray]
    network: str = "ema"

    def latent(self, point: Point) -> np.ndarray:
        """Return the latent of a point: float32 `[latent_size]`."""
        latents = self.model.latents([int(point.seed), int(point.other)])
        for direction, strength in zip(self.directions.values(), point.strengths, strict=False):
            if strength:
                latents = moved(latents, direction, [strength])[:, 0]
        return np.asarray(slerp(latents[0], latents[1], point.share), np.float32) if point.share else latents[0]

    def images(self, point: Point) -> list[np.ndarray]:
        """Return the images of a point by all levels: uint8 `[height, width, channels]`.

        Raises:
            UserError: the model has no such class.
        """
        latent = self.latent(point)[None]
        return [level.synthesize(latent, self._class(point, level))[0] for level in self.levels]

    def arrays(self, point: Point) -> dict[str, Any]:
        """Return what is stored of a point: latent, class, image, and the controls as JSON."""
        of_model = {"source": self.model.name, "kimg": self.model.kimg, "network": self.network}
        controls = {**asdict(point), "directions": list(self.directions), **of_model}
        number = np.int64(self._class(point, self.model) or 0)
        return {
            "latent": self.latent(point),
            "class": number,
            "image": self.images(point)[-1],
            "controls": np.array(json.dumps(controls), np.str_),
        }

    def _class(self, point: Point, model: Model) -> int | None:
        if not model.label_size:
            return None
        if not _is_number(point.number) or point.number not in range(model.label_size):
            raise UserError(f"class {_shown(point.number)}: must be a number from 0 to {model.label_size - 1}")
        return int(point.number)


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    return "is missing" if value is None else repr(value)[:40]
