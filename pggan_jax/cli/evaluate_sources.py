"""Images that `evaluate` reads besides runs: those of other programs, and held-out reals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from pggan_jax.cli.shared_flags import folder
from pggan_jax.errors import UserError
from pggan_jax.images import fitting_base
from pggan_jax.metric_kinds import METRIC_KINDS

if TYPE_CHECKING:
    from pggan_jax.checkpointing.manager import Checkpoints
    from pggan_jax.config import DataConfig
    from pggan_jax.data.loader import Loader
    from pggan_jax.data.sources.source import Source
    from pggan_jax.images import ImageShape
    from pggan_jax.sound.representations import Representation


@contextmanager
def name_flag_in_errors(flag: str) -> Iterator[None]:
    """Put a flag before the message of each `UserError` raised in the `with` block."""
    from pggan_jax.data.open_loader import NoClassesError

    try:
        yield
    except NoClassesError:
        raise UserError(
            f"{flag}: has no classes, which this model was trained with; name images with a subfolder per class, or with a "
            "dataset.json"
        ) from None
    except UserError as error:
        raise UserError(f"{flag}: {error}") from None


def source_of_images(images: str) -> str:
    """Return `folder:DIR` or `zip:FILE` for the value of --images.

    Raises:
        UserError: the text is empty.
    """
    path = folder("images", images)
    return f"zip:{path}" if path.suffix.lower() == ".zip" and not path.is_dir() else f"folder:{path}"


def common_shape(wanted: int, source: Source, *, images: str) -> tuple[int, str]:
    """Return resolution and base shape at which images of another program are measured.

    Args:
        wanted: the resolution of square images; 0 takes the size that all images have.
        source: the images.
        images: the folder or archive, for messages.

    Raises:
        UserError: the resolution is not 4*2^k, or `wanted` is 0 and sizes differ or are those of no level.
    """
    from collections import Counter

    from tqdm import tqdm

    from pggan_jax.config.validation import is_resolution
    from pggan_jax.data.images.decode import UnusableImageError, open_image

    if wanted:
        if not is_resolution(wanted):
            raise UserError(f"--resolution={wanted}: must be 4*2^k, such as 64 or 128")
        return wanted, "4x4"
    sizes: Counter[tuple[int, int]] = Counter()
    for number in tqdm(range(len(source)), desc="reading sizes", unit="img", delay=2, leave=False, disable=None):
        # Images that cannot be read are reported when the loader reads them.
        with suppress(UnusableImageError):
            sizes[open_image(source.read(number)).size] += 1
    if not sizes:
        raise UserError(
            f"--images={images}: none of its {len(source):,} images can be read; see launch.py check {source_of_images(images)}"
        )
    (width, height), count = sizes.most_common(1)[0]
    if len(sizes) > 1:
        raise UserError(
            f"--images={images}: {sizes.total():,} images are of {len(sizes)} sizes, {count:,} of them {width}x{height}; "
            "to resize them all, give --resolution"
        )
    found = fitting_base(height, width)
    if found is None:
        raise UserError(
            f"--images={images}: the images are {width}x{height} pixels, which is not 4*2^k, nor a base shape such as 3x4 "
            "times 2^k; give --resolution"
        )
    base_shape, resolution = found
    return resolution, base_shape


def check_held_out(source: str | None, metrics: list[str]) -> None:
    """Refuse --held_out if no metric uses it.

    Raises:
        UserError: no metric uses it.
    """
    takers = [name for name, kind in METRIC_KINDS.items() if kind.uses_held_out]
    # An unknown metric has a message of its own.
    if source is not None and set(metrics) <= METRIC_KINDS.keys() - set(takers):
        raise UserError(
            f"--held_out={source}: has no effect on --metrics={','.join(metrics)}; add {' or '.join(takers)}, or remove it"
        )


def describe_reals(source: str, loader: Loader) -> str:
    """Say which images of a source are compared with: all, or those that a run was trained on."""
    count = loader.held_out_count
    return f"{source}, the {len(loader):,} images trained on, without {count:,} held out" if count else source


def recorded_scale(checkpoints: Checkpoints) -> Representation | None:
    """Return the representation that the newest readable checkpoint records; None for images."""
    from pggan_jax.checkpointing.metadata import read_metadata
    from pggan_jax.sound.representations import Representation

    for images_seen in reversed(checkpoints.all_images_seen()):
        metadata = read_metadata(checkpoints.directory / str(images_seen))
        # What is damaged is reported when the checkpoint is read.
        with suppress(ValueError):
            if metadata:
                return Representation.from_json(metadata.representation) if metadata.representation else None
    return None


def open_held_out(source: str | None, data: DataConfig, *, like: Loader) -> tuple[str, Loader] | None:
    """Open reals that were not used for training, prepared like `data`, without classes.

    Args:
        source: of the reals.
        data: settings of the training images.
        like: the training images.

    Returns:
        The source and its loader; None without a source.

    Raises:
        UserError: the source is that of `data`, cannot be read, or has too few images.
    """
    if source is None:
        return None
    from dataclasses import replace

    from pggan_jax.data.open_loader import open_loader
    from pggan_jax.evaluation.evaluator import MIN_IMAGES
    from pggan_jax.evaluation.image_sets import check_scale

    if source == data.source:
        raise UserError(
            f"--held_out={source}: is the source of the training images; give images that were not used for training"
        )
    wanted = replace(data.all_of(source), channels=like.channels, labels=False)
    with name_flag_in_errors(f"--held_out={source}"):
        loader = open_loader(wanted, seed=0, report=print, scale=like.representation)
    check_scale(loader, like.representation, named=f"--held_out={source}")
    if len(loader) < MIN_IMAGES:
        raise UserError(f"--held_out={source}: has {len(loader)} images; at least {MIN_IMAGES} are needed")
    return source, loader


def data_config_of(source: str | None, trained_on: DataConfig) -> DataConfig:
    """Return the settings of the reals, those of `source` if it is given."""
    return trained_on if source is None else trained_on.all_of(source)


def fitting(names: list[str], shape: ImageShape) -> list[str]:
    """Return the metrics that work for images of a shape, and print the others."""
    fitting = [name for name in names if name not in METRIC_KINDS or not METRIC_KINDS[name].problem_of(shape)]
    if len(fitting) < len(names):
        missing = ", ".join(name for name in names if name not in fitting)
        print(f"{shape}: too small for {missing}, skipped")
    return fitting


def refuse_metrics_of_models(metrics: list[str], *, images: str) -> None:
    """Refuse metrics that cannot measure images alone.

    Raises:
        UserError: there is one.
    """
    for name in metrics:
        if name in METRIC_KINDS and METRIC_KINDS[name].needs_model:
            raise UserError(f"--images={images}: {name} measures the networks of a run; remove --images and give --workdir")
