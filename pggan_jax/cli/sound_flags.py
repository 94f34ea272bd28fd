"""Flags by which commands about data learn how sound becomes images."""

from __future__ import annotations

from dataclasses import dataclass, replace

from absl import flags

from pggan_jax.cli.shared_flags import flag_value
from pggan_jax.config import Config
from pggan_jax.config.io import load_config, parse_value, replace_setting
from pggan_jax.config.sound import SoundConfig
from pggan_jax.config.validation import check_sound_settings, validate
from pggan_jax.errors import DEFAULT_ORIGIN, ConfigError, UserError, name_origins
from pggan_jax.images import fitting_base, parse_base_shape
from pggan_jax.source_kinds import SOURCE_KINDS, parse_source

_DEFAULT_EXPERIMENT = "experiments/notes.py"
_IMAGE_FLAGS = ("crop", "resample", "modes", "range", "channels", "base_shape", "mirror")


@dataclass(frozen=True)
class SoundChoice:
    """How sound becomes images of which size.

    Attributes:
        config: the settings `sound.*`.
        resolution: nominal resolution of the images.
        base_shape: height and width of their first level.
        settings: those of a command line that trains with the same, as --config and --set take them.
    """

    config: SoundConfig
    resolution: int
    base_shape: tuple[int, int]
    settings: tuple[str, ...]


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
    shape = config.data.shape_at(config.data.resolution)
    base_shape, resolution, settings = config.data.base_shape, config.data.resolution, tuple(flag_value(values, "set"))
    if (shape.height, shape.width) != (sound.frames, sound.bins):
        fitting = fitting_base(sound.frames, sound.bins)
        if fitting is None:
            rule = f"with {sound.bins} bins no base shape of 8 to 64 pixels grows to it; choose powers of two"
            raise ConfigError("sound.frames", sound.frames, rule)
        base_shape, resolution = fitting
        settings += (f"data.base_shape={base_shape}", f"data.resolution={resolution}")
    if "resolution" in values and flag_value(values, "resolution") not in (None, 0, resolution):
        raise UserError(
            f"--resolution={flag_value(values, 'resolution')}: sound.frames and sound.n_fft give the size of the images, "
            f"which is resolution {resolution}; leave it out"
        )
    return SoundChoice(sound, resolution, parse_base_shape(base_shape), settings)


def settings_words(values: flags.FlagValues, choice: SoundChoice) -> list[str]:
    """Return the words of a command line that trains with the same settings."""
    words = [f"--config={flag_value(values, 'config') or _DEFAULT_EXPERIMENT}"]
    return words + [word for change in choice.settings for word in ("--set", change)]


def _loaded(values: flags.FlagValues) -> Config:
    """Return the experiment with the changed settings of sound; its source is not used."""
    config, default = load_config(flag_value(values, "config") or _DEFAULT_EXPERIMENT).config, Config()
    origins = {}
    for text in flag_value(values, "set"):
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (equals and name.startswith("sound.")):
            raise UserError(f"--set {text}: write a setting of sound, such as --set sound.sample_rate=16000")
        origins[name] = f"--set {text}"
        with name_origins(origins[name]):
            config = replace_setting(config, name, parse_value(name, value))
    # The settings of sound alone: their size may not fit the experiment's resolution, which is chosen afterwards.
    with name_origins(DEFAULT_ORIGIN, origins):
        validate(replace(default, data=replace(default.data, sound=config.data.sound)))
        check_sound_settings(config.data.sound)
    return config
