"""Checks of a configuration: limits of single settings, then rules between several.

Nothing is compiled or read here.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from pggan_jax.config import SOUND_PRESETS, Config, DataConfig
from pggan_jax.config.network_rules import check_networks
from pggan_jax.config.schedule_rules import batch_size_setting, check_schedule
from pggan_jax.config.sound import SoundConfig, setting_problem
from pggan_jax.errors import ConfigError
from pggan_jax.images import fitting_base, grid_size, parse_base_shape, parse_crop, parse_range
from pggan_jax.metric_kinds import METRIC_KINDS
from pggan_jax.schedule import Schedule
from pggan_jax.source_kinds import SOURCE_KINDS, parse_source

MAX_GRID_SIDE = 2**16 - 1


def walk(node: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any, Mapping[str, Any]]]:
    """Yield all settings below a config dataclass as (dotted path, value, type, metadata).

    A section inside a section is named by its own name alone: sound.frames, although `sound` belongs to `data`.

    Raises:
        ConfigError: a section has another class, such as a plain dict.
    """
    hints = get_type_hints(type(node))
    for field in fields(node):
        value = getattr(node, field.name)
        path = f"{prefix}{field.name}"
        if is_dataclass(hints[field.name]):
            if not isinstance(value, hints[field.name]):
                raise ConfigError(path, value, f"must be a {hints[field.name].__name__}")
            yield from walk(value, f"{field.name}.")
        else:
            yield path, value, hints[field.name], field.metadata


def type_name(hint: Any) -> str:
    """Name a type in the words of a user."""
    if get_origin(hint) is tuple:
        return f"{'names' if get_args(hint)[0] is str else 'numbers'} with commas between them"
    if get_args(hint):
        key, value = get_args(hint)
        return f"pairs of {type_name(key)}:{type_name(value)}, as 4:128,8:64"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[hint]


def has_type(value: Any, hint: Any) -> bool:
    """Whether `value` has the type; a whole number is also a number, a bool is neither."""
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(has_type(item, get_args(hint)[0]) for item in value)
    if get_args(hint):
        key_hint, value_hint = get_args(hint)
        return isinstance(value, dict) and all(has_type(k, key_hint) and has_type(v, value_hint) for k, v in value.items())
    if hint is bool or isinstance(value, bool):
        return hint is bool and isinstance(value, bool)
    return isinstance(value, (int, float) if hint is float else hint)


def check_single(path: str, value: Any, hint: Any, limits: Mapping[str, Any]) -> None:
    """Check type and limits of one setting.

    Raises:
        ConfigError: the value has another type or is outside the limits.
    """
    if not has_type(value, hint):
        raise ConfigError(path, value, f"must be {type_name(hint)}")
    if "choices" in limits and any(one not in limits["choices"] for one in (value if isinstance(value, tuple) else [value])):
        allowed = ", ".join(choice or '"" (none)' for choice in limits["choices"])
        raise ConfigError(path, value, f"must be one of {allowed}")
    if "choices" in limits and isinstance(value, tuple) and len(set(value)) < len(value):
        raise ConfigError(path, value, "must name each only once")
    for single in value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else [value]:
        if isinstance(single, int | float) and not _is_finite(single):
            raise ConfigError(path, value, f"must be a finite number, {allowed_range(limits)}".rstrip(", "))
        if any(name in limits and not holds(single, limits[name]) for name, (_, holds) in _LIMITS.items()):
            raise ConfigError(path, value, f"must be {allowed_range(limits)}")


_LIMITS = {
    "minimum": ("at least", operator.ge),
    "above": ("greater than", operator.gt),
    "maximum": ("at most", operator.le),
    "below": ("less than", operator.lt),
}


def allowed_range(limits: Mapping[str, Any]) -> str:
    """Describe limits, such as 'at least 0 and less than 1'; empty without limits."""
    return " and ".join(f"{words} {limits[name]}" for name, (words, _) in _LIMITS.items() if name in limits)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def is_resolution(value: int) -> bool:
    """Whether `value` is 4*2^k."""
    return value >= 4 and value & (value - 1) == 0


def validate(config: Config) -> None:
    """Refuse a configuration that cannot be run, before anything is compiled or read.

    Args:
        config: the whole configuration.

    Raises:
        ConfigError: for the first setting that is wrong.
    """
    for path, value, hint, limits in walk(config):
        check_single(path, value, hint, limits)
    _check_base_shape(config)
    _check_resolutions(config)
    _check_data_and_grid(config)
    _check_sound(config)
    check_networks(config)
    _check_frozen(config)
    _check_evaluation(config)
    check_schedule(config)
    for resolution in Schedule.of(config).resolutions:
        _check_groups(config, resolution)


def _check_base_shape(config: Config) -> None:
    try:
        parse_base_shape(config.data.base_shape)
    except ValueError as error:
        raise ConfigError("data.base_shape", config.data.base_shape, str(error)) from None


def _check_resolutions(config: Config) -> None:
    for path, value in (
        ("data.resolution", config.data.resolution),
        ("schedule.start_resolution", config.schedule.start_resolution),
    ):
        if not is_resolution(value):
            below = 4 * 2 ** max(0, int(math.log2(value / 4)))
            raise ConfigError(path, value, f"must be 4*2^k, that is 4, 8, 16, 32 ...; near it are {below} and {2 * below}")
    if config.schedule.start_resolution > config.data.resolution:
        raise ConfigError(
            "schedule.start_resolution",
            config.schedule.start_resolution,
            f"must not exceed data.resolution, which is {config.data.resolution}",
        )
    for path, value, _, _ in walk(config):
        if isinstance(value, dict):
            for resolution in value:
                if not is_resolution(resolution):
                    raise ConfigError(path, dict(value), f"{resolution} is not a resolution; use 4, 8, 16, 32 ...")


def _check_data_and_grid(config: Config) -> None:
    try:
        kind, _ = parse_source(config.data.source)
    except ValueError as error:
        raise ConfigError("data.source", config.data.source, str(error)) from None
    _check_held_out(config.data)
    try:
        parse_crop(config.data.crop)
    except ValueError as error:
        raise ConfigError("data.crop", config.data.crop, str(error)) from None
    try:
        parse_range(config.data.range)
    except ValueError as error:
        raise ConfigError("data.range", config.data.range, str(error)) from None
    if kind == "photos" and config.data.labels:
        raise ConfigError("data.labels", True, "the source photos has no classes; use data.labels=false")
    try:
        shape = config.data.shape_at(config.data.resolution)
        columns, rows = grid_size(config.run.grid, height=shape.height, width=shape.width)
        side = max(columns * shape.width, rows * shape.height)
    except ValueError:
        raise ConfigError("run.grid", config.run.grid, "must be 1080p, 4k, or columns x rows such as 10x8") from None
    if side > MAX_GRID_SIDE:
        rule = f"a sample grid may be at most {MAX_GRID_SIDE} pixels wide and high; this one would have {side}"
        raise ConfigError("run.grid", config.run.grid, rule)


def _check_held_out(data: DataConfig) -> None:
    source = data.held_out_source
    if not source:
        return
    try:
        parse_source(source)
    except ValueError as error:
        raise ConfigError("data.held_out_source", source, str(error)) from None
    if data.held_out:
        raise ConfigError("data.held_out", data.held_out, f"held-out images come from data.held_out_source={source}; set 0")
    if data.range == "auto":
        rule = "gives held-out images black and white of their own; set data.range=LOW,HIGH, or full"
        raise ConfigError("data.range", data.range, rule)
    if source == data.source:
        rule = "is the source of the training images; name other images, or keep a share of these by data.held_out=0.1"
        raise ConfigError("data.held_out_source", source, rule)


def _check_sound(config: Config) -> None:
    kind, _ = parse_source(config.data.source)
    if not SOURCE_KINDS[kind].is_sound:
        # A prepared folder may hold sound, which is known once it is open.
        if config.preset in SOUND_PRESETS and kind != "prepared":
            rule = f"has images, and preset={config.preset} is for sound; set data.source=sound:DIR, or notes"
            raise ConfigError("data.source", config.data.source, rule)
        return
    check_sound_data(config.data)


def check_sound_settings(sound: SoundConfig) -> None:
    """Raise a ConfigError for the first setting of sound that cannot be used."""
    name, rule = setting_problem(sound)
    if name:
        raise ConfigError(f"sound.{name}", getattr(sound, name), rule)


def check_sound_data(data: DataConfig) -> None:
    """Check the settings of a source that holds sound, prepared or not.

    Raises:
        ConfigError: a setting of sound cannot be used, one has no meaning for sound, or the images have another size.
    """
    sound, default = data.sound, DataConfig()
    check_sound_settings(sound)
    for name in ("mirror", "augment", "crop", "resample", "modes", "range"):
        if getattr(data, name) != getattr(default, name):
            allowed = str(getattr(default, name)).lower() if getattr(default, name) != () else "it to nothing (data.augment=)"
            rule = f"has no meaning for sound; set {allowed}"
            raise ConfigError(f"data.{name}", getattr(data, name), rule)
    if data.channels not in (0, sound.channels):
        raise ConfigError(
            "data.channels", data.channels, f"sound.representation={sound.representation} has {sound.channels}; set 0"
        )
    shape = data.shape_at(data.resolution)
    if (shape.height, shape.width) != (sound.frames, sound.bins):
        wanted = f"{sound.frames} frames x {sound.bins} bins (sound.frames, sound.n_fft)"
        if fitting := fitting_base(sound.frames, sound.bins):
            remedy = f"set data.base_shape={fitting[0]} and data.resolution={fitting[1]}"
        else:
            remedy = "which no base shape of 8 to 64 pixels grows to; set sound.frames and sound.n_fft to powers of two"
        rule = f"with data.base_shape={data.base_shape} makes images of {shape}, but sound has {wanted}; {remedy}"
        raise ConfigError("data.resolution", data.resolution, rule)


def _check_frozen(config: Config) -> None:
    levels, path = config.optimizer.freeze_discriminator, "optimizer.freeze_discriminator"
    if not levels:
        return
    if not config.run.init_from:
        raise ConfigError(path, levels, "would keep random weights; set run.init_from to a trained run, or 0")
    start, last = config.schedule.start_resolution, config.data.resolution
    if start != last:
        rule = f"needs a run that does not grow: the blocks nearest the image are new; set schedule.start_resolution={last}"
        raise ConfigError(path, levels, rule)
    most = int(math.log2(last)) - 2
    if levels > most:
        shape = config.data.shape_at(last)
        raise ConfigError(
            path, levels, f"must be at most {most}: the discriminator of {shape} has so many blocks before the last"
        )


def _check_evaluation(config: Config) -> None:
    settings = config.eval
    if settings.best and settings.best not in settings.metrics:
        raise ConfigError("eval.best", settings.best, "must be among eval.metrics, or empty")
    for name in settings.metrics:
        problem = METRIC_KINDS[name].problem_of(config.data.shape_at(config.data.resolution))
        if problem:
            raise ConfigError("eval.metrics", settings.metrics, f"{problem}, which this run grows to")


def _check_groups(config: Config, resolution: int) -> None:
    stddev = config.discriminator.minibatch_stddev
    if stddev == "none" or stddev == "whole_batch":
        return
    path, batch = batch_size_setting(config, resolution)
    group = min(config.discriminator.mbstd_group_size, batch)
    if batch % group:
        near = f"{batch // group * group} or {(batch // group + 1) * group}"
        shape = config.data.shape_at(resolution)
        rule = f"at {shape} must be a multiple of discriminator.mbstd_group_size = {group}, such as {near}"
        raise ConfigError(path, batch, rule)
