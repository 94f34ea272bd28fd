"""Retention of the rollback target, the best checkpoint and one of each resolution, beside the newest ones."""

from __future__ import annotations

from collections.abc import Sequence

from orbax.checkpoint.checkpoint_managers import preservation_policy

from pggan_jax.checkpointing.metadata import CheckpointMetadata
from pggan_jax.metric_kinds import METRIC_KINDS


class Retention(preservation_policy.PreservationPolicy):
    """Keep the newest rollback target, the best checkpoint at the largest resolution, and the newest of each resolution.

    Args:
        best_by: name of a metric in `METRIC_KINDS`; empty keeps no best one.
        keep_levels: whether to keep the newest of each resolution.
    """

    def __init__(self, best_by: str = "", *, keep_levels: bool = False):
        self._best_by, self._keep_levels = best_by, keep_levels
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
