"""Table 1 of the paper: what each part of the method contributes.

    python experiments/paper/ablation.py --out=runs/paper/ablation                       # photographs at 32x32
    python experiments/paper/ablation.py --data=digits --out=runs/paper/ablation_digits  # digits at 32x32
    python experiments/paper/ablation.py --data=celeba --seeds=0 --jobs=2                # the paper's data, size and lengths
    python experiments/paper/ablation.py --variants=e,f --seeds=0-4                      # equalized learning rate alone
    python experiments/paper/ablation.py --dry_run

Rows are cumulative, as in the paper: (d) revised training parameters, (e*) minibatch discrimination, (e) minibatch stddev
instead, (f) equalized learning rate, (g) pixel norm, (h) larger networks and a longer run. Each is compared with the
row before it.

On the built-in data the learning rates are three times those of the paper, as runs are a hundred times shorter; --rate_factor=1
takes the paper's. celeba uses experiments/celeba.py with 10,000 kimg, constant batches of 16 and 2,048 / 512 feature maps.

Ctrl-C lets the runs save; the same command continues. Writes results.json, table.md, figure.svg and contact_sheet.png to --out
after each run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.paper.study.command import FLAGS, main
from experiments.paper.study.plan import Measures, Study, Variant
from pggan_jax.config import Config, DataConfig, DiscriminatorConfig, GeneratorConfig, OptimizerConfig, ScheduleConfig
from pggan_jax.config.io import load_config

flags.DEFINE_enum("data", "photos", ["photos", "digits", "celeba"], "which images", flag_values=FLAGS)
flags.DEFINE_integer("size", 0, "side of the images; 0: 32, and 128 for celeba", flag_values=FLAGS, lower_bound=0)
flags.DEFINE_float("rate_factor", 0.0, "times the paper's rates; 0: 3, and 1 for celeba", flag_values=FLAGS, lower_bound=0.0)

QUICK = (
    *("data.resolution=16", "generator.fmap_max=4", "discriminator.fmap_max=4"),
    *("schedule.stable_kimg=0.3", "schedule.stable_kimg_at=", "schedule.fade_kimg=0.2", "schedule.fade_kimg_at="),
    *("schedule.total_kimg=1.3", "schedule.batch_size=8", "schedule.repeats=1", "optimizer.ema_half_life_kimg=0.1"),
)
STDDEV = "discriminator.minibatch_stddev=whole_batch"
EQUALIZED = ("generator.use_wscale=true", "discriminator.use_wscale=true")
PIXEL_NORM = "generator.use_pixelnorm=true"


def base_config(data: str, size: int) -> Config:
    """Return row (d) at the paper's lengths, or at about a hundredth of them."""
    if data == "celeba":
        config = load_config("experiments/celeba.py").config
        images = replace(config.data, resolution=size or 128)
        schedule = ScheduleConfig(stable_kimg=800.0, fade_kimg=800.0, total_kimg=10_000.0, batch_size=16, repeats=1)
        maps, optimizer = {"fmap_base": 2048, "fmap_max": 512}, OptimizerConfig()
    else:
        images = DataConfig(source=data, resolution=size or 32, mirror=data == "photos")
        schedule = ScheduleConfig(
            stable_kimg=20.0, stable_kimg_at={4: 8.0, 8: 17.0, 16: 15.0}, fade_kimg=10.0, batch_size=16, repeats=1
        )
        maps, optimizer = {"fmap_base": 256, "fmap_max": 32}, OptimizerConfig(ema_half_life_kimg=1.5)
    generator = GeneratorConfig(**maps, use_wscale=False, use_pixelnorm=False, fused_scale=False)
    discriminator = DiscriminatorConfig(**maps, use_wscale=False, minibatch_stddev="none", fused_scale=False)
    return Config(data=images, generator=generator, discriminator=discriminator, schedule=schedule, optimizer=optimizer)


def larger(data: str, size: int) -> Config:
    """Return row (d) with more feature maps and twice the stable phase at full resolution."""
    config = base_config(data, size)
    factor = 4 if data == "celeba" else 2
    maps = {
        "fmap_base": factor * config.generator.fmap_base,
        "fmap_max": config.generator.fmap_max * (1 if data == "celeba" else 2),
    }
    schedule = replace(
        config.schedule, stable_kimg=2 * config.schedule.stable_kimg, total_kimg=1.5 * config.schedule.total_kimg
    )
    return replace(
        config,
        generator=replace(config.generator, **maps),
        discriminator=replace(config.discriminator, **maps),
        schedule=schedule,
    )


def study(values: flags.FlagValues) -> Study:
    """Return the study."""
    data, size = values["data"].value, values["size"].value
    factor = values["rate_factor"].value or (1.0 if data == "celeba" else 3.0)
    low, high = (f"schedule.learning_rate={rate * factor:g}" for rate in (1e-4, 1e-3))
    base: Callable[[], Config] = partial(base_config, data, size)
    final = (high, STDDEV, *EQUALIZED, PIXEL_NORM)
    discrimination = "discriminator.minibatch_discrimination=100"
    rows = (
        Variant("d", "revised training parameters", base, (low,)),
        Variant("e-star", "d + minibatch discrimination", base, (low, discrimination), against="d"),
        Variant("e", "d + minibatch stddev", base, (low, STDDEV), against="d"),
        Variant("f", "e + equalized learning rate, ten times the rate", base, (high, STDDEV, *EQUALIZED), against="e"),
        Variant("g", "f + pixel norm", base, final, against="f"),
        Variant("h", "g with larger networks, longer", partial(larger, data, size), final, against="g"),
    )
    largest = size or (128 if data == "celeba" else 32)
    levels = [side for side in (256, 128, 64, 32, 16) if side <= largest]
    return Study(
        "ablation",
        "What does each part of the method contribute, added one after the other?",
        rows,
        Measures(
            headline="swd.average",
            columns={
                **{f"swd.{side}": f"SWD x1e3, {side}" for side in levels},
                "swd.average": "SWD x1e3, average",
                "ms_ssim.ms_ssim": "MS-SSIM",
                "fd8": "distance of 8x8 pixels",
            },
            curve=("swd", "fd8"),
            final=("ms_ssim",),
            num_images=16_384 if data == "celeba" else 2048,
            neutral=("ms_ssim.ms_ssim",),
        ),
        quick=QUICK,
        points=6,
    )


if __name__ == "__main__":
    main(study, __doc__)
