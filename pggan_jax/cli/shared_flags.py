"""Flags and steps that several commands share."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from pggan_jax.config import Config, DataConfig
from pggan_jax.config.fields import MAX_RESOLUTION
from pggan_jax.config.io import load_config
from pggan_jax.config.validation import is_resolution
from pggan_jax.errors import DEFAULT_ORIGIN, UserError, name_origins
from pggan_jax.images import parse_base_shape, parse_crop, parse_range
from pggan_jax.system.paths import user_path

if TYPE_CHECKING:
    from pggan_jax.data.preparation.spec import PreparationSpec

DEFAULT_EXPERIMENT = "experiments/digits.py"
DEFAULT_WORKDIR = "runs/digits"
_MOST_WORKERS = 1024
_MOST_PROCESSES = 2**16
MOST_SEEDS = 10_000_000


def flag_value(values: flags.FlagValues, name: str) -> Any:
    """Return the value of a flag, also if no command line was parsed."""
    return values[name].value


def define_config_flags(values: flags.FlagValues) -> None:
    """Add --config and --set."""
    flags.DEFINE_string(
        "config",
        DEFAULT_EXPERIMENT,
        "experiment file (Python with a get_config() that returns a Config), or the config.json of a run",
        flag_values=values,
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
    flags.DEFINE_integer(
        "num_processes", None, "number of processes of the run", flag_values=values, lower_bound=1, upper_bound=_MOST_PROCESSES
    )
    flags.DEFINE_integer(
        "process_id", None, "number of this process, from 0", flag_values=values, lower_bound=0, upper_bound=_MOST_PROCESSES
    )
    flags.DEFINE_boolean(
        "cluster",
        False,
        "read these three from the environment of SLURM, a TPU pod, Kubernetes or Open MPI",
        flag_values=values,
    )


def define_preparation_flags(values: flags.FlagValues) -> None:
    """Add the flags of preparation, with help and limits of the settings of the same name."""
    for setting in fields(DataConfig):
        help, limits = setting.metadata.get("help", ""), setting.metadata
        default: Any = setting.default
        if setting.name in ("crop", "resample", "modes", "range"):
            if "choices" in limits:
                flags.DEFINE_enum(setting.name, default, limits["choices"], help, flag_values=values)
            else:
                flags.DEFINE_string(setting.name, default, help, flag_values=values)
        elif setting.name in ("channels", "max_images", "shuffle_seed"):
            bounds = {"lower_bound": limits["minimum"], "upper_bound": limits["maximum"]}
            flags.DEFINE_integer(setting.name, default, help, **bounds, flag_values=values)
    flags.DEFINE_integer(
        "resolution",
        None,
        "side of the prepared images, 4*2^k; smaller images cannot be used",
        flag_values=values,
        lower_bound=4,
        upper_bound=MAX_RESOLUTION,
    )
    flags.DEFINE_string(
        "base_shape", "4x4", "HEIGHTxWIDTH of the first level, such as 3x4; it is doubled as 4x4 would be", flag_values=values
    )


def define_drawn_size_flag(values: flags.FlagValues) -> None:
    """Add --resolution to commands that do not resize images."""
    flags.DEFINE_integer(
        "resolution",
        0,
        "size of digits, photos and synthetic images, or the level of tfrecords",
        flag_values=values,
        lower_bound=0,
        upper_bound=MAX_RESOLUTION,
    )


def define_workers_flag(values: flags.FlagValues) -> None:
    """Add --workers."""
    flags.DEFINE_integer(
        "workers",
        None,
        "processes that decode (default: one per core); 0 decodes in this process",
        flag_values=values,
        lower_bound=0,
        upper_bound=_MOST_WORKERS,
    )


def define_float(
    name: str, default: float | None, help: str, *, lowest: float, highest: float, values: flags.FlagValues
) -> None:
    """Add a flag that takes a finite number from `lowest` to `highest`."""
    parser = _FiniteParser(lowest, highest)
    flags.DEFINE(parser, name, default, help, flag_values=values, serializer=flags.ArgumentSerializer())


class _FiniteParser(flags.FloatParser):
    """Parser that refuses nan, which the parser of absl accepts."""

    def is_outside_bounds(self, val: float) -> bool:
        return math.isnan(val) or super().is_outside_bounds(val)


def read_preparation(values: flags.FlagValues, *, resolution: int | None = None, **more: Any) -> PreparationSpec:
    """Read the flags of preparation.

    Args:
        values: flags of the command.
        resolution: used if the flag --resolution is absent.
        more: other fields of `PreparationSpec`.

    Raises:
        UserError: a value is impossible.
    """
    from pggan_jax.data.preparation.spec import PreparationSpec

    resolution = resolution or flag_value(values, "resolution")
    crop = flag_value(values, "crop")
    if not is_resolution(resolution) or resolution > MAX_RESOLUTION:
        raise UserError(f"--resolution={resolution}: must be 4*2^k, that is 4, 8, 16, 32 ... {MAX_RESOLUTION}")
    try:
        parse_crop(crop)
    except ValueError as error:
        raise UserError(f"--crop={crop}: {error}") from None
    try:
        parse_range(flag_value(values, "range"))
    except ValueError as error:
        raise UserError(f"--range={flag_value(values, 'range')}: {error}") from None
    shared = {
        name: flag_value(values, name) for name in ("channels", "resample", "modes", "range", "max_images", "shuffle_seed")
    }
    return PreparationSpec(resolution, read_base_shape(values), crop=crop, **shared, **more)


def read_base_shape(values: flags.FlagValues) -> tuple[int, int]:
    """Read the flag --base_shape.

    Raises:
        UserError: it has another form.
    """
    text = flag_value(values, "base_shape")
    try:
        return parse_base_shape(text)
    except ValueError as error:
        raise UserError(f"--base_shape={text}: {error}") from None


@contextmanager
def read_config(values: flags.FlagValues, *more_settings: str) -> Iterator[Config]:
    """Load the configuration that --config and --set describe, for use in a `with` block.

    A `ConfigError` that is raised in the block says where its setting was set.

    Args:
        values: flags of the command, with those of `define_config_flags`.
        more_settings: `name=value`, applied after those of --set.

    Yields:
        The validated configuration.

    Raises:
        UserError: the experiment file or a setting cannot be used.
    """
    loaded = load_config(flag_value(values, "config"), [*flag_value(values, "set"), *more_settings])
    with name_origins(DEFAULT_ORIGIN, loaded.origins):
        yield loaded.config


def folder(flag: str, path: str) -> Path:
    """Convert the value of a flag to the path of a folder.

    Raises:
        UserError: the text is empty, as from an unset shell variable.
    """
    return user_path(path, named=f"--{flag}=", example="name a folder")


def existing_run(path: str) -> Path:
    """Convert --workdir to the path of an existing folder.

    Raises:
        UserError: there is no such folder.
    """
    workdir = folder("workdir", path)
    if not workdir.is_dir():
        what = "is a file, not a folder" if workdir.is_file() else "no such folder"
        raise UserError(f"--workdir={path}: {what}; give the --workdir of a run, such as {DEFAULT_WORKDIR}")
    return workdir


class Seeds:
    """Seeds in the order given, stored as ranges."""

    def __init__(self, ranges: Sequence[range]):
        self._ranges, self._count = ranges, sum(map(len, ranges))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(self._ranges)

    def first_repeated(self) -> int | None:
        """Return a seed that occurs twice; None if all differ."""
        ranges = sorted(self._ranges, key=lambda one: one.start)
        end = -1
        for one in ranges:
            if one.start <= end:
                return one.start
            end = one.stop - 1
        return None

    def describe(self) -> str:
        """Return the seeds as in --seeds; for a long list its beginning and a digest."""
        text = ",".join(str(one.start) if len(one) == 1 else f"{one.start}-{one.stop - 1}" for one in self._ranges)
        return text if len(text) <= 100 else f"{text[:60]}... ({len(self):,}, {hashlib.sha256(text.encode()).hexdigest()[:16]})"


def parse_seeds(text: str) -> Seeds:
    """Parse seeds such as '0-35,40,42-44'.

    Raises:
        UserError: the text has another form, or asks for too many seeds.
    """
    ranges: list[range] = []
    count = 0
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        # Ten digits hold all seeds; Python refuses to convert thousands of digits.
        if any(not one.isdecimal() or len(one) > 10 for one in (first, *([last] if dash else []))):
            raise UserError(f"--seeds={text}: {part.strip()!r} is neither a number nor a range; write seeds as 0-35,40")
        low, high = int(first), int(last or first)
        if low > high or high >= 2**32:
            raise UserError(f"--seeds={text}: {part.strip()!r} must increase and stay below 2^32; write it as 0-35")
        count += high - low + 1
        if count > MOST_SEEDS:
            raise UserError(f"--seeds={text}: {part.strip()!r} asks for more than {MOST_SEEDS:,} images; use several commands")
        ranges.append(range(low, high + 1))
    return Seeds(ranges)
