"""MNIST: 60,000 handwritten digits by class, grown to 32x32 with the authors' schedule.

    python launch.py --config=experiments/mnist.py

Needs the data set prepared once, see docs/data.md; or --set data.source=folder:DIR with one subfolder per digit. The 28x28
scans are put on black, 2 pixels on each side, as in the authors' data set tool.

Cost: not measured; the official networks (20.7 million parameters each) and 12,000 kimg are work for a GPU.
experiments/digits.py is the run of this kind for a CPU.
Expect: a grid of legible digits, one row per class. The paper gives no number for this set.
"""

from pggan_jax.config import Config, DataConfig
from pggan_jax.presets import apply_preset


def get_config() -> Config:
    """The official networks and the v2-1gpu schedule, conditional; no mirroring, as digits read backwards are none."""
    data = DataConfig(source="tfds:mnist", resolution=32, channels=1, labels=True, crop="pad", shuffle_seed=123)
    return apply_preset(Config(data=data), "v2-1gpu")
