"""Worker processes: a function over many requests on all cores, results in order. Knows no images.

Decoding in threads would be held up by Python's global lock; processes are started afresh ("spawn"), as forking a process that
already runs JAX may hang.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import Any, TypeVar

from pggan_jax.errors import UserError
from pggan_jax.system.machine import available_cpus
from pggan_jax.system.os_features import interrupts_held_back

Context = TypeVar("Context")
Request = TypeVar("Request")
Result = TypeVar("Result")
REQUESTS_PER_WORKER = 2
"""So many requests are under way for each worker: one that it works on, one that waits for it."""

_context: Any = None


def default_workers() -> int:
    """One per core that this process may use."""
    return available_cpus()


def in_flight(workers: int) -> int:
    """How many requests may be under way or finished and not yet consumed, the one being consumed included."""
    return REQUESTS_PER_WORKER * workers + 1


def ordered_map(
    function: Callable[[Context, Request], Result], context: Context, requests: Iterable[Request], *, workers: int
) -> Generator[Result, None, None]:
    """`function(context, request)` for each request, in order; at most `in_flight(workers)` at a time.

    Whoever may stop before the end closes the generator (`contextlib.closing`), which ends the workers.

    Args:
        function: of a module's top level.
        context: copied to each worker once.
        requests: small; iterated in this process as room comes free.
        workers: processes; 0 does the work in this one.

    Raises:
        UserError: a worker died, or there is too little memory.
    """
    try:
        if workers:
            yield from _map_in_processes(function, context, requests, workers)
        else:
            yield from (function(context, request) for request in requests)
    except BrokenProcessPool:
        raise UserError(
            "a worker process died, most likely for want of memory; free some, or run with fewer workers (--workers=1)"
        ) from None
    except MemoryError:
        raise UserError("there is too little memory to decode an image; free some, or run with fewer workers") from None


def _map_in_processes(
    function: Callable[[Context, Request], Result], context: Context, requests: Iterable[Request], workers: int
) -> Iterator[Result]:
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_start_worker, initargs=(context,))
    pending: deque[Future[Result]] = deque()
    try:
        for request in requests:
            # Workers inherit that: one that is not yet up would print a traceback.
            with interrupts_held_back():
                pending.append(pool.submit(_call, function, request))
            if len(pending) == in_flight(workers):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(context: Any) -> None:
    global _context
    _context = context
    # Ctrl-C reaches the whole group; the parent alone decides what follows.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent cannot tell its workers to end; without this they would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "only workers wait for their parent"
    wait([parent.sentinel])
    os._exit(1)


def _call(function: Callable[[Any, Request], Result], request: Request) -> Result:
    return function(_context, request)
