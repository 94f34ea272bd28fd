"""Compute results ahead of their consumer in one background thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

Request = TypeVar("Request")
Result = TypeVar("Result")


class Prefetcher(Iterator[Result], Generic[Request, Result]):
    """Yields `make(request)` for each request in order, computed ahead by a background thread.

    Use it as a context manager or call `close`; otherwise the thread waits for its consumer until the process exits.
    """

    def __init__(self, make: Callable[[Request], Result], requests: Iterable[Request], *, depth: int = 2) -> None:
        """Start the thread.

        Args:
            make: called in the thread only; `next` raises its error in place of the result, which ends the iteration.
            requests: iterated in the thread only, at most `depth` ahead of the consumer; may be infinite.
            depth: maximal number of waiting results, at least 1.
        """
        if depth < 1:
            raise ValueError(f"depth is {depth}, must be at least 1")
        self._make = make
        self._requests = requests
        self._depth = depth
        self._ready: deque[Result] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._finished = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)
        self._thread.start()

    def __next__(self) -> Result:
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._finished or self._closed)
            if self._closed:
                raise StopIteration
            if self._ready:
                result = self._ready.popleft()
                self._changed.notify_all()
                return result
            error, self._error = self._error, None
        if error is not None:
            raise error
        raise StopIteration

    def close(self) -> None:
        """Discard the waiting results and end the thread, after the result in work.

        May be called twice.
        """
        with self._changed:
            self._closed = True
            self._ready.clear()
            self._changed.notify_all()
        self._thread.join()

    def __enter__(self) -> Prefetcher[Request, Result]:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _run(self) -> None:
        error = None
        try:
            requests = iter(self._requests)
            # Wait before taking a request, so that neither requests nor results run more than `depth` ahead.
            while self._wait_for_consumer():
                try:
                    request = next(requests)
                except StopIteration:
                    break
                result = self._make(request)
                with self._changed:
                    self._ready.append(result)
                    self._changed.notify_all()
        except BaseException as caught:  # Any error must reach the consumer, which would wait forever otherwise.
            error = caught
        with self._changed:
            self._error = error
            self._finished = True
            self._changed.notify_all()

    def _wait_for_consumer(self) -> bool:
        """Wait until another result is wanted; return False when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._ready) < self._depth)
            return not self._closed
