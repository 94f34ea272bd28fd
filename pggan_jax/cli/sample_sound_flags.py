"""Flags of `sample` for runs on sound, and refusals of flags for the other kind of run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from absl import flags

from pggan_jax.cli.model_flags import chosen_class, output_file
from pggan_jax.cli.shared_flags import define_float, flag_value, folder
from pggan_jax.errors import UserError

if TYPE_CHECKING:
    from pggan_jax.generation.model import Model

# What to use instead on a run of images.
_COUNTERPARTS = {
    "pitch": "choose a class by --class",
    "scale": "show one latent with every class by --seeds and --class",
    "melody": "draw a walk by film --kind=walk",
    "timbres": "draw a walk by film --kind=walk",
    "seconds_per_timbre": "draw a walk by film --kind=walk",
    "fold": "remove it",
    "walk": "draw a walk by film --kind=walk --seeds=A,B",
    "steps": "draw a walk by film --kind=walk",
    "invert": "remove it",
    "float": "the Python interface has floats: model.floats",
}
_OF_IMAGES = ("grid", "grid_out", "columns", "zoom", "gap")
_OF_MODES = {"melody": ("timbres", "seconds_per_timbre", "fold"), "walk": ("steps",)}
_MOST_STEPS = 1000
_WALK = re.compile(r"(\d{1,10})-(\d{1,10})", re.ASCII)
_HIGHEST_SEED = 2**32 - 1


class Place(NamedTuple):
    """Where waves go: a path, and whether it is a "folder", a "zip" or a "wav" of all of them."""

    path: Path
    kind: str


def define_sound_flags(values: flags.FlagValues) -> None:
    """Add the flags that only runs on sound take."""
    flags.DEFINE_string("pitch", None, "sound: MIDI pitch of all notes, such as 60", flag_values=values)
    flags.DEFINE_boolean(
        "scale", False, "sound: one seed at every trained pitch upwards, to scale.wav or a folder", flag_values=values
    )
    flags.DEFINE_string(
        "melody",
        None,
        "sound: play a list of notes (lines of: start_seconds end_seconds pitch velocity), FILE.mid, or scale or ode",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "timbres", None, "melody: latents to walk through", flag_values=values, lower_bound=1, upper_bound=_MOST_STEPS
    )
    define_float(
        "seconds_per_timbre",
        None,
        "melody: time from one latent to the next (default: 6)",
        lowest=0.01,
        highest=3600,
        values=values,
    )
    flags.DEFINE_boolean("fold", False, "melody: transpose notes by octaves into the trained pitches", flag_values=values)
    flags.DEFINE_string("walk", None, "sound: A-B, from the latent of seed A to that of seed B", flag_values=values)
    flags.DEFINE_integer("steps", 16, "walk: number of sounds", flag_values=values, lower_bound=2, upper_bound=_MOST_STEPS)
    flags.DEFINE_string(
        "invert",
        None,
        "sound: how spectrograms become waves: if (generated phases), griffin_lim (phases are searched), if+N (N steps of the "
        "search, from the generated phases)",
        flag_values=values,
    )
    flags.DEFINE_boolean("float", False, "sound: WAV of 32-bit floats, never scaled, instead of 16 bits", flag_values=values)


def refuse_sound_flags(values: flags.FlagValues) -> None:
    """Raises: UserError: a flag of sound is given, and the run makes images."""
    given = [name for name in _COUNTERPARTS if values[name].present]
    wants_wave = Path(flag_value(values, "out")).suffix.lower() == ".wav"
    if given:
        name = given[0]
        raise UserError(
            f"--{name}={flag_value(values, name)}: is for runs on sound, and this run makes images; {_COUNTERPARTS[name]}"
        )
    if wants_wave or flag_value(values, "format") == "wav":
        raise UserError("WAV files are for runs on sound, and this run makes images; choose PNG or WebP by --format")


def refuse_image_flags(values: flags.FlagValues) -> None:
    """Raises: UserError: a flag of images is given, or flags contradict each other."""
    for name in _OF_IMAGES:
        if values[name].present:
            raise UserError(
                f"--{name}={flag_value(values, name)}: is for images, and this run makes sound; the sounds one after another "
                "are in all.wav"
            )
    if (format := flag_value(values, "format")) not in (None, "wav"):
        raise UserError(f"--format={format}: is for images, and this run makes sound; remove it, which writes WAV files")
    modes = [name for name in ("scale", "melody", "walk") if flag_value(values, name) not in (None, False)]
    if len(modes) > 1:
        raise UserError(f"--{modes[0]} and --{modes[1]} write different things; use two commands")
    for mode, names in _OF_MODES.items():
        for name in names:
            if mode not in modes and values[name].present:
                raise UserError(f"--{name}={flag_value(values, name)}: has an effect only with --{mode}; remove it")
    for mode in modes:
        if mode in ("scale", "melody") and (given := [name for name in ("pitch", "class") if values[name].present]):
            raise UserError(f"--{given[0]}={flag_value(values, given[0])}: --{mode} has its own pitches; remove --{given[0]}")
        if mode == "walk" and (given := [name for name in ("seeds", "num") if values[name].present]):
            raise UserError(f"--{given[0]}={flag_value(values, given[0])}: --walk names its seeds itself; remove --{given[0]}")


def chosen_invert(values: flags.FlagValues, model: Model) -> str:
    """Return the way from spectrograms to waves; "" is that of the representation.

    Raises:
        UserError: there is no such way.
    """
    from pggan_jax.sound.limits import checked_invert

    wanted = flag_value(values, "invert") or ""
    assert model.representation is not None
    try:
        checked_invert(model.representation.name, wanted)
    except ValueError as error:
        raise UserError(f"--invert={error}") from None
    return wanted


def has_pitches(model: Model) -> bool:
    """Whether the classes of the run are MIDI pitches."""
    from pggan_jax.generation.class_names import classes_of_pitches

    return bool(classes_of_pitches(model.class_names, model.label_kind))


def pitch_classes(model: Model, needed_by: str) -> dict[int, int]:
    """Return the class number of each trained pitch, upwards.

    Raises:
        UserError: the classes of the run are not pitches.
    """
    from pggan_jax.generation.class_names import classes_of_pitches

    if not has_pitches(model):
        what = "classes that are not pitches; choose one by --class" if model.label_size else "no labels"
        raise UserError(f"{needed_by}: needs a run whose classes are pitches (sound.label_by=pitch), and this one has {what}")
    found = classes_of_pitches(model.class_names, model.label_kind)
    return {pitch: number for pitch, number in sorted(found.items()) if number in model.present_classes}


def chosen_sound_class(values: flags.FlagValues, model: Model) -> int | None:
    """Return the number of the class that --pitch or --class names; None without either.

    Raises:
        UserError: there is none, or both are given.
    """
    text = flag_value(values, "pitch")
    if text is None:
        return chosen_class(values, model)
    if flag_value(values, "class") is not None:
        raise UserError(f"--pitch={text} and --class={flag_value(values, 'class')} name the same thing; give one of them")
    from pggan_jax.generation.melodies.notes import describe_pitches

    classes = pitch_classes(model, f"--pitch={text[:40]}")
    number = classes.get(int(text)) if text.isascii() and text.isdecimal() and len(text) <= 3 else None
    if number is None:
        raise UserError(
            f"--pitch={text[:40]}: this run was trained on the MIDI pitches {describe_pitches(classes)}; choose one"
        )
    return number


def walk_seeds(values: flags.FlagValues) -> tuple[int, int]:
    """Return the seeds of --walk.

    Raises:
        UserError: the text has another form.
    """
    text = flag_value(values, "walk")
    match = _WALK.fullmatch(text.strip())
    seeds = tuple(map(int, match.groups())) if match else (-1, -1)
    if not all(0 <= seed <= _HIGHEST_SEED for seed in seeds):
        raise UserError(f"--walk={text[:60]}: must be A-B, two seeds below 2^32, such as 3-8")
    if seeds[0] == seeds[1]:
        raise UserError(f"--walk={text}: begins and ends at one seed, so all its sounds are equal; give two seeds")
    return seeds[0], seeds[1]


def sound_place(values: flags.FlagValues, default: str) -> Place:
    """Return where waves go, by the suffix of --out.

    Args:
        values: flags of the command.
        default: of --out.

    Raises:
        UserError: the path does not fit, or a file is there.
    """
    if not values["out"].present:
        values["out"].value = default
    text = flag_value(values, "out")
    out = folder("out", text)
    suffix = out.suffix.lower()
    if suffix == ".wav":
        return Place(output_file(values, [".wav"]), "wav")
    if suffix == ".npz":
        raise UserError(
            f"--out={text}: this run makes sound, which .npz is not used for; the Python interface has arrays: model.waves"
        )
    if suffix in (".png", ".webp", ".jpg", ".gif", ".mid", ".mp3", ".ogg", ".flac") and not out.is_dir():
        raise UserError(f"--out={text}: this run makes sound; give a folder, FILE.zip, or FILE.wav for all sounds in one file")
    kind = "zip" if suffix == ".zip" else "folder"
    if out.exists() and out.is_dir() != (kind == "folder"):
        raise UserError(f"--out={text}: is a {'folder' if out.is_dir() else 'file'}; choose another name")
    return Place(out, kind)
