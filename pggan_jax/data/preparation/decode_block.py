"""Some images of a source at all levels: the work of one worker at a time, and the memory it leaves its result in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pggan_jax.data.images.crop_resize import fit
from pggan_jax.data.images.decode import UnusableImageError, decoding_errors
from pggan_jax.data.levels import fill_levels
from pggan_jax.data.preparation.spec import Preparation
from pggan_jax.data.preparation.worker_pool import in_flight
from pggan_jax.data.sources.open_source import Source

_BLOCK_BYTES = 8 * 2**20
_ALL_SLOTS_BYTES = 2**28
_MAX_IMAGES = 256
_BLOCKS_PER_WORKER = 4


def images_per_block(preparation: Preparation, images: int, workers: int) -> int:
    """How many of so many images to hand over at a time.

    Enough to make up for handing them over, few enough that all slots together stay small and that all workers are busy to the
    end.
    """
    block_bytes = min(_BLOCK_BYTES, _ALL_SLOTS_BYTES // in_flight(workers))
    shares = max(1, _BLOCKS_PER_WORKER * workers)
    return max(1, min(_MAX_IMAGES, block_bytes // (preparation.bytes_per_row * preparation.rows_per_image), images // shares))


@dataclass
class Filled:
    """What became of the images of a block.

    Attributes:
        labels: class numbers of the rows that were filled, from the block's first row on.
        skipped: why each of the other images was left out, its name included.
    """

    labels: list[int] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class BlockPlan:
    """Shared by the process that writes and those that decode.

    Attributes:
        source, preparation: what to read and what to make of it.
        images: how many images make up a block, at most.
        scratch: folder of the slots; None where `fill` is called directly.
    """

    source: Source
    preparation: Preparation
    images: int
    scratch: Path | None = None

    @property
    def slot_bytes(self) -> int:
        """Bytes of one slot."""
        return sum(int(np.prod(shape)) for shape in self.level_shapes.values())

    @property
    def level_shapes(self) -> dict[int, tuple[int, int, int, int]]:
        """`[rows, height, width, channels]` by resolution."""
        rows = self.images * self.preparation.rows_per_image
        return {size: (rows, *shape, self.preparation.channels) for size, shape in self.preparation.shapes.items()}

    def make_slots(self, count: int) -> None:
        """Reserve the files through which blocks pass from worker to writer. Raises OSError where the disk is full."""
        for slot in range(count):
            # Written, not sparse: storing into a mapped page that the disk has no room for would kill the process.
            self._slot_path(slot).write_bytes(bytes(self.slot_bytes))

    def levels(self, slot: int) -> dict[int, np.ndarray]:
        """The arrays of a slot, by resolution."""
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


def fill_slot(plan: BlockPlan, request: tuple[np.ndarray, int]) -> Filled:
    """Decode images (their numbers, a slot) into the slot. The function of the workers."""
    numbers, slot = request
    return fill(plan, numbers, plan.levels(slot))


def fill(plan: BlockPlan, numbers: Sequence[int] | np.ndarray, levels: Mapping[int, np.ndarray]) -> Filled:
    """Decode images into the first rows of some levels, leaving out those that cannot be used.

    Args:
        plan: the source and what to make of it.
        numbers: of the images; at most `plan.images`.
        levels: uint8 `[rows, height, width, channels]` by resolution, largest first.
    """
    preparation, filled = plan.preparation, Filled()
    top = levels[preparation.resolution]
    frame, row = preparation.frame, 0
    for number in map(int, numbers):
        try:
            # Whatever a source stumbles over, as in `check`.
            with decoding_errors():
                content = plan.source.read(number)
            top[row] = fit(content, frame)
        except UnusableImageError as error:
            filled.skipped.append(f"{plan.source.item_name(number)} {error}")
            continue
        label = plan.source.label(number)
        filled.labels.append(label)
        row += 1
        if preparation.copies_mirrored:
            top[row] = top[row - 1, :, ::-1]
            filled.labels.append(label)
            row += 1
    if row:
        fill_levels({size: level[:row] for size, level in levels.items()})
    return filled
