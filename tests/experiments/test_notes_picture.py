"""The picture of real and generated notes is made of the first rows of the grids."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from experiments.notes_picture import draw, main
from tests.helpers.runs import copy_of

pytestmark = pytest.mark.usefixtures("quick_compilation")


def test_shows_reals_above_fakes(sound_run, tmp_path):
    workdir = copy_of(sound_run, tmp_path)
    assert draw(workdir).shape == (32, 8 + 2 * 16, 3), "reals alone before the first tick"
    for name in ("fakes000000.png", "fakes000000-hue.png"):
        shutil.copy(workdir / name, workdir / name.replace("00.", "05.").replace("00-", "05-"))
    picture = draw(workdir)
    main(str(workdir), str(tmp_path / "notes.png"))
    with Image.open(tmp_path / "notes.png") as image:
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - picture).mean() < 8, "fewer colours"
    assert picture.shape == (2 * 32 + 8, 8 + 2 * 16, 3)
    for row, stem in ((0, "reals"), (40, "fakes000005")):
        for column, ending in ((0, ".png"), (24, "-hue.png")):
            with Image.open(workdir / f"{stem}{ending}") as grid:
                wanted = np.asarray(grid.convert("RGB"))[:32]
            np.testing.assert_array_equal(picture[row : row + 32, column : column + 16], wanted)
