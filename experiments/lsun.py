"""One LSUN category at 256x256, its first 100,000 images: bedrooms, or any other of the 30.

    python launch.py --config=experiments/lsun.py
    python launch.py --config=experiments/lsun.py --set data.source=tfds:lsun/cat --workdir=runs/lsun_cat

Needs the category prepared once, see docs/data.md; or --set data.source=folder:DIR. The middle square of each image is taken
and shrunk by Lanczos; images keep the order of their source, which in TFDS is not that of LSUN's own database.

Mirrored and cut at 100,000 images, as every category in the authors' later code. The paper's own runs on bedrooms and dogs saw
the full set unmirrored: --set data.max_images=0 --set data.mirror=false. All of its LSUN runs had 800 kimg per phase, 20,000 in
all, in batches of 16: --set preset=v1-1gpu --set schedule.total_kimg=20000 --set schedule.batch_size_at=256:16.

Cost: not measured; for a GPU, 12,000 kimg in the official networks.
Expect: FID 8.34 for bedrooms, 37.52 for cats, 6.42 for churches are the published numbers of the paper's longer runs.
"""

from pggan_jax.config import Config, DataConfig
from pggan_jax.presets import apply_preset


def get_config() -> Config:
    """The official networks and the v2-1gpu schedule, unconditional."""
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
