"""How the work of a preparation is cut up, and how much room it takes, as far as that can be told without decoding."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from pggan_jax.data.preparation.decode_block import BlockPlan, images_per_block
from pggan_jax.data.preparation.spec import Preparation
from pggan_jax.data.preparation.worker_pool import default_workers, in_flight
from pggan_jax.data.sources.open_source import Source

# Below this many images and bytes, starting worker processes takes longer than the work.
_IMAGES_WORTH_WORKERS = 512
_BYTES_WORTH_WORKERS = 2**24


@dataclass(frozen=True)
class Estimate:
    """What a preparation would write, as far as it can be told without decoding.

    Attributes:
        images: rows, if all images are usable.
        bytes: of the finished files.
        needed: bytes that the work takes at its height, those included.
        free: bytes free there now.
    """

    images: int
    bytes: int
    needed: int
    free: int


def estimate(source: Source, preparation: Preparation, folder: Path, *, workers: int | None = None) -> Estimate:
    """The size of a prepared folder; `preparation` as `for_source` gives it."""
    images = preparation.count(len(source))
    rows = images * preparation.rows_per_image
    size = rows * preparation.bytes_per_row
    plan, slots = plan_work(source, preparation, images, workers=choose_workers(preparation, images, workers))
    existing = next(parent for parent in [folder, *folder.absolute().parents] if parent.is_dir())
    return Estimate(rows, size, size + slots * plan.slot_bytes, shutil.disk_usage(existing).free)


def choose_workers(preparation: Preparation, images: int, workers: int | None) -> int:
    """How many worker processes to start for so many images."""
    if workers is not None:
        return workers
    is_much = images >= _IMAGES_WORTH_WORKERS or images * preparation.bytes_per_row >= _BYTES_WORTH_WORKERS
    return default_workers() if is_much else 0


def plan_work(
    source: Source, preparation: Preparation, images: int, *, workers: int, scratch: Path | None = None
) -> tuple[BlockPlan, int]:
    """How to hand over so many images, and through how many slots."""
    plan = BlockPlan(source, preparation, images_per_block(preparation, images, workers), scratch)
    return plan, min(in_flight(workers), math.ceil(images / plan.images))
