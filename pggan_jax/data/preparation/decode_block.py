"""Decode some images at all levels.

What one worker does at a time, the memory for its result, and the size of both.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pggan_jax.data.images.crop_resize import crop_and_resize
from pggan_jax.data.images.decode import UnusableImageError, decoding_errors
from pggan_jax.data.preparation.spec import PreparationSpec
from pggan_jax.data.preparation.worker_pool import default_workers, in_flight
from pggan_jax.data.pyramid import fill_levels
from pggan_jax.data.sources.source import Source

_BLOCK_BYTES = 8 * 2**20
_ALL_SLOTS_BYTES = 2**28
_MAX_IMAGES = 256
_BLOCKS_PER_WORKER = 4
# Below this many images and bytes, starting worker processes takes longer than the work.
_IMAGES_WORTH_WORKERS = 512
_BYTES_WORTH_WORKERS = 2**24


def images_per_block(spec: PreparationSpec, images: int, *, workers: int) -> int:
    """Return how many of `images` images make up a block.

    Large enough to outweigh the cost of passing a block on; small enough that all slots together stay small and that all
    workers are busy until the end.
    """
    block_bytes = min(_BLOCK_BYTES, _ALL_SLOTS_BYTES // in_flight(workers))
    shares = max(1, _BLOCKS_PER_WORKER * workers)
    return max(1, min(_MAX_IMAGES, block_bytes // (spec.bytes_per_row * spec.rows_per_image), images // shares))


@dataclass
class DecodedBlock:
    """What became of the images of a block.

    Attributes:
        labels: class numbers of the rows that were filled, from the block's first row on.
        skipped: for each image that was left out its name and the reason.
    """

    labels: list[int] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class BlockPlan:
    """What the writing process and the decoding ones share.

    Attributes:
        source: the images.
        spec: how they are prepared.
        images: maximal number of images of a block.
        scratch: folder of the slots; None where `decode_block` is called directly.
    """

    source: Source
    spec: PreparationSpec
    images: int
    scratch: Path | None = None

    @property
    def slot_bytes(self) -> int:
        """Bytes of one slot."""
        return sum(int(np.prod(shape)) for shape in self.level_shapes.values())

    @property
    def level_shapes(self) -> dict[int, tuple[int, int, int, int]]:
        """Shapes `[rows, height, width, channels]` by resolution."""
        rows = self.images * self.spec.rows_per_image
        return {size: (rows, *shape, self.spec.channels) for size, shape in self.spec.shapes.items()}

    def make_slots(self, count: int) -> None:
        """Create the files through which blocks pass from worker to writer.

            Raises:
        OSError: the disk is full.
        """
        for slot in range(count):
            # Written, not sparse: storing into a mapped page for which the disk has no space would kill the process.
            self._slot_path(slot).write_bytes(bytes(self.slot_bytes))

    def levels(self, slot: int) -> dict[int, np.ndarray]:
        """Return the arrays of a slot by resolution."""
        # A plain array: every slice of a memmap costs as much as decoding a tiny image.
        buffer = np.asarray(np.memmap(self._slot_path(slot), np.uint8, "r+"))
        levels, start = {}, 0
        for size, shape in self.level_shapes.items():
            end = start + int(np.prod(shape))
            levels[size] = buffer[start:end].reshape(shape)
            start = end
        return levels

    def _slot_path(self, slot: int) -> Path:
        assert self.scratch is not None
        return self.scratch / f"slot{slot}"


def decode_into_slot(plan: BlockPlan, request: tuple[np.ndarray, int]) -> DecodedBlock:
    """Decode the images of a request (image numbers, slot) into the slot; called in the workers."""
    numbers, slot = request
    return decode_block(plan, numbers, levels=plan.levels(slot))


def decode_block(plan: BlockPlan, numbers: Sequence[int] | np.ndarray, *, levels: Mapping[int, np.ndarray]) -> DecodedBlock:
    """Decode images into the first rows of some levels, leaving out unusable ones.

    Args:
        plan: the source and how its images are prepared.
        numbers: of the images; at most `plan.images`.
        levels: uint8 `[rows, height, width, channels]` by resolution, largest first; overwritten.
    """
    spec, decoded = plan.spec, DecodedBlock()
    top = levels[spec.resolution]
    target, row = spec.target, 0
    for number in map(int, numbers):
        try:
            # Any error of a source leaves out one image, as in `check`.
            with decoding_errors():
                content = plan.source.read(number)
            top[row] = crop_and_resize(content, target)
        except UnusableImageError as error:
            decoded.skipped.append(f"{plan.source.item_name(number)} {error}")
            continue
        label = plan.source.label(number)
        decoded.labels.append(label)
        row += 1
        if spec.copies_mirrored:
            top[row] = top[row - 1, :, ::-1]
            decoded.labels.append(label)
            row += 1
    if row:
        fill_levels({size: level[:row] for size, level in levels.items()})
    return decoded


@dataclass(frozen=True)
class Estimate:
    """The size of a preparation, as far as it is known without decoding.

    Attributes:
        images: rows, if all images are usable.
        bytes: of the finished files.
        needed: maximal bytes during the work, the finished files included.
        free: bytes free on that disk.
    """

    images: int
    bytes: int
    needed: int
    free: int


def estimate(source: Source, spec: PreparationSpec, *, folder: Path, workers: int | None = None) -> Estimate:
    """Estimate the size of a prepared folder; `spec` as `for_source` returns it."""
    images = spec.count(len(source))
    rows = images * spec.rows_per_image
    size = rows * spec.bytes_per_row
    plan, slots = plan_work(source, spec, images=images, workers=choose_workers(spec, images, workers=workers))
    existing = next(parent for parent in [folder, *folder.absolute().parents] if parent.is_dir())
    return Estimate(rows, size, size + slots * plan.slot_bytes, shutil.disk_usage(existing).free)


def choose_workers(spec: PreparationSpec, images: int, *, workers: int | None) -> int:
    """Return how many worker processes to start for `images` images, unless `workers` says so."""
    if workers is not None:
        return workers
    is_much = images >= _IMAGES_WORTH_WORKERS or images * spec.bytes_per_row >= _BYTES_WORTH_WORKERS
    return default_workers() if is_much else 0


def plan_work(
    source: Source, spec: PreparationSpec, *, images: int, workers: int, scratch: Path | None = None
) -> tuple[BlockPlan, int]:
    """Return how `images` images are divided into blocks, and the number of slots."""
    plan = BlockPlan(source, spec, images_per_block(spec, images, workers=workers), scratch)
    return plan, min(in_flight(workers), math.ceil(images / plan.images))
