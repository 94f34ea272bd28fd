"""Decode a source in worker processes and write the arrays of all levels."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pggan_jax.data.checking.pixel_range import resolve_range
from pggan_jax.data.preparation.decode_block import (
    BlockPlan,
    Estimate,
    choose_workers,
    decode_block,
    decode_into_slot,
    estimate,
    plan_work,
)
from pggan_jax.data.preparation.resumable import PartialFiles
from pggan_jax.data.preparation.spec import PreparationSpec
from pggan_jax.data.preparation.worker_pool import ordered_map
from pggan_jax.data.pyramid import Pyramid, first_reasons
from pggan_jax.data.sounds.spectrogram_source import SpectrogramSource, fitted_source, representation_of
from pggan_jax.data.sources.source import Source
from pggan_jax.errors import UserError
from pggan_jax.system.paths import CACHE_VARIABLE


@dataclass(frozen=True)
class DecodeJob:
    """What is decoded, how, and by how many processes.

    Attributes:
        source: the images.
        spec: how they are prepared, with the number of channels filled in (`PreparationSpec.for_source`).
        workers: decoding processes; None takes one per core, 0 decodes in this process.
        progress: show a bar on stderr when it takes more than two seconds and stderr is a terminal.
    """

    source: Source
    spec: PreparationSpec
    workers: int | None = None
    progress: bool = True

    def with_ranges(self) -> DecodeJob:
        """Return the job with everything measured that is chosen by the data.

        That is the range of 16-bit images for `range="auto"`, and the ranges of sound.
        """
        numbers = self.spec.order(len(self.source))
        source = fitted_source(self.source, numbers, workers=self.workers, progress=self.progress)
        spec = resolve_range(source, self.spec, workers=self.workers, progress=self.progress)
        return replace(self, source=source, spec=spec)

    def check_space(self, folder: Path, *, present: int = 0) -> Estimate:
        """Estimate the size of the result before any work.

        Args:
            folder: where the result is written.
            present: bytes that an interrupted preparation has written there already.

        Raises:
            UserError: too little space is free.
        """
        needed = estimate(self.source, self.spec, folder=folder, workers=self.workers)
        if needed.free + present < needed.needed:
            raise UserError(
                f"{folder}: {self.source.name} needs {needed.needed:,} bytes and {needed.free + present:,} are free; "
                "free some space, choose a folder on another disk, or lower the resolution"
            )
        return needed

    def check_usable(self, rows: int, skipped: Sequence[str]) -> None:
        """Raise a UserError if no image gave a row, or fewer than half of sound."""
        if not rows:
            raise UserError(f"{self.source.name}: none of {len(skipped)} images is usable: {first_reasons(skipped)}")
        if isinstance(self.source, SpectrogramSource):
            self.source.check_usable(rows, skipped)


def decode_all(job: DecodeJob, files: PartialFiles) -> None:
    """Decode the images that `files` lacks in worker processes, and append them in order."""
    order = job.spec.order(len(job.source))
    todo = order[files.images_read :]
    workers = choose_workers(job.spec, len(todo), workers=job.workers)
    # disable=None: no bar where stderr is not a terminal.
    bar = tqdm(
        total=len(order),
        initial=files.images_read,
        desc=f"preparing {job.source.name}",
        unit="img",
        delay=2,
        disable=None if job.progress else True,
    )
    with bar, tempfile.TemporaryDirectory(prefix="scratch", dir=files.partial) as scratch:
        plan, slots = plan_work(job.source, job.spec, images=len(todo), workers=workers, scratch=Path(scratch))
        plan.make_slots(slots)
        blocks = [todo[start : start + plan.images] for start in range(0, len(todo), plan.images)]
        requests = ((numbers, index % slots) for index, numbers in enumerate(blocks))
        written = 0
        with closing(ordered_map(decode_into_slot, plan, requests=requests, workers=workers)) as results:
            for index, decoded in enumerate(results):
                written += files.append(decoded, plan.levels(index % slots), images=len(blocks[index]))
                bar.set_postfix_str(f"{written / 1e6:,.0f} MB", refresh=False)
                bar.update(len(blocks[index]))


def write_arrays(source: Source, spec: PreparationSpec, *, folder: Path) -> tuple[str, ...]:
    """Write the arrays alone into an empty temporary folder: not resumable, no `info.json`.

    Args:
        source: the images.
        spec: how they are prepared, as `for_source` returns it.
        folder: where to write.

    Returns:
        For each image that was left out its name and the reason.

    Raises:
        UserError: no image is usable, or the disk is full or cannot be written.
    """
    job = DecodeJob(source, spec)
    try:
        job.check_space(folder)
        job = job.with_ranges()
        files = PartialFiles(folder, job.spec, key="")
        with closing(files):
            decode_all(job, files)
            job.check_usable(files.rows, files.skipped)
            for file in files.all().values():
                file.finish()
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror or error}); free some space, or set {CACHE_VARIABLE} to a folder on "
            "another disk"
        ) from error
    return tuple(files.skipped)


def build_in_memory(source: Source, spec: PreparationSpec) -> Pyramid:
    """Decode a small source at all resolutions without writing files.

    Raises:
        UserError: no image is usable, or the source cannot give so many channels.
    """
    spec = spec.for_source(source)
    order = spec.order(len(source))
    source = fitted_source(source, order, workers=0)
    plan = BlockPlan(source, spec, len(order))
    levels = {size: np.empty(shape, np.uint8) for size, shape in plan.level_shapes.items()}
    decoded = decode_block(plan, order, levels=levels)
    count = len(decoded.labels)
    DecodeJob(source, spec).check_usable(count, decoded.skipped)
    levels = {size: level[:count] for size, level in levels.items()}
    labels, skipped = np.array(decoded.labels, np.int32), tuple(decoded.skipped)
    return Pyramid(levels, labels, source.class_names, skipped, representation=representation_of(source))
