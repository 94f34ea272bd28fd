"""deepsound: a folder of sounds, 4.1 s each, as spectrograms of magnitudes at 512x512.

    python launch.py --config=experiments/deepsound.py --set data.source=sound:DIR --workdir=runs/deepsound
    python launch.py --config=experiments/deepsound.py --set data.source=sound:DIR --set preset=deepsound-raw

Needs a folder of audio files; clips are the first 65,408 samples, shorter ones end in silence. --set sound.take=slices uses
the whole of longer files. Waves come back by Griffin-Lim, as the images hold no phases.

The preset has the networks, losses and schedule of pggan-pytorch, and one of its representations: deepsound-abslog,
deepsound-reallog, or deepsound-raw, whose images of samples are 16.4 s long. docs/sound.md lists what differs: inverses that
are right, above all. For new work experiments/sounds.py is the better start.

Cost: not measured; 3,000 kimg and 4.8e17 floating-point operations need a GPU.
Expect: textures and rhythms rather than clean tones: real notes sent through abslog and back have a spectral convergence of
about 0.22. The authors published samples, no numbers.
"""

from pggan_jax.config import Config, DataConfig
from pggan_jax.config.presets import apply_preset


def get_config() -> Config:
    """The preset deepsound-abslog, on a folder named sounds."""
    return apply_preset(Config(data=DataConfig(source="sound:sounds")), "deepsound-abslog")
