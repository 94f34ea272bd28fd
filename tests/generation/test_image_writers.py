"""Writing of images: constant memory, order, files."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from pggan_jax.data.images.decode import open_image
from pggan_jax.generation import image_writers
from pggan_jax.generation.image_writers import Sample, encode_image, is_complete, remove_samples, write_samples
from tests.helpers.image_samples import noise


class Tracked(np.ndarray):
    """An array class that counts its instances."""

    living = 0

    def __array_finalize__(self, other):
        Tracked.living += 1

    def __del__(self):
        Tracked.living -= 1


class Writer:
    """Keeps names; `encode` fails for those that contain "bad"."""

    def __init__(self, pause=0.0):
        self.pause = pause
        self.names, self.most, self.events, self.threads = [], 0, [], set()

    def encode(self, samples):
        time.sleep(self.pause)
        self.most = max(self.most, Tracked.living)
        self.threads.add(threading.get_ident())
        if any("bad" in sample.name for sample in samples):
            raise OSError(28, "No space left on device")
        return [sample.name for sample in samples]

    def store(self, encoded, count):
        assert len(encoded) == count
        self.names += encoded

    def finish(self):
        self.events.append("finish")

    def close(self):
        self.events.append("close")


def samples(count, *, bad=None, side=2):
    for number in range(count):
        name = f"{number} bad" if number == bad else str(number)
        yield Sample(name, np.full((side, side, 1), number % 256, np.uint8).view(Tracked))


@pytest.fixture
def two_threads(monkeypatch):
    monkeypatch.setattr(image_writers, "available_cpus", lambda: 2)


@pytest.mark.usefixtures("two_threads")
def test_order_and_memory():
    """While encoding is slow, two tasks per thread wait, and the next one is generated."""
    writer, counts = Writer(pause=0.002), []
    write_samples(samples(700), writer, at_once=7, progress=counts.append)
    assert writer.names == [str(number) for number in range(700)]
    assert sum(counts) == 700
    assert writer.events == ["finish", "close"]
    assert threading.get_ident() not in writer.threads
    assert 2 * 7 < writer.most <= 7 * (2 * 2 + 2)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("side", "most"), [(32, 5 * 7), (512, 10), (1024, 3)])
def test_large_images_wait_in_small_numbers(monkeypatch, side, most):
    """Here at most a megabyte waits, besides the task that is encoded and the one that is generated."""
    monkeypatch.setattr(image_writers, "MOST_QUEUED_BYTES", 2**20)
    writer = Writer(pause=0.002)
    write_samples(samples(50, side=side), writer, at_once=7, progress=lambda _: None)
    assert writer.names == [str(number) for number in range(50)]
    assert writer.most <= most + 7 * (side == 32)


def test_an_error_keeps_what_is_complete():
    writer = Writer()
    with pytest.raises(OSError, match="No space left"):
        write_samples(samples(100, bad=50), writer, at_once=7, progress=lambda _: None)
    assert writer.names == [str(number) for number in range(49)]
    assert writer.events == ["close"]


@pytest.mark.parametrize("format", ["png", "webp"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_formats_are_lossless(format, channels, tmp_path):
    image = noise(6, 10, channels)
    path = tmp_path / f"seed0001.{format}"
    path.write_bytes(encode_image(image, format))
    read = np.asarray(open_image(path.read_bytes()))
    shown = image[..., :3] if channels > 4 else image
    if format == "webp" and channels < 3:
        # WebP has no grey.
        shown = np.concatenate([shown[..., :1].repeat(3, axis=-1), shown[..., 1:]], axis=-1)
    np.testing.assert_array_equal(read.reshape(shown.shape), shown)
    assert is_complete(path)
    for cut in (0, 5, 20, -1):
        path.write_bytes(path.read_bytes()[:cut])
        assert not is_complete(path)
    assert not is_complete(tmp_path / "absent.png")
    assert not is_complete(tmp_path)


OWN_IMAGES = ["seed0001.png", "seed123456_class3_cat.webp"]
OWN_WAVES = [
    "seed0001.wav",
    "seed0001-pitch060.wav",
    "seed0001_class2_dog.wav",
    "walk-3-8-step00-pitch060.wav",
    "walk-3-8-step00.wav",
    "melody-ode-seed0000.wav",
    "all.wav",
]
OTHERS = ["seed1.png", "seed0001.jpg", "cat.png", "seed0001.txt", ".pggan_jax", "melody-mine.wav", "walk-1.wav", "x-all.wav"]


@pytest.mark.parametrize("are_waves", [False, True])
def test_only_own_files_are_removed(are_waves, tmp_path):
    kept = [*OTHERS, *(OWN_IMAGES if are_waves else OWN_WAVES), "seed0002.png", "seed0002.wav"]
    for name in {*kept, *OWN_IMAGES, *OWN_WAVES, ".seed0001.png.partial"} - {"seed0002.png", "seed0002.wav"}:
        (tmp_path / name).write_bytes(b"")
    for name in ("seed0002.png", "seed0002.wav"):
        (tmp_path / name).mkdir()
    remove_samples(tmp_path, are_waves=are_waves)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
