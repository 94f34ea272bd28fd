"""Your own sounds: a second of every file below a folder, at 16 kHz.

    python launch.py --config=experiments/sounds.py --set data.source=sound:DIR --workdir=runs/my_sounds

Spectrograms of 128 frames x 256 bins hold 1.02 s.

Needs a folder or zip archive of audio files (docs/sound.md). A clip is the first second of a file; --set sound.take=slices uses
every second of longer ones. With --set data.labels=true the classes are pitches in names like those of NSynth, or else
subfolders. `python launch.py check sound:DIR` says what is usable, before anything is trained.

Cost: not measured; 2,200 kimg and 1.9e17 floating-point operations need a GPU. `python launch.py plan` with the same flags
estimates the time.
Expect: not measured. With some thousand clips of one kind, drums or single notes, sounds of that kind from 32x64 on; the
phases of clean tones come last.
"""

from pggan_jax.config import Config, DataConfig, DiscriminatorConfig, GeneratorConfig, ScheduleConfig
from pggan_jax.config.sound import SoundConfig


def get_config() -> Config:
    """Linear magnitudes and instantaneous frequency, 75 % overlap; 200 kimg per phase."""
    sound = SoundConfig(sample_rate=16000, n_fft=512, hop=128, frames=128)
    features = {"fmap_base": 4096, "fmap_max": 256}
    return Config(
        data=DataConfig(source="sound:sounds", resolution=128, base_shape="4x8", sound=sound),
        generator=GeneratorConfig(**features),
        discriminator=DiscriminatorConfig(**features),
        schedule=ScheduleConfig(stable_kimg=200.0, fade_kimg=200.0, batch_size=16, tick_kimg=20.0, tick_kimg_at={}),
    )
