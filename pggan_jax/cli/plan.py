"""python launch.py plan --config=experiments/celebahq_1024.py [FLAGS]

Estimate what a run costs on this machine, per resolution: images, steps, batch per device, parameters, arithmetic per image,
memory of the compiled step, measured speed, and time. The step of each resolution is compiled and run on noise for a few
seconds; --nomeasure only compiles.

Example: python launch.py plan --config=experiments/folder.py --set data.source=folder:~/photos

Writes nothing but compiled programs to the compilation cache.
"""

from __future__ import annotations

import math

from absl import flags

from pggan_jax.cli.compilation_cache import define_compilation_cache_flag, use_compilation_cache
from pggan_jax.cli.shared_flags import define_config_flags, define_float, flag_value, read_config
from pggan_jax.config import Config, DataConfig
from pggan_jax.cosines import cosine_lines
from pggan_jax.images import ImageSpec
from pggan_jax.schedule import Schedule, Stage

FLAGS = flags.FlagValues()
define_config_flags(FLAGS)
flags.DEFINE_boolean("measure", True, "run a few steps of each resolution to measure its speed", flag_values=FLAGS)
define_float("seconds", 2.0, "seconds of measurement per resolution", lowest=0.1, highest=3600, values=FLAGS)
define_compilation_cache_flag(FLAGS)

_COLUMNS = (
    "resolution",
    "kimg",
    "steps",
    "batch/device",
    "G params",
    "D params",
    "GFLOP/img",
    "memory",
    "compile",
    "img/s",
    "time",
)


def run(values: flags.FlagValues) -> None:
    """Print one row per resolution and the total."""
    with read_config(values) as config:
        _plan(values, config)
        for line in cosine_lines(config):
            print(line)


def _plan(values: flags.FlagValues, config: Config) -> None:
    from tqdm import tqdm

    from pggan_jax.distributed import devices
    from pggan_jax.distributed.batch_sharding import check_batches
    from pggan_jax.loop.step_cost import measure_step
    from pggan_jax.run_logs.eta import format_duration

    use_compilation_cache(values)
    schedule = Schedule.of(config)
    by_resolution: dict[int, list[Stage]] = {}
    for stage in schedule.stages:
        by_resolution.setdefault(stage.resolution, []).append(stage)
    check_batches(config, devices=devices.device_count(), backend=devices.backend())
    image_spec = _image_spec(config.data)
    seconds: float = (flag_value(values, "seconds") or 0.0) if flag_value(values, "measure") else 0.0
    print(f"{devices.describe_devices()}; {config.data.source}, {image_spec.channels} channel(s)")
    rows: list[tuple[str, ...]] = []
    speeds: dict[int, float] = {}
    compile_seconds = 0.0
    with tqdm(by_resolution.items(), desc="compiling and measuring", disable=None, leave=False) as bar:
        for _, stages in bar:
            bar.set_postfix_str(str(stages[0].shape))
            cost = measure_step(config, stages[0], image_spec=image_spec, seconds=seconds)
            images = sum(stage.end - stage.start for stage in stages)
            duration = images / cost.images_per_second if cost.images_per_second else math.nan
            speeds[stages[0].resolution] = cost.images_per_second or math.nan
            compile_seconds += cost.compile_seconds
            rows.append(
                (
                    str(stages[0].shape),
                    f"{images / 1000:.1f}",
                    f"{sum(stage.steps for stage in stages):,}",
                    _format_share(stages[0].batch_size // devices.device_count(), cost.microbatches),
                    f"{cost.generator_parameters:,}",
                    f"{cost.discriminator_parameters:,}",
                    f"{cost.flops_per_image / 1e9:.3g}",
                    f"{cost.peak_bytes / 2**20:,.0f} MiB",
                    format_duration(cost.compile_seconds),
                    f"{cost.images_per_second:.0f}" if cost.images_per_second else "-",
                    format_duration(duration) if seconds else "-",
                )
            )
    _print_table(rows)
    reached, training_seconds = _end(schedule, speeds)
    steps = sum(stage.steps for stage in schedule.stages)
    total_seconds = training_seconds + compile_seconds
    time = f"about {format_duration(total_seconds)} with compilation" if seconds else "time not measured (--nomeasure)"
    print(f"total: {schedule.total_images / 1000:.1f} kimg, {steps:,} steps, {time}; sample grids and checkpoints not included")
    limit = f"schedule.total_minutes = {config.schedule.total_minutes:g}"
    if math.isfinite(schedule.total_seconds) and math.isnan(training_seconds):
        print(f"{limit} may end the run earlier: the measured speed (without --nomeasure) says where")
    elif reached < schedule.total_images:
        print(
            f"{limit} ends the run earlier: at about kimg {reached / 1000:.3g} of these, in {schedule.stage_at(reached).name}"
        )


def _end(schedule: Schedule, speeds: dict[int, float]) -> tuple[int, float]:
    """Return the images and seconds of training after which the run ends.

    Args:
        schedule: of the run.
        speeds: images per second by resolution; NaN where they were not measured.
    """
    seconds = 0.0
    for stage in schedule.stages:
        speed = speeds[stage.resolution]
        whole = seconds + (stage.end - stage.start) / speed
        if whole > schedule.total_seconds:
            return stage.start + int((schedule.total_seconds - seconds) * speed), schedule.total_seconds
        seconds = whole
    return schedule.total_images, seconds


def _format_share(images: int, parts: int) -> str:
    return str(images) if parts == 1 else f"{parts} x {images // parts}"


def _image_spec(data: DataConfig) -> ImageSpec:
    """Shape of images and labels; the source is opened only if the settings leave it open."""
    shape = data.shape_at(data.resolution)
    if data.channels and not data.labels:
        return ImageSpec(shape.height, shape.width, data.channels)
    from pggan_jax.data.open_loader import open_configured

    source = open_configured(data)
    label_size = len(source.class_names) if data.labels else 0
    return ImageSpec(shape.height, shape.width, data.channels or source.channels, label_size)


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in [_COLUMNS, *rows]) for column in range(len(_COLUMNS))]
    for row in [_COLUMNS, *rows]:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
