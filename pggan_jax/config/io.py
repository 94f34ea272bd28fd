"""Reading and writing configurations: experiment files, `--set`, JSON, differences."""

from __future__ import annotations

import dataclasses
import difflib
import json
import runpy
import traceback
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args, get_origin

from pggan_jax.config import Config
from pggan_jax.config.fields import DuplicateKeyError, parse_text
from pggan_jax.config.presets import PRESETS, apply_preset
from pggan_jax.config.validation import type_name, validate, walk
from pggan_jax.errors import DEFAULT_ORIGIN, ConfigError, UserError, name_origins, one_line
from pggan_jax.system.json_files import parse_json
from pggan_jax.system.paths import user_path

_ROOT = Path(__file__).resolve().parents[2]
_LONGEST_REASON = 160
_LONGEST_ORIGIN = 90
_MOST_NAMES = 12
_FORMER_NAMES = {"loss.gradient_norm": "loss.penalty_scale"}


@dataclasses.dataclass(frozen=True)
class LoadedConfig:
    """A validated configuration, and where each setting that is not at its default was set."""

    config: Config
    origins: dict[str, str]


def load_config(experiment: str, overrides: Sequence[str] = ()) -> LoadedConfig:
    """Read an experiment file or a config.json, apply `name=value` overrides, and validate.

    Overrides are applied in order, but a preset first.

    Args:
        experiment: path of a Python file with a function `get_config()` that returns a `Config`, or of JSON by `to_json`.
        overrides: such as ["generator.fmap_max=64", "schedule.batch_size_at=4:128,8:64"].

    Raises:
        UserError: the file is missing, or is neither an experiment file nor settings.
        ConfigError: an override has an unknown name or a wrong value, or the result cannot be run.
    """
    config = _read_experiment(experiment)
    default = dict(settings_of(Config()))
    origins = {path: experiment for path, value in settings_of(config) if value != default[path]}
    assignments = [_split_override(text) for text in overrides]
    for path, text in sorted(assignments, key=lambda assignment: assignment[0] != "preset"):
        origin = one_line(f"--set {path}={text}", longest=_LONGEST_ORIGIN)
        with name_origins(origin):
            value = parse_value(path, text)
            if path == "preset" and value:
                before = dict(settings_of(config))
                config = apply_preset(config, value)
                origins |= {changed: origin for changed, new in settings_of(config) if new != before[changed]}
        config = replace_setting(config, path, value)
        origins[path] = origin
    with name_origins(DEFAULT_ORIGIN, origins):
        validate(config)
    return LoadedConfig(config, origins)


def _read_experiment(experiment: str) -> Config:
    path = user_path(experiment, named="--config=", example="name an experiment file, such as experiments/digits.py")
    if path.is_dir():
        example = path / ("config.json" if (path / "config.json").is_file() else "digits.py")
        raise UserError(f"--config={experiment}: is a folder; name an experiment file in it, such as {example}")
    if not path.is_file():
        # From any other folder, experiments/NAME.py means the one beside the package.
        path = _ROOT / experiment
    if not path.is_file():
        raise UserError(f"--config={experiment}: no such file; {_existing_experiments(Path(experiment))}")
    if path.suffix == ".json":
        with _report_failures(experiment, path, "cannot be read"):
            config = _config_of(_read_settings(path.read_text(encoding="utf-8", errors="replace"), f"--config={experiment}"))
    else:
        config = _run_experiment(experiment, path)
    with name_origins(experiment):
        _check_preset(config)
    return config


def _existing_experiments(wanted: Path) -> str:
    """List the experiment files beside a path that does not exist, else the project's."""
    for folder in (wanted.parent, _ROOT / "experiments"):
        files = [
            file
            for file in sorted(folder.glob("*.py"))
            if file.is_file() and "def get_config" in file.read_text(errors="replace")
        ]
        names = [file.name for file in files] + ["config.json"] * (folder / "config.json").is_file()
        if names:
            break
    shown = folder.relative_to(_ROOT) if folder.is_relative_to(_ROOT) else folder
    listed = ", ".join(names[:_MOST_NAMES]) + " ..." * (len(names) > _MOST_NAMES)
    close = difflib.get_close_matches(wanted.name, names, n=1)
    return f"did you mean {shown / close[0]}? {shown}/ has {listed}" if close else f"choose one of {shown}/: {listed}"


def _run_experiment(experiment: str, path: Path) -> Config:
    with _report_failures(experiment, path, "cannot be run"):
        namespace = runpy.run_path(str(path))
    if "get_config" not in namespace:
        raise UserError(f"--config={experiment}: defines no get_config(); it must return a pggan_jax.config.Config")
    with _report_failures(experiment, path, "get_config() failed"):
        config = namespace["get_config"]()
    if not isinstance(config, Config):
        raise UserError(f"--config={experiment}: get_config() returned {type(config).__name__}, not a pggan_jax.config.Config")
    return config


@contextmanager
def _report_failures(experiment: str, path: Path, what: str) -> Iterator[None]:
    """Report every exception of the `with` block, `SystemExit` included, as a `UserError`.

    Raises:
        UserError: the `with` block has raised an exception.
    """
    try:
        yield
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise UserError(f"--config={experiment}: {what}: {_reason(error, path)}") from error


def _reason(error: BaseException, path: Path) -> str:
    """Describe an exception in one line: type, message, and the line of `path` if known."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    where = f" (line {lines[-1]})" if lines else ""
    return one_line(f"{type(error).__name__}: {error}", longest=_LONGEST_REASON) + where


def _check_preset(config: Config) -> None:
    """Refuse a preset that is named but not applied: the run would train with another schedule."""
    default, mine = dict(settings_of(Config())), dict(settings_of(config))
    if not isinstance(config.preset, str) or config.preset not in PRESETS:
        return
    official = dict(settings_of(apply_preset(Config(), config.preset)))
    changed = [path for path in official if path != "preset" and official[path] != default[path]]
    if all(mine[path] == default[path] for path in changed):
        rule = "none of its settings are there; build the config with pggan_jax.config.presets.apply_preset(config, name)"
        raise ConfigError("preset", config.preset, rule)


def settings_of(config: Config) -> list[tuple[str, Any]]:
    """List all settings as (dotted path, value), in the order of the dataclasses."""
    return [(path, value) for path, value, _, _ in walk(config)]


def _split_override(text: str) -> tuple[str, str]:
    path, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--set {text}: must be name=value, such as --set generator.fmap_max=64")
    return path.strip(), value.strip()


def parse_value(path: str, text: str) -> Any:
    """Turn the text of an override into the type of the setting it names.

    Raises:
        ConfigError: no such setting, or the text cannot be read as its type.
    """
    hints = {name: hint for name, _, hint, _ in walk(Config())}
    if path not in hints:
        raise ConfigError(path, text, f"there is no such setting; {_nearest(path, list(hints))}")
    try:
        return parse_text(text, hints[path])
    except DuplicateKeyError as error:
        raise ConfigError(path, text, str(error)) from None
    except (ValueError, SyntaxError):
        raise ConfigError(path, text, f"must be {type_name(hints[path])}") from None


def _nearest(path: str, known: list[str]) -> str:
    if path in _FORMER_NAMES:
        return f"its name is {_FORMER_NAMES[path]} now"
    section = [name for name in known if name.startswith(f"{path}.")]
    if section:
        return f"it is a section; did you mean one of {', '.join(section)}?"
    same_leaf = [name for name in known if name.rpartition(".")[2] == path.rpartition(".")[2]]
    close = same_leaf or difflib.get_close_matches(path, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else "launch.py settings lists them all"


def replace_setting(config: Any, path: str, value: Any) -> Any:
    """Return a copy of a config dataclass with one setting changed, by its dotted name."""
    section, _, name = path.rpartition(".")
    if not section:
        return dataclasses.replace(config, **{name: value})
    for field in dataclasses.fields(config):
        inner = getattr(config, field.name)
        if field.name == section:
            return dataclasses.replace(config, **{section: replace_setting(inner, name, value)})
        if dataclasses.is_dataclass(inner) and (changed := replace_setting(inner, path, value)) is not inner:
            return dataclasses.replace(config, **{field.name: changed})
    return config


def to_json(config: Config) -> str:
    """Write the whole configuration as indented JSON."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(text: str, where: str) -> Config:
    """Read what `to_json` wrote, also in an earlier version: absent settings have defaults.

    Args:
        text: the JSON.
        where: file name for the error message.

    Raises:
        UserError: not JSON, an unknown setting, or a wrong value.
    """
    config = _config_of(_read_settings(text, where))
    with name_origins(where):
        validate(config)
    return config


def absent_settings(text: str, where: str) -> list[str]:
    """List the settings that `from_json` takes from their defaults."""
    stored = _read_settings(text, where)
    return [path for path, _ in settings_of(Config()) if path not in stored]


def _read_settings(text: str, where: str) -> dict[str, Any]:
    """Read JSON as dotted path -> value; values are not validated."""
    try:
        tree = parse_json(text)
    except ValueError as error:
        raise UserError(
            f"{where}: is not JSON ({error}); restore the file, or start a new run from an experiment file"
        ) from None
    if not isinstance(tree, dict) or not tree:
        raise UserError(
            f"{where}: is not a JSON object of settings; restore the file, or start a new run from an experiment file"
        )
    known = {path for path, _ in settings_of(Config())}
    sections = {path.rpartition(".")[0] for path in known} - {""}
    stored = _with_present_names(dict(_flatten(tree, sections)))
    for path in stored:
        if path in known:
            continue
        if path in sections:
            raise UserError(f"{where}: {path} is not a JSON object of settings; restore the file")
        raise UserError(
            f"{where}: has the unknown setting {path}; use the version of pggan_jax that wrote it, or remove the setting"
        )
    return stored


def _with_present_names(stored: dict[str, Any]) -> dict[str, Any]:
    """Translate earlier settings: `loss.gradient_norm` (of WGAN-GP), `loss.penalty_scale=auto`."""
    stored, is_wgan_gp = dict(stored), stored.get("loss.name", "wgan_gp") == "wgan_gp"
    if "loss.gradient_norm" in stored:
        norm = stored.pop("loss.gradient_norm")
        stored["loss.penalty_scale"] = norm if is_wgan_gp else stored.get("loss.penalty_scale", "current")
    if stored.get("loss.penalty_scale") == "auto":
        stored["loss.penalty_scale"] = "full_resolution" if is_wgan_gp else "current"
    return stored


def _flatten(tree: dict[str, Any], sections: Set[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and key in sections:
            yield from _flatten(value, sections, f"{key}.")
        else:
            yield path, value


def _config_of(stored: Mapping[str, Any]) -> Config:
    config = Config()
    for path, _, hint, _ in walk(Config()):
        if path not in stored:
            continue
        value = stored[path]
        if get_args(hint) and isinstance(value, dict) and all(key.isdecimal() for key in value):
            value = {int(key): item for key, item in value.items()}  # other keys stay text, which `validate` refuses
        if get_origin(hint) is tuple and isinstance(value, list):
            value = tuple(value)
        config = replace_setting(config, path, value)
    return config


def difference(old: Config, new: Config) -> list[str]:
    """List each setting that differs, as 'name: old -> new'."""
    before = dict(settings_of(old))
    return [f"{path}: {before[path]!r} -> {value!r}" for path, value in settings_of(new) if value != before[path]]
