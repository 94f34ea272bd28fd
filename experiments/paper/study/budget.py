"""The largest run that fits a budget: first fewer images, then narrower networks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from experiments.paper.study.cost import estimated_minutes
from experiments.paper.study.folder import Folder, recorded
from experiments.paper.study.plan import Lengths, Study, make_plan, work_of
from experiments.paper.study.settings import scale_for
from pggan_jax.config import Config
from pggan_jax.errors import UserError

WIDTHS = (1.0, 0.5, 0.25, 0.125, 0.0625)
"""Factors on the published feature maps."""
LEAST_SCALE = 0.1
"""Least share of the published images; before that, the feature maps are halved."""
_LEAST_MAPS, _HOPELESS = 4, 0.01


@dataclass(frozen=True)
class Choice:
    """What a budget allows.

    Attributes:
        width: factor on the published feature maps.
        scale: factor on the published lengths, at most 1.
        minutes: estimate of all runs.
    """

    width: float
    scale: float
    minutes: float


def choose(budget_minutes: float, *, work: Callable[[float], float], measure: Callable[[float], float]) -> Choice:
    """Choose the widest networks that a budget trains with enough images.

    From the narrowest on, each width is measured; the next one is tried while its arithmetic promises `LEAST_SCALE`.

    Args:
        budget_minutes: of all runs.
        work: from a width to its arithmetic in any unit, at published lengths.
        measure: from a width to the minutes of all runs at published lengths, at its measured speed.

    Raises:
        UserError: not even the narrowest networks fit.
    """
    chosen, minutes_per_work = None, 0.0
    for width in sorted(WIDTHS):
        if chosen and minutes_per_work * work(width) * LEAST_SCALE > budget_minutes:
            break
        minutes = measure(width)
        if chosen and minutes * LEAST_SCALE > budget_minutes:
            break
        if minutes * _HOPELESS > budget_minutes:
            raise UserError(
                f"--budget_minutes={budget_minutes:g}: with {width:g} of the feature maps, the published images take about "
                f"{minutes:,.0f} minutes for all seeds, and this is less than 1 % of it; give more, or fewer --seeds"
            )
        scale = 1.0 if minutes <= budget_minutes else scale_for(budget_minutes, minutes)
        chosen, minutes_per_work = Choice(width, scale, scale * minutes), minutes / work(width)
    assert chosen is not None
    return chosen


def width_settings(config: Config, width: float) -> tuple[str, ...]:
    """Return settings that multiply the feature maps of both networks; none for a factor of 1."""
    if width == 1:
        return ()
    maps = {"fmap_base": config.generator.fmap_base, "fmap_max": config.generator.fmap_max}
    sizes = {name: max(_LEAST_MAPS, int(size * width)) for name, size in maps.items()}
    return tuple(f"{network}.{name}={size}" for network in ("generator", "discriminator") for name, size in sizes.items())


def lengths_for(study: Study, lengths: Lengths, *, folder: Folder, seeds: Sequence[int], budget_minutes: float) -> Lengths:
    """Return the lengths and settings that fit a budget, or those that the folder records.

    Args:
        study: with a single variant.
        lengths: with the settings that the command asks for.
        folder: of the study.
        seeds: of the runs, which share the budget.
        budget_minutes: of all runs.

    Raises:
        UserError: the budget is too small.
    """
    if found := recorded(folder):
        return Lengths(float(found["scale"]), lengths.is_quick, tuple(found["settings"]))
    (variant,) = study.variants

    def lengths_of(width: float) -> Lengths:
        return Lengths(1.0, lengths.is_quick, (*width_settings(published, width), *lengths.settings))

    def plan_of(width: float, at: Sequence[int]):
        return make_plan(study, names=(), seeds=at, lengths=lengths_of(width))

    published = make_plan(study, names=(), seeds=seeds[:1], lengths=lengths).configs[variant.name]

    def measure(width: float) -> float:
        minutes = estimated_minutes(plan_of(width, seeds))
        print(f"{width:g} of the feature maps: {minutes:,.0f} minutes at published length", file=sys.stderr)
        return minutes

    choice = choose(
        budget_minutes, work=lambda width: work_of(plan_of(width, seeds[:1]).configs[variant.name]), measure=measure
    )
    if choice.width == choice.scale == 1:
        print(f"--budget_minutes={budget_minutes:g}: the published size, in {choice.minutes:.0f} minutes", file=sys.stderr)
    else:
        print(
            f"--budget_minutes={budget_minutes:g}: {choice.width:g} of the published feature maps and {choice.scale:g} of the "
            f"published images, about {choice.minutes:.0f} minutes for {len(seeds)} runs",
            file=sys.stderr,
        )
    chosen = lengths_of(choice.width)
    return Lengths(choice.scale, chosen.is_quick, chosen.settings)


def check_budget(minutes: float, *, others: Sequence[str]) -> None:
    """Refuse flags that a budget chooses itself.

    Raises:
        UserError: one is given.
    """
    if minutes and others:
        raise UserError(f"--budget_minutes and --{others[0]}: give one of them, as the budget chooses the lengths")
