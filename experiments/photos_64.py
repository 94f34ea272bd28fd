"""Crops of ten colour photographs at 64x64, built-in: a run in colour without a download.

    python launch.py --config=experiments/photos_64.py

Cost: about an hour on 2 cores of a 2.8 GHz Xeon, as `python launch.py plan` measures it; not run beyond 32x32.
Expect: textures and colours of the ten photographs; flowers, cups and skies from 16x16 on.
"""

from pggan_jax.config import (
    Config,
    DataConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
)


def get_config() -> Config:
    """32 feature maps, 40 kimg per phase at most, mirrored."""
    return Config(
        data=DataConfig(source="photos", resolution=64, mirror=True),
        generator=GeneratorConfig(fmap_base=512, fmap_max=32),
        discriminator=DiscriminatorConfig(fmap_base=512, fmap_max=32),
        schedule=ScheduleConfig(
            stable_kimg=40.0,
            stable_kimg_at={4: 20.0},
            fade_kimg=40.0,
            fade_kimg_at={8: 20.0},
            batch_size=16,
            batch_size_at={4: 64, 8: 32},
            learning_rate=0.002,
            tick_kimg=10.0,
            tick_kimg_at={},
        ),
        optimizer=OptimizerConfig(ema_half_life_kimg=2.0),
        run=RunConfig(grid="12x8"),
    )
