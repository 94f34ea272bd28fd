"""Your own images: every image below a folder, cropped to a square and grown to 128x128.

    python launch.py --config=experiments/folder.py --set data.source=folder:/path/to/images --workdir=runs/mine

Subfolders are classes if every image lies in one; --set data.labels=true trains with them. Other sizes by
--set data.resolution=256; `python launch.py plan` with the same flags estimates the cost.

Cost: not measured as a whole; official networks, batch sizes and phases of v2-1gpu, 6,600 kimg: days on one GPU, too long
for a CPU.
Expect: with at least about 10,000 images of one kind, recognisable samples from 32x32 on.
"""

from dataclasses import replace

from pggan_jax.config import Config, DataConfig
from pggan_jax.config.presets import apply_preset


def get_config() -> Config:
    """Schedule v2-1gpu, ended after the stable phase of the last resolution."""
    config = apply_preset(Config(data=DataConfig(source="folder:images", resolution=128, mirror=True)), "v2-1gpu")
    return replace(config, schedule=replace(config.schedule, total_kimg=0.0))
