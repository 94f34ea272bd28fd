"""The compiled step in use, and the next one, which is compiled in the background.

Compiling in the background changes nothing that is trained, as long as `run.microbatch` is the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import jax
import numpy as np

from pggan_jax.config import Config
from pggan_jax.data.loader import Loader
from pggan_jax.distributed import devices, processes
from pggan_jax.errors import first_line
from pggan_jax.loop.compiled_step import Program
from pggan_jax.loop.input_feed import StepChunk, abstract_batch_and_schedule_points
from pggan_jax.networks.build import Networks
from pggan_jax.run_logs.compile_counter import CompileCounter
from pggan_jax.run_logs.phase_timer import PhaseTimer
from pggan_jax.schedule import Schedule, Stage
from pggan_jax.training.multi_step import StepTotals
from pggan_jax.training.step_inputs import SharedInputs
from pggan_jax.training.train_state import TrainState, abstract_train_state


def abstract_arguments(config: Config, networks: Networks, *, loader: Loader, steps: int) -> tuple:
    """Return shapes, types and shardings of the step's arguments.

    With any others, the step would be compiled once more.

    Args:
        config: of the run.
        networks: of one resolution.
        loader: gives the classes.
        steps: iterations per call.
    """
    batch, schedule_points = abstract_batch_and_schedule_points(config, networks, steps=steps)
    return (
        devices.as_placed(abstract_train_state(config.optimizer, networks), devices.replicate),
        devices.as_placed(batch, devices.split),
        # What comes from the host at every call has no sharding.
        schedule_points,
        SharedInputs(
            noise_seed=jax.ShapeDtypeStruct((), np.uint32),
            class_table=devices.as_placed(jax.eval_shape(loader.class_table), devices.replicate),
        ),
        jax.ShapeDtypeStruct((), np.int32),
    )


def compile_program(program: Program, arguments: tuple, *, counter: CompileCounter, with_sampler: bool) -> None:
    """Compile the train step of a program, and its sampler for the run's sample grids.

    Args:
        program: of one resolution.
        arguments: of the step, from `abstract_arguments`.
        counter: counts the step.
        with_sampler: whether this host draws sample grids.
    """
    with counter.watch():
        program.multi_step.lower(*arguments).compile()
    if with_sampler:
        state: TrainState = arguments[0]
        params = devices.as_placed(state.generator_ema, devices.first_device)
        # If this fails, the first sample grid compiles the sampler and reports the failure.
        with suppress(Exception):
            program.sampler.compile_for(params)


class BackgroundCompiler:
    """Compile one resolution ahead, in a thread.

    Use it under `contextlib.closing`: a process that exits while XLA compiles crashes.

    Args:
        schedule: says which resolution is next.
        build: makes the program of a resolution.
        compile_ahead: compiles a program that was built.
        warn: logs a warning.
    """

    def __init__(
        self,
        schedule: Schedule,
        *,
        build: Callable[[int], Program],
        compile_ahead: Callable[[Program], None],
        warn: Callable[[str], None],
    ):
        self._schedule, self._build, self._compile_ahead, self._warn = schedule, build, compile_ahead, warn
        self._stage: Stage | None = None
        self._program: Program | None = None
        self._is_built = threading.Event()
        self._thread: threading.Thread | None = None
        self._problem = ""

    @property
    def is_busy(self) -> bool:
        """Whether a program is being compiled now."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def step_name(self) -> str:
        """The step that was started last, for messages."""
        return f"the {self._stage.shape} step" if self._stage else "no step"

    def start(self, images_seen: int, resolution: int) -> None:
        """Start compiling the resolution after `resolution`, whose own step is compiled.

        Does nothing at the last resolution; while another step is compiled, after a rollback; over several hosts, where `pmap`
        does not lower from the shapes of one host; and where the step in use needs more than half of an accelerator's memory,
        as XLA runs candidate kernels there while it compiles.
        """
        if not processes.is_only_process() or devices.device_memory_bytes() > devices.memory_limit_bytes() / 2:
            return
        stages = self._schedule.stages_between(images_seen, self._schedule.total_images)
        stage = next((stage for stage in stages if stage.resolution > resolution), None)
        if stage is None or self.is_busy or (self._stage and self._stage.resolution == stage.resolution):
            return
        self._stage, self._program, self._problem = stage, None, ""
        self._is_built.clear()
        # Not a daemon thread: a process that exits while XLA compiles crashes.
        self._thread = threading.Thread(target=self._run, args=(stage.resolution,), name="compile")
        self._thread.start()

    def program(self, resolution: int) -> Program:
        """Return the program of a resolution; it may still be compiled in the background."""
        if self._stage is not None and self._stage.resolution == resolution:
            self._is_built.wait()
            if self._program is not None:
                return self._program
        return self._build(resolution)

    def wait(self, program: Program) -> bool:
        """Wait until `program` is compiled; a failure is logged once.

        Returns:
            Whether it was compiled in the background.
        """
        if self._thread is None or self._stage is None or program.networks.resolution != self._stage.resolution:
            return False
        self._thread.join()
        problem, self._problem = self._problem, ""
        if problem:
            self._warn(f"{self.step_name} could not be compiled in the background: {problem}")
        return program is self._program and not problem

    def close(self) -> None:
        """Wait for what is being compiled."""
        if self._thread is not None:
            self._thread.join()

    def _run(self, resolution: int) -> None:
        """Build and compile. Building may compile, too, to find the microbatches that fit."""
        try:
            self._program = self._build(resolution)
            self._is_built.set()
            self._compile_ahead(self._program)
        except Exception as error:  # of any kind: the step is then compiled when it is needed
            self._problem = first_line(error)
        finally:
            self._is_built.set()


class GrowthGap:
    """Seconds between the last step of a resolution and the first of the next."""

    def __init__(self) -> None:
        self._start: float | None = None
        self._seconds = 0.0

    def start(self) -> None:
        """Record that the last step of a resolution is done."""
        self._start = time.perf_counter()

    def stop(self) -> float | None:
        """Return the gap once the first step has started; None if no step came before it."""
        if self._start is None:
            return None
        gap, self._start = time.perf_counter() - self._start, None
        self._seconds += gap
        return gap

    def reset(self) -> None:
        """Forget everything: the run continues from an earlier checkpoint."""
        self._start, self._seconds = None, 0.0

    def end_tick(self) -> float:
        """Return the seconds since the last call; 0 if the networks did not grow."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds


class StepRunner:
    """Run the step of the current resolution, and have the next one compiled.

    Args:
        compiler: makes programs.
        timer, counter, log: of the run.

    Attributes:
        gap: time between resolutions.
    """

    def __init__(self, compiler: BackgroundCompiler, *, timer: PhaseTimer, counter: CompileCounter, log: Callable[[str], None]):
        self._compiler, self._timer, self._counter, self._log = compiler, timer, counter, log
        self._program: Program | None = None
        self._started: Program | None = None
        self.gap = GrowthGap()

    @property
    def compiles(self) -> int:
        """Train steps compiled so far in this process."""
        return self._counter.count

    @property
    def program(self) -> Program:
        """The program in use, from the first `use` on."""
        assert self._program is not None
        return self._program

    def use(self, resolution: int) -> None:
        """Use the program of a resolution, which is compiled by its first step at the latest."""
        if self._program is None or self._program.networks.resolution != resolution:
            self._program = self._compiler.program(resolution)

    def __call__(
        self, chunk: StepChunk, describe_data: Callable[[int], str], state: TrainState, *arguments: Any
    ) -> tuple[TrainState, StepTotals]:
        """Run the steps of a chunk.

        Args:
            chunk: which steps.
            describe_data: says where the data of a resolution are, for the log.
            state, arguments: of `multi_step`. The state is donated: it cannot be used any more.

        Returns:
            The new state, and the totals of the steps, which may not be ready yet.
        """
        if self._started is self.program:
            with self._counter.watch():
                return self.program.multi_step(state, *arguments)
        resolution, size = chunk.stage.resolution, chunk.stage.shape
        self._log(f"data {size}: {describe_data(resolution)}")
        with self._timer.phase("compile"):
            if not self._compiler.wait(self.program):
                share = chunk.stage.batch_size // devices.device_count()
                count = self.program.microbatches
                in_microbatches = "" if count == 1 else f" in {count} microbatches"
                self._log(f"compiling the {size} step: {share} images per device{in_microbatches}")
            with self._counter.watch():
                results = self.program.multi_step(state, *arguments)
        self._started = self.program
        gap = self.gap.stop()
        if gap is not None:
            self._log(f"the first {size} step started {gap:.2f} s after the last step before it")
        self._compiler.start(chunk.end, resolution)
        return results

    def close(self) -> None:
        """Wait for what is compiled in the background."""
        if self._compiler.is_busy:
            self._log(f"waiting until {self._compiler.step_name} is compiled, as this cannot be interrupted")
        self._compiler.close()
