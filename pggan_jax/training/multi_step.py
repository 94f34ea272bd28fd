"""Several train steps in one call of the compiled program, with the sums of their metrics."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from pggan_jax.config import Config
from pggan_jax.networks.build import Networks
from pggan_jax.training.step_inputs import Batch, SharedInputs, TracedSchedulePoint
from pggan_jax.training.train_state import TrainState
from pggan_jax.training.train_step import Metrics, train_step


class StepTotals(NamedTuple):
    """What the train steps of a call report.

    Attributes:
        sums: metrics by name, summed over the steps in which no update was skipped.
        skipped_steps: steps that the sums leave out, as an update was skipped (int32).
        skipped_in_a_row: such steps in a row at the end of the call, those of earlier calls included (int32).
        longest_row: the largest value of `skipped_in_a_row` after any step of the call (int32).
    """

    sums: Metrics
    skipped_steps: jax.Array
    skipped_in_a_row: jax.Array
    longest_row: jax.Array

    @classmethod
    def zeros(cls, names: Any) -> StepTotals:
        """Before the first step."""
        none = jnp.zeros((), jnp.int32)
        return cls({name: jnp.zeros((), jnp.float32) for name in names}, none, none, none)

    def add(self, metrics: Metrics, skipped_in_a_row: jax.Array) -> StepTotals:
        """Count one step."""
        is_skipped = skipped_in_a_row > 0
        return StepTotals(
            sums={name: total + jnp.where(is_skipped, 0.0, metrics[name]) for name, total in self.sums.items()},
            skipped_steps=self.skipped_steps + is_skipped,
            skipped_in_a_row=skipped_in_a_row,
            longest_row=jnp.maximum(self.longest_row, skipped_in_a_row),
        )


def run_steps(
    state: TrainState,
    batch: Batch,
    schedule_points: TracedSchedulePoint,
    shared: SharedInputs,
    count: jax.Array,
    *,
    step: Callable[..., tuple[TrainState, Metrics]],
) -> tuple[TrainState, StepTotals]:
    """Run the first `count` of the steps that the inputs are for.

    So a short last call needs no second program.

    Args:
        state: before the first step.
        batch: real images, `[steps, n_critic, samples, ...]`.
        schedule_points: one per step.
        shared: what all steps share.
        count: int32 scalar; ignored if the inputs are for one step.
        step: `train_step` with its keyword arguments.
    """

    def inputs(index: jax.Array | int) -> tuple[Batch, TracedSchedulePoint]:
        return jax.tree.map(lambda leaf: leaf[index], (batch, schedule_points))

    # No loop where it cannot help: inside one, XLA:CPU convolutions lose their fast path.
    if len(batch.sample_index) == 1:
        state, metrics = step(state, *inputs(0), shared)
        return state, StepTotals.zeros(metrics).add(metrics, state.skipped_in_a_row)
    step = jax.jit(step)  # traced once, for the names of its metrics and for the loop
    _, metrics = jax.eval_shape(step, state, *inputs(0), shared)

    def body(index: jax.Array, carry: tuple[TrainState, StepTotals]) -> tuple[TrainState, StepTotals]:
        state, metrics = step(carry[0], *inputs(index), shared)
        return state, carry[1].add(metrics, state.skipped_in_a_row)

    return lax.fori_loop(0, count, body, (state, StepTotals.zeros(metrics)))


def make_multi_step(config: Config, networks: Networks) -> Callable[..., tuple[TrainState, StepTotals]]:
    """Bind settings and networks to `run_steps` of `train_step`, for `devices.map_over_devices`."""
    step = partial(train_step, config=config, networks=networks)

    def multi_step(
        state: TrainState, batch: Batch, schedule_points: TracedSchedulePoint, shared: SharedInputs, count: jax.Array
    ) -> tuple[TrainState, StepTotals]:
        return run_steps(state, batch, schedule_points, shared, count, step=step)

    return multi_step
