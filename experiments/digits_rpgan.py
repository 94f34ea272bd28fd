"""The default run on handwritten digits with the relativistic pairing loss, R1 and R2.

    python launch.py --config=experiments/digits_rpgan.py --workdir=runs/digits_rpgan

Cost: 111 s of training on 2 cores of an AMD EPYC on which other programs computed at times.
Expect: legible digits. With three seeds, a distance of 8x8 pixels of 17.1 and a GAN-test of 99.6 % (docs/experiments.md); for
digits.py they are 13.3 and 98.6 %.
"""

from dataclasses import replace

from experiments.digits import get_config as digits
from pggan_jax.config import Config


def get_config() -> Config:
    """A constant gamma, with the learning rates of the default run."""
    config = digits()
    return replace(config, loss=replace(config.loss, name="rpgan", r1_gamma=1.0))
