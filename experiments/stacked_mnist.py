"""Stacked MNIST: three digits as red, green and blue, with 1,000 modes.

    python launch.py --config=experiments/stacked_mnist.py

Needs MNIST prepared once, see docs/data.md. A million images are composed of three scans each.

Schedule, loss and latents are those of the last column of the paper's test (with progressive growing, spec 6.5). The paper's
networks were smaller, with one convolution per resolution, and slope 0.3 and tanh in the generator; these are the usual ones
with the feature maps of the variant K/2.

Cost: not measured as a whole; `python launch.py plan` estimates 8 hours on 2 CPU cores.
Expect: the paper reports 919.8 of 1,000 modes for K/2 (spec 6.5), with other networks than these; not verified here.
"""

from pggan_jax.config import Config, DataConfig, DiscriminatorConfig, GeneratorConfig, LossConfig, ScheduleConfig


def get_config() -> Config:
    """Feature maps 64, 32, 16, 8 in the generator, 16, 16, 8, 4 in the discriminator."""
    return Config(
        data=DataConfig(source="stacked:tfds:mnist", resolution=32, channels=3, crop="pad", max_images=1_000_000),
        generator=GeneratorConfig(fmap_base=128, fmap_max=64, latent_size=64),
        discriminator=DiscriminatorConfig(fmap_base=64, fmap_max=16, minibatch_stddev="whole_batch", fused_scale=False),
        schedule=ScheduleConfig(
            stable_kimg=500.0,
            fade_kimg=2000.0,
            total_kimg=15000.0,
            batch_size=64,
            rampup_kimg=40.0,
            critic_steps=5,
            repeats=1,
        ),
        loss=LossConfig(drift=0.0),
    )
