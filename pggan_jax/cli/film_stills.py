"""Stills of a run for `film`: its sample grids, and images by its checkpoints."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pggan_jax.errors import UserError, first_line

if TYPE_CHECKING:
    from pggan_jax.generation.model import Model
    from pggan_jax.reporting.run_record import RunRecord

_LARGEST_GRID = 1080, 1920


@dataclass(frozen=True)
class Stills:
    """Images of one size in the order of training, with text for each.

    Attributes:
        images: uint8 `[height, width, channels]` with the parts of its text.
        count: how many are expected.
        height, width: of each, in pixels.
        origin: what they are, for the user.
    """

    images: Iterator[tuple[np.ndarray, tuple[str, ...]]]
    count: int
    height: int
    width: int
    origin: str


class SampleGridFiles:
    """The sample grids of a run, read one by one.

    Args:
        workdir: of the run.

    Raises:
        UserError: there is no run, or it has no grids.
    """

    def __init__(self, workdir: Path):
        from PIL import Image

        from pggan_jax.reporting.run_record import gather
        from pggan_jax.run_logs.workdir import Workdir
        from pggan_jax.schedule import Schedule

        self._workdir, self._grid_file = workdir, Workdir(workdir).grid
        self._record: RunRecord = gather(workdir, Workdir(workdir).load_config())
        self._schedule = Schedule.of(self._record.config)
        self._ticks = {int(tick["kimg"] + 1e-6): tick for tick in self._record.ticks}
        self._found: list[int] = []
        self._size, self._mode = (0, 0), "L"
        for images_seen, path in sorted(self._record.fakes.items()):
            try:
                with Image.open(path) as image:
                    image.load()
                    self._size = max(self._size[0], image.height), max(self._size[1], image.width)
                    self._mode = "L" if image.mode in ("1", "L") and self._mode == "L" else "RGB"
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                print(f"note: {path} is left out, as it cannot be read ({first_line(error)})", file=sys.stderr)
                continue
            self._found.append(images_seen)
        if not self._found:
            raise UserError(
                f"{workdir}: has no sample grids (fakes*.png), of which this film is made; give a run that has them"
            )

    def whole(self, part: tuple[int, int] | None = None) -> Stills:
        """Return the grids with kimg, resolution and alpha; halved until they fit into 1920x1080.

        Args:
            part: columns and rows of the part at the top left; None for all.

        Raises:
            UserError: the grids have fewer, or their layout is not known.
        """
        height, width = self._size
        if part is not None:
            columns, rows, _ = self._layout()
            if part[0] > columns or part[1] > rows:
                raise UserError(
                    f"--grid={part[0]}x{part[1]}: the sample grids have {columns}x{rows} images; choose a part of them"
                )
            height, width = height // rows * part[1], width // columns * part[0]
        factor = 1
        while height > factor * _LARGEST_GRID[0] or width > factor * _LARGEST_GRID[1]:
            factor *= 2
        images = ((_reduced(grid[:height, :width], factor), self._caption(seen)) for seen, grid in self._grids())
        return Stills(images, len(self._found), -(-height // factor), -(-width // factor), f"{len(self._found)} sample grids")

    def of_seeds(self, seeds: Sequence[int], columns: int) -> Stills:
        """Return the images of some seeds, cut out of the grids, with kimg and resolution.

        Raises:
            UserError: a seed is not in the grids.
        """
        from pggan_jax.images import make_grid

        in_a_row, rows, places = self._layout()
        absent = [seed for seed in seeds if seed not in places]
        if absent:
            raise UserError(f"seed {absent[0]} is not in the sample grids; choose one of {self._grid_file}")
        height, width = self._size[0] // rows, self._size[1] // in_a_row
        corners = [(height * (places[seed] // in_a_row), width * (places[seed] % in_a_row)) for seed in seeds]

        def cut(grid: np.ndarray) -> np.ndarray:
            return make_grid(np.stack([grid[top : top + height, left : left + width] for top, left in corners]), columns)

        images = ((cut(grid), self._caption(images_seen)[:2]) for images_seen, grid in self._grids())
        lines, count = -(-len(seeds) // columns), len(self._found)
        return Stills(images, count, height * lines, width * columns, f"cut out of {count} sample grids")

    def _grids(self) -> Iterator[tuple[int, np.ndarray]]:
        from PIL import Image

        from pggan_jax.generation.films.frames import enlarge_to

        for images_seen in self._found:
            with Image.open(self._record.fakes[images_seen]) as image:
                pixels = np.asarray(image.convert(self._mode))
            yield images_seen, enlarge_to(pixels[..., None] if pixels.ndim == 2 else pixels, *self._size)

    def _layout(self) -> tuple[int, int, dict[int, int]]:
        """Return columns, rows, and the place of each seed."""
        from pggan_jax.system.json_files import read_json_object

        try:
            rows = read_json_object(self._grid_file)["seeds"]
            places = {int(seed): place for place, seed in enumerate(seed for row in rows for seed in row)}
            if not rows[0] or len(places) != len(rows) * len(rows[0]):
                raise ValueError("rows of different lengths")
            return len(rows[0]), len(rows), places
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            raise UserError(f"{self._grid_file}, which names the seeds of its sample grids, is absent or damaged") from None

    def _caption(self, images_seen: int) -> tuple[str, ...]:
        tick, point = self._ticks.get(images_seen // 1000, {}), self._schedule.at(images_seen)
        level, alpha = int(tick.get("resolution", point.resolution)), tick.get("alpha", point.alpha)
        return f"kimg {images_seen // 1000}", str(self._record.config.data.shape_at(level)), f"alpha {alpha:.2f}"


def _reduced(image: np.ndarray, factor: int) -> np.ndarray:
    """The means of squares of `factor` x `factor` pixels."""
    from PIL import Image

    if factor == 1:
        return image
    is_grey = image.shape[-1] == 1
    pixels = np.asarray(Image.fromarray(np.ascontiguousarray(image[..., 0] if is_grey else image)).reduce(factor))
    return pixels[..., None] if is_grey else pixels


def checkpoints_of_run(workdir: Path, *, draw: Callable[[Model], np.ndarray], network: str) -> Stills | str:
    """Return images by all checkpoints that are kept, with kimg and resolution.

    Args:
        workdir: of the run.
        draw: a model to an image of its samples.
        network: "ema" or "raw".

    Returns:
        The images; the only resolution if the checkpoints have but one.

    Raises:
        UserError: there is no run, or it has no checkpoint.
    """
    from pggan_jax.checkpointing.metadata import read_metadata
    from pggan_jax.checkpointing.open_model import model_of
    from pggan_jax.checkpointing.trained_model import open_checkpoints, read_all, read_chosen
    from pggan_jax.generation.films.frames import enlarge_to

    config, checkpoints = open_checkpoints(workdir)
    with closing(checkpoints):
        newest = model_of(read_chosen(config, checkpoints, checkpoint="latest"), name=str(workdir), network=network)
        kept = [read_metadata(checkpoints.directory / str(images_seen)) for images_seen in checkpoints.all_images_seen()]
    if len({one.resolution for one in kept if one}) < 2:
        return f"{newest.shape[0]}x{newest.shape[1]}"
    height, width = draw(newest).shape[:2]

    def skip(images_seen: int, error: UserError) -> None:
        print(f"note: the checkpoint of kimg {images_seen / 1000:g} is left out: {error}", file=sys.stderr)

    def drawn() -> Iterator[tuple[np.ndarray, tuple[str, ...]]]:
        config, checkpoints = open_checkpoints(workdir)
        with closing(checkpoints):
            for trained in read_all(config, checkpoints, on_skip=skip):
                model = model_of(trained, name=str(workdir), network=network)
                text = f"kimg {model.kimg:.0f}", f"{model.shape[0]}x{model.shape[1]}"
                yield enlarge_to(draw(model), height, width), text

    return Stills(drawn(), len(kept), height, width, f"by {len(kept)} checkpoints")
