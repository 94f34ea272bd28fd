"""python launch.py extract SOURCE --out=DIR [FLAGS]

Write the images of any source to DIR as PNG files img00000000.png ..., in its order, and dataset.json if there are labels, so
that folder:DIR gives the same images and labels again. Images keep their size.

Example: python launch.py extract prepared:data/mine --out=images

Exit status 1 if some images could not be read.
"""

from __future__ import annotations

import json

from absl import flags

from pggan_jax.cli.shared_flags import define_drawn_size_flag, flag_value, folder
from pggan_jax.config import MAX_IMAGES
from pggan_jax.errors import UserError

ARGUMENTS = ("SOURCE",)
FLAGS = flags.FlagValues()
flags.DEFINE_string("out", None, "folder to write; must be absent or empty", flag_values=FLAGS)
define_drawn_size_flag(FLAGS)
flags.DEFINE_integer(
    "max_images", 0, "write at most so many; 0 writes all", flag_values=FLAGS, lower_bound=0, upper_bound=MAX_IMAGES
)


def run(values: flags.FlagValues, source_name: str) -> int:
    """Write the files and print where; 1 if some images could not be read."""
    if flag_value(values, "out") is None:
        raise UserError("extract needs --out, such as --out=images")
    out = folder("out", flag_value(values, "out"))
    from tqdm import tqdm

    from pggan_jax.data.images.decode import UnusableImageError
    from pggan_jax.data.images.preview import image_array
    from pggan_jax.data.sources.open_source import open_source
    from pggan_jax.images import write_png
    from pggan_jax.system.files import write_atomically
    from pggan_jax.system.own_output import MARKER, claim_output

    source = open_source(source_name, resolution=flag_value(values, "resolution"))
    if out.exists() and (not out.is_dir() or any(path.name != MARKER for path in out.iterdir())):
        raise UserError(f"--out={out}: exists and is not an empty folder; choose another")
    claim_output("out", out, source_name, command="extract")
    count = min(len(source), flag_value(values, "max_images") or len(source))
    labels: list[list[str | int]] = []
    unusable = 0
    for index in tqdm(range(count), desc=f"extracting {source.name}", unit="img", delay=2, disable=None):
        try:
            pixels = image_array(source.read(index))
        except UnusableImageError as error:
            unusable += 1
            tqdm.write(f"skipped {source.item_name(index)} {error}")
            continue
        name = f"img{index:08d}.png"
        try:
            write_png(out / name, pixels)
        except OSError as error:
            raise UserError(
                f"--out={out}: {error.strerror} after {len(labels):,} images; fix that, remove the folder and extract again"
            ) from None
        labels.append([name, source.label(index)])
    if source.class_names:
        write_atomically(out / "dataset.json", json.dumps({"labels": labels}).encode())
    print(f"{count - unusable:,} images{', labels in dataset.json' if source.class_names else ''} -> {out}")
    return int(unusable > 0)
