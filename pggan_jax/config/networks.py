"""Settings of generator and discriminator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pggan_jax.config.fields import EPSILON, MAX_WIDTH, setting

NETWORKS = ("pggan", "dcgan", "dcgan_mnist", "tiny")
DTYPES = ("float32", "bfloat16")
_FMAP_BASE: dict[str, Any] = {"minimum": 1, "maximum": 2**24}


@dataclass(frozen=True)
class NetworksConfig:
    """Which pair of networks is trained; `generator` and `discriminator` hold their options."""

    name: str = setting(
        "pggan",
        "pggan; dcgan: strided convolutions and batch norm, no growing; dcgan_mnist: the same with labels before every layer "
        "of both networks and a hidden dense layer of fmap_max units; tiny: one convolution per resolution, as in the paper's "
        "test on 1,000 modes. Statistics of batch norm are those of the batch over all devices",
        choices=NETWORKS,
    )
    kernel_size: int = setting(
        5,
        "dcgan: side of the kernels: 5 (the authors' Theano release) or 4 (their Torch release, whose first batch norm is per "
        "channel)",
        minimum=4,
        maximum=5,
    )
    outer_biases: bool = setting(
        False,
        "dcgan: biases where no batch norm follows, as in the authors' Torch release; without, the discriminator is blind to "
        "the contrast of a batch",
    )

    @property
    def is_conditional(self) -> bool:
        """Whether both networks are given the labels before every layer."""
        return self.name == "dcgan_mnist"

    @property
    def has_batch_norm(self) -> bool:
        """Whether both networks have batch norm, whatever their other settings."""
        return self.name in ("dcgan", "dcgan_mnist")

    @property
    def use_affine(self) -> bool:
        """Whether batch norm has gain and shift."""
        return not self.is_conditional


@dataclass(frozen=True)
class GeneratorConfig:
    """The generator (spec 1.8); both forms of the official option `structure` compute it."""

    fmap_base: int = setting(8192, "feature maps: min(fmap_base / 2^(stage * fmap_decay), fmap_max)", **_FMAP_BASE)
    fmap_decay: float = setting(1.0, "how fast feature maps halve with resolution", minimum=0, maximum=16)
    fmap_max: int = setting(512, "most feature maps in any layer", minimum=1, maximum=MAX_WIDTH)
    latent_size: int = setting(
        0, "length of the latent vector; 0 takes the feature maps of stage 0 (512 by default)", minimum=0, maximum=MAX_WIDTH
    )
    latents: str = setting(
        "normal", "distribution of the latents that G takes: normal, or uniform in (-1, 1)", choices=("normal", "uniform")
    )
    first_bias: str = setting(
        "channel",
        "biases of the first layer: one per channel, or one per position and channel, as in pytorch_GAN_zoo",
        choices=("channel", "position"),
    )
    normalize_latents: bool = setting(True, "scale latent and label vector together to unit mean square")
    use_wscale: bool = setting(True, "equalized learning rate")
    use_pixelnorm: bool = setting(True, "pixelwise feature normalisation after each convolution")
    pixelnorm_epsilon: float = setting(1e-8, "added to the mean square in pixel norm", **EPSILON)
    use_leakyrelu: bool = setting(True, "leaky ReLU with slope 0.2; false means ReLU")
    fused_scale: bool = setting(True, "upscale and convolve in one transposed convolution; the same function, faster")
    blur: bool = setting(False, "smooth what is upscaled and convolved with the filter [1, 2, 1] x [1, 2, 1] / 16, as StyleGAN")
    normalization: str = setting(
        "none",
        "batch: batch norm after every convolution, before its activation; its statistics are those of the batch over all "
        "devices, and of fixed latents where images are generated",
        choices=("none", "batch"),
    )
    output_activation: str = setting("linear", "what follows the convolution to colours", choices=("linear", "tanh"))
    dtype: str = setting("float32", "what activations are computed in; parameters stay float32", choices=DTYPES)


@dataclass(frozen=True)
class StddevGroups:
    """How samples are grouped for minibatch stddev (spec 1.7), or for minibatch discrimination.

    Attributes:
        form: "strided" (sample n is in group n mod M), "contiguous" (neighbours), "whole_batch" or "none".
        size: samples in a group; a smaller batch is one group.
    """

    form: str
    size: int


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The discriminator (spec 1.8)."""

    fmap_base: int = setting(8192, "feature maps: min(fmap_base / 2^(stage * fmap_decay), fmap_max)", **_FMAP_BASE)
    fmap_decay: float = setting(1.0, "how fast feature maps halve with resolution", minimum=0, maximum=16)
    fmap_max: int = setting(512, "most feature maps in any layer", minimum=1, maximum=MAX_WIDTH)
    use_wscale: bool = setting(True, "equalized learning rate")
    minibatch_stddev: str = setting(
        "strided",
        "strided: official groups n, n+M, ...; whole_batch: one group, as in the paper; contiguous: unbiased groups of "
        "neighbours, as in pytorch_GAN_zoo; none: no such channel",
        choices=("strided", "whole_batch", "contiguous", "none"),
    )
    mbstd_group_size: int = setting(4, "samples per minibatch-stddev group, at most the batch", minimum=2, maximum=2**16)
    fused_scale: bool = setting(
        True, "convolve and average in one strided convolution, before the activation: not the same function (spec 1.5)"
    )
    blur: bool = setting(
        False, "smooth what is convolved and downscaled with the filter [1, 2, 1] x [1, 2, 1] / 16, as StyleGAN"
    )
    normalization: str = setting(
        "none",
        "layer: the output of every layer but the last is normalised per image, before bias and activation, with one gain "
        "each; batch: batch norm before the activation, with networks.name=tiny only",
        choices=("none", "layer", "batch"),
    )
    minibatch_discrimination: int = setting(
        0,
        "kernels of 5 numbers that compare the images of the batch with each other; 0 for none, 100 in the paper's Table 1",
        minimum=0,
        maximum=MAX_WIDTH,
    )
    dtype: str = setting("float32", "what activations are computed in; parameters stay float32", choices=DTYPES)

    @property
    def stddev_groups(self) -> StddevGroups:
        """Samples that see each other: groups of minibatch stddev, or the batch to compare."""
        form = "whole_batch" if self.minibatch_discrimination else self.minibatch_stddev
        return StddevGroups(form, self.mbstd_group_size)
