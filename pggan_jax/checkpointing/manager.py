"""Checkpoints with Orbax: saved while training goes on, verified by a digest when they are read.

A checkpoint is `checkpoints/IMAGES_SEEN/` with the state and a JSON of where the run stood. It holds no device axis, so it
restores on any number of devices. Arrays are restored at the resolution they were saved with and grown in memory.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from pggan_jax.checkpointing.integrity import FinishedFiles
from pggan_jax.checkpointing.metadata import Position, read_position, state_digest
from pggan_jax.checkpointing.orbax_memory import prevent_leak
from pggan_jax.checkpointing.retention import BestScore, NewestRefuge
from pggan_jax.distributed import devices, processes
from pggan_jax.errors import UserError, first_line
from pggan_jax.training.train_state import TrainState, leaf_shapes

SAVES_PER_MANAGER = 50
"""After so many Orbax's manager is closed and opened anew, with what it may have gathered."""


class Checkpoints:
    """The checkpoints of one run, by images seen.

    Args:
        directory: usually WORKDIR/checkpoints.
        keep_last: how many of the newest to keep; None keeps all. The newest to go back to after a divergence is kept besides.
        keep_every_kimg: besides, keep the first of each span of so many kimg; 0 for none.
        best_by: besides, keep the best by this metric; empty for none.
        read_only: open an existing folder without changing it.

    Attributes:
        recorded: fields of `Position` that every checkpoint of this run gets: its data, arithmetic and settings.
    """

    _manager: ocp.CheckpointManager

    def __init__(
        self,
        directory: Path,
        *,
        keep_last: int | None = None,
        keep_every_kimg: float = 0.0,
        best_by: str = "",
        read_only: bool = False,
    ):
        self._newest_refuge = NewestRefuge()
        self._best_score = BestScore(best_by) if best_by else None
        self._noting: list[NewestRefuge | BestScore] = [self._newest_refuge, *([self._best_score] if self._best_score else [])]
        policies = [preservation_policy.LatestN(keep_last), *self._noting]
        if keep_every_kimg:
            interval = max(1, round(keep_every_kimg * 1000))
            policies.append(preservation_policy.EveryNSteps(interval, exact_interval=False))
        self._options = ocp.CheckpointManagerOptions(
            preservation_policy=preservation_policy.AnyPreservationPolicy(policies), read_only=read_only
        )
        self.directory = directory.absolute()
        self._read_only = read_only
        self.recorded: dict[str, Any] = {}
        self._had_folder = self.directory.is_dir()
        self._saving = 0
        self._last_failure = ""
        self._finished = FinishedFiles(self.directory)
        prevent_leak()
        self._open()
        for images_seen in self.all_images_seen():
            self._note_kind(images_seen)

    def _note_kind(self, images_seen: int) -> None:
        """What a checkpoint of an earlier process is good for. A damaged one is told of when it is needed."""
        if position := read_position(self.directory / str(images_seen)):
            self._note(position)

    def _note(self, position: Position) -> None:
        for policy in self._noting:
            policy.note(position)

    def _forget_removed(self) -> None:
        """Of checkpoints that are no more nothing need be known."""
        kept = set(self.all_images_seen())
        for policy in self._noting:
            for images_seen in policy.known() - kept:
                policy.forget(images_seen)

    def _forget(self, images_seen: int) -> None:
        for policy in self._noting:
            policy.forget(images_seen)

    def best(self) -> int | None:
        """Images seen of the best checkpoint by the metric that they are kept by; None if none was measured."""
        return self._best_score.best(self.all_images_seen()) if self._best_score else None

    def _open(self) -> None:
        """Open the folder, and close it first if it is open: what a manager remembers of its saves goes with it."""
        if hasattr(self, "_manager"):
            # What is left of a save that has failed is told by `finish`, and may fail once more here.
            with suppress(Exception):
                self._manager.close()
        self._saves = 0
        handlers = {"state": ocp.StandardCheckpointHandler(), "position": ocp.JsonCheckpointHandler()}
        self._manager = ocp.CheckpointManager(self.directory, options=self._options, item_handlers=handlers)

    def all_images_seen(self) -> list[int]:
        """Images seen of every finished checkpoint, oldest first."""
        return sorted(self._manager.all_steps())

    def reload(self) -> None:
        """Look again at what is in the folder, where another process writes and removes."""
        known = set(self.all_images_seen())
        self._manager.reload()
        for images_seen in set(self.all_images_seen()) - known:
            self._note_kind(images_seen)

    def are_lost(self, *, has_begun: bool) -> bool:
        """Whether checkpoints have vanished: none is here, though one was finished once, or the folder of a begun run is gone.

        A run that died before its first checkpoint was finished has lost none and may begin again.
        """
        are_lost = not self.all_images_seen() and (self._finished.exists() or (has_begun and not self._had_folder))
        return bool(processes.first_text("lost" if are_lost else ""))

    def save(self, state: TrainState, position: Position) -> list[str]:
        """Start saving; returns as soon as the state may be donated. Replaces nothing: a position is saved once.

        Returns:
            One line for each save that has failed since the last call, for want of space, say; the checkpoints before it are
            as they were.

        Raises:
            UserError: the folder has vanished or can no longer be written.
        """
        self._check_folder()
        digest = state_digest(devices.to_host(state)) if processes.is_main_process() else ""
        failures = self.finish()
        if self._saves >= SAVES_PER_MANAGER:
            self._open()
            self._forget_removed()
        self._saves += 1
        position = replace(position, **self.recorded, had_refuge=self._newest_refuge.has_one, digest=digest).sealed()
        self._last_failure = failure = ""
        self._note(position)
        try:
            if processes.is_main_process():
                self._finished.forget(position.images_seen)
            self._manager.save(
                position.images_seen,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(devices.global_arrays(state)), position=ocp.args.JsonSave(asdict(position))
                ),
                force=True,
            )
            self._saving = position.images_seen
        except Exception as error:
            failure = first_line(error)
        failure = processes.first_text(failure)
        return [*failures, self._give_up(position.images_seen, failure)] if failure else failures

    def finish(self) -> list[str]:
        """Wait for a save under way; one line if it has failed.

        Raises:
            UserError: the folder has vanished or can no longer be written.
        """
        failure = ""
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            failure = first_line(error)
        failure = processes.first_text(failure)
        if failure:
            return [self._give_up(self._saving, failure)]
        if processes.is_main_process():
            self._finished.note(self.all_images_seen())
        return []

    def _give_up(self, images_seen: int, reason: str) -> str:
        """Remove what a failed save has left, and say why it failed."""
        self._check_folder()
        self._forget(images_seen)
        if processes.is_main_process():
            for left_over in self.directory.glob("*.orbax-checkpoint-tmp*"):
                shutil.rmtree(left_over, ignore_errors=True)
        processes.wait_for_all("failed save removed")
        self._open()
        newest = self.all_images_seen()
        kept = f"the newest checkpoint is that of kimg {newest[-1] / 1000:g}" if newest else "there is no checkpoint yet"
        self._last_failure = f"the checkpoint of kimg {images_seen / 1000:g} could not be saved ({reason}); {kept}"
        return self._last_failure

    def _check_folder(self) -> None:
        """Before Orbax makes another folder in its place, perhaps on another disk."""
        if not self.directory.is_dir():
            raise UserError(f"{self.directory}: has vanished during the run; bring it back, and the same command continues")
        if not os.access(self.directory, os.W_OK):
            raise UserError(f"{self.directory}: can no longer be written; mend that, and the same command continues")

    def position(self, images_seen: int) -> Position:
        """What a checkpoint says of itself, without reading the state.

        Raises:
            UserError: the checkpoint is damaged or was not written by this program.
        """
        # Before Orbax meets a damaged file and fills the terminal with what its threads make of it.
        self._refuse_if(next(self._finished.differences(images_seen), ""), images_seen)
        restored = self._read(images_seen, position=ocp.args.JsonRestore())
        try:
            position = Position(**restored["position"])
        except TypeError as error:
            raise self._damaged(images_seen, first_line(error)) from error
        if not position.has_own_seal:
            raise self._damaged(images_seen, "its position does not have the digest it was saved with")
        if position.images_seen != images_seen:
            raise self._damaged(images_seen, f"it is the checkpoint of kimg {position.images_seen / 1000:g} under another name")
        self._note(position)
        return position

    def _read(self, images_seen: int, **wanted: Any) -> Any:
        problem, restored = "", None
        try:
            restored = self._manager.restore(images_seen, args=ocp.args.Composite(**wanted))
        except Exception as error:
            problem = first_line(error)
        self._refuse_if(problem, images_seen)
        return restored

    def _refuse_if(self, problem: str, images_seen: int) -> None:
        """What one process cannot read, none uses: they must go on from the same checkpoint."""
        problem = processes.first_text(problem)
        if problem:
            raise self._damaged(images_seen, problem)

    def restore(self, images_seen: int, abstract_state: Callable[[Position], TrainState]) -> tuple[TrainState, Position]:
        """Read a checkpoint and verify it.

        Args:
            images_seen: which one.
            abstract_state: gives the shapes of the state at a position, as by `jax.eval_shape`.

        Returns:
            The state as NumPy arrays, and the position.

        Raises:
            UserError: the checkpoint is damaged, or belongs to networks of another shape.
        """
        position = self.position(images_seen)
        abstract = abstract_state(position)
        template = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), abstract)
        self._check_shapes(images_seen, abstract)
        state = self._read(images_seen, state=ocp.args.StandardRestore(template))["state"]
        is_whole = state_digest(state) == position.digest
        self._refuse_if("" if is_whole else "its contents do not have the digest they were saved with", images_seen)
        return state, position

    def set_aside(self, images_seen: int) -> Path:
        """Move a checkpoint out of the way, without destroying what may still be of use; returns where to."""
        folder = self.directory / str(images_seen)
        place = self.directory.parent / "damaged_checkpoints" / str(images_seen)

        def move() -> Path:
            free = place
            while free.exists():
                free = free.with_name(f"{free.name}_")
            try:
                free.parent.mkdir(exist_ok=True)
                folder.rename(free)
                self._finished.forget(images_seen)
            except OSError as error:
                raise UserError(
                    f"{folder}: is damaged and cannot be moved away ({error.strerror}); "
                    "move it yourself and give the same command again"
                ) from error
            return free

        place = processes.on_first_process(move, otherwise=place)
        self._forget(images_seen)
        self._manager.reload()
        return place

    def _check_shapes(self, images_seen: int, abstract: TrainState) -> None:
        """Orbax would give arrays of another shape without a word, or blame the folder."""
        try:
            saved = leaf_shapes(self._manager.item_metadata(images_seen)["state"].tree)
        except Exception as error:
            raise self._damaged(images_seen, first_line(error)) from error
        wanted = leaf_shapes(abstract)
        for path in sorted(saved.keys() | wanted.keys()):
            if saved.get(path) != wanted.get(path):
                raise UserError(
                    f"{self.directory / str(images_seen)}: holds other networks: {path} has shape {saved.get(path, 'none')} "
                    f"there, but {wanted.get(path, 'none')} with these settings; use the settings of the run's config.json"
                )

    def _damaged(self, images_seen: int, reason: str) -> UserError:
        return UserError(f"{self.directory / str(images_seen)}: cannot be restored ({reason})")

    def close(self) -> None:
        """Finish a save under way and release the folder.

        Raises:
            UserError: that save has failed.
        """
        try:
            if not self._read_only:
                self.require_saved()
        finally:
            self._manager.close()

    def require_saved(self) -> None:
        """Wait for a save under way.

        Raises:
            UserError: the last save has failed, now or earlier.
        """
        self.finish()
        if self._last_failure:
            raise UserError(f"{self._last_failure}; free some space, and the same command continues from there")
