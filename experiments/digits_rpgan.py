"""The default run on handwritten digits with the relativistic pairing loss, R1 and R2.

    python launch.py --config=experiments/digits_rpgan.py --workdir=runs/digits_rpgan

Cost: about that of `digits.py`, with 15 passes through the discriminator per iteration instead of 12; not measured.
Expect: not run to its end.
"""

from dataclasses import replace

from experiments.digits import get_config as digits
from pggan_jax.config import Config


def get_config() -> Config:
    """A constant gamma at the current resolution, with the learning rate of the default run."""
    config = digits()
    return replace(config, loss=replace(config.loss, name="rpgan", r1_gamma=1.0))
