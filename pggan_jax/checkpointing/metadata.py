"""Where a run stands, as its checkpoints tell it beside the state, and the sums by which both are verified."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from pggan_jax.data.data_record import DataRecord
from pggan_jax.system.json_files import read_json_object
from pggan_jax.training.train_state import TrainState

_ADDED_LATER = ("parts", "tick_left_out", "data", "arithmetic", "settings")
"""Fields that checkpoints of earlier versions do not have."""


@dataclass(frozen=True)
class Position:
    """Where a run stood when it was saved, beside the state itself.

    Attributes:
        images_seen: real images shown to the critic.
        resolution: of the saved networks.
        alpha: weight of their newest layers.
        channels: colour channels of their images.
        label_size: length of their labels, 0 for none.
        tick_sums: metric sums of the unfinished tick, in the order of `step.METRICS`.
        tick_steps: iterations of that tick so far.
        tick_left_out: how many of them are not in those sums, as an update was skipped.
        tick_skipped: the state's count of skipped updates when the tick began.
        skipped_in_a_row: iterations up to this one in which an update was skipped.
        scores: headline values of the metrics that were measured here, by name.
        rollbacks: how often the run went back to an earlier checkpoint after it had diverged.
        is_due: whether a run that is never stopped saves here too.
        had_refuge: whether there was an earlier checkpoint to go back to.
        parts: in which parts batches are worked through, where that was not set: `ChosenParts.record`.
        data: `DataRecord.to_json` of the data it was trained on; empty in checkpoints of earlier versions.
        arithmetic: versions, devices and options that may change the last bits of a result; empty as above.
        settings: the run's settings as JSON; empty as above.
        unwritten: lines that stats.jsonl and metric-NAME.jsonl still lack, as there was no space for them.
        digest: sha256 over all leaves of the state.
        seal: sha256 over everything above.
    """

    images_seen: int
    resolution: int
    alpha: float
    channels: int
    label_size: int
    tick_sums: list[float] = field(default_factory=list)
    tick_steps: int = 0
    tick_left_out: int = 0
    tick_skipped: int = 0
    skipped_in_a_row: int = 0
    scores: dict[str, float] = field(default_factory=dict)
    rollbacks: int = 0
    is_due: bool = True
    had_refuge: bool = False
    parts: dict[str, list[int]] = field(default_factory=dict)
    unwritten: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    arithmetic: dict[str, str] = field(default_factory=dict)
    settings: str = ""
    digest: str = ""
    seal: str = ""

    @property
    def is_refuge(self) -> bool:
        """Whether a diverged run may go back here: from before the trouble, and wherever it was stopped on the way."""
        return self.is_due and not self.skipped_in_a_row

    @property
    def has_own_seal(self) -> bool:
        """Whether nothing of it has changed since it was sealed."""
        return self.seal == self.sealed().seal

    def sealed(self) -> Position:
        """The same with its seal."""
        fields = {name: value for name, value in asdict(self).items() if name != "seal"}
        # What an earlier version did not write was not sealed by it.
        sealed = {name: value for name, value in fields.items() if value or name not in _ADDED_LATER}
        return Position(**fields, seal=hashlib.sha256(json.dumps(sealed, sort_keys=True).encode()).hexdigest())

    @property
    def data_record(self) -> DataRecord | None:
        """The record of the data; None in checkpoints of earlier versions."""
        return DataRecord.from_json(self.data)


def read_position(folder: Path) -> Position | None:
    """The position in a checkpoint's folder, without Orbax; None if it is damaged or there is none."""
    with suppress(OSError, ValueError, TypeError):
        position = Position(**read_json_object(folder / "position" / "metadata", only_finite=False))
        return position if position.has_own_seal else None
    return None


def state_digest(state: TrainState) -> str:
    """sha256 over path, type, shape and bytes of every leaf, in the order of the tree; `state` on the host or on devices."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        array = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()
