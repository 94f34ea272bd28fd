"""`pg.train`: train or continue a run from Python, for example in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pggan_jax.checkpointing.open_model import load
from pggan_jax.checkpointing.orbax_fixes import silence_log
from pggan_jax.config import Config
from pggan_jax.config.io import load_config
from pggan_jax.config.validation import validate
from pggan_jax.data.open_loader import open_loader
from pggan_jax.distributed.backend import require_backend
from pggan_jax.errors import DEFAULT_ORIGIN, name_origins
from pggan_jax.generation.model import Model
from pggan_jax.loop.run_setup import open_run
from pggan_jax.loop.train import train as train_run
from pggan_jax.system.jax_environment import fixed_jax_settings
from pggan_jax.system.paths import user_path
from pggan_jax.system.resource_limits import require_limits
from pggan_jax.system.stop_request import StopRequest, restore_signal_handlers
from pggan_jax.system.xla_options import prefer_fast_convolutions


def read_config(experiment: str | Path, settings: Sequence[str] = ()) -> Config:
    """Read an experiment file or the config.json of a run.

    Args:
        experiment: path, such as "experiments/digits.py", also from another folder than that of the repository.
        settings: as after `--set`, such as ["schedule.total_kimg=20"].

    Returns:
        The validated configuration; change fields with `dataclasses.replace`.

    Raises:
        UserError: the file or a setting cannot be used.
    """
    return load_config(str(experiment), settings).config


def train(config: Config, workdir: str | Path, *, allow_config_change: bool = False, allow_data_change: bool = False) -> Model:
    """Train a run, or continue the one in `workdir`, as the command `train` does.

    The status lines are printed and logged. Interrupting the kernel of a notebook, or Ctrl-C, saves and returns; the same
    call continues.

    Args:
        config: all settings, from `read_config` or built in Python.
        workdir: folder of the run.
        allow_config_change: continue with other settings than the run was started with.
        allow_data_change: continue with other images than those that the checkpoints recorded.

    Returns:
        The model of the last checkpoint; its `kimg` says how far the run has come.

    Raises:
        UserError: a setting, the folder or the data cannot be used, or the run has diverged too often.
    """
    prefer_fast_convolutions()
    require_limits()
    folder = user_path(str(workdir), named="workdir=", example="name a folder")
    with fixed_jax_settings(print), silence_log(), name_origins(DEFAULT_ORIGIN, {}):
        validate(config)
        require_backend()
        with open_run(folder, config, allow_config_change=allow_config_change) as opened:
            loader = open_loader(config.data, seed=config.run.seed, report=print)
            with restore_signal_handlers():
                train_run(opened, loader, allow_data_change=allow_data_change, should_stop=StopRequest())
    return load(folder)
