"""What `evaluate` reads besides runs: images of other programs, and reals that were not trained on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from pggan_jax.errors import UserError
from pggan_jax.metric_kinds import METRIC_KINDS

if TYPE_CHECKING:
    from pggan_jax.config import DataConfig
    from pggan_jax.data.loader import Loader
    from pggan_jax.data.sources.source import Source


@contextmanager
def name_flag_in_errors(flag: str) -> Iterator[None]:
    """Put the flag that has named a source before what is wrong with it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{flag}: {error}") from None


def common_side(wanted: int, source: Source, images: str) -> int:
    """Side at which images of another program are judged: the one that all of them have, unless another is wanted.

    Raises:
        UserError: it is none, or they differ and nothing is wanted.
    """
    from collections import Counter

    from tqdm import tqdm

    from pggan_jax.config_validation import is_resolution
    from pggan_jax.data.images.decode import UnusableImageError, open_image

    if wanted:
        if not is_resolution(wanted):
            raise UserError(f"--resolution={wanted}: must be 4*2^k, such as 64 or 128")
        return wanted
    sizes: Counter[tuple[int, int]] = Counter()
    for number in tqdm(range(len(source)), desc="reading sizes", unit="img", delay=2, leave=False, disable=None):
        # What cannot be read is told, and left out, when all are.
        with suppress(UnusableImageError):
            sizes[open_image(source.read(number)).size] += 1
    if not sizes:
        raise UserError(
            f"--images={images}: none of its {len(source):,} images can be read; see launch.py check folder:{images}"
        )
    (width, height), count = sizes.most_common(1)[0]
    if len(sizes) > 1:
        raise UserError(
            f"--images={images}: {sizes.total():,} images are of {len(sizes)} sizes, {count:,} of them {width}x{height}; "
            "to resize them all, give --resolution"
        )
    if width != height or not is_resolution(height):
        raise UserError(f"--images={images}: the images are {width}x{height} pixels, which is not 4*2^k; give --resolution")
    return height


def check_held_out(source: str | None, metrics: list[str]) -> None:
    """Refuse --held_out where nothing asks for it.

    Raises:
        UserError: no metric does.
    """
    takers = [name for name, kind in METRIC_KINDS.items() if kind.uses_held_out]
    # What is no metric at all has a message of its own.
    if source is not None and set(metrics) <= METRIC_KINDS.keys() - set(takers):
        raise UserError(
            f"--held_out={source}: is of no use to --metrics={','.join(metrics)}; add {' or '.join(takers)}, or leave it out"
        )


def open_held_out(source: str | None, data: DataConfig, channels: int) -> tuple[str, Loader] | None:
    """Reals that were not trained on, by their source: prepared as `data` has the others, all of them, without classes.

    Raises:
        UserError: they cannot be compared with the others.
    """
    if source is None:
        return None
    from dataclasses import replace

    from pggan_jax.data.open_loader import open_loader
    from pggan_jax.evaluation.evaluator import MIN_IMAGES

    if source == data.source:
        raise UserError(f"--held_out={source}: these are the reals themselves; name images that were not trained on")
    wanted = replace(data, source=source, channels=channels, labels=False, max_images=0, shuffle_seed=-1)
    with name_flag_in_errors(f"--held_out={source}"):
        loader = open_loader(wanted, seed=0, report=print)
    if len(loader) < MIN_IMAGES:
        raise UserError(f"--held_out={source}: has {len(loader)} images; {MIN_IMAGES} or more are needed")
    return source, loader
