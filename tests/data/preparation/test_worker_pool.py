"""Worker processes: ordered results, bounded number in flight, one line if one is killed, no orphans."""

import multiprocessing
import os
import signal
import time
from contextlib import closing

import pytest

from pggan_jax.data.preparation import worker_pool
from pggan_jax.data.preparation.worker_pool import in_flight, ordered_map
from pggan_jax.errors import UserError


def add(context, request):
    """Later requests are ready first."""
    time.sleep(0.02 * (request % 3 == 0))
    return context["base"] + request, os.getpid()


def trouble(context, request):
    if request == 3:
        if context == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        raise {"memory": MemoryError, "bug": ZeroDivisionError}[context]
    return request


@pytest.mark.parametrize("count", [0, 1, 30])
def test_in_order_without_processes(count):
    results = list(ordered_map(add, {"base": 100}, requests=range(count), workers=0))
    assert [value for value, _ in results] == list(range(100, 100 + count))
    assert {process for _, process in results} <= {os.getpid()}


def test_in_order_from_several_processes_and_few_at_a_time():
    taken, used = [], 0
    requests = (taken.append(number) or number for number in range(30))
    processes = set()
    for used, (value, process) in enumerate(ordered_map(add, {"base": 100}, requests=requests, workers=2), start=1):
        assert value == 99 + used
        assert len(taken) - (used - 1) <= in_flight(2)
        processes.add(process)
    assert used == 30
    assert 1 <= len(processes) <= 2
    assert os.getpid() not in processes
    assert not multiprocessing.active_children()


def test_closing_early_ends_the_processes():
    with closing(ordered_map(add, {"base": 0}, requests=range(1000), workers=1)) as results:
        assert next(results)[0] == 0
        assert multiprocessing.active_children()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("kind", "count", "needle"),
    [
        ("die", 1, "a worker process was killed, most likely for lack of memory"),
        ("memory", 1, "too little memory"),
        ("memory", 0, "too"),
    ],
)
def test_lack_of_memory_is_one_line(kind, count, needle):
    with pytest.raises(UserError, match=needle) as caught:
        list(ordered_map(trouble, kind, requests=range(9), workers=count))
    assert "\n" not in str(caught.value)
    assert "workers" in str(caught.value)
    assert not multiprocessing.active_children()


def test_mistakes_of_the_program_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        list(ordered_map(trouble, "bug", requests=range(9), workers=1))


def test_one_per_core_that_may_be_used(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3, 5, 8}, raising=False)
    assert worker_pool.default_workers() == 3
