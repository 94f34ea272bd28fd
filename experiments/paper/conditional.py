"""Labels on and off: does a conditional generator make better digits?

    python experiments/paper/conditional.py --out=runs/paper/conditional               # 4 variants x 3 seeds
    python experiments/paper/conditional.py --variants=labels,no-labels --seeds=0-4    # two of them, five seeds
    python experiments/paper/conditional.py --dry_run                                  # the runs and what they cost
    python experiments/paper/conditional.py --jobs=8                                   # eight at a time, on a GPU

The default run (experiments/digits.py) with and without labels. Measured at the end of each run: accuracy of classifiers that
are trained on samples and tested on reals (GAN-train) and the other way round (GAN-test), distance within each class, and the
distance of all samples (Frechet distance of 8x8 pixels in 0..16). With labels, a classifier of real digits says how many
samples show the digit that was asked for; without, it reads the class. results.json has the values of each digit.

Ctrl-C lets the runs save; the same command continues. Writes results.json, table.md, figure.svg and contact_sheet.png to --out
after each run.

Cost: 12 runs of experiments/digits.py (76 s each alone on 2 cores), and their measurement.
Expect: GAN-train 0.95 and GAN-test 0.99 with labels, 0.96 and 0.995 with a classifier that is trained on reals alone; with a
tenth of its weight the labels are ignored.
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.paper.study.command import main
from experiments.paper.study.plan import Measures, Study, Variant

DIGITS = "experiments/digits.py"


def study(values: flags.FlagValues) -> Study:
    """Return the study."""
    del values
    return Study(
        "conditional",
        "Does the generator make better digits if it is told which, and what does the auxiliary classifier contribute?",
        (
            Variant("labels", "the default run: labels in G, auxiliary classifier in D", DIGITS),
            Variant("no-labels", "the same without labels", DIGITS, ("data.labels=false",)),
            Variant("reals-only", "D's classifier is trained on reals alone", DIGITS, ("loss.label_fakes=false",)),
            Variant("weak", "a tenth of the classifier's weight", DIGITS, ("loss.label_weight=0.1",)),
        ),
        Measures(
            headline="fd8",
            columns={
                "fd8": "distance of 8x8 pixels",
                "fd8_class.mean": "within classes, mean",
                "fd8_class.worst": "worst class",
                "train_test.gan_train": "GAN-train",
                "train_test.gan_test": "GAN-test",
                "agreement": "two readers agree",
                "requested.mean": "read as requested",
                "requested.worst": "worst digit",
                "ms_ssim.ms_ssim": "MS-SSIM",
            },
            curve=("fd8",),
            final=("fd8_class", "readers", "train_test", "ms_ssim"),
            num_images=2000,
            larger=("train_test.gan_train", "train_test.gan_test", "agreement", "requested.mean", "requested.worst"),
            neutral=("ms_ssim.ms_ssim",),
        ),
    )


if __name__ == "__main__":
    main(study, __doc__)
