"""Changes to Orbax and TensorStore: no memory leak, no tracebacks, no log lines.

TensorStore 0.1.86 never frees the strings that `KvStore.Spec(...).to_json()` returns. Orbax calls that for each leaf of a state
and each save, for a folder on a disk, of which the result is known beforehand. For a large state that is 48 kB a save.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any

import tensorstore
from absl import logging

_NAME = "_build_ocdbt_kvstore_tspec"


class _Spec:
    """Replaces `tensorstore.KvStore.Spec` in Orbax's function."""

    def __init__(self, spec: dict[str, Any]):
        self._spec = spec

    def to_json(self) -> dict[str, Any]:
        """What TensorStore would return."""
        if self._spec.get("driver") == "file" and self._spec.keys() == {"driver", "path"}:
            return dict(self._spec)
        return tensorstore.KvStore.Spec(self._spec).to_json()


@cache
def prevent_leak() -> bool:
    """Replace Orbax's function that leaks; return whether it was replaced.

    It is not if this version of Orbax does not have it, or if TensorStore does not resolve a folder to itself.
    """
    try:
        from orbax.checkpoint._src.serialization import tensorstore_utils

        original = getattr(tensorstore_utils, _NAME)
        sample = {"driver": "file", "path": "/a/b/"}
        if original.__globals__.get("ts") is not tensorstore or tensorstore.KvStore.Spec(sample).to_json() != sample:
            return False
        names = {**original.__globals__, "ts": SimpleNamespace(KvStore=SimpleNamespace(Spec=_Spec))}
        changed = types.FunctionType(original.__code__, names, _NAME, original.__defaults__, original.__closure__)
        changed.__kwdefaults__ = original.__kwdefaults__
    except Exception:  # another version of either, in which there may be no leak
        return False
    setattr(tensorstore_utils, _NAME, changed)
    return True


@cache
def silence_threads() -> None:
    """Drop what TensorStore's threads report to an event loop that Orbax has closed.

    They do so after damaged files were read, at any time after the error itself was raised: the filter stays for the rest of
    the process.
    """
    report = sys.unraisablehook

    def drop(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            report(unraisable)

    sys.unraisablehook = drop


@contextmanager
def silence_log() -> Iterator[None]:
    """Drop Orbax's log lines inside the `with` block.

    It warns of choices that are made here on purpose.
    """
    before = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    try:
        yield
    finally:
        logging.set_verbosity(before)
