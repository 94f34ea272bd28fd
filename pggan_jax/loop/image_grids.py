"""Image grids of a run: one of reals, and one of fakes per tick (spec 7.1)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from pggan_jax.config import Config
from pggan_jax.data.loader import Loader
from pggan_jax.generation.class_names import classes_of_seeds
from pggan_jax.generation.sampling import Sampler, latents_for_seeds, one_hot
from pggan_jax.images import grid_size, make_grid, nearest_upscale, write_png
from pggan_jax.networks.generator import latent_size
from pggan_jax.run_logs.workdir import Workdir
from pggan_jax.system.files import write_atomically


class SampleGrids:
    """Write image grids of a fixed layout, fakes from fixed seeds.

    With labels, each row shows one class, as in the official row_per_class layout.

    Args:
        config: of the run.
        loader: its data.
        workdir: where the files go.
    """

    def __init__(self, config: Config, loader: Loader, *, workdir: Workdir):
        self._workdir = workdir
        self._resolution = config.data.resolution
        shape = config.data.shape_at(self._resolution)
        self._columns, rows = grid_size(config.run.grid, height=shape.height, width=shape.width)
        self._rows = rows
        self._class_names = loader.class_names
        classes = loader.class_table()
        # A class without images has no row, as the networks do not learn it.
        present = np.flatnonzero(np.bincount(classes, minlength=loader.label_size)) if loader.label_size else np.zeros(1, int)
        batch = loader.gather(self._resolution, self._positions(loader, present[np.arange(rows) % len(present)]))
        self._reals = batch.images
        self._seeds = grid_seeds(self._columns, rows, classes=len(present))
        self._classes = classes_of_seeds(self._seeds, present)
        self._labels = one_hot(self._classes, loader.label_size)
        self._latents = latents_for_seeds(self._seeds, latent_size(config.generator))
        self._is_described = False

    def _positions(self, loader: Loader, row_classes: np.ndarray) -> np.ndarray:
        """Return positions of images whose row y shows the class `row_classes[y]`."""
        if not loader.label_size:
            return np.arange(self._columns * self._rows)
        first_epoch = np.arange(len(loader))
        classes = loader.class_table()[loader.rows(first_epoch)]
        taken = dict.fromkeys(row_classes.tolist(), 0)
        positions = []
        for label in row_classes.tolist():
            members = first_epoch[classes == label]
            positions.append(np.take(members, taken[label] + np.arange(self._columns), mode="wrap"))
            taken[label] += self._columns
        return np.concatenate(positions)

    def write_reals(self) -> None:
        """Save reals.png at full resolution."""
        write_png(self._workdir.reals, make_grid(self._reals, self._columns), holds="real images")

    def write_fakes(self, sampler: Sampler, params: Mapping[str, Any], *, alpha: float, images_seen: int) -> None:
        """Save a sample grid, enlarged to full resolution so that all grids of a run have one size.

        Args:
            sampler: of the current resolution.
            params: the generator's moving average.
            alpha: weight of its newest layers.
            images_seen: names the file.
        """
        self._describe()
        images = sampler.by_seed(params, self._latents, labels=self._labels, alpha=alpha)
        factor = self._resolution // sampler.resolution
        grid = make_grid(nearest_upscale(images, factor), self._columns)
        write_png(self._workdir.fakes(images_seen), grid, holds="generated images")

    def _describe(self) -> None:
        """Write grid.json, once: seed and class of each image of the grids."""
        if self._is_described:
            return
        document = {"columns": self._columns, "seeds": self._in_rows(self._seeds)}
        if self._class_names:
            document |= {"classes": self._in_rows(self._classes), "class_names": self._class_names}
        write_atomically(self._workdir.grid, (json.dumps(document) + "\n").encode())
        self._is_described = True

    def _in_rows(self, values: np.ndarray) -> list[list[int]]:
        return values.reshape(-1, self._columns).tolist()


def grid_seeds(columns: int, rows: int, *, classes: int) -> np.ndarray:
    """Return the seeds of a grid, int64 `[rows*columns]`: 0, 1, 2 ... without labels.

    Row y shows the classes of `classes_of_seeds` in turn: all its seeds are y modulo `classes`, and no seed occurs twice.

    Args:
        columns, rows: of the grid.
        classes: how many have images; 1 without labels.
    """
    row, column = np.divmod(np.arange(rows * columns), columns)
    return row % classes + classes * (row // classes * columns + column)
