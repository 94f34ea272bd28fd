"""Stacked MNIST: three random digits as red, green and blue, 1,000 modes, to see how many of them a generator keeps.

    python launch.py --config=experiments/stacked_mnist.py

Needs MNIST prepared once, see docs/data.md. A million images are drawn from it, three scans each.

The paper's last column of this test (with progression, spec 6.5) in schedule, loss and latents. Its networks were smaller
still, with one convolution per resolution, and slope 0.3 and tanh in the generator; those here are the usual ones with the
feature maps of its K/2 variant.

Cost: not measured as a whole; `python launch.py plan` estimates 8 hours on 2 CPU cores.
Expect: spec 6.5 has 919.8 of 1,000 modes for K/2 in the paper, not verified, and with networks other than these: a landmark,
not an aim.
"""

from pggan_jax.config import Config, DataConfig, DiscriminatorConfig, GeneratorConfig, LossConfig, ScheduleConfig


def get_config() -> Config:
    """64, 32, 16, 8 feature maps against 16, 16, 8, 4, from 4x4 to 32x32."""
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
