"""Images of a run for `film`: its sample grids, and images by its checkpoints."""

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
    from pggan_jax.checkpointing.trained_model import TrainedModel
    from pggan_jax.generation.model import Model
    from pggan_jax.reporting.run_record import RunRecord

_LARGEST_GRID = 1080, 1920


@dataclass(frozen=True)
class RunImages:
    """Images of one size in the order of training, with text for each.

    Attributes:
        images: uint8 `[height, width, channels]` with the parts of its text.
        count: how many are expected.
        height, width: of each, in pixels.
        parts: of each text.
        origin: what they are, for the user.
    """

    images: Iterator[tuple[np.ndarray, tuple[str, ...]]]
    count: int
    height: int
    width: int
    parts: int
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
        from pggan_jax.system.image_files import open_encoded

        self._workdir, self._grid_file = workdir, Workdir(workdir).grid
        self._record: RunRecord = gather(workdir, Workdir(workdir).load_config())
        self._schedule = Schedule.of(self._record.config)
        self._ticks = {int(tick["kimg"] + 1e-6): tick for tick in self._record.ticks}
        self._found: list[int] = []
        self._size, self._mode = (0, 0), "L"
        for images_seen, path in sorted(self._record.fakes.items()):
            try:
                with open_encoded(path.read_bytes()) as image:
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

    def whole(self, part: tuple[int, int] | None = None) -> RunImages:
        """Return the grids with kimg, resolution, alpha, time; halved until they fit 1920x1080.

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
        count, parts = len(self._found), len(self._caption(self._found[0]))
        return RunImages(images, count, -(-height // factor), -(-width // factor), parts, f"{count} sample grids")

    def of_seeds(self, seeds: Sequence[int], columns: int) -> RunImages:
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
        return RunImages(images, count, height * lines, width * columns, 2, f"cut out of {count} sample grids")

    def _grids(self) -> Iterator[tuple[int, np.ndarray]]:
        from pggan_jax.generation.films.frames import enlarge_to
        from pggan_jax.system.image_files import open_encoded

        for images_seen in self._found:
            with open_encoded(self._record.fakes[images_seen].read_bytes()) as image:
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
        """Return kimg, resolution, alpha and, if stats.jsonl has it, the time of training."""
        from pggan_jax.run_logs.eta import format_duration

        tick, point = self._ticks.get(images_seen // 1000, {}), self._schedule.at(images_seen)
        level, alpha = int(tick.get("resolution", point.resolution)), tick.get("alpha", point.alpha)
        caption = f"kimg {images_seen // 1000}", str(self._record.config.data.shape_at(level)), f"alpha {alpha:.2f}"
        if not all("seconds_per_tick" in tick for tick in self._record.ticks):
            return caption
        until = (tick["seconds_per_tick"] for tick in self._record.ticks if int(tick["kimg"] + 1e-6) <= images_seen // 1000)
        return *caption, format_duration(sum(until))


def _reduced(image: np.ndarray, factor: int) -> np.ndarray:
    """The means of squares of `factor` x `factor` pixels."""
    from pggan_jax.images import as_pillow

    if factor == 1:
        return image
    pixels = np.asarray(as_pillow(image).reduce(factor))
    return pixels[..., None] if pixels.ndim == 2 else pixels


class CheckpointImages:
    """The checkpoints that a run keeps, and images by them.

    Args:
        workdir: of the run.
        network: "ema" or "raw".

    Attributes:
        newest: the model of the newest checkpoint.
        has_growth: whether they have several resolutions.
        has_levels_alone: whether they are the newest and one of each resolution, few for a film (`run.keep_levels`).

    Raises:
        UserError: there is no run, or it has no checkpoint.
    """

    def __init__(self, workdir: Path, *, network: str):
        from pggan_jax.checkpointing.metadata import read_metadata
        from pggan_jax.checkpointing.trained_model import open_checkpoints, read_chosen

        self._workdir, self._network = workdir, network
        config, checkpoints = open_checkpoints(workdir)
        with closing(checkpoints):
            self.newest: Model = self._model(read_chosen(config, checkpoints, checkpoint="latest"))
            kept = [read_metadata(checkpoints.directory / str(seen)) for seen in checkpoints.all_images_seen()]
        self._count = len(kept)
        self.has_levels_alone = config.run.keep_levels and not config.run.keep_every_kimg
        self.has_growth = len({one.resolution for one in kept if one}) > 1

    def of_seeds(self, seeds: Sequence[int], labels: np.ndarray, columns: int) -> RunImages:
        """Return the images of some seeds by all checkpoints, with kimg and resolution.

        Args:
            seeds: of the latents.
            labels: one-hot `[seeds, label_size]`.
            columns: images in a row.
        """
        from pggan_jax.images import make_grid

        def draw(model: Model) -> np.ndarray:
            return make_grid(model.sample(seeds, labels), columns)

        height, width = self.newest.shape[0] * -(-len(seeds) // columns), self.newest.shape[1] * columns
        return RunImages(self._each(draw, height, width), self._count, height, width, 2, f"by {self._count} checkpoints")

    def _each(
        self, draw: Callable[[Model], np.ndarray], height: int, width: int
    ) -> Iterator[tuple[np.ndarray, tuple[str, ...]]]:
        from pggan_jax.checkpointing.trained_model import open_checkpoints, read_all
        from pggan_jax.generation.films.frames import enlarge_to

        def skip(images_seen: int, error: UserError) -> None:
            print(f"note: the checkpoint of kimg {images_seen / 1000:g} is left out: {error}", file=sys.stderr)

        config, checkpoints = open_checkpoints(self._workdir)
        with closing(checkpoints):
            for trained in read_all(config, checkpoints, on_skip=skip):
                model = self._model(trained)
                text = f"kimg {model.kimg:.0f}", f"{model.shape[0]}x{model.shape[1]}"
                yield enlarge_to(draw(model), height, width), text

    def _model(self, trained: TrainedModel) -> Model:
        from pggan_jax.checkpointing.open_model import model_of

        return model_of(trained, name=str(self._workdir), network=self._network)
