"""CelebA-HQ, the paper's main experiment: 30,000 faces from 4x4 to 1024x1024.

    python launch.py --config=experiments/celebahq_1024.py --set data.source=folder:/path/to/celeba_hq --workdir=runs/celebahq

The folder holds the 30,000 CelebA-HQ images; data.source=tfds:celeb_a_hq/1024 reads them from TFDS. docs/data.md says how to
get them.

The schedule is the official v2-1gpu; choose another by --set preset=v1-1gpu (the paper's own), v2-2gpus, v2-4gpus or
v2-8gpus. Their batch sizes are totals over all devices. The paper's networks scale and convolve separately, those of the
authors' later code use fused layers; for the former add --set generator.fused_scale=false
--set discriminator.fused_scale=false.

Cost: not measured. The authors report two weeks (v2-1gpu) on one V100 and two days on eight (v2-8gpus).
Expect: the paper reports FID 7.30 on 50,000 images and SWD x1e3 of 5.44 on average.
"""

from pggan_jax.config import Config, DataConfig
from pggan_jax.config.presets import apply_preset


def get_config() -> Config:
    """Official networks, schedule v2-1gpu."""
    data = DataConfig(source="folder:celeba_hq", resolution=1024, channels=3, mirror=True, shuffle_seed=123)
    return apply_preset(Config(data=data), "v2-1gpu")
