"""When a run has diverged: how it is told, what is drawn after it went back, and how often it did."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pggan_jax.config import Config
from pggan_jax.loop.tick_metrics import Trouble
from pggan_jax.system.files import write_atomically
from pggan_jax.system.json_files import is_count, read_json_object

# The golden ratio in 32 bits: multiples of it are spread evenly, so no rollback meets the noise of a neighbouring seed.
_SPREAD = 0x9E3779B9
_TOLD = ("kimg", "resolution", "alpha", "loss_g", "loss_d", "gradient_penalty")


class DivergedError(Exception):
    """So many iterations in a row had an update that was skipped that the run cannot go on.

    Attributes:
        trouble: how many, where, and what was not finite.
    """

    def __init__(self, trouble: Trouble):
        super().__init__(f"{trouble.iterations} iterations in a row")
        self.trouble = trouble


def seed_after(seed: int, rollbacks: int) -> int:
    """The seed of all noise after so many rollbacks; without any, the run's own."""
    return (seed + rollbacks * _SPREAD) % 2**32


def describe_divergence(config: Config, trouble: Trouble, cause: str, *, alpha: float, last: Mapping[str, Any]) -> str:
    """In one line: how many iterations, what was not finite, where the run stood, and its last statistics.

    Args:
        config: of the run.
        trouble: with its call.
        cause: what `first_nonfinite_gradient` found; empty if the trouble was over.
        alpha: weight of the newest layers in that call.
        last: the last line of stats.jsonl; may be empty.
    """
    cause = cause or "nothing, when the step was repeated"
    told = ", ".join(f"{name} {last[name]:.4g}" for name in _TOLD if last.get(name) is not None) or "none yet"
    return (
        f"{trouble.iterations} iterations in a row had no finite update (run.patience = {config.run.patience}); "
        f"first not finite: {cause}; at kimg {trouble.where.end / 1000:.1f}, {trouble.where.stage.name}, "
        f"alpha {alpha:.3f}; last statistics: {told}; a lower schedule.learning_rate helps most often"
    )


class RollbackCount:
    """How often the run went back to where it stands, kept in a file: the checkpoint there is older than the count.

    A process that dies after a rollback and before the next checkpoint is so followed by one that draws the same noise, and a
    run that has given up does not try everything again.

    Args:
        path: the file.
    """

    def __init__(self, path: Path):
        self._path = path

    def at(self, images_seen: int) -> tuple[int, str]:
        """Rollbacks to this point of the run, and the report of the last divergence; 0 and nothing if they were to another."""
        try:
            record = read_json_object(self._path)
        except (OSError, ValueError):
            return 0, ""
        rollbacks, report = record.get("rollbacks"), record.get("report")
        if record.get("images_seen") == images_seen and is_count(rollbacks, most=2**31) and isinstance(report, str):
            return rollbacks, report
        return 0, ""

    def note(self, rollbacks: int, images_seen: int, report: str) -> None:
        """The run goes on at `images_seen`, or gives up there.

        Raises:
            OSError: the file cannot be written.
        """
        record = {"rollbacks": rollbacks, "images_seen": images_seen, "report": report}
        write_atomically(self._path, json.dumps(record).encode())

    def begin_anew(self) -> None:
        """With other settings a run has all its tries again."""
        self._path.unlink(missing_ok=True)
