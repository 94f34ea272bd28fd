"""Arrays as a source for tests, with bad images and errors at chosen indices."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from pggan_jax.data.images.decode import UnusableImageError
from pggan_jax.errors import UserError

# Three blocks without worker processes, more with them.
COUNT = 600
CLASSES = ("a", "b", "c")


def noise(count, resolution, channels=3, seed=0):
    """Random images, uint8 `[count, resolution, resolution, channels]`; resolution may be (height, width)."""
    shape = resolution if isinstance(resolution, tuple) else (resolution, resolution)
    return np.random.default_rng(seed).integers(0, 256, (count, *shape, channels), np.uint8)


@dataclass
class ArraySource:
    """Images from an array.

    Attributes:
        bad: numbers of images that cannot be used.
        trouble: what happens when an image is read: "kill" the main process, "die" in the worker, "interrupt", "memory".
        log: a file to which every process adds the numbers that it reads, each with its process.
        state: part of the fingerprint.
    """

    images: np.ndarray
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] = ()
    bad: frozenset[int] = frozenset()
    trouble: dict[int, str] = field(default_factory=dict)
    log: Path | None = None
    state: str = ""

    name = "array"
    problems = ()

    @property
    def channels(self):
        return self.images.shape[-1]

    def __len__(self):
        return len(self.images)

    def item_name(self, index):
        return f"picture {index}"

    def label(self, index):
        return int(self.labels[index]) if self.class_names else 0

    def read(self, index):
        if self.log:
            with self.log.open("a") as file:
                file.write(f"{index} {os.getpid()}\n")
        if index in self.trouble:
            _make_trouble(self.trouble[index])
        if index in self.bad:
            raise UnusableImageError("is bad; fix it")
        return self.images[index]

    def fingerprint(self):
        return f"{self.images.sum()} {self.state}"

    def reads(self):
        """(numbers, processes) of all images read so far."""
        lines = self.log.read_text().split("\n")[:-1] if self.log.exists() else []
        numbers, processes = zip(*(map(int, line.split()) for line in lines), strict=True) if lines else ((), ())
        return list(numbers), set(processes)


def _make_trouble(kind):
    if kind == "kill":
        parent = multiprocessing.parent_process()
        os.kill(parent.pid if parent else os.getpid(), signal.SIGKILL)
        time.sleep(60)  # The worker must be ended from outside its work.
    elif kind == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "memory":
        raise MemoryError
    elif kind == "interrupt":
        raise KeyboardInterrupt
    else:
        raise ValueError(kind)


def labelled(count=COUNT, resolution=8, **more):
    return ArraySource(noise(count, resolution), np.arange(count) % 3, CLASSES, **more)


def content(folder):
    """Every byte of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def refusal(function, *args, **kwargs):
    with pytest.raises(UserError) as caught:
        function(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message
