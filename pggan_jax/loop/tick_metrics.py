"""Sums of a tick's metrics: collected a little behind the devices, saved with a checkpoint, continued after a resume."""

from __future__ import annotations

import math
from collections import deque
from typing import Any, NamedTuple

import jax

from pggan_jax.checkpointing.metadata import CheckpointMetadata
from pggan_jax.loop.input_feed import StepChunk
from pggan_jax.training.multi_step import StepTotals

CALLS_IN_FLIGHT = 2


class Trouble(NamedTuple):
    """The longest row of iterations with a skipped update.

    Attributes:
        iterations: how many.
        chunk: the chunk in which there were so many; None where there were none.
    """

    iterations: int
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
        self._sums = dict(metadata.tick_sums)
        self._in_flight: deque[tuple[StepChunk, StepTotals]] = deque()
        self._skipped_before = metadata.tick_skipped
        self.skipped_in_a_row = metadata.skipped_in_a_row
        self.worst = Trouble(0)
        self.steps, self._left_out = metadata.tick_steps, metadata.tick_left_out
        self.images_in_process = 0

    def add(self, chunk: StepChunk, totals: StepTotals) -> None:
        """Take note of a call, and wait for the call before the last: the host then runs just ahead of the devices.

        Args:
            chunk: which steps.
            totals: what they returned; need not be ready.
        """
        self.steps += chunk.steps
        self.images_in_process += chunk.end - chunk.start
        self._in_flight.append((chunk, totals))
        self._collect(leave=CALLS_IN_FLIGHT)

    def settle(self) -> None:
        """Wait for all calls that were noted."""
        self._collect(leave=0)

    def _collect(self, *, leave: int) -> None:
        while len(self._in_flight) > leave:
            chunk, on_devices = self._in_flight.popleft()
            totals: StepTotals = jax.device_get(on_devices)
            self._left_out += int(totals.skipped_steps)
            self._sums = {name: self._sums.get(name, 0.0) + float(total) for name, total in totals.sums.items()}
            self.skipped_in_a_row = int(totals.skipped_in_a_row)
            if totals.longest_row > self.worst.iterations:
                self.worst = Trouble(int(totals.longest_row), chunk)

    def unfinished(self) -> dict[str, Any]:
        """The tick so far, as fields of `CheckpointMetadata`. Waits for the devices."""
        self.settle()
        return {
            "tick_sums": self._sums,
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
        means = {name: total / counted if counted else math.nan for name, total in self._sums.items()}
        record = {
            "steps": self.steps,
            **means,
            "skipped_steps": skipped,
            "skipped_steps_in_tick": skipped - self._skipped_before,
        }
        self._sums, self._skipped_before = {}, skipped
        self.steps, self._left_out, self.images_in_process = 0, 0, 0
        return record
