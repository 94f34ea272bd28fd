"""How tests compile: without optimisation where only values matter, which takes a fraction of the time."""

from __future__ import annotations

import functools

import jax

quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
