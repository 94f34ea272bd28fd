"""Which of the 1,000 modes survive: growing, minibatch stddev, losses, tiny discriminators.

    python experiments/paper/stacked_modes.py --out=runs/paper/stacked_modes                 # three scanned digits as an image
    python experiments/paper/stacked_modes.py --data=stacked:tfds:mnist --scale=10 --jobs=8  # MNIST, a GPU
    python experiments/paper/stacked_modes.py --variants=wgan_gp,logistic,rpgan
    python experiments/paper/stacked_modes.py --variants=k2-plain,k2-norm,k2-stddev,k2-growing  # the paper's test, K/2
    python experiments/paper/stacked_modes.py --dry_run

Each image stacks three digits as red, green and blue. A classifier of single digits reads 25,600 samples: the number of the
1,000 combinations that appear, and the divergence of their shares from uniform (reverse KL). A run counts as collapsed if fewer
than 500 combinations appear, or if it ends because its updates are not finite.

k2 and k4 are the paper's test with its own small networks (networks.name=tiny), whose discriminators have half and a quarter of
the feature maps of the generator: WGAN-GP with batch norm, then equalized learning rate and pixel norm instead, then minibatch
stddev, then growing, each added to the one before. Of the scanned digits, which have 8x8 pixels, stacks of 16x16 are learned in
lengths for a CPU, a fiftieth of the paper's; of MNIST stacks of 32x32, in a tenth of the paper's, which --scale=10 takes.

Ctrl-C lets the runs save; the same command continues. Writes results.json, table.md, figure.svg and contact_sheet.png to --out
after each run.

Cost: on 2 cores of an AMD EPYC, 50 minutes for the four variants of K/2 with other programs beside them, and 2.5 minutes
with little beside it for each run of the other networks; K/4 not measured.
Expect: the paper's K/2 has 772, 887, 918 and 920 modes after many times as many images, K/4 640, 857, 881 and 860.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.paper.study.command import FLAGS, main
from experiments.paper.study.plan import QUICK_SETTINGS, Measures, Study, Variant
from pggan_jax.config import (
    Config,
    DataConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
    NetworksConfig,
    OptimizerConfig,
    ScheduleConfig,
)

SCANNED = "stacked:digits"
"""Digits of 8x8 pixels, so their stacks are learned at 16x16, in time for a CPU; others at 32x32."""
flags.DEFINE_string("data", SCANNED, "stacked:SOURCE, with a source of digits in grey", flag_values=FLAGS)

COLLAPSED = 500
"""A run with fewer modes counts as collapsed."""
TINY = (
    *QUICK_SETTINGS,
    *("data.max_images=500", "schedule.total_kimg=1.3"),
    "schedule.critic_steps=1",  # five take five times as long to compile
)
NO_STDDEV, STDDEV = (f"discriminator.minibatch_stddev={form}" for form in ("none", "whole_batch"))
OUR_NORM = (
    *("generator.use_wscale=true", "generator.use_pixelnorm=true", "generator.normalization=none"),
    *("discriminator.use_wscale=true", "discriminator.normalization=none"),
)
LOSSES = {
    "wgan_gp": ("WGAN-GP", ()),
    "logistic": ("logistic + R1", ("loss.name=logistic", "loss.r1_gamma=1")),
    "rpgan": ("RpGAN + R1 + R2", ("loss.name=rpgan", "loss.r1_gamma=1")),
}


def base_config(source: str) -> Config:
    """Return the run that all variants change: 45 kimg to 16x16, or 300 kimg to 32x32."""
    resolution, kimg, rate = (16, 45.0, 0.006) if source == SCANNED else (32, 300.0, 0.002)
    return Config(
        data=DataConfig(source=source, resolution=resolution, channels=3, crop="pad", max_images=60_000),
        generator=GeneratorConfig(fmap_base=128, fmap_max=64, latent_size=64),
        discriminator=DiscriminatorConfig(fmap_base=128, fmap_max=64, minibatch_stddev="whole_batch"),
        schedule=ScheduleConfig(
            stable_kimg=kimg / 7.5,
            stable_kimg_at={4: kimg / 15},
            fade_kimg=kimg / 15,
            total_kimg=kimg,
            batch_size=32,
            learning_rate=rate,
        ),
        loss=LossConfig(drift=0.0),
        optimizer=OptimizerConfig(ema_half_life_kimg=kimg / 50),
    )


def study(values: flags.FlagValues) -> Study:
    """Return the study."""
    source = values["data"].value

    def variant(name: str, about: str, *settings: str, against: str = "", grows: bool = True) -> Variant:
        return Variant(name, about, lambda: base_config(source), settings, against, grows=grows)

    variants = []
    for name, (about, settings) in LOSSES.items():
        variants += [
            variant(name, f"{about}, growing, stddev", *settings),
            variant(f"{name}-no-stddev", f"{about}, growing", *settings, NO_STDDEV, against=name),
            variant(f"{name}-from-start", f"{about}, stddev", *settings, against=name, grows=False),
            variant(f"{name}-plain", f"{about} alone", *settings, NO_STDDEV, against=name, grows=False),
        ]
    return Study(
        "stacked_modes",
        "How many of 1,000 modes does the generator cover, with which loss, and what do growing and minibatch stddev add?",
        (*variants, *tiny(source)),
        Measures(
            headline="modes.modes",
            columns={
                "modes.modes": "modes",
                "modes.sure_modes": "surely read",
                "modes.kl": "reverse KL",
                "modes.certainty": "certainty",
            },
            curve=("modes",),
            num_images=25_600,
            larger=("modes.modes", "modes.sure_modes", "modes.certainty"),
        ),
        quick=TINY,
        points=4,
        remarks=collapses,
    )


def tiny_config(source: str, share: int) -> Config:
    """Return the paper's test: WGAN-GP with batch norm.

    The discriminator has 1 / `share` of the feature maps. The phases are those of the growing networks. All lengths are a tenth
    of the paper's, of the scanned digits a fiftieth with three times the learning rate.
    """
    kimg, rate = tiny_kimg(source), 0.003 if source == SCANNED else 0.001
    plain: dict[str, Any] = {"normalization": "batch", "use_wscale": False}
    return Config(
        data=base_config(source).data,
        networks=NetworksConfig(name="tiny"),
        generator=GeneratorConfig(fmap_base=128, latent_size=64, use_pixelnorm=False, output_activation="tanh", **plain),
        discriminator=DiscriminatorConfig(fmap_base=128 // share, minibatch_stddev="none", **plain),
        schedule=ScheduleConfig(
            stable_kimg=kimg / 20,
            fade_kimg=kimg / 5,
            total_kimg=kimg,
            batch_size=64,
            critic_steps=5,
            learning_rate=rate,
            rampup_kimg=kimg / 250,
            repeats=1,
        ),
        loss=LossConfig(drift=0.0),
        optimizer=OptimizerConfig(ema_half_life_kimg=kimg / 100),
    )


def tiny_kimg(source: str) -> float:
    """Return the length of the paper's test without growing, which takes half as much again."""
    return 200.0 if source == SCANNED else 1000.0


def tiny(source: str) -> list[Variant]:
    """Return the columns of the paper's test, each with what the column before has."""
    found = []
    for share in (2, 4):
        base, name = partial(tiny_config, source, share), f"k{share}"
        longer = f"schedule.total_kimg={1.5 * tiny_kimg(source):g}"
        found += [
            Variant(f"{name}-plain", f"tiny, D with K/{share}: WGAN-GP", base, against=f"{name}-plain", grows=False),
            Variant(f"{name}-norm", "the same + our norm", base, OUR_NORM, f"{name}-plain", grows=False),
            Variant(f"{name}-stddev", "the same + stddev", base, (*OUR_NORM, STDDEV), f"{name}-norm", grows=False),
            Variant(f"{name}-growing", "the same + growing", base, (*OUR_NORM, STDDEV, longer), f"{name}-stddev"),
        ]
    return found


def collapses(results: Mapping[str, Any]) -> list[str]:
    """Return the share of collapsed runs of each variant."""
    lines = []
    for variant in results["variants"]:
        ended = [run for run in variant["runs"] if "values" in run or "finite update" in run.get("problem", "")]
        collapsed = [run for run in ended if run.get("values", {}).get("modes.modes", 0) < COLLAPSED]
        if ended:
            lines.append(f"`{variant['name']}`: {len(collapsed)} of {len(ended)} runs have collapsed.")
    rule = f"Collapsed: fewer than {COLLAPSED} of 1,000 modes, or ended because updates were not finite."
    return [*lines, rule] if lines else []


if __name__ == "__main__":
    main(study, __doc__)
