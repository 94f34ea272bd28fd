"""Notes of exact pitch, by pitch, with twice the frames of notes.py: 75 % overlap.

    python launch.py --config=experiments/notes_smooth.py

With half the hop, spectrograms at half the resolution still sound right: through one halving and back 9 in 10 real notes keep
their pitch, and 7 in 10 with the hop of notes.py; through two, 8 in 10 and 1 in 4. So the coarse levels teach more.

Cost: not measured; 2.0 times the arithmetic of notes.py.
Expect: not measured; sounds at least as clean as those of notes.py.
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
    """64 frames x 128 bins, grown from 2x4; 32 feature maps up to 16x32, 8 at the top."""
    return Config(
        data=DataConfig(source="notes", resolution=128, base_shape="2x4", labels=True, sound=SoundConfig(hop=64, frames=64)),
        generator=GeneratorConfig(fmap_base=512, fmap_max=32),
        discriminator=DiscriminatorConfig(fmap_base=512, fmap_max=32),
        schedule=ScheduleConfig(
            stable_kimg_at={4: 5.0, 8: 15.0, 16: 30.0, 32: 45.0, 64: 30.0, 128: 25.0},
            fade_kimg_at={8: 10.0, 16: 15.0, 32: 15.0, 64: 15.0, 128: 15.0},
            batch_size=16,
            batch_size_at={4: 32, 8: 32},
            learning_rate=0.003,
            tick_kimg=5.0,
            tick_kimg_at={},
        ),
        optimizer=OptimizerConfig(ema_half_life_kimg=1.5),
        run=RunConfig(grid="13x8"),
    )
