"""A train step on noise."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np

from pggan_jax.distributed import devices
from pggan_jax.networks.build import build_networks
from pggan_jax.training.multi_step import make_multi_step
from pggan_jax.training.step_inputs import Batch, SharedInputs, TracedSchedulePoint
from pggan_jax.training.train_state import create_train_state
from tests.helpers.runs import small_config, small_loader

SAMPLES = 8


@dataclass
class Trainer:
    """`multi_step` on one device, with its inputs."""

    config: object
    resolution: int = 4

    def __post_init__(self):
        self.loader = small_loader(self.config.data, self.config.run.seed)
        self.networks = build_networks(self.config, self.resolution, image_spec=self.loader.image_spec, axis_name=devices.AXIS)
        one_device = jax.local_devices()[:1]
        self.multi_step = devices.map_over_devices(make_multi_step(self.config, self.networks), devices=one_device)

    def start(self):
        return jax.device_get(create_train_state(self.config.optimizer, self.networks, 5))

    def __call__(self, state, *, steps=1, count=None, alpha=1.0, learning_rate=1e-3, ema_decay=0.9):
        """State and `StepTotals`, on the host, after one call of `count` steps out of `steps`."""
        critic_steps = self.config.schedule.critic_steps
        sample_index = np.arange(SAMPLES, dtype=np.uint32)
        first = int(state.images_seen)
        updates = np.arange(steps * critic_steps).reshape(1, steps, critic_steps, 1)
        images, labels = self.loader.gather(self.resolution, first + SAMPLES * updates + sample_index)
        batch = Batch(images, labels, np.broadcast_to(sample_index, (1, steps, critic_steps, SAMPLES)))
        full = np.ones(steps, np.float32)
        points = TracedSchedulePoint(alpha * full, learning_rate * full, ema_decay * full)
        shared = SharedInputs(np.uint32(3), self.loader.class_table())
        state = jax.tree.map(np.array, state)  # a donated buffer must not be the caller's
        return jax.device_get(self.multi_step(state, batch, points, shared, np.int32(steps if count is None else count)))


def config_of(**changes):
    return small_config(schedule__batch_size=SAMPLES, **changes)
