"""Save, verify and restore the checkpoints of a run with Orbax, while training goes on.

A checkpoint is the folder `checkpoints/IMAGES_SEEN/` with the state and a JSON of metadata. The state has no device axis, so
it restores on any number of devices. Arrays are restored at the resolution they were saved with and grown in memory.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from pggan_jax.checkpointing.integrity import checkpoint_digest, state_digest
from pggan_jax.checkpointing.metadata import METADATA_ITEM, CheckpointMetadata, read_metadata
from pggan_jax.checkpointing.orbax_fixes import prevent_leak, silence_threads
from pggan_jax.checkpointing.reading import read_description, read_state
from pggan_jax.checkpointing.retention import KEEP_ALL, Keep, Retention
from pggan_jax.distributed import devices, processes
from pggan_jax.errors import UserError, first_line
from pggan_jax.training.train_state import TrainState

SAVES_PER_MANAGER = 50
"""Orbax's manager gathers something with each save; after so many it is closed and opened again."""
Result = TypeVar("Result")


class Checkpoints:
    """The checkpoints of one run, by images seen.

    Args:
        directory: usually WORKDIR/checkpoints.
        keep: which checkpoints stay; all by default.
        recorded: called at each save; gives fields of `CheckpointMetadata` that are equal in all checkpoints of a process.
        read_only: open an existing folder without changing it.
    """

    _manager: ocp.CheckpointManager

    def __init__(
        self,
        directory: Path,
        *,
        keep: Keep = KEEP_ALL,
        recorded: Callable[[], dict[str, Any]] = dict,
        read_only: bool = False,
    ):
        self.directory = directory.absolute()
        self._recorded, self._read_only = recorded, read_only
        self._had_folder = self.directory.is_dir()
        self._retention = Retention(keep)
        policies: list[Any] = [preservation_policy.LatestN(keep.last), self._retention]
        if keep.every_kimg:
            interval = max(1, round(keep.every_kimg * 1000))
            policies.append(preservation_policy.EveryNSteps(interval, exact_interval=False))
        self._options = ocp.CheckpointManagerOptions(
            preservation_policy=preservation_policy.AnyPreservationPolicy(policies), read_only=read_only
        )
        self._saving, self._last_failure = 0, ""
        prevent_leak()
        silence_threads()
        self._open()
        for images_seen in self.all_images_seen():
            self._note_found(images_seen)

    def _note_found(self, images_seen: int) -> None:
        """Note a checkpoint in the folder; a damaged one is reported when it is restored."""
        if metadata := read_metadata(self.directory / str(images_seen)):
            self._retention.note(metadata)

    def best(self) -> int | None:
        """Images seen of the best checkpoint by `best_by`; None if none was measured."""
        return self._retention.best(self.all_images_seen())

    def _open(self) -> None:
        """Open the folder, or open it again and forget the checkpoints that were removed."""
        if hasattr(self, "_manager"):
            # `finish` has reported a failed save, which may fail once more here.
            with suppress(Exception):
                self._manager.close()
        self._saves = 0
        handlers = {"state": ocp.StandardCheckpointHandler(), METADATA_ITEM: ocp.JsonCheckpointHandler()}
        self._manager = ocp.CheckpointManager(self.directory, options=self._options, item_handlers=handlers)
        for images_seen in self._retention.noted() - set(self.all_images_seen()):
            self._retention.forget(images_seen)

    def all_images_seen(self) -> list[int]:
        """Images seen of every finished checkpoint, oldest first."""
        return sorted(self._manager.all_steps())

    def reload(self) -> None:
        """Look again at what is in the folder, where another process writes and removes."""
        known = set(self.all_images_seen())
        self._manager.reload()
        for images_seen in set(self.all_images_seen()) - known:
            self._note_found(images_seen)

    @property
    def _mark(self) -> Path:
        """A file that exists once a checkpoint was finished; its content means nothing."""
        return self.directory / ".finished"

    def are_lost(self, *, has_begun: bool) -> bool:
        """Whether all checkpoints of a run were removed.

        A run that was killed before its first checkpoint was finished has lost none and may begin again.

        Args:
            has_begun: whether the run has left traces of training; then it has lost its checkpoints if the folder is gone.
        """
        are_lost = not self.all_images_seen() and (self._mark.exists() or (has_begun and not self._had_folder))
        return bool(processes.first_message("lost" if are_lost else ""))

    def save(self, state: TrainState, metadata: CheckpointMetadata) -> list[str]:
        """Start saving, and return as soon as the state may be donated.

        Args:
            state: on the devices.
            metadata: of a number of images that has no checkpoint yet.

        Returns:
            One line for each save that has failed since the last call, because the disk is full, for example. The
            checkpoints before it are as they were.

        Raises:
            UserError: the folder is gone or can no longer be written.
        """
        self._check_folder()
        metadata = replace(metadata, **self._recorded())
        if processes.is_main_process():
            leaves = state_digest(devices.to_host(state))
            metadata = replace(metadata, digest=checkpoint_digest(leaves, asdict(metadata)))
        failures = self.finish()
        if self._saves >= SAVES_PER_MANAGER:
            self._open()
        self._saves += 1
        self._last_failure = failure = ""
        self._retention.note(metadata)
        items = {
            "state": ocp.args.StandardSave(devices.global_arrays(state)),
            METADATA_ITEM: ocp.args.JsonSave(asdict(metadata)),
        }
        try:
            self._manager.save(metadata.images_seen, args=ocp.args.Composite(**items), force=True)
            self._saving = metadata.images_seen
        except Exception as error:
            failure = first_line(error)
        failure = processes.first_message(failure)
        return [*failures, self._give_up(metadata.images_seen, failure)] if failure else failures

    def finish(self) -> list[str]:
        """Wait for a save under way; one line if it has failed.

        Raises:
            UserError: the folder is gone or can no longer be written.
        """
        failure = ""
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            failure = first_line(error)
        failure = processes.first_message(failure)
        if failure:
            return [self._give_up(self._saving, failure)]
        if processes.is_main_process() and self.all_images_seen():
            with suppress(OSError):
                self._mark.touch()
        return []

    def _give_up(self, images_seen: int, reason: str) -> str:
        """Remove what a failed save has left, and say why it failed."""
        self._check_folder()
        self._retention.forget(images_seen)
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
        """Refuse before Orbax makes another folder in its place, perhaps on another disk."""
        if not self.directory.is_dir():
            raise UserError(f"{self.directory}: is gone; bring it back, and the same command continues")
        if not os.access(self.directory, os.W_OK):
            raise UserError(f"{self.directory}: can no longer be written; fix that, and the same command continues")

    def restore(
        self, images_seen: int, abstract_state: Callable[[CheckpointMetadata], TrainState]
    ) -> tuple[TrainState, CheckpointMetadata]:
        """Read a checkpoint and verify it.

        Args:
            images_seen: which one.
            abstract_state: gives the shapes of the state for its metadata, as by `jax.eval_shape`.

        Returns:
            The state as NumPy arrays, and the metadata.

        Raises:
            UserError: the checkpoint is damaged.
            OtherNetworksError: it belongs to networks of another shape.
        """
        folder = self.directory / str(images_seen)
        saved = _on_every_process(folder, lambda: read_description(self._manager, folder, abstract_state=abstract_state))
        state = _on_every_process(folder, lambda: read_state(self._manager, saved))
        self._retention.note(saved.metadata)
        return state, saved.metadata

    def set_aside(self, images_seen: int) -> Path:
        """Move a checkpoint to `damaged_checkpoints/` beside the folder; return its new path."""
        folder = self.directory / str(images_seen)
        place = self.directory.parent / "damaged_checkpoints" / str(images_seen)

        def move() -> Path:
            free = place
            while free.exists():
                free = free.with_name(f"{free.name}_")
            try:
                free.parent.mkdir(exist_ok=True)
                folder.rename(free)
            except OSError as error:
                raise UserError(
                    f"{folder}: is damaged and cannot be moved away ({error.strerror}); "
                    "move it yourself and give the same command again"
                ) from error
            return free

        place = processes.on_first_process(move, otherwise=place)
        self._retention.forget(images_seen)
        self._manager.reload()
        return place

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


def _on_every_process(checkpoint: Path, read: Callable[[], Result]) -> Result:
    """Call `read` on every process; where it fails on one, fail on all of them.

    So all processes continue from the same checkpoint.

    Raises:
        UserError: it has failed; `OtherNetworksError` where that was the reason here.
    """
    result, problem, kind = None, "", UserError
    try:
        result = read()
    except UserError as error:
        problem, kind = str(error), type(error)
    except Exception as error:
        problem = f"{checkpoint}: cannot be restored ({first_line(error)})"
    problem = processes.first_message(problem)
    if problem or result is None:
        raise kind(problem)
    return result
