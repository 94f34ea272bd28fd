"""What XLA is asked for beyond its defaults. It reads the environment once, before the first array: knows no JAX."""

from __future__ import annotations

import os
from importlib.metadata import version
from importlib.util import find_spec

_KNOWN_BY = "0.10."
"""Beginning of the jaxlib versions that know what is asked here; XLA ends the process for an option that it does not know."""

_MEASURED = ("0.10.", "0.11.", "0.12.")
"""Beginnings of the jaxlib versions whose options have been measured; the later two are fastest as they are."""


def describe_unknown_jaxlib() -> str:
    """A line for the log where the speed of the installed jaxlib is not known; empty where it is."""
    installed = version("jaxlib")
    if installed.startswith(_MEASURED):
        return ""
    return f"jaxlib {installed}: no XLA options have been measured for this version; running with its defaults"


def prefer_fast_convolutions() -> None:
    """Have XLA:CPU run convolutions on all cores, as it did before it gave them to YNNPACK, which takes one core for each.

    On 2 cores that makes 1.2 to 1.6 times as many train steps (docs/performance.md). Accelerators are not concerned.

    To be called before JAX has made its first array. An own choice in XLA_FLAGS stands.
    """
    _ask_for("--xla_cpu_experimental_ynn_fusion_type=")


def prefer_fast_compilation() -> None:
    """Take XLA:CPU's older emitters: a step compiles in 0.8 of the time, or 0.4 where nothing is optimised, and runs slower.

    To be called before JAX has made its first array. An own choice in XLA_FLAGS stands.
    """
    _ask_for("--xla_cpu_use_fusion_emitters=false")


def _ask_for(option: str) -> None:
    """Add an option, `--name=value`, where XLA knows it."""
    flags = os.environ.get("XLA_FLAGS", "").strip()
    names_a_file = flags and not flags.startswith("-")
    name, _, _ = option.partition("=")
    # The TPU's library reads the same variable, with an XLA of its own.
    if names_a_file or name in flags or find_spec("libtpu") or not version("jaxlib").startswith(_KNOWN_BY):
        return
    os.environ["XLA_FLAGS"] = f"{flags} {option}".strip()
