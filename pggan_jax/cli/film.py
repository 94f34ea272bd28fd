"""python launch.py film --from=runs/digits --kind=loop --out=loop.webp

Write a film of a trained model: MP4 (H.264; needs pip install -r requirements-optional.txt), GIF, WebP or animated PNG, by the
suffix of --out.

  --kind=walk      from the image of one seed to the next, on a sphere; --seeds=1,5,9 --closed goes back to the first
  --kind=loop      a random loop without a seam: noise, smoothed over --smooth seconds
  --kind=grid      several such loops side by side: --grid=4x3
  --kind=growth    the images of some seeds while the network was trained, from 4x4 to the last resolution
  --kind=training  the sample grids of the run, with kimg, resolution, alpha and time of training

Examples:
  python launch.py film --from=runs/digits --kind=walk --seeds=1,5,9 --closed --seconds=6 --out=walk.gif
  python launch.py film --from=runs/digits --kind=walk --seeds=3,3,3 --class=1,7,4 --out=classes.webp
  python launch.py film --from=runs/digits --kind=training --grid=6x5 --seconds=8 --out=training.mp4

In a run with labels, seed n shows class n modulo the number of classes, as in `sample`; a walk interpolates the labels too.
Images that are less than 256 pixels high are enlarged; --zoom=1 keeps their size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from absl import flags

from pggan_jax.cli.compilation_cache import use_compilation_cache
from pggan_jax.cli.model_flags import (
    cannot_be_written,
    class_number,
    define_class_flag,
    define_model_flags,
    define_out_flag,
    make_parent,
    open_model,
    output_file,
)
from pggan_jax.cli.shared_flags import define_float, flag_value, parse_seeds
from pggan_jax.errors import UserError

if TYPE_CHECKING:
    from pggan_jax.cli.film_images import RunImages
    from pggan_jax.generation.model import Model

_KINDS = ("walk", "loop", "grid", "growth", "training")
_USED_BY = {
    "seeds": ("walk", "loop", "grid", "growth"),
    "class": ("walk", "loop", "grid", "growth"),
    "closed": ("walk",),
    "smooth": ("loop", "grid"),
    "grid": ("grid", "training"),
    "checkpoint": ("walk", "loop", "grid"),
    "network": ("walk", "loop", "grid", "growth"),
}
_SEEDS = {"walk": "0-4", "loop": "0", "grid": "0", "growth": "0-3", "training": "0"}
_MOST_GROWING = 64
_WIDEST_ROW = 6
_PART_WIDTH = 80
"""Pixels for each part of a text, at least."""

FLAGS = flags.FlagValues()
flags.DEFINE_enum("kind", "loop", _KINDS, "what the film shows, see above", flag_values=FLAGS)
define_model_flags(FLAGS)
flags.DEFINE_string(
    "seeds",
    None,
    "walk: at least two, in the order of the walk (default: 0-4); growth: the images shown (0-3); loop, grid: one seed (0)",
    flag_values=FLAGS,
)
define_class_flag(FLAGS, "class of all images, or one class per seed or loop separated by commas")
flags.DEFINE_boolean("closed", False, "walk: go from the last seed back to the first, without a seam", flag_values=FLAGS)
define_float(
    "smooth",
    None,
    "loop, grid: seconds over which the noise is smoothed; more is slower (default: 1, or an eighth of a short film)",
    lowest=0.01,
    highest=3600,
    values=FLAGS,
)
flags.DEFINE_string(
    "grid",
    None,
    "COLUMNSxROWS; grid: loops side by side (default: 4x3); training: only the top left of the sample grids",
    flag_values=FLAGS,
)
define_float("seconds", 10.0, "length of the film", lowest=0.1, highest=3600, values=FLAGS)
flags.DEFINE_integer("fps", 30, "frames per second", flag_values=FLAGS, lower_bound=1, upper_bound=120)
flags.DEFINE_integer(
    "zoom",
    None,
    "enlarge each pixel to a square of so many pixels (default: until the film is 256 pixels high)",
    flag_values=FLAGS,
    lower_bound=1,
    upper_bound=64,
)
flags.DEFINE_integer(
    "colors",
    None,
    "colours of each frame of a GIF; fewer make it smaller (default: 32 levels of grey, 256 colours)",
    flag_values=FLAGS,
    lower_bound=2,
    upper_bound=256,
)
define_out_flag(FLAGS, "film.webp", "file to write: .mp4, .gif, .webp, or .png for an animated PNG")


class _Film(NamedTuple):
    """Frames, their size, and what they show."""

    frames: Iterator[np.ndarray]
    height: int
    width: int
    origin: str


def run(values: flags.FlagValues) -> None:
    """Write the film and print where."""
    from pggan_jax.generation.films.encoding import SUFFIXES, require_format, stored_size, write_film

    kind, fps = flag_value(values, "kind"), flag_value(values, "fps")
    _require_fitting_flags(values, kind)
    path = output_file(values, SUFFIXES)
    if values["colors"].present and path.suffix.lower() != ".gif":
        raise UserError(f"--colors: has no effect on {path.suffix}, which has all colours; remove it, or write .gif")
    remark = require_format(path.suffix.lower(), fps)
    frames = max(2, round(flag_value(values, "seconds") * fps))
    film = _of_run(values, frames) if kind in ("growth", "training") else _of_latents(values, frames)
    from tqdm import tqdm

    make_parent(path, f"--out={flag_value(values, 'out')}")
    with tqdm(film.frames, total=frames, desc="film", unit="frame", delay=2, disable=None) as shown:
        try:
            write_film(path, shown, fps=fps, colors=flag_value(values, "colors"))
        except OSError as error:
            raise cannot_be_written(f"--out={flag_value(values, 'out')}", error) from None
    if remark:
        print(f"note: {remark}")
    height, width = stored_size(path.suffix.lower(), film.height, film.width)
    print(
        f"{frames / fps:g} s at {fps} frames per second, {height}x{width} pixels, {film.origin} -> {path} "
        f"({path.stat().st_size / 1e6:.3g} MB)"
    )


def _require_fitting_flags(values: flags.FlagValues, kind: str) -> None:
    """Refuse flags that the kind of film does not use."""
    for name, kinds in _USED_BY.items():
        if values[name].present and kind not in kinds:
            raise UserError(f"--{name}: has no effect on --kind={kind}; remove it, or choose --kind={' or '.join(kinds)}")


def _of_latents(values: flags.FlagValues, frames: int) -> _Film:
    """Return a walk, a loop, or a grid of loops."""
    from pggan_jax.generation.films.frames import loop_frames, viewable, walk_frames
    from pggan_jax.generation.walks import Loop, Walk
    from pggan_jax.images import nearest_upscale

    kind, seeds = flag_value(values, "kind"), _seeds(values, frames)
    columns, rows = _columns_and_rows(values, "4x3") if kind == "grid" else (1, 1)
    sigma = 0.0 if kind == "walk" else _smoothing(values, frames) * flag_value(values, "fps")
    model = open_model(values)
    height, width = model.shape[0] * rows, model.shape[1] * columns
    zoom = _zoom(values, height, width)
    if kind == "walk":
        walk = Walk(model.latents(seeds), _labels(values, model, seeds), frames, closed=flag_value(values, "closed"))
        images, origin = walk_frames(model, walk), f"{len(seeds)} seeds"
    else:
        count = columns * rows
        loop = Loop(frames, count, model.latent_size, sigma, seed=seeds[0])
        labels = _labels(values, model, range(seeds[0], seeds[0] + count))
        images = loop_frames(model, loop, labels=labels, columns=columns)
        origin = "a closed loop" if count == 1 else f"{count} closed loops"
    shown = (nearest_upscale(viewable(image), zoom) for image in images)
    return _Film(shown, height * zoom, width * zoom, f"{origin} of {model.name} at kimg {model.kimg:g}")


def _of_run(values: flags.FlagValues, frames: int) -> _Film:
    """Return a film of how a run went."""
    from pggan_jax.checkpointing.open_model import is_model_file, split_source
    from pggan_jax.generation.films.frames import add_caption, caption_height, show_in_turn, viewable
    from pggan_jax.images import nearest_upscale

    source, kind = flag_value(values, "from"), flag_value(values, "kind")
    if is_model_file(source):
        raise UserError(f"--from={source}: is a model file, and --kind={kind} shows a run; give its workdir, or --kind=walk")
    workdir, checkpoint = split_source(source, named="--from=")
    if checkpoint:
        raise UserError(f"--from={source}: names one checkpoint, and --kind={kind} shows the whole run; give {workdir}")
    found = _growth(values, workdir) if kind == "growth" else _training(values, workdir)
    zoom = _zoom(values, found.height, found.width, parts=found.parts)
    height, width = found.height * zoom, found.width * zoom
    images = (add_caption(nearest_upscale(viewable(image), zoom), parts) for image, parts in found.images)
    shown = show_in_turn(images, found.count, frames=frames, fps=flag_value(values, "fps"))
    return _Film(shown, height + caption_height(height, width, found.parts), width, found.origin)


def _training(values: flags.FlagValues, workdir: Path) -> RunImages:
    from pggan_jax.cli.film_images import SampleGridFiles

    part = None if flag_value(values, "grid") is None else _columns_and_rows(values, "")
    return SampleGridFiles(workdir).whole(part)


def _growth(values: flags.FlagValues, workdir: Path) -> RunImages:
    """Return images by the checkpoints; of checkpoints of one resolution, from the sample grids."""
    from pggan_jax.cli.film_images import CheckpointImages, SampleGridFiles

    seeds = _seeds(values, _MOST_GROWING)
    columns = len(seeds) if len(seeds) <= _WIDEST_ROW else math.ceil(math.sqrt(len(seeds)))
    use_compilation_cache(values)
    network = flag_value(values, "network")
    checkpoints = CheckpointImages(workdir, network=network)
    shows_only_checkpoints = network != "ema" or flag_value(values, "class") is not None
    if checkpoints.has_growth and checkpoints.has_levels_alone and not shows_only_checkpoints:
        with suppress(UserError):  # the grids of every tick, where they have the seeds
            return SampleGridFiles(workdir).of_seeds(seeds, columns)
    if checkpoints.has_growth:
        return checkpoints.of_seeds(seeds, _labels(values, checkpoints.newest, seeds), columns)
    height, width, _ = checkpoints.newest.shape
    lack = f"{workdir} keeps checkpoints of one resolution, {height}x{width} (run.keep_every_kimg keeps more)"
    if shows_only_checkpoints:
        raise UserError(
            f"--kind=growth: {lack}, and its sample grids show no other class or network; remove --class and --network"
        )
    try:
        found = SampleGridFiles(workdir).of_seeds(seeds, columns)
    except UserError as error:
        raise UserError(f"--kind=growth: {error}; {lack}") from None
    print(f"note: {lack}; the images are cut out of the sample grids")
    return found


def _seeds(values: flags.FlagValues, most: int) -> list[int]:
    kind, text = flag_value(values, "kind"), flag_value(values, "seeds")
    seeds = parse_seeds(_SEEDS[kind] if text is None else text)
    if kind == "walk" and len(seeds) < 2:
        raise UserError(
            f"--seeds={text}: a walk needs at least two seeds, such as 1,5,9; for one image that moves, take --kind=loop"
        )
    if kind in ("loop", "grid") and len(seeds) != 1:
        raise UserError(f"--seeds={text}: --kind={kind} takes one seed, of its noise; give one, or take --kind=walk")
    if len(seeds) > most:
        reason = "the frames of this film; choose more --seconds, or" if kind == "walk" else f"{most}, as many as are shown;"
        raise UserError(f"--seeds={text}: {len(seeds):,} seeds are more than {reason} fewer seeds")
    return list(seeds)


def _labels(values: flags.FlagValues, model: Model, seeds: range | list[int]) -> np.ndarray:
    """One-hot labels `[seeds, label_size]` of --class; by default of the seeds' classes."""
    from pggan_jax.generation.class_names import classes_of_seeds

    wanted = flag_value(values, "class")
    if wanted is None:
        return model.one_hot(classes_of_seeds(seeds, model.present_classes), count=len(seeds))
    words = [wanted] if wanted in model.class_names else wanted.split(",")
    numbers = [class_number(word, model) for word in words]
    if len(numbers) not in (1, len(seeds)):
        raise UserError(f"--class={wanted}: {len(numbers)} classes for {len(seeds)} images; give one, or one per image")
    return model.one_hot(np.resize(numbers, len(seeds)), count=len(seeds))


def _columns_and_rows(values: flags.FlagValues, default: str) -> tuple[int, int]:
    from pggan_jax.images import parse_columns_rows

    text = flag_value(values, "grid") or default
    try:
        return parse_columns_rows(text)
    except ValueError as error:
        raise UserError(f"--grid={text}: {error}") from None


def _smoothing(values: flags.FlagValues, frames: int) -> float:
    """Return seconds over which the noise of a loop is smoothed."""
    seconds, wanted = frames / flag_value(values, "fps"), flag_value(values, "smooth")
    if wanted is None:
        return min(1.0, seconds / 8)
    if wanted > seconds / 4:
        raise UserError(
            f"--smooth={wanted:g}: must be at most a quarter of the film, here {seconds / 4:g} s, as it hardly moves else; "
            "choose less, or more --seconds"
        )
    return wanted


def _zoom(values: flags.FlagValues, height: int, width: int, *, parts: int = 0) -> int:
    """Return the factor of enlargement of frames with so many parts of text; check their size."""
    from pggan_jax.generation.films.encoding import require_frame_size
    from pggan_jax.generation.films.frames import caption_height, default_zoom

    zoom = flag_value(values, "zoom") or default_zoom(height, width, lowest_width=max(1, parts * _PART_WIDTH))
    height, width = height * zoom, width * zoom
    band = caption_height(height, width, parts) if parts else 0
    require_frame_size(height + band, width, advice="choose a smaller --zoom or --grid")
    return zoom
