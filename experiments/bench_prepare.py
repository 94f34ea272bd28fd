"""How fast are `check` and `prepare`, held against Pillow decoding the same files?

    python experiments/bench_prepare.py

Makes its own files in a temporary folder: pieces of the embedded photographs, as JPEG of quality 90 and as PNG. Then, for each
kind, reads all of them with as many worker processes as there are cores: once with Pillow alone (open and load), once with
`check` as its command does it, once with `prepare` down to the stated resolution. The three take turns and the best of several
rounds counts, as a machine is never quite still; every file is read before, so that no disk is measured.

Starting the workers costs the same half second whether there are a hundred images or a million, so it is measured apart, by
reading nearly nothing, and taken off all three alike. Aim: at least 0.9 of Pillow's speed. Exit status 1 if it is missed.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from absl import app, flags
from PIL import Image
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pggan_jax.data.check import check
from pggan_jax.data.folder import FolderSource
from pggan_jax.data.framing import Frame
from pggan_jax.data.preparation import Preparation
from pggan_jax.data.prepare import prepare
from pggan_jax.data.workers import default_workers, ordered_map

FLAGS = flags.FLAGS
flags.DEFINE_integer("images", 600, "files of 256 pixels of each format; fewer of the larger ones", lower_bound=8)
flags.DEFINE_integer("rounds", 3, "the best of so many counts", lower_bound=1)
flags.DEFINE_integer("workers", None, "processes (default: one per core)", lower_bound=1)
flags.DEFINE_string("json", None, "write the numbers to this file as well")

AIM = 0.9
# Side of the files, resolution they are prepared at, share of --images.
KINDS = ((256, 128, 1.0), (512, 256, 0.5), (1024, 256, 0.25))
_BATCH = 16


@dataclass(frozen=True)
class Row:
    """Images per second of one kind of files.

    Attributes:
        files: what they are.
        images: how many.
        pillow, check, prepare: images per second, without the start of the workers.
        started: seconds that starting the workers took, at best.
    """

    files: str
    images: int
    pillow: float
    check: float
    prepare: float
    started: float


def make_files(folder: Path, count: int, side: int, suffix: str, progress: Callable[[], object]) -> None:
    """Random pieces of photographs, each at a scale of its own so that their detail is a photograph's."""
    from skimage import data

    photographs = [Image.fromarray(image) for image in (data.astronaut(), data.coffee(), data.chelsea(), data.rocket())]
    random = np.random.default_rng(side)
    folder.mkdir(parents=True)
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        piece = int(min(photograph.size) * random.uniform(0.6, 1))
        left, top = (int(random.integers(0, length - piece + 1)) for length in photograph.size)
        image = photograph.resize((side, side), Image.Resampling.BICUBIC, (left, top, left + piece, top + piece))
        # Without a camera's noise, an enlarged photograph would be easier to decode than a real one.
        grain = random.normal(0, 3, (side, side, 1))
        image = Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))
        image.save(folder / f"{number:05d}.{suffix}", quality=90)
        progress()


def decode(source: FolderSource, numbers: Sequence[int]) -> int:
    """What Pillow alone does. The function of the workers."""
    for number in numbers:
        Image.open(BytesIO(source.read(number))).load()
    return len(numbers)


def with_pillow(source: FolderSource, workers: int) -> None:
    """Decode everything and keep nothing."""
    requests = (range(start, min(start + _BATCH, len(source))) for start in range(0, len(source), _BATCH))
    with closing(ordered_map(decode, source, requests, workers=workers)) as results:
        assert sum(results) == len(source)


def seconds(work: Callable[[], object]) -> float:
    """How long something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(folder: Path, few: Path, resolution: int, *, workers: int, rounds: int, progress: Callable[[], object]) -> Row:
    """All three on the files of a folder, in turns; `few` holds a handful of the same kind."""
    best: dict[tuple[str, Path], float] = {}
    for round_number in range(rounds):
        for files in (few, folder):
            source = FolderSource(str(files))
            with tempfile.TemporaryDirectory(dir=folder.parent) as out:
                ways = {
                    "pillow": lambda source=source: with_pillow(source, workers),
                    "check": lambda source=source: check(
                        source, Frame(resolution, resolution, 3), workers=workers, progress=False
                    ),
                    "prepare": lambda source=source, out=out: prepare(
                        source, Preparation(resolution), Path(out) / "out", workers=workers, progress=False
                    ),
                }
                names = list(ways)
                # Each goes first in turn: the machine's boost, if any, is no one's for ever.
                for name in names[round_number % 3 :] + names[: round_number % 3]:
                    best[name, files] = min(best.get((name, files), np.inf), seconds(ways[name]))
                    progress()
    counts = {files: len(FolderSource(str(files))) for files in (few, folder)}
    speeds = {
        name: (counts[folder] - counts[few]) / (best[name, folder] - best[name, few]) for name in ("pillow", "check", "prepare")
    }
    return Row(folder.name, counts[folder], **speeds, started=best["pillow", few])


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
        with tqdm(total=sum(count + few for *_, count in kinds), desc="making files", unit="img") as bar:
            for side, resolution, suffix, count in kinds:
                folder = Path(scratch) / f"{suffix} {side} to {resolution}"
                make_files(folder, count, side, suffix, bar.update)
                make_files(folder.with_name(f"few {folder.name}"), few, side, suffix, bar.update)
        with tqdm(total=len(kinds) * FLAGS.rounds * 6, desc="measuring", unit="run") as bar:
            for side, resolution, suffix, _ in kinds:
                folder = Path(scratch) / f"{suffix} {side} to {resolution}"
                few_files = folder.with_name(f"few {folder.name}")
                rows.append(measure(folder, few_files, resolution, workers=workers, rounds=FLAGS.rounds, progress=bar.update))
    print(f"images/s with {workers} processes, best of {FLAGS.rounds} rounds, without the start of the processes")
    print(f"{'files':18}{'images':>8}{'Pillow':>9}{'check':>9}{'prepare':>9}{'check/Pillow':>14}{'prepare/Pillow':>16}")
    for row in rows:
        print(
            f"{row.files:18}{row.images:8}{row.pillow:9.1f}{row.check:9.1f}{row.prepare:9.1f}"
            f"{row.check / row.pillow:14.2f}{row.prepare / row.pillow:16.2f}"
        )
    print(f"starting the processes: {max(row.started for row in rows):.2f} s at most, once")
    lowest = min(min(row.check, row.prepare) / row.pillow for row in rows)
    print(f"lowest ratio {lowest:.2f} (aim {AIM}): {'met' if lowest >= AIM else 'missed'}")
    if FLAGS.json:
        numbers = {"workers": workers, "rounds": FLAGS.rounds, "aim": AIM, "rows": [asdict(row) for row in rows]}
        Path(FLAGS.json).write_text(json.dumps(numbers, indent=1))
    return 0 if lowest >= AIM else 1


if __name__ == "__main__":
    app.run(main)
