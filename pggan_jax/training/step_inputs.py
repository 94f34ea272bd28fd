"""Inputs of the train step."""

from __future__ import annotations

from typing import Any, NamedTuple

Array = Any
"""A `jax.Array` in the step and on devices, a `np.ndarray` on the host, a `jax.ShapeDtypeStruct` to compile ahead."""


class Batch(NamedTuple):
    """Real images of one device.

    A discriminator step takes `[samples, ...]`, a train step `[n_critic, samples, ...]`, and a call of several steps
    `[steps, n_critic, samples, ...]`.

    Attributes:
        images: uint8 `[..., height, width, channels]`; None in a generator step whose loss compares with no reals.
        labels: one-hot float32 `[..., label_size]`.
        sample_index: index of each sample in the global batch, uint32 `[...]`.
    """

    images: Array
    labels: Array
    sample_index: Array


class TracedSchedulePoint(NamedTuple):
    """A point of the schedule as traced scalars: one program serves fade and stable phase.

    Attributes:
        alpha: weight of the newest layers, in [0, 1]; float32, `[steps]` for a call of several steps.
        learning_rate: of both networks; as above.
        ema_decay: decay of the generator's moving average per discriminator step; as above.
        penalty_weight: gamma of R1 and R2 while a cosine schedule moves it; None for the constant `loss.r1_gamma`.
    """

    alpha: Array
    learning_rate: Array
    ema_decay: Array
    penalty_weight: Array | None = None


class SharedInputs(NamedTuple):
    """What all train steps of a call share.

    Attributes:
        noise_seed: seed of everything random in the step, uint32.
        class_table: the class of each image of the data, int32 `[images]`; labels of generated images are drawn from it.
    """

    noise_seed: Array
    class_table: Array
