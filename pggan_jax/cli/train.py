"""python launch.py [train] [FLAGS]

Train a network, or continue a run: the same command with the same --workdir continues where the run stopped, also in the middle
of a fade-in. Ctrl-C (and SIGTERM, SIGHUP) saves and stops with exit status 75; a second Ctrl-C or SIGTERM stops at once.
--config=WORKDIR/config.json --workdir=WORKDIR continues a run with its stored settings.

Example: python launch.py --config=experiments/folder.py --set data.source=folder:~/photos --workdir=runs/photos

Writes to the workdir: config.json, log.txt, events.jsonl (growth, saves, warnings ...), stats.jsonl (one object per tick),
reals.png, fakesKKKKKK.png (one sample grid per tick, named by kimg) and checkpoints/.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from absl import flags

from pggan_jax.cli.compilation_cache import define_compilation_cache_flag, use_compilation_cache
from pggan_jax.cli.shared_flags import (
    DEFAULT_EXPERIMENT,
    DEFAULT_WORKDIR,
    define_config_flags,
    define_host_flags,
    flag_value,
    folder,
    read_config,
)
from pggan_jax.config import Config
from pggan_jax.errors import UserError
from pggan_jax.system.portability import in_main_thread
from pggan_jax.system.stop_request import StopRequest, restore_signal_handlers

FLAGS = flags.FlagValues()
define_config_flags(FLAGS)
flags.DEFINE_string(
    "workdir", None, f"folder of the run (default: runs/NAME for experiments/NAME.py, so {DEFAULT_WORKDIR})", flag_values=FLAGS
)
flags.DEFINE_string(
    "init_from",
    None,
    "start a new run from other weights: WORKDIR, WORKDIR@KIMG or MODEL.safetensors; the same as --set run.init_from=...",
    flag_values=FLAGS,
)
flags.DEFINE_boolean(
    "allow_config_change", False, "continue a run with other settings than it was started with", flag_values=FLAGS
)
flags.DEFINE_boolean(
    "allow_data_change", False, "continue a run with other images or classes than its checkpoints recorded", flag_values=FLAGS
)
define_compilation_cache_flag(FLAGS)
define_host_flags(FLAGS)

EXIT_STOPPED = 75
"""Exit status of a stopped run, which the same command continues (EX_TEMPFAIL of sysexits.h)."""


def run(values: flags.FlagValues) -> int:
    """Train until the run is complete (0) or stopped (`EXIT_STOPPED`)."""
    init_from = flag_value(values, "init_from")
    more_settings = [] if init_from is None else [f"run.init_from={init_from}"]
    with read_config(values, *more_settings) as config:
        return _train(values, config)


def _train(values: flags.FlagValues, config: Config) -> int:
    workdir = flag_value(values, "workdir")
    workdir = folder("workdir", _default_workdir(flag_value(values, "config")) if workdir is None else workdir)

    with _exit_on_interrupt():
        from pggan_jax.distributed import processes

        hosts = (flag_value(values, name) for name in ("coordinator", "num_processes", "process_id"))
        processes.initialize_hosts(*hosts, cluster=flag_value(values, "cluster"))
        from pggan_jax.data.open_loader import open_loader
        from pggan_jax.loop.run_setup import open_run
        from pggan_jax.loop.train import train

    use_compilation_cache(values)
    with open_run(workdir, config, allow_config_change=flag_value(values, "allow_config_change")) as opened:
        is_main = processes.is_main_process()
        report = print if is_main else lambda _line: None
        loader = open_loader(config.data, seed=config.run.seed, progress=is_main, report=report)
        allow_data_change = flag_value(values, "allow_data_change")
        with restore_signal_handlers():
            is_complete = train(opened, loader, allow_data_change=allow_data_change, should_stop=StopRequest())
    return 0 if is_complete else EXIT_STOPPED


@contextmanager
def _exit_on_interrupt() -> Iterator[None]:
    """Let Ctrl-C exit the process at once, as callbacks inside imports may catch the exception."""
    with restore_signal_handlers():
        if in_main_thread():
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        yield


def _default_workdir(experiment: str) -> str:
    if Path(experiment).suffix == ".json":
        raise UserError(
            f"--config={experiment}: needs --workdir; give --workdir={Path(experiment).parent} to continue that run, "
            "or a new folder"
        )
    return DEFAULT_WORKDIR if experiment == DEFAULT_EXPERIMENT else f"runs/{Path(experiment).stem}"
