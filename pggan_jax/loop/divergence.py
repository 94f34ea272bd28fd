"""Rollbacks: a run that has diverged continues from an earlier checkpoint, with other noise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pggan_jax.checkpointing.manager import Checkpoints
from pggan_jax.checkpointing.restore import StartingPoint, roll_back
from pggan_jax.config import Config
from pggan_jax.distributed import processes
from pggan_jax.errors import UserError, first_line
from pggan_jax.loop.compiled_step import Program
from pggan_jax.loop.hooks import Run
from pggan_jax.loop.input_feed import InputFeed, StepChunk
from pggan_jax.loop.tick_metrics import DivergedError
from pggan_jax.schedule import Schedule
from pggan_jax.system.files import write_atomically
from pggan_jax.system.json_files import is_count, read_json_object
from pggan_jax.training.diagnosis import first_nonfinite_gradient
from pggan_jax.training.train_state import TrainState

# The golden ratio in 32 bits: multiples of it are spread evenly, so no rollback draws the noise of a neighbouring seed.
_SPREAD = 0x9E3779B9
_REPORTED = ("kimg", "resolution", "alpha", "loss_g", "loss_d", "gradient_penalty")


def seed_after(seed: int, rollbacks: int) -> int:
    """Return the seed of all noise after so many rollbacks; without any, the seed of the run."""
    return (seed + rollbacks * _SPREAD) % 2**32


def find_cause(state: TrainState, feed: InputFeed, *, chunk: StepChunk, program: Program) -> str:
    """Repeat the first step of a chunk, and name what is not finite in each update.

    The program that does this keeps the state, so it needs more memory than the train step. If it fails, the run still goes
    back to an earlier checkpoint.

    Args:
        state: on the devices.
        feed: makes the inputs of the chunk again.
        chunk: in which the run has diverged.
        program: of the resolution of `state`.

    Returns:
        As `first_nonfinite_gradient`, or "unknown" with the error.
    """
    try:
        _, (batch, points, shared, _) = feed(chunk)
        return first_nonfinite_gradient(state, batch, points, shared, config=program.config, networks=program.networks)
    except Exception as error:  # of any kind, such as too little memory on the devices
        return f"unknown, as the step could not be repeated ({first_line(error)})"


def describe_divergence(config: Config, diverged: DivergedError, *, last_record: Mapping[str, Any]) -> str:
    """Describe in one line what was not finite, where, and the last statistics.

    Args:
        config: of the run.
        diverged: with its cause, if it is known.
        last_record: the last line of stats.jsonl; may be empty.
    """
    chunk = diverged.chunk
    alpha = Schedule.of(config).at(chunk.last_step).alpha
    statistics = [f"{name} {last_record[name]:.4g}" for name in _REPORTED if last_record.get(name) is not None]
    return (
        f"{diverged.steps} iterations in a row had no finite update (run.patience = {config.run.patience}); "
        f"first not finite: {diverged.cause or 'nothing, when the step was repeated'}; at kimg {chunk.end / 1000:.1f}, "
        f"{chunk.stage.name}, alpha {alpha:.3f}; last statistics: {', '.join(statistics) or 'none yet'}; "
        "a lower schedule.learning_rate helps most often"
    )


class Rollbacks:
    """Go back to an earlier checkpoint after a divergence, at most `run.max_rollbacks` times.

    Args:
        run: gives settings, data, log and the compiled step.
        checkpoints: of the run.
    """

    def __init__(self, run: Run, checkpoints: Checkpoints):
        self._run, self._checkpoints = run, checkpoints
        self._count = RollbackCount(run.paths.rollbacks)
        self._rollbacks = 0

    def begin_at(self, start: StartingPoint) -> StartingPoint:
        """Prepare the run for a starting point, and count the rollbacks up to it.

        Raises:
            UserError: the run had given up here; the message is its report.
        """
        run, metadata = self._run, start.metadata
        run.log.images_seen = metadata.images_seen
        run.log.lines(start.lines)
        noted, report = self._count.at(metadata.images_seen)
        if noted > run.config.run.max_rollbacks:
            raise UserError(report)
        self._rollbacks = max(metadata.rollbacks, noted)
        run.microbatches.take_over(metadata.microbatches)
        run.step.use(metadata.resolution)
        run.step.gap.reset()
        return replace(start, metadata=replace(metadata, rollbacks=self._rollbacks))

    def roll_back(self, diverged: DivergedError, *, last_record: Mapping[str, Any]) -> StartingPoint:
        """Return the checkpoint from which a diverged run continues with other noise.

        Raises:
            UserError: the run has gone back often enough; the message is the report.
        """
        run, limit = self._run, self._run.config.run.max_rollbacks
        report = describe_divergence(run.config, diverged, last_record=last_record)
        if self._rollbacks >= limit:
            report = (
                f"the run has diverged and stopped after {self._rollbacks} rollbacks: {report}; to go on, change settings with "
                "--allow_config_change"
            )
            self._note(self._rollbacks + 1, max(self._checkpoints.all_images_seen(), default=0), report=report)
            raise UserError(report)
        run.log.event("divergence", f"WARNING: the run has diverged: {report}", rollbacks=self._rollbacks)
        rollbacks = self._rollbacks + 1
        start = roll_back(run.config, run.loader, checkpoints=self._checkpoints, rollbacks=rollbacks)
        self._note(rollbacks, start.metadata.images_seen, report=report)
        start = self.begin_at(start)
        message = f"rollback {rollbacks} of {limit}: going on from there with other noise"
        run.log.event("rollback", message, rollbacks=rollbacks, resolution=start.metadata.resolution)
        return start

    def _note(self, rollbacks: int, images_seen: int, *, report: str) -> None:
        if processes.is_main_process():
            with self._run.log.warning_on_os_error("a note of its rollbacks"):
                self._count.note(rollbacks, images_seen=images_seen, report=report)


class RollbackCount:
    """The number of rollbacks to the point where a run continues, kept in a file.

    The checkpoint at that point is older than the number. A process that is killed between a rollback and the next checkpoint
    is so followed by one that draws the same noise, and a run that has given up does not try again.

    Args:
        path: the file.
    """

    def __init__(self, path: Path):
        self._path = path

    def at(self, images_seen: int) -> tuple[int, str]:
        """Return the rollbacks to this point, and the report of the last divergence; or 0 and ""."""
        try:
            record = read_json_object(self._path)
        except (OSError, ValueError):
            return 0, ""
        rollbacks, report = record.get("rollbacks"), record.get("report")
        if record.get("images_seen") == images_seen and is_count(rollbacks, most=2**31) and isinstance(report, str):
            return rollbacks, report
        return 0, ""

    def note(self, rollbacks: int, *, images_seen: int, report: str) -> None:
        """Store that the run continues at `images_seen`, or gives up there.

        Raises:
            OSError: the file cannot be written.
        """
        record = {"rollbacks": rollbacks, "images_seen": images_seen, "report": report}
        write_atomically(self._path, json.dumps(record).encode())

    def reset(self) -> None:
        """Forget the count: with other settings a run has all its rollbacks again."""
        self._path.unlink(missing_ok=True)
