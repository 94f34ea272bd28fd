"""The metrics and how each is known: name, what it says, its number of images. `evaluation/registry.py` computes them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MetricKind:
    """What users need to know of a metric.

    Attributes:
        help: what it tells, in a few words.
        headline: which of its values it is known by.
        usual_images: how many images on each side by the published protocol (docs/metrics.md).
        larger_is_better: otherwise smaller is.
        minimum_resolution: smallest side of the images.
        needs_equal_counts: as many fakes as reals.
        needs_labels: only for data with classes.
        most_reals: so many reals at most where that is more than the usual number of images; 0 takes no more than that.
        needs_reals: otherwise they are not even read.
        takes_all_reals: whatever the number of images, and never flipped.
        takes_held_out: compares with reals that were not trained on, if there are any.
        has_floor: whether reals against other reals give a value that means something.
        needs_inception: it is computed from features of the Inception network.
        during_training: may be asked for by the setting `eval.metrics`.
    """

    help: str
    headline: str
    usual_images: int
    larger_is_better: bool = False
    minimum_resolution: int = 4
    needs_equal_counts: bool = False
    needs_labels: bool = False
    most_reals: int = 0
    needs_reals: bool = True
    takes_all_reals: bool = False
    takes_held_out: bool = False
    has_floor: bool = True
    needs_inception: bool = False
    during_training: bool = False


METRIC_KINDS = {
    "swd": MetricKind(
        "sliced Wasserstein distance of patches on a Laplacian pyramid, x1e3",
        "average",
        16384,
        minimum_resolution=16,
        needs_equal_counts=True,
        during_training=True,
    ),
    "swd_small": MetricKind(
        "the same with 3x3 patches, for images of 4x4 and 8x8", "average", 16384, needs_equal_counts=True, during_training=True
    ),
    "ms_ssim": MetricKind(
        "similarity of pairs of fakes, beside that of reals: lower is more varied",
        "ms_ssim",
        20000,
        minimum_resolution=16,
        during_training=True,
    ),
    "fid": MetricKind(
        "Frechet distance of Inception features", "fid", 50000, most_reals=200000, needs_inception=True, during_training=True
    ),
    "kid": MetricKind(
        "kernel distance of Inception features", "kid", 50000, most_reals=200000, needs_inception=True, during_training=True
    ),
    "inception_score": MetricKind(
        "Inception score, for images like ImageNet's only",
        "inception_score",
        50000,
        larger_is_better=True,
        needs_reals=False,
        has_floor=False,
        needs_inception=True,
    ),
    "precision_recall": MetricKind(
        "precision and recall, density and coverage in Inception features",
        "precision",
        50000,
        larger_is_better=True,
        needs_equal_counts=True,
        needs_inception=True,
    ),
    "modes": MetricKind(
        "stacked digits: how many of the 1,000 combinations appear, and KL divergence from uniform",
        "modes",
        25600,
        larger_is_better=True,
        needs_reals=False,
    ),
    "classes": MetricKind(
        "share of each class, as a classifier trained on the reals reads the fakes",
        "kl",
        10000,
        needs_labels=True,
        has_floor=False,
    ),
    "train_test": MetricKind(
        "GAN-train and GAN-test: accuracy of classifiers that learn from fakes and read reals, and the other way round",
        "gan_train",
        10000,
        larger_is_better=True,
        needs_labels=True,
        has_floor=False,
    ),
    "neighbors": MetricKind(
        "training images nearest to some fakes as a picture, and the memorisation ratio",
        "ratio",
        1000,
        larger_is_better=True,
        takes_all_reals=True,
        takes_held_out=True,
        has_floor=False,
    ),
    "neighbors_features": MetricKind(
        "the same by Inception features instead of pixels",
        "ratio",
        1000,
        larger_is_better=True,
        takes_all_reals=True,
        takes_held_out=True,
        has_floor=False,
        needs_inception=True,
    ),
}


def public_name(name: str, *, has_random_features: bool) -> str:
    """What a number may be called: features of a random network give no FID, and nothing else by its published name."""
    if not has_random_features or not METRIC_KINDS[name].needs_inception:
        return name
    return "frd_random" if name == "fid" else f"{name}_random"
