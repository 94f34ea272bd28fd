"""Known quality: the paper's CIFAR-10 and 128x128 photographs, as large as a budget allows.

    python experiments/paper/known_quality.py --data=cifar10 --seeds=0                        # the paper's run, on a GPU
    python experiments/paper/known_quality.py --data=cifar10 --budget_minutes=60              # what three runs in an hour allow
    python experiments/paper/known_quality.py --data=celeba --budget_minutes=600 --jobs=2     # CelebA, row (g) of Table 1
    python experiments/paper/known_quality.py --data=photos128 --budget_minutes=60            # built-in photographs
    python experiments/paper/known_quality.py --data=photos128 --set data.source=folder:DIR --set data.max_images=0
    python experiments/paper/known_quality.py --data=celeba --dry_run

--budget_minutes is for all runs together. It measures the step as launch.py plan does, then takes the widest networks for
which a tenth of the published images fits, and as many images as fit; both are recorded and printed. Smaller networks and
fewer images than published do not reach the published numbers, which are printed beside the results.

cifar10, celeba and lsun need the data set prepared once (docs/data.md); nothing is downloaded. photos128 is built-in: crops
of ten photographs, to which no published number belongs.

Ctrl-C lets the runs save; the same command continues. Writes results.json, table.md, figure.svg and contact_sheet.png to --out
after each run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.paper.study.budget import check_budget, lengths_for
from experiments.paper.study.command import FLAGS, main, parse_seeds
from experiments.paper.study.folder import Folder
from experiments.paper.study.plan import QUICK_SETTINGS, Lengths, Measures, Study, Variant
from pggan_jax.config import Config, DataConfig, DiscriminatorConfig, GeneratorConfig, ScheduleConfig
from pggan_jax.config.io import load_config
from pggan_jax.system.paths import user_path

TINY = (*QUICK_SETTINGS, "generator.fmap_base=2048", "discriminator.fmap_base=2048", "schedule.total_kimg=1.3")


@dataclass(frozen=True)
class Known:
    """A data set with what is published about it.

    Attributes:
        about: one line for the table.
        base: from nothing to the published settings.
        published: lines below the table.
    """

    about: str
    base: Callable[[], Config]
    published: tuple[str, ...]


def row_g(data: DataConfig) -> Config:
    """Return row (g) of Table 1: 512 feature maps, 800 kimg per phase, 10,000 in all."""
    maps = {"fmap_base": 2048, "fmap_max": 512, "fused_scale": False}
    return Config(
        data=replace(data, resolution=128),
        generator=GeneratorConfig(**maps),
        discriminator=DiscriminatorConfig(**maps, minibatch_stddev="whole_batch"),
        schedule=ScheduleConfig(stable_kimg=800.0, fade_kimg=800.0, total_kimg=10_000.0, batch_size=16, repeats=1),
    )


def row_g_of(experiment: str) -> Config:
    """Return row (g) with the data of an experiment file."""
    return row_g(load_config(experiment).config.data)


def full_lsun() -> Config:
    """Return row (g) with all bedrooms, not mirrored."""
    config = row_g_of("experiments/lsun.py")
    return replace(config, data=replace(config.data, max_images=0, mirror=False))


def cifar10() -> Config:
    """Return the settings of experiments/cifar10.py."""
    return load_config("experiments/cifar10.py").config


SIZE = "with up to 512 feature maps after 10,000 kimg"
KNOWN = {
    "cifar10": Known(
        "CIFAR-10 at 32x32",
        cifar10,
        (
            "Published, with up to 128 feature maps after 20,000 kimg: an inception score of 8.80 ± 0.05 in the best run, and "
            "8.56 ± 0.06 over ten runs (unconfirmed). The authors say that their later code, whose update this program uses, "
            "does not reach it.",
            "The inception score needs the network's weights (docs/metrics.md): `launch.py evaluate --workdir=OUT/runs/RUN "
            "--metrics=inception_score --inception_weights=FILE`.",
        ),
    ),
    "celeba": Known(
        "CelebA at 128x128",
        partial(row_g_of, "experiments/celeba.py"),
        (f"Published, {SIZE}: SWD x1e3 of 4.06, 3.04, 2.02, 5.13 at 128 to 16, 3.56 on average, and MS-SSIM 0.2845.",),
    ),
    "lsun": Known(
        "LSUN bedrooms at 128x128",
        full_lsun,
        (f"Published, {SIZE}: SWD x1e3 of 3.89, 3.05, 3.24, 5.87 at 128 to 16, 4.01 on average, and MS-SSIM 0.0640.",),
    ),
    "photos128": Known(
        "photographs at 128x128",
        partial(row_g, DataConfig(source="photos", mirror=True)),
        (
            "No published number belongs to these photographs. For comparison, 128x128 faces of CelebA "
            f"{SIZE}: SWD x1e3 of 3.56 on average and MS-SSIM 0.2845.",
        ),
    ),
}

flags.DEFINE_enum("data", "photos128", list(KNOWN), "which images; only photos128 is built-in", flag_values=FLAGS)
flags.DEFINE_float(
    "budget_minutes",
    0.0,
    "take the largest run that fits into so many minutes for all seeds; 0: the published size",
    flag_values=FLAGS,
    lower_bound=0.0,
)


def study(values: flags.FlagValues) -> Study:
    """Return the study; with --budget_minutes, also set the lengths and the feature maps."""
    known = KNOWN[values["data"].value]
    levels = [side for side in (128, 64, 32, 16) if side <= known.base().data.resolution]
    found = Study(
        "known_quality",
        "Which quality does a run of the paper's settings reach, and how far is it from the published numbers?",
        (Variant(values["data"].value, known.about, known.base),),
        Measures(
            headline="swd.average",
            columns={
                **{f"swd.{side}": f"SWD x1e3, {side}" for side in levels},
                "swd.average": "SWD x1e3, average",
                "ms_ssim.ms_ssim": "MS-SSIM",
                "fd8": "distance of 8x8 pixels",
                "kid_random.kid": "KID, random features",
            },
            curve=("swd", "fd8"),
            final=("ms_ssim", "kid"),
            num_images=8192,
            quick_images=64,
            neutral=("ms_ssim.ms_ssim",),
        ),
        quick=TINY,
        points=10,
        remarks=lambda results: known.published,
    )
    if budget := values["budget_minutes"].value:
        _fit(found, values, budget)
    return found


def _fit(found: Study, values: flags.FlagValues, budget: float) -> None:
    """Set --scale and --set so that all runs fit into the budget."""
    check_budget(budget, others=[name for name in ("minutes", "scale") if values[name].present])
    lengths = lengths_for(
        found,
        Lengths(1.0, values["quick"].value, tuple(values["set"].value)),
        folder=Folder(user_path(values["out"].value or f"runs/paper/{found.name}", named="--out=").absolute()),
        seeds=parse_seeds(values["seeds"].value),
        budget_minutes=budget,
    )
    values["scale"].value = lengths.scale
    values["set"].value = list(lengths.settings)


if __name__ == "__main__":
    main(study, __doc__)
