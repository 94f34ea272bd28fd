"""Map a function over many requests in worker processes, with results in order.

Threads would wait for Python's global lock while decoding. Processes are started by "spawn", as forking a process that already
runs JAX may hang.
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
from pggan_jax.system.portability import block_interrupts
from pggan_jax.system.resource_limits import available_cpus

Context = TypeVar("Context")
Request = TypeVar("Request")
Result = TypeVar("Result")
REQUESTS_PER_WORKER = 2
"""Requests in flight for each worker: one in work, one waiting."""

_context: Any = None


def default_workers() -> int:
    """Return the number of cores that this process may use."""
    return available_cpus()


def in_flight(workers: int) -> int:
    """Return the maximal number of requests that are pending, or finished and not yet released."""
    return REQUESTS_PER_WORKER * workers + 1


def ordered_map(
    function: Callable[[Context, Request], Result], context: Context, *, requests: Iterable[Request], workers: int
) -> Generator[Result, None, None]:
    """Yield `function(context, request)` for each request, in order.

    At most `in_flight(workers)` requests are pending or unreleased at a time.

    A consumer that may stop early closes the generator (`contextlib.closing`), which ends the workers.

    Args:
        function: defined at the top level of a module.
        context: copied to each worker once.
        requests: small objects, iterated in this process as workers become free.
        workers: number of processes; 0 does the work in this process.

    Raises:
        UserError: a worker exited, or there is too little memory.
    """
    try:
        if workers:
            yield from _map_in_processes(function, context, requests, workers)
        else:
            yield from (function(context, request) for request in requests)
    except BrokenProcessPool:
        raise UserError(
            "a worker process was killed, most likely for lack of memory; free some, or run with fewer workers (--workers=1)"
        ) from None
    except MemoryError:
        raise UserError("too little memory to decode an image; free some, or run with fewer workers (--workers=1)") from None


def _map_in_processes(
    function: Callable[[Context, Request], Result], context: Context, requests: Iterable[Request], workers: int
) -> Iterator[Result]:
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_start_worker, initargs=(context,))
    pending: deque[Future[Result]] = deque()
    try:
        for request in requests:
            # Workers inherit the blocked signal: one that is still starting would print a traceback.
            with block_interrupts():
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
    # Ctrl-C reaches the whole process group; only the parent handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """Exit when the parent has exited.

    A killed parent cannot stop its workers, which would wait forever.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None, "only workers wait for their parent"
    wait([parent.sentinel])
    os._exit(1)


def _call(function: Callable[[Any, Request], Result], request: Request) -> Result:
    return function(_context, request)
