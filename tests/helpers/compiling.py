"""How tests compile: without optimisation where only values matter, in a fraction of the time; and where it is kept."""

from __future__ import annotations

import functools
from contextlib import contextmanager

import jax
from jax.experimental.compilation_cache import compilation_cache

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@contextmanager
def jax_settings(**changes):
    """Other settings of JAX; its persistent cache is opened anew, before and after."""
    before = {name: jax.config.values[name] for name in changes}
    _set(changes)
    try:
        yield
    finally:
        _set(before)


def _set(values):
    for name, value in values.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def compilation_cache_in(folder):
    """Everything that is compiled is kept in `folder`, and nothing is found elsewhere."""
    return jax_settings(
        jax_compilation_cache_dir=str(folder),
        jax_persistent_cache_min_compile_time_secs=0.0,
        jax_persistent_cache_min_entry_size_bytes=0,
    )
