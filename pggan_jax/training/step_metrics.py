"""Checks of what the loss functions return, made once, while the train step is traced."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from pggan_jax.stats_fields import HELD_OUT_FIELDS, LOOP_FIELDS, MEASUREMENT_PREFIX


def check_loss_result(result: Any, loss_fn: Callable[..., Any]) -> None:
    """Check that a loss function returned a pair of a loss and a dictionary of scalars.

    Args:
        result: what it returned.
        loss_fn: for the message.

    Raises:
        ValueError: it returned something else.
    """
    name = getattr(loss_fn, "__qualname__", "loss_fn").replace(".<locals>.", "'s ")
    rule = f"{name} must return (loss, {{name: scalar}})"
    if not isinstance(result, tuple) or len(result) != 2:
        raise ValueError(f"{rule}; it returns {type(result).__name__}, not a pair")
    loss, metrics = result
    if not isinstance(metrics, dict):
        raise ValueError(f"{rule}; its second value is {type(metrics).__name__}, not a dictionary")
    if unnamed := [key for key in metrics if not isinstance(key, str)]:
        raise ValueError(f"{rule}; the name {unnamed[0]!r} is not a string")
    for what, value in (("the loss", loss), *((repr(key), value) for key, value in metrics.items())):
        if not (isinstance(value, int | float) or hasattr(value, "dtype")):
            raise ValueError(f"{rule}; {what} is {type(value).__name__}, not a number")
        if np.shape(value) != ():
            raise ValueError(f"{rule}; {what} has shape {np.shape(value)}")


def check_metric_names(discriminator: Iterable[str], generator: Iterable[str]) -> None:
    """Check that the metrics of an iteration have names of their own.

    Args:
        discriminator: names of the metrics of the discriminator step.
        generator: names of the metrics of the generator step.

    Raises:
        ValueError: a name is in both, or is a field of stats.jsonl that the training loop writes.
    """
    if both := sorted({*discriminator} & {*generator}):
        raise ValueError(f"discriminator_step and generator_step both return the metric {both[0]!r}; rename one")
    for name in (*discriminator, *generator):
        if name in (*LOOP_FIELDS, *HELD_OUT_FIELDS) or name.startswith(MEASUREMENT_PREFIX):
            raise ValueError(f"the metric {name!r} has the name of a field that the loop writes to stats.jsonl; rename it")
