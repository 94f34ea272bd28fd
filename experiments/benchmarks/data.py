"""Compare the speed of the data loader with that of training and of copying memory.

    python experiments/benchmarks/data.py
    python experiments/benchmarks/data.py --resolution=1024 --train_up_to=0
    python experiments/benchmarks/data.py --resolution=256 --train_up_to=0 --steps_per_call=16

Measures images per second at each resolution, on random images in memory maps on disk:

- train: the compiled step with the networks of the experiment; its batch is already on the device (up to --train_up_to);
- loader: the batches that the input feed and the prefetcher put on the device, streamed, without training;
- gather: `level[rows]`, a NumPy gather of the same batches from the same memory map.

Goals: the loader is at least 20 times as fast as training and at least 0.8 times as fast as the gather. The second goal applies
when a step chunk has at least --judge_mb. Smaller chunks are copied within microseconds, while each chunk costs 0.1 to 0.4 ms
whatever its size; their ratio is printed in brackets. The three take turns and the best turn of each counts, because other
programs only make a turn slower. The benchmark takes two minutes on 2 CPU cores, most of it compilation. The exit status is 1
if a goal is missed.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import jax
import numpy as np
from absl import app, flags, logging
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pggan_jax.config import Config
from pggan_jax.config.io import load_config, replace_setting
from pggan_jax.data.loader import Loader
from pggan_jax.data.prefetch import Prefetcher
from pggan_jax.data.pyramid import Pyramid
from pggan_jax.distributed import devices
from pggan_jax.errors import UserError
from pggan_jax.loop.compiled_step import build_program
from pggan_jax.loop.input_feed import InputFeed, StepChunk, effective_steps_per_call, plan_chunks
from pggan_jax.schedule import Schedule
from pggan_jax.training.train_state import create_train_state

FLAGS = flags.FLAGS
flags.DEFINE_string("config", "experiments/digits.py", "experiment file with the networks and batch sizes")
flags.DEFINE_integer("resolution", 64, "largest resolution; 4, 8, ... up to it are measured", lower_bound=4)
flags.DEFINE_integer("train_up_to", 64, "largest resolution at which training is measured; 0: none")
flags.DEFINE_integer("channels", 3, "channels of the images", lower_bound=1)
flags.DEFINE_integer("images", 20000, "images at each resolution; fewer if they would exceed --level_mb", lower_bound=1)
flags.DEFINE_float("level_mb", 500.0, "size limit of a memory map", lower_bound=1)
flags.DEFINE_integer("steps_per_call", 0, "as run.steps_per_call; the default on a GPU or TPU is 16", lower_bound=0)
flags.DEFINE_float("judge_mb", 10.0, "smallest step chunk to which the goal for the gather applies", lower_bound=0)
flags.DEFINE_float("seconds", 1.0, "seconds of each turn", lower_bound=0.01)
flags.DEFINE_integer("turns", 3, "turns, of which the best counts", lower_bound=1)
flags.DEFINE_bool("json", False, "print the numbers as JSON instead of a table")

GOAL_TRAIN = 20.0
GOAL_GATHER = 0.8
CLASSES = tuple("0123456789")


def rate(work: Iterator[int], seconds: float) -> float:
    """Return the images per second of an iterator that yields the images of each step."""
    next(work)  # the first step includes one-time costs
    images, start = 0, time.perf_counter()
    for count in work:
        images += count
        if (elapsed := time.perf_counter() - start) > seconds:
            return images / elapsed
    raise ValueError(f"the iterator ended before {seconds} s")


def random_level(folder: Path, resolution: int) -> np.ndarray:
    """Write random images to a file and return its memory map."""
    bytes_per_image = resolution**2 * FLAGS.channels
    count = max(1, min(FLAGS.images, int(FLAGS.level_mb * 1e6) // bytes_per_image))
    path = folder / f"{resolution}.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (count, resolution, resolution, FLAGS.channels), np.uint8))
    return np.load(path, mmap_mode="r")


class LoaderBenchmark:
    """The three kinds of work to measure, at one resolution of a run on random images.

    Each method that measures returns an endless iterator that yields the number of images of each of its steps.
    """

    def __init__(self, config: Config, resolution: int, level: np.ndarray):
        self.config, self.resolution, self.level = config, resolution, level
        # Only the number of channels of the 4x4 level is used.
        levels = {4: level[:, :4, :4], resolution: level}
        classes = np.arange(len(level), dtype=np.int32) % len(CLASSES)
        self.loader = Loader(Pyramid(levels, classes, CLASSES), seed=config.run.seed, use_labels=config.data.labels)
        self.schedule = Schedule.of(config)
        self.steps_per_call = effective_steps_per_call(config)
        self.feed = InputFeed(config, self.loader, steps_per_call=self.steps_per_call)

    def chunks(self) -> Iterator[StepChunk]:
        """Return the step chunks of the stable phase at this resolution."""
        (stage,) = (one for one in self.schedule.stages if one.resolution == self.resolution and not one.fading)
        return plan_chunks(self.schedule, start=stage.start, steps_per_call=self.steps_per_call)

    def chunk_bytes(self) -> int:
        """Return the bytes of all images of a step chunk."""
        chunk = next(self.chunks())
        return (chunk.end - chunk.start) * self.level[0].nbytes

    def loading(self) -> Iterator[int]:
        """Put batches on the device with input feed and prefetcher."""
        with Prefetcher(self.feed, self.chunks()) as prefetched:
            for chunk, (batch, *_) in prefetched:
                batch.images.block_until_ready()
                yield chunk.end - chunk.start

    def gathering(self) -> Iterator[int]:
        """Copy batches out of the memory map with NumPy, at rows that are computed beforehand."""
        chunk = next(self.chunks())
        size = chunk.end - chunk.start
        rows = [self.loader.rows(np.arange(start, start + size)) for start in range(0, 256 * size, size)]
        plain = np.asarray(self.level)
        for some in itertools.cycle(rows):
            plain[some]
            yield size

    def training(self) -> Iterator[int]:
        """Run train steps on one batch."""
        program = build_program(self.config, self.resolution, loader=self.loader)
        state = devices.replicate(create_train_state(self.config.optimizer, program.networks, self.config.run.seed))
        chunk, inputs = self.feed(next(self.chunks()))
        while True:
            state, totals = program.multi_step(state, *inputs)
            jax.block_until_ready(totals)
            yield chunk.end - chunk.start


def best_rates(works: Mapping[str, Callable[[], Iterator[int]]], *, seconds: float, turns: int) -> dict[str, float]:
    """Return the images per second of each kind of work, from the best of several turns."""
    running = {name: work() for name, work in works.items()}
    best = dict.fromkeys(works, 0.0)
    for _ in range(turns):
        for name, work in running.items():
            best[name] = max(best[name], rate(work, seconds))
    for work in running.values():
        work.close()
    return best


def benchmark_config(config: Config, largest: int) -> Config:
    """Set the resolution, and phases and ticks that are longer than the measurement."""
    changes = {
        "data.resolution": largest,
        "data.labels": True,
        "schedule.stable_kimg": 20_000.0,
        "schedule.stable_kimg_at": {},
        "schedule.tick_kimg": 1e6,
        "schedule.tick_kimg_at": {},
        "run.device_data_mb": 0.0,
        "run.steps_per_call": FLAGS.steps_per_call,
    }
    for name, value in changes.items():
        config = replace_setting(config, name, value)
    return config


def measure_loading(config: Config) -> list[dict[str, float | None]]:
    """Measure rates and ratios at 4x4, 8x8, ... up to --resolution; one row for each."""
    config = benchmark_config(config, FLAGS.resolution)
    rows = []
    resolutions = Schedule.of(config).resolutions
    for resolution in tqdm(resolutions, desc="loader", unit="resolution", disable=None):
        with tempfile.TemporaryDirectory() as folder:
            bench = LoaderBenchmark(config, resolution, random_level(Path(folder), resolution))
            works = {"loader": bench.loading, "gather": bench.gathering}
            if resolution <= FLAGS.train_up_to:
                works["train"] = bench.training
            rates = best_rates(works, seconds=FLAGS.seconds, turns=FLAGS.turns)
        train = rates.get("train")
        rows.append(
            {
                "resolution": resolution,
                "call_mb": bench.chunk_bytes() / 1e6,
                "train": train,
                "loader": rates["loader"],
                "gather": rates["gather"],
                "loader_per_train": rates["loader"] / train if train else None,
                "loader_per_gather": rates["loader"] / rates["gather"],
            }
        )
    return rows


def table(rows: list[dict[str, float | None]]) -> str:
    """Format the rows as a table; ratios without a goal are in brackets."""
    lines = [f"{'':>10}  {'chunk':>9}  {'train':>9}  {'loader':>9}  {'gather':>9}  {'loader/train':>12}  {'loader/gather':>13}"]
    lines.append(
        f"{'':>10}  {'MB':>9}" + 3 * f"  {'images/s':>9}" + f"  {f'goal {GOAL_TRAIN:g}':>12}  {f'goal {GOAL_GATHER:g}':>13}"
    )
    for row in rows:
        name = f"{row['resolution']}x{row['resolution']}"
        train = f"{row['train']:9,.0f}" if row["train"] else f"{'-':>9}"
        per_train = f"{row['loader_per_train']:.1f}" if row["train"] else "-"
        per_gather = f"{row['loader_per_gather']:.2f}" if is_judged(row) else f"({row['loader_per_gather']:.3f})"
        rates = f"{train}  {row['loader']:9,.0f}  {row['gather']:9,.0f}"
        lines.append(f"{name:>10}  {row['call_mb']:9.3f}  {rates}  {per_train:>12}  {per_gather:>13}")
    return "\n".join(lines)


def is_judged(row: Mapping[str, float | None]) -> bool:
    """Return whether the goal for the gather applies: copying is most of the work of the chunk."""
    return row["call_mb"] >= FLAGS.judge_mb


def misses(rows: list[dict[str, float | None]]) -> list[str]:
    """Describe the goals that were missed."""
    found = []
    for row in rows:
        name = f"{row['resolution']}x{row['resolution']}"
        if row["train"] and row["loader_per_train"] < GOAL_TRAIN:
            found.append(f"{name}: the loader is {row['loader_per_train']:.1f} times as fast as training")
        if is_judged(row) and row["loader_per_gather"] < GOAL_GATHER:
            found.append(f"{name}: the loader is {row['loader_per_gather']:.2f} times as fast as the gather")
    return found


def main(argv: list[str]) -> int:
    """Print the numbers; return 0 if all goals are met."""
    del argv
    logging.set_verbosity(logging.ERROR)
    try:
        config = load_config(FLAGS.config, ()).config
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows = measure_loading(config)
    missed = misses(rows)
    if FLAGS.json:
        print(json.dumps({"loader": rows, "missed": missed}, indent=1))
    else:
        print(f"{devices.describe_devices()}; {FLAGS.channels} channels, batches of {FLAGS.config}")
        print(table(rows))
        print("goals met" if not missed else "goals missed: " + "; ".join(missed))
    return 1 if missed else 0


if __name__ == "__main__":
    app.run(main)
