"""python launch.py evaluate --from=runs/digits --metrics=swd,ms_ssim

Measure the samples of a run or of a model file by one or more metrics. Each value is printed with its floor, the value of reals
against other reals: a generator cannot be expected to be better. With --images=DIR or FILE.zip and --data=SOURCE, measure
images that another program has made, against the images of SOURCE.

Example: python launch.py evaluate --images=samples --data=folder:~/photos --metrics=fid --inception_weights=inception.npz

Prints a table per checkpoint and appends a line per checkpoint and metric to WORKDIR/metric-NAME.jsonl.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from pggan_jax.cli.compilation_cache import define_compilation_cache_flag, use_compilation_cache
from pggan_jax.cli.evaluate_models import evaluate_model, make_evaluator, named_sources
from pggan_jax.cli.evaluate_output import report_results, writable
from pggan_jax.cli.evaluate_sources import (
    check_held_out,
    common_shape,
    name_flag_in_errors,
    open_held_out,
    refuse_metrics_of_models,
    source_of_images,
)
from pggan_jax.cli.shared_flags import DEFAULT_WORKDIR, flag_value
from pggan_jax.config.fields import MAX_RESOLUTION
from pggan_jax.errors import UserError
from pggan_jax.metric_kinds import METRIC_KINDS

if TYPE_CHECKING:
    from pggan_jax.config import DataConfig
    from pggan_jax.data.loader import Loader

_WIDTH = max(map(len, METRIC_KINDS))
FLAGS = flags.FlagValues()
flags.DEFINE_string("workdir", DEFAULT_WORKDIR, "folder of the run, or a model file (.safetensors)", flag_values=FLAGS)
flags.DEFINE_alias("from", "workdir", flag_values=FLAGS)
flags.DEFINE_list(
    "metrics",
    ["swd", "ms_ssim"],
    "metrics, separated by commas:\n"
    + "\n".join(f"        {name:{_WIDTH}}  {kind.help}" for name, kind in METRIC_KINDS.items())
    + "\n     ",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "num_images",
    0,
    "images on each side; 0 takes the number of the published protocol, such as 16,384 for swd; if there are fewer reals, "
    "each is used once",
    flag_values=FLAGS,
    lower_bound=0,
    upper_bound=10_000_000,
)
flags.DEFINE_string(
    "checkpoint", "latest", "latest, best (as eval.best), all, or the kimg of one that `inspect` lists", flag_values=FLAGS
)
flags.DEFINE_enum("network", "ema", ["ema", "raw"], "the generator's moving average, or its current weights", flag_values=FLAGS)
flags.DEFINE_string("data", None, "reals to compare with, as data.source (default: those of the run)", flag_values=FLAGS)
flags.DEFINE_string(
    "held_out",
    None,
    "reals that were not used for training, written as data.source, such as tfds:mnist:test or folder:DIR: neighbors and "
    "neighbors_features then compare with their distance from the training images; recovery needs them (default: the images "
    "that the run has held out, with data.held_out or data.held_out_source)",
    flag_values=FLAGS,
)
flags.DEFINE_string("images", None, "measure images of this folder or .zip instead of a run; needs --data", flag_values=FLAGS)
flags.DEFINE_integer(
    "resolution",
    0,
    "with --images: side at which both are compared (default: that of the images)",
    flag_values=FLAGS,
    lower_bound=0,
    upper_bound=MAX_RESOLUTION,
)
flags.DEFINE_string(
    "inception_weights", None, "file with the weights of the Inception network, see docs/metrics.md", flag_values=FLAGS
)
flags.DEFINE_enum(
    "resize",
    "tf1",
    ["tf1", "pytorchfid", "clean"],
    "how images are resized to the 299x299 of the Inception network; values of different methods are not comparable",
    flag_values=FLAGS,
)
flags.DEFINE_boolean("floor", True, "also measure reals against other reals", flag_values=FLAGS)
flags.DEFINE_integer(
    "seed", 0, "seed of latents, patches, directions and subsets", flag_values=FLAGS, lower_bound=0, upper_bound=2**32 - 1
)
flags.DEFINE_string(
    "out",
    None,
    "folder for metric-NAME.jsonl and images (default: the workdir; with --images or a model file nothing is written)",
    flag_values=FLAGS,
)
define_compilation_cache_flag(FLAGS)


def run(values: flags.FlagValues) -> int:
    """Print a table per checkpoint; 1 if one of several is damaged."""
    if not flag_value(values, "metrics"):
        raise UserError(f"--metrics=: is empty; choose from {', '.join(METRIC_KINDS)}")
    check_held_out(flag_value(values, "held_out"), flag_value(values, "metrics"))
    use_compilation_cache(values)
    if flag_value(values, "images") is not None:
        for name in ("workdir", "checkpoint", "network"):
            if values[name].present:
                raise UserError(f"--{name}={flag_value(values, name)}: applies to a run, not to --images; remove one of them")
        _evaluate_images(values)
        return 0
    if wanted := flag_value(values, "resolution"):
        raise UserError(f"--resolution={wanted}: needs --images; a checkpoint is measured at its own resolution")
    return evaluate_model(values)


def _evaluate_images(values: flags.FlagValues) -> None:
    images, source = flag_value(values, "images"), flag_value(values, "data")
    if source is None:
        raise UserError(
            f"--images={images}: needs the images to compare with; add --data=SOURCE, such as --data=folder:~/photos"
        )
    refuse_metrics_of_models(flag_value(values, "metrics"), images=images)
    out = flag_value(values, "out")
    fake_source = source_of_images(images)
    out = None if out is None else writable(out, fake_source, *named_sources(values))
    from pggan_jax.config import DataConfig
    from pggan_jax.data.sources.open_source import open_source
    from pggan_jax.data.temporary_levels import temporary_loader

    resolution, base_shape = common_shape(flag_value(values, "resolution"), open_source(fake_source), images=images)
    # Images of another program are measured without any crop or resize.
    data = DataConfig(fake_source, resolution, base_shape, crop="none")
    with ExitStack() as held:
        with name_flag_in_errors(f"--images={images}"):
            fakes = held.enter_context(temporary_loader(data, report=print))
        _measure_images(values, fakes, data, out)


def _measure_images(values: flags.FlagValues, fakes: Loader, fake_data: DataConfig, out: Path | None) -> None:
    from pggan_jax.config import DataConfig
    from pggan_jax.data.open_loader import open_loader
    from pggan_jax.evaluation.image_sets import RealPool

    images, source = flag_value(values, "images"), flag_value(values, "data")
    if fakes.warning:
        print(f"{images}: {fakes.warning}")
    resolution = fake_data.resolution
    data = DataConfig(source, resolution, fake_data.base_shape, channels=fakes.channels)
    with name_flag_in_errors(f"--data={source}"):
        reals = open_loader(data, seed=0, report=print)
    held_out = open_held_out(flag_value(values, "held_out"), data, like=reals)
    evaluator = make_evaluator(values, flag_value(values, "metrics"), data, reals, held_out, resolution)
    print(f"{len(fakes):,} images of {images}, {fakes.shape_at(resolution)}; reals: {source}")
    fake_set = RealPool(fakes, resolution, flag_value(values, "seed")).draw(0, min(len(fakes), evaluator.max_fakes))
    where = {"images": images, "resolution": resolution, "data": source}
    report_results(evaluator(fake_set), out, where=where, name="images")
