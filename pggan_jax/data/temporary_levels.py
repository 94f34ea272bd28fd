"""One level of a source in a temporary folder, for images that are read only once.

If the process is killed, the folder stays until the next command that adds data to the cache removes unused entries.
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
from pggan_jax.data.open_loader import cache_folder, open_configured
from pggan_jax.data.preparation.prepare import ignore
from pggan_jax.data.preparation.prepared_folder import LABELS, level_name
from pggan_jax.data.preparation.spec import PreparationSpec
from pggan_jax.data.preparation.write_arrays import write_arrays
from pggan_jax.data.pyramid import Pyramid
from pggan_jax.errors import UserError
from pggan_jax.system.paths import cache_root

_ONLY = 4
"""Nominal resolution of a preparation that has only one level."""


@contextmanager
def temporary_loader(config: DataConfig, *, report: Callable[[str], None] = ignore) -> Iterator[Loader]:
    """Open the images of a source at `config.resolution` alone.

    Their files are removed at the end of the `with` block.

    Args:
        config: source, resolution and how images are cropped and resized; labels are not used.
        report: called with a line when other entries are removed from the cache.

    Raises:
        UserError: the source cannot be used, or the cache cannot be written.
    """
    source = open_configured(config)
    shape = config.shape_at(config.resolution)
    one_level = replace(PreparationSpec.from_config(config), resolution=_ONLY, base_shape=(shape.height, shape.width))
    spec = one_level.for_source(source)
    cache = Cache(cache_root())
    cache.trim("data", report)
    folder = cache_folder() / f"{TEMPORARY}{os.getpid()}_{secrets.token_hex(4)}"
    held = cache.use("data", folder.name)
    try:
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise UserError(f"{folder}: cannot be created ({error.strerror}); set PGGAN_JAX_CACHE to another folder") from None
        skipped = write_arrays(source, spec, folder=folder)
        level = np.load(folder / level_name(_ONLY), mmap_mode="r")
        pyramid = Pyramid({config.resolution: level}, np.load(folder / LABELS), source.class_names, skipped)
        yield Loader(pyramid, seed=0, use_labels=False)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        cache.release(held, folder.name)
