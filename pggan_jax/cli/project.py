"""python launch.py project IMAGE... --from=runs/digits --out=projections

Search the latent whose image is nearest to each IMAGE (PNG, JPEG ...). The nearest of 10,000 samples start an optimisation by
gradients. Own samples of a network are found again; a foreign image usually is not: a network draws only what it has learned.

Example: python launch.py project photo.jpg scan.png --from=runs/faces --fit --out=projections

Writes to the folder --out: NAME.npz with the latent, the class, the loss and the settings; NAME.png with the image that was
found; strip.png, which shows each image beside its nearest sample and what was found. Prints a line per image. An interrupted
command continues when it is run again; --overwrite replaces only results of another image, network or setting. In a run with
labels the class is found too; --class fixes it.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from absl import flags

from pggan_jax.cli.model_flags import (
    cannot_be_written,
    chosen_class,
    define_class_flag,
    define_model_flags,
    define_out_flag,
    open_model,
    write_image,
)
from pggan_jax.cli.project_images import names_of, read_file, read_pixels
from pggan_jax.cli.shared_flags import flag_value, folder
from pggan_jax.errors import UserError

if TYPE_CHECKING:
    from pggan_jax.generation.model import Model
    from pggan_jax.generation.projection import Projection, ProjectionSettings

ARGUMENTS = ("IMAGE...",)
FLAGS = flags.FlagValues()
define_model_flags(FLAGS)
define_class_flag(FLAGS)
define_out_flag(FLAGS, "projections", "folder for the results; created if absent")
flags.DEFINE_boolean(
    "fit", False, "crop and resize images of another shape to the shape that the network makes", flag_values=FLAGS
)
flags.DEFINE_integer("steps", 1000, "steps of the optimisation", flag_values=FLAGS, lower_bound=0, upper_bound=1_000_000)
flags.DEFINE_integer(
    "starts",
    5,
    "nearest samples to start from; the best result is kept",
    flag_values=FLAGS,
    lower_bound=1,
    upper_bound=1000,
)
flags.DEFINE_integer(
    "candidates",
    10_000,
    "number of samples, of the seeds 0, 1, 2 ..., among which the nearest are searched",
    flag_values=FLAGS,
    lower_bound=1,
    upper_bound=1_000_000,
)

_STRIP = "strip"
_IN_STRIP = 100
_SHOWN_SIDE = 96
_GAP = 4


def run(values: flags.FlagValues, *paths: str) -> None:
    """Write a latent and an image per IMAGE, and print a line for each."""
    names = names_of(paths, taken=_STRIP)
    out = folder("out", flag_value(values, "out"))
    starts, candidates = flag_value(values, "starts"), flag_value(values, "candidates")
    if starts > candidates:
        raise UserError(f"--starts={starts}: must be at most --candidates={candidates}")
    for path in paths:
        read_file(path)
    _check_out(out, paths, overwrite=flag_value(values, "overwrite"))
    from pggan_jax.generation.projection import ProjectionSettings
    from pggan_jax.system.own_output import claim_output

    model = open_model(values)
    number = chosen_class(values, model)
    fit = flag_value(values, "fit")
    targets = np.stack([read_pixels(path, read_file(path), model, fit=fit) for path in paths])
    settings = ProjectionSettings(candidates, starts, flag_value(values, "steps"))
    results = _Results(model, out, settings, number)
    replace = flag_value(values, "overwrite")
    missing = [index for index, name in enumerate(names) if not results.has(name, targets[index], replace=replace)]
    claim_output("out", out, *model.config.data.sources, command="project")
    if len(missing) < len(names):
        print(f"{len(names) - len(missing)} of {len(names)} images are projected already")
    results.project([names[index] for index in missing], targets[missing])
    results.write_strip(names[:_IN_STRIP], targets[:_IN_STRIP])
    print(f"{len(names)} images of {model.name}, kimg {model.kimg:g} -> {out}/ (comparison: {out / _STRIP}.png)")


class _Results:
    """The files of one model and one way to search."""

    def __init__(self, model: Model, out: Path, settings: ProjectionSettings, number: int | None):
        from pggan_jax.checkpointing.integrity import state_digest

        self._model, self._out, self._settings, self._number = model, out, settings, number
        self._discriminator = state_digest(model.discriminator)

    def has(self, name: str, target: np.ndarray, *, replace: bool = False) -> bool:
        """Return whether an image has been projected by this model with these settings.

        Args:
            name: of its result.
            target: the image.
            replace: return False where the file holds something else.

        Raises:
            UserError: its file holds something else.
        """
        path = self._path(name)
        if not path.exists():
            return False
        try:
            recorded = self._read(path).get("settings")
        except UserError:
            if not replace:
                raise
            recorded = None
        if recorded is None or str(recorded) != self._record(target):
            if replace:
                return False
            raise UserError(
                f"{path}: exists and is of another image, network or setting; choose another --out, or add --overwrite"
            )
        return path.with_suffix(".png").exists()

    def project(self, names: list[str], targets: np.ndarray) -> None:
        """Project images, and write the files of each as soon as it is found."""
        from tqdm import tqdm

        from pggan_jax.generation.projection import project

        found = project(self._model, targets, self._settings, number=self._number)
        for name, target, projection in zip(names, targets, found, strict=True):
            self._write(name, target, projection)
            tqdm.write(f"{name}: {self._describe(projection)}")

    def write_strip(self, names: list[str], targets: np.ndarray) -> None:
        """Write the comparison of images, nearest samples and projections."""
        from pggan_jax.data.images.decode import MAX_PIXELS
        from pggan_jax.images import make_grid, nearest_upscale

        height, width, _ = self._model.shape
        zoom = -(-_SHOWN_SIDE // min(height, width))
        most = max(1, MAX_PIXELS // (3 * (height * zoom + _GAP) * (width * zoom + _GAP)))
        rows = []
        for name, target in zip(names[:most], targets, strict=False):
            entry = self._read(self._path(name))
            nearest = self._model.sample([int(entry["nearest_seed"])], labels=int(entry["nearest_class"]))[0]
            made = self._model.synthesize(entry["latent"][None], labels=int(entry["class"]))[0]
            tiles = nearest_upscale(np.stack([target, nearest, made]), zoom)
            rows.append(make_grid(tiles, 3, gap=_GAP))
        columns = max(1, round(math.sqrt(len(rows) / 3)))
        strip = make_grid(np.stack(rows), columns, gap=_GAP)
        write_image(self._out / f"{_STRIP}.png", strip, f"--out={self._out}", holds="several images")

    def _write(self, name: str, target: np.ndarray, projection: Projection) -> None:
        from pggan_jax.system.files import write_atomically

        model, nearest = self._model, projection.nearest
        buffer = io.BytesIO()
        entry: dict[str, Any] = {
            "latent": projection.latent,
            "class": projection.number,
            "loss": projection.loss,
            "rmse": projection.rmse,
            "psnr": projection.psnr,
            "nearest_seed": nearest.seed,
            "nearest_class": nearest.number,
            "nearest_rmse": projection.nearest_rmse,
            "source": model.name,
            "kimg": model.kimg,
            "settings": self._record(target),
        }
        np.savez(buffer, **entry)
        # The file that marks an image as done is the last.
        write_image(self._path(name).with_suffix(".png"), projection.image, f"--out={self._out}")
        try:
            write_atomically(self._path(name), buffer.getvalue())
        except OSError as error:
            raise cannot_be_written(f"--out={self._out}", error) from None

    def _describe(self, projection: Projection) -> str:
        nearest, labelled = projection.nearest, self._model.label_size
        of_class = f"class {projection.number}, " if labelled else ""
        sample = f"seed {nearest.seed}" + (f" of class {nearest.number}" if labelled else "")
        return (
            f"{of_class}loss {projection.loss:.4f}, RMSE {projection.rmse:.2f} grey levels, PSNR {projection.psnr:.1f} dB; "
            f"nearest sample: {sample}, RMSE {projection.nearest_rmse:.2f}"
        )

    def _record(self, target: np.ndarray) -> str:
        settings = self._settings
        return json.dumps(
            {
                "model": self._model.digest,
                "discriminator": self._discriminator,
                "image": hashlib.sha256(target.tobytes()).hexdigest(),
                "class": self._number,
                "candidates": settings.candidates,
                "starts": settings.starts,
                "steps": settings.steps,
            }
        )

    def _path(self, name: str) -> Path:
        return self._out / f"{name}.npz"

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            with np.load(path, allow_pickle=False) as file:
                return {key: file[key] for key in file.files}
        except (OSError, ValueError, EOFError, KeyError, BadZipFile):
            raise UserError(f"{path}: cannot be read as a result of project; remove it, or choose another --out") from None


def _check_out(out: Path, paths: tuple[str, ...], *, overwrite: bool) -> None:
    from pggan_jax.system.own_output import MARKER, read_mark

    if out.exists() and not out.is_dir():
        raise UserError(f"--out={out}: is a file; name a folder")
    if any(Path(path).resolve().parent == out.resolve() for path in paths):
        raise UserError(f"--out={out}: holds an image that is to be projected; choose another folder")
    if not out.is_dir() or overwrite:
        return
    others = sorted(path.name for path in out.iterdir() if path.name != MARKER)
    if others and read_mark(out).get("command") != "project":
        raise UserError(
            f"--out={out}: exists and holds other files, such as {others[0]}; choose a new folder, or add --overwrite"
        )
