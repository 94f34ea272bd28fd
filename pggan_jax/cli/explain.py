"""python launch.py explain --kimg=4321 [FLAGS]

Print what a run does at one point of its schedule: resolution, alpha, batch size, learning rate, iteration, tick, next phase.

Example: python launch.py explain --config=experiments/celebahq_1024.py --kimg=4321

Nothing is trained, read or written.
"""

from __future__ import annotations

from absl import flags

from pggan_jax.cli.shared_flags import define_config_flags, define_float, flag_value, read_config
from pggan_jax.config import Config
from pggan_jax.config.fields import MAX_KIMG
from pggan_jax.cosines import cosine_end, cosines
from pggan_jax.errors import UserError
from pggan_jax.schedule import Schedule, SchedulePoint

FLAGS = flags.FlagValues()
define_config_flags(FLAGS)
define_float("kimg", None, "point of the run, in thousands of real images shown", lowest=0, highest=MAX_KIMG, values=FLAGS)


def run(values: flags.FlagValues) -> None:
    """Print what happens at --kimg."""
    with read_config(values) as config:
        _explain(config, flag_value(values, "kimg"))


def _explain(config: Config, kimg: float | None) -> None:
    schedule = Schedule.of(config)
    total = schedule.total_images
    if kimg is None:
        raise UserError(f"explain needs --kimg, such as --kimg={total / 2000:g}; the run is {total / 1000:g} kimg long")
    if not 0 <= kimg * 1000 <= total:
        raise UserError(f"--kimg={kimg:g}: must be from 0 to {total / 1000:g}, the length of the run")
    images_seen = round(kimg * 1000)
    stage, point = schedule.stage_at(images_seen), schedule.at(images_seen)
    steps_before = sum(earlier.steps for earlier in schedule.stages[: stage.index])
    step = steps_before + (images_seen - stage.start) // stage.images_per_step
    print(f"at kimg {kimg:g} ({images_seen:,} images shown of {total:,}, {images_seen / total:.1%})")
    print(f"  stage          {stage.index + 1} of {len(schedule.stages)}: {stage.name}, kimg {_span(stage.start, stage.end)}")
    print(f"  alpha          {point.alpha:.6f}   (official lod {schedule.official_lod(point):.6f})")
    print(f"  batch size     {stage.batch_size}, {stage.critic_steps} critic update(s) per generator update")
    print(f"  learning rate  {point.learning_rate:g}")
    for line in _cosines(config, point):
        print(line)
    print(f"  iteration      {step:,} of {sum(each.steps for each in schedule.stages):,}")
    tick = schedule.tick_at(images_seen)
    print(f"  tick           {tick.index + 1} of {len(schedule.ticks)}, kimg {_span(tick.start, tick.end)}")
    if stage.index + 1 < len(schedule.stages):
        following = schedule.stages[stage.index + 1]
        resets = "optimizers are reset" if config.optimizer.on_new_phase == "reset" else "optimizers carry on"
        print(f"  next           {following.name} at kimg {following.start / 1000:g}; {resets} there")
    else:
        print(f"  next           the end, at kimg {total / 1000:g}")
    if config.schedule.total_minutes:
        print(f"  or             the end, after {config.schedule.total_minutes:g} minutes of training (schedule.total_minutes)")


def _cosines(config: Config, point: SchedulePoint) -> list[str]:
    """Values of the cosine schedules beside the learning rate, and how far they have come."""
    lines = [f"  {one.name:13}  {one.describe(one.at(point))}" for one in cosines(config) if one.name != "learning rate"]
    way = [f"  cosines        {point.annealed:.1%} of the way; they end at kimg {cosine_end(config):g}"] * bool(cosines(config))
    return [*lines, *way]


def _span(start: int, end: int) -> str:
    return f"{start / 1000:g} to {end / 1000:g}"
