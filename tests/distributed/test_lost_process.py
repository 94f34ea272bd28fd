"""Which errors mean that another process is lost; every other keeps its name and its traceback."""

from __future__ import annotations

from unittest import mock

import jax
import pytest

from pggan_jax.distributed import processes
from pggan_jax.distributed.lost_process import is_lost_process
from pggan_jax.errors import UserError

LOST = [
    "UNAVAILABLE: failed to connect to all addresses",
    "DEADLINE_EXCEEDED: Barrier timed out. Id: x. Barrier timeout: 20000ms",
    "ABORTED: Shutdown barrier has failed",
    "INTERNAL: [external/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:4242",
    "INTERNAL: Gloo AllReduce failed: [/gloo/transport/tcp/buffer.cc:72] Timed out waiting 30000ms for send operation",
    "INTERNAL: Read error [10.0.0.2]:7: Connection reset by peer",
    "FAILED_PRECONDITION: The coordination service is not running or not connected",
    "UNKNOWN: Another task died: /job:jax_worker/task:1 heartbeat timeout",
    "INTERNAL: NCCL operation ncclAllReduce failed: remote process exited or there was a network error.",
    "INTERNAL: Socket closed",
]
OWN = [
    "RESOURCE_EXHAUSTED: Out of memory allocating 5 bytes; connection closed",
    "INVALID_ARGUMENT: Executable expected parameter 0 of size 4 but got buffer with size 8",
    "INTERNAL: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered",
    "UNIMPLEMENTED: Dot with multiple contracting dimensions is not implemented.",
    "INTERNAL: Failed to compile: ptxas exited with non-zero error code",
    "INTERNAL: peer access from device 0 to device 1 is not supported",
    "FAILED_PRECONDITION: Buffer has been deleted or donated",
    "INTERNAL: cuDNN launch failure",
    "",
]


@pytest.mark.parametrize("message", LOST)
def test_a_lost_process_is_recognised(message):
    assert is_lost_process(message)


@pytest.mark.parametrize("message", OWN)
def test_nothing_else_is(message):
    assert not is_lost_process(message)


class Left(BaseException):
    pass


@pytest.fixture
def two_processes(monkeypatch):
    """This one is the second of two; leaving raises instead."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    with mock.patch.object(processes.os, "_exit", side_effect=Left) as leave:
        yield leave


def fail_with(message):
    raise jax.errors.JaxRuntimeError(message)


class TestLeaving:
    def test_a_lost_process_is_one_line(self, tmp_path, capsys, two_processes):
        with pytest.raises(Left), processes.exit_on_lost_process(tmp_path / "log.txt"):
            fail_with(LOST[3])
        two_processes.assert_called_once_with(processes.EXIT_LOST_PROCESS)
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert error.startswith("error: process 1 of 2 exits, as another process is lost or cannot be reached (INTERNAL: ")
        assert not (tmp_path / "log.txt").exists()

    @pytest.mark.parametrize("message", OWN)
    def test_another_error_is_named_with_its_traceback(self, tmp_path, capsys, two_processes, message):
        log = tmp_path / "log.txt"
        log.write_text("tick 1\n")
        with pytest.raises(Left), processes.exit_on_lost_process(log):
            fail_with(message)
        two_processes.assert_called_once_with(1)
        error = capsys.readouterr().err
        last = error.splitlines()[-1]
        assert last.startswith(f"error: process 1 of 2 exits with an error: {message[:100] or 'JaxRuntimeError'}")
        assert "start all processes again" not in error
        text = log.read_text()
        assert text.startswith("tick 1\n")
        assert "Traceback (most recent call last):" in text
        assert ", in fail_with\n" in text
        assert message in text

    @pytest.mark.parametrize("error", [jax.errors.JaxRuntimeError(LOST[0]), ZeroDivisionError("a fault"), OSError(5, "no")])
    def test_in_one_process_it_goes_on_and_is_in_the_log(self, tmp_path, error):
        log = tmp_path / "log.txt"
        with pytest.raises(type(error)) as caught, processes.exit_on_lost_process(log):
            raise error
        assert caught.value is error
        assert log.read_text().count("Traceback (most recent call last):") == 1

    def test_an_error_that_passes_through_two_blocks_is_in_the_log_once(self, tmp_path):
        log = tmp_path / "log.txt"
        with pytest.raises(ZeroDivisionError), processes.exit_on_lost_process(log), processes.exit_on_lost_process(log):
            raise ZeroDivisionError("a fault")
        assert log.read_text().count("ZeroDivisionError: a fault") == 1

    def test_a_user_s_mistake_is_no_traceback(self, tmp_path):
        with pytest.raises(UserError), processes.exit_on_lost_process(tmp_path / "log.txt"):
            raise UserError("is wrong")
        assert not (tmp_path / "log.txt").exists()
