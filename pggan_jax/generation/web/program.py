"""A generator as a list of operations with their weights, which a small interpreter runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pggan_jax.errors import UserError
from pggan_jax.generation.model import Model
from pggan_jax.networks.layers import HE_GAIN, LEAK


@dataclass(frozen=True)
class Program:
    """What the page runs.

    Attributes:
        operations: in order; each has the name of an operation, its sizes, and places in `weights`.
        weights: float32, as they are used, so with their runtime factors.
    """

    operations: list[dict[str, Any]]
    weights: np.ndarray

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds for one image."""
        return sum(one.get("multiply_adds", 0) for one in self.operations)


def generator_program(model: Model) -> Program:
    """Return the program of a generator.

    Images are computed as by `Model.floats`. A layer's operations are: the convolution, whose input may be upscaled first; a
    blur; bias; leaky ReLU; pixel norm. Before its convolution to colours, a network in mid-fade keeps its features for the
    convolution of the previous level.

    Raises:
        UserError: the network has layers that the page does not know, or makes sound.
    """
    _require_known(model)
    builder = _Builder(model)
    config, generator = model.config.generator, model.networks.generator
    operations = builder.operations
    inputs = model.latent_size + model.label_size
    if config.normalize_latents:
        operations.append({"op": "norm", "epsilon": config.pixelnorm_epsilon})
    height, width = generator.shape_at(4).height, generator.shape_at(4).width
    builder.dense(f"block_{generator.shape_at(4)}/dense", inputs, height, width)
    builder.convolution(f"block_{generator.shape_at(4)}/conv", is_upscaled=False)
    resolution = 4
    fades = model.resolution > generator.start_resolution and model.alpha < 1
    while resolution < model.resolution:
        resolution *= 2
        if resolution == model.resolution and fades:
            builder.colours(f"to_rgb_{generator.shape_at(resolution // 2)}", keeps=True)
        block = f"block_{generator.shape_at(resolution)}"
        builder.convolution(f"{block}/conv0", is_upscaled=True)
        builder.convolution(f"{block}/conv1", is_upscaled=False)
    builder.colours(f"to_rgb_{generator.shape_at(resolution)}", keeps=False)
    if fades:
        operations.append({"op": "fade", "alpha": model.alpha})
    return Program(operations, np.concatenate(builder.weights))


def _require_known(model: Model) -> None:
    config = model.config
    problems = {
        "makes sound": model.representation is not None,
        f"has networks of the kind {config.networks.name}": config.networks.name != "pggan",
        "has batch norm": config.generator.normalization != "none",
        "takes latents that are not normal": config.generator.latents != "normal",
    }
    for problem, is_there in problems.items():
        if is_there:
            raise UserError(f"{model.name}: {problem}, which a page cannot draw; export to .stablehlo or .onnx instead")


class _Builder:
    """The operations and weights so far."""

    def __init__(self, model: Model):
        self.operations: list[dict[str, Any]] = []
        self.weights: list[np.ndarray] = []
        self._model, self._size = model, 0
        self._height = self._width = self._channels = 0

    def _layer(self, path: str) -> Mapping[str, np.ndarray]:
        """Return kernel and bias of a layer."""
        node: Any = self._model.generator
        for name in path.split("/"):
            node = node[name]
        return {name: np.asarray(array, np.float32) for name, array in node.items()}

    def _place(self, array: np.ndarray) -> int:
        """Append weights, and return where they begin."""
        start = self._size
        self.weights.append(array.ravel())
        self._size += array.size
        return start

    def _scaled(self, kernel: np.ndarray, gain: float) -> np.ndarray:
        """Return a kernel times its runtime factor, gain / sqrt(fan_in)."""
        if not self._model.config.generator.use_wscale:
            return kernel
        return kernel * np.float32(gain / math.sqrt(math.prod(kernel.shape[:-1])))

    def _finish(self, bias: np.ndarray) -> None:
        """Add bias, activation and pixel norm."""
        config = self._model.config.generator
        self.operations.append({"op": "bias", "bias": self._place(bias), "size": bias.size})
        self.operations.append({"op": "relu", "slope": LEAK if config.use_leakyrelu else 0.0})
        if config.use_pixelnorm:
            self.operations.append({"op": "norm", "epsilon": config.pixelnorm_epsilon})

    def dense(self, path: str, inputs: int, height: int, width: int) -> None:
        """Add the first layer, from a row to features."""
        layer = self._layer(path)
        outputs = layer["kernel"].shape[1]
        self._height, self._width, self._channels = height, width, outputs // (height * width)
        kernel = self._scaled(layer["kernel"], HE_GAIN / math.sqrt(height * width))
        operation = {"op": "dense", "kernel": self._place(kernel), "inputs": inputs}
        shape = {"height": height, "width": width, "channels": self._channels}
        self.operations.append({**operation, **shape, "multiply_adds": inputs * outputs})
        self._finish(layer["bias"])

    def convolution(self, path: str, *, is_upscaled: bool) -> None:
        """Add a 3x3 convolution; the fused form computes that of the upscaled features, too."""
        layer = self._layer(path)
        features = layer["kernel"].shape[-1]
        if is_upscaled:
            self._height, self._width = 2 * self._height, 2 * self._width
            self.operations.append({"op": "upscale"})
        pixels = self._height * self._width
        operation = {"op": "convolve", "kernel": self._place(self._scaled(layer["kernel"], HE_GAIN)), "channels": features}
        self.operations.append({**operation, "multiply_adds": 9 * pixels * self._channels * features})
        self._channels = features
        if is_upscaled and self._model.config.generator.blur:
            self.operations.append({"op": "blur"})
        self._finish(layer["bias"])

    def colours(self, path: str, *, keeps: bool) -> None:
        """Add the 1x1 convolution to colours; with `keeps` its image is set aside for the fade."""
        layer = self._layer(path)
        kernel, channels = self._scaled(layer["kernel"], 1.0), layer["kernel"].shape[-1]
        operation = {"op": "colours", "kernel": self._place(kernel), "channels": channels, "keeps": keeps}
        operation |= {"bias": self._place(layer["bias"]), "tanh": self._model.config.generator.output_activation == "tanh"}
        pixels = self._height * self._width
        self.operations.append({**operation, "multiply_adds": pixels * self._channels * channels})
