"""Test that the benchmark of the loader runs and reports what it measured; no speed is asserted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BRIEF = ("--seconds=0.02", "--turns=1", "--images=100", "--train_up_to=0")


def run(*flags):
    env = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    command = [sys.executable, "experiments/benchmarks/data.py", *BRIEF, *flags]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_loader_without_training_as_json():
    done = run("--resolution=8", "--json")
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert [row["resolution"] for row in measured["loader"]] == [4, 8]
    for row in measured["loader"]:
        assert row["train"] is row["loader_per_train"] is None
        assert row["loader"] > 0
        assert row["loader_per_gather"] == row["loader"] / row["gather"]
    assert measured["missed"] == []


def test_a_missed_goal_is_printed_below_the_table():
    """With the goal applied to chunks of 48 bytes, the loader cannot reach the speed of the gather."""
    done = run("--resolution=4", "--judge_mb=0")
    assert done.returncode == 1, done.stderr
    assert "       4x4 " in done.stdout
    assert "goals missed: 4x4: the loader is 0.0" in done.stdout.splitlines()[-1]
