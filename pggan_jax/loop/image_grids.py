"""Image grids of a run: one of reals, and one of fakes per tick (spec 7.1).

A run with sound adds grids in colour and wave files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pggan_jax.config import Config
from pggan_jax.data.loader import Loader
from pggan_jax.generation.class_names import classes_of_seeds
from pggan_jax.generation.sampling import Sampler, latents_for_seeds, one_hot
from pggan_jax.images import ImageShape, grid_size, make_grid, nearest_upscale, to_uint8, write_png
from pggan_jax.networks.generator import latent_size
from pggan_jax.run_logs.workdir import Workdir
from pggan_jax.sound.representations import Representation
from pggan_jax.sound.spectrogram_pictures import hue_pictures, magnitude_pictures
from pggan_jax.sound.wave_files import one_after_another, write_wave
from pggan_jax.system.files import write_atomically

TILES_HEARD = 16
"""Tiles of a grid of spectrograms that its wave file holds, one after another."""


class Tiles(Protocol):
    """What the tiles of a grid show, and the files that are written of them."""

    def drawn_size(self, shape: ImageShape) -> tuple[int, int]:
        """Return height and width of a tile, given the shape of the images."""
        ...

    def write(self, path: Path, images: np.ndarray, *, columns: int, factor: int, holds: str) -> None:
        """Write a grid, and what else belongs to it.

        Args:
            path: of the grid.
            images: uint8, or float in [-1, 1], `[count, height, width, channels]`.
            columns: of the grid.
            factor: by which tiles are enlarged.
            holds: what they show, stored in the PNG file.
        """
        ...

    def write_originals(self, loader: Loader, rows: np.ndarray) -> None:
        """Write what the reals were made of, if that is something else.

        Args:
            loader: the data.
            rows: of the reals in it.
        """
        ...


class ImageTiles:
    """The images themselves."""

    def drawn_size(self, shape: ImageShape) -> tuple[int, int]:
        """Return height and width."""
        return shape.height, shape.width

    def write(self, path: Path, images: np.ndarray, *, columns: int, factor: int, holds: str) -> None:
        """Write the grid."""
        pixels = images if images.dtype == np.uint8 else to_uint8(images)
        write_png(path, make_grid(nearest_upscale(pixels, factor), columns), holds=holds)

    def write_originals(self, loader: Loader, rows: np.ndarray) -> None:
        """Do nothing: the grid shows them."""


class SoundTiles:
    """Spectrograms: a grid in grey, the same with IF as hue, and the first ones as sound."""

    def __init__(self, representation: Representation, workdir: Workdir):
        self._representation, self._workdir = representation, workdir

    def drawn_size(self, shape: ImageShape) -> tuple[int, int]:
        """Return bins and frames: time runs to the right."""
        return shape.width, shape.height

    def write(self, path: Path, images: np.ndarray, *, columns: int, factor: int, holds: str) -> None:
        """Write the grids and the wave, which fakes reach as floats: not through uint8."""
        form = self._representation
        pictures = {path: magnitude_pictures(images, form)}
        if form.channels == 2:
            pictures[self._workdir.in_colour(path)] = hue_pictures(images, form)
        for name, tiles in pictures.items():
            write_png(name, make_grid(nearest_upscale(tiles, factor), columns), holds=holds)
        heard = images[:TILES_HEARD]
        # Silence in place of NaN would pass for sound.
        if np.isfinite(heard).all():
            self._write_waves(self._workdir.heard(path), list(form.decode(heard, seed=range(len(heard)))))

    def write_originals(self, loader: Loader, rows: np.ndarray) -> None:
        """Write the waves of the first reals; remove older ones if the source cannot give them."""
        waves = loader.original_waves(rows[:TILES_HEARD])
        if waves is None:
            self._workdir.originals.unlink(missing_ok=True)
        else:
            self._write_waves(self._workdir.originals, waves)

    def _write_waves(self, path: Path, waves: list[np.ndarray]) -> None:
        rate = self._representation.sample_rate
        write_wave(path, one_after_another(waves, rate), rate, is_joined=True)


class SampleGrids:
    """Write image grids of a fixed layout, fakes from fixed seeds.

    With labels, each row shows one class, as in the official row_per_class layout. In grids of spectrograms each column does:
    the first row, which is heard, has different pitches.

    Args:
        config: of the run.
        loader: its data.
        workdir: where the files go.
    """

    def __init__(self, config: Config, loader: Loader, *, workdir: Workdir):
        self._workdir = workdir
        self._resolution = config.data.resolution
        form = loader.representation
        self._tiles: Tiles = ImageTiles() if form is None else SoundTiles(form, workdir)
        height, width = self._tiles.drawn_size(config.data.shape_at(self._resolution))
        self._columns, rows = grid_size(config.run.grid, height=height, width=width)
        classes = loader.class_table()
        # A class without images has no row, as the networks do not learn it.
        present = np.flatnonzero(np.bincount(classes, minlength=loader.label_size)) if loader.label_size else np.zeros(1, int)
        # Lines are rows, or columns where these show the classes.
        self._by_column = form is not None and len(present) > 1
        lines, length = (self._columns, rows) if self._by_column else (rows, self._columns)
        positions = _positions(loader, present[np.arange(lines) % len(present)], length=length)
        self._loader, self._real_rows = loader, loader.rows(self._in_reading_order(positions, lines))
        self._seeds = self._in_reading_order(grid_seeds(length, lines, classes=len(present)), lines)
        self._classes = classes_of_seeds(self._seeds, present)
        self._labels = one_hot(self._classes, loader.label_size)
        self._latents = latents_for_seeds(self._seeds, latent_size(config.generator))
        self._is_described = False

    def write_reals(self) -> None:
        """Save reals.png at full resolution."""
        reals = self._loader.images(self._resolution, self._real_rows)
        self._tiles.write(self._workdir.reals, reals, columns=self._columns, factor=1, holds="real images")
        self._tiles.write_originals(self._loader, self._real_rows)

    def write_fakes(self, sampler: Sampler, params: Mapping[str, Any], *, alpha: float, images_seen: int) -> None:
        """Save a sample grid, enlarged to full resolution so that all grids of a run have one size.

        Args:
            sampler: of the current resolution.
            params: the generator's moving average.
            alpha: weight of its newest layers.
            images_seen: names the file.
        """
        self._describe()
        images = sampler.floats_by_seed(params, self._latents, labels=self._labels, alpha=alpha)
        factor, path = self._resolution // sampler.resolution, self._workdir.fakes(images_seen)
        self._tiles.write(path, images, columns=self._columns, factor=factor, holds="generated images")

    def _describe(self) -> None:
        """Write grid.json, once: seed and class of each image of the grids."""
        if self._is_described:
            return
        document = {"columns": self._columns, "seeds": self._in_rows(self._seeds)}
        if self._loader.class_names:
            document |= {"classes": self._in_rows(self._classes), "class_names": self._loader.class_names}
        write_atomically(self._workdir.grid, (json.dumps(document) + "\n").encode())
        self._is_described = True

    def _in_rows(self, values: np.ndarray) -> list[list[int]]:
        return values.reshape(-1, self._columns).tolist()

    def _in_reading_order(self, values: np.ndarray, lines: int) -> np.ndarray:
        """Order values that are given line by line as the grid is read: row by row."""
        return values.reshape(lines, -1).T.ravel() if self._by_column else values


def _positions(loader: Loader, line_classes: np.ndarray, *, length: int) -> np.ndarray:
    """Return positions of images whose line k shows the class `line_classes[k]`, line by line."""
    if not loader.label_size:
        return np.arange(length * len(line_classes))
    first_epoch = np.arange(len(loader))
    classes = loader.class_table()[loader.rows(first_epoch)]
    taken = dict.fromkeys(line_classes.tolist(), 0)
    positions = []
    for label in line_classes.tolist():
        members = first_epoch[classes == label]
        positions.append(np.take(members, taken[label] + np.arange(length), mode="wrap"))
        taken[label] += length
    return np.concatenate(positions)


def grid_seeds(columns: int, rows: int, *, classes: int) -> np.ndarray:
    """Return the seeds of a grid, int64 `[rows*columns]`: 0, 1, 2 ... without labels.

    Row y shows the classes of `classes_of_seeds` in turn: all its seeds are y modulo `classes`, and no seed occurs twice.

    Args:
        columns, rows: of the grid.
        classes: how many have images; 1 without labels.
    """
    row, column = np.divmod(np.arange(rows * columns), columns)
    return row % classes + classes * (row // classes * columns + column)
