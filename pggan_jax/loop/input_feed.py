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
from pggan_jax.training.train_step import Batch, Controls

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
    """Builds a call's arguments. Runs in the prefetching thread.

    A level that fits stays on the devices as long as its resolution lasts; others are gathered on the host, chunk by chunk.

    Args:
        config: for the dealing of the batch and the moving average's decay.
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
        self._dealt_batches: dict[int, tuple[np.ndarray, jax.Array]] = {}
        self._resident_bytes = devices.resident_bytes(config.run.device_data_mb)
        self._resident: devices.ResidentLevel | None = None
        self._resident_resolution = 0

    def __call__(self, chunk: StepChunk) -> tuple[StepChunk, Batch, Controls]:
        """The call, its batch on the devices, and its controls on the host."""
        return chunk, self._batch(chunk), self._controls(chunk)

    def describe_data(self, resolution: int) -> str:
        """Where the images of `resolution` come from, such as '5.52 MB on each device'."""
        size = f"{self._loader.level(resolution).nbytes / 1e6:,.2f} MB"
        return f"{size} on each device" if self._stays(resolution) else f"{size}, streamed"

    def _stays(self, resolution: int) -> bool:
        return self._loader.level(resolution).nbytes <= self._resident_bytes

    def _batch(self, chunk: StepChunk) -> Batch:
        """Leaves `[local devices, steps, critic_steps, samples, ...]`; row order as `parallel.deal` says."""
        stage = chunk.stage
        offsets, places = self._dealt(stage)
        rows = self._loader.rows(chunk.start + offsets)
        labels = devices.split(self._loader.labels(rows))
        level = self._resident_level(stage.resolution)
        if level is None:
            images = devices.split(self._loader.images(stage.resolution, rows))
        else:
            images = level(devices.split(rows.astype(np.int32)))
        return Batch(images, labels, places)

    def _dealt(self, stage: Stage) -> tuple[np.ndarray, jax.Array]:
        """Positions of a call's samples after its start, and their places in the global batch: the same in all of its calls."""
        if stage.batch_size not in self._dealt_batches:
            places = devices.local_places(self._config, stage.batch_size)[:, None, None, :]
            updates = np.arange(self._steps * stage.critic_steps).reshape(1, self._steps, stage.critic_steps, 1)
            offsets = updates * stage.batch_size + places
            places = np.broadcast_to(places, offsets.shape).astype(np.uint32)
            self._dealt_batches[stage.batch_size] = offsets, devices.split(places)
        return self._dealt_batches[stage.batch_size]

    def _resident_level(self, resolution: int) -> devices.ResidentLevel | None:
        """The level on the devices, put there when its resolution begins; None if it is streamed."""
        if self._resident_resolution != resolution:
            # First the old level goes: there may be no room for both.
            self._resident = None
            if self._stays(resolution):
                self._resident = devices.ResidentLevel(self._loader.level(resolution))
            self._resident_resolution = resolution
        return self._resident

    def _controls(self, chunk: StepChunk) -> Controls:
        starts = chunk.start + np.minimum(np.arange(self._steps), chunk.steps - 1) * chunk.stage.images_per_step
        moments = [self._schedule.at(int(start)) for start in starts]
        decay = np.full(self._steps, self._ema_decay(chunk.stage.batch_size), np.float32)
        return Controls(
            alpha=np.array([moment.alpha for moment in moments], np.float32),
            learning_rate=np.array([moment.learning_rate for moment in moments], np.float32),
            ema_decay=decay,
            noise_seed=np.uint32(self._noise_seed),
        )

    def _ema_decay(self, batch_size: int) -> float:
        """Per critic update; from the half-life in images if one is set."""
        optimizer = self._config.optimizer
        if optimizer.ema_half_life_kimg:
            return 0.5 ** (batch_size / (1000 * optimizer.ema_half_life_kimg))
        return optimizer.ema_decay


def abstract_batch_and_controls(config: Config, networks: Networks, steps: int) -> tuple[Batch, Controls]:
    """Shapes and types of the batch and the controls that `InputFeed` makes on this host, for calls of `steps` iterations."""
    resolution, channels, label_size = networks.resolution, networks.generator.channels, networks.generator.label_size
    device_count, samples = devices.local_places(config, config.schedule.batch_size_for(resolution)).shape
    leading = (device_count, steps, config.schedule.critic_steps, samples)
    batch = Batch(
        images=jax.ShapeDtypeStruct((*leading, resolution, resolution, channels), np.uint8),
        labels=jax.ShapeDtypeStruct((*leading, label_size), np.float32),
        places=jax.ShapeDtypeStruct(leading, np.uint32),
    )
    per_step = jax.ShapeDtypeStruct((steps,), np.float32)
    return batch, Controls(per_step, per_step, per_step, noise_seed=jax.ShapeDtypeStruct((), np.uint32))
