"""What a run costs around its steps: ticks, starts, checkpoints, dealing to several devices, loading."""

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
from pggan_jax.config import Config
from pggan_jax.distributed import devices
from pggan_jax.networks.build import build_networks
from pggan_jax.training.train_state import abstract_train_state, create_train_state

ROOT = Path(__file__).resolve().parents[2]
_LAUNCH = (sys.executable, str(ROOT / "launch.py"))


class FailedError(Exception):
    """A command that is measured has failed; the message is its last line."""


def _run(command: Sequence[str], *, also_fine: int = 0, **env: str) -> str:
    """What a command printed.

    Raises:
        FailedError: its status is neither 0 nor `also_fine`.
    """
    done = subprocess.run(command, cwd=ROOT, env=os.environ | env, capture_output=True, text=True, check=False)
    if done.returncode not in (0, also_fine):
        raise FailedError(_last_line(done.stderr, done.returncode))
    return done.stdout


def _last_line(text: str, status: int) -> str:
    return (text.strip().splitlines() or [f"exit status {status}"])[-1]


def cost_of_a_tick(config: str, *, quick: bool) -> list[dict[str, Any]]:
    """Medians per resolution of a short run with a picture, a checkpoint and a line of numbers after every tick.

    The first tick of a resolution is left out, as it compiles. Checkpoints are finished in the background, so what they take
    from the steps after them shows in `images_per_second` alone.
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
        apart = median["snapshot_seconds"] + median["save_seconds"]
        rows.append(
            {
                "resolution": resolution,
                "ticks": len(warm),
                "seconds_per_tick": median["seconds_per_tick"],
                "snapshot_seconds": median["snapshot_seconds"],
                "save_seconds": median["save_seconds"],
                "wait_seconds": median["wait_seconds"],
                "overhead": apart / median["seconds_per_tick"],
                "images_per_second": statistics.median(tick["images_per_second"] for tick in warm),
            }
        )
    return rows


def starts() -> list[dict[str, Any]]:
    """Two starts of the smoke run in fresh workdirs, the first with an empty cache: seconds since the command was given."""
    with tempfile.TemporaryDirectory() as folder:
        cache = f"{folder}/cache"
        return [{"start": name, **_start(f"{folder}/{name}", cache)} for name in ("cold", "warm")]


def _start(workdir: str, cache: str) -> dict[str, float]:
    # A tick of a handful of steps: its end is the first step's, but for some hundredths of a second.
    short = ("--set", "schedule.total_kimg=1", "--set", "schedule.stable_kimg=2")
    env = os.environ | {"PGGAN_JAX_CACHE": cache, "XDG_CACHE_HOME": cache}
    command = [*_LAUNCH, "--config=experiments/smoke.py", f"--workdir={workdir}", *short]
    picture, numbers, log = (Path(workdir) / name for name in ("fakes000000.png", "stats.jsonl", "log.txt"))
    seen: dict[str, float] = {}
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while process.poll() is None:
        passed = time.perf_counter() - start
        if "picture_seconds" not in seen and picture.exists():
            seen["picture_seconds"] = passed
        if "compiling_seconds" not in seen and log.exists() and "compiling" in log.read_text(encoding="utf-8"):
            seen["compiling_seconds"] = passed
        if "first_tick_seconds" not in seen and numbers.exists() and numbers.stat().st_size:
            seen["first_tick_seconds"] = passed
        time.sleep(0.02)
    if process.returncode:
        raise FailedError(_last_line(process.stderr.read(), process.returncode))
    return seen | {"exit_seconds": time.perf_counter() - start}


def checkpoint_seconds(config: Config, *, turns: int = 3) -> list[dict[str, Any]]:
    """Medians over a few checkpoints of the networks at the config's full resolution."""
    resolution = config.data.resolution
    networks = build_networks(config, resolution, channels=3, label_size=0)
    state = devices.replicate(create_train_state(config.optimizer, networks, config.run.seed))
    times: dict[str, list[float]] = {"until_training_goes_on": [], "until_complete": [], "read_back": []}
    folder = tempfile.mkdtemp()
    checkpoints = Checkpoints(Path(folder), keep_last=1)
    try:
        for turn in range(turns + 1):  # the first one warms up
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


def scaling(config: Config, *, quick: bool) -> list[dict[str, Any]]:
    """Images per second with virtual CPU devices, each number of them in a process of its own."""
    rows = []
    for device_count in (1, 2, 4):
        # XLA waits for ever if it has fewer threads than devices that wait for each other.
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


def loading(*, quick: bool) -> list[dict[str, Any]]:
    """What `data.py` says; a missed aim of its own is no failure here."""
    brief = ("--resolution=16", "--train_up_to=16", "--turns=1") if quick else ()
    printed = _run([sys.executable, "experiments/benchmarks/data.py", "--json", *brief], also_fine=1)
    return json.loads(printed)["loader"]
