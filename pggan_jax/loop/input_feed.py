"""The work of a run cut into calls of the compiled step, and the data of each call, ready on the devices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np

from pggan_jax.config import Config
from pggan_jax.data.loader import Loader
from pggan_jax.distributed import devices
from pggan_jax.networks.build import Networks
from pggan_jax.schedule import Schedule, Stage, Tick
from pggan_jax.training.step_inputs import Batch, SharedInputs, TracedSchedulePoint

ACCELERATOR_STEPS_PER_CALL = 16


def effective_steps_per_call(config: Config) -> int:
    """Iterations per call: as set, or 1 on a CPU, where a loop is slower, and several elsewhere, where dispatch costs."""
    if config.run.steps_per_call:
        return config.run.steps_per_call
    return 1 if devices.backend() == "cpu" else ACCELERATOR_STEPS_PER_CALL


@dataclass(frozen=True)
class StepChunk:
    """A few iterations in one stage and one tick, starting after `start` images."""

    stage: Stage
    tick: Tick
    start: int
    steps: int

    @property
    def end(self) -> int:
        """Images seen after the chunk."""
        return self.start + self.steps * self.stage.images_per_step


def plan_chunks(schedule: Schedule, *, start: int, steps_per_call: int) -> Iterator[StepChunk]:
    """All calls from `start` to the end of the run. No call crosses a stage or a tick, so a few are shorter."""
    now = start
    while now < schedule.total_images:
        tick, stage = schedule.tick_at(now), schedule.stage_at(now)
        steps_left = (min(tick.end, stage.end) - now) // stage.images_per_step
        chunk = StepChunk(stage, tick, now, min(steps_per_call, steps_left))
        yield chunk
        now = chunk.end


class InputFeed:
    """Builds the inputs of the train step. Runs in the prefetching thread.

    A level that fits stays on the devices as long as its resolution lasts; others are gathered on the host, chunk by chunk.

    Args:
        config: for the sharding of the batch and the moving average's decay.
        schedule: what alpha and learning rate are at each step.
        loader: images and labels by position.
        steps_per_call: leading axis of every batch; a shorter call is padded.
        noise_seed: of everything drawn while training; None takes the run's own.
    """

    def __init__(
        self, config: Config, schedule: Schedule, loader: Loader, *, steps_per_call: int, noise_seed: int | None = None
    ):
        self._config = config
        self._schedule = schedule
        self._loader = loader
        self._steps = steps_per_call
        self._noise_seed = config.run.seed if noise_seed is None else noise_seed
        self._class_table = devices.replicate(loader.class_table())
        self._sharded: dict[int, tuple[np.ndarray, jax.Array]] = {}
        self._resident_bytes = devices.resident_bytes(config.run.device_data_mb)
        self._resident: devices.ResidentLevel | None = None
        self._resident_resolution = 0

    def __call__(self, chunk: StepChunk) -> tuple[StepChunk, tuple[Batch, TracedSchedulePoint, SharedInputs, np.int32]]:
        """The chunk, and the arguments of `multi_step` after the state: the batch on the devices, the rest on the host."""
        return chunk, (
            self._batch(chunk),
            self._schedule_points(chunk),
            self._shared_inputs(chunk),
            np.int32(chunk.steps),
        )

    def describe_data(self, resolution: int) -> str:
        """Where the images of `resolution` come from, such as '5.52 MB on each device'."""
        size = f"{self._loader.level(resolution).nbytes / 1e6:,.2f} MB"
        return f"{size} on each device" if self._stays(resolution) else f"{size}, streamed"

    def _stays(self, resolution: int) -> bool:
        return self._loader.level(resolution).nbytes <= self._resident_bytes

    def _batch(self, chunk: StepChunk) -> Batch:
        """Leaves `[local devices, steps, critic_steps, samples, ...]`; samples in the order of `shard_batch`."""
        stage = chunk.stage
        offsets, sample_index = self._sample_index(stage)
        rows = self._loader.rows(chunk.start + offsets)
        labels = devices.split(self._loader.labels(rows))
        level = self._resident_level(stage.resolution)
        if level is None:
            images = devices.split(self._loader.images(stage.resolution, rows))
        else:
            images = level(devices.split(rows.astype(np.int32)))
        return Batch(images, labels, sample_index)

    def _sample_index(self, stage: Stage) -> tuple[np.ndarray, jax.Array]:
        """Offsets of a chunk's samples from its start, and their indices in the global batch: the same in all its chunks."""
        if stage.batch_size not in self._sharded:
            groups = self._config.discriminator.stddev_groups
            own = devices.local_sample_index(stage.batch_size, groups)[:, None, None, :]
            updates = np.arange(self._steps * stage.critic_steps).reshape(1, self._steps, stage.critic_steps, 1)
            offsets = updates * stage.batch_size + own
            sample_index = np.broadcast_to(own, offsets.shape).astype(np.uint32)
            self._sharded[stage.batch_size] = offsets, devices.split(sample_index)
        return self._sharded[stage.batch_size]

    def _resident_level(self, resolution: int) -> devices.ResidentLevel | None:
        """The level on the devices, put there when its resolution begins; None if it is streamed."""
        if self._resident_resolution != resolution:
            # First the old level goes: there may be no room for both.
            self._resident = None
            if self._stays(resolution):
                self._resident = devices.ResidentLevel(self._loader.level(resolution))
            self._resident_resolution = resolution
        return self._resident

    def _shared_inputs(self, chunk: StepChunk) -> SharedInputs:
        return SharedInputs(np.uint32(self._noise_seed), self._class_table)

    def _schedule_points(self, chunk: StepChunk) -> TracedSchedulePoint:
        starts = chunk.start + np.minimum(np.arange(self._steps), chunk.steps - 1) * chunk.stage.images_per_step
        points = [self._schedule.at(int(start)) for start in starts]
        decay = np.full(self._steps, self._ema_decay(chunk.stage.batch_size), np.float32)
        return TracedSchedulePoint(
            alpha=np.array([point.alpha for point in points], np.float32),
            learning_rate=np.array([point.learning_rate for point in points], np.float32),
            ema_decay=decay,
        )

    def _ema_decay(self, batch_size: int) -> float:
        """Per discriminator step; from the half-life in images if one is set."""
        optimizer = self._config.optimizer
        if optimizer.ema_half_life_kimg:
            return 0.5 ** (batch_size / (1000 * optimizer.ema_half_life_kimg))
        return optimizer.ema_decay


def abstract_batch_and_schedule_points(config: Config, networks: Networks, steps: int) -> tuple[Batch, TracedSchedulePoint]:
    """Shapes and types of the batch and the schedule points that `InputFeed` makes on this host for so many steps."""
    resolution, channels, label_size = networks.resolution, networks.generator.channels, networks.generator.label_size
    batch_size = config.schedule.batch_size_for(resolution)
    device_count, samples = devices.local_sample_index(batch_size, config.discriminator.stddev_groups).shape
    leading = (device_count, steps, config.schedule.critic_steps, samples)
    batch = Batch(
        images=jax.ShapeDtypeStruct((*leading, resolution, resolution, channels), np.uint8),
        labels=jax.ShapeDtypeStruct((*leading, label_size), np.float32),
        sample_index=jax.ShapeDtypeStruct(leading, np.uint32),
    )
    per_step = jax.ShapeDtypeStruct((steps,), np.float32)
    return batch, TracedSchedulePoint(per_step, per_step, per_step)
