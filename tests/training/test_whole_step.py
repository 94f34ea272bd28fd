"""One whole iteration of the program against `plain_step.py`: two discriminator steps and a generator step, in mid-fade.

Labels, mirror, the order of the data, alpha, the decay of the moving average and the random numbers go the program's own way,
through the loader, the feed and four devices; the plain step takes images, classes and random numbers for the whole batch.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from pggan_jax.config import (
    Config,
    DataConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
)
from pggan_jax.data.loader import Loader
from pggan_jax.data.pyramid import Pyramid
from pggan_jax.distributed import devices
from pggan_jax.images import ImageSpec
from pggan_jax.loop.input_feed import InputFeed, plan_chunks
from pggan_jax.networks.build import build_networks
from pggan_jax.schedule import Schedule
from pggan_jax.training.multi_step import make_multi_step
from pggan_jax.training.rng import sample_noise
from pggan_jax.training.train_state import create_train_state
from tests.helpers import plain_step
from tests.helpers.plain_step import DATA_SCALE, R1_GAMMA, Plain, Player, Settings

pytestmark = pytest.mark.usefixtures("quick_compilation")

BATCH, IMAGES, SEED, STEP = 16, 37, 11, 7
# Of 4 looks at the schedule in the stable phase and 10 in the fade, three of the latter are over.
STABLE, FADE, IN_FADE = 128, 320, 96
LARGE_AVERAGE = 0.95  # of LSGAN: half its noise, which is 0 at a half


def config_of(loss: str) -> Config:
    """Feature maps that differ by layer; an epsilon that matters, as small steps of Adam are mere signs without."""
    features = {"fmap_base": 32, "fmap_max": 12}
    config = Config(
        data=DataConfig(source="synthetic", resolution=16, labels=True, mirror=True),
        generator=GeneratorConfig(**features),
        discriminator=DiscriminatorConfig(**features),
        schedule=ScheduleConfig(
            stable_kimg=STABLE / 1000,
            fade_kimg=FADE / 1000,
            batch_size=BATCH,
            learning_rate=0.02,
            critic_steps=2,
            repeats=1,
        ),
        optimizer=OptimizerConfig(epsilon=1e-2, ema_half_life_kimg=0.05),
        loss=LossConfig(name="wgan_gp" if loss == "gansynth" else loss),
        run=RunConfig(seed=SEED),
    )
    if loss == "rpgan":
        augmented = replace(config.data, augment=("color", "translation", "cutout"))
        large = replace(config.loss, r1_gamma=R1_GAMMA, penalty_scale="full_resolution")
        return replace(config, data=augmented, loss=large)
    if loss != "gansynth":
        return config
    return replace(
        config,
        generator=replace(config.generator, output_activation="tanh"),
        discriminator=replace(config.discriminator, minibatch_stddev="whole_batch", fused_scale=False),
        loss=replace(config.loss, label_weight=10.0, label_fakes=False, gp_channel_scale=DATA_SCALE),
    )


@functools.cache
def data() -> Pyramid:
    """Noise that is not its own mirror image; five classes, of which the last is rare."""
    random = np.random.default_rng(0)
    levels = {side: random.integers(0, 256, (IMAGES, side, side, 3), dtype=np.uint8) for side in (16, 8, 4)}
    return Pyramid(levels, np.minimum(np.arange(IMAGES) % 7, 4)[::-1].astype(np.int32), tuple("abcde"))


def images_at(start: int) -> tuple[np.ndarray, np.ndarray]:
    """A batch of 8x8 images and their classes from a position of the run on: each epoch in an order of its own."""
    rows = []
    for position in range(start, start + BATCH):
        epoch, offset = divmod(position, IMAGES)
        rows.append(np.argsort(np.random.Philox(key=[SEED, epoch]).random_raw(IMAGES))[offset])
    return data().levels[8][rows], data().classes[rows]


@functools.cache
def before(loss: str):
    """A state in mid-run: every parameter, average and moment has a value of its own."""
    config, random = config_of(loss), np.random.default_rng(1)
    networks = build_networks(config, 8, image_spec=ImageSpec(8, 8, 3, 5), axis_name=devices.AXIS)
    state = jax.device_get(create_train_state(config.optimizer, networks, 5))
    shake = lambda tree: jax.tree.map(lambda leaf: leaf + 0.3 * random.standard_normal(leaf.shape, np.float32), tree)  # noqa: E731
    square = lambda tree: jax.tree.map(lambda leaf: 0.01 * random.random(leaf.shape, np.float32), tree)  # noqa: E731
    moments = {
        name: getattr(state, name)._replace(count=np.int32(count), second=square(getattr(state, name).second))
        for name, count in (("generator_moments", 3), ("discriminator_moments", 6))
    }
    return networks, state.replace(
        step=np.int32(STEP),
        images_seen=np.int32(STABLE + IN_FADE),
        generator=shake(state.generator),
        discriminator=shake(state.discriminator),
        generator_ema=shake(state.generator_ema),
        lsgan_average=np.float32(LARGE_AVERAGE if loss == "lsgan" else 0.0),
        **moments,
    )


@functools.cache
def by_the_program(loss: str):
    """The state after one call, and the metrics by name."""
    config, (networks, state) = config_of(loss), before(loss)
    loader = Loader(data(), seed=SEED, use_labels=True)
    schedule = Schedule(config.schedule, config.data.resolution)
    chunk = next(plan_chunks(schedule, start=STABLE + IN_FADE, steps_per_call=1))
    _, inputs = InputFeed(config, loader, steps_per_call=1)(chunk)
    multi_step = devices.map_over_devices(make_multi_step(config, networks))
    state, totals = jax.device_get(multi_step(devices.replicate(jax.tree.map(np.array, state)), *inputs))
    return state, totals.sums


@functools.cache
def by_the_specification(loss: str):
    networks, state = before(loss)
    player = lambda params, moments: Player(flat(params), flat(moments.second), int(moments.count))  # noqa: E731
    plain = Plain(
        player(state.generator, state.generator_moments),
        player(state.discriminator, state.discriminator_moments),
        flat(state.generator_ema),
        float(state.lsgan_average),
    )
    settings = Settings(
        loss=loss,
        full=16,
        side=8,
        classes=5,
        mirror=True,
        alpha=IN_FADE / FADE,
        learning_rate=0.02,
        beta2=0.99,
        epsilon=1e-2,
        ema_decay=0.5 ** (BATCH / 50),
    )
    start = STABLE + IN_FADE
    reals = [images_at(start), images_at(start + BATCH)]
    sample_index = np.arange(BATCH, dtype=np.uint32)
    noise = sample_noise(np.uint32(SEED), np.int32(STEP), sample_index, updates=3, latent_size=networks.latent_size)
    return plain_step.iterate(settings, plain, reals, noise, data().classes)


def flat(tree):
    return flatten_dict(tree, sep="/")


def close(ours, theirs, atol):
    assert ours.keys() == theirs.keys()
    for path, leaf in ours.items():
        np.testing.assert_allclose(leaf, theirs[path], rtol=0, atol=atol, err_msg=path)


LOSSES = pytest.mark.parametrize("loss", ["wgan_gp", "lsgan", "gansynth", "rpgan"])


@LOSSES
def test_metrics(loss):
    _, metrics = by_the_program(loss)
    _, expected = by_the_specification(loss)
    assert metrics.keys() == expected.keys()
    for name, value in expected.items():
        assert metrics[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name


@LOSSES
@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_gradients(loss, network):
    """As Adam's second moments tell them: what these have gained, for every layer beside its largest."""
    state, _ = by_the_program(loss)
    plain, _ = by_the_specification(loss)
    old, new = (flat(getattr(one, f"{network}_moments").second) for one in (before(loss)[1], state))
    expected = getattr(plain, network).squares
    for path, start in old.items():
        gained = expected[path] - 0.99 ** (2 if network == "discriminator" else 1) * start
        assert gained.max() > 0
        np.testing.assert_allclose(new[path], expected[path], rtol=0, atol=1e-3 * gained.max() + 1e-8, err_msg=path)


@LOSSES
@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_parameters(loss, network):
    state, _ = by_the_program(loss)
    plain, _ = by_the_specification(loss)
    close(flat(getattr(state, network)), getattr(plain, network).params, atol=2e-5)
    moved = [
        np.abs(a - b).max()
        for a, b in zip(*map(jax.tree.leaves, (getattr(state, network), getattr(before(loss)[1], network))), strict=True)
    ]
    assert min(moved) > 5e-4, "nothing to compare"


@LOSSES
def test_moving_average_and_counters(loss):
    state, _ = by_the_program(loss)
    plain, _ = by_the_specification(loss)
    close(flat(state.generator_ema), plain.ema, atol=1e-6)
    assert (int(state.step), int(state.images_seen)) == (STEP + 1, STABLE + IN_FADE + 2 * BATCH)
    assert int(state.generator_moments.count) == plain.generator.updates == 4
    assert int(state.discriminator_moments.count) == plain.discriminator.updates == 8
    assert float(state.lsgan_average) == pytest.approx(plain.lsgan_average, abs=1e-6)
    assert (loss == "lsgan") == (abs(float(state.lsgan_average) - LARGE_AVERAGE) < 0.3)
