"""Generator and discriminator in PyTorch, with the parameter paths of this project.

For `torch_step.py`. Written as a PyTorch user would write them, channels-last. `tests/experiments/test_benchmark.py` checks
that they are the same networks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

Parameters = dict[str, torch.Tensor]
STDDEV_EPSILON = 1e-8
_GAINS = {"block_4x4/dense": math.sqrt(2.0) / 4, "block_4x4/dense1": 1.0}


@dataclass(frozen=True)
class Settings:
    """Settings of a step, named as the settings of this project where both have them.

    Attributes:
        fading: whether the previous resolution is blended in; without it there is no fade-in path.
        alpha: weight of the newest layers.
        resolution_ratio: divisor of the norms in the gradient penalty (spec 3.4).
        dtype: "float32", or "bfloat16" for autocast.
        is_compiled: compile everything but Adam and the EMA with `torch.compile`.
    """

    resolution: int
    batch_size: int
    latent_size: int
    fading: bool
    alpha: float
    resolution_ratio: float
    gp_weight: float
    gp_target: float
    drift: float
    group_size: int
    pixelnorm_epsilon: float
    learning_rate: float
    beta2: float
    epsilon: float
    ema_decay: float
    device: str = "cpu"
    dtype: str = "float32"
    is_compiled: bool = False


def to_torch(kernel_or_bias: np.ndarray, device: str) -> torch.Tensor:
    """Convert a Flax leaf: `[k, k, in, out]` to `[out, in, k, k]`, `[in, out]` to `[out, in]`."""
    leaf = torch.from_numpy(np.array(kernel_or_bias, np.float32))
    if leaf.ndim == 4:
        return leaf.permute(3, 2, 0, 1).contiguous().to(device, memory_format=torch.channels_last)
    return leaf.t().contiguous().to(device) if leaf.ndim == 2 else leaf.to(device)


def to_numpy(leaf: torch.Tensor) -> np.ndarray:
    """Convert a tensor back; the inverse of `to_torch`."""
    order = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[leaf.ndim]
    return np.ascontiguousarray(leaf.detach().float().cpu().permute(order).numpy())


class Networks:
    """Both networks at one resolution, as functions of parameters by path."""

    def __init__(self, settings: Settings):
        self._settings = settings

    def generate(self, params: Parameters, latents: torch.Tensor) -> torch.Tensor:
        """Map latents `[batch, latent_size]` to images `[batch, channels, resolution, resolution]`."""
        x = F.linear(self._pixel_norm(latents), _weight(params, "block_4x4/dense"))
        bias = params["block_4x4/dense/bias"]
        x = x.view(-1, 4, 4, len(bias)).permute(0, 3, 1, 2) + bias.view(1, -1, 1, 1)
        x = self._pixel_norm(F.leaky_relu(x, 0.2))
        x = self._pixel_norm(_convolve(params, "block_4x4/conv", x))
        resolution, previous = 4, x
        while resolution < self._settings.resolution:
            resolution *= 2
            block, previous = f"block_{resolution}x{resolution}", x
            kernel = _box_sum(_weight(params, f"{block}/conv0")).transpose(0, 1).flip(2, 3)
            x = F.conv_transpose2d(x, kernel, params[f"{block}/conv0/bias"], stride=2, padding=1)
            x = self._pixel_norm(F.leaky_relu(x, 0.2))
            x = self._pixel_norm(_convolve(params, f"{block}/conv1", x))
        images = _to_rgb(params, x, resolution)
        if self._settings.fading:
            old = F.interpolate(_to_rgb(params, previous, resolution // 2), scale_factor=2.0)
            images = old + (images - old) * self._settings.alpha
        return images

    def discriminate(self, params: Parameters, images: torch.Tensor, *, batches: int = 1) -> torch.Tensor:
        """Map images to scores `[batch]`.

        `images` may be a concatenation of several `batches`; no stddev group crosses them.
        """
        resolution = self._settings.resolution
        x = _convolve(params, f"from_rgb_{resolution}x{resolution}", images)
        while resolution > 4:
            block = f"block_{resolution}x{resolution}"
            x = _convolve(params, f"{block}/conv0", x)
            kernel = _box_sum(_weight(params, f"{block}/conv1")) * 0.25
            x = F.leaky_relu(F.conv2d(x, kernel, params[f"{block}/conv1/bias"], stride=2, padding=1), 0.2)
            if self._settings.fading and resolution == self._settings.resolution:
                half = resolution // 2
                old = _convolve(params, f"from_rgb_{half}x{half}", F.avg_pool2d(images, 2))
                x = old + (x - old) * self._settings.alpha
            resolution //= 2
        x = torch.cat([x, self._stddev(x, batches).to(x.dtype)], dim=1)
        x = _convolve(params, "block_4x4/conv", x).permute(0, 2, 3, 1).flatten(1)
        x = F.leaky_relu(F.linear(x, _weight(params, "block_4x4/dense0"), params["block_4x4/dense0/bias"]), 0.2)
        return F.linear(x, _weight(params, "block_4x4/dense1"), params["block_4x4/dense1/bias"])[:, 0].float()

    def _pixel_norm(self, x: torch.Tensor) -> torch.Tensor:
        mean_square = x.float().square().mean(1, keepdim=True)
        return x * torch.rsqrt(mean_square + self._settings.pixelnorm_epsilon).to(x.dtype)

    def _stddev(self, x: torch.Tensor, batches: int) -> torch.Tensor:
        batch, channels, height, width = x.shape
        size = min(self._settings.group_size, batch // batches)
        groups = x.float().reshape(batches, size, -1, channels, height, width)
        variance = (groups - groups.mean(1, keepdim=True)).square().mean(1)
        statistic = (variance + STDDEV_EPSILON).sqrt().mean((2, 3, 4))
        return statistic.repeat(1, size).view(-1, 1, 1, 1).expand(-1, 1, height, width)


def _weight(params: Parameters, layer: str) -> torch.Tensor:
    weight = params[f"{layer}/kernel"]
    gain = 1.0 if layer.startswith("to_rgb") else _GAINS.get(layer, math.sqrt(2.0))
    return weight * (gain / math.sqrt(weight[0].numel()))


def _convolve(params: Parameters, layer: str, x: torch.Tensor) -> torch.Tensor:
    """Apply a convolution, its bias and leaky ReLU."""
    weight = _weight(params, layer)
    return F.leaky_relu(F.conv2d(x, weight, params[f"{layer}/bias"], padding=weight.shape[-1] // 2), 0.2)


def _to_rgb(params: Parameters, x: torch.Tensor, resolution: int) -> torch.Tensor:
    layer = f"to_rgb_{resolution}x{resolution}"
    return F.conv2d(x, _weight(params, layer), params[f"{layer}/bias"]).float()


def _box_sum(kernel: torch.Tensor) -> torch.Tensor:
    padded = F.pad(kernel, (1, 1, 1, 1))
    return padded[..., 1:, 1:] + padded[..., :-1, 1:] + padded[..., 1:, :-1] + padded[..., :-1, :-1]
