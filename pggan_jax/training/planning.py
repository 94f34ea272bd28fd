"""What a stage will cost: the compiler's own figures for the train step, and the speed of a few real steps."""

from __future__ import annotations

import time
from dataclasses import dataclass

import jax
import numpy as np

from pggan_jax.config import Config
from pggan_jax.networks.build import build_networks
from pggan_jax.schedule import Stage
from pggan_jax.training import parallel
from pggan_jax.training.feed import effective_steps_per_call
from pggan_jax.training.state import abstract_train_state, create_train_state
from pggan_jax.training.step import Batch, Controls, make_train_call


@dataclass(frozen=True)
class StepCost:
    """Costs of one resolution.

    Attributes:
        generator_parameters, discriminator_parameters: numbers of weights and biases, the faded-out path's included.
        flops_per_image: of one iteration over its images, as the compiler counts them (a loop's body once).
        peak_bytes: memory per device the compiled step needs, arguments included.
        compile_seconds: of the step.
        images_per_second: measured, or None.
    """

    generator_parameters: int
    discriminator_parameters: int
    flops_per_image: float
    peak_bytes: int
    compile_seconds: float
    images_per_second: float | None


def measure_step(config: Config, stage: Stage, *, channels: int, label_size: int, seconds: float) -> StepCost:
    """Compile the train step of a stage and time it on noise.

    Args:
        config: the run's settings.
        stage: which resolution and batch size.
        channels, label_size: of the data.
        seconds: how long to measure after the first step; 0 leaves the speed out and runs nothing.
    """
    networks = build_networks(config, stage.resolution, channels=channels, label_size=label_size, axis_name=parallel.AXIS)
    state = abstract_train_state(config.optimizer, networks)
    mapped = parallel.map_over_devices(make_train_call(config, networks))
    shared = _shared_arguments(config, stage, channels, label_size)
    start = time.perf_counter()
    compiled = mapped.lower(state, *shared).compile()
    compile_seconds = time.perf_counter() - start
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    devices = parallel.device_count()
    peak = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    speed = None
    if seconds:
        first = parallel.replicate(create_train_state(config.optimizer, networks, config.run.seed))
        speed = _images_per_second(mapped, first, shared, stage, seconds)
    return StepCost(
        generator_parameters=_count(state.generator),
        discriminator_parameters=_count(state.discriminator),
        flops_per_image=cost["flops"] * devices / stage.images_per_step,
        peak_bytes=int(peak),
        compile_seconds=compile_seconds,
        images_per_second=speed,
    )


def _shared_arguments(config: Config, stage: Stage, channels: int, label_size: int) -> tuple:
    """Batch, class table, controls and step count of one call on noise."""
    steps = effective_steps_per_call(config)
    places = parallel.local_places(config, stage.batch_size)
    leading = (places.shape[0], steps, stage.critic_steps, places.shape[1])
    random = np.random.default_rng(0)
    classes = np.arange(max(label_size, 1), dtype=np.int32)
    batch = Batch(
        images=random.integers(0, 256, (*leading, stage.resolution, stage.resolution, channels), dtype=np.uint8),
        labels=np.eye(max(label_size, 1), label_size, dtype=np.float32)[random.integers(len(classes), size=leading)],
        places=np.broadcast_to(places[:, None, None, :], leading).astype(np.uint32),
    )
    one = np.ones(steps, np.float32)
    controls = Controls(alpha=one, learning_rate=1e-3 * one, ema_decay=0.999 * one, noise_seed=np.uint32(0))
    return parallel.split(batch), parallel.replicate(classes), controls, np.int32(steps)


def _images_per_second(mapped, state, shared, stage: Stage, seconds: float) -> float:
    state, sums = mapped(state, *shared)
    jax.block_until_ready(sums)
    *_, steps_per_call = shared
    start, calls = time.perf_counter(), 0
    while calls < 2 or time.perf_counter() - start < seconds:
        state, sums = mapped(state, *shared)
        jax.block_until_ready(sums)
        calls += 1
    return calls * int(steps_per_call) * stage.images_per_step / (time.perf_counter() - start)


def _count(params) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))
