"""How fast are `check` and `prepare`, held against Pillow doing the same to the same files?

    python experiments/benchmarks/prepare.py

Makes its own files in a temporary folder: pieces of the embedded photographs with a camera's grain, as JPEG of quality 90 and
as PNG. Then, for each kind, reads all of them with as many worker processes as there are cores: with Pillow alone (open and
load); with Pillow decoding and shrinking by the same filter; with `check` as its command does it; with `prepare`. The four take
turns and the best of several rounds counts, as a machine is never quite still; every file is read before, so that no disk is
measured. Starting the workers costs the same half second whether there are a hundred images or a million, so it is measured
apart, on a handful of files, and taken off all alike.

Aims: `check` at least 0.9 of Pillow alone. `prepare` at least 0.9 of Pillow alone where the files have the right size already.
Where they have to be shrunk, that alone takes as long as decoding or longer, and the aim is 0.9 of Pillow doing both; the ratio
to Pillow alone is printed beside it. Exit status 1 if one is missed. Ratios are of processor time too ("cpu"), which other
programs on the machine disturb less.
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
from pggan_jax.data.images.crop_resize import Frame
from pggan_jax.data.preparation.prepare import prepare
from pggan_jax.data.preparation.spec import Preparation
from pggan_jax.data.preparation.worker_pool import default_workers, ordered_map
from pggan_jax.data.sources.folder import FolderSource
from pggan_jax.image_files import open_encoded

FLAGS = flags.FLAGS
flags.DEFINE_integer("images", 600, "files of 256 pixels of each format; fewer of the larger ones", lower_bound=8)
flags.DEFINE_integer("rounds", 3, "the best of so many counts", lower_bound=1)
flags.DEFINE_integer("workers", None, "processes (default: one per core)", lower_bound=1)
flags.DEFINE_string("json", None, "write the numbers to this file as well")

AIM = 0.9
# Side of the files, resolution they are prepared at, share of --images.
KINDS = ((128, 128, 1.0), (256, 256, 1.0), (256, 128, 1.0), (512, 256, 0.5), (1024, 256, 0.25))
WAYS = ("pillow", "shrink", "check", "prepare")
_BATCH = 8


@dataclass(frozen=True)
class Row:
    """One kind of files; each number by the names in `WAYS`, without the start of the workers.

    Attributes:
        files: what they are.
        images: how many.
        is_shrunk: whether `prepare` has to shrink them.
        speed: images per second.
        cpu: milliseconds of processor time per image.
        started: seconds that starting the workers took, at best.
    """

    files: str
    images: int
    is_shrunk: bool
    speed: dict[str, float]
    cpu: dict[str, float]
    started: float

    def ratio(self, way: str, to: str) -> float:
        """Speed of one way in proportion to another."""
        return self.speed[way] / self.speed[to]

    def cpu_ratio(self, way: str, to: str) -> float:
        """The same by processor time."""
        return self.cpu[to] / self.cpu[way]

    @property
    def lowest(self) -> float:
        """The worse of the two ratios that have an aim."""
        return min(self.ratio("check", "pillow"), self.ratio("prepare", "shrink" if self.is_shrunk else "pillow"))


def make_files(folder: Path, count: int, side: int, suffix: str, progress: Callable[[], object]) -> None:
    """Random pieces of photographs, each at a scale of its own so that their detail is a photograph's."""
    from skimage import data

    photographs = [Image.fromarray(image) for image in (data.astronaut(), data.coffee(), data.chelsea(), data.rocket())]
    random = np.random.default_rng(side)
    folder.mkdir(parents=True)
    # Without a camera's grain, an enlarged photograph would be easier to decode than a real one.
    grain = random.normal(0, 3, (2 * side, 2 * side, 1)).astype(np.float32)
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        piece = int(min(photograph.size) * random.uniform(0.6, 1))
        left, top = (int(random.integers(0, length - piece + 1)) for length in photograph.size)
        image = photograph.resize((side, side), Image.Resampling.BICUBIC, (left, top, left + piece, top + piece))
        top, left = random.integers(0, side, 2)
        grained = np.asarray(image) + grain[top : top + side, left : left + side]
        image = Image.fromarray(np.clip(grained, 0, 255).astype(np.uint8))
        image.save(folder / f"{number:05d}.{suffix}", quality=90)
        progress()


def decode(context: tuple[FolderSource, int], numbers: Sequence[int]) -> int:
    """What Pillow alone does, and shrinks if a size is given. The function of the workers."""
    source, side = context
    for number in numbers:
        image = open_encoded(source.read(number))
        image.load()
        if side:
            image.resize((side, side), Image.Resampling.LANCZOS)
    return len(numbers)


def with_pillow(source: FolderSource, side: int, workers: int) -> None:
    """Decode everything, shrink it if a size is given, and keep nothing."""
    requests = (range(start, min(start + _BATCH, len(source))) for start in range(0, len(source), _BATCH))
    with closing(ordered_map(decode, (source, side), requests, workers=workers)) as results:
        assert sum(results) == len(source)


def work(way: str, source: FolderSource, resolution: int, workers: int) -> None:
    """All images of a source in one of the ways."""
    if way in ("pillow", "shrink"):
        with_pillow(source, resolution if way == "shrink" else 0, workers)
    elif way == "check":
        check(source, Frame(resolution, resolution, 3), workers=workers, progress=False)
    else:
        with tempfile.TemporaryDirectory() as out:
            prepare(source, Preparation(resolution), Path(out) / "out", workers=workers, progress=False)


def cost(way: str, files: Path, resolution: int, workers: int) -> np.ndarray:
    """Seconds by the clock, and of all processors."""
    source = FolderSource(str(files))
    start, before = time.perf_counter(), processor_seconds()
    work(way, source, resolution, workers)
    return np.array([time.perf_counter() - start, processor_seconds() - before])


def processor_seconds() -> float:
    """Used so far by this process and by those of its workers that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def measure(folder: Path, few: Path, resolution: int, *, workers: int, rounds: int, progress: Callable[[], object]) -> Row:
    """All ways on the files of a folder, in turns; `few` holds a handful of the same kind."""
    best = {(way, files): np.full(2, np.inf) for way in WAYS for files in (few, folder)}
    for _ in range(rounds):
        for way, files in best:
            best[way, files] = np.minimum(best[way, files], cost(way, files, resolution, workers))
            progress()
    images, few_images = (len(FolderSource(str(files))) for files in (folder, few))
    each = {way: (best[way, folder] - best[way, few]) / (images - few_images) for way in WAYS}
    return Row(
        folder.name,
        images,
        not folder.name.endswith(f" {resolution} to {resolution}"),
        {way: 1 / clock for way, (clock, _) in each.items()},
        {way: 1000 * processors for way, (_, processors) in each.items()},
        best["pillow", few][0],
    )


def main(argv: list[str]) -> int:
    """Print the numbers; 0 if the aim is met."""
    del argv
    workers = FLAGS.workers or default_workers()
    few = 2 * workers
    kinds = [
        (side, resolution, suffix, max(4 * few, int(FLAGS.images * share)))
        for side, resolution, share in KINDS
        for suffix in ("jpg", "png")
    ]
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        with tqdm(total=sum(count + few for *_, count in kinds), desc="making files", unit="img", disable=None) as bar:
            for side, resolution, suffix, count in kinds:
                folder = Path(scratch) / f"{suffix} {side} to {resolution}"
                make_files(folder, count, side, suffix, bar.update)
                make_files(folder.with_name(f"few {folder.name}"), few, side, suffix, bar.update)
        with tqdm(total=len(kinds) * FLAGS.rounds * 2 * len(WAYS), desc="measuring", unit="run", disable=None) as bar:
            for side, resolution, suffix, _ in kinds:
                folder = Path(scratch) / f"{suffix} {side} to {resolution}"
                few_files = folder.with_name(f"few {folder.name}")
                rows.append(measure(folder, few_files, resolution, workers=workers, rounds=FLAGS.rounds, progress=bar.update))
    print(f"images/s with {workers} processes, best of {FLAGS.rounds} rounds, without the start of the processes")
    print(f"{'':30}{'Pillow':>8}{'':>9}{'':>9}{'':>9}{'check/':>15}{'prepare/':>15}{'prepare/':>17}")
    print(
        f"{'files':22}{'images':>8}{'decodes':>8}{'+shrinks':>9}{'check':>9}{'prepare':>9}"
        f"{'Pillow (cpu)':>15}{'Pillow (cpu)':>15}{'+shrinks (cpu)':>17}"
    )
    for row in rows:
        speeds = "".join(f"{row.speed[way]:{width}.0f}" for way, width in zip(WAYS, (8, 9, 9, 9), strict=True))
        ratios = "".join(
            f"{row.ratio(*pair):{width}.2f} ({row.cpu_ratio(*pair):.2f})"
            for pair, width in ((("check", "pillow"), 8), (("prepare", "pillow"), 8), (("prepare", "shrink"), 10))
        )
        print(f"{row.files:22}{row.images:8}{speeds}{ratios}")
    print(f"starting the processes: {max(row.started for row in rows):.2f} s at most, once")
    lowest = min(row.lowest for row in rows)
    print(f"lowest ratio with an aim {lowest:.2f} (aim {AIM}): {'met' if lowest >= AIM else 'missed'}")
    if FLAGS.json:
        numbers = {"workers": workers, "rounds": FLAGS.rounds, "aim": AIM, "rows": [asdict(row) for row in rows]}
        Path(FLAGS.json).write_text(json.dumps(numbers, indent=1))
    return 0 if lowest >= AIM else 1


if __name__ == "__main__":
    app.run(main)
