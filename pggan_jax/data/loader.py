"""Which images come next, and their bytes. Stateless: a position in the run names a row, so a resumed run goes on exactly.

A position is the number of real images shown since the start of the run. Knows the pyramid; knows no devices and no batches: an
array of positions of any shape gives images of that shape.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from pggan_jax.data.buffer_pool import RecycledMemory
from pggan_jax.data.data_record import DataRecord, ImageChecksums, image_checksums, record_of
from pggan_jax.data.preparation.prepared_folder import level_name
from pggan_jax.data.pyramid import Pyramid
from pggan_jax.data.watched_files import WatchedFiles
from pggan_jax.errors import UserError
from pggan_jax.system.machine import available_cpus

# Waking a thread costs as much as copying about a megabyte.
_BYTES_PER_THREAD = 2 * 2**20
_MAX_THREADS = 8
Request = TypeVar("Request")
Result = TypeVar("Result")


class HostBatch(NamedTuple):
    """Real images on the host.

    Attributes:
        images: uint8 `[..., resolution, resolution, channels]`.
        labels: one-hot float32 `[..., label_size]`; label_size is 0 when labels are not used.
    """

    images: np.ndarray
    labels: np.ndarray


# An epoch's order takes 8 bytes per image; a batch seldom meets more than two epochs.
@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    """A random order of 0..size-1 from (seed, epoch) alone, read-only.

    Sorts raw Philox words: NumPy promises their values for ever, those of `Generator.permutation` only within one version.
    """
    words = np.random.Philox(key=[seed, epoch]).random_raw(size)
    order = np.argsort(words, kind="stable").astype(np.int64)
    order.flags.writeable = False
    return order


def rows_at(positions: np.ndarray, *, seed: int, size: int) -> np.ndarray:
    """The rows shown at some positions: each row once per epoch, in an order of its own for every epoch.

    Args:
        positions: counts of real images shown before, 0 or more, any shape.
        seed: of the order, 0..2^64-1.
        size: number of rows, 1 or more.

    Returns:
        int64 rows 0..size-1 in the shape of `positions`; they depend on nothing but the arguments.
    """
    epochs, offsets = np.divmod(np.asarray(positions, np.int64), size)
    if epochs.size and epochs.min() == epochs.max():  # most batches
        return _permutation(seed, int(epochs.min()), size)[offsets]
    rows = np.empty(offsets.shape, np.int64)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        rows[here] = _permutation(seed, int(epoch), size)[offsets[here]]
    return rows


class Loader:
    """Images and labels of a pyramid by position and resolution."""

    def __init__(self, pyramid: Pyramid, *, seed: int, use_labels: bool) -> None:
        """Wrap a pyramid.

        Args:
            pyramid: the data.
            seed: of the order.
            use_labels: give the one-hot labels with the images.

        Raises:
            UserError: labels are wanted and there are none.
        """
        if use_labels and not pyramid.class_names:
            raise UserError(
                "data.labels = True: this source has no classes; set data.labels=false, use data.source=digits, "
                "or a folder whose images all lie in subfolders, one per class"
            )
        self._pyramid = pyramid
        self._seed = seed
        self._use_labels = use_labels
        self._memory = RecycledMemory()
        self._recorded: tuple[Pyramid, DataRecord] | None = None
        # Threads start when first needed.
        self._pool = ThreadPoolExecutor(min(available_cpus(), _MAX_THREADS), thread_name_prefix="gather")

    @property
    def label_size(self) -> int:
        """Length of a label vector; 0 when labels are not used."""
        return len(self._pyramid.class_names) if self._use_labels else 0

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per class, in the order of the numbers; none when labels are not used."""
        return self._pyramid.class_names if self._use_labels else ()

    @property
    def former_class_names(self) -> tuple[str, ...]:
        """The order of the classes in earlier versions of this program; empty where it was the same."""
        return self._pyramid.former_class_names if self._use_labels else ()

    def use_class_order(self, class_names: Sequence[str]) -> bool:
        """Number the classes in a recorded order from now on, if that has the same names in another order.

        Returns:
            Whether it has.
        """
        own = self.class_names
        if tuple(class_names) == own or len(set(own)) < len(own) or sorted(class_names) != sorted(own):
            return False
        self._pyramid = self._pyramid.in_class_order(class_names)
        return True

    def record(self) -> DataRecord:
        """What checkpoints say of these data. Reads the arrays if no checksums are stored with them."""
        if self._recorded is None or self._recorded[0] is not self._pyramid:
            self._recorded = self._pyramid, record_of(self._pyramid, use_labels=self._use_labels)
        return self._recorded[1]

    def image_checksums(self, resolution: int = 0) -> ImageChecksums | None:
        """A checksum of each image from one level, by default the largest that is quick to read; None without that level."""
        return image_checksums(self._pyramid, resolution) if not resolution or resolution in self._pyramid.levels else None

    @property
    def channels(self) -> int:
        """Colour channels of the images."""
        return self._pyramid.channels

    @property
    def warning(self) -> str:
        """One line about images that were left out, or nothing."""
        return self._pyramid.warning

    @property
    def files(self) -> WatchedFiles | None:
        """The files that the levels are mapped from, if they are."""
        return self._pyramid.files

    def __len__(self) -> int:
        """Number of images."""
        return len(self._pyramid)

    def class_table(self) -> np.ndarray:
        """The class of every row, int32 `[images]`, to draw from; one 0 when labels are not used."""
        return self._pyramid.classes if self._use_labels else np.zeros(1, np.int32)

    def rows(self, positions: np.ndarray) -> np.ndarray:
        """The rows of the pyramid at `positions`, int64 of the same shape."""
        return rows_at(positions, seed=self._seed, size=len(self._pyramid))

    def gather(self, resolution: int, positions: np.ndarray) -> HostBatch:
        """The real images at `positions` (any shape) from the level `resolution`."""
        rows = self.rows(positions)
        return HostBatch(self.images(resolution, rows), self.labels(rows))

    def level(self, resolution: int) -> np.ndarray:
        """All images of one resolution, uint8 `[images, resolution, resolution, channels]`; may be a memory map.

        Raises:
            UserError: the file of the map has become shorter.
        """
        if self._pyramid.files:
            self._pyramid.files.refuse_if_truncated(level_name(resolution))
        return self._pyramid.levels[resolution]

    def images(self, resolution: int, rows: np.ndarray) -> np.ndarray:
        """Copies of some rows of a level, uint8 `[*rows, resolution, resolution, channels]`.

        Large ones by several threads, which also wait side by side for a disk.
        """
        # asarray: a plain array out of a memory map, too.
        level, wanted = np.asarray(self.level(resolution)), rows.ravel()
        images = self._memory.empty((len(wanted), *level.shape[1:]))
        count = max(1, min(len(wanted), images.nbytes // _BYTES_PER_THREAD, _MAX_THREADS))
        bounds = [len(wanted) * part // count for part in range(count + 1)]

        def copy(start: int, end: int) -> None:
            # clip, although no row lies outside: only then does NumPy write into `out` directly. It holds no lock meanwhile.
            np.take(level, wanted[start:end], axis=0, out=images[start:end], mode="clip")

        if count == 1:
            copy(*bounds)
        else:
            # list: raises what a thread has raised.
            list(self._pool.map(copy, bounds[:-1], bounds[1:]))
        return images.reshape(*rows.shape, *level.shape[1:])

    def labels(self, rows: np.ndarray) -> np.ndarray:
        """One-hot labels of some rows, float32 `[*rows, label_size]`. Made when asked for: all of them would fill a memory."""
        return np.asarray(self._pyramid.classes[rows][..., None] == np.arange(self.label_size), np.float32)


class Prefetcher(Iterator[Result], Generic[Request, Result]):
    """Yields `make(request)` for each request, in order, made ahead by one background thread.

    Use it as a context manager or call `close`: otherwise the thread waits for its consumer until the process ends.
    """

    def __init__(self, make: Callable[[Request], Result], requests: Iterable[Request], *, depth: int = 2) -> None:
        """Start the thread.

        Args:
            make: called in the thread only. What it raises is raised by `next` in place of that result, and ends the iteration.
            requests: iterated in the thread only, never more than `depth` ahead of the consumer; may be endless.
            depth: how many results may wait, 1 or more.
        """
        if depth < 1:
            raise ValueError(f"depth {depth} is less than 1")
        self._make = make
        self._requests = requests
        self._depth = depth
        self._ready: deque[Result] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._finished = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)
        self._thread.start()

    def __next__(self) -> Result:
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._finished or self._closed)
            if self._closed:
                raise StopIteration
            if self._ready:
                result = self._ready.popleft()
                self._changed.notify_all()
                return result
            error, self._error = self._error, None
        if error is not None:
            raise error
        raise StopIteration

    def close(self) -> None:
        """Drop what was made ahead and end the thread, after the one result it may be making. May be called twice."""
        with self._changed:
            self._closed = True
            self._ready.clear()
            self._changed.notify_all()
        self._thread.join()

    def __enter__(self) -> Prefetcher[Request, Result]:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _run(self) -> None:
        error = None
        try:
            requests = iter(self._requests)
            # Room first: so neither requests nor results ever run more than `depth` ahead.
            while self._wait_for_room():
                try:
                    request = next(requests)
                except StopIteration:
                    break
                result = self._make(request)
                with self._changed:
                    self._ready.append(result)
                    self._changed.notify_all()
        except BaseException as caught:  # Whatever it is, the consumer must hear of it instead of waiting for ever.
            error = caught
        with self._changed:
            self._error = error
            self._finished = True
            self._changed.notify_all()

    def _wait_for_room(self) -> bool:
        """Wait until a result may be made; False when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._ready) < self._depth)
            return not self._closed
