"""What the network sees in reals is computed once: kept in the user's cache by the contents of the images, the weights and the
resizing. Features are kept where metrics need them, moments where these are enough.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Mapping, Set
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pggan_jax.data.cache import Cache
from pggan_jax.evaluation.image_sets import ImageSet
from pggan_jax.evaluation.inception.feature_stats import KEPT, PARTS, MomentCollector, Moments, Summary
from pggan_jax.evaluation.inception.features import FeatureCollector, FeatureExtractor, Seen
from pggan_jax.system.files import atomic_file

_BATCH = 256


class CachedFeatures:
    """Takes the place of a `FeatureCollector` for images that will be seen again.

    The first reading only tells what the images are. They are read once more if what is asked for is not known yet.

    Args:
        extractor: computes what is not known.
        images: the set that will be handed in, from its first image on.
        count: how many of it.
        folder: where it is kept, `features` in a cache; made if absent.
        keeps: "features", "summary" or both, as in `Seen`; the network is not asked where neither is.
        parts, kept: of the summary, see `MomentCollector`.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        images: ImageSet,
        count: int,
        folder: Path,
        *,
        keeps: Set[str],
        parts: int = PARTS,
        kept: int = KEPT,
    ):
        self._extractor, self._images, self._count, self._folder = extractor, images, count, folder
        self._keeps, self._parts, self._kept = keeps, parts, kept
        self._digest = hashlib.sha256(f"{extractor.fingerprint} {count} {images.resolution}".encode())

    def add(self, images: np.ndarray, first: int) -> None:
        """Take uint8 images; they must come in order."""
        del first
        self._digest.update(np.ascontiguousarray(images).data)

    def finish(self) -> Seen:
        """What is asked for, known or computed."""
        features = self._known_features() if "features" in self._keeps else None
        seen = Seen(features, summary=self._known_summary(features) if "summary" in self._keeps else None)
        return seen if all(getattr(seen, name) is not None for name in self._keeps) else self._compute()

    def _compute(self) -> Seen:
        shared: dict[str, Any] = {"keeps": self._keeps, "parts": self._parts, "kept": self._kept}
        collector = FeatureCollector(self._extractor, self._images.resolution, self._count, **shared)
        for first, batch in self._images.batches(_BATCH, until=self._count):
            collector.add(batch, first)
        seen = collector.finish()
        features = seen.features
        if seen.summary is not None:
            self._keep_moments(seen.summary)
            features = seen.summary.features if features is None else features
        if features is not None:
            self._keep("", {"features": features})
        return seen

    def _known_features(self) -> np.ndarray | None:
        features = self._known("").get("features")
        return features if features is not None and np.ndim(features) == 2 and len(features) == self._count else None

    def _known_summary(self, features: np.ndarray | None) -> Summary | None:
        """By the moments, or else by the features if they are known."""
        if self._count > self._kept:
            arrays = self._known(f"-moments{self._parts}")
            with suppress(KeyError):
                counts = arrays["counts"]
                parts = [Moments(int(n), arrays[f"mean{i}"], arrays[f"scatter{i}"]) for i, n in enumerate(counts)]
                return Summary(self._count, len(parts[0].mean), None, tuple(parts))
        features = self._known_features() if features is None else features
        if features is None:
            return None
        collector = MomentCollector(self._count, parts=self._parts, kept=self._kept)
        collector.add(features, 0)
        summary = collector.finish()
        self._keep_moments(summary)
        return summary

    def _keep_moments(self, summary: Summary) -> None:
        if summary.features is None:
            arrays = {f"mean{i}": part.mean for i, part in enumerate(summary.parts)}
            arrays |= {f"scatter{i}": part.scatter for i, part in enumerate(summary.parts)}
            counts = np.array([part.count for part in summary.parts])
            self._keep(f"-moments{self._parts}", {"counts": counts, **arrays})

    def _path(self, suffix: str) -> Path:
        return self._folder / f"{self._digest.hexdigest()}{suffix}.npz"

    def _known(self, suffix: str) -> dict[str, np.ndarray]:
        """Arrays by name; none where they are not there or damaged."""
        # A lone array under the name of an archive is a TypeError.
        problems = OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error
        with suppress(*problems), np.load(self._path(suffix), allow_pickle=False) as archive:
            arrays = dict(archive)
            # Those that were used longest ago go first.
            os.utime(self._path(suffix))
            return arrays
        return {}

    def _keep(self, suffix: str, arrays: Mapping[str, np.ndarray]) -> None:
        # A full disk is no reason to lose what was computed.
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            # First the others, then this one, which alone may be larger than the limit.
            Cache(self._folder.parent).trim("features", tqdm.write, room=sum(array.nbytes for array in arrays.values()))
            by_name: dict[str, Any] = dict(arrays)
            with atomic_file(self._path(suffix)) as file:
                np.savez(file, **by_name)
