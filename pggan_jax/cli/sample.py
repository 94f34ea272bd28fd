"""python launch.py sample --from=runs/digits --seeds=0-35 --out=samples

Generate images from a trained model. --out=samples writes one PNG file per seed to the folder, which holds nothing else, so
that other tools can read it; --out=samples.zip one archive with the classes in dataset.json, as the sources folder: and zip:
read them; --out=samples.npz the arrays images, seeds and classes. A grid of the first 100 lies beside it (samples.png).

  python launch.py sample --class=7 --seeds=0-35 --zoom=4             one class, each pixel enlarged to 4x4
  python launch.py sample --grid=8x3 --out=wide                       24 images, and wide.png of 8 columns and 3 rows
  python launch.py sample --num=50000 --out=many.zip --format=webp    seeds 0 to 49,999 as lossless WebP
  python launch.py sample --from=runs/digits@best --num=50000 --out=many.npz

The same command again writes only what is missing: after Ctrl-C, a full disk or a power failure, repeat it. What another
command has written stays, unless --overwrite is given.

An image depends on its seed and class alone, to the bit; those of the training grids are in WORKDIR/grid.json. In a run with
labels, seed n shows class n modulo the number of classes (those without images are skipped), and file names include the
class. --class=dog or --class=2 selects one class by name or number; if a text is the name of one class and the number of
another, write name:2 or number:2. One device generates.

A run on sound gives one WAV file per seed, and all.wav with the first 100 one after another; --out=FILE.wav writes one file.

  python launch.py sample --from=runs/notes --seeds=0-35 --pitch=60    samples/seed0000-pitch060.wav ... and samples/all.wav
  python launch.py sample --from=runs/notes --scale --seeds=7          scale.wav, one latent at every trained pitch
  python launch.py sample --from=runs/notes --melody=ode               ode.wav; also scale, FILE.mid, or a list of notes
  python launch.py sample --from=runs/notes --walk=3-8 --pitch=60      walk-3-8.wav, 16 sounds from seed 3 to seed 8

A list of notes has one per line: start_seconds end_seconds pitch velocity, as 0.0 0.4 60 100. docs/sound.md says more.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from functools import cache, partial
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from absl import flags

from pggan_jax.cli.model_flags import (
    chosen_class,
    classes_by_seed,
    define_class_flag,
    define_model_flags,
    define_out_flag,
    latent_factor,
    make_parent,
    open_model,
    write_image,
)
from pggan_jax.cli.sample_output import claim_place, grid_mark, grid_path, place_of, report_interruption, write_all
from pggan_jax.cli.sample_sound_flags import define_sound_flags, refuse_sound_flags
from pggan_jax.cli.shared_flags import MOST_SEEDS, Seeds, define_float, flag_value, parse_seeds
from pggan_jax.errors import UserError

if TYPE_CHECKING:
    from pggan_jax.generation.image_writers import Plan, Sample
    from pggan_jax.generation.model import Model

FLAGS = flags.FlagValues()
define_model_flags(FLAGS)
flags.DEFINE_string("seeds", None, "seeds of the images, as 0-35 or 3,5,80-99 (default: 0-35)", flag_values=FLAGS)
flags.DEFINE_integer("num", None, "seeds 0 to NUM-1", flag_values=FLAGS, lower_bound=1, upper_bound=MOST_SEEDS)
define_class_flag(FLAGS)
define_float(
    "psi",
    None,
    "factor of the latents, for networks that do not normalise them: below 1 gives more typical and less varied images",
    lowest=0.0,
    highest=10.0,
    values=FLAGS,
)
define_out_flag(FLAGS, "samples", "folder, FILE.zip, or FILE.npz; created if absent")
flags.DEFINE_enum(
    "format",
    None,
    ["png", "webp", "npz", "wav"],
    "of the images; webp is lossless (default: png, npz for FILE.npz, wav for sound)",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "grid", None, "COLUMNSxROWS of the grid; without --seeds and --num also the number of images", flag_values=FLAGS
)
flags.DEFINE_string("grid_out", None, "PNG file for the grid (default: --out with .png)", flag_values=FLAGS)
flags.DEFINE_integer(
    "columns", None, "columns of the grid (default: about square)", flag_values=FLAGS, lower_bound=1, upper_bound=1024
)
flags.DEFINE_integer(
    "zoom",
    1,
    "enlarge each pixel to a square of so many pixels, in every file",
    flag_values=FLAGS,
    lower_bound=1,
    upper_bound=64,
)
flags.DEFINE_integer("gap", 0, "black pixels between the images of the grid", flag_values=FLAGS, lower_bound=0, upper_bound=64)
define_sound_flags(FLAGS)

IMAGES_IN_GRID = 100
MOST_IN_GRID = 10_000
DEFAULT_SEEDS = 36


class _Places(NamedTuple):
    """Where the grid goes, and how many images it has."""

    grid: Path
    in_grid: int
    columns: int


def run(values: flags.FlagValues) -> int:
    """Write the images and print where; 130 after Ctrl-C."""
    size = _grid_size(values)
    seeds = _chosen_seeds(values, size)
    model = open_model(values, takes_sound=True)
    if model.representation is not None:
        from pggan_jax.cli import sample_sounds

        return sample_sounds.run(values, model, seeds)
    refuse_sound_flags(values)
    out, format = place_of(values)
    grid = grid_path(values, out)
    plan = _plan(values, model, seeds, format=format)
    in_grid, columns = _cells(values, size, len(seeds), shape=plan.shape)
    with claim_place(values, out, plan.request, grid=grid, sources=model.config.data.sources):
        make_parent(grid, f"--grid_out={grid}")
        generate = partial(_missing, values, model, plan, places=_Places(grid, in_grid, columns))
        written = write_all(out, plan, generate, format=format, at_once=model.sampler.small_batch, noun="images")
    if written < len(plan):
        return report_interruption(written, len(plan), "images")
    of_them = "all" if in_grid == len(plan) else f"the first {in_grid}"
    if out.is_dir() and (others := sum(not name.startswith(".") for name in os.listdir(out)) - len(plan)) > 0:
        print(f"note: {out} holds {others:,} other files, which other tools would read as samples")
    height, width, _ = model.shape
    where = f"{out}/" if out.is_dir() else out
    print(f"{len(plan):,} images of {height}x{width} from kimg {model.kimg:g} -> {where} ({of_them} in {grid})")
    return 0


def _missing(values: flags.FlagValues, model: Model, plan: Plan, done: np.ndarray, *, places: _Places) -> Iterator[Sample]:
    """Generate the images that are missing and those of the grid, which is written at once."""
    from pggan_jax.generation.image_writers import Sample
    from pggan_jax.images import make_grid, nearest_upscale

    zoom, gap = (flag_value(values, name) for name in ("zoom", "gap"))
    needed = ((index, seed) for index, seed in enumerate(plan.seeds) if index < places.in_grid or not done[index])
    indices, ahead = tee(needed)
    images = model.stream((seed for _, seed in ahead), plan.classes, psi=latent_factor(values, model))
    first: list[np.ndarray] = []
    for (index, _), (seed, number, image) in zip(indices, images, strict=True):
        enlarged = nearest_upscale(image, zoom)
        if index < places.in_grid:
            first.append(enlarged)
            if len(first) == places.in_grid:
                grid = make_grid(np.stack(first), places.columns, gap=gap)
                write_image(places.grid, grid, f"--grid_out={places.grid}", holds=grid_mark(plan.request))
                first.clear()
        if not done[index]:
            yield Sample(plan.name_of(seed, number), enlarged)


def _chosen_seeds(values: flags.FlagValues, size: tuple[int, int] | None) -> Seeds:
    """Return the seeds that --seeds, --num or --grid ask for.

    Raises:
        UserError: they contradict each other, or name a seed twice.
    """
    text, num = flag_value(values, "seeds"), flag_value(values, "num")
    if num is not None:
        if text is not None:
            raise UserError(f"--num={num}: means the seeds 0-{num - 1}, and --seeds={text[:40]} others; give one of the two")
        return Seeds([range(num)])
    if text is None:
        return Seeds([range(size[0] * size[1] if size else DEFAULT_SEEDS)])
    seeds = parse_seeds(text)
    if (repeated := seeds.first_repeated()) is not None:
        raise UserError(f"--seeds={text[:60]}: names seed {repeated} twice; name each seed once")
    return seeds


def _grid_size(values: flags.FlagValues) -> tuple[int, int] | None:
    """Return columns and rows of --grid; None without it.

    Raises:
        UserError: it has another form, or --columns contradicts it.
    """
    from pggan_jax.images import parse_columns_rows

    text = flag_value(values, "grid")
    if text is None:
        return None
    try:
        columns, rows = parse_columns_rows(text)
    except ValueError:
        hint = f"name the file by --grid_out={text[:80]}" if text.lower().endswith(".png") else "such as 6x6"
        raise UserError(f"--grid={text[:80]}: must be COLUMNSxROWS; {hint}") from None
    if flag_value(values, "columns") is not None:
        raise UserError(f"--grid={text}: has {columns} columns, remove --columns={flag_value(values, 'columns')}")
    if columns * rows > MOST_IN_GRID:
        raise UserError(f"--grid={text}: would show {columns * rows:,} images; at most {MOST_IN_GRID:,}, such as 100x100")
    return columns, rows


def _cells(
    values: flags.FlagValues, size: tuple[int, int] | None, count: int, *, shape: tuple[int, int, int]
) -> tuple[int, int]:
    """Return the number of images in the grid, and of its columns.

    Raises:
        UserError: a single image or the grid is too large, or there are fewer images than --grid shows.
    """
    from pggan_jax.data.images.decode import MAX_PIXELS

    gap, (height, width, _) = flag_value(values, "gap"), shape
    tile = (height + gap) * (width + gap)
    if tile > MAX_PIXELS:
        raise UserError(
            f"--zoom={flag_value(values, 'zoom')}: an image would have {height:,}x{width:,} pixels, at most {MAX_PIXELS:,} are "
            "written; choose a smaller --zoom"
        )
    if size is None:
        # The last row may be filled up with black.
        in_grid = min(count, IMAGES_IN_GRID, max(1, math.isqrt(MAX_PIXELS // tile) ** 2))
        return in_grid, min(flag_value(values, "columns") or math.ceil(math.sqrt(in_grid)), in_grid)
    cells = size[0] * size[1]
    if cells > count:
        raise UserError(
            f"--grid={size[0]}x{size[1]}: shows {cells:,} images, and {count:,} are generated; choose a smaller grid"
        )
    if cells * tile > MAX_PIXELS:
        raise UserError(
            f"--grid={size[0]}x{size[1]}: would have {cells * tile:,} pixels, at most {MAX_PIXELS:,}; show fewer images"
        )
    return cells, size[0]


def _plan(values: flags.FlagValues, model: Model, seeds: Seeds, *, format: str) -> Plan:
    """Return what is to be written.

    Raises:
        UserError: there is no such class, or --psi has no meaning for the model.
    """
    from pggan_jax.generation.class_names import file_part
    from pggan_jax.generation.image_writers import Plan

    number, psi, zoom = chosen_class(values, model), latent_factor(values, model), flag_value(values, "zoom")
    part = cache(lambda number: f"_{file_part(number, model.class_names)}" if model.label_size else "")
    suffix = "png" if format == "npz" else format
    height, width, channels = model.shape
    return Plan(
        seeds,
        classes_by_seed(model, number),
        name_of=lambda seed, number: f"seed{seed:04d}{part(number)}.{suffix}",
        has_labels=bool(model.label_size),
        shape=(height * zoom, width * zoom, channels),
        request={
            "seeds": seeds.describe(),
            "class": "of each seed" if number is None else number,
            "format": format,
            "zoom": zoom,
            "psi": psi,
            "kimg": model.kimg,
            "weights": model.digest,
        },
    )
