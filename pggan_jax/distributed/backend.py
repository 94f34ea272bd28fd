"""One-line messages if JAX cannot be imported or has no device."""

from __future__ import annotations

import os
import sys
import traceback
from importlib import metadata

from pggan_jax.errors import UserError, first_line

_VARIABLES = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME")
_PLUGINS = {"jax-cuda": "cuda", "libtpu": "tpu", "jax-rocm": "rocm", "jax-metal": "metal"}


def require_backend() -> None:
    """Check that JAX has a device; call it after the hosts of a run have joined.

    Raises:
        UserError: JAX cannot be imported, or none of the requested devices exists.
    """
    try:
        from pggan_jax.distributed import devices

        devices.device_count()
    except Exception as error:
        raise UserError(describe_backend_error(error) or _no_device(error)) from error


def describe_backend_error(error: Exception) -> str:
    """Describe a missing library or failed start of JAX in one line; empty otherwise."""
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.partition(".")[0] != "pggan_jax":
        return f"the library {error.name} is not installed; run pip install -r requirements.txt"
    frames = traceback.extract_tb(error.__traceback__)
    if not any(f"{os.sep}jax{os.sep}" in frame.filename for frame in frames):
        return ""
    if "jax" not in sys.modules:
        variables = {name: value for name, value in os.environ.items() if name.startswith("JAX_")}
        # Variables that the error mentions come first: a long line loses its middle.
        named_first = sorted(variables, key=lambda name: (name.lower() not in str(error).lower(), name))
        names = ", ".join(f"{name}={variables[name]}" for name in named_first)
        return f"JAX cannot be imported: {first_line(error)}; its variables are {names or 'not set'}; unset or correct them"
    try:
        from pggan_jax.distributed import devices

        devices.device_count()
    except Exception as reason:
        return _no_device(reason)
    return ""


def _no_device(error: Exception) -> str:
    asked = [f"{name}={os.environ[name]}" for name in _VARIABLES if os.environ.get(name)]
    reason = f" ({first_line(error)[:110]})" if str(error) else ""
    return (
        f"{' '.join(asked) or 'JAX'}: JAX has no such device here{reason}; installed: "
        f"{', '.join(_installed())}; {'unset ' + asked[0].partition('=')[0] + ', or ' if asked else ''}"
        "install JAX for the device (README, GPU and TPU)"
    )


def _installed() -> list[str]:
    names = {(one.metadata["Name"] or "").lower() for one in metadata.distributions()}
    return ["cpu", *(platform for prefix, platform in _PLUGINS.items() if any(name.startswith(prefix) for name in names))]
