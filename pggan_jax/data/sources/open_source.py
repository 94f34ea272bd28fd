"""Open the source that the setting `data.source` names.

A new kind of source is a class with the members of `Source`, an entry in `pggan_jax/source_kinds.py`, and one in `_OPENERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pggan_jax.config.sound import SoundConfig
from pggan_jax.data.sources.source import Source
from pggan_jax.errors import UserError
from pggan_jax.images import BASE_SHAPE, ImageShape, image_shape
from pggan_jax.source_kinds import parse_source

DEFAULT_SOUND = SoundConfig()
_DRAWN_SIDE = 64


@dataclass(frozen=True)
class Wanted:
    """What a source that generates or chooses its images is asked for.

    Attributes:
        shape: of the images; empty for the default.
        channels: of the images; 0 for the default.
        sound: how sound becomes images.
    """

    shape: ImageShape
    channels: int
    sound: SoundConfig


def open_source(
    spec: str,
    *,
    resolution: int = 0,
    base_shape: tuple[int, int] = BASE_SHAPE,
    channels: int = 0,
    sound: SoundConfig = DEFAULT_SOUND,
) -> Source:
    """Open the source that `data.source` names and check it without decoding images.

    Args:
        spec: one of the forms in `source_kinds.SOURCE_KINDS`.
        resolution: nominal resolution of images that are generated (digits, photos, synthetic), and the level that tfrecords
            and prepared open; 0 takes their default. Other sources have images of fixed sizes.
        base_shape: height and width of generated images at the resolution 4.
        channels: of generated images; 0 takes the default.
        sound: how sound becomes images.

    Raises:
        UserError: the source does not exist or cannot be read.
    """
    return _open(spec, Wanted(image_shape(resolution, base_shape), channels, sound))


def _open(spec: str, wanted: Wanted) -> Source:
    try:
        kind, argument = parse_source(spec)
    except ValueError as error:
        raise UserError(f"source {spec!r}: {error}") from None
    return _OPENERS[kind](argument, wanted)


def _drawn_size(shape: ImageShape) -> dict[str, int]:
    """Height and width of generated images; the default for an empty shape."""
    return {"height": shape.height or _DRAWN_SIDE, "width": shape.width or _DRAWN_SIDE}


def _square_level(shape: ImageShape) -> int:
    """Side of the smallest square file that the shape can be cut from; 0 for an empty shape."""
    return shape.resolution if shape.is_nominal else 1 << (max(shape.height, shape.width) - 1).bit_length()


# Modules are imported on use: some import large packages, and most runs use one source.
def _digits(argument: str, wanted: Wanted) -> Source:
    from pggan_jax.data.sources.builtin import DigitsSource

    return DigitsSource(**_drawn_size(wanted.shape))


def _photos(argument: str, wanted: Wanted) -> Source:
    from pggan_jax.data.sources.builtin import PhotosSource

    return PhotosSource(**_drawn_size(wanted.shape))


def _folder(argument: str, wanted: Wanted) -> Source:
    from pggan_jax.data.sources.folder import FolderSource

    return FolderSource(argument)


def _zip(argument: str, wanted: Wanted) -> Source:
    from pggan_jax.data.sources.zip import ArchiveSource

    return ArchiveSource(argument)


def _tfds(argument: str, wanted: Wanted) -> Source:
    from pggan_jax.data.sources.tfds import TfdsSource

    return TfdsSource(argument)


def _tfrecords(argument: str, wanted: Wanted) -> Source:
    from pggan_jax.data.sources.record_images import open_tfrecords

    return open_tfrecords(argument, resolution=_square_level(wanted.shape))


def _stacked(argument: str, wanted: Wanted) -> Source:
    from pggan_jax.data.sources.synthetic import StackedSource

    inner = _open(argument, replace(wanted, channels=0))
    if getattr(inner, "representation", None):
        raise UserError(f"source 'stacked:{argument}': stacks images, and {inner.name} holds sound; use a source of images")
    return StackedSource(inner)


def _synthetic(argument: str, wanted: Wanted) -> Source:
    from pggan_jax.data.sources.synthetic import SyntheticSource

    return SyntheticSource(argument, channels=wanted.channels or 3, **_drawn_size(wanted.shape))


def _prepared(argument: str, wanted: Wanted) -> Source:
    from pggan_jax.data.preparation.prepared_folder import PreparedSource

    return PreparedSource(argument, resolution=wanted.shape.resolution)


def _notes(argument: str, wanted: Wanted) -> Source:
    from pggan_jax.data.sounds.open_waves import open_notes

    return open_notes(argument, wanted.sound)


def _sound(argument: str, wanted: Wanted) -> Source:
    from pggan_jax.data.sounds.open_waves import open_sound

    return open_sound(argument, wanted.sound)


_OPENERS: dict[str, Callable[[str, Wanted], Source]] = {
    "digits": _digits,
    "photos": _photos,
    "folder": _folder,
    "zip": _zip,
    "tfds": _tfds,
    "tfrecords": _tfrecords,
    "prepared": _prepared,
    "stacked": _stacked,
    "synthetic": _synthetic,
    "notes": _notes,
    "sound": _sound,
}
