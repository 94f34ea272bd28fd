"""Rules between the settings of the schedule."""

from __future__ import annotations

from pggan_jax.config import Config
from pggan_jax.errors import ConfigError
from pggan_jax.schedule import Schedule

MAX_TOTAL_IMAGES = 2**31 - 1


def check_schedule(config: Config) -> None:
    """Check phases, length and updates of the schedule.

    Raises:
        ConfigError: a setting that cannot be used.
    """
    schedule = Schedule.of(config)
    growing = zip(schedule.resolutions, schedule.resolutions[1:], strict=False)
    for low, high in growing:
        stable = config.schedule.stable_kimg_at.get(low, config.schedule.stable_kimg)
        fade = config.schedule.fade_kimg_at.get(high, config.schedule.fade_kimg)
        if not stable and not fade:
            path = "schedule.fade_kimg_at" if high in config.schedule.fade_kimg_at else "schedule.fade_kimg"
            rule = f"the stable phase at {low} has no length either, so nothing is trained at {low}; set one of them above 0"
            raise ConfigError(path, fade, rule)
    last = config.data.resolution
    planned = schedule.planned_kimg
    if not planned:
        rule = f"the run has no length; set schedule.total_kimg, or a stable phase at {last}"
        raise ConfigError("schedule.total_kimg", config.schedule.total_kimg, rule)
    if planned * 1000 > MAX_TOTAL_IMAGES:
        rule = f"a run may have at most {MAX_TOTAL_IMAGES // 1000} kimg (2^31 - 1 images); this one has {planned:.0f} kimg"
        raise ConfigError("schedule.total_kimg", config.schedule.total_kimg, rule)
    _check_schedule_updates(config, schedule)
    _check_cosines(config)


def _check_cosines(config: Config) -> None:
    """Check that each cosine schedule moves something."""
    settings, loss = config.schedule, config.loss
    if settings.r1_gamma_end and (loss.name in ("wgan_gp", "lsgan") or not loss.r1_gamma):
        why = f"loss.name={loss.name} has no R1" if loss.name in ("wgan_gp", "lsgan") else "loss.r1_gamma is 0"
        rule = f"has nothing to move, as {why}; set 0, or a loss with R1 and loss.r1_gamma above 0"
        raise ConfigError("schedule.r1_gamma_end", settings.r1_gamma_end, rule)
    if settings.anneal_kimg and not (settings.learning_rate_end or settings.r1_gamma_end or settings.ema_half_life_kimg_end):
        rule = "has nothing to move; set schedule.learning_rate_end, r1_gamma_end or ema_half_life_kimg_end, or set 0"
        raise ConfigError("schedule.anneal_kimg", settings.anneal_kimg, rule)


def _check_schedule_updates(config: Config, schedule: Schedule) -> None:
    """Check that no schedule update skips a resolution or exceeds the longest run."""
    for stage, grown in zip(schedule.stages, [*schedule.stages[1:], None], strict=True):
        path, batch = batch_size_setting(config, stage.resolution)
        look = (
            f"{config.schedule.repeats} iterations of {config.schedule.critic_steps} x {batch} images at "
            f"{stage.shape} (schedule.repeats, critic_steps, batch_size) make one schedule update"
        )
        if grown and grown.resolution > 2 * stage.resolution:
            skipped = config.data.shape_at(2 * stage.resolution)
            rule = f"{look} and skip {skipped}; use fewer, or give that resolution more kimg"
            raise ConfigError(path, batch, rule)
        if stage.end > MAX_TOTAL_IMAGES:
            rule = f"{look} and end after {stage.end:,} images; a run may have at most {MAX_TOTAL_IMAGES:,}"
            raise ConfigError(path, batch, rule)


def batch_size_setting(config: Config, resolution: int) -> tuple[str, int]:
    """Return the setting that gives the batch size at `resolution`, and its value."""
    single = config.schedule.batch_size_at
    if resolution in single:
        return "schedule.batch_size_at", single[resolution]
    return "schedule.batch_size", config.schedule.batch_size
