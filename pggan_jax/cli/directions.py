"""python launch.py directions --from=runs/digits --method=sefa --out=sefa.npz

Find directions in the latent space along which images change in one way. --out is an .npz with the directions and their names;
a sheet of the same name beside it, a PNG, shows each of them, from strength -3 to 3. `edit` draws images along them.

  sefa     from the first weight matrix, in closed form: eigenvectors by falling eigenvalue
  pca      principal components of the 4x4 activations of --num_samples samples
  classes  one direction per class of the data, for runs that were trained without labels: a classifier is trained on the
           labelled images of the run (or of --data=SOURCE) and reads --num_samples samples; a direction points from all other
           classes to one. --orthogonal=3,5 removes from each its part along the directions of the classes named 3 and 5,
           --orthogonal=all that along all others, of which nothing is left where each image has exactly one class

Examples:
  python launch.py directions --from=runs/digits --method=pca --count=8 --class=3 --out=three.npz
  python launch.py directions --from=runs/unlabelled --method=classes --out=classes.npz
  python launch.py edit --from=runs/unlabelled --direction=classes.npz:class_7 --seeds=0-5

"change" is the mean absolute difference between the images half a step before and half a step behind, in grey levels of 255,
over 32 seeds. With --method=classes the table also shows how many of 200 other seeds are read as the class, by strength.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from absl import flags

from pggan_jax.cli.model_flags import (
    cannot_be_written,
    chosen_classes,
    define_class_flag,
    define_model_flags,
    define_out_flag,
    make_parent,
    open_model,
    output_file,
    write_image,
)
from pggan_jax.cli.shared_flags import flag_value, parse_seeds
from pggan_jax.cli.sheet_size import refuse_large_sheet
from pggan_jax.errors import UserError

if TYPE_CHECKING:
    from pggan_jax.generation.editing.direction_files import Directions
    from pggan_jax.generation.model import Model

FLAGS = flags.FlagValues()
define_model_flags(FLAGS)
define_class_flag(FLAGS)
flags.DEFINE_enum("method", "sefa", ["sefa", "pca", "classes"], "how directions are found", flag_values=FLAGS)
flags.DEFINE_integer(
    "count",
    None,
    "number of directions, for sefa and pca (default: 20, or the latent size if that is less)",
    flag_values=FLAGS,
    lower_bound=1,
    upper_bound=2**14,
)
flags.DEFINE_integer(
    "num_samples",
    None,
    "samples that pca and classes look at (default: 10,000)",
    flag_values=FLAGS,
    lower_bound=100,
    upper_bound=1_000_000,
)
flags.DEFINE_string("data", None, "images with classes, for --method=classes (default: those of the run)", flag_values=FLAGS)
flags.DEFINE_list(
    "orthogonal",
    [],
    "remove from each class direction its part along those of these classes, such as 3,5, or along all others",
    flag_values=FLAGS,
)
flags.DEFINE_string("seeds", "0-2", "seeds of the images in the sheet, at most 16", flag_values=FLAGS)
define_out_flag(FLAGS, "directions.npz", "file to write; its sheet is the PNG of the same name")

_COUNT, _NUM_SAMPLES, _MOST_SEEDS = 20, 10_000, 16
_TAKERS = {"count": ("sefa", "pca"), "num_samples": ("pca", "classes"), "data": ("classes",), "orthogonal": ("classes",)}

_ClassesOfSeeds = Callable[[Sequence[int]], np.ndarray]


class _Result(NamedTuple):
    """What a method has found; the fields are those of `Directions`."""

    directions: np.ndarray
    names: tuple[str, ...]
    values: np.ndarray
    strengths: np.ndarray = np.zeros(0, np.float32)
    effect: np.ndarray = np.zeros((0, 0), np.float32)


def run(values: flags.FlagValues) -> None:
    """Write the directions and their sheet, and print a table."""
    method = flag_value(values, "method")
    _refuse_flags_without_effect(values, method)
    seeds = parse_seeds(flag_value(values, "seeds"))
    if len(seeds) > _MOST_SEEDS:
        raise UserError(f"--seeds={flag_value(values, 'seeds')}: {len(seeds):,} seeds do not fit; give at most {_MOST_SEEDS}")
    out = output_file(values, (".npz",))
    sheet_path = out.with_suffix(".png")
    if sheet_path.exists() and not flag_value(values, "overwrite"):
        raise UserError(f"--out={out}: its sheet {sheet_path} exists; choose another name, or add --overwrite")
    from tqdm import tqdm

    from pggan_jax.generation.editing.direction_files import Directions
    from pggan_jax.generation.editing.directions import image_change

    model = open_model(values)
    classes = chosen_classes(values, model)
    start = time.perf_counter()
    result = {"sefa": _sefa, "pca": _pca, "classes": _classes}[method](values, model, classes)
    seconds = time.perf_counter() - start
    with tqdm(total=64 * len(result.names), desc="measuring", unit="img", delay=2, leave=False, disable=None) as bar:
        change = image_change(model, result.directions, classes=classes, progress=bar.update)
    source = _describe_source(values, model, classes)
    found = Directions(result.directions, result.names, method, change, result.values, source, result.strengths, result.effect)
    _write(out, sheet_path, found, _sheet(model, found, list(seeds), classes(list(seeds))))
    print(_table(found))
    where = f"{out}, {sheet_path}"
    print(f"{len(found.names)} directions of {model.name} at kimg {model.kimg:g}, found in {seconds:.2f} s -> {where}")


def _write(out: Path, sheet_path: Path, found: Directions, sheet: np.ndarray) -> None:
    """Write both files; an interruption leaves neither."""
    from pggan_jax.generation.editing.direction_files import save_directions
    from pggan_jax.system.files import atomic_file

    make_parent(out, f"--out={out}")
    try:
        with atomic_file(out) as file:
            save_directions(file, found)
            write_image(sheet_path, sheet, f"--out={out}", holds="generated images")
    except OSError as error:
        raise cannot_be_written(f"--out={out}", error) from None


def _describe_source(values: flags.FlagValues, model: Model, classes: _ClassesOfSeeds) -> dict[str, Any]:
    """Return the run, its kimg and the flags that matter, for the file."""
    method = flag_value(values, "method")
    source: dict[str, Any] = {"run": Path(model.name).resolve().name, "kimg": model.kimg}
    source |= {"network": flag_value(values, "network"), "latent_size": model.latent_size, "weights": model.digest}
    if flag_value(values, "class") is not None:
        source["class"] = int(classes([0])[0])
    if method != "sefa":
        source["num_samples"] = flag_value(values, "num_samples") or _NUM_SAMPLES
    if method == "classes":
        source["orthogonal"] = flag_value(values, "orthogonal")
    return source


def _refuse_flags_without_effect(values: flags.FlagValues, method: str) -> None:
    for name, takers in _TAKERS.items():
        if flag_value(values, name) and method not in takers:
            raise UserError(f"--{name}: has no effect on --method={method}, only on {' and '.join(takers)}; remove it")


def _count(values: flags.FlagValues, model: Model) -> int:
    wanted = flag_value(values, "count")
    if wanted and wanted > model.latent_size:
        raise UserError(f"--count={wanted}: the latent size is {model.latent_size}, and there are no more directions than that")
    return wanted or min(_COUNT, model.latent_size)


def _refuse_large(values: flags.FlagValues, model: Model, names: tuple[str, ...]) -> None:
    from pggan_jax.generation.editing.directions import STRENGTHS
    from pggan_jax.generation.editing.sheets import rows_shape, tile_shape

    height, width, _ = model.shape
    columns = len(STRENGTHS) * len(parse_seeds(flag_value(values, "seeds")))
    shape = rows_shape(tile_shape(height, width), [_label(name, 0) for name in names], columns=columns)
    several = "--count and --seeds" if flag_value(values, "method") != "classes" else "--seeds"
    refuse_large_sheet(shape, named=f"{several}, for {len(names):,} directions", advice="choose fewer")


def _sefa(values: flags.FlagValues, model: Model, _classes_of_seeds: _ClassesOfSeeds) -> _Result:
    from pggan_jax.generation.editing.directions import first_kernel, sefa

    names = _numbered("sefa", _count(values, model))
    _refuse_large(values, model, names)
    found = sefa(first_kernel(model), model.latent_size, count=len(names))
    return _Result(found.directions, names, found.values)


def _pca(values: flags.FlagValues, model: Model, classes: _ClassesOfSeeds) -> _Result:
    from tqdm import tqdm

    from pggan_jax.generation.editing.directions import base_activations, principal_directions

    count, number = _count(values, model), flag_value(values, "num_samples") or _NUM_SAMPLES
    _refuse_large(values, model, _numbered("pca", count))
    batches = base_activations(model, range(number), classes=classes)
    bar = tqdm(batches, desc="activations", total=-(-number // 256), unit="batch", delay=2, leave=False, disable=None)
    found = principal_directions(bar, count=count)
    if len(found.values) < count:
        if not len(found.values):
            raise UserError("--method=pca: the activations of all samples are equal, so there is no direction; choose sefa")
        print(f"the activations of {number:,} samples vary in {len(found.values)} dimensions, so there are no more directions")
    return _Result(found.directions, _numbered("pca", len(found.values)), found.values)


def _numbered(method: str, count: int) -> tuple[str, ...]:
    return tuple(f"{method}_{number}" for number in range(count))


def _classes(values: flags.FlagValues, model: Model, _classes_of_seeds: _ClassesOfSeeds) -> _Result:
    if model.label_size:
        raise UserError(
            f"--method=classes: {model.name} was trained with labels, so the class does not depend on the latent; choose "
            "sefa or pca"
        )
    from tqdm import tqdm

    from pggan_jax.evaluation import class_directions as by_class
    from pggan_jax.generation.editing.directions import orthogonalized

    loader = by_class.open_labelled(model, flag_value(values, "data") or "", report=print)
    _refuse_large(values, model, tuple(f"class_{name}" for name in loader.class_names))
    print(f"training a classifier on {len(loader):,} images of {len(loader.class_names)} classes", flush=True)
    try:
        classifier = by_class.classifier_of(loader, model.resolution, seed=model.config.run.seed)
    except UserError as error:
        raise UserError(f"--method=classes: {str(error).replace('another metric', 'another --method')}") from None
    print(f"its accuracy is {classifier.accuracy:.1%} (four-fold cross-validation)", flush=True)
    number = flag_value(values, "num_samples") or _NUM_SAMPLES
    with tqdm(total=number, desc="classifying samples", unit="img", delay=2, leave=False, disable=None) as bar:
        found = by_class.find_class_directions(model, classifier, num_samples=number, progress=bar.update)
    names = tuple(f"class_{loader.class_names[one]}" for one in found.numbers)
    for one in np.flatnonzero(classifier.shares):
        if one not in found.numbers:
            print(f"class {loader.class_names[one]}: {found.members[one]:,} of {number:,} samples are of it; no direction")
    left = np.ones(len(names))
    if flag_value(values, "orthogonal"):
        against = _against(flag_value(values, "orthogonal"), names)
        directions, left = orthogonalized(found.directions, names, against=against)
        found = by_class.ClassDirections(directions, found.numbers, found.members)
    total = len(names) * len(by_class.EFFECT_SEEDS) * len(by_class.EFFECT_STRENGTHS)
    with tqdm(total=total, desc="measuring the effect", unit="img", delay=2, leave=False, disable=None) as bar:
        effect = by_class.measure_effect(model, classifier, found, progress=bar.update)
    return _Result(found.directions, names, left, np.asarray(by_class.EFFECT_STRENGTHS, np.float32), effect)


def _against(wanted: list[str], names: tuple[str, ...]) -> list[int]:
    """Return the numbers of the directions that --orthogonal names."""
    if wanted == ["all"]:
        return list(range(len(names)))
    for one in wanted:
        if f"class_{one}" not in names:
            shown = ", ".join(name.removeprefix("class_") for name in names[:8])
            raise UserError(f"--orthogonal={one}: no direction leads to this class; name all, or some of {shown}")
    return [names.index(f"class_{one}") for one in wanted]


def _sheet(model: Model, found: Directions, seeds: list[int], classes: np.ndarray) -> np.ndarray:
    from tqdm import tqdm

    from pggan_jax.generation.editing.directions import STRENGTHS, moved
    from pggan_jax.generation.editing.sheets import labelled_rows, tile_of

    latents, rows, labels = model.latents(seeds), [], []
    of_rows = classes.repeat(len(STRENGTHS)) if model.label_size else None
    directions = tqdm(found.directions, desc="drawing", unit="row", delay=2, leave=False, disable=None)
    for name, direction, change in zip(found.names, directions, found.image_change, strict=True):
        points = moved(latents, direction, STRENGTHS).reshape(-1, model.latent_size)
        rows.append(tile_of(model.synthesize(points, of_rows)))
        labels.append(_label(name, change))
    return labelled_rows(rows, labels, above=[f"{strength:+g}" if strength else "0" for strength in STRENGTHS] * len(seeds))


def _label(name: str, change: float) -> str:
    return f"{name[:24]}\n{change:.1f} per step"


def _table(found: Directions) -> str:
    width = max(9, *map(len, found.names))
    what = {"sefa": "eigenvalue", "pca": "variance", "classes": "length left"}[found.method]
    shown = {"sefa": "{:.3f}", "pca": "{:.1%}", "classes": "{:.2f}"}[found.method]
    has_values = found.method != "classes" or found.source["orthogonal"]
    effect = "".join(f"{f's={strength:g}':>7}" for strength in found.strengths)
    lines = [f"{'direction':{width}}  change"]
    lines[0] += f"  {what:>11}" if has_values else ""
    lines[0] += f"  read as the class at{effect}" if effect else ""
    for number, name in enumerate(found.names):
        line = f"{name:{width}}  {found.image_change[number]:6.1f}"
        line += f"  {shown.format(found.values[number]):>11}" if has_values else ""
        if len(found.strengths):
            line += " " * 22 + "".join(f"{share:>7.0%}" for share in found.effect[number])
        lines.append(line)
    return "\n".join(lines)
