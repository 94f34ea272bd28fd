"""Retention of checkpoints beside the newest: rollback target, best, one of each resolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from orbax.checkpoint.checkpoint_managers import preservation_policy

from pggan_jax.checkpointing.metadata import CheckpointMetadata
from pggan_jax.metric_kinds import METRIC_KINDS


class Keep(NamedTuple):
    """Which checkpoints a run keeps; the newest rollback target always stays.

    Attributes:
        last: how many of the newest; None keeps all.
        every_kimg: besides, the first of each span of so many kimg; 0 for none.
        best_by: besides, the best by this metric in `METRIC_KINDS`; empty for none.
        levels: whether, besides, the newest of each resolution.
    """

    last: int | None = None
    every_kimg: float = 0.0
    best_by: str = ""
    levels: bool = False


KEEP_ALL = Keep()


class Retention(preservation_policy.PreservationPolicy):
    """Keep the newest rollback target, the best checkpoint, and the newest of each resolution.

    The best is one of the largest resolution that was measured.

    Args:
        keep: of which `best_by` and `levels` count here.
    """

    def __init__(self, keep: Keep):
        self._best_by, self._keep_levels = keep.best_by, keep.levels
        self._resolutions: dict[int, int] = {}
        self._rollback_targets: set[int] = set()
        self._ranks: dict[int, tuple[int, float]] = {}

    def note(self, metadata: CheckpointMetadata) -> None:
        """Note a checkpoint that is being saved or was found in the folder."""
        images_seen, score = metadata.images_seen, metadata.scores.get(self._best_by)
        self.forget(images_seen)
        self._resolutions[images_seen] = metadata.resolution
        if metadata.is_rollback_target:
            self._rollback_targets.add(images_seen)
        if isinstance(score, int | float):
            sign = 1 if METRIC_KINDS[self._best_by].larger_is_better else -1
            self._ranks[images_seen] = metadata.resolution, sign * score

    def forget(self, images_seen: int) -> None:
        """Forget a checkpoint that is gone or could not be saved."""
        self._resolutions.pop(images_seen, None)
        self._rollback_targets.discard(images_seen)
        self._ranks.pop(images_seen, None)

    def noted(self) -> set[int]:
        """Images seen of all checkpoints that are remembered."""
        return set(self._resolutions)

    def best(self, checkpoints: Sequence[int]) -> int | None:
        """The best of some checkpoints, of equal ones the newest; None if none was measured."""
        measured = [one for one in checkpoints if one in self._ranks]
        return max(measured, key=lambda one: (self._ranks[one], one), default=None)

    def should_preserve(
        self,
        checkpoints: Sequence[preservation_policy.PolicyCheckpointInfo],
        *,
        context: preservation_policy.PreservationContext,
    ) -> Sequence[bool]:
        """Answer for each checkpoint; Orbax asks with the oldest first."""
        del context
        steps = [info.step for info in checkpoints]
        target = max(self._rollback_targets.intersection(steps), default=None)
        return [step in {target, self.best(steps), *self._levels(steps)} for step in steps]

    def _levels(self, steps: Sequence[int]) -> list[int]:
        """The newest checkpoint of each resolution, if they are to be kept."""
        newest = {self._resolutions[one]: one for one in sorted(steps) if one in self._resolutions}
        return list(newest.values()) if self._keep_levels else []
