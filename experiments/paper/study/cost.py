"""What a study costs, as `launch.py plan` estimates it."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from experiments.paper.study.plan import Plan, Run, Variant
from experiments.paper.study.progress import arithmetic
from experiments.paper.study.runner import ROOT
from experiments.paper.study.settings import kimg_of
from pggan_jax.config.io import to_json
from pggan_jax.errors import UserError
from pggan_jax.run_logs.eta import format_duration

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_of(text: str) -> float:
    """Read a duration as `format_duration` writes it, such as "3h 07m"; NaN if there is none."""
    found = re.findall(r"([\d.]+) ?([smhd])\b", text)
    return sum(float(number) * _UNITS[unit] for number, unit in found) if found else math.nan


def planned_seconds(plan: Plan, run: Run) -> float:
    """Estimate a run by `launch.py plan`, which times the step of each resolution.

    Raises:
        UserError: the command fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "settings.json"
        path.write_text(to_json(plan.config(run)), encoding="utf-8")
        command = [sys.executable, str(ROOT / "launch.py"), "plan", f"--config={path}", "--seconds=0.5"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{run.variant.name}: {(done.stderr.strip().splitlines() or ['launch.py plan failed'])[-1]}")
    about = re.search(r"about (.*?) with compilation", done.stdout)
    return seconds_of(about[1]) if about else math.nan


def planned_times(plan: Plan) -> Iterator[tuple[Variant, float]]:
    """Yield each variant with the estimated seconds of a run; equally long ones are timed once."""
    timed: dict[str, float] = {}
    for variant in plan.variants:
        name = variant.timed_by
        if name not in timed:
            timed[name] = planned_seconds(plan, Run(replace(variant, name=name), plan.seeds[0]))
        yield variant, timed[name]


def estimate_lines(plan: Plan, *, jobs: int) -> Iterator[str]:
    """Yield one line per variant with its estimated time, then the total."""
    seeds = len(plan.seeds)
    yield (
        f"{len(plan.variants)} variants x {seeds} seeds; times are those of training, without the measurements at the end. "
        "launch.py plan estimates them: it compiles and times the steps of one variant after another"
    )
    total, total_kimg, width = 0.0, 0.0, max(len(variant.name) for variant in plan.variants)
    for variant, seconds in planned_times(plan):
        kimg = kimg_of(plan.configs[variant.timed_by])
        total, total_kimg = total + seeds * seconds, total_kimg + seeds * kimg
        work = arithmetic(plan, Run(variant, plan.seeds[0])) / 1e12
        length = f"as long as {variant.after}" if variant.minutes else f"{kimg:.1f} kimg"
        time = f"{format_duration(seconds)} each"
        yield f"  {variant.name:{width}}  {length:>14}  {work:8.2f} T multiply-adds  {time:>14}  {variant.about}"
    together = f"; {jobs} at a time take less only where one leaves the machine idle" if jobs > 1 else ""
    yield f"total: {len(plan.variants) * seeds} runs, {total_kimg:,.0f} kimg, about {format_duration(total)}{together}"


def estimated_minutes(plan: Plan) -> float:
    """Return the estimate for all runs of a plan, one after another."""
    total = 0.0
    for number, (variant, seconds) in enumerate(planned_times(plan), 1):
        total += len(plan.seeds) * seconds / 60
        line = f"  {number} of {len(plan.variants)}: {variant.timed_by} takes {format_duration(seconds)}"
        print(line, file=sys.stderr, flush=True)
    return total
