"""Directions in the latent space along which images change in one way, and steps along them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from pggan_jax.errors import UserError
from pggan_jax.generation.model import Model
from pggan_jax.networks.generator import FirstBlock

STRENGTHS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
"""Steps along a direction that are usually drawn."""
_MEASURED_SEEDS = range(32)
_BATCH = 256
_SMALLEST_REMAINDER = 0.05
_SPARE_COMPONENTS = 200
_SMALLEST_SHARE = 1e-12


class Found(NamedTuple):
    """Directions and what orders them.

    Attributes:
        directions: float32 `[count, latent_size]`, each of length 1.
        values: float64 `[count]`, falling.
    """

    directions: np.ndarray
    values: np.ndarray


class Activations(NamedTuple):
    """A batch of latents, their activations `[batch, features]`, and their classes."""

    latents: np.ndarray
    features: np.ndarray
    classes: np.ndarray


def normalized(latents: np.ndarray) -> np.ndarray:
    """Scale latents `[count, size]` to length sqrt(size), as the generator does."""
    length = np.linalg.norm(latents, axis=-1, keepdims=True)
    return (latents * (np.sqrt(latents.shape[-1]) / length)).astype(np.float32)


def moved(latents: np.ndarray, direction: np.ndarray, strengths: Sequence[float] | np.ndarray) -> np.ndarray:
    """Move latents along a direction: normalised z + s v, scaled to the former length of z.

    With labels, the length of z counts, as the generator normalises it together with the label.

    Args:
        latents: `[count, size]`.
        direction: `[size]`, of length 1.
        strengths: the values of s.

    Returns:
        float32 `[count, strengths, size]`.

    Raises:
        UserError: a latent is moved to exactly 0.
    """
    steps = np.asarray(strengths, np.float64)[:, None] * direction
    points = normalized(latents)[:, None, :].astype(np.float64) + steps
    if not np.linalg.norm(points, axis=-1).all():
        raise UserError("a latent is moved to 0, which is no latent; choose other strengths")
    length = np.linalg.norm(latents, axis=-1)[:, None, None]
    return (normalized(points) * (length / np.sqrt(latents.shape[-1]))).astype(np.float32)


def sefa(kernel: np.ndarray, latent_size: int, *, count: int) -> Found:
    """Find directions in closed form from the first dense weight.

    The columns of A, the weight as `[latent, units]`, are scaled to length 1, so the layer's run-time scale cancels. The
    directions are the eigenvectors of A A^T by falling eigenvalue (SeFa, Shen and Zhou, 2021).

    Args:
        kernel: `[latent_size + classes, units]`; the rows of the classes are left out.
        latent_size: length of a latent.
        count: how many to return, at most `latent_size`.
    """
    weight = np.asarray(kernel, np.float64)[:latent_size]
    weight = weight / np.maximum(np.linalg.norm(weight, axis=0), 1e-12)
    values, vectors = np.linalg.eigh(weight @ weight.T)
    return Found(_unit_rows(vectors.T[::-1][:count]), values[::-1][:count])


def first_kernel(model: Model) -> np.ndarray:
    """Return the weight of the generator's first dense layer, `[latent_size + classes, units]`."""
    # The conditional DCGAN has a hidden layer before the first block.
    first = model.generator.get("hidden") or next(block["dense"] for block in model.generator.values() if "dense" in block)
    return np.asarray(first["kernel"])


def principal_directions(batches: Iterable[Activations], *, count: int) -> Found:
    """Find the directions of z that move activations along their principal components.

    A direction is the least-squares fit of z on the coordinate of one component. With several classes, the activations of
    each are centred on the mean of that class. Only the largest components are kept between batches, never the activations:
    for 4x4x512 activations that takes about 0.1 GB. From GANSpace (Härkönen et al., 2020).

    Args:
        batches: latents and activations.
        count: how many to return, at most; there are fewer if activations vary in fewer dimensions.

    Returns:
        The directions; values are shares of the variance.
    """
    sums = _FeatureSums(kept=count + _SPARE_COMPONENTS)
    for batch in batches:
        sums.add(batch)
    values, components = sums.components()
    # Coordinates on different components are uncorrelated, so each has a regression of its own.
    slopes = components[:count] @ sums.cross / values[:count, None]
    moves = np.linalg.norm(slopes, axis=1) > 0
    return Found(_unit_rows(slopes[moves]), values[:count][moves] / sums.total)


class _FeatureSums:
    """Sums of products of features and latents, each centred on the mean of its class.

    Attributes:
        cross: of features with latents, float64 `[features, latent_size]`.
        total: sum of the squares of all features.
    """

    def __init__(self, *, kept: int) -> None:
        self.cross: Any = 0.0
        self.total = 0.0
        self._kept = kept
        self._means: dict[int, tuple[int, np.ndarray]] = {}
        # Of these rows the sum of products is that of all features, but for the smallest components.
        self._rows: np.ndarray | None = None

    def add(self, batch: Activations) -> None:
        """Add a batch."""
        size = batch.features.shape[1]
        rows = np.concatenate([batch.features, batch.latents], axis=1, dtype=np.float64)
        shifts = []
        for number in np.unique(batch.classes).tolist():
            own = batch.classes == number
            count, mean = int(own.sum()), rows[own].mean(axis=0)
            rows[own] -= mean
            before, old = self._means.get(number, (0, mean))
            total = before + count
            # The distance of the means is what centring on either of them leaves out.
            shifts.append(np.sqrt(before * count / total) * (mean - old))
            self._means[number] = total, old + (mean - old) * (count / total)
        features, latents = np.split(np.concatenate([rows, shifts]), [size], axis=1)
        self.cross = self.cross + features.T @ latents
        self.total += float(np.square(features).sum())
        self._rows = features if self._rows is None else np.concatenate([self._rows, features])
        if len(self._rows) > self._kept:
            _, vectors = np.linalg.eigh(self._rows @ self._rows.T)
            self._rows = vectors[:, -self._kept :].T @ self._rows

    def components(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the sums of squares along the components, falling, and `[count, features]`."""
        if self._rows is None:
            raise ValueError("no activations")
        values, vectors = np.linalg.eigh(self._rows @ self._rows.T)
        varies = values[::-1] > _SMALLEST_SHARE * self.total
        values, vectors = values[::-1][varies], vectors[:, ::-1][:, varies]
        return values, vectors.T @ self._rows / np.sqrt(values[:, None])


def base_activations(model: Model, seeds: range, *, classes: Callable[[Sequence[int]], np.ndarray]) -> Iterator[Activations]:
    """Yield the output of the generator's first block in batches.

    Args:
        model: the network.
        seeds: of the latents, which are normalised.
        classes: seeds to their classes; anything without labels.
    """
    generator = model.networks.generator

    @jax.jit
    def first_block(params: Any, latents: jax.Array, labels: jax.Array) -> jax.Array:
        _, state = generator.apply(
            {"params": params}, latents, labels, capture_intermediates=lambda module, _name: isinstance(module, FirstBlock)
        )
        (block,) = state["intermediates"].values()
        return block["__call__"][0].reshape(len(latents), -1)

    for start in range(0, len(seeds), _BATCH):
        # Batches of one size share a program; the last one is filled up.
        own = [seeds[row] for row in np.arange(start, start + _BATCH).clip(max=len(seeds) - 1)]
        latents, numbers = normalized(model.latents(own)), np.asarray(classes(own))
        labels = model.one_hot(numbers if model.label_size else None, count=len(own))
        features = np.asarray(first_block(model.device_parameters, latents, labels), np.float32)
        end = min(_BATCH, len(seeds) - start)
        yield Activations(latents[:end], features[:end], numbers[:end])


def separating_direction(latents: np.ndarray, is_member: np.ndarray) -> np.ndarray:
    """Return the normal of the plane between the latents of a class and the others.

    By logistic regression in which the class and all others together have equal weight. Latents are spread evenly, so strong
    regularisation does not bend the plane, and it makes the direction less noisy. From InterFaceGAN (Shen et al., 2020).

    Args:
        latents: normalised, `[count, size]`.
        is_member: bool `[count]`, with both values.

    Returns:
        float32 `[size]`, of length 1, pointing towards the class.
    """
    from sklearn.linear_model import LogisticRegression

    plane = LogisticRegression(C=1 / len(latents), class_weight="balanced", max_iter=1000).fit(latents, is_member)
    return (plane.coef_[0] / np.linalg.norm(plane.coef_[0])).astype(np.float32)


def orthogonalized(directions: np.ndarray, names: Sequence[str], *, against: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Remove from each direction its part in the span of some others.

    Args:
        directions: `[count, size]`, each of length 1.
        names: of the directions, for messages.
        against: numbers of the others; a direction is never removed from itself.

    Returns:
        The directions, of length 1 again; and the length that was left of each, float64 `[count]`.

    Raises:
        UserError: of a direction nothing is left.
    """
    result, remainders = np.empty_like(directions), np.empty(len(directions))
    for number, direction in enumerate(directions.astype(np.float64)):
        others = directions[[one for one in against if one != number]].astype(np.float64)
        rest = direction - np.linalg.lstsq(others.T, direction, rcond=None)[0] @ others
        remainders[number] = np.linalg.norm(rest)
        if remainders[number] < _SMALLEST_REMAINDER:
            raise UserError(
                f"--orthogonal: {names[number]} lies in the span of the {len(others)} other directions, and only "
                f"{remainders[number]:.3f} of its length would be left; name fewer"
            )
        result[number] = rest / remainders[number]
    return result, remainders


def image_change(
    model: Model, directions: np.ndarray, *, classes: Callable[[Sequence[int]], np.ndarray], progress: Callable[[int], object]
) -> np.ndarray:
    """Measure how fast images change along directions.

    Args:
        model: the network.
        directions: `[count, latent_size]`.
        classes: seeds to their classes.
        progress: called with the number of images made.

    Returns:
        float32 `[count]`: mean absolute difference between s = -0.5 and s = 0.5, in grey levels of 255.
    """
    latents, changes = model.latents(_MEASURED_SEEDS), []
    labels = classes(_MEASURED_SEEDS) if model.label_size else None
    for direction in directions:
        ends = moved(latents, direction, (-0.5, 0.5))
        first, second = (model.synthesize(ends[:, side], labels).astype(np.float32) for side in (0, 1))
        changes.append(np.abs(second - first).mean())
        progress(2 * len(latents))
    return np.asarray(changes, np.float32)


def _unit_rows(rows: np.ndarray) -> np.ndarray:
    """Scale rows to length 1 and their largest entries to positive ones.

    The sign of an eigenvector is arbitrary.
    """
    largest = np.take_along_axis(rows, np.abs(rows).argmax(axis=1)[:, None], axis=1)
    return (rows * np.sign(largest) / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
