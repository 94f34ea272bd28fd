"""Which checkpoints must stay, however few are to be kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orbax.checkpoint.checkpoint_managers import preservation_policy

from pggan_jax.checkpointing.metadata import Position
from pggan_jax.config import Config
from pggan_jax.metric_kinds import METRIC_KINDS


class NewestRefuge(preservation_policy.PreservationPolicy):
    """Keeps the newest checkpoint to go back to when the run diverges. One that nothing is known of is none."""

    def __init__(self) -> None:
        self._refuges: set[int] = set()

    def note(self, position: Position) -> None:
        """Take note of a checkpoint that is being saved or was met in the folder."""
        if position.is_refuge:
            self._refuges.add(position.images_seen)
        else:
            self._refuges.discard(position.images_seen)

    def forget(self, images_seen: int) -> None:
        """A checkpoint is gone, or could not be saved."""
        self._refuges.discard(images_seen)

    def known(self) -> set[int]:
        """Images seen of all checkpoints that something is remembered of."""
        return set(self._refuges)

    @property
    def has_one(self) -> bool:
        """Whether there is a checkpoint to go back to."""
        return bool(self._refuges)

    def should_preserve(
        self,
        checkpoints: Sequence[preservation_policy.PolicyCheckpointInfo],
        *,
        context: preservation_policy.PreservationContext,
    ) -> Sequence[bool]:
        """Orbax asks with the oldest first."""
        del context
        newest = max((info.step for info in checkpoints if info.step in self._refuges), default=None)
        return [info.step == newest for info in checkpoints]


class BestScore(preservation_policy.PreservationPolicy):
    """Keeps the checkpoint that is best by a metric, among those of the largest resolution that was measured.

    Args:
        metric: its name in `METRIC_KINDS`.
    """

    def __init__(self, metric: str):
        self._metric = metric
        self._ranks: dict[int, tuple[int, float]] = {}

    def note(self, position: Position) -> None:
        """Take note of a checkpoint that is being saved or was met in the folder."""
        score = position.scores.get(self._metric)
        if score is None:
            self.forget(position.images_seen)
        else:
            sign = 1 if METRIC_KINDS[self._metric].larger_is_better else -1
            self._ranks[position.images_seen] = position.resolution, sign * score

    def forget(self, images_seen: int) -> None:
        """A checkpoint is gone, or could not be saved."""
        self._ranks.pop(images_seen, None)

    def known(self) -> set[int]:
        """Images seen of all checkpoints that something is remembered of."""
        return set(self._ranks)

    def best(self, checkpoints: Sequence[int]) -> int | None:
        """The best of those; None if none was measured. Of equals the newest."""
        measured = [one for one in checkpoints if one in self._ranks]
        return max(measured, key=lambda one: (self._ranks[one], one), default=None)

    def should_preserve(
        self,
        checkpoints: Sequence[preservation_policy.PolicyCheckpointInfo],
        *,
        context: preservation_policy.PreservationContext,
    ) -> Sequence[bool]:
        """Orbax asks with the oldest first."""
        del context
        best = self.best([info.step for info in checkpoints])
        return [info.step == best for info in checkpoints]


def kept_checkpoints(config: Config) -> dict[str, Any]:
    """Which checkpoints a run keeps, as arguments of `Checkpoints`."""
    return {
        "keep_last": config.run.keep_last,
        "keep_every_kimg": config.run.keep_every_kimg,
        "best_by": config.eval.best_by,
    }
