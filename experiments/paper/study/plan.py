"""What a study compares: variants of a run, seeds, lengths, and what is measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pggan_jax.config import Config, ScheduleConfig
from pggan_jax.config.io import load_config, parse_value, replace_setting, settings_of
from pggan_jax.config.validation import validate
from pggan_jax.errors import ConfigError, UserError
from pggan_jax.schedule import Schedule

LENGTHS = ("stable_kimg", "stable_kimg_at", "fade_kimg", "fade_kimg_at", "total_kimg", "rampup_kimg", "total_minutes")
"""Settings of the schedule that --scale multiplies."""
_OF_THE_STUDY = ("run.seed", "run.grid", "run.keep_last", "run.checkpoint_ticks", "schedule.tick_kimg", "schedule.tick_kimg_at")


@dataclass(frozen=True)
class Variant:
    """One way to train, which is run with each seed.

    Attributes:
        name: for folders, tables and --variants: letters, digits, - and _.
        about: one line for the table.
        base: an experiment file, or a function that returns a `Config`.
        settings: `name=value` each, on top of it.
        after: another variant whose run with the same seed must be complete first; empty for none.
        weights: start from the weights of that run.
        minutes: train as many minutes as that run did, measured without compilation and evaluation.
    """

    name: str
    about: str
    base: str | Callable[[], Config]
    settings: tuple[str, ...] = ()
    after: str = ""
    weights: bool = False
    minutes: bool = False


@dataclass(frozen=True)
class Measures:
    """What is measured of each run, with images of the moving average at full resolution.

    Attributes:
        headline: the value that curves and verdicts are about, such as "swd.average".
        columns: values in the table, with their headings.
        curve: names in `measure.KNOWN` that are measured at every checkpoint.
        final: those that are measured at the last one only.
        num_images: generated images; as many reals, or all there are.
        larger: values of which larger is better; of others smaller is.
        neutral: values of which neither is better.
        stats: fields of stats.jsonl of which the last value counts as measured.
        all_reals: compare with all images of the source, also where a run trained on fewer.
    """

    headline: str
    columns: Mapping[str, str]
    curve: tuple[str, ...]
    final: tuple[str, ...] = ()
    num_images: int = 2048
    larger: tuple[str, ...] = ()
    neutral: tuple[str, ...] = ()
    stats: tuple[str, ...] = ()
    all_reals: bool = False


@dataclass(frozen=True)
class Study:
    """A question, and the runs that answer it.

    Attributes:
        name: of the script, without .py.
        question: one sentence.
        variants: the first one is what the others are compared with.
        measures: of each run.
        quick: settings of every run with --quick.
        quick_variants: how many variants --quick runs, unless --variants names them.
        points: checkpoints of a run, which are the points of its curves.
        remarks: from the results to more lines of the table.
        paper: published numbers to compare with, as Markdown.
    """

    name: str
    question: str
    variants: tuple[Variant, ...]
    measures: Measures
    quick: tuple[str, ...]
    quick_variants: int = 2
    points: int = 10
    remarks: Callable[[Mapping[str, Any]], Sequence[str]] = lambda results: ()
    paper: str = ""


@dataclass(frozen=True)
class Run:
    """A variant with a seed."""

    variant: Variant
    seed: int

    @property
    def name(self) -> str:
        """Such as "growing-0"."""
        return f"{self.variant.name}-{self.seed}"


@dataclass(frozen=True)
class Lengths:
    """How long runs are.

    Attributes:
        scale: factor on all lengths of the schedule.
        is_quick: tiny runs, whose numbers mean nothing.
        settings: `name=value` for every run, from --set.
    """

    scale: float = 1.0
    is_quick: bool = False
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """The runs of a study that a command asks for, and their settings."""

    study: Study
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    lengths: Lengths
    configs: Mapping[str, Config] = field(default_factory=dict)

    def runs(self) -> Iterator[Run]:
        """Yield all runs, seed by seed, so that every variant has a result early."""
        for seed in self.seeds:
            for variant in self.variants:
                yield Run(variant, seed)

    def config(self, run: Run) -> Config:
        """Return the settings of a run, without what it takes from another run."""
        return replace_setting(self.configs[run.variant.name], "run.seed", run.seed)

    def schedule(self, run: Run) -> Schedule:
        """Return the schedule of a run."""
        return Schedule.of(self.configs[run.variant.name])


@dataclass(frozen=True)
class Order:
    """What to measure, as JSON.

    Attributes:
        workdir: of a complete run.
        out: JSON file for the result; images go beside it.
        curve, final: names of `Measures`.
        num_images: generated images.
        all_reals: see `Measures`.
        is_floor: measure reals against other reals instead of the run.
    """

    workdir: str
    out: str
    curve: Sequence[str]
    final: Sequence[str]
    num_images: int
    all_reals: bool = False
    is_floor: bool = False


def make_plan(study: Study, *, names: Sequence[str], seeds: Sequence[int], lengths: Lengths) -> Plan:
    """Choose variants and build their settings.

    Args:
        study: everything that could be run.
        names: of variants; empty for all, or with `is_quick` for the first ones.
        seeds: of the runs.
        lengths: of the runs.

    Raises:
        UserError: there is no such variant, one needs another that is not chosen, or its settings cannot be used.
    """
    known = {variant.name: variant for variant in study.variants}
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"--variants={','.join(names)}: there is no {unknown[0]}; choose from {', '.join(known)}")
    wanted = set(names or list(known)[: study.quick_variants if lengths.is_quick else None])
    chosen = tuple(variant for variant in study.variants if variant.name in wanted)
    for variant in chosen:
        if variant.after and variant.after not in wanted:
            raise UserError(f"--variants: {variant.name} continues from {variant.after}; name that one too")
    configs = {variant.name: config_of(variant, study, lengths) for variant in chosen}
    return Plan(study, chosen, tuple(seeds), lengths, configs)


def config_of(variant: Variant, study: Study, lengths: Lengths) -> Config:
    """Build the settings of a variant, with one checkpoint per point of its curve.

    Raises:
        UserError: they cannot be used, or are too short.
    """
    config = load_config(variant.base).config if isinstance(variant.base, str) else variant.base()
    quick = study.quick if lengths.is_quick else ()
    for text in (*variant.settings, *quick, *lengths.settings):
        path, _, value = text.partition("=")
        config = replace_setting(config, path, parse_value(path, value))
    config = scaled(config, lengths.scale)
    kimg = Schedule.of(config).planned_kimg
    schedule = replace(config.schedule, tick_kimg=max(1.0, round(kimg / study.points, 3)), tick_kimg_at={})
    run = replace(config.run, grid="8x8", keep_last=100_000, checkpoint_ticks=1)
    config = replace(config, schedule=schedule, run=run)
    try:
        validate(config)
    except ConfigError as error:
        scale = "" if lengths.scale == 1 else f" with --scale={lengths.scale:g}"
        raise UserError(f"variant {variant.name}{scale}: {error}") from None
    return config


def scaled(config: Config, factor: float) -> Config:
    """Multiply all lengths of the schedule.

    The half-life of the moving average is multiplied too where that makes it shorter.
    """
    if factor == 1:
        return config
    changed: dict[str, Any] = {}
    for name in LENGTHS:
        value = getattr(config.schedule, name, 0.0)
        if isinstance(value, Mapping):
            changed[name] = {resolution: round(kimg * factor, 6) for resolution, kimg in value.items()}
        elif value:
            changed[name] = round(value * factor, 6)
    half_life = round(config.optimizer.ema_half_life_kimg * min(1.0, factor), 6)
    schedule: ScheduleConfig = replace(config.schedule, **changed)
    return replace(config, schedule=schedule, optimizer=replace(config.optimizer, ema_half_life_kimg=half_life))


def common_and_own(configs: Mapping[str, Config]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Split the settings of several variants that are not defaults.

    Returns:
        Those that all have in common, and those of each variant that differ between variants.
    """
    default = dict(settings_of(Config()))
    all_settings = {name: dict(settings_of(config)) for name, config in configs.items()}
    paths = [path for path in default if path not in _OF_THE_STUDY]
    shared, own = {}, {name: dict[str, Any]() for name in configs}
    for path in paths:
        values = [settings[path] for settings in all_settings.values()]
        if all(value == values[0] for value in values):
            if values and values[0] != default[path]:
                shared[path] = values[0]
        else:
            for name, settings in all_settings.items():
                own[name][path] = settings[path]
    return shared, own


def kimg_of(config: Config) -> float:
    """Return the length of a run in kimg."""
    return Schedule.of(config).total_images / 1000


def scale_for(minutes: float, estimated_minutes: float) -> float:
    """Return the factor on all lengths for a budget, rounded down to two digits.

    Raises:
        UserError: the budget is too small for anything to be learned.
    """
    factor = minutes / max(estimated_minutes, 1e-9)
    if factor < 0.01:
        raise UserError(
            f"--minutes={minutes:g}: the study takes about {estimated_minutes:.0f} minutes at full length, and this is less "
            "than 1 % of it; give more, or fewer --variants and --seeds"
        )
    digits = 2 - math.ceil(math.log10(factor))
    return math.floor(factor * 10**digits) / 10**digits
