"""Processes of a run over several hosts: joining, votes, barriers, lost processes."""

from __future__ import annotations

import os
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn, TypeVar

import jax
import numpy as np
from jax import lax

from pggan_jax.distributed.coordinator import check_host_flags, listening_address
from pggan_jax.distributed.devices import AXIS
from pggan_jax.distributed.lost_process import is_lost_process, log_traceback
from pggan_jax.errors import UserError, first_line

HEARTBEAT_TIMEOUT_SECONDS = 20
EXIT_LOST_PROCESS = 76
"""Exit status if another process of the run is lost."""
_LONGEST_MESSAGE = 4096
Result = TypeVar("Result")


def initialize_hosts(
    coordinator: str | None, num_processes: int | None, process_id: int | None, *, cluster: bool = False
) -> None:
    """Join a run over several hosts; call it before any other use of JAX.

    Args:
        coordinator: "host:port" of process 0; None for a run of one process, or with `cluster`.
        num_processes: number of processes.
        process_id: number of this process, from 0.
        cluster: read all three from the environment of SLURM, a TPU pod, Kubernetes or Open MPI.

    Raises:
        UserError: only some of the three are given, or together with `cluster`, or the coordinator cannot be reached.
    """
    address = check_host_flags(coordinator, num_processes, process_id, cluster=cluster)
    if address is None and not cluster:
        return
    where = str(address) if address else None
    bind = listening_address(address) if address and process_id == 0 else None
    patience = HEARTBEAT_TIMEOUT_SECONDS
    try:
        jax.distributed.initialize(
            where, num_processes, process_id, heartbeat_timeout_seconds=patience, coordinator_bind_address=bind
        )
    except (RuntimeError, ValueError) as error:
        who = "--cluster" if cluster else f"--coordinator={coordinator}"
        process = "the processes" if cluster else f"process {process_id} of {num_processes}"
        raise UserError(f"{who}: cannot join {process}: {first_line(error)}") from error


@contextmanager
def exit_on_lost_process(log: Path | None = None) -> Iterator[None]:
    """Exit at once, with one line, if JAX fails in a run of several processes.

    Cleaning up would wait for the other processes: the end of a save, the shutdown of JAX. Checkpoints are written under
    another name first, so an exit damages none. In a run of one process the error is raised.

    Args:
        log: log.txt, which gets the traceback of every error except a lost process and a `UserError`.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        is_shared = jax.process_count() > 1 and isinstance(error, jax.errors.JaxRuntimeError)
        if is_shared and is_lost_process(str(error)):
            reason = f"exits, as another process is lost or cannot be reached ({first_line(error)})"
            remedy = "start all processes again with the same commands; the run continues from its newest checkpoint"
            _exit(f"{reason}; {remedy}", EXIT_LOST_PROCESS)
        log_traceback(log, error)
        if not is_shared:
            raise
        traceback.print_exc()
        _exit(f"exits with an error: {first_line(error)}; the traceback is in {log or 'the lines above'}", 1)


def _exit(message: str, status: int) -> NoReturn:
    who = f"process {jax.process_index()} of {jax.process_count()}"
    with suppress(OSError, ValueError):
        print(f"error: {who} {message}", file=sys.stderr, flush=True)
    os._exit(status)


def is_main_process() -> bool:
    """Whether this is process 0, which writes files and prints."""
    return jax.process_index() == 0


def is_only_process() -> bool:
    """Whether the run has one process."""
    return jax.process_count() == 1


def on_first_process(work: Callable[[], Result], *, otherwise: Result) -> Result:
    """Call `work` on the first process only; if it fails, raise on all of them.

    Args:
        work: function without arguments; may raise UserError or OSError.
        otherwise: the result on the other processes.

    Raises:
        UserError: with the same text on every process.
    """
    if jax.process_count() == 1:
        return work()
    result, refusal = otherwise, ""
    if is_main_process():
        try:
            result = work()
        except UserError as error:
            refusal = str(error)
        except OSError as error:
            refusal = f"{error.filename or 'the workdir'}: {error.strerror or first_line(error)}"
    refusal = first_message(refusal)
    if refusal:
        raise UserError(refusal)
    return result


def first_message(text: str) -> str:
    """Return the first text that is not empty among all processes; every process must call it."""
    if jax.process_count() == 1:
        return text
    from jax.experimental import multihost_utils

    message = np.zeros(_LONGEST_MESSAGE, np.uint8)
    said = text.encode()[:_LONGEST_MESSAGE]
    message[: len(said)] = list(said)
    texts = [bytes(row).rstrip(b"\0") for row in np.asarray(multihost_utils.process_allgather(message), np.uint8)]
    return next(filter(None, texts), b"").decode(errors="ignore")


def wait_for_all(what: str) -> None:
    """Block until every process has called this; returns at once in a run of one process."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(what)


class StopVote:
    """Vote that makes all processes stop after the same call if one of them is asked to stop.

    Over several hosts the result is `delay` calls old, so that no call waits for the devices.
    """

    def __init__(self, *, delay: int):
        self._delay = delay
        self._votes: deque[jax.Array] = deque()
        self._count = jax.pmap(lambda vote: lax.psum(vote, AXIS), axis_name=AXIS, out_axes=None)

    def __call__(self, asked: bool) -> bool:
        """Vote after a call; returns the common result."""
        if jax.process_count() == 1:
            return asked
        self._votes.append(self._count(np.full(jax.local_device_count(), asked, np.int32)))
        return len(self._votes) > self._delay and int(self._votes.popleft()) > 0


def raise_everywhere(problem: str) -> None:
    """Raise on all processes if one of them has a problem; every process must call it.

    Args:
        problem: the message of this process; empty if there is no problem.

    Raises:
        UserError: with the same text on every process.
    """
    problem = first_message(problem)
    if problem:
        raise UserError(problem)
