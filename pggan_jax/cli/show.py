"""python launch.py show SOURCE --out=grid.png [FLAGS]

Write a grid of images of a collection with their labels, as training would use them: upright, cropped and resized. Small images
are enlarged. Images that cannot be used are left blank and listed.

Of sound it writes a grid of spectrograms (time to the right, low notes at the bottom; brightness is the magnitude, hue the
instantaneous frequency), and beside it a .wav: each clip before and after its round trip through a training image, one after
another. The settings sound.* are those of --config and --set. A clip of a prepared folder is heard as its images sound.

Examples:
  python launch.py show zip:faces.zip --out=grid.png --shuffle_seed=1
  python launch.py show sound:~/samples --out=samples.wav --columns=4 --rows=4
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from pggan_jax.cli.shared_flags import define_preparation_flags, flag_value, folder, read_base_shape, read_preparation
from pggan_jax.cli.sound_flags import define_sound_flags, read_sound
from pggan_jax.config.fields import MAX_IMAGES
from pggan_jax.errors import UserError

if TYPE_CHECKING:
    from pggan_jax.data.sources.source import Source

ARGUMENTS = ("SOURCE",)
FLAGS = flags.FlagValues()
flags.DEFINE_string("out", "grid.png", "PNG file to write; of sound also NAME.wav", flag_values=FLAGS)
define_preparation_flags(FLAGS)
define_sound_flags(FLAGS)
flags.DEFINE_integer("columns", 8, "images in a row", flag_values=FLAGS, lower_bound=1, upper_bound=256)
flags.DEFINE_integer("rows", 6, "rows", flag_values=FLAGS, lower_bound=1, upper_bound=256)
flags.DEFINE_integer("first", 0, "number of the first image", flag_values=FLAGS, lower_bound=0, upper_bound=MAX_IMAGES)


_LARGEST_UNASKED = 64


def run(values: flags.FlagValues, source_name: str) -> int:
    """Write the grid and print where; 1 if some images could not be used."""
    sound = read_sound(values, source_name)
    out = folder("out", flag_value(values, "out"))
    from pggan_jax.data.checking.pixel_range import resolve_range
    from pggan_jax.data.images.decode import MAX_PIXELS
    from pggan_jax.data.images.preview import fitting_resolution, grid_shape, labelled_grid
    from pggan_jax.data.sounds.round_trip import is_sound
    from pggan_jax.data.sources.open_source import open_source
    from pggan_jax.images import write_png
    from pggan_jax.system.own_output import claim_output

    given = flag_value(values, "resolution")
    base_shape, channels = read_base_shape(values), flag_value(values, "channels")
    size: dict[str, Any] = {"resolution": given or 0, "base_shape": base_shape, "channels": channels}
    source = open_source(source_name, **size | ({"sound": sound.config} if sound else {}))
    _check_file(out, is_sound=is_sound(source))
    if is_sound(source):
        return _show_sound(values, source_name, source)
    resolution = given if given is not None else fitting_resolution(source, at_most=_LARGEST_UNASKED)
    preparation = read_preparation(values, resolution=resolution).for_source(source)
    preparation = resolve_range(source, preparation)
    order = preparation.order(len(source))
    first, columns, rows = (flag_value(values, name) for name in ("first", "columns", "rows"))
    if first >= len(order):
        raise UserError(f"--first={first}: {source.name} has {len(order):,} images; it must be less")
    shown = order[first : first + columns * rows]
    height, width = grid_shape(len(shown), preparation.target, columns=columns)
    if height * width > MAX_PIXELS:
        raise UserError(
            f"--columns={columns} --rows={rows}: the grid would have {width:,}x{height:,} "
            f"pixels, at most {MAX_PIXELS:,} are written; choose fewer, or a lower --resolution"
        )
    try:
        # Before the work, so that a folder that cannot be written is reported at once.
        claim_output("out", out.parent, source_name, command="show")
        grid, problems = labelled_grid(source, shown, target=preparation.target, columns=columns)
        write_png(out, grid, holds="several images")
    except OSError as error:
        raise UserError(f"--out={out}: cannot be written ({error.strerror}); choose a folder you may write to") from None
    for problem in problems:
        print(problem)
    print(f"{len(shown) - len(problems)} images of {len(order):,} -> {out}")
    return int(bool(problems))


def _check_file(out: Path, *, is_sound: bool) -> None:
    """Raise a UserError if the output cannot have this name."""
    if out.suffix.lower() not in ((".png", ".wav") if is_sound else (".png",)):
        what = "outputs are a PNG and a WAV file" if is_sound else "output is a PNG file"
        raise UserError(f"--out={out}: the {what}; choose a name that ends in {'.wav' if is_sound else '.png'}")
    if out.is_dir():
        raise UserError(f"--out={out}: is a folder; name a file in it")


def _show_sound(values: flags.FlagValues, source_name: str, source: Source) -> int:
    """Write picture and wave of some clips; return 1 if some cannot be used."""
    from pggan_jax.cli.show_sound import read_shown, write_shown
    from pggan_jax.data.preparation.spec import PreparationSpec
    from pggan_jax.system.own_output import claim_output

    out = folder("out", flag_value(values, "out"))
    limits = {name: flag_value(values, name) for name in ("max_images", "shuffle_seed")}
    order = PreparationSpec(4, **limits).order(len(source))
    first, columns, rows = (flag_value(values, name) for name in ("first", "columns", "rows"))
    if first >= len(order):
        raise UserError(f"--first={first}: {source.name} has {len(order):,} clips; it must be less")
    shown = read_shown(source, order[first : first + columns * rows])
    for problem in shown.problems:
        print(problem)
    if not shown.copies:
        raise UserError(f"{source.name}: none of {len(shown.problems):,} clips can be used, so there is nothing to show")
    try:
        claim_output("out", out.parent, source_name, command="show")
        print(write_shown(shown, out, columns=columns))
    except OSError as error:
        raise UserError(f"--out={out}: cannot be written ({error.strerror}); choose a folder you may write to") from None
    return int(bool(shown.problems))
