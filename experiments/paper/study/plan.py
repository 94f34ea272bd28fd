"""What a study compares: variants of a run, seeds, lengths, and what is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from experiments.paper.study.settings import scaled
from pggan_jax.config import Config
from pggan_jax.config.io import load_config, parse_value, replace_setting
from pggan_jax.config.validation import validate, walk
from pggan_jax.errors import ConfigError, UserError
from pggan_jax.networks.cost import relative_cost
from pggan_jax.schedule import Schedule

QUICK_SETTINGS = (
    *("data.resolution=16", "generator.fmap_max=4", "discriminator.fmap_max=4"),
    *("schedule.stable_kimg=0.3", "schedule.stable_kimg_at=", "schedule.fade_kimg=0.2", "schedule.fade_kimg_at="),
    *("schedule.batch_size=8", "schedule.batch_size_at=", "schedule.repeats=1", "optimizer.ema_half_life_kimg=0.1"),
)
"""Settings of a tiny run, which a study may add to."""

_ROOM = 20
"""Times the images that equal arithmetic allows: the longest run that time ends."""


@dataclass(frozen=True)
class Variant:
    """One way to train, which is run with each seed.

    Attributes:
        name: for folders, tables and --variants: letters, digits, - and _.
        about: one line for the table.
        base: an experiment file, or a function that returns a `Config`.
        settings: `name=value` each, on top of it.
        against: the variant that it is compared with; empty for the first one of the study.
        after: another variant whose run with the same seed must be complete first; empty for none.
        grows: otherwise it trains at full resolution from the start, with as many images.
        same_work: if it does not grow, with as many images as take the arithmetic of the growing run.
        weights: start from the weights of that run.
        minutes: train as many minutes as that run did, measured without compilation and evaluation.
    """

    name: str
    about: str
    base: str | Callable[[], Config]
    settings: tuple[str, ...] = ()
    against: str = ""
    after: str = ""
    grows: bool = True
    same_work: bool = False
    weights: bool = False
    minutes: bool = False

    @property
    def timed_by(self) -> str:
        """Name of the variant whose runs are as long in minutes: itself, or that of `minutes`."""
        return self.after if self.minutes else self.name


@dataclass(frozen=True)
class Measures:
    """What is measured of each run, with images of the moving average at full resolution.

    Attributes:
        headline: the value that curves and verdicts are about, such as "swd.average".
        columns: values in the table, with their headings.
        curve: names in `measure.KNOWN` that are measured at every checkpoint.
        final: those that are measured at the last one only.
        num_images: generated images; as many reals, or all there are.
        quick_images: the same with --quick.
        larger: values of which larger is better; of others smaller is.
        neutral: values of which neither is better.
        stats: fields of stats.jsonl that count as measured at every checkpoint.
        all_reals: compare with all images of the source, also where a run trained on fewer.
    """

    headline: str
    columns: Mapping[str, str]
    curve: tuple[str, ...]
    final: tuple[str, ...] = ()
    num_images: int = 2048
    quick_images: int = 256
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
        variants: see `Variant`.
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
    quick: tuple[str, ...] = QUICK_SETTINGS
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
    """The runs of a study that a command asks for.

    Attributes:
        study: what they belong to.
        variants: those that are run.
        seeds: of the runs.
        lengths: of the runs.
        configs: settings by variant.
        left_out: variants that need settings which this version lacks, each with the reason.
    """

    study: Study
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    lengths: Lengths
    configs: Mapping[str, Config] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

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
        curve, final, stats: names of `Measures`.
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
    stats: Sequence[str] = ()


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
    reasons = {variant.name: unknown_setting(variant) for variant in study.variants}
    left_out = {name: reason for name, reason in reasons.items() if reason}
    if needed := [name for name in names if name in left_out]:
        raise UserError(f"--variants={','.join(names)}: {needed[0]} {left_out[needed[0]]}")
    known = {variant.name: variant for variant in study.variants if variant.name not in left_out}
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"--variants={','.join(names)}: there is no {unknown[0]}; choose from {', '.join(known)}")
    wanted = set(names or list(known)[: study.quick_variants if lengths.is_quick else None])
    chosen = tuple(variant for name, variant in known.items() if name in wanted)
    for variant in chosen:
        if variant.after and variant.after not in wanted:
            raise UserError(f"--variants: {variant.name} continues from {variant.after}; name that one too")
    configs = {variant.name: config_of(variant, study, lengths) for variant in chosen}
    return Plan(study, chosen, tuple(seeds), lengths, configs, left_out)


def unknown_setting(variant: Variant) -> str:
    """Return which setting of a variant this version lacks; empty if it has all."""
    known = {path: metadata.get("choices") for path, _, _, metadata in walk(Config())}
    needed = [*variant.settings, *["schedule.total_minutes=1"] * variant.minutes]
    for text in needed:
        path, _, value = text.partition("=")
        choices = known.get(path, ())
        if path not in known or (path.endswith(".name") and choices and value not in choices):
            return f"needs {text}, which this version lacks"
    return ""


def work_of(config: Config, images_seen: int | None = None) -> float:
    """Estimate the multiply-adds of a run, or of its first images, by `networks.cost`."""
    schedule = Schedule.of(config)
    end = schedule.total_images if images_seen is None else min(images_seen, schedule.total_images)
    return sum(images * relative_cost(config, resolution) for resolution, images in schedule.images_between(0, end).items())


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
    if variant.weights:  # the runner replaces this name by the folder of the run
        config = replace_setting(config, "run.init_from", variant.after)
    if not variant.grows:
        resolution, kimg = config.data.resolution, Schedule.of(config).planned_kimg
        if variant.same_work:
            kimg = round(work_of(config) / relative_cost(config, resolution) / 1000, 3)
        config = replace(config, schedule=replace(config.schedule, start_resolution=resolution, total_kimg=kimg))
    kimg = Schedule.of(config).planned_kimg
    if variant.minutes:  # the runner sets the time, which ends the run
        other = next(one for one in study.variants if one.name == variant.after)
        kimg = work_of(config_of(other, study, lengths)) / relative_cost(config, config.data.resolution) / 1000
        config = replace(config, schedule=replace(config.schedule, total_kimg=round(_ROOM * kimg, 3)))
    schedule = replace(config.schedule, tick_kimg=max(1.0, round(kimg / study.points, 3)), tick_kimg_at={})
    run = replace(config.run, grid="8x8", keep_last=100_000, checkpoint_ticks=1)
    config = replace(config, schedule=schedule, run=run)
    try:
        validate(config)
    except ConfigError as error:
        scale = "" if lengths.scale == 1 else f" with --scale={lengths.scale:g}"
        raise UserError(f"variant {variant.name}{scale}: {error}") from None
    return config
