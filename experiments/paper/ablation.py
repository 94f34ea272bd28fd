"""Table 1 of the paper: what each part of the method contributes.

    python experiments/paper/ablation.py --out=runs/paper/ablation                       # photographs at 16x16
    python experiments/paper/ablation.py --data=digits --out=runs/paper/ablation_digits  # digits at 16x16
    python experiments/paper/ablation.py --data=celeba --seeds=0 --jobs=2                # the paper's data, size and lengths
    python experiments/paper/ablation.py --variants=e,f --seeds=0-4                      # equalized learning rate alone
    python experiments/paper/ablation.py --dry_run

The rows are those of rows.py, each a few settings away from the row before it, which it is compared with: (a) improved WGAN-GP,
(b) growing, (c) small minibatch, (d) revised training parameters, (e-star) minibatch discrimination, (e) minibatch stddev
instead, (f) equalized learning rate, (g) pixel norm, (h) more feature maps and a longer run.

On the built-in data, runs are about an eightieth as long as the paper's, the half-life of the moving average is 1.5 kimg, and
learning rates are eight times those of the paper; --rate_factor=1 takes the paper's. Batches of 64 with five discriminator
steps leave 375 steps to the generator of rows (a) and (b): a disadvantage that they do not have with 10,000 kimg. celeba and
lsun use experiments/celeba.py and lsun.py (bedrooms, all of them) at 128x128 with 10,000 kimg and 2,048 / 512 feature maps.

Ctrl-C lets the runs save; the same command continues. Writes results.json, table.md, figure.svg and contact_sheet.png to --out
after each run.

Cost: 6 to 12 minutes of training for each run of photographs, two at a time on 2 CPU cores; (a), (b) and (c) also compile for
five minutes and more with their first seed.
Expect: with the first seed of photographs, an SWD x1e3 of 51 to 86 for (a) to (c) and 24 to 29 for (d) to (h); reals 16. The
paper's averages are in `PUBLISHED`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.paper.rows import ABOUT, PARENTS, ablation_row
from experiments.paper.study.command import FLAGS, main
from experiments.paper.study.noise import Mean
from experiments.paper.study.plan import QUICK_SETTINGS, Measures, Study, Variant
from experiments.paper.study.results import values_of
from pggan_jax.config import Config, DataConfig, DiscriminatorConfig, GeneratorConfig, ScheduleConfig
from pggan_jax.config.io import load_config

flags.DEFINE_enum("data", "photos", ["photos", "digits", "celeba", "lsun"], "which images", flag_values=FLAGS)
flags.DEFINE_integer("size", 0, "side of the images; 0: 16, and 128 for celeba and lsun", flag_values=FLAGS, lower_bound=0)
flags.DEFINE_float(
    "rate_factor", 0.0, "times the paper's rates; 0: 8, and 1 for celeba and lsun", flag_values=FLAGS, lower_bound=0.0
)

PAPERS_DATA = ("celeba", "lsun")
TINY = (
    *QUICK_SETTINGS,
    "schedule.total_kimg=1.3",
    "schedule.critic_steps=1",  # five take five times as long to compile
)
HEADLINE = "swd.average"
PUBLISHED = {
    "CelebA": {"a": 9.28, "b": 4.28, "c": 46.23, "d": 8.07, "e*": 9.84, "e": 7.04, "f": 4.39, "g": 3.56, "h": 2.96},
    "LSUN bedrooms": {"a": 11.25, "b": 7.60, "c": 49.52, "d": 6.54, "e*": 8.43, "e": 6.48, "f": 4.02, "g": 4.01, "h": 3.31},
}
"""SWD x1e3 on average (spec 6.2, where it says which of them are confirmed)."""


def base_config(data: str, size: int, *, longer: bool = False) -> Config:
    """Return data, feature maps and phases of all rows.

    Lengths are those of the paper, or about an eightieth of them.

    Args:
        data: one of the choices of --data.
        size: side of the images; 0 for the default.
        longer: double the stable phases whose length has no other setting, as in row (h). The paper's data get half as many
            images again, the built-in data a quarter.
    """
    if data in PAPERS_DATA:
        images = replace(load_config(f"experiments/{data}.py").config.data, resolution=size or 128)
        if data == "lsun":
            images = replace(images, max_images=0, mirror=False)
        schedule = ScheduleConfig(stable_kimg=800.0, fade_kimg=800.0, total_kimg=10_000.0, repeats=1)
        maps = {"fmap_base": 2048, "fmap_max": 512}
    else:
        images = DataConfig(source=data, resolution=size or 16, mirror=data == "photos")
        schedule = ScheduleConfig(stable_kimg=30.0, stable_kimg_at={4: 16.0, 8: 34.0}, fade_kimg=20.0, repeats=1)
        maps = {"fmap_base": 128, "fmap_max": 32}
    if longer:
        schedule = replace(schedule, stable_kimg=2 * schedule.stable_kimg, total_kimg=1.5 * schedule.total_kimg)
    return Config(data=images, generator=GeneratorConfig(**maps), discriminator=DiscriminatorConfig(**maps), schedule=schedule)


def row_config(row: str, *, data: str, size: int, rate_factor: float) -> Config:
    """Return a row of Table 1 on some data."""
    config = ablation_row(row, base_config(data, size, longer=row == "h"))
    rate = rate_factor or (1.0 if data in PAPERS_DATA else 8.0)
    schedule = replace(config.schedule, learning_rate=round(rate * config.schedule.learning_rate, 9))
    half_life = 0.0 if data in PAPERS_DATA else 1.5
    return replace(config, schedule=schedule, optimizer=replace(config.optimizer, ema_half_life_kimg=half_life))


def name_of(row: str) -> str:
    """Return the name of a row's variant, which is also that of a folder."""
    return row.replace("*", "-star")


def cumulated(results: Mapping[str, Any]) -> list[str]:
    """Return how far each row is from row (a), here and in the paper."""
    means = {}
    for variant in results["variants"]:
        if values := values_of(variant, HEADLINE):
            means[variant["name"]] = Mean.of(values).value
    lines = {"here": means, **{f"the paper, {data}": published for data, published in PUBLISHED.items()}}
    found = []
    for where, values in lines.items():
        first = values.get("a")
        if first and "a" in means and len(means) > 1:
            changes = [f"{name_of(row)} {100 * (value / first - 1):+.0f} %" for row, value in values.items() if row != "a"]
            found.append(f"SWD on average against row `a`, {where}: {', '.join(changes)}.")
    return found


def study(values: flags.FlagValues) -> Study:
    """Return the study."""
    data, size = values["data"].value, values["size"].value
    make = partial(row_config, data=data, size=size, rate_factor=values["rate_factor"].value)
    rows = tuple(
        # Row (a) trains at full resolution, which is another one with --quick.
        Variant(name_of(row), about, partial(make, row), against=name_of(PARENTS[row]), grows=row != "a")
        for row, about in ABOUT.items()
    )
    largest = base_config(data, size).data.resolution
    levels = [side for side in (256, 128, 64, 32, 16) if side <= largest]
    if len(levels) == 1:  # it is the average
        levels = []
    return Study(
        "ablation",
        "What does each part of the method contribute, added one after the other?",
        rows,
        Measures(
            headline=HEADLINE,
            columns={
                **{f"swd.{side}": f"SWD x1e3, {side}" for side in levels},
                HEADLINE: "SWD x1e3, average",
                "ms_ssim.ms_ssim": "MS-SSIM",
                "fd8": "distance of 8x8 pixels",
            },
            curve=("swd", "fd8"),
            final=("ms_ssim",),
            num_images=16_384 if data in PAPERS_DATA else 2048,
            neutral=("ms_ssim.ms_ssim",),
        ),
        quick=TINY,
        points=6,
        remarks=cumulated,
    )


if __name__ == "__main__":
    main(study, __doc__)
