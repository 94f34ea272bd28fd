"""Does the loader keep ahead of training, and how near is it to copying memory?

    python experiments/benchmarks/data.py
    python experiments/benchmarks/data.py --resolution=1024 --train_up_to=0
    python experiments/benchmarks/data.py --resolution=256 --train_up_to=0 --steps_per_call=16

Measures images per second at each resolution, on random images in memory maps on disk:

- train: the compiled step of the experiment's networks, with data that already lie on the device (up to --train_up_to);
- loader: what feed and prefetcher deliver onto the device if nobody trains, streamed;
- gather: `level[rows]` alone, a plain NumPy gather of the same batches from the same memory map;

and the two ratios with their aims: the loader at least 20 times as fast as training, and at least 0.8 times as fast as the
plain gather. The gather's is judged where a call has at least --judge_mb: smaller ones are copied within microseconds, and the
ratio, then in brackets, compares one line of NumPy with the 0.1 to 0.4 ms that a call costs whatever its size. Everything is
measured in turns and the best turn of each counts, as other programs only ever slow one down. Takes two minutes on 2 CPU
cores, most of it compilation. Exit status 1 if an aim is missed.
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
from pggan_jax.config_io import load_config, replace_setting
from pggan_jax.data.loader import Loader, Prefetcher
from pggan_jax.data.pyramid import Pyramid
from pggan_jax.distributed import devices
from pggan_jax.errors import UserError
from pggan_jax.loop.compiled_step import build_program
from pggan_jax.loop.input_feed import InputFeed, StepChunk, effective_steps_per_call, plan_chunks
from pggan_jax.schedule import Schedule
from pggan_jax.training.train_state import create_train_state

FLAGS = flags.FLAGS
flags.DEFINE_string("config", "experiments/digits.py", "whose networks and batch sizes")
flags.DEFINE_integer("resolution", 64, "the largest resolution; 4, 8, ... up to it are measured", lower_bound=4)
flags.DEFINE_integer("train_up_to", 64, "the largest resolution at which training is measured; 0 measures the loader alone")
flags.DEFINE_integer("channels", 3, "of the images", lower_bound=1)
flags.DEFINE_integer("images", 20000, "at each resolution, fewer where they would exceed --level_mb", lower_bound=1)
flags.DEFINE_float("level_mb", 500.0, "the largest memory map", lower_bound=1)
flags.DEFINE_integer("steps_per_call", 0, "as run.steps_per_call; 16 is what a GPU or TPU gets", lower_bound=0)
flags.DEFINE_float("judge_mb", 10.0, "calls from this size on are judged against the plain gather", lower_bound=0)
flags.DEFINE_float("seconds", 1.0, "of each turn", lower_bound=0.01)
flags.DEFINE_integer("turns", 3, "of which the best counts", lower_bound=1)
flags.DEFINE_bool("json", False, "print the numbers as JSON instead of a table")

AIM_TRAIN = 20.0
AIM_GATHER = 0.8
CLASSES = tuple("0123456789")


def rate(work: Iterator[int], seconds: float) -> float:
    """Images per second of an iterator that yields how many images each of its steps made."""
    next(work)  # what only the first step costs
    images, start = 0, time.perf_counter()
    for made in work:
        images += made
        if (passed := time.perf_counter() - start) > seconds:
            return images / passed
    raise ValueError("the work ended too soon")


def random_level(folder: Path, resolution: int) -> np.ndarray:
    """A memory map of random images."""
    bytes_per_image = resolution**2 * FLAGS.channels
    count = max(1, min(FLAGS.images, int(FLAGS.level_mb * 1e6) // bytes_per_image))
    path = folder / f"{resolution}.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (count, resolution, resolution, FLAGS.channels), np.uint8))
    return np.load(path, mmap_mode="r")


class Bench:
    """One resolution of a run on random images, with the three kinds of work to be measured."""

    def __init__(self, config: Config, resolution: int, level: np.ndarray):
        self.config, self.resolution, self.level = config, resolution, level
        # The 4x4 level tells the number of channels; nothing else of it is used.
        levels = {4: level[:, :4, :4], resolution: level}
        classes = np.arange(len(level), dtype=np.int32) % len(CLASSES)
        self.loader = Loader(Pyramid(levels, classes, CLASSES), seed=config.run.seed, use_labels=config.data.labels)
        self.schedule = Schedule(config.schedule, config.data.resolution)
        self.steps_per_call = effective_steps_per_call(config)
        self.feed = InputFeed(config, self.schedule, self.loader, steps_per_call=self.steps_per_call)

    def chunks(self) -> Iterator[StepChunk]:
        """The step chunks of the resolution's stable phase."""
        (stage,) = (one for one in self.schedule.stages if one.resolution == self.resolution and not one.fading)
        return plan_chunks(self.schedule, start=stage.start, steps_per_call=self.steps_per_call)

    def call_bytes(self) -> int:
        """Of all images of a chunk."""
        chunk = next(self.chunks())
        return (chunk.end - chunk.start) * self.level[0].nbytes

    def loading(self) -> Iterator[int]:
        """Batches put on the device by feed and prefetcher."""
        with Prefetcher(self.feed, self.chunks()) as prefetched:
            for chunk, batch, _ in prefetched:
                batch.images.block_until_ready()
                yield chunk.end - chunk.start

    def gathering(self) -> Iterator[int]:
        """Batches copied out of the memory map by NumPy, rows known before."""
        chunk = next(self.chunks())
        size = chunk.end - chunk.start
        rows = [self.loader.rows(np.arange(start, start + size)) for start in range(0, 256 * size, size)]
        plain = np.asarray(self.level)
        for some in itertools.cycle(rows):
            plain[some]
            yield size

    def training(self) -> Iterator[int]:
        """Steps, always on the same batch."""
        program = build_program(self.config, self.resolution, self.loader)
        state = devices.replicate(create_train_state(self.config.optimizer, program.networks, self.config.run.seed))
        class_table = devices.replicate(self.loader.class_table())
        chunk, batch, controls = self.feed(next(self.chunks()))
        while True:
            state, sums = program.train_call(state, batch, class_table, controls, np.int32(chunk.steps))
            jax.block_until_ready(sums)
            yield chunk.end - chunk.start


def best_rates(works: Mapping[str, Callable[[], Iterator[int]]], *, seconds: float, turns: int) -> dict[str, float]:
    """Images per second of each work: the best of several turns."""
    running = {name: work() for name, work in works.items()}
    best = dict.fromkeys(works, 0.0)
    for _ in range(turns):
        for name, work in running.items():
            best[name] = max(best[name], rate(work, seconds))
    for work in running.values():
        work.close()
    return best


def endless(config: Config, largest: int) -> Config:
    """The experiment up to another resolution, with phases and ticks that do not end while they are measured."""
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
    """Rates and ratios at 4x4, 8x8, ... up to --resolution, one row each."""
    config = endless(config, FLAGS.resolution)
    rows = []
    resolutions = Schedule(config.schedule, config.data.resolution).resolutions
    for resolution in tqdm(resolutions, desc="loader", unit="resolution", disable=None):
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(config, resolution, random_level(Path(folder), resolution))
            works = {"loader": bench.loading, "gather": bench.gathering}
            if resolution <= FLAGS.train_up_to:
                works["train"] = bench.training
            rates = best_rates(works, seconds=FLAGS.seconds, turns=FLAGS.turns)
        train = rates.get("train")
        rows.append(
            {
                "resolution": resolution,
                "call_mb": bench.call_bytes() / 1e6,
                "train": train,
                "loader": rates["loader"],
                "gather": rates["gather"],
                "loader_per_train": rates["loader"] / train if train else None,
                "loader_per_gather": rates["loader"] / rates["gather"],
            }
        )
    return rows


def table(rows: list[dict[str, float | None]]) -> str:
    """The rows for reading; ratios below their aims are marked."""
    lines = [f"{'':>10}  {'call':>9}  {'train':>9}  {'loader':>9}  {'gather':>9}  {'loader/train':>12}  {'loader/gather':>13}"]
    lines.append(
        f"{'':>10}  {'MB':>9}" + 3 * f"  {'images/s':>9}" + f"  {f'aim {AIM_TRAIN:g}':>12}  {f'aim {AIM_GATHER:g}':>13}"
    )
    for row in rows:
        name = f"{row['resolution']}x{row['resolution']}"
        train = f"{row['train']:9,.0f}" if row["train"] else f"{'-':>9}"
        ahead = f"{row['loader_per_train']:.1f}" if row["train"] else "-"
        near = f"{row['loader_per_gather']:.2f}" if is_judged(row) else f"({row['loader_per_gather']:.3f})"
        rates = f"{train}  {row['loader']:9,.0f}  {row['gather']:9,.0f}"
        lines.append(f"{name:>10}  {row['call_mb']:9.3f}  {rates}  {ahead:>12}  {near:>13}")
    return "\n".join(lines)


def is_judged(row: Mapping[str, float | None]) -> bool:
    """Whether a call is so large that copying is most of the work."""
    return row["call_mb"] >= FLAGS.judge_mb


def misses(rows: list[dict[str, float | None]]) -> list[str]:
    """The aims that were not met, in words."""
    found = []
    for row in rows:
        name = f"{row['resolution']}x{row['resolution']}"
        if row["train"] and row["loader_per_train"] < AIM_TRAIN:
            found.append(f"{name}: the loader is {row['loader_per_train']:.1f} times as fast as training")
        if is_judged(row) and row["loader_per_gather"] < AIM_GATHER:
            found.append(f"{name}: the loader is {row['loader_per_gather']:.2f} times as fast as the plain gather")
    return found


def main(argv: list[str]) -> int:
    """Print the numbers; 0 if all aims are met."""
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
        print("aims met" if not missed else "aims missed: " + "; ".join(missed))
    return 1 if missed else 0


if __name__ == "__main__":
    app.run(main)
