"""Create a loader from the data section of a configuration.

Open the source and prepare its levels.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pggan_jax.config import DataConfig
from pggan_jax.config.sound import CLIP_SETTINGS, SoundConfig
from pggan_jax.config.validation import check_sound_data
from pggan_jax.data.cache import Cache
from pggan_jax.data.loader import MIN_HELD_OUT, Loader
from pggan_jax.data.original_clips import original_clips
from pggan_jax.data.preparation.decode_block import estimate
from pggan_jax.data.preparation.prepare import ignore, preparation_key, prepare_cached
from pggan_jax.data.preparation.prepared_folder import INFO, PreparedSource
from pggan_jax.data.preparation.spec import PreparationSpec
from pggan_jax.data.preparation.write_arrays import build_in_memory
from pggan_jax.data.pyramid import Pyramid
from pggan_jax.data.sounds.open_waves import chosen_representation
from pggan_jax.data.sounds.spectrogram_source import differences, scaled_like
from pggan_jax.data.sources.open_source import open_source
from pggan_jax.data.sources.source import Source, source_notes
from pggan_jax.data.watched_files import Verification
from pggan_jax.errors import UserError
from pggan_jax.images import parse_base_shape
from pggan_jax.sound.representations import Representation
from pggan_jax.source_kinds import parse_source
from pggan_jax.system.paths import cache_root

IN_MEMORY_SOURCES = ("digits",)
"""Sources so small that preparing them is faster than looking them up in the cache."""
MOST_STACKS = 10_000
"""How many of a million stacks are prepared as held-out images."""


class NoClassesError(UserError):
    """Labels are wanted, and the images have no classes."""


def cache_folder() -> Path:
    """Return the folder of prepared images.

    In $PGGAN_JAX_CACHE, else in pggan_jax of the user's cache folder.
    """
    return cache_root() / "data"


def open_loader(
    config: DataConfig,
    *,
    seed: int,
    progress: bool = True,
    report: Callable[[str], None] = ignore,
    scale: Representation | None = None,
) -> Loader:
    """Open all that a run needs of its data.

    Args:
        config: source, resolution, channels, labels and how images are cropped and resized.
        seed: of the order of the images, and of the choice of held-out ones.
        progress: show a bar while images are prepared.
        report: called with a line when images have to be prepared first, or when another process that does so is waited for.
        scale: take the ranges of this representation for sound, instead of measuring them.

    Raises:
        UserError: the source cannot be used, has no classes although `config.labels` is set, or too few images to hold out.
    """
    pyramid = _open_pyramid(config, progress=progress, report=report, scale=scale)
    if not config.held_out_source:
        return Loader(pyramid, seed=seed, use_labels=config.labels, held_out=config.held_out)
    others = _open_held_out(config, pyramid, progress=progress, report=report)
    held_out = Loader(others, seed=seed, use_labels=config.labels)
    return Loader(pyramid, seed=seed, use_labels=config.labels, held_out=held_out)


def _open_pyramid(
    config: DataConfig, *, progress: bool, report: Callable[[str], None], scale: Representation | None
) -> Pyramid:
    source = scaled_like(open_configured(config), scale)
    for line in (*source.problems, *source_notes(source), *_unused_settings(source, config)):
        report(f"data: {line}")
    return replace(
        _pyramid(source, config, progress=progress, report=report),
        former_class_names=getattr(source, "former_class_names", ()),
        clips=original_clips(source, PreparationSpec.from_config(config)),
        label_kind=getattr(source, "label_kind", ""),
    )


def _open_held_out(config: DataConfig, trained_on: Pyramid, *, progress: bool, report: Callable[[str], None]) -> Pyramid:
    """Open held-out images of another source, with the class numbers of the training images."""
    source, form = config.held_out_source, trained_on.representation
    named = f"data.held_out_source = {source!r}"
    most = MOST_STACKS if parse_source(source)[0] == "stacked" else 0
    wanted = replace(config.all_of(source), channels=trained_on.channels, max_images=most)
    try:
        pyramid = _open_pyramid(wanted, progress=progress, report=report, scale=form)
    except UserError as error:
        raise UserError(f"{named}: {str(error).removeprefix(f'data.source = {source!r}: ')}") from None
    if (pyramid.representation is None) != (form is None):
        kinds = ("images", "sound") if form else ("sound", "images")
        raise UserError(f"{named}: has {kinds[0]}, and {config.source} has {kinds[1]}; name a source of {kinds[1]}")
    if pyramid.representation and form and (different := differences(pyramid.representation, form)):
        raise UserError(f"{named}: was prepared with {different}; name the files themselves as sound:DIR")
    if len(pyramid) < MIN_HELD_OUT:
        raise UserError(f"{named}: has {len(pyramid):,} images, and there must be at least {MIN_HELD_OUT}")
    if pyramid.checksums and pyramid.checksums == trained_on.checksums:
        raise UserError(f"{named}: has the same images as {config.source}; name others, or keep a share by data.held_out=0.1")
    if not config.labels:
        return pyramid
    if not pyramid.class_names or (unknown := sorted(set(pyramid.class_names) - set(trained_on.class_names))):
        problem = f"has the class {unknown[0]!r}, which {config.source} lacks" if pyramid.class_names else "has no classes"
        raise UserError(f"{named}: {problem}; name images of the same classes, or set data.labels=false")
    return pyramid.in_class_order(trained_on.class_names)


def start_verification(loader: Loader | None, log: Callable[[str], None]) -> Verification:
    """Start verifying the files of a loader in the background.

    The cache remembers which files are intact.

    Args:
        loader: None, and a loader whose images are in memory, need no verification.
        log: called with a line when the caller has to wait for the verification.
    """
    memory = None
    with suppress(UserError):  # no home folder
        memory = cache_root() / "verified"
    return Verification(loader.files if loader else None, memory=memory, log=log)


def open_singles(config: DataConfig, *, seed: int, report: Callable[[str], None] = ignore) -> Loader:
    """Open the single images of a stacked source with their classes, prepared as the stacks are.

    Args:
        config: of the stacks; `source` is "stacked:SOURCE". Resolution, crop and filter also apply to the single images.
        seed: of their order.
        report: as for `open_loader`.

    Raises:
        UserError: the source of the single images cannot be used, or has no classes.
    """
    from pggan_jax.data.sources.synthetic import GreySource

    inner = config.source.partition(":")[2]
    # The layers of a stack are grey images from the whole inner source, whatever the settings of the stacks.
    config = replace(config.all_of(inner), channels=1, labels=True, modes="convert")
    source = GreySource(open_source(inner, resolution=config.resolution, base_shape=parse_base_shape(config.base_shape)))
    check_source_fits(source, config)
    return Loader(_pyramid(source, config, progress=True, report=report), seed=seed, use_labels=True)


def open_configured(config: DataConfig) -> Source:
    """Open the source that the settings name, and check that it fits them.

    Raises:
        UserError: the source cannot be used with these settings.
    """
    base_shape = parse_base_shape(config.base_shape)
    source = open_source(
        config.source,
        resolution=config.resolution,
        base_shape=base_shape,
        channels=config.channels,
        sound=config.sound,
    )
    check_source_fits(source, config)
    return source


def check_source_fits(source: Source, config: DataConfig) -> None:
    """Check that a source can give what the configuration asks for, before any work.

    Raises:
        NoClassesError: labels are wanted and the source has none.
        UserError: a prepared folder does not match the settings.
    """
    if config.labels and not source.class_names:
        raise NoClassesError(
            f"data.labels = True: {source.name} has no classes; set data.labels=false, or put the images of each class into a "
            "subfolder of its own, or add a dataset.json"
        )
    if isinstance(source, PreparedSource):
        if config.channels not in (0, source.channels):
            raise UserError(
                f"data.channels = {config.channels}: {source.name} was prepared with {source.channels}; set data.channels=0, "
                f"or prepare the images again with --channels={config.channels}"
            )
        if config.max_images and config.shuffle_seed >= 0:
            raise UserError(
                f"data.shuffle_seed = {config.shuffle_seed}: {source.name} has a fixed order; set data.shuffle_seed=-1, "
                "or prepare the images again with --shuffle_seed and --max_images"
            )
        height, width = source.folder.base_shape
        if (height, width) != parse_base_shape(config.base_shape):
            raise UserError(
                f"data.base_shape = {config.base_shape}: {source.name} was prepared with --base_shape={height}x{width}; "
                f"set data.base_shape={height}x{width}, or prepare the images again with --base_shape={config.base_shape}"
            )
        _check_representation(source, config)
        source.folder.pyramid(config.resolution)


def _check_representation(source: PreparedSource, config: DataConfig) -> None:
    """Raise UserError if prepared sound has another form than the settings ask for."""
    if source.representation is None:
        return
    check_sound_data(config)
    if different := differences(source.representation, chosen_representation(config.sound)):
        raise UserError(f"{source.name}: was prepared with {different}; set sound.* to the same, or prepare it again")


def _unused_settings(source: Source, config: DataConfig) -> list[str]:
    """Return a line if settings would choose clips or labels of sound that is prepared."""
    if not (isinstance(source, PreparedSource) and source.representation):
        return []
    default = SoundConfig()
    changed = [f"sound.{name}" for name in CLIP_SETTINGS if getattr(config.sound, name) != getattr(default, name)]
    return [f"{source.name} holds finished clips: {', '.join(changed)} without effect"] if changed else []


def _pyramid(source: Source, config: DataConfig, *, progress: bool, report: Callable[[str], None]) -> Pyramid:
    spec = PreparationSpec.from_config(config)
    if isinstance(source, PreparedSource):
        return source.folder.pyramid(config.resolution, config.max_images)
    if config.source in IN_MEMORY_SOURCES:
        return build_in_memory(source, spec)
    spec = spec.for_source(source)
    cache, name = Cache(cache_root()), preparation_key(source, spec)[:20]
    # Held before the lookup and as long as the images are read, so that no other process removes the folder.
    held = cache.use("data", name)
    folder = cache_folder() / name
    if not folder.is_dir():
        cache.trim("data", report, reserve=estimate(source, spec, folder=folder).bytes)
    prepared = prepare_cached(source, spec, folder=folder, progress=progress, report=report)
    pyramid = prepared.pyramid(config.resolution)
    if pyramid.files:
        pyramid.files.remove_if_damaged = prepared.path / INFO
    if held:
        # Closed together with the files, or at the end of the process; otherwise Python warns of an unclosed file.
        weakref.finalize(pyramid.files or pyramid, held.close)
    return pyramid
