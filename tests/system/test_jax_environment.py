"""A run is the same whatever JAX variables the shell sets: none of them is followed where it would change what is computed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from pggan_jax.config.io import to_json
from pggan_jax.evaluation.image_sets import generated_images
from pggan_jax.evaluation.metrics.swd import patch_corners, random_key
from pggan_jax.images import image_shape
from pggan_jax.system.jax_environment import fixed_jax_settings
from pggan_jax.training.rng import sample_noise
from pggan_jax.training.step_inputs import Batch, SharedInputs, TracedSchedulePoint
from tests.helpers.command_line import environment
from tests.helpers.compiling import jax_settings
from tests.helpers.runs import digest, small_config
from tests.helpers.train_steps import SAMPLES, Trainer, config_of

pytestmark = pytest.mark.usefixtures("quick_compilation")

ROOT = Path(__file__).parents[2]
OTHER_NUMBERS = {
    "JAX_ENABLE_X64": "1",
    "JAX_THREEFRY_PARTITIONABLE": "false",
    "JAX_DEFAULT_PRNG_IMPL": "rbg",
    "JAX_RANDOM_SEED_OFFSET": "7",
    "JAX_DEFAULT_MATMUL_PRECISION": "BF16_BF16_F32",
}
ERRORS = {
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_DISABLE_JIT": "True",
    "JAX_DEBUG_NANS": "1",
    "JAX_DEBUG_INFS": "1",
    "JAX_DEBUG_KEY_REUSE": "1",
    "JAX_LEGACY_PRNG_KEY": "error",
    "JAX_TRANSFER_GUARD": "disallow",
    "JAX_NO_TRACING": "1",
    "JAX_NO_EXECUTION": "yes",
}
ALL = OTHER_NUMBERS | ERRORS


class TestOwnSettings:
    @pytest.mark.parametrize("name", ALL)
    def test_a_variable_of_the_shell_is_named_and_not_followed(self, monkeypatch, name):
        monkeypatch.setenv(name, ALL[name])
        before, reported = dict(os.environ), []
        with fixed_jax_settings(reported.append):
            assert name not in os.environ
        assert dict(os.environ) == before
        (line,) = reported
        assert f"{name}={ALL[name]}" in line
        assert len(line) < 300

    @pytest.mark.parametrize(
        ("name", "value"), [("JAX_ENABLE_X64", "0"), ("JAX_ENABLE_X64", "False"), ("JAX_THREEFRY_PARTITIONABLE", "on")]
    )
    def test_nothing_is_reported_of_what_is_so_anyway(self, monkeypatch, name, value):
        monkeypatch.setenv(name, value)
        reported = []
        with fixed_jax_settings(reported.append):
            pass
        assert reported == []

    def test_all_at_once_are_one_short_line(self, monkeypatch):
        for name, value in (ALL | {"JAX_DEFAULT_PRNG_IMPL": "x" * 5000}).items():
            monkeypatch.setenv(name, value)
        reported = []
        with fixed_jax_settings(reported.append):
            pass
        (line,) = reported
        assert len(line) < 300
        assert f"and {len(ALL) - 4} more" in line

    def test_a_known_precision_is_left_and_reported(self, monkeypatch):
        monkeypatch.setenv("JAX_DEFAULT_MATMUL_PRECISION", "highest")
        reported = []
        with fixed_jax_settings(reported.append):
            assert os.environ["JAX_DEFAULT_MATMUL_PRECISION"] == "highest"
        assert [line.split()[1] for line in reported] == ["JAX_DEFAULT_MATMUL_PRECISION=highest"]

    def test_what_a_program_has_set_is_set_again_afterwards(self):
        changes = {"jax_enable_x64": True, "jax_numpy_dtype_promotion": "strict", "jax_debug_nans": True}
        with jax_settings(**changes):
            with fixed_jax_settings():
                assert not jax.config.jax_enable_x64
                assert not jax.config.jax_debug_nans
                assert jax.config.jax_numpy_dtype_promotion.name == "STANDARD"
            assert jax.config.jax_enable_x64
            assert jax.config.jax_debug_nans
            assert jax.config.jax_numpy_dtype_promotion.name == "STRICT"


class TestTypes:
    """Types are given, not taken from JAX's default: a program of one's own may have set that."""

    @pytest.mark.parametrize(
        ("changes", "resolution"),
        [
            ({}, 8),
            ({"loss__name": "lsgan", "data__labels": True, "discriminator__minibatch_stddev": "contiguous"}, 4),
            ({"loss__name": "logistic", "run__microbatch": 4, "data__mirror": True}, 4),
        ],
    )
    def test_a_step_holds_no_array_of_64_bits(self, changes, resolution):
        with jax.enable_x64(True):
            trainer = Trainer(config_of(**changes), resolution)
            one, sample_index = np.ones(1, np.float32), np.arange(SAMPLES, dtype=np.uint32).reshape(1, 1, 1, SAMPLES)
            batch = Batch(*trainer.loader.gather(resolution, sample_index.astype(np.int64)), sample_index)
            points, shared = TracedSchedulePoint(one, one, one), SharedInputs(np.uint32(3), trainer.loader.class_table())
            arguments = trainer.start(), batch, points, shared, np.int32(1)
            text = trainer.multi_step.lower(*arguments).as_text()
        assert "xf32>" in text
        # Constants of a single number aside, which are converted before they are used.
        assert re.findall(r"tensor<[^>]*xf64>", text) == []

    def test_draws_of_a_step_are_the_same_with_64_bits(self):
        found = []
        for is_wide in (False, True):
            with jax.enable_x64(is_wide):
                sample_index = np.arange(4, dtype=np.uint32)
                found.append(sample_noise(np.uint32(1), np.int32(5), sample_index, updates=2, latent_size=3))
        for plain, wide in zip(*found, strict=True):
            for one, other in ((plain.latents, wide.latents), (plain.uniforms, wide.uniforms)):
                assert one.dtype == other.dtype
                np.testing.assert_array_equal(one, other)

    def test_draws_of_metrics_are_the_same(self):
        class Echo:
            """Its images are its latents."""

            chunk, shape, latent_size, label_size = 4, image_shape(4), 3, 0

            def floats(self, params, latents, labels, alpha):
                return latents

        def draw():
            fakes = generated_images(Echo(), {}, classes=np.zeros(8, np.int32), alpha=1.0, seed=2**31 + 5, count=8)
            numbers = np.arange(4, dtype=np.uint32)
            return next(images for _, images in fakes.batches(8, until=8)), np.asarray(
                patch_corners(numbers, random_key(3), resolution=8, positions=np.full(2, 2))
            )

        plain = draw()
        others = {"jax_default_prng_impl": "rbg", "jax_enable_x64": True}
        with jax_settings(**others):
            wide = draw()
        for one, other in zip(plain, wide, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


def train_under(workdir, variables):
    """A few steps at 4x4 by command, in a process of its own; its stderr, and the digest of its state."""
    config = small_config(data__resolution=4, schedule__stable_kimg=0.064)
    experiment = workdir.with_suffix(".py")
    experiment.write_text(
        f"from pggan_jax.config.io import from_json\ndef get_config():\n    return from_json({to_json(config)!r}, 'the test')\n"
    )
    command = [sys.executable, "launch.py", f"--config={experiment}", f"--workdir={workdir}"]
    env = {name: value for name, value in environment().items() if name not in ALL} | variables
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr, digest(workdir)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return train_under(tmp_path_factory.mktemp("plain") / "run", {})


@pytest.mark.slow
def test_a_run_under_all_variables_is_the_same(tmp_path, plain):
    stderr, found = train_under(tmp_path / "run", ALL)
    assert found == plain[1]
    assert stderr.count("WARNING: JAX_ENABLE_X64=1, ") == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHER_NUMBERS)  # any one of the others would end the run under all variables
def test_a_run_under_one_variable_is_the_same(tmp_path, plain, name):
    stderr, found = train_under(tmp_path / "run", {name: ALL[name]})
    assert found == plain[1]
    assert f"WARNING: {name}={ALL[name]}: ignored" in stderr
