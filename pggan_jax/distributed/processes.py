"""Processes of one run over several hosts: joining them, votes, barriers, and one exit when another process is lost."""

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
"""Exit status when another process of the run has died."""
_LONGEST_MESSAGE = 4096
Result = TypeVar("Result")


def initialize_hosts(
    coordinator: str | None, num_processes: int | None, process_id: int | None, *, cluster: bool = False
) -> None:
    """Join a run over several hosts; to be called before anything else touches JAX.

    Args:
        coordinator: "host:port" of process 0, which listens there alone; None runs alone, or leaves it to the cluster.
        num_processes: how many processes take part.
        process_id: which of them this is, from 0.
        cluster: take all three from the environment that SLURM, a TPU pod, Kubernetes or Open MPI gives each process.

    Raises:
        UserError: only some of the three are given, or besides a cluster, or the coordinator cannot be reached.
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
    """End a run of several processes with one line when JAX has failed: as another process is lost, or for a reason of its own.

    What would follow otherwise waits for the others: the end of a save, the end of JAX itself. Checkpoints are written under
    another name first, so leaving at once damages none. In a run of one process the error goes on.

    Args:
        log: log.txt, which gets the traceback of every error but a lost process and a user's mistake.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        is_shared = jax.process_count() > 1 and isinstance(error, jax.errors.JaxRuntimeError)
        if is_shared and is_lost_process(str(error)):
            reason = f"stops, as another has died or cannot be reached ({first_line(error)})"
            remedy = "start all of them again with the same commands, and the run continues from its newest checkpoint"
            _leave(f"{reason}; {remedy}", EXIT_LOST_PROCESS)
        log_traceback(log, error)
        if not is_shared:
            raise
        traceback.print_exc()
        _leave(f"stops with an error of its own: {first_line(error)}; the traceback is in {log or 'the lines above'}", 1)


def _leave(message: str, status: int) -> NoReturn:
    who = f"process {jax.process_index()} of {jax.process_count()}"
    with suppress(OSError, ValueError):
        print(f"error: {who} {message}", file=sys.stderr, flush=True)
    os._exit(status)


def is_main_process() -> bool:
    """Whether this process writes files and prints."""
    return jax.process_index() == 0


def is_only_process() -> bool:
    """Whether the run has no other hosts."""
    return jax.process_count() == 1


def on_first_process(work: Callable[[], Result], *, otherwise: Result) -> Result:
    """Do something on the first process only. What fails there is refused everywhere, so that nobody waits for nobody.

    Args:
        work: may raise UserError or OSError.
        otherwise: the result on other processes.

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
    """What the first process that has something to say says; empty if none has. Every process must ask."""
    if jax.process_count() == 1:
        return text
    from jax.experimental import multihost_utils

    message = np.zeros(_LONGEST_MESSAGE, np.uint8)
    said = text.encode()[:_LONGEST_MESSAGE]
    message[: len(said)] = list(said)
    texts = [bytes(row).rstrip(b"\0") for row in np.asarray(multihost_utils.process_allgather(message), np.uint8)]
    return next(filter(None, texts), b"").decode(errors="ignore")


def wait_for_all(what: str) -> None:
    """Block until every process has come here; at once if there is only this one."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(what)


class StopVote:
    """Makes all processes stop after the same call once one of them was asked to; otherwise the rest would wait for it.

    Over several hosts the answer comes `delay` calls late, so that nobody waits for the devices to ask.
    """

    def __init__(self, *, delay: int):
        self._delay = delay
        self._votes: deque[jax.Array] = deque()
        self._count = jax.pmap(lambda vote: lax.psum(vote, AXIS), axis_name=AXIS, out_axes=None)

    def __call__(self, asked: bool) -> bool:
        """This process's vote after a call; the common answer."""
        if jax.process_count() == 1:
            return asked
        self._votes.append(self._count(np.full(jax.local_device_count(), asked, np.int32)))
        return len(self._votes) > self._delay and int(self._votes.popleft()) > 0


def raise_everywhere(problem: str) -> None:
    """Raise if any process has a problem; empty means none. Every process must ask.

    Raises:
        UserError: with the same text on every process.
    """
    problem = first_message(problem)
    if problem:
        raise UserError(problem)
