"""The first non-finite gradient is named by network and path."""

from __future__ import annotations

from unittest import mock

import jax
import numpy as np
import pytest

from pggan_jax.distributed import devices
from pggan_jax.images import ImageSpec
from pggan_jax.loop.input_feed import InputFeed, plan_chunks
from pggan_jax.networks.build import build_networks
from pggan_jax.schedule import Schedule
from pggan_jax.training import losses
from pggan_jax.training.diagnosis import first_nonfinite_gradient
from pggan_jax.training.train_state import create_train_state
from tests.helpers.runs import small_config, small_loader

pytestmark = pytest.mark.usefixtures("quick_compilation")


def diagnose(change=lambda state: state):
    """What is found in the first step of a run whose state was changed."""
    config = small_config()
    schedule, loader = Schedule(config.schedule, config.data.resolution), small_loader(config.data, config.run.seed)
    networks = build_networks(config, 4, image_spec=ImageSpec(4, 4, 1), axis_name=devices.AXIS)
    state = devices.replicate(change(create_train_state(config.optimizer, networks, 5)))
    chunk = next(plan_chunks(schedule, start=0, steps_per_call=1))
    _, inputs = InputFeed(config, loader, steps_per_call=1)(chunk)
    found = first_nonfinite_gradient(state, *inputs[:3], config=config, networks=networks)
    jax.block_until_ready(state)  # which was not donated
    return found


def test_nothing_in_a_finite_step():
    assert diagnose() == ""


def test_the_leaf_of_one_network():
    """A bias of the last layer so large that its next value is infinite."""

    def overflow(state):
        bias = np.full_like(state.discriminator["block_4x4"]["dense0"]["bias"], np.inf)
        layers = state.discriminator["block_4x4"] | {"dense0": state.discriminator["block_4x4"]["dense0"] | {"bias": bias}}
        return state.replace(discriminator=state.discriminator | {"block_4x4": layers})

    assert diagnose(overflow).startswith("discriminator/block_4x4/")


def test_both_networks_after_a_broken_generator():
    def broken(state):
        return state.replace(generator=jax.tree.map(lambda leaf: leaf * np.float32(np.nan), state.generator))

    network, other = diagnose(broken).split(" and ")
    assert network.startswith("discriminator/block_4x4/")
    assert other.startswith("generator/block_4x4/")


def test_a_loss_without_a_gradient():
    with mock.patch.object(losses, "generator_loss", lambda config, scores, *_: 0.0 * scores.mean() + np.float32(np.inf)):
        assert diagnose() == "generator/loss"
