"""Write any number of images with constant memory, encoded in threads.

The result is a folder of files here, and one file in `archive_writers`. All of them continue after an interruption.
"""

from __future__ import annotations

import io
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from pggan_jax.images import as_pillow, encode_png
from pggan_jax.system.files import write_atomically
from pggan_jax.system.resource_limits import available_cpus

FORMATS = ("png", "webp")
_MOST_THREADS = 16
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
_OWN_IMAGE = re.compile(r"seed\d{4,10}(_class.*)?\.(png|webp)|\.seed\d{4,10}.*\.partial", re.DOTALL)
_OWN_WAVE = re.compile(
    r"(seed\d{4,10}|walk-\d+-\d+-step\d{2,})((_class|-pitch).*)?\.wav|melody-.+-seed\d{4,10}\.wav|all\.wav"
    r"|\.seed\d{4,10}.*\.partial",
    re.DOTALL,
)
_ROWS_AT_ONCE = 10_000
MOST_QUEUED_BYTES = 2**28
"""Pixels that wait to be encoded, unless a single image has more."""


class Sample(NamedTuple):
    """A file name, and uint8 pixels `[height, width, channels]` or a wave `[samples]`."""

    name: str
    image: np.ndarray


@dataclass(frozen=True)
class Plan:
    """What is to be written, and by which request.

    Attributes:
        seeds: of all images; may be iterated repeatedly.
        classes: seeds to class numbers.
        name_of: seed and class number to the file name.
        has_labels: whether the classes mean something.
        shape: height, width and channels of each image.
        request: what determines the images; a result continues only if its request is equal.
        encode: what is in the file of a sample; by default it is an image, encoded by `encode_image`.
    """

    seeds: Any
    classes: Callable[[Sequence[int]], np.ndarray]
    name_of: Callable[[int, int], str]
    has_labels: bool
    shape: tuple[int, int, int]
    request: Mapping[str, Any]
    encode: Callable[[np.ndarray], bytes] | None = None

    def content_of(self, sample: Sample, format: str) -> bytes:
        """Return what is in the file of a sample."""
        return self.encode(sample.image) if self.encode else encode_image(sample.image, format)

    def __len__(self) -> int:
        return len(self.seeds)

    def rows(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield seeds and classes, int64, some thousand at once."""
        seeds: list[int] = []
        for seed in self.seeds:
            seeds.append(seed)
            if len(seeds) == _ROWS_AT_ONCE:
                yield np.array(seeds, np.int64), self.classes(seeds)
                seeds = []
        if seeds:
            yield np.array(seeds, np.int64), self.classes(seeds)

    def names(self) -> Iterator[tuple[str, int]]:
        """Yield the file name and the class of each image."""
        for seeds, classes in self.rows():
            for seed, number in zip(seeds.tolist(), classes.tolist(), strict=True):
                yield self.name_of(seed, number), number


class ImageWriter(Protocol):
    """Where images go. `encode` is called in threads, everything else in one."""

    @property
    def done(self) -> np.ndarray:
        """Which images are complete: bool `[images]`."""

    def encode(self, samples: Sequence[Sample]) -> Any:
        """Encode images."""

    def store(self, encoded: Any, count: int) -> None:
        """Write what `encode` has returned for `count` images, in the order of the images."""

    def finish(self) -> None:
        """Complete the result."""

    def close(self) -> None:
        """Keep an incomplete result as it is, to be continued."""


class FolderWriter:
    """One file per image, each written under another name first.

    Args:
        folder: exists.
        plan: what is written.
        format: one of `FORMATS`.
    """

    def __init__(self, folder: Path, plan: Plan, *, format: str):
        self._folder, self._plan, self._format = folder, plan, format
        for path in folder.glob(".seed*.partial"):
            path.unlink()
        found = (is_complete(folder / name) for name, _ in plan.names())
        self.done = np.fromiter(found, bool, len(plan))

    def encode(self, samples: Sequence[Sample]) -> None:
        """Encode and write files."""
        for sample in samples:
            # Without waiting for the disk: `is_complete` finds a file that a power failure has damaged.
            write_atomically(self._folder / sample.name, self._plan.content_of(sample, self._format), durable=False)

    def store(self, encoded: None, count: int) -> None:
        """Do nothing: `encode` has written the files."""

    def finish(self) -> None:
        """Do nothing: every file is complete."""

    def close(self) -> None:
        """Do nothing: every file is complete."""


def write_samples(samples: Iterator[Sample], writer: ImageWriter, *, at_once: int, progress: Callable[[int], object]) -> None:
    """Encode images in threads and write them in order; memory does not grow with their number.

    Args:
        samples: images, as they are generated.
        writer: where they go.
        at_once: images per thread and task; fewer if they are large.
        progress: called with the number of images written.

    Raises:
        OSError: the images cannot be written. What is complete is kept.
    """
    pending: deque[tuple[Future[Any], int, int]] = deque()
    threads, queued = min(_MOST_THREADS, available_cpus()), 0

    def store_first() -> None:
        nonlocal queued
        task, count, size = pending.popleft()
        writer.store(task.result(), count)
        queued -= size
        progress(count)

    pool = ThreadPoolExecutor(threads, thread_name_prefix="encode")
    try:
        while group := _next_group(samples, at_once, most_bytes=MOST_QUEUED_BYTES // (2 * threads)):
            size = sum(sample.image.nbytes for sample in group)
            pending.append((pool.submit(writer.encode, group), len(group), size))
            queued += size
            # Not kept until the next ones are generated.
            del group
            while pending and (len(pending) > 2 * threads or queued > MOST_QUEUED_BYTES or pending[0][0].done()):
                store_first()
        while pending:
            store_first()
        writer.finish()
    finally:
        pool.shutdown(cancel_futures=True)
        writer.close()


def _next_group(samples: Iterator[Sample], count: int, *, most_bytes: int) -> list[Sample]:
    """Return the next `count` images, fewer if they have `most_bytes`; none at the end."""
    group: list[Sample] = []
    size = 0
    for sample in islice(samples, count):
        group.append(sample)
        size += sample.image.nbytes
        if size >= most_bytes:
            break
    return group


def remove_samples(folder: Path, *, are_waves: bool) -> None:
    """Remove the images, or the waves, that `sample` has written, and no others."""
    own = _OWN_WAVE if are_waves else _OWN_IMAGE
    with os.scandir(folder) as entries:
        for entry in entries:
            if own.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                os.unlink(entry.path)


def encode_image(image: np.ndarray, format: str) -> bytes:
    """Encode a uint8 image `[height, width, channels]` without loss, as "png" or "webp"."""
    if format == "png":
        return encode_png(image)
    buffer = io.BytesIO()
    # Without `exact`, colours below transparent pixels are lost.
    as_pillow(image).save(buffer, format="WEBP", lossless=True, exact=True)
    return buffer.getvalue()


def is_complete(path: Path) -> bool:
    """Whether a PNG, WebP or WAV file exists and has its end."""
    try:
        with path.open("rb") as file:
            head, size = file.read(8), os.fstat(file.fileno()).st_size
            if head[:4] == b"RIFF":
                return int.from_bytes(head[4:8], "little") + 8 == size
            file.seek(max(0, size - len(_PNG_END)))
            return file.read() == _PNG_END
    except OSError:
        return False
