"""Sums of a tick's metrics: collected a little behind the devices, saved with a checkpoint, continued after a resume."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import jax
import numpy as np

from pggan_jax.checkpointing.metadata import CheckpointMetadata
from pggan_jax.loop.input_feed import StepChunk
from pggan_jax.training.train_step import METRICS

CALLS_IN_FLIGHT = 2


class Trouble(NamedTuple):
    """The longest row of iterations with a skipped update.

    Attributes:
        iterations: how many.
        leaf_discriminator, leaf_generator: what was not finite then, as `guarded_update` numbers it; -1 for nothing.
        chunk: the chunk in which there were so many; None where there were none.
    """

    iterations: int
    leaf_discriminator: int = -1
    leaf_generator: int = -1
    chunk: StepChunk | None = None

    @property
    def where(self) -> StepChunk:
        """`call`, where there were any such iterations."""
        assert self.chunk is not None
        return self.chunk


class TickMeter:
    """Metrics since the tick began.

    Args:
        metadata: of the checkpoint that the run continues from; it may carry the sums of a tick that was interrupted.

    Attributes:
        skipped_in_a_row: iterations with a skipped update up to the last call that was collected.
        worst: the longest such row that a call of this process has ended or continued. What an earlier process has stopped in
            counts when it goes on.
    """

    def __init__(self, metadata: CheckpointMetadata):
        self._sums = np.array([metadata.tick_sums.get(name, 0.0) for name in METRICS])
        self._in_flight: deque[tuple[StepChunk, jax.Array]] = deque()
        self._skipped_before = metadata.tick_skipped
        self.skipped_in_a_row = metadata.skipped_in_a_row
        self.worst = Trouble(0)
        self.steps, self._left_out = metadata.tick_steps, metadata.tick_left_out
        self.images_in_process = 0

    def add(self, chunk: StepChunk, numbers: jax.Array) -> None:
        """Take note of a call, and wait for the call before the last: the host then runs just ahead of the devices.

        Args:
            call: which.
            numbers: what it returned: `METRICS` and `TROUBLE`; need not be ready.
        """
        self.steps += chunk.steps
        self.images_in_process += chunk.end - chunk.start
        self._in_flight.append((chunk, numbers))
        self._collect(leave=CALLS_IN_FLIGHT)

    def settle(self) -> None:
        """Wait for all calls that were noted."""
        self._collect(leave=0)

    def _collect(self, *, leave: int) -> None:
        while len(self._in_flight) > leave:
            chunk, numbers = self._in_flight.popleft()
            *sums, in_a_row, longest, of_discriminator, of_generator, left_out = np.asarray(numbers, np.float64)
            self._left_out += int(left_out)
            self._sums = self._sums + sums
            self.skipped_in_a_row = int(in_a_row)
            if longest > self.worst.iterations:
                self.worst = Trouble(int(longest), int(of_discriminator), int(of_generator), chunk)

    def unfinished(self) -> dict[str, Any]:
        """The tick so far, as fields of `CheckpointMetadata`. Waits for the devices."""
        self.settle()
        return {
            "tick_sums": dict(zip(METRICS, self._sums.tolist(), strict=True)),
            "tick_steps": self.steps,
            "tick_left_out": self._left_out,
            "tick_skipped": self._skipped_before,
            "skipped_in_a_row": self.skipped_in_a_row,
        }

    def finish(self, skipped: int) -> dict[str, Any]:
        """End the tick and begin the next. Waits for the devices.

        Args:
            skipped: updates skipped since the start of the run.

        Returns:
            Means of the metrics by name, over iterations without a skipped update and not-a-number without any such; and
            `steps`, `skipped_steps` and `skipped_steps_in_tick`.
        """
        self.settle()
        counted = self.steps - self._left_out
        means = dict(zip(METRICS, (self._sums / (counted or np.nan)).tolist(), strict=True))
        record = {
            "steps": self.steps,
            **means,
            "skipped_steps": skipped,
            "skipped_steps_in_tick": skipped - self._skipped_before,
        }
        self._sums, self._skipped_before = np.zeros(len(METRICS)), skipped
        self.steps, self._left_out, self.images_in_process = 0, 0, 0
        return record
