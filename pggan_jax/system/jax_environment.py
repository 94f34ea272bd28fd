"""JAX settings, from environment variables, that would change results or stop a run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from types import ModuleType
from typing import Any

_OWN_VALUES: dict[str, Any] = {
    # These change numbers.
    "jax_enable_x64": False,
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_random_seed_offset": 0,
    "jax_high_dynamic_range_gumbel": False,
    "jax_softmax_custom_jvp": False,
    "jax_use_direct_linearize": True,
    "jax_allow_f16_reductions": True,
    "jax_eager_constant_folding": False,
    "jax_remat3": False,
    "jax_scan3": False,
    "jax_custom_vjp3": False,
    # These raise errors, also where the program handles the case itself, such as an update that is not finite.
    "jax_debug_nans": False,
    "jax_debug_infs": False,
    "jax_disable_jit": False,
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
    "jax_explicit_x64_dtypes": "warn",
    "jax_legacy_prng_key": "allow",
    "jax_enable_custom_prng": False,
    "jax_debug_key_reuse": False,
    "jax_transfer_guard": None,
    "jax_transfer_guard_device_to_device": None,
    "jax_transfer_guard_device_to_host": None,
    "jax_transfer_guard_host_to_device": None,
    "jax_check_tracer_leaks": False,
    "jax_enable_checks": False,
    "jax_no_tracing": False,
    "jax_no_execution": False,
    "jax_thread_guard": False,
}
_PRECISION = "jax_default_matmul_precision"
_PRECISIONS = ("default", "high", "highest", "bfloat16", "bfloat16_3x", "tensorfloat32", "float32")
_OFF = ("", "0", "f", "false", "n", "no", "off", "none")
_ON = ("1", "t", "true", "y", "yes", "on")


@contextmanager
def fixed_jax_settings(log: Callable[[str], object] = lambda _line: None) -> Iterator[None]:
    """Fix the JAX settings that results depend on inside the `with` block.

    The precision of matrix products stays as the user has set it, if every version of JAX has that value.

    Args:
        log: called with one line about environment variables that have no effect, and one about the precision.
    """
    environment, changed = dict(os.environ), dict[str, Any]()
    own = dict(_OWN_VALUES)
    precision = os.environ.get(_PRECISION.upper())
    if precision:
        if precision.lower() in _PRECISIONS:
            log(
                f"WARNING: {_PRECISION.upper()}={precision[:40]} changes the last digits of what is computed; "
                "set it to the same value wherever this run is continued"
            )
        else:
            own[_PRECISION] = None
    ignored = [name for name in own if not _is_own(os.environ.get(name.upper()), own[name])]
    if ignored:
        listed = ", ".join(f"{name.upper()}={os.environ[name.upper()][:40]}" for name in ignored[:4])
        rest = f" and {len(ignored) - 4} more" if len(ignored) > 4 else ""
        log(f"WARNING: {listed}{rest}: ignored, as results would change or fail; unset them to remove this warning")
    try:
        for name in own:
            os.environ.pop(name.upper(), None)
        if "jax" in sys.modules:
            changed = _set(sys.modules["jax"], own)
        yield
    finally:
        os.environ.update({name.upper(): environment[name.upper()] for name in own if name.upper() in environment})
        if changed:
            _set(sys.modules["jax"], changed)


def _is_own(text: str | None, own: Any) -> bool:
    """Whether an environment variable is absent or has the fixed value."""
    if text is None:
        return True
    text = text.strip().lower()
    if isinstance(own, bool):
        return text in (_ON if own else _OFF)
    return text in _OFF if own is None else text == str(own)


def _set(jax: ModuleType, values: dict[str, Any]) -> dict[str, Any]:
    """Change settings of JAX that exist and differ; return their former values."""
    known = {name: _value(jax, name) for name in values if hasattr(jax.config, name)}
    before = {name: value for name, value in known.items() if value != values[name]}
    for name in before:
        jax.config.update(name, values[name])
    return before


def _value(jax: ModuleType, name: str) -> Any:
    value = getattr(jax.config, name)
    return value.name.lower() if isinstance(value, Enum) else value
