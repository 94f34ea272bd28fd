"""Compare speed and memory of this project's SWD with a direct implementation in NumPy.

    python experiments/benchmarks/swd.py --images=16384 --resolution=128

Both compute the metric of the same two sets of random textures, one after the other, each in a process of its own. The direct
implementation follows the specification (spec 5.1) word by word: pyramids and patches batch by batch, all descriptors of all
levels in memory, projection and sorting of whole arrays. With 16,384 images of 128x128 it needs more than 10 GB.

Prints the seconds, the peak memory and the values of both.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import app, flags
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

FLAGS = flags.FLAGS
flags.DEFINE_integer("images", 2048, "images in each set", lower_bound=64)
flags.DEFINE_integer("resolution", 128, "side of the images in pixels", lower_bound=16)
flags.DEFINE_enum("only", None, ["ours", "numpy"], "run one of the two in this process (internal)")
flags.DEFINE_string("textures", None, "folder with the images, for --only (internal)")

_BATCH = 64
_BINOMIAL = np.array([1, 4, 6, 4, 1]) / 16


def make_textures(folder: Path) -> None:
    """Write two sets of uint8 images, smooth noise with some grain, as `0.raw` and `1.raw`."""
    side = FLAGS.resolution
    for seed in range(2):
        random = np.random.default_rng(seed)
        with open(folder / f"{seed}.raw", "wb") as file:
            for size in np.diff([*range(0, FLAGS.images, _BATCH), FLAGS.images]):
                coarse = random.standard_normal((size, side // 8, side // 8, 3), np.float32).repeat(8, axis=1).repeat(8, axis=2)
                grain = random.standard_normal((size, side, side, 3), np.float32)
                file.write(np.clip(128 + (40 + 4 * seed) * coarse + 10 * grain, 0, 255).astype(np.uint8))


def textures(seed: int) -> Iterator[np.ndarray]:
    """Read one set in batches, uint8 `[batch, side, side, 3]`, so that it takes little memory."""
    side = FLAGS.resolution
    with open(Path(FLAGS.textures, f"{seed}.raw"), "rb") as file:
        while data := file.read(_BATCH * side * side * 3):
            yield np.frombuffer(data, np.uint8).reshape(-1, side, side, 3)


def ours(count: int, side: int) -> dict[str, float]:
    """Compute SWD with this project."""
    from pggan_jax.evaluation.metrics.swd import PatchCollector, swd
    from pggan_jax.images import image_shape

    collectors = []
    for seed in range(2):
        collector = PatchCollector(image_shape(side), count, seed=seed)
        for number, batch in enumerate(textures(seed)):
            collector.add(batch, number * _BATCH)
        collectors.append(collector.finish())
    return dict(swd(*collectors, seed=0).values)


def direct(side: int) -> dict[str, float]:
    """Compute SWD as the specification describes it, on whole arrays."""
    random = np.random.RandomState(0)
    described = []
    for seed in range(2):
        batches = [describe(batch, random) for batch in textures(seed)]
        described.append([normalize(np.concatenate(level)) for level in zip(*batches, strict=True)])
    values = {}
    for number, (reals, fakes) in enumerate(zip(*described, strict=True)):
        distances = []
        for _ in range(4):
            directions = random.standard_normal((reals.shape[1], 128)).astype(np.float32)
            directions /= np.linalg.norm(directions, axis=0)
            projected = [np.sort(points @ directions, axis=0) for points in (reals, fakes)]
            distances.append(np.abs(projected[0] - projected[1]).mean())
        values[str(side >> number)] = 1e3 * float(np.mean(distances))
    return {"average": float(np.mean(list(values.values()))), **values}


def describe(images: np.ndarray, random: np.random.RandomState) -> list[np.ndarray]:
    """Extract 128 patches per image and level, float32 `[images * 128, 3, 7, 7]` per level."""
    levels, finer = [], images.astype(np.float32)
    while finer.shape[1] > 16:
        coarser = blur(finer)[:, ::2, ::2]
        spread = np.zeros_like(finer)
        spread[:, ::2, ::2] = coarser
        levels.append(finer - 4 * blur(spread))
        finer = coarser
    patches = []
    for level in [*levels, finer]:
        windows = sliding_window_view(level, (7, 7), axis=(1, 2))
        rows, columns = random.randint(0, level.shape[1] - 6, (2, len(images), 128))
        patches.append(windows[np.arange(len(images))[:, None], rows, columns].reshape(-1, 3, 7, 7))
    return patches


def blur(images: np.ndarray) -> np.ndarray:
    """Apply the 5x5 binomial filter with mirrored borders."""
    for axis in (1, 2):
        images = ndimage.convolve1d(images, _BINOMIAL, axis=axis, mode="mirror")
    return images


def normalize(patches: np.ndarray) -> np.ndarray:
    """Scale each colour to mean 0 and standard deviation 1 and flatten the patches."""
    patches -= patches.mean(axis=(0, 2, 3), keepdims=True, dtype=np.float64)
    patches /= np.sqrt(np.square(patches).mean(axis=(0, 2, 3), keepdims=True, dtype=np.float64))
    return patches.reshape(len(patches), -1)


def measure(which: str, folder: Path) -> dict[str, object]:
    """Run one of the two implementations in a process of its own."""
    words = [f"--only={which}", f"--images={FLAGS.images}", f"--resolution={FLAGS.resolution}", f"--textures={folder}"]
    done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def main(argv: list[str]) -> None:
    """Print the comparison, or with --only the numbers of one implementation as JSON."""
    del argv
    if FLAGS.only:
        began = time.perf_counter()
        values = ours(FLAGS.images, FLAGS.resolution) if FLAGS.only == "ours" else direct(FLAGS.resolution)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": time.perf_counter() - began, "bytes": peak, "values": values}))
        return
    with tempfile.TemporaryDirectory() as name:
        make_textures(Path(name))
        found = {which: measure(which, Path(name)) for which in ("ours", "numpy")}
    print(f"SWD of {FLAGS.images:,} and {FLAGS.images:,} images of {FLAGS.resolution}x{FLAGS.resolution}")
    for which, one in found.items():
        values = ", ".join(f"{name} {value:.3f}" for name, value in one["values"].items())
        print(f"{which:>6}: {one['seconds']:7.1f} s  {one['bytes'] / 1e9:5.1f} GB  {values}")
    ratios = [found["numpy"][name] / found["ours"][name] for name in ("seconds", "bytes")]
    print(f"ours is {ratios[0]:.1f} times as fast and uses {1 / ratios[1]:.2f} of the memory")


if __name__ == "__main__":
    app.run(main)
