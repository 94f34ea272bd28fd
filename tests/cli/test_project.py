"""The command `project`: its files, its continuation, and mistakes."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import pggan_jax as pg
from pggan_jax.generation import projection
from pggan_jax.system.own_output import MARKER
from tests.helpers.command_line import one_line_error
from tests.helpers.image_samples import noise

pytestmark = pytest.mark.usefixtures("quick_compilation")

FEW = ("--candidates=20", "--starts=2", "--steps=3")


@pytest.fixture
def images(tmp_path, finished):
    """A folder with a sample of the run, and a larger colour image."""
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(pg.load(finished).sample([7])[0, ..., 0]).save(folder / "own.png")
    Image.fromarray(noise(20, 30)).save(folder / "large.png")
    return folder


@pytest.fixture
def projected(monkeypatch):
    """How many images each call of `project` got."""
    counts, original = [], projection.project

    def project(model, images, *rest, **more):
        counts.append(len(images))
        return original(model, images, *rest, **more)

    monkeypatch.setattr(projection, "project", project)
    return counts


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != MARKER)


def test_writes_a_latent_an_image_and_a_comparison(launch, images, finished, tmp_path):
    out = tmp_path / "out"
    words = ("project", images / "own.png", images / "large.png", f"--from={finished}", f"--out={out}", "--fit")
    status, printed, err = launch(*words, *FEW)
    assert status == 0, err
    assert names(out) == ["large.npz", "large.png", "own.npz", "own.png", "strip.png"]
    lines = printed.splitlines()
    assert lines[0].startswith("own: loss ")
    assert "nearest sample: seed 7, RMSE 0.00" in lines[0]
    assert lines[1].startswith("large: loss ")
    model = pg.load(finished)
    with np.load(out / "own.npz") as file:
        made = model.synthesize(file["latent"][None])[0, ..., 0]
        assert int(file["nearest_seed"]) == 7
        assert float(file["kimg"]) == 1.92
        assert json.loads(str(file["settings"]))["steps"] == 3
    with Image.open(out / "own.png") as image:
        assert np.array_equal(image, made)
    with Image.open(out / "strip.png") as image:
        strip = np.asarray(image)
    # Two rows of three tiles: 8x8 pixels, each enlarged to 12x12, and gaps.
    assert strip.shape == (2 * (96 + 4 + 4), 3 * (96 + 4) + 4)
    own = model.sample([7])[0, ..., 0].repeat(12, axis=0).repeat(12, axis=1)
    assert np.array_equal(strip[:96, :96], own)
    assert np.array_equal(strip[:96, 100:196], own)
    assert np.array_equal(strip[:96, 200:296], made.repeat(12, axis=0).repeat(12, axis=1))


def test_continues_with_what_is_missing(launch, images, finished, tmp_path, projected):
    out = tmp_path / "out"
    shutil.copy(images / "own.png", images / "same.png")
    words = ("project", images / "own.png", images / "same.png", f"--from={finished}", f"--out={out}", *FEW)
    assert launch(*words)[0] == 0
    before = (out / "own.npz").read_bytes()
    (out / "same.npz").unlink()
    (out / "strip.png").unlink()
    status, printed, _ = launch(*words)
    assert (status, projected) == (0, [2, 1])
    assert "1 of 2 images are projected already" in printed
    assert names(out) == ["own.npz", "own.png", "same.npz", "same.png", "strip.png"]
    assert (out / "own.npz").read_bytes() == before
    assert launch(*words, "--overwrite")[0] == 0
    assert projected == [2, 1, 0]


def test_overwrite_replaces_what_differs(launch, images, finished, tmp_path, projected):
    out = tmp_path / "out"
    for name in ("same.png", "third.png"):
        shutil.copy(images / "own.png", images / name)
    paths = [images / name for name in ("own.png", "same.png", "third.png")]
    words = ("project", *paths, f"--from={finished}", f"--out={out}", "--overwrite")
    assert launch(*words, *FEW)[0] == 0
    others = ("--candidates=20", "--starts=2", "--steps=4")
    # As after an interruption: two images have other results, of which one is damaged.
    assert launch("project", paths[0], *words[4:], *others)[0] == 0
    (out / "same.npz").write_bytes((out / "same.npz").read_bytes()[:100])
    before = (out / "own.npz").read_bytes()
    assert launch(*words, *others)[0] == 0
    assert projected == [3, 1, 2]
    assert (out / "own.npz").read_bytes() == before
    with np.load(out / "third.npz") as file:
        assert json.loads(str(file["settings"]))["steps"] == 4


def test_an_interruption_keeps_what_is_complete(launch, images, finished, tmp_path, monkeypatch):
    out, original = tmp_path / "out", projection.project

    def stop_after_one(*arguments, **more):
        yield next(original(*arguments, **more))
        raise KeyboardInterrupt

    monkeypatch.setattr(projection, "project", stop_after_one)
    shutil.copy(images / "own.png", images / "same.png")
    assert launch("project", images / "own.png", images / "same.png", f"--from={finished}", f"--out={out}", *FEW)[0] == 130
    assert names(out) == ["own.npz", "own.png"]


def test_colours_are_converted(launch, labelled, tmp_path):
    Image.fromarray(noise(4, 4)).save(tmp_path / "a.png")
    status, printed, err = launch("project", tmp_path / "a.png", f"--from={labelled}", f"--out={tmp_path / 'out'}", *FEW)
    assert status == 0, err
    assert printed.startswith("a: class ")
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert (image.mode, image.size) == ("L", (4, 4))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("{images}/none.png --out={out}", "cannot be read (No such file or directory)"),
        ("{images} --out={out}", "is a folder; name image files"),
        ("{images}/text.png --out={out}", "is not an image"),
        ("{images}/short.png --out={out}", "is truncated"),
        ("{images}/large.png --out={out}", "is 20x30 (height x width), and {run} makes 8x8; add --fit"),
        ("{images}/own.png {images}/own.png --out={out}", "2 images have the name own"),
        ("{images}/strip.png --out={out}", "strip.png is the name of the comparison"),
        ("{images}/own.png --out={out} --class=3", "--class=3: this run was trained without labels"),
        ("{images}/own.png --out={out} --starts=9 --candidates=8", "--starts=9: must be at most --candidates=8"),
        ("{images}/own.png --out={images}", "holds an image that is to be projected"),
        ("{images}/own.png --out={images}/own.png", "is a file; name a folder"),
        ("{images}/own.png --out={run}", "exists and holds other files"),
        ("--out={out}", "project needs IMAGE..."),
    ],
)
def test_mistakes(launch, images, finished, tmp_path, words, message):
    (images / "text.png").write_text("a text")
    Image.fromarray(noise(8, 8)).save(images / "strip.png")
    (images / "short.png").write_bytes((images / "large.png").read_bytes()[:300])
    places = {"images": images, "out": tmp_path / "out", "run": finished}
    before = names(finished)
    error = one_line_error(launch("project", f"--from={finished}", *words.format(**places).split()))
    assert message.format(run=finished) in error
    assert not (tmp_path / "out").exists()
    assert names(finished) == before


def test_results_of_other_settings_are_kept(launch, images, finished, tmp_path):
    words = ("project", images / "own.png", f"--from={finished}", f"--out={tmp_path / 'out'}")
    assert launch(*words, *FEW)[0] == 0
    before = (tmp_path / "out" / "own.npz").read_bytes()
    error = one_line_error(launch(*words, "--candidates=20", "--starts=2", "--steps=4"))
    assert "is of another image, network or setting" in error
    assert (tmp_path / "out" / "own.npz").read_bytes() == before
    (tmp_path / "out" / "own.npz").write_bytes(before[:100])
    assert "cannot be read as a result of project" in one_line_error(launch(*words, *FEW))
