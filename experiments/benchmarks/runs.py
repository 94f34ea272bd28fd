"""Measure the costs of a run besides its steps: ticks, start, checkpoints, sharding."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from pggan_jax.checkpointing.manager import Checkpoints
from pggan_jax.checkpointing.metadata import CheckpointMetadata
from pggan_jax.checkpointing.retention import Keep
from pggan_jax.config import Config
from pggan_jax.distributed import devices
from pggan_jax.images import ImageSpec
from pggan_jax.networks.build import build_networks
from pggan_jax.training.train_state import abstract_train_state, create_train_state

ROOT = Path(__file__).resolve().parents[2]
_LAUNCH = (sys.executable, str(ROOT / "launch.py"))


class FailedError(Exception):
    """A measured command failed; the message is the last line of its stderr."""


def _run(command: Sequence[str], *, accepted_status: int = 0, **env: str) -> str:
    """Run a command and return what it printed.

    Raises:
        FailedError: the exit status is neither 0 nor `accepted_status`.
    """
    done = subprocess.run(command, cwd=ROOT, env=os.environ | env, capture_output=True, text=True, check=False)
    if done.returncode not in (0, accepted_status):
        raise FailedError(_last_line(done.stderr, done.returncode))
    return done.stdout


def _last_line(text: str, status: int) -> str:
    return (text.strip().splitlines() or [f"exit status {status}"])[-1]


def tick_overhead(config: str, *, quick: bool) -> list[dict[str, Any]]:
    """Measure the median times of the ticks of a short run, one row per resolution.

    Every tick writes an image grid, a checkpoint and a line of `stats.jsonl`. The first tick of a resolution is left out,
    because it includes compilation. Checkpoints are completed in the background; what this takes from the following steps shows
    only in `images_per_second`.
    """
    with tempfile.TemporaryDirectory() as folder:
        total = 25 if quick else 60
        _run([*_LAUNCH, f"--config={config}", f"--workdir={folder}/run", "--set", f"schedule.total_kimg={total}"])
        lines = (Path(folder) / "run" / "stats.jsonl").read_text(encoding="utf-8").splitlines()
    ticks = [json.loads(line) for line in lines]
    rows = []
    for resolution in sorted({tick["resolution"] for tick in ticks}):
        _, *warm = [tick for tick in ticks if tick["resolution"] == resolution]
        if not warm:
            continue
        median = {
            name: statistics.median(tick[name] for tick in warm) for name in warm[0] if name.endswith(("_seconds", "_tick"))
        }
        overhead = median["snapshot_seconds"] + median["save_seconds"]
        rows.append(
            {
                "resolution": resolution,
                "ticks": len(warm),
                "seconds_per_tick": median["seconds_per_tick"],
                "snapshot_seconds": median["snapshot_seconds"],
                "save_seconds": median["save_seconds"],
                "wait_seconds": median["wait_seconds"],
                "overhead": overhead / median["seconds_per_tick"],
                "images_per_second": statistics.median(tick["images_per_second"] for tick in warm),
            }
        )
    return rows


def start_times() -> list[dict[str, Any]]:
    """Start the smoke run twice, with an empty and with a filled compilation cache.

    Returns:
        Two rows of seconds since the start of the command: to the first image grid, the first compilation, the end of the first
        tick, and the exit.
    """
    with tempfile.TemporaryDirectory() as folder:
        cache = f"{folder}/cache"
        return [{"start": name, **_start(f"{folder}/{name}", cache)} for name in ("cold", "warm")]


def _start(workdir: str, cache: str) -> dict[str, float]:
    # The tick has only a few steps, so it ends some hundredths of a second after the first step.
    short = ("--set", "schedule.total_kimg=1", "--set", "schedule.stable_kimg=2")
    env = os.environ | {"PGGAN_JAX_CACHE": cache, "XDG_CACHE_HOME": cache}
    command = [*_LAUNCH, "--config=experiments/smoke.py", f"--workdir={workdir}", *short]
    grid, stats, log = (Path(workdir) / name for name in ("fakes000000.png", "stats.jsonl", "log.txt"))
    seen: dict[str, float] = {}
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while process.poll() is None:
        elapsed = time.perf_counter() - start
        if "picture_seconds" not in seen and grid.exists():
            seen["picture_seconds"] = elapsed
        if "compiling_seconds" not in seen and log.exists() and "compiling" in log.read_text(encoding="utf-8"):
            seen["compiling_seconds"] = elapsed
        if "first_tick_seconds" not in seen and stats.exists() and stats.stat().st_size:
            seen["first_tick_seconds"] = elapsed
        time.sleep(0.02)
    if process.returncode:
        raise FailedError(_last_line(process.stderr.read(), process.returncode))
    return seen | {"exit_seconds": time.perf_counter() - start}


def checkpoint_times(config: Config, *, turns: int = 3) -> list[dict[str, Any]]:
    """Measure the median seconds to save and restore a checkpoint at full resolution."""
    resolution = config.data.resolution
    networks = build_networks(config, resolution, image_spec=ImageSpec(resolution, resolution, 3))
    state = devices.replicate(create_train_state(config.optimizer, networks, config.run.seed))
    times: dict[str, list[float]] = {"until_training_goes_on": [], "until_complete": [], "read_back": []}
    folder = tempfile.mkdtemp()
    checkpoints = Checkpoints(Path(folder), keep=Keep(last=1))
    try:
        for turn in range(turns + 1):  # the first turn is a warm-up
            start = time.perf_counter()
            failures = checkpoints.save(state, CheckpointMetadata(turn + 1, resolution, 1.0, channels=3, label_size=0))
            passed = [time.perf_counter() - start]
            failures += checkpoints.finish()
            passed.append(time.perf_counter() - start)
            if failures:
                raise FailedError(failures[0])
            start = time.perf_counter()
            checkpoints.restore(turn + 1, lambda _: abstract_train_state(config.optimizer, networks))
            passed.append(time.perf_counter() - start)
            for name, seconds in zip(times, passed, strict=True):
                times[name] += [seconds] if turn else []
    finally:
        checkpoints.close()
        shutil.rmtree(folder)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) / 1e6
    medians = {f"{name}_seconds": statistics.median(seconds) for name, seconds in times.items()}
    return [{"resolution": resolution, "state_mb": size, **medians}]


def device_scaling(config: Config, *, quick: bool) -> list[dict[str, Any]]:
    """Measure the images per second on 1, 2 and 4 virtual CPU devices, in separate processes."""
    rows = []
    for device_count in (1, 2, 4):
        # XLA hangs if it has fewer threads than devices that wait for each other.
        env = {"JAX_PLATFORMS": "cpu", "NPROC": "16", "XLA_FLAGS": f"--xla_force_host_platform_device_count={device_count}"}
        generator, schedule = config.generator, config.schedule
        with tempfile.TemporaryDirectory() as folder:
            flags = (
                "--sections=step",
                f"--resolutions={config.data.resolution}",
                f"--fmap_base={generator.fmap_base}",
                f"--fmap_max={generator.fmap_max}",
                f"--batch_size={schedule.batch_size_for(config.data.resolution)}",
                f"--turns={2 if quick else 5}",
                "--forms=",
                f"--results={folder}",
                "--name=scaling",
            )
            _run([sys.executable, "experiments/benchmarks/train_step.py", *flags], **env)
            (row,) = json.loads((Path(folder) / "scaling.json").read_text())["step"]
        rows.append(
            {"devices": device_count, **{name: row[name] for name in ("resolution", "batch_size", "images_per_second")}}
        )
    return [{**row, "efficiency": row["images_per_second"] / rows[0]["images_per_second"]} for row in rows]


def loader_rates(*, quick: bool) -> list[dict[str, Any]]:
    """Run `data.py` and return its rows; its exit status 1, a missed goal, is not an error here."""
    brief = ("--resolution=16", "--train_up_to=16", "--turns=1") if quick else ()
    printed = _run([sys.executable, "experiments/benchmarks/data.py", "--json", *brief], accepted_status=1)
    return json.loads(printed)["loader"]
