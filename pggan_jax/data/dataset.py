"""From the data section of a configuration to a loader: open the source, prepare its levels, address them by position."""

from __future__ import annotations

import os
from pathlib import Path

from pggan_jax.config import DataConfig
from pggan_jax.data.loader import Loader
from pggan_jax.data.pyramid import build_pyramid
from pggan_jax.data.sources import open_source

IN_MEMORY_SOURCES = ("digits",)
"""Sources so small that preparing them is quicker than looking for them in the cache."""


def cache_folder() -> Path:
    """Where prepared images are kept: $PGGAN_JAX_CACHE, else pggan_jax in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("PGGAN_JAX_CACHE") or Path(base) / "pggan_jax") / "data"


def open_loader(config: DataConfig, *, seed: int, progress: bool = True) -> Loader:
    """Everything a run needs of its data.

    Args:
        config: source, resolution, channels, labels.
        seed: of the order in which images are shown.
        progress: show a bar while images are prepared.

    Raises:
        UserError: the source cannot be used, or has no classes where labels are wanted.
    """
    source = open_source(config.source, resolution=config.resolution, channels=config.channels)
    cache = None if config.source in IN_MEMORY_SOURCES else cache_folder()
    pyramid = build_pyramid(source, resolution=config.resolution, cache=cache, progress=progress)
    return Loader(pyramid, seed=seed, use_labels=config.labels)
