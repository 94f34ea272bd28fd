"""Features of reals are computed once: kept in the user's cache by the contents of the images, the weights and the resizing."""

from __future__ import annotations

import hashlib
import io
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from pggan_jax.evaluation.features import FeatureCollector, FeatureExtractor
from pggan_jax.evaluation.image_sets import ImageSet
from pggan_jax.files import write_atomically

_BATCH = 256


class CachedFeatures:
    """Takes the place of a `FeatureCollector` for images that will be seen again.

    The first reading only tells what the images are. They are read once more if their features are not known yet.

    Args:
        extractor: computes what is not known.
        images: the set that will be handed in, from its first image on.
        count: how many of it.
        folder: where features are kept; made if absent.
    """

    def __init__(self, extractor: FeatureExtractor, images: ImageSet, count: int, folder: Path):
        self._extractor, self._images, self._count, self._folder = extractor, images, count, folder
        self._digest = hashlib.sha256(f"{extractor.fingerprint} {count} {images.resolution}".encode())

    def add(self, images: np.ndarray, first: int) -> None:
        """Take uint8 images; they must come in order."""
        del first
        self._digest.update(np.ascontiguousarray(images).data)

    def finish(self) -> tuple[np.ndarray, None]:
        """Features `[count, 2048]`; class scores are of no use for reals."""
        path = self._folder / f"{self._digest.hexdigest()}.npz"
        with suppress(OSError, ValueError, KeyError, zipfile.BadZipFile), np.load(path, allow_pickle=False) as archive:
            return archive["features"], None
        collector = FeatureCollector(self._extractor, self._images.resolution, self._count)
        for first, batch in self._images.batches(_BATCH, until=self._count):
            collector.add(batch, first)
        features, _ = collector.finish()
        # A full disk is no reason to lose what was computed.
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            buffer = io.BytesIO()
            np.savez(buffer, features=features)
            write_atomically(path, buffer.getvalue())
        return features, None
