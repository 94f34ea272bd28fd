"""The numbers of stats.jsonl for TensorBoard, if `run.tensorboard` is set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pggan_jax.errors import import_optional
from pggan_jax.stats_fields import MEASUREMENT_PREFIX


class TensorBoardWriter:
    """Write scalars over images seen.

    Args:
        folder: the log directory of TensorBoard.

    Raises:
        UserError: tensorboardX is not installed.
    """

    def __init__(self, folder: Path):
        library = import_optional("tensorboardX", package="-r requirements-optional.txt", needed_by="run.tensorboard = true")
        self._open = lambda images_seen: library.SummaryWriter(str(folder), purge_step=images_seen)
        self._writer: Any = None

    def write(self, record: Mapping[str, Any]) -> None:
        """Write the record of a tick.

        What an earlier process wrote of later ticks is marked as outdated.

        Raises:
            OSError: it cannot be written.
        """
        images_seen = record["images_seen"]
        if self._writer is None:
            self._writer = self._open(images_seen)
        for name, value in record.items():
            if isinstance(value, int | float) and name != "images_seen":
                self._writer.add_scalar(name.replace(MEASUREMENT_PREFIX, "metrics/"), value, images_seen)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
