"""A plain PyTorch train step of the same mathematics, for `experiments/benchmarks/train_step.py` to compare with.

Written as a PyTorch user would: channels-last, autocast, fused Adam. WGAN-GP with drift, equalized learning rate, fused
scaling, pixel norm, strided minibatch stddev, Adam with b1 = 0 and the authors' epsilon, moving average. A guard against
gradients that are not finite, which this program has, is left out. `tests/experiments/test_benchmark.py` proves that losses
and updated parameters are those of this program.

It must not know JAX: PyTorch may live in a Python of its own, where this file runs as a worker that is told on its standard
input how long to train.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch_networks import Networks, Parameters, Settings, to_torch


class Step:
    """State and train step.

    Args:
        settings: numbers.
        generator, discriminator: first parameters, as `to_torch` makes them.
    """

    def __init__(self, settings: Settings, generator: Parameters, discriminator: Parameters):
        self._settings = settings
        self._networks = Networks(settings)
        self.generator = {path: leaf.requires_grad_() for path, leaf in generator.items()}
        self.discriminator = {path: leaf.requires_grad_() for path, leaf in discriminator.items()}
        self.generator_ema = {path: leaf.detach().clone() for path, leaf in generator.items()}
        self._adam_of_generator = self._adam(self.generator)
        self._adam_of_discriminator = self._adam(self.discriminator)
        self._steps = 0
        gradients = self._gradients_by_functions if settings.is_compiled else _gradients_by_tape
        # Each loss with all that it is differentiated by is one program, as training alternates between the two.
        optimize = torch.compile if settings.is_compiled else lambda function: function
        self._critic_gradients = optimize(lambda params, *inputs: gradients(self.critic_loss, params, *inputs))
        self._generator_gradients = optimize(lambda params, *inputs: gradients(self.generator_loss, params, *inputs))

    def _adam(self, params: Parameters) -> torch.optim.Adam:
        return torch.optim.Adam(
            list(params.values()), lr=self._settings.learning_rate, betas=(0.0, self._settings.beta2), fused=True
        )

    def __call__(
        self, images: torch.Tensor, latents: tuple[torch.Tensor, torch.Tensor] | None = None, mixing: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One iteration.

        Args:
            images: uint8 `[batch, resolution, resolution, channels]` on the device.
            latents: of the critic's update and of the generator's; None draws them.
            mixing: U[0, 1], `[batch]`; None draws it.

        Returns:
            Losses of critic and generator, each before its update.
        """
        count, size, device = self._settings.batch_size, self._settings.latent_size, images.device
        of_critic, of_generator = latents or torch.randn(2, count, size, device=device)
        mixing = torch.rand(count, device=device) if mixing is None else mixing
        reals = self._prepare(images)
        with torch.no_grad(), self._precision():
            fakes = self._networks.generate(self.generator, of_critic)
        self._steps += 1
        gradients, critic_loss = self._critic_gradients(self._given(self.discriminator), reals, fakes, mixing)
        self._update(self._adam_of_discriminator, self.discriminator, gradients)
        with torch.no_grad():
            averages, newest = list(self.generator_ema.values()), list(self.generator.values())
            torch._foreach_lerp_(averages, newest, 1.0 - self._settings.ema_decay)
        critic = _detached(self.discriminator)
        gradients, generator_loss = self._generator_gradients(self._given(self.generator), critic, of_generator)
        self._update(self._adam_of_generator, self.generator, gradients)
        return critic_loss, generator_loss

    def _given(self, params: Parameters) -> Parameters:
        """As the gradient functions want them: the compiled ones bring their own notion of what to differentiate."""
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

    def critic_loss(
        self, params: Parameters, reals: torch.Tensor, fakes: torch.Tensor, mixing: torch.Tensor, *, derive: Callable
    ) -> torch.Tensor:
        """WGAN-GP with drift; `derive` gives the gradient of a scalar function that can be differentiated again."""
        settings = self._settings
        with self._precision():
            real_scores, fake_scores = self._networks.judge(params, torch.cat([reals, fakes]), parts=2).chunk(2)
        mixed = reals + (fakes - reals) * mixing.view(-1, 1, 1, 1)

        def total_score(x: torch.Tensor) -> torch.Tensor:
            with self._precision():
                return self._networks.judge(params, x).sum()

        norms = derive(total_score)(mixed).float().square().sum((1, 2, 3)).sqrt() / settings.resolution_ratio
        penalty = (norms - settings.gp_target).square().mean() * (settings.gp_weight / settings.gp_target**2)
        return fake_scores.mean() - real_scores.mean() + penalty + settings.drift * real_scores.square().mean()

    def generator_loss(
        self, params: Parameters, discriminator: Parameters, latents: torch.Tensor, *, derive: Callable
    ) -> torch.Tensor:
        """Minus the mean score of what the generator makes."""
        del derive
        with self._precision():
            return -self._networks.judge(discriminator, self._networks.generate(params, latents)).mean()

    @staticmethod
    def _gradients_by_functions(loss: Callable, params: Parameters, *inputs: Any) -> tuple[list[torch.Tensor], torch.Tensor]:
        """The form that `torch.compile` can differentiate twice."""
        gradients, value = torch.func.grad_and_value(lambda p: loss(p, *inputs, derive=torch.func.grad))(params)
        return [gradients[path] for path in params], value

    def _update(self, adam: torch.optim.Adam, params: Parameters, gradients: list[torch.Tensor]) -> None:
        for leaf, gradient in zip(params.values(), gradients, strict=True):
            # Fused Adam walks through both in the order of their memory.
            leaf.grad = gradient if gradient.stride() == leaf.stride() else torch.empty_like(leaf).copy_(gradient)
        # The authors add epsilon before bias correction, PyTorch after it.
        adam.param_groups[0]["eps"] = self._settings.epsilon / math.sqrt(1.0 - self._settings.beta2**self._steps)
        adam.step()


def _gradients_by_tape(loss: Callable, params: Parameters, *inputs: Any) -> tuple[list[torch.Tensor], torch.Tensor]:
    def derive(function: Callable) -> Callable:
        def derivative(x: torch.Tensor) -> torch.Tensor:
            x = x.detach().requires_grad_()
            return torch.autograd.grad(function(x), x, create_graph=True)[0]

        return derivative

    value = loss(params, *inputs, derive=derive)
    gradients = torch.autograd.grad(value, list(params.values()), materialize_grads=True)
    return list(gradients), value.detach()


def _detached(params: Parameters) -> Parameters:
    return {path: leaf.detach() for path, leaf in params.items()}


def random_step(settings: Settings, shapes: Mapping[str, Mapping[str, list[int]]]) -> Callable[[], None]:
    """A step on noise, from random parameters of the program's shapes."""
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


def work() -> None:
    """Obey lines of JSON: first settings and shapes, then `{"seconds": s, "burst": n}`, answered by milliseconds per step."""
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
    work()
