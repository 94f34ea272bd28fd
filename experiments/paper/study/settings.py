"""Settings of the runs of a study: lengths, and what differs between variants."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pggan_jax.config import Config, ScheduleConfig
from pggan_jax.config.io import settings_of
from pggan_jax.errors import UserError
from pggan_jax.schedule import Schedule

LENGTHS = (
    "stable_kimg",
    "stable_kimg_at",
    "fade_kimg",
    "fade_kimg_at",
    "total_kimg",
    "rampup_kimg",
    "anneal_kimg",
    "total_minutes",
)
"""Settings of the schedule that --scale multiplies."""
_OF_THE_STUDY = ("run.seed", "run.grid", "run.keep_last", "run.checkpoint_ticks", "schedule.tick_kimg", "schedule.tick_kimg_at")


def scaled(config: Config, factor: float) -> Config:
    """Multiply all lengths of the schedule.

    The half-life of the moving average is multiplied too where that makes it shorter.
    """
    if factor == 1:
        return config
    changed: dict[str, Any] = {}
    for name in LENGTHS:
        value = getattr(config.schedule, name, 0.0)
        if isinstance(value, Mapping):
            changed[name] = {resolution: round(kimg * factor, 6) for resolution, kimg in value.items()}
        elif value:
            changed[name] = round(value * factor, 6)
    half_life = round(config.optimizer.ema_half_life_kimg * min(1.0, factor), 6)
    schedule: ScheduleConfig = replace(config.schedule, **changed)
    return replace(config, schedule=schedule, optimizer=replace(config.optimizer, ema_half_life_kimg=half_life))


def common_and_own(configs: Mapping[str, Config]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Split the settings of several variants that are not defaults.

    Returns:
        Those that all have in common, and those of each variant that differ between variants.
    """
    default = dict(settings_of(Config()))
    all_settings = {name: dict(settings_of(config)) for name, config in configs.items()}
    paths = [path for path in default if path not in _OF_THE_STUDY]
    shared, own = {}, {name: dict[str, Any]() for name in configs}
    for path in paths:
        values = [settings[path] for settings in all_settings.values()]
        if all(value == values[0] for value in values):
            if values and values[0] != default[path]:
                shared[path] = values[0]
        else:
            for name, settings in all_settings.items():
                own[name][path] = settings[path]
    return shared, own


def kimg_of(config: Config) -> float:
    """Return the length of a run in kimg."""
    return Schedule.of(config).total_images / 1000


def scale_for(minutes: float, estimated_minutes: float) -> float:
    """Return the factor on all lengths for a budget, rounded down to two digits.

    Raises:
        UserError: the budget is too small for anything to be learned.
    """
    factor = minutes / max(estimated_minutes, 1e-9)
    if factor < 0.01:
        raise UserError(
            f"--minutes={minutes:g}: the study takes about {estimated_minutes:.0f} minutes at full length, and this is less "
            "than 1 % of it; give more, or fewer --variants and --seeds"
        )
    digits = 2 - math.ceil(math.log10(factor))
    return math.floor(factor * 10**digits) / 10**digits
