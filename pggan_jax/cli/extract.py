"""python launch.py extract SOURCE --out=DIR [FLAGS]

Write the images of any source to DIR as PNG files img00000000.png ..., in its order, and dataset.json if there are labels, so
that folder:DIR gives the same images and labels again. Images keep their size. Of sound, prepared or not, it writes the clips
as WAV files of 32-bit floats, those of each class into a folder with its name, and sound:DIR reads them again.

Examples:
  python launch.py extract prepared:data/mine --out=images
  python launch.py extract notes:100 --out=sounds

Exit status 1 if some images could not be read.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from pggan_jax.cli.shared_flags import define_drawn_size_flag, flag_value, folder
from pggan_jax.cli.sound_flags import define_sound_flags, read_sound
from pggan_jax.config.fields import MAX_IMAGES
from pggan_jax.errors import UserError

if TYPE_CHECKING:
    from pggan_jax.data.sources.source import Source

ARGUMENTS = ("SOURCE",)
FLAGS = flags.FlagValues()
flags.DEFINE_string("out", None, "folder to write; must be absent or empty", flag_values=FLAGS)
define_drawn_size_flag(FLAGS)
define_sound_flags(FLAGS)
flags.DEFINE_integer(
    "max_images", 0, "write at most so many; 0 writes all", flag_values=FLAGS, lower_bound=0, upper_bound=MAX_IMAGES
)


def run(values: flags.FlagValues, source_name: str) -> int:
    """Write the files and print where; 1 if some images could not be read."""
    if flag_value(values, "out") is None:
        raise UserError("extract needs --out, such as --out=images")
    out = folder("out", flag_value(values, "out"))
    sound = read_sound(values, source_name)
    from pggan_jax.data.sounds.round_trip import is_sound
    from pggan_jax.data.sources.open_source import open_source
    from pggan_jax.system.files import write_atomically
    from pggan_jax.system.own_output import MARKER, claim_output

    size: dict[str, Any] = {"resolution": flag_value(values, "resolution")}
    source = open_source(source_name, **size | ({"sound": sound.config} if sound else {}))
    if out.exists() and (not out.is_dir() or any(path.name != MARKER for path in out.iterdir())):
        raise UserError(f"--out={out}: exists and is not an empty folder; choose another")
    claim_output("out", out, source_name, command="extract")
    count = min(len(source), flag_value(values, "max_images") or len(source))
    hears = is_sound(source)
    labels = _write_all(source, out, count=count, write=_write_clip if hears else _write_image)
    has_document = bool(source.class_names) and not hears
    if has_document:
        write_atomically(out / "dataset.json", json.dumps({"labels": labels}).encode())
    print(f"{len(labels):,} {'clips' if hears else 'images'}{', labels in dataset.json' if has_document else ''} -> {out}")
    return int(len(labels) < count)


def _write_all(source: Source, out: Path, *, count: int, write: Callable[[Source, int, Path], str]) -> list[tuple[str, int]]:
    """Write the first `count` items; return name and class of each that can be read."""
    from tqdm import tqdm

    from pggan_jax.data.images.decode import UnusableImageError

    written: list[tuple[str, int]] = []
    noun = "images" if write is _write_image else "clips"
    for index in tqdm(range(count), desc=f"extracting {source.name}", unit="img", delay=2, disable=None):
        try:
            written.append((write(source, index, out), source.label(index)))
        except UnusableImageError as error:
            tqdm.write(f"skipped {source.item_name(index)} {error}")
        except OSError as error:
            raise UserError(
                f"--out={out}: {error.strerror} after {len(written):,} {noun}; fix that, remove the folder and extract again"
            ) from None
    return written


def _write_image(source: Source, index: int, out: Path) -> str:
    from pggan_jax.data.images.preview import image_array
    from pggan_jax.images import write_png

    pixels, name = image_array(source.read(index)), f"img{index:08d}.png"
    write_png(out / name, pixels)
    return name


def _write_clip(source: Source, index: int, out: Path) -> str:
    from pggan_jax.data.sounds.round_trip import rate_of, wave_of
    from pggan_jax.sound.wave_files import write_wave

    wave, name = wave_of(source, index), f"clip{index:08d}.wav"
    folder_name = source.class_names[source.label(index)] if source.class_names else "."
    (out / folder_name).mkdir(exist_ok=True)
    write_wave(out / folder_name / name, wave, rate_of(source), as_float=True)
    return f"{folder_name}/{name}"
