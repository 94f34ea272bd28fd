"""python launch.py import FILE --out=MODEL.safetensors [--licence=TEXT] [--overwrite]

Convert a trained network of another program to a model file, which sample, film, project, edit, evaluate, export and
--init_from take: the authors' .pkl (TensorFlow or Theano; G, D and Gs, or G alone), or pytorch_GAN_zoo's .pth. Neither program
is needed, and nothing in the file is executed.

Examples:
  python launch.py import karras2018iclr-celebahq-1024x1024.pkl --out=celebahq.safetensors
  python launch.py sample --from=celebahq.safetensors --seeds=0-15 --out=samples

Prints what the file holds, and the licence of its weights, which is stored with them. docs/weights.md lists published files.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from pggan_jax.cli.model_flags import cannot_be_written, define_out_flag, make_parent, output_file
from pggan_jax.cli.shared_flags import flag_value
from pggan_jax.errors import UserError
from pggan_jax.system.paths import user_path

if TYPE_CHECKING:
    from pggan_jax.config import Config
    from pggan_jax.interop.foreign.model import ForeignModel

ARGUMENTS = ("FILE",)
FLAGS = flags.FlagValues()
define_out_flag(FLAGS, None, "the model file to write, .safetensors")
flags.DEFINE_string("licence", None, "licence to store instead of the one that is known of the program", flag_values=FLAGS)

_SUFFIX = ".safetensors"


def run(values: flags.FlagValues, file: str) -> None:
    """Write the model file, and print what it holds."""
    source = user_path(file, named="FILE ")
    if not source.is_file():
        what = "is a folder; name a file in it" if source.is_dir() else "no such file; get it first (docs/weights.md)"
        raise UserError(f"{file}: {what}")
    if flag_value(values, "out") is None:
        raise UserError(f"--out: is missing; name the model file to write, such as --out={source.stem}{_SUFFIX}")
    out = output_file(values, (_SUFFIX,))
    out, flag = out.with_suffix(_SUFFIX), f"--out={flag_value(values, 'out')}"
    make_parent(out, flag)
    model = _read(source, file)
    licence = flag_value(values, "licence") or model.licence
    trained, parameters = _write(model, out, flag, licence=licence, source=source)
    classes = f", {model.label_size} classes" if model.label_size else ""
    print(f"file      {file} ({model.origin})")
    full = model.config.data.resolution
    settings = " ".join(f"{path}={value}" for path, value in _changed_settings(model.config))
    print(f"images    {trained}, {model.channels} channels{classes}, alpha {model.alpha:.4g}; full resolution {full}")
    print(f"networks  {parameters}")
    print(f"settings  {settings or 'the defaults'} (for --init_from, beside those of the data)")
    print(f"licence   {licence}")
    for note in model.notes:
        print(f"note      {note}")
    print(f"-> {out}")
    print(f"next      python launch.py sample --from={out} --seeds=0-15 --out=samples")


def _read(source: Path, file: str) -> ForeignModel:
    """Read the file by its content, whatever its suffix."""
    from pggan_jax.interop.foreign.gan_zoo import read_gan_zoo
    from pggan_jax.interop.foreign.official import read_official_pickle
    from pggan_jax.interop.state_dict import is_torch_file

    try:
        return read_gan_zoo(source) if is_torch_file(source) else read_official_pickle(source)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error}); allow it, or name another file") from None


def _write(model: ForeignModel, out: Path, flag: str, *, licence: str, source: Path) -> tuple[str, str]:
    """Write the model file; return the size of its images, and a line about its networks."""
    from pggan_jax.checkpointing.metadata import CheckpointMetadata
    from pggan_jax.checkpointing.model_file import Origin, fitted_model, write_model_file
    from pggan_jax.config.validation import validate
    from pggan_jax.errors import ConfigError

    trees = {"generator_ema": model.generator, "generator": model.raw_generator, "discriminator": model.discriminator}
    metadata = CheckpointMetadata(0, model.resolution, model.alpha, model.channels, model.label_size)
    try:
        validate(model.config)
    except ConfigError as error:
        raise UserError(f"{source}: its networks have an impossible setting: {error}") from None
    held = {name: tree for name, tree in trees.items() if tree is not None}
    trained = fitted_model(model.config, metadata, held, named=str(source))
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    origin = Origin(model.origin, source.name, digest, licence, notes=list(model.notes))
    try:
        write_model_file(out, trained, origin)
    except OSError as error:
        raise cannot_be_written(flag, error) from None
    names = {"generator_ema": "moving average of G" if model.raw_generator else "G", "generator": "G", "discriminator": "D"}
    counts = [f"{names[name]} {_count(getattr(trained.state, name)):,} parameters" for name in held]
    return str(trained.shape), "; ".join(counts)


def _count(tree: object) -> int:
    import jax

    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _changed_settings(config: Config) -> list[tuple[str, Any]]:
    """Return the settings of the networks that are not the defaults."""
    from pggan_jax.config import Config
    from pggan_jax.config.io import settings_of

    default = dict(settings_of(Config()))
    networks = ("networks.", "generator.", "discriminator.")
    return [(path, value) for path, value in settings_of(config) if path.startswith(networks) and value != default[path]]
