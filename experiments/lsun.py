"""LSUN at 256x256: the first 100,000 images of bedrooms, or of another of the 30 categories.

    python launch.py --config=experiments/lsun.py
    python launch.py --config=experiments/lsun.py --set data.source=tfds:lsun/cat --workdir=runs/lsun_cat

Needs the category prepared once, see docs/data.md; or --set data.source=folder:DIR. The middle square of each image is
shrunk with a Lanczos filter; images keep the order of the source, which in TFDS is not that of LSUN's own database.

Mirrored and limited to 100,000 images, as in the authors' later code. The paper's runs on bedrooms and dogs used all images,
not mirrored: --set data.max_images=0 --set data.mirror=false. All of its LSUN runs had 800 kimg per phase,
20,000 in total, in batches of 16: --set preset=v1-1gpu --set schedule.total_kimg=20000 --set schedule.batch_size_at=256:16.

Cost: not measured; 12,000 kimg with the official networks need a GPU.
Expect: the paper reports FID 8.34 for bedrooms, 37.52 for cats, 6.42 for churches after longer runs.
"""

from pggan_jax.config import Config, DataConfig
from pggan_jax.config.presets import apply_preset


def get_config() -> Config:
    """Official networks, schedule v2-1gpu, no labels."""
    data = DataConfig(
        source="tfds:lsun/bedroom",
        resolution=256,
        channels=3,
        mirror=True,
        crop="center",
        resample="lanczos",
        max_images=100_000,
    )
    return apply_preset(Config(data=data), "v2-1gpu")
