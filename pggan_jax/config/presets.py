"""Published setups by name: the authors' schedules (spec 2.5), and setups for sound.

docs/sound.md says how the latter differ from their sources. Batch sizes are totals over all devices.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pggan_jax.config import (
    PRESETS,
    SOUND_PRESETS,
    Config,
    DataConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
    OptimizerConfig,
    ScheduleConfig,
)
from pggan_jax.config.sound import SoundConfig
from pggan_jax.errors import ConfigError

_V2_PHASES = {"stable_kimg": 600.0, "fade_kimg": 600.0, "total_kimg": 12000.0}
_SCHEDULES: dict[str, dict[str, Any]] = {
    "v1-1gpu": {
        "stable_kimg": 800.0,
        "fade_kimg": 800.0,
        "total_kimg": 19000.0,
        "batch_size": 16,
        "batch_size_at": {256: 14, 512: 6, 1024: 3},
        "learning_rate_at": {},
    },
    "v2-1gpu": {
        **_V2_PHASES,
        "batch_size": 4,
        "batch_size_at": {4: 128, 8: 128, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8, 512: 4},
        "learning_rate_at": {1024: 0.0015},
    },
    "v2-2gpus": {
        **_V2_PHASES,
        "batch_size": 8,
        "batch_size_at": {4: 256, 8: 256, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8},
        "learning_rate_at": {512: 0.0015, 1024: 0.002},
    },
    "v2-4gpus": {
        **_V2_PHASES,
        "batch_size": 16,
        "batch_size_at": {4: 512, 8: 256, 16: 128, 32: 64, 64: 32, 128: 16},
        "learning_rate_at": {256: 0.0015, 512: 0.002, 1024: 0.003},
    },
    "v2-8gpus": {
        **_V2_PHASES,
        "batch_size": 32,
        "batch_size_at": {4: 512, 8: 256, 16: 128, 32: 64, 64: 32},
        "learning_rate_at": {128: 0.0015, 256: 0.002, 512: 0.003, 1024: 0.003},
    },
}
_V1_GROUP_SIZE = 16
# GANSynth's images are a * x + b: log powers of this range become -0.8 and 0.8, and phases are multiplied by 0.8.
_GANSYNTH_RANGE = "-13.815510749832,10.376635551454"
_GANSYNTH_SCALE = (0.0661371661726, 0.8)


def apply_preset(config: Config, name: str) -> Config:
    """Return `config` with an official schedule, or with a published setup for sound.

    An official schedule replaces the whole section `schedule` and the minibatch-stddev group size, so that no setting of an
    experiment mixes with it. A setup for sound also replaces the sections `sound`, `generator`, `discriminator`, `optimizer`
    and `loss`, and of `data` all but the source, the number of items and their order.

    Args:
        config: all other settings.
        name: one of `PRESETS`.

    Raises:
        ConfigError: there is no such preset.
    """
    if name not in PRESETS:
        raise ConfigError("preset", name, f"must be one of {', '.join(PRESETS)}")
    if name in SOUND_PRESETS:
        kind, _, form = name.partition("-")
        setup = _gansynth(config.data, low=form == "low") if kind == "gansynth" else _deepsound(config.data, form)
        return replace(config, preset=name, **setup)
    schedule = ScheduleConfig(start_resolution=4, learning_rate=0.001, repeats=4, **_SCHEDULES[name])
    group_size = _V1_GROUP_SIZE if name == "v1-1gpu" else 4
    discriminator = replace(config.discriminator, mbstd_group_size=group_size)
    return replace(config, preset=name, schedule=schedule, discriminator=discriminator)


def _gansynth(data: DataConfig, *, low: bool) -> dict[str, Any]:
    """GANSynth on the mel scale: 4 s as 128 frames of 1,024 bands, or with `low` 256 of 512.

    The penalty is taken in units of the data, classes are learned from reals alone, and outputs pass through tanh.
    """
    frames, bins, base_shape = (256, 512, "4x8") if low else (128, 1024, "2x16")
    sound = SoundConfig(
        representation="if_mel",
        phase_reference="start",
        eps=1e-6,
        sample_rate=16000,
        n_fft=2 * bins,
        hop=bins // 2,
        frames=frames,
        length=64000,
        mel_bins=bins,
        magnitude_range=_GANSYNTH_RANGE,
    )
    return {
        "data": _data(data, sound, resolution=256, base_shape=base_shape, labels=True),
        "generator": GeneratorConfig(fmap_base=4096, fmap_max=256, latent_size=256, output_activation="tanh"),
        "discriminator": DiscriminatorConfig(fmap_base=4096, fmap_max=256, minibatch_stddev="whole_batch", fused_scale=False),
        "schedule": ScheduleConfig(
            stable_kimg=800.0, fade_kimg=800.0, total_kimg=11000.0, batch_size=8, learning_rate=8e-4, repeats=1
        ),
        "optimizer": OptimizerConfig(),
        "loss": LossConfig(gp_channel_scale=_GANSYNTH_SCALE, label_weight=10.0, label_fakes=False),
    }


def _deepsound(data: DataConfig, representation: str) -> dict[str, Any]:
    """deepsound's pggan-pytorch at 512x512, with one of its three representations.

    Its code measures the penalty at the current resolution and keeps Adam's moments when it grows.
    """
    sound = SoundConfig(
        representation=representation,
        sample_rate=16000,
        n_fft=1024,
        hop=128,
        frames=512,
        # 512 frames at the hop, reflected at both ends; the raw form holds a sample in each pixel.
        length=512 * 512 if representation == "raw" else 511 * 128,
    )
    return {
        "data": _data(data, sound, resolution=512, base_shape="4x4", labels=False),
        "generator": GeneratorConfig(fmap_base=4096, fmap_max=512, latent_size=512),
        "discriminator": DiscriminatorConfig(fmap_base=4096, fmap_max=512, minibatch_stddev="whole_batch", fused_scale=False),
        "schedule": ScheduleConfig(
            stable_kimg=100.0,
            fade_kimg=100.0,
            total_kimg=3000.0,
            batch_size=16,
            batch_size_at={256: 14, 512: 6, 1024: 3},
            learning_rate=0.001,
            rampup_kimg=40.0,
            repeats=1,
            tick_kimg=20.0,
            tick_kimg_at={},
        ),
        "optimizer": OptimizerConfig(on_new_phase="carry"),
        "loss": LossConfig(penalty_scale="current"),
    }


def _data(data: DataConfig, sound: SoundConfig, *, resolution: int, base_shape: str, labels: bool) -> DataConfig:
    return DataConfig(
        source=data.source,
        max_images=data.max_images,
        shuffle_seed=data.shuffle_seed,
        resolution=resolution,
        base_shape=base_shape,
        labels=labels,
        sound=sound,
    )
