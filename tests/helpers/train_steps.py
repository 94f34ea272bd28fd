"""A train step on noise."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np

from pggan_jax.distributed import devices
from pggan_jax.networks.build import build_networks
from pggan_jax.training.train_state import create_train_state
from pggan_jax.training.train_step import METRICS, TROUBLE, Batch, Controls, make_train_call
from tests.helpers.runs import small_config, small_loader

SAMPLES = 8


@dataclass
class Trainer:
    """A train call on one device, and everything that it is fed with."""

    config: object
    resolution: int = 4

    def __post_init__(self):
        self.loader = small_loader(self.config.data, self.config.run.seed)
        sizes = {"channels": 1, "label_size": self.loader.label_size}
        self.networks = build_networks(self.config, self.resolution, **sizes, axis_name=devices.AXIS)
        self.call = devices.map_over_devices(make_train_call(self.config, self.networks), devices=jax.local_devices()[:1])

    def start(self):
        return jax.device_get(create_train_state(self.config.optimizer, self.networks, 5))

    def __call__(self, state, *, steps=1, count=None, alpha=1.0, learning_rate=1e-3, ema_decay=0.9):
        """State (on the host) and metric sums by name after one call of `count` steps out of `steps`."""
        critic_steps = self.config.schedule.critic_steps
        places = np.arange(SAMPLES, dtype=np.uint32)
        first = int(state.images_seen)
        updates = np.arange(steps * critic_steps).reshape(1, steps, critic_steps, 1)
        images, labels = self.loader.gather(self.resolution, first + SAMPLES * updates + places)
        batch = Batch(images, labels, np.broadcast_to(places, (1, steps, critic_steps, SAMPLES)))
        full = np.ones(steps, np.float32)
        controls = Controls(alpha * full, learning_rate * full, ema_decay * full, np.uint32(3))
        state = jax.tree.map(np.array, state)  # a donated buffer must not be the caller's
        state, sums = self.call(state, batch, self.loader.class_table(), controls, np.int32(steps if count is None else count))
        names = *METRICS, *TROUBLE
        return jax.device_get(state), dict(zip(names, np.asarray(sums), strict=True))


def config_of(**changes):
    return small_config(schedule__batch_size=SAMPLES, **changes)
