"""Images that are looked at once: one level, in a folder that goes when they have been seen, whatever happens.

If the process is killed, the folder stays until the next command that adds data to the cache sees that nobody uses it.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from pggan_jax.config import DataConfig
from pggan_jax.data.cache import TEMPORARY, Cache
from pggan_jax.data.loader import Loader
from pggan_jax.data.open_loader import cache_folder, refuse_unfit
from pggan_jax.data.preparation.prepare import write_arrays
from pggan_jax.data.preparation.prepared_folder import LABELS, level_name
from pggan_jax.data.preparation.spec import Preparation
from pggan_jax.data.pyramid import Pyramid
from pggan_jax.data.sources.open_source import open_source
from pggan_jax.errors import UserError
from pggan_jax.system.paths import cache_root

_ONLY = 4
"""The nominal resolution of a preparation that begins, and ends, with the largest level."""


@contextmanager
def temporary_loader(config: DataConfig, *, tell: Callable[[str], None] = lambda _line: None) -> Iterator[Loader]:
    """The images of a source at `config.resolution` alone, on the disk until the end of the `with` block.

    Args:
        config: source, resolution and how images are fitted; labels are not used.
        tell: given a line when something else is removed from the cache.

    Raises:
        UserError: the source cannot be used, or the cache cannot be written.
    """
    source = open_source(config.source, resolution=config.resolution, channels=config.channels)
    refuse_unfit(source, config)
    side = config.resolution
    one_level = replace(Preparation.of_config(config), resolution=_ONLY, base_shape=(side, side))
    preparation = one_level.for_source(source)
    cache = Cache(cache_root())
    cache.trim("data", tell)
    folder = cache_folder() / f"{TEMPORARY}{os.getpid()}_{secrets.token_hex(4)}"
    held = cache.use("data", folder.name)
    try:
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise UserError(f"{folder}: cannot be made ({error.strerror}); let PGGAN_JAX_CACHE name another folder") from None
        skipped = write_arrays(source, preparation, folder)
        level = np.load(folder / level_name(_ONLY), mmap_mode="r")
        pyramid = Pyramid({side: level}, np.load(folder / LABELS), source.class_names, skipped)
        yield Loader(pyramid, seed=0, use_labels=False)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        cache.forget(held, folder.name)
