"""Compare the speed of `check` and `prepare` with that of Pillow on the same files.

    python experiments/benchmarks/prepare.py

Writes its own files to a temporary folder: crops of the built-in photographs with camera noise, as JPEG of quality 90 and as
PNG. For each kind of file, four methods read all files with one worker process per core:

- pillow: Pillow opens and decodes each file;
- shrink: Pillow decodes each file and shrinks it with the filter that `prepare` uses;
- check: what `launch.py check` does;
- prepare: what `launch.py prepare` does.

The methods take turns, and the best of several rounds counts, because other programs only make a round slower. The files are in
the page cache, so the disk is not measured. Starting the workers takes about half a second for any number of images; this is
measured on a few files and subtracted.

Goals: `check` reaches at least 0.9 of the speed of Pillow. `prepare` reaches at least 0.9 of Pillow when the files already have
the right size. When the files have to be shrunk, shrinking takes as long as decoding or longer, and the goal is 0.9 of Pillow
with shrinking; the ratio to Pillow alone is printed as well. The exit status is 1 if a goal is missed. The ratios in brackets
("cpu") are of processor time, on which other programs have less effect.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from absl import app, flags
from PIL import Image
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pggan_jax.data.checking.collection_check import check
from pggan_jax.data.images.crop_resize import TargetFormat
from pggan_jax.data.preparation.prepare import prepare
from pggan_jax.data.preparation.spec import PreparationSpec
from pggan_jax.data.preparation.worker_pool import default_workers, ordered_map
from pggan_jax.data.sources.folder import FolderSource
from pggan_jax.system.image_files import open_encoded

FLAGS = flags.FLAGS
flags.DEFINE_integer("images", 600, "files of each format up to 256 pixels; fewer of the larger ones", lower_bound=8)
flags.DEFINE_integer("rounds", 3, "rounds, of which the best counts", lower_bound=1)
flags.DEFINE_integer("workers", None, "worker processes (default: one per core)", lower_bound=1)
flags.DEFINE_string("json", None, "also write the numbers to this file")

GOAL = 0.9
# Side of the files, resolution to prepare, fraction of --images.
KINDS = ((128, 128, 1.0), (256, 256, 1.0), (256, 128, 1.0), (512, 256, 0.5), (1024, 256, 0.25))
METHODS = ("pillow", "shrink", "check", "prepare")
_BATCH = 8


@dataclass(frozen=True)
class Row:
    """Speeds of all methods on one kind of file, without the start of the workers.

    Attributes:
        files: name of the kind.
        images: number of images.
        is_shrunk: whether `prepare` has to shrink them.
        speed: images per second, by method.
        cpu: milliseconds of processor time per image, by method.
        started: shortest time to start the workers, in seconds.
    """

    files: str
    images: int
    is_shrunk: bool
    speed: dict[str, float]
    cpu: dict[str, float]
    started: float

    def ratio(self, method: str, to: str) -> float:
        """Return the speed of one method relative to another."""
        return self.speed[method] / self.speed[to]

    def cpu_ratio(self, method: str, to: str) -> float:
        """Return the speed relative to another method, measured in processor time."""
        return self.cpu[to] / self.cpu[method]

    @property
    def lowest(self) -> float:
        """The lower of the two ratios that have a goal."""
        return min(self.ratio("check", "pillow"), self.ratio("prepare", "shrink" if self.is_shrunk else "pillow"))


def make_files(folder: Path, count: int, *, side: int, suffix: str, progress: Callable[[], object]) -> None:
    """Write `count` random crops of photographs, resized to `side` pixels."""
    from skimage import data

    photographs = [Image.fromarray(image) for image in (data.astronaut(), data.coffee(), data.chelsea(), data.rocket())]
    random = np.random.default_rng(side)
    folder.mkdir(parents=True)
    # Add camera noise: without it, an enlarged photograph is faster to decode than a real one.
    noise = random.normal(0, 3, (2 * side, 2 * side, 1)).astype(np.float32)
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        piece = int(min(photograph.size) * random.uniform(0.6, 1))
        left, top = (int(random.integers(0, length - piece + 1)) for length in photograph.size)
        image = photograph.resize((side, side), Image.Resampling.BICUBIC, (left, top, left + piece, top + piece))
        top, left = random.integers(0, side, 2)
        noisy = np.asarray(image) + noise[top : top + side, left : left + side]
        image = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
        image.save(folder / f"{number:05d}.{suffix}", quality=90)
        progress()


def decode(context: tuple[FolderSource, int], numbers: Sequence[int]) -> int:
    """Decode images with Pillow, and shrink them to `side` unless it is 0; runs in the workers."""
    source, side = context
    for number in numbers:
        image = open_encoded(source.read(number))
        image.load()
        if side:
            image.resize((side, side), Image.Resampling.LANCZOS)
    return len(numbers)


def read_with_pillow(source: FolderSource, side: int, *, workers: int) -> None:
    """Decode all images, and shrink them to `side` unless it is 0."""
    requests = (range(start, min(start + _BATCH, len(source))) for start in range(0, len(source), _BATCH))
    with closing(ordered_map(decode, (source, side), requests=requests, workers=workers)) as results:
        assert sum(results) == len(source)


def read(method: str, source: FolderSource, *, resolution: int, workers: int) -> None:
    """Read all images of a source with one of `METHODS`."""
    if method in ("pillow", "shrink"):
        read_with_pillow(source, resolution if method == "shrink" else 0, workers=workers)
    elif method == "check":
        check(source, TargetFormat(resolution, resolution, 3), workers=workers, progress=False)
    else:
        with tempfile.TemporaryDirectory() as out:
            prepare(source, PreparationSpec(resolution), folder=Path(out) / "out", workers=workers, progress=False)


def cost(method: str, files: Path, *, resolution: int, workers: int) -> np.ndarray:
    """Return the elapsed seconds and the processor seconds of one method on a folder of files."""
    source = FolderSource(str(files))
    start, before = time.perf_counter(), processor_seconds()
    read(method, source, resolution=resolution, workers=workers)
    return np.array([time.perf_counter() - start, processor_seconds() - before])


def processor_seconds() -> float:
    """Return the processor time of this process and of its workers that have exited."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def measure(folder: Path, few: Path, *, resolution: int, workers: int, rounds: int, progress: Callable[[], object]) -> Row:
    """Measure all methods in turns on the files of `folder`, and on the `few` to subtract."""
    best = {(method, files): np.full(2, np.inf) for method in METHODS for files in (few, folder)}
    for _ in range(rounds):
        for method, files in best:
            seconds = cost(method, files, resolution=resolution, workers=workers)
            best[method, files] = np.minimum(best[method, files], seconds)
            progress()
    images, few_images = (len(FolderSource(str(files))) for files in (folder, few))
    each = {method: (best[method, folder] - best[method, few]) / (images - few_images) for method in METHODS}
    return Row(
        folder.name,
        images,
        not folder.name.endswith(f" {resolution} to {resolution}"),
        {method: 1 / elapsed for method, (elapsed, _) in each.items()},
        {method: 1000 * processor for method, (_, processor) in each.items()},
        best["pillow", few][0],
    )


def print_rows(rows: Sequence[Row]) -> None:
    """Print one line per kind of file, with speeds and ratios."""
    print(f"{'':30}{'Pillow':>8}{'':>9}{'':>9}{'':>9}{'check/':>15}{'prepare/':>15}{'prepare/':>17}")
    print(
        f"{'files':22}{'images':>8}{'decodes':>8}{'+shrinks':>9}{'check':>9}{'prepare':>9}"
        f"{'Pillow (cpu)':>15}{'Pillow (cpu)':>15}{'+shrinks (cpu)':>17}"
    )
    for row in rows:
        speeds = "".join(f"{row.speed[method]:{width}.0f}" for method, width in zip(METHODS, (8, 9, 9, 9), strict=True))
        ratios = "".join(
            f"{row.ratio(*pair):{width}.2f} ({row.cpu_ratio(*pair):.2f})"
            for pair, width in ((("check", "pillow"), 8), (("prepare", "pillow"), 8), (("prepare", "shrink"), 10))
        )
        print(f"{row.files:22}{row.images:8}{speeds}{ratios}")


def measure_all(*, images: int, workers: int, rounds: int) -> list[Row]:
    """Write the files of all `KINDS` to a temporary folder and measure all methods on them."""
    few = 2 * workers
    kinds = [
        (side, resolution, suffix, max(4 * few, int(images * share)))
        for side, resolution, share in KINDS
        for suffix in ("jpg", "png")
    ]
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folders = [Path(scratch) / f"{suffix} {side} to {resolution}" for side, resolution, suffix, _ in kinds]
        few_folders = [folder.with_name(f"few {folder.name}") for folder in folders]
        with tqdm(total=sum(count + few for *_, count in kinds), desc="making files", unit="img", disable=None) as bar:
            for (side, _, suffix, count), folder, few_folder in zip(kinds, folders, few_folders, strict=True):
                make_files(folder, count, side=side, suffix=suffix, progress=bar.update)
                make_files(few_folder, few, side=side, suffix=suffix, progress=bar.update)
        with tqdm(total=len(kinds) * rounds * 2 * len(METHODS), desc="measuring", unit="run", disable=None) as bar:
            for (_, resolution, *_), folder, few_folder in zip(kinds, folders, few_folders, strict=True):
                options = {"resolution": resolution, "workers": workers, "rounds": rounds}
                rows.append(measure(folder, few_folder, **options, progress=bar.update))
    return rows


def main(argv: list[str]) -> int:
    """Print the numbers; return 0 if all goals are met."""
    del argv
    workers = FLAGS.workers or default_workers()
    rows = measure_all(images=FLAGS.images, workers=workers, rounds=FLAGS.rounds)
    print(f"images/s with {workers} processes, best of {FLAGS.rounds} rounds, without the start of the processes")
    print_rows(rows)
    print(f"start of the processes: {max(row.started for row in rows):.2f} s at most, once per command")
    lowest = min(row.lowest for row in rows)
    print(f"lowest ratio with a goal: {lowest:.2f} (goal {GOAL}): {'met' if lowest >= GOAL else 'missed'}")
    if FLAGS.json:
        numbers = {"workers": workers, "rounds": FLAGS.rounds, "aim": GOAL, "rows": [asdict(row) for row in rows]}
        Path(FLAGS.json).write_text(json.dumps(numbers, indent=1))
    return 0 if lowest >= GOAL else 1


if __name__ == "__main__":
    app.run(main)
