"""python launch.py edit --direction=sefa.npz:2 --seeds=0-3 --strength=-3:3:7

Draw images along a direction that `directions` has found: a row per seed, a column per strength. The latent of a seed, z,
becomes z + s v, scaled to its former length; v is the direction and s the strength. Repeat --direction to draw several.

Examples:
  python launch.py edit --from=runs/digits --direction=sefa.npz:sefa_0 --direction=sefa.npz:1 --class=3 --out=three.png
  python launch.py edit --from=runs/unlabelled --direction=classes.npz:class_7 --strength=0:8:5

--strength=FIRST:LAST:COUNT draws equal steps, --strength=-3,0,5 these values. Images of less than 48 pixels are enlarged;
--zoom=1 draws them at their own size.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from absl import flags

from pggan_jax.cli.model_flags import (
    chosen_classes,
    define_class_flag,
    define_model_flags,
    define_out_flag,
    open_model,
    output_file,
    write_image,
)
from pggan_jax.cli.shared_flags import flag_value, parse_seeds
from pggan_jax.cli.sheet_size import refuse_large_sheet
from pggan_jax.errors import UserError
from pggan_jax.system.paths import user_path

if TYPE_CHECKING:
    from pggan_jax.generation.editing.direction_files import Directions
    from pggan_jax.generation.model import Model

FLAGS = flags.FlagValues()
define_model_flags(FLAGS)
define_class_flag(FLAGS)
flags.DEFINE_multi_string(
    "direction", [], "FILE.npz:NUMBER or FILE.npz:NAME of a direction; repeat for more", flag_values=FLAGS
)
flags.DEFINE_string("seeds", "0-3", "seeds of the images, as 0-3 or 3,5,80-99", flag_values=FLAGS)
flags.DEFINE_string("strength", "-3:3:7", "FIRST:LAST:COUNT, or values such as -3,0,3", flag_values=FLAGS)
flags.DEFINE_integer(
    "zoom",
    None,
    "enlarge each pixel to a square of so many pixels (default: images have at least 48)",
    flag_values=FLAGS,
    lower_bound=1,
    upper_bound=64,
)
define_out_flag(FLAGS, "edit.png", "PNG file to write")

_LARGEST_STRENGTH, _MOST_STRENGTHS = 1000.0, 1000


class _Chosen(NamedTuple):
    """A direction and its name."""

    name: str
    direction: np.ndarray


def run(values: flags.FlagValues) -> None:
    """Write the sheet and print where."""
    seeds = parse_seeds(flag_value(values, "seeds"))
    strengths = parse_strengths(flag_value(values, "strength"))
    out = output_file(values, (".png",))
    if not flag_value(values, "direction"):
        raise UserError("--direction: is missing; name one of a file that `directions` has written, as --direction=FILE.npz:0")
    from tqdm import tqdm

    from pggan_jax.generation.editing.directions import moved
    from pggan_jax.generation.editing.sheets import labelled_rows, rows_shape, zoom_of
    from pggan_jax.images import nearest_upscale

    model = open_model(values)
    wanted = [_read(text) for text in flag_value(values, "direction")]
    chosen = [_choose(model, *one) for one in wanted]
    classes = chosen_classes(values, model)
    height, width, _ = model.shape
    zoom = flag_value(values, "zoom") or zoom_of(height, width)
    labels = [f"{name[:24]}\nseed {seed}" for name, _ in chosen for seed in seeds]
    refuse_large_sheet(
        rows_shape((height * zoom, width * zoom), labels, columns=len(strengths)),
        named="--direction, --seeds and --strength",
        advice="choose fewer of them, or a smaller --zoom",
    )
    rows = []
    with tqdm(total=len(labels), desc="drawing", unit="row", delay=2, disable=None) as bar:
        for _, direction in chosen:
            for seed in seeds:
                points = moved(model.latents([seed]), direction, strengths)[0]
                images = model.synthesize(points, classes([seed]).repeat(len(points)) if model.label_size else None)
                rows.append(nearest_upscale(images, zoom))
                bar.update(1)
    sheet = labelled_rows(rows, labels, above=[f"{strength:.4g}" for strength in strengths])
    write_image(out, sheet, f"--out={out}", holds="generated images")
    print(f"{len(rows)} rows of {len(strengths)} images of {model.name} -> {out}")


def parse_strengths(text: str) -> list[float]:
    """Parse FIRST:LAST:COUNT or values with commas.

    Raises:
        UserError: the text is neither.
    """
    first, *rest = text.split(":")
    try:
        if rest:
            last, count = rest
            numbers = np.linspace(float(first), float(last), int(count) if len(count) <= 4 else 0).tolist()
        else:
            numbers = [float(part) for part in text.split(",")]
    except (ValueError, TypeError):
        numbers = []
    is_usable = 1 <= len(numbers) <= _MOST_STRENGTHS and all(abs(number) <= _LARGEST_STRENGTH for number in numbers)
    if not is_usable:
        raise UserError(
            f"--strength={text}: must be FIRST:LAST:COUNT, such as -3:3:7, or values such as -3,0,3; each from -1000 to 1000, "
            f"at most {_MOST_STRENGTHS}"
        )
    return numbers


def _read(text: str) -> tuple[Directions, str, str]:
    """Read the file of FILE.npz:NAME: its content, NAME, and the flag.

    Raises:
        UserError: there is no such file, or no name.
    """
    from pggan_jax.generation.editing.direction_files import read_directions

    named = f"--direction={text}"
    # A name may contain colons, and so may a path.
    parts = [(text[:at], text[at + 1 :]) for at, one in enumerate(text) if one == ":"]
    for file, wanted in parts:
        path = user_path(file, named="--direction=", example="name a file")
        if path.is_file():
            return read_directions(path, named=f"--direction={file}"), wanted, named
    if text and user_path(text, named="--direction=", example="name a file").is_file():
        names = read_directions(Path(text).expanduser(), named=named).names
        raise UserError(f"{named}: names no direction; add a number or a name, as {text}:{names[0]}")
    raise UserError(f"{named}: no such file; give FILE.npz:NUMBER or FILE.npz:NAME of a file that `directions` has written")


def _choose(model: Model, found: Directions, wanted: str, named: str) -> _Chosen:
    from pggan_jax.generation.editing.direction_files import find_direction

    number = find_direction(found, wanted, named=named)
    if found.latent_size != model.latent_size:
        raise UserError(
            f"{named}: is for latents of size {found.latent_size}, and {model.name} has {model.latent_size}; find "
            "directions of this run with `directions`"
        )
    _warn_of_another_model(model, found, named)
    return _Chosen(found.names[number], found.directions[number])


def _warn_of_another_model(model: Model, found: Directions, named: str) -> None:
    """Print a line if the directions were found with other weights, where they may mean nothing."""
    if found.source.get("weights") != model.digest:
        there = ", ".join(f"{name} {found.source[name]}" for name in ("run", "kimg", "network") if name in found.source)
        print(f"WARNING: {named}: was found with {there}, and {model.name} has other weights", file=sys.stderr)
