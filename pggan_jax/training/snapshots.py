"""The run's pictures: one grid of reals, and one grid of fakes per tick from latents that never change (spec 7.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pggan_jax.config import Config
from pggan_jax.data.loader import Loader
from pggan_jax.generation.sampling import Sampler, latents_for_grid
from pggan_jax.images import grid_size, make_grid, nearest_upscale, write_png
from pggan_jax.networks.generator import latent_size
from pggan_jax.training.workdir import Workdir


class Snapshots:
    """Grids of a fixed layout. With labels, each row of a grid shows one class, as the official row_per_class layout does.

    Attributes:
        count: pictures in a grid.
    """

    def __init__(self, config: Config, loader: Loader, workdir: Workdir):
        self._workdir = workdir
        self._resolution = config.data.resolution
        self._columns, rows = grid_size(config.run.grid, self._resolution)
        self.count = self._columns * rows
        positions = self._positions(loader, rows) if loader.label_size else np.arange(self.count)
        batch = loader.gather(self._resolution, positions)
        self._reals, self._labels = batch.images, batch.labels
        self._latents = latents_for_grid(config.run.seed, self.count, latent_size(config.generator))

    def _positions(self, loader: Loader, rows: int) -> np.ndarray:
        """Positions in the data's order such that row y of the grid shows class y modulo the number of classes."""
        first_epoch = np.arange(len(loader))
        classes = loader.class_table()[loader.rows(first_epoch)]
        row_classes = np.arange(rows) % loader.label_size
        taken = dict.fromkeys(range(loader.label_size), 0)
        positions = []
        for label in row_classes.tolist():
            members = first_epoch[classes == label]
            members = members if len(members) else first_epoch
            positions.append(np.take(members, taken[label] + np.arange(self._columns), mode="wrap"))
            taken[label] += self._columns
        return np.concatenate(positions)

    def write_reals(self) -> None:
        """Save reals.png at full resolution."""
        write_png(self._workdir.reals, make_grid(self._reals, self._columns), holds="real images")

    def write_fakes(self, sampler: Sampler, params: Mapping[str, Any], *, alpha: float, images_seen: int) -> None:
        """Save one grid, enlarged to full resolution so that the grids of a whole run have one size.

        Args:
            sampler: of the current resolution.
            params: the generator's moving average.
            alpha: weight of its newest layers.
            images_seen: names the file.
        """
        images = sampler(params, self._latents, self._labels, alpha)
        factor = self._resolution // images.shape[1]
        grid = make_grid(nearest_upscale(images, factor), self._columns)
        write_png(self._workdir.fakes(images_seen), grid, holds="generated images")
