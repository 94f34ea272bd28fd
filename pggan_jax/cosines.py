"""Cosine schedules: what they move, and how that is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pggan_jax.config import Config
from pggan_jax.schedule import Schedule, SchedulePoint, anneal

_CURVE_POINTS = 200


def r1_gamma_at(config: Config, annealed: float) -> float:
    """Weight of R1 and R2 where the cosines have come `annealed` of their way, 0 to 1."""
    return anneal(config.loss.r1_gamma, config.schedule.r1_gamma_end, annealed)


def ema_half_life_at(config: Config, annealed: float) -> float:
    """Half-life of the moving average in kimg, as `r1_gamma_at`."""
    return anneal(config.optimizer.ema_half_life_kimg, config.schedule.ema_half_life_kimg_end, annealed)


@dataclass(frozen=True)
class Cosine:
    """A quantity that a cosine schedule moves.

    Attributes:
        name: of the quantity.
        unit: of its values; empty for none.
        at: its value at a point of the schedule.
        start: its first value, without a ramp; at the first resolution.
        end: its last value.
    """

    name: str
    unit: str
    at: Callable[[SchedulePoint], float]
    start: float
    end: float

    def describe(self, value: float) -> str:
        """Format a value with its unit."""
        return f"{value:g} {self.unit}".rstrip()


def cosines(config: Config) -> list[Cosine]:
    """Return what the cosine schedules of a run move; nothing without them."""
    schedule, half_life = config.schedule, config.optimizer.ema_half_life_kimg
    rate = schedule.learning_rate_at.get(schedule.start_resolution, schedule.learning_rate)
    gamma_of, half_life_of = partial(r1_gamma_at, config), partial(ema_half_life_at, config)
    found = [
        Cosine("learning rate", "", lambda point: point.learning_rate, rate, schedule.learning_rate_end),
        Cosine("R1 gamma", "", lambda point: gamma_of(point.annealed), config.loss.r1_gamma, schedule.r1_gamma_end),
        Cosine("EMA half-life", "kimg", lambda point: half_life_of(point.annealed), half_life, schedule.ema_half_life_kimg_end),
    ]
    return [one for one in found if one.end]


def cosine_end(config: Config) -> float:
    """Return the kimg at which the cosine schedules reach their end."""
    return config.schedule.anneal_kimg or Schedule.of(config).planned_kimg


def cosine_lines(config: Config) -> list[str]:
    """Describe each cosine schedule of a run in a line, and where they end."""
    end = f"{cosine_end(config):g}"
    lines = [
        f"cosine: {one.name} from {one.describe(one.start)} to {one.describe(one.end)} at kimg {end}" for one in cosines(config)
    ]
    if lines and not config.schedule.anneal_kimg:
        lines.append(
            f"cosines end with the run: a larger schedule.total_kimg stretches them, unless schedule.anneal_kimg={end}"
        )
    return lines


def cosine_curve(one: Cosine, schedule: Schedule, *, end: float) -> list[tuple[float, float]]:
    """Return a quantity over the run as pairs of kimg and value.

    Args:
        one: the quantity.
        schedule: of the run.
        end: last kimg.
    """
    last = min(round(1000 * end), schedule.total_images)
    places = [last * number // _CURVE_POINTS for number in range(_CURVE_POINTS + 1)]
    return [(place / 1000, one.at(schedule.at(place))) for place in dict.fromkeys(places)]
