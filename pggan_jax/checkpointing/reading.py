"""Read one checkpoint with Orbax and verify it: first what describes it, then its state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from pggan_jax.checkpointing.integrity import REMOVED_LEAVES, is_intact, state_digest
from pggan_jax.checkpointing.metadata import CheckpointMetadata, read_document
from pggan_jax.errors import UserError
from pggan_jax.training.train_state import TrainState, leaf_shapes


class OtherNetworksError(UserError):
    """An intact checkpoint holds networks of other shapes than the settings describe."""


@dataclass(frozen=True)
class SavedCheckpoint:
    """A checkpoint before its state is read.

    Attributes:
        metadata: not yet verified.
        document: the JSON that it was read from.
        template: arrays of the shapes of the state; their values mean nothing.
        removed: names of leaves that only earlier versions had.
    """

    metadata: CheckpointMetadata
    document: dict[str, Any]
    template: TrainState
    removed: list[str]


def read_description(
    manager: ocp.CheckpointManager, checkpoint: Path, *, abstract_state: Callable[[CheckpointMetadata], TrainState]
) -> SavedCheckpoint:
    """Read the metadata and the shapes of the saved state.

    Args:
        manager: of the folder in which the checkpoint lies.
        checkpoint: its folder.
        abstract_state: gives the shapes that are expected for the metadata.

    Raises:
        OtherNetworksError: the saved networks have other shapes.
        Exception: the checkpoint is damaged.
    """
    document = read_document(checkpoint)
    metadata = CheckpointMetadata.from_json(document)
    if str(metadata.images_seen) != checkpoint.name:
        raise ValueError(f"it is the checkpoint of kimg {metadata.images_seen / 1000:g} under another name")
    template = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), abstract_state(metadata))
    wanted, saved = leaf_shapes(template), leaf_shapes(manager.item_metadata(metadata.images_seen)["state"].tree)
    removed = [name for name in REMOVED_LEAVES if name in saved.keys() - wanted.keys()]
    for path in sorted((saved.keys() | wanted.keys()) - set(removed)):
        # Orbax restores arrays of another shape without a word.
        if saved.get(path) != wanted.get(path):
            raise OtherNetworksError(
                f"{checkpoint}: holds other networks: {path} has shape {saved.get(path, 'none')} there, but "
                f"{wanted.get(path, 'none')} with these settings; use the settings of the run's config.json"
            )
    return SavedCheckpoint(metadata, document, template, removed)


def read_state(manager: ocp.CheckpointManager, saved: SavedCheckpoint) -> TrainState:
    """Read the state as NumPy arrays, and verify it and the metadata by their digest.

    Raises:
        Exception: the checkpoint is damaged.
    """
    items = {one.name: getattr(saved.template, one.name) for one in fields(saved.template)}
    items |= {name: np.empty((), np.int32) for name in saved.removed}
    restored = manager.restore(saved.metadata.images_seen, args=ocp.args.Composite(state=ocp.args.StandardRestore(items)))
    leaves = dict(restored["state"])
    removed = {name: leaves.pop(name) for name in saved.removed}
    state = saved.template.replace(**leaves)
    if not is_intact(state_digest(state, removed), saved.document):
        raise ValueError("its contents do not have the digest they were saved with")
    return state
