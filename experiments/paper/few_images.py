"""Few images: does augmentation of what D sees help, and does transfer with frozen layers?

    python experiments/paper/few_images.py --out=runs/paper/few_images                    # digits at 32x32
    python experiments/paper/few_images.py --data=photos --out=runs/paper/few_photos      # photographs at 64x64
    python experiments/paper/few_images.py --sizes=100 --seeds=0-4 --jobs=8
    python experiments/paper/few_images.py --dry_run

Each size trains from scratch, with DiffAugment (data.augment), and from the weights of a run on other images: photographs in
grey for digits, generated patterns for photographs; the discriminator's layers nearest the image are frozen (FreezeD). The
transfer trains at full resolution, with as many images as take the arithmetic of a run from scratch.
Distances are to all images of the source, most of which the run has not seen. As many images as a run trains on, at most 500,
are held out (data.held_out): the held-out gap is how much higher the discriminator scores its training images. Crops of the
ten photographs overlap, so the gap of --data=photos is too small.

Ctrl-C lets the runs save; the same command continues. Writes results.json, table.md, figure.svg and contact_sheet.png to --out
after each run.

Cost: two hours with --scale=0.5 for the digits, on 2 cores of an AMD EPYC with other programs beside them.
Expect: the held-out gap falls with DiffAugment; at this length neither it nor the transfer makes better digits.
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.paper.study.command import FLAGS, main
from experiments.paper.study.plan import Measures, Study, Variant
from pggan_jax.errors import UserError

flags.DEFINE_enum("data", "digits", ["digits", "photos"], "which images", flag_values=FLAGS)
flags.DEFINE_list("sizes", ["100", "300", "1000"], "numbers of training images", flag_values=FLAGS)

EXPERIMENTS = {"digits": "experiments/digits.py", "photos": "experiments/photos_64.py"}
OTHERS = {"digits": ("data.source=photos", "data.channels=1"), "photos": ("data.source=synthetic:4096", "data.channels=3")}
AUGMENT = "data.augment=color,translation,cutout"
AVAILABLE = {"digits": 1797, "photos": 4096}
MOST_HELD_OUT = 500


def taken(size: int) -> tuple[str, str]:
    """Return settings that train on `size` images and hold others out."""
    held_out = min(size, MOST_HELD_OUT)
    return f"data.max_images={size + held_out}", f"data.held_out={held_out / (size + held_out):.6g}"


def study(values: flags.FlagValues) -> Study:
    """Return the study."""
    data, sizes = values["data"].value, values["sizes"].value
    if not sizes or not all(size.isdecimal() and 16 <= int(size) <= 10**6 for size in sizes):
        raise UserError(f"--sizes={','.join(sizes)}: must be numbers of images from 16 on, such as 100,300,1000")
    most = AVAILABLE[data] - MOST_HELD_OUT
    if too_large := [size for size in sizes if int(size) > most]:
        raise UserError(
            f"--sizes={','.join(sizes)}: {too_large[0]} is too large; {data} has {most} images besides held-out ones"
        )
    experiment = EXPERIMENTS[data]
    labels = ("data.labels=false",)
    variants: list[Variant] = []
    for size in sizes:
        few = (*labels, *taken(int(size)), "data.shuffle_seed=0")
        frozen = (*few, "optimizer.freeze_discriminator=2")
        variants += [
            Variant(f"n{size}", f"{size} images", experiment, few, against=f"n{size}"),
            Variant(f"n{size}-augment", f"{size} images, DiffAugment", experiment, (*few, AUGMENT), against=f"n{size}"),
            Variant(
                f"n{size}-transfer",
                f"{size} images, from `other` with two blocks frozen",
                experiment,
                frozen,
                against=f"n{size}",
                after="other",
                grows=False,
                same_work=True,
                weights=True,
            ),
        ]
    variants.append(Variant("other", "other images, for the transfer", experiment, (*labels, *OTHERS[data]), against="other"))
    return Study(
        "few_images",
        "With few training images, how much do augmentation and transfer with frozen layers help?",
        tuple(variants),
        Measures(
            headline="kid_random.kid",
            columns={
                "kid_random.kid": "KID, random features",
                "fd8": "distance of 8x8 pixels",
                "held_out_gap": "held-out gap",
                **({"agreement": "two readers agree"} if data == "digits" else {}),
            },
            curve=("fd8",),
            final=("kid", "readers") if data == "digits" else ("kid",),
            num_images=2048,
            quick_images=64,
            larger=("agreement",) if data == "digits" else (),
            neutral=("held_out_gap",),
            stats=("held_out_gap",),
            all_reals=True,
        ),
        points=8,
    )


if __name__ == "__main__":
    main(study, __doc__)
