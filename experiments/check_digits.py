"""Check the samples of a run on digits with a classifier trained on real digits only.

    python experiments/check_digits.py --workdir=runs/digits

Trains the classifier of the metrics (`evaluation/classifier.py`) on three quarters of the built-in digits at the run's
resolution, prints its accuracy on the other quarter, and classifies samples of the newest checkpoint. Prints one line per
class, the mean probability of the top class, and whether the aims are met: every class at least 4 % of the samples, mean top
probability at least 0.85. Takes about a minute on 2 CPU cores. Exit status 1 if an aim is missed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from absl import app, flags, logging

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pggan_jax.checkpointing.trained_model import load_trained_model
from pggan_jax.data.sources.builtin import DigitsSource
from pggan_jax.distributed.backend import require_backend
from pggan_jax.errors import UserError, one_line
from pggan_jax.evaluation.classifier import Classifier, train_classifier
from pggan_jax.evaluation.pixels import pixel_rows
from pggan_jax.generation.sampling import one_hot
from pggan_jax.system.paths import user_path

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", "runs/digits", "folder of a run on digits")
flags.DEFINE_integer("num_samples", 2000, "number of samples to classify", lower_bound=10, upper_bound=1_000_000)
flags.DEFINE_integer("seed", 0, "of the latents", lower_bound=0, upper_bound=2**32 - 1)

MIN_SHARE = 0.04
MIN_TOP_PROBABILITY = 0.85


def trained_classifier(resolution: int) -> tuple[Classifier, float, float]:
    """Return a classifier, and its accuracy and mean top probability on held-out digits."""
    from sklearn.model_selection import train_test_split

    source = DigitsSource(height=resolution, width=resolution)
    rows = pixel_rows(np.stack([source.read(index) for index in range(len(source))]))
    labels = np.array([source.label(index) for index in range(len(source))])
    train_rows, test_rows, train_labels, test_labels = train_test_split(
        rows, labels, test_size=0.25, random_state=0, stratify=labels
    )
    classifier = train_classifier(train_rows, train_labels, seed=0)
    probabilities = classifier.probabilities(test_rows)
    accuracy = np.mean(probabilities.argmax(axis=1) == test_labels)
    return classifier, float(accuracy), float(probabilities.max(axis=1).mean())


def main(argv: list[str]) -> int:
    """Print the numbers; return 0 if both aims are met."""
    del argv
    logging.set_verbosity(logging.ERROR)
    try:
        require_backend()
        trained = load_trained_model(user_path(FLAGS.workdir, named="--workdir="))
    except UserError as error:
        print(one_line(f"error: {error}"), file=sys.stderr)
        return 2
    classifier, accuracy, real_confidence = trained_classifier(trained.metadata.resolution)
    print(f"classifier: accuracy {accuracy:.3f}, mean top probability {real_confidence:.3f} on held-out real digits")
    count, label_size = FLAGS.num_samples, trained.metadata.label_size
    requested = np.arange(count) % 10
    latents = np.random.RandomState(FLAGS.seed).randn(count, trained.networks.latent_size).astype(np.float32)
    probabilities = classifier.probabilities(pixel_rows(trained.images(latents, one_hot(requested, label_size))))
    found = probabilities.argmax(axis=1)
    shares = np.bincount(found, minlength=10) / count
    for digit, share in enumerate(shares):
        print(f"  {digit}: {share:6.1%} of {count} samples")
    top = float(probabilities.max(axis=1).mean())
    print(f"mean top probability {top:.3f} (aim {MIN_TOP_PROBABILITY})")
    print(f"smallest class {shares.min():.1%} (aim {MIN_SHARE:.0%})")
    if label_size:
        print(f"classified as the requested digit: {np.mean(found == requested):.1%}")
    is_met = top >= MIN_TOP_PROBABILITY and shares.min() >= MIN_SHARE
    print("aims met" if is_met else "aims missed")
    return 0 if is_met else 1


if __name__ == "__main__":
    app.run(main)
