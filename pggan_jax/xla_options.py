"""What XLA is asked for beyond its defaults. It reads the environment once, before the first array: knows no JAX."""

from __future__ import annotations

import os
from importlib.metadata import version
from importlib.util import find_spec

_LIBRARY = "--xla_cpu_experimental_ynn_fusion_type"
_KNOWS_IT = "0.10."
"""Beginning of the jaxlib versions that know the option; XLA ends the process where it does not."""


def prefer_fast_convolutions() -> None:
    """Have XLA:CPU run convolutions on all cores, as it did before it gave them to YNNPACK, which takes one core for each.

    On 2 cores that makes 1.2 to 1.6 times as many train steps (docs/performance.md). Accelerators are not concerned.

    To be called before JAX has made its first array. An own choice in XLA_FLAGS stands.
    """
    flags = os.environ.get("XLA_FLAGS", "").strip()
    names_a_file = flags and not flags.startswith("-")
    # The TPU's library reads the same variable, with an XLA of its own.
    if names_a_file or _LIBRARY in flags or find_spec("libtpu") or not version("jaxlib").startswith(_KNOWS_IT):
        return
    os.environ["XLA_FLAGS"] = f"{flags} {_LIBRARY}=".strip()
