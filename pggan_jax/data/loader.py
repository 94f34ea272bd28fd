"""Real images by sample index. Stateless.

(seed, sample index) determines the image, so a resumed run continues exactly.

The sample index counts the real images since the start of the run. An array of sample indices of any shape gives images of that
shape; batches and devices are handled elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from pggan_jax.data.buffer_pool import BufferPool
from pggan_jax.data.data_record import DataRecord, ImageChecksums, create_record, image_checksums
from pggan_jax.data.preparation.prepared_folder import level_name
from pggan_jax.data.pyramid import Pyramid
from pggan_jax.data.sample_order import rows_for_samples, split_rows
from pggan_jax.data.watched_files import WatchedFiles
from pggan_jax.errors import UserError
from pggan_jax.images import ImageShape, ImageSpec
from pggan_jax.sound.representations import Representation
from pggan_jax.system.resource_limits import available_cpus

MIN_HELD_OUT = 16
"""Fewest images on either side of a split."""
# Waking a thread costs as much as copying about one megabyte.
_BYTES_PER_THREAD = 2 * 2**20
_MAX_THREADS = 8


class HostBatch(NamedTuple):
    """Real images on the host.

    Attributes:
        images: uint8 `[..., height, width, channels]`.
        labels: one-hot float32 `[..., label_size]`; label_size is 0 when labels are not used.
    """

    images: np.ndarray
    labels: np.ndarray


class Loader:
    """Images and labels of a pyramid by sample index and resolution, without held-out images."""

    def __init__(self, pyramid: Pyramid, *, seed: int, use_labels: bool, held_out: float | Loader = 0.0) -> None:
        """Wrap a pyramid.

        Args:
            pyramid: the data.
            seed: of the order, and of the choice of held-out images.
            use_labels: return one-hot labels with the images.
            held_out: share of the images that is kept from training, or other images with the same classes.

        Raises:
            UserError: labels are wanted and the data have none, or there are too few images for the split.
        """
        if use_labels and not pyramid.class_names:
            raise UserError(
                "data.labels = True: this source has no classes; set data.labels=false, use data.source=digits, "
                "or a folder whose images all lie in subfolders, one per class"
            )
        self._pyramid = pyramid
        self._seed = seed
        self._use_labels = use_labels
        # Rows of the pyramid by own row, and those that are left out; None for all, and for none.
        self._chosen: np.ndarray | None = None
        self._left_out: np.ndarray | None = None
        self._others = held_out if isinstance(held_out, Loader) else None
        if not isinstance(held_out, Loader) and held_out:
            self._chosen, self._left_out = _split(pyramid, held_out, seed=seed)
        self._memory = BufferPool()
        self._recorded: tuple[Pyramid, DataRecord] | None = None
        # Threads start when they are first needed.
        self._pool = ThreadPoolExecutor(min(available_cpus(), _MAX_THREADS), thread_name_prefix="gather")

    @property
    def label_size(self) -> int:
        """Length of a label vector; 0 when labels are not used."""
        return len(self._pyramid.class_names) if self._use_labels else 0

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per class, in the order of the class numbers; empty when labels are not used."""
        return self._pyramid.class_names if self._use_labels else ()

    @property
    def label_kind(self) -> str:
        """What the classes of sound are: pitch, family or folder; empty without labels."""
        return self._pyramid.label_kind if self._use_labels else ""

    @property
    def former_class_names(self) -> tuple[str, ...]:
        """The class names in the order of earlier versions of this program.

        Empty where it was the same.
        """
        return self._pyramid.former_class_names if self._use_labels else ()

    def use_class_order(self, class_names: Sequence[str]) -> bool:
        """Number the classes in a recorded order, if it has the same names in another order.

        Returns:
            Whether the order has changed.
        """
        own = self.class_names
        if tuple(class_names) == own or len(set(own)) < len(own) or sorted(class_names) != sorted(own):
            return False
        self._pyramid = self._pyramid.in_class_order(class_names)
        if self._others is not None:
            self._others.use_class_order(class_names)
        return True

    def record(self) -> DataRecord:
        """Return the record that checkpoints store.

        Reads the arrays if no checksums are stored with them.
        """
        if self._recorded is None or self._recorded[0] is not self._pyramid:
            record = create_record(self._pyramid, use_labels=self._use_labels, held_out=self._left_out)
            if self._others is not None:
                record = replace(record, held_out_images=self._others.record().fingerprint)
            self._recorded = self._pyramid, record
        return self._recorded[1]

    @property
    def held_out(self) -> Loader | None:
        """The images that are kept from training, or other ones; None where there are none."""
        if self._left_out is None:
            return self._others
        loader = Loader(self._pyramid, seed=self._seed, use_labels=self._use_labels)
        loader._chosen = self._left_out
        return loader

    @property
    def held_out_count(self) -> int:
        """How many images of this source are kept from training."""
        return 0 if self._left_out is None else len(self._left_out)

    def image_checksums(self, resolution: int = 0) -> ImageChecksums | None:
        """Compute a checksum of each image, held out or not, from one level.

        By default the largest level that is read fast; None without it.
        """
        return image_checksums(self._pyramid, resolution) if not resolution or resolution in self._pyramid.levels else None

    @property
    def image_spec(self) -> ImageSpec:
        """Shape of the images at full resolution, and length of their labels."""
        shape = self.shape_at(max(self._pyramid.levels))
        return ImageSpec(shape.height, shape.width, self.channels, self.label_size)

    def shape_at(self, resolution: int) -> ImageShape:
        """Return height and width of the images of a level."""
        return ImageShape(resolution, *self._pyramid.levels[resolution].shape[1:3])

    @property
    def channels(self) -> int:
        """Colour channels of the images."""
        return self._pyramid.channels

    @property
    def representation(self) -> Representation | None:
        """How the images were made of sound; None for images."""
        return self._pyramid.representation

    def original_waves(self, rows: np.ndarray) -> list[np.ndarray] | None:
        """Return the clips of which some images were made, float64 `[samples]` each.

        None for images, and where the source cannot give all of them.
        """
        clips, form = self._pyramid.clips, self.representation
        if clips is None or form is None:
            return None
        images, left_out = self.images(max(self._pyramid.levels), rows), len(self._pyramid.skipped)
        pairs = zip(map(int, self._in_pyramid(rows)), images, strict=True)
        found = [clips.find(row, image, representation=form, left_out=left_out) for row, image in pairs]
        waves = [wave for wave in found if wave is not None]
        return waves if len(waves) == len(found) else None

    @property
    def warning(self) -> str:
        """One line about images that cannot be used, or ""."""
        others = self._others.warning if self._others is not None else ""
        return "; ".join(filter(None, (self._pyramid.warning, others and f"of the held-out images {others}")))

    @property
    def files(self) -> WatchedFiles | None:
        """The files from which the levels are mapped; None for data in memory."""
        return self._pyramid.files

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._pyramid if self._chosen is None else self._chosen)

    def _in_pyramid(self, rows: np.ndarray) -> np.ndarray:
        return rows if self._chosen is None else self._chosen[rows]

    def class_table(self) -> np.ndarray:
        """Return the class of every row, int32 `[images]`, to sample from.

        A single 0 when labels are not used.
        """
        if not self._use_labels:
            return np.zeros(1, np.int32)
        return self._pyramid.classes if self._chosen is None else self._pyramid.classes[self._chosen]

    def rows(self, sample_indices: np.ndarray) -> np.ndarray:
        """Return the rows, 0..len-1, of some samples, int64 of the same shape."""
        return rows_for_samples(sample_indices, seed=self._seed, size=len(self))

    def gather(self, resolution: int, sample_indices: np.ndarray) -> HostBatch:
        """Return images and labels of some samples (any shape) from the level `resolution`."""
        rows = self.rows(sample_indices)
        return HostBatch(self.images(resolution, rows), self.labels(rows))

    def level(self, resolution: int) -> np.ndarray:
        """Return all images of one level, uint8 `[images, height, width, channels]`.

        May be a memory map; it is a copy where images are held out.

        Raises:
            UserError: the mapped file has become shorter.
        """
        level = self._whole_level(resolution)
        return level if self._chosen is None else np.take(level, self._chosen, axis=0)

    def level_bytes(self, resolution: int) -> int:
        """Return the size of `level`."""
        level = self._pyramid.levels[resolution]
        return level.nbytes // len(level) * len(self)

    def _whole_level(self, resolution: int) -> np.ndarray:
        if self._pyramid.files:
            self._pyramid.files.refuse_if_truncated(level_name(resolution))
        return self._pyramid.levels[resolution]

    def images(self, resolution: int, rows: np.ndarray) -> np.ndarray:
        """Copy some rows of a level: uint8 `[*rows, height, width, channels]`.

        Several threads copy large images; they also wait for a disk in parallel.
        """
        # asarray makes a plain array of a memory map, too.
        level, wanted = np.asarray(self._whole_level(resolution)), self._in_pyramid(rows.ravel())
        images = self._memory.empty((len(wanted), *level.shape[1:]))
        count = max(1, min(len(wanted), images.nbytes // _BYTES_PER_THREAD, _MAX_THREADS))
        bounds = [len(wanted) * index // count for index in range(count + 1)]

        def copy(start: int, end: int) -> None:
            # mode="clip", although all rows are valid: only then NumPy writes into `out` directly, without the global lock.
            np.take(level, wanted[start:end], axis=0, out=images[start:end], mode="clip")

        if count == 1:
            copy(*bounds)
        else:
            # list() re-raises the error of a thread.
            list(self._pool.map(copy, bounds[:-1], bounds[1:]))
        return images.reshape(*rows.shape, *level.shape[1:])

    def labels(self, rows: np.ndarray) -> np.ndarray:
        """Return one-hot labels of some rows, float32 `[*rows, label_size]`.

        Made on demand, as all would fill the memory.
        """
        return np.asarray(self._pyramid.classes[self._in_pyramid(rows)][..., None] == np.arange(self.label_size), np.float32)


def _split(pyramid: Pyramid, share: float, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `split_rows` of a pyramid; raise UserError if a side is too small."""
    chosen, left_out = split_rows(len(pyramid), share=share, seed=seed)
    if min(len(chosen), len(left_out)) < MIN_HELD_OUT:
        raise UserError(
            f"data.held_out = {share:g}: holds out {len(left_out):,} of {len(pyramid):,} images, and there must be at least "
            f"{MIN_HELD_OUT} on either side; choose a larger share, or more images"
        )
    return chosen, left_out
