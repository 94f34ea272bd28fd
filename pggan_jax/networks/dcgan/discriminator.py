"""DCGAN's discriminator: convolutions with stride 2, then a dense layer."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from pggan_jax.config.networks import NetworksConfig
from pggan_jax.networks.dcgan.layers import PlainDense, StridedConv, append_labels
from pggan_jax.networks.discriminator import FeatureBlock, Head, ImageDiscriminator, discriminator_features
from pggan_jax.networks.layers import InputNoise, leaky_relu
from pggan_jax.networks.normalization import BatchNorm


class DownBlock(FeatureBlock):
    """Halve h and w of maps `[batch, h, w, c]`; the first has no batch norm."""

    networks: NetworksConfig
    features: int
    is_first: bool
    dtype: str
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        networks, use_bias = self.networks, self.is_first and self.networks.outer_biases
        x = StridedConv(self.features, self.dtype, use_bias, networks.kernel_size, name="down")(x)
        if not self.is_first:
            x = BatchNorm(use_affine=networks.use_affine, axis_name=self.axis_name, name="norm")(x)
        return leaky_relu(x)


class DenseHead(Head):
    """Maps to score and label logits `[batch, 1 + label_size]`, after `hidden` units, if any."""

    hidden: int
    use_bias: bool
    dtype: str
    axis_name: str | None

    @nn.compact
    def __call__(self, x: jax.Array, labels: jax.Array | None) -> jax.Array:
        x = x.reshape(len(x), -1)
        if self.hidden:
            x = PlainDense(self.hidden, self.dtype, name="hidden")(append_labels(x, labels))
            x = leaky_relu(BatchNorm(use_affine=False, axis_name=self.axis_name, name="hidden_norm")(x))
        x = PlainDense(1 + self.label_size, self.dtype, self.use_bias, name="dense")(append_labels(x, labels))
        return x.astype(jnp.float32)


class DcganDiscriminator(ImageDiscriminator):
    """Images at one resolution to scores.

    The first layer has no batch norm. `networks.name=dcgan_mnist` appends the labels before every layer instead of guessing
    them, and has one more dense layer, of `fmap_max` units.

    Attributes:
        networks: which of the networks it is.
    """

    networks: NetworksConfig = NetworksConfig()

    @property
    def has_batch_norm(self) -> bool:
        """True."""
        return True

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        alpha: jax.Array | float = 1.0,
        noise: InputNoise | None = None,
        labels: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Score images by the batch norm statistics of this batch: reals and fakes are two batches.

        Args:
            images: float `[batch, height, width, channels]`, nominally in [-1, 1].
            alpha: ignored, as the networks do not grow.
            noise: must be None.
            labels: one-hot `[batch, label_size]`, the classes of the images; read by the conditional network only, where None
                stands for zeros.

        Returns:
            float32 scores `[batch]` and label logits `[batch, label_size]`, without columns in the conditional network.

        Raises:
            ValueError: there is noise.
        """
        del alpha
        if noise is not None:
            raise ValueError("DCGAN has no input noise")
        config, networks, is_conditional = self.config, self.networks, self.networks.is_conditional
        x, repeated = images.astype(config.dtype), None
        if is_conditional:
            # Its data are in [0, 1]: where the padding is black.
            x = (x + 1) / 2
            repeated = jnp.zeros((len(x), self.label_size)) if labels is None else labels
        resolution = self.resolution
        while resolution > 4:
            name = f"block_{self.shape_at(resolution)}"
            features = discriminator_features(config, resolution // 2)
            block = DownBlock(networks, features, resolution == self.resolution, config.dtype, self.axis_name, name=name)
            x = block(append_labels(x, repeated))
            resolution //= 2
        guessed, hidden = (0, config.fmap_max) if is_conditional else (self.label_size, 0)
        more = networks.outer_biases, config.dtype, self.axis_name
        outputs = DenseHead(guessed, hidden, *more, name=f"block_{self.shape_at(4)}")(x, repeated)
        return outputs[:, 0], outputs[:, 1:]
