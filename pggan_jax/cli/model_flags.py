"""Flags and steps of the commands that use a trained model."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from pggan_jax.cli.compilation_cache import define_compilation_cache_flag, use_compilation_cache
from pggan_jax.cli.shared_flags import DEFAULT_WORKDIR, flag_value, folder
from pggan_jax.errors import UserError

if TYPE_CHECKING:
    from pggan_jax.generation.model import Model


def define_model_flags(values: flags.FlagValues) -> None:
    """Add --from (also --workdir), --checkpoint, --network and --compilation_cache."""
    flags.DEFINE_string(
        "from",
        DEFAULT_WORKDIR,
        "trained model: WORKDIR of a run, WORKDIR@KIMG or WORKDIR@best for one of its checkpoints (`inspect` lists them), or a "
        "model file, .safetensors",
        flag_values=values,
    )
    flags.DEFINE_alias("workdir", "from", flag_values=values)
    flags.DEFINE_string(
        "checkpoint", "", "latest, best (as eval.best), or KIMG; the same as @KIMG in --from", flag_values=values
    )
    flags.DEFINE_enum(
        "network", "ema", ["ema", "raw"], "the generator's moving average, or its current weights", flag_values=values
    )
    define_compilation_cache_flag(values)


def define_class_flag(values: flags.FlagValues, shown: str = "class to show") -> None:
    """Add --class; `shown` says what the class is for."""
    flags.DEFINE_string(
        "class", None, f"{shown}, for runs with labels: NAME, NUMBER, name:NAME or number:N", flag_values=values
    )


def define_out_flag(values: flags.FlagValues, default: str | None, help: str) -> None:
    """Add --out and --overwrite."""
    flags.DEFINE_string("out", default, help, flag_values=values)
    flags.DEFINE_boolean("overwrite", False, "replace what exists at --out", flag_values=values)


def open_model(values: flags.FlagValues, *, takes_sound: bool = False) -> Model:
    """Load the model that the flags name.

    Args:
        values: flags of the command.
        takes_sound: whether the command can do something with sound.

    Raises:
        UserError: there is none, it is damaged, or it makes sound and the command draws images.
    """
    from pggan_jax.checkpointing.open_model import load

    use_compilation_cache(values)
    source, checkpoint, network = (flag_value(values, name) for name in ("from", "checkpoint", "network"))
    model = load(source, checkpoint=checkpoint, network=network, named="--from=")
    if model.representation is not None and not takes_sound:
        raise UserError(
            f"--from={source}: makes sound, and this command draws images; listen to its latents by sample --walk=3-8, "
            "--scale or --melody=ode"
        )
    return model


def chosen_classes(values: flags.FlagValues, model: Model) -> Callable[[Sequence[int]], np.ndarray]:
    """Return the function from seeds to class numbers that --class asks for.

    Raises:
        UserError: the model has no labels, or no such class.
    """
    return classes_by_seed(model, chosen_class(values, model))


def classes_by_seed(model: Model, number: int | None) -> Callable[[Sequence[int]], np.ndarray]:
    """Return the function from seeds to class numbers: always `number`, or each seed's own."""
    from pggan_jax.generation.class_names import classes_of_seeds

    if number is None:
        return lambda seeds: classes_of_seeds(seeds, model.present_classes)
    return lambda seeds: np.full(len(seeds), number)


def chosen_class(values: flags.FlagValues, model: Model) -> int | None:
    """Return the number of the class that --class names; None without the flag.

    Raises:
        UserError: the model has no labels, or no such class.
    """
    wanted = flag_value(values, "class")
    return None if wanted is None else class_number(wanted, model)


def class_number(wanted: str, model: Model) -> int:
    """Return the number of a class that a user names; warn if it had no training images.

    Raises:
        UserError: the model has no labels, or no such class.
    """
    from pggan_jax.generation.class_names import find_class

    if not model.label_size:
        raise UserError(f"--class={wanted[:40]}: this run was trained without labels; remove --class")
    number = find_class(wanted, model.class_names, count=model.label_size)
    if number not in model.present_classes:
        print(
            f"WARNING: --class={wanted[:40]}: class {number} had no training images; the samples of it are meaningless",
            file=sys.stderr,
        )
    return number


def latent_factor(values: flags.FlagValues, model: Model) -> float:
    """Return the factor of the latents, --psi; 1 without the flag.

    Raises:
        UserError: it has no meaning for the model.
    """
    psi = flag_value(values, "psi")
    if psi is not None and model.config.generator.normalize_latents:
        raise UserError(
            f"--psi={psi:g}: this network normalises its latents (generator.normalize_latents), so there is no mean to "
            "truncate them to; remove --psi"
        )
    return 1.0 if psi is None else float(psi)


def output_file(values: flags.FlagValues, suffixes: Sequence[str], *, flag: str = "out") -> Path:
    """Return the path of a file to be written; `write_image` or `make_parent` create its folder.

    Args:
        values: flags of the command, with --overwrite.
        suffixes: allowed ends of the name, such as (".png", ".gif").
        flag: name of the flag.

    Raises:
        UserError: the name has another suffix, the file exists, or it cannot be written there.
    """
    text = flag_value(values, flag)
    path = folder(flag, text)
    if path.suffix.lower() not in suffixes:
        raise UserError(f"--{flag}={text}: must end in {' or '.join(suffixes)}; choose another name")
    try:
        if path.is_dir():
            raise UserError(f"--{flag}={text}: is a folder; name a file, such as {path / ('out' + suffixes[0])}")
        if path.exists() and not flag_value(values, "overwrite"):
            raise UserError(f"--{flag}={text}: exists; choose another name, or add --overwrite")
        _require_writable_above(path)
    except OSError as error:
        raise cannot_be_written(f"--{flag}={text}", error) from None
    return path


def _require_writable_above(path: Path) -> None:
    """Raise `OSError` if a file cannot be written because of its folder or those above it."""
    above = next(folder for folder in path.absolute().parents if folder.exists())
    for is_wrong, number in ((not above.is_dir(), errno.ENOTDIR), (not os.access(above, os.W_OK), errno.EACCES)):
        if is_wrong:
            raise OSError(number, os.strerror(number))


def make_parent(path: Path, flag: str) -> None:
    """Create the folder of a file that is written next.

    Args:
        path: of the file.
        flag: with its value, for the message, such as "--out=new/x.gif".

    Raises:
        UserError: it cannot be created.
    """
    make_folder(path.parent, flag)


def make_folder(path: Path, flag: str) -> None:
    """Create a folder and those above it.

    Args:
        path: of the folder.
        flag: as for `make_parent`.

    Raises:
        UserError: it cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_be_written(flag, error) from None


def write_image(path: Path, image: np.ndarray, flag: str, *, holds: str = "") -> None:
    """Write a uint8 image `[height, width, channels]` as a PNG file; its folder is created.

    Args:
        path: of the file.
        image: as `images.write_png` takes it.
        flag: as for `make_parent`.
        holds: as `images.write_png` takes it.

    Raises:
        UserError: it cannot be written.
    """
    from pggan_jax.images import write_png

    make_parent(path, flag)
    try:
        write_png(path, image, holds=holds)
    except OSError as error:
        raise cannot_be_written(flag, error) from None


def cannot_be_written(flag: str, error: OSError) -> UserError:
    """Return the error for an output that cannot be written."""
    return UserError(f"{flag}: cannot be written ({error.strerror or error}); choose a place you may write to")
