"""MNIST: 60,000 handwritten digits with labels, grown to 32x32 with the official schedule.

    python launch.py --config=experiments/mnist.py

Needs the data set prepared once, see docs/data.md; or --set data.source=folder:DIR with one subfolder per digit. The 28x28
scans get a black border of 2 pixels, as in the authors' data set tool.

Cost: not measured; 12,000 kimg with the official networks (20.7 million parameters each) need a GPU.
On a CPU use experiments/digits.py.
Expect: a sample grid of legible digits, one row per class. The paper gives no number for this data set.
"""

from pggan_jax.config import Config, DataConfig
from pggan_jax.config.presets import apply_preset


def get_config() -> Config:
    """Official networks, schedule v2-1gpu, labels; not mirrored, as mirrored digits are wrong."""
    data = DataConfig(source="tfds:mnist", resolution=32, channels=1, labels=True, crop="pad", shuffle_seed=123)
    return apply_preset(Config(data=data), "v2-1gpu")
