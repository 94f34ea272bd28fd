"""CIFAR-10 without labels, as for the paper's inception score, gradient norm 750.

    python launch.py --config=experiments/cifar10.py

Needs the data set prepared once, see docs/data.md; or --set data.source=folder:DIR with the 50,000 training images.

The setup of the authors' older code, which gave the paper's numbers (spec 6.3). That code updated both networks at once from
the same fakes and the moving average in the generator's step; here the discriminator is updated first, on its own fakes.

The paper's text describes the CelebA networks instead: add --set generator.fmap_base=8192 --set generator.fmap_max=512
--set generator.latent_size=512 and the same feature maps for discriminator.

Cost: not measured as a whole; `python launch.py plan` estimates 33 days on 2 CPU cores for the 1.25 million steps of 16 images,
with 1.3 million parameters per network; use a GPU.
Expect: the paper reports an inception score of 8.80 for its best run. The authors say that their later code, whose update
this program uses, does not reach it.
"""

from pggan_jax.config import Config, DataConfig, DiscriminatorConfig, GeneratorConfig, LossConfig, ScheduleConfig


def get_config() -> Config:
    """At most 128 feature maps, 400 kimg per phase, batches of 16."""
    return Config(
        data=DataConfig(source="tfds:cifar10", resolution=32, channels=3, shuffle_seed=123),
        generator=GeneratorConfig(fmap_base=4096, fmap_max=128, latent_size=128, fused_scale=False),
        discriminator=DiscriminatorConfig(fmap_base=4096, fmap_max=128, minibatch_stddev="whole_batch", fused_scale=False),
        schedule=ScheduleConfig(stable_kimg=400.0, fade_kimg=400.0, total_kimg=20000.0, batch_size=16, repeats=1),
        loss=LossConfig(gp_target=750.0),
    )
