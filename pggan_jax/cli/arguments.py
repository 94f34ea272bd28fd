"""Flags and steps that several commands share."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from pggan_jax.config_io import LoadedConfig, load_config
from pggan_jax.errors import UserError

DEFAULT_EXPERIMENT = "experiments/digits.py"
DEFAULT_WORKDIR = "runs/digits"


def define_config_flags(values: flags.FlagValues) -> None:
    """Add --config and --set."""
    flags.DEFINE_string(
        "config", DEFAULT_EXPERIMENT, "experiment file: Python with a get_config() that returns a Config", flag_values=values
    )
    flags.DEFINE_multi_string(
        "set",
        [],
        "override one setting, as --set generator.fmap_max=64; repeat for more; `launch.py settings` lists them",
        flag_values=values,
    )


def define_host_flags(values: flags.FlagValues) -> None:
    """Add the flags of a run over several hosts."""
    flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, for a run over several hosts", flag_values=values)
    flags.DEFINE_integer("num_processes", None, "how many processes take part", flag_values=values, lower_bound=1)
    flags.DEFINE_integer("process_id", None, "which of them this is, from 0", flag_values=values, lower_bound=0)


def read_config(values: flags.FlagValues) -> LoadedConfig:
    """The experiment that --config and --set describe, validated."""
    return load_config(values["config"].value, values["set"].value)


def folder(flag: str, path: str) -> Path:
    """A folder as the user wrote it.

    Raises:
        UserError: it is the empty text, as an unset shell variable gives.
    """
    if not path.strip():
        raise UserError(f"--{flag}=: is empty; name a folder")
    return Path(path).expanduser()


def existing_run(path: str) -> Path:
    """A workdir that must hold a run.

    Raises:
        UserError: there is no such folder.
    """
    workdir = folder("workdir", path)
    if not workdir.is_dir():
        raise UserError(f"--workdir={path}: no such folder; give the --workdir of a run, such as {DEFAULT_WORKDIR}")
    return workdir


def parse_seeds(text: str) -> list[int]:
    """Seeds as '0-35,40,42-44' to a list, in the order given.

    Raises:
        UserError: the text is not of that form.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UserError(f"--seeds={text}: {part.strip()!r} is neither a number nor a range; write them as 0-35,40")
        low, high = int(first), int(last or first)
        if low > high or high >= 2**32:
            raise UserError(f"--seeds={text}: {part.strip()!r} must run upwards and stay below 2^32; write it as 0-35")
        if high - low >= 1_000_000:
            raise UserError(
                f"--seeds={text}: {part.strip()!r} asks for more than 1,000,000 pictures; make them in several goes"
            )
        seeds.extend(range(low, high + 1))
    return seeds
