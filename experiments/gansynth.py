"""GANSynth: 4 s notes of NSynth by pitch, mel spectrograms with instantaneous frequency.

    python launch.py --config=experiments/gansynth.py
    python launch.py --config=experiments/gansynth.py --set data.source=sound:DIR --workdir=runs/my_notes

Needs nsynth/gansynth_subset prepared once by TensorFlow Datasets; or --set data.source=sound:DIR with files that are named as
in NSynth, such as guitar_acoustic_001-060-100.wav. With the whole of NSynth in DIR, --set sound.pitches=24-84
--set sound.instrument_sources=acoustic selects what the authors used. Other files need one folder per class, or
--set data.labels=false.

The preset has the authors' representation, networks, losses and schedule; docs/sound.md lists what differs.
--set preset=gansynth-low takes twice the frames and half the bands. The paper's linear variant, which loses less of the sound,
is --set sound.representation=if --set sound.mel_bins=0 --set sound.magnitude_range=-13.8155,6.9315
--set loss.gp_channel_scale=0.07712,0.8

Cost: not measured; 11,000 kimg and 1.4e18 floating-point operations need a GPU. The authors write 3-4 days on one V100.
Prepared images take 350 kB a note, 21 GB for NSynth's 60,788.
Expect: the paper reports NDB 29.3 of 50, inception score 38.1, pitch accuracy 97.9 % (reals 2.2, 47.1, 98.2 %). Not
reproduced here.
"""

from pggan_jax.config import Config, DataConfig
from pggan_jax.config.presets import apply_preset


def get_config() -> Config:
    """The preset gansynth, on the authors' subset."""
    return apply_preset(Config(data=DataConfig(source="sound:tfds:nsynth/gansynth_subset")), "gansynth")
