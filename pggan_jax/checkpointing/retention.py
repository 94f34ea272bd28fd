"""Retention of the rollback target and of the best checkpoint, beside the newest ones."""

from __future__ import annotations

from collections.abc import Sequence

from orbax.checkpoint.checkpoint_managers import preservation_policy

from pggan_jax.checkpointing.metadata import CheckpointMetadata
from pggan_jax.metric_kinds import METRIC_KINDS


class Retention(preservation_policy.PreservationPolicy):
    """Keep the newest rollback target, and the best checkpoint at the largest resolution.

    Args:
        best_by: name of a metric in `METRIC_KINDS`; empty keeps no best one.
    """

    def __init__(self, best_by: str = ""):
        self._best_by = best_by
        self._rollback_targets: set[int] = set()
        self._ranks: dict[int, tuple[int, float]] = {}

    def note(self, metadata: CheckpointMetadata) -> None:
        """Note a checkpoint that is being saved or was found in the folder."""
        images_seen, score = metadata.images_seen, metadata.scores.get(self._best_by)
        self.forget(images_seen)
        if metadata.is_rollback_target:
            self._rollback_targets.add(images_seen)
        if isinstance(score, int | float):
            sign = 1 if METRIC_KINDS[self._best_by].larger_is_better else -1
            self._ranks[images_seen] = metadata.resolution, sign * score

    def forget(self, images_seen: int) -> None:
        """Forget a checkpoint that is gone or could not be saved."""
        self._rollback_targets.discard(images_seen)
        self._ranks.pop(images_seen, None)

    def noted(self) -> set[int]:
        """Images seen of all checkpoints that are remembered."""
        return self._rollback_targets | self._ranks.keys()

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
        return [step in (target, self.best(steps)) for step in steps]
