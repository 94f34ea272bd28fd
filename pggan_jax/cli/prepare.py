"""python launch.py prepare SOURCE --out=DIR --resolution=R [FLAGS]

Convert a collection to a prepared folder, from which training reads without decoding: uint8 memory maps of every resolution
(r0004.npy ...), labels.npy, info.json with options, counts and checksums, and the mean image mean.png. Then train with
--set data.source=prepared:DIR. Training on another source does the same by itself, into a cache.

Sound (sound:DIR, sound:FILE.zip, notes) becomes spectrograms by the settings sound.* of --config and --set, which determine
the resolution too; info.json records them, so that runs on the folder can be heard without the files.

Examples:
  python launch.py prepare folder:~/photos --out=data/photos --resolution=128
  python launch.py prepare sound:~/samples --out=data/samples --config=experiments/notes.py

Nothing is overwritten. The files are written to DIR.partial, which is renamed to DIR at the end; after an interruption, the
same command continues. Unusable images are skipped and listed in info.json; `launch.py check` lists them beforehand.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from pggan_jax.cli.shared_flags import define_preparation_flags, define_workers_flag, flag_value, folder, read_preparation
from pggan_jax.cli.sound_flags import SoundChoice, define_sound_flags, read_sound, settings_words
from pggan_jax.errors import UserError
from pggan_jax.images import BASE_SHAPE
from pggan_jax.system.own_output import is_inside_source

if TYPE_CHECKING:
    from pggan_jax.data.preparation.prepared_folder import PreparedFolder
    from pggan_jax.data.preparation.spec import PreparationSpec

ARGUMENTS = ("SOURCE",)
FLAGS = flags.FlagValues()
flags.DEFINE_string("out", None, "folder to write; must be absent or empty", flag_values=FLAGS)
define_preparation_flags(FLAGS)
flags.DEFINE_boolean(
    "mirror",
    False,
    "store each image and its mirror image, which doubles the files; --set data.mirror=true mirrors during training instead",
    flag_values=FLAGS,
)
define_workers_flag(FLAGS)
define_sound_flags(FLAGS)
flags.DEFINE_boolean(
    "allow_few", False, "for sound: continue although more than half of the clips cannot be used", flag_values=FLAGS
)
flags.DEFINE_boolean(
    "dry_run",
    False,
    "print what would be written and the space it needs, and write nothing; exit status 1 if there is too little",
    flag_values=FLAGS,
)


def run(values: flags.FlagValues, source_name: str) -> int:
    """Write the folder and print what it holds."""
    sound = read_sound(values, source_name)
    for required, example in (("resolution", "128"), ("out", "data/mine")):
        if flag_value(values, required) is None and not (sound and required == "resolution"):
            raise UserError(f"prepare needs --{required}, such as --{required}={example}")
    if flag_value(values, "allow_few") and not sound:
        raise UserError(f"--allow_few: has an effect only on sources of sound, not on {source_name}; leave it out")
    out = folder("out", flag_value(values, "out"))
    _check_apart(source_name, out)
    preparation = _preparation(values, sound)
    from pggan_jax.data.preparation.decode_block import estimate
    from pggan_jax.data.preparation.prepare import prepare
    from pggan_jax.data.sounds.spectrogram_source import SpectrogramSource
    from pggan_jax.data.sources.open_source import open_source
    from pggan_jax.data.sources.source import source_notes

    wanted: dict[str, Any] = {name: getattr(preparation, name) for name in ("resolution", "base_shape", "channels")}
    source = open_source(source_name, **wanted | ({"sound": sound.config} if sound else {}))
    if isinstance(source, SpectrogramSource):
        source.allow_few = flag_value(values, "allow_few")
    preparation = preparation.for_source(source)
    needed = estimate(source, preparation, folder=out, workers=flag_value(values, "workers"))
    sizes = ", ".join(f"{height}x{width}" for height, width in reversed(preparation.shapes.values()))
    plan = f"{needed.images:,} rows of {sizes}, {preparation.channels} channel(s), {needed.bytes:,} bytes"
    if flag_value(values, "dry_run"):
        fits = "enough" if needed.free >= needed.needed else "NOT ENOUGH"
        print(
            f"{source.name}: would write at most {plan} to {out}, which needs {needed.needed:,} bytes meanwhile; "
            f"{needed.free:,} bytes are free there: {fits}"
        )
        return int(needed.free < needed.needed)
    for line in (*source.problems, *source_notes(source)):
        print(f"note: {line}", file=sys.stderr)
    prepared = prepare(
        source,
        preparation,
        folder=out,
        workers=flag_value(values, "workers"),
        report=lambda line: print(f"note: {line}", file=sys.stderr),
    )
    _print_result(values, prepared, sound)
    return 0


def _print_result(values: flags.FlagValues, prepared: PreparedFolder, sound: SoundChoice | None) -> None:
    """Print what the folder holds, and how to train on it."""
    from pggan_jax.data.pyramid import first_reasons, level_shapes

    out, skipped, noun = folder("out", flag_value(values, "out")), prepared.info["skipped"], "clip" if sound else "image"
    if skipped:
        print(
            f"skipped {len(skipped):,} unusable {noun}{'s' * (len(skipped) > 1)}: {first_reasons(skipped)} "
            f"(all in {out / 'info.json'})"
        )
    resolution = prepared.resolutions[0]
    shapes = level_shapes(resolution, prepared.base_shape)
    sizes = ", ".join(f"{height}x{width}" for height, width in reversed(shapes.values()))
    print(f"{prepared.info['images']:,} rows of {sizes}, {prepared.total_bytes():,} bytes -> {out}")
    if sound:
        changes = [f"data.source=prepared:{out}", f"data.labels={str(bool(prepared.class_names)).lower()}"]
        words = settings_words(values, sound) + [word for change in changes for word in ("--set", change)]
        print(f"next: python launch.py {shlex.join([*words, '--workdir=runs/mine'])}")
        return
    labels = " --set data.labels=true" if prepared.class_names else ""
    base_shape = f" --set data.base_shape={flag_value(values, 'base_shape')}" if prepared.base_shape != BASE_SHAPE else ""
    print(
        f"next: python launch.py --config=experiments/folder.py --set data.source=prepared:{shlex.quote(str(out))} "
        f"--set data.resolution={resolution}{base_shape}{labels} --workdir=runs/mine"
    )


def _preparation(values: flags.FlagValues, sound: SoundChoice | None) -> PreparationSpec:
    """Return what the flags say about a preparation."""
    if sound is None:
        return read_preparation(values, copies_mirrored=flag_value(values, "mirror"))
    from pggan_jax.data.preparation.spec import PreparationSpec

    chosen = {name: flag_value(values, name) for name in ("max_images", "shuffle_seed")}
    return PreparationSpec(sound.resolution, sound.base_shape, **chosen)


def _check_apart(source_name: str, out: Path) -> None:
    if is_inside_source(out, source_name):
        raise UserError(f"--out={out}: lies inside {source_name} and would be read as part of it; choose a folder outside")
