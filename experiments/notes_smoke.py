"""A tiny run on the built-in notes, up to 8 frames x 32 bins, for tests.

    python launch.py --config=experiments/notes_smoke.py

Cost: 15 s in total on 2 cores of a 2.8 GHz Xeon while other programs ran, most of them compilation.
Expect: noise with something of a pitch; the run shows that sound works.
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
from pggan_jax.config.sound import SoundConfig


def get_config() -> Config:
    """8 feature maps, 8x32 from the start, 1 kimg; notes of 0.064 s at 4 kHz."""
    sound = SoundConfig(sample_rate=4000, n_fft=64, hop=32, frames=8)
    return Config(
        data=DataConfig(source="notes:520", resolution=16, base_shape="2x8", labels=True, sound=sound),
        generator=GeneratorConfig(fmap_max=8),
        discriminator=DiscriminatorConfig(fmap_max=8),
        schedule=ScheduleConfig(
            start_resolution=16, stable_kimg=1.0, batch_size=16, learning_rate=0.003, tick_kimg=1.0, tick_kimg_at={}
        ),
        optimizer=OptimizerConfig(ema_half_life_kimg=0.5),
        run=RunConfig(grid="13x4"),
    )
