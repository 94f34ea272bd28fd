"""The steps of a run in chunks, and the inputs of each chunk on the devices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np

from pggan_jax.config import Config
from pggan_jax.cosines import ema_half_life_at, r1_gamma_at
from pggan_jax.data.loader import Loader
from pggan_jax.distributed import devices
from pggan_jax.networks.build import Networks
from pggan_jax.schedule import Schedule, Stage, Tick
from pggan_jax.training.step_inputs import Batch, SharedInputs, TracedSchedulePoint

ACCELERATOR_STEPS_PER_CALL = 16


def effective_steps_per_call(config: Config) -> int:
    """Return the steps of a chunk, by `run.steps_per_call`.

    If that is 0: 1 on a CPU, where a loop is slower, and 16 elsewhere, where each dispatch costs time.
    """
    if config.run.steps_per_call:
        return config.run.steps_per_call
    return 1 if devices.backend() == "cpu" else ACCELERATOR_STEPS_PER_CALL


@dataclass(frozen=True)
class StepChunk:
    """A few train steps in one phase and one tick.

    Attributes:
        stage: the phase.
        tick: the tick.
        start: images seen before the chunk.
        steps: how many.
    """

    stage: Stage
    tick: Tick
    start: int
    steps: int

    @property
    def end(self) -> int:
        """Images seen after the chunk."""
        return self.start + self.images

    @property
    def images(self) -> int:
        """Real images of the chunk."""
        return self.steps * self.stage.images_per_step

    @property
    def last_step(self) -> int:
        """Images seen before the last step."""
        return self.end - self.stage.images_per_step

    @property
    def ends_tick(self) -> bool:
        """Whether the tick ends with the chunk."""
        return self.end == self.tick.end


def plan_chunks(schedule: Schedule, *, start: int, steps_per_call: int) -> Iterator[StepChunk]:
    """Yield the chunks from `start` to the end of the run; none crosses a phase or a tick."""
    images_seen = start
    while images_seen < schedule.total_images:
        tick, stage = schedule.tick_at(images_seen), schedule.stage_at(images_seen)
        steps_left = (min(tick.end, stage.end) - images_seen) // stage.images_per_step
        chunk = StepChunk(stage, tick, images_seen, min(steps_per_call, steps_left))
        yield chunk
        images_seen = chunk.end


class InputFeed:
    """Make the inputs of the train step, in the prefetching thread.

    A level that fits stays on the devices as long as its resolution lasts; others are gathered on the host, chunk by chunk.

    Args:
        config: for the sharding of the batch and the moving average's decay.
        loader: images and labels by position.
        steps_per_call: leading axis of every batch, to which a shorter chunk is padded; None for `effective_steps_per_call`.
        noise_seed: of everything drawn while training; None for the seed of the run.
    """

    def __init__(self, config: Config, loader: Loader, *, steps_per_call: int | None = None, noise_seed: int | None = None):
        self._config, self._loader = config, loader
        self._schedule = Schedule.of(config)
        self.steps_per_call = steps_per_call or effective_steps_per_call(config)
        self._noise_seed = config.run.seed if noise_seed is None else noise_seed
        self._class_table = devices.replicate(loader.class_table())
        self._sharded: dict[int, tuple[np.ndarray, jax.Array]] = {}
        self._resident_bytes = devices.resident_bytes(config.run.device_data_mb)
        self._resident: devices.ResidentLevel | None = None
        self._resident_resolution = 0

    def __call__(self, chunk: StepChunk) -> tuple[StepChunk, tuple[Batch, TracedSchedulePoint, SharedInputs, np.int32]]:
        """Return the chunk, and the arguments of `multi_step` after the state.

        The batch is on the devices, the rest on the host.
        """
        return chunk, (
            self._batch(chunk),
            self._schedule_points(chunk),
            self._shared_inputs(chunk),
            np.int32(chunk.steps),
        )

    def describe_data(self, resolution: int) -> str:
        """Describe where the images of a resolution are, such as '5.52 MB on each device'."""
        size = f"{self._loader.level_bytes(resolution) / 1e6:,.2f} MB"
        return f"{size} on each device" if self._stays(resolution) else f"{size}, streamed"

    def _stays(self, resolution: int) -> bool:
        return self._loader.level_bytes(resolution) <= self._resident_bytes

    def _batch(self, chunk: StepChunk) -> Batch:
        """Return leaves `[local devices, steps, n_critic, samples, ...]`, in `shard_batch` order."""
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
        """Return offsets of samples in a chunk, and their indices in the global batch."""
        if stage.batch_size not in self._sharded:
            groups = self._config.discriminator.stddev_groups
            own = devices.local_sample_index(stage.batch_size, groups)[:, None, None, :]
            updates = np.arange(self.steps_per_call * stage.critic_steps).reshape(1, self.steps_per_call, stage.critic_steps, 1)
            offsets = updates * stage.batch_size + own
            sample_index = np.broadcast_to(own, offsets.shape).astype(np.uint32)
            self._sharded[stage.batch_size] = offsets, devices.split(sample_index)
        return self._sharded[stage.batch_size]

    def _resident_level(self, resolution: int) -> devices.ResidentLevel | None:
        """Return the level, put on the devices when its resolution starts; None if it is streamed."""
        if self._resident_resolution != resolution:
            # The old level is freed first: both may not fit.
            self._resident = None
            if self._stays(resolution):
                self._resident = devices.ResidentLevel(self._loader.level(resolution))
            self._resident_resolution = resolution
        return self._resident

    def _shared_inputs(self, chunk: StepChunk) -> SharedInputs:
        return SharedInputs(np.uint32(self._noise_seed), self._class_table)

    def _schedule_points(self, chunk: StepChunk) -> TracedSchedulePoint:
        starts = chunk.start + np.minimum(np.arange(self.steps_per_call), chunk.steps - 1) * chunk.stage.images_per_step
        points = [self._schedule.at(int(start)) for start in starts]
        decay = [self._ema_decay(chunk.stage.batch_size, point.annealed) for point in points]
        weights = np.array([r1_gamma_at(self._config, point.annealed) for point in points], np.float32)
        return TracedSchedulePoint(
            alpha=np.array([point.alpha for point in points], np.float32),
            learning_rate=np.array([point.learning_rate for point in points], np.float32),
            ema_decay=np.array(decay, np.float32),
            penalty_weight=weights if self._config.schedule.r1_gamma_end else None,
        )

    def _ema_decay(self, batch_size: int, annealed: float) -> float:
        """Return the decay per discriminator step; from the half-life in images if one is set."""
        optimizer, end = self._config.optimizer, self._config.schedule.ema_half_life_kimg_end
        if not (optimizer.ema_half_life_kimg or end):
            return optimizer.ema_decay
        half_life = ema_half_life_at(self._config, annealed)
        return 0.5 ** (batch_size / (1000 * half_life)) if half_life else 0.0


def abstract_batch_and_schedule_points(config: Config, networks: Networks, *, steps: int) -> tuple[Batch, TracedSchedulePoint]:
    """Return shapes and types of what `InputFeed` makes on this host for chunks of `steps`."""
    shape, channels, label_size = networks.shape, networks.generator.channels, networks.generator.label_size
    batch_size = config.schedule.batch_size_for(networks.resolution)
    device_count, samples = devices.local_sample_index(batch_size, config.discriminator.stddev_groups).shape
    leading = (device_count, steps, config.schedule.critic_steps, samples)
    batch = Batch(
        images=jax.ShapeDtypeStruct((*leading, shape.height, shape.width, channels), np.uint8),
        labels=jax.ShapeDtypeStruct((*leading, label_size), np.float32),
        sample_index=jax.ShapeDtypeStruct(leading, np.uint32),
    )
    per_step = jax.ShapeDtypeStruct((steps,), np.float32)
    penalty_weight = per_step if config.schedule.r1_gamma_end else None
    return batch, TracedSchedulePoint(per_step, per_step, per_step, penalty_weight)
