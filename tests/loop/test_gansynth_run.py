"""A run with GANSynth's preset at a reduced size, from 2x16 to 4x32: it trains, fades and grows, and can be sampled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from pggan_jax.checkpointing.trained_model import load_trained_model
from pggan_jax.config import Config, DataConfig, RunConfig
from pggan_jax.config.presets import apply_preset
from pggan_jax.networks.build import initialize
from tests.helpers.runs import events, run_small, stats

STABLE, FADE, TOTAL = 64, 128, 320


def small_gansynth() -> Config:
    """Notes of 96 samples at 1 kHz; 8 feature maps."""
    config = apply_preset(Config(data=DataConfig(source="notes:52")), "gansynth")
    small = {"fmap_base": 64, "fmap_max": 8}
    sound = replace(config.data.sound, sample_rate=1000, n_fft=64, hop=16, frames=4, length=96, mel_bins=32)
    phases = {"stable_kimg": STABLE / 1000, "fade_kimg": FADE / 1000, "total_kimg": TOTAL / 1000}
    return replace(
        config,
        data=replace(config.data, resolution=8, sound=sound),
        generator=replace(config.generator, **small, latent_size=8),
        discriminator=replace(config.discriminator, **small),
        schedule=replace(config.schedule, **phases, tick_kimg=1.0, tick_kimg_at={}),
        run=RunConfig(grid="4x2"),
    )


@pytest.mark.usefixtures("quick_compilation")
def test_trains_fades_grows_and_samples(tmp_path):
    config = small_gansynth()
    assert run_small(tmp_path, config)
    (growth,) = events(tmp_path, "growth")
    assert growth["kimg"] == pytest.approx((STABLE + 8) / 1000), "a fade begins with the first batch after its start"
    (line,) = stats(tmp_path)
    for name in ("loss_d", "loss_g", "real_score", "fake_score", "gradient_penalty"):
        assert np.isfinite(line[name]), name
    trained = load_trained_model(tmp_path)
    networks, start = trained.networks, initialize(trained.networks, config.run.seed)[0]
    assert str(networks.shape) == "4x32"
    for path, leaf in flatten_dict(trained.state.generator_ema, sep="/").items():
        assert np.isfinite(leaf).all(), path
        is_idle = path.startswith("to_rgb_2x16")
        assert is_idle or not np.array_equal(leaf, flatten_dict(start, sep="/")[path]), path
    latents, labels = np.random.default_rng(0).standard_normal((13, 8)), np.eye(13)
    images = np.asarray(networks.generator.apply({"params": trained.state.generator_ema}, latents, labels))
    assert images.shape == (13, 4, 32, 2)
    assert np.abs(images).max() < 1
    half, none, full = (
        networks.generator.apply({"params": trained.state.generator_ema}, latents, labels, alpha) for alpha in (0.5, 0.0, 1.0)
    )
    np.testing.assert_allclose(half, (none + full) / 2, atol=1e-6)
