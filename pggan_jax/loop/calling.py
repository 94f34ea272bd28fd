"""Calls of the train step, and what surrounds the first one at each resolution: compiling, and the gap since the last."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax

from pggan_jax.distributed import devices
from pggan_jax.loop.background_compile import NextResolution
from pggan_jax.loop.compiled_step import Program
from pggan_jax.loop.input_feed import Call
from pggan_jax.run_logs.compile_counter import CompileCounter
from pggan_jax.run_logs.phase_timer import PhaseTimer
from pggan_jax.training.train_state import TrainState


class GrowthGap:
    """Seconds between the last step of a resolution and the first of the next, with all that lies between."""

    def __init__(self) -> None:
        self._start: float | None = None
        self._seconds = 0.0

    def begin(self) -> None:
        """The last step is done."""
        self._start = time.perf_counter()

    def end(self) -> float | None:
        """The first step has begun. None if there was no last step: at the beginning of the run, or where it continues."""
        if self._start is None:
            return None
        gap, self._start = time.perf_counter() - self._start, None
        self._seconds += gap
        return gap

    def lap(self) -> float:
        """Seconds since the last lap; 0 when nothing has grown."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds


class Caller:
    """Has the program in use, and lets the next one be made ready.

    Args:
        next_resolution: makes programs.
        timer, counter, log: of the run.

    Attributes:
        gap: between resolutions.
    """

    def __init__(
        self, next_resolution: NextResolution, *, timer: PhaseTimer, counter: CompileCounter, log: Callable[[str], None]
    ):
        self._next, self._timer, self._counter, self._log = next_resolution, timer, counter, log
        self._program: Program | None = None
        self._called: Program | None = None
        self.gap = GrowthGap()

    @property
    def program(self) -> Program:
        """In use, from the first `use` on."""
        assert self._program is not None
        return self._program

    def use(self, resolution: int) -> None:
        """Take the program of a resolution, which is compiled by its first call at the latest."""
        if self._program is None or self._program.networks.resolution != resolution:
            self._program = self._next.program(resolution)

    def __call__(
        self, call: Call, describe_data: Callable[[int], str], state: TrainState, *arguments: Any
    ) -> tuple[TrainState, jax.Array]:
        """The new state and what else the step returns, which need not be ready; the old state is no more.

        Args:
            call: which one it is.
            describe_data: says where the data of a resolution are.
            state, arguments: of the train call.
        """
        if self._called is self.program:
            with self._counter.watch():
                return self.program.train_call(state, *arguments)
        resolution = call.stage.resolution
        size = f"{resolution}x{resolution}"
        self._log(f"data {size}: {describe_data(resolution)}")
        with self._timer.phase("compile"):
            if not self._next.wait(self.program):
                share = call.stage.batch_size // devices.device_count()
                in_parts = "" if self.program.parts == 1 else f" in {self.program.parts} parts"
                self._log(f"compiling the {size} step: {share} images per device{in_parts}")
            with self._counter.watch():
                results = self.program.train_call(state, *arguments)
        self._called = self.program
        gap = self.gap.end()
        if gap is not None:
            self._log(f"the first step at {size} began {gap:.2f} s after the last before")
        self._next.begin(call.end, resolution)
        return results
