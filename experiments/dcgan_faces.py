"""DCGAN at 64x64, the authors' network for faces: a baseline for any folder of images.

    python launch.py --config=experiments/dcgan_faces.py --set data.source=folder:~/photos --workdir=runs/dcgan

Without data.source it trains on the largest square in the middle of each aligned CelebA image; see docs/data.md.
The authors' own faces are not public; their other choices are here: weights from N(0, 0.02^2), uniform latents, Adam with
2e-4 and 0.5, L2 1e-5. Updates alternate as in their Torch release: the discriminator, then the generator. They had no moving
average: `sample --network=raw` takes the newest weights.

Cost: not run; 8,750 kimg (25 epochs of 350,000 images) need a GPU.
Expect: faces that are blurred or deformed in places. On CelebA, papers quote FIDs between 12 and 21 for networks of this
kind; their protocols differ.
"""

from pggan_jax.config import (
    Config,
    DataConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
    NetworksConfig,
    OptimizerConfig,
    ScheduleConfig,
)


def get_config() -> Config:
    """1024, 512, 256 and 128 feature maps: 18.9 million parameters in G, 17.2 million in D."""
    return Config(
        data=DataConfig(source="tfds:celeb_a:train+validation+test", resolution=64, channels=3, shuffle_seed=123),
        networks=NetworksConfig(name="dcgan"),
        generator=GeneratorConfig(fmap_base=2048, fmap_max=1024, latent_size=100, latents="uniform", normalize_latents=False),
        discriminator=DiscriminatorConfig(fmap_base=2048, fmap_max=1024, minibatch_stddev="none"),
        schedule=ScheduleConfig(
            start_resolution=64, stable_kimg=8750.0, batch_size=128, learning_rate=2e-4, tick_kimg=100.0, tick_kimg_at={}
        ),
        optimizer=OptimizerConfig(beta1=0.5, beta2=0.999, weight_decay=1e-5, ema_half_life_kimg=10.0),
        loss=LossConfig(name="logistic", r1_gamma=0.0),
    )
