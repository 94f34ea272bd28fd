"""A counter of the train steps that XLA compiles."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax

_COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"
_CACHE_HIT_EVENT = "/jax/compilation_cache/cache_hits"


class CompileCounter:
    """Count the train steps that XLA compiles: a fade-in must add none.

    Only what a thread compiles inside `watch` counts, as loading data compiles small programs of its own. Programs that the
    persistent compilation cache holds do not count.

    Attributes:
        count: compiled so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()
        self._this_thread = threading.local()
        jax.monitoring.register_event_listener(self._on_event)
        jax.monitoring.register_event_duration_secs_listener(self._on_duration)

    def _on_event(self, event: str, **_: Any) -> None:
        if event == _CACHE_HIT_EVENT:
            self._this_thread.was_cached = True

    def _on_duration(self, event: str, duration_secs: float, **_: Any) -> None:
        del duration_secs
        # JAX sends this event after a cache hit, too, in the same thread.
        if event == _COMPILE_EVENT:
            was_cached, self._this_thread.was_cached = getattr(self._this_thread, "was_cached", False), False
            if getattr(self._this_thread, "is_watching", False) and not was_cached:
                with self._lock:
                    self.count += 1

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Count compilations of this thread inside the `with` block."""
        self._this_thread.is_watching = True
        try:
            yield
        finally:
            self._this_thread.is_watching = False

    def close(self) -> None:
        """Stop counting."""
        jax.monitoring.unregister_event_listener(self._on_event)
        jax.monitoring.unregister_event_duration_listener(self._on_duration)
