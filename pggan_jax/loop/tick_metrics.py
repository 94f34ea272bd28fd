"""Means of the metrics of a tick, and the state of the loop that hooks receive."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import jax

from pggan_jax.checkpointing.metadata import CheckpointMetadata
from pggan_jax.loop.input_feed import StepChunk
from pggan_jax.training.multi_step import StepTotals
from pggan_jax.training.train_state import TrainState

CHUNKS_IN_FLIGHT = 2


class DivergedError(Exception):
    """Too many steps in a row had an update that was skipped, as it was not finite.

    Attributes:
        steps: how many in a row.
        chunk: the chunk of steps in which there were so many.
        cause: what was not finite, as `diagnosis.first_nonfinite_gradient` names it; empty if it is not known.
    """

    def __init__(self, steps: int, chunk: StepChunk):
        super().__init__(f"{steps} steps in a row were skipped")
        self.steps, self.chunk, self.cause = steps, chunk, ""


class TickMetrics:
    """Add up the metrics of a tick, a little behind the devices.

    A step with a skipped update is left out and counted.

    Args:
        metadata: of the checkpoint that the run continues from, which may have been saved in the middle of a tick.
        patience: skipped steps in a row that are a divergence.

    Attributes:
        skipped_in_a_row: skipped steps in a row at the end of the last chunk that was collected.
    """

    def __init__(self, metadata: CheckpointMetadata, *, patience: int):
        self._patience = patience
        self._in_flight: deque[tuple[StepChunk, StepTotals]] = deque()
        self._sums = dict(metadata.tick_sums)
        # A metric that is new since that checkpoint lacks the first steps of the tick: there is no mean over all of them.
        self._first_sum = math.nan if metadata.tick_steps else 0.0
        self._steps, self._left_out = metadata.tick_steps, metadata.tick_left_out
        self._skipped_before = metadata.tick_skipped
        self.skipped_in_a_row = metadata.skipped_in_a_row

    def add(self, chunk: StepChunk, totals: StepTotals) -> None:
        """Add the totals of a chunk, and wait for the chunk before the last.

        The host runs just ahead of the devices.

        Args:
            chunk: which steps.
            totals: of these steps; they need not be ready.

        Raises:
            DivergedError: too many steps in a row were skipped. So do the other methods that wait for the devices.
        """
        self._steps += chunk.steps
        self._in_flight.append((chunk, totals))
        self._collect(leave=CHUNKS_IN_FLIGHT)

    def settle(self) -> None:
        """Wait for all chunks that were added."""
        self._collect(leave=0)

    def _collect(self, *, leave: int) -> None:
        longest, where = 0, None
        while len(self._in_flight) > leave:
            chunk, on_devices = self._in_flight.popleft()
            totals: StepTotals = jax.device_get(on_devices)
            self._left_out += int(totals.skipped_steps)
            self._sums = {name: self._sums.get(name, self._first_sum) + float(total) for name, total in totals.sums.items()}
            self.skipped_in_a_row = int(totals.skipped_in_a_row)
            if totals.longest_row > longest:
                longest, where = int(totals.longest_row), chunk
        if where is not None and longest >= self._patience:
            raise DivergedError(longest, where)

    def unfinished(self) -> dict[str, Any]:
        """Return the tick so far, as fields of `CheckpointMetadata`. Waits for the devices."""
        self.settle()
        return {
            "tick_sums": self._sums,
            "tick_steps": self._steps,
            "tick_left_out": self._left_out,
            "tick_skipped": self._skipped_before,
            "skipped_in_a_row": self.skipped_in_a_row,
        }

    def finish(self, skipped: int) -> dict[str, Any]:
        """End the tick, and begin the next. Waits for the devices.

        Args:
            skipped: updates skipped since the start of the run.

        Returns:
            Means of the metrics by name, NaN if every step of the tick was left out or the tick continues from a checkpoint
            without the metric; `steps`, `skipped_steps` and `skipped_steps_in_tick`.
        """
        self.settle()
        counted = self._steps - self._left_out
        record = {
            "steps": self._steps,
            **{name: total / counted if counted else math.nan for name, total in self._sums.items()},
            "skipped_steps": skipped,
            "skipped_steps_in_tick": skipped - self._skipped_before,
        }
        self._sums, self._first_sum, self._skipped_before = {}, 0.0, skipped
        self._steps, self._left_out = 0, 0
        return record


@dataclass
class LoopState:
    """Where the loop is after a chunk of steps, as hooks see it.

    Attributes:
        chunk: the last steps.
        state: after them, on the devices.
        alpha: weight of the newest layers in the last step.
        ticks: metrics since the tick began.
        rollbacks: how often the run went back after a divergence.
        training_seconds: since the run began.
        is_last: whether the run is complete.
        is_stopping: whether the run was asked to stop here.
        scores: headline values by metric, set by `EvaluationHook`.
        record: the tick as it is written to stats.jsonl; hooks add to it.
    """

    chunk: StepChunk
    state: TrainState
    alpha: float
    ticks: TickMetrics
    rollbacks: int
    training_seconds: float
    is_last: bool = False
    is_stopping: bool = False
    scores: dict[str, float] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)
