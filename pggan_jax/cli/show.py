"""python launch.py show SOURCE --out=grid.png [FLAGS]

One picture of many images of a source with their labels below, to see what the program sees: upright, cropped, at the size it
would train with. Images that cannot be used are left blank and named.
"""

from __future__ import annotations

from absl import flags

from pggan_jax.cli.arguments import define_preparation_flags, folder, read_preparation
from pggan_jax.errors import UserError

ARGUMENTS = ("SOURCE",)
FLAGS = flags.FlagValues()
flags.DEFINE_string("out", "grid.png", "PNG file to write", flag_values=FLAGS)
define_preparation_flags(FLAGS, default_resolution=64)
flags.DEFINE_integer("columns", 8, "images in a row", flag_values=FLAGS, lower_bound=1, upper_bound=256)
flags.DEFINE_integer("rows", 6, "rows", flag_values=FLAGS, lower_bound=1, upper_bound=256)
flags.DEFINE_integer("first", 0, "number of the first image", flag_values=FLAGS, lower_bound=0)


def run(values: flags.FlagValues, source_name: str) -> int:
    """Write the picture and say where; 1 if some images could not be used."""
    out = folder("out", values["out"].value)
    preparation = read_preparation(values)
    from pggan_jax.data.showing import labelled_grid
    from pggan_jax.data.sources import open_source
    from pggan_jax.images import write_png

    source = open_source(source_name, resolution=preparation.resolution, channels=preparation.channels)
    preparation = preparation.for_source(source)
    order = preparation.order(len(source))
    first = values["first"].value
    if first >= len(order):
        raise UserError(f"--first={first}: {source.name} has {len(order):,} images; it must be less")
    shown = order[first : first + values["columns"].value * values["rows"].value]
    grid, problems = labelled_grid(source, shown, preparation.frame, columns=values["columns"].value)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_png(out, grid)
    for problem in problems:
        print(problem)
    print(f"{len(shown) - len(problems)} images of {len(order):,} -> {out}")
    return int(bool(problems))
