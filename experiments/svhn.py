"""SVHN: 73,257 cropped house numbers with digit labels, 32x32, official schedule.

    python launch.py --config=experiments/svhn.py

Needs the data set prepared once, see docs/data.md; or --set data.source=folder:DIR with one subfolder per digit.

Cost: not measured; 12,000 kimg with the official networks (20.7 million parameters each) need a GPU.
Expect: one row per digit in the sample grid. The paper gives no number for this data set.
"""

from pggan_jax.config import Config, DataConfig
from pggan_jax.config.presets import apply_preset


def get_config() -> Config:
    """Official networks, schedule v2-1gpu, labels; not mirrored, as mirrored digits are wrong."""
    data = DataConfig(source="tfds:svhn_cropped", resolution=32, channels=3, labels=True, shuffle_seed=123)
    return apply_preset(Config(data=data), "v2-1gpu")
