"""Train step in PyTorch, for the comparison in `experiments/benchmarks/train_step.py`.

Written as a PyTorch user would write it: channels-last, autocast, fused Adam. It has WGAN-GP with drift, equalized learning
rate, fused scaling, pixel norm, strided minibatch stddev, Adam with b1 = 0 and the epsilon of the authors, and the EMA of the
generator. Unlike the step of this project it does not check for non-finite gradients. `tests/experiments/test_benchmark.py`
checks that the losses and the updated parameters are those of this project.

This file does not import JAX, because PyTorch may be installed in another Python. There it runs as a worker, which reads its
tasks from standard input.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch_networks import Networks, Parameters, Settings, to_torch


class Step:
    """Train step with its state.

    Args:
        settings: settings of the step.
        generator: initial parameters, as `to_torch` returns them.
        discriminator: initial parameters, as `to_torch` returns them.
    """

    def __init__(self, settings: Settings, *, generator: Parameters, discriminator: Parameters):
        self._settings = settings
        self._networks = Networks(settings)
        self.generator = {path: leaf.requires_grad_() for path, leaf in generator.items()}
        self.discriminator = {path: leaf.requires_grad_() for path, leaf in discriminator.items()}
        self.generator_ema = {path: leaf.detach().clone() for path, leaf in generator.items()}
        self._adam_of_generator = self._adam(self.generator)
        self._adam_of_discriminator = self._adam(self.discriminator)
        self._steps = 0
        gradients = self._gradients_by_functions if settings.is_compiled else _gradients_by_autograd
        # One program for each loss and its gradients.
        compile_or_not = torch.compile if settings.is_compiled else lambda function: function
        self._discriminator_gradients = compile_or_not(
            lambda params, inputs: gradients(self.discriminator_loss, params, inputs)
        )
        self._generator_gradients = compile_or_not(lambda params, inputs: gradients(self.generator_loss, params, inputs))

    def _adam(self, params: Parameters) -> torch.optim.Adam:
        return torch.optim.Adam(
            list(params.values()), lr=self._settings.learning_rate, betas=(0.0, self._settings.beta2), fused=True
        )

    def __call__(
        self, images: torch.Tensor, latents: tuple[torch.Tensor, torch.Tensor] | None = None, mixing: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Run one iteration.

        Args:
            images: uint8 `[batch, resolution, resolution, channels]` on the device.
            latents: `[batch, latent_size]` for the discriminator's update and for the generator's; None samples them.
            mixing: weight of the fakes in the gradient penalty, U[0, 1] `[batch]`; None samples it.

        Returns:
            Losses of discriminator and generator, each before its update.
        """
        count, size, device = self._settings.batch_size, self._settings.latent_size, images.device
        for_discriminator, for_generator = latents or torch.randn(2, count, size, device=device)
        mixing = torch.rand(count, device=device) if mixing is None else mixing
        reals = self._prepare(images)
        with torch.no_grad(), self._precision():
            fakes = self._networks.generate(self.generator, for_discriminator)
        self._steps += 1
        params = self._differentiable(self.discriminator)
        gradients, discriminator_loss = self._discriminator_gradients(params, (reals, fakes, mixing))
        self._update(self._adam_of_discriminator, self.discriminator, gradients)
        with torch.no_grad():
            averages, newest = list(self.generator_ema.values()), list(self.generator.values())
            torch._foreach_lerp_(averages, newest, 1.0 - self._settings.ema_decay)
        params, discriminator = self._differentiable(self.generator), _detached(self.discriminator)
        gradients, generator_loss = self._generator_gradients(params, (discriminator, for_generator))
        self._update(self._adam_of_generator, self.generator, gradients)
        return discriminator_loss, generator_loss

    def _differentiable(self, params: Parameters) -> Parameters:
        """Return what the gradient function takes; the compiled one takes detached tensors."""
        return _detached(params) if self._settings.is_compiled else params

    def _precision(self) -> torch.autocast:
        is_low = self._settings.dtype == "bfloat16"
        return torch.autocast(self._settings.device, dtype=torch.bfloat16, enabled=is_low)

    def _prepare(self, images: torch.Tensor) -> torch.Tensor:
        reals = images.permute(0, 3, 1, 2).float() * (2.0 / 255.0) - 1.0
        if not self._settings.fading:
            return reals
        old = F.interpolate(F.avg_pool2d(reals, 2), scale_factor=2.0)
        return old + (reals - old) * self._settings.alpha

    def discriminator_loss(self, params: Parameters, inputs: tuple, *, derive: Callable) -> torch.Tensor:
        """Compute the WGAN-GP loss with drift.

        Args:
            params: of the discriminator.
            inputs: reals, fakes and mixing weights.
            derive: maps a scalar function to its gradient, which can be differentiated again.
        """
        settings = self._settings
        reals, fakes, mixing = inputs
        with self._precision():
            real_scores, fake_scores = self._networks.discriminate(params, torch.cat([reals, fakes]), batches=2).chunk(2)
        mixed = reals + (fakes - reals) * mixing.view(-1, 1, 1, 1)

        def total_score(x: torch.Tensor) -> torch.Tensor:
            with self._precision():
                return self._networks.discriminate(params, x).sum()

        norms = derive(total_score)(mixed).float().square().sum((1, 2, 3)).sqrt() / settings.resolution_ratio
        penalty = (norms - settings.gp_target).square().mean() * (settings.gp_weight / settings.gp_target**2)
        return fake_scores.mean() - real_scores.mean() + penalty + settings.drift * real_scores.square().mean()

    def generator_loss(self, params: Parameters, inputs: tuple, *, derive: Callable) -> torch.Tensor:
        """Compute minus the mean score of generated images.

        Args:
            params: of the generator.
            inputs: parameters of the discriminator, and latents.
            derive: not used.
        """
        del derive
        discriminator, latents = inputs
        with self._precision():
            return -self._networks.discriminate(discriminator, self._networks.generate(params, latents)).mean()

    @staticmethod
    def _gradients_by_functions(loss: Callable, params: Parameters, inputs: tuple) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return gradients and loss by `torch.func`, which `torch.compile` can differentiate twice."""
        gradients, value = torch.func.grad_and_value(lambda p: loss(p, inputs, derive=torch.func.grad))(params)
        return [gradients[path] for path in params], value

    def _update(self, adam: torch.optim.Adam, params: Parameters, gradients: list[torch.Tensor]) -> None:
        for leaf, gradient in zip(params.values(), gradients, strict=True):
            # Fused Adam reads both in memory order, so their strides must be equal.
            leaf.grad = gradient if gradient.stride() == leaf.stride() else torch.empty_like(leaf).copy_(gradient)
        # The authors add epsilon before the bias correction, PyTorch after it (spec 2.8).
        adam.param_groups[0]["eps"] = self._settings.epsilon / math.sqrt(1.0 - self._settings.beta2**self._steps)
        adam.step()


def _gradients_by_autograd(loss: Callable, params: Parameters, inputs: tuple) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Return gradients and loss by `torch.autograd`, for eager mode."""

    def derive(function: Callable) -> Callable:
        def derivative(x: torch.Tensor) -> torch.Tensor:
            x = x.detach().requires_grad_()
            return torch.autograd.grad(function(x), x, create_graph=True)[0]

        return derivative

    value = loss(params, inputs, derive=derive)
    gradients = torch.autograd.grad(value, list(params.values()), materialize_grads=True)
    return list(gradients), value.detach()


def _detached(params: Parameters) -> Parameters:
    return {path: leaf.detach() for path, leaf in params.items()}


def random_step(settings: Settings, shapes: Mapping[str, Mapping[str, list[int]]]) -> Callable[[], None]:
    """Build a step on random images and with random parameters of the given shapes."""
    random = np.random.default_rng(0)
    draw = lambda shape: random.standard_normal(shape) if len(shape) > 1 else np.zeros(shape)  # noqa: E731
    networks = {
        name: {path: to_torch(draw(shape), settings.device) for path, shape in tree.items()} for name, tree in shapes.items()
    }
    step = Step(settings, **networks)
    size = settings.resolution
    channels = shapes["generator"][f"to_rgb_{size}x{size}/bias"][0]
    images = torch.randint(256, (settings.batch_size, size, size, channels), dtype=torch.uint8, device=settings.device)
    return lambda: step(images)


def serve() -> None:
    """Answer requests on standard input with lines of JSON on standard output.

    The first line has settings and shapes and is answered when the step is compiled. Each further line,
    `{"seconds": s, "burst": n}`, is answered with the milliseconds per step of each burst of n steps.
    """
    task = json.loads(sys.stdin.readline())
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    device = "cuda" if torch.cuda.is_available() and task["accelerator"] else "cpu"
    synchronize = torch.cuda.synchronize if device == "cuda" else lambda: None
    start = time.perf_counter()
    step = random_step(Settings(**task["settings"], device=device), task["shapes"])
    for _ in range(2):
        step()
    synchronize()
    ready = {"version": torch.__version__, "device": device, "threads": torch.get_num_threads()}
    print(json.dumps(ready | {"seconds": time.perf_counter() - start}), flush=True)
    for line in sys.stdin:
        request, milliseconds = json.loads(line), []
        end = time.perf_counter() + request["seconds"]
        while not milliseconds or time.perf_counter() < end:
            start = time.perf_counter()
            for _ in range(request["burst"]):
                step()
            synchronize()
            milliseconds.append((time.perf_counter() - start) * 1e3 / request["burst"])
        print(json.dumps({"ms": milliseconds}), flush=True)


if __name__ == "__main__":
    serve()
