"""Measure the speed of the train step, next to PyTorch and to what the device can do.

    python experiments/benchmarks/train_step.py --quick                               # 5 minutes on 2 CPU cores
    python experiments/benchmarks/train_step.py --fmap_max=64 --max_resolution=64     # small networks, on a CPU
    python experiments/benchmarks/train_step.py --fmap_max=512 --max_resolution=16    # official networks, on a CPU
    python experiments/benchmarks/train_step.py --sections=step                       # on a GPU: 4x4 to 1024x1024

To measure a change of the code, run the same command before and after it on the same machine, with no other program running,
and compare the column "ours ms". The column "others" shows the number of cores that other programs used: a row is valid only if
it is close to 0.

The comparison with PyTorch needs PyTorch, in this Python or in another one:

    python3 -m venv torch-venv && torch-venv/bin/pip install torch numpy
    python experiments/benchmarks/train_step.py --torch_python=torch-venv/bin/python

Sections (by default all; select some with --sections):

- step: one whole iteration at each resolution that fits into memory: discriminator update with gradient penalty, EMA update,
  generator update. "ours ms" is the compiled step as a run calls it. "torch ms" is a PyTorch step, eager or by torch.compile,
  whichever is faster; a test checks that both steps compute the same. They are measured in turns; the table has medians.
  "of matrix rate" is the arithmetic of our step, counted by the compiler, divided by its time and by the rate of a large matrix
  product. "of bound" is the least possible time, from arithmetic or memory traffic, divided by our time.
- tick: a short run of --run_config; the time that image grids, logs and checkpoints take besides training, from stats.jsonl.
- start: two starts of experiments/smoke.py in new folders, with an empty and a filled compilation cache; the time to the first
  image grid and to the end of the first tick.
- checkpoint: the time until training continues, until the files are complete, and to read them back.
- scaling: images/s on 1, 2 and 4 virtual CPU devices. They share the cores, so this shows the overhead of sharding.
- data: the loader, as experiments/benchmarks/data.py measures it.

Prints tables and writes them with the machine, the versions, the date and the flags to experiments/results/NAME.json.
docs/performance.md explains the published results.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

# The process of PyTorch needs memory of the same GPU.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
from absl import app, flags, logging

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.benchmarks import runs, steps, tables
from experiments.benchmarks.bounds import device_rates
from pggan_jax.config import Config
from pggan_jax.config.networks import DTYPES
from pggan_jax.distributed import devices
from pggan_jax.system.resource_limits import available_cpus, total_memory
from pggan_jax.system.xla_options import prefer_fast_convolutions

SECTIONS = ("step", "tick", "start", "checkpoint", "scaling", "data")
PIP_LINE = "pip install torch"

FLAGS = flags.FLAGS
flags.DEFINE_list("sections", list(SECTIONS), "sections to measure, such as step,tick")
flags.DEFINE_bool("quick", False, "small networks and short turns: --fmap_max=64, up to 16x16, --forms=eager")
flags.DEFINE_list("resolutions", [], "resolutions to measure; by default 4, 8, ... up to --max_resolution")
flags.DEFINE_integer("max_resolution", 0, "largest resolution; 0: 32 on a CPU and 1024 elsewhere", lower_bound=0)
flags.DEFINE_integer("batch_size", 0, "images per step; 0: 16 on a CPU, the official size for one GPU elsewhere", lower_bound=0)
flags.DEFINE_integer("fmap_base", 8192, "as generator.fmap_base", lower_bound=1)
flags.DEFINE_integer("fmap_max", 0, "as generator.fmap_max; 0: 64 on a CPU and 512 elsewhere", lower_bound=0)
flags.DEFINE_enum("dtype", "", ("", *DTYPES), "dtype of activations; by default float32 on a CPU and bfloat16 elsewhere")
flags.DEFINE_float("alpha", 1.0, "weight of the newest layers; at 1 the PyTorch step has no fade-in path")
flags.DEFINE_list("forms", list(steps.TORCH_FORMS), "forms of the PyTorch step, of which the fastest counts; empty: no PyTorch")
flags.DEFINE_string("torch_python", sys.executable, "path of a Python that has PyTorch")
flags.DEFINE_float("seconds", 2.0, "seconds of each turn; at least one call is made", lower_bound=0.0)
flags.DEFINE_integer("turns", 7, "turns of each step", lower_bound=1)
flags.DEFINE_string("run_config", "experiments/digits.py", "experiment file that the section tick runs")
flags.DEFINE_string("results", str(Path(__file__).parents[1] / "results"), "folder for the JSON file")
flags.register_validator(
    "sections", lambda named: named and set(named) <= set(SECTIONS), f"must be some of {','.join(SECTIONS)}"
)
flags.register_validator(
    "resolutions",
    lambda named: set(named) <= set(map(str, steps.OFFICIAL_BATCHES)),
    f"must be some of {','.join(map(str, steps.OFFICIAL_BATCHES))}",
)
flags.register_validator("results", lambda folder: not Path(folder).is_file(), "is a file; pass a folder")
flags.register_validator("torch_python", shutil.which, "is not a program; pass the path of a Python that has PyTorch")
flags.register_validator(
    "forms", lambda named: set(named) <= set(steps.TORCH_FORMS), f"must be some of {','.join(steps.TORCH_FORMS)}"
)
flags.DEFINE_string("name", "", "name of the JSON file; by default DEVICE-FMAP_MAX-DTYPE")

_QUICK = {"fmap_max": 64, "max_resolution": 16, "forms": ["eager"], "seconds": 1.0, "turns": 5}


def flag_values() -> dict[str, Any]:
    """Return the values of all flags, with the defaults for --quick and the device."""
    values = {flag.name: flag.value for flag in FLAGS.get_key_flags_for_module(sys.argv[0])}
    if values["quick"]:
        values |= {name: value for name, value in _QUICK.items() if not FLAGS[name].present}
    on_cpu = devices.backend() == "cpu"
    values["fmap_max"] = values["fmap_max"] or (64 if on_cpu else 512)
    values["dtype"] = values["dtype"] or ("float32" if on_cpu else "bfloat16")
    values["max_resolution"] = values["max_resolution"] or (32 if on_cpu else 1024)
    given = [int(resolution) for resolution in values["resolutions"]]
    up_to_largest = [resolution for resolution in steps.OFFICIAL_BATCHES if resolution <= values["max_resolution"]]
    values["resolutions"] = given or up_to_largest
    return values


def config_at(resolution: int, values: dict[str, Any]) -> Config:
    """Return the config to measure at one resolution."""
    batch_size = values["batch_size"] or (16 if devices.backend() == "cpu" else steps.OFFICIAL_BATCHES[resolution])
    names = ("fmap_base", "fmap_max", "dtype")
    return steps.step_config(resolution, batch_size, **{name: values[name] for name in names})


def measure_step(values: dict[str, Any], result: dict[str, Any], *, write: Callable[[], None]) -> None:
    """Measure the section "step"; print each row, add it to `result` and call `write`."""
    result["rates"] = device_rates(values["dtype"])
    forms = values["forms"]
    version = steps.torch_version(values["torch_python"]) if forms else ""
    if version:
        result["versions"]["torch"] = version
    elif forms:
        print(f"{values['torch_python']} has no PyTorch; measuring only our step; for the comparison: {PIP_LINE}")
        forms = []
    result["step"] = []
    print(tables.table_head(result["rates"]))
    for row in steps.measure_steps(
        {resolution: config_at(resolution, values) for resolution in values["resolutions"]},
        alpha=values["alpha"],
        forms=forms,
        torch_python=values["torch_python"],
        turns=steps.Turns(values["turns"], values["seconds"]),
        rates=result["rates"],
    ):
        print(tables.table_line(row), flush=True)
        result["step"].append(row)
        write()


def other_sections(values: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """Return the functions that measure the sections other than "step"."""
    quick, first = values["quick"], values["resolutions"][0]
    return {
        "tick": lambda: runs.tick_overhead(values["run_config"], quick=quick),
        "start": runs.start_times,
        "checkpoint": lambda: runs.checkpoint_times(config_at(values["resolutions"][-1], values)),
        "scaling": lambda: runs.device_scaling(config_at(first if quick else 8, values), quick=quick),
        "data": lambda: runs.loader_rates(quick=quick),
    }


def describe_machine() -> dict[str, Any]:
    """Describe the machine: system, processor, cores, memory, devices."""
    models = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "system": platform.platform(),
        "processor": models[0] if models else platform.processor(),
        "cores": available_cpus(),
        "memory_gb": round(total_memory() / 1e9),
        "devices": devices.describe_devices(),
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries; PyTorch is added when it is measured."""
    names = ("jax", "jaxlib", "flax", "optax", "numpy")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}


def has_rows(result: dict[str, Any]) -> bool:
    """Return whether any section was measured."""
    return any(result.get(section) for section in SECTIONS)


def main(argv: list[str]) -> int:
    """Measure, print and write all sections; return 1 if a section failed."""
    del argv
    logging.set_verbosity(logging.ERROR)
    prefer_fast_convolutions()
    values = flag_values()
    result = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "versions": versions(),
        "flags": values | {"torch_python": Path(values["torch_python"]).name, "results": ""},
    }
    device = jax.devices()[0].device_kind.lower().replace(" ", "-")
    path = Path(values["results"]) / f"{values['name'] or '-'.join((device, str(values['fmap_max']), values['dtype']))}.json"
    path.parent.mkdir(parents=True, exist_ok=True)

    def write() -> None:
        # Keep an earlier result if nothing was measured.
        if has_rows(result):
            path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")

    failed = False
    print(f"{devices.describe_devices()}; {values['dtype']}, fmap_max {values['fmap_max']}")
    others = other_sections(values)
    for section in values["sections"]:
        print(f"\n{section}", flush=True)
        try:
            if section == "step":
                measure_step(values, result, write=write)
            else:
                result[section] = others[section]()
                print(tables.describe(result[section]), flush=True)
        except runs.FailedError as error:
            print(f"failed: {error}", file=sys.stderr)
            failed = True
        write()
    print(f"\nwritten to {path}" if has_rows(result) else "\nnothing was measured or written")
    return int(failed)


if __name__ == "__main__":
    app.run(main)
