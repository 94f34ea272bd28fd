"""MNIST at 28x28 with the conditional DCGAN: labels before every layer of both networks.

    python launch.py --config=experiments/dcgan_mnist.py --workdir=runs/dcgan_mnist

Reads MNIST through TFDS, see docs/data.md. The levels are 7x7, 14x14 and 28x28, which settings name 4, 8 and 16. The
authors' learning rate falls to 0 in the last 100 of 200 epochs; here it is constant for 100 epochs.

Cost: not run.
Expect: legible digits, one row per class. The paper reports that a nearest-neighbour classifier of 50,000 samples has a test
error of 2.98 %.
"""

from pggan_jax.config import (
    Config,
    DataConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
    NetworksConfig,
    OptimizerConfig,
    RunConfig,
    ScheduleConfig,
)


def get_config() -> Config:
    """128 and 64 feature maps, 1,024 hidden units: 6.8 million parameters in G and 6.7 in D."""
    return Config(
        data=DataConfig(source="tfds:mnist:train", resolution=16, base_shape="7x7", channels=1, labels=True),
        networks=NetworksConfig(name="dcgan_mnist"),
        generator=GeneratorConfig(fmap_base=256, fmap_max=1024, latent_size=100, latents="uniform", normalize_latents=False),
        discriminator=DiscriminatorConfig(fmap_base=256, fmap_max=1024, minibatch_stddev="none"),
        schedule=ScheduleConfig(
            start_resolution=16, stable_kimg=6000.0, batch_size=128, learning_rate=2e-4, tick_kimg=60.0, tick_kimg_at={}
        ),
        optimizer=OptimizerConfig(beta1=0.5, beta2=0.999, weight_decay=2.5e-5, ema_half_life_kimg=10.0),
        loss=LossConfig(name="logistic", r1_gamma=0.0),
        run=RunConfig(grid="10x10"),
    )
