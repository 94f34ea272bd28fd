"""Command lines as tests start them."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from pggan_jax.config.io import load_config, settings_of
from tests.helpers.runs import small_config

ROOT = Path(__file__).parents[2]


SMOKE = f"--config={ROOT}/experiments/smoke.py"


def one_line_error(result):
    """The message of a command that was refused."""
    status, out, err = result
    assert status == 2
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("error: ")
    return err


def small_flags(**changes):
    """`small_config(**changes)` as a command line."""
    wanted = dict(settings_of(small_config(**changes)))
    before = dict(settings_of(load_config(f"{ROOT}/experiments/smoke.py").config))
    changed = [f"{path}={value}" for path, value in wanted.items() if value != before[path]]
    return [SMOKE, *(word for change in changed for word in ("--set", change))]


def environment():
    """For programs that must compute what this process computes, and find what it has compiled."""
    return {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}


def free_port():
    """A port of this machine that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
