"""The schedules that the authors published, by name (spec 2.5).

Batch sizes are totals over all devices.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pggan_jax.config import Config, ScheduleConfig
from pggan_jax.errors import ConfigError

_V2_PHASES = {"stable_kimg": 600.0, "fade_kimg": 600.0, "total_kimg": 12000.0}
_SCHEDULES: dict[str, dict[str, Any]] = {
    "v1-1gpu": {
        "stable_kimg": 800.0,
        "fade_kimg": 800.0,
        "total_kimg": 19000.0,
        "batch_size": 16,
        "batch_size_at": {256: 14, 512: 6, 1024: 3},
        "learning_rate_at": {},
    },
    "v2-1gpu": {
        **_V2_PHASES,
        "batch_size": 4,
        "batch_size_at": {4: 128, 8: 128, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8, 512: 4},
        "learning_rate_at": {1024: 0.0015},
    },
    "v2-2gpus": {
        **_V2_PHASES,
        "batch_size": 8,
        "batch_size_at": {4: 256, 8: 256, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8},
        "learning_rate_at": {512: 0.0015, 1024: 0.002},
    },
    "v2-4gpus": {
        **_V2_PHASES,
        "batch_size": 16,
        "batch_size_at": {4: 512, 8: 256, 16: 128, 32: 64, 64: 32, 128: 16},
        "learning_rate_at": {256: 0.0015, 512: 0.002, 1024: 0.003},
    },
    "v2-8gpus": {
        **_V2_PHASES,
        "batch_size": 32,
        "batch_size_at": {4: 512, 8: 256, 16: 128, 32: 64, 64: 32},
        "learning_rate_at": {128: 0.0015, 256: 0.002, 512: 0.003, 1024: 0.003},
    },
}
_V1_GROUP_SIZE = 16
PRESETS = tuple(_SCHEDULES)


def apply_preset(config: Config, name: str) -> Config:
    """Return `config` with the schedule and minibatch-stddev group size of an official preset.

    The whole section `schedule` is replaced, so that no setting of an experiment mixes with the official schedule.

    Args:
        config: all other settings.
        name: one of `PRESETS`.

    Raises:
        ConfigError: there is no such preset.
    """
    if name not in _SCHEDULES:
        raise ConfigError("preset", name, f"must be one of {', '.join(PRESETS)}")
    schedule = ScheduleConfig(start_resolution=4, learning_rate=0.001, repeats=4, **_SCHEDULES[name])
    group_size = _V1_GROUP_SIZE if name == "v1-1gpu" else 4
    discriminator = replace(config.discriminator, mbstd_group_size=group_size)
    return replace(config, preset=name, schedule=schedule, discriminator=discriminator)
