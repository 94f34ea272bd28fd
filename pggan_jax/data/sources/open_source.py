"""Open the source that the setting `data.source` names.

A new kind of source is a class with the members of `Source`, an entry in `pggan_jax/source_kinds.py`, and one in `_OPENERS`.
"""

from __future__ import annotations

from collections.abc import Callable

from pggan_jax.data.sources.source import Source
from pggan_jax.errors import UserError
from pggan_jax.source_kinds import parse_source

_DRAWN_RESOLUTION = 64


def open_source(spec: str, *, resolution: int = 0, channels: int = 0) -> Source:
    """Open the source that `data.source` names and check it without decoding images.

    Args:
        spec: one of the forms in `source_kinds.SOURCE_KINDS`.
        resolution: side in pixels of images that are generated (digits, photos, synthetic), and the level that tfrecords and
            prepared open; 0 takes their default. Other sources have images of fixed sizes.
        channels: of generated images; 0 takes the default.

    Raises:
        UserError: the source does not exist or cannot be read.
    """
    try:
        kind, argument = parse_source(spec)
    except ValueError as error:
        raise UserError(f"source {spec!r}: {error}") from None
    return _OPENERS[kind](argument, resolution, channels)


# Modules are imported on use: some import large packages, and most runs use one source.
def _digits(argument: str, resolution: int, channels: int) -> Source:
    from pggan_jax.data.sources.builtin import DigitsSource

    return DigitsSource(resolution=resolution or _DRAWN_RESOLUTION)


def _photos(argument: str, resolution: int, channels: int) -> Source:
    from pggan_jax.data.sources.builtin import PhotosSource

    return PhotosSource(resolution=resolution or _DRAWN_RESOLUTION)


def _folder(argument: str, resolution: int, channels: int) -> Source:
    from pggan_jax.data.sources.folder import FolderSource

    return FolderSource(argument)


def _zip(argument: str, resolution: int, channels: int) -> Source:
    from pggan_jax.data.sources.zip import ArchiveSource

    return ArchiveSource(argument)


def _tfds(argument: str, resolution: int, channels: int) -> Source:
    from pggan_jax.data.sources.tfds import TfdsSource

    return TfdsSource(argument)


def _tfrecords(argument: str, resolution: int, channels: int) -> Source:
    from pggan_jax.data.sources.record_images import open_tfrecords

    return open_tfrecords(argument, resolution=resolution)


def _stacked(argument: str, resolution: int, channels: int) -> Source:
    from pggan_jax.data.sources.synthetic import StackedSource

    return StackedSource(open_source(argument, resolution=resolution))


def _synthetic(argument: str, resolution: int, channels: int) -> Source:
    from pggan_jax.data.sources.synthetic import SyntheticSource

    return SyntheticSource(argument, resolution=resolution or _DRAWN_RESOLUTION, channels=channels or 3)


def _prepared(argument: str, resolution: int, channels: int) -> Source:
    from pggan_jax.data.preparation.prepared_folder import PreparedSource

    return PreparedSource(argument, resolution=resolution)


_OPENERS: dict[str, Callable[[str, int, int], Source]] = {
    "digits": _digits,
    "photos": _photos,
    "folder": _folder,
    "zip": _zip,
    "tfds": _tfds,
    "tfrecords": _tfrecords,
    "prepared": _prepared,
    "stacked": _stacked,
    "synthetic": _synthetic,
}
