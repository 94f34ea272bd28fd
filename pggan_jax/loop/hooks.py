"""What happens at the end of each tick: one class per job, called in the order of `Hooks`.

To add a job, write a `Hook`, add it to `Hooks`, and create it in `run_setup.start_run`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from pggan_jax.checkpointing.manager import Checkpoints
from pggan_jax.checkpointing.metadata import CheckpointMetadata
from pggan_jax.config import Config
from pggan_jax.data.loader import Loader
from pggan_jax.data.watched_files import Verification
from pggan_jax.distributed import devices, processes
from pggan_jax.loop.background_compile import StepRunner
from pggan_jax.loop.image_grids import SampleGrids
from pggan_jax.loop.microbatch_choice import MicrobatchChoice
from pggan_jax.loop.periodic_eval import HeldOutGap, PeriodicEvaluator, failure_message
from pggan_jax.loop.tick_metrics import LoopState
from pggan_jax.networks.cost import relative_cost
from pggan_jax.run_logs.console import process_memory_bytes, status_line
from pggan_jax.run_logs.eta import EtaEstimator
from pggan_jax.run_logs.jsonl import MetricLogs, StatsLog
from pggan_jax.run_logs.phase_timer import PhaseTimer
from pggan_jax.run_logs.run_log import RunLog
from pggan_jax.run_logs.tensorboard import TensorBoardWriter
from pggan_jax.run_logs.workdir import Workdir
from pggan_jax.schedule import Schedule
from pggan_jax.stats_fields import MEASUREMENT_PREFIX
from pggan_jax.training.train_state import TrainState


@dataclass(frozen=True)
class Run:
    """What the loop and its hooks share.

    Attributes:
        config: the settings.
        loader: the data.
        schedule: phases and ticks.
        paths: the workdir.
        log: log.txt and events.jsonl.
        timer: seconds by phase of the current tick.
        microbatches: how batches are split at each resolution.
        step: the compiled step of the current resolution.
    """

    config: Config
    loader: Loader
    schedule: Schedule
    paths: Workdir
    log: RunLog
    timer: PhaseTimer
    microbatches: MicrobatchChoice
    step: StepRunner


class Hook:
    """A job at the end of each tick. Every process calls every hook, in the same order."""

    def start(self, state: TrainState, metadata: CheckpointMetadata) -> None:
        """Do what is due before the first step, and again after each rollback.

        Args:
            state: on the devices.
            metadata: of the checkpoint, or of the new run.
        """

    def __call__(self, now: LoopState) -> None:
        """Do what is due at the end of a tick."""

    def finish(self) -> None:
        """Do what is due when the run is complete or stops; called in the reverse order."""


class VerificationHook(Hook):
    """Stop the run with an error when the prepared data are found to be damaged."""

    def __init__(self, verification: Verification):
        self._verification = verification

    def __call__(self, now: LoopState) -> None:
        """Raise UserError on every process if damage was found so far."""
        processes.raise_everywhere(self._verification.problem(wait=False))


class SampleGridHook(Hook):
    """Write reals.png before the first step, and a sample grid there and after each tick."""

    def __init__(self, run: Run, grids: SampleGrids):
        self._run, self._grids = run, grids

    def start(self, state: TrainState, metadata: CheckpointMetadata) -> None:
        """Draw the grids of a new run."""
        if metadata.images_seen == 0 and processes.is_main_process():
            with self._run.timer.phase("snapshot"):
                self._grids.write_reals()
                self._draw(state, alpha=self._run.schedule.at(0).alpha, images_seen=0)

    def __call__(self, now: LoopState) -> None:
        """Draw the sample grid of the tick."""
        if processes.is_main_process():
            with self._run.timer.phase("snapshot"), self._run.log.warning_on_os_error("its sample grid"):
                self._draw(now.state, alpha=now.alpha, images_seen=now.chunk.end)

    def _draw(self, state: TrainState, *, alpha: float, images_seen: int) -> None:
        sampler = self._run.step.program.sampler
        params = sampler.with_statistics(devices.first_device(state.generator_ema), alpha=alpha)
        self._grids.write_fakes(sampler, params, alpha=alpha, images_seen=images_seen)


class EvaluationHook(Hook):
    """Measure the metrics that are due. A measurement that fails does not stop the run."""

    def __init__(self, run: Run, evaluator: PeriodicEvaluator, *, logs: MetricLogs):
        self._run, self._evaluator, self._logs = run, evaluator, logs

    def start(self, state: TrainState, metadata: CheckpointMetadata) -> None:
        """Drop measurements that the run will make again."""
        with self._run.log.warning_on_os_error("dropping earlier measurements that will be made again"):
            self._logs.begin_at(metadata.images_seen, metadata.unwritten)

    def __call__(self, now: LoopState) -> None:
        """Measure, if the tick ends with a measurement."""
        run, chunk = self._run, now.chunk
        if not self._evaluator.is_due(chunk.tick.index, chunk.stage.resolution, is_last=now.is_last):
            return
        with run.timer.phase("evaluate"):
            params = devices.first_device(now.state.generator_ema)
            measured = self._evaluator(run.step.program, params, alpha=now.alpha, images_seen=chunk.end)
        if measured.problem:
            run.log.warning(f"going on without measuring at kimg {chunk.end / 1000:.1f}: {measured.problem}")
        for record in measured.records:
            with run.log.warning_on_os_error(f"its line in metric-{record['metric']}.jsonl, which follows with the next"):
                self._logs.append(record)
        now.scores.update(measured.scores)
        now.record |= {MEASUREMENT_PREFIX + self._evaluator.public_name(name): value for name, value in measured.scores.items()}

    def finish(self) -> None:
        """Write lines that a full disk did not take."""
        self._logs.write_rest()


class HeldOutHook(Hook):
    """Add the held-out gap to the record of the tick; a failure does not stop the run."""

    def __init__(self, run: Run, gap: HeldOutGap):
        self._run, self._gap = run, gap

    def __call__(self, now: LoopState) -> None:
        """Score training and held-out images, if some are held out."""
        run = self._run
        if not processes.is_main_process():
            return
        with run.timer.phase("evaluate"):
            try:
                now.record |= self._gap(run.step.program, devices.first_device(now.state.discriminator), alpha=now.alpha)
            except Exception as error:  # of any kind: training goes on
                run.log.warning(f"going on without held_out_gap at kimg {now.chunk.end / 1000:.1f}: {failure_message(error)}")


class StatsHook(Hook):
    """Add times and speed to the record of the tick; write stats.jsonl and the status line.

    Attributes:
        last_record: of the last tick; empty before the first.
    """

    def __init__(self, run: Run, stats: StatsLog):
        self._run, self._stats = run, stats
        self._eta = EtaEstimator({one: relative_cost(run.config, one) for one in run.schedule.resolutions})
        self._started_at = 0
        self.last_record: dict[str, Any] = {}

    def start(self, state: TrainState, metadata: CheckpointMetadata) -> None:
        """Drop lines that the run will write again, and warn if earlier ones are missing."""
        self._started_at = metadata.images_seen
        self._stats.begin_at(metadata.images_seen, metadata.unwritten)
        if missing := self._stats.missing(self._run.schedule.ticks, metadata.images_seen):
            path = self._run.paths.stats
            self._run.log.warning(f"{path}: the lines of {missing:,} finished ticks are missing; they are lost")

    def __call__(self, now: LoopState) -> None:
        """Write the record of the tick."""
        run, chunk, time = self._run, now.chunk, self._run.timer.end_tick()
        images = run.schedule.images_between(max(self._started_at, chunk.tick.start), chunk.end)
        self._eta.observe(images, time.training)
        now.record |= {
            "images_per_second": sum(images.values()) / time.training,
            **time.record(),
            "training_seconds": now.training_seconds,
            "growth_gap_seconds": run.step.gap.end_tick(),
            "compiles": run.step.compiles,
            "memory_bytes": devices.device_memory_bytes() or process_memory_bytes(),
            "eta_seconds": self.eta_seconds(chunk.end),
        }
        self.last_record = now.record
        # Before the checkpoint: if the process is killed in between, the line is dropped and written again.
        with run.log.warning_on_os_error("its line in stats.jsonl, which follows with the next"):
            self._stats.append(now.record)
        run.log(status_line(now.record, size=now.chunk.stage.shape.label))

    def eta_seconds(self, images_seen: int) -> float:
        """Return the estimated seconds to the end of the run.

        NaN before the first tick has ended, unless schedule.total_minutes bounds them.
        """
        schedule = self._run.schedule
        seconds = self._eta.seconds(schedule.images_between(images_seen, schedule.total_images))
        if math.isinf(schedule.total_seconds):
            return seconds
        left = max(0.0, schedule.total_seconds - self._run.timer.training_seconds)
        return left if math.isnan(seconds) else min(seconds, left)

    def finish(self) -> None:
        """Write lines that a full disk did not take."""
        self._stats.write_rest()


class TensorBoardHook(Hook):
    """Write the record of the tick for TensorBoard; does nothing if `writer` is None."""

    def __init__(self, run: Run, writer: TensorBoardWriter | None):
        self._run, self._writer = run, writer

    def __call__(self, now: LoopState) -> None:
        """Write the record of the tick."""
        if self._writer:
            with self._run.log.warning_on_os_error("TensorBoard"):
                self._writer.write(now.record)


class CheckpointHook(Hook):
    """Save checkpoints every `run.checkpoint_ticks` ticks, and when the run ends or stops.

    Args:
        run: gives settings, log, timer and microbatches.
        checkpoints: of the run.
        verification: of the data, which must have ended before anything is saved.
        line_logs: their unwritten lines are saved in the checkpoint.
    """

    def __init__(
        self, run: Run, checkpoints: Checkpoints, *, verification: Verification, line_logs: tuple[StatsLog, MetricLogs]
    ):
        self._run, self._checkpoints, self._verification, self._line_logs = run, checkpoints, verification, line_logs

    def __call__(self, now: LoopState) -> None:
        """Save, if the tick ends with a checkpoint."""
        is_due = (now.chunk.tick.index + 1) % self._run.config.run.checkpoint_ticks == 0
        if now.is_stopping or now.is_last or (is_due and not now.ticks.skipped_in_a_row):
            self.save(now)
        elif is_due:
            self._run.log("no checkpoint here: the last update was skipped, as it was not finite")

    def save(self, now: LoopState) -> None:
        """Save in the background; a save that has failed is logged as a warning.

        Raises:
            DivergedError: too many updates in a row were skipped.
            UserError: the data are damaged, or the folder of the checkpoints is gone.
        """
        run, unfinished = self._run, now.ticks.unfinished()
        with run.timer.phase("save"):
            processes.raise_everywhere(self._verification.problem(wait=True))
            metadata = CheckpointMetadata.from_tick(
                now.chunk.end,
                unfinished,
                networks=run.step.program.networks,
                alpha=now.alpha,
                rollbacks=now.rollbacks,
                training_seconds=now.training_seconds,
                scores=now.scores,
                microbatches=run.microbatches.record(),
                unwritten="".join(log.unwritten for log in self._line_logs),
            )
            for failure in self._checkpoints.save(now.state, metadata):
                run.log.warning(f"{failure}; training goes on, and the next checkpoint is tried as usual")
        run.log.event("save", "", resolution=metadata.resolution, scores=now.scores)

    def finish(self) -> None:
        """Wait for the last save; raise UserError if it has failed."""
        self._checkpoints.require_saved()


class Hooks(NamedTuple):
    """All hooks, in the order of calls: what is measured is saved with the checkpoint."""

    verification: VerificationHook
    grids: SampleGridHook
    evaluation: EvaluationHook
    held_out: HeldOutHook
    stats: StatsHook
    tensorboard: TensorBoardHook
    checkpoint: CheckpointHook
