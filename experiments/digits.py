"""Handwritten digits from 4x4 to 32x32, by class: the default run.

    python launch.py

Cost: 76 s in total on 2 cores of an AMD EPYC with compiled programs, 94 s without; 1 s of training at 4x4, 16 s at 8x8,
21 s at 16x16 and 34 s at 32x32.
Expect: a sample grid of legible digits, one row per class; `python experiments/check_digits.py` classifies samples.
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
    """32 feature maps, 122 kimg. Most of the learning happens at 8x8, where images are cheap.

    A short run needs a high learning rate and a moving average with a half-life much shorter than a phase. At 32x32, training
    without labels fails now and then with the whole rate. Rates and lengths were chosen by
    experiments/paper/hyperparameters.py (docs/experiments.md).
    """
    return Config(
        data=DataConfig(source="digits", resolution=32, labels=True),
        generator=GeneratorConfig(fmap_base=256, fmap_max=32),
        discriminator=DiscriminatorConfig(fmap_base=256, fmap_max=32),
        schedule=ScheduleConfig(
            stable_kimg_at={4: 7.0, 8: 60.0, 16: 15.0, 32: 8.0},
            fade_kimg_at={8: 10.0, 16: 12.0, 32: 10.0},
            batch_size_at={4: 32, 8: 32, 16: 16, 32: 16},
            learning_rate=0.008,
            learning_rate_at={32: 0.004},
            tick_kimg=5.0,
            tick_kimg_at={},
        ),
        optimizer=OptimizerConfig(ema_half_life_kimg=1.5),
        run=RunConfig(grid="10x10", keep_levels=True),
    )
