"""Test the benchmark of the train step: its PyTorch step equals the step of this project, and its report is complete."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from experiments.benchmarks.steps import step_settings
from pggan_jax.config import Config, DataConfig, DiscriminatorConfig, GeneratorConfig, OptimizerConfig, ScheduleConfig
from pggan_jax.distributed import devices
from pggan_jax.images import ImageSpec
from pggan_jax.networks.build import build_networks
from pggan_jax.training.multi_step import make_multi_step
from pggan_jax.training.rng import sample_noise
from pggan_jax.training.step_inputs import Batch, SharedInputs, TracedSchedulePoint
from pggan_jax.training.train_state import create_train_state

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "experiments" / "benchmarks"))  # torch_step.py runs in a Python that has no JAX

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is not installed (optional: pip install torch)"
)
SAMPLES, RESOLUTION, STEPS, SEED = 8, 16, 2, 3
LEARNING_RATE, DECAY = 1e-2, 0.9


def config_of() -> Config:
    """Small networks whose layers differ in width; a large epsilon, because Adam's first steps are otherwise only signs."""
    return Config(
        data=DataConfig(source="synthetic", resolution=2 * RESOLUTION),
        generator=GeneratorConfig(fmap_base=64, fmap_max=12),
        discriminator=DiscriminatorConfig(fmap_base=64, fmap_max=12),
        schedule=ScheduleConfig(batch_size=SAMPLES),
        optimizer=OptimizerConfig(epsilon=1e-2),
    )


@pytest.fixture(scope="module")
def images():
    shape = (STEPS, SAMPLES, RESOLUTION, RESOLUTION, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def networks():
    return build_networks(config_of(), RESOLUTION, image_spec=ImageSpec(RESOLUTION, RESOLUTION, 3), axis_name=devices.AXIS)


@pytest.fixture(scope="module")
def first_state(networks):
    """A state with random biases instead of zeros, so that the comparison covers the biases."""
    state = jax.device_get(create_train_state(config_of().optimizer, networks, 5))
    random = np.random.default_rng(1)
    shake = lambda tree: jax.tree.map(lambda leaf: leaf + 0.3 * random.standard_normal(leaf.shape, np.float32), tree)  # noqa: E731
    generator = shake(state.generator)
    return state.replace(generator=generator, generator_ema=generator, discriminator=shake(state.discriminator))


def train_ours(networks, state, images, alpha):
    """Return the losses of every step `[steps, 2]` and the last state."""
    multi_step = devices.map_over_devices(make_multi_step(config_of(), networks), devices=jax.local_devices()[:1])
    one = np.ones(1, np.float32)
    points = TracedSchedulePoint(alpha * one, LEARNING_RATE * one, DECAY * one)
    shared = SharedInputs(np.uint32(SEED), np.zeros(1, np.int32))
    state, losses = jax.tree.map(np.array, state), []
    for of_step in images:
        sample_index = np.arange(SAMPLES, dtype=np.uint32)[None, None, None]
        batch = Batch(of_step[None, None, None], np.zeros((1, 1, 1, SAMPLES, 0), np.float32), sample_index)
        state, totals = multi_step(state, batch, points, shared, np.int32(1))
        losses.append([float(totals.sums["loss_d"]), float(totals.sums["loss_g"])])
    return np.array(losses), jax.device_get(state)


def train_torch(state, images, alpha, latent_size, **changes):
    """Train the PyTorch step with the noise of this project; return the losses and the three networks as flat dicts."""
    import torch
    from torch_networks import Settings, to_numpy, to_torch
    from torch_step import Step

    torch.set_num_threads(1)  # more threads are slower on a busy machine
    settings = step_settings(config_of(), RESOLUTION, alpha=alpha)
    settings |= {"learning_rate": LEARNING_RATE, "ema_decay": DECAY, **changes}
    flat = lambda tree: {path: to_torch(leaf, "cpu") for path, leaf in flatten_dict(tree, sep="/").items()}  # noqa: E731
    step = Step(Settings(**settings), generator=flat(state.generator), discriminator=flat(state.discriminator))
    losses = []
    for number, of_step in enumerate(images):
        sample_index = np.arange(SAMPLES, dtype=np.uint32)
        draws = sample_noise(np.uint32(SEED), np.int32(number), sample_index, updates=2, latent_size=latent_size)
        latents = [torch.from_numpy(np.array(update.latents)) for update in draws]
        mixing = torch.from_numpy(np.array(draws[0].uniforms[:, 0]))
        losses.append([float(loss) for loss in step(torch.from_numpy(of_step), tuple(latents), mixing)])
    trees = step.generator, step.discriminator, step.generator_ema
    return np.array(losses), [{path: to_numpy(leaf) for path, leaf in tree.items()} for tree in trees]


@needs_torch
@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_pytorch_step_equals_our_step(networks, first_state, images, alpha):
    """Losses and all parameters agree over two steps in float32, during a fade and in the stable phase."""
    losses, state = train_ours(networks, first_state, images, alpha)
    theirs, trees = train_torch(first_state, images, alpha, networks.latent_size)
    np.testing.assert_allclose(theirs, losses, rtol=1e-4, atol=1e-4)
    for tree, ours in zip(trees, (state.generator, state.discriminator, state.generator_ema), strict=True):
        ours = flatten_dict(ours, sep="/")
        assert tree.keys() == ours.keys()
        for path, leaf in ours.items():
            np.testing.assert_allclose(tree[path], leaf, rtol=0, atol=1e-4, err_msg=path)
    moved = [np.abs(new - old).max() for new, old in zip(jax.tree.leaves(state), jax.tree.leaves(first_state), strict=True)]
    assert max(moved) > 1e-3, "the parameters did not change"


def test_settings_of_the_pytorch_step_follow_the_config():
    settings = step_settings(config_of(), RESOLUTION, alpha=0.3)
    assert settings["fading"]
    assert settings["resolution_ratio"] == 2.0
    assert settings["epsilon"] == 1e-2
    assert not step_settings(config_of(), RESOLUTION, alpha=1.0)["fading"]
    assert not step_settings(dataclasses.replace(config_of()), 4, alpha=0.3)["fading"]


def launch(tmp_path, *flags):
    env = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "OMP_NUM_THREADS": "1"}
    brief = ("--fmap_max=8", "--batch_size=8", "--turns=2", "--seconds=0.05", f"--results={tmp_path}", "--name=brief")
    command = [sys.executable, "experiments/benchmarks/train_step.py", *brief, *flags]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def run(tmp_path, *flags):
    done = launch(tmp_path, *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((tmp_path / "brief.json").read_text())


@pytest.mark.slow
def test_step_without_pytorch(tmp_path):
    """Without PyTorch one line says how to install it."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    printed, result = run(tmp_path, "--sections=step", "--resolutions=4,8", f"--torch_python={python}")
    assert printed.count("pip install torch") == 1
    assert [row["resolution"] for row in result["step"]] == [4, 8]
    for row in result["step"]:
        assert row["torch_ms"] is row["ratio"] is None
        assert row["images_per_second"] == pytest.approx(8e3 / row["ours_ms"])
        assert 0 < row["share_of_matrix_rate"] < 1
        assert 0 < row["share_of_bound"] < 1
    assert {"machine", "versions", "date", "flags"} <= result.keys()
    assert "        4x4 " in printed


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--resolutions=4,abc", "must be some of 4,8,16,32,64,128,256,512,1024"),
        ("--resolutions=5", "must be some of 4,8,16,32,64,128,256,512,1024"),
        ("--sections=", "must be some of step,tick,start,checkpoint,scaling,data"),
        ("--torch_python=/no/python", "is not a program"),
        (f"--results={__file__}", "is a file; pass a folder"),
    ],
)
def test_wrong_flags_are_refused_before_the_measurement(tmp_path, flag, words):
    done = launch(tmp_path, flag)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"{flag.partition('=')[0]}=" in done.stderr
    assert words in done.stderr
    assert done.stdout == ""


def test_a_failed_section_keeps_the_earlier_result(tmp_path):
    earlier = tmp_path / "brief.json"
    earlier.write_text("earlier result")
    done = launch(tmp_path, "--sections=tick", "--run_config=missing.py")
    assert done.returncode == 1
    assert "missing.py: no such file" in done.stderr
    assert "nothing was measured or written" in done.stdout
    assert earlier.read_text() == "earlier result"


@needs_torch
def test_step_with_pytorch(tmp_path):
    _, result = run(tmp_path, "--sections=step", "--resolutions=4", "--forms=eager")
    (row,) = result["step"]
    assert row["ratio"] == pytest.approx(row["torch_ms"] / row["ours_ms"])
    assert row["torch_form"] == "eager"
    assert "torch" in result["versions"]
