"""Notes of exact pitch, half a second at 8 kHz, by pitch: the first run with sound.

    python launch.py --config=experiments/notes.py --workdir=runs/notes

The built-in source synthesises 5,200 notes of 13 pitches in four families (organ, pluck, reed, brass).
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
    """Images of 32 frames x 128 bins, grown from 2x8; 32 feature maps, 225 kimg."""
    return Config(
        data=DataConfig(source="notes", resolution=64, base_shape="2x8", labels=True),
        generator=GeneratorConfig(fmap_base=256, fmap_max=32),
        discriminator=DiscriminatorConfig(fmap_base=256, fmap_max=32),
        schedule=ScheduleConfig(
            stable_kimg_at={4: 5.0, 8: 30.0, 16: 45.0, 32: 30.0, 64: 25.0},
            fade_kimg_at={8: 10.0, 16: 15.0, 32: 15.0, 64: 15.0},
            batch_size_at={4: 32, 8: 32, 16: 16, 32: 16, 64: 16},
            learning_rate=0.003,
            tick_kimg=5.0,
            tick_kimg_at={},
        ),
        optimizer=OptimizerConfig(ema_half_life_kimg=1.5),
        run=RunConfig(grid="13x8"),
    )
