"""Flags by which commands about data learn how sound becomes images."""

from __future__ import annotations

from dataclasses import dataclass, replace

from absl import flags

from pggan_jax.cli.shared_flags import flag_value
from pggan_jax.config import Config
from pggan_jax.config_io import DEFAULT_ORIGIN, load_config, name_origins, parse_value, replace_setting
from pggan_jax.config_validation import validate
from pggan_jax.errors import ConfigError, UserError
from pggan_jax.images import parse_base_shape
from pggan_jax.sound_config import SoundConfig, fitting_base, setting_problem
from pggan_jax.source_kinds import SOURCE_KINDS, parse_source

_IMAGE_FLAGS = ("crop", "resample", "modes", "range", "channels", "base_shape", "mirror")


@dataclass(frozen=True)
class SoundChoice:
    """How sound becomes images of which size.

    Attributes:
        config: the settings `sound.*`.
        resolution: nominal resolution of the images.
        base_shape: height and width of their first level.
    """

    config: SoundConfig
    resolution: int
    base_shape: tuple[int, int]


def define_sound_flags(values: flags.FlagValues) -> None:
    """Add --config and --set."""
    flags.DEFINE_string(
        "config",
        None,
        "for sound: the experiment whose settings sound.* say how clips are cut and become images (default: those of "
        "experiments/notes.py)",
        flag_values=values,
    )
    flags.DEFINE_multi_string(
        "set", [], "for sound: override one setting, as --set sound.sample_rate=16000; repeat for more", flag_values=values
    )


def is_sound_source(source_name: str) -> bool:
    """Return whether a source, as written in `data.source`, gives sound; prepared ones do not."""
    try:
        return SOURCE_KINDS[parse_source(source_name)[0]].is_sound
    except ValueError:
        return False


def read_sound(values: flags.FlagValues, source_name: str) -> SoundChoice | None:
    """Read the flags for a source of sound; None for another source.

    Raises:
        UserError: a flag has no meaning for the source, or a setting cannot be used.
    """
    if not is_sound_source(source_name):
        for name in ("config", "set"):
            if flag_value(values, name):
                raise UserError(
                    f"--{name}: has an effect only on sound, and {source_name} holds images or is prepared; leave it out"
                )
        return None
    for name in _IMAGE_FLAGS:
        if name in values and values[name].present:
            raise UserError(f"--{name}={flag_value(values, name)}: has no meaning for sound; leave it out")
    config = _loaded(values)
    sound = config.data.sound
    name, rule = setting_problem(sound)
    if name:
        raise ConfigError(f"sound.{name}", getattr(sound, name), rule)
    shape = config.data.shape_at(config.data.resolution)
    if (shape.height, shape.width) == (sound.frames, sound.bins):
        return _agreeing(values, SoundChoice(sound, config.data.resolution, parse_base_shape(config.data.base_shape)))
    fitting = fitting_base(sound.frames, sound.bins)
    if fitting is None:
        rule = f"with {sound.bins} bins no base shape of 8 to 64 pixels grows to it; choose powers of two"
        raise ConfigError("sound.frames", sound.frames, rule)
    return _agreeing(values, SoundChoice(sound, fitting[1], parse_base_shape(fitting[0])))


def settings_words(values: flags.FlagValues, choice: SoundChoice) -> list[str]:
    """Return the words of a command line that trains with the same settings."""
    words = [f"--config={flag_value(values, 'config') or 'experiments/notes.py'}"]
    height, width = choice.base_shape
    sizes = (f"data.base_shape={height}x{width}", f"data.resolution={choice.resolution}")
    changes = [*flag_value(values, "set"), *(sizes if flag_value(values, "set") else ())]
    return words + [word for change in changes for word in ("--set", change)]


def _agreeing(values: flags.FlagValues, choice: SoundChoice) -> SoundChoice:
    """Return the choice; raise UserError if --resolution asks for another."""
    if "resolution" in values and flag_value(values, "resolution") not in (None, 0, choice.resolution):
        raise UserError(
            f"--resolution={flag_value(values, 'resolution')}: sound.frames and sound.n_fft give the size of the images, "
            f"which is resolution {choice.resolution}; leave it out"
        )
    return choice


def _loaded(values: flags.FlagValues) -> Config:
    """Return the experiment with the changed settings of sound; its source is not used."""
    path, config = flag_value(values, "config"), Config()
    if path:
        loaded = load_config(path, ["data.source=digits"])
        config = loaded.config
    for text in flag_value(values, "set"):
        name, equals, value = text.partition("=")
        if not (equals and name.strip().startswith("sound.")):
            raise UserError(f"--set {text}: write a setting of sound, such as --set sound.sample_rate=16000")
        config = replace_setting(config, name.strip(), parse_value(name.strip(), value.strip()))
    with name_origins(DEFAULT_ORIGIN):
        validate(replace(config, data=replace(config.data, source="digits")))
    return config
