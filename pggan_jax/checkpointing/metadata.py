"""The JSON of metadata that lies beside the state in every checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from pggan_jax.data.data_record import DataRecord
from pggan_jax.networks.build import Networks
from pggan_jax.system.json_files import read_json_object

METADATA_ITEM = "position"
"""Name of the metadata's folder inside a checkpoint, the same since the first version."""
_FORMER_NAMES = {"parts": "microbatches"}
_FORMER_TICK_SUMS = ("loss_d", "real_score", "fake_score", "gradient_penalty", "loss_g")
"""Order of the sums in checkpoints of earlier versions, which list them without names."""


@dataclass(frozen=True)
class CheckpointMetadata:
    """What a run needs beside its state to continue, and what it was trained on and with.

    Attributes:
        images_seen: real images shown to the discriminator.
        resolution: nominal resolution of the images of the saved networks.
        alpha: weight of their newest layers, 0 to 1.
        channels: colour channels of their images.
        label_size: length of their labels, 0 for none.
        tick_sums: sums of the metrics of the unfinished tick, by name.
        tick_steps: iterations of that tick so far.
        tick_left_out: how many of them are not in those sums, as an update was skipped.
        tick_skipped: the state's count of skipped updates when the tick began.
        skipped_in_a_row: iterations up to this one in which an update was skipped.
        scores: headline values of the metrics that were measured here, by name.
        rollbacks: how often the run went back to an earlier checkpoint after it had diverged.
        training_seconds: seconds of training so far, by `PhaseTimer.training_seconds`; 0 in checkpoints of early versions.
        microbatches: by resolution: images of a device's share of a batch and of a microbatch, where that was not set.
        unwritten: lines that stats.jsonl and metric-NAME.jsonl still lack, as there was no space for them.
        representation: how the images were made of sound, `Representation.to_json`; empty for images.
        data: `DataRecord.to_json` of the data; empty in checkpoints of early versions, as the next two.
        arithmetic: versions, devices and options that may change the last bits of a result.
        settings: the run's settings as JSON.
        digest: `integrity.checkpoint_digest` of the state and of everything above.
    """

    images_seen: int
    resolution: int
    alpha: float
    channels: int
    label_size: int
    tick_sums: dict[str, float] = field(default_factory=dict)
    tick_steps: int = 0
    tick_left_out: int = 0
    tick_skipped: int = 0
    skipped_in_a_row: int = 0
    scores: dict[str, float] = field(default_factory=dict)
    rollbacks: int = 0
    training_seconds: float = 0.0
    microbatches: dict[str, list[int]] = field(default_factory=dict)
    unwritten: str = ""
    representation: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    arithmetic: dict[str, str] = field(default_factory=dict)
    settings: str = ""
    digest: str = ""

    @classmethod
    def from_tick(
        cls, images_seen: int, tick: Mapping[str, Any], *, networks: Networks, alpha: float, **more: Any
    ) -> CheckpointMetadata:
        """The metadata of a run in the course of a tick.

        Args:
            images_seen: real images shown to the discriminator.
            tick: the fields that describe the unfinished tick, as `TickMetrics.unfinished` gives them; empty between ticks.
            networks: of the current resolution.
            alpha: weight of their newest layers, 0 to 1.
            more: further fields.
        """
        generator = networks.generator
        return cls(images_seen, generator.resolution, alpha, generator.channels, generator.label_size, **tick, **more)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> CheckpointMetadata:
        """The metadata in a JSON object of this or an earlier version.

        Raises:
            ValueError: a field is missing or has a value of another type.
        """
        values = {_FORMER_NAMES.get(name, name): value for name, value in document.items()}
        if isinstance(sums := values.get("tick_sums"), list):
            values["tick_sums"] = dict(zip(_FORMER_TICK_SUMS, sums, strict=False))
        known = {one.name for one in fields(cls)}
        for name, kind in get_type_hints(cls).items():
            value = values.get(name)
            kind = get_origin(kind) or kind
            if value is not None and not isinstance(value, (int, float) if kind is float else kind):
                raise ValueError(f"its {name} is {value!r}")
        try:
            return cls(**{name: value for name, value in values.items() if name in known and value is not None})
        except TypeError:
            raise ValueError("its metadata is incomplete") from None

    @property
    def is_rollback_target(self) -> bool:
        """Whether a diverged run may go back here: no update was skipped in the last iteration."""
        return not self.skipped_in_a_row

    @property
    def data_record(self) -> DataRecord | None:
        """The record of the data; None in checkpoints of early versions."""
        return DataRecord.from_json(self.data)


def read_document(checkpoint: Path) -> dict[str, Any]:
    """The JSON object of metadata in a checkpoint's folder, as it was written.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON object.
    """
    return read_json_object(checkpoint / METADATA_ITEM / "metadata", only_finite=False)


def read_metadata(checkpoint: Path) -> CheckpointMetadata | None:
    """The metadata in a checkpoint's folder, not yet verified; None if it cannot be read."""
    with suppress(OSError, ValueError):
        return CheckpointMetadata.from_json(read_document(checkpoint))
    return None
