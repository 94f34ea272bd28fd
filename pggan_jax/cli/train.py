"""python launch.py [train] [FLAGS]

Train a network from 4x4 up, or continue: the same command in the same --workdir goes on where the run stopped, also in the
middle of a fade-in. Ctrl-C (and SIGTERM, SIGHUP) saves and stops with exit status 75; a second Ctrl-C or SIGTERM stops at once.

The workdir gets config.json, log.txt, events.jsonl (growth, saves, warnings ...), stats.jsonl (one object per tick), reals.png,
fakesKKKKKK.png (one grid per tick, named by kimg) and checkpoints/.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

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
from pggan_jax.system.portability import in_main_thread

FLAGS = flags.FlagValues()
define_config_flags(FLAGS)
flags.DEFINE_string(
    "workdir", None, f"folder of the run (default: runs/NAME for experiments/NAME.py, so {DEFAULT_WORKDIR})", flag_values=FLAGS
)
flags.DEFINE_string(
    "init_from",
    None,
    "start a new run from the weights of another: its workdir, or WORKDIR@KIMG; short for --set run.init_from=...",
    flag_values=FLAGS,
)
flags.DEFINE_boolean(
    "allow_config_change", False, "continue a run with settings that differ from those it was started with", flag_values=FLAGS
)
flags.DEFINE_boolean(
    "allow_data_change", False, "continue a run with other images or classes than its checkpoints record", flag_values=FLAGS
)
define_compilation_cache_flag(FLAGS)
define_host_flags(FLAGS)

EXIT_STOPPED = 75
"""Exit status of a run that was asked to stop and can be continued (EX_TEMPFAIL of sysexits.h)."""


def stop_signals() -> list[signal.Signals]:
    """Signals that ask a run to stop: those that this system has and that nobody has chosen to ignore."""
    hang_up = [signal.SIGHUP] if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN else []
    return [signal.SIGINT, signal.SIGTERM, *hang_up]


class StopRequest:
    """Turn the first Ctrl-C, SIGTERM or SIGHUP into a request to stop.

    A SIGHUP is never the second, nor does the first one count: it comes twice, or with SIGTERM, where a terminal closes.

    A SIGHUP that is ignored when the run begins, as under nohup, stays so. Only the main thread of a process hears signals: in
    another one, as in a notebook, nothing is asked for.
    """

    def __init__(self) -> None:
        self.is_set = False
        self._signals = stop_signals() if in_main_thread() else []
        for number in self._signals:
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.is_set = True
        hang_up = getattr(signal, "SIGHUP", None)
        for one in self._signals:
            if one == hang_up:
                # The kernel and the shell both send it when a terminal closes, and service managers beside SIGTERM.
                signal.signal(one, signal.SIG_IGN)
            elif number != hang_up:
                signal.signal(one, signal.SIG_DFL)
        # A terminal that is gone, or is being written to at this moment, must not end the run that is about to be saved.
        with suppress(OSError, RuntimeError):
            print("stopping after this step and saving; once more to stop at once", file=sys.stderr)

    def __call__(self) -> bool:
        return self.is_set


def run(values: flags.FlagValues) -> int:
    """Train to the end or to a stop; 0 when complete, `EXIT_STOPPED` when stopped."""
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
        from pggan_jax.loop.train import open_run, train

    use_compilation_cache(values)
    with open_run(workdir, config, allow_config_change=flag_value(values, "allow_config_change")) as opened:
        is_main = processes.is_main_process()
        tell = print if is_main else lambda _line: None
        loader = open_loader(config.data, seed=config.run.seed, progress=is_main, report=tell)
        allow_data_change = flag_value(values, "allow_data_change")
        with _restore_signal_handlers():
            is_complete = train(opened, loader, allow_data_change=allow_data_change, should_stop=StopRequest())
    return 0 if is_complete else EXIT_STOPPED


@contextmanager
def _exit_on_interrupt() -> Iterator[None]:
    """Ctrl-C ends the process here, where nothing is at stake: as an exception, a callback inside an import may swallow it."""
    with _restore_signal_handlers():
        if in_main_thread():
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        yield


@contextmanager
def _restore_signal_handlers() -> Iterator[None]:
    """What answered signals before does so again after the `with` block: a notebook's process lives on."""
    before = {number: signal.getsignal(number) for number in signal.valid_signals()} if in_main_thread() else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None is a handler that Python has not set and cannot set again.
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)


def _default_workdir(experiment: str) -> str:
    return DEFAULT_WORKDIR if experiment == DEFAULT_EXPERIMENT else f"runs/{Path(experiment).stem}"
