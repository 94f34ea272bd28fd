"""How fast is it, beside PyTorch and beside what the device can do? One command for CPU, GPU and TPU.

    python experiments/benchmarks/train_step.py --quick
    python experiments/benchmarks/train_step.py --fmap_max=64 --max_resolution=64
    python experiments/benchmarks/train_step.py --fmap_max=512 --max_resolution=16
    python experiments/benchmarks/train_step.py --sections=step

The comparison wants PyTorch, in this Python or in one of its own:

    python3 -m venv torch-venv && torch-venv/bin/pip install torch numpy
    python experiments/benchmarks/train_step.py --torch_python=torch-venv/bin/python

Sections, all of them unless --sections names some:

- step: a whole iteration (critic with gradient penalty, generator, two Adam updates, moving average) at each resolution that
  fits: ours as a run calls it, and a plain PyTorch step that a test proves to be the same mathematics, eager and by
  torch.compile, of which the faster counts. In turns, medians. Ours is also put beside the rate of a large matrix product, by
  the compiler's count of arithmetic, and beside a bound, the least arithmetic at that rate or the least memory traffic. The
  last column says how many cores other programs kept busy meanwhile: near 0, or the row is no measurement;
- tick: a short run of --run_config, and what pictures, logs and checkpoints cost beside training, by stats.jsonl;
- start: two starts of experiments/smoke.py in fresh folders, until the first picture and the end of the first tick;
- checkpoint: seconds until training goes on, until the files are complete, and to read them back;
- scaling: images per second with 1, 2 and 4 virtual CPU devices. They share the cores, so this shows what dealing costs;
- data: experiments/benchmarks/data.py.

Prints tables and writes them with machine, versions, date and flags to experiments/results/NAME.json. --quick measures small
networks up to 16x16, eagerly, within 5 minutes on 2 CPU cores.
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

# PyTorch's process wants memory of the same GPU.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
from absl import app, flags, logging

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.benchmarks import runs, steps, tables
from experiments.benchmarks.bounds import device_rates
from pggan_jax.config import DTYPES, Config
from pggan_jax.distributed import devices
from pggan_jax.system.machine import available_cpus, total_memory
from pggan_jax.xla_options import prefer_fast_convolutions

SECTIONS = ("step", "tick", "start", "checkpoint", "scaling", "data")
PIP_LINE = "pip install torch"

FLAGS = flags.FLAGS
flags.DEFINE_list("sections", list(SECTIONS), "what to measure, such as step,tick")
flags.DEFINE_bool("quick", False, "little of everything: --fmap_max=64, up to 16x16, --forms=eager, short turns")
flags.DEFINE_list("resolutions", [], "which; by default 4, 8, ... up to --max_resolution")
flags.DEFINE_integer("max_resolution", 0, "the largest; 0 takes 32 on a CPU and 1024 elsewhere", lower_bound=0)
flags.DEFINE_integer("batch_size", 0, "0 takes 16 on a CPU, and elsewhere the authors' for one GPU", lower_bound=0)
flags.DEFINE_integer("fmap_base", 8192, "as generator.fmap_base", lower_bound=1)
flags.DEFINE_integer("fmap_max", 0, "as generator.fmap_max; 0 takes 64 on a CPU and 512 elsewhere", lower_bound=0)
flags.DEFINE_enum("dtype", "", ("", *DTYPES), "of activations, for both; by default float32 on a CPU and bfloat16 elsewhere")
flags.DEFINE_float("alpha", 1.0, "weight of the newest layers; at 1 the PyTorch step leaves out the path that fades")
flags.DEFINE_list("forms", list(steps.TORCH_FORMS), "of the PyTorch step; the fastest counts; empty leaves PyTorch out")
flags.DEFINE_string("torch_python", sys.executable, "a Python that has PyTorch")
flags.DEFINE_float("seconds", 2.0, "of each turn; at least one call is made", lower_bound=0.0)
flags.DEFINE_integer("turns", 7, "of each step", lower_bound=1)
flags.DEFINE_string("run_config", "experiments/digits.py", "the run that section tick measures")
flags.DEFINE_string("results", str(Path(__file__).parents[1] / "results"), "folder of the JSON")
flags.register_validator(
    "sections", lambda named: named and set(named) <= set(SECTIONS), f"must be some of {','.join(SECTIONS)}"
)
flags.register_validator(
    "resolutions",
    lambda named: set(named) <= set(map(str, steps.OFFICIAL_BATCHES)),
    f"must be some of {','.join(map(str, steps.OFFICIAL_BATCHES))}",
)
flags.register_validator("results", lambda folder: not Path(folder).is_file(), "is a file; name a folder")
flags.register_validator("torch_python", shutil.which, "is no program; name a Python that has PyTorch")
flags.register_validator(
    "forms", lambda named: set(named) <= set(steps.TORCH_FORMS), f"must be some of {','.join(steps.TORCH_FORMS)}"
)
flags.DEFINE_string("name", "", "of the JSON; by default made of device, fmap_max and dtype")

_QUICK = {"fmap_max": 64, "max_resolution": 16, "forms": ["eager"], "seconds": 1.0, "turns": 5}


def chosen() -> dict[str, Any]:
    """The flags, with what they leave to the device."""
    values = {flag.name: flag.value for flag in FLAGS.get_key_flags_for_module(sys.argv[0])}
    if values["quick"]:
        values |= {name: value for name, value in _QUICK.items() if not FLAGS[name].present}
    on_cpu = devices.backend() == "cpu"
    values["fmap_max"] = values["fmap_max"] or (64 if on_cpu else 512)
    values["dtype"] = values["dtype"] or ("float32" if on_cpu else "bfloat16")
    values["max_resolution"] = values["max_resolution"] or (32 if on_cpu else 1024)
    named = [int(one) for one in values["resolutions"]]
    values["resolutions"] = named or [one for one in steps.OFFICIAL_BATCHES if one <= values["max_resolution"]]
    return values


def config_at(resolution: int, values: dict[str, Any]) -> Config:
    """What is trained there."""
    batch_size = values["batch_size"] or (16 if devices.backend() == "cpu" else steps.OFFICIAL_BATCHES[resolution])
    names = ("fmap_base", "fmap_max", "dtype")
    return steps.step_config(resolution, batch_size, **{name: values[name] for name in names})


def measure_step(values: dict[str, Any], result: dict[str, Any], write: Callable[[], None]) -> None:
    """Rows of the table, printed and written as they come."""
    result["rates"] = device_rates(values["dtype"])
    forms = values["forms"]
    version = steps.torch_version(values["torch_python"]) if forms else ""
    if version:
        result["versions"]["torch"] = version
    elif forms:
        print(f"no PyTorch in {values['torch_python']}, so only our step is measured; to compare: {PIP_LINE}")
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


def measure_others(values: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """How the sections besides the step are measured."""
    quick, first = values["quick"], values["resolutions"][0]
    return {
        "tick": lambda: runs.cost_of_a_tick(values["run_config"], quick=quick),
        "start": runs.starts,
        "checkpoint": lambda: runs.checkpoint_seconds(config_at(values["resolutions"][-1], values)),
        "scaling": lambda: runs.scaling(config_at(first if quick else 8, values), quick=quick),
        "data": lambda: runs.loading(quick=quick),
    }


def describe_machine() -> dict[str, Any]:
    """What the numbers belong to."""
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
    """Of what decides the speed; PyTorch's is added when it is measured."""
    names = ("jax", "jaxlib", "flax", "optax", "numpy")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}


def has_rows(result: dict[str, Any]) -> bool:
    """Whether anything was measured."""
    return any(result.get(section) for section in SECTIONS)


def main(argv: list[str]) -> int:
    """Measure, print, write. Exit status 1 if a section failed."""
    del argv
    logging.set_verbosity(logging.ERROR)
    prefer_fast_convolutions()
    values = chosen()
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
        # What measured nothing does not take the place of an earlier result.
        if has_rows(result):
            path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")

    failed = False
    print(f"{devices.describe_devices()}; {values['dtype']}, fmap_max {values['fmap_max']}")
    others = measure_others(values)
    for section in values["sections"]:
        print(f"\n{section}", flush=True)
        try:
            if section == "step":
                measure_step(values, result, write)
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
