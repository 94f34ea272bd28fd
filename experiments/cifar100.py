"""CIFAR-100: 50,000 small photographs by their 100 fine classes, with the authors' schedule.

    python launch.py --config=experiments/cifar100.py

Needs the data set prepared once, see docs/data.md; or --set data.source=folder:DIR with one subfolder per class.

Cost: not measured; the official networks (20.7 million parameters each) and 12,000 kimg are work for a GPU.
Expect: one row per class in the grid. The paper gives no number for this set.
"""

from pggan_jax.config import Config, DataConfig
from pggan_jax.presets import apply_preset


def get_config() -> Config:
    """The official networks and the v2-1gpu schedule, conditional; not mirrored, as in the authors' configuration."""
    data = DataConfig(source="tfds:cifar100", resolution=32, channels=3, labels=True, shuffle_seed=123)
    return apply_preset(Config(data=data), "v2-1gpu")
