"""python launch.py sample --workdir=runs/digits --seeds=0-35 --out=samples

Make pictures with a trained generator: one PNG per seed, and all of them in grid.png. The same seed gives the same picture. For
a run with labels, seed n shows class n modulo the number of classes, or the one that --class names.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from absl import flags

from pggan_jax.cli.arguments import DEFAULT_WORKDIR, existing_run, folder, parse_seeds
from pggan_jax.cli.compilation_cache import define_compilation_cache_flag, use_compilation_cache
from pggan_jax.errors import UserError

FLAGS = flags.FlagValues()
flags.DEFINE_string("workdir", DEFAULT_WORKDIR, "folder of the run", flag_values=FLAGS)
flags.DEFINE_string("seeds", "0-35", "which pictures, as 0-35 or 3,5,80-99", flag_values=FLAGS)
flags.DEFINE_string("out", "samples", "folder for the PNG files; made if absent", flag_values=FLAGS)
flags.DEFINE_string(
    "checkpoint", "latest", "latest, best (as eval.best), or the kimg of one that `inspect` lists", flag_values=FLAGS
)
flags.DEFINE_enum("network", "ema", ["ema", "raw"], "the generator's moving average, or its current weights", flag_values=FLAGS)
flags.DEFINE_integer("class", None, "number of the class to show, for runs with labels", flag_values=FLAGS)
flags.DEFINE_integer(
    "columns", None, "columns of grid.png (default: about square)", flag_values=FLAGS, lower_bound=1, upper_bound=1024
)
flags.DEFINE_integer(
    "zoom", 1, "enlarge each pixel to so many, in every file", flag_values=FLAGS, lower_bound=1, upper_bound=64
)
flags.DEFINE_integer(
    "gap", 0, "black pixels between the pictures of grid.png", flag_values=FLAGS, lower_bound=0, upper_bound=64
)
define_compilation_cache_flag(FLAGS)

PICTURES_AT_ONCE = 1024


def run(values: flags.FlagValues) -> None:
    """Write the pictures and say where."""
    seeds = parse_seeds(values["seeds"].value)
    workdir = existing_run(values["workdir"].value)
    from tqdm import tqdm

    from pggan_jax.generation.sampling import latents_for_seeds, one_hot
    from pggan_jax.images import make_grid, nearest_upscale
    from pggan_jax.own_output import claim_output
    from pggan_jax.training.trained import load_trained

    use_compilation_cache(values)
    trained = load_trained(workdir, values["checkpoint"].value)
    label_size = trained.position.label_size
    classes = _classes(values["class"].value, seeds, label_size)
    out = folder("out", values["out"].value)
    claim_output("out", out, trained.config.data.source, command="sample")
    params = trained.state.generator_ema if values["network"].value == "ema" else trained.state.generator
    sampler, pictures = trained.sampler(), []
    with tqdm(total=len(seeds), desc="sampling", unit="img", delay=2, disable=None) as bar:
        for start in range(0, len(seeds), PICTURES_AT_ONCE):
            some = seeds[start : start + PICTURES_AT_ONCE]
            labels = one_hot(classes[start : start + PICTURES_AT_ONCE], label_size)
            latents = latents_for_seeds(some, trained.networks.latent_size)
            images = sampler(params, latents, labels, trained.position.alpha)
            images = nearest_upscale(images, values["zoom"].value)
            _write({f"seed{seed:04d}.png": image for seed, image in zip(some, images, strict=True)}, out)
            pictures.append(images)
            bar.update(len(some))
    columns = values["columns"].value or math.ceil(math.sqrt(len(seeds)))
    _write({"grid.png": make_grid(np.concatenate(pictures), columns, gap=values["gap"].value)}, out)
    position = trained.position
    size = f"{position.resolution}x{position.resolution}"
    print(f"{len(seeds)} pictures of {size} from kimg {position.images_seen / 1000:g} -> {out}/ (all in {out / 'grid.png'})")


def _write(pictures: dict[str, np.ndarray], folder: Path) -> None:
    """Make the folder if it is absent, and write PNG files into it."""
    from pggan_jax.images import write_png

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in pictures.items():
            write_png(folder / name, picture)
    except OSError as error:
        raise UserError(f"--out={folder}: cannot be written ({error.strerror}); choose a folder you may write to") from None


def _classes(wanted: int | None, seeds: list[int], label_size: int) -> list[int]:
    """The class of each picture."""
    if wanted is None:
        return [seed % max(label_size, 1) for seed in seeds]
    if not label_size:
        raise UserError(f"--class={wanted}: this run was trained without labels; leave --class out")
    if not 0 <= wanted < label_size:
        raise UserError(f"--class={wanted}: must be from 0 to {label_size - 1}")
    return [wanted] * len(seeds)
