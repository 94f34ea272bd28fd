"""Descriptions of the metrics, for settings and flags: no JAX is imported here.

Each file in `evaluation/metrics/` and `evaluation/sounds/` describes its metrics by `MetricKind(...)`. The descriptions are
read from the source, so a metric is one file, and neither checking a setting nor printing `--help` imports JAX.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

from pggan_jax.images import ImageShape


@dataclass(frozen=True)
class MetricKind:
    """Description of a metric.

    Attributes:
        name: in flags, settings and file names.
        help: what it measures, in a few words.
        headline: name of its most important value.
        default_images: number of images on each side in the published protocol (docs/metrics.md).
        larger_is_better: whether a larger headline value is better.
        minimum_resolution: smallest nominal resolution of the images, which is their side if they are square.
        coarsest: nominal resolution of the smallest level that it compares; 0 for the images themselves.
        patch: smallest height and width at that level.
        needs_equal_counts: whether it needs as many generated images as reals.
        needs_even_counts: whether the number of images must be even, as it compares pairs.
        needs_labels: whether it needs data with classes.
        max_reals: largest number of reals, if that is more than `default_images`; 0 for `default_images`.
        needs_reals: whether reals are read at all.
        uses_all_reals: whether it takes all reals, unflipped, whatever the number of images.
        uses_held_out: whether it compares with reals that were not trained on, if there are any.
        has_floor: whether its value for reals against other reals is meaningful.
        needs_inception: whether it is computed from outputs of the Inception network.
        needs_model: whether it needs the networks themselves; it cannot measure images alone.
        during_training: whether the setting `eval.metrics` may name it.
        measures_sound: whether it measures waves; the others measure images.
        also_on_sound: whether it may measure the images of sound.
        counterpart: the metric of sound to take instead.
        needs_pitch: whether the classes must be pitches.
        needs_phase: whether the images of sound must hold phases.
    """

    name: str
    help: str
    headline: str
    default_images: int
    larger_is_better: bool = False
    minimum_resolution: int = 4
    coarsest: int = 0
    patch: int = 1
    needs_equal_counts: bool = False
    needs_even_counts: bool = False
    needs_labels: bool = False
    max_reals: int = 0
    needs_reals: bool = True
    uses_all_reals: bool = False
    uses_held_out: bool = False
    has_floor: bool = True
    needs_inception: bool = False
    needs_model: bool = False
    during_training: bool = False
    measures_sound: bool = False
    also_on_sound: bool = False
    counterpart: str = "ndb_sound"
    needs_pitch: bool = False
    needs_phase: bool = False

    def suits(self, has_pitches: bool, has_phases: bool) -> bool:
        """Whether sound has what the metric needs."""
        return (has_pitches or not self.needs_pitch) and (has_phases or not self.needs_phase)

    def problem_of(self, shape: ImageShape) -> str:
        """Return why images of a shape cannot be measured, in one line; empty if they can be."""
        smallest = self.minimum_resolution
        if shape.resolution < smallest and shape.is_nominal:
            return f"{self.name} needs images of at least {smallest}x{smallest}, not {shape}"
        if shape.resolution < smallest:
            return f"{self.name} needs a resolution of at least {smallest}, not {shape.resolution}, that is {shape}"
        factor = shape.resolution // min(self.coarsest or shape.resolution, shape.resolution)
        height, width = shape.height // factor, shape.width // factor
        if min(height, width) < self.patch:
            patch = f"{self.patch}x{self.patch}"
            return f"{self.name} needs at least {patch} pixels at its smallest level, not the {height}x{width} of {shape}"
        return ""


def read_kinds(folder: Path) -> dict[str, MetricKind]:
    """Read the descriptions in the files of a folder, without importing the files.

    Args:
        folder: every call `MetricKind(...)` in an assignment at the top level of its `*.py` files is read. The arguments must
            be literals.

    Returns:
        Descriptions by name, in alphabetical order.

    Raises:
        ValueError: an argument is not a literal, is missing or is unknown, or two metrics have one name.
        SyntaxError: a file is not Python.
    """
    kinds: dict[str, MetricKind] = {}
    for path in sorted(folder.glob("*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        statements = [one for one in module.body if isinstance(one, ast.Assign | ast.AnnAssign)]
        for call in (node for statement in statements for node in ast.walk(statement) if isinstance(node, ast.Call)):
            if not isinstance(call.func, ast.Name) or call.func.id != MetricKind.__name__:
                continue
            kind = _read_kind(call, where=f"{path}:{call.lineno}")
            if kind.name in kinds:
                raise ValueError(f"{path}:{call.lineno}: there are two metrics of the name {kind.name!r}; rename one of them")
            kinds[kind.name] = kind
    return dict(sorted(kinds.items()))


def _read_kind(call: ast.Call, *, where: str) -> MetricKind:
    try:
        values = [ast.literal_eval(value) for value in call.args]
        named = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: MetricKind takes literal arguments only ({error})") from None
    try:
        return MetricKind(*values, **named)
    except TypeError as error:
        raise ValueError(f"{where}: {str(error).replace('.__init__()', '')}; its arguments are in {__name__}") from None


_FOLDER = Path(__file__).parent / "evaluation"
METRIC_KINDS = dict(sorted((read_kinds(_FOLDER / "metrics") | read_kinds(_FOLDER / "sounds")).items()))


def public_name(name: str, *, has_random_features: bool) -> str:
    """Return the name of a metric in records; random features do not get the published name."""
    if not has_random_features or not METRIC_KINDS[name].needs_inception:
        return name
    return "frd_random" if name == "fid" else f"{name}_random"
