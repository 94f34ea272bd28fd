"""Classifier of small images, trained on demand, for mode coverage and for labelled data.

Support vector machines of scikit-learn on pixels, one per class against all others: 98 to 99 % accuracy on unseen scanned
digits, trained in seconds. The probabilities of the classes are not normalised: normalised ones would be high for any input,
noise included. The accuracy is cross-validated and recorded with every value that depends on the classifier.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from pggan_jax.errors import UserError
from pggan_jax.evaluation.metric import Collected, MetricContext

MAX_IMAGES = 10000
_FOLDS = 4
_MIN_CLASS_IMAGES = 8


@dataclass(frozen=True)
class Classifier:
    """A trained classifier.

    Attributes:
        machine: the scikit-learn estimator.
        validate: computes `accuracy`.
        shares: share of each class in the training images, float64 `[classes]`.
    """

    machine: Any
    validate: Callable[[], float]
    shares: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @cached_property
    def accuracy(self) -> float:
        """Accuracy by four-fold cross-validation on the training images, when first asked for."""
        return self.validate()

    def probabilities(self, rows: np.ndarray) -> np.ndarray:
        """Return the probability of each class against all others.

        Args:
            rows: images as `pixels.pixel_rows` gives them.

        Returns:
            float64 `[count, classes]`. Rows need not sum to 1; classes without training images have probability 0.
        """
        rows = rows / np.float32(255)
        by_class = np.stack([one.predict_proba(rows)[:, 1] for one in self.machine.estimators_], axis=1)
        if len(self.machine.classes_) == 2:  # for two classes scikit-learn fits a single machine
            by_class = np.concatenate([1 - by_class, by_class], axis=1)
        result = np.zeros((len(rows), self.machine.classes_.max() + 1))
        result[:, self.machine.classes_] = by_class
        return result


def train_classifier(rows: np.ndarray, classes: np.ndarray, *, seed: int) -> Classifier:
    """Train a classifier; of more than `MAX_IMAGES` images, on a random subset.

    Args:
        rows: images as `pixels.pixel_rows` gives them.
        classes: int `[count]`.
        seed: of the subset and the folds.

    Raises:
        UserError: there are fewer than two classes, or a class has fewer than 8 images.
    """
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.svm import SVC

    chosen = np.random.RandomState(seed).permutation(len(rows))[:MAX_IMAGES]
    rows, classes = rows[chosen], classes[chosen]
    counts = np.bincount(classes)
    present, smallest = np.count_nonzero(counts), counts[counts > 0].min()
    if present < 2 or smallest < _MIN_CLASS_IMAGES:
        raise UserError(
            f"a classifier needs at least 2 classes with at least {_MIN_CLASS_IMAGES} images each; there are {present}, "
            f"the smallest with {smallest} images; use more images or another metric"
        )
    rows = rows / np.float32(255)
    # Twice scikit-learn's default gamma: narrower kernels generalise better to unseen writers (97.7 % instead of 97.3 %).
    machine = SVC(C=10.0, gamma=2 / max(rows.shape[1] * float(rows.var()), 1e-6))

    def validate() -> float:
        folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
        return float(cross_val_score(OneVsRestClassifier(machine), rows, classes, cv=folds).mean())

    calibrated = OneVsRestClassifier(CalibratedClassifierCV(machine, ensemble=False, cv=3)).fit(rows, classes)
    return Classifier(calibrated, validate, counts / counts.sum())


def classifier_of_reals(reals: Collected, context: MetricContext) -> Classifier:
    """Return the classifier trained on the reals; trained once per context."""
    return context.once("classifier", lambda: train_classifier(reals["pixels"], reals["classes"], seed=context.seed))
