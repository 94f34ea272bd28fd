"""python launch.py sample --workdir=runs/digits --seeds=0-35 --out=samples

Generate images from a checkpoint: one PNG file per seed in the folder --out, and a grid of the first 100 beside it (samples.png
for samples/; --grid names another file). The folder holds nothing else, so that other tools can read it.

Example: python launch.py sample --workdir=runs/digits --class=7 --seeds=0-35 --zoom=4

The same seed and class give the same image; those of the training grids are in WORKDIR/grid.json. In a run with labels, seed n
shows class n modulo the number of classes (those without images are skipped), and file names include the class. --class=dog or
--class=2 selects one class by name or number; if a text is the name of one class and the number of another, write name:2 or
number:2.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from pggan_jax.cli.compilation_cache import define_compilation_cache_flag, use_compilation_cache
from pggan_jax.cli.shared_flags import DEFAULT_WORKDIR, existing_run, flag_value, folder, parse_seeds
from pggan_jax.errors import UserError

if TYPE_CHECKING:
    from pggan_jax.checkpointing.trained_model import TrainedModel
    from pggan_jax.images import ImageShape

FLAGS = flags.FlagValues()
flags.DEFINE_string("workdir", DEFAULT_WORKDIR, "folder of the run", flag_values=FLAGS)
flags.DEFINE_string("seeds", "0-35", "seeds of the images, as 0-35 or 3,5,80-99", flag_values=FLAGS)
flags.DEFINE_string("out", "samples", "folder for the PNG files; created if absent", flag_values=FLAGS)
flags.DEFINE_string("grid", None, "PNG file for a grid of the first 100 images (default: --out with .png)", flag_values=FLAGS)
flags.DEFINE_string(
    "checkpoint", "latest", "latest, best (as eval.best), or the kimg of one that `inspect` lists", flag_values=FLAGS
)
flags.DEFINE_enum("network", "ema", ["ema", "raw"], "the generator's moving average, or its current weights", flag_values=FLAGS)
flags.DEFINE_string(
    "class", None, "class to show, for runs with labels: NAME, NUMBER, name:NAME or number:N", flag_values=FLAGS
)
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
define_compilation_cache_flag(FLAGS)

IMAGES_IN_GRID = 100


def run(values: flags.FlagValues) -> None:
    """Write the images and print where."""
    seeds = parse_seeds(flag_value(values, "seeds"))
    workdir = existing_run(flag_value(values, "workdir"))
    out = folder("out", flag_value(values, "out"))
    grid_path = _grid_path(flag_value(values, "grid"), out)
    from tqdm import tqdm

    from pggan_jax.checkpointing.trained_model import load_trained_model
    from pggan_jax.generation.sampling import images_of_seeds
    from pggan_jax.images import make_grid, nearest_upscale
    from pggan_jax.system.own_output import claim_output

    use_compilation_cache(values)
    trained = load_trained_model(workdir, flag_value(values, "checkpoint"))
    choose, name_of = _classes(flag_value(values, "class"), trained)
    zoom = flag_value(values, "zoom")
    in_grid = _count_in_grid(len(seeds), trained.shape, values)
    claim_output("out", out, trained.config.data.source, command="sample")
    _make_folder(grid_path.parent, f"--grid={grid_path}")
    images = images_of_seeds(
        trained.sampler(),
        trained.state.generator_ema if flag_value(values, "network") == "ema" else trained.state.generator,
        seeds=seeds,
        classes=choose,
        alpha=trained.metadata.alpha,
    )
    with tqdm(total=len(seeds), desc="sampling", unit="img", delay=2, disable=None) as bar:
        zoomed = ((name_of(seed, number), nearest_upscale(image, zoom)) for seed, number, image in images)
        first = write_images(zoomed, out, keep=in_grid, progress=bar.update)
    columns = min(flag_value(values, "columns") or math.ceil(math.sqrt(len(first))), len(first))
    _write(
        grid_path,
        make_grid(np.stack(first), columns, gap=flag_value(values, "gap")),
        f"--grid={grid_path}",
        holds="generated images",
    )
    of_them = "all" if in_grid == len(seeds) else f"the first {in_grid}"
    others = sum(1 for path in out.iterdir() if not path.name.startswith(".")) - len(seeds)
    if others > 0:
        print(f"note: {out} holds {others:,} other files, which other tools would read as samples")
    kimg = trained.metadata.images_seen / 1000
    print(f"{len(seeds):,} images of {trained.shape} from kimg {kimg:g} -> {out}/ ({of_them} in {grid_path})")


def write_images(
    images: Iterable[tuple[str, np.ndarray]], out: Path, *, keep: int, progress: Callable[[int], object] = lambda _count: None
) -> list[np.ndarray]:
    """Write each image as it is generated, and return the first `keep`.

    Args:
        images: file name and uint8 `[height, width, channels]` of each.
        out: an existing folder.
        keep: how many to return.
        progress: called with 1 after each image.

    Raises:
        UserError: a file cannot be written.
    """
    first: list[np.ndarray] = []
    for name, image in images:
        if len(first) < keep:
            first.append(image)
        _write(out / name, image, f"--out={out}")
        progress(1)
        # Free it before the next one is generated.
        del image
    return first


def _grid_path(grid: str | None, out: Path) -> Path:
    """Return the path of the grid.

    Raises:
        UserError: the folder is the root of a disk, or the path is taken by a file that `sample` has not written.
    """
    if grid is not None:
        path = folder("grid", grid)
        if path.suffix.lower() != ".png":
            raise UserError(f"--grid={grid}: the output is a PNG file; choose a name that ends in .png")
        if path.resolve().parent == out.resolve():
            raise UserError(f"--grid={grid}: lies in --out={out}, which holds single images only; choose another folder")
        return path
    absolute = out.resolve()
    if not absolute.name:
        raise UserError(f"--out={out}: is the root of a disk; name a folder in it")
    path = out.with_name(f"{out.name}.png") if out.name not in ("", "..") else absolute.with_name(f"{absolute.name}.png")
    if path.exists() and not any(out.glob("seed*.png")):
        raise UserError(f"--out={out}: the grid would replace the existing {path}; name another file by --grid")
    return path


def _write(path: Path, image: np.ndarray, flag: str, *, holds: str = "") -> None:
    from pggan_jax.images import write_png

    try:
        write_png(path, image, holds=holds)
    except OSError as error:
        raise _cannot_be_written(flag, error) from None


def _make_folder(path: Path, flag: str) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_be_written(flag, error) from None


def _cannot_be_written(flag: str, error: OSError) -> UserError:
    return UserError(f"{flag}: cannot be written ({error.strerror}); choose a folder you may write to")


def _count_in_grid(seeds: int, shape: ImageShape, values: flags.FlagValues) -> int:
    """Return the number of images in the grid.

    Raises:
        UserError: a single image is too large to be written.
    """
    from pggan_jax.data.images.decode import MAX_PIXELS

    zoom, gap = flag_value(values, "zoom"), flag_value(values, "gap")
    height, width = zoom * shape.height, zoom * shape.width
    tile = (height + gap) * (width + gap)
    if tile > MAX_PIXELS:
        raise UserError(
            f"--zoom={zoom}: an image would have {height:,}x{width:,} pixels, at most {MAX_PIXELS:,} are written; "
            "choose a smaller --zoom"
        )
    # The last row may be filled up with black.
    return min(seeds, IMAGES_IN_GRID, max(1, int(math.sqrt(MAX_PIXELS // tile)) ** 2))


def _classes(
    wanted: str | None, trained: TrainedModel
) -> tuple[Callable[[Sequence[int]], np.ndarray], Callable[[int, int], str]]:
    """Return two functions: the classes of seeds, and the file name of a seed and its class."""
    from pggan_jax.generation.class_names import classes_of_seeds, file_part, find_class

    label_size, record = trained.metadata.label_size, trained.metadata.data_record
    if not label_size:
        if wanted is not None:
            raise UserError(f"--class={wanted[:40]}: this run was trained without labels; remove --class")
        return lambda seeds: np.zeros(len(seeds), np.int64), lambda seed, _number: f"seed{seed:04d}.png"
    names = record.class_names if record else ()
    present = record.present_classes if record else range(label_size)

    def name_of(seed: int, number: int) -> str:
        return f"seed{seed:04d}_{file_part(number, names)}.png"

    if wanted is None:
        return lambda seeds: classes_of_seeds(seeds, present), name_of
    number = find_class(wanted, names, count=label_size)
    if number not in present:
        print(
            f"WARNING: --class={wanted[:40]}: class {number} had no training images; the samples of it are meaningless",
            file=sys.stderr,
        )
    return lambda seeds: np.full(len(seeds), number), name_of
