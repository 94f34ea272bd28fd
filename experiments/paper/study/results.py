"""results.json: everything that tables, figures and documentation are made of."""

from __future__ import annotations

import json
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from experiments.paper.study.folder import Folder
from experiments.paper.study.plan import Plan, Run
from experiments.paper.study.runner import FLOOR, ROOT
from experiments.paper.study.settings import common_and_own, kimg_of
from pggan_jax.system.files import write_atomically
from pggan_jax.system.resource_limits import available_cpus, total_memory

_LIBRARIES = ("jax", "jaxlib", "flax", "numpy", "scikit-learn")


def machine(devices: str) -> dict[str, Any]:
    """Describe the machine, without its name."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": available_cpus(),
        "memory_gb": round(total_memory() / 1e9),
        "devices": devices,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()


def versions() -> dict[str, str]:
    """Return the versions of Python and the libraries, and the commit of this code."""
    found = {"python": platform.python_version(), **{name: metadata.version(name) for name in _LIBRARIES}}
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return found
    return {**found, "commit": done.stdout.strip()} if done.returncode == 0 else found


def collect(plan: Plan, folder: Folder, *, problems: Mapping[str, str], command: str, jobs: int) -> dict[str, Any]:
    """Put together what all runs have measured so far.

    Args:
        plan: the runs.
        folder: where they are.
        problems: of failed runs, by name.
        command: that makes these runs.
        jobs: runs at a time, as times depend on it.
    """
    study, shared_and_own = plan.study, common_and_own(plan.configs)
    floor = folder.result(FLOOR) or {}
    found = [(run, folder.result(run.name)) for run in plan.runs()]
    complete = [result for _, result in found if result]
    return {
        "study": study.name,
        "question": study.question,
        "quick": plan.lengths.is_quick,
        "scale": plan.lengths.scale,
        "seeds": list(plan.seeds),
        "jobs": jobs,
        "command": command,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "versions": versions(),
        "machine": machine(complete[0]["devices"] if complete else ""),
        "headline": study.measures.headline,
        "columns": dict(study.measures.columns),
        "larger": list(study.measures.larger),
        "neutral": list(study.measures.neutral),
        "num_fakes": complete[0]["num_fakes"] if complete else 0,
        "num_reals": complete[0]["num_reals"] if complete else 0,
        "floor": floor.get("values", {}),
        "left_out": dict(plan.left_out),
        "settings": shared_and_own[0],
        "variants": [
            {
                "name": variant.name,
                "about": variant.about,
                "against": variant.against or plan.variants[0].name,
                "kimg": round(kimg_of(plan.configs[variant.name]), 3),
                "settings": shared_and_own[1][variant.name],
                "runs": [
                    run_entry(plan, run, result, problem=problems.get(run.name, ""))
                    for run, result in found
                    if run.variant.name == variant.name
                ],
            }
            for variant in plan.variants
        ],
    }


def run_entry(plan: Plan, run: Run, result: Mapping[str, Any] | None, *, problem: str) -> dict[str, Any]:
    """Return what is kept of a run: its last values, and its curves."""
    if not result:
        return {"seed": run.seed, "problem": problem or "not complete"}
    measures, points = plan.study.measures, result["points"]
    kimg, seconds, values = points[-1]
    shown = {name: value for name, value in values.items() if value is not None}
    shown |= {name: result["stats"][name] for name in measures.stats if result["stats"].get(name) is not None}
    names = [name for name in dict.fromkeys([measures.headline, *measures.columns]) if name in points[0][2]]
    curve = {name: [point[2].get(name) for point in points] for name in names} if len(points) > 1 else {}
    return {
        "seed": run.seed,
        "kimg": kimg,
        "seconds": seconds,
        "values": shown,
        "curve": {"kimg": [point[0] for point in points], "seconds": [point[1] for point in points], **curve},
    }


def values_of(variant: Mapping[str, Any], name: str) -> list[float]:
    """Return a value of all complete runs of a variant."""
    return [run["values"][name] for run in variant["runs"] if name in run.get("values", {})]


def curves_of(variant: Mapping[str, Any], name: str, *, over: str) -> list[list[tuple[float, float]]]:
    """Return the curves of all complete runs of a variant.

    Args:
        variant: of the results.
        name: of the value.
        over: "kimg" or "seconds".
    """
    found = (curve_of_run(run, name, over=over) for run in variant["runs"])
    return [curve for curve in found if curve]


def curve_of_run(run: Mapping[str, Any], name: str, *, over: str) -> list[tuple[float, float]]:
    """Return the curve of a run as pairs; empty if it has none."""
    curve = run.get("curve", {})
    pairs: Sequence[tuple[float, Any]] = list(zip(curve[over], curve[name], strict=True)) if name in curve else []
    return [(at, value) for at, value in pairs if value is not None]


def write(path: Path, results: Mapping[str, Any]) -> None:
    """Write results.json."""
    write_atomically(path, (json.dumps(results, separators=(",", ":")).replace(',{"', ',\n{"') + "\n").encode())
