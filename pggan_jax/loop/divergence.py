"""Divergence of a run: its report, the noise after a rollback, and the number of rollbacks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pggan_jax.config import Config
from pggan_jax.loop.tick_metrics import Trouble
from pggan_jax.system.files import write_atomically
from pggan_jax.system.json_files import is_count, read_json_object

# The golden ratio in 32 bits: its multiples are spread evenly, so no rollback draws the noise of a neighbouring seed.
_SPREAD = 0x9E3779B9
_REPORTED = ("kimg", "resolution", "alpha", "loss_g", "loss_d", "gradient_penalty")


class DivergedError(Exception):
    """The update was skipped in too many iterations in a row.

    Attributes:
        trouble: how many iterations, and where.
    """

    def __init__(self, trouble: Trouble):
        super().__init__(f"{trouble.iterations} iterations in a row")
        self.trouble = trouble


def seed_after(seed: int, rollbacks: int) -> int:
    """The seed of all noise after a number of rollbacks; after none, the seed of the run."""
    return (seed + rollbacks * _SPREAD) % 2**32


def describe_divergence(config: Config, trouble: Trouble, *, cause: str, alpha: float, last: Mapping[str, Any]) -> str:
    """Report a divergence in one line: what was not finite, where, and the last statistics.

    Args:
        config: of the run.
        trouble: how many iterations, and where.
        cause: what `first_nonfinite_gradient` found; empty if all was finite when the step was repeated.
        alpha: weight of the newest layers there.
        last: the last line of stats.jsonl; may be empty.
    """
    cause = cause or "nothing, when the step was repeated"
    reported = ", ".join(f"{name} {last[name]:.4g}" for name in _REPORTED if last.get(name) is not None) or "none yet"
    return (
        f"{trouble.iterations} iterations in a row had no finite update (run.patience = {config.run.patience}); "
        f"first not finite: {cause}; at kimg {trouble.where.end / 1000:.1f}, {trouble.where.stage.name}, "
        f"alpha {alpha:.3f}; last statistics: {reported}; a lower schedule.learning_rate helps most often"
    )


class RollbackCount:
    """The number of rollbacks to the point where the run continues, kept in a file.

    The checkpoint at that point is older than the number. A process that is killed after a rollback and before the next
    checkpoint is so followed by one that draws the same noise, and a run that has given up does not try again.

    Args:
        path: the file.
    """

    def __init__(self, path: Path):
        self._path = path

    def at(self, images_seen: int) -> tuple[int, str]:
        """Read the number of rollbacks to a point of the run, and the report of the last divergence.

        Returns:
            0 and an empty report if the last rollback was to another point.
        """
        try:
            record = read_json_object(self._path)
        except (OSError, ValueError):
            return 0, ""
        rollbacks, report = record.get("rollbacks"), record.get("report")
        if record.get("images_seen") == images_seen and is_count(rollbacks, most=2**31) and isinstance(report, str):
            return rollbacks, report
        return 0, ""

    def note(self, rollbacks: int, *, images_seen: int, report: str) -> None:
        """Record that the run continues at `images_seen`, or gives up there.

        Raises:
            OSError: the file cannot be written.
        """
        record = {"rollbacks": rollbacks, "images_seen": images_seen, "report": report}
        write_atomically(self._path, json.dumps(record).encode())

    def reset(self) -> None:
        """Forget the rollbacks, as with other settings a run may go back as often again."""
        self._path.unlink(missing_ok=True)
