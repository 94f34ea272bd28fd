"""Draw docs/notes.png: a row of real notes above a row of generated ones.

Left in grey, right with hue for the frequency inside a bin.

    python experiments/notes_picture.py runs/notes docs/notes.png

The rows are the first ones of the grids of the run. Before its first tick there are only real notes.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

sys.path.insert(0, str(Path(__file__).parents[1]))

from pggan_jax.reporting.run_record import gather
from pggan_jax.run_logs.workdir import Workdir
from pggan_jax.system.files import write_atomically
from pggan_jax.system.image_files import GENERATED_MARK, open_encoded

_GAP = 8
_MOST_TILES = 13
_COLOURS = 256


def draw(workdir: Path) -> np.ndarray:
    """Return the picture, uint8 `[height, width, 3]`; the gaps are white.

    Args:
        workdir: of a run with sound whose images have IF or phase.
    """
    paths, config = Workdir(workdir), Workdir(workdir).load_config()
    shape = config.data.shape_at(config.data.resolution)
    fakes = gather(workdir, config).fakes
    grids = [paths.reals, *([fakes[max(fakes)]] if max(fakes, default=0) else [])]
    rows = []
    for grid in grids:
        parts = [_first_row(path, height=shape.width, width=shape.height) for path in (grid, paths.in_colour(grid))]
        gap = np.full((shape.width, _GAP, 3), 255, np.uint8)
        rows += [np.concatenate([parts[0], gap, parts[1]], axis=1)]
    between = np.full((_GAP, rows[0].shape[1], 3), 255, np.uint8)
    return np.concatenate([rows[0], *(part for row in rows[1:] for part in (between, row))])


def _first_row(path: Path, *, height: int, width: int) -> np.ndarray:
    with open_encoded(path.read_bytes()) as image:
        return np.asarray(image.convert("RGB"))[:height, : _MOST_TILES * width]


def main(workdir: str, out: str) -> None:
    """Write the picture and print its size."""
    picture = Image.fromarray(draw(Path(workdir))).quantize(_COLOURS, dither=Image.Dither.NONE)
    info, buffer = PngInfo(), io.BytesIO()
    info.add_text(GENERATED_MARK, "several images")
    picture.save(buffer, format="PNG", optimize=True, pnginfo=info)
    write_atomically(Path(out), buffer.getvalue())
    print(f"{len(buffer.getvalue()) / 1000:.0f} kB -> {out}")


if __name__ == "__main__":
    main(*sys.argv[1:])
