"""What to turn first: one setting at a time around the default run.

    python experiments/paper/hyperparameters.py --out=runs/paper/hyperparameters --seeds=0-3
    python experiments/paper/hyperparameters.py --part=first                # learning rate, n_critic, batch, fade length
    python experiments/paper/hyperparameters.py --part=recipe --seeds=0-3   # what the default run's own recipe is made of
    python experiments/paper/hyperparameters.py --part=lengths              # more and fewer images
    python experiments/paper/hyperparameters.py --part=penalty              # where R1 and R2 are measured
    python experiments/paper/hyperparameters.py --labels=false --out=runs/paper/hyperparameters-no-labels
    python experiments/paper/hyperparameters.py --variants=default,carry,current --jobs=12

All runs are experiments/digits.py with the same number of images, but for --part=lengths. The distance is that of box-filtered
8x8 pixels in 0..16 (Frechet distance); its floor is that of two halves of the reals. Two readers, a support vector machine and
the nearest real digit, agree on samples that are clear digits.

Ctrl-C lets the runs save; the same command continues. Writes results.json, table.md, figure.svg and contact_sheet.png to --out
after each run.

Cost: 1.4 minutes for each run with its measurement on 2 CPU cores on which the default run takes 76 s; 5.5 minutes where it
takes 244 s. Two runs at a time.
Expect: the learning rate matters most; docs/experiments.md has the table.
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.paper.study.command import FLAGS, main
from experiments.paper.study.plan import Measures, Study, Variant

flags.DEFINE_boolean("labels", True, "train with labels, as the default run does", flag_values=FLAGS)

DIGITS = "experiments/digits.py"
Row = tuple[str, str, tuple[str, ...]]


def rate(value: float) -> tuple[str, ...]:
    """Return the settings of a learning rate that is halved at 32x32."""
    return f"schedule.learning_rate={value:g}", f"schedule.learning_rate_at=32:{value / 2:g}"


FIRST: tuple[Row, ...] = (
    ("rate-0.003", "learning rate 0.003 instead of 0.008, half of it at 32x32", rate(0.003)),
    ("rate-0.005", "learning rate 0.005, half of it at 32x32", rate(0.005)),
    ("rate-0.012", "learning rate 0.012, half of it at 32x32", rate(0.012)),
    ("critic-2", "two discriminator steps per generator step, same reals", ("schedule.critic_steps=2",)),
    ("critic-5", "five discriminator steps per generator step, same reals", ("schedule.critic_steps=5",)),
    ("batch-half", "half the batch", ("schedule.batch_size_at=4:16,8:16,16:8,32:8",)),
    ("batch-double", "twice the batch", ("schedule.batch_size_at=4:64,8:64,16:32,32:32",)),
    (
        "fade-none",
        "no fade; its images go to the stable phases",
        ("schedule.fade_kimg=0", "schedule.fade_kimg_at=", "schedule.stable_kimg_at=4:7,8:70,16:27,32:18"),
    ),
    (
        "fade-half",
        "half the fade",
        ("schedule.fade_kimg_at=8:5,16:6,32:5", "schedule.stable_kimg_at=4:7,8:65,16:21,32:13"),
    ),
    (
        "fade-longer",
        "1.5 times the fade",
        ("schedule.fade_kimg_at=8:15,16:18,32:15", "schedule.stable_kimg_at=4:7,8:55,16:9,32:3"),
    ),
)
RECIPE: tuple[Row, ...] = (
    ("carry", "Adam's moments are carried over phases", ("optimizer.on_new_phase=carry",)),
    ("current", "gradient norm at the current resolution", ("loss.penalty_scale=current",)),
    ("carry-current", "both", ("optimizer.on_new_phase=carry", "loss.penalty_scale=current")),
    ("ema-0.5", "half-life of the moving average 0.5 kimg instead of 1.5", ("optimizer.ema_half_life_kimg=0.5",)),
    ("ema-4", "half-life 4 kimg", ("optimizer.ema_half_life_kimg=4",)),
    ("ema-10", "half-life 10 kimg", ("optimizer.ema_half_life_kimg=10",)),
    ("stddev-batch", "minibatch stddev of the whole batch", ("discriminator.minibatch_stddev=whole_batch",)),
    ("stddev-contiguous", "stddev of neighbours, unbiased", ("discriminator.minibatch_stddev=contiguous",)),
    ("stddev-none", "no minibatch stddev", ("discriminator.minibatch_stddev=none",)),
    ("rate-falling", "learning rate 0.005 at 16x16, 0.003 at 32x32", ("schedule.learning_rate_at=16:0.005,32:0.003",)),
    ("rate-constant", "learning rate 0.008 at 32x32 too", ("schedule.learning_rate_at=",)),
    ("rate-rising", "learning rate 0.003 at 4x4 and 8x8", ("schedule.learning_rate_at=4:0.003,8:0.003,32:0.004",)),
    (
        "cosine",
        "learning rate by a cosine from 0.008 to 0.001",
        ("schedule.learning_rate_at=", "schedule.learning_rate_end=0.001"),
    ),
)
LONG = ("schedule.stable_kimg_at=4:10,8:60,16:30,32:15", "schedule.fade_kimg_at=8:15,16:20,32:15")
MEDIUM = ("schedule.stable_kimg_at=4:7,8:40,16:20,32:10", "schedule.fade_kimg_at=8:10,16:13,32:10")
SHORT = ("schedule.stable_kimg_at=4:5,8:30,16:15,32:7.5", "schedule.fade_kimg_at=8:7.5,16:10,32:7.5")
LENGTHS: tuple[Row, ...] = (
    ("kimg-165", "165 kimg instead of 122", LONG),
    (
        "kimg-165-0.003",
        "165 kimg, learning rate 0.003 at all resolutions",
        (*LONG, "schedule.learning_rate=0.003", "schedule.learning_rate_at="),
    ),
    ("kimg-110", "110 kimg, fewer of them at 8x8", MEDIUM),
    ("kimg-83", "83 kimg", SHORT),
)
PENALTY: tuple[Row, ...] = tuple(
    (f"{loss}-{scale}", f"{loss}, gamma 1, {where}", (f"loss.name={loss}", "loss.r1_gamma=1", f"loss.penalty_scale={value}"))
    for loss in ("logistic", "rpgan")
    for scale, value, where in (
        ("current", "current", "measured at the current resolution"),
        ("full", "full_resolution", "measured at full resolution"),
    )
)
PARTS = {"first": FIRST, "recipe": RECIPE, "lengths": LENGTHS, "penalty": PENALTY}

flags.DEFINE_enum("part", "all", ["all", *PARTS], "which variants there are besides the default", flag_values=FLAGS)


def study(values: flags.FlagValues) -> Study:
    """Return the study."""
    part = values["part"].value
    chosen = [row for name, rows in PARTS.items() if part in ("all", name) for row in rows]
    labels = () if values["labels"].value else ("data.labels=false",)
    own = tuple(Variant(name, about, DIGITS, (*labels, *settings)) for name, about, settings in chosen)
    return Study(
        "hyperparameters",
        "Which settings of the default run matter beyond the noise?",
        (Variant("default", "experiments/digits.py", DIGITS, labels), *own),
        Measures(
            headline="fd8",
            columns={
                "fd8": "distance of 8x8 pixels",
                "swd.average": "SWD x1e3",
                "agreement": "two readers agree",
                "certainty": "mean top probability",
                "train_test.gan_train": "GAN-train",
                "train_test.gan_test": "GAN-test",
            },
            curve=("fd8",),
            final=("swd", "readers", "train_test"),
            num_images=2000,
            larger=("agreement", "certainty", "train_test.gan_train", "train_test.gan_test"),
        ),
    )


if __name__ == "__main__":
    main(study, __doc__)
