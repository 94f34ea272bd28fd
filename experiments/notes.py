"""Notes of exact pitch, half a second at 8 kHz, by pitch: the first run with sound.

    python launch.py --config=experiments/notes.py --workdir=runs/notes

The built-in source synthesises 5,200 notes of 13 pitches in four families (organ, pluck, reed, brass).
`experiments/check_notes.py` measures the result; `sample --scale`, `--melody=ode` and `--walk` make it heard.

Cost: 28 minutes in total on 2 cores of a 2.8 GHz Xeon while other programs ran: 37 s at 8x32, 3 min at 16x64, 25 min at 32x128.
Expect: tones with rough attacks. Of 390 notes 89 % within 50 cents of the pitch asked for, heard as that pitch by the judge in
all; coherence 0.94, harmonics 1.6 dB above the rest, FID 48, 21 of 50 bins of timbre differ.
On a GPU, --set generator.fmap_base=1024 --set discriminator.fmap_base=1024 --set generator.fmap_max=64
--set discriminator.fmap_max=64 gives cleaner notes (docs/sound.md, "What was tried").
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
    """32 frames x 128 bins, grown from 8x32; 32 feature maps, 16 at the top; 155 kimg.

    Below 8x32 a box filter leaves nothing of a tone, so coarser levels teach little. The last level has a lower learning rate:
    phases add up over the frames, so small errors are heard.
    """
    return Config(
        data=DataConfig(source="notes", resolution=64, base_shape="2x8", labels=True),
        generator=GeneratorConfig(fmap_base=512, fmap_max=32),
        discriminator=DiscriminatorConfig(fmap_base=512, fmap_max=32),
        schedule=ScheduleConfig(
            start_resolution=16,
            stable_kimg_at={16: 15.0, 32: 20.0, 64: 100.0},
            fade_kimg_at={32: 10.0, 64: 10.0},
            batch_size=16,
            learning_rate=0.003,
            learning_rate_at={64: 0.001},
            tick_kimg=5.0,
            tick_kimg_at={},
        ),
        optimizer=OptimizerConfig(ema_half_life_kimg=3.0),
        run=RunConfig(grid="13x8"),
    )
