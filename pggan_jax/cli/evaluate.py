"""python launch.py evaluate --workdir=runs/digits --metrics=swd,ms_ssim

Measure how good the samples of a run are. Beside every number stands what reals against other reals give: no generator can be
expected to be better than that. Writes a line per checkpoint and metric to WORKDIR/metric-NAME.jsonl and prints a table.

With --images=DIR --data=SOURCE it judges images that any other program has made, against the images of SOURCE.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from pggan_jax.cli.arguments import DEFAULT_WORKDIR, existing_run, folder
from pggan_jax.cli.compilation_cache import define_compilation_cache_flag, use_compilation_cache
from pggan_jax.cli.evaluate_sources import common_side, open_held_out, refuse_idle_held_out, told_of
from pggan_jax.config import MAX_RESOLUTION
from pggan_jax.errors import UserError
from pggan_jax.metric_names import METRIC_KINDS

if TYPE_CHECKING:
    from pggan_jax.config import DataConfig
    from pggan_jax.data.loader import Loader
    from pggan_jax.evaluation.evaluator import Evaluator, Result
    from pggan_jax.training.trained import Trained

_WIDTH = max(map(len, METRIC_KINDS))
FLAGS = flags.FlagValues()
flags.DEFINE_string("workdir", DEFAULT_WORKDIR, "folder of the run", flag_values=FLAGS)
flags.DEFINE_list(
    "metrics",
    ["swd", "ms_ssim"],
    "which, with commas between them:\n"
    + "\n".join(f"        {name:{_WIDTH}}  {kind.help}" for name, kind in METRIC_KINDS.items())
    + "\n     ",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "num_images",
    0,
    "images on each side; 0 takes the number of the published protocol, such as 16,384 for swd; where there are fewer reals, "
    "each is used once",
    flag_values=FLAGS,
    lower_bound=0,
    upper_bound=10_000_000,
)
flags.DEFINE_string(
    "checkpoint", "latest", "latest, best (as eval.best), all, or the kimg of one that `inspect` lists", flag_values=FLAGS
)
flags.DEFINE_enum("network", "ema", ["ema", "raw"], "the generator's moving average, or its current weights", flag_values=FLAGS)
flags.DEFINE_string(
    "data", None, "reals to compare with, written as data.source (default: those of the run)", flag_values=FLAGS
)
flags.DEFINE_string(
    "held_out",
    None,
    "reals that were not trained on, written as data.source, such as tfds:mnist:test or folder:DIR: neighbors and "
    "neighbors_features give the ratio to their distance from the training images instead of that of these among themselves",
    flag_values=FLAGS,
)
flags.DEFINE_string("images", None, "judge the images in this folder instead of a run; needs --data", flag_values=FLAGS)
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
    "how images are brought to the 299x299 of the Inception network; numbers of different ways do not compare",
    flag_values=FLAGS,
)
flags.DEFINE_boolean("floor", True, "measure reals against other reals, too", flag_values=FLAGS)
flags.DEFINE_integer(
    "seed", 0, "of latents, patches, directions and subsets", flag_values=FLAGS, lower_bound=0, upper_bound=2**32 - 1
)
flags.DEFINE_string(
    "out",
    None,
    "folder for metric-NAME.jsonl and pictures (default: the workdir; with --images nothing is written)",
    flag_values=FLAGS,
)
define_compilation_cache_flag(FLAGS)


def run(values: flags.FlagValues) -> None:
    """Print a table per checkpoint."""
    if not values["metrics"].value:
        raise UserError(f"--metrics=: is empty; choose from {', '.join(METRIC_KINDS)}")
    refuse_idle_held_out(values["held_out"].value, values["metrics"].value)
    use_compilation_cache(values)
    if values["images"].value is not None:
        for name in ("workdir", "checkpoint", "network"):
            if values[name].present:
                raise UserError(
                    f"--{name}={values[name].value}: is of a run and does not go with --images; leave one of them out"
                )
        _evaluate_images(values)
    elif values["resolution"].value:
        raise UserError(
            f"--resolution={values['resolution'].value}: goes with --images; a checkpoint is judged at its own resolution"
        )
    else:
        _evaluate_run(values)


def _evaluate_run(values: flags.FlagValues) -> None:
    workdir = existing_run(values["workdir"].value)
    out = workdir if values["out"].value is None else _writable(values["out"].value)
    from pggan_jax.data.dataset import open_loader
    from pggan_jax.evaluation.image_sets import generated
    from pggan_jax.training.trained import choose_checkpoints, open_checkpoints, read_checkpoint

    config, checkpoints = open_checkpoints(workdir)
    chosen = choose_checkpoints(values["checkpoint"].value, checkpoints)
    data = _data_config(values, config.data)
    with told_of(f"--data={data.source}" if values["data"].present else f"--workdir={workdir}"):
        loader = open_loader(data, seed=config.run.seed, tell=print)
    held_out = open_held_out(values["held_out"].value, data, loader.channels)
    evaluators: dict[int, Evaluator | None] = {}
    for images_seen in chosen:
        trained = read_checkpoint(config, checkpoints, images_seen)
        _check_fits(trained, loader, data)
        resolution = trained.position.resolution
        if resolution not in evaluators:
            names = _fitting(values["metrics"].value, resolution) if len(chosen) > 1 else values["metrics"].value
            evaluators[resolution] = names and _evaluator(values, names, data, loader, held_out, resolution)
        evaluator = evaluators[resolution]
        if not evaluator:
            continue
        is_average = values["network"].value == "ema"
        fakes = generated(
            trained.sampler(),
            trained.state.generator_ema if is_average else trained.state.generator,
            latent_size=trained.networks.latent_size,
            label_size=trained.position.label_size,
            classes=evaluator.classes(),
            alpha=trained.position.alpha,
            seed=values["seed"].value,
            count=evaluator.most_fakes,
        )
        position = trained.position
        where = {
            "kimg": images_seen / 1000,
            "images_seen": images_seen,
            "resolution": resolution,
            "alpha": position.alpha,
            "network": values["network"].value,
            "data": data.source,
        }
        print(f"kimg {where['kimg']:g}, {resolution}x{resolution}, alpha {position.alpha:.3g}; reals: {data.source}")
        _tell(evaluator(fakes), out, where, name=_kimg(images_seen))
    checkpoints.close()


def _evaluate_images(values: flags.FlagValues) -> None:
    images, source = values["images"].value, values["data"].value
    if source is None:
        raise UserError(f"--images={images}: needs --data=SOURCE, the images to compare with, such as --data=folder:~/photos")
    out = None if values["out"].value is None else _writable(values["out"].value)
    from pggan_jax.config import DataConfig
    from pggan_jax.data.dataset import open_loader
    from pggan_jax.data.sources import open_source
    from pggan_jax.evaluation.image_sets import RealPool

    judged = f"folder:{folder('images', images)}"
    resolution = common_side(values["resolution"].value, open_source(judged), images)
    # Images of another program come as they are: cut or shrunk, they would be other images.
    with told_of(f"--images={images}"):
        fakes = open_loader(DataConfig(judged, resolution, crop="none"), seed=0, tell=print)
    if fakes.warning:
        print(f"{images}: {fakes.warning}")
    data = DataConfig(source, resolution, channels=fakes.channels)
    with told_of(f"--data={source}"):
        reals = open_loader(data, seed=0, tell=print)
    held_out = open_held_out(values["held_out"].value, data, reals.channels)
    evaluator = _evaluator(values, values["metrics"].value, data, reals, held_out, resolution)
    print(f"{len(fakes):,} images of {images}, {resolution}x{resolution}; reals: {source}")
    fake_set = RealPool(fakes, resolution, values["seed"].value).draw(0, min(len(fakes), evaluator.most_fakes))
    where = {"images": images, "resolution": resolution, "data": source}
    _tell(evaluator(fake_set), out, where, name="images")


def _evaluator(
    values: flags.FlagValues,
    names: list[str],
    data: DataConfig,
    loader: Loader,
    held_out: tuple[str, Loader] | None,
    resolution: int,
) -> Evaluator:
    from pggan_jax.evaluation.evaluator import Evaluator
    from pggan_jax.evaluation.image_sets import RealPool
    from pggan_jax.evaluation.metrics import Tools

    seed = values["seed"].value
    tools = Tools(
        RealPool(loader, resolution, seed, mirror=data.mirror),
        data.source,
        inception_weights=values["inception_weights"].value,
        resize=values["resize"].value,
        held_out=held_out and RealPool(held_out[1], resolution, seed, name=held_out[0]),
    )
    return Evaluator(
        names,
        tools,
        num_images=values["num_images"].value,
        seed=seed,
        with_floor=values["floor"].value,
    )


def _data_config(values: flags.FlagValues, trained_on: DataConfig) -> DataConfig:
    from dataclasses import replace

    source = values["data"].value
    return trained_on if source is None else replace(trained_on, source=source, max_images=0, shuffle_seed=-1)


def _check_fits(trained: Trained, loader: Loader, data: DataConfig) -> None:
    position = trained.position
    if (loader.channels, loader.label_size) != (position.channels, position.label_size):
        raise UserError(
            f"--data={data.source}: has {loader.channels} colour channels and {loader.label_size} classes; the run was trained "
            f"on {position.channels} and {position.label_size}"
        )
    # The networks know classes by number.
    record = position.data_record
    loader.use_class_order(record.class_names if record else loader.former_class_names)


def _fitting(names: list[str], resolution: int) -> list[str]:
    """Of several checkpoints some may be too small for a metric: told, not refused."""
    fitting = [name for name in names if name not in METRIC_KINDS or resolution >= METRIC_KINDS[name].minimum_resolution]
    if len(fitting) < len(names):
        missing = ", ".join(name for name in names if name not in fitting)
        print(f"{resolution}x{resolution}: too small for {missing}, left out here")
    return fitting


def _kimg(images_seen: int) -> str:
    """For names of files: kimg, with a fraction where they are not whole."""
    thousands, rest = divmod(images_seen, 1000)
    return f"{thousands:06d}" + (f".{rest:03d}" if rest else "")


def _writable(path: str) -> Path:
    out = folder("out", path)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out={path}: cannot be written ({error.strerror}); choose a folder you may write to") from None
    return out


def _tell(results: list[Result], out: Path | None, where: dict[str, Any], *, name: str) -> None:
    from pggan_jax.evaluation.records import append_record, as_record, table
    from pggan_jax.files import write_atomically
    from pggan_jax.images import write_png

    print(table(results))
    if out is None:
        print("nothing was written; to keep the numbers and pictures, give --out=DIR")
        return
    written = [append_record(out, as_record(result, **where)) for result in results]
    for result in results:
        for picture, pixels in result.measured.pictures.items():
            written.append(out / f"{picture}{name}.png")
            write_png(written[-1], pixels)
        for listing, entries in result.measured.lists.items():
            written.append(out / f"{listing}{name}.json")
            write_atomically(written[-1], (json.dumps(entries, indent=1) + "\n").encode())
    print(f"-> {', '.join(map(str, written))}")
