"""The next resolution made ready in the background: its step and its pictures are compiled while the current one trains.

Compiling changes nothing that is trained, as long as the parts of a batch are the same (`run.microbatch`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import jax
import numpy as np

from pggan_jax.config import Config
from pggan_jax.data.loader import Loader
from pggan_jax.distributed import devices, processes
from pggan_jax.errors import first_line
from pggan_jax.loop.compiled_step import Program
from pggan_jax.loop.input_feed import abstract_batch_and_controls
from pggan_jax.networks.build import Networks
from pggan_jax.run_logs.compile_counter import CompileCounter
from pggan_jax.schedule import Schedule, Stage
from pggan_jax.training.train_state import TrainState, abstract_train_state


def abstract_arguments(config: Config, networks: Networks, loader: Loader, steps: int) -> tuple:
    """Shapes, types and places of what the step is called with. In any other form it would be compiled once more.

    Args:
        config: of the run.
        networks: of one resolution.
        loader: gives the classes.
        steps: iterations per call.
    """
    batch, controls = abstract_batch_and_controls(config, networks, steps)
    return (
        devices.as_placed(abstract_train_state(config.optimizer, networks), devices.replicate),
        devices.as_placed(batch, devices.split),
        devices.as_placed(jax.eval_shape(loader.class_table), devices.replicate),
        # From the host at every call, so without a place.
        controls,
        jax.ShapeDtypeStruct((), np.int32),
    )


class NextResolution:
    """Compiles one resolution ahead. Use it under `contextlib.closing`: XLA must not be at work when the process ends.

    Args:
        config, schedule, loader, steps_per_call: of the run.
        build: makes the program of a resolution.
        pictures: how many are drawn at once, 0 for none.
        counter: told of the step, as of one that is compiled in front of everybody.
        log: of the run.
    """

    def __init__(
        self,
        config: Config,
        schedule: Schedule,
        loader: Loader,
        *,
        steps_per_call: int,
        build: Callable[[int], Program],
        pictures: int,
        counter: CompileCounter,
        log: Callable[[str], None],
    ):
        self._config, self._schedule, self._loader = config, schedule, loader
        self._steps_per_call, self._build, self._pictures, self._counter = steps_per_call, build, pictures, counter
        self._log = log
        self._stage: Stage | None = None
        self._program: Program | None = None
        self._is_built = threading.Event()
        self._thread: threading.Thread | None = None
        self._problem = ""

    @property
    def is_busy(self) -> bool:
        """Whether something is being compiled at this moment."""
        return self._thread is not None and self._thread.is_alive()

    def begin(self, images_seen: int, resolution: int) -> None:
        """Start with what the run will grow to after `resolution`. To be called when its own step is compiled.

        Does nothing at the largest resolution of the run, nor while something else is being compiled: after a return to an
        older checkpoint. Nor over several hosts, where `pmap` does not lower from the shapes that one host has; nor where the
        step in use needs most of an accelerator's memory, as XLA tries kernels out there while it compiles.
        """
        if not processes.is_only_process() or devices.device_memory_bytes() > devices.memory_limit_bytes() / 2:
            return
        stages = self._schedule.stages_between(images_seen, self._schedule.total_images)
        stage = next((stage for stage in stages if stage.resolution > resolution), None)
        if stage is None or self.is_busy or (self._stage and self._stage.resolution == stage.resolution):
            return
        self._stage, self._program, self._problem = stage, None, ""
        self._is_built.clear()
        # No daemon: a process that ends while XLA is at work crashes.
        self._thread = threading.Thread(target=self._prepare, args=(stage,), name="compile")
        self._thread.start()

    def program(self, resolution: int) -> Program:
        """The program that was begun with, which need not be compiled yet, or else a new one."""
        if self._stage is not None and self._stage.resolution == resolution:
            self._is_built.wait()
            if self._program is not None:
                return self._program
        return self._build(resolution)

    def wait(self, program: Program) -> bool:
        """Until `program` is no longer being compiled. If that was tried in vain, the log says why, once.

        Returns:
            Whether it is compiled.
        """
        if self._thread is None or self._stage is None or program.networks.resolution != self._stage.resolution:
            return False
        self._thread.join()
        problem, self._problem = self._problem, ""
        if problem:
            self._log(f"WARNING: {self._step_name} could not be compiled in the background: {problem}")
        return program is self._program and not problem

    def close(self) -> None:
        """Wait for what is being compiled."""
        if self.is_busy:
            self._log(f"waiting until {self._step_name} is compiled, as that cannot be interrupted")
        if self._thread is not None:
            self._thread.join()

    @property
    def _step_name(self) -> str:
        assert self._stage is not None, "what is spoken of has begun"
        return f"the {self._stage.resolution}x{self._stage.resolution} step"

    def _prepare(self, stage: Stage) -> None:
        """In the thread. Building comes first and may compile, too, to see what fits into memory."""
        try:
            self._program = self._build(stage.resolution)
            self._is_built.set()
            self._compile(self._program)
        except Exception as error:  # of any kind: what is not ready is compiled when it is needed
            self._problem = first_line(error)
        finally:
            self._is_built.set()

    def _compile(self, program: Program) -> None:
        arguments = abstract_arguments(self._config, program.networks, self._loader, self._steps_per_call)
        with self._counter.watch():
            program.train_call.lower(*arguments).compile()
        if self._pictures:
            state: TrainState = arguments[0]
            params = devices.as_placed(state.generator_ema, devices.first_device)
            # If this fails, drawing will compile them, and tell of the failure.
            with suppress(Exception):
                program.sampler.compile_for(params)
