"""The cost of a train step, measured and by the compiler; microbatches that fit into memory."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from pggan_jax.config import Config
from pggan_jax.distributed import devices
from pggan_jax.distributed.batch_sharding import microbatch_counts, microbatches_as_set
from pggan_jax.images import ImageSpec
from pggan_jax.loop.input_feed import abstract_batch_and_schedule_points, effective_steps_per_call
from pggan_jax.networks.build import Networks, build_networks
from pggan_jax.networks.cost import least_step_flops, step_bytes_per_image
from pggan_jax.schedule import Stage
from pggan_jax.training.multi_step import make_multi_step
from pggan_jax.training.step_inputs import Batch, SharedInputs, TracedSchedulePoint
from pggan_jax.training.train_state import abstract_train_state, create_train_state

MEMORY_SHARE = 0.9
"""Share of a device's memory that a step may use."""
_CLEARLY_FITS = 0.25


@dataclass(frozen=True)
class StepCost:
    """Costs of one resolution.

    Attributes:
        generator_parameters, discriminator_parameters: numbers of weights and biases, the faded-out path's included.
        microbatches: that a device splits its samples of a batch into.
        flops_per_image: of one iteration over its images, as the compiler counts them; on a GPU the least that it takes, as the
            compiler counts no convolution there.
        peak_bytes: memory per device the compiled step needs, arguments included.
        compile_seconds: of the step.
        images_per_second: measured, or None.
    """

    generator_parameters: int
    discriminator_parameters: int
    microbatches: int
    flops_per_image: float
    peak_bytes: int
    compile_seconds: float
    images_per_second: float | None


def measure_step(config: Config, stage: Stage, *, image_spec: ImageSpec, seconds: float) -> StepCost:
    """Compile the train step of a stage and time it on noise.

    Args:
        config: the run's settings.
        stage: which resolution and batch size.
        image_spec: of the data.
        seconds: how long to measure after the first step; 0 leaves the speed out and runs nothing.
    """
    networks = build_networks(config, stage.resolution, image_spec=image_spec, axis_name=devices.AXIS)
    microbatches = choose_microbatches(config, networks)
    start = time.perf_counter()
    mapped, compiled = compile_step(config, networks, microbatches=microbatches)
    compile_seconds = time.perf_counter() - start
    speed = None
    if seconds:
        first = devices.replicate(create_train_state(config.optimizer, networks, config.run.seed))
        speed = _images_per_second(mapped, first, step_arguments(config, networks), stage, seconds)
    state = abstract_train_state(config.optimizer, networks)
    if devices.backend() == "gpu":
        shapes = {"generator": _shapes(state.generator), "discriminator": _shapes(state.discriminator)}
        flops_per_image = least_step_flops(shapes, config.loss)
    else:
        # The compiler counts the body of a loop once: right for a loop over steps, but not for one over microbatches.
        in_loop = 1 if devices.backend() == "cpu" else microbatches
        flops_per_image = compiled.cost_analysis()["flops"] * in_loop * devices.device_count() / stage.images_per_step
    return StepCost(
        generator_parameters=_count(state.generator),
        discriminator_parameters=_count(state.discriminator),
        microbatches=microbatches,
        flops_per_image=flops_per_image,
        peak_bytes=peak_bytes(compiled),
        compile_seconds=compile_seconds,
        images_per_second=speed,
    )


def choose_microbatches(config: Config, networks: Networks) -> int:
    """Choose the microbatches of a device: as set, or the fewest that should fit into memory.

    The step is compiled to see how much memory it takes, but only where the size of its activations says that it may be much.
    If not even the most microbatches fit they are used nevertheless, as the prediction may be wrong.
    """
    as_set = microbatches_as_set(config, networks.resolution, devices=devices.device_count())
    if as_set:
        return as_set
    limit = MEMORY_SHARE * devices.memory_limit_bytes()
    samples = config.schedule.batch_size_for(networks.resolution) // devices.device_count()
    if not limit or samples * step_bytes_per_image(config, networks.resolution) < _CLEARLY_FITS * limit:
        return 1
    *fewer, most = microbatch_counts(samples, config.microbatch_groups)
    for count in fewer:
        _, compiled = compile_step(config, networks, microbatches=count)
        if peak_bytes(compiled) <= limit:
            return count
    return most


def with_microbatches(config: Config, resolution: int, *, count: int) -> Config:
    """Return the settings with `run.microbatch_at` set for `count` microbatches per device."""
    samples = config.schedule.batch_size_for(resolution) // devices.device_count()
    microbatch_at = {**config.run.microbatch_at, resolution: samples // count}
    return replace(config, run=replace(config.run, microbatch_at=microbatch_at))


def compile_step(config: Config, networks: Networks, *, microbatches: int) -> tuple[Any, Any]:
    """Return the mapped `multi_step`, and the same compiled."""
    config = with_microbatches(config, networks.resolution, count=microbatches)
    mapped = devices.map_over_devices(make_multi_step(config, networks))
    state = abstract_train_state(config.optimizer, networks)
    return mapped, mapped.lower(state, *step_arguments(config, networks)).compile()


def peak_bytes(compiled: Any) -> int:
    """Return the memory per device in bytes; what is donated is counted once."""
    memory = compiled.memory_analysis()
    return int(
        memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    )


def step_arguments(config: Config, networks: Networks) -> tuple:
    """Return the arguments of `multi_step` after the state, for one call on noise."""
    steps = effective_steps_per_call(config)
    shapes, _ = abstract_batch_and_schedule_points(config, networks, steps=steps)
    batch_size = config.schedule.batch_size_for(networks.resolution)
    sample_index = devices.local_sample_index(batch_size, config.discriminator.stddev_groups)
    label_size = networks.generator.label_size
    classes = np.arange(max(label_size, 1), dtype=np.int32)
    random = np.random.default_rng(0)
    batch = Batch(
        images=random.integers(0, 256, shapes.images.shape, shapes.images.dtype),
        labels=np.eye(len(classes), label_size, dtype=np.float32)[random.integers(len(classes), size=shapes.labels.shape[:-1])],
        sample_index=np.broadcast_to(sample_index[:, None, None, :], shapes.sample_index.shape).astype(np.uint32),
    )
    one = np.ones(steps, np.float32)
    penalty_weight = one if config.schedule.r1_gamma_end else None
    schedule_points = TracedSchedulePoint(
        alpha=one, learning_rate=1e-3 * one, ema_decay=0.999 * one, penalty_weight=penalty_weight
    )
    return devices.split(batch), schedule_points, SharedInputs(np.uint32(0), devices.replicate(classes)), np.int32(steps)


def _images_per_second(mapped, state, shared, stage: Stage, seconds: float) -> float:
    state, totals = mapped(state, *shared)
    jax.block_until_ready(totals)
    *_, steps_per_call = shared
    start, calls = time.perf_counter(), 0
    while calls < 2 or time.perf_counter() - start < seconds:
        state, totals = mapped(state, *shared)
        jax.block_until_ready(totals)
        calls += 1
    return calls * int(steps_per_call) * stage.images_per_step / (time.perf_counter() - start)


def _shapes(params) -> dict[str, tuple[int, ...]]:
    return {path: leaf.shape for path, leaf in flatten_dict(params, sep="/").items()}


def _count(params) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))
