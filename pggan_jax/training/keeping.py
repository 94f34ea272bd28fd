"""Which checkpoints must stay, however few are to be kept."""

from __future__ import annotations

from collections.abc import Sequence

from orbax.checkpoint.checkpoint_managers import preservation_policy

from pggan_jax.training.position import Position


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
