"""Cache of the network's outputs for reals, in the user's cache folder.

The key is a digest of the images, the weights and the way of resizing. Features are stored where metrics need them, and
statistics where these are enough.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pggan_jax.data.cache import Cache
from pggan_jax.evaluation.image_sets import ImageSet
from pggan_jax.evaluation.inception.feature_stats import FeatureStats, FeatureStatsCollector, FeatureSummary
from pggan_jax.evaluation.inception.features import FeatureCollector, FeatureExtractor, InceptionOutputs, OutputRequest
from pggan_jax.system.files import atomic_file

_BATCH = 256


class CachedFeatures:
    """Replaces `FeatureCollector` for images that are evaluated again and again.

    The first pass over the images computes their digest only. They are read a second time if the outputs are not in the cache.

    Args:
        extractor: the network.
        images: the set whose images will be added, from the first on.
        request: outputs to return. "features" and "summary" are cached, "scores" are not.
        folder: `features` in a cache; created if absent.
    """

    def __init__(self, extractor: FeatureExtractor, images: ImageSet, *, request: OutputRequest, folder: Path):
        self._extractor, self._images, self._request, self._folder = extractor, images, request, folder
        self._digest = hashlib.sha256(f"{extractor.fingerprint} {request.count} {images.shape.label}".encode())

    def add(self, images: np.ndarray, first: int) -> None:
        """Add uint8 images, in order."""
        del first
        self._digest.update(np.ascontiguousarray(images).data)

    def finish(self) -> InceptionOutputs:
        """Return the requested outputs, from the cache or computed."""
        wanted = self._request.outputs
        features = self._load_features() if "features" in wanted else None
        outputs = InceptionOutputs(features, summary=self._load_summary(features) if "summary" in wanted else None)
        return outputs if all(getattr(outputs, name) is not None for name in wanted) else self._compute()

    def _compute(self) -> InceptionOutputs:
        collector = FeatureCollector(self._extractor, self._images.shape, request=self._request)
        for first, batch in self._images.batches(_BATCH, until=self._request.count):
            collector.add(batch, first)
        outputs = collector.finish()
        features = outputs.features
        if outputs.summary is not None:
            self._store_stats(outputs.summary)
            features = outputs.summary.features if features is None else features
        if features is not None:
            self._store("", {"features": features})
        return outputs

    def _load_features(self) -> np.ndarray | None:
        features = self._load("").get("features")
        return features if features is not None and np.ndim(features) == 2 and len(features) == self._request.count else None

    def _load_summary(self, features: np.ndarray | None) -> FeatureSummary | None:
        """Return the summary from stored statistics, or from stored features."""
        request = self._request
        if request.count > request.max_kept:
            arrays = self._load(self._stats_suffix)
            with suppress(KeyError):
                counts = arrays["counts"]
                groups = [FeatureStats(int(n), arrays[f"mean{i}"], arrays[f"scatter{i}"]) for i, n in enumerate(counts)]
                return FeatureSummary(request.count, len(groups[0].mean), None, tuple(groups))
        features = self._load_features() if features is None else features
        if features is None:
            return None
        collector = FeatureStatsCollector(request.count, groups=request.groups, max_kept=request.max_kept)
        collector.add(features, 0)
        summary = collector.finish()
        self._store_stats(summary)
        return summary

    def _store_stats(self, summary: FeatureSummary) -> None:
        if summary.features is None:
            arrays = {f"mean{i}": group.mean for i, group in enumerate(summary.groups)}
            arrays |= {f"scatter{i}": group.scatter for i, group in enumerate(summary.groups)}
            counts = np.array([group.count for group in summary.groups])
            self._store(self._stats_suffix, {"counts": counts, **arrays})

    @property
    def _stats_suffix(self) -> str:
        return f"-moments{self._request.groups}"

    def _path(self, suffix: str) -> Path:
        return self._folder / f"{self._digest.hexdigest()}{suffix}.npz"

    def _load(self, suffix: str) -> dict[str, np.ndarray]:
        """Return the arrays of a file by name; none if it is missing or damaged."""
        # TypeError: the file holds a single array instead of an archive.
        problems = OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error
        with suppress(*problems), np.load(self._path(suffix), allow_pickle=False) as archive:
            arrays = dict(archive)
            os.utime(self._path(suffix))  # the cache removes the least recently used files first
            return arrays
        return {}

    def _store(self, suffix: str, arrays: Mapping[str, np.ndarray]) -> None:
        with suppress(OSError):  # a full disk must not lose what was computed
            self._folder.mkdir(parents=True, exist_ok=True)
            # Trim before writing: the new file alone may be larger than the limit.
            Cache(self._folder.parent).trim("features", tqdm.write, reserve=sum(array.nbytes for array in arrays.values()))
            by_name: dict[str, Any] = dict(arrays)
            with atomic_file(self._path(suffix)) as file:
                np.savez(file, **by_name)
