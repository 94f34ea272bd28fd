"""Measure the train steps of this project and of PyTorch in turns."""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from flax.traverse_util import flatten_dict

from experiments.benchmarks.bounds import bound_seconds
from experiments.benchmarks.machine_load import LoadMeter
from pggan_jax.config import Config, DataConfig, DiscriminatorConfig, GeneratorConfig, ScheduleConfig
from pggan_jax.data.loader import Loader
from pggan_jax.data.pyramid import Pyramid
from pggan_jax.distributed import devices
from pggan_jax.loop.compiled_step import build_program
from pggan_jax.loop.input_feed import InputFeed, effective_steps_per_call, plan_chunks
from pggan_jax.schedule import Schedule
from pggan_jax.training.train_state import create_train_state

OFFICIAL_BATCHES = {4: 128, 8: 128, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8, 512: 4, 1024: 4}
TORCH_FORMS = ("eager", "compile")
_WORKER = Path(__file__).parent / "torch_step.py"
_KIMG = 20_000.0


@dataclass(frozen=True)
class Turns:
    """Length of a measurement: `count` turns of `seconds` each."""

    count: int
    seconds: float


def step_config(resolution: int, batch_size: int, *, fmap_base: int, fmap_max: int, dtype: str) -> Config:
    """Build a config with the official networks and the default loss, for one resolution."""
    features = {"fmap_base": fmap_base, "fmap_max": fmap_max, "dtype": dtype}
    return Config(
        data=DataConfig(source="synthetic", resolution=resolution),
        generator=GeneratorConfig(**features),
        discriminator=DiscriminatorConfig(**features),
        schedule=ScheduleConfig(batch_size=batch_size, stable_kimg=_KIMG, tick_kimg=_KIMG, tick_kimg_at={}),
    )


def step_settings(config: Config, resolution: int, *, alpha: float) -> dict[str, Any]:
    """Convert a config to the settings of the PyTorch step; at alpha = 1 it does not fade."""
    ratio = config.data.resolution / resolution if config.loss.penalty_scale == "full_resolution" else 1.0
    return {
        "resolution": resolution,
        "batch_size": config.schedule.batch_size_for(resolution),
        "latent_size": min(config.generator.fmap_base, config.generator.fmap_max),
        "fading": alpha < 1.0 and resolution > config.schedule.start_resolution,
        "alpha": alpha,
        "resolution_ratio": ratio,
        "gp_weight": config.loss.gp_weight,
        "gp_target": config.loss.gp_target,
        "drift": config.loss.drift,
        "group_size": config.discriminator.mbstd_group_size,
        "pixelnorm_epsilon": config.generator.pixelnorm_epsilon,
        "learning_rate": config.schedule.learning_rate,
        "beta2": config.optimizer.beta2,
        "epsilon": config.optimizer.epsilon,
        "ema_decay": config.optimizer.ema_decay,
        "dtype": config.generator.dtype,
    }


class OurStep:
    """The train step of this project on random images, called as in a run.

    Attributes:
        steps_per_call: iterations in one call.
        flops: arithmetic of one iteration, as the compiler counts it before optimisation; None where it has no count (GPU).
        shapes: shapes of the parameters, by network and path.
        first_seconds: seconds of the first two calls, compilation included.
    """

    def __init__(self, config: Config, resolution: int, *, alpha: float):
        size = config.schedule.batch_size_for(resolution)
        level = np.random.default_rng(0).integers(0, 256, (max(size, 64), resolution, resolution, 3), np.uint8)
        classes = np.zeros(len(level), np.int32)
        levels = {4: level[:, :4, :4], resolution: level}
        loader = Loader(Pyramid(levels, classes, ("",)), seed=config.run.seed, use_labels=False)
        schedule = Schedule.of(config)
        self.steps_per_call = effective_steps_per_call(config)
        feed = InputFeed(config, loader, steps_per_call=self.steps_per_call)
        (stage,) = (one for one in schedule.stages if one.resolution == resolution and not one.fading)
        chunk = next(plan_chunks(schedule, start=stage.start, steps_per_call=self.steps_per_call))
        _, (batch, points, *rest) = feed(chunk)
        program = build_program(config, resolution, loader=loader)
        state = create_train_state(config.optimizer, program.networks, config.run.seed)
        self.shapes = {
            name: {path: list(leaf.shape) for path, leaf in flatten_dict(tree, sep="/").items()}
            for name, tree in (("generator", state.generator), ("discriminator", state.discriminator))
        }
        self._state = devices.replicate(state)
        self._inputs = batch, points._replace(alpha=np.full_like(points.alpha, alpha)), *rest
        self._multi_step = program.multi_step
        lowered = self._multi_step.lower(self._state, *self._inputs)
        counted = (lowered.cost_analysis() or {}).get("flops")
        self.flops = counted and counted * devices.device_count()
        start = time.perf_counter()
        for _ in range(2):
            self._call()
        self.first_seconds = time.perf_counter() - start

    def _call(self) -> None:
        self._state, totals = self._multi_step(self._state, *self._inputs)
        jax.block_until_ready(totals)

    def measure(self, seconds: float) -> list[float]:
        """Call the step for `seconds`; return the milliseconds per iteration of each call."""
        milliseconds, end = [], time.perf_counter() + seconds
        while not milliseconds or time.perf_counter() < end:
            start = time.perf_counter()
            self._call()
            milliseconds.append((time.perf_counter() - start) * 1e3 / self.steps_per_call)
        return milliseconds


class TorchWorker:
    """The PyTorch step in a process of its own.

    Args:
        python: path of a Python that has PyTorch.
        settings: what `step_settings` returns.
        shapes: shapes of the parameters, by network and path.
        burst: iterations between two synchronisations.
        form: one of `TORCH_FORMS`.

    Attributes:
        ready: version, device, threads and seconds of the worker, after its first two steps.

    Raises:
        RuntimeError: the worker exited; the message is the last line of its stderr.
    """

    def __init__(self, python: str, settings: Mapping[str, Any], *, shapes: Mapping[str, Any], burst: int, form: str):
        self._process = subprocess.Popen(
            [python, str(_WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._burst = burst
        settings = {**settings, "is_compiled": form == "compile"}
        self.ready = self._ask(settings=settings, shapes=shapes, accelerator=devices.backend() != "cpu")

    @property
    def process_id(self) -> int:
        """Process id of the worker."""
        return self._process.pid

    def _ask(self, **question: Any) -> dict[str, Any]:
        """Send one line of JSON and return the answer; raise RuntimeError if the worker exited."""
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # its stderr has the reason
        answer = self._process.stdout.readline()
        if not answer:
            *_, last = self._process.stderr.read().strip().splitlines() or ["the worker exited without a message"]
            raise RuntimeError(last)
        return json.loads(answer)

    def measure(self, seconds: float) -> list[float]:
        """Run the step for `seconds`; return the milliseconds per iteration of each burst."""
        return self._ask(seconds=seconds, burst=self._burst)["ms"]

    def close(self) -> None:
        """Stop the worker."""
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.stderr.close()
        self._process.wait()


def torch_version(python: str) -> str:
    """Return the version of PyTorch in that Python; empty if it has none."""
    try:
        asked = subprocess.run(
            [python, "-c", "import torch; print(torch.__version__)"], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return asked.stdout.strip()


def measure_steps(
    configs: Mapping[int, Config],
    *,
    alpha: float,
    forms: Sequence[str],
    torch_python: str,
    turns: Turns,
    rates: Mapping[str, float],
) -> Iterator[dict[str, Any]]:
    """Yield one row per resolution that fits into the memory of the device.

    Args:
        configs: configs by resolution.
        alpha: weight of the newest layers.
        forms: a selection of `TORCH_FORMS`; the fastest one counts.
        torch_python: path of a Python that has PyTorch.
        turns: length of the measurement.
        rates: what `device_rates` returns.
    """
    for resolution, config in configs.items():
        try:
            with _warm_steps(config, resolution, alpha=alpha, forms=forms, torch_python=torch_python) as (steps, notes):
                times: dict[str, list[float]] = {name: [] for name in steps}
                meter = LoadMeter([step.process_id for name, step in steps.items() if name != "ours"])
                for _ in range(turns.count):
                    for name, step in steps.items():
                        times[name] += step.measure(turns.seconds)
                others = {"cores_busy_with_other_programs": meter.cores()}
                yield _row(config, resolution, steps["ours"], times, notes, rates) | others
        except jax.errors.JaxRuntimeError as error:
            logging.error("%dx%d does not fit into memory: %s", resolution, resolution, str(error).splitlines()[0])


@contextmanager
def _warm_steps(
    config: Config, resolution: int, *, alpha: float, forms: Sequence[str], torch_python: str
) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """Yield compiled steps by name, and by name of a PyTorch form that failed the reason."""
    with ExitStack() as held:
        ours = OurStep(config, resolution, alpha=alpha)
        steps, notes = {"ours": ours}, {}
        settings = step_settings(config, resolution, alpha=alpha)
        for form in forms:
            try:
                worker = TorchWorker(torch_python, settings, shapes=ours.shapes, burst=ours.steps_per_call, form=form)
            except RuntimeError as error:
                notes[form] = str(error)
                continue
            held.callback(worker.close)
            steps[form] = worker
        yield steps, notes


def _row(
    config: Config,
    resolution: int,
    ours: OurStep,
    times: Mapping[str, list[float]],
    notes: dict[str, str],
    rates: Mapping[str, float],
) -> dict[str, Any]:
    medians = {name: statistics.median(milliseconds) for name, milliseconds in times.items()}
    ours_ms = medians.pop("ours")
    best = min(medians, key=medians.get, default=None)
    batch_size = config.schedule.batch_size_for(resolution)
    bound = bound_seconds(ours.shapes, batch_size=batch_size, rates=rates)
    return {
        "resolution": resolution,
        "batch_size": batch_size,
        "ours_ms": ours_ms,
        "torch_ms": medians[best] if best else None,
        "torch_form": best,
        "ratio": medians[best] / ours_ms if best else None,
        "images_per_second": batch_size / ours_ms * 1e3,
        "gflop_per_image": ours.flops and ours.flops / batch_size / 1e9,
        "share_of_matrix_rate": ours.flops and ours.flops / (ours_ms / 1e3) / rates["flops_per_second"],
        "share_of_bound": bound / (ours_ms / 1e3),
        "bound_ms": bound * 1e3,
        "torch_forms_ms": medians,
        "torch_notes": notes,
        "first_steps_seconds": ours.first_seconds,
        "quartiles_ms": {name: _quartiles(milliseconds) for name, milliseconds in times.items()},
    }


def _quartiles(milliseconds: Sequence[float]) -> list[float]:
    return [float(one) for one in np.quantile(milliseconds, (0.25, 0.75))]
