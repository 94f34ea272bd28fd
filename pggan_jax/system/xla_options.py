"""Options of XLA other than its defaults, set in XLA_FLAGS before JAX makes its first array."""

from __future__ import annotations

import os
from importlib.metadata import version
from importlib.util import find_spec

_SUPPORTED = "0.10."
"""Prefix of the jaxlib versions that have these options; XLA exits for an option that it does not have."""

_MEASURED = ("0.10.", "0.11.", "0.12.")
"""Prefixes of the jaxlib versions that have been measured; the later two are fastest with their defaults."""


def describe_unknown_jaxlib() -> str:
    """Return a line for the log if the installed jaxlib is not measured, else ""."""
    installed = version("jaxlib")
    if installed.startswith(_MEASURED):
        return ""
    return f"jaxlib {installed}: no XLA options have been measured for this version; running with its defaults"


def prefer_fast_convolutions() -> None:
    """Make XLA:CPU run each convolution on all cores.

    Without the option jaxlib 0.10 uses YNNPACK with one core per convolution. On 2 cores the option makes train steps 1.2 to
    1.6 times as fast (docs/performance.md). It has no effect on accelerators.

    Call it before JAX makes its first array. An option that XLA_FLAGS sets already is kept.
    """
    _add_option("--xla_cpu_experimental_ynn_fusion_type=")


def prefer_fast_compilation() -> None:
    """Use XLA:CPU's older emitters, which compile faster and run slower.

    A step compiles in 0.8 of the time, or in 0.4 without optimisation. Call it before JAX makes its first array. An option
    that XLA_FLAGS sets already is kept.
    """
    _add_option("--xla_cpu_use_fusion_emitters=false")


def _add_option(option: str) -> None:
    """Add `--name=value` to XLA_FLAGS if the installed XLA has the option."""
    flags = os.environ.get("XLA_FLAGS", "").strip()
    names_a_file = flags and not flags.startswith("-")
    name, _, _ = option.partition("=")
    # libtpu reads the same variable with another version of XLA.
    if names_a_file or name in flags or find_spec("libtpu") or not version("jaxlib").startswith(_SUPPORTED):
        return
    os.environ["XLA_FLAGS"] = f"{flags} {option}".strip()
