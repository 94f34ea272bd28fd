"""A tiny run from 4x4 to 16x16 with two fade-ins, for tests.

    python launch.py --config=experiments/smoke.py

Cost: 35 s in total on 2 cores of a 2.8 GHz Xeon, 20 s of them compilation.
Expect: blurred shapes; the run shows that the installation works.
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
    """8 feature maps, 1 kimg per phase."""
    return Config(
        data=DataConfig(source="digits", resolution=16),
        generator=GeneratorConfig(fmap_max=8),
        discriminator=DiscriminatorConfig(fmap_max=8),
        schedule=ScheduleConfig(
            stable_kimg=1.0, fade_kimg=1.0, batch_size=16, learning_rate=0.003, tick_kimg=1.0, tick_kimg_at={}
        ),
        optimizer=OptimizerConfig(ema_half_life_kimg=0.5),
        run=RunConfig(grid="8x8"),
    )
