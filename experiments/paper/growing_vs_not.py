"""Is growing faster? Quality against images and against time: growing, not growing, DCGAN.

    python experiments/paper/growing_vs_not.py --out=runs/paper/growing_vs_not               # digits at 32x32
    python experiments/paper/growing_vs_not.py --data=photos --out=runs/paper/growing_photos # photographs at 64x64
    python experiments/paper/growing_vs_not.py --data=photos --features=curve --jobs=8       # KID at each checkpoint, on a GPU
    python experiments/paper/growing_vs_not.py --data=experiments/celeba.py --minutes=600    # another experiment file
    python experiments/paper/growing_vs_not.py --dry_run

The same networks with the same number of images, growing from 4x4 and at full resolution from the start; and DCGAN for as many
minutes of training as growing took (schedule.total_minutes). Learning rates and batches of the first two at full resolution are
those of the experiment file.

The table states how much longer each variant takes than growing to reach equal quality: the value that the worse of the two
ends with. Each curve is interpolated linearly between its checkpoints, and the first crossing counts.

Ctrl-C lets the runs save; the same command continues. Writes results.json, table.md, figure.svg and contact_sheet.png to --out
after each run.

Cost: 40 minutes for the digits on 2 cores of an AMD EPYC, of which 17 are training.
Expect: growing reaches equal quality in a third to a half of the minutes, by SWD in as many; trained three times as long,
the same networks from the start end better by SWD and the distance.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.paper.study.command import FLAGS, main
from experiments.paper.study.noise import Mean, crossing
from experiments.paper.study.plan import Measures, Study, Variant
from experiments.paper.study.results import curve_of_run

flags.DEFINE_string("data", "digits", "digits, photos, or an experiment file", flag_values=FLAGS)
flags.DEFINE_enum("features", "final", ["final", "curve"], "when KID is measured; it takes minutes on a CPU", flag_values=FLAGS)

EXPERIMENTS = {"digits": "experiments/digits.py", "photos": "experiments/photos_64.py"}
DCGAN = (
    *(
        "networks.name=dcgan",
        "networks.outer_biases=true",
        "discriminator.minibatch_stddev=none",
        "loss.name=logistic",
        "loss.r1_gamma=0",
    ),
    *(
        "schedule.learning_rate=0.0002",
        "schedule.learning_rate_at=",
        "optimizer.beta1=0.5",
        "optimizer.beta2=0.999",
        "schedule.batch_size=64",
    ),
    *("schedule.batch_size_at=", "generator.latents=uniform", "generator.latent_size=100", "generator.normalize_latents=false"),
)


def study(values: flags.FlagValues) -> Study:
    """Return the study."""
    data = values["data"].value
    experiment = EXPERIMENTS.get(data, data)
    labels = ("data.labels=false",)
    features = values["features"].value == "curve"
    readers = data == "digits"
    of_digits = {"agreement": "two readers agree", "certainty": "certainty of a classifier", "class_kl": "KL of classes read"}
    columns = {"swd.average": "SWD x1e3", "fd8": "distance of 8x8 pixels", "kid_random.kid": "KID, random features"}
    return Study(
        "growing_vs_not",
        "How much sooner does a growing network reach the quality of one that is trained at full resolution from the start?",
        (
            Variant("growing", "from 4x4", experiment, labels),
            Variant("from-start", "the same networks at full resolution, as many images", experiment, labels, grows=False),
            Variant(
                "dcgan",
                "DCGAN with its own loss and rates, as many minutes",
                experiment,
                (*labels, *DCGAN),
                after="growing",
                grows=False,
                minutes=True,
            ),
        ),
        Measures(
            headline="swd.average",
            columns={**columns, **(of_digits if readers else {})},
            curve=("swd", "fd8", *(["readers"] if readers else []), *(["kid"] if features else [])),
            final=() if features else ("kid",),
            num_images=2048,
            quick_images=64,
            larger=("agreement", "certainty") if readers else (),
        ),
        quick_variants=3,
        remarks=speed,
        points=12,
    )


def speed(results: Mapping[str, Any]) -> list[str]:
    """Return how much longer each variant takes than the first one to equal quality."""
    first, *others = results["variants"]
    lines = []
    for name, heading in results["columns"].items():
        for other in others:
            ratios = {over: ratios_of(first, other, name, over=over, larger=name in results["larger"]) for over in UNITS}
            if not ratios["seconds"]:
                continue
            words = " and ".join(f"{Mean.of(ratios[over])} times the {unit}" for over, unit in UNITS.items())
            lines.append(f"{heading}: to equal quality, `{other['name']}` takes {words} of `{first['name']}`.")
    rule = (
        "Equal quality is what the worse of the two ends with; curves are interpolated linearly, and the first crossing counts."
    )
    return [*lines, rule] if lines else []


UNITS = {"seconds": "minutes", "kimg": "images"}


def ratios_of(first: Mapping[str, Any], other: Mapping[str, Any], name: str, *, over: str, larger: bool) -> list[float]:
    """Return, by seed, what the other takes to equal quality over what the first takes."""
    curves = [{run["seed"]: curve_of_run(run, name, over=over) for run in variant["runs"]} for variant in (first, other)]
    found = []
    for seed, own in curves[0].items():
        theirs = curves[1].get(seed)
        if not own or not theirs:
            continue
        level = (min if larger else max)(own[-1][1], theirs[-1][1])
        mine = crossing(own, level, larger=larger)
        if mine > 0:
            found.append(crossing(theirs, level, larger=larger) / mine)
    return found


if __name__ == "__main__":
    main(study, __doc__)
