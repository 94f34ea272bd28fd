"""Measure the checkpoints of one run, in a process of its own.

    python experiments/paper/measuring/measure.py ORDER.json

`runner` writes the order and starts it. The images of a network that still grows are enlarged to full resolution by repeating
pixels, as the official networks do, so that all points of a curve compare.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from absl import logging

from experiments.paper.measuring.reals import OWN, Reals, flat, floors, own_values, rounded
from experiments.paper.study.plan import Order
from pggan_jax.checkpointing.open_model import model_of
from pggan_jax.checkpointing.trained_model import open_checkpoints, read_checkpoint
from pggan_jax.distributed.backend import require_backend
from pggan_jax.distributed.devices import describe_devices
from pggan_jax.errors import UserError, one_line
from pggan_jax.evaluation.evaluator import Evaluator
from pggan_jax.evaluation.image_sets import ImageSet, generated_images, use_classes_of
from pggan_jax.generation.model import Model
from pggan_jax.images import nearest_upscale, write_png
from pggan_jax.system.files import write_atomically
from pggan_jax.system.jax_environment import fixed_jax_settings
from pggan_jax.system.xla_options import prefer_fast_convolutions

SHEET_COLUMNS = 16


def enlarged(images: ImageSet, model: Model, reals: Reals) -> ImageSet:
    """Return the images at full resolution; pixels are repeated."""
    factor = reals.resolution // model.resolution
    if factor == 1:
        return images
    shape = reals.config.data.shape_at(reals.resolution)
    return replace(
        images, shape=shape, read=lambda start, stop: nearest_upscale(images.read(start, stop), factor), read_floats=None
    )


def fakes_of(model: Model, reals: Reals, *, count: int, classes: np.ndarray) -> ImageSet:
    """Return images of the moving average at full resolution."""
    found = generated_images(model.sampler, model.generator, classes=classes, alpha=model.alpha, seed=0, count=count)
    return enlarged(found, model, reals)


def stats_records(workdir: Path) -> list[dict[str, Any]]:
    """Return the lines of stats.jsonl."""
    lines = (workdir / "stats.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def training_seconds(records: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """Return the seconds of training until each tick, by images seen.

    Without compilation, sample grids, evaluation and checkpoints. If an earlier process trained the beginning of a tick, it
    counts with the speed of the rest.
    """
    found, seconds, before = {0: 0.0}, 0.0, 0
    for record in records:
        seconds += (record["images_seen"] - before) / record["images_per_second"]
        before = record["images_seen"]
        found[before] = seconds
    return found


def measured(order: Order, *, report: Callable[[str], None] = print) -> dict[str, Any]:
    """Measure a run; also write its images of fixed seeds beside the result."""
    workdir = Path(order.workdir)
    config, checkpoints = open_checkpoints(workdir)
    reals = Reals(config, all_reals=order.all_reals)
    result: dict[str, Any] = {"devices": describe_devices(), "num_reals": len(reals.loader)}
    last = tuple(dict.fromkeys([*order.curve, *order.final]))
    if order.is_floor:
        checkpoints.close()
        return {**result, "values": rounded(floors(last, reals, num_images=order.num_images))}
    records, points = stats_records(workdir), []
    seconds = training_seconds(records)
    evaluators: dict[tuple[str, ...], Evaluator | None] = {}
    with closing(checkpoints):
        # A run that was stopped has also saved between two ticks.
        steps = [images_seen for images_seen in checkpoints.all_images_seen() if images_seen in seconds]
        for images_seen in steps:
            model = model_of(read_checkpoint(config, checkpoints, images_seen=images_seen), name=str(workdir))
            use_classes_of(model, reals.loader, named=config.data.source)
            names = last if images_seen == steps[-1] else tuple(order.curve)
            if names not in evaluators:
                evaluators[names] = reals.evaluator(names, num_images=order.num_images, with_floor=False)
            values = values_of(model, names, evaluator=evaluators[names], reals=reals, count=order.num_images)
            values |= of_tick(records, images_seen, order.stats)
            points.append([round(images_seen / 1000, 3), round(seconds[images_seen], 2), rounded(values)])
            report(f"kimg {images_seen / 1000:g}: {', '.join(f'{name} {value:.4g}' for name, value in values.items())}")
    write_images(model, reals, Path(order.out).with_suffix(".png"))
    scalars = {name: value for name, value in (records or [{}])[-1].items() if isinstance(value, int | float)}
    return {**result, "points": points, "stats": rounded(scalars), "num_fakes": order.num_images}


def of_tick(records: Sequence[Mapping[str, Any]], images_seen: int, names: Sequence[str]) -> dict[str, float]:
    """Return fields of stats.jsonl of the tick that has ended there, as far as it has them."""
    tick = next((record for record in records if record["images_seen"] == images_seen), {})
    return {name: tick[name] for name in names if name in tick}


def values_of(model: Model, names: Sequence[str], *, evaluator: Evaluator | None, reals: Reals, count: int) -> dict[str, float]:
    """Measure one checkpoint.

    What cannot be measured of it, such as the accuracy for classes that have collapsed, is left out and reported.
    """
    values: dict[str, float] = {}
    classes = evaluator.classes() if evaluator else np.arange(max(1, model.label_size), dtype=np.int32)
    try:
        if evaluator:
            fakes = fakes_of(model, reals, count=max(evaluator.max_fakes, count), classes=classes)
            values = {key: value for one in evaluator(fakes, model=model) for key, value in flat(one.name, one.result).items()}
    except UserError as error:
        print(one_line(f"left out: {error}"))
        usable = reals.usable(names)
        for name in usable if len(usable) > 1 else []:
            alone = reals.evaluator([name], num_images=count, with_floor=False)
            values |= values_of(model, [name], evaluator=alone, reals=reals, count=count)
    own = [name for name in names if name in OWN]
    return values | own_values(own, fakes_of(model, reals, count=count, classes=classes), reals=reals)


def write_images(model: Model, reals: Reals, path: Path) -> None:
    """Write one row of images of the seeds 0, 1, 2 ..."""
    images = nearest_upscale(model.sample(range(SHEET_COLUMNS)), reals.resolution // model.resolution)
    row = images.transpose(1, 0, 2, 3).reshape(images.shape[1], -1, images.shape[3])
    write_png(path, row, holds="several images")


def main(argv: Sequence[str]) -> int:
    """Measure as the order says; return the exit status."""
    order = Order(**json.loads(Path(argv[1]).read_text(encoding="utf-8")))
    logging.set_verbosity(logging.FATAL)
    prefer_fast_convolutions()
    try:
        require_backend()
        with fixed_jax_settings():
            result = measured(order)
    except UserError as error:
        print(one_line(f"error: {error}"), file=sys.stderr)
        return 2
    write_atomically(Path(order.out), (json.dumps(result) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
