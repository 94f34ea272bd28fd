"""Handwritten digits from 4x4 to 32x32: the default run."""

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
    """The default experiment."""
    return Config(
        data=DataConfig(source="digits", resolution=32, labels=True),
        generator=GeneratorConfig(fmap_base=256, fmap_max=32),
        discriminator=DiscriminatorConfig(fmap_base=256, fmap_max=32),
        schedule=ScheduleConfig(
            stable_kimg_at={4: 10, 8: 12.5, 16: 30, 32: 30},
            fade_kimg_at={8: 12.5, 16: 30, 32: 30},
            batch_size_at={4: 32, 8: 32, 16: 16, 32: 16},
            learning_rate=0.003,
            tick_kimg=5,
            tick_kimg_at={},
        ),
        optimizer=OptimizerConfig(ema_half_life_kimg=1.0),
        run=RunConfig(grid="10x10"),
    )
