"""python launch.py compare SOURCE_A SOURCE_B [--ignore_labels]

Compare two collections image by image, in their order, and print how many images have equal pixels and how many labels are
equal. Use it to verify prepared or converted data.

Example: python launch.py compare prepared:data/mine tfrecords:old

Writes no files. Exit status 0 if all are equal and both have the same number of images, else 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from absl import flags

from pggan_jax.cli.shared_flags import define_drawn_size_flag, flag_value

if TYPE_CHECKING:
    from pggan_jax.data.sources.source import Source

ARGUMENTS = ("SOURCE_A", "SOURCE_B")
FLAGS = flags.FlagValues()
flags.DEFINE_boolean("ignore_labels", False, "compare pixels only", flag_values=FLAGS)
define_drawn_size_flag(FLAGS)


def run(values: flags.FlagValues, *source_names: str) -> int:
    """Print the numbers; 1 if the sources differ."""
    from tqdm import tqdm

    from pggan_jax.data.images.preview import equal_images
    from pggan_jax.data.sources.open_source import open_source

    first, second = (open_source(name, resolution=flag_value(values, "resolution")) for name in source_names)
    common = min(len(first), len(second))
    images = labels = 0
    first_difference = None
    for index in tqdm(range(common), desc="comparing", unit="img", delay=2, disable=None):
        is_equal = equal_images(first, second, index=index)
        images += is_equal
        labels += _label(first, index) == _label(second, index)
        if not is_equal and first_difference is None:
            first_difference = index
    print(f"images  {images:,} of {common:,} are equal")
    if first_difference is not None:
        names = " and ".join(source.item_name(first_difference) for source in (first, second))
        print(f"        the first difference is at {first_difference}: {names}")
    is_same = images == common and len(first) == len(second)
    if not flag_value(values, "ignore_labels"):
        print(f"labels  {labels:,} of {common:,} are equal")
        is_same = is_same and labels == common
    if len(first) != len(second):
        print(f"length  {first.name} has {len(first):,} images, {second.name} has {len(second):,}")
    print("the same" if is_same else "different")
    return int(not is_same)


def _label(source: Source, index: int) -> int | None:
    """Class of an image, or None without labels, which is not equal to class 0."""
    return source.label(index) if source.class_names else None
