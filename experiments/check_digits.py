"""Are the digits of a run digits? A classifier that has only seen real ones says.

    python experiments/check_digits.py --workdir=runs/digits

Trains a support vector machine with calibrated probabilities on three quarters of the embedded digits at the run's resolution,
states its accuracy on the held-out quarter, and lets it read samples of the newest checkpoint. Prints one line per class, the
mean probability of the top class, and whether the aims are met: every class at least 4 % of the samples, mean top probability
at least 0.85. Takes about a minute on 2 CPU cores. Exit status 1 if an aim is missed.
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
from pggan_jax.generation.sampling import one_hot
from pggan_jax.system.paths import user_path

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", "runs/digits", "folder of a run on digits")
flags.DEFINE_integer("num_samples", 2000, "how many pictures to read", lower_bound=10, upper_bound=1_000_000)
flags.DEFINE_integer("seed", 0, "of the latents", lower_bound=0, upper_bound=2**32 - 1)

SMALLEST_SHARE = 0.04
MEAN_TOP_PROBABILITY = 0.85


def train_classifier(resolution: int) -> tuple[object, float, float]:
    """A classifier of `[count, pixels]` in [0, 1], and its accuracy and mean top probability on held-out real digits."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.model_selection import train_test_split
    from sklearn.svm import SVC

    source = DigitsSource(resolution=resolution)
    images = np.stack([source.read(index) for index in range(len(source))]).reshape(len(source), -1) / 255.0
    labels = np.array([source.label(index) for index in range(len(source))])
    train_x, test_x, train_y, test_y = train_test_split(images, labels, test_size=0.25, random_state=0, stratify=labels)
    classifier = CalibratedClassifierCV(SVC(C=10.0), ensemble=False, cv=5).fit(train_x, train_y)
    return classifier, float(classifier.score(test_x, test_y)), float(classifier.predict_proba(test_x).max(axis=1).mean())


def main(argv: list[str]) -> int:
    """Print the numbers; 0 if both aims are met."""
    del argv
    logging.set_verbosity(logging.ERROR)
    try:
        require_backend()
        trained = load_trained_model(user_path(FLAGS.workdir, named="--workdir="))
    except UserError as error:
        print(one_line(f"error: {error}"), file=sys.stderr)
        return 2
    classifier, accuracy, real_confidence = train_classifier(trained.metadata.resolution)
    print(f"classifier: accuracy {accuracy:.3f}, mean top probability {real_confidence:.3f} on held-out real digits")
    count = FLAGS.num_samples
    wanted = np.arange(count) % 10
    labels = one_hot(wanted, trained.metadata.label_size) if trained.metadata.label_size else np.zeros((count, 0), np.float32)
    latents = np.random.RandomState(FLAGS.seed).randn(count, trained.networks.latent_size).astype(np.float32)
    images = trained.images(latents, labels)
    probabilities = classifier.predict_proba(images.reshape(count, -1) / 255.0)
    read = probabilities.argmax(axis=1)
    shares = np.bincount(read, minlength=10) / count
    for digit, share in enumerate(shares):
        print(f"  {digit}: {share:6.1%} of {count} samples")
    top = float(probabilities.max(axis=1).mean())
    print(f"mean top probability {top:.3f} (aim {MEAN_TOP_PROBABILITY})")
    print(f"smallest class {shares.min():.1%} (aim {SMALLEST_SHARE:.0%})")
    if trained.metadata.label_size:
        print(f"read as the digit that was asked for: {np.mean(read == wanted):.1%}")
    is_met = top >= MEAN_TOP_PROBABILITY and shares.min() >= SMALLEST_SHARE
    print("aims met" if is_met else "aims missed")
    return 0 if is_met else 1


if __name__ == "__main__":
    app.run(main)
