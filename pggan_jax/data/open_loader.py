"""From the data section of a configuration to a loader: open the source, prepare its levels, address them by position."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pggan_jax.config import DataConfig
from pggan_jax.data.cache import Cache
from pggan_jax.data.loader import Loader
from pggan_jax.data.preparation.estimate import estimate
from pggan_jax.data.preparation.prepare import build_in_memory, preparation_key, prepare
from pggan_jax.data.preparation.prepared_folder import INFO, PreparedSource
from pggan_jax.data.preparation.spec import Preparation
from pggan_jax.data.pyramid import Pyramid
from pggan_jax.data.sources.open_source import Source, notes_of, open_source
from pggan_jax.data.watched_files import Verification
from pggan_jax.errors import UserError
from pggan_jax.system.paths import cache_root

IN_MEMORY_SOURCES = ("digits",)
"""Sources so small that preparing them is quicker than looking for them in the cache."""


def cache_folder() -> Path:
    """Where prepared images are kept: $PGGAN_JAX_CACHE, else pggan_jax in the user's cache folder."""
    return cache_root() / "data"


def open_loader(
    config: DataConfig, *, seed: int, progress: bool = True, tell: Callable[[str], None] = lambda _line: None
) -> Loader:
    """Everything a run needs of its data.

    Args:
        config: source, resolution, channels, labels and how images are fitted.
        seed: of the order in which images are shown.
        progress: show a bar while images are prepared.
        tell: given a line when images have to be prepared first, or another process is waited for that does so.

    Raises:
        UserError: the source cannot be used, or has no classes where labels are wanted.
    """
    source = open_source(config.source, resolution=config.resolution, channels=config.channels)
    refuse_unfit(source, config)
    for line in (*source.complaints, *notes_of(source)):
        tell(f"data: {line}")
    pyramid = _pyramid(source, config, progress=progress, tell=tell)
    pyramid = replace(pyramid, former_class_names=getattr(source, "former_class_names", ()))
    return Loader(pyramid, seed=seed, use_labels=config.labels)


def verification_of(loader: Loader | None, log: Callable[[str], None]) -> Verification:
    """Begin to verify, in the background, the files that a loader reads; what was found whole is remembered in the cache.

    Args:
        loader: None, and one whose images lie in memory, need no verification.
        log: given a line when others have to wait for it.
    """
    memory = None
    with suppress(UserError):  # no home
        memory = cache_root() / "verified"
    return Verification(loader.files if loader else None, memory=memory, log=log)


def open_singles(config: DataConfig, *, seed: int, tell: Callable[[str], None] = lambda _line: None) -> Loader:
    """The single images that a stacked source is made of, with their classes, each fitted as the stacks of the run are.

    Args:
        config: of the stacks; `source` is "stacked:SOURCE". Resolution, crop and filter are the same for the single images.
        seed: of their order.
        tell: as for `open_loader`.

    Raises:
        UserError: the source of the single images cannot be used, or has no classes.
    """
    from pggan_jax.data.sources.synthetic import GreySource

    inner = config.source.partition(":")[2]
    # Whatever a stack may be, its layers are grey images, of which it takes any.
    config = replace(config, source=inner, channels=1, labels=True, modes="convert", max_images=0, shuffle_seed=-1)
    source = GreySource(open_source(inner, resolution=config.resolution))
    refuse_unfit(source, config)
    return Loader(_pyramid(source, config, progress=True, tell=tell), seed=seed, use_labels=True)


def refuse_unfit(source: Source, config: DataConfig) -> None:
    """Refuse before the work what a source cannot give.

    Raises:
        UserError: labels are wanted and there are none, or a prepared folder holds something else.
    """
    if config.labels and not source.class_names:
        raise UserError(
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
                f"data.shuffle_seed = {config.shuffle_seed}: {source.name} has an order of its own; set data.shuffle_seed=-1, "
                "or prepare the images again with --shuffle_seed and --max_images"
            )
        source.folder.pyramid(config.resolution)


def _pyramid(source: Source, config: DataConfig, *, progress: bool, tell: Callable[[str], None]) -> Pyramid:
    preparation = Preparation.of_config(config)
    if isinstance(source, PreparedSource):
        return source.folder.pyramid(config.resolution, config.max_images)
    if config.source in IN_MEMORY_SOURCES:
        return build_in_memory(source, preparation)
    preparation = preparation.for_source(source)
    cache, name = Cache(cache_root()), preparation_key(source, preparation)[:20]
    # From before it is looked for, as long as the images are read: others must not remove it.
    held = cache.use("data", name)
    folder = cache_folder() / name
    if not folder.is_dir():
        cache.trim("data", tell, room=estimate(source, preparation, folder).bytes)
    prepared = prepare(source, preparation, folder, progress=progress, is_cache=True, tell=tell)
    pyramid = prepared.pyramid(config.resolution)
    if pyramid.files:
        pyramid.files.made_again_without = prepared.path / INFO
    if held:
        # With the files, or with the process; a lock that is only forgotten makes Python warn of an unclosed file.
        weakref.finalize(pyramid.files or pyramid, held.close)
    return pyramid
