"""CelebA at 128x128: 202,599 faces, cropped as in the paper's comparisons.

    python launch.py --config=experiments/celeba.py

Needs the data set prepared once, see docs/data.md; or --set data.source=folder:DIR with the aligned 178x218 images, where
shuffle_seed then gives the authors' order. All three splits are used, as in the authors' data set tool.

The schedule is the official v2-1gpu. Closer to Table 1 of the paper, row (g), is
--set preset=v1-1gpu --set schedule.total_kimg=10000 --set generator.fmap_base=2048 --set discriminator.fmap_base=2048
--set generator.fused_scale=false --set discriminator.fused_scale=false --set discriminator.minibatch_stddev=whole_batch.

Cost: not measured; 12,000 kimg with the official networks need a GPU.
Expect: the paper reports SWD x1e3 of 3.56 on average and MS-SSIM 0.2845 for row (g), 2.96 and 0.2828 for its best network.
"""

from pggan_jax.config import Config, DataConfig
from pggan_jax.config.presets import apply_preset


def get_config() -> Config:
    """Official networks, schedule v2-1gpu, columns 25..152 and rows 57..184, mirrored."""
    data = DataConfig(
        source="tfds:celeb_a:train+validation+test",
        resolution=128,
        channels=3,
        mirror=True,
        crop="25,57,128,128",
        shuffle_seed=123,
    )
    return apply_preset(Config(data=data), "v2-1gpu")
