"""Your own images: every picture below a folder, cropped to a square and grown to 128x128.

    python launch.py --config=experiments/folder.py --set data.source=folder:/path/to/images --workdir=runs/mine

Subfolders are classes if every image lies in one; --set data.labels=true trains with them. Other sizes by
--set data.resolution=256; `python launch.py plan` with the same flags tells the cost beforehand.

Cost: not measured as a whole; it is the official network and the v2-1gpu batch sizes and phases, 6,600 kimg to 128x128: a
matter of days on one GPU and not for a CPU.
Expect: from about 10,000 images of one kind upwards, recognisable pictures from 32x32 on.
"""

from dataclasses import replace

from pggan_jax.config import Config, DataConfig
from pggan_jax.presets import apply_preset


def get_config() -> Config:
    """The official one-GPU schedule, ended after the stable phase of the last resolution."""
    config = apply_preset(Config(data=DataConfig(source="folder:images", resolution=128, mirror=True)), "v2-1gpu")
    return replace(config, schedule=replace(config.schedule, total_kimg=0.0))
