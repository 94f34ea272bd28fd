"""Which checkpoints must stay, however few are to be kept."""

from __future__ import annotations

from collections.abc import Sequence

from orbax.checkpoint.checkpoint_managers import preservation_policy

from pggan_jax.training.position import Position


class NewestRefuge(preservation_policy.PreservationPolicy):
    """Keeps the newest checkpoint to go back to when the run diverges."""

    def __init__(self) -> None:
        self._others: set[int] = set()

    def note(self, position: Position) -> None:
        """Take note of a checkpoint that is being saved or was met in the folder."""
        if not position.is_refuge:
            self._others.add(position.images_seen)

    def should_preserve(
        self,
        checkpoints: Sequence[preservation_policy.PolicyCheckpointInfo],
        *,
        context: preservation_policy.PreservationContext,
    ) -> Sequence[bool]:
        """Orbax asks with the oldest first."""
        del context
        newest = max((info.step for info in checkpoints if info.step not in self._others), default=None)
        return [info.step == newest for info in checkpoints]
